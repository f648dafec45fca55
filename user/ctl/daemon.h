/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon: a session in the main thread's loop, and a control thread that serves the socket and does what may have to wait for a file system.
 * Rules:
 *  1. The session belongs to the loop. The control thread has it do things by ku_daemon_do(), which waits; the loop never waits for the control
 *     thread.
 *  2. Unions are added and let go by the control thread only.
 */
#ifndef KU_CTL_DAEMON_H
#define KU_CTL_DAEMON_H

#include <pthread.h>

#include "ctl/about.h"
#include "ctl/conf.h"
#include "ctl/feed.h"
#include "ctl/server.h"
#include "loop.h"
#include "openmetrics.h"
#include "session.h"

/* Attached at a time. */
#define KU_DAEMON_UNIONS 2048

/* A union that is attached. */
struct ku_entry {
	struct ku_entry *next;
	uint64_t serial; /* never used again */
	uint64_t ended_by; /* the serial of the standing order's end; 0: none */
	uint32_t id;
	dev_t dev;
	char *path, *lower, *upper;
	char container[KU_CONTAINER_MAX]; /* "" for none, or not known yet */
	bool elsewhere;	  /* in another mount namespace, by the name it has there */
	bool automatic;	  /* by the standing order: gives way to who names it */
	char *configured; /* the path as the configuration has it; NULL: by command */
	enum ku_mode mode, in_force;
	uint64_t min_size;
	struct ku_about about;
	bool userxattr, volatile_, dropping;
	time_t since;
	unsigned int copies; /* at the last ku_daemon_sync() */
};

/* A union of the configuration, beside ku_conf.unions. */
struct ku_wanted {
	bool let_go;    /* by command, until the configuration is read again */
	char said[512]; /* why it cannot be attached, as last told */
};

/* All unions, those to come too. */
struct ku_standing {
	bool on;
	char *match; /* glob, NULL: all */
	enum ku_mode mode;
	uint64_t min_size;
};

/* An overlay that is being mounted. */
struct ku_made {
	struct ku_made *next;
	uint32_t dev, pid;
	uint64_t since_ns, looked_ns, deep_ns;
};

struct ku_daemon {
	const char *file; /* NULL: none */
	int (*read_conf)(struct ku_daemon *d, struct ku_conf *ret, char err[512]); /* from the file and the command line */
	void *read_arg;
	struct ku_conf first, conf; /* as started; as read last */
	struct ku_session *s;
	struct ku_loop loop;
	struct ku_ctl_ops ops;
	struct ku_ctl_server *server;
	struct ku_openmetrics *om;
	struct ku_feed feed;
	pthread_t control;
	/* from the control thread to the loop and back */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	void (*fn)(struct ku_daemon *d, void *arg);
	void *fn_arg;
	bool ended, reload; /* for the control thread to see */
	int call_fd, wake_fd; /* eventfds: to the loop, to the control thread */
	/* from the loop to the control thread */
	pthread_mutex_t made_lock;
	struct ku_made *made;
	/* the control thread's */
	struct ku_standing standing;
	uint64_t containers_ns;
	struct ku_entry *entries;
	uint64_t serial;
	struct ku_wanted *wanted;
	uint64_t looked_ns;
	struct json_object *metrics, *live; /* and when */
	uint64_t metrics_ns, live_ns;
};

/* Runs until a signal ends it. Returns the exit status, after one line on stderr if it is not 0. d has file, read_conf and conf. */
int ku_daemon_run(struct ku_daemon *d);

/* Has the loop call fn(d, arg), and waits. False: the loop has ended. */
bool ku_daemon_do(struct ku_daemon *d, void (*fn)(struct ku_daemon *d, void *arg), void *arg);

/* The control thread's: attaches to path; configured NULL: by command. 0 with *ret, or -errno with a line in err. daemon_union.c */
int ku_daemon_attach(struct ku_daemon *d, const char *path, enum ku_mode mode, uint64_t min_size, const char *configured, struct ku_entry **ret,
		     char err[static 512]);
/* The same for a union that ku_scan() found, which is taken over with success. */
int ku_daemon_attach_found(struct ku_daemon *d, struct ku_union *u, enum ku_mode mode, uint64_t min_size, bool automatic, struct ku_entry **ret,
			   char err[static 512]);
int ku_daemon_drop(struct ku_daemon *d, struct ku_entry *e);
/* Forgets those that are gone. */
void ku_daemon_sync(struct ku_daemon *d);
/* Attaches what the configuration names and is not, lets go what it names no more. */
void ku_daemon_reconcile(struct ku_daemon *d);
/* container NULL: rather one of our mount namespace; if there is none, one of another. */
struct ku_entry *ku_daemon_find(struct ku_daemon *d, const char *path, const char *container);
/* The one of our mount namespace that was attached by this name, and not by the standing order. */
struct ku_entry *ku_daemon_configured(struct ku_daemon *d, const char *path);
/* Frees all entries, and what is wanted. */
void ku_daemon_forget(struct ku_daemon *d);
int ku_daemon_want(struct ku_daemon *d);

/* Those that are told of the session's events. daemon_feed.c */
int ku_daemon_listen(void *arg, uint64_t *ret_after, void (*first)(void *ctx, const char *json, size_t len), void *ctx, char err[512]);
void ku_daemon_unlisten(void *arg);
void ku_daemon_settle(void *arg);

/*
 * Unions that are found. daemon_found.c
 * attach_some: of a process or container. stand: all there are, and from now on those that come; stand_down: ends that, and begins to let its unions go;
 * match NULL: whatever it is for; -ENOENT: there is no such order. unions and failed (lines) are added to. 0, or
 * -errno with a line in err.
 */
struct ku_scan_wanted;
int ku_daemon_attach_some(struct ku_daemon *d, const struct ku_scan_wanted *wanted, enum ku_mode mode, uint64_t min_size,
			  struct json_object *unions, struct json_object *failed, char err[static 512]);
int ku_daemon_stand(struct ku_daemon *d, const char *match, enum ku_mode mode, uint64_t min_size, struct json_object *unions,
		    struct json_object *failed, char err[static 512]);
int ku_daemon_stand_down(struct ku_daemon *d, const char *match, uint64_t *ret_ticket, char err[static 512]);
/* The session's on_super. */
void ku_daemon_on_super(void *arg, uint32_t dev, uint32_t pid, bool made);
/* Attaches to what was mounted. Returns after how many ms it wants to be called again. */
int ku_daemon_made(struct ku_daemon *d);
void ku_daemon_made_free(struct ku_daemon *d);
/* Fills in containers that were not there yet when their unions were attached. */
void ku_daemon_containers(struct ku_daemon *d);
/* The control thread looks again. Any thread. daemon.c */
void ku_daemon_wake(struct ku_daemon *d);

/* What the socket's calls do. daemon_call.c */
extern const struct ku_ctl_ops ku_daemon_ops;
/* Those that only tell what the session counted. daemon_tell.c */
int ku_daemon_metrics(void *arg, struct json_object **ret, char err[512]);
int ku_daemon_live(void *arg, struct json_object **ret, char err[512]);
int ku_daemon_policy(void *arg, struct json_object **ret, char err[512]);
struct json_object *ku_daemon_union_json(const struct ku_entry *e);
/* Reads the configuration and the policy again. 0 or -errno with a line in err. daemon.c */
int ku_daemon_reload(struct ku_daemon *d, char err[static 512]);

#endif
