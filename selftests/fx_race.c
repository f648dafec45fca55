// SPDX-License-Identifier: GPL-2.0-only
/* Two calls on one file, the copy held up at a point between them. */
#define FX_PART
#include "fx_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX_SMALL FX_KB(256)
#define FX_LARGE FX_MB(5) /* more than the first chunk (4 MiB) */

const struct fx_point fx_points[] = {
	{ .name = "before-open", .stop = "before-open", .size = FX_SMALL },
	{ .name = "copying", .stop = "copying", .size = FX_SMALL },
	{ .name = "first-chunk", .stop = "copy-chunk", .size = FX_SMALL },
	/* asked before the clone, before the first chunk, before the second */
	{ .name = "half-copied", .stop = "copy-chunk", .pass = 2, .size = FX_LARGE },
	{ .name = "before-commit", .stop = "before-commit", .size = FX_SMALL },
	{ .name = "committing", .stop = "committing", .commit = true, .size = FX_SMALL },
	{ .name = "after-link", .stop = "after-link", .commit = true, .size = FX_SMALL },
	{ .name = "before-rename", .stop = "before-rename", .commit = true, .size = FX_SMALL },
	{ .name = "after-rename", .stop = "after-rename", .commit = true, .renamed = true, .size = FX_SMALL },
};
const unsigned int fx_npoints = sizeof(fx_points) / sizeof(fx_points[0]);

void fx_point_arm(const struct fx *fx, const struct fx_point *p)
{
	fx_stop_arm_after(fx, p->stop, p->pass);
}

void fx_point_wait(const struct fx *fx, const struct fx_point *p)
{
	fx_stop_wait(fx, p->stop, FX_LONG);
}

void fx_point_go(const struct fx *fx, const struct fx_point *p)
{
	fx_stop_go(fx, p->stop);
}

void fx_race_files(struct fx *fx, const char *dir, off_t size)
{
	fx_lower_as(fx, fx_name("%s/%s", dir, "f"), FX_F, size, 0644);
	fx_lower_as(fx, fx_name("%s/%s", dir, "g"), FX_G, FX_G_SIZE, 0640);
}

struct fx_call fx_race_call(const struct fx *fx, const struct fx_call *c, const char *dir)
{
	struct fx_call call = *c;

	call.path = fx_path(fx, fx_name("%s/%s", dir, c->path));
	if (c->path2)
		call.path2 = fx_path(fx, fx_name("%s/%s", dir, c->path2));
	return call;
}

void fx_race_look(const struct fx *fx, const struct fx_race *r, const char *dir, struct fx_ends *e)
{
	for (unsigned int i = 0; i < FX_NAMES_MAX && r->names[i]; i++)
		fx_look(fx, fx_name("%s/%s", dir, r->names[i]), &e->at[i]);
}

void fx_race_order(const struct fx *fx, const struct fx_race *r, const char *dir, bool second_first, struct fx_ends *e)
{
	struct fx_call first = fx_race_call(fx, &r->first, dir), second = fx_race_call(fx, &r->second, dir);

	memset(e, 0, sizeof(*e));
	if (second_first)
		e->err[1] = fx_call_now(&second);
	e->err[0] = fx_call_now(&first);
	if (!second_first)
		e->err[1] = fx_call_now(&second);
	fx_race_look(fx, r, dir, e);
}

static bool fx_ends_equal(const struct fx_ends *a, const struct fx_ends *b)
{
	if (memcmp(a->err, b->err, sizeof(a->err)))
		return false;
	for (unsigned int i = 0; i < FX_NAMES_MAX; i++)
		if (!fx_outcome_equal(&a->at[i], &b->at[i]))
			return false;
	return true;
}

static void fx_ends_show(const struct fx_race *r, const char *what, const struct fx_ends *e)
{
	fx_diag("%s: %s %d, %s %d", what, fx_call_names[r->first.kind], e->err[0], fx_call_names[r->second.kind], e->err[1]);
	for (unsigned int i = 0; i < FX_NAMES_MAX && r->names[i]; i++)
		fx_outcome_show(r->names[i], &e->at[i]);
}

bool fx_race_allowed(const struct fx_race *r, const struct fx_ends *got, const struct fx_ends *ab, const struct fx_ends *ba)
{
	if (fx_ends_equal(got, ab) || fx_ends_equal(got, ba))
		return true;
	fx_ends_show(r, "got", got);
	fx_ends_show(r, "kernel, in this order", ab);
	fx_ends_show(r, "kernel, the other order", ba);
	return false;
}

/* One race at one point. */
static void fx_race_run(struct fx *fx, const struct fx_race *r, const struct fx_point *p, const char *dir, fx_race_fn *mid,
			struct fx_ends *e)
{
	struct fx_call first = fx_race_call(fx, &r->first, dir), second = fx_race_call(fx, &r->second, dir);
	struct fx_op op[2];

	memset(e, 0, sizeof(*e));
	fx_point_arm(fx, p);
	fx_call_start(&op[0], &first);
	fx_point_wait(fx, p);
	fx_call_start(&op[1], &second);
	if (r->second_waits && !p->renamed && fx->tier == FX_TIER_PARK)
		FX_CHECK(fx_wait_parked(&op[1], FX_LONG), "%s, %s: the second does not wait", r->name, p->name);
	else
		FX_CHECK(fx_op_wait(&op[1], FX_LONG), "%s, %s: the second waits", r->name, p->name);
	/* Who waits for a copy that was given up may go on at once, also before the copier knows. */
	if (mid)
		mid(fx, r, p, dir);
	fx_point_go(fx, p);
	for (int i = 0; i < 2; i++) {
		FX_REQUIRE(fx_op_wait(&op[i], FX_LONG), "%s, %s: call %d does not return", r->name, p->name, i);
		e->err[i] = op[i].res->err;
	}
	fx_race_look(fx, r, dir, e);
}

static const char *fx_race_dir(const struct fx_race *r, const char *what)
{
	return fx_name("%s/%s", r->name, what);
}

static void fx_race_one(struct fx *fx, const struct fx_race *r, const struct fx_ends orders[2][2], fx_race_fn *mid, fx_race_fn *end)
{
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		const struct fx_ends *kernel = orders[p->size == FX_LARGE];
		const char *dir = fx_race_dir(r, p->name);
		struct fx_ends e;

		fx_race_run(fx, r, p, dir, mid, &e);
		FX_CHECK(fx_race_allowed(r, &e, &kernel[0], &kernel[1]), "%s, %s", r->name, p->name);
		if (end)
			end(fx, r, p, dir);
	}
}

void fx_race_all(const struct fx_opts *opts, const struct fx_race *races, unsigned int n, fx_race_fn *mid, fx_race_fn *end)
{
	static const char *const order[2][2] = { { "small-ab", "small-ba" }, { "large-ab", "large-ba" } };
	struct fx_ends ends[n][2][2];
	unsigned int ran = 0;
	struct fx fx;

	fx_init(&fx, opts);
	for (const struct fx_race *r = races; r < races + n; r++) {
		for (unsigned int i = 0; i < fx_npoints; i++)
			fx_race_files(&fx, fx_race_dir(r, fx_points[i].name), fx_points[i].size);
		for (int i = 0; i < 4; i++)
			fx_race_files(&fx, fx_race_dir(r, order[i / 2][i % 2]), i / 2 ? FX_LARGE : FX_SMALL);
	}
	fx_mount(&fx);
	for (unsigned int k = 0; k < n; k++)
		for (int i = 0; i < 4; i++)
			fx_race_order(&fx, &races[k], fx_race_dir(&races[k], order[i / 2][i % 2]), i % 2, &ends[k][i / 2][i % 2]);
	fx_attach(&fx, NULL);
	for (unsigned int k = 0; k < n; k++) {
		if (fx.tier < races[k].needs)
			continue;
		fx_race_one(&fx, &races[k], ends[k], mid, end);
		ran++;
	}
	if (!ran)
		fx_needs(&fx, races[0].needs);
	fx_end(&fx);
}
