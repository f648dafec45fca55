// SPDX-License-Identifier: GPL-2.0-only
#include "below.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "sys.h"
#include "util.h"

#define KU_PROC_FD 32

int ku_below_find(int dirfd, const char *path)
{
	return ku_openat2(dirfd, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, KU_BELOW);
}

/* A link that leads to the very file, not to its name, nor to what is mounted on it. */
static const char *ku_proc_fd(int fd, char name[static KU_PROC_FD])
{
	snprintf(name, KU_PROC_FD, "/proc/self/fd/%d", fd);
	return name;
}

int ku_below_open(int found, int flags)
{
	char name[KU_PROC_FD];
	struct stat st;
	int fd;

	if (fstat(found, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ESTALE;
	fd = open(ku_proc_fd(found, name), flags | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int ku_below_setxattr(int found, const char *name, const void *value, size_t size, int flags)
{
	char proc[KU_PROC_FD];

	return setxattr(ku_proc_fd(found, proc), name, value, size, flags) ? -errno : 0;
}
