// SPDX-License-Identifier: GPL-2.0-only
/* Upper and lower layer on every file system, the same or another: whatever asks for a copy, it ends as with the kernel alone. */
#include "fx_record.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

FX_BARE

#define SIZE FX_MB(1) /* of a scene's f */

/* Are all of the file's blocks shared with another? Where the file system cannot tell, they are not. */
static bool is_clone(const char *path)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + 16 * sizeof(struct fiemap_extent)];
	} u = { .map = { .fm_length = FIEMAP_MAX_OFFSET, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = 16 } };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool shared = fd >= 0 && ioctl(fd, FS_IOC_FIEMAP, &u.map) == 0 && u.map.fm_mapped_extents > 0;

	for (unsigned int i = 0; shared && i < u.map.fm_mapped_extents; i++)
		shared &= (u.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_SHARED) != 0;
	close(fd);
	return shared;
}

/* One operation on f; arg is the call. */
static void steps(struct fx *fx)
{
	const struct fx_call *what = fx_scene->arg;
	struct fx_call c = *what;
	bool opens = c.kind == FX_OPEN_W || c.kind == FX_OPEN_WRITE;

	c.path = fx_at(fx, "f");
	c.path2 = fx_at(fx, "to");
	fx_note("%s: %d", fx_call_names[c.kind], fx_call_now(&c));
	fx_note_file(fx, "f");
	fx_note_file(fx, "to");
	fx_note_file(fx, "");
	fx_note("upper: %d", fx_in_upper(fx, fx_in("f")));
	if (c.kind == FX_OPEN_W)
		fx_note("clone: %d", is_clone(fx_upath(fx, fx_in("f"))));
	if (!fx->opts.kernel && (opens || fx->tier == FX_TIER_PARK))
		fx_scene_engine(fx, "kunion");
}

static void steps_append(struct fx *fx)
{
	int fd = open(fx_at(fx, "f"), O_WRONLY | O_APPEND | O_CLOEXEC);

	fx_note_call("open", fd);
	fx_note_call("append", write(fd, "appended", 8));
	close(fd);
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "kunion");
}

#define CALL(what, ...) { .name = what, .steps = steps, .arg = &(const struct fx_call){ __VA_ARGS__ } }

static const struct fx_scene scenes[] = {
	CALL("open", .kind = FX_OPEN_W),
	CALL("write", .kind = FX_OPEN_WRITE, .id = 7),
	{ .name = "append", .steps = steps_append },
	CALL("chmod", .kind = FX_CHMOD, .mode = 0600),
	CALL("chown", .kind = FX_CHOWN, .owner = 1000),
	CALL("utimes", .kind = FX_UTIMES),
	CALL("setxattr", .kind = FX_SETXATTR),
	CALL("shrink", .kind = FX_TRUNCATE, .size = 5000),
	CALL("grow", .kind = FX_TRUNCATE, .size = SIZE + 5000),
	CALL("rename", .kind = FX_RENAME),
	CALL("link", .kind = FX_LINK),
	{ .name = NULL },
};

static void matrix(const char *upper, const char *lower)
{
	struct fx_twice t = { .opts.upper_fs = upper, .opts.lower_fs = lower, .scenes = scenes };

	fx_twice(&t);
}

#define ROW(upper, other)                              \
	KTAP_TEST_LIMIT(upper##_on_itself, 120)        \
	{                                              \
		matrix(#upper, NULL);                  \
	}                                              \
	KTAP_TEST_LIMIT(upper##_on_##other, 120)       \
	{                                              \
		matrix(#upper, #other);                \
	}

ROW(tmpfs, ext4)
ROW(ext4, btrfs)
ROW(xfs, tmpfs)
ROW(btrfs, xfs)

/* Same file system, but another one of it: what shares blocks cannot do so here. */
KTAP_TEST_LIMIT(xfs_on_another_xfs, 120)
{
	matrix("xfs", "xfs");
}

KTAP_MAIN()
