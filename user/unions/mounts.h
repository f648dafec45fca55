/* SPDX-License-Identifier: GPL-2.0-only */
/* Overlay mounts by their superblock: what an event's device is called, and its options. */
#ifndef KU_MOUNTS_H
#define KU_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct ku_mount {
	struct ku_mount *next;
	uint32_t dev; /* kernel dev_t */
	bool told;    /* for the caller: a union event was written */
	uint32_t made_by; /* for the caller: who mounted it, and when; 0: not known, or no matter any more */
	uint64_t made_ns;
	uint64_t seek_ns, seek_wait_ns; /* when it is sought again, and how long after that */
	/* never NULL, "" where not known */
	char *path; /* the merged directory as its mount namespace sees it */
	char *lower, *upper;
	char *options;	/* "metacopy=off,index=off,..": in force */
	char *upper_fs; /* type */
	uint64_t upper_free, upper_size;
	bool reflink;	/* between lower and upper layer */
};

struct ku_mounts {
	struct ku_mount *all;
};

/*
 * The mount of dev (its upper file system and reflink only in our mount namespace): one that was found before, or looked for in our mount namespace and then in pid's (0: nobody's). One that is not found
 * has empty strings and is looked for again next time. NULL without memory. Belongs to m.
 */
struct ku_mount *ku_mounts_of(struct ku_mounts *m, uint32_t dev, uint32_t pid);

/*
 * Looks in every mount namespace for one without a path, whose maker and user may both have ended. That reads all of /proc: five times
 * a second at first, then less and less often.
 */
void ku_mounts_seek(struct ku_mount *m);

/* The number will be another superblock's. */
void ku_mounts_forget(struct ku_mounts *m, uint32_t dev);
void ku_mounts_free(struct ku_mounts *m);

#endif
