/* SPDX-License-Identifier: GPL-2.0-only */
/* Items found by a key of bytes: they stay where they are, and are remembered in the order of their making. */
#ifndef KU_MAP_H
#define KU_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ku_map {
	size_t item_size;
	size_t max; /* items at most; 0: no limit */
	size_t n;
	struct ku_map_entry {
		void *item;
		const char *key; /* a copy, with a NUL behind it */
		uint32_t len, hash;
	} *entries;
	/* private */
	size_t room, nslots;
	uint32_t *slots; /* index of the entry + 1; 0: free */
	char *chunk;
	size_t chunk_left;
};

#define KU_MAP(type, limit) { .item_size = sizeof(type), .max = (limit) }

/* The item of a key; NULL if there is none. */
void *ku_map_find(const struct ku_map *m, const void *key, size_t len);

/*
 * The same, but makes it, zeroed, when there is none (*ret_new, may be NULL). Returns 0; -ENOSPC when it would be one more than max;
 * -ENOMEM.
 */
int ku_map_get(struct ku_map *m, const void *key, size_t len, void **ret_item, const char **ret_key, bool *ret_new);

void ku_map_free(struct ku_map *m);

#endif
