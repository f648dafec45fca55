/* SPDX-License-Identifier: GPL-2.0-only */
/* Unions of bind mounts: an overlay in the place of a mount, with that as its lower layer. */
#ifndef KU_BIND_H
#define KU_BIND_H

#include <stdbool.h>
#include <sys/types.h>

#include "upper.h"

struct ku_bind {
	const char *target, *upper, *work; /* work NULL: upper with ".work" behind it */
	pid_t pid;			   /* TARGET as this process sees it; 0: as we do */
};

/*
 * Mounts an overlay over what is mounted on target, in one step when all else is done: it is there as a whole or not at all. It has the
 * mount's flags; a shared mount stays in its peer group, but the overlay is not seen at its peers. All is done in a child.
 * Returns 0, or -errno with a line in err. *ret_read_only: the mount was, so the union is.
 */
int ku_bind_attach(const struct ku_bind *b, bool *ret_read_only, char err[static KU_LAYER_ERR]);

/* Takes off what ku_bind_attach() put there. Returns 0, or -errno with a line in err: -EBUSY when it is in use. */
int ku_bind_detach(const char *target, pid_t pid, char err[static KU_LAYER_ERR]);

#endif
