/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a union of a bind mount goes, or is: a mount in the caller's or another process's mount namespace. */
#ifndef KU_PLACE_H
#define KU_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "upper.h"

/* All descriptors are -1 where there is none. */
struct ku_place {
	const char *target;
	int home, away; /* mount namespaces: the caller's, the target's; away is -1 when it is the same */
	int base, cwd;	/* the caller's root and working directory, which setns(2) replaces by the namespace's root */
	int root;	/* of the other process; -1: the caller's own */
	int proc;	/* /proc, which need not be there in the other namespace */
	int mount;	/* O_PATH: what is mounted on target */
	uint64_t id;	/* of that mount */
	/* what its mountinfo line says */
	uint64_t attr;	/* MOUNT_ATTR_* */
	bool shared, unbindable, ours, overlay;
	char *child; /* what is mounted below it; NULL: nothing */
};

/*
 * Opens target as pid sees it (0: as we do) and goes into its mount namespace, for which the process must have one thread. Returns 0, or
 * -errno with a line in err. It must be closed in any case.
 */
int ku_place_open(const char *target, pid_t pid, struct ku_place *ret, char err[static KU_LAYER_ERR]);
void ku_place_close(struct ku_place *p);

/* Opens the target's name anew, O_PATH. A descriptor or -errno. */
int ku_place_again(const struct ku_place *p);
/* Opens the directory that it is a name in; *ret_name is allocated, also on failure perhaps. A descriptor or -errno. */
int ku_place_parent(const struct ku_place *p, char **ret_name);

/* To the caller's and back to the target's mount namespace. 0 or -errno. */
int ku_place_home(const struct ku_place *p);
int ku_place_away(const struct ku_place *p);

int ku_place_mount_id(int fd, uint64_t *ret);

#endif
