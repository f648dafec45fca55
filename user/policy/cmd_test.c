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
	const struct ku_pol *pol;
	const char *policy;
	struct ku_map rows; /* struct ku_test_row */
	struct ku_pol_untold untold;
	uint64_t operations, moves, removals, renames; /* moves: directories that would not be renamed; of the others it is not told what they were */
	uint64_t by_verdict[KU_V_MAX];
};

/* The strings of a key, each with a NUL behind it. */
static const char *ku_test_next(const char **at)
{
	const char *s = *at;

	*at += strlen(s) + 1;
	return s;
}

/* op, of s, comes to this rule. */
static int ku_test_judged(struct ku_test *t, const struct ku_pol_seen *s, const struct ku_pol_op *op, size_t rule)
{
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
	len = asprintf(&key, "%s%c%s%c%s%c%s%c%zu %d", op->union_path, '\0', s->who->container, '\0', op->comm, '\0', op->path, '\0', rule,
		       (int)op->action);
	err = len < 0 ? -ENOMEM : ku_map_get(&t->rows, key, (size_t)len, &item, &kept, &new);
	if (err)
		return err;
	row = item;
	if (new) {
		row->rule = rule;
		row->action = op->action;
		row->union_path = ku_test_next(&kept);
		row->container = ku_test_next(&kept);
		row->comm = ku_test_next(&kept);
		row->path = ku_test_next(&kept);
	}
	row->count++;
	return 0;
}

static bool ku_test_denies(const struct ku_policy *p)
{
	for (size_t i = 0; i < p->nrules; i++)
		if (p->rules[i].verdict == KU_V_DENY || p->rules[i].verdict == KU_V_HOLD)
			return true;
	return false;
}

/* A name for what has one: as ku_pol_move_dir() and ku_pol_carry() in BPF have it. */
static int ku_test_carry(struct ku_test *t, const struct ku_pol_seen *s)
{
	static const enum ku_pol_action carried[] = { KU_A_MODIFY, KU_A_EXEC };

	if (s->op.kind == KU_K_DIR) {
		t->moves += ku_test_denies(t->p) && !ku_pol_same_below(t->pol, s->from, s->op.path);
		return 0;
	}
	for (size_t i = 0; i < KU_ARRAY_SIZE(carried); i++) {
		struct ku_pol_op op = s->op;
		enum ku_pol_verdict here, there;
		size_t rule;

		op.action = carried[i];
		here = t->p->rules[ku_policy_match(t->p, &op)].verdict;
		op.path = s->from;
		rule = ku_policy_match(t->p, &op);
		there = t->p->rules[rule].verdict;
		if (here != KU_V_DENY && (there == KU_V_DENY || (there == KU_V_HOLD && here != KU_V_HOLD)))
			return ku_test_judged(t, s, &op, rule);
	}
	return 0;
}

static int ku_test_seen(void *arg, const struct ku_pol_seen *s)
{
	struct ku_test *t = arg;
	int err = ku_test_judged(t, s, &s->op, ku_policy_match(t->p, &s->op));

	t->removals += s->unsure && !s->from;
	t->renames += s->unsure && s->from;
	return !err && s->from ? ku_test_carry(t, s) : err;
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
	ku_pol_json_number(&doc, doc, "without_path", t->untold.no_path);
	ku_pol_json_number(&doc, doc, "lost", t->untold.lost);
	ku_pol_json_number(&doc, doc, "without_layer", t->removals);
	ku_pol_json_number(&doc, doc, "without_replaced", t->renames);
	ku_pol_json_number(&doc, doc, "exdev", t->moves);
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
	if (t->moves)
		printf("%llu renames of directories refused (EXDEV): the rules below both names are not the same\n", (unsigned long long)t->moves);
	return ku_pol_printed(KU_EXIT_OK);
}

/* What the verdicts do not rest on. */
static void ku_test_warn(const struct ku_policy_args *a, const struct ku_test *t)
{
	size_t exes = 0, charged = 0;

	for (size_t i = 0; i < t->p->nrules; i++) {
		exes += t->p->rules[i].exes.n != 0;
		charged += t->p->rules[i].budget != 0;
	}
	if (exes)
		ku_warn("policy: %s: %zu rule%s for exe, which events do not tell: such rules do not decide here", a->file, exes,
			exes == 1 ? " asks" : "s ask");
	if (charged)
		ku_warn("policy: %s: %zu rule%s charged to a budget, which is not kept here: limits refuse nothing", a->file, charged,
			charged == 1 ? " is" : "s are");
	if (t->untold.no_path)
		ku_warn("policy: %s: %llu operations have no path, and are left out", a->from, (unsigned long long)t->untold.no_path);
	if (t->untold.lost)
		ku_warn("policy: %s: %llu events were lost when it was recorded, and are not judged", a->from, (unsigned long long)t->untold.lost);
	if (t->removals || t->renames)
		ku_warn("policy: %s: recorded without layers: %llu removals are taken for 'remove', and what %llu renames replaced is not judged", a->from,
			(unsigned long long)t->removals, (unsigned long long)t->renames);
}

int ku_policy_cmd_test(const struct ku_policy_args *a)
{
	_cleanup_free_ struct ku_pol *pol = NULL;
	struct ku_test t = { .policy = a->file, .rows = KU_MAP(struct ku_test_row, 0) };
	struct ku_policy *p;
	int status;

	/* Compiled too: what does not fit into the tables could not be loaded either. */
	if (!ku_policy_open(a->file, &p, &pol))
		return KU_EXIT_USAGE;
	t.p = ku_test_policy = p;
	t.pol = pol;
	status = ku_pol_events_read(a, ku_test_seen, &t, &t.untold);
	if (status == KU_EXIT_OK) {
		ku_test_warn(a, &t);
		/* The map is only walked from here on. */
		if (t.rows.n)
			qsort(t.rows.entries, t.rows.n, sizeof(*t.rows.entries), ku_test_cmp);
		status = a->json ? ku_test_json(&t) : ku_test_text(&t);
	}
	ku_map_free(&t.rows);
	ku_policy_free(p);
	return status;
}
