// SPDX-License-Identifier: GPL-2.0-only
/* The words of a policy, and what is freed with it. */
#include <errno.h>
#include <stdlib.h>

#include "policy.h"
#include "util.h"

static const char *const ku_pol_actions[] = {
	[KU_A_COPY_UP] = "copy-up", [KU_A_CREATE] = "create", [KU_A_REMOVE] = "remove", [KU_A_REMOVE_UPPER] = "remove-upper",
	[KU_A_MODIFY] = "modify",   [KU_A_EXEC] = "exec",
};
_Static_assert(KU_ARRAY_SIZE(ku_pol_actions) == KU_A_MAX, "an action has no name");

static const char *const ku_pol_kinds[] = {
	[KU_K_FILE] = "file",
	[KU_K_DIR] = "dir",
	[KU_K_SYMLINK] = "symlink",
	[KU_K_SPECIAL] = "special",
};
_Static_assert(KU_ARRAY_SIZE(ku_pol_kinds) == KU_K_MAX, "a kind has no name");

static const char *const ku_pol_verdicts[] = {
	[KU_V_ALLOW] = "allow",
	[KU_V_AUDIT] = "audit",
	[KU_V_DENY] = "deny",
	[KU_V_HOLD] = "hold",
};
_Static_assert(KU_ARRAY_SIZE(ku_pol_verdicts) == KU_V_MAX, "a verdict has no name");

static const char *const ku_pol_limits[] = {
	[KU_PL_NONE] = "",	   [KU_PL_COPIED] = "copy_up",		    [KU_PL_WRITTEN] = "write",
	[KU_PL_CREATED] = "files", [KU_PL_RATE] = "copy_ups_per_second", [KU_PL_SPACE] = "keep_free",
};
_Static_assert(KU_ARRAY_SIZE(ku_pol_limits) == KU_PL_MAX, "a limit has no name");

const char *ku_pol_action_name(enum ku_pol_action a)
{
	return a < KU_A_MAX ? ku_pol_actions[a] : "";
}

const char *ku_pol_verdict_name(enum ku_pol_verdict v)
{
	return v < KU_V_MAX ? ku_pol_verdicts[v] : "";
}

const char *ku_pol_kind_name(enum ku_pol_kind k)
{
	return k < KU_K_MAX ? ku_pol_kinds[k] : "";
}

const char *ku_pol_limit_name(enum ku_pol_limit l)
{
	return l < KU_PL_MAX ? ku_pol_limits[l] : "";
}

int ku_pol_errno(int rule_err, enum ku_pol_action a)
{
	if (rule_err)
		return rule_err;
	return a == KU_A_COPY_UP || a == KU_A_CREATE ? EROFS : EPERM;
}

static void ku_pol_list_free(struct ku_pol_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

void ku_policy_free(struct ku_policy *p)
{
	for (size_t i = 0; p && i < p->nrules; i++) {
		struct ku_policy_rule *r = &p->rules[i];

		free(r->name);
		ku_pol_list_free(&r->unions);
		ku_pol_list_free(&r->containers);
		ku_pol_list_free(&r->cgroups);
		ku_pol_list_free(&r->comms);
		ku_pol_list_free(&r->exes);
		ku_pol_list_free(&r->paths);
		ku_pol_list_free(&r->prefixes);
		free(r->uids);
	}
	for (size_t i = 0; p && i < p->nbudgets; i++)
		free(p->budgets[i].name);
	if (p) {
		free(p->rules);
		free(p->budgets);
	}
	free(p);
}
