/* SPDX-License-Identifier: GPL-2.0-only */
/* A result that a child hands to its parent: a number, a line of text, perhaps a descriptor. */
#ifndef KU_FDPASS_H
#define KU_FDPASS_H

#include <stddef.h>

/* By a socketpair of SOCK_SEQPACKET. fd -1: none. Returns 0 or -errno. */
int ku_pass_send(int sock, int status, const char *text, int fd);

/*
 * Returns the child's number, or -errno: -EPIPE when it ended without one. *ret_fd is the caller's, -1 for none (NULL: closed if there is
 * one); text has size bytes, is cut to them, and is empty unless something came.
 */
int ku_pass_receive(int sock, char *text, size_t size, int *ret_fd);

#endif
