// SPDX-License-Identifier: GPL-2.0-only
#include "sys.h"

#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ku_sys_ret(long r)
{
	return r < 0 ? -errno : (int)r;
}

int ku_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };

	return ku_sys_ret(syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
}

int ku_fsopen(const char *fsname, unsigned int flags)
{
	return ku_sys_ret(syscall(SYS_fsopen, fsname, flags));
}

int ku_fsconfig(int fd, unsigned int cmd, const char *key, const void *value, int aux)
{
	return ku_sys_ret(syscall(SYS_fsconfig, fd, cmd, key, value, aux));
}

int ku_fsmount(int fd, unsigned int flags, unsigned int attr_flags)
{
	return ku_sys_ret(syscall(SYS_fsmount, fd, flags, attr_flags));
}
