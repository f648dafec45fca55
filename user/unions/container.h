/* SPDX-License-Identifier: GPL-2.0-only */
/* Which container a cgroup belongs to, told from its path alone: no runtime is asked. */
#ifndef KU_CONTAINER_H
#define KU_CONTAINER_H

#define KU_CONTAINER_MAX 128

/*
 * Docker, podman, containerd, CRI-O, systemd-nspawn and LXC, with systemd's or the plain cgroup driver, also below Kubernetes' pods. Writes the
 * id (or name) into id, "" for none. Returns the runtime's name, a static string, "" for none.
 */
const char *ku_container_of(const char *cgroup, char id[static KU_CONTAINER_MAX]);

#endif
