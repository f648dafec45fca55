// SPDX-License-Identifier: GPL-2.0-only
/*
 * The transitions of all states in one array, each state's laid over those of others where they leave room: those with the most first, each at
 * the first place where all of them fit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_dfa.h"
#include "util.h"

struct ku_pack_row {
	uint32_t state, nedges; /* in bytes, not classes */
	uint32_t shape;		/* a hash of the bytes: rows of one shape come one after the other */
};

static int ku_pack_order(const void *a, const void *b)
{
	const struct ku_pack_row *x = a, *y = b;

	if (x->nedges != y->nedges)
		return x->nedges < y->nedges ? 1 : -1;
	if (x->shape != y->shape)
		return x->shape < y->shape ? 1 : -1;
	return (x->state > y->state) - (x->state < y->state);
}

/* The bytes that do not lead to s->other, and where to. */
static size_t ku_pack_bytes(const struct ku_dfa *d, const struct ku_dfa_state *s, unsigned char bytes[256], uint32_t to[256])
{
	uint32_t by_class[256];
	size_t n = 0;

	for (unsigned int c = 0; c < d->ncls; c++)
		by_class[c] = s->other;
	for (uint32_t e = s->first; e < s->first + s->nedges; e++)
		by_class[d->edges[e].cls] = d->edges[e].to;
	/* No string has a NUL. */
	for (unsigned int b = 1; b < 256; b++) {
		if (by_class[d->cls[b]] == s->other)
			continue;
		bytes[n] = (unsigned char)b;
		to[n++] = by_class[d->cls[b]];
	}
	return n;
}

/* The state of the tables; the one that only ever stays where it is, with the set of nobody, is the dead one. */
static void ku_pack_numbers(struct ku_pol_packer *k, const struct ku_dfa *d, uint32_t *number)
{
	for (uint32_t i = 0; i < d->n; i++) {
		const struct ku_dfa_state *s = &d->states[i];
		bool dead = i && s->other == i && !s->nedges && s->set == d->dead_set;

		number[i] = dead ? 0 : k->nstates++;
	}
}

static bool ku_pack_fits(const struct ku_pol_automaton *t, uint32_t base, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (t->edges[base + bytes[i]])
			return false;
	return true;
}

/* Places one state's transitions. What did not fit where the last one of its shape was tried will not now. */
static int ku_pack_state(struct ku_pol_packer *k, const struct ku_dfa *d, uint32_t state, const uint32_t *number, struct ku_pol_automaton *t)
{
	unsigned char bytes[256] = { 0 };
	uint32_t to[256], own = number[state], at;
	size_t n = ku_pack_bytes(d, &d->states[state], bytes, to);

	t->fallback[own] = (uint16_t)number[d->states[state].other];
	t->set[own] = (uint16_t)d->states[state].set;
	while (k->first_free < KU_POL_EDGES && t->edges[k->first_free])
		k->first_free++;
	at = k->first_free;
	if (n == k->last_n && !memcmp(bytes, k->last, n) && k->last_at > at)
		at = k->last_at;
	for (; n; at++) {
		if (at < bytes[0])
			at = bytes[0];
		if (at - bytes[0] > KU_POL_EDGES - 256)
			return -ENOBUFS;
		if (ku_pack_fits(t, at - bytes[0], bytes, n))
			break;
	}
	memcpy(k->last, bytes, n);
	k->last_n = n;
	k->last_at = at;
	t->base[own] = n ? at - bytes[0] : 0;
	for (size_t i = 0; i < n; i++)
		t->edges[t->base[own] + bytes[i]] = own << 16 | number[to[i]];
	return 0;
}

int ku_pol_pack(struct ku_pol_packer *k, const struct ku_dfa *d, enum ku_pol_string string, struct ku_pol *pol)
{
	_cleanup_free_ uint32_t *number = calloc(d->n, sizeof(*number));
	_cleanup_free_ struct ku_pack_row *rows = calloc(d->n, sizeof(*rows));
	int err = 0;

	if (!number || !rows)
		return -ENOMEM;
	ku_pack_numbers(k, d, number);
	if (k->nstates > KU_POL_STATES)
		return -E2BIG;
	pol->strings.start[string] = (uint16_t)number[0];
	pol->strings.dead_set[string] = (uint16_t)d->dead_set;
	for (uint32_t i = 0; i < d->n; i++) {
		unsigned char bytes[256];
		uint32_t to[256];

		rows[i] = (struct ku_pack_row){ i, (uint32_t)ku_pack_bytes(d, &d->states[i], bytes, to), 0 };
		for (uint32_t b = 0; b < rows[i].nedges; b++)
			rows[i].shape = rows[i].shape * 31 + bytes[b];
	}
	qsort(rows, d->n, sizeof(*rows), ku_pack_order);
	for (uint32_t i = 0; i < d->n && !err; i++)
		if (number[rows[i].state])
			err = ku_pack_state(k, d, rows[i].state, number, &pol->strings);
	return err;
}
