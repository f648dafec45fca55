// SPDX-License-Identifier: GPL-2.0-only
/*
 * R5: a rename over a lower file vs its copy-up, in every interleaving: the name has the new file with its own contents, no stray
 * copy, no temporary, and the rename never waits for the copy of what it replaces.
 */
#include "fx_fixture.h"

#include <fcntl.h>

FX_BARE

/* With the copy held up: the name has the other file. The first call may have gone on with that already. */
static void mid(struct fx *fx, const struct fx_race *r, const struct fx_point *p, const char *dir)
{
	int fd = open(fx_path(fx, fx_name("%s/f", dir)), O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0) {
		KTAP_CHECK(errno == ENOENT && r->first.kind == FX_RENAME, "%s, %s", r->name, p->name);
		return;
	}
	KTAP_CHECK(fstat(fd, &st) == 0 && st.st_size == FX_G_SIZE, "%s, %s: size %lld", r->name, p->name, (long long)st.st_size);
	for (uint64_t nr = 1; nr < FX_G_SIZE / FX_BLOCK; nr++)
		KTAP_CHECK(fx_get_block(fd, nr) == FX_G, "%s, %s: not the file renamed over it", r->name, p->name);
	close(fd);
}

static void end(struct fx *fx, const struct fx_race *r, const struct fx_point *p, const char *dir)
{
	const char *path = fx_name("/%s/f", dir);

	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "engine", "kunion", "result",
				 p->renamed ? "ok" : "lost", NULL),
		   "%s, %s", r->name, p->name);
	/* Told after the copier is through with it. */
	KTAP_CHECK(fx_no_temps(fx), "%s, %s", r->name, p->name);
}

static const struct fx_race races[] = {
	{
		.name = "open",
		.first = { .kind = FX_OPEN_WRITE, .path = "f", .id = 5 },
		.second = { .kind = FX_RENAME, .path = "g", .path2 = "f" },
		.names = { "f", "g" },
	},
	{
		.name = "chmod",
		.needs = FX_TIER_PARK,
		.first = { .kind = FX_CHMOD, .path = "f", .mode = 0600 },
		.second = { .kind = FX_RENAME, .path = "g", .path2 = "f" },
		.names = { "f", "g" },
	},
	{
		.name = "rename",
		.needs = FX_TIER_PARK,
		.first = { .kind = FX_RENAME, .path = "f", .path2 = "h" },
		.second = { .kind = FX_RENAME, .path = "g", .path2 = "f" },
		.names = { "f", "g", "h" },
	},
};

KTAP_TEST_LIMIT(rename_over, 120)
{
	fx_race_all(NULL, races, sizeof(races) / sizeof(races[0]), mid, end);
}

KTAP_MAIN()
