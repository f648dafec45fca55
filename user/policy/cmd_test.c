// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy test: what a policy would have done about recorded operations. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "log.h"
#include "map.h"
#include "policy/policy_cmd.h"
#include "trace_fmt.h"
#include "util.h"

/* The same rule, action, path and program. */
struct ku_test_row {
	size_t rule;
	enum ku_pol_action action;
	uint64_t count;
	const char *union_path, *container, *comm, *path; /* in the row's key */
};

struct ku_test {
	const struct ku_policy *p;
	const char *policy;
	struct ku_map rows; /* struct ku_test_row */
	uint64_t operations, no_path;
	uint64_t by_verdict[KU_V_MAX];
};

/* The strings of a key, each with a NUL behind it. */
static const char *ku_test_next(const char **at)
{
	const char *s = *at;

	*at += strlen(s) + 1;
	return s;
}

static int ku_test_seen(void *arg, const struct ku_pol_seen *s)
{
	struct ku_test *t = arg;
	size_t rule = ku_policy_match(t->p, &s->op);
	enum ku_pol_verdict verdict = t->p->rules[rule].verdict;
	_cleanup_free_ char *key = NULL;
	struct ku_test_row *row;
	const char *kept;
	void *item;
	bool new;
	int len, err;

	t->operations++;
	t->by_verdict[verdict]++;
	if (verdict == KU_V_ALLOW)
		return 0;
	len = asprintf(&key, "%s%c%s%c%s%c%s%c%zu %d", s->op.union_path, '\0', s->who->container, '\0', s->op.comm, '\0', s->op.path, '\0', rule,
		       (int)s->op.action);
	err = len < 0 ? -ENOMEM : ku_map_get(&t->rows, key, (size_t)len, &item, &kept, &new);
	if (err)
		return err;
	row = item;
	if (new) {
		row->rule = rule;
		row->action = s->op.action;
		row->union_path = ku_test_next(&kept);
		row->container = ku_test_next(&kept);
		row->comm = ku_test_next(&kept);
		row->path = ku_test_next(&kept);
	}
	row->count++;
	return 0;
}

static const struct ku_policy *ku_test_policy; /* for the order */

/* What is refused first, then by rule, how often, and path. */
static int ku_test_cmp(const void *a, const void *b)
{
	static const int order[] = { [KU_V_DENY] = 0, [KU_V_HOLD] = 1, [KU_V_AUDIT] = 2, [KU_V_ALLOW] = 3 };
	const struct ku_test_row *x = ((const struct ku_map_entry *)a)->item, *y = ((const struct ku_map_entry *)b)->item;
	int vx = order[ku_test_policy->rules[x->rule].verdict], vy = order[ku_test_policy->rules[y->rule].verdict];

	if (vx != vy)
		return vx - vy;
	if (x->rule != y->rule)
		return x->rule < y->rule ? -1 : 1;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return strcmp(x->path, y->path) ?: strcmp(x->comm, y->comm) ?: (int)x->action - (int)y->action;
}

static const char *ku_test_errno(const struct ku_test *t, const struct ku_test_row *row, char buf[static 16])
{
	const struct ku_policy_rule *r = &t->p->rules[row->rule];

	return r->verdict == KU_V_DENY || r->verdict == KU_V_HOLD ? ku_errno_name(ku_pol_errno(r->err, row->action), buf) : "-";
}

static int ku_test_json(const struct ku_test *t)
{
	struct json_object *doc = json_object_new_object(), *list;
	char buf[16];

	ku_pol_json_text(&doc, doc, "policy", t->policy);
	ku_pol_json_number(&doc, doc, "operations", t->operations);
	ku_pol_json_number(&doc, doc, "without_path", t->no_path);
	for (unsigned int v = 0; v < KU_V_MAX; v++)
		ku_pol_json_number(&doc, doc, ku_pol_verdict_name((enum ku_pol_verdict)v), t->by_verdict[v]);
	list = ku_pol_json_add(&doc, doc, "would", json_object_new_array());
	for (size_t i = 0; i < t->rows.n && doc; i++) {
		const struct ku_test_row *row = t->rows.entries[i].item;
		struct json_object *o = ku_pol_json_add(&doc, list, NULL, json_object_new_object());
		const char *code = ku_test_errno(t, row, buf);

		ku_pol_json_text(&doc, o, "verdict", ku_pol_verdict_name(t->p->rules[row->rule].verdict));
		ku_pol_json_text(&doc, o, "errno", *code == '-' ? "" : code);
		ku_pol_json_text(&doc, o, "rule", t->p->rules[row->rule].name);
		ku_pol_json_text(&doc, o, "action", ku_pol_action_name(row->action));
		ku_pol_json_text(&doc, o, "union", row->union_path);
		ku_pol_json_text(&doc, o, "path", row->path);
		ku_pol_json_text(&doc, o, "comm", row->comm);
		ku_pol_json_text(&doc, o, "container", row->container);
		ku_pol_json_number(&doc, o, "count", row->count);
	}
	return ku_pol_json_print(doc);
}

static int ku_test_text(const struct ku_test *t)
{
	char buf[16];

	if (t->rows.n)
		printf("%-7s %-8s %-16s %-12s %7s %-15s %s\n", "VERDICT", "ERRNO", "RULE", "ACTION", "COUNT", "COMM", "PATH");
	for (size_t i = 0; i < t->rows.n; i++) {
		const struct ku_test_row *row = t->rows.entries[i].item;
		_cleanup_free_ char *path = ku_terminal_text(row->path, true), *comm = ku_terminal_text(row->comm, true);
		_cleanup_free_ char *at = ku_terminal_text(row->union_path, true);

		if (!path || !comm || !at) {
			ku_err("policy: no memory");
			return KU_EXIT_USAGE;
		}
		printf("%-7s %-8s %-16s %-12s %7llu %-15s %s%s\n", ku_pol_verdict_name(t->p->rules[row->rule].verdict),
		       ku_test_errno(t, row, buf), t->p->rules[row->rule].name, ku_pol_action_name(row->action), (unsigned long long)row->count,
		       comm, at, path);
	}
	printf("%llu operations: %llu allowed, %llu audited, %llu denied, %llu held\n", (unsigned long long)t->operations,
	       (unsigned long long)t->by_verdict[KU_V_ALLOW], (unsigned long long)t->by_verdict[KU_V_AUDIT],
	       (unsigned long long)t->by_verdict[KU_V_DENY], (unsigned long long)t->by_verdict[KU_V_HOLD]);
	return ku_pol_printed(KU_EXIT_OK);
}

int ku_policy_cmd_test(const struct ku_policy_args *a)
{
	_cleanup_free_ struct ku_pol *pol = NULL;
	struct ku_test t = { .policy = a->file, .rows = KU_MAP(struct ku_test_row, 0) };
	struct ku_policy *p;
	size_t exes = 0;
	int status;

	/* Compiled too: what does not fit into the tables could not be loaded either. */
	if (!ku_policy_open(a->file, &p, &pol))
		return KU_EXIT_USAGE;
	for (size_t i = 0; i < p->nrules; i++)
		exes += p->rules[i].exes.n != 0;
	if (exes)
		ku_warn("policy: %s: %zu rule%s for exe, which events do not tell: such rules do not decide here", a->file, exes,
			exes == 1 ? " asks" : "s ask");
	t.p = ku_test_policy = p;
	status = ku_pol_events_read(a, ku_test_seen, &t, &t.no_path);
	if (status == KU_EXIT_OK) {
		if (t.no_path)
			ku_warn("policy: %s: %llu operations have no path, and are left out", a->from, (unsigned long long)t.no_path);
		/* The map is only walked from here on. */
		if (t.rows.n)
			qsort(t.rows.entries, t.rows.n, sizeof(*t.rows.entries), ku_test_cmp);
		status = a->json ? ku_test_json(&t) : ku_test_text(&t);
	}
	ku_map_free(&t.rows);
	ku_policy_free(p);
	return status;
}
