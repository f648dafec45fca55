// SPDX-License-Identifier: GPL-2.0-only
/*
 * What kunion leaves to the kernel, and how an attached union behaves then: as one without kunion. Also what it takes over on
 * mounts with all kinds of options.
 */
#include "fx_record.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

FX_LEAN

#define SIZE FX_MB(1) /* of a scene's f */

/* Writes block 1 through a descriptor opened like this. */
static void note_open(const struct fx *fx, const char *name, int flags)
{
	int fd = open(fx_at(fx, name), flags | O_CLOEXEC, 0644);

	fx_note_call(name, fd);
	if (fd < 0)
		return;
	if (flags & O_ACCMODE)
		fx_note_call("write", fx_put_block(fd, fx_id("new"), 1));
	close(fd);
}

/* Nothing of this file was kunion's, not even tried. */
static void untouched(const struct fx *fx, const char *name)
{
	char path[FX_PATH_MAX];

	if (fx->opts.kernel)
		return;
	snprintf(path, sizeof(path), "/%s", fx_in(name));
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "engine", "kunion", "path", path, NULL) == 0, "%s", path);
}

/* O_TRUNC */

static void lower_truncated(struct fx *fx)
{
	for (char name[] = "f"; name[0] <= 'j'; name[0]++)
		fx_lower(fx, fx_in(name), SIZE, 0644);
}

static void steps_truncated(struct fx *fx)
{
	static const int flags[] = { O_WRONLY | O_TRUNC, O_RDWR | O_TRUNC, O_RDONLY | O_TRUNC, O_WRONLY | O_CREAT | O_TRUNC,
				     O_WRONLY | O_APPEND | O_TRUNC };

	for (unsigned int i = 0; i < 5; i++) {
		char name[] = { (char)('f' + i), '\0' };

		note_open(fx, name, flags[i]);
		fx_note_file(fx, name);
		fx_note_upper(fx, name);
		untouched(fx, name);
	}
	fx_note_file(fx, "");
	fx_scene_engine(fx, "kernel");
	if (!fx->opts.kernel)
		KTAP_CHECK(fx_event_number(fx, "bytes", "event", "copyup", "path", "/truncated/f", NULL) == 0, "data was copied");
}

/* not changed at all */

static void lower_only_read(struct fx *fx)
{
	fx_sh("mkdir %s && cp /bin/busybox %s && chmod 755 %s", fx_lpath(fx, fx_in("")), fx_lpath(fx, fx_in("f")),
	      fx_lpath(fx, fx_in("f")));
}

static void steps_only_read(struct fx *fx)
{
	int fd = open(fx_at(fx, "f"), O_RDONLY | O_CLOEXEC);
	const uint32_t *map = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	pid_t pid;
	int status = 0;

	fx_note("mapped: %#x", map[1]);
	fx_note_call("shared and writable", mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	pid = fork();
	if (pid == 0) {
		execl(fx_at(fx, "f"), "true", (char *)NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	fx_note("runs: %#x", status);
	note_open(fx, "f", O_RDONLY | O_CREAT);
	note_open(fx, "f", O_WRONLY | O_CREAT | O_EXCL);
	note_open(fx, "f", O_RDONLY | O_DIRECTORY);
	close(open(fx_at(fx, "f"), O_PATH | O_CLOEXEC));
	fx_note("upper: %d", fx_in_upper(fx, fx_in("f")));
	munmap((void *)map, 8192);
	close(fd);
	untouched(fx, "f");
	if (!fx->opts.kernel)
		KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", "/only-read/f", NULL) == 0);
}

/* not allowed */

static void steps_denied(struct fx *fx)
{
	static const enum fx_call_kind kinds[] = { FX_OPEN_W, FX_CHMOD, FX_CHOWN, FX_UTIMES, FX_TRUNCATE, FX_SETXATTR, FX_RENAME,
						   FX_LINK,   FX_UNLINK };
	struct fx_op op;

	/* Searchable by all, so that it is the file that denies. */
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		fx_call_start(&op,
			      &(struct fx_call){ .kind = kinds[i], .path = fx_at(fx, "f"), .path2 = fx_at(fx, "g"), .as = 1000 });
		KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
		fx_note("%s: %s", fx_call_names[kinds[i]], op.res->err ? strerrorname_np(op.res->err) : "ok");
	}
	KTAP_REQUIRE(mkdir(FX_DIR "/ro", 0755) == 0 || errno == EEXIST);
	KTAP_REQUIRE(mount(fx->merged, FX_DIR "/ro", NULL, MS_BIND, NULL) == 0);
	KTAP_REQUIRE(mount(NULL, FX_DIR "/ro", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
	fx_note_call("read-only mount", open(FX_DIR "/ro/denied/f", O_WRONLY | O_CLOEXEC));
	fx_note_call("read-only mount", chmod(FX_DIR "/ro/denied/f", 0600));
	KTAP_CHECK(umount(FX_DIR "/ro") == 0);
	fx_note_file(fx, "f");
	fx_note("upper: %d", fx_in_upper(fx, fx_in("f")));
	untouched(fx, "f");
}

/* not files */

static void lower_no_files(struct fx *fx)
{
	const char *d = fx_lpath(fx, fx_in(""));

	fx_sh("mkdir -p %s/dir/sub && ln -s dir %s/sym && mkfifo %s/fifo && mknod %s/node c 1 3", d, d, d, d);
	fx_lower(fx, fx_in("dir/sub/inside"), FX_KB(4), 0644);
}

static void steps_no_files(struct fx *fx)
{
	static const char *const names[] = { "dir", "sym", "fifo", "node" };
	const struct timespec times[2] = { { .tv_sec = 1, .tv_nsec = 2 }, { .tv_sec = 3, .tv_nsec = 4 } };

	for (unsigned int i = 0; i < 4; i++) {
		const char *path = fx_at(fx, names[i]);

		fx_note_call("lchown", lchown(path, 7, 8));
		if (strcmp(names[i], "sym"))
			fx_note_call("chmod", chmod(path, 0710));
		fx_note_call("utimes", utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
		fx_note_call("setxattr", lsetxattr(path, "trusted.fx", "x", 1, 0));
		fx_note_file(fx, names[i]);
		untouched(fx, names[i]);
	}
	fx_note_call("rename symlink", rename(fx_at(fx, "sym"), fx_at(fx, "sym2")));
	fx_note_call("rename directory", rename(fx_at(fx, "dir/sub"), fx_at(fx, "dir/sub2")));
	fx_note_call("link fifo", link(fx_at(fx, "fifo"), fx_at(fx, "fifo2")));
	fx_note_file(fx, "");
	fx_note_file(fx, "dir");
}

/* small ones, and the limit itself */

static void lower_small(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), FX_KB(60), 0644);
	fx_lower(fx, fx_in("limit"), FX_KB(64), 0644);
	fx_lower(fx, fx_in("below"), FX_KB(64), 0644);
	KTAP_REQUIRE(truncate(fx_lpath(fx, fx_in("below")), FX_KB(64) - 1) == 0);
	fx_sh(": >%s", fx_lpath(fx, fx_in("empty")));
}

static void steps_small(struct fx *fx)
{
	static const char *const names[] = { "f", "below", "empty", "limit" };

	for (unsigned int i = 0; i < 4; i++) {
		note_open(fx, names[i], O_WRONLY);
		fx_note_file(fx, names[i]);
		if (strcmp(names[i], "limit"))
			untouched(fx, names[i]);
	}
	if (!fx->opts.kernel)
		KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "engine", "kunion", "path", "/small/limit", "result", "ok", NULL));
}

/* kernel callers */

/* The file as a loop device: opened by us, read and written by a thread of the kernel's. */
static void note_loop(const struct fx *fx, const char *name, int flags)
{
	struct loop_config cfg = { .info.lo_flags = flags == O_RDONLY ? LO_FLAGS_READ_ONLY : 0 };
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), nr = ioctl(ctl, LOOP_CTL_GET_FREE), loop;
	int fd = open(fx_at(fx, name), flags | O_CLOEXEC);
	char dev[32];

	snprintf(dev, sizeof(dev), "/dev/loop%d", nr);
	loop = open(dev, flags | O_CLOEXEC);
	KTAP_REQUIRE(ctl >= 0 && nr >= 0 && loop >= 0, "%s", dev);
	fx_note_call("open", fd);
	cfg.fd = (__u32)fd;
	fx_note_call("LOOP_CONFIGURE", ioctl(loop, LOOP_CONFIGURE, &cfg));
	close(fd);
	fx_note("through the device: %d", fx_get_block(loop, 1) == fx_id(fx_in(name)));
	if (flags == O_RDONLY)
		note_open(fx, name, O_WRONLY); /* which the device holds */
	else
		fx_note_call("write", fx_put_block(loop, fx_id("loop"), 2) ? -1 : fsync(loop));
	fx_note("through the device: %#x %#x", fx_get_block(loop, 1), fx_get_block(loop, 2));
	fx_note_call("LOOP_CLR_FD", ioctl(loop, LOOP_CLR_FD, 0));
	close(loop);
	close(ctl);
}

static void lower_loop(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), SIZE, 0644);
	fx_lower(fx, fx_in("g"), SIZE, 0644);
}

static void steps_loop(struct fx *fx)
{
	note_loop(fx, "g", O_RDWR);
	fx_note_file(fx, "g");
	note_loop(fx, "f", O_RDONLY);
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "kernel");
}

/* Process accounting: the kernel opens the file for appending, on behalf of a system call that is no open. */
static void steps_acct(struct fx *fx)
{
	struct stat st;
	pid_t pid;

	if (fx_note_call("acct", acct(fx_at(fx, "f"))) < 0)
		return;
	pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	acct(NULL);
	KTAP_REQUIRE(stat(fx_at(fx, "f"), &st) == 0);
	fx_note("grown: %d", st.st_size > SIZE && st.st_size < SIZE + 4096);
	fx_note_call("truncate", truncate(fx_at(fx, "f"), SIZE));
	fx_note_file(fx, "f");
}

KTAP_TEST(left_to_the_kernel)
{
	static const struct fx_scene scenes[] = {
		{ .name = "truncated", .lower = lower_truncated, .steps = steps_truncated },
		{ .name = "only-read", .lower = lower_only_read, .steps = steps_only_read },
		{ .name = "denied", .steps = steps_denied },
		{ .name = "no-files", .lower = lower_no_files, .steps = steps_no_files },
		{ .name = "small", .lower = lower_small, .steps = steps_small },
		{ .name = NULL },
	};

	fx_twice(&(struct fx_twice){ .scenes = scenes });
}

KTAP_TEST(kernel_callers)
{
	static const struct fx_scene scenes[] = {
		{ .name = "loop", .lower = lower_loop, .steps = steps_loop },
		{ .name = "acct", .steps = steps_acct },
		{ .name = NULL },
	};

	fx_twice(&(struct fx_twice){ .scenes = scenes });
}

/* mount options */

static void lower_mix(struct fx *fx)
{
	static const char *const names[] = { "f", "chmod", "rename", "link", "unlink", "append", "sub/in", "moved/in" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fx_lower(fx, fx_in(names[i]), FX_KB(256), 0644);
}

static void steps_mix(struct fx *fx)
{
	note_open(fx, "f", O_WRONLY);
	fx_note_call("chmod", chmod(fx_at(fx, "chmod"), 0600));
	fx_note_upper(fx, "chmod");
	note_open(fx, "chmod", O_WRONLY); /* with metacopy the data come now */
	fx_note_call("rename", rename(fx_at(fx, "rename"), fx_at(fx, "renamed")));
	note_open(fx, "renamed", O_WRONLY);
	fx_note_call("link", link(fx_at(fx, "link"), fx_at(fx, "linked")));
	note_open(fx, "linked", O_WRONLY);
	fx_note_call("unlink", unlink(fx_at(fx, "unlink")));
	note_open(fx, "append", O_WRONLY | O_APPEND);
	note_open(fx, "sub/in", O_RDWR);
	/* Without redirect_dir it is EXDEV, and the files stay. */
	fx_note_call("rename directory", rename(fx_at(fx, "moved"), fx_at(fx, "moved2")));
	note_open(fx, "moved/in", O_RDWR);
	note_open(fx, "moved2/in", O_RDWR);
	fx_note_call("setxattr", setxattr(fx_at(fx, "f"), "user.fx", "x", 1, 0));

	static const char *const names[] = { "f",      "chmod",  "renamed", "link",     "linked",
					     "unlink", "append", "sub/in",  "moved/in", "moved2/in" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fx_note_file(fx, names[i]);
	fx_note_file(fx, "");
	if (fx_scene->arg)
		fx_scene_engine(fx, fx_scene->arg);
}

/* What a client of an NFS server keeps: nothing tells that it holds the file. */
static void steps_handle(struct fx *fx)
{
	struct {
		struct file_handle h;
		unsigned char room[MAX_HANDLE_SZ];
	} h = { .h.handle_bytes = MAX_HANDLE_SZ };
	int id, mnt = open(fx->merged, O_RDONLY | O_CLOEXEC), fd;

	fx_note_call("name_to_handle_at", name_to_handle_at(AT_FDCWD, fx_at(fx, "f"), &h.h, &id, 0));
	note_open(fx, "f", O_WRONLY);
	fd = open_by_handle_at(mnt, &h.h, O_RDWR | O_CLOEXEC);
	fx_note_call("open_by_handle_at", fd);
	fx_note("block 1: %#x", fx_get_block(fd, 1));
	fx_note_call("write", fx_put_block(fd, fx_id("handle"), 2) ? -1 : 0);
	close(fd);
	close(mnt);
	fx_note_file(fx, "f");
	fx_note_upper(fx, "f");
	fx_scene_engine(fx, fx_scene->arg);
}

static void mix(const char *mount_opts, const char *fs, const char *engine)
{
	const struct fx_scene scenes[] = { { .name = "mix", .lower = lower_mix, .steps = steps_mix, .arg = engine },
					   { .name = NULL } };

	fx_twice(&(struct fx_twice){ .opts.mount_opts = mount_opts, .opts.upper_fs = fs, .scenes = scenes });
}

KTAP_TEST(metacopy_is_the_kernels)
{
	mix("metacopy=on,redirect_dir=on", NULL, "kernel");
}

KTAP_TEST(volatile_mount)
{
	mix("volatile", "ext4", "kunion");
}

KTAP_TEST(index_and_redirect_dir)
{
	mix("index=on,redirect_dir=on", "ext4", "kunion");
}

/* A copy that the kernel makes keeps the file's handle, by its index; kunion's cannot. */
KTAP_TEST(nfs_export_is_the_kernels)
{
	static const struct fx_scene scenes[] = { { .name = "handle", .steps = steps_handle, .arg = "kernel" },
						  { .name = "mix", .lower = lower_mix, .steps = steps_mix, .arg = "kernel" },
						  { .name = NULL } };

	fx_twice(&(struct fx_twice){ .opts.mount_opts = "index=on,nfs_export=on", .opts.upper_fs = "ext4", .scenes = scenes });
}

KTAP_TEST(userxattr_and_xino)
{
	mix("userxattr,xino=on", "ext4", "kunion");
}

KTAP_MAIN()
