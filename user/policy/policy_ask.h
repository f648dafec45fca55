/* SPDX-License-Identifier: GPL-2.0-only */
/* Asking the kunions that hold operations, by the sockets in their run directory (judge_hold.h). */
#ifndef KU_POLICY_ASK_H
#define KU_POLICY_ASK_H

#include <stddef.h>

/* One message to the kunion behind a socket, and its reply with an end behind it. 0; -ENOENT: nobody is there any more; or -errno. */
int ku_hold_ask(const char *path, const char *message, char *reply, size_t size);

/* Calls fn with the path of each socket until it returns other than 0, which is returned; 0; or -errno. */
int ku_hold_each(int (*fn)(void *arg, const char *path), void *arg);

#endif
