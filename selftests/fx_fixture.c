// SPDX-License-Identifier: GPL-2.0-only
/* Layers and mounts. */
#define FX_PART
#include "fx_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

const char *fx_left_out;
const char *fx_here_file = "?";
int fx_here_line;

static void fx_mkdir(const char *path)
{
	FX_REQUIRE(mkdir(path, 0755) == 0 || errno == EEXIST, "mkdir %s", path);
}

void fx_sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	r = system(cmd);
	FX_REQUIRE(r == 0, "%s: status %#x", cmd, r);
}

bool fx_kernel_since(unsigned int major, unsigned int minor)
{
	unsigned int a = 0, b = 0;
	struct utsname u;

	uname(&u);
	sscanf(u.release, "%u.%u", &a, &b);
	return a > major || (a == major && b >= minor);
}

/* A loop device for an image file; it goes with its mount. */
static void fx_loop(const char *image, char dev[static 32])
{
	struct loop_config cfg = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = -1;
	int file = open(image, O_RDWR | O_CLOEXEC);

	FX_REQUIRE(ctl >= 0 && file >= 0, "loop-control %d, %s %d", ctl, image, file);
	cfg.fd = (__u32)file;
	for (int i = 0; i < 8; i++) {
		int nr = ioctl(ctl, LOOP_CTL_GET_FREE);

		FX_REQUIRE(nr >= 0, "no free loop device");
		snprintf(dev, 32, "/dev/loop%d", nr);
		fd = open(dev, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &cfg) == 0)
			break;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	FX_REQUIRE(fd >= 0, "%s: no loop device takes it", image);
	close(file);
	close(ctl);
	/* Stays open until the exec or the end of the test: autoclear waits for the mount's reference then. */
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Mounts a new file system of this kind on dir. */
static void fx_new_fs(const char *fs, const char *dir, off_t size, const char *mkfs_args)
{
	char image[FX_PATH_MAX + 8], dev[32], opts[64];
	const char *force = !strcmp(fs, "ext4") ? "-q -F" : !strcmp(fs, "xfs") ? "-q -f" : "-q -f";
	int fd;

	fx_mkdir(dir);
	if (!strcmp(fs, "tmpfs")) {
		snprintf(opts, sizeof(opts), "mode=755,size=%lld", (long long)(size ? size : FX_MB(1024)));
		FX_REQUIRE(mount("tmpfs", dir, "tmpfs", 0, opts) == 0, "tmpfs on %s", dir);
		return;
	}
	snprintf(image, sizeof(image), "%s.img", dir);
	fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FX_REQUIRE(fd >= 0 && ftruncate(fd, size ? size : FX_MB(512)) == 0, "%s", image);
	close(fd);
	fx_sh("mkfs.%s %s %s %s >/dev/null 2>&1", fs, force, mkfs_args ? mkfs_args : "", image);
	fx_loop(image, dev);
	if (mount(dev, dir, fs, 0, NULL) == 0)
		return;
	fx_sh("modprobe -q %s || true", fs);
	FX_REQUIRE(mount(dev, dir, fs, 0, NULL) == 0, "%s on %s", fs, dir);
}

void fx_init(struct fx *fx, const struct fx_opts *opts)
{
	const char *upper_fs, *lower_fs;
	static const char *const own[] = { "run", "state", "stop" };
	char path[FX_PATH_MAX];

	memset(fx, 0, sizeof(*fx));
	if (opts)
		fx->opts = *opts;
	if (geteuid())
		fx_skip("needs root");
	upper_fs = fx->opts.upper_fs ? fx->opts.upper_fs : "tmpfs";
	lower_fs = fx->opts.lower_fs;
	FX_REQUIRE(unshare(CLONE_NEWNS) == 0, "unshare");
	FX_REQUIRE(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "MS_PRIVATE");
	umask(022);
	fx_new_fs("tmpfs", FX_DIR, FX_MB(2048), NULL);
	for (unsigned int i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		snprintf(path, sizeof(path), FX_DIR "/%s", own[i]);
		fx_mkdir(path);
	}
	snprintf(fx->stop, FX_PATH_MAX, FX_DIR "/stop");
	snprintf(fx->events, FX_PATH_MAX, FX_DIR "/events");
	snprintf(fx->log, FX_PATH_MAX, FX_DIR "/log");
	snprintf(fx->merged, FX_PATH_MAX, FX_DIR "/merged");
	snprintf(fx->upper_base, FX_PATH_MAX, FX_DIR "/u");
	snprintf(fx->lower_base, FX_PATH_MAX, FX_DIR "/%s", lower_fs ? "l" : "u");
	fx_new_fs(upper_fs, fx->upper_base, fx->opts.upper_size, fx->opts.mkfs_args);
	if (lower_fs)
		fx_new_fs(lower_fs, fx->lower_base, 0, NULL);
	snprintf(fx->lower, FX_PATH_MAX, FX_DIR "/%s/lower", lower_fs ? "l" : "u");
	snprintf(fx->upper, FX_PATH_MAX, FX_DIR "/u/upper");
	snprintf(fx->work, FX_PATH_MAX, FX_DIR "/u/work");
	fx_mkdir(fx->lower);
	fx_mkdir(fx->upper);
	fx_mkdir(fx->work);
	fx_mkdir(fx->merged);
	setenv("KUNION_RUN_DIR", FX_DIR "/run", 1);
	setenv("KUNION_STATE_DIR", FX_DIR "/state", 1);
	setenv("KUNION_STOP_DIR", FX_DIR "/stop", 1);
	if (fx_left_out)
		fx_without(fx, fx_left_out);
}

const char *fx_name(const char *fmt, ...)
{
	char *name = NULL;
	va_list ap;

	va_start(ap, fmt);
	FX_REQUIRE(vasprintf(&name, fmt, ap) >= 0, "memory");
	va_end(ap);
	return name;
}

const char *fx_path(const struct fx *fx, const char *name)
{
	return fx_name("%s/%s", fx->merged, name);
}

const char *fx_upath(const struct fx *fx, const char *name)
{
	return fx_name("%s/%s", fx->upper, name);
}

const char *fx_lpath(const struct fx *fx, const char *name)
{
	return fx_name("%s/%s", fx->lower, name);
}

void fx_lower_as(struct fx *fx, const char *name, uint32_t id, off_t size, mode_t mode)
{
	/* A time of its own: a copy that does not keep it shows. */
	const struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1234567890, .tv_nsec = 123456789 } };
	char path[FX_PATH_MAX * 2];
	char *slash;
	int fd;

	FX_REQUIRE(!fx->mounted, "lower files first, then the mount");
	snprintf(path, sizeof(path), "%s/%s", fx->lower, name);
	for (slash = path + strlen(fx->lower) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		fx_mkdir(path);
		*slash = '/';
	}
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FX_REQUIRE(fd >= 0, "%s", path);
	for (off_t at = 0; at < size; at += FX_BLOCK)
		FX_REQUIRE(fx_put_block(fd, id, (uint64_t)(at / FX_BLOCK)) == 0, "%s", path);
	FX_REQUIRE(fchmod(fd, mode) == 0 && futimens(fd, old) == 0, "%s", path);
	close(fd);
}

void fx_lower(struct fx *fx, const char *name, off_t size, mode_t mode)
{
	fx_lower_as(fx, name, fx_id(name), size, mode);
}

void fx_mount(struct fx *fx)
{
	char opts[FX_PATH_MAX * 4];

	fx->lower_sum = fx_tree_sum(fx->lower);
	snprintf(opts, sizeof(opts), "lowerdir=%s,upperdir=%s,workdir=%s%s%s", fx->lower, fx->upper, fx->work,
		 fx->opts.mount_opts ? "," : "", fx->opts.mount_opts ? fx->opts.mount_opts : "");
	FX_REQUIRE(mount("overlay", fx->merged, "overlay", 0, opts) == 0, "overlay: %s", opts);
	fx->mounted = true;
}

void fx_umount(struct fx *fx)
{
	FX_REQUIRE(umount2(fx->merged, 0) == 0, "unmounting the union: somebody holds it");
	fx->mounted = false;
}

void fx_end(struct fx *fx)
{
	if (fx->kunion)
		fx_detach(fx);
	fx_lower_unchanged(fx);
	fx_no_temps(fx);
	if (fx->mounted)
		fx_umount(fx);
	umount2(fx->lower_base, MNT_DETACH);
	umount2(fx->upper_base, MNT_DETACH);
	umount2(FX_DIR, MNT_DETACH);
}
