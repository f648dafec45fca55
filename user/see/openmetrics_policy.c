// SPDX-License-Identifier: GPL-2.0-only
/* A policy's rules and budgets as OpenMetrics families. */
#include <inttypes.h>
#include <stdlib.h>

#include "openmetrics.h"
#include "util.h"

struct ku_om_rules {
	FILE *f;
	const char *name; /* of the family at hand; of budgets also: */
	enum { KU_OM_USED, KU_OM_LIMIT, KU_OM_BEYOND } what;
};

static void ku_om_rule(void *arg, const struct ku_policy_rule *r, const struct ku_pol_count *c)
{
	_cleanup_free_ char *name = ku_om_label(r->name);
	struct ku_om_rules *o = arg;

	if (name)
		fprintf(o->f, "%s_total{rule=\"%s\"} %" PRIu64 "\n", o->name, name,
			(uint64_t)(o->what == KU_OM_USED ? c->hits : c->denied));
}

/* Seconds of the epoch; a rule that never decided has no such sample. */
static void ku_om_rule_last(void *arg, const struct ku_policy_rule *r, const struct ku_pol_count *c)
{
	_cleanup_free_ char *name = ku_om_label(r->name);
	struct ku_om_rules *o = arg;
	uint64_t ns = ku_utc_ns(c->last_ns);

	if (name && c->last_ns)
		fprintf(o->f, "%s{rule=\"%s\"} %" PRIu64 ".%09" PRIu64 "\n", o->name, name, ns / 1000000000, ns % 1000000000);
}

static void ku_om_budget(void *arg, const struct ku_policy_budget *b, const char *union_path, const struct ku_pol_account *a)
{
	_cleanup_free_ char *name = ku_om_label(b->name), *where = ku_om_label(union_path ?: "");
	struct ku_om_rules *o = arg;

	for (unsigned int l = KU_PL_COPIED; l <= KU_PL_RATE && name && where; l++) {
		if (b->max[l] == UINT64_MAX)
			continue;
		fprintf(o->f, "%s%s{budget=\"%s\",limit=\"%s\",union=\"%s\"} %" PRIu64 "\n", o->name, o->what == KU_OM_BEYOND ? "_total" : "", name,
			ku_pol_limit_name((enum ku_pol_limit)l), where,
			(uint64_t)(o->what == KU_OM_LIMIT  ? b->max[l] :
				   o->what == KU_OM_BEYOND ? a->over[l] :
				   l == KU_PL_RATE	   ? a->copyups :
							     a->used[l]));
	}
}

void ku_om_policy(FILE *f, const struct ku_judge *judge)
{
	struct ku_om_rules o = { .f = f };
	struct ku_judge_ops_each rules = { .rule = ku_om_rule, .arg = &o }, last = { .rule = ku_om_rule_last, .arg = &o },
				 budgets = { .budget = ku_om_budget, .arg = &o };

	o = (struct ku_om_rules){ f, "kunion_policy_hits", KU_OM_USED };
	ku_om_head(f, o.name, "counter", NULL, "Operations that this rule decided.");
	ku_judge_each(judge, &rules);
	o = (struct ku_om_rules){ f, "kunion_policy_denied", KU_OM_BEYOND };
	ku_om_head(f, o.name, "counter", NULL, "Of these, those refused, by the rule or its budget.");
	ku_judge_each(judge, &rules);
	o = (struct ku_om_rules){ f, "kunion_policy_last_hit_seconds", KU_OM_USED };
	ku_om_head(f, o.name, "gauge", "seconds", "When it last did, in seconds of the epoch.");
	ku_judge_each(judge, &last);
	if (!ku_judge_policy(judge)->nbudgets)
		return;
	o = (struct ku_om_rules){ f, "kunion_budget_used", KU_OM_USED };
	ku_om_head(f, o.name, "gauge", NULL, "What was charged to a budget: bytes, files, or copy-ups.");
	ku_judge_each(judge, &budgets);
	o = (struct ku_om_rules){ f, "kunion_budget_limit", KU_OM_LIMIT };
	ku_om_head(f, o.name, "gauge", NULL, "Its limits.");
	ku_judge_each(judge, &budgets);
	o = (struct ku_om_rules){ f, "kunion_budget_beyond", KU_OM_BEYOND };
	ku_om_head(f, o.name, "counter", NULL, "Operations refused, or told of, at the limit.");
	ku_judge_each(judge, &budgets);
}
