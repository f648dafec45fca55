/* SPDX-License-Identifier: GPL-2.0-only */
/* What the reading of a policy file shares: where it is, and its words' checks. */
#ifndef KU_POLICY_LOAD_H
#define KU_POLICY_LOAD_H

#include <libconfig.h>

#include "map.h"
#include "policy/policy.h"

struct ku_pol_src {
	const char *file;
	char *err; /* 512 bytes */
	struct ku_policy *p;
	struct ku_map names; /* unsigned int: the line of the rule of that name */
	struct ku_map budgets; /* size_t: number + 1 of the budget of that name */
};

/* Writes "FILE:LINE: .." into the error, as one line. Returns -EINVAL. */
int ku_pol_fail(struct ku_pol_src *s, unsigned int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The word of which text seems to be a misspelling; NULL if none is near. words ends with NULL. */
const char *ku_pol_near(const char *text, const char *const *words);
/* "'a', 'b' or 'c'" */
void ku_pol_words(const char *const *words, char *text, size_t size);

/* The number of text among words; a failure names key. -EINVAL */
int ku_pol_word(struct ku_pol_src *s, unsigned int line, const char *key, const char *text, const char *const *words);
/* "EROFS" and the like, positive. 0 or -EINVAL. */
/* By its name, as "EACCES". 0 or -EINVAL. */
int ku_pol_errno_number(const char *name, int *ret);
int ku_pol_errno_of(struct ku_pol_src *s, unsigned int line, const char *key, const char *text, int *ret);

/* Reads one rule's group into r, which is zero and in the policy already. 0, -EINVAL, -ENOMEM. */
int ku_pol_rule(struct ku_pol_src *s, config_setting_t *group, struct ku_policy_rule *r);

/* policy_budget.c: reads the list of budgets into the policy. 0, -EINVAL, -ENOMEM. */
int ku_pol_budgets(struct ku_pol_src *s, config_setting_t *list);
/* Number + 1 of the budget of this name; 0 with the error written, which begins with whose it is ("rule 'x': budget"). */
size_t ku_pol_budget_of(struct ku_pol_src *s, unsigned int line, const char *whose, const char *name);
/* Is it of a verdict and actions that can be charged? 0 or -EINVAL. */
int ku_pol_budget_fits(struct ku_pol_src *s, const struct ku_policy_rule *r);

/* The letters, digits and so on that a name of a rule or budget is made of: what is wrong with it, or NULL. */
const char *ku_pol_bad_name(const char *text);

/* policy_check.c: what is wrong with a value of a rule, as one sentence with what would be right; NULL: nothing. */
const char *ku_pol_bad_glob(const char *text);
const char *ku_pol_bad_comm(const char *text);
const char *ku_pol_bad_prefix(const char *text);
const char *ku_pol_bad_cgroup(const char *text);
const char *ku_pol_bad_container(const char *text);

#endif
