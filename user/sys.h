/* SPDX-License-Identifier: GPL-2.0-only */
/* System calls that the C library of Debian 12 has no wrapper for. All return a descriptor or 0, or -errno. */
#ifndef KU_SYS_H
#define KU_SYS_H

#include <stdint.h>
#include <sys/types.h>

/* openat2(2), Linux 5.6. resolve: RESOLVE_* of <linux/openat2.h>. */
int ku_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/* fsopen(2), fsconfig(2), fsmount(2), Linux 5.2. */
int ku_fsopen(const char *fsname, unsigned int flags);
int ku_fsconfig(int fd, unsigned int cmd, const char *key, const void *value, int aux);
int ku_fsmount(int fd, unsigned int flags, unsigned int attr_flags);

#endif
