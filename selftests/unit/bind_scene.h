/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of unions of bind mounts share: a source, a bind mount of it, and what mountinfo says. */
#ifndef KU_UNIT_BIND_SCENE_H
#define KU_UNIT_BIND_SCENE_H

#include <sys/xattr.h>

#include "command.h"
#include "union.h"

#define SRC UNIT_DIR "/src"
#define T UNIT_DIR "/target"
#define UP UNIT_DIR "/host/up"
#define WORK UP ".work"
#define ATTACH(...) COMMAND(ku_cmd_attach, "attach", ##__VA_ARGS__)
#define DETACH(...) COMMAND(ku_cmd_detach, "detach", ##__VA_ARGS__)

static inline void make_dir(const char *path)
{
	KTAP_REQUIRE(!mkdir(path, 0755), "%s", path);
}

static inline void source(void)
{
	unit_place();
	make_dir(SRC);
	make_dir(SRC "/d");
	make_dir(SRC "/d/e");
	make_dir(T);
	make_dir(UNIT_DIR "/host");
	unit_text(SRC "/d/f", "data of f");
	unit_text(SRC "/g", "data of g");
}

static inline void scene(void)
{
	source();
	KTAP_REQUIRE(!mount(SRC, T, NULL, MS_BIND, NULL));
}

/* The topmost mount on path that mountinfo has: a field of its line, allocated; "" for none. */
static inline char *mount_field(const char *path, const char *which)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *value = strdup("");
	size_t size = 0;

	KTAP_REQUIRE(f);
	while (getline(&line, &size, f) >= 0) {
		struct ku_mountinfo m;

		if (ku_mountinfo_parse(line, &m) || strcmp(m.mountpoint, path))
			continue;
		free(value);
		value = strdup(!strcmp(which, "options") ? m.options : !strcmp(which, "optional") ? m.optional : m.fstype);
		KTAP_REQUIRE(value);
	}
	free(line);
	fclose(f);
	return value;
}

static inline bool mount_is(const char *path, const char *which, const char *text)
{
	char *have = mount_field(path, which);
	bool same = !strcmp(have, text);

	if (!same)
		ktap_diag("%s of %s is '%s'", which, path, have);
	free(have);
	return same;
}

static inline bool attached(void)
{
	char *fstype = mount_field(T, "fstype");
	bool is = !strcmp(fstype, "overlay");

	free(fstype);
	return is;
}

static char *mounts_noted;

/* All of mountinfo, to be held against what it is later. */
static inline void note_mounts(void)
{
	free(mounts_noted);
	mounts_noted = unit_read("/proc/self/mountinfo", NULL);
}

static inline bool same_mounts(void)
{
	char *now = unit_read("/proc/self/mountinfo", NULL);
	bool same = !strcmp(now, mounts_noted);

	if (!same)
		ktap_diag("%s", now);
	free(now);
	return same;
}

static inline void attach(void)
{
	int status = ATTACH("--upper", UP, T);

	if (status == 2 && strstr(err, "no overlayfs"))
		ktap_skip("no overlayfs in this kernel");
	KTAP_REQUIRE(!status && !*err && !*out, "%d %s", status, err);
	KTAP_CHECK(attached());
}

static inline void detach(void)
{
	int status = DETACH(T);

	KTAP_CHECK(!status && !*err && !*out, "%d %s", status, err);
	KTAP_CHECK(!attached());
}

#endif
