// SPDX-License-Identifier: GPL-2.0-only
/* One state of all that nothing tells apart: blocks of states are split until all in a block lead to the same blocks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_dfa.h"
#include "util.h"

/*
 * Rounds of hashing before the exact ones, which are slower: what differs by a string of that length is told apart by then. Equal states have
 * equal hashes, so a collision only leaves work for the exact rounds.
 */
#define KU_HASH_ROUNDS 128

static uint64_t ku_mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	return x ^ x >> 32;
}

static uint64_t ku_hash_state(const struct ku_dfa *d, const struct ku_dfa_state *s, const uint64_t *hash)
{
	uint64_t h = ku_mix(s->set + 1) + 3 * hash[s->other];

	for (uint32_t e = s->first; e < s->first + s->nedges; e++)
		if (hash[d->edges[e].to] != hash[s->other])
			h += ku_mix(hash[d->edges[e].to] ^ (d->edges[e].cls + 1));
	return ku_mix(h);
}

/* Numbers the distinct keys; key n is of len[n] words at keys + at[n]. */
static int ku_blocks(const uint64_t *words, const size_t *at, size_t n, uint32_t *block, size_t *ret)
{
	struct ku_map map = KU_MAP(uint32_t, 0);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		void *item;
		bool new;

		err = ku_map_get(&map, words + at[i], (at[i + 1] - at[i]) * sizeof(*words), &item, NULL, &new);
		if (err)
			break;
		if (new)
			*(uint32_t *)item = (uint32_t)(map.n - 1);
		block[i] = *(uint32_t *)item;
	}
	*ret = map.n;
	ku_map_free(&map);
	return err;
}

/* What a state is told by: its block, and those that it leads to. */
static void ku_describe(const struct ku_dfa *d, const uint32_t *block, uint64_t *words, size_t *at)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++) {
		const struct ku_dfa_state *s = &d->states[i];

		at[i] = n;
		words[n++] = (uint64_t)block[i] << 32 | block[s->other];
		for (uint32_t e = s->first; e < s->first + s->nedges; e++)
			if (block[d->edges[e].to] != block[s->other])
				words[n++] = (uint64_t)d->edges[e].cls << 32 | block[d->edges[e].to];
	}
	at[d->n] = n;
}

static int ku_first_blocks(const struct ku_dfa *d, uint64_t *words, size_t *at, uint32_t *block, size_t *ret)
{
	_cleanup_free_ uint64_t *hash = calloc(d->n, sizeof(*hash)), *next = calloc(d->n, sizeof(*next));

	if (!hash || !next)
		return -ENOMEM;
	for (int round = 0; round < KU_HASH_ROUNDS; round++) {
		uint64_t *swap = hash;

		for (size_t i = 0; i < d->n; i++)
			next[i] = ku_hash_state(d, &d->states[i], hash);
		hash = next;
		next = swap;
	}
	for (size_t i = 0; i <= d->n; i++)
		at[i] = 2 * i;
	/* The set as it is: no block may have two of them. */
	for (size_t i = 0; i < d->n; i++) {
		words[2 * i] = hash[i];
		words[2 * i + 1] = d->states[i].set;
	}
	return ku_blocks(words, at, d->n, block, ret);
}

/* One state for each block; the first of a block stands for it, so that the beginning stays state 0. */
static int ku_merge(struct ku_dfa *d, const uint32_t *block, size_t nblocks)
{
	struct ku_dfa_state *states = calloc(nblocks, sizeof(*states));
	size_t n = 0;

	if (!states)
		return -ENOMEM;
	for (size_t i = 0; i < d->n; i++) {
		struct ku_dfa_state *s = &d->states[i];

		if (block[i] != n)
			continue;
		s->other = block[s->other];
		for (uint32_t e = s->first; e < s->first + s->nedges; e++)
			d->edges[e].to = block[d->edges[e].to];
		states[n++] = *s;
	}
	free(d->states);
	d->states = states;
	d->n = d->room = n;
	return 0;
}

int ku_dfa_minimise(struct ku_dfa *d)
{
	_cleanup_free_ uint64_t *words = calloc(2 * d->n + d->nedges, sizeof(*words));
	_cleanup_free_ size_t *at = calloc(d->n + 1, sizeof(*at));
	_cleanup_free_ uint32_t *block = calloc(d->n, sizeof(*block));
	size_t n = 0, before;
	int err;

	if (!words || !at || !block)
		return -ENOMEM;
	err = ku_first_blocks(d, words, at, block, &n);
	do {
		before = n;
		if (!err) {
			ku_describe(d, block, words, at);
			err = ku_blocks(words, at, d->n, block, &n);
		}
	} while (!err && n > before);
	return err ? err : ku_merge(d, block, n);
}
