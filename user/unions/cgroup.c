// SPDX-License-Identifier: GPL-2.0-only
#include "cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "union.h"
#include "util.h"

#define KU_CGROUPS 64
#define KU_FILEID_KERNFS 0xfe /* enum fid_type, <linux/exportfs.h>: the handle is the cgroup's id */

struct ku_cgroup {
	uint64_t id;
	char *path;
};

static struct ku_cgroup ku_cgroups[KU_CGROUPS];
static unsigned int ku_cgroup_next; /* the oldest, the first to go */
static int ku_cgroup_mount = -1;
static char ku_cgroup_mountpoint[PATH_MAX];

static int ku_cgroup_try_mount(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs st;

	if (fd < 0)
		return -errno;
	if (fstatfs(fd, &st) < 0 || st.f_type != CGROUP2_SUPER_MAGIC)
		return -ENOENT;
	snprintf(ku_cgroup_mountpoint, sizeof(ku_cgroup_mountpoint), "%s", path);
	ku_cgroup_mount = ku_take_fd(&fd);
	return 0;
}

/* The usual places, then wherever one is mounted. */
static int ku_cgroup_find_mount(void)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	struct ku_mountinfo m;
	size_t size = 0;
	int r;

	if (!ku_cgroup_try_mount("/sys/fs/cgroup") || !ku_cgroup_try_mount("/sys/fs/cgroup/unified"))
		return 0;
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return -errno;
	r = -ENOENT;
	while (r && getline(&line, &size, f) >= 0)
		if (!ku_mountinfo_parse(line, &m) && !strcmp(m.fstype, "cgroup2"))
			r = ku_cgroup_try_mount(m.mountpoint);
	return r;
}

static char *ku_cgroup_look_up(uint64_t id)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} u = { .h = { .handle_bytes = sizeof(id), .handle_type = KU_FILEID_KERNFS } };
	static const char deleted[] = " (deleted)";
	char proc[32], path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	size_t top, len;
	ssize_t n;

	if (!id || (ku_cgroup_mount < 0 && ku_cgroup_find_mount() < 0))
		return strdup("");
	memcpy(u.h.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(ku_cgroup_mount, &u.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return strdup("");
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	n = readlink(proc, path, sizeof(path) - 1);
	if (n < 0)
		return strdup("");
	path[n] = '\0';

	len = (size_t)n;
	if (len >= strlen(deleted) && !strcmp(path + len - strlen(deleted), deleted))
		path[len - strlen(deleted)] = '\0';
	top = strlen(ku_cgroup_mountpoint);
	if (strncmp(path, ku_cgroup_mountpoint, top))
		return strdup("");
	return strdup(path[top] ? path + top : "/");
}

const char *ku_cgroup_path(uint64_t id)
{
	struct ku_cgroup *c;
	char *path;

	for (size_t i = 0; i < KU_CGROUPS; i++)
		if (ku_cgroups[i].path && ku_cgroups[i].id == id)
			return ku_cgroups[i].path;

	path = ku_cgroup_look_up(id);
	if (!path)
		return "";
	c = &ku_cgroups[ku_cgroup_next++ % KU_CGROUPS];
	free(c->path);
	c->id = id;
	c->path = path;
	return path;
}
