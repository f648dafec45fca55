/* SPDX-License-Identifier: GPL-2.0-only */
/* Carrying an upper layer into the lower one: the only thing in kunion that writes a lower layer. */
#ifndef KU_MERGE_H
#define KU_MERGE_H

#include "upper.h"

#define KU_MERGE_STAGE ".kunion-commit" /* in the lower root: new files before they have their name, directories on their way */

/*
 * Carries u's upper layer into the directory lower (O_RDONLY; target is its name in messages), and empties it. No overlay of either
 * may be mounted, which the caller sees to. Each file has its old or its new content at any time; after a crash the same call goes on.
 * Returns 0, or -errno with a line in err; what was done until then stays done, and the same call goes on there.
 */
int ku_merge(const struct ku_upper *u, int lower, const char *target, char err[static KU_LAYER_ERR]);

/* Is such a thing under way? Its state, 0: no; or -errno. */
int ku_merge_state(const struct ku_upper *u);

/* Can it be carried over at all? 0, or -errno with what cannot in err. Nothing is changed. */
int ku_merge_check(const struct ku_upper *u, char err[static KU_LAYER_ERR]);

#endif
