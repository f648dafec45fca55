/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `kunion top` shows. The model belongs to the thread of the session: it is fed with events and, at each tick, with what runs now and
 * what was counted; from that it makes a snapshot, which is whole in itself and can be drawn by another thread at any time.
 */
#ifndef KU_TOP_MODEL_H
#define KU_TOP_MODEL_H

#include "live.h"

/* Longest waits kept, of those that are over. */
#define KU_TOP_LONGEST 64

/* Figures of a union and a container; rates are per second, since the last tick. */
struct ku_top_sum {
	uint64_t copyups, bytes, waits, stalls, wait_ns;
	double copyups_rate, bytes_rate, wait_rate; /* wait_rate: seconds of waiting in a second */
};

struct ku_top_row {
	const char *union_path, *container;
	struct ku_top_sum sum;
};

/* A task; strings are the snapshot's. */
struct ku_top_task {
	uint32_t pid;
	const char *comm, *container;
};

/* Somebody who waits, or waited. */
struct ku_top_wait {
	const char *union_path, *path, *op, *on, *holder_op;
	struct ku_top_task who, holder; /* holder.pid 0: not known */
	uint64_t wait_ns;
	/* of one that is over: the copy-up at the end of the chain; copyup_pid 0: not known */
	const char *copyup_path, *copyup_comm, *result;
	uint32_t copyup_pid;
};

/* A file that is being copied now. */
struct ku_top_copy {
	uint64_t id, size, bytes, age_ns;
	const char *union_path, *path, *op, *engine;
	struct ku_top_task who;
	double rate;   /* bytes per second, 0: not known */
	double eta_s;  /* negative: not known */
	struct ku_top_wait *waits; /* those who wait for it, longest first */
	unsigned int nwaits;
};

struct ku_top_snap {
	const char *mode, *tier;
	unsigned int unions;
	uint64_t up_ns; /* since the first tick */
	struct ku_top_sum all;
	uint64_t dropped, parked;
	struct ku_top_row *rows;
	unsigned int nrows;
	struct ku_top_copy *copies; /* oldest first */
	unsigned int ncopies;
	struct ku_top_wait *loose; /* waits for what is not among the copies, longest first */
	unsigned int nloose;
	unsigned int nwaiting; /* all who wait now */
	struct ku_top_wait *longest; /* over, longest first */
	unsigned int nlongest;
	/* private */
	struct ku_top_string *strings;
};

struct ku_top_model;

/*
 * from_events: figures are summed up from the events, because a filter is set that exact counts cannot be asked by; ku_top_count() then
 * counts nothing. NULL without memory.
 */
struct ku_top_model *ku_top_new(bool from_events);
void ku_top_free(struct ku_top_model *m);

/* Without memory an event, a count, a copy or a wait is left out. */
void ku_top_event(struct ku_top_model *m, const struct ku_event *e);

/* A tick, at this CLOCK_MONOTONIC: begin, then each count, copy and wait there is, then end. */
void ku_top_begin(struct ku_top_model *m, uint64_t now_ns);
void ku_top_count(struct ku_top_model *m, const struct ku_counts *c);
void ku_top_copy(struct ku_top_model *m, const struct ku_live_copy *c);
void ku_top_wait(struct ku_top_model *m, const struct ku_live_wait *w);

struct ku_top_head {
	const char *mode, *tier; /* static */
	unsigned int unions;
	struct ku_gauges gauges;
};

/* The snapshot, the caller's to free; NULL without memory. */
struct ku_top_snap *ku_top_end(struct ku_top_model *m, const struct ku_top_head *head);
void ku_top_snap_free(struct ku_top_snap *snap);

enum ku_top_sort { KU_SORT_BYTES, KU_SORT_BYTES_RATE, KU_SORT_COPYUPS, KU_SORT_COPYUPS_RATE, KU_SORT_WAIT, KU_SORT_WAIT_RATE, KU_SORT_WAITS,
		   KU_SORT_NAME, KU_SORT_MAX };

/*
 * The rows, one for each union, or by_container one for each container (union_path then is that of its only union, "" for several);
 * biggest first (names: smallest), turned round with reverse. Writes at most as many as snap has rows into out; returns how many.
 */
unsigned int ku_top_rows(const struct ku_top_snap *snap, bool by_container, enum ku_top_sort sort, bool reverse, struct ku_top_row *out);

/* One JSON object, allocated; NULL without memory. */
char *ku_top_json(const struct ku_top_snap *snap);

#endif
