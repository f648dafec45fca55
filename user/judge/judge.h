/* SPDX-License-Identifier: GPL-2.0-only */
/* A policy in force: policy.bpf.c loaded with it, its verdicts as events, another one in its place (DESIGN 8). */
#ifndef KU_JUDGE_H
#define KU_JUDGE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "event.h"
#include "kunion_judge_abi.h"
#include "policy/policy.h"

struct ku_judge;

struct ku_judge_ops {
	void (*emit)(void *arg, const struct ku_event *e);
	void *arg;
	const char *answer; /* a program that answers what is held, NULL: none */
	bool open_waits; /* the gate waits in file_open (tier wait-open) */
	int fd_recs;	 /* the gate's map ku_recs, -1: no gate */
	bool pin;	 /* it is to outlive us; and what is pinned already is taken over */
	/*
	 * Opens the root of a union that was added as away: a descriptor, -EOPNOTSUPP: its file systems are not to be asked, or another -errno. It is
	 * closed at once.
	 */
	int (*union_root)(void *arg, uint32_t dev);
	/* Only with pin: the merged path of a union that the pinned policy is for, NULL for one that is not to be attached. */
	const char *(*union_path)(void *arg, uint32_t dev);
	/* The name of one of ku_judge_take_new() that was not added yet, as pid sees it; "" if it is not known. May be NULL */
	const char *(*new_path)(void *arg, uint32_t dev, uint32_t pid);
};

/*
 * Reads and compiles the policy in file and loads the programs, without attaching them. 0, or -errno with one line in err (what, where, what would be
 * right). Never attached, ku_judge_close() does for it.
 */
int ku_judge_open(const char *file, const struct ku_judge_ops *ops, struct ku_judge **ret, char err[static 512]);
/* From here on it is in force on the unions added. After the gate's: what is attached last is called first. */
int ku_judge_attach(struct ku_judge *j, char err[static 512]);
/*
 * The last step: from here on tasks are held, and with ops.pin it stays in force when kunion ends, however it does (kunion detach --all). 0, or -errno with
 * a line in err.
 */
int ku_judge_settle(struct ku_judge *j, char err[static 512]);
void ku_judge_detach(struct ku_judge *j);
/* NULL is allowed. */
void ku_judge_close(struct ku_judge *j);

/*
 * A union by its superblock's kernel dev_t. metacopy: a file there may be upper without its data. away: path is a name in another mount
 * namespace, for ops.union_root(). Returns 0 or -errno.
 */
int ku_judge_union_add(struct ku_judge *j, uint32_t dev, const char *path, bool metacopy, bool away);
/*
 * on: overlays that are mounted from now on are unions without a name, in the kernel already; each is to be added when its name is known. Returns 0 or
 * -errno.
 */
int ku_judge_take_new(struct ku_judge *j, bool on);
/* Also for one whose superblock is gone. */
void ku_judge_union_remove(struct ku_judge *j, uint32_t dev);
/* One of ku_judge_take_new() that will not be added; does nothing if it was. */
void ku_judge_forget_new(struct ku_judge *j, uint32_t dev);

/*
 * From now on this program answers, or none (NULL); it is the caller's, and has to last until the next call or j's end. 0, or -errno with one line in err
 * and all as it was.
 */
int ku_judge_answer(struct ku_judge *j, const char *program, char err[static 512]);
/*
 * Reads the file again; every operation sees the old policy or the new one. 0, or -errno with one line in err and the old policy in force.
 */
int ku_judge_reload(struct ku_judge *j, char err[static 512]);

/* To poll for input; then ku_judge_turn(), which returns milliseconds after which it wants to be called again (-1: no matter). */
int ku_judge_fd(const struct ku_judge *j);
int ku_judge_turn(struct ku_judge *j, bool last);

const struct ku_policy *ku_judge_policy(const struct ku_judge *j);
/* Of the policy in force, by the number of its rule: the sum over all CPUs. Returns 0 or -errno. */
int ku_judge_count(const struct ku_judge *j, size_t rule, struct ku_pol_count *ret);
/* The n-th union that was added; NULL: there are not so many. */
const char *ku_judge_union(const struct ku_judge *j, size_t n, uint32_t *ret_dev);
/* What was charged to a budget, by its number in the policy in force; of one union, or (dev 0) of all. 0; -ENOENT: it has no such account. */
int ku_judge_account(const struct ku_judge *j, size_t budget, uint32_t dev, struct ku_pol_account *ret);

/* judge_report.c: calls back for every account of every budget, and for every rule, the default last. */
struct ku_judge_ops_each {
	void (*rule)(void *arg, const struct ku_policy_rule *r, const struct ku_pol_count *c);
	/* union_path NULL: of all unions */
	void (*budget)(void *arg, const struct ku_policy_budget *b, const char *union_path, const struct ku_pol_account *a);
	void *arg;
};
void ku_judge_each(const struct ku_judge *j, const struct ku_judge_ops_each *ops);
/* Tables for people: rules that decided something, and budgets. */
void ku_judge_report(const struct ku_judge *j, FILE *f);


#endif
