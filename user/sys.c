// SPDX-License-Identifier: GPL-2.0-only
#include "sys.h"

#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#endif

/* struct xattr_args of <linux/xattr.h> */
struct ku_xattr_args {
	uint64_t value;
	uint32_t size, flags;
};

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

int ku_setxattrat(int dirfd, const char *path, unsigned int flags, const char *name, const void *value, uint32_t size, uint32_t xattr_flags)
{
	struct ku_xattr_args args = { .value = (uintptr_t)value, .size = size, .flags = xattr_flags };

	return ku_sys_ret(syscall(SYS_setxattrat, dirfd, path, flags, name, &args, sizeof(args)));
}
