/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session: BPF, the gate, the attached unions and the copies under way. One thread (the loop) talks to BPF's ring buffer and the gate
 * and never touches a union's files; workers do that. Rules:
 *  1. A slot's word is changed by compare-and-swap only; who makes it terminal has the say over the outcome.
 *  2. From a slot's REQUEST record to its recycling, its struct ku_pending belongs to the loop, except what is marked as the worker's.
 *  3. A slot is recycled only when its worker is done with it and no task is parked on it.
 */
#ifndef KU_SESSION_H
#define KU_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bpf.h"
#include "copy.h"
#include "event.h"
#include "gate.h"
#include "judge.h"
#include "observer.h"
#include "union.h"

#define KU_WORKERS 4

struct ku_session_opts {
	enum ku_mode mode;
	uint64_t min_size;   /* bytes */
	uint64_t max_wait_ns;
	const char *events;  /* file, "-", NULL for none */
	const char *policy;  /* file, NULL for none */
	const char *answer;  /* a program that is asked about what the policy holds, NULL for none */
	bool pin;	     /* it stays in force when the session ends */
	bool summary;	     /* a line on stderr at the end */
	bool all;	     /* every overlay mount, those to come too; then no paths */
	const struct ku_scan_wanted *found; /* instead of paths: these, as they are at the start; NULL for none */
	bool writes;	     /* tell what is made, changed or removed in the upper layer */
	unsigned int room;   /* so many unions may come later, by ku_session_add(); the session lives without any then */
	void (*on_event)(void *arg, const struct ku_event *e); /* in the loop's thread; may be NULL */
	void *event_arg;
	/* An overlay was mounted by process pid (0: not known) and is observed, or a union's superblock ended; in the loop's thread; may be NULL */
	void (*on_super)(void *arg, uint32_t dev, uint32_t pid, bool made);
	void *super_arg;
	/*
	 * A copy of ku_session_submit() is over: result 0 (also when it was upper already), or -errno. by_kernel: the holder test or
	 * something else left it to the kernel.
	 */
	void (*own_done)(void *arg, void *cookie, int result, bool by_kernel);
	void *own_arg;
};

/* An attached union. */
struct ku_attached {
	struct ku_union u;
	struct ku_intents *intents; /* NULL but in mode manage */
	uint32_t id;
	enum ku_mode mode, in_force; /* as asked for; what its mount's options leave of that */
	uint64_t min_size;
	bool dropping;	  /* being let go: ku_session_drop() */
	bool gone;	  /* let go, or its superblock went away */
	uint64_t gone_ns; /* since when */
};

/* Somebody who waits, or waited, for a copy. */
struct ku_waiter {
	struct ku_waiter *next;
	struct ku_task who;
	uint32_t op;
	int32_t nr; /* system call */
	bool compat, on_commit;
	uint64_t start_ns, end_ns; /* end 0: still waits */
	const char *result;	   /* NULL: as the copy ends */
};

/* A slot's life, in user space. */
struct ku_pending {
	bool used, finished, released;
	uint32_t slot, gen;
	struct ku_attached *at;
	struct ku_waiter *waiters;
	uint64_t finished_ns;
	struct ku_pending *next; /* in the queue, then in the list of the finished */
	/* the worker's until finished */
	char *path; /* "/in/the/union" */
	bool own;   /* asked for by ku_session_submit() */
	void *cookie;
	uint32_t copier_tid;
	uint64_t id; /* of its event */
	uint64_t start_ns, copied_ns, end_ns;
	struct ku_copy_stats stats;
	uint64_t progress; /* bytes so far */
	bool guarded; /* copied by the kernel at our request */
	bool found;   /* or there already when the worker came */
	const char *native_why; /* why the kernel was left to do it */
	int result;		/* 0, or -errno; -ECANCELED: lost; -EREMOTE: left to the kernel */
	/* the loop's, from the record of the kernel's copy */
	const char *guard_data;
	uint64_t guard_bytes, guard_lock_us, guard_copy_us, guard_fsync_us;
	struct ku_task other; /* whose copy-up it was that the worker only waited for; pid 0: nobody's */
	uint32_t other_op;
	uint64_t other_id;
	int own_result;		/* the same after the kernel has had its turn */
	bool own_by_kernel;
};

/* Numbers of our own copies, and of those who waited for them, as ku_counts of observe.bpf.c has them for the kernel's. */
struct ku_own_counts {
	struct ku_own_counts *next;
	uint32_t union_id;
	uint64_t cgroup_id;
	const char *engine, *result;
	struct ku_count c;
};

/* Beyond so many, under cgroup 0. */
#define KU_OWN_COUNTS 256

struct ku_totals {
	uint64_t copies, bytes, guarded, lost, native, failed, kernel, waits, timeouts, asked, denied, audited;
};

struct ku_session {
	struct ku_session_opts opts;
	struct ku_bpf bpf; /* all zero in observe mode */
	struct ku_gate *gate;
	struct ku_observer *observer; /* NULL where this kernel cannot be observed */
	char unobserved[256];	      /* then why */
	struct ku_judge *judge;	      /* NULL without a policy */
	struct ku_attached *unions;
	unsigned int nunions, nalive, ndropping, room;
	unsigned int nspent; /* gone, and their records are open still */
	struct ku_events *events;
	struct ku_totals totals;
	struct ku_own_counts *own_counts;
	unsigned int nown_counts;
	struct ku_pending pending[KU_SLOTS];
	struct ku_pending *draining; /* finished, parked tasks still leaving */
	uint64_t dropped_told, child_seen_ns;
	/* queue to the workers and back */
	pthread_t workers[KU_WORKERS];
	unsigned int nworkers;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct ku_pending *queue, **queue_tail;
	struct ku_pending *done;
	bool stopping, attached;
	int done_fd; /* eventfd: something is done */
	int epoll_fd;
};

/*
 * Attaches to the unions at paths (all or none). Returns the session, or NULL with one line in err (what, where, what would be right).
 */
struct ku_session *ku_session_start(const struct ku_session_opts *opts, char *const *paths, unsigned int npaths, char err[static 512]);

/* Releases every waiter into native behaviour, detaches, removes every trace. NULL is allowed. */
void ku_session_end(struct ku_session *s);

/* How many are attached; with opts.all those seen so far. session.c */
unsigned int ku_session_nunions(const struct ku_session *s);

/* To poll for input; then ku_session_turn(). */
int ku_session_fd(const struct ku_session *s);
/* Handles what is there. Returns milliseconds after which it wants to be called again at the latest (-1: no matter), or -errno. */
int ku_session_turn(struct ku_session *s);

/*
 * Copies path ("/in/the/union") of the union with this id up although nobody asked; opts.own_done tells its end. cookie names it there.
 * Returns 0, -EAGAIN when there is no room now (try again after a turn), or -ENOMEM.
 */
int ku_session_submit(struct ku_session *s, uint32_t id, const char *path, void *cookie);

/* The union that id (of a record) names, NULL if it is gone. */
struct ku_attached *ku_session_union(struct ku_session *s, uint32_t id);

/*
 * Unions that come and go while the session runs. session_union.c
 * look, ready: in any thread, for they may have to wait for a file system. look: is it one, and may it have this mode? ready: nobody else's, and
 * what a crash left is gone. Return 0, or -errno with a line in err; at is to be closed in either case, unless it was added.
 * add, in the loop's thread: attaches it, and takes at over. -EEXIST: is attached already, as *ret_id. -ENOSPC: no room.
 */
int ku_session_look(const struct ku_session *s, const char *path, enum ku_mode mode, uint64_t min_size, struct ku_attached *at,
		    char err[static 512]);
/* look, for one that ku_scan() found, which is taken over with success. */
int ku_session_look_found(const struct ku_session *s, struct ku_union *u, enum ku_mode mode, uint64_t min_size, struct ku_attached *at,
			  char err[static 512]);
int ku_session_ready(struct ku_attached *at, char err[static 512]);
void ku_attached_close(struct ku_attached *at);
int ku_session_add(struct ku_session *s, struct ku_attached *at, uint32_t *ret_id, char err[static 512]);
/*
 * Lets a union go: its waiters go on natively. It is gone once ku_session_union() does not give it any more, which takes until no copy of ours is
 * under way on it. Returns 0, or -ENOENT.
 */
int ku_session_drop(struct ku_session *s, uint32_t id);
/* For session.c, each turn with ndropping or nspent: those that are. */
void ku_session_drops(struct ku_session *s);

/*
 * The steps of attaching; false with a line in err. attach.c
 * look: are they unions, and nobody else's? recover: what a crash left goes before anything new begins. all: from here on they are gated.
 */
bool ku_attach_look(struct ku_session *s, char *const *paths, unsigned int npaths, char err[static 512]);
bool ku_attach_recover(struct ku_session *s, char err[static 512]);
bool ku_attach_all(struct ku_session *s, char err[static 512]);
/* Of one: intents opened, what a crash left removed; attached. Return 0 or -errno with a line in err. */
int ku_attach_recover_one(struct ku_attached *at, char err[static 512]);
int ku_attach_one(struct ku_session *s, struct ku_attached *at, char err[static 512]);

/* One copy, in a worker: from REQUESTED to a terminal state. worker.c */
void ku_worker_copy(struct ku_session *s, struct ku_pending *p);
/* The path of a request's record below the union's root, "/a/b"; NULL if it has none or without memory. worker.c */
char *ku_request_path(const struct ku_request *req);

/* Event lines of a finished copy and of those who waited for it. session_report.c */
void ku_report_copy(struct ku_session *s, struct ku_pending *p);
/* Starts the observer. False with a line in err where the session is worth nothing without it. session_observe.c */
bool ku_session_observe(struct ku_session *s, char err[static 512]);
/* Loads the policy, if there is one; then puts it in force, behind the gate. False with a line in err. session_policy.c */
bool ku_session_policy(struct ku_session *s, char err[static 512]);
bool ku_session_policy_on(struct ku_session *s, char err[static 512]);
/* For a union that comes later. 0, or -errno with a line in err. session_policy.c */
int ku_session_policy_add(struct ku_session *s, const struct ku_attached *at, char err[static 512]);
/* The last step, after which nothing fails any more: with opts.pin the policy outlives the session. session_policy.c */
bool ku_session_policy_pin(struct ku_session *s, char err[static 512]);
/* As ku_judge_answer(), also without a policy. session_policy.c */
int ku_session_policy_answer(struct ku_session *s, const char *program, char err[static 512]);
/* Reads the policy's file again. False: a bad one, which is one warning, and the old one stays. session_policy.c */
bool ku_session_policy_reload(struct ku_session *s);
/* What rules and budgets counted so far, on stderr. session_policy.c */
void ku_session_policy_report(const struct ku_session *s);
/* For session_observe.c and session_policy.c: fd is polled, too; the union of this id is gone. */
int ku_session_watch(struct ku_session *s, int fd);
/* Recycles finished slots whose parked tasks have all read the outcome; all: the others, too. True: some are left. session.c */
bool ku_session_drain(struct ku_session *s, bool all);
void ku_session_gone(struct ku_session *s, uint32_t id);

/* Counts a directory that p's worker had the kernel copy up on its way. session_report.c */
void ku_report_beside(struct ku_session *s, const struct ku_pending *p, const struct ku_obs_copyup *c);
/* To the event file and to opts.on_event. session_report.c */
void ku_session_emit(struct ku_session *s, const struct ku_event *e);
void ku_report_free(struct ku_session *s);
/* The numbers of the union with this id, whose place another takes. session_report.c */
void ku_report_forget(struct ku_session *s, uint32_t id);
/* The summary of `kunion run`, on stderr. */
void ku_report_summary(const struct ku_session *s);

#endif
