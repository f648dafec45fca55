/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control socket's server, in a thread of its own and never waiting for a client. What a client can cost is bounded: connections, bytes of
 * a request, bytes not yet taken of the replies, and time.
 */
#ifndef KU_CTL_SERVER_H
#define KU_CTL_SERVER_H

#include <sys/types.h>

#include "ctl/call.h"

#define KU_CTL_SOCKET "/run/kunion/io.kunion"

#define KU_CTL_CLIENTS 64
#define KU_CTL_CLIENTS_OTHERS 32 /* of them those that are not root: root always gets in */
#define KU_CTL_REQUEST_MAX (64u << 10)
#define KU_CTL_REPLY_MAX (8u << 20)
#define KU_CTL_REPLIES_MAX (32u << 20) /* of all clients */
/* Of the clients those that are told of events, KU_STREAM_MAX bytes each; they may be as slow as they like. */
#define KU_CTL_STREAMS 32
#define KU_CTL_STREAMS_OTHERS 16

struct ku_ctl_server;
struct ku_feed;

struct ku_ctl_limits {
	unsigned int partial_ms; /* until a request that began is whole, or a reply is taken */
	unsigned int idle_ms;	 /* without a request */
};

extern const struct ku_ctl_limits ku_ctl_limits; /* 10 s, 60 s */

/*
 * Makes and listens on the socket at path (its directory too, 0755; one that is left over there is replaced, unless somebody listens): for root, and
 * for gid, if that is not -1, to read. Returns 0, or -errno with a line in err. ops must live on.
 */
int ku_ctl_server_open(const char *path, gid_t gid, const struct ku_ctl_ops *ops, const struct ku_ctl_limits *limits,
		       struct ku_ctl_server **ret, char err[static 512]);
/* Removes the socket, too. NULL is allowed. */
void ku_ctl_server_close(struct ku_ctl_server *s);

/*
 * Serves for up to timeout_ms (-1: no limit), or until something was done or wake_fd (-1: none) is readable. Returns 0 or -errno.
 */
int ku_ctl_server_turn(struct ku_ctl_server *s, int wake_fd, int timeout_ms);

/* What the feed has goes to those who listen. */
void ku_ctl_server_feed(struct ku_ctl_server *s, struct ku_feed *f);

#endif
