/* SPDX-License-Identifier: GPL-2.0-only */
/* What analysis.c takes in and analysis_finish.c makes tables of. For these two and advice.c only. */
#ifndef KU_ANALYSIS_WORK_H
#define KU_ANALYSIS_WORK_H

#include "analysis.h"
#include "map.h"

#define KU_AN_DIRS (1u << 18)
#define KU_AN_NAMES (1u << 16)	  /* rows of a table before it is cut to KU_AN_ROWS */
#define KU_AN_STRINGS (1u << 20)

/* Rows while they are counted. The key: name, NUL, detail. */
struct ku_an_count {
	struct ku_map rows; /* struct ku_an_row */
	struct ku_an_sum over; /* what found no room */
	bool overflow;
	struct ku_an_row *sorted;
};

/* The key: union index, path. */
struct ku_an_dir {
	struct ku_an_sum own, all;
	uint64_t own_max;
	uint64_t writes;	  /* write events on names in it */
	uint64_t written;	  /* bytes into copied-up files in it */
	uint64_t own_writes;	  /* these two: before directories below were added that have not enough of their own */
	uint64_t own_written;
	struct ku_an_dir *parent, *child, *sibling;
	const char *path;
	size_t len; /* of the key */
	unsigned int union_index;
	bool shown;
};

/* A union's state while its events come in. */
struct ku_an_sessions {
	unsigned int index;
	uint32_t session;
	bool told, untold;	 /* totals of this session came; those of one before never did */
	struct ku_an_sum before; /* exact sums of the sessions before */
	uint64_t missing_before;
};

struct ku_an_work {
	struct ku_map strings; /* no items: the keys are wanted */
	struct ku_map whos;    /* struct ku_who */
	struct ku_map unions;  /* struct ku_an_sessions */
	struct ku_map copyups; /* struct ku_an_copyup; key: union, session, id, serial (if that is taken or 0) */
	struct ku_map files;   /* struct ku_an_file; key: union index, path */
	struct ku_map dirs;    /* struct ku_an_dir */
	struct ku_an_sum dirs_over;
	struct ku_an_count cause, container, extension, engine, data, kind, holder, lock;
	struct ku_an_row *dir_rows;
	struct ku_an_wait *waits; /* room for KU_AN_WAITS */
	size_t nwaits, waits_room;
	struct ku_an_copyup **by_cost; /* the timeline */
	struct ku_an_stall *stalls;
	const struct ku_an_wait **wait_lists; /* of all of the timeline, one behind the other */
	const struct ku_an_wait **loose;
	const struct ku_an_file **sorted_files;
	struct ku_advice *advice;
	size_t nadvice;
};

struct ku_an_key {
	uint32_t union_index, session;
	uint64_t id, serial;
};

void ku_an_sum_add(struct ku_an_sum *to, const struct ku_an_sum *from);
/* The directory that a path belongs to (itself if it is one): how many of its bytes; 0: not known. */
size_t ku_an_dir_len(const char *path, bool is_dir);
/* The directory record of dir (len bytes) in a union; made if needed. Returns 0, -ENOSPC, -ENOMEM. */
int ku_an_dir_get(struct ku_an_work *w, unsigned int union_index, const char *dir, size_t len, struct ku_an_dir **ret);

/* The order of a table's rows, for qsort(3). */
int ku_an_row_order(const void *a, const void *b);
/* The table of directories; also adds what was written below to the directories above. Returns 0 or -ENOMEM. analysis_dirs.c */
int ku_an_dirs(struct ku_an_work *w, struct ku_an_table *table);

/* The same bytes give the same pointer; it lives as long as w. */
int ku_an_string(struct ku_an_work *w, const char *s, const char **ret);
/* Records of a copy-up (for timeline, chains and `changed`), its file, a wait. Return 0, also when there is no room, or -ENOMEM. */
int ku_an_keep_copyup(struct ku_analysis *a, const struct ku_event *e, unsigned int index, uint32_t session);
int ku_an_keep_file(struct ku_analysis *a, const struct ku_event *e, unsigned int index);
int ku_an_keep_wait(struct ku_analysis *a, const struct ku_event *e, unsigned int index, uint32_t session);

#endif
