// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rules that can never decide, because an earlier one fits whenever they do. Such a rule is left out of sets, so that fewer are different and
 * states become equal: behind a prefix that decides all, nothing below it has to be told apart.
 */
#include <string.h>

#include "policy/policy_dfa.h"

static bool ku_list_has(const struct ku_pol_list *l, const char *text)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i], text))
			return true;
	return false;
}

/* Is whatever does for narrow enough for wide? */
static bool ku_list_covers(const struct ku_pol_list *wide, const struct ku_pol_list *narrow)
{
	if (!wide->n)
		return true;
	for (size_t i = 0; i < narrow->n; i++)
		if (!ku_list_has(wide, narrow->v[i]))
			return false;
	return narrow->n;
}

static bool ku_uids_cover(const struct ku_policy_rule *wide, const struct ku_policy_rule *narrow)
{
	if (!wide->nuids)
		return true;
	return wide->nuids == narrow->nuids && !memcmp(wide->uids, narrow->uids, wide->nuids * sizeof(*wide->uids));
}

/* The string itself is not looked at: both have been found to fit it. */
static bool ku_rule_covers(const struct ku_policy_rule *wide, const struct ku_policy_rule *narrow, enum ku_pol_string but)
{
	return !(narrow->actions & ~wide->actions) && (!wide->kinds || (narrow->kinds && !(narrow->kinds & ~wide->kinds))) &&
	       narrow->min_size >= wide->min_size && ku_uids_cover(wide, narrow) && ku_list_covers(&wide->unions, &narrow->unions) &&
	       (but == KU_PS_CONTAINER || ku_list_covers(&wide->containers, &narrow->containers)) &&
	       (but == KU_PS_CGROUP || ku_list_covers(&wide->cgroups, &narrow->cgroups)) &&
	       (but == KU_PS_COMM || ku_list_covers(&wide->comms, &narrow->comms)) &&
	       (but == KU_PS_EXE || ku_list_covers(&wide->exes, &narrow->exes)) &&
	       (but == KU_PS_PATH || (ku_list_covers(&wide->paths, &narrow->paths) && ku_list_covers(&wide->prefixes, &narrow->prefixes)));
}

void ku_pol_covers(const struct ku_policy *p, enum ku_pol_string string, struct ku_pol_set *ret)
{
	for (size_t i = 0; i < p->nrules; i++) {
		ret[i] = (struct ku_pol_set){ 0 };
		/* The default stays in every set. */
		for (size_t j = i + 1; j + 1 < p->nrules; j++)
			if (ku_rule_covers(&p->rules[i], &p->rules[j], string))
				ret[i].w[j / 64] |= 1ull << j % 64;
	}
}
