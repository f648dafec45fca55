/* SPDX-License-Identifier: GPL-2.0-only */
/* A policy: what containers may write into their layers (kunion-policy(5), DESIGN 8). From a file to rules, from rules to BPF's tables. */
#ifndef KU_POLICY_H
#define KU_POLICY_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kunion_policy_abi.h"

/* A list of patterns (or names), any of which will do; n 0: not asked for. */
struct ku_pol_list {
	char **v;
	size_t n;
};

struct ku_pol_uids {
	uint32_t from, to; /* both included */
};

struct ku_policy_rule {
	char *name;
	unsigned int line;
	/* subjects */
	struct ku_pol_list unions;     /* merged paths: glob */
	struct ku_pol_list containers; /* beginning of the id, or whole name */
	struct ku_pol_list cgroups;    /* this one and all below it */
	struct ku_pol_list comms;      /* glob */
	struct ku_pol_list exes;       /* glob of the program's path */
	struct ku_pol_uids *uids;
	size_t nuids;
	/* objects */
	struct ku_pol_list paths; /* glob as of ku_glob_match() */
	struct ku_pol_list prefixes; /* this path and all below it, taken literally */
	uint64_t min_size;
	uint32_t kinds;	  /* bits of enum ku_pol_kind; 0: not asked for */
	uint32_t actions; /* bits of enum ku_pol_action, never 0 */
	enum ku_pol_verdict verdict;
	int err; /* positive; 0: the action's own */
	unsigned int limit; /* hold: seconds, after which it is denied, or otherwise_allow: let pass; else 0 */
	bool otherwise_allow;
	size_t budget; /* number + 1 of the budget that it is charged to; 0: none */
};

/* What operations of the rules that name it may take. */
struct ku_policy_budget {
	char *name;
	unsigned int line;
	uint64_t max[KU_PL_MAX]; /* by enum ku_pol_limit; UINT64_MAX: no limit */
	bool all;  /* one account for all unions, else one for each */
	bool deny; /* at the limit; else it is told */
};

struct ku_policy {
	struct ku_policy_rule *rules; /* in the file's order; the last one is the default, with nothing asked for */
	size_t nrules;
	struct ku_policy_budget *budgets;
	size_t nbudgets;
	uint64_t keep_free; /* bytes that a copy-up leaves free in the upper file system; UINT64_MAX: not looked at */
};

/* An operation to be judged. Strings are never NULL; "" where not known. */
struct ku_pol_op {
	enum ku_pol_action action;
	enum ku_pol_kind kind;
	uint64_t size;
	uint32_t uid;
	const char *union_path, *path, *exe, *comm, *cgroup;
};

/*
 * Reads a policy file. Returns 0 and *ret; -EINVAL with one "FILE:LINE: what, and what would be right" in err; -errno of reading the file,
 * also with a line in err.
 */
int ku_policy_load(const char *file, struct ku_policy **ret, char err[static 512]);
/* The same of a text, which has a NUL behind its len bytes; file is its name in messages. */
int ku_policy_parse(const char *file, const char *text, size_t len, struct ku_policy **ret, char err[static 512]);
/* NULL is allowed. */
void ku_policy_free(struct ku_policy *p);

/*
 * Compiles into *ret, of which every byte is written. 0; -E2BIG with a line in err when the policy is beyond the limits (which, how far, and what
 * would be right); -ENOMEM.
 */
int ku_policy_compile(const struct ku_policy *p, struct ku_pol *ret, char err[static 512]);

/* The set of rules that this merged path lets through: BPF has it with each union. */
void ku_policy_union_set(const struct ku_policy *p, const char *union_path, struct ku_pol_set *ret);

/* Index of the deciding rule: by the plain reading of the rules, one after the other. The reference of what BPF does. */
size_t ku_policy_match(const struct ku_policy *p, const struct ku_pol_op *op);
/* The same by the compiled tables, as BPF does it. */
size_t ku_pol_match(const struct ku_pol *pol, const struct ku_pol_set *union_set, const struct ku_pol_op *op);

/* Do the same rules decide about whatever is below the directories a and b, as far as they ask for paths? */
bool ku_pol_same_below(const struct ku_pol *pol, const char *a, const char *b);

/* "copy-up", "create", "remove", "remove-upper", "modify", "exec"; "allow", ..; "file", .. */
const char *ku_pol_action_name(enum ku_pol_action a);
const char *ku_pol_verdict_name(enum ku_pol_verdict v);
const char *ku_pol_kind_name(enum ku_pol_kind k);
/* The key of a budget that sets it: "copy_up", ..; "keep_free"; "" for none. */
const char *ku_pol_limit_name(enum ku_pol_limit l);
/* The errno of a rule for an action, positive. */
int ku_pol_errno(int rule_err, enum ku_pol_action a);

#endif
