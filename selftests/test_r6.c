// SPDX-License-Identifier: GPL-2.0-only
/*
 * R6: a read-only open, or exec, at any moment of a copy has the complete lower file or the complete copy, never a part. Before the commit
 * it does not wait; during the commit it waits and has the new file, since a descriptor of the old one would miss what is written later.
 */
#include "fx_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>

FX_LEAN

#define SIZE FX_KB(256)
#define LATER 9 /* stamp of what is written after the commit */
#define PROBE_STATUS 42

/* Run as a lower file, this program only says that it is whole enough to run. */
__attribute__((constructor(101))) static void probe(void)
{
	if (getenv("FX_EXEC_PROBE"))
		_exit(PROBE_STATUS);
}

struct reader {
	const char *path;
	off_t size;
	uint32_t later; /* to wait for in block 0 after the open; 0: not */
	uint64_t ino;	/* of what it had */
	volatile bool opened;
};

/* In shared memory, for the child's answers. */
static struct reader *new_reader(const char *path, off_t size, uint32_t later)
{
	struct reader *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	KTAP_REQUIRE(r != MAP_FAILED);
	r->path = path;
	r->size = size;
	r->later = later;
	return r;
}

static long read_all(void *arg)
{
	struct reader *r = arg;
	struct stat st;
	int fd = open(r->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	r->ino = st.st_ino;
	if (!fx_verify_fd(fd, FX_F, r->size)) {
		errno = EUCLEAN;
		return -1;
	}
	r->opened = true;
	for (int i = 0; r->later && fx_get_block(fd, 0) != r->later; i++) {
		if (i == FX_LONG / 4) {
			errno = ETIME;
			return -1;
		}
		fx_sleep_ms(2);
	}
	close(fd);
	return 0;
}

static uint64_t ino_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

/* One reader at one point; it also has what is written later if it came during the commit. */
static void reader_at(struct fx *fx, const struct fx_point *p, enum fx_call_kind first, const char *dir)
{
	const char *path = fx_path(fx, fx_name("%s/f", dir)), *in = fx_name("/%s/f", dir);
	struct reader *r = new_reader(path, p->size, p->commit ? LATER : 0);
	uint64_t lower = ino_of(path);
	struct fx_op op, reader;

	fx_point_arm(fx, p);
	fx_call_start(&op, FX_CALL(first, path, .mode = 0600));
	fx_point_wait(fx, p);
	fx_op_start(&reader, 0, read_all, r);
	if (!p->commit) {
		KTAP_CHECK(fx_op_wait(&reader, FX_LONG), "%s: the reader waits", dir);
		KTAP_CHECK(r->ino == lower, "%s: not the lower file", dir);
	} else if (!p->renamed) {
		KTAP_CHECK(fx_wait_parked(&reader, FX_LONG), "%s: the reader does not wait for the commit", dir);
	}
	KTAP_CHECK(!fx_op_done(&op), "%s", dir);
	fx_point_go(fx, p);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s", dir);
	KTAP_CHECK(op.res->err == 0, "%s: %s", dir, strerror(op.res->err));
	if (p->commit) {
		for (int i = 0; i < FX_LONG && !r->opened && !fx_op_done(&reader); i++)
			fx_sleep_ms(1);
		KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_WRITE, path, .id = LATER)) == 0, "%s", dir);
		KTAP_CHECK(r->ino == ino_of(path) && r->ino != lower, "%s: not the new file", dir);
	}
	KTAP_REQUIRE(fx_op_wait(&reader, FX_LONG), "%s", dir);
	KTAP_CHECK(reader.res->err == 0, "%s: the reader: %s", dir, strerror(reader.res->err));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", in, "result", "ok", "engine", "kunion", NULL), "%s", dir);
	fx_event_wait(fx, p->commit && !p->renamed, FX_LONG, "event", "wait", "path", in, "op", "read", "on", "commit", NULL);
	KTAP_CHECK(fx_event_count(fx, "event", "wait", "path", in, "op", "read", "on", "commit", NULL) == (p->commit && !p->renamed),
		   "%s: the reader's wait", dir);
}

KTAP_TEST_LIMIT(read_everywhere, 120)
{
	struct fx fx;

	fx_init(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		fx_race_files(&fx, fx_name("open/%s", p->name), p->size);
		fx_race_files(&fx, fx_name("chmod/%s", p->name), p->size);
	}
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		reader_at(&fx, p, FX_OPEN_W, fx_name("open/%s", p->name));
		if (fx.tier >= FX_TIER_PARK)
			reader_at(&fx, p, FX_CHMOD, fx_name("chmod/%s", p->name));
	}
	fx_end(&fx);
}

/* A descriptor from the time of the copy, held over its end: it must see later writes, as after the kernel's own copy-up. */
KTAP_TEST(held_reader_sees_writes)
{
	for (int kernel = 1; kernel >= 0; kernel--) {
		struct fx_opts opts = { .kernel = kernel };
		struct fx_op op, reader;
		struct reader *r;
		struct fx fx;

		fx_init(&fx, &opts);
		fx_race_files(&fx, "d", SIZE);
		fx_mount(&fx);
		fx_attach(&fx, NULL);
		r = new_reader(fx_path(&fx, "d/f"), SIZE, LATER);
		fx_stop_arm(&fx, "before-commit");
		if (!kernel) {
			fx_call_start(&op, FX_CALL(FX_OPEN_W, r->path));
			fx_stop_wait(&fx, "before-commit", FX_LONG);
		}
		fx_op_start(&reader, 0, read_all, r);
		for (int i = 0; i < FX_LONG && !r->opened && !fx_op_done(&reader); i++)
			fx_sleep_ms(1);
		KTAP_CHECK(r->opened && !fx_op_done(&reader), "kernel %d", kernel);
		fx_stop_go(&fx, "before-commit");
		if (!kernel) {
			KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
			KTAP_CHECK(op.res->err == 0, "%s", strerror(op.res->err));
			KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "engine", "kernel", "path", "/d/f", NULL));
		}
		KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_WRITE, r->path, .id = LATER)) == 0);
		KTAP_REQUIRE(fx_op_wait(&reader, FX_LONG));
		KTAP_CHECK(reader.res->err == 0, "kernel %d: the reader: %s", kernel, strerror(reader.res->err));
		fx_end(&fx);
	}
}

struct many {
	const struct fx *fx;
	unsigned int files;
	volatile bool stop;
	volatile unsigned int reads;
};

static long read_many(void *arg)
{
	struct many *m = arg;

	while (!m->stop)
		for (unsigned int i = 0; i < m->files; i++) {
			errno = fx_call_now(FX_CALL(FX_OPEN_R, fx_path(m->fx, fx_name("%u/f", i)), .id = FX_F, .size = SIZE));
			if (errno)
				return -1;
			m->reads++;
		}
	return 0;
}

/* Without stop points: readers that never rest, while one file after the other is copied. */
KTAP_TEST(readers_never_rest)
{
	struct many *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct fx_op reader[2];
	struct fx fx;

	KTAP_REQUIRE(m != MAP_FAILED);
	fx_init(&fx, NULL);
	m->fx = &fx;
	m->files = 12;
	for (unsigned int i = 0; i < m->files; i++)
		fx_race_files(&fx, fx_name("%u", i), SIZE);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (int i = 0; i < 2; i++)
		fx_op_start(&reader[i], 0, read_many, m);
	for (unsigned int i = 0; i < m->files; i++)
		KTAP_CHECK(fx_call_now(FX_CALL(i % 2 ? FX_OPEN_W : FX_CHMOD, fx_path(&fx, fx_name("%u/f", i)), .mode = 0600)) == 0, "%u", i);
	m->stop = true;
	for (int i = 0; i < 2; i++) {
		KTAP_REQUIRE(fx_op_wait(&reader[i], FX_LONG));
		KTAP_CHECK(reader[i].res->err == 0, "reader %d after %u reads: %s", i, m->reads, strerror(reader[i].res->err));
	}
	KTAP_CHECK(m->reads > 0);
	fx_end(&fx);
}

/* A program: as long as it is being copied the lower one runs, during the commit the start waits. */
KTAP_TEST(exec_everywhere)
{
	struct fx fx;

	fx_init(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		fx_sh("mkdir -p %s/%s && cp /proc/%d/exe %s/%s/f && truncate -s %lld %s/%s/f", fx.lower, p->name, getpid(), fx.lower, p->name,
		      (long long)FX_MB(p->pass ? 5 : 1), fx.lower, p->name);
	}
	fx_mount(&fx);
	setenv("FX_EXEC_PROBE", "1", 1);
	fx_attach(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		const char *path = fx_path(&fx, fx_name("%s/f", p->name));
		bool open = fx.tier < FX_TIER_PARK;
		struct fx_op op, run;

		if (p->pass)
			continue; /* the hole at its end is no data: there is no second chunk */
		fx_point_arm(&fx, p);
		fx_call_start(&op, FX_CALL(open ? FX_OPEN_W : FX_CHMOD, path, .mode = 0700));
		fx_point_wait(&fx, p);
		fx_call_start(&run, FX_CALL(FX_EXEC, path));
		if (p->commit && !p->renamed && !open)
			KTAP_CHECK(!fx_op_wait(&run, 50), "%s: does not wait for the commit", p->name);
		else if (!p->commit || p->renamed)
			KTAP_CHECK(fx_op_wait(&run, FX_LONG), "%s: waits", p->name);
		fx_point_go(&fx, p);
		KTAP_REQUIRE(fx_op_wait(&run, FX_LONG) && fx_op_wait(&op, FX_LONG), "%s", p->name);
		/* Whoever is first, program or opener, makes it ETXTBSY for the other: as with the kernel's own open. */
		KTAP_CHECK(run.res->err == PROBE_STATUS || (open && !p->renamed && run.res->err == ETXTBSY), "%s: status %d", p->name,
			   run.res->err);
		KTAP_CHECK(op.res->err == 0 || (open && op.res->err == ETXTBSY), "%s: %s", p->name, strerror(op.res->err));
		if (p->commit && !p->renamed && !open)
			KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "wait", "path", fx_name("/%s/f", p->name), "op", "read", NULL),
				   "%s", p->name);
	}
	fx_end(&fx);
}

KTAP_MAIN()
