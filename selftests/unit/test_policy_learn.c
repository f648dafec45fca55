// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy learn: the policy is readable, allows all that it was learned from, and little else. */
#include "command.h"
#include "policy_events.h"
#include "policy_gen.h"

#define LEARNED "/tmp/learned.policy"
#define RUN(...) COMMAND(ku_cmd_policy, "policy", __VA_ARGS__)

/* Learns from the events, keeps the policy, and shows that it refuses none of them. */
static void learn(void)
{
	KTAP_REQUIRE(RUN("learn", "--from", EVENTS) == 0, "%s", err);
	unit_text(LEARNED, out);
	KTAP_REQUIRE(RUN("check", LEARNED) == 0, "%s", err);
	KTAP_REQUIRE(RUN("test", LEARNED, "--from", EVENTS) == 0, "%s", err);
	KTAP_CHECK(strstr(out, " 0 audited, 0 denied, 0 held") && !strstr(out, " 0 allowed"), "%s", out);
	free(out);
	out = unit_read(LEARNED, NULL);
}

static bool allows(const char *action, const char *path)
{
	_cleanup_free_ char *policy = strdup(out);
	bool yes;

	KTAP_REQUIRE(RUN("explain", LEARNED, "--path", path, "--action", action) == 0, "%s", err);
	yes = !strncmp(out, "allow", 5);
	free(out);
	out = KU_TAKE_PTR(policy);
	return yes;
}

static bool has(const char *text)
{
	return strstr(out, text);
}

KTAP_TEST(a_few_files)
{
	unit_place();
	events_begin();
	event_copyup("/etc/passwd", "file", 100, "useradd", 0);
	event_copyup("/etc", "dir", 0, "useradd", 0);
	event_write("create", "/etc/passwd.lock", "useradd", 0);
	event_write("create", "/etc/passwd.lock", "groupadd", 0);
	event_write("remove", "/etc/passwd.lock", "useradd", 0);
	event_write("remove", "/etc/old", "rm", 0);
	events_end();
	learn();
	KTAP_CHECK(has("default = \"deny\";") && has("# Learned from 6 events;"), "%s", out);
	KTAP_CHECK(has("# 2 events: useradd\n\t{\n\t\tname = \"learned-1\";\n\t\taction = [ \"copy-up\" ];"), "%s", out);
	KTAP_CHECK(has("\"/etc\", # 1 event: useradd") && has("\"/etc/passwd\" # 1 event: useradd"), "%s", out);
	KTAP_CHECK(has("\"/etc/passwd.lock\" # 3 events: useradd, groupadd"), "%s", out);
	KTAP_CHECK(allows("copy-up", "/etc/passwd") && !allows("create", "/etc/passwd") && !allows("copy-up", "/etc/shadow"));
	KTAP_CHECK(allows("remove-upper", "/etc/passwd.lock") && !allows("remove", "/etc/passwd.lock"), "it was made before");
	KTAP_CHECK(allows("remove", "/etc/old") && allows("remove-upper", "/etc/old"), "it is not known where it was");
	KTAP_CHECK(!allows("create", "/elsewhere") && !allows("exec", "/etc/passwd"));
}

KTAP_TEST(what_was_run)
{
	unit_place();
	events_begin();
	event_write("create", "/var/lib/dpkg/info/x.postinst", "dpkg", 0);
	event_exec("/var/lib/dpkg/info/x.postinst", "dpkg", "");
	event_exec("/tmp/evil", "sh", "EPERM");
	events_end();
	learn();
	KTAP_CHECK(allows("exec", "/var/lib/dpkg/info/x.postinst"));
	KTAP_CHECK(!allows("exec", "/tmp/evil") && !allows("exec", "/var/lib/dpkg/info/y.postinst"));
}

/* What may be run, or changed, under its last name must be so under the name before: else it would not be let go there. */
KTAP_TEST(renamed_files)
{
	unit_place();
	events_begin();
	event_write("create", "/var/tmp.ci/postinst", "dpkg", 0);
	event_rename("/var/tmp.ci/postinst", "/var/info/x.postinst", "file");
	event_exec("/var/info/x.postinst", "dpkg", "");
	event_write("create", "/var/tmp.ci/list", "dpkg", 0);
	event_rename("/var/tmp.ci/list", "/var/info/x.list", "file");
	events_end();
	learn();
	KTAP_CHECK(allows("exec", "/var/info/x.postinst") && allows("exec", "/var/tmp.ci/postinst"));
	KTAP_CHECK(!allows("exec", "/var/tmp.ci/list") && !allows("modify", "/var/tmp.ci/list"));
	/* What had that name before may have been replaced; but nothing else may be removed. */
	KTAP_CHECK(allows("remove", "/var/info/x.list") && allows("remove-upper", "/var/info/x.list") && !allows("remove", "/var/info/y.list"));
	KTAP_CHECK(!allows("remove", "/var/info"));
}

/* What a rename replaces, where events tell it: in its layer only, and nothing where nothing was there. */
KTAP_TEST(replaced_files)
{
	unit_place();
	events_begin();
	event_layer = "upper";
	event_write("create", "/var/a.new", "sed", 0);
	event_write("rename", "/var/a.new", "sed", 0);
	event_layer = "lower";
	event_write("remove", "/var/a", "sed", 0);
	event_layer = "upper";
	event_write("create", "/var/a", "sed", 0);
	event_write("create", "/srv/b.new", "sed", 0);
	event_write("rename", "/srv/b.new", "sed", 0);
	event_write("create", "/srv/b", "sed", 0);
	event_layer = "";
	events_end();
	learn();
	KTAP_CHECK(allows("remove", "/var/a") && !allows("remove-upper", "/var/a"), "%s", out);
	KTAP_CHECK(allows("remove-upper", "/srv/b.new") && !allows("remove", "/srv/b") && !allows("remove-upper", "/srv/b"), "%s", out);
}

/* Who gets a file under another name where he runs it must be allowed to run it under the first. */
KTAP_TEST(linked_files)
{
	unit_place();
	events_begin();
	event_write("create", "/tmp/stage", "cp", 0);
	event_write("link", "/tmp/stage", "cp", 0);
	event_write("create", "/opt/tool", "cp", 0);
	event_exec("/opt/tool", "sh", "");
	events_end();
	learn();
	KTAP_CHECK(allows("exec", "/opt/tool") && allows("exec", "/tmp/stage"), "%s", out);
	KTAP_CHECK(!allows("remove", "/tmp/stage") && !allows("remove-upper", "/opt/tool"), "a link removes nothing: %s", out);
}

/* As dpkg does it: the directory comes under another name and gets its own while it is empty. */
KTAP_TEST(renamed_directories)
{
	unit_place();
	events_begin();
	event_write("create", "/usr/share/doc/x.dpkg-new", "dpkg", 0);
	event_rename("/usr/share/doc/x.dpkg-new", "/usr/share/doc/x", "dir");
	event_write("create", "/usr/share/doc/x/README.dpkg-new", "dpkg", 0);
	event_rename("/usr/share/doc/x/README.dpkg-new", "/usr/share/doc/x/README", "file");
	event_rename("/usr/share/doc/x/sub.dpkg-new", "/usr/share/doc/x/sub", "dir");
	event_write("create", "/usr/share/doc/x/sub/a", "dpkg", 0);
	event_rename("/srv/a", "/srv/b", "dir");
	event_write("create", "/srv/b/file", "mv", 0);
	events_end();
	learn();
	KTAP_CHECK(has("\"/usr/share/doc/x*/README\"") && has("\"/usr/share/doc/x*/sub*/a\"") && has("\"/usr/share/doc/x\""), "%s", out);
	KTAP_CHECK(allows("create", "/usr/share/doc/x.dpkg-new/README") && allows("create", "/usr/share/doc/x/sub.dpkg-new/a"));
	KTAP_CHECK(!allows("create", "/usr/share/doc/x.dpkg-old") && !allows("create", "/usr/share/doc/README"));
	KTAP_CHECK(!allows("create", "/srv/a/file"), "names that have nothing in common");
}

KTAP_TEST(names_that_are_alike)
{
	char path[64];

	unit_place();
	events_begin();
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/var/log/app.%d.log", i * 7);
		event_write("create", path, "app", 0);
		snprintf(path, sizeof(path), "/var/log/%08x%d-x", 0xdeadbe00u + (unsigned int)i, i);
		event_write("create", path, "app", 0);
		snprintf(path, sizeof(path), "/var/pid/%d/state", 100 + i);
		event_write("modify", path, "app", 0);
	}
	event_write("create", "/etc/v1", "app", 0);
	event_write("create", "/etc/v2", "app", 0);
	event_write("create", "/etc/.pwd.a8Xk2Z", "app", 0);
	event_write("create", "/etc/nginx.config", "app", 0);
	event_write("create", "/etc/*12", "app", 0);
	event_write("create", "/etc/*34", "app", 0);
	event_write("create", "/etc/*56", "app", 0);
	events_end();
	learn();
	KTAP_CHECK(has("\"/var/log/app.*.log\", # 4 events: app") || has("\"/var/log/app.*.log\" # 4 events: app"), "%s", out);
	KTAP_CHECK(has("\"/var/log/*-x\"") && has("\"/var/pid/*/state\" # 4 events"), "%s", out);
	KTAP_CHECK(has("\"/etc/v1\"") && has("\"/etc/v2\"") && !has("\"/etc/v*\""), "two are no series: %s", out);
	KTAP_CHECK(has("\"/etc/.pwd.??????\"") && has("\"/etc/nginx.config\""), "%s", out);
	KTAP_CHECK(has("\"/etc/\\\\**\""), "%s", out);
	KTAP_CHECK(allows("create", "/etc/*78") && !allows("create", "/etc/a78"));
}

KTAP_TEST(full_directories)
{
	char path[64];

	unit_place();
	events_begin();
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "/var/lib/app/%c", 'a' + i);
		event_write("create", path, "app", 0);
		snprintf(path, sizeof(path), "/usr/share/doc/%c/copyright", 'a' + i);
		event_write("create", path, "dpkg", 0);
		snprintf(path, sizeof(path), "/usr/%c/file", 'a' + i);
		event_write("create", path, "dpkg", 0);
		snprintf(path, sizeof(path), "/data/%c/file", 'a' + i);
		event_write("create", path, "app", 0);
	}
	events_end();
	learn();
	KTAP_CHECK(has("\"/var/lib/app/*\"") && has("\"/usr/share/doc/**\"") && has("\"/data/**\""), "%s", out);
	KTAP_CHECK(!has("\"/usr/**\"") && !has("\"/**\"") && has("\"/usr/a/file\""), "%s", out);
	KTAP_CHECK(!allows("create", "/var/lib/app/a/b") && allows("create", "/usr/share/doc/z/a/b") && !allows("create", "/usr/a/other"));
}

/* However many programs are installed: no other one may be. */
KTAP_TEST(programs_are_named)
{
	char path[64];

	unit_place();
	events_begin();
	for (char c = 'a'; c <= 'z'; c++) {
		snprintf(path, sizeof(path), "/usr/bin/%c%cx", c, c);
		event_write("create", path, "dpkg", 0);
		snprintf(path, sizeof(path), "/usr/share/%c%cx", c, c);
		event_write("create", path, "dpkg", 0);
	}
	events_end();
	learn();
	KTAP_CHECK(allows("create", "/usr/bin/aax") && allows("create", "/usr/bin/zzx") && allows("create", "/usr/share/aax"));
	KTAP_CHECK(!allows("create", "/usr/bin/evil") && allows("create", "/usr/share/evil"));
}

KTAP_TEST(subjects)
{
	unit_place();
	events_begin();
	event_union = "/m[1]*";
	event_container = "web";
	event_write("create", "/a", "app", 0);
	event_container = "";
	event_write("create", "/b", "app", 0);
	event_union = "/other";
	event_write("create", "/c", "app", 0);
	events_end();
	KTAP_CHECK(RUN("learn", "--from", EVENTS, "--union", "/m[1]*") == 0, "%s", err);
	KTAP_CHECK(has("union = \"/m\\\\[1]\\\\*\";") && has("\"/a\"") && has("\"/b\"") && !has("\"/c\"") && !has("container"), "%s", out);
	KTAP_CHECK(RUN("learn", "--from", EVENTS, "--container", "web") == 0, "%s", err);
	KTAP_CHECK(has("container = \"web\";") && has("\"/a\"") && !has("\"/b\"") && !has("union"), "%s", out);
	KTAP_CHECK(RUN("learn", "--from", EVENTS, "--container", "nobody") == KU_EXIT_FAIL && strstr(err, "no operation to learn from") && !*out, "%s", err);
}

/* Nothing that is in a name breaks the policy out of its quotes or comments. */
KTAP_TEST(odd_names)
{
	char deep[1200] = "";

	unit_place();
	events_begin();
	event_write("create", "/", "a\nb\"; #", 0);
	event_write("create", "/a\nb\"c\\d*e?f[g{h", "*/", 0);
	event_write("create", "/\xff\xfe\x01", "\xff", 0);
	event_write("create", "/@include \"x\"", "@include \"x\"", 0);
	event_write("create", "/a\n@include \"x\"", "sh", 0);
	event_write("create", "/ ", "", 0);
	event_write("create", "", "nowhere", 0);
	for (int i = 0; i < 200; i++)
		strcat(deep, "/d");
	event_write("create", deep, "deep", 0);
	events_end();
	KTAP_CHECK(RUN("learn", "--from", EVENTS) == 0 && strstr(err, "2 operations have no path, or one that is too deep"), "%s", err);
	unit_text(LEARNED, out);
	KTAP_CHECK(RUN("check", LEARNED) == 0, "%s", err);
	KTAP_CHECK(RUN("explain", LEARNED, "--path", "/a\nb\"c\\d*e?f[g{h", "--action", "create") == 0 && has("allow"), "%s", out);
	KTAP_CHECK(RUN("explain", LEARNED, "--path", "/a\nb\"c\\d*e?f[g{", "--action", "create") == 0 && has("deny"), "%s", out);
	KTAP_CHECK(RUN("explain", LEARNED, "--path", "/\xff\xfe\x01", "--action", "create") == 0 && has("allow"), "%s", out);
}

/* Whatever is seen is allowed; one more path, which is nowhere near, is not. */
KTAP_TEST(random_events)
{
	struct gen g = { 3 };

	unit_place();
	for (int round = 0; round < 60; round++) {
		static const char *const ops[] = { "create", "modify", "remove", "rename" };
		uint32_t n = 1 + gen_below(&g, gen_one_in(&g, 10) ? 2000 : 60);

		events_begin();
		while (n--) {
			char path[600] = "";

			for (uint32_t depth = 1 + gen_below(&g, 5); depth; depth--) {
				gen_add(path, sizeof(path), "/");
				gen_add(path, sizeof(path), GEN_PICK(&g, gen_names));
				if (gen_one_in(&g, 2))
					snprintf(path + strlen(path), sizeof(path) - strlen(path), "%u", gen_below(&g, 30));
				if (gen_one_in(&g, 9))
					gen_add(path, sizeof(path), gen_one_in(&g, 2) ? ".a8Xk2Z" : "*\\[{?");
			}
			if (gen_one_in(&g, 3))
				event_copyup(path, "file", gen_below(&g, 100), GEN_PICK(&g, gen_names), 0);
			else
				event_write(GEN_PICK(&g, ops), path, GEN_PICK(&g, gen_names), 0);
		}
		events_end();
		learn();
		KTAP_CHECK(!allows("create", "/zzz/zz/z") && !allows("exec", "/a"));
	}
}

/* Many files in one directory, and many directories: it does not take long. */
KTAP_TEST(many_events)
{
	char path[100];
	uint64_t before;

	unit_place();
	events_begin();
	for (unsigned int i = 0; i < 10000; i++) {
		snprintf(path, sizeof(path), "/srv/x/%c%c%c%c", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676 % 26, 'a' + i / 17576);
		event_write("create", path, "app", 0);
		snprintf(path, sizeof(path), "/srv/y/%u", i);
		event_write("create", path, "app", 0);
	}
	events_end();
	before = ku_now_ns();
	learn();
	ktap_diag("%llu ms", (unsigned long long)((ku_now_ns() - before) / 1000000));
	KTAP_CHECK(has("\"/srv/x/*\" # 10000 events: app") || has("\"/srv/x/*\", # 10000 events: app"), "%.600s", out);
	KTAP_CHECK(strlen(out) < 1000, "%.600s", out);
}

/* What does not fit into the tables is generalised more. */
KTAP_TEST(more_than_fits)
{
	char path[200];

	unit_place();
	events_begin();
	for (unsigned int i = 0; i < 4000; i++) {
		uint32_t n = i * 2654435761u;

		snprintf(path, sizeof(path), "/%c%c%c%c%c%c%c%c/qqqqqqqqqqqqqqqqqqqqqqqqqqqq%c%c%c%c%c%c%c%c", 'g' + (n & 15), 'g' + (n >> 4 & 15),
			 'g' + (n >> 8 & 15), 'g' + (n >> 12 & 15), 'g' + (n >> 16 & 15), 'g' + (n >> 20 & 15), 'g' + (n >> 24 & 15), 'g' + (n >> 28),
			 'g' + (n & 15), 'g' + (n >> 4 & 15), 'g' + (n >> 8 & 15), 'g' + (n >> 12 & 15), 'g' + (n >> 16 & 15), 'g' + (n >> 20 & 15),
			 'g' + (n >> 24 & 15), 'g' + (n >> 28));
		event_write("create", path, "app", 0);
	}
	events_end();
	KTAP_CHECK(RUN("learn", "--from", EVENTS) == KU_EXIT_FAIL && !*out && strstr(err, "nothing was learned: 'path': the patterns need more than"),
		   "the root is not given away: %s", err);
}

KTAP_MAIN()
