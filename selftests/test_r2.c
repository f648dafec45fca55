// SPDX-License-Identifier: GPL-2.0-only
/*
 * R2: chmod or open(O_WRONLY) of a lower file vs its unlink, in every interleaving: a whiteout in the end, no stray copy in upper, no
 * temporary; unlink never waits, and the other call has 0 or ENOENT.
 */
#include "fx_fixture.h"

FX_LEAN

/* With the copy held up: the name is gone for everybody, and nothing of the copy has it. */
static void mid(struct fx *fx, const struct fx_race *r, const struct fx_point *p, const char *dir)
{
	const char *name = fx_name("%s/f", dir);

	KTAP_CHECK(!fx_exists(fx_path(fx, name)) && fx_is_whiteout(fx, name), "%s, %s: unlinked", r->name, p->name);
}

static void end(struct fx *fx, const struct fx_race *r, const struct fx_point *p, const char *dir)
{
	const char *name = fx_name("%s/f", dir), *path = fx_name("/%s", name);

	KTAP_CHECK(fx_is_whiteout(fx, name) && !fx_in_upper(fx, name), "%s, %s: a stray copy", r->name, p->name);
	/* What was overtaken is told as lost, and nobody copied instead of it. */
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "result", p->renamed ? "ok" : "lost", NULL),
		   "%s, %s", r->name, p->name);
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", path, "engine", "kernel", NULL) == 0, "%s, %s", r->name, p->name);
	/* Told after the copier is through with it. */
	KTAP_CHECK(fx_no_temps(fx), "%s, %s", r->name, p->name);
}

static const struct fx_race races[] = {
	{
		.name = "open",
		.first = { .kind = FX_OPEN_WRITE, .path = "f", .id = 5 },
		.second = { .kind = FX_UNLINK, .path = "f" },
		.names = { "f", "g" },
	},
	{
		.name = "chmod",
		.needs = FX_TIER_PARK,
		.first = { .kind = FX_CHMOD, .path = "f", .mode = 0600 },
		.second = { .kind = FX_UNLINK, .path = "f" },
		.names = { "f", "g" },
	},
	{
		.name = "truncate",
		.needs = FX_TIER_PARK,
		.first = { .kind = FX_TRUNCATE, .path = "f", .size = FX_KB(8) },
		.second = { .kind = FX_UNLINK, .path = "f" },
		.names = { "f", "g" },
	},
};

KTAP_TEST_LIMIT(vs_unlink, 120)
{
	fx_race_all(NULL, races, sizeof(races) / sizeof(races[0]), mid, end);
}

/* Wait-open has the kernel copy for chmod: also behind a copy under way, which is given up. */
KTAP_TEST(native_chmod_vs_unlink)
{
	struct fx_op op[3];
	struct fx fx;

	fx_init(&fx, NULL);
	fx_race_files(&fx, "d", FX_KB(256));
	fx_mount(&fx);
	fx_below(&fx, FX_TIER_PARK);
	fx_attach(&fx, NULL);
	fx_below(&fx, FX_TIER_PARK);
	fx_stop_arm(&fx, "copying");
	fx_call_start(&op[0], FX_CALL(FX_OPEN_W, fx_path(&fx, "d/f")));
	fx_stop_wait(&fx, "copying", FX_LONG);
	fx_call_start(&op[1], FX_CALL(FX_CHMOD, fx_path(&fx, "d/f"), .mode = 0600));
	KTAP_CHECK(fx_op_wait(&op[1], FX_LONG) && op[1].res->err == 0, "chmod");
	fx_call_start(&op[2], FX_CALL(FX_UNLINK, fx_path(&fx, "d/f")));
	KTAP_CHECK(fx_op_wait(&op[2], FX_LONG) && op[2].res->err == 0, "unlink");
	fx_stop_go(&fx, "copying");
	KTAP_REQUIRE(fx_op_wait(&op[0], FX_LONG));
	KTAP_CHECK(op[0].res->err == 0 || op[0].res->err == ENOENT, "open: %s", strerror(op[0].res->err));
	KTAP_CHECK(fx_is_whiteout(&fx, "d/f") && !fx_in_upper(&fx, "d/f"));
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "lost", NULL));
	fx_end(&fx);
}

KTAP_MAIN()
