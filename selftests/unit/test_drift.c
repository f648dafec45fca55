// SPDX-License-Identifier: GPL-2.0-only
/* kunion report --drift: each class of change, and what is refused. */
#include <sys/xattr.h>

#include "drift_scene.h"

KTAP_TEST(none)
{
	fixture(NULL);
	KTAP_CHECK(DRIFT() == 0 && !strcmp(out, "no drift\n") && !*err, "%s%s", out, err);
	/* What was there for a while is not drift. */
	unit_text(M "/d/new", "1");
	KTAP_REQUIRE(!unlink(M "/d/new"));
	unit_text(M "/top", "1");
	KTAP_REQUIRE(!unlink(M "/top"));
	open_only(M "/d/e/h");
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "unchanged copy") && !strstr(out, "added"), "%s", out);
	look();
	KTAP_CHECK(items() == 1, "%s", out);
	is("/d/e/h", "file", "unchanged copy", "");
	KTAP_CHECK(number_of(item("/d/e/h"), "bytes") == 9);
	enough();
}

KTAP_TEST(classes)
{
	fixture(NULL);
	unit_text(L "/size", "before");
	unit_text(L "/bytes", "before");
	unit_text(L "/gone", "");
	unit_text(L "/other", "before");
	unit_text(M "/added", "123");
	append(M "/size");
	unit_text(M "/bytes", "behind");
	KTAP_REQUIRE(!unlink(M "/gone"));
	unit_text(M "/tmp", "another");
	KTAP_REQUIRE(!rename(M "/tmp", M "/other"));
	KTAP_REQUIRE(!chown(M "/d/f", 0, 6) && !chown(M "/d/g", 5, 0) && !chmod(M "/d/f", 0600));
	unit_set_time(M "/d/e/h", 1000, 5);
	KTAP_REQUIRE(!unlink(M "/d/link") && !symlink("elsewhere", M "/d/link"));
	KTAP_REQUIRE(!mkfifo(M "/fifo", 0600));
	KTAP_REQUIRE(!setxattr(M "/d/e", "trusted.test", "1", 1, 0));
	look();
	is("/added", "file", "added", "");
	KTAP_CHECK(number_of(item("/added"), "bytes") == 3);
	is("/size", "file", "changed", "data,time");
	is("/gone", "file", "removed", "");
	is("/other", "file", "replaced", "");
	is("/d/f", "file", "metadata", "mode,owner");
	is("/d/g", "file", "metadata", "owner");
	is("/d/e/h", "file", "metadata", "time");
	is("/d/e", "dir", "metadata", "xattrs");
	is("/d/link", "symlink", "replaced", "");
	is("/fifo", "special", "added", "");
	is("/bytes", "file", "changed", "data,time");
	KTAP_CHECK(items() == 11, "%s", out);
	for (size_t i = 1; i < items(); i++) {
		struct json_object *list = get(doc, "items"), *a = json_object_array_get_idx(list, i - 1);

		KTAP_CHECK(strcmp(text_of(a, "path"), text_of(json_object_array_get_idx(list, i), "path")) < 0, "not by path: %s", out);
	}
	KTAP_CHECK(number_of(get(doc, "counts"), "metadata") == 4 && number_of(get(doc, "counts"), "changed") == 2, "%s", out);
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "4 metadata") && strstr(out, "/d/g (owner)\n") && strstr(out, "/size\n"), "%s", out);
	KTAP_CHECK(strstr(out, "--from FILE"), "%s", out);
	enough();
}

/* Labels are the copy's own; capabilities and the like are not. */
KTAP_TEST(xattrs)
{
	fixture(NULL);
	KTAP_REQUIRE(!setxattr(L "/d/f", "trusted.test", "1", 1, 0) && !setxattr(L "/d/g", "trusted.test", "1", 1, 0));
	if (setxattr(L "/d/f", "security.selinux", "one", 4, 0))
		ktap_skip("security.selinux: %s", strerror(errno));
	open_only(M "/d/f");
	KTAP_REQUIRE(!setxattr(U "/d/f", "security.selinux", "two", 4, 0));
	KTAP_REQUIRE(!removexattr(M "/d/g", "trusted.test"));
	look();
	is("/d/f", "file", "unchanged copy", "");
	is("/d/g", "file", "metadata", "xattrs");
	KTAP_REQUIRE(!setxattr(M "/d/f", "trusted.test", "2", 1, 0) && !setxattr(M "/d/g", "trusted.test", "1", 1, 0) &&
		     !setxattr(M "/d/g", "trusted.more", "1", 1, 0));
	look();
	is("/d/f", "file", "metadata", "xattrs");
	is("/d/g", "file", "metadata", "xattrs");
	enough();
}

/* Size and time alone do not make it the same. */
KTAP_TEST(data_that_keeps_size_and_time)
{
	struct stat st;

	fixture(NULL);
	st = unit_stat(L "/d/f");
	unit_text(M "/d/f", "DATA of f");
	unit_set_time(M "/d/f", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	look();
	is("/d/f", "file", "changed", "data");
	enough();
}

/* 65 MiB with a hole: not read, and said so. */
KTAP_TEST(too_big)
{
	struct stat st;

	layers();
	unit_text(L "/same", "");
	unit_text(L "/other", "");
	unit_text(L "/longer", "");
	KTAP_REQUIRE(!truncate(L "/same", 65 << 20) && !truncate(L "/other", 65 << 20) && !truncate(L "/longer", 65 << 20));
	unit_overlay(NULL);
	open_only(M "/same");
	st = unit_stat(L "/other");
	unit_set_time(M "/other", st.st_mtim.tv_sec + 1, 0);
	st = unit_stat(L "/longer");
	KTAP_REQUIRE(!truncate(M "/longer", 66 << 20));
	unit_set_time(M "/longer", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	look();
	is("/longer", "file", "changed", "data");
	is("/same", "file", "unchanged copy", "");
	is("/other", "file", "changed", "data,time");
	KTAP_CHECK(json_object_get_boolean(get(item("/same"), "guessed")) && json_object_get_boolean(get(item("/other"), "guessed")));
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "/same (too big to compare"), "%s", out);
	enough();
}

/* One line, however deep. */
KTAP_TEST(new_directory)
{
	fixture(NULL);
	make_dir(M "/d/new");
	make_dir(M "/d/new/a");
	make_dir(M "/d/new/a/b");
	unit_text(M "/d/new/one", "1");
	unit_text(M "/d/new/a/b/two", "22");
	look();
	KTAP_CHECK(items() == 1, "%s", out);
	is("/d/new", "dir", "added", "");
	KTAP_CHECK(number_of(item("/d/new"), "entries") == 4 && number_of(item("/d/new"), "bytes") == 3, "%s", out);
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "/d/new (dir, 4 in it)\n") && !strstr(out, "/d/new/"), "%s", out);
	enough();
}

/* Many alike in a directory are a line; what differs from them, and what is run, is not among them. */
KTAP_TEST(many_alike)
{
	layers();
	for (int i = 0; i < 13; i++) {
		char path[64];

		snprintf(path, sizeof(path), L "/d/e/many%d", i);
		unit_text(path, "12");
	}
	unit_overlay(NULL);
	for (int i = 0; i < 13; i++) {
		char path[64];

		snprintf(path, sizeof(path), M "/d/e/many%d", i);
		KTAP_REQUIRE(!chown(path, 7, 0));
		snprintf(path, sizeof(path), M "/new%d", i);
		unit_text(path, "123");
	}
	KTAP_REQUIRE(!chmod(M "/d/e/many3", 0600) && !chown(M "/d/e/many4", 8, 0));
	for (int i = 0; i < 3; i++) {
		char path[64];

		snprintf(path, sizeof(path), M "/new%d", i);
		append(path);
	}
	/* The latest one tells the times of all. */
	usleep(50000);
	unit_set_time(M "/new7", 400 * 86400, 0);
	look();
	KTAP_CHECK(items() == 26, "%s", out);
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "13 added, 13 metadata; "), "%s", out);
	KTAP_CHECK(strstr(out, "  /d/e/* (11 alike, owner)\n") && strstr(out, "     22 B  ") && !strstr(out, "many5"), "%s", out);
	KTAP_CHECK(strstr(out, "many3 (mode, owner)\n") && strstr(out, "many4 (owner)\n"), "%s", out);
	KTAP_CHECK(strstr(out, "     51 B  1971-02-05 ") && strstr(out, "  /* (13 alike)\n") && !strstr(out, "new5"), "%s", out);
	unit_text(EVENTS, "{\"event\":\"write\",\"ts\":\"2026-11-22T18:00:00.000000Z\",\"union\":\"" M "\",\"path\":\"/new1\","
			  "\"op\":\"create\",\"comm\":\"sh\"}\n"
			  "{\"event\":\"policy\",\"union\":\"" M "\",\"path\":\"/new2\",\"action\":\"exec\",\"verdict\":\"audit\","
			  "\"comm\":\"sh\"}\n");
	KTAP_CHECK(DRIFT("--from", EVENTS) == 0 && strstr(out, "  /new1\n") && strstr(out, "  /new2 (executed)\n"), "%s", out);
	KTAP_CHECK(strstr(out, "  /* (11 alike)\n"), "%s", out);
	KTAP_REQUIRE(!unlink(M "/new3") && !unlink(M "/new4"));
	KTAP_CHECK(DRIFT("--from", EVENTS) == 0 && strstr(out, "  /new12\n") && !strstr(out, "  /*"), "%s", out);
	enough();
}

/* "dir/name0", "dir/name1", .. each through fn. */
static void each(const char *dir, const char *name, int n, void (*fn)(const char *path))
{
	char path[128];

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s%d", dir, name, i);
		fn(path);
	}
}

static void fill(const char *path)
{
	unit_text(path, "12");
}

static unsigned int lines_with(const char *word)
{
	unsigned int n = 0;

	for (const char *at = strstr(out, word); at; at = strstr(at + 1, word))
		n++;
	return n;
}

/* Other directories and other classes are others; what was changed is told file by file. */
KTAP_TEST(not_so_alike)
{
	layers();
	each(L "/d", "changed", 12, fill);
	each(L "/d/e", "same", 11, fill);
	unit_overlay(NULL);
	each(M "/d", "changed", 12, append);
	each(M "/d/e", "same", 11, open_only);
	each(M "/d/e", "new", 6, fill);
	each(M, "new", 6, fill);
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "  /d/e/* (11 alike)\n") && lines_with("alike") == 1, "%s", out);
	KTAP_CHECK(lines_with("  /d/changed") == 12 && lines_with("  /d/e/new") == 6 && lines_with("  /new") == 6, "%s", out);
}

KTAP_TEST(directories_replaced)
{
	fixture(NULL);
	make_dir(L "/becomes-file");
	unit_text(L "/becomes-dir", "1");
	KTAP_REQUIRE(!unlink(M "/d/e/h") && !rmdir(M "/d/e"));
	make_dir(M "/d/e");
	unit_text(M "/d/e/h", "data of h");
	KTAP_REQUIRE(!rmdir(M "/becomes-file") && !unlink(M "/becomes-dir"));
	unit_text(M "/becomes-file", "1");
	make_dir(M "/becomes-dir");
	look();
	KTAP_CHECK(items() == 3, "%s", out);
	is("/d/e", "dir", "replaced", "");
	KTAP_CHECK(number_of(item("/d/e"), "entries") == 1, "%s", out);
	is("/becomes-file", "file", "replaced", "");
	is("/becomes-dir", "dir", "replaced", "");
	enough();
}

KTAP_TEST(directories_removed_and_emptied)
{
	fixture(NULL);
	KTAP_REQUIRE(!unlink(M "/d/e/h") && !rmdir(M "/d/e"));
	make_dir(L "/idle");
	KTAP_REQUIRE(!chmod(M "/idle", 0700) && !chmod(M "/idle", 0755));
	look();
	KTAP_CHECK(items() == 2, "%s", out);
	is("/d/e", "dir", "removed", "");
	is("/idle", "dir", "unchanged copy", "");
	enough();
}

/* Of hard links there is no origin in the upper layer: copied up for all that. */
KTAP_TEST(hard_links)
{
	layers();
	KTAP_REQUIRE(!link(L "/d/f", L "/d/f2"));
	unit_overlay(NULL);
	append(M "/d/f");
	look();
	is("/d/f", "file", "changed", "data,time");
	KTAP_CHECK(items() == 1, "%s", out);
	enough();
}

KTAP_TEST(trouble)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_openat2, .arg = -1, .err = EMFILE, .times = 1 },
		{ .nr = SYS_getdents64, .arg = -1, .err = EIO, .times = 1 },
	};

	fixture(NULL);
	unit_text(M "/added", "1");
	unit_faults(faults, 2);
	KTAP_CHECK(DRIFT() == 1 && strstr(err, "Too many open files") && strstr(out, "Not all of the upper layer"), "%s%s", out, err);
	KTAP_CHECK(DRIFT() == 1 && strstr(err, "Input/output error") && strstr(out, "Not all of the upper layer"), "%s%s", out, err);
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "/added"), "%s%s", out, err);
}

/* Who cannot read trusted xattrs would take opaque directories for merged ones. */
KTAP_TEST(not_root)
{
	fixture(NULL);
	KTAP_REQUIRE(!setresuid(-1, 65534, -1));
	command_refused(DRIFT(), "only root");
	KTAP_REQUIRE(!setresuid(-1, 0, -1) && !unlink("/tmp/out") && !unlink("/tmp/err"));
	/* Below a changed root, say: the rest of the test cannot be run there. */
	if (unshare(CLONE_NEWUSER))
		ktap_skip("no user namespace here: %s", strerror(errno));
	unit_text("/proc/self/uid_map", "0 0 1");
	KTAP_REQUIRE(!geteuid());
	command_refused(DRIFT(), "only root");
}

KTAP_TEST(refused)
{
	struct stat real;

	fixture(NULL);
	command_refused(COMMAND(ku_cmd_report, "report", "--drift"), "MERGED");
	command_refused(DRIFT("/tmp"), "more than one");
	command_refused(DRIFT("--html", "-"), "--html");
	command_refused(DRIFT("--writable-paths"), "--writable-paths");
	command_refused(DRIFT("--hydrate-list"), "--hydrate-list");
	command_refused(DRIFT("--duration", "5"), "--duration");
	command_refused(DRIFT("-m", "guard"), "--mode");
	command_refused(DRIFT("-p", "1"), "a filter");
	command_refused(DRIFT("--all"), "--all");
	command_refused(COMMAND(ku_cmd_report, "report", "--drift", "--all"), "--all");
	command_refused(DRIFT("--", "true"), "--");
	command_refused(COMMAND(ku_cmd_report, "report", "--drift", L), "not an overlay");
	command_refused(COMMAND(ku_cmd_report, "report", "--drift", M "/d"), "not the root");
	command_refused(COMMAND(ku_cmd_report, "report", M, "--from", EVENTS), "--from");
	make_dir(UNIT_DIR "/part");
	KTAP_REQUIRE(!mount(M "/d", UNIT_DIR "/part", NULL, MS_BIND, NULL));
	command_refused(COMMAND(ku_cmd_report, "report", "--drift", UNIT_DIR "/part"), "only /d of an overlay");
	/* Another directory has the name now. */
	unit_tmpfs(UNIT_UPPER, "mode=0755");
	command_refused(DRIFT(), UNIT_UPPER "/u");
	make_dir(U);
	real = unit_stat(M);
	unit_set_time(U, real.st_mtim.tv_sec, real.st_mtim.tv_nsec);
	command_refused(DRIFT(), UNIT_UPPER "/u");
	KTAP_REQUIRE(!umount(UNIT_UPPER));
	KTAP_REQUIRE(!rename(UNIT_LOWER "/d", UNIT_LOWER "/d2") && !umount2(UNIT_LOWER, MNT_DETACH) && !rmdir(UNIT_LOWER));
	command_refused(DRIFT(), UNIT_LOWER);
}

KTAP_MAIN()
