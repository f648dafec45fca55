/* SPDX-License-Identifier: GPL-2.0-only */
/* Paths of cgroups by their id. */
#ifndef KU_CGROUP_H
#define KU_CGROUP_H

#include <stdint.h>

/*
 * The path of the cgroup (v2 hierarchy, as in /proc/PID/cgroup: "/system.slice/x") with this id, by name_to_handle/open_by_handle
 * on the cgroup2 mount, cached. The string stays valid until the next 64 different ids were asked; "" when not known (gone, no
 * cgroup2). Not thread-safe.
 */
const char *ku_cgroup_path(uint64_t id);

#endif
