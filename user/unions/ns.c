// SPDX-License-Identifier: GPL-2.0-only
/*
 * A walk that begins at /proc/PID/root meets the mounts of that process's namespace: to open a file there, nobody has to enter it (setns(2) would give
 * the thread a root and working directory of the container's). RESOLVE_CACHED keeps the walk from waiting for a file system that the container
 * serves itself; the directories above a mount are always in memory.
 */
#include "ns.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "sys.h"
#include "union.h"
#include "util.h"

/* Somebody's rename or mount anywhere makes the walk begin anew, which RESOLVE_CACHED gives up. */
#define KU_NS_TRIES 50
#define KU_NS_PAUSE_US 200

static bool ku_ns_same(const struct ku_ns *a, const struct ku_ns *b)
{
	return a->ino == b->ino && a->dev == b->dev;
}

int ku_ns_of(uint32_t pid, struct ku_ns *ret)
{
	char path[48];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%u/ns/mnt", pid);
	if (stat(path, &st))
		return errno == ENOENT ? -ESRCH : -errno;
	*ret = (struct ku_ns){ .dev = st.st_dev, .ino = st.st_ino, .pid = pid };
	return 0;
}

void ku_ns_container(uint32_t pid, char id[static KU_CONTAINER_MAX])
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	char path[48];

	id[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
	f = fopen(path, "re");
	/* "0::/path"; before it those of version 1, "4:memory:/path" */
	while (f && !*id && getline(&line, &size, f) >= 0) {
		const char *c = strchr(line, ':');

		c = c ? strchr(c + 1, ':') : NULL;
		line[strcspn(line, "\n")] = '\0';
		if (c)
			ku_container_of(c + 1, id);
	}
}

struct ku_ns_walk {
	struct ku_ns own;
	struct ku_ns_seen *seen;
	size_t n, room;
};

static int ku_ns_add(struct ku_ns_walk *w, uint32_t pid)
{
	struct ku_ns_seen *s;
	struct ku_ns ns;
	size_t i = 0;

	if (ku_ns_of(pid, &ns) || ku_ns_same(&ns, &w->own))
		return 0;
	while (i < w->n && !ku_ns_same(&w->seen[i].ns, &ns))
		i++;
	if (i == w->n) {
		if (w->n == w->room) {
			size_t room = w->room ? 2 * w->room : 64;

			s = reallocarray(w->seen, room, sizeof(*s));
			if (!s)
				return -ENOMEM;
			w->seen = s;
			w->room = room;
		}
		w->seen[w->n++] = (struct ku_ns_seen){ .ns = ns };
	}
	s = &w->seen[i];
	if (!s->container[0])
		ku_ns_container(pid, s->container);
	return 0;
}

int ku_ns_list(struct ku_ns_seen **ret, size_t *ret_n)
{
	struct ku_ns_walk w = { 0 };
	struct dirent *e;
	DIR *proc;
	int r;

	r = ku_ns_of((uint32_t)getpid(), &w.own);
	if (r)
		return r;
	proc = opendir("/proc");
	if (!proc)
		return -errno;
	while (!r && (e = readdir(proc)))
		if (isdigit((unsigned char)e->d_name[0]))
			r = ku_ns_add(&w, (uint32_t)strtoul(e->d_name, NULL, 10));
	closedir(proc);
	if (r) {
		free(w.seen);
		return r;
	}
	*ret = w.seen;
	*ret_n = w.n;
	return 0;
}

uint32_t ku_ns_pid(const struct ku_ns *ns)
{
	struct dirent *e;
	struct ku_ns now;
	uint32_t pid = 0;
	DIR *proc;

	if (!ku_ns_of(ns->pid, &now) && ku_ns_same(ns, &now))
		return ns->pid;
	proc = opendir("/proc");
	while (proc && !pid && (e = readdir(proc)))
		if (isdigit((unsigned char)e->d_name[0]) && !ku_ns_of((uint32_t)strtoul(e->d_name, NULL, 10), &now) && ku_ns_same(ns, &now))
			pid = now.pid;
	if (proc)
		closedir(proc);
	return pid;
}

bool ku_ns_is_users(const struct ku_ns *ns)
{
	uint32_t pid = ku_ns_pid(ns);
	_cleanup_close_ int fd = -1, owner = -1;
	struct stat own, its;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%u/ns/mnt", pid);
	fd = pid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	owner = fd < 0 ? -1 : ioctl(fd, NS_GET_USERNS);
	return owner < 0 || fstat(owner, &its) || stat("/proc/self/ns/user", &own) || its.st_ino != own.st_ino || its.st_dev != own.st_dev;
}

/* Where pid has the mount: allocated, NULL for nowhere. */
static char *ku_ns_mountpoint(uint32_t pid, uint64_t mnt_id)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	struct ku_mountinfo m;
	size_t size = 0;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%u/mountinfo", pid);
	f = fopen(path, "re");
	while (f && getline(&line, &size, f) >= 0)
		if (strtoull(line, NULL, 10) == mnt_id)
			return ku_mountinfo_parse(line, &m) ? NULL : strdup(m.mountpoint);
	return NULL;
}

static int ku_ns_walk_to(int root, const char *mountpoint)
{
	int fd = -ENOENT;

	for (int i = 0; i < KU_NS_TRIES; i++) {
		fd = ku_openat2(root, mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
				RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED);
		if (fd != -EAGAIN)
			break;
		usleep(KU_NS_PAUSE_US);
	}
	return fd;
}

int ku_ns_open(const struct ku_ns *ns, uint64_t mnt_id, const char *name)
{
	uint32_t pid = ku_ns_pid(ns);
	_cleanup_free_ char *mountpoint = NULL;
	_cleanup_close_ int root = -1, fd = -1;
	struct statx st;
	char path[48];

	if (!pid)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%u/root", pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	/* Reading all of mountinfo costs more than the walk. */
	fd = ku_ns_walk_to(root, name);
	if (fd >= 0 && !statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) && st.stx_mnt_id == mnt_id)
		return ku_take_fd(&fd);
	mountpoint = ku_ns_mountpoint(pid, mnt_id);
	return mountpoint ? ku_ns_walk_to(root, mountpoint) : -ENOENT;
}
