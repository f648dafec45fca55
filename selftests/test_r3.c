// SPDX-License-Identifier: GPL-2.0-only
/*
 * R3: whoever needs a file's copy while another brings it about waits for that one: no second copy is ever begun, the bytes are copied
 * once, and all succeed.
 */
#include "fx_fixture.h"

#include <fcntl.h>

FX_LEAN

#define SIZE FX_KB(256)

/* What is told of a file: one copy, of its size, by kunion. */
static void one_copy(const struct fx *fx, const char *path, off_t size, const char *what)
{
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, NULL), "%s", what);
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", path, NULL) == 1, "%s: copied more than once", what);
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", path, "engine", "kunion", "result", "ok", NULL) == 1, "%s", what);
	KTAP_CHECK(fx_event_number(fx, "bytes", "event", "copyup", "path", path, NULL) == size, "%s: bytes", what);
}

static const struct fx_call seconds[] = {
	{ .kind = FX_CHMOD, .mode = 0600 },
	{ .kind = FX_CHOWN, .owner = 1000 },
	{ .kind = FX_UTIMES },
	{ .kind = FX_TRUNCATE, .size = SIZE / 2 },
	{ .kind = FX_SETXATTR },
	{ .kind = FX_LINK },
	{ .kind = FX_RENAME },
	{ .kind = FX_OPEN_WRITE, .id = 7 },
};
#define NSECONDS (sizeof(seconds) / sizeof(seconds[0]))

/* The second's effect is there, and all the rest is the file as it was. */
static void check_effect(const struct fx *fx, const char *dir, const struct fx_call *c, const char *what)
{
	const char *name = fx_name("%s/%s", dir, c->kind == FX_RENAME ? "f2" : "f");
	struct stat st;
	int fd;

	KTAP_REQUIRE(stat(fx_path(fx, name), &st) == 0, "%s", what);
	KTAP_CHECK((st.st_mode & 0777) == (c->kind == FX_CHMOD ? 0600 : 0644), "%s: mode %o", what, st.st_mode);
	KTAP_CHECK(st.st_uid == (c->kind == FX_CHOWN ? 1000 : 0), "%s: uid %u", what, st.st_uid);
	KTAP_CHECK(st.st_nlink == (c->kind == FX_LINK ? 2 : 1), "%s: %u links", what, (unsigned int)st.st_nlink);
	KTAP_CHECK(st.st_size == (c->kind == FX_TRUNCATE ? SIZE / 2 : SIZE), "%s: size %lld", what, (long long)st.st_size);
	if (c->kind == FX_UTIMES)
		KTAP_CHECK(st.st_mtim.tv_sec == 6 && st.st_mtim.tv_nsec == 7, "%s: time", what);
	else if (c->kind != FX_TRUNCATE && c->kind != FX_OPEN_WRITE)
		KTAP_CHECK(st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 123456789, "%s: time", what);
	fd = open(fx_path(fx, name), O_RDONLY | O_CLOEXEC);
	for (off_t nr = 0; nr < st.st_size / FX_BLOCK; nr++)
		if (!KTAP_CHECK(fx_get_block(fd, (uint64_t)nr) == (c->kind == FX_OPEN_WRITE && nr == 0 ? 7 : FX_F), "%s: block %lld",
				what, (long long)nr))
			break;
	close(fd);
	KTAP_CHECK(fx_in_upper(fx, name), "%s", what);
}

static void second_at(struct fx *fx, const struct fx_point *p, const struct fx_call *second)
{
	struct fx_call c = *second;
	const char *dir = fx_name("%s-%s", p->name, fx_call_names[c.kind]);
	const char *what = fx_name("%s at %s", fx_call_names[c.kind], p->name), *path = fx_name("/%s/f", dir);
	struct fx_op op[2];

	c.path = "f";
	c.path2 = "f2";
	c = fx_race_call(fx, &c, dir);
	fx_point_arm(fx, p);
	fx_call_start(&op[0], FX_CALL(FX_OPEN_W, c.path));
	fx_point_wait(fx, p);
	fx_call_start(&op[1], &c);
	if (p->renamed)
		KTAP_CHECK(fx_op_wait(&op[1], FX_LONG), "%s: waits for what is there", what);
	else
		KTAP_CHECK(fx_wait_parked(&op[1], FX_LONG), "%s: does not wait", what);
	KTAP_CHECK(!fx_op_done(&op[0]), "%s: the first did not wait", what);
	fx_point_go(fx, p);
	KTAP_REQUIRE(fx_op_wait(&op[0], FX_LONG) && fx_op_wait(&op[1], FX_LONG), "%s: no end", what);
	KTAP_CHECK(op[1].res->err == 0, "%s: %s", what, strerror(op[1].res->err));
	/* The renamer may be first when both go on. */
	KTAP_CHECK(op[0].res->err == 0 || (c.kind == FX_RENAME && op[0].res->err == ENOENT), "%s: the first: %s", what,
		   strerror(op[0].res->err));
	check_effect(fx, dir, &c, what);
	one_copy(fx, path, SIZE, what);
	KTAP_CHECK(fx_event_wait(fx, !p->renamed, FX_LONG, "event", "wait", "path", path, NULL), "%s", what);
	KTAP_CHECK(fx_event_count(fx, "event", "wait", "path", path, NULL) == !p->renamed, "%s", what);
}

static bool is_sampled(const struct fx_point *p)
{
	return !strcmp(p->name, "before-open") || !strcmp(p->name, "copying") || !strcmp(p->name, "committing") || p->renamed;
}

KTAP_TEST_LIMIT(second_waits, 120)
{
	struct fx fx;

	fx_init(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++)
		for (unsigned int i = 0; is_sampled(p) && i < NSECONDS; i++)
			fx_race_files(&fx, fx_name("%s-%s", p->name, fx_call_names[seconds[i].kind]), SIZE);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++)
		for (unsigned int i = 0; is_sampled(p) && i < NSECONDS; i++)
			if (fx.tier >= FX_TIER_PARK || seconds[i].kind == FX_OPEN_WRITE)
				second_at(&fx, p, &seconds[i]);
	fx_end(&fx);
}

/* Many behind one, also where the first is no open. */
static void all_behind_one(struct fx *fx)
{
	struct fx_op first, op[8];
	unsigned int n = 0;

	fx_stop_arm(fx, "copying");
	fx_call_start(&first, FX_CALL(fx->tier < FX_TIER_PARK ? FX_OPEN_W : FX_CHMOD, fx_path(fx, "d/f"), .mode = 0640));
	fx_stop_wait(fx, "copying", FX_LONG);
	for (unsigned int i = 0; i < NSECONDS; i++) {
		struct fx_call c = seconds[i];

		if (c.kind == FX_RENAME) /* would take the name away */
			continue;
		if (fx->tier < FX_TIER_PARK)
			c = seconds[NSECONDS - 1];
		c.path = "f";
		c.path2 = "f2";
		c = fx_race_call(fx, &c, "d");
		fx_call_start(&op[n], &c);
		KTAP_CHECK(fx_wait_parked(&op[n++], FX_LONG), "%s", fx_call_names[c.kind]);
	}
	fx_stop_go(fx, "copying");
	KTAP_REQUIRE(fx_op_wait(&first, FX_LONG));
	KTAP_CHECK(first.res->err == 0, "%s", strerror(first.res->err));
	for (unsigned int i = 0; i < n; i++) {
		KTAP_REQUIRE(fx_op_wait(&op[i], FX_LONG), "%u", i);
		KTAP_CHECK(op[i].res->err == 0, "%u: %s", i, strerror(op[i].res->err));
	}
	one_copy(fx, "/d/f", SIZE, "all");
	KTAP_CHECK(fx_event_number(fx, "waiters", "event", "copyup", "path", "/d/f", NULL) == n);
	KTAP_CHECK(fx_event_wait(fx, (int)n, FX_LONG, "event", "wait", "path", "/d/f", "result", "released", "on", "copy", NULL));
}

static long open_at_once(void *arg)
{
	struct fx_call *c = arg;

	while (fx_now_ns() < (uint64_t)c->size)
		;
	errno = fx_call_now(c);
	return errno ? -1 : 0;
}

#define ROUNDS 3

/* Without a stop point: several ask in the same moment, and one of them is the first. */
static void all_at_once(struct fx *fx)
{
	struct fx_op op[6];

	for (int round = 0; round < ROUNDS; round++) {
		struct fx_call c = { .kind = FX_OPEN_WRITE, .path = fx_path(fx, fx_name("%d/f", round)) };
		const char *path = fx_name("/%d/f", round);

		c.size = (off_t)(fx_now_ns() + 400000000);
		for (uint32_t i = 0; i < 6; i++) {
			c.id = 100 + i;
			fx_op_start(&op[i], 0, open_at_once, &c);
		}
		for (int i = 0; i < 6; i++) {
			KTAP_REQUIRE(fx_op_wait(&op[i], FX_LONG), "%d", i);
			KTAP_CHECK(op[i].res->err == 0, "%d: %s", i, strerror(op[i].res->err));
		}
		KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "result", "ok", NULL));
		KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", path, "result", "ok", NULL) == 1, "a second copy of %s", path);
		KTAP_CHECK(fx_event_number(fx, "bytes", "event", "copyup", "path", path, "result", "ok", NULL) == SIZE);
	}
}

KTAP_TEST(many)
{
	struct fx fx;

	fx_init(&fx, NULL);
	fx_race_files(&fx, "d", SIZE);
	for (int round = 0; round < ROUNDS; round++)
		fx_race_files(&fx, fx_name("%d", round), SIZE);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	all_behind_one(&fx);
	all_at_once(&fx);
	fx_end(&fx);
}

/* Tier wait-open: chmod cannot wait. The kernel copies for it, and the copy under way is given up, not finished beside that. */
KTAP_TEST(native_one_gives_it_up)
{
	struct fx_op op[2];
	struct fx fx;

	fx_init(&fx, NULL);
	fx_race_files(&fx, "d", SIZE);
	fx_mount(&fx);
	fx_below(&fx, FX_TIER_PARK);
	fx_attach(&fx, NULL);
	fx_below(&fx, FX_TIER_PARK);
	fx_stop_arm(&fx, "copying");
	fx_call_start(&op[0], FX_CALL(FX_OPEN_WRITE, fx_path(&fx, "d/f"), .id = 7));
	fx_stop_wait(&fx, "copying", FX_LONG);
	fx_call_start(&op[1], FX_CALL(FX_CHMOD, fx_path(&fx, "d/f"), .mode = 0600));
	KTAP_CHECK(fx_op_wait(&op[1], FX_LONG) && op[1].res->err == 0, "chmod");
	KTAP_CHECK(fx_op_wait(&op[0], FX_LONG) && op[0].res->err == 0, "open");
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "lost", NULL));
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", "/d/f", "engine", "kernel", "result", "ok", NULL) == 1);
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "ok", NULL) == 0);
	fx_end(&fx);
}

KTAP_MAIN()
