// SPDX-License-Identifier: GPL-2.0-only
/* What a policy's rules decided and its budgets were charged with, for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "event.h"
#include "judge.h"
#include "trace_fmt.h"
#include "util.h"

/* Of the rules that decided something, so many are told one by one. */
#define KU_REPORT_RULES 64

void ku_judge_each(const struct ku_judge *j, const struct ku_judge_ops_each *ops)
{
	const struct ku_policy *p = ku_judge_policy(j);
	struct ku_pol_account a;
	struct ku_pol_count c;
	const char *path;
	uint32_t dev;

	for (size_t i = 0; ops->rule && i < p->nrules; i++)
		if (!ku_judge_count(j, i, &c))
			ops->rule(ops->arg, &p->rules[i], &c);
	for (size_t i = 0; ops->budget && i < p->nbudgets; i++) {
		if (p->budgets[i].all) {
			if (!ku_judge_account(j, i, 0, &a))
				ops->budget(ops->arg, &p->budgets[i], NULL, &a);
			continue;
		}
		for (size_t n = 0; (path = ku_judge_union(j, n, &dev)); n++)
			if (!ku_judge_account(j, i, dev, &a))
				ops->budget(ops->arg, &p->budgets[i], path, &a);
	}
}

struct ku_report_table {
	FILE *f;
	size_t rules; /* that decided something */
	bool budgets; /* the head is there */
};

/* "2026-01-31 12:00:00", local; "-": never. */
static const char *ku_report_time(uint64_t monotonic_ns, char buf[static 32])
{
	time_t s = (time_t)(ku_utc_ns(monotonic_ns) / 1000000000);
	struct tm tm;

	if (!monotonic_ns || !localtime_r(&s, &tm) || !strftime(buf, 32, "%F %T", &tm))
		snprintf(buf, 32, "-");
	return buf;
}

/* A name is the policy's: whatever was written there. */
static void ku_report_name(FILE *f, const char *name)
{
	_cleanup_free_ char *text = ku_terminal_text(name, false);

	fprintf(f, "  %-20s", text ? text : "?");
}

static void ku_report_rule(void *arg, const struct ku_policy_rule *r, const struct ku_pol_count *c)
{
	struct ku_report_table *t = arg;
	char when[32];

	if (!c->hits || ++t->rules > KU_REPORT_RULES)
		return;
	if (t->rules == 1)
		fprintf(t->f, "  %-20s %10s %10s  %s\n", "RULE", "HITS", "DENIED", "LAST");
	ku_report_name(t->f, r->name);
	fprintf(t->f, " %10" PRIu64 " %10" PRIu64 "  %s\n", (uint64_t)c->hits, (uint64_t)c->denied, ku_report_time(c->last_ns, when));
}

static void ku_report_budget(void *arg, const struct ku_policy_budget *b, const char *union_path, const struct ku_pol_account *a)
{
	_cleanup_free_ char *where = ku_terminal_text(union_path ?: "all unions", false);
	struct ku_report_table *t = arg;

	if (!t->budgets)
		fprintf(t->f, "  %-20s %-20s %14s %14s %8s  %s\n", "BUDGET", "LIMIT", "USED", "OF", "BEYOND", "UNION");
	t->budgets = true;
	for (unsigned int l = KU_PL_COPIED; l <= KU_PL_RATE; l++) {
		if (b->max[l] == UINT64_MAX)
			continue;
		ku_report_name(t->f, b->name);
		/* Of a rate there is nothing that is used up: what passed. */
		fprintf(t->f, " %-20s %14" PRIu64 " %14" PRIu64 " %8" PRIu64 "  %s\n", ku_pol_limit_name((enum ku_pol_limit)l),
			(uint64_t)(l == KU_PL_RATE ? a->copyups : a->used[l]), b->max[l], (uint64_t)a->over[l], where ? where : "?");
	}
}

void ku_judge_report(const struct ku_judge *j, FILE *f)
{
	struct ku_report_table t = { .f = f };
	struct ku_judge_ops_each ops = { .rule = ku_report_rule, .budget = ku_report_budget, .arg = &t };

	ku_judge_each(j, &ops);
	if (t.rules > KU_REPORT_RULES)
		fprintf(f, "  and %zu rules more\n", t.rules - KU_REPORT_RULES);
}
