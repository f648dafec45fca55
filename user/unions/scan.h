/* SPDX-License-Identifier: GPL-2.0-only */
/* Which unions there are: in our mount namespace, and in those of containers. */
#ifndef KU_SCAN_H
#define KU_SCAN_H

#include "union.h"

/* Nothing set: all that there are. */
struct ku_scan_wanted {
	uint32_t pid;	       /* those of this process's mount namespace */
	const char *container; /* those of this container: the beginning of its id, or its whole name */
	const char *match;     /* a glob for their paths, as ku_union.path has them */
	uint32_t dev; /* that of this superblock (kernel dev_t) only; with pid: looked for in our mount namespace and pid's, others are not read */
};

struct ku_scan {
	struct ku_union *unions;
	size_t n;
};

/*
 * Finds the writable overlays with an upper layer, each superblock once, reading nothing but /proc: one that is mounted in our mount namespace by
 * its name here, whatever else it is mounted on. Of a container or process these belong to it: its root, and what is mounted in its namespace only.
 * Returns 0 (perhaps with none), or -errno with a line in err. ret is to be freed in either case.
 */
int ku_scan(const struct ku_scan_wanted *wanted, struct ku_scan *ret, char err[static 256]);
void ku_scan_free(struct ku_scan *s);

#endif
