// SPDX-License-Identifier: GPL-2.0-only
/* kunion report --drift --from: who made it, and what was executed. */
#include "drift_scene.h"

/* Events: of this union unless told otherwise. */
static void event_line(FILE *f, const char *type, const char *path, const char *op, const char *comm, const char *container)
{
	bool policy = !strcmp(type, "policy");

	fprintf(f,
		"{\"event\":\"%s\",\"ts\":\"2026-11-22T18:00:00.000000Z\",\"union\":\"" M "\",\"path\":\"%s\",\"%s\":\"%s\",\"kind\":\"file\","
		"\"verdict\":\"audit\",\"result\":\"ok\",\"pid\":7,\"tid\":7,\"comm\":\"%s\",\"uid\":1000,\"container\":\"%s\"}\n",
		type, path, policy ? "action" : "op", op, comm, container);
}

static void by(const char *path, const char *comm, const char *op)
{
	struct json_object *one = item(path), *mark = NULL;

	KTAP_REQUIRE(one, "%s: %s", path, out);
	json_object_object_get_ex(one, "by", &mark);
	if (!comm) {
		KTAP_CHECK(!mark, "%s: %s", path, out);
		return;
	}
	if (!KTAP_CHECK(mark, "%s has nobody", path))
		return;
	KTAP_CHECK(!strcmp(text_of(mark, "comm"), comm) && !strcmp(text_of(mark, "op"), op), "%s: %s", path,
		   json_object_to_json_string(mark));
}

static struct json_object *process(const char *comm, const char *container)
{
	struct json_object *list = get(doc, "processes");

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);

		if (!strcmp(text_of(one, "comm"), comm) && !strcmp(text_of(one, "container"), container))
			return one;
	}
	return NULL;
}

KTAP_TEST(events)
{
	struct json_object *p, *runs;
	FILE *f;

	fixture("redirect_dir=on");
	append(M "/d/f");
	open_only(M "/d/g");
	KTAP_REQUIRE(!unlink(M "/d/link"));
	make_dir(M "/new");
	unit_text(M "/new/a", "12");
	unit_text(M "/new/b", "3");
	unit_text(M "/unseen", "3");
	f = fopen(EVENTS, "we");
	KTAP_REQUIRE(f);
	event_line(f, "copyup", "/d/f", "open", "first", "");
	event_line(f, "write", "/d/f", "modify", "editor", "");
	event_line(f, "copyup", "/d/g", "open", "idle", "web");
	event_line(f, "write", "/d/f", "remove", "tried", "");
	event_line(f, "write", "/d/link", "remove", "rm", "");
	event_line(f, "write", "/new", "create", "dpkg", "web");
	event_line(f, "write", "/new/a", "create", "dpkg", "web");
	event_line(f, "write", "/new/b", "create", "dpkg", "");
	event_line(f, "policy", "/new/a", "exec", "sh", "");
	event_line(f, "policy", "/new/a", "exec", "bash", "");
	event_line(f, "policy", "/dropper", "exec", "sh", "");
	event_line(f, "policy", "/new/b", "create", "sh", "");
	fputs("{\"event\":\"policy\",\"union\":\"" M "\",\"path\":\"/new/b\",\"action\":\"exec\",\"verdict\":\"deny\",\"comm\":\"sh\"}\n", f);
	fputs("{\"event\":\"write\",\"union\":\"/another\",\"path\":\"/unseen\",\"op\":\"create\",\"comm\":\"sh\"}\n", f);
	fputs("{\"event\":\"copyup\",\"union\":\"" M "\",\"path\":\"/unseen\",\"op\":\"open\",\"comm\":\"sh\",\"result\":\"ENOSPC\"}\n", f);
	KTAP_REQUIRE(!fclose(f));
	look_from(EVENTS);
	by("/d/f", "editor", "modify");
	by("/d/g", "idle", "copy-up");
	by("/d/link", "rm", "remove");
	by("/new", "dpkg", "create");
	by("/unseen", NULL, NULL);
	KTAP_CHECK(items() == 5, "%s", out);
	p = process("dpkg", "web");
	KTAP_REQUIRE(p, "%s", out);
	KTAP_CHECK(number_of(get(p, "counts"), "added") == 2 && number_of(p, "bytes") == 2, "%s", out);
	p = process("dpkg", "");
	KTAP_CHECK(p && number_of(get(p, "counts"), "added") == 1, "%s", out);
	KTAP_CHECK(!process("first", "") && !process("tried", ""), "%s", out);
	runs = get(doc, "executed");
	KTAP_REQUIRE(json_object_array_length(runs) == 2, "%s", out);
	p = json_object_array_get_idx(runs, 0);
	KTAP_CHECK(!strcmp(text_of(p, "path"), "/new/a") && number_of(p, "times") == 2 && json_object_get_boolean(get(p, "there")), "%s", out);
	KTAP_CHECK(!strcmp(text_of(get(p, "by"), "comm"), "bash"));
	p = json_object_array_get_idx(runs, 1);
	KTAP_CHECK(!strcmp(text_of(p, "path"), "/dropper") && !json_object_get_boolean(get(p, "there")), "%s", out);
	KTAP_CHECK(DRIFT("--from", EVENTS) == 0);
	KTAP_CHECK(strstr(out, "2026-11-22 18:00  dpkg@web ") && strstr(out, "  /dropper (not there any more)\n"), "%s", out);
	KTAP_CHECK(strstr(out, "(not in the events)") && strstr(out, "(uid 0)") && !strstr(out, "--from"), "%s", out);
	enough();
}

/* The last word on a name is the event's: made anew after a copy-up, or copied up by kunion, which leaves no origin. */
KTAP_TEST(events_decide_what_it_is)
{
	FILE *f;

	fixture(NULL);
	append(M "/d/f");
	unit_text(M "/tmp", "another");
	KTAP_REQUIRE(!rename(M "/tmp", M "/d/g"));
	f = fopen(EVENTS, "we");
	KTAP_REQUIRE(f);
	event_line(f, "copyup", "/d/f", "open", "a", "");
	event_line(f, "write", "/d/f", "create", "a", "");
	event_line(f, "copyup", "/d/g", "open", "b", "");
	KTAP_REQUIRE(!fclose(f));
	look_from(EVENTS);
	is("/d/f", "file", "replaced", "");
	is("/d/g", "file", "changed", "data,time");
	enough();
}

/* What is in a renamed directory was seen under its old name, or comes with who renamed it. */
KTAP_TEST(events_of_a_renamed_directory)
{
	FILE *f;

	fixture("redirect_dir=on");
	append(M "/d/f");
	append(M "/d/g");
	KTAP_REQUIRE(!rename(M "/d", M "/moved"));
	f = fopen(EVENTS, "we");
	KTAP_REQUIRE(f);
	event_line(f, "copyup", "/d/f", "open", "editor", "");
	event_line(f, "write", "/d", "rename", "mv", "");
	event_line(f, "write", "/moved", "create", "mv", "");
	KTAP_REQUIRE(!fclose(f));
	look_from(EVENTS);
	by("/moved", "mv", "create");
	by("/d", "mv", "rename");
	by("/moved/f", "editor", "copy-up");
	by("/moved/g", "mv", "create");
	enough();
}

KTAP_TEST(events_that_tell_little)
{
	fixture(NULL);
	unit_text(M "/added", "1");
	unit_text(EVENTS, "{\"event\":\"write\",\"union\":\"/another\",\"path\":\"/added\",\"op\":\"create\",\"comm\":\"sh\"}\n"
			  "{\"event\":\"dropped\",\"count\":3}\n");
	KTAP_CHECK(DRIFT("--from", EVENTS) == 0 && strstr(out, "None of the events is of this union") && strstr(out, "lost"), "%s", out);
	unit_text(EVENTS, "no event\n");
	command_refused(DRIFT("--from", "/tmp/not-there"), "/tmp/not-there");
	KTAP_CHECK(DRIFT("--from", EVENTS) == 2 && !*out, "%s", out);
	unit_text(EVENTS, "");
	KTAP_CHECK(DRIFT("--from", EVENTS) == 0 && strstr(out, "(uid 0)") && strstr(out, "/added"), "%s", out);
}

KTAP_MAIN()
