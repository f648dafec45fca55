// SPDX-License-Identifier: GPL-2.0-only
#include "upper.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "sys.h"
#include "union.h"
#include "util.h"

int ku_layer_err(char err[static KU_LAYER_ERR], int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, KU_LAYER_ERR, fmt, ap);
	va_end(ap);
	return r;
}

char *ku_fd_path(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return NULL;
	path[n] = '\0';
	return strdup(path);
}

static int ku_upper_dir(const char *path, mode_t mode, bool must_exist, int *ret_fd, char **ret_path, bool *ret_made, char err[static KU_LAYER_ERR])
{
	int fd;

	if (!must_exist && mkdir(path, mode) == 0)
		*ret_made = true;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int r = -errno;

		if (r == -ENOTDIR)
			return ku_layer_err(err, r, "%s: not a directory", path);
		return ku_layer_err(err, r, "%s: %s", path, r == -ENOENT ? "no such directory" : strerror(-r));
	}
	*ret_fd = fd;
	*ret_path = ku_fd_path(fd);
	return *ret_path ? 0 : ku_layer_err(err, -errno, "%s: %s", path, strerror(errno));
}

static bool ku_is_within(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n] || !strcmp(dir, "/"));
}

static int ku_mount_id(int fd, uint64_t *ret)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
		return -errno;
	*ret = st.stx_mnt_id;
	return 0;
}

static int ku_upper_check(struct ku_upper *u, char err[static KU_LAYER_ERR])
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	uint64_t upper = 0, work = 0;
	size_t size = 0;
	int r;

	r = ku_mount_id(u->upper, &upper);
	if (!r)
		r = ku_mount_id(u->work, &work);
	if (r)
		return ku_layer_err(err, r, "%s: cannot be looked at: %s", u->upper_path, strerror(-r));
	if (ku_is_within(u->work_path, u->upper_path) || ku_is_within(u->upper_path, u->work_path))
		return ku_layer_err(err, -EINVAL, "%s: lies with %s in one another; give a directory beside it with --work", u->work_path,
				    u->upper_path);
	if (upper != work)
		return ku_layer_err(err, -EXDEV, "%s: not on the same mount as %s; give a directory beside it with --work", u->work_path,
				    u->upper_path);
	if (flock(u->upper, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? ku_layer_err(err, -EBUSY, "%s: another kunion is using it; wait for that one", u->upper_path) :
					      ku_layer_err(err, -errno, "%s: cannot be locked: %s", u->upper_path, strerror(errno));
	f = fopen("/proc/self/mountinfo", "re");
	while (f && !u->fstype && getline(&line, &size, f) >= 0) {
		struct ku_mountinfo mi;

		if (!ku_mountinfo_parse(line, &mi) && mi.id == upper)
			u->fstype = strdup(mi.fstype);
	}
	if (!u->fstype)
		u->fstype = strdup("its file system");
	return u->fstype ? 0 : ku_layer_err(err, -ENOMEM, "%s: out of memory", u->upper_path);
}

int ku_upper_open(const char *upper, const char *work, bool must_exist, struct ku_upper *ret, char err[static KU_LAYER_ERR])
{
	struct ku_upper u = { .upper = -1, .work = -1 };
	_cleanup_free_ char *beside = NULL;
	int r;

	r = ku_upper_dir(upper, 0755, must_exist, &u.upper, &u.upper_path, &u.upper_made, err);
	if (!r && !work) {
		if (asprintf(&beside, "%s.work", u.upper_path) < 0) {
			beside = NULL;
			r = ku_layer_err(err, -ENOMEM, "%s: out of memory", upper);
		}
		work = beside;
	}
	if (!r)
		r = ku_upper_dir(work, 0700, must_exist, &u.work, &u.work_path, &u.work_made, err);
	if (!r)
		r = ku_upper_check(&u, err);
	if (r)
		ku_upper_close(&u, true);
	else
		*ret = u;
	return r;
}

void ku_upper_close(struct ku_upper *u, bool undo)
{
	/* Overlayfs made one in it. */
	if (undo && u->work_made && u->work >= 0)
		unlinkat(u->work, "work", AT_REMOVEDIR);
	if (undo && u->work_made && u->work_path)
		rmdir(u->work_path);
	if (undo && u->upper_made && u->upper_path)
		rmdir(u->upper_path);
	ku_closep(&u->upper);
	ku_closep(&u->work);
	free(u->upper_path);
	free(u->work_path);
	free(u->fstype);
	*u = (struct ku_upper){ .upper = -1, .work = -1 };
}

static bool ku_is_same_dir(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int ku_again(int *fd, const char *path)
{
	_cleanup_close_ int now = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (now < 0)
		return -errno;
	if (!ku_is_same_dir(now, *fd))
		return -ESTALE;
	ku_closep(fd);
	*fd = ku_take_fd(&now);
	return 0;
}

int ku_upper_again(struct ku_upper *u)
{
	int r = ku_again(&u->upper, u->upper_path);

	return r ? r : ku_again(&u->work, u->work_path);
}

static int ku_is_in(int fd, int dir)
{
	_cleanup_close_ int at = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	while (at >= 0) {
		int up;

		if (ku_is_same_dir(at, dir))
			return 1;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up >= 0 && ku_is_same_dir(up, at)) {
			close(up);
			return 0;
		}
		ku_closep(&at);
		at = up;
	}
	return -errno;
}

int ku_upper_is_in(const struct ku_upper *u, int dir)
{
	int r = ku_is_in(u->upper, dir);

	return r ? r : ku_is_in(u->work, dir);
}

/*
 * The kernel knows: asked for an overlay with index=on it refuses an upper directory in use, EBUSY, before it sees that the work directory is the
 * upper one, EINVAL (fs/overlayfs/super.c, ovl_get_upper() and ovl_get_workdir()). So nothing is ever mounted.
 */
static int ku_upper_ask(const struct ku_upper *u)
{
	static const char *const dirs[] = { "lowerdir", "upperdir", "workdir" };
	_cleanup_close_ int fs = ku_fsopen("overlay", FSOPEN_CLOEXEC);
	int r = fs < 0 ? fs : ku_fsconfig(fs, FSCONFIG_SET_STRING, "index", "on", 0);

	for (size_t i = 0; i < KU_ARRAY_SIZE(dirs) && !r; i++) {
		char name[64];

		snprintf(name, sizeof(name), "/proc/self/fd/%d", i ? u->upper : u->work);
		r = ku_fsconfig(fs, FSCONFIG_SET_STRING, dirs[i], name, 0);
	}
	return r ? r : ku_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* Where it is mounted, in the mount namespace of a process; allocated. */
static char *ku_used_on(const struct ku_upper *u, const char *mountinfo)
{
	_cleanup_fclose_ FILE *f = fopen(mountinfo, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) >= 0) {
		_cleanup_free_ char *dir = NULL;
		struct ku_mountinfo mi;

		if (ku_mountinfo_parse(line, &mi) || strcmp(mi.fstype, "overlay"))
			continue;
		dir = ku_mount_option(mi.super_options, "upperdir");
		if (dir && !strcmp(dir, u->upper_path))
			return strdup(mi.mountpoint);
	}
	return NULL;
}

int ku_upper_unused(const struct ku_upper *u, char err[static KU_LAYER_ERR])
{
	int r = ku_upper_ask(u);
	_cleanup_free_ char *on = NULL;

	if (r == -EINVAL || r == -ENODEV) /* no overlayfs, no overlay */
		return 0;
	if (r != -EBUSY)
		return ku_layer_err(err, r ? r : -EIO, "%s: the kernel does not tell whether it is in use: %s", u->upper_path, strerror(-r));
	on = ku_used_on(u, "/proc/self/mountinfo");
	return ku_layer_err(err, r, "%s: in use by the overlay %s%s; take that off first", u->upper_path, on ? "on " : "in another mount namespace",
			    on ? on : "");
}
