// SPDX-License-Identifier: GPL-2.0-only
/* The intents record: threads and processes that share one. */
#include "intents.h"

#include <limits.h>

#include "record.h"
#include "unit.h"
#include "util.h"

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

static struct ku_intents *leaving;

static void leave(void)
{
	ku_intents_close(leaving);
	leaving = NULL;
}

/* The last user goes, and the file with it, between our opening of it and our locking of it. */
KTAP_TEST(record_just_removed)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_flock, .arg = -1, .err = UNIT_GO_ON, .times = 1, .before = leave },
	};
	char name[KU_TEMP_NAME_MAX];
	struct ku_intents *in;
	unsigned int id;

	unit_place();
	leaving = open_record();
	unit_faults(faults, 1);
	in = open_record();
	KTAP_CHECK(!leaving && faults[0].failed == 1);
	KTAP_CHECK(ku_intents_begin(in, "", name, &id) == 0);
	KTAP_CHECK(unit_count("/tmp/state") == 1, "what is recorded has no name");
	ku_intents_done(in, id);
	ku_intents_close(in);
	KTAP_CHECK(unit_count("/tmp/state") == 0);
}

KTAP_MAIN()
