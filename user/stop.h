/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Named stop points, for tests that force an interleaving. Armed only by $KUNION_STOP_DIR (root only): a thread that comes to
 * point NAME while DIR/NAME.stop exists makes DIR/NAME.hit and goes on once DIR/NAME.stop is removed. A size of N bytes lets N
 * arrivals pass first. DIR/NAME.without: the part NAME is left out.
 */
#ifndef KU_STOP_H
#define KU_STOP_H

#include <stdbool.h>

/* Reads the environment. Returns 0, or -EPERM when it is set and the caller is not root, -ENOTDIR, .. */
int ku_stop_init(void);

/* Nothing happens unless armed. */
void ku_stop(const char *name);

/* Is the part name to be left out, as if the kernel did not have it? Never unless armed. */
bool ku_stop_without(const char *name);

#endif
