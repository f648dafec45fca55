/* SPDX-License-Identifier: GPL-2.0-only */
/* Events of a running daemon, as they happen. */
#ifndef KU_CTL_MONITOR_H
#define KU_CTL_MONITOR_H

#include "event.h"

struct ku_monitor;

/*
 * Asks to be told; what happens from the return on is. fn is called for each event that ku_monitor_read() and ku_monitor_finish() find. Returns 0, or
 * -errno with a line in err: -ENOTCONN where no daemon answers.
 */
int ku_monitor_open(const char *socket, void (*fn)(void *arg, const struct ku_event *e), void *arg, struct ku_monitor **ret, char err[static 512]);

/* To poll for input. */
int ku_monitor_fd(const struct ku_monitor *m);

/* Takes what is there. False: the daemon tells nothing any more. */
bool ku_monitor_read(struct ku_monitor *m);

/* Takes what happened until now. Returns 0, or -errno where the daemon ended before, or does not answer. */
int ku_monitor_finish(struct ku_monitor *m);
/* NULL is allowed. */
void ku_monitor_close(struct ku_monitor *m);

#endif
