/* SPDX-License-Identifier: GPL-2.0-only */
/* Calling a daemon over its control socket. */
#ifndef KU_CTL_CLIENT_H
#define KU_CTL_CLIENT_H

#include <stdbool.h>

struct json_object;

/*
 * One call: method "Status" of io.kunion, with parameters (taken over; NULL: none). Returns 0 with *ret_params of the reply, to be put; or -errno
 * with one line in err: -ENOTCONN where no daemon answers, -ENOENT for NotAttached, else what the daemon said.
 */
int ku_ctl_ask(const char *socket, const char *method, struct json_object *params, struct json_object **ret_params, char err[static 512]);

/* The same in steps: sends the call, with more if it is to be answered again and again. *ret_fd is the caller's. Returns 0, or -errno with a line in err. */
int ku_ctl_call_begin(const char *socket, const char *method, struct json_object *params, bool more, int *ret_fd, char err[static 512]);
/* What a reply says, which is taken over: as ku_ctl_ask(). *ret_params may be NULL: it has none. */
int ku_ctl_call_result(struct json_object *reply, struct json_object **ret_params, char err[static 512]);

#endif
