/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gate (DESIGN 3): a FUSE file system of one file on a detached mount, and a child whose executable is that file. A task that
 * BPF puts to sleep asks for the file's xattr; the answer wakes it. All calls from one thread.
 */
#ifndef KU_GATE_H
#define KU_GATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* No sleep is longer: a sleeping BPF program holds up whoever closes a kprobe (KERNEL.md 5). */
#define KU_GATE_SLICE_NS 800000000ull

struct ku_gate;

struct ku_gate_ops {
	/* Thread tid asks: true and *ret_ref to keep it asleep on that reference, false to let it go at once. */
	bool (*asked)(void *arg, uint32_t tid, uint64_t *ret_ref);
	/* A signal woke tid, which slept on ref. */
	void (*interrupted)(void *arg, uint32_t tid, uint64_t ref);
	/* Run in the child before it becomes the gate's file: tells BPF who it is. 0 or -errno. */
	int (*child_setup)(void *arg);
	void *arg;
};

/* Mounts and starts the child. Returns 0 or -errno; *ret_what then names the step that failed (a static string). */
int ku_gate_open(const struct ku_gate_ops *ops, struct ku_gate **ret, const char **ret_what);

/* Wakes everyone (natively), ends the child, drops the mount. NULL is allowed. */
void ku_gate_close(struct ku_gate *g);

/* The descriptor to poll for input, then ku_gate_process(). */
int ku_gate_fd(const struct ku_gate *g);
/* 0, or -errno when the connection is gone. */
int ku_gate_process(struct ku_gate *g);

/* Kernel dev_t of the gate's superblock, by which BPF knows the file. */
uint32_t ku_gate_dev(const struct ku_gate *g);

/* Starts the child anew if somebody killed it; without it every wait is native. */
void ku_gate_check_child(struct ku_gate *g);

/* Lets go all that sleep on ref. */
void ku_gate_release(struct ku_gate *g, uint64_t ref);
void ku_gate_release_all(struct ku_gate *g);

/* Lets go those whose slice is over. Returns milliseconds until the next one's end, -1 when nobody sleeps. */
int ku_gate_slices(struct ku_gate *g);

#endif
