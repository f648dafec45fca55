/* SPDX-License-Identifier: GPL-2.0-only */
/* Calling a daemon over its control socket. */
#ifndef KU_CTL_CLIENT_H
#define KU_CTL_CLIENT_H

struct json_object;

/*
 * One call: method "Status" of io.kunion, with parameters (taken over; NULL: none). Returns 0 with *ret_params of the reply, to be put; or -errno
 * with one line in err: -ENOTCONN where no daemon answers, -ENOENT for NotAttached, else what the daemon said.
 */
int ku_ctl_ask(const char *socket, const char *method, struct json_object *params, struct json_object **ret_params, char err[static 512]);

#endif
