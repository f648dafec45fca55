/* SPDX-License-Identifier: GPL-2.0-only */
/* What is going on at this moment, and what was counted so far, of a live session. */
#ifndef KU_LIVE_H
#define KU_LIVE_H

#include "event.h"

struct ku_session;

/* A copy-up that runs now. */
struct ku_live_copy {
	uint64_t id;
	const char *union_path, *path, *op, *engine; /* engine: kernel, guard or kunion */
	struct ku_who who;
	uint64_t start_ns; /* CLOCK_MONOTONIC */
	uint64_t size, bytes;
};

/* Somebody who waits now. */
struct ku_live_wait {
	const char *union_path, *path, *op, *on;
	struct ku_who who, holder; /* holder.pid 0: not known */
	uint64_t start_ns;
	uint64_t copyup_id; /* 0: not known */
};

/* Calls back for each; the strings live until the callback returns. Either may be NULL. */
void ku_live_each(struct ku_session *s, void (*copy)(void *arg, const struct ku_live_copy *c),
		  void (*wait)(void *arg, const struct ku_live_wait *w), void *arg);

#define KU_HIST 32 /* bucket n counts times below 2^n microseconds and not below 2^(n-1) */

/* Exact totals since attaching, for each union, cgroup, engine and result. */
struct ku_counts {
	const char *union_path, *cgroup, *container, *runtime, *engine;
	const char *result; /* ok, failed, lost, native */
	uint64_t copyups, bytes, copyup_ns, waits, wait_ns;
	uint64_t stalls; /* of the waits, those on a directory lock */
	uint64_t copyup_hist[KU_HIST], wait_hist[KU_HIST];
};

struct ku_gauges {
	uint64_t dropped_copyups, dropped_waits, dropped_writes, dropped_others;
	uint64_t parked, slots_used, slots; /* pending entries */
	uint64_t active, active_max;	    /* copy-ups and waits in the kernel's tables */
	/* each BPF program's runs, if kernel.bpf_stats_enabled */
	struct ku_hook {
		const char *name;
		uint64_t runs, ns;
	} hooks[48];
	unsigned int nhooks;
};

void ku_counts_each(struct ku_session *s, void (*fn)(void *arg, const struct ku_counts *c), void *arg);
void ku_gauges_read(struct ku_session *s, struct ku_gauges *ret);

#endif
