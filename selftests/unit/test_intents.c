// SPDX-License-Identifier: GPL-2.0-only
/* The intents record: what is on disk when, crashes, garbage. */
#include "intents.h"

#include <limits.h>

#include "commit.h"
#include "record.h"
#include "stop.h"
#include "unit.h"
#include "util.h"

KTAP_TEST(names)
{
	KTAP_CHECK(ku_is_temp_name(".kunion-0123456789abcdef0123456789abcdef"));
	KTAP_CHECK(!ku_is_temp_name(".kunion-0123456789abcdef0123456789abcde"));
	KTAP_CHECK(!ku_is_temp_name(".kunion-0123456789abcdef0123456789abcdef0"));
	KTAP_CHECK(!ku_is_temp_name(".kunion-0123456789ABCDEF0123456789abcdef"));
	KTAP_CHECK(!ku_is_temp_name(".kunion-0123456789abcdef0123456789abcdeg"));
	KTAP_CHECK(!ku_is_temp_name("akunion-0123456789abcdef0123456789abcdef"));
	KTAP_CHECK(!ku_is_temp_name(".kunion-"));
	KTAP_CHECK(!ku_is_temp_name(""));
}

/* An entry is on disk before its temporary can be, and the record goes when it is empty. */
KTAP_TEST(begin_is_on_disk)
{
	char name[KU_TEMP_NAME_MAX], path[PATH_MAX], *data;
	struct ku_intents *in;
	unsigned int id;
	size_t size;

	unit_place();
	in = open_record();
	KTAP_CHECK(ku_intents_begin(in, "a/b", name, &id) == 0);
	KTAP_CHECK(ku_is_temp_name(name), "%s", name);
	record_path(path);
	KTAP_CHECK((unit_stat(path).st_mode & 07777) == 0600);
	data = unit_read(path, &size);
	KTAP_CHECK(strstr(data, KEY), "the record does not say whose it is");
	KTAP_CHECK(memmem(data, size, name, strlen(name) + 1));
	KTAP_CHECK(memmem(data, size, "a/b", 4));
	free(data);
	ku_intents_done(in, id);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

KTAP_TEST(record_is_flushed_before_it_is_used)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_fdatasync, .arg = -1, .err = EIO, .times = 1 },
	};
	char name[KU_TEMP_NAME_MAX];
	struct ku_intents *in;
	unsigned int id;

	unit_place();
	in = open_record();
	unit_faults(faults, 1);
	KTAP_CHECK(ku_intents_begin(in, "", name, &id) == -EIO);
	KTAP_CHECK(ku_intents_begin(in, "", name, &id) == 0);
	KTAP_CHECK(faults[0].seen == 2);
	ku_intents_done(in, id);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);

	/* Not on a volatile overlay. */
	KTAP_REQUIRE(ku_intents_open(KEY, false, &in) == 0);
	KTAP_CHECK(ku_intents_begin(in, "", name, &id) == 0);
	KTAP_CHECK(faults[0].seen == 2);
	ku_intents_done(in, id);
	ku_intents_close(in);
}

KTAP_TEST(long_directory)
{
	char dir[5000], name[KU_TEMP_NAME_MAX];
	struct ku_intents *in;
	unsigned int id;

	unit_place();
	memset(dir, 'd', sizeof(dir));
	in = open_record();
	dir[4095] = '\0';
	KTAP_CHECK(ku_intents_begin(in, dir, name, &id) == 0);
	ku_intents_done(in, id);
	dir[4095] = 'd';
	dir[4096] = '\0';
	KTAP_CHECK(ku_intents_begin(in, dir, name, &id) == -ENAMETOOLONG);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

KTAP_TEST(state_directory_that_cannot_be)
{
	struct ku_intents *in;

	unit_place();
	setenv("KUNION_STATE_DIR", "/tmp/none/deeper", 1);
	KTAP_CHECK(ku_intents_open(KEY, true, &in) == -ENOENT);
	unit_text("/tmp/file", "");
	setenv("KUNION_STATE_DIR", "/tmp/file", 1);
	KTAP_CHECK(ku_intents_open(KEY, true, &in) == -ENOTDIR);
	/* It is made where its parent is there, for root only. */
	setenv("KUNION_STATE_DIR", "/tmp/new", 1);
	in = open_record();
	KTAP_CHECK((unit_stat("/tmp/new").st_mode & 07777) == 0700);
	ku_intents_close(in);
}

/* Waits until the path is there: up to 10 s. */
static void await(const char *path)
{
	for (int i = 0; i < 10000 && !unit_exists(path); i++)
		usleep(1000);
	KTAP_REQUIRE(unit_exists(path), "%s did not come", path);
}

/* A crash between link and rename, at the stop point there, in a union. */
KTAP_TEST(crash_between_link_and_rename)
{
	struct ku_intents *in;
	struct found f;
	int root, status;
	char path[PATH_MAX];
	pid_t pid;

	unit_layers();
	KTAP_REQUIRE(mkdir(UNIT_LOWER "/dir", 0755) == 0);
	unit_text(UNIT_LOWER "/dir/file", "lower");
	unit_overlay(NULL);
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/after-link.stop", "");

	pid = fork();
	if (pid == 0) {
		int dirfd = open(UNIT_MERGED "/dir", O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct ku_temp t;

		KTAP_REQUIRE(ku_stop_init() == 0);
		in = open_record();
		KTAP_REQUIRE(ku_temp_open(dirfd, "dir", in, &t) == 0);
		KTAP_REQUIRE(ku_temp_commit(&t, "file", NULL) == 0);
		_exit(0);
	}
	await("/tmp/stop/after-link.hit");
	KTAP_CHECK(unit_count(UNIT_MERGED "/dir") == 2);
	root = open(UNIT_MERGED, O_PATH | O_DIRECTORY | O_CLOEXEC);

	/* While it lives it is not a crash. */
	in = open_record();
	memset(&f, 0, sizeof(f));
	KTAP_CHECK(ku_intents_recover(in, root, false, found, &f) == 0);
	KTAP_CHECK(unit_count(UNIT_MERGED "/dir") == 2);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 1, "the record of a living process was removed");

	KTAP_REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	KTAP_REQUIRE(WIFSIGNALED(status));
	in = open_record();
	KTAP_CHECK(ku_intents_recover(in, root, true, found, &f) == 1);
	KTAP_CHECK(f.n == 1 && !strncmp(f.path[0], "dir/" KU_TEMP_PREFIX, 12) && !f.err[0], "%s", f.path[0]);
	snprintf(path, sizeof(path), UNIT_MERGED "/%s", f.path[0]);
	KTAP_CHECK(unit_exists(path), "a dry run removed it");
	memset(&f, 0, sizeof(f));
	KTAP_CHECK(ku_intents_recover(in, root, false, found, &f) == 1);
	KTAP_CHECK(f.n == 1 && !f.err[0]);
	KTAP_CHECK(!unit_exists(path));
	KTAP_CHECK(ku_intents_recover(in, root, false, found, &f) == 0);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
	KTAP_CHECK(unit_count(UNIT_MERGED "/dir") == 1);
	KTAP_CHECK(unit_has_text(UNIT_MERGED "/dir/file", "lower"));
}

/* Behind the rename there is nothing to remove, and the name is the user's. */
KTAP_TEST(crash_behind_the_rename)
{
	struct ku_intents *in;
	struct found f = { 0 };
	int root, status;
	pid_t pid;

	unit_layers();
	unit_text(UNIT_LOWER "/file", "lower");
	unit_overlay(NULL);
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/after-rename.stop", "");
	pid = fork();
	if (pid == 0) {
		int dirfd = open(UNIT_MERGED, O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct ku_temp t;

		KTAP_REQUIRE(ku_stop_init() == 0);
		in = open_record();
		KTAP_REQUIRE(ku_temp_open(dirfd, ".", in, &t) == 0);
		KTAP_REQUIRE(write(t.fd, "copy", 4) == 4);
		KTAP_REQUIRE(ku_temp_commit(&t, "file", NULL) == 0);
		_exit(0);
	}
	await("/tmp/stop/after-rename.hit");
	KTAP_REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	root = open(UNIT_MERGED, O_PATH | O_DIRECTORY | O_CLOEXEC);
	in = open_record();
	KTAP_CHECK(ku_intents_recover(in, root, false, found, &f) == 0);
	KTAP_CHECK(f.n == 0);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
	KTAP_CHECK(unit_has_text(UNIT_MERGED "/file", "copy"));
}

/* Whatever is in the record: no crash, nothing removed that is not a temporary below the root, and it can be used again. */
KTAP_TEST(garbage_in_the_record)
{
	unsigned char noise[SLOT_SIZE * 3];
	char name[KU_TEMP_NAME_MAX];
	struct ku_intents *in, *keep;
	struct found f;
	unsigned int id;
	struct slot s;

	unit_place();
	KTAP_REQUIRE(mkdir(UNIT_DIR "/dir", 0755) == 0);
	unit_text(UNIT_DIR "/dir/" NAME0, "");
	unit_text(UNIT_DIR "/user", "");
	unit_text("/tmp/" NAME0, "");
	keep = open_record();

	unit_fill(noise, sizeof(noise), 1);
	put_slot(0, noise, sizeof(noise)); /* 0 to 2 */
	s = make_slot(NAME0, "dir");
	s.sum++;
	put_slot(3, &s, sizeof(s)); /* torn */
	s = make_slot("user", "");
	put_slot(4, &s, sizeof(s)); /* not a temporary's name */
	s = make_slot(NAME0 "/../user", "");
	put_slot(5, &s, sizeof(s));
	s = make_slot(NAME0, "dir/../..");
	put_slot(6, &s, sizeof(s)); /* leads out of the root */
	s = make_slot(NAME0, "/tmp");
	put_slot(7, &s, sizeof(s));
	s = make_slot(NAME0, "dir");
	memset(s.dir, 'x', sizeof(s.dir));
	put_slot(8, &s, sizeof(s)); /* no end */
	s = make_slot(NAME0, "dir");
	memset(s.name, '0', sizeof(s.name));
	put_slot(9, &s, sizeof(s));
	s = make_slot(NAME0, "dir");
	put_slot(10, &s, 50); /* cut short */

	in = open_record();
	recover(in, false, &f);
	KTAP_CHECK(f.n == 0, "%s", f.path[0]);
	KTAP_CHECK(unit_exists(UNIT_DIR "/dir/" NAME0) && unit_exists(UNIT_DIR "/user") && unit_exists("/tmp/" NAME0));

	/* A good entry among them counts. */
	s = make_slot(NAME0, "dir");
	put_slot(11, &s, sizeof(s));
	recover(in, false, &f);
	KTAP_CHECK(f.n == 1 && !strcmp(f.path[0], "dir/" NAME0), "%s", f.path[0]);
	KTAP_CHECK(!unit_exists(UNIT_DIR "/dir/" NAME0));
	KTAP_CHECK(unit_exists("/tmp/" NAME0) && unit_exists(UNIT_DIR "/user"));

	KTAP_CHECK(ku_intents_begin(in, "dir", name, &id) == 0);
	ku_intents_done(in, id);
	ku_intents_close(in);
	ku_intents_close(keep);
}

/* A directory may have become something else since. */
KTAP_TEST(recover_follows_nothing)
{
	struct ku_intents *in, *keep;
	struct found f;
	struct slot s;

	unit_place();
	KTAP_REQUIRE(mkdir(UNIT_DIR "/real", 0755) == 0 && mkdir(UNIT_DIR "/mnt", 0755) == 0);
	KTAP_REQUIRE(symlink("real", UNIT_DIR "/link") == 0);
	unit_tmpfs(UNIT_DIR "/mnt", NULL);
	unit_text(UNIT_DIR "/real/" NAME0, "");
	unit_text(UNIT_DIR "/mnt/" NAME1, "");
	KTAP_REQUIRE(symlink("user", UNIT_DIR "/real/" NAME2) == 0);
	keep = open_record();
	s = make_slot(NAME0, "link");
	put_slot(0, &s, sizeof(s));
	s = make_slot(NAME1, "mnt");
	put_slot(1, &s, sizeof(s));
	s = make_slot(NAME2, "real"); /* not a regular file: not ours */
	put_slot(2, &s, sizeof(s));
	s = make_slot(NAME2, "gone/away");
	put_slot(3, &s, sizeof(s));
	in = open_record();
	KTAP_CHECK(recover(in, false, &f) == -EXDEV, "what lies below a mount cannot be judged");
	KTAP_CHECK(f.n == 0);
	KTAP_CHECK(unit_exists(UNIT_DIR "/real/" NAME0) && unit_exists(UNIT_DIR "/mnt/" NAME1) &&
		   unit_exists(UNIT_DIR "/real/" NAME2));
	/* That one stayed recorded; the others are void. */
	KTAP_REQUIRE(umount(UNIT_DIR "/mnt") == 0);
	unit_text(UNIT_DIR "/mnt/" NAME1, "");
	KTAP_CHECK(recover(in, false, &f) == 1);
	KTAP_CHECK(f.n == 1 && !unit_exists(UNIT_DIR "/mnt/" NAME1));
	ku_intents_close(in);
	ku_intents_close(keep);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

KTAP_TEST(removal_that_fails_is_told_and_kept)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_unlinkat, .arg = -1, .err = EACCES, .times = 1 },
	};
	struct ku_intents *in, *keep;
	struct found f;
	struct slot s;

	unit_place();
	unit_text(UNIT_DIR "/" NAME0, "");
	keep = open_record();
	s = make_slot(NAME0, "");
	put_slot(0, &s, sizeof(s));
	unit_faults(faults, 1);
	in = open_record();
	KTAP_CHECK(recover(in, false, &f) == 1);
	KTAP_CHECK(f.n == 1 && f.err[0] == -EACCES && !strcmp(f.path[0], NAME0));
	KTAP_CHECK(recover(in, false, &f) == 1);
	KTAP_CHECK(f.n == 1 && !f.err[0] && !unit_exists(UNIT_DIR "/" NAME0));
	KTAP_CHECK(recover(in, false, NULL) == 0);
	ku_intents_close(in);
	ku_intents_close(keep);
}

KTAP_TEST(unions_have_records_of_their_own)
{
	struct ku_intents *a, *b;
	struct found f;
	struct slot s;

	unit_place();
	unit_text(UNIT_DIR "/" NAME0, "");
	KTAP_REQUIRE(ku_intents_open("a", true, &a) == 0);
	s = make_slot(NAME0, "");
	put_slot(0, &s, sizeof(s));
	KTAP_REQUIRE(ku_intents_open("b", true, &b) == 0);
	KTAP_CHECK(unit_count("/tmp/state") == 2);
	KTAP_CHECK(recover(b, false, &f) == 0);
	KTAP_CHECK(recover(a, false, &f) == 1);
	ku_intents_close(a);
	ku_intents_close(b);
	ku_intents_close(NULL);
}

KTAP_MAIN()
