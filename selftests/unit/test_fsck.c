// SPDX-License-Identifier: GPL-2.0-only
/* kunion fsck, as a command: what it prints and its exit status. */
#include <limits.h>

#include "cmd.h"
#include "intents.h"
#include "unit.h"
#include "union.h"
#include "util.h"

#define NAME(digit) KU_TEMP_PREFIX digit digit digit digit digit digit digit digit
#define NAME0 NAME("0000")
#define NAME1 NAME("1111")
#define NAME2 NAME("2222")
#define NAMEA NAME("abcd")

/* What the last fsck() said. */
static char *out, *err;

/* Runs it in a child; its exit status. Arguments end at NULL. */
static int fsck(const char *a, const char *b, const char *c)
{
	char *argv[] = { (char *)"fsck", (char *)a, (char *)b, (char *)c, NULL };
	int argc = 1, status;
	pid_t pid;

	while (argv[argc])
		argc++;
	fflush(NULL);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		int o = open("/tmp/out", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		int e = open("/tmp/err", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		if (dup2(o, 1) < 0 || dup2(e, 2) < 0)
			_exit(99);
		status = ku_cmd_fsck(argc, argv);
		fflush(NULL);
		_exit(status);
	}
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	free(out);
	free(err);
	out = unit_read("/tmp/out", NULL);
	err = unit_read("/tmp/err", NULL);
	return WEXITSTATUS(status);
}

static int plain(void)
{
	return fsck(UNIT_MERGED, NULL, NULL);
}

static int repair(void)
{
	return fsck("--repair", UNIT_MERGED, NULL);
}

static unsigned int lines(const char *text)
{
	unsigned int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void fixture(void)
{
	unit_layers();
	KTAP_REQUIRE(mkdir(UNIT_LOWER "/a", 0755) == 0 && mkdir(UNIT_LOWER "/a/b", 0755) == 0);
	unit_text(UNIT_LOWER "/a/file", "lower");
	unit_overlay(NULL);
}

/* Leaves a recorded temporary in dir, as a crash would. */
static void crash_in(const char *dir, char name[static KU_TEMP_NAME_MAX])
{
	char path[PATH_MAX], e[KU_UNION_ERR];
	struct ku_intents *in;
	struct ku_union u;
	unsigned int id;
	int p[2];
	pid_t pid;

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		KTAP_REQUIRE(ku_union_open(UNIT_MERGED, &u, e) == 0 && ku_intents_open(u.key, true, &in) == 0);
		KTAP_REQUIRE(ku_intents_begin(in, dir, name, &id) == 0);
		snprintf(path, sizeof(path), UNIT_MERGED "/%s/%s", dir, name);
		unit_text(path, "half");
		KTAP_REQUIRE(write(p[1], name, KU_TEMP_NAME_MAX) == KU_TEMP_NAME_MAX);
		_exit(0);
	}
	KTAP_REQUIRE(waitpid(pid, NULL, 0) == pid);
	KTAP_REQUIRE(read(p[0], name, KU_TEMP_NAME_MAX) == KU_TEMP_NAME_MAX);
	close(p[0]);
	close(p[1]);
}

KTAP_TEST(clean)
{
	fixture();
	KTAP_CHECK(plain() == 0);
	KTAP_CHECK(!*out && !*err, "%s%s", out, err);
	KTAP_CHECK(repair() == 0);
	KTAP_CHECK(!*out && !*err, "%s%s", out, err);
	KTAP_CHECK(unit_count("/tmp/run") == 0 && unit_count("/tmp/state") == 0);
	KTAP_CHECK(umount(UNIT_MERGED) == 0, "it kept the union busy");
}

KTAP_TEST(recorded)
{
	char name[KU_TEMP_NAME_MAX], want[PATH_MAX], path[PATH_MAX];

	fixture();
	crash_in("a", name);
	snprintf(path, sizeof(path), UNIT_MERGED "/a/%s", name);
	snprintf(want, sizeof(want), "found: /a/%s\n", name);
	KTAP_CHECK(plain() == 1);
	KTAP_CHECK(!strcmp(out, want), "%s", out);
	KTAP_CHECK(strstr(err, "--repair"), "%s", err);
	KTAP_CHECK(unit_exists(path));
	KTAP_CHECK(plain() == 1 && !strcmp(out, want), "the first one changed something: %s", out);
	snprintf(want, sizeof(want), "removed: /a/%s\n", name);
	KTAP_CHECK(repair() == 0);
	KTAP_CHECK(!strcmp(out, want), "%s", out);
	KTAP_CHECK(!unit_exists(path) && unit_count("/tmp/state") == 0);
	KTAP_CHECK(plain() == 0 && !*out);
}

/* A power cut may have taken the record along. What only looks similar is the user's. */
KTAP_TEST(not_recorded)
{
	char name[KU_TEMP_NAME_MAX];

	fixture();
	unit_text(UNIT_MERGED "/" NAME0, "");
	unit_text(UNIT_MERGED "/a/b/" NAMEA, "");
	KTAP_REQUIRE(mkdir(UNIT_MERGED "/" NAME1, 0755) == 0);
	KTAP_REQUIRE(symlink("a", UNIT_MERGED "/a/" NAME2) == 0);
	KTAP_REQUIRE(symlink("b", UNIT_MERGED "/a/link") == 0);
	unit_text(UNIT_MERGED "/.kunion-", "");
	unit_text(UNIT_MERGED "/.kunion-0000", "");
	unit_text(UNIT_MERGED "/" NAME0 "0", "");
	unit_text(UNIT_MERGED "/x" NAME0, "");
	crash_in("a", name);
	KTAP_CHECK(plain() == 1);
	KTAP_CHECK(lines(out) == 3, "%s", out);
	KTAP_CHECK(strstr(out, "found: /" NAME0 "\n") && strstr(out, "found: /a/b/" NAMEA "\n") && strstr(out, name), "%s", out);
	KTAP_CHECK(repair() == 0);
	KTAP_CHECK(lines(out) == 3 && strstr(out, "removed: /" NAME0 "\n"), "%s", out);
	KTAP_CHECK(!unit_exists(UNIT_MERGED "/" NAME0) && !unit_exists(UNIT_MERGED "/a/b/" NAMEA));
	KTAP_CHECK(unit_exists(UNIT_MERGED "/" NAME1) && unit_exists(UNIT_MERGED "/a/" NAME2) &&
		   unit_exists(UNIT_MERGED "/.kunion-0000") && unit_exists(UNIT_MERGED "/" NAME0 "0") &&
		   unit_exists(UNIT_MERGED "/x" NAME0));
	KTAP_CHECK(plain() == 0);
}

/* Other mounts are not looked into, nor what a symbolic link leads to. */
KTAP_TEST(stays_in_its_mount)
{
	fixture();
	unit_tmpfs(UNIT_MERGED "/a/b", NULL);
	unit_text(UNIT_MERGED "/a/b/" NAME0, "");
	KTAP_REQUIRE(mkdir(UNIT_DIR "/outside", 0755) == 0);
	unit_text(UNIT_DIR "/outside/" NAME1, "");
	KTAP_REQUIRE(symlink("../outside", UNIT_MERGED "/out") == 0);
	KTAP_CHECK(repair() == 0);
	KTAP_CHECK(!*out, "%s", out);
	KTAP_CHECK(unit_exists(UNIT_MERGED "/a/b/" NAME0) && unit_exists(UNIT_DIR "/outside/" NAME1));
}

/* Deeper than PATH_MAX and than there are descriptors. */
KTAP_TEST(deep_tree)
{
	char name[256];
	int dir;

	fixture();
	memset(name, 'd', 250);
	name[250] = '\0';
	dir = open(UNIT_MERGED, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 60; i++) {
		int next;

		KTAP_REQUIRE(mkdirat(dir, name, 0755) == 0);
		next = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		KTAP_REQUIRE(next >= 0);
		close(dir);
		dir = next;
	}
	close(openat(dir, NAME0, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	KTAP_CHECK(plain() == 1);
	KTAP_CHECK(strstr(out, "/" NAME0 "\n") && strlen(out) > 60 * 251 && lines(out) == 1 && !strstr(err, "cannot"), "%s", err);
	KTAP_CHECK(repair() == 0);
	KTAP_CHECK(faccessat(dir, NAME0, F_OK, 0) < 0 && errno == ENOENT);
	close(dir);
}

KTAP_TEST(odd_names_stay_on_one_line)
{
	fixture();
	KTAP_REQUIRE(mkdir(UNIT_MERGED "/x\ny\xff", 0755) == 0);
	unit_text(UNIT_MERGED "/x\ny\xff/" NAME0, "");
	KTAP_CHECK(plain() == 1);
	KTAP_CHECK(!strcmp(out, "found: /x\\x0ay\\xff/" NAME0 "\n"), "%s", out);
}

KTAP_TEST(not_removable)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_unlinkat, .arg = -1, .err = EPERM, .times = 2 },
	};
	char name[KU_TEMP_NAME_MAX];

	fixture();
	unit_text(UNIT_MERGED "/a/" NAME0, "");
	crash_in("", name);
	unit_faults(faults, 1); /* the first two removals: that of the recorded one, that of the other */
	KTAP_CHECK(repair() == 1);
	KTAP_CHECK(lines(out) == 2 && strstr(out, "cannot remove: /a/" NAME0 ": Operation not permitted\n"), "%s", out);
	KTAP_CHECK(unit_exists(UNIT_MERGED "/a/" NAME0));
	KTAP_CHECK(repair() == 0);
	KTAP_CHECK(lines(out) == 2 && !unit_exists(UNIT_MERGED "/a/" NAME0), "%s", out);
}

KTAP_TEST(cannot_look)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_getdents64, .arg = -1, .err = EIO, .times = 1 },
	};

	fixture();
	unit_faults(faults, 1);
	KTAP_CHECK(plain() == 1);
	KTAP_CHECK(strstr(err, "Input/output error"), "%s", err);
	KTAP_CHECK(plain() == 0);
}

/* A record that cannot be had is no reason to look at nothing, nor to call it clean. */
KTAP_TEST(no_state_directory)
{
	fixture();
	unit_text(UNIT_MERGED "/" NAME0, "");
	setenv("KUNION_STATE_DIR", "/tmp/none/deeper", 1);
	KTAP_CHECK(repair() == 1);
	KTAP_CHECK(strstr(out, "removed: /" NAME0) && strstr(err, "record"), "%s%s", out, err);
}

KTAP_TEST(refuses)
{
	char e[KU_UNION_ERR];
	struct ku_union u;

	fixture();
	unit_text(UNIT_MERGED "/" NAME0, "");
	KTAP_CHECK(fsck(UNIT_LOWER, NULL, NULL) == 2 && strstr(err, "not an overlay") && lines(err) == 1, "%s", err);
	KTAP_CHECK(fsck(UNIT_DIR "/none", NULL, NULL) == 2 && strstr(err, "no such directory") && lines(err) == 1, "%s", err);
	KTAP_CHECK(fsck(NULL, NULL, NULL) == 2 && strstr(err, "MERGED"), "%s", err);
	KTAP_CHECK(fsck("--nonsense", UNIT_MERGED, NULL) == 2, "%s", err);
	KTAP_CHECK(fsck(UNIT_MERGED, UNIT_MERGED, NULL) == 2, "%s", err);
	KTAP_CHECK(fsck("--help", NULL, NULL) == 0 && strstr(out, "--repair") && strstr(out, "kunion fsck"), "%s", out);

	/* While a kunion is attached, a temporary may be one at work. */
	KTAP_REQUIRE(ku_union_open(UNIT_MERGED, &u, e) == 0 && ku_union_lock(&u, e) == 0);
	KTAP_CHECK(repair() == 2 && strstr(err, "attached") && lines(err) == 1, "%s", err);
	KTAP_CHECK(unit_exists(UNIT_MERGED "/" NAME0));
	ku_union_close(&u);
	KTAP_CHECK(repair() == 0 && !unit_exists(UNIT_MERGED "/" NAME0));
}

/* A part of an overlay, bind-mounted: its own record, and only that part is looked at. */
KTAP_TEST(bind_mount_of_a_part)
{
	fixture();
	KTAP_REQUIRE(mkdir(UNIT_DIR "/bound", 0755) == 0);
	KTAP_REQUIRE(mount(UNIT_MERGED "/a", UNIT_DIR "/bound", NULL, MS_BIND, NULL) == 0);
	unit_text(UNIT_MERGED "/" NAME0, "");
	unit_text(UNIT_MERGED "/a/b/" NAME1, "");
	KTAP_CHECK(fsck("--repair", UNIT_DIR "/bound", NULL) == 0);
	KTAP_CHECK(!strcmp(out, "removed: /b/" NAME1 "\n"), "%s", out);
	KTAP_CHECK(unit_exists(UNIT_MERGED "/" NAME0));
}

KTAP_MAIN()
