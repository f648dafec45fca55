// SPDX-License-Identifier: GPL-2.0-only
/* The intents record: crashes, garbage, threads, processes. */
#include "intents.h"

#include <limits.h>

#include "commit.h"
#include "stop.h"
#include "unit.h"
#include "util.h"

#define KEY "unit"

/* The record's layout, on purpose written down a second time: what a version wrote, the next one must understand. */
#define SLOT_SIZE 4608
struct slot {
	char magic[8];
	uint64_t sum;
	char name[64];
	char dir[4096];
};

static uint64_t fnv(uint64_t h, const char *s)
{
	do
		h = (h ^ (unsigned char)*s) * 0x100000001b3ull;
	while (*s++);
	return h;
}

static struct slot make_slot(const char *name, const char *dir)
{
	struct slot s = { .magic = "kunion1" };

	s.magic[7] = '\n';
	snprintf(s.name, sizeof(s.name), "%s", name);
	snprintf(s.dir, sizeof(s.dir), "%s", dir);
	s.sum = fnv(fnv(0xcbf29ce484222325ull, s.name), s.dir);
	return s;
}

static void record_path(char path[static PATH_MAX])
{
	DIR *d = opendir("/tmp/state");
	struct dirent *e;

	path[0] = '\0';
	KTAP_REQUIRE(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			snprintf(path, PATH_MAX, "/tmp/state/%s", e->d_name);
	closedir(d);
	KTAP_REQUIRE(path[0], "no record");
}

static void put_slot(unsigned int i, const void *data, size_t size)
{
	char path[PATH_MAX];
	int fd;

	record_path(path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0);
	KTAP_REQUIRE(pwrite(fd, data, size, (off_t)(i + 1) * SLOT_SIZE) == (ssize_t)size);
	close(fd);
}

struct found {
	unsigned int n;
	char path[8][256];
	int err[8];
};

static void found(void *arg, const char *path, int err)
{
	struct found *f = arg;

	if (f->n < 8) {
		snprintf(f->path[f->n], sizeof(f->path[0]), "%s", path);
		f->err[f->n] = err;
	}
	f->n++;
}

static struct ku_intents *open_record(void)
{
	struct ku_intents *in;

	KTAP_REQUIRE(ku_intents_open(KEY, true, &in) == 0);
	return in;
}

static int open_root(void)
{
	int fd = open(UNIT_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);

	KTAP_REQUIRE(fd >= 0);
	return fd;
}

static int recover(struct ku_intents *in, bool dry_run, struct found *f)
{
	int root = open_root(), r;

	if (f)
		memset(f, 0, sizeof(*f));
	r = ku_intents_recover(in, root, dry_run, f ? found : NULL, f);
	close(root);
	return r;
}

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

#define NAME0 KU_TEMP_PREFIX "00000000000000000000000000000000"
#define NAME1 KU_TEMP_PREFIX "11111111111111111111111111111111"
#define NAME2 KU_TEMP_PREFIX "22222222222222222222222222222222"

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

#define THREADS 8
#define ROUNDS 300

struct many {
	struct ku_intents *in;
	char names[THREADS][ROUNDS][KU_TEMP_NAME_MAX];
	int at, errors;
};

/* Each entry is in the record as long as it is not done, whatever the others do. */
static void *many_thread(void *arg)
{
	struct many *m = arg;
	int me = __atomic_fetch_add(&m->at, 1, __ATOMIC_RELAXED);
	unsigned int id[3];

	for (int i = 0; i < ROUNDS; i += 3) {
		for (int j = 0; j < 3; j++)
			if (ku_intents_begin(m->in, "dir", m->names[me][i + j], &id[j]))
				__atomic_add_fetch(&m->errors, 1, __ATOMIC_RELAXED);
		if (id[0] == id[1] || id[1] == id[2] || id[0] == id[2])
			__atomic_add_fetch(&m->errors, 1, __ATOMIC_RELAXED);
		for (int j = 0; j < 3; j++)
			ku_intents_done(m->in, id[(i + j) % 3]);
	}
	return NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

KTAP_TEST(threads)
{
	static struct many m;
	pthread_t t[THREADS];
	char path[PATH_MAX];
	char *all = &m.names[0][0][0];

	unit_place();
	KTAP_REQUIRE(ku_intents_open(KEY, false, &m.in) == 0);
	for (int i = 0; i < THREADS; i++)
		KTAP_REQUIRE(pthread_create(&t[i], NULL, many_thread, &m) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	KTAP_CHECK(!m.errors, "%d", m.errors);
	qsort(all, THREADS * ROUNDS, KU_TEMP_NAME_MAX, by_name);
	for (int i = 0; i < THREADS * ROUNDS; i++) {
		KTAP_CHECK(ku_is_temp_name(all + i * KU_TEMP_NAME_MAX));
		if (i)
			KTAP_CHECK(strcmp(all + i * KU_TEMP_NAME_MAX, all + (i - 1) * KU_TEMP_NAME_MAX), "the same name twice");
	}
	/* Slots are used again. */
	record_path(path);
	KTAP_CHECK(unit_stat(path).st_size <= (THREADS * 3 + 1) * SLOT_SIZE, "%lld", (long long)unit_stat(path).st_size);
	ku_intents_close(m.in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

/* Two processes with one record: each sees only what the dead one left. */
KTAP_TEST(processes)
{
	char mine[KU_TEMP_NAME_MAX], path[PATH_MAX];
	int ready[2], go[2], status;
	struct ku_intents *in;
	struct found f;
	unsigned int id;
	pid_t pid;
	char c = 0;

	unit_place();
	KTAP_REQUIRE(pipe2(ready, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	in = open_record();
	KTAP_REQUIRE(ku_intents_begin(in, "", mine, &id) == 0);
	snprintf(path, sizeof(path), UNIT_DIR "/%s", mine);
	unit_text(path, "");

	pid = fork();
	if (pid == 0) {
		char name[KU_TEMP_NAME_MAX];

		in = open_record();
		/* The other's is neither overwritten nor removed. */
		KTAP_CHECK(recover(in, false, &f) == 0);
		for (int i = 0; i < 4; i++) {
			KTAP_CHECK(ku_intents_begin(in, "", name, &id) == 0);
			snprintf(path, sizeof(path), UNIT_DIR "/%s", name);
			unit_text(path, "");
			if (i == 1)
				ku_intents_done(in, id); /* and yet there: not ours any more */
		}
		KTAP_CHECK(write(ready[1], "r", 1) == 1);
		KTAP_CHECK(read(go[0], &c, 1) == 1);
		_exit(0);
	}
	KTAP_REQUIRE(read(ready[0], &c, 1) == 1);
	KTAP_CHECK(unit_count(UNIT_DIR) == 5);
	KTAP_CHECK(recover(in, false, &f) == 0);
	KTAP_CHECK(write(go[1], "g", 1) == 1);
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
	KTAP_CHECK(recover(in, false, &f) == 3, "%u", f.n);
	KTAP_CHECK(unit_count(UNIT_DIR) == 2);
	snprintf(path, sizeof(path), UNIT_DIR "/%s", mine);
	KTAP_CHECK(unit_exists(path));
	ku_intents_done(in, id);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

/* A slot that one has done with is free for the other; an entry that nobody has recovered yet is for neither. */
KTAP_TEST(slots)
{
	char name[KU_TEMP_NAME_MAX], path[PATH_MAX];
	struct ku_intents *a, *b;
	unsigned int id_a, id_b;
	struct found f;
	struct slot s;

	unit_place();
	a = open_record();
	b = open_record();
	KTAP_CHECK(ku_intents_begin(a, "", name, &id_a) == 0);
	ku_intents_done(a, id_a);
	KTAP_CHECK(ku_intents_begin(b, "", name, &id_b) == 0 && id_b == id_a, "%u %u", id_a, id_b);
	ku_intents_done(b, id_b);

	unit_text(UNIT_DIR "/" NAME0, "");
	s = make_slot(NAME0, "");
	put_slot(0, &s, sizeof(s));
	KTAP_CHECK(ku_intents_begin(a, "", name, &id_a) == 0 && id_a == 1);
	KTAP_CHECK(recover(b, false, &f) == 1 && !strcmp(f.path[0], NAME0));
	ku_intents_done(a, id_a);
	record_path(path);
	KTAP_CHECK(unit_stat(path).st_size <= 3 * SLOT_SIZE);

	/* A close does not take an entry along that is not done. */
	unit_text(UNIT_DIR "/" NAME1, "");
	s = make_slot(NAME1, "");
	put_slot(0, &s, sizeof(s));
	ku_intents_close(a);
	ku_intents_close(b);
	a = open_record();
	KTAP_CHECK(recover(a, false, &f) == 1 && !strcmp(f.path[0], NAME1));
	ku_intents_close(a);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

/* Opening and closing against each other: nobody is left with a record that has no name any more. */
KTAP_TEST(open_and_close_race)
{
	int status, bad = 0;
	struct stat st;
	pid_t pid[4];

	unit_place();
	for (int p = 0; p < 4; p++) {
		pid[p] = fork();
		if (pid[p] == 0) {
			for (int i = 0; i < 400; i++) {
				struct ku_intents *in;
				char name[KU_TEMP_NAME_MAX];
				unsigned int id;

				if (ku_intents_open(KEY, false, &in) || ku_intents_begin(in, "", name, &id))
					_exit(1);
				if (unit_count("/tmp/state") != 1)
					_exit(2);
				ku_intents_done(in, id);
				ku_intents_close(in);
			}
			_exit(0);
		}
	}
	for (int p = 0; p < 4; p++) {
		KTAP_REQUIRE(waitpid(pid[p], &status, 0) == pid[p]);
		bad |= status;
	}
	KTAP_CHECK(!bad, "%x", (unsigned int)bad);
	KTAP_CHECK(stat("/tmp/state", &st) == 0 && unit_count("/tmp/state") == 0);
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
