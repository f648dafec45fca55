// SPDX-License-Identifier: GPL-2.0-only
/*
 * R1: no directory lock is held while data is copied or while anybody waits for a copy. The copy is held up at a stop point for as long
 * as others work in its directory: a lock held meanwhile would hold them up until the stop point is released, which is after them.
 */
#include "fx_fixture.h"

#include <fcntl.h>

FX_BARE

#define HOLD_MS 1200 /* longer than a waiter's slice */
/* A call is slow from here; a busy machine makes one or the other so. */
#define SLOW_MS (HOLD_MS / 8.0)

/* Runs beside the test, so that one that hangs is seen. Its milliseconds. */
static double call_ms(const struct fx_call *c, const char *when)
{
	struct fx_op op;

	fx_call_start(&op, c);
	if (KTAP_CHECK(fx_op_wait(&op, FX_LONG / 2), "%s %s waits: %s", fx_call_names[c->kind], c->path, when))
		KTAP_CHECK(op.res->err == 0, "%s %s: %s: %s", fx_call_names[c->kind], c->path, strerror(op.res->err), when);
	return fx_op_ms(&op);
}

/* What needs the directory's lock, exclusive or shared. Returns the time spent in slow calls. */
static double work_in(const struct fx *fx, const char *dir, unsigned int round, const char *when)
{
	const char *name = fx_name("%s/new%u", dir, round), *other = fx_name("%s/moved%u", dir, round);
	double slow = 0;
	struct fx_call calls[] = {
		{ .kind = FX_CREATE, .path = fx_path(fx, name), .id = 1 },
		{ .kind = FX_READDIR, .path = fx_path(fx, dir) },
		{ .kind = FX_RENAME, .path = fx_path(fx, name), .path2 = fx_path(fx, other) },
		{ .kind = FX_STAT, .path = fx_path(fx, other) },
		{ .kind = FX_UNLINK, .path = fx_path(fx, other) },
	};

	for (unsigned int i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		double ms = call_ms(&calls[i], when);

		if (ms > SLOW_MS)
			slow += ms;
	}
	return slow;
}

static void lower_in(struct fx *fx, const char *dir)
{
	fx_lower(fx, fx_name("%s/f", dir), FX_KB(256), 0644);
}

static struct fx_call call_in(const struct fx *fx, const char *dir, struct fx_call c)
{
	c.path = fx_path(fx, fx_name("%s/f", dir));
	c.path2 = fx_path(fx, fx_name("%s/f2", dir));
	return c;
}

/* For a while, a copy that somebody waits for: the directory stays as quick as without. */
KTAP_TEST_LIMIT(directory_stays_quick, 120)
{
	static const struct fx_call calls[] = {
		{ .kind = FX_OPEN_W },	{ .kind = FX_RENAME }, { .kind = FX_LINK },	{ .kind = FX_CHMOD, .mode = 0600 },
		{ .kind = FX_SETXATTR }, { .kind = FX_TRUNCATE, .size = FX_KB(64) },
	};
	struct fx fx;

	fx_init(&fx, NULL);
	for (unsigned int i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		lower_in(&fx, fx_call_names[calls[i].kind]);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (unsigned int i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const char *dir = fx_call_names[calls[i].kind];
		struct fx_call c = call_in(&fx, dir, calls[i]);
		double slow = 0;
		struct fx_op op;

		if (calls[i].kind != FX_OPEN_W && fx.tier < FX_TIER_PARK)
			continue; /* the kernel's there */
		fx_stop_arm(&fx, "copying");
		fx_call_start(&op, &c);
		fx_stop_wait(&fx, "copying", FX_LONG);
		for (unsigned int round = 0; fx_op_ms(&op) < HOLD_MS; round++)
			slow += work_in(&fx, dir, round, dir);
		KTAP_CHECK(fx_wait_parked(&op, FX_LONG), "%s", dir);
		fx_stop_go(&fx, "copying");
		KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s does not return", dir);
		KTAP_CHECK(op.res->err == 0, "%s: %s", dir, strerror(op.res->err));
		/* Who sleeps a slice with the directory locked stalls it most of the time. */
		KTAP_CHECK(fx_op_ms(&op) >= HOLD_MS && slow < fx_op_ms(&op) / 2, "%s: %.1f ms in slow calls beside a copy of %.1f ms", dir,
			   slow, fx_op_ms(&op));
	}
	fx_end(&fx);
}

/* The same wherever the copy may be, for the call that has two directories locked. */
static void at_every_point(struct fx *fx)
{
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		struct fx_call c = call_in(fx, p->name, (struct fx_call){ .kind = fx->tier < FX_TIER_PARK ? FX_OPEN_W : FX_RENAME });
		struct fx_op op;

		if (p->pass)
			c.path = fx_path(fx, "half-copied/big");
		fx_point_arm(fx, p);
		fx_call_start(&op, &c);
		fx_point_wait(fx, p);
		work_in(fx, p->name, 0, p->name);
		/* Renamed, it is upper: who looks again goes on. */
		KTAP_CHECK(p->renamed || !fx_op_done(&op), "%s", p->name);
		fx_point_go(fx, p);
		KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s", p->name);
		KTAP_CHECK(op.res->err == 0, "%s: %s", p->name, strerror(op.res->err));
	}
}

/* Those who wait behind others hold no lock either; and unlink, which would hold one, does not wait. */
static void many_wait(struct fx *fx)
{
	struct fx_op op[5];
	unsigned int n = 0;

	fx_stop_arm(fx, "copying");
	for (enum fx_call_kind kind = FX_CHMOD; kind <= FX_OPEN_W; kind++) {
		struct fx_call c = call_in(fx, "d", (struct fx_call){ .kind = kind, .mode = 0600 });

		if (kind != FX_CHMOD && kind != FX_LINK && kind != FX_RENAME && kind != FX_OPEN_W)
			continue;
		if (kind != FX_OPEN_W && fx->tier < FX_TIER_PARK)
			continue;
		fx_call_start(&op[n], &c);
		KTAP_CHECK(fx_wait_parked(&op[n++], FX_LONG), "%s", fx_call_names[kind]);
	}
	fx_stop_wait(fx, "copying", FX_LONG);
	work_in(fx, "d", 0, "several wait");
	call_ms(FX_CALL(FX_UNLINK, fx_path(fx, "d/f")), "the file's own unlink");
	work_in(fx, "d", 1, "unlinked");
	fx_stop_go(fx, "copying");
	for (unsigned int i = 0; i < n; i++) {
		KTAP_REQUIRE(fx_op_wait(&op[i], FX_LONG));
		KTAP_CHECK(op[i].res->err == ENOENT, "%s", strerror(op[i].res->err));
	}
}

KTAP_TEST_LIMIT(no_lock_anywhere, 120)
{
	struct fx fx;

	fx_init(&fx, NULL);
	for (unsigned int i = 0; i < fx_npoints; i++)
		lower_in(&fx, fx_points[i].name);
	fx_lower(&fx, "half-copied/big", FX_MB(5), 0644);
	lower_in(&fx, "d");
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	at_every_point(&fx);
	many_wait(&fx);
	fx_end(&fx);
}

KTAP_MAIN()
