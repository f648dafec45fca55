/* SPDX-License-Identifier: GPL-2.0-only */
/* Policies written in tests, read and compiled. */
#ifndef KU_UNIT_POLICY_TEXT_H
#define KU_UNIT_POLICY_TEXT_H

#include "ktap.h"
#include "policy/policy.h"
#include "util.h"

/* What stands around the rules. */
#define POLICY(default_, rules) "version = 1;\ndefault = \"" default_ "\";\nrules = (\n" rules "\n);\n"
/* One rule that denies all that it asks for. */
#define DENY(what) "{ name = \"r\"; " what " action = \"any\"; verdict = \"deny\"; }"

struct policy_pair {
	struct ku_policy *p;
	struct ku_pol *pol;
};

static inline struct policy_pair policy_of(const char *text)
{
	struct policy_pair t = { .pol = malloc(sizeof(*t.pol)) };
	char err[512] = "";

	KTAP_REQUIRE(t.pol);
	KTAP_REQUIRE(!ku_policy_parse("test", text, strlen(text), &t.p, err), "%s in %s", err, text);
	KTAP_REQUIRE(!ku_policy_compile(t.p, t.pol, err), "%s", err);
	return t;
}

static inline void policy_done(struct policy_pair *t)
{
	ku_policy_free(t->p);
	free(t->pol);
}

/* The deciding rule, on which both have to agree. */
static inline size_t policy_decides(const struct policy_pair *t, const struct ku_pol_op *op)
{
	struct ku_pol_set set;
	size_t plain = ku_policy_match(t->p, op), tables;

	ku_policy_union_set(t->p, op->union_path, &set);
	tables = ku_pol_match(t->pol, &set, op);
	KTAP_CHECK(plain == tables, "by the rules %zu, by the tables %zu: path '%s' cgroup '%s' exe '%s' comm '%s'", plain, tables, op->path,
		   op->cgroup, op->exe, op->comm);
	return plain;
}

#define OP(...) \
	&(struct ku_pol_op) { .union_path = "/m", .path = "/x", .exe = "/bin/sh", .comm = "sh", .cgroup = "/c", __VA_ARGS__ }

/* Does the only rule of such a policy fit? */
static inline bool policy_fits(const char *text, const struct ku_pol_op *op)
{
	struct policy_pair t = policy_of(text);
	bool fits = policy_decides(&t, op) == 0;

	KTAP_REQUIRE(t.p->nrules == 2);
	policy_done(&t);
	return fits;
}

#define FITS(what, ...) policy_fits(POLICY("allow", DENY(what)), OP(__VA_ARGS__))

#endif
