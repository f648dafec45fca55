/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the judge share among themselves. */
#ifndef KU_JUDGE_IMPL_H
#define KU_JUDGE_IMPL_H

#include "judge.h"
#include "judge_budget.h"
#include "judge_hooks.h"
#include "judge_pin.h"

#define KU_JUDGE_NAMED 16 /* generations */

struct ku_judge_union {
	struct ku_judge_union *next;
	uint32_t dev;
	char *path;
	bool away;	  /* in another mount namespace: the name it has there */
	bool told_unseen; /* that what is free there is not asked for */
};

struct ku_judge {
	struct ku_judge_ops ops;
	char *file;
	struct bpf_object *obj;
	struct ku_hooks hooks;
	bool attached;
	bool metacopy; /* some union has it on */
	struct ring_buffer *ring;
	struct ku_pol_shared *shared; /* memory-mapped, as the banks are */
	struct ku_pol_bank *banks;
	int fd_unions, fd_counts, fd_inner, fd_outer;
	struct ku_policy *policies[KU_JUDGE_NAMED]; /* each generation in its place; the older ones name the rules of late records */
	struct ku_judge_union *unions;
	struct ku_budgets budgets;
	uint64_t looked_ns; /* at the free space */
	struct ku_tell *tell;
	struct ku_pin pin;
	bool takes_new;	 /* ku_judge_take_new() */
	uint64_t serial; /* of elements of ku_pol_unions */
	struct ku_judge_hold *hold; /* NULL until a policy holds */
	bool can_hold;
	int epoll_fd;
	uint32_t gen; /* being written, or in force */
};

static inline struct ku_policy **ku_judge_named(struct ku_judge *j, uint32_t gen)
{
	return &j->policies[gen % KU_JUDGE_NAMED];
}

static inline uint32_t ku_judge_sum(const struct ku_pol_set *set)
{
	uint32_t sum = 0;

	for (unsigned int i = 0; i < KU_POL_WORDS; i++)
		sum |= (set->w[i] != 0) << i;
	return sum;
}

/*
 * judge_load.c
 * read: the policy in file, compiled into a bank of its own memory. can_hold: the kernel can. Both are the caller's then.
 * load, setup: the programs and their maps. All return 0, or -errno; load and read with a line in why or err where there is more to say.
 */
int ku_judge_read(const char *file, bool can_hold, struct ku_policy **ret, struct ku_pol_bank **ret_bank, char err[static 512]);
int ku_judge_load(struct ku_judge *j, char why[static 512]);
int ku_judge_setup(struct ku_judge *j);

/*
 * judge_union.c
 * set: what the policies in force and about to be say of a union, for the programs. adopt: the unions that the pinned policy is for: the new one must be
 * for them from its first moment on. path: "" for none. look: at the free space of all. Return 0 or -errno; adopt with a line in err.
 */
int ku_judge_union_set(struct ku_judge *j, const struct ku_judge_union *u);
int ku_judge_adopt_unions(struct ku_judge *j, char err[static 512]);
const char *ku_judge_union_path(void *arg, uint32_t dev, uint32_t pid);
void ku_judge_look(struct ku_judge *j);

/* judge.c: KU_HOOK_* and actions that the policy in a bank has to see. */
uint32_t ku_judge_needs(const struct ku_judge *j, const struct ku_pol_bank *bank);

#endif
