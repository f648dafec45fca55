/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a run's events say, for `kunion report`: fed with events one by one, then finished, then read. Nothing here prints.
 * After ku_analysis_finish() everything below stands still, and strings and arrays live until ku_analysis_free(). Strings are bytes
 * as they were in the events (escape them for the page, ku_escape_bytes() for text), never NULL; arrays are NULL when n is 0.
 * Times are microseconds (_us) or nanoseconds of UTC since 1970 (ts_ns); sizes are bytes.
 */
#ifndef KU_ANALYSIS_H
#define KU_ANALYSIS_H

#include "event.h"
#include "live.h"

/* What is kept at most; sums go on beyond it, and `unkept` says how many single records are missing. */
#define KU_AN_COPYUPS (1u << 19)
#define KU_AN_WAITS (1u << 18) /* the longest */
#define KU_AN_FILES (1u << 19)
#define KU_AN_ROWS 20	       /* of a table */
#define KU_AN_STALLS 10
#define KU_AN_TIMELINE 400	 /* copy-ups in the timeline */
#define KU_AN_TIMELINE_WAITS 100 /* waiters of one of them; loose waits */

/* Sums, of copy-ups that forced or suffered it and of waits. */
struct ku_an_sum {
	uint64_t copyups;   /* failed ones too, but none that was given up */
	uint64_t failed;    /* result is an errno's name */
	uint64_t bytes;	    /* copied or cloned */
	uint64_t copyup_us; /* total_us of all */
	uint64_t waits;
	uint64_t wait_us;
};

/* A row: sorted by copyup_us + wait_us, then copyups, then name, biggest first. */
struct ku_an_row {
	const char *name;
	const char *detail; /* see the table; "" if it has none */
	unsigned int union_index; /* by_dir only */
	bool below;		  /* by_dir only: with all directories below it */
	struct ku_an_sum sum;
	uint64_t max_us; /* the longest copy-up; by_holder, by_lock: the longest wait */
};

struct ku_an_table {
	const struct ku_an_row *rows;
	size_t n;	       /* at most KU_AN_ROWS */
	size_t nrest;	       /* rows that there was no room for */
	struct ku_an_sum rest; /* their sum */
};

/* A union, in the order of appearance. */
struct ku_an_union {
	const char *path; /* "" for events that named none */
	bool described;	  /* there was an event that gave these: */
	const char *lower, *upper, *options, *upper_fs;
	uint64_t upper_free, upper_size;
	bool reflink;
	struct ku_an_sum seen;	/* from the events */
	bool exact_known;
	struct ku_an_sum exact; /* as counted in the kernel, whatever was dropped; not filtered */
	uint64_t missing;	/* events of these that could not be told */
};

struct ku_an_wait;

struct ku_an_copyup {
	uint64_t id;	  /* unique in its union's session only; 0: not known */
	uint32_t session; /* of its union, from 0 */
	unsigned int union_index;
	const char *path, *kind, *op, *syscall, *engine, *data, *result; /* as in struct ku_ev_copyup */
	const struct ku_who *who;
	uint64_t ts_ns; /* when it began; it ended total_us later */
	uint64_t size, bytes;
	uint64_t queued_us, lock_us, copy_us, fsync_us, commit_us, total_us;
	bool written_known;
	uint64_t written; /* bytes written into it since */
	/* those who waited for it, whoever it was that stood between */
	uint64_t nwaits, wait_us; /* all that were kept */
	const struct ku_an_wait **waits; /* timeline only: the longest, at most KU_AN_TIMELINE_WAITS, by ts_ns */
	size_t nlisted;		 /* how many these are */
};

struct ku_an_wait {
	unsigned int union_index;
	const char *path, *op, *syscall, *on, *result; /* as in struct ku_ev_wait */
	const struct ku_who *who;
	const struct ku_who *holder; /* NULL: not known */
	const char *holder_op;
	uint64_t ts_ns, wait_us;
	/* the copy-up at the end of the chain, as the event says it; copyup: its own record, NULL if there is none */
	uint64_t copyup_id;
	const char *copyup_path, *copyup_comm;
	uint32_t copyup_pid;
	const struct ku_an_copyup *copyup;
	uint32_t session; /* of its union: ids are unique in one */
};

/*
 * A stall and its chain: worst->who waited for worst->holder (directly, or with the lock worst->on between them), which copied
 * worst->copyup_path or waited for who did. All who waited for the same holder, lock and copy-up are one stall.
 */
struct ku_an_stall {
	const struct ku_an_wait *worst;
	const struct ku_an_wait *holder_wait; /* the holder's own wait for that copy-up; NULL if it copied itself, or is not known */
	bool holder_copies;		      /* the holder is who copied */
	uint64_t waits, wait_us;	      /* of all in it */
};

/* A regular file that was copied up. */
struct ku_an_file {
	unsigned int union_index;
	const char *path;
	uint64_t first_ns, last_ns;
	uint32_t copyups;     /* that succeeded */
	uint32_t data_copies; /* of these, with data copied or cloned */
	uint32_t opens;	      /* copy-ups caused by open */
	uint64_t size, bytes; /* the last size; all bytes copied */
	uint64_t copyup_us;
	bool written_known;
	uint64_t changed_bytes; /* bytes of the copies whose writes are known */
	uint64_t written;	/* into those */
};

/* A piece of advice; see advice.h. */
struct ku_advice {
	const char *name;	/* "chown-in-image", stable, for programs */
	const char *union_path; /* "" for all */
	const char *title;	/* what to do, in a few words */
	const char *reason;	/* with the numbers */
	const char *todo;	/* exactly; may have several lines */
	const char *caveat;	/* "" for none */
	uint64_t weight_us;	/* the time that it is about; biggest first */
};

struct ku_an_work;

struct ku_analysis {
	const char *source; /* where the events come from, for headings; set by the command, not owned; "" if not */
	bool filtered;	    /* set by the command: the events are a selection, the exact sums are not */

	uint64_t start_ns, end_ns; /* first beginning and last end of a copy-up or wait; 0: there was none */
	struct ku_an_union *unions;
	size_t nunions;

	struct ku_an_sum seen;
	bool exact_known;	/* of every union */
	struct ku_an_sum exact; /* all unions */
	struct ku_ev_dropped dropped;
	uint64_t missing; /* of the exact sums */
	uint64_t lost;	  /* events: "N events were lost; totals are exact, lists are not"; 0: nothing was */
	struct {
		uint64_t copyups, waits, files;
	} unkept;
	/* Copies that kunion gave up: overtaken (result "lost"), or left to the kernel, whose own copy-up then has its event ("native"). */
	struct {
		uint64_t lost, native;
	} given_up;
	uint64_t writes; /* events of that kind */

	struct ku_an_table by_cause;	 /* name: op; detail: system call */
	struct ku_an_table by_container; /* name: container, cgroup when in none, "" if not known; detail: runtime, "cgroup", "" */
	struct ku_an_table by_dir;	 /* name: directory, as deep as it fits KU_AN_ROWS; see `below` and `union_index` */
	struct ku_an_table by_extension; /* files only; name: without dot, "" for none */
	struct ku_an_table by_engine;
	struct ku_an_table by_data;	 /* copied, cloned, metadata, none */
	struct ku_an_table by_kind;	 /* file, dir, symlink, special */
	struct ku_an_table by_holder;	 /* waits only; name: comm, "" if not known; detail: "op" or "op, container" */
	struct ku_an_table by_lock;	 /* waits only; name: copy, commit, inode, dir, file */

	/* Bytes copied against bytes changed, of the copy-ups whose writes are known. */
	struct {
		uint64_t copyups, copied, written;
	} changed;
	/* Where the time of all copy-ups went. */
	struct {
		uint64_t queued_us, lock_us, copy_us, fsync_us, commit_us;
	} phases;
	/* Bucket 0: below 1 us; n: below 2^n and not below 2^(n-1). The last one also takes what is longer. */
	uint64_t copyup_hist[KU_HIST], wait_hist[KU_HIST];

	const struct ku_an_stall *stalls; /* worst first */
	size_t nstalls;

	/*
	 * The copy-ups that were waited for most, then the longest, at most KU_AN_TIMELINE; by ts_ns. And the longest waits that belong to
	 * no known copy-up.
	 */
	struct ku_an_copyup **timeline;
	size_t ntimeline;
	uint64_t timeline_rest; /* copy-ups not in it */
	const struct ku_an_wait **loose;
	size_t nloose;

	const struct ku_an_file **files; /* by first_ns */
	size_t nfiles;

	const struct ku_advice *advice;
	size_t nadvice;

	struct ku_an_work *work; /* private */
};

/* Returns 0 and *ret, or -ENOMEM. */
int ku_analysis_new(struct ku_analysis **ret);
/* Takes one event in; it is copied as far as needed. Returns 0 or -ENOMEM. Not after ku_analysis_finish(). */
int ku_analysis_add(struct ku_analysis *a, const struct ku_event *e);
/* Sorts, joins and advises; once. Returns 0 or -ENOMEM. */
int ku_analysis_finish(struct ku_analysis *a);
void ku_analysis_free(struct ku_analysis *a);

#endif
