/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls of the interfaces io.kunion and org.varlink.service: from a request to its reply. */
#ifndef KU_CTL_CALL_H
#define KU_CTL_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/* Of AttachAll: neither pid (0) nor container (NULL): all there are, and those to come. match, mode NULL, min_size below 0: not given. */
struct ku_ctl_all {
	uint32_t pid;
	const char *container, *match, *mode;
	int64_t min_size;
};

/* What the calls act on. All return 0, or -errno with a line in err; file names are bytes here. */
struct ku_ctl_ops {
	/* mode NULL, min_size below 0: as configured. *ret: the union */
	int (*attach)(void *arg, const char *path, const char *mode, int64_t min_size, struct json_object **ret, char err[512]);
	/* *ret: the reply's parameters */
	int (*attach_all)(void *arg, const struct ku_ctl_all *all, struct json_object **ret, char err[512]);
	/* Begins; container NULL: whosever; *ret_ticket for detached(). -ENOENT: not attached */
	int (*detach)(void *arg, const char *path, const char *container, uint64_t *ret_ticket, char err[512]);
	/* Ends what stands of AttachAll; match NULL: whatever it is. -ENOENT: nothing of that match stands */
	int (*detach_all)(void *arg, const char *match, uint64_t *ret_ticket, char err[512]);
	bool (*detached)(void *arg, uint64_t ticket);
	/* The reply's parameters */
	int (*status)(void *arg, struct json_object **ret, char err[512]);
	int (*metrics)(void *arg, struct json_object **ret, char err[512]);
	int (*live)(void *arg, struct json_object **ret, char err[512]);
	int (*policy)(void *arg, struct json_object **ret, char err[512]);
	int (*reload)(void *arg, char err[512]);
	/*
	 * One listens from here on: what comes is told by ku_ctl_server_tell(), beginning behind the event with number *ret_after. first is called for what
	 * it has to know before.
	 */
	int (*listen)(void *arg, uint64_t *ret_after, void (*first)(void *ctx, const char *json, size_t len), void *ctx, char err[512]);
	/* That one hears no more. */
	void (*unlisten)(void *arg);
	/* Has all told that happened until now. */
	void (*settle)(void *arg);
	void *arg;
};

/* Whom it is answered to. */
struct ku_ctl_peer {
	bool may_change; /* root; others may only read */
};

struct ku_ctl_answer {
	struct json_object *reply; /* NULL: none, be it that none is wanted or that it comes later */
	bool later;		   /* when ops->detached(ticket), unless oneway */
	bool stream;		   /* it wants to be told of events */
	bool oneway;
	uint64_t ticket;
};

/*
 * Does what a message asks. Returns 0 with *ret (its reply is the caller's), or -EBADMSG: no varlink call, nothing can be answered; -ENOMEM.
 */
int ku_ctl_call(const struct ku_ctl_ops *ops, const struct ku_ctl_peer *peer, const char *msg, size_t len, struct ku_ctl_answer *ret);

/* {"parameters": parameters}; takes them over. NULL: none. NULL without memory. */
struct json_object *ku_ctl_reply(struct json_object *parameters);
struct json_object *ku_ctl_error(const char *name, struct json_object *parameters);
/* io.kunion.Failed */
struct json_object *ku_ctl_failed(int err, const char *message);

/* The interface's description, NUL-terminated. */
const char *ku_ctl_interface(void);

/* Adds a line of text to an array, escaped. */
void ku_ctl_add_line(struct json_object *array, const char *line);

/* Adds a file's name, escaped. */
void ku_ctl_add_bytes(struct json_object *o, const char *key, const char *bytes);

#endif
