/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files of a union that somebody hostile may change at any moment. A name is looked up once, to an O_PATH descriptor, which opens nothing: no driver,
 * no FIFO, no file system that is mounted there. What it stands for stays the same whatever becomes of the name, so it can be looked at
 * first and opened then.
 */
#ifndef KU_BELOW_H
#define KU_BELOW_H

#include <linux/openat2.h>
#include <stddef.h>

/* For openat2(2): below the directory and nowhere else. */
#define KU_BELOW (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)

/* What path is below dirfd, a symlink itself too: an O_PATH descriptor, or -errno (-EXDEV: something is mounted there or above). */
int ku_below_find(int dirfd, const char *path);

/*
 * Opens the file that found (of ku_below_find(), the caller's) stands for, with O_NONBLOCK: no lease is waited for. A descriptor or -errno; -ESTALE:
 * not a regular file, and not opened.
 */
int ku_below_open(int found, int flags);

/* As setxattr(2), on what found stands for. 0 or -errno. */
int ku_below_setxattr(int found, const char *name, const void *value, size_t size, int flags);

#endif
