// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy check, explain and test: what they print, and their exit statuses. */
#include <json-c/json.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "command.h"
#include "policy_events.h"

#define POLICY "/tmp/p.policy"
#define RUN(...) COMMAND(ku_cmd_policy, "policy", __VA_ARGS__)

static const char example[] = "version = 1;\n"
			      "default = \"allow\";\n"
			      "rules = (\n"
			      "  { name = \"tmp\"; prefix = [ \"/tmp\", \"/var/tmp\" ]; action = \"any\"; verdict = \"allow\"; },\n"
			      "  { name = \"no-etc\"; path = \"/etc/**\"; action = [ \"copy-up\", \"create\" ];\n"
			      "    uid = \"1000-1999\"; verdict = \"deny\"; errno = \"EACCES\"; },\n"
			      "  { name = \"big\"; kind = \"file\"; min_size = \"10M\"; action = \"copy-up\"; verdict = \"deny\"; },\n"
			      "  { name = \"log\"; path = \"*.log\"; action = [ \"modify\", \"remove\", \"remove-upper\" ]; verdict = \"audit\"; },\n"
			      "  { name = \"web\"; container = \"web\"; action = \"any\"; verdict = \"hold\"; }\n"
			      ");\n";

static void begin(void)
{
	unit_place();
	unit_text(POLICY, example);
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	KTAP_REQUIRE(json_object_object_get_ex(o, key, &v), "%s", key);
	return v;
}

static const char *text_of(struct json_object *o, const char *key)
{
	return json_object_get_string(member(o, key));
}

KTAP_TEST(check)
{
	struct json_object *o;

	begin();
	KTAP_CHECK(RUN("check", POLICY) == 0 && !*err, "%s", err);
	KTAP_CHECK(strstr(out, POLICY ": ok: 5 rules, ") && strstr(out, " of 65536 states, ") && strchr(out, '\n') == out + strlen(out) - 1, "%s", out);
	KTAP_CHECK(RUN("check", "--json", POLICY) == 0);
	o = json_tokener_parse(out);
	KTAP_REQUIRE(o, "%s", out);
	KTAP_CHECK(json_object_get_int(member(o, "rules")) == 5 && json_object_get_int(member(o, "states")) > 20, "%s", out);
	KTAP_CHECK(json_object_get_int(member(o, "transitions")) > 20 && json_object_get_int(member(o, "sets")) > 5, "%s", out);
	json_object_put(o);
	unit_text(POLICY, "version = 1;\ndefault = \"alow\";\nrules = ();\n");
	command_refused(RUN("check", POLICY), "kunion: policy: " POLICY ":2: default: 'alow' is not known; did you mean 'allow'?");
	command_refused(RUN("check", "/tmp/none"), "/tmp/none: No such file");
	unit_text(POLICY, "version = 1; default = \"deny\"; rules = ();");
	KTAP_CHECK(RUN("check", POLICY) == 0 && strstr(out, "ok: 0 rules, 1 of 65536 states, 0 of 262144 transitions, 1 of 4096 sets"), "%s", out);
}

KTAP_TEST(check_tells_what_is_too_large)
{
	FILE *f;

	begin();
	f = fopen(POLICY, "we");
	KTAP_REQUIRE(f);
	fputs("version = 1; default = \"deny\"; rules = (", f);
	for (int i = 0; i < 1100; i++)
		fprintf(f, "%s{ name = \"%d\"; action = \"any\"; verdict = \"allow\"; path = \"/%d\"; }", i ? "," : "", i, i);
	fputs(");", f);
	KTAP_REQUIRE(!fclose(f));
	command_refused(RUN("check", POLICY), "1100 rules are too many, 1023 are possible");
}

KTAP_TEST(words)
{
	begin();
	command_refused(RUN("chekc"), "no command 'chekc'");
	command_refused(COMMAND(ku_cmd_policy, "policy"), "a command is missing");
	command_refused(RUN("check"), "FILE is missing");
	command_refused(RUN("check", POLICY, "x"), "'x' is too many");
	command_refused(RUN("check", POLICY, "--path", "/x"), "--path is not for check");
	command_refused(RUN("explain", POLICY, "--path", "/x"), "--path and --action are needed");
	command_refused(RUN("explain", POLICY, "--action", "create"), "--path and --action are needed");
	command_refused(RUN("explain", POLICY, "--path", "x"), "a path from the union's root");
	command_refused(RUN("explain", POLICY, "--action", "write"), "copy-up, create, remove, remove-upper, modify or exec");
	command_refused(RUN("explain", POLICY, "--kind", "pipe"), "file, dir, symlink or special");
	command_refused(RUN("explain", POLICY, "--size", "x"), "--size 'x'");
	command_refused(RUN("explain", POLICY, "--uid", "root"), "--uid 'root'");
	command_refused(RUN("explain", POLICY, "--uid", "1K"), "--uid '1K'");
	command_refused(RUN("explain", POLICY, "--uid", "4294967296"), "--uid");
	command_refused(RUN("explain", POLICY, "--cgroup", "a"), "--cgroup 'a'");
	command_refused(RUN("explain", POLICY, "--comm", "sixteen-letters-"), "15");
	command_refused(RUN("explain", POLICY, "--container", "web"), "--container is not for explain");
	command_refused(RUN("test", POLICY), "--from is missing");
	command_refused(RUN("test", "--from", "/tmp/none"), "FILE is missing");
	command_refused(RUN("test", POLICY, "--from", "/tmp/none"), "/tmp/none: No such file");
	command_refused(RUN("learn"), "--from is missing");
	command_refused(RUN("learn", POLICY, "--from", "/tmp/none"), "is too many");
	command_refused(RUN("learn", "--from", "/tmp/none", "--json"), "--json is not for learn");
	command_refused(RUN("questions", "x"), "'x' is too many");
	command_refused(RUN("questions", "--path", "/x"), "--path is not for questions");
	command_refused(RUN("answer", "1"), "ID and the answer are needed");
	command_refused(RUN("answer", "x", "allow"), "'x' is no question");
	command_refused(RUN("answer", "1", "deny:NOTHING"), "allow, deny or deny:ERRNO");
}

/* No kunion holds anything; a socket that nobody listens at any more is passed over. */
KTAP_TEST(questions)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct json_object *o;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	begin();
	KTAP_REQUIRE(mkdir("/tmp/run", 0755) == 0 && setenv("KUNION_RUN_DIR", "/tmp/run", 1) == 0 && fd >= 0);
	strcpy(addr.sun_path, "/tmp/run/hold.1");
	KTAP_REQUIRE(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	close(fd);
	KTAP_CHECK(RUN("questions") == 0 && !strcmp(out, "no operation waits for an answer\n") && !*err, "%s%s", out, err);
	KTAP_CHECK(RUN("questions", "--json") == 0);
	o = json_tokener_parse(out);
	KTAP_REQUIRE(o, "%s", out);
	KTAP_CHECK(json_object_array_length(member(o, "questions")) == 0);
	json_object_put(o);
	KTAP_CHECK(RUN("answer", "1", "allow") == 1 && strstr(err, "no kunion has the question 1;"), "%s", err);
}

KTAP_TEST(explain)
{
	struct json_object *o, *list;

	begin();
	KTAP_CHECK(RUN("explain", POLICY, "--path", "/etc/x", "--action", "copy-up", "--size", "20M") == 0 && !*err, "%s", err);
	KTAP_CHECK(!strcmp(out, "deny (EROFS): rule 'big', line 7, is the first that fits\n"
				"  rule 'tmp', line 4: prefix does not fit\n"
				"  rule 'no-etc', line 5: uid does not fit\n"), "%s", out);
	KTAP_CHECK(RUN("explain", POLICY, "--path", "/etc/x", "--action", "create", "--uid", "1500") == 0);
	KTAP_CHECK(!strncmp(out, "deny (EACCES): rule 'no-etc', line 5,", 36), "%s", out);
	KTAP_CHECK(RUN("explain", POLICY, "--path", "/x", "--action", "remove", "--kind", "dir") == 0);
	KTAP_CHECK(!strncmp(out, "allow: the default, line 2, as no rule fits\n", 44) && strstr(out, "rule 'big', line 7: action does not fit"), "%s", out);
	KTAP_CHECK(RUN("explain", POLICY, "--path", "/x", "--action", "copy-up", "--kind", "dir", "--size", "20M", "--cgroup", "/lxc.payload.web/x") == 0);
	KTAP_CHECK(!strncmp(out, "hold (EROFS): rule 'web'", 24) && strstr(out, "rule 'big', line 7: kind does not fit"), "%s", out);
	KTAP_CHECK(strstr(out, "rule 'log', line 8: action does not fit"), "%s", out);
	KTAP_CHECK(RUN("explain", POLICY, "--path", "/a.log", "--action", "modify", "--json") == 0);
	o = json_tokener_parse(out);
	KTAP_REQUIRE(o, "%s", out);
	KTAP_CHECK(!strcmp(text_of(o, "verdict"), "audit") && !strcmp(text_of(o, "rule"), "log") && !*text_of(o, "errno"), "%s", out);
	list = member(o, "passed_over");
	KTAP_CHECK(json_object_array_length(list) == 3 && !strcmp(text_of(json_object_array_get_idx(list, 1), "does_not_fit"), "action"), "%s", out);
	json_object_put(o);
}

/* Each thing that a rule may ask for is named when it does not fit. */
KTAP_TEST(explain_says_what_does_not_fit)
{
	static const struct {
		const char *asks, *key;
	} t[] = { { "union = \"/other\";", "union" }, { "container = \"web\";", "container" }, { "cgroup = \"/other\";", "cgroup" },
		  { "uid = 7;", "uid" },	      { "comm = \"other\";", "comm" },	       { "exe = \"/other\";", "exe" },
		  { "path = \"/other\";", "path" },   { "prefix = \"/other\";", "prefix" },    { "min_size = 11;", "min_size" },
		  { "kind = \"dir\";", "kind" } };

	begin();
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char text[512];

		snprintf(text, sizeof(text), "version = 1; default = \"deny\"; rules = ( { name = \"r\"; %s action = \"create\"; verdict = \"allow\"; } );",
			 t[i].asks);
		unit_text(POLICY, text);
		KTAP_CHECK(RUN("explain", POLICY, "--path", "/x", "--action", "create", "--union", "/m", "--cgroup", "/c", "--uid", "5", "--comm", "sh",
			       "--exe", "/bin/sh", "--size", "10") == 0);
		snprintf(text, sizeof(text), "deny (EROFS): the default, line 1, as no rule fits\n  rule 'r', line 1: %s does not fit\n", t[i].key);
		KTAP_CHECK(!strcmp(out, text), "%s: %s", t[i].asks, out);
	}
}

static void events_for_test(void)
{
	events_begin();
	event_copyup("/etc/passwd", "file", 100, "dd", 1000);
	event_copyup("/etc/passwd", "file", 100, "dd", 1000);
	event_copyup("/data/big", "file", 20 << 20, "cp", 0);
	event_copyup("/data", "dir", 20 << 20, "cp", 0);
	event_write("create", "/tmp/a.log", "sh", 0);
	event_write("create", "/var/a.log", "sh", 0);
	event_write("modify", "/var/a.log", "sh", 0);
	event_write("remove", "/var/a.log", "sh", 0);
	event_write("rename", "/var/b.log", "mv", 0);
	event_write("create", "", "sh", 0);
	events_end();
}

KTAP_TEST(test)
{
	struct json_object *o, *list, *row;

	begin();
	events_for_test();
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == 0, "%s", err);
	KTAP_CHECK(strstr(err, "1 operations have no path"), "%s", err);
	KTAP_CHECK(strstr(out, "9 operations: 3 allowed, 3 audited, 3 denied, 0 held\n"), "%s", out);
	KTAP_CHECK(strstr(out, "deny    EACCES   no-etc           copy-up            2 dd              /m/etc/passwd\n"), "%s", out);
	KTAP_CHECK(strstr(out, "deny    EROFS    big              copy-up            1 cp              /m/data/big\n"), "%s", out);
	KTAP_CHECK(strstr(out, "audit   -        log              remove-upper       1 sh              /m/var/a.log\n"), "made before: %s", out);
	KTAP_CHECK(strstr(out, "audit   -        log              remove             1 mv              /m/var/b.log\n"), "%s", out);
	KTAP_CHECK(!strstr(out, "/data\n") && !strstr(out, "/tmp/a.log"), "%s", out);
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS, "--json") == 0);
	o = json_tokener_parse(out);
	KTAP_REQUIRE(o, "%s", out);
	KTAP_CHECK(json_object_get_int(member(o, "operations")) == 9 && json_object_get_int(member(o, "deny")) == 3, "%s", out);
	KTAP_CHECK(json_object_get_int(member(o, "without_path")) == 1 && json_object_get_int(member(o, "audit")) == 3, "%s", out);
	list = member(o, "would");
	KTAP_REQUIRE(json_object_array_length(list) == 5, "%s", out);
	row = json_object_array_get_idx(list, 0);
	KTAP_CHECK(!strcmp(text_of(row, "rule"), "no-etc") && !strcmp(text_of(row, "errno"), "EACCES"), "%s", out);
	KTAP_CHECK(!strcmp(text_of(row, "action"), "copy-up") && !strcmp(text_of(row, "verdict"), "deny"), "%s", out);
	KTAP_CHECK(!strcmp(text_of(row, "path"), "/etc/passwd") && !strcmp(text_of(row, "union"), "/m") && !strcmp(text_of(row, "comm"), "dd"), "%s", out);
	KTAP_CHECK(json_object_get_int(member(row, "count")) == 2 && !*text_of(row, "container"), "%s", out);
	KTAP_CHECK(!*text_of(json_object_array_get_idx(list, 4), "errno"), "%s", out);
	json_object_put(o);
	/* As a pipe gives it, and of another union. */
	KTAP_CHECK(command_in(EVENTS, ku_cmd_policy, (const char *const[]){ "policy", "test", POLICY, "--from", "-", NULL }) == 0 &&
		   strstr(out, "9 operations"), "%s", out);
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS, "--union", "/other") == 0 && strstr(out, "0 operations"), "%s", out);
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS, "--container", "web") == 0 && strstr(out, "0 operations"), "%s", out);
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS, "--union", "/m") == 0 && strstr(out, "9 operations"), "%s", out);
}

/* Copies that came to nothing are none; a copied file's removal is of the upper layer, until it is gone. */
KTAP_TEST(test_follows_what_is_there)
{
	begin();
	unit_text(POLICY, "version = 1; default = \"allow\"; rules = ( { name = \"l\"; action = \"remove\"; verdict = \"deny\"; },"
			  "{ name = \"u\"; action = \"remove-upper\"; verdict = \"audit\"; } );");
	events_begin();
	event_result = "native";
	event_copyup("/a", "file", 1, "sh", 0);
	event_result = "lost";
	event_copyup("/a", "file", 1, "sh", 0);
	event_result = "ok";
	event_write("remove", "/a", "sh", 0);
	event_copyup("/b", "file", 1, "sh", 0);
	event_write("remove", "/b", "sh", 0);
	event_write("remove", "/b", "sh", 0);
	event_write("create", "/c", "sh", 0);
	event_write("rename", "/c", "sh", 0);
	events_end();
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == 0, "%s", err);
	KTAP_CHECK(strstr(out, "6 operations: 2 allowed, 2 audited, 2 denied"), "%s", out);
	KTAP_CHECK(strstr(out, "sh              /m/a\n") && strstr(out, "remove-upper       1 sh              /m/c\n"), "%s", out);
}

KTAP_TEST(test_says_what_events_do_not_tell)
{
	begin();
	events_for_test();
	unit_text(POLICY, "version = 1; default = \"allow\"; rules = ( { name = \"l\"; exe = \"/bin/sh\"; action = \"any\"; verdict = \"deny\"; } );");
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == 0 && strstr(err, "1 rule asks for exe, which events do not tell"), "%s", err);
	unit_text(POLICY, "version = 1; default = \"allow\"; budgets = ( { name = \"b\"; files = 1; } );"
			  "rules = ( { name = \"l\"; budget = \"b\"; action = \"create\"; verdict = \"allow\"; } );");
	events_begin();
	event_write("rename", "/a", "sh", 0);
	event_write("create", "/b", "sh", 0);
	event_write("remove", "/c", "sh", 0);
	event_put(&(struct ku_event){ .type = KU_EV_DROPPED, .union_path = "", .path = "", .dropped = { .count = 9, .waits = 2, .writes = 7 } });
	events_end();
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == 0 && strstr(err, "1 rule is charged to a budget"), "%s", err);
	KTAP_CHECK(strstr(err, "7 events were lost when it was recorded"), "%s", err);
	KTAP_CHECK(strstr(err, "2 removals are taken for 'remove', and what 1 renames replaced is not judged"), "%s", err);
	unit_text(EVENTS, "no event\n");
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == KU_EXIT_USAGE && strstr(err, "no line of it is an event"), "%s", err);
}

/* Events with a layer tell what a rename replaced, and which removal leaves a whiteout, whatever was seen before. */
KTAP_TEST(test_of_renames)
{
	begin();
	unit_text(POLICY, "version = 1; default = \"allow\"; rules = ( { name = \"big\"; path = \"/**\"; min_size = 100; action = \"any\"; verdict = \"audit\"; },"
			  "{ name = \"l\"; action = \"remove\"; verdict = \"audit\"; }, { name = \"u\"; action = \"remove-upper\"; verdict = \"audit\"; } );");
	events_begin();
	event_layer = "lower";
	event_write("rename", "/a", "mv", 0);
	event_layer = "upper";
	event_write("remove", "/b", "mv", 0);
	event_write("create", "/b", "mv", 0);
	/* What comes from the lower layer by a rename is upper; so is a copy. */
	event_write("remove", "/b", "rm", 0);
	event_copyup("/c", "file", 1, "sh", 0);
	event_layer = "lower";
	event_write("remove", "/c", "rm", 0);
	event_size = 100;
	event_write("remove", "/d", "rm", 0);
	event_size = 0;
	event_layer = "";
	events_end();
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == 0 && !*err, "%s", err);
	KTAP_CHECK(strstr(out, "7 operations: 2 allowed, 5 audited, 0 denied"), "%s", out);
	KTAP_CHECK(strstr(out, "audit   -        l                remove             1 mv              /m/a\n"), "%s", out);
	KTAP_CHECK(strstr(out, "audit   -        u                remove-upper       1 mv              /m/b\n"), "the one replaced: %s", out);
	KTAP_CHECK(strstr(out, "audit   -        u                remove-upper       1 rm              /m/b\n"), "%s", out);
	KTAP_CHECK(strstr(out, "audit   -        l                remove             1 rm              /m/c\n"), "%s", out);
	KTAP_CHECK(strstr(out, "audit   -        big              remove             1 rm              /m/d\n"), "%s", out);
}

/* Files are not to be had under a name where more is allowed; directories keep their rules. */
KTAP_TEST(test_of_second_names)
{
	static const char *const ops[] = { "rename", "link" };

	begin();
	for (int link = 0; link < 2; link++) {
		unit_text(POLICY, "version = 1; default = \"allow\"; rules = ( { name = \"keep\"; prefix = \"/etc\"; action = \"modify\"; verdict = \"deny\"; },"
				  "{ name = \"ask\"; prefix = \"/ask\"; action = \"exec\"; verdict = \"hold\"; } );");
		events_begin();
		event_layer = "upper";
		event_write(ops[link], "/etc/a", "sh", 0);
		event_write("create", "/tmp/a", "sh", 0);
		event_write(ops[link], "/etc/a", "sh", 0);
		event_write("create", "/etc/b", "sh", 0);
		event_write(ops[link], "/ask/a", "sh", 0);
		event_write("create", "/tmp/x", "sh", 0);
		event_write(ops[link], "/ask/a", "sh", 0);
		event_write("create", "/ask/b", "sh", 0);
		event_write(ops[link], "/tmp/b", "sh", 0);
		event_write("create", "/etc/c", "sh", 0);
		event_kind = "dir";
		event_write("rename", "/tmp/d", "sh", 0);
		event_write("create", "/srv/d", "sh", 0);
		event_write("rename", "/srv/d", "sh", 0);
		event_write("create", "/srv/e", "sh", 0);
		event_write("rename", "/tmp/d", "sh", 0);
		event_write("create", "/etc/d", "sh", 0);
		event_kind = "file";
		event_layer = "";
		events_end();
		KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == 0 && !*err, "%s", err);
		KTAP_CHECK(strstr(out, "deny    EPERM    keep             modify             1 sh              /m/etc/a\n"), "%s: %s", ops[link], out);
		KTAP_CHECK(strstr(out, "hold    EPERM    ask              exec               1 sh              /m/ask/a\n"), "%s: %s", ops[link], out);
		KTAP_CHECK(strstr(out, "0 audited, 1 denied, 1 held\n"), "%s: %s", ops[link], out);
		KTAP_CHECK(strstr(out, "\n1 renames of directories refused (EXDEV)"), "%s", out);
	}
	/* Nobody is refused anything. */
	unit_text(POLICY, "version = 1; default = \"allow\"; rules = ( { name = \"keep\"; prefix = \"/etc\"; action = \"modify\"; verdict = \"audit\"; } );");
	KTAP_CHECK(RUN("test", POLICY, "--from", EVENTS) == 0 && strstr(out, " 0 audited, 0 denied, 0 held\n") && !strstr(out, "EXDEV"), "%s", out);
}

/* What the pages show is so. */
KTAP_TEST(the_pages_example)
{
	_cleanup_free_ char *page = unit_read("user/man/kunion-policy.5.rst", NULL), *first = unit_read("user/man/kunion-policy.1.rst", NULL);
	char *at = strstr(page, "  version = 1;"), *end = at ? strstr(at, "\n  );\n") : NULL;

	KTAP_REQUIRE(at && end);
	end[5] = '\0';
	unit_place();
	unit_text("/tmp/app.policy", at);
	KTAP_CHECK(RUN("check", "/tmp/app.policy") == 0, "%s", err);
	KTAP_CHECK(strstr(first, out + strlen("/tmp/")), "%s", out);
	KTAP_CHECK(RUN("explain", "/tmp/app.policy", "--path", "/etc/x", "--action", "copy-up", "--size", "20M") == 0, "%s", err);
	for (char *save, *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		KTAP_CHECK(strstr(first, line), "%s", line);
}

KTAP_MAIN()
