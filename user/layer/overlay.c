// SPDX-License-Identifier: GPL-2.0-only
#include "overlay.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "stop.h"
#include "sys.h"
#include "union.h"
#include "util.h"

#define KU_NONCE_XATTR "trusted.kunion.attach" /* for a moment on the upper directory */

/* What the kernel itself says about a refused option or mount: the last message of a file system's context. */
static void ku_overlay_why(int fs, char *ret, size_t size)
{
	ssize_t n;

	ret[0] = '\0';
	for (;;) {
		char line[256];

		n = read(fs, line, sizeof(line) - 1);
		if (n <= 0)
			return;
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		/* "e overlay: .." */
		snprintf(ret, size, "%s", line[0] && line[1] == ' ' ? line + 2 : line);
	}
}

static int ku_overlay_err(int fs, const struct ku_upper *u, int r, char err[static KU_LAYER_ERR])
{
	char why[256];

	ku_overlay_why(fs, why, sizeof(why));
	if (r == -ELOOP)
		return ku_layer_err(err, r, "%s: TARGET is in it or its work directory; use directories elsewhere",
				    u->upper_path);
	if (r == -ENODEV)
		return ku_layer_err(err, r, "this kernel has no overlayfs; load the module overlay");
	if (r == -ESTALE)
		return ku_layer_err(err, r, "%s: was the upper layer of another directory; give an empty one", u->upper_path);
	return ku_layer_err(err, r, "%s: the overlay cannot be mounted: %s%s%s", u->upper_path, strerror(-r), *why ? "; " : "", why);
}

static int ku_overlay_by_fd(int fs, const struct ku_upper *u, int lower)
{
	int r;

	if (ku_stop_without("overlay-fd"))
		return -EINVAL;
	r = ku_fsconfig(fs, FSCONFIG_SET_FD, "lowerdir+", NULL, lower);
	if (!r)
		r = ku_fsconfig(fs, FSCONFIG_SET_FD, "upperdir", NULL, u->upper);
	if (!r)
		r = ku_fsconfig(fs, FSCONFIG_SET_FD, "workdir", NULL, u->work);
	return r;
}

/* The upper directory by its own name, which is what others are shown. */
static int ku_overlay_by_name(int fs, const struct ku_upper *u, int lower)
{
	char name[64];
	int r;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", lower);
	r = ku_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", name, 0);
	if (!r)
		r = ku_fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", u->upper_path, 0);
	if (!r)
		r = ku_fsconfig(fs, FSCONFIG_SET_STRING, "workdir", u->work_path, 0);
	return r;
}

static int ku_overlay_options(int fs)
{
	static const char *const options[][2] = { { "source", KU_UNION_SOURCE }, { "redirect_dir", "on" }, { "metacopy", "off" }, { "index", "off" } };
	int r = 0;

	for (size_t i = 0; i < KU_ARRAY_SIZE(options) && !r; i++)
		r = ku_fsconfig(fs, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0);
	return r;
}

/* Names may lead elsewhere by the time that the kernel follows them. The root of the overlay shows its upper directory's xattrs. */
static int ku_overlay_is_ours(const struct ku_upper *u, int mnt, const char nonce[static 16])
{
	_cleanup_close_ int root = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat a, b;
	char have[16];

	if (root < 0)
		return -errno;
	if (fgetxattr(root, KU_NONCE_XATTR, have, sizeof(have)) != sizeof(have) || memcmp(have, nonce, sizeof(have)))
		return -ESTALE;
	if (stat(u->work_path, &a) < 0 || fstat(u->work, &b) < 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return -ESTALE;
	return 0;
}

static int ku_overlay_mount(int fs, const struct ku_upper *u, bool by_name, uint64_t attr, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int mnt = -1;
	char nonce[16];
	int r = ku_overlay_options(fs);

	if (!r && by_name && (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce) || fsetxattr(u->upper, KU_NONCE_XATTR, nonce, sizeof(nonce), 0) < 0))
		return ku_layer_err(err, -errno, "%s: %s", u->upper_path, strerror(errno));
	if (!r)
		r = ku_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (!r)
		mnt = ku_fsmount(fs, FSMOUNT_CLOEXEC, (unsigned int)attr);
	if (r || mnt < 0)
		r = ku_overlay_err(fs, u, r ? r : mnt, err);
	else if (by_name && ku_overlay_is_ours(u, mnt, nonce))
		r = ku_layer_err(err, -ESTALE, "%s: it or %s was renamed meanwhile; try again", u->upper_path, u->work_path);
	if (by_name)
		fremovexattr(u->upper, KU_NONCE_XATTR);
	return r ? r : ku_take_fd(&mnt);
}

int ku_overlay_make(const struct ku_upper *u, int lower, uint64_t attr, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int fs = ku_fsopen("overlay", FSOPEN_CLOEXEC);
	bool by_name = false;

	if (fs >= 0 && ku_overlay_by_fd(fs, u, lower)) {
		by_name = true;
		/* A context that refused an option may be of no more use. */
		ku_closep(&fs);
		fs = ku_fsopen("overlay", FSOPEN_CLOEXEC);
		if (u->upper_path[strcspn(u->upper_path, ",:\\")] || u->work_path[strcspn(u->work_path, ",:\\")])
			return ku_layer_err(err, -EINVAL, "%s: this kernel's overlayfs takes no ',', ':' or '\\' in names; use another directory",
					    u->upper_path);
		if (fs >= 0) {
			int r = ku_overlay_by_name(fs, u, lower);

			if (r)
				return ku_overlay_err(fs, u, r, err);
		}
	}
	if (fs < 0)
		return ku_overlay_err(-1, u, fs, err);
	return ku_overlay_mount(fs, u, by_name, attr, err);
}
