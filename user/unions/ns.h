/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mount namespaces beside ours, told by their inode's number and by a process that is in them. Nothing of one is kept open: its mounts can be taken
 * off at any time, and it ends with its last process.
 */
#ifndef KU_NS_H
#define KU_NS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "container.h"

struct ku_ns {
	uint64_t dev, ino; /* of /proc/PID/ns/mnt; ino 0: our own */
	uint32_t pid;	   /* was in it; another is looked for when that one is gone */
};

struct ku_ns_seen {
	struct ku_ns ns;
	char container[KU_CONTAINER_MAX]; /* of a process in it; "" for none */
};

/* The mount namespace of a process; our own, too. 0, or -ESRCH, or -errno: not to be looked at. */
int ku_ns_of(uint32_t pid, struct ku_ns *ret);

/* A process that is in it now, rather the one it is told by; 0: none. */
uint32_t ku_ns_pid(const struct ku_ns *ns);

/* The container that a process is in by its cgroup, "" for none or if the process is gone. */
void ku_ns_container(uint32_t pid, char id[static KU_CONTAINER_MAX]);

/* All mount namespaces that a process is in, but our own. 0 with an array to be freed, or -errno. */
int ku_ns_list(struct ku_ns_seen **ret, size_t *ret_n);

/* Does another user namespace than ours own it? In doubt it does. */
bool ku_ns_is_users(const struct ku_ns *ns);

/*
 * Opens (O_PATH) the directory on which the mount of this number is, as a process there has it: no link is followed, no process there can make
 * us wait, and no file system is asked. name: where it was, looked at first. What was opened is for the caller to check, for a mount may have taken its place. A descriptor, -ESRCH,
 * -ENOENT, -EAGAIN: its path is not all in memory; or -errno. To be closed soon: it keeps the mount busy.
 */
int ku_ns_open(const struct ku_ns *ns, uint64_t mnt_id, const char *name);

#endif
