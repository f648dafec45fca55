/* SPDX-License-Identifier: GPL-2.0-only */
/* Making an overlay from descriptors. */
#ifndef KU_OVERLAY_H
#define KU_OVERLAY_H

#include <stdint.h>

#include "upper.h"

/*
 * An overlay of lower (O_PATH, of this mount namespace) and u, mounted nowhere yet, with attr (MOUNT_ATTR_*). By descriptors from Linux 6.13 on;
 * before, by names, and then it is checked that its upper layer is the one that was opened.
 * Returns the mount's descriptor, or -errno with a line in err.
 */
int ku_overlay_make(const struct ku_upper *u, int lower, uint64_t attr, char err[static KU_LAYER_ERR]);

#endif
