/* SPDX-License-Identifier: GPL-2.0-only */
/* Copying a file's data, cheapest way first (DESIGN 5). */
#ifndef KU_COPY_H
#define KU_COPY_H

#include <stdbool.h>
#include <stdint.h>

/* How the bytes went over; a later one is a step down. */
enum ku_copy_how {
	KU_COPY_NOTHING, /* no data segment at all */
	KU_COPY_CLONE,	 /* FICLONE: shared blocks */
	KU_COPY_RANGE,	 /* copy_file_range(2) */
	KU_COPY_SENDFILE,
	KU_COPY_READWRITE,
};

struct ku_copy_opts {
	/* Asked between chunks; true ends the copy with -ECANCELED. May be NULL. */
	bool (*cancelled)(void *arg);
	/* Told after each chunk how many data bytes are there so far. May be NULL. */
	void (*progress)(void *arg, uint64_t bytes);
	void *arg;
	/* Begin with this way instead of the cheapest (KU_COPY_NOTHING): how tests come to the lower steps. */
	enum ku_copy_how first;
	/* false: stop with -ENOSPC before the blocks reserved for root are touched (DESIGN 5, "R4's 5%"). */
	bool may_use_reserve;
};

struct ku_copy_stats {
	enum ku_copy_how how; /* the last way used */
	uint64_t bytes;	      /* data bytes: holes are not counted, a clone counts the whole size */
	const char *why;      /* why not the way before, a static string; NULL for CLONE and NOTHING */
};

/*
 * Copies all of src's data into the empty dst, holes as holes, and gives dst src's size. Both descriptors stay the caller's, at
 * any position. opts may be NULL: no callbacks, and the reserve may be used. Returns 0, -ECANCELED, or -errno of what failed (dst
 * is then to be thrown away); ret_stats is written in every case.
 */
int ku_copy_data(int src, int dst, const struct ku_copy_opts *opts, struct ku_copy_stats *ret_stats);

const char *ku_copy_how_name(enum ku_copy_how how);

#endif
