/* SPDX-License-Identifier: GPL-2.0-only */
/* What lies below a mount. */
#ifndef KU_BENEATH_H
#define KU_BENEATH_H

#include <sys/types.h>

/*
 * Opens, O_PATH, the directory that an overlay of this device is mounted over, as path would show it with that mount taken off. Nothing
 * changes for anybody else: a child takes it off in a mount namespace of its own. path: absolute, without symbolic links.
 * Returns a descriptor or -errno; -ESTALE when another mount is there by now.
 */
int ku_beneath(const char *path, dev_t dev);

#endif
