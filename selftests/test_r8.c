// SPDX-License-Identifier: GPL-2.0-only
/*
 * R8: a commit takes a name only from the file that was copied. Whatever took the name meanwhile stays as it is, nothing is overwritten
 * or brought back, and no temporary stays, not even when kunion is killed between link and rename.
 */
#include "fx_fixture.h"

#include <dirent.h>

FX_BARE

#define SIZE FX_KB(256)
#define NEW_SIZE FX_BLOCK
#define NEW 0xe3e3e3e3u

static unsigned int temps_in(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned int n = 0;
	struct dirent *e;

	KTAP_REQUIRE(d, "%s", dir);
	while ((e = readdir(d)))
		n += !strncmp(e->d_name, ".kunion-", 8);
	closedir(d);
	return n;
}

/* Calls that must not wait for the copy. */
static void at_once(const struct fx_call *c, const char *what)
{
	struct fx_op op;

	fx_call_start(&op, c);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s: %s waits", what, fx_call_names[c->kind]);
	KTAP_CHECK(op.res->err == 0, "%s: %s: %s", what, fx_call_names[c->kind], strerror(op.res->err));
}

/* Unlinked and made anew, by create or by link: the new file keeps name and contents. */
static void replaced_at(struct fx *fx, const struct fx_point *p, bool by_link)
{
	const char *dir = fx_name("%s-%s", by_link ? "link" : "create", p->name), *in = fx_name("/%s/f", dir);
	const char *path = fx_path(fx, fx_name("%s/f", dir)), *g = fx_path(fx, fx_name("%s/g", dir));
	struct fx_op op;

	fx_point_arm(fx, p);
	fx_call_start(&op, FX_CALL(FX_OPEN_W, path));
	fx_point_wait(fx, p);
	at_once(FX_CALL(FX_UNLINK, path), dir);
	if (by_link)
		at_once(FX_CALL(FX_LINK, g, .path2 = path), dir);
	else
		at_once(FX_CALL(FX_CREATE, path, .id = NEW), dir);
	fx_point_go(fx, p);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s", dir);
	KTAP_CHECK(op.res->err == 0 || op.res->err == ENOENT, "%s: open: %s", dir, strerror(op.res->err));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", in, "engine", "kunion", "result", p->renamed ? "ok" : "lost",
				 NULL),
		   "%s", dir);
	if (by_link)
		KTAP_CHECK(fx_verify(path, FX_G, FX_G_SIZE), "%s: overwritten", dir);
	else
		KTAP_CHECK(fx_verify(path, NEW, NEW_SIZE), "%s: overwritten", dir);
	KTAP_CHECK(fx_no_temps(fx), "%s", dir);
}

KTAP_TEST_LIMIT(name_taken, 120)
{
	struct fx fx;

	fx_init(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		fx_race_files(&fx, fx_name("create-%s", p->name), p->size);
		fx_race_files(&fx, fx_name("link-%s", p->name), p->size);
	}
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		replaced_at(&fx, p, false);
		replaced_at(&fx, p, true);
	}
	fx_end(&fx);
}

/* The name moves away, gets a second one, or changes places, as far as the kernel lets it: one of its two orders. */
static const struct fx_race moves[] = {
	{
		.name = "rename",
		.first = { .kind = FX_OPEN_WRITE, .path = "f", .id = 5 },
		.second = { .kind = FX_RENAME, .path = "f", .path2 = "h" },
		.names = { "f", "g", "h" },
		.second_waits = true,
	},
	{
		.name = "exchange",
		.first = { .kind = FX_OPEN_WRITE, .path = "f", .id = 5 },
		.second = { .kind = FX_EXCHANGE, .path = "f", .path2 = "g" },
		.names = { "f", "g" },
		.second_waits = true,
	},
	{
		.name = "link",
		.first = { .kind = FX_OPEN_WRITE, .path = "f", .id = 5 },
		.second = { .kind = FX_LINK, .path = "f", .path2 = "h" },
		.names = { "f", "g", "h" },
		.second_waits = true,
	},
};

static void no_temps(struct fx *fx, const struct fx_race *r, const struct fx_point *p, const char *dir)
{
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", fx_name("/%s/f", dir), "engine", "kunion", NULL));
	KTAP_CHECK(fx_no_temps(fx), "%s, %s", r->name, p->name);
}

KTAP_TEST_LIMIT(name_moves, 120)
{
	fx_race_all(NULL, moves, sizeof(moves) / sizeof(moves[0]), NULL, no_temps);
}

/* The directory moves away, and another takes its path: its file, big as the first, is never touched. */
static void directory_moved_at(struct fx *fx, const struct fx_point *p)
{
	const char *dir = fx_path(fx, p->name), *away = fx_path(fx, fx_name("%s-away", p->name));
	const char *path = fx_path(fx, fx_name("%s/f", p->name)), *in = fx_name("/%s/f", p->name);
	struct fx_op op;

	fx_point_arm(fx, p);
	fx_call_start(&op, FX_CALL(FX_OPEN_W, path));
	fx_point_wait(fx, p);
	at_once(FX_CALL(FX_RENAME, dir, .path2 = away), p->name);
	at_once(FX_CALL(FX_RENAME, fx_path(fx, fx_name("%s-other", p->name)), .path2 = dir), p->name);
	fx_point_go(fx, p);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s", p->name);
	KTAP_CHECK(op.res->err == 0 || op.res->err == ENOENT, "%s: open: %s", p->name, strerror(op.res->err));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", in, "engine", "kunion", NULL), "%s", p->name);
	KTAP_CHECK(fx_verify(path, NEW, SIZE), "%s: the other directory's file", p->name);
	KTAP_CHECK(fx_verify(fx_path(fx, fx_name("%s-away/f", p->name)), FX_F, p->size), "%s: the file that moved", p->name);
	KTAP_CHECK(fx_no_temps(fx), "%s", p->name);
}

KTAP_TEST_LIMIT(directory_moves, 120)
{
	struct fx_opts opts = { .mount_opts = "redirect_dir=on" };
	struct fx fx;

	fx_init(&fx, &opts);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		fx_race_files(&fx, p->name, p->size);
		fx_lower_as(&fx, fx_name("%s-other/f", p->name), NEW, SIZE, 0644);
	}
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++)
		directory_moved_at(&fx, p);
	fx_end(&fx);
}

/* Killed at a point: who waited goes on natively, what was linked is there for the moment, and the next start removes it. */
KTAP_TEST_LIMIT(killed, 120)
{
	static const char *const at[] = { "copying", "after-link", "after-rename" };
	const unsigned int n = sizeof(at) / sizeof(at[0]);
	struct fx fx;

	fx_init(&fx, NULL);
	for (unsigned int i = 0; i < n; i++)
		fx_race_files(&fx, at[i], SIZE);
	fx_mount(&fx);
	for (unsigned int i = 0; i < n; i++) {
		bool linked = !strcmp(at[i], "after-link");
		const char *dir = fx_path(&fx, at[i]), *path = fx_path(&fx, fx_name("%s/f", at[i]));
		struct fx_op op;

		fx_attach(&fx, NULL);
		fx_stop_arm(&fx, at[i]);
		fx_call_start(&op, FX_CALL(FX_OPEN_WRITE, path, .id = NEW));
		fx_stop_wait(&fx, at[i], FX_LONG);
		KTAP_CHECK(temps_in(dir) == linked, "%s: %u temporaries while linked", at[i], temps_in(dir));
		fx_kill(&fx);
		fx_stop_go(&fx, at[i]);
		KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s: still waits", at[i]);
		KTAP_CHECK(op.res->err == 0, "%s: %s", at[i], strerror(op.res->err));
		KTAP_CHECK(temps_in(dir) == linked, "%s: %u temporaries after the kill", at[i], temps_in(dir));
	}
	fx_attach(&fx, NULL);
	KTAP_CHECK(fx_no_temps(&fx));
	for (unsigned int i = 0; i < n; i++) {
		struct fx_outcome o = { 0 };

		fx_look(&fx, fx_name("%s/f", at[i]), &o);
		KTAP_CHECK(o.merged && o.upper && o.size == SIZE, "%s", at[i]);
	}
	fx_end(&fx);
}

KTAP_MAIN()
