// SPDX-License-Identifier: GPL-2.0-only
/*
 * Verdict hold: every action by every subject, and on every kind of object, asked about and let pass or refused by a program, each with a case beside it
 * that the rule does not fit: by errno, by both events, and by what is in the upper layer, also while it is held. One attachment. What a question is in all
 * its other ways: test_policy_hold, test_policy_answer.
 */
#include "policy_table.h"

FX_BARE

#define UPPER "TABLE_UPPER" /* in the environment: the upper layer */

/* As the program says. At its limit, and with any other answer, each would end in the other way. */
enum verdict { LET, REFUSE, VERDICTS };
static const char *const verdict_names[VERDICTS] = { "let", "refuse" };

static bool refused(const struct row *r)
{
	return r->yes && r->verdict == REFUSE;
}

/*
 * PROGRAM answers, as told by the directory in /t/ASKS/ACTION/VERDICT/yes. What it finds done in the upper layer was not waited with, and is no answer.
 */
__attribute__((constructor)) static void as_answer(void)
{
	const char *path = getenv("KUNION_PATH"), *action = getenv("KUNION_ACTION"), *upper = getenv(UPPER);
	struct row r = { .action = COPY_UP };

	if (!path || !action || !upper)
		return;
	while (r.action < ACTIONS && strcmp(action, action_names[r.action]))
		r.action++;
	r.name = path + 1;
	if (r.action == ACTIONS || (r.action != EXEC && row_done(&r, upper)))
		_exit(7);
	_exit(strstr(path, "/refuse/") ? 1 : 0);
}

static void rules_make(void)
{
	FILE *f = fopen(POLICY_FILE, "we");

	KTAP_REQUIRE(f);
	fprintf(f, "version = 1;\ndefault = \"allow\";\nrules = (\n");
	for (unsigned int i = 0; i < NASKS; i++)
		for (int n = 0; n < ACTIONS * VERDICTS; n++) {
			const struct asks *s = &all_asks[i];
			int v = n / ACTIONS;

			if (is_there(s, n % ACTIONS))
				rules_put(f, s, action_names[n % ACTIONS], verdict_names[v],
					  fx_name("verdict = \"hold\"; limit = 500; otherwise = \"%s\"; %s", v == LET ? "deny" : "allow",
						  s->rule[0] ? "errno = \"ENOTTY\";" : ""));
		}
	fprintf(f, TABLE_LAST);
	KTAP_REQUIRE(fclose(f) == 0);
}

static void row_run(const struct fx *fx, const struct row *r)
{
	int want = refused(r) ? refusal(r) : 0, err = act_as(r, fx_path(fx, r->name));

	KTAP_CHECK(err == want, "%s: %s, not %s", r->name, strerrorname_np(err), strerrorname_np(want));
	KTAP_CHECK(r->action == EXEC || row_done(r, fx->upper) == !refused(r), "%s", r->name);
}

static bool fits(struct row *r, const char *event, struct json_object *o)
{
	bool question = !strcmp(event, "hold");
	const char *rule = fx_name("%s-%s-%s", r->asks->name, action_names[r->action], verdict_names[r->verdict]);
	/* A question's is that of its limit. */
	const char *err = (question ? r->verdict == LET : refused(r)) ? strerrorname_np(refusal(r)) : "";

	return r->yes && !strcmp(text_of(o, "rule"), rule) && !strcmp(text_of(o, "errno"), err) &&
	       !strcmp(question ? text_of(o, "limit") : text_of(o, "verdict"), question ? "500" : "hold");
}

KTAP_TEST_LIMIT(every_action_by_every_subject, 450)
{
	struct fx fx;

	if (!fx_kernel_since(6, 18))
		fx_skip("tier park is needed (that hold is refused here: test_policy_hold)");
	fx_init(&fx, NULL);
	rows_make(&fx, verdict_names, VERDICTS);
	rules_make();
	fx_mount(&fx);
	setenv(UPPER, fx.upper, 1);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, "--answer", PROGRAM, NULL);
	for (unsigned int i = 0; i < nrows; i++)
		row_run(&fx, &rows[i]);
	table_end(&fx, fits);
	for (unsigned int i = 0; i < nrows; i++)
		KTAP_CHECK(rows[i].told == rows[i].yes && rows[i].asked == rows[i].yes && !rows[i].wrong, "%s is asked about %d times, told %d times%s", rows[i].name,
			   rows[i].asked, rows[i].told, rows[i].wrong ? ", wrongly" : "");
	fx_end(&fx);
}

KTAP_MAIN()
