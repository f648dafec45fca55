/* SPDX-License-Identifier: GPL-2.0-only */
/* Event lines: one JSON object a line, the contract of `kunion run --events`. */
#ifndef KU_EVENT_H
#define KU_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Who did it. Strings are bytes as the kernel gave them, never NULL. */
struct ku_who {
	uint32_t pid, tid, uid;
	const char *comm;
	const char *cgroup;    /* v2 path, "/system.slice/x"; "" if not known */
	const char *container; /* id or name as in the cgroup path; "" for none */
	const char *runtime;   /* docker, podman, containerd, crio, nspawn, lxc; "" for none */
};

enum ku_ev_type {
	KU_EV_COPYUP,  /* a copy-up is over */
	KU_EV_WAIT,    /* somebody waited because of one */
	KU_EV_CHANGED, /* bytes written so far into a file since it was copied up */
	KU_EV_WRITE,   /* something was made, changed or removed in the upper layer (only when asked for) */
	KU_EV_POLICY,  /* a rule of the policy told of an operation, or refused it */
	KU_EV_HOLD,    /* an operation waits until somebody answers */
	KU_EV_UNION,   /* a union and its options, before its first event */
	KU_EV_TOTALS,  /* a union's exact numbers as counted in the kernel, whatever was dropped */
	KU_EV_DROPPED,
	KU_EV_TYPES
};

struct ku_ev_copyup {
	uint64_t id;	     /* unique in its session */
	const char *kind;    /* file, dir, symlink, special */
	const char *op;	     /* open, chmod, chown, utimes, truncate, setxattr, link, rename, setflags, create, remove, or other */
	const char *syscall; /* "openat"; "" if not known */
	struct ku_who who;
	const char *engine;  /* kernel; guard: the kernel, brought about by kunion; kunion */
	const char *data;    /* copied, cloned, metadata (metacopy), none */
	uint64_t size;	     /* of the lower file */
	uint64_t bytes;	     /* data copied or cloned */
	/* queued: until a worker took it (kunion, guard); lock: for the overlay inode lock; copy: without fsync */
	uint64_t queued_us, lock_us, copy_us, fsync_us, commit_us, total_us;
	uint32_t waiters;
	const char *result; /* ok, lost, native, or an errno's name */
};

struct ku_ev_wait {
	const char *op, *syscall; /* the waiter's */
	struct ku_who who;
	const char *on; /* copy, commit: kunion's pending entry; inode: overlay inode lock; dir: the directory path; file: that file */
	struct ku_who holder; /* who held that; pid 0: not known */
	const char *holder_op;
	/* the copy-up at the end of the chain: the holder's own, or the one that it waited for; id 0: not known */
	uint64_t copyup_id;
	const char *copyup_path;
	uint32_t copyup_pid;
	const char *copyup_comm;
	uint64_t wait_us;
	const char *result; /* released, timeout, signal, failed */
};

struct ku_ev_changed {
	uint64_t copyup_id, written;
};

struct ku_ev_write {
	const char *op;	    /* create, modify, remove, rename (to path2), link */
	const char *kind;   /* as of a copy-up */
	const char *layer;  /* upper; lower: nothing of it is in the upper one; "" if not known */
	uint64_t size;	    /* of a regular file */
	const char *path2;
	struct ku_who who;
};

struct ku_ev_policy {
	const char *action;  /* copy-up, create, remove, remove-upper, modify, exec */
	const char *kind;    /* as of a copy-up */
	uint64_t size;
	const char *rule;    /* its name */
	const char *verdict; /* audit, deny, hold */
	const char *err;     /* an errno's name; "" with audit, and where a hold was let pass */
	const char *budget;  /* its name; "": none, but the rule said so */
	const char *limit;   /* the key of the limit that was met: copy_up, write, files, copy_ups_per_second, keep_free; "" */
	struct ku_who who;
};

struct ku_ev_hold {
	uint64_t id;	    /* of the question: for the answer */
	const char *action, *kind, *rule; /* as of policy */
	uint64_t size;
	uint64_t limit;	 /* seconds */
	const char *err; /* an errno's name: what it gets at the limit; "": let pass */
	struct ku_who who;
};

struct ku_ev_union {
	const char *lower, *upper; /* as the mount's options say */
	const char *options;	   /* the options in force that matter, "metacopy=off,index=off,..." */
	const char *upper_fs;	   /* "ext4"; "" if not known */
	uint64_t upper_free, upper_size; /* bytes */
	bool reflink;		   /* the upper file system can, and the lower layer is on the same one */
};

struct ku_ev_totals {
	uint64_t copyups, bytes, failed, copyup_us, waits, wait_us;
	uint64_t missing; /* events of these that could not be told */
};

struct ku_ev_dropped {
	uint64_t count, copyups, waits, writes, others; /* count: all of them */
};

struct ku_event {
	enum ku_ev_type type;
	uint64_t ts_ns; /* when it began (copyup, wait), else now: nanoseconds of UTC since 1970 */
	const char *union_path; /* "" if not known */
	const char *path;	/* "/in/the/union", bytes; "" where it means nothing */
	union {
		struct ku_ev_copyup copyup;
		struct ku_ev_wait wait;
		struct ku_ev_changed changed;
		struct ku_ev_write write;
		struct ku_ev_policy policy;
		struct ku_ev_hold hold;
		struct ku_ev_union mount;
		struct ku_ev_totals totals;
		struct ku_ev_dropped dropped;
	};
};

/* Counts e as one that could not be told; one that says so itself, with what it tells of. */
void ku_dropped_add(struct ku_ev_dropped *d, const struct ku_event *e);

/* CLOCK_MONOTONIC as UTC, both in nanoseconds, by the clocks' present distance. */
uint64_t ku_utc_ns(uint64_t monotonic_ns);

/* The line of e without its end, allocated; NULL without memory. */
char *ku_event_json(const struct ku_event *e);

/*
 * Reads such a line; what a version of kunion does not know or does not tell is left out or empty. Returns 0 and *ret, whose strings live
 * until ku_event_free(*ret); -EINVAL when it is no event, -ENOMEM.
 */
int ku_event_parse(const char *line, struct ku_event **ret);
void ku_event_free(struct ku_event *e);

/* Undoes ku_escape_bytes() in place. */
void ku_unescape_bytes(char *s);

struct ku_events;

/*
 * Opens the sink: a file that is appended to (made 0644, O_CLOEXEC), "-" for stdout. Returns 0 or -errno.
 */
int ku_events_open(const char *file, struct ku_events **ret);
void ku_events_close(struct ku_events *ev);

/*
 * Writes one whole line with one write(2), without ever waiting for a reader; or counts it as dropped when the sink refuses it
 * (full disk, full or closed pipe) and says so in a "dropped" line before the next one that gets through. ev may be NULL: nothing
 * happens. Thread-safe.
 */
void ku_events_put(struct ku_events *ev, const struct ku_event *e);

/*
 * File names are bytes, JSON strings are not: a backslash becomes two, a byte that is not part of valid UTF-8 becomes \xHH (both
 * before JSON's own escaping), so every name is had back exactly. Returns an allocated string, NULL without memory.
 */
char *ku_escape_bytes(const char *bytes);

/* "ENOSPC" for ENOSPC (positive); "E123" for one without a name. Static strings where named; buf for the rest. */
const char *ku_errno_name(int err, char buf[static 16]);

#endif
