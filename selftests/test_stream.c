// SPDX-License-Identifier: GPL-2.0-only
/* trace, top, report and policy told by the daemon: also for who may load nothing, and up to what happened last. */
#include "service.h"

FX_LEAN

#define TRACE FX_DIR "/trace"
#define POLICY FX_DIR "/policy"

static void copy_up(struct fx *fx, const char *name, int id)
{
	KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_WRITE, fx_path(fx, name), .id = id)) == 0);
}

/* A line for each event, and nothing attached by who may not attach. */
static void trace_by_member(struct fx *fx)
{
	pid_t pid;

	as_member = true;
	KTAP_CHECK(KUNION("attach", fx->merged) == 1 && strstr(SAID, "only root"), "%s", SAID);
	KTAP_CHECK(KUNION("trace", "--no-daemon", fx->merged) == 2, "%s", SAID);
	pid = start(TRACE, (const char *const[]){ "kunion", "trace", "--json", "--socket", SOCK, NULL });
	as_member = false;
	/* Of the union first: from then on nothing is missed. */
	said(TRACE, "\"event\":\"union\"");
	copy_up(fx, "d/a", 1);
	said(TRACE, "/d/a");
	KTAP_CHECK(!kill(pid, SIGINT) && finish(pid) == 0, "%s", text_of(TRACE));
	KTAP_CHECK(!strstr(text_of(TRACE), "lost") && !strstr(text_of(TRACE), "\"event\":\"totals\""), "%s", text_of(TRACE));
}

/* What CMD did is told, to the last of it, and only what passes. */
static void with_a_command(struct fx *fx)
{
	char b[FX_PATH_MAX + 8], c[FX_PATH_MAX + 8], d[FX_PATH_MAX + 8];

	snprintf(b, sizeof(b), "%s/d/b", fx->merged);
	snprintf(c, sizeof(c), "%s/d/c", fx->merged);
	snprintf(d, sizeof(d), "%s/d/d", fx->merged);
	KTAP_CHECK(KUNION("trace", "--json", fx->merged, "--", "sh", "-c", "chmod 0600 \"$0\"; exit 7", b) == 7, "%s", SAID);
	KTAP_CHECK(strstr(SAID, "/d/b") && !strstr(SAID, "/d/a"), "%s", SAID);
	KTAP_CHECK(KUNION("trace", "--json", "--path", "/d/x*", "--", "chmod", "0600", c) == 0 && !strstr(SAID, "/d/c"), "%s", SAID);
	KTAP_CHECK(KUNION("report", "--json", "--", "chmod", "0600", d) == 0 && strstr(SAID, "/d/d"), "%s", SAID);
	KTAP_CHECK(KUNION("report", "--duration", "0.1") == 0, "%s", SAID);
}

static void top_by_member(void)
{
	struct json_object *o, *v = NULL;

	as_member = true;
	KTAP_CHECK(KUNION("top", "--json", "-n", "1") == 0, "%s", SAID);
	as_member = false;
	o = json_tokener_parse(SAID);
	KTAP_CHECK(o && json_object_object_get_ex(o, "copyups", &v) && json_object_get_int(v) >= 4, "%s", SAID);
	KTAP_CHECK(o && json_object_object_get_ex(o, "tier", &v) && !strcmp(json_object_get_string(v), "observe"), "%s", SAID);
	json_object_put(o);
}

#define RULES(version) "version = " version "; default = \"allow\"; rules = ( { name = \"told of\"; path = \"/d/b\"; action = \"copy-up\"; verdict = \"audit\"; } );"

static int finish_policy(const char *word, const char *more)
{
	return finish(start(FX_DIR "/out", (const char *const[]){ "kunion", "policy", word, "--socket", SOCK, more, NULL }));
}

static void policy_by_member(void)
{
	as_member = true;
	KTAP_CHECK(finish_policy("status", NULL) == 0 && strstr(SAID, POLICY ": in force\n") && strstr(SAID, "told of                       1          0  "),
		   "%s", SAID);
	KTAP_CHECK(finish_policy("status", "--json") == 0 && strstr(SAID, "\"hits\""), "%s", SAID);
	KTAP_CHECK(finish_policy("reload", NULL) == 1 && strstr(SAID, "only root"), "%s", SAID);
	as_member = false;
	write_file(POLICY, RULES("x"));
	KTAP_CHECK(finish_policy("reload", NULL) == 1 && strstr(SAID, "the old one stays in force"), "%s", SAID);
	KTAP_CHECK(finish_policy("status", NULL) == 0 && strstr(SAID, "told of                       1 "), "%s", SAID);
	write_file(POLICY, RULES("1"));
	KTAP_CHECK(finish_policy("reload", NULL) == 0, "%s", SAID);
	KTAP_CHECK(finish_policy("status", NULL) == 0 && strstr(SAID, "told of                       0 "), "%s", SAID);
}

static void refused(struct fx *fx)
{
	KTAP_CHECK(KUNION("trace", fx->lower) == 2 && strstr(SAID, "is not attached to MERGED"), "%s", SAID);
	KTAP_CHECK(KUNION("trace", "--all") == 2 && strstr(SAID, "is not attached to all overlays"), "%s", SAID);
	KTAP_CHECK(KUNION("trace", "-W") == 2 && strstr(SAID, "does not tell writes"), "%s", SAID);
	KTAP_CHECK(KUNION("trace", "-m", "guard", fx->merged) == 2 && strstr(SAID, "--mode"), "%s", SAID);
}

KTAP_TEST_LIMIT(told_by_the_daemon, 600)
{
	static const char *const files[] = { "d/a", "d/b", "d/c", "d/d" };
	struct fx fx;
	pid_t pid;

	fx_init(&fx, NULL);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		fx_lower(&fx, files[i], FX_KB(64), 0644);
	fx_mount(&fx);
	notify_socket();
	write_file(POLICY, RULES("1"));
	write_file(CONF, "mode = \"observe\";\ngroup = \"nogroup\";\npolicy = \"" POLICY "\";\n");
	forget_told();
	daemon_pid = start(fx.log, (const char *const[]){ "kunion", "daemon", "-c", CONF, "--socket", SOCK, NULL });
	KTAP_REQUIRE(told("READY=1"), "%s", text_of(fx.log));
	KTAP_CHECK(KUNION("attach", fx.merged) == 0, "%s", SAID);

	trace_by_member(&fx);
	with_a_command(&fx);
	top_by_member();
	refused(&fx);
	policy_by_member();
	/* It ends while it tells. */
	unlink(TRACE);
	pid = start(TRACE, (const char *const[]){ "kunion", "trace", "--json", "--socket", SOCK, NULL });
	said(TRACE, "\"event\":\"union\"");
	KTAP_CHECK(!kill(daemon_pid, SIGTERM) && finish(daemon_pid) == 0, "%s", text_of(fx.log));
	KTAP_CHECK(finish(pid) == 1 && strstr(text_of(TRACE), "the daemon has ended"), "%s", text_of(TRACE));
	KTAP_CHECK(KUNION("trace") == 2 && strstr(SAID, "no MERGED, and no kunion daemon answers"), "%s", SAID);
	fx_end(&fx);
}

KTAP_MAIN()
