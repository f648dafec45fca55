/* SPDX-License-Identifier: GPL-2.0-only */
/* Event lines: one JSON object a line, the contract of `kunion run --events`. */
#ifndef KU_EVENT_H
#define KU_EVENT_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Who did it. Strings are bytes as the kernel gave them. */
struct ku_who {
	uint32_t pid, tid, uid;
	const char *comm;
	uint64_t cgroup_id; /* of cgroup v2; 0 if not known */
};

struct ku_ev_copyup {
	uint64_t ts_ns; /* CLOCK_MONOTONIC when it was asked for */
	const char *union_path;
	const char *path; /* "/in/the/union", bytes */
	const char *op;	  /* open, chmod, chown, utimes, truncate, setxattr, link, rename, or other */
	struct ku_who who;
	const char *engine; /* kunion, kernel */
	uint64_t bytes, queued_us, copy_us, commit_us;
	uint32_t waiters;
	const char *result; /* ok, lost, native, or an errno's name */
};

struct ku_ev_wait {
	uint64_t ts_ns; /* CLOCK_MONOTONIC when it began */
	const char *union_path, *path, *op;
	struct ku_who who;
	const char *on; /* copy, commit */
	uint32_t holder_pid;
	uint64_t wait_us;
	const char *result; /* released, timeout, signal, failed */
};

struct ku_events;

/*
 * Opens the sink: a file that is appended to (made 0644, O_CLOEXEC), "-" for stdout. Returns 0 or -errno.
 */
int ku_events_open(const char *file, struct ku_events **ret);
void ku_events_close(struct ku_events *ev);

/*
 * Each writes one whole line with one write(2), without ever waiting for a reader; or counts it as dropped when the sink refuses it
 * (full disk, full or closed pipe) and says so in a "dropped" line before the next one that gets through. ev may be NULL: nothing
 * happens. Thread-safe.
 */
void ku_events_copyup(struct ku_events *ev, const struct ku_ev_copyup *e);
void ku_events_wait(struct ku_events *ev, const struct ku_ev_wait *e);
void ku_events_dropped(struct ku_events *ev, uint64_t count);

/*
 * File names are bytes, JSON strings are not: a backslash becomes two, a byte that is not part of valid UTF-8 becomes \xHH (both
 * before JSON's own escaping), so every name is had back exactly. Returns an allocated string, NULL without memory.
 */
char *ku_escape_bytes(const char *bytes);

/* "ENOSPC" for ENOSPC (positive); "E123" for one without a name. Static strings where named; buf for the rest. */
const char *ku_errno_name(int err, char buf[static 16]);

#endif
