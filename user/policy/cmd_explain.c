// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy explain: which rule decides about an operation, and why those before it do not. */
#include <stdlib.h>

#include "cmd.h"
#include "policy/policy_cmd.h"
#include "policy/policy_match.h"
#include "util.h"

/* The errno's name where the verdict has one; "" else. */
static const char *ku_explain_errno(const struct ku_policy_rule *r, enum ku_pol_action action, char buf[static 16])
{
	if (r->verdict != KU_V_DENY && r->verdict != KU_V_HOLD)
		return "";
	return ku_errno_name(ku_pol_errno(r->err, action), buf);
}

static int ku_explain_json(const struct ku_policy *p, const struct ku_pol_op *op, size_t rule)
{
	struct json_object *doc = json_object_new_object(), *list;
	const struct ku_policy_rule *r = &p->rules[rule];
	char buf[16];

	ku_pol_json_text(&doc, doc, "verdict", ku_pol_verdict_name(r->verdict));
	ku_pol_json_text(&doc, doc, "errno", ku_explain_errno(r, op->action, buf));
	ku_pol_json_text(&doc, doc, "rule", r->name);
	ku_pol_json_number(&doc, doc, "line", r->line);
	list = ku_pol_json_add(&doc, doc, "passed_over", json_object_new_array());
	for (size_t i = 0; i < rule && doc; i++) {
		struct json_object *o = ku_pol_json_add(&doc, list, NULL, json_object_new_object());

		ku_pol_json_text(&doc, o, "rule", p->rules[i].name);
		ku_pol_json_number(&doc, o, "line", p->rules[i].line);
		ku_pol_json_text(&doc, o, "does_not_fit", ku_policy_misfit(p, i, op));
	}
	return ku_pol_json_print(doc);
}

int ku_policy_cmd_explain(const struct ku_policy_args *a)
{
	const struct ku_policy_rule *r;
	struct ku_policy *p;
	const char *code;
	char buf[16];
	size_t rule;
	int status;

	if (!ku_policy_open(a->file, &p, NULL))
		return KU_EXIT_USAGE;
	rule = ku_policy_match(p, &a->op);
	r = &p->rules[rule];
	if (a->json) {
		status = ku_explain_json(p, &a->op, rule);
		ku_policy_free(p);
		return status;
	}
	code = ku_explain_errno(r, a->op.action, buf);
	printf("%s%s%s%s: ", ku_pol_verdict_name(r->verdict), *code ? " (" : "", code, *code ? ")" : "");
	if (rule == p->nrules - 1)
		printf("the default, line %u, as no rule fits\n", r->line);
	else
		printf("rule '%s', line %u, is the first that fits\n", r->name, r->line);
	for (size_t i = 0; i < rule; i++)
		printf("  rule '%s', line %u: %s does not fit\n", p->rules[i].name, p->rules[i].line, ku_policy_misfit(p, i, &a->op));
	ku_policy_free(p);
	return ku_pol_printed(KU_EXIT_OK);
}
