/* SPDX-License-Identifier: GPL-2.0-only */
/* The accounts of a policy's budgets in the kernel, and the free space it goes by. */
#ifndef KU_JUDGE_BUDGET_H
#define KU_JUDGE_BUDGET_H

#include <linux/types.h>
#include <stdint.h>

#include "kunion_judge_abi.h"
#include "policy/policy.h"

struct ku_budget_id;

struct ku_budgets {
	int fd_accounts, fd_frees, fd_spaces;
	struct ku_budget_id *ids; /* names that have accounts */
	uint32_t last_id;
};

void ku_budgets_free(struct ku_budgets *b);

/* The accounts of a pinned policy, whose banks these are. 0 or -ENOMEM. */
int ku_budgets_adopt(struct ku_budgets *b, const struct ku_pol_bank *banks, uint32_t in_force);
/* Into the bank that p was compiled into: a budget of a name that is known keeps its accounts. 0 or -ENOMEM. */
int ku_budgets_fill(struct ku_budgets *b, const struct ku_policy *p, struct ku_pol_bank *bank);
/* A union's accounts, those of all unions among them, as far as they are not there yet. 0 or -errno. */
int ku_budgets_open(const struct ku_budgets *b, const struct ku_pol_bank *bank, uint32_t dev);
/* A superblock of this number is a new one: what another one took is not its. */
void ku_budgets_new_union(const struct ku_budgets *b, uint32_t dev);
/* Accounts of budgets that the bank does not have. Only when nobody looks at another bank any more. */
void ku_budgets_forget(struct ku_budgets *b, const struct ku_pol_bank *bank);
/* Looks how much is free behind the union at path, or behind root, a descriptor, if that is not negative; where it cannot, nothing is known. */
void ku_budgets_look(const struct ku_budgets *b, uint32_t dev, const char *path, int root);
/* Nothing is known of it. */
void ku_budgets_unseen(const struct ku_budgets *b, uint32_t dev);

/* dev 0: of all unions. 0 or -errno. */
int ku_budgets_read(const struct ku_budgets *b, uint32_t id, uint32_t dev, struct ku_pol_account *ret);

#endif
