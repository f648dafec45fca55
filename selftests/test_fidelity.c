// SPDX-License-Identifier: GPL-2.0-only
/* A copy is the file: all but its number is as the kernel's own copy-up leaves it, holes stay holes, names are any bytes. */
#include "fx_record.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

FX_BARE

static void make_lower(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), FX_KB(256), 0644);
}

/* The copy-up that every tier of kunion's waits for, and that changes nothing by itself. */
static void copy_up(const struct fx *fx, const char *name)
{
	int fd = open(fx_at(fx, name), O_WRONLY | O_CLOEXEC);

	fx_note_call(name, fd);
	close(fd);
}

/* Copies f up and looks at it, its directory and what is in the upper layer. */
static void steps(struct fx *fx)
{
	copy_up(fx, "f");
	fx_note_file(fx, "f");
	fx_note_upper(fx, "f");
	fx_note_file(fx, "");
	fx_note_upper(fx, "");
	fx_scene_engine(fx, "kunion");
}

static void set_times(const char *path, time_t atime, long atime_ns, time_t mtime, long mtime_ns)
{
	const struct timespec times[2] = { { atime, atime_ns }, { mtime, mtime_ns } };

	KTAP_REQUIRE(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) == 0, "%s", path);
}

/* times */

static void lower_times(struct fx *fx)
{
	make_lower(fx);
	set_times(fx_lpath(fx, fx_in("f")), 1111111111, 1, 1222222222, 999999999);
	set_times(fx_lpath(fx, fx_in("")), 1333333333, 2, 1444444444, 3);
}

static void lower_old(struct fx *fx)
{
	make_lower(fx);
	set_times(fx_lpath(fx, fx_in("f")), -2, 500000000, -1000000, 1);
}

/* The directory is an upper one already, and what it holds is none of its times. */
static void steps_parent(struct fx *fx)
{
	fx_note_call("mkdir", mkdir(fx_at(fx, "new"), 0755));
	set_times(fx_at(fx, ""), 1555555555, 4, 1666666666, 5);
	steps(fx);
}

/* owner and mode */

static void lower_owner(struct fx *fx)
{
	make_lower(fx);
	KTAP_REQUIRE(chown(fx_lpath(fx, fx_in("f")), 1234, 4000000000u) == 0);
}

static const mode_t modes[] = { 04755, 02755, 06711, 01644, 0, 02644, 07777 };

static void lower_modes(struct fx *fx)
{
	char name[] = "f";

	for (unsigned int i = 0; i < sizeof(modes) / sizeof(modes[0]); i++, name[0]++) {
		fx_lower(fx, fx_in(name), FX_KB(128), 0600);
		KTAP_REQUIRE(chown(fx_lpath(fx, fx_in(name)), 1000, 1000) == 0 && chmod(fx_lpath(fx, fx_in(name)), modes[i]) == 0);
	}
}

static void steps_modes(struct fx *fx)
{
	struct fx_op op;
	char name[] = "f";

	for (unsigned int i = 0; i < sizeof(modes) / sizeof(modes[0]); i++, name[0]++) {
		copy_up(fx, name);
		fx_note_file(fx, name);
		/* As a user who may lose the bits by it. */
		fx_call_start(&op, &(struct fx_call){ .kind = FX_OPEN_WRITE, .path = fx_at(fx, name), .as = 1000, .id = 1 });
		KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
		fx_note("written: %s", op.res->err ? strerrorname_np(op.res->err) : "ok");
		fx_note_file(fx, name);
	}
	fx_scene_engine(fx, "kunion");
}

static void lower_users(struct fx *fx)
{
	make_lower(fx);
	KTAP_REQUIRE(chown(fx_lpath(fx, fx_in("f")), 1000, 1000) == 0 && chmod(fx_lpath(fx, fx_in("f")), 04751) == 0);
	KTAP_REQUIRE(setxattr(fx_lpath(fx, fx_in("f")), "trusted.t", "not the user's", 14, 0) == 0);
}

/* The copy is made for a user, but is not the user's work. */
static void steps_users(struct fx *fx)
{
	struct fx_op op;

	fx_call_start(&op, &(struct fx_call){ .kind = FX_OPEN_W, .path = fx_at(fx, "f"), .as = 1000 });
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	fx_note("opened: %s", op.res->err ? strerrorname_np(op.res->err) : "ok");
	steps(fx);
}

/* xattrs */

static void lower_xattrs(struct fx *fx)
{
	static char big[2000];
	const char *path;

	make_lower(fx);
	path = fx_lpath(fx, fx_in("f"));
	memset(big, 'x', sizeof(big));
	KTAP_REQUIRE(setxattr(path, "user.small", "a\0b", 3, 0) == 0);
	KTAP_REQUIRE(setxattr(path, "user.empty", "", 0, 0) == 0);
	KTAP_REQUIRE(setxattr(path, "user.big", big, sizeof(big), 0) == 0);
	KTAP_REQUIRE(setxattr(path, "trusted.t", "trusted", 7, 0) == 0);
	KTAP_REQUIRE(setxattr(path, "security.fx", "secure", 6, 0) == 0);
}

static void lower_acl(struct fx *fx)
{
	make_lower(fx);
	fx_sh("setfacl -m u:1000:rw,u:1001:---,g:1002:r,m::rwx %s", fx_lpath(fx, fx_in("f")));
}

/* The directory's default is for new files, which a copy is not. */
static void lower_default_acl(struct fx *fx)
{
	make_lower(fx);
	fx_sh("setfacl -d -m u:1000:rwx,g:1002:rwx,o::rwx %s", fx_lpath(fx, fx_in("")));
}

static void lower_capability(struct fx *fx)
{
	make_lower(fx);
	fx_sh("chmod 755 %s && setcap cap_net_raw,cap_sys_admin+ep %s", fx_lpath(fx, fx_in("f")), fx_lpath(fx, fx_in("f")));
}

/* inode flags */

static void set_flags(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), old = 0;

	KTAP_REQUIRE(fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &old) == 0, "%s", path);
	old |= flags;
	KTAP_REQUIRE(ioctl(fd, FS_IOC_SETFLAGS, &old) == 0, "%s", path);
	close(fd);
}

static void note_flags(const struct fx *fx, const char *name)
{
	int fd = open(fx_at(fx, name), O_RDONLY | O_CLOEXEC), flags = 0;

	fx_note_call("FS_IOC_GETFLAGS", ioctl(fd, FS_IOC_GETFLAGS, &flags));
	fx_note("flags %#x", flags & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_NODUMP_FL));
	close(fd);
}

static void lower_flags(struct fx *fx)
{
	make_lower(fx);
	fx_lower(fx, fx_in("append"), FX_KB(128), 0644);
	fx_lower(fx, fx_in("immutable"), FX_KB(128), 0644);
	fx_lower(fx, fx_in("chattr"), FX_KB(128), 0644);
	set_flags(fx_lpath(fx, fx_in("f")), FS_NOATIME_FL | FS_SYNC_FL | FS_NODUMP_FL);
	set_flags(fx_lpath(fx, fx_in("append")), FS_APPEND_FL);
	set_flags(fx_lpath(fx, fx_in("immutable")), FS_IMMUTABLE_FL);
}

static void steps_flags(struct fx *fx)
{
	static const char *const names[] = { "append", "immutable" };
	int fd, flags = FS_NOATIME_FL;

	steps(fx);
	note_flags(fx, "f");
	for (unsigned int i = 0; i < 2; i++) {
		copy_up(fx, names[i]);
		fx_note_call("chmod", chmod(fx_at(fx, names[i]), 0600));
		fx_note_call("unlink", unlink(fx_at(fx, names[i])));
		fd = open(fx_at(fx, names[i]), O_WRONLY | O_APPEND | O_CLOEXEC);
		fx_note_call("append", fd < 0 ? -1 : write(fd, "x", 1));
		close(fd);
		note_flags(fx, names[i]);
		fx_note_file(fx, names[i]);
	}
	fd = open(fx_at(fx, "chattr"), O_RDONLY | O_CLOEXEC);
	fx_note_call("FS_IOC_SETFLAGS", ioctl(fd, FS_IOC_SETFLAGS, &flags));
	close(fd);
	note_flags(fx, "chattr");
	fx_note_file(fx, "chattr");
}

#define SCENES_OF_BOTH                                                                 \
	{ .name = "times", .lower = lower_times, .steps = steps },                     \
	{ .name = "old", .lower = lower_old, .steps = steps },                         \
	{ .name = "parent", .lower = make_lower, .steps = steps_parent },              \
	{ .name = "owner", .lower = lower_owner, .steps = steps },                     \
	{ .name = "modes", .lower = lower_modes, .steps = steps_modes },               \
	{ .name = "users", .lower = lower_users, .steps = steps_users },               \
	{ .name = "xattrs", .lower = lower_xattrs, .steps = steps },                   \
	{ .name = "acl", .lower = lower_acl, .steps = steps },                         \
	{ .name = "default-acl", .lower = lower_default_acl, .steps = steps },         \
	{ .name = "capability", .lower = lower_capability, .steps = steps }

KTAP_TEST(metadata_on_one_file_system)
{
	static const struct fx_scene scenes[] = { SCENES_OF_BOTH,
						  { .name = "flags", .lower = lower_flags, .steps = steps_flags },
						  { .name = NULL } };

	fx_twice(&(struct fx_twice){ .opts.upper_fs = "ext4", .scenes = scenes });
}

KTAP_TEST(metadata_across_file_systems)
{
	static const struct fx_scene scenes[] = { SCENES_OF_BOTH, { .name = NULL } };

	if (!fx_kernel_since(6, 6))
		ktap_skip("no user xattrs on tmpfs before 6.6");
	fx_twice(&(struct fx_twice){ .opts.upper_fs = "ext4", .opts.lower_fs = "tmpfs", .scenes = scenes });
}

/* holes */

static void write_at(int fd, off_t at, size_t len)
{
	static char buf[1 << 16];

	memset(buf, 'd', sizeof(buf));
	KTAP_REQUIRE(len <= sizeof(buf) && pwrite(fd, buf, len, at) == (ssize_t)len);
}

static void make_sparse(const struct fx *fx)
{
	static const char *const names[] = { "middle", "end", "hole", "many" };

	for (unsigned int i = 0; i < 4; i++) {
		int fd = open(fx_lpath(fx, names[i]), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

		KTAP_REQUIRE(fd >= 0 && ftruncate(fd, FX_MB(8)) == 0);
		if (i == 0 || i == 1)
			write_at(fd, i == 0 ? FX_MB(4) : FX_MB(8) - 4096, 4096);
		for (unsigned int k = 0; i == 3 && k < 32; k++)
			write_at(fd, (off_t)k * FX_KB(200) / 4096 * 4096, 5000);
		KTAP_REQUIRE(fsync(fd) == 0);
		close(fd);
	}
}

/* Data from .. to .., the same in both? */
static void check_layout(const char *a, const char *b)
{
	int fds[2] = { open(a, O_RDONLY | O_CLOEXEC), open(b, O_RDONLY | O_CLOEXEC) };
	off_t at[2] = { 0, 0 };
	struct stat st[2];

	for (int whence = SEEK_DATA, n = 0; at[0] >= 0 && at[0] < FX_MB(8) && n < 200; n++) {
		for (int i = 0; i < 2; i++)
			at[i] = lseek(fds[i], at[i], whence);
		if (!KTAP_CHECK(at[0] == at[1], "%s: %s at %lld, in the copy at %lld", a, whence == SEEK_DATA ? "data" : "hole",
				(long long)at[0], (long long)at[1]))
			break;
		whence = whence == SEEK_DATA ? SEEK_HOLE : SEEK_DATA;
	}
	KTAP_REQUIRE(fsync(fds[1]) == 0 && fstat(fds[0], &st[0]) == 0 && fstat(fds[1], &st[1]) == 0);
	/* Some more for the list of extents, where that is kept outside the inode. */
	KTAP_CHECK(st[1].st_blocks <= st[0].st_blocks + 16, "%lld blocks instead of %lld", (long long)st[1].st_blocks,
		   (long long)st[0].st_blocks);
	KTAP_CHECK(st[1].st_size == FX_MB(8) && fx_hash_fd(fds[0]) == fx_hash_fd(fds[1]));
	close(fds[0]);
	close(fds[1]);
}

static void sparse(const char *fs, const char *lower_fs)
{
	static const char *const names[] = { "middle", "end", "hole", "many" };
	struct fx fx;

	fx_init(&fx, &(struct fx_opts){ .upper_fs = fs, .lower_fs = lower_fs });
	make_sparse(&fx);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (unsigned int i = 0; i < 4; i++) {
		char path[16];

		snprintf(path, sizeof(path), "/%s", names[i]);
		KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, names[i]) }) == 0);
		KTAP_CHECK(
			fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", path, "engine", "kunion", "result", "ok", NULL));
		check_layout(fx_lpath(&fx, names[i]), fx_upath(&fx, names[i]));
	}
	/* What is told is what was copied: the data. */
	KTAP_CHECK(fx_event_number(&fx, "bytes", "event", "copyup", "path", "/middle", NULL) == 4096);
	KTAP_CHECK(fx_event_number(&fx, "bytes", "event", "copyup", "path", "/hole", NULL) == 0);
	fx_end(&fx);
}

KTAP_TEST(holes_stay_on_ext4)
{
	sparse("ext4", NULL);
}

KTAP_TEST(holes_stay_across_file_systems)
{
	sparse("ext4", "tmpfs");
}

/* names */

#define N50 "12345678901234567890123456789012345678901234567890"

static const char *const names[] = {
	N50 N50 N50 N50 N50 "12345", /* the longest there is */
	"latin1-\xe4\xf6\xfc",
	"\xff\xfe",
	"utf8-\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7",
	"overlong-\xc0\xaf-\xed\xa0\x80",
	"new\nline",
	"quo\"te",
	"back\\slash",
	"back\\x41slash",
	"tab\tand\x01\x1f\x7f",
	"-dash",
	" blank ",
	"%s%n",
	"'single'",
};

/* As the events' contract says: \\ is one, \xHH is a byte. */
static void unescape(const char *s, char *to)
{
	for (; *s; s++) {
		unsigned int byte;

		if (s[0] == '\\' && s[1] == 'x' && sscanf(s + 2, "%2x", &byte) == 1) {
			*to++ = (char)byte;
			s += 3;
		} else {
			s += s[0] == '\\' && s[1] == '\\';
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Is there a line by kunion for this path, byte for byte? */
static bool told(const struct fx *fx, const char *want)
{
	struct json_tokener *tok = json_tokener_new();
	FILE *f = fopen(fx->events, "re");
	char *line = NULL, path[4096];
	bool found = false;
	size_t size = 0;
	ssize_t n;

	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	while (f && (n = getline(&line, &size, f)) > 0) {
		struct json_object *obj, *p, *engine;

		json_tokener_reset(tok);
		obj = json_tokener_parse_ex(tok, line, (int)n);
		if (!KTAP_CHECK(obj, "not JSON: %s", line))
			continue;
		if (json_object_object_get_ex(obj, "path", &p) && json_object_object_get_ex(obj, "engine", &engine)) {
			unescape(json_object_get_string(p), path);
			found |= !strcmp(path, want) && !strcmp(json_object_get_string(engine), "kunion");
		}
		json_object_put(obj);
	}
	free(line);
	if (f)
		fclose(f);
	json_tokener_free(tok);
	return found;
}

static void lower_names(struct fx *fx)
{
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		fx_lower(fx, fx_in(names[i]), FX_KB(64), 0644);
		KTAP_REQUIRE(mkdir(fx_lpath(fx, fx_in("dir")), 0755) == 0 || errno == EEXIST);
	}
	fx_lower(fx, fx_in("f"), FX_KB(64), 0644);
}

static void steps_names(struct fx *fx)
{
	char path[512];

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		copy_up(fx, names[i]);
		fx_note_file(fx, names[i]);
	}
	copy_up(fx, "f");
	fx_note_file(fx, "");
	fx_scene_engine(fx, "kunion"); /* f was the last one */
	for (unsigned int i = 0; !fx->opts.kernel && i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/%s", fx_in(names[i]));
		KTAP_CHECK(told(fx, path), "%s", path);
	}
}

/* As deep as kunion follows, and deeper. */
#define DEPTH 120
#define TOO_DEEP 140

static const char *deep(unsigned int depth)
{
	static char path[2 * TOO_DEEP + 16];
	size_t n = 0;

	for (unsigned int i = 0; i < depth; i++, n += 2)
		memcpy(path + n, "d/", 2);
	strcpy(path + n, "f");
	return path;
}

static void lower_deep(struct fx *fx)
{
	fx_lower(fx, fx_in(deep(DEPTH)), FX_KB(64), 0644);
	fx_lower(fx, fx_in(deep(TOO_DEEP)), FX_KB(64), 0644);
}

static void steps_deep(struct fx *fx)
{
	char path[512];

	copy_up(fx, deep(DEPTH));
	fx_note_file(fx, deep(DEPTH));
	copy_up(fx, deep(TOO_DEEP));
	fx_note_file(fx, deep(TOO_DEEP));
	if (fx->opts.kernel)
		return;
	snprintf(path, sizeof(path), "/%s", fx_in(deep(DEPTH)));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "engine", "kunion", "result", "ok", NULL));
}

KTAP_TEST(names_are_bytes)
{
	static const struct fx_scene scenes[] = { { .name = "names", .lower = lower_names, .steps = steps_names },
						  { .name = "deep", .lower = lower_deep, .steps = steps_deep },
						  { .name = NULL } };

	fx_twice(&(struct fx_twice){ .scenes = scenes });
}

/* --min-size 0 */

static void lower_empty(struct fx *fx)
{
	make_lower(fx);
	KTAP_REQUIRE(truncate(fx_lpath(fx, fx_in("f")), 0) == 0 && chmod(fx_lpath(fx, fx_in("f")), 02750) == 0);
	set_times(fx_lpath(fx, fx_in("f")), 1111111111, 1, 1222222222, 2);
}

KTAP_TEST(empty_file)
{
	static const struct fx_scene scenes[] = { { .name = "empty", .lower = lower_empty, .steps = steps }, { .name = NULL } };

	fx_twice(&(struct fx_twice){ .args = { "--min-size", "0" }, .scenes = scenes });
}

KTAP_MAIN()
