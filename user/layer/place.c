// SPDX-License-Identifier: GPL-2.0-only
#include "place.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "sys.h"
#include "union.h"
#include "util.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

int ku_place_mount_id(int fd, uint64_t *ret)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
		return -errno;
	*ret = st.stx_mnt_id;
	return 0;
}

/* In the other process's root no link leads out of it. */
static int ku_place_path(const struct ku_place *p, const char *path)
{
	if (p->root >= 0)
		return ku_openat2(p->root, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	return ku_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0);
}

int ku_place_again(const struct ku_place *p)
{
	return ku_place_path(p, p->target);
}

int ku_place_parent(const struct ku_place *p, char **ret_name)
{
	_cleanup_close_ int dir = -1;
	char *path = strdup(p->target), *slash;
	size_t n = path ? strlen(path) : 0;

	if (!path)
		return -ENOMEM;
	while (n > 1 && path[n - 1] == '/')
		path[--n] = '\0';
	slash = strrchr(path, '/');
	*ret_name = strdup(slash ? slash + 1 : path);
	if (slash)
		slash[slash == path] = '\0';
	dir = *ret_name ? ku_place_path(p, slash ? path : ".") : -ENOMEM;
	free(path);
	return dir < 0 ? dir : ku_take_fd(&dir);
}

/* Of the mount itself: its file system may be read-only besides. */
static uint64_t ku_place_attr(const char *options)
{
	static const struct {
		const char *name;
		uint64_t attr;
	} names[] = {
		{ "ro", MOUNT_ATTR_RDONLY },	   { "nosuid", MOUNT_ATTR_NOSUID },	    { "nodev", MOUNT_ATTR_NODEV },
		{ "noexec", MOUNT_ATTR_NOEXEC },   { "noatime", MOUNT_ATTR_NOATIME },	    { "nodiratime", MOUNT_ATTR_NODIRATIME },
		{ "relatime", MOUNT_ATTR_RELATIME }, { "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW },
	};
	uint64_t attr = 0;
	bool atime = false;

	for (size_t i = 0; i < KU_ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *value = ku_mount_option(options, names[i].name);

		attr |= value ? names[i].attr : 0;
		atime = atime || (value && (!strcmp(names[i].name, "noatime") || !strcmp(names[i].name, "relatime")));
	}
	return atime ? attr : attr | MOUNT_ATTR_STRICTATIME;
}

static int ku_place_look(struct ku_place *p, char err[static KU_LAYER_ERR])
{
	int fd = openat(p->proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	_cleanup_free_ char *line = NULL;
	bool found = false;
	size_t size = 0;

	if (!f) {
		if (fd >= 0)
			close(fd);
		return ku_layer_err(err, -errno, "/proc/self/mountinfo: %s", strerror(errno));
	}
	while (getline(&line, &size, f) >= 0) {
		struct ku_mountinfo m;

		if (ku_mountinfo_parse(line, &m))
			continue;
		if (m.parent == p->id && m.id != p->id && !p->child)
			p->child = strdup(m.mountpoint);
		if (m.id != p->id)
			continue;
		found = true;
		p->attr = ku_place_attr(m.options);
		p->shared = strstr(m.optional, "shared:");
		p->unbindable = strstr(m.optional, "unbindable");
		p->overlay = !strcmp(m.fstype, "overlay");
		p->ours = p->overlay && !strcmp(m.source, KU_UNION_SOURCE);
	}
	return found ? 0 : ku_layer_err(err, -ENOENT, "%s: its mount is not in /proc/self/mountinfo; run in its mount namespace and root", p->target);
}

static int ku_place_enter(struct ku_place *p, pid_t pid, char err[static KU_LAYER_ERR])
{
	char name[32];

	p->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->home = p->proc < 0 ? -1 : openat(p->proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (p->home < 0)
		return ku_layer_err(err, -errno, "/proc/self/ns/mnt: %s", strerror(errno));
	if (!pid)
		return 0;
	p->base = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->cwd = p->base < 0 ? -1 : open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->cwd < 0)
		return ku_layer_err(err, -errno, "the root or working directory: %s", strerror(errno));
	if (p->target[0] != '/')
		return ku_layer_err(err, -EINVAL, "%s: with --pid TARGET must begin with '/'", p->target);
	snprintf(name, sizeof(name), "%d/root", (int)pid);
	p->root = openat(p->proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(name, sizeof(name), "%d/ns/mnt", (int)pid);
	p->away = p->root < 0 ? -1 : openat(p->proc, name, O_RDONLY | O_CLOEXEC);
	if (p->away < 0)
		return errno == ENOENT ? ku_layer_err(err, -ESRCH, "--pid %d: no such process", (int)pid) :
					 ku_layer_err(err, -errno, "--pid %d: %s", (int)pid, strerror(errno));
	return ku_place_away(p) ? ku_layer_err(err, -errno, "--pid %d: its mount namespace cannot be entered: %s", (int)pid, strerror(errno)) : 0;
}

int ku_place_open(const char *target, pid_t pid, struct ku_place *ret, char err[static KU_LAYER_ERR])
{
	struct ku_place *p = ret;
	struct statx st;
	int r;

	*p = (struct ku_place){ .target = target, .home = -1, .away = -1, .base = -1, .cwd = -1, .root = -1, .proc = -1, .mount = -1 };
	r = ku_place_enter(p, pid, err);
	if (r)
		return r;
	p->mount = ku_place_again(p);
	if (p->mount < 0)
		return ku_layer_err(err, p->mount, "%s: %s", target,
				    p->mount == -ENOENT	 ? "no such directory" :
				    p->mount == -ENOTDIR ? "not a directory" :
							   strerror(-p->mount));
	if (statx(p->mount, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MNT_ID, &st) < 0)
		return ku_layer_err(err, -errno, "%s: %s", target, strerror(errno));
	if (!(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return ku_layer_err(err, -EINVAL, "%s: nothing is mounted there; 'mount --bind %s %s' makes a mount of it", target, target, target);
	p->id = st.stx_mnt_id;
	return ku_place_look(p, err);
}

void ku_place_close(struct ku_place *p)
{
	ku_closep(&p->home);
	ku_closep(&p->away);
	ku_closep(&p->base);
	ku_closep(&p->cwd);
	ku_closep(&p->root);
	ku_closep(&p->proc);
	ku_closep(&p->mount);
	free(p->child);
	p->child = NULL;
}

int ku_place_home(const struct ku_place *p)
{
	if (setns(p->home, CLONE_NEWNS) < 0)
		return -errno;
	return p->base >= 0 && (fchdir(p->base) || chroot(".") || fchdir(p->cwd)) ? -errno : 0;
}

int ku_place_away(const struct ku_place *p)
{
	return p->away >= 0 && setns(p->away, CLONE_NEWNS) < 0 ? -errno : 0;
}
