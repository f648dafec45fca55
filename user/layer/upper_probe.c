// SPDX-License-Identifier: GPL-2.0-only
/* What overlayfs needs of an upper file system, tried one by one (fs/overlayfs/super.c, ovl_make_workdir(), asks for the same). */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "upper.h"
#include "util.h"

static bool ku_has_xattrs(int dir)
{
	return fsetxattr(dir, "trusted.overlay.kunion", "y", 1, 0) == 0;
}

static bool ku_has_tmpfile(int dir)
{
	_cleanup_close_ int fd = openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	return fd >= 0;
}

static bool ku_has_d_type(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	bool has = d;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while ((e = readdir(d)))
		if (e->d_type == DT_UNKNOWN)
			has = false;
	closedir(d);
	return has;
}

static bool ku_has_whiteout(int dir)
{
	struct stat st;

	return renameat2(dir, "a", dir, "b", RENAME_WHITEOUT) == 0 && fstatat(dir, "a", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

static int ku_probe_in(const struct ku_upper *u, int dir, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int a = openat(dir, "a", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool xattrs, d_type, whiteout, tmpfile;

	if (a < 0)
		return ku_layer_err(err, -errno, "%s: cannot be written to: %s", u->work_path, strerror(errno));
	xattrs = ku_has_xattrs(dir);
	d_type = ku_has_d_type(dir);
	whiteout = ku_has_whiteout(dir);
	tmpfile = ku_has_tmpfile(dir);
	if (xattrs && d_type && whiteout && tmpfile)
		return 0;
	ku_layer_err(err, 0, "%s: %s cannot carry an overlay, it lacks%s%s%s%s; use ext4, xfs, btrfs or tmpfs", u->upper_path, u->fstype,
		     xattrs ? "" : " trusted.* xattrs,", d_type ? "" : " d_type,", whiteout ? "" : " RENAME_WHITEOUT,",
		     tmpfile ? "" : " O_TMPFILE,");
	/* The last one needs no comma. */
	memmove(strstr(err, ",; use"), strstr(err, ",; use") + 1, strlen(strstr(err, ",; use")));
	return -EOPNOTSUPP;
}

int ku_upper_probe(const struct ku_upper *u, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int dir = -1;
	char name[48];
	int r;

	snprintf(name, sizeof(name), ".kunion-probe-%d", (int)getpid());
	if (mkdirat(u->work, name, 0700) < 0)
		return errno == EROFS ? ku_layer_err(err, -errno, "%s: on a read-only mount; an upper layer must be writable", u->upper_path) :
					ku_layer_err(err, -errno, "%s: cannot be written to: %s", u->work_path, strerror(errno));
	dir = openat(u->work, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = dir < 0 ? ku_layer_err(err, -errno, "%s: %s", u->work_path, strerror(errno)) : ku_probe_in(u, dir, err);
	if (dir >= 0) {
		unlinkat(dir, "a", 0);
		unlinkat(dir, "b", 0);
	}
	unlinkat(u->work, name, AT_REMOVEDIR);
	return r;
}
