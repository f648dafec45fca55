// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every action by every subject, and on every kind of object, told of, refused and let pass, each with a case beside it that the rule does not fit: by
 * errno, by event, and by what is in the upper layer. One attachment; the events are read once. (Verdict hold: test_policy_hold_table.)
 */
#include "policy_table.h"

FX_BARE

enum verdict { DENY, AUDIT, ALLOW, VERDICTS };
static const char *const verdict_names[VERDICTS] = { "deny", "audit", "allow" };

/* The rule before decides about "yes" with verdict allow, and one behind it refuses all. Without a subject nothing is "no". */
static bool denied(const struct row *r)
{
	return r->verdict == DENY ? r->yes : r->verdict == ALLOW && !r->yes;
}

static bool told(const struct row *r)
{
	return denied(r) || (r->verdict == AUDIT && r->yes);
}

static void rules_make(void)
{
	FILE *f = fopen(POLICY_FILE, "we");

	KTAP_REQUIRE(f);
	fprintf(f, "version = 1;\ndefault = \"allow\";\nrules = (\n");
	for (unsigned int i = 0; i < NASKS; i++)
		for (int n = 0; n < ACTIONS * VERDICTS; n++) {
			const struct asks *s = &all_asks[i];
			const char *action = action_names[n % ACTIONS], *code = s->rule[0] ? "errno = \"ENOTTY\";" : "";
			enum verdict v = (enum verdict)(n / ACTIONS);

			if (!is_there(s, n % ACTIONS))
				continue;
			rules_put(f, s, action, verdict_names[v], fx_name("verdict = \"%s\"; %s", verdict_names[v], v == DENY ? code : ""));
			if (v == ALLOW)
				fprintf(f, "{ name = \"%s-%s-else\"; prefix = \"/t/%s/%s/allow\"; action = \"%s\"; verdict = \"deny\"; %s },\n", s->name, action,
					s->name, action, action, code);
		}
	fprintf(f, TABLE_LAST);
	KTAP_REQUIRE(fclose(f) == 0);
}

static void row_run(const struct fx *fx, const struct row *r)
{
	bool no = denied(r);
	int want = no ? refusal(r) : 0, err = act_as(r, fx_path(fx, r->name));

	KTAP_CHECK(err == want, "%s: %s, not %s", r->name, strerrorname_np(err), strerrorname_np(want));
	KTAP_CHECK(r->action == EXEC || row_done(r, fx->upper) == !no, "%s", r->name);
}

static bool fits(struct row *r, const char *event, struct json_object *o)
{
	return !strcmp(event, "policy") && !strcmp(text_of(o, "verdict"), denied(r) ? "deny" : "audit") &&
	       !strcmp(text_of(o, "errno"), denied(r) ? strerrorname_np(refusal(r)) : "");
}

KTAP_TEST_LIMIT(every_action_by_every_subject, 450)
{
	struct fx fx;

	fx_init(&fx, NULL);
	rows_make(&fx, verdict_names, VERDICTS);
	rules_make();
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	for (unsigned int i = 0; i < nrows; i++)
		row_run(&fx, &rows[i]);
	table_end(&fx, fits);
	for (unsigned int i = 0; i < nrows; i++)
		KTAP_CHECK(rows[i].told == told(&rows[i]) && !rows[i].wrong, "%s is told %d times%s", rows[i].name, rows[i].told, rows[i].wrong ? ", wrongly" : "");
	fx_end(&fx);
}

KTAP_MAIN()
