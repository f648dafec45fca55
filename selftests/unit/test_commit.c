// SPDX-License-Identifier: GPL-2.0-only
/* Temporaries and their commit, through a real overlay. */
#include "commit.h"

#include <limits.h>

#include "unit.h"
#include "util.h"

#ifndef SYS_renameat /* newer architectures */
#define SYS_renameat SYS_renameat2
#endif

#define DIR_M UNIT_MERGED "/dir"
#define DIR_U UNIT_UPPER "/u/dir"

struct fixture {
	struct ku_intents *in;
	struct ku_temp t;
	int dirfd;
	struct timespec mtime;
};

static void fixture_mount(void)
{
	unit_layers();
	KTAP_REQUIRE(mkdir(UNIT_LOWER "/dir", 0755) == 0);
	unit_text(UNIT_LOWER "/dir/file", "lower");
	unit_text(UNIT_LOWER "/dir/other", "other");
	unit_set_time(UNIT_LOWER "/dir", 1000000001, 123456789);
	unit_overlay(NULL);
}

/* dir/file is in the lower layer, dir has a time to remember; the temporary is open and has the text. */
static void fixture_open(struct fixture *f, const char *text)
{
	KTAP_REQUIRE(ku_intents_open("unit", true, &f->in) == 0);
	f->dirfd = open(DIR_M, O_PATH | O_DIRECTORY | O_CLOEXEC);
	KTAP_REQUIRE(f->dirfd >= 0);
	f->mtime = unit_stat(DIR_M).st_mtim;
	KTAP_REQUIRE(ku_temp_open(f->dirfd, "dir", f->in, &f->t) == 0);
	KTAP_REQUIRE(write(f->t.fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void fixture_close(struct fixture *f)
{
	ku_temp_drop(&f->t);
	ku_temp_drop(&f->t); /* harmless */
	KTAP_CHECK(f->t.fd == -1 && !f->t.named);
	ku_intents_close(f->in);
	close(f->dirfd);
	/* Nothing is recorded any more, and nobody has it open: so it is gone. */
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

/* The directory has these many names, merged and upper, and the time it had. */
static void check_dir(const struct fixture *f, int merged, int upper)
{
	KTAP_CHECK(unit_count(DIR_M) == merged, "%d", unit_count(DIR_M));
	KTAP_CHECK(unit_count(DIR_U) == upper, "%d", unit_count(DIR_U));
	KTAP_CHECK(unit_same_time(unit_stat(DIR_M).st_mtim, f->mtime), "the directory's time changed");
	KTAP_CHECK(unit_same_time(unit_stat(DIR_U).st_mtim, f->mtime), "the upper directory's time changed");
}

static void check_committed(const struct fixture *f)
{
	KTAP_CHECK(unit_has_text(DIR_M "/file", "copy"));
	KTAP_CHECK(unit_has_text(UNIT_LOWER "/dir/file", "lower"));
	KTAP_CHECK(unit_has_text(DIR_U "/file", "copy"));
	KTAP_CHECK(unit_stat(DIR_U "/file").st_nlink == 1);
	check_dir(f, 2, 1);
}

KTAP_TEST(commit_replaces_the_file)
{
	struct fixture f;

	fixture_mount();
	fixture_open(&f, "copy");
	KTAP_CHECK(unit_count(DIR_M) == 2 + f.t.named);
	KTAP_CHECK(unit_has_text(DIR_M "/file", "lower"));
	KTAP_CHECK(ku_temp_commit(&f.t, "file", NULL) == 0);
	check_committed(&f);
	fixture_close(&f);
	check_committed(&f);
}

/* Before 6.3 there is no O_TMPFILE on overlayfs. */
KTAP_TEST(commit_without_tmpfile)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_openat, .arg = 2, .mask = O_TMPFILE, .value = O_TMPFILE, .err = EOPNOTSUPP },
	};
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	KTAP_CHECK(faults[0].failed == 1 && f.t.named && ku_is_temp_name(f.t.name));
	check_dir(&f, 3, 1);
	KTAP_CHECK((unit_stat(DIR_M "/file").st_mode & 07777) == 0644);
	KTAP_CHECK(ku_temp_commit(&f.t, "file", NULL) == 0);
	check_committed(&f);
	fixture_close(&f);
	check_committed(&f);
}

KTAP_TEST(drop_without_tmpfile_leaves_nothing)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_openat, .arg = 2, .mask = O_TMPFILE, .value = O_TMPFILE, .err = EOPNOTSUPP },
	};
	struct fixture f;
	char path[PATH_MAX];

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	snprintf(path, sizeof(path), DIR_M "/%s", f.t.name);
	KTAP_CHECK((unit_stat(path).st_mode & 07777) == 0600, "others may read it");
	fixture_close(&f);
	check_dir(&f, 2, 0);
	KTAP_CHECK(unit_has_text(DIR_M "/file", "lower"));
}

/* Any other reason why there is no O_TMPFILE is an error. */
KTAP_TEST(no_space_for_a_temporary)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_openat, .arg = 2, .mask = O_TMPFILE, .value = O_TMPFILE, .err = ENOSPC },
	};
	struct ku_intents *in;
	struct ku_temp t;
	int dirfd;

	fixture_mount();
	KTAP_REQUIRE(ku_intents_open("unit", true, &in) == 0);
	dirfd = open(DIR_M, O_PATH | O_DIRECTORY | O_CLOEXEC);
	unit_faults(faults, 1);
	KTAP_CHECK(ku_temp_open(dirfd, "dir", in, &t) == -ENOSPC);
	ku_temp_drop(&t);
	ku_intents_close(in);
	KTAP_CHECK(unit_count(DIR_M) == 2 && unit_count("/tmp/state") == 0);
}

/* AT_EMPTY_PATH needs a capability that the caller may lack. */
KTAP_TEST(link_by_way_of_proc)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_linkat, .arg = 4, .mask = AT_EMPTY_PATH, .value = AT_EMPTY_PATH, .err = ENOENT },
	};
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	if (f.t.named)
		ktap_skip("no O_TMPFILE on overlayfs here");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", NULL) == 0);
	KTAP_CHECK(faults[0].failed == 1);
	check_committed(&f);
	fixture_close(&f);
}

KTAP_TEST(name_collision_takes_a_new_name)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_linkat, .arg = -1, .err = EEXIST, .times = 3 },
	};
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	if (f.t.named)
		ktap_skip("no O_TMPFILE on overlayfs here");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", NULL) == 0);
	KTAP_CHECK(faults[0].seen == 4 && faults[0].failed == 3);
	check_committed(&f);
	fixture_close(&f);
}

KTAP_TEST(name_collision_for_ever_is_an_error)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_linkat, .arg = -1, .err = EEXIST },
	};
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	if (f.t.named)
		ktap_skip("no O_TMPFILE on overlayfs here");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", NULL) == -EEXIST);
	fixture_close(&f);
	check_dir(&f, 2, 0);
	KTAP_CHECK(unit_has_text(DIR_M "/file", "lower"));
}

KTAP_TEST(failed_link_leaves_nothing)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_linkat, .arg = -1, .err = ENOSPC },
	};
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	if (f.t.named)
		ktap_skip("no O_TMPFILE on overlayfs here");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", NULL) == -ENOSPC);
	fixture_close(&f);
	check_dir(&f, 2, 0);
}

static int refuse(void *arg)
{
	int *names = arg;

	*names = unit_count(DIR_M);
	KTAP_CHECK(unit_has_text(DIR_M "/file", "lower"));
	return -ECANCELED;
}

KTAP_TEST(before_rename_may_refuse)
{
	int names = 0;
	struct ku_commit_opts opts = { .before_rename = refuse, .arg = &names };
	struct fixture f;

	fixture_mount();
	fixture_open(&f, "copy");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", &opts) == -ECANCELED);
	KTAP_CHECK(names == 3, "the temporary was not linked: %d", names);
	KTAP_CHECK(unit_has_text(DIR_M "/file", "lower"));
	fixture_close(&f);
	check_dir(&f, 2, 0);
}

/* The answer is passed on as it is, whatever its sign. */
static int refuse_oddly(void *arg)
{
	(void)arg;
	return 42;
}

KTAP_TEST(before_rename_answer_is_passed_on)
{
	struct ku_commit_opts opts = { .before_rename = refuse_oddly };
	struct fixture f;

	fixture_mount();
	fixture_open(&f, "copy");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", &opts) == 42);
	KTAP_CHECK(unit_has_text(DIR_M "/file", "lower"));
	fixture_close(&f);
	check_dir(&f, 2, 0);
}

struct tries {
	unsigned int before, retry, allow;
	int err;
};

static int count_before(void *arg)
{
	((struct tries *)arg)->before++;
	return 0;
}

static bool count_retry(void *arg, int err)
{
	struct tries *t = arg;

	t->err = err;
	return t->retry++ < t->allow;
}

KTAP_TEST(retry_asks_anew_each_time)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_renameat, .arg = -1, .err = EBUSY, .times = 3 },
	};
	struct tries t = { .allow = 10 };
	struct ku_commit_opts opts = { .before_rename = count_before, .retry = count_retry, .arg = &t };
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", &opts) == 0);
	KTAP_CHECK(t.before == 4 && t.retry == 3 && t.err == EBUSY, "%u %u %d", t.before, t.retry, t.err);
	check_committed(&f);
	fixture_close(&f);
}

KTAP_TEST(retry_may_give_up)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_renameat, .arg = -1, .err = EBUSY },
	};
	struct tries t = { .allow = 2 };
	struct ku_commit_opts opts = { .before_rename = count_before, .retry = count_retry, .arg = &t };
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", &opts) == -EBUSY);
	KTAP_CHECK(t.before == 3 && t.retry == 3);
	fixture_close(&f);
	check_dir(&f, 2, 0);
}

KTAP_TEST(without_retry_the_first_error_ends_it)
{
	struct fixture f;

	fixture_mount();
	KTAP_REQUIRE(mkdir(DIR_M "/sub", 0755) == 0);
	fixture_open(&f, "copy");
	KTAP_CHECK(ku_temp_commit(&f.t, "sub", NULL) == -EISDIR);
	fixture_close(&f);
	check_dir(&f, 3, 1);
}

/* Somebody else's change of the directory meanwhile is the one whose time stays. */
static int change_dir(void *arg)
{
	(void)arg;
	unit_text(DIR_M "/stranger", "s");
	unit_set_time(DIR_M, 1500000000, 5);
	return 0;
}

KTAP_TEST(times_of_other_changes_stay)
{
	struct ku_commit_opts opts = { .before_rename = change_dir };
	struct fixture f;
	struct stat st;

	fixture_mount();
	fixture_open(&f, "copy");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", &opts) == 0);
	st = unit_stat(DIR_M);
	KTAP_CHECK(st.st_mtim.tv_sec == 1500000000 && st.st_mtim.tv_nsec == 5, "%lld.%09ld", (long long)st.st_mtim.tv_sec,
		   st.st_mtim.tv_nsec);
	fixture_close(&f);
}

/* Nothing but the directory's modification time is set, and only when it has to be. */
KTAP_TEST(access_time_is_left_alone)
{
	struct timespec t[2] = { { 1222222222, 7 }, { .tv_nsec = UTIME_OMIT } };
	struct fixture f;

	fixture_mount();
	fixture_open(&f, "copy");
	KTAP_REQUIRE(utimensat(AT_FDCWD, DIR_M, t, 0) == 0);
	KTAP_CHECK(ku_temp_commit(&f.t, "file", NULL) == 0);
	KTAP_CHECK(unit_same_time(unit_stat(DIR_M).st_atim, t[0]));
	fixture_close(&f);
}

/* A name that cannot be removed stays recorded, for the next start. */
KTAP_TEST(removal_that_fails_stays_recorded)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_unlinkat, .arg = -1, .err = EPERM, .times = 1 },
	};
	int names = 0, root;
	struct ku_commit_opts opts = { .before_rename = refuse, .arg = &names };
	struct fixture f;

	fixture_mount();
	unit_faults(faults, 1);
	fixture_open(&f, "copy");
	KTAP_CHECK(ku_temp_commit(&f.t, "file", &opts) == -ECANCELED);
	ku_temp_drop(&f.t);
	ku_temp_drop(&f.t);
	ku_intents_close(f.in);
	close(f.dirfd);
	KTAP_CHECK(faults[0].failed == 1);
	KTAP_CHECK(unit_count(DIR_M) == 3 && unit_count("/tmp/state") == 1);

	KTAP_REQUIRE(ku_intents_open("unit", true, &f.in) == 0);
	root = open(UNIT_MERGED, O_PATH | O_DIRECTORY | O_CLOEXEC);
	KTAP_CHECK(ku_intents_recover(f.in, root, false, NULL, NULL) == 1);
	ku_intents_close(f.in);
	KTAP_CHECK(unit_count(DIR_M) == 2 && unit_count("/tmp/state") == 0);
}

/* Names of 255 bytes, in a directory whose path fills PATH_MAX, and one that is no text. */
KTAP_TEST(big_and_odd_names)
{
	static const char odd[] = "\xff\n \\ \x01";
	char name[256], path[PATH_MAX];
	struct ku_intents *in;
	struct ku_temp t;
	int dirfd;

	memset(name, 'n', 255);
	name[255] = '\0';
	unit_layers();
	dirfd = open(UNIT_LOWER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	path[0] = '\0';
	for (int i = 0; i < 15; i++) {
		int next;

		KTAP_REQUIRE(mkdirat(dirfd, name, 0755) == 0);
		next = openat(dirfd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		KTAP_REQUIRE(next >= 0);
		close(dirfd);
		dirfd = next;
		snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s%s", i ? "/" : "", name);
	}
	close(openat(dirfd, odd, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	close(openat(dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	close(dirfd);
	unit_overlay(NULL);
	KTAP_REQUIRE(chdir(UNIT_MERGED) == 0);
	dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	KTAP_REQUIRE(dirfd >= 0);
	KTAP_REQUIRE(ku_intents_open("unit", true, &in) == 0);
	for (int i = 0; i < 2; i++) {
		struct stat st;

		KTAP_CHECK(ku_temp_open(dirfd, path, in, &t) == 0);
		KTAP_CHECK(write(t.fd, "copy", 4) == 4);
		KTAP_CHECK(ku_temp_commit(&t, i ? odd : name, NULL) == 0);
		ku_temp_drop(&t);
		KTAP_CHECK(fstatat(dirfd, i ? odd : name, &st, 0) == 0 && st.st_size == 4);
	}
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

KTAP_MAIN()
