/* SPDX-License-Identifier: GPL-2.0-only */
/* From the observing programs' records to events. One thread. */
#ifndef KU_OBSERVER_H
#define KU_OBSERVER_H

#include "event.h"
#include "mounts.h"
#include "obs.h"

struct ku_observer;

struct ku_observer_ops {
	void (*emit)(void *arg, const struct ku_event *e);
	/* An overlay is being mounted by process pid (0: not known), and observed already. */
	void (*made)(void *arg, uint32_t dev, uint32_t pid);
	/* A union's superblock ended. */
	void (*gone)(void *arg, uint32_t dev);
	/*
	 * A copy-up that a thread of kunion itself made the kernel do. True: it is told otherwise. False: e is told as the copy-up of who asked
	 * for it (ret_asker), if anybody did (pid is not 0).
	 */
	bool (*own)(void *arg, const struct ku_obs_copyup *c, struct ku_task *ret_asker);
	/* Who asked for the copy-up that kunion's thread makes the kernel do at that time; false: nobody known. */
	bool (*asker)(void *arg, uint32_t tid, uint64_t ns, struct ku_task *ret);
	/* A thread of kunion waited for somebody else's copy-up. */
	void (*own_wait)(void *arg, const struct ku_obs_wait *w);
	/* Adds what kunion itself copied to a union's totals. */
	void (*add)(void *arg, uint32_t dev, struct ku_ev_totals *totals);
	void *arg;
};

/*
 * Loads (ku_obs_load()), not yet attached. self_tgid: kunion's, where it makes the kernel copy; else 0. Returns 0, or -errno with one line in
 * why.
 */
int ku_observer_open(const struct ku_observer_ops *ops, bool all, bool writes, bool layers, uint32_t self_tgid, struct ku_observer **ret,
		     char why[static 256]);
int ku_observer_attach(struct ku_observer *o, char why[static 256]);
/* No more records come; those that are there do with the next ku_observer_turn(). */
void ku_observer_detach(struct ku_observer *o);
void ku_observer_close(struct ku_observer *o);

/* To poll for input, then ku_observer_turn(). */
int ku_observer_fd(const struct ku_observer *o);
/*
 * Tells what is there. last: nothing more will come, so nothing is held back. Returns milliseconds until it wants to be called again,
 * -1: no matter.
 */
int ku_observer_turn(struct ku_observer *o, bool last);

/* Tells now what is held back for a record that may still come. */
void ku_observer_hurry(struct ku_observer *o);

/* What is only known by asking: bytes changed since, and each union's totals. Before ku_observer_close(). */
void ku_observer_finish(struct ku_observer *o);

/* What the union of dev is to be called, in place of its mount point in pid's mount namespace or ours (0); tells its union event. */
void ku_observer_name(struct ku_observer *o, uint32_t dev, uint32_t pid, const char *path);

/* The union events told so far, again, to fn. */
void ku_observer_again(const struct ku_observer *o, void (*fn)(void *arg, const struct ku_event *e), void *arg);

/* The union of dev is let go: its totals are told, and it is observed no more unless all are. */
void ku_observer_forget(struct ku_observer *o, uint32_t dev);

/* How many have a union event: with opts all those that something happened in. */
unsigned int ku_observer_unions(const struct ku_observer *o);

/* The names that events use. */
struct ku_mount *ku_observer_mount(struct ku_observer *o, uint32_t dev, uint32_t pid);
const char *ku_op_name(uint32_t op);
/* "openat", "" where there is none; valid until the next call. */
const char *ku_syscall_name(int32_t nr, bool compat);
/* text holds what who points to. */
struct ku_who_text;
void ku_who_fill(struct ku_who *who, const struct ku_task *t, struct ku_who_text *text);

struct ku_who_text {
	char comm[17];
	char cgroup[512];
	char container[128];
};

const struct ku_obs *ku_observer_bpf(const struct ku_observer *o);

#endif
