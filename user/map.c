// SPDX-License-Identifier: GPL-2.0-only
/* Open addressing over entries that never move; items and keys come from chunks that are freed all at once. */
#include "map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KU_MAP_CHUNK 65536u
#define KU_MAP_ALIGN sizeof(uint64_t)

/* FNV-1a, mixed once more: the low bits choose the slot. */
static uint32_t ku_map_hash(const unsigned char *key, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ key[i]) * 0x100000001b3ull;
	return (uint32_t)(h ^ h >> 32);
}

/* The slot of the key, or the free one where it would go. nslots is a power of 2 and never full. */
static uint32_t *ku_map_slot(const struct ku_map *m, const void *key, size_t len, uint32_t hash)
{
	for (size_t at = hash;; at++) {
		uint32_t *slot = &m->slots[at & (m->nslots - 1)];
		const struct ku_map_entry *e;

		if (!*slot)
			return slot;
		e = &m->entries[*slot - 1];
		if (e->hash == hash && e->len == len && !memcmp(e->key, key, len))
			return slot;
	}
}

void *ku_map_find(const struct ku_map *m, const void *key, size_t len)
{
	uint32_t *slot;

	if (!m->nslots)
		return NULL;
	slot = ku_map_slot(m, key, len, ku_map_hash(key, len));
	return *slot ? m->entries[*slot - 1].item : NULL;
}

/* Room for one more entry, at most two thirds of the slots used. */
static int ku_map_grow(struct ku_map *m)
{
	size_t room = m->room ? m->room * 2 : 16, nslots = room * 2;
	struct ku_map_entry *entries;
	uint32_t *slots;

	if (m->n < m->room)
		return 0;
	entries = reallocarray(m->entries, room, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	m->entries = entries;
	slots = calloc(nslots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(m->slots);
	m->slots = slots;
	m->nslots = nslots;
	m->room = room;
	for (size_t i = 0; i < m->n; i++)
		*ku_map_slot(m, entries[i].key, entries[i].len, entries[i].hash) = (uint32_t)(i + 1);
	return 0;
}

static void *ku_map_alloc(struct ku_map *m, size_t size)
{
	char *p;

	size = (size + KU_MAP_ALIGN - 1) & ~(KU_MAP_ALIGN - 1);
	if (size > m->chunk_left) {
		size_t want = sizeof(char *) + size > KU_MAP_CHUNK ? sizeof(char *) + size : KU_MAP_CHUNK;
		char *chunk = malloc(want);

		if (!chunk)
			return NULL;
		memcpy(chunk, &m->chunk, sizeof(m->chunk)); /* the one before */
		m->chunk = chunk;
		m->chunk_left = want - sizeof(char *);
	}
	/* From the end: what is left is all that need be known. */
	m->chunk_left -= size;
	p = m->chunk + sizeof(char *) + m->chunk_left;
	return p;
}

int ku_map_get(struct ku_map *m, const void *key, size_t len, void **ret_item, const char **ret_key, bool *ret_new)
{
	uint32_t hash = ku_map_hash(key, len), *slot;
	struct ku_map_entry *e;
	char *item, *copy;
	int err;

	if (m->nslots) {
		slot = ku_map_slot(m, key, len, hash);
		if (*slot) {
			e = &m->entries[*slot - 1];
			*ret_item = e->item;
			if (ret_key)
				*ret_key = e->key;
			if (ret_new)
				*ret_new = false;
			return 0;
		}
	}
	if ((m->max && m->n >= m->max) || m->n >= UINT32_MAX / 4 || len >= UINT32_MAX)
		return -ENOSPC;
	err = ku_map_grow(m);
	if (err)
		return err;
	item = ku_map_alloc(m, m->item_size + len + 1);
	if (!item)
		return -ENOMEM;
	memset(item, 0, m->item_size);
	copy = item + m->item_size;
	memcpy(copy, key, len);
	copy[len] = '\0';
	slot = ku_map_slot(m, key, len, hash);
	e = &m->entries[m->n++];
	*e = (struct ku_map_entry){ .item = item, .key = copy, .len = (uint32_t)len, .hash = hash };
	*slot = (uint32_t)m->n;
	*ret_item = item;
	if (ret_key)
		*ret_key = copy;
	if (ret_new)
		*ret_new = true;
	return 0;
}

void ku_map_free(struct ku_map *m)
{
	while (m->chunk) {
		char *before;

		memcpy(&before, m->chunk, sizeof(before));
		free(m->chunk);
		m->chunk = before;
	}
	free(m->entries);
	free(m->slots);
	m->entries = NULL;
	m->slots = NULL;
	m->n = m->room = m->nslots = m->chunk_left = 0;
}
