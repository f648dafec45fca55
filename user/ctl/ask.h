/* SPDX-License-Identifier: GPL-2.0-only */
/* What the commands ask the daemon for. */
#ifndef KU_CTL_ASK_H
#define KU_CTL_ASK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Attach to what is mounted on path, a name as the caller has it. mode NULL, min_size below 0: as the daemon is configured. Returns an exit status,
 * after one line on stderr if it is not 0.
 */
int ku_ask_attach(const char *socket, const char *path, const char *mode, int64_t min_size);

/* Attach to those of a process or container, or all, and print their paths. Likewise. */
struct ku_ctl_all;
int ku_ask_attach_all(const char *socket, const struct ku_ctl_all *all);

/* Let path go; container NULL: a name as the caller has it. Returns 0, or with a line in err -ENOENT: is not attached, -ENOTCONN: no daemon, or another -errno. */
int ku_ask_detach(const char *socket, const char *path, const char *container, char err[static 512]);

/* End the standing attach --all; match NULL: whatever that is for. Likewise; -ENOENT: there is none, or not for match. */
int ku_ask_detach_all(const char *socket, const char *match, char err[static 512]);

/* A line on the daemon: what it is, or why it does not answer and what to do. False: none of this version does. */
bool ku_ask_about(const char *socket, char line[static 448]);

#endif
