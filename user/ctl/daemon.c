// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/daemon.h"

#include <json-c/json.h>
#include <string.h>
#include <sys/eventfd.h>

#include "cmd.h"
#include "ctl/notify.h"
#include "judge_program.h"
#include "log.h"
#include "util.h"

/* How often what is configured and not there is looked for. */
#define KU_LOOK_NS 1000000000ull
/* How long the end waits for a control thread that a file system holds up. */
#define KU_JOIN_SECONDS 2

static void ku_wake(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		ku_warn("eventfd: %s", strerror(errno));
}

void ku_daemon_wake(struct ku_daemon *d)
{
	ku_wake(d->wake_fd);
}

static void ku_woken(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		ku_warn("eventfd: %s", strerror(errno));
}

bool ku_daemon_do(struct ku_daemon *d, void (*fn)(struct ku_daemon *d, void *arg), void *arg)
{
	bool done;

	pthread_mutex_lock(&d->lock);
	d->fn = fn;
	d->fn_arg = arg;
	if (!d->ended)
		ku_wake(d->call_fd);
	while (d->fn && !d->ended)
		pthread_cond_wait(&d->cond, &d->lock);
	done = !d->fn;
	d->fn = NULL;
	pthread_mutex_unlock(&d->lock);
	return done;
}

static bool ku_daemon_called(void *arg)
{
	struct ku_daemon *d = arg;

	ku_woken(d->call_fd);
	/* The lock is the control thread's while it waits: it does not hold it for long. */
	pthread_mutex_lock(&d->lock);
	if (d->fn)
		d->fn(d, d->fn_arg);
	d->fn = NULL;
	pthread_cond_signal(&d->cond);
	pthread_mutex_unlock(&d->lock);
	return true;
}

static void ku_daemon_hangup(void *arg)
{
	struct ku_daemon *d = arg;

	pthread_mutex_lock(&d->lock);
	d->reload = true;
	pthread_mutex_unlock(&d->lock);
	ku_wake(d->wake_fd);
}

/* In the session's thread. */
static void ku_daemon_report(void *arg)
{
	const struct ku_daemon *d = arg;

	ku_session_policy_report(d->s);
}

static void ku_daemon_tick(void *arg)
{
	(void)arg;
	ku_notify("WATCHDOG=1");
}

/* reload */

static void ku_daemon_levels(const struct ku_conf *c)
{
	ku_log_set_level(c->verbose > 1 ? KU_LOG_DEBUG : KU_LOG_INFO);
	ku_log_libbpf(!c->verbose);
}

static bool ku_same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* What the session was made of stays as it is. */
static void ku_daemon_fixed(const struct ku_daemon *d, struct ku_conf *c)
{
	const struct ku_conf *f = &d->first;
	const char *what = c->mode > f->mode ? "a higher mode" : c->max_wait_ns != f->max_wait_ns ? "max-wait" : c->all != f->all ? "all" :
			   c->writes != f->writes ? "writes" : !ku_same(c->socket, f->socket) ? "socket" : c->gid != f->gid ? "group" :
			   !ku_same(c->policy, f->policy) ? "another policy file" : NULL;

	if (what)
		ku_warn("%s: %s takes a restart; what else changed is in force", d->file ? d->file : "configuration", what);
	if (c->mode > f->mode)
		c->mode = f->mode;
	ku_conf_settle(c);
}

struct ku_do_reload {
	struct ku_events *events;
	char *answer; /* then the former one */
	bool swap, ok;
};

/* In the loop: the session's is ours. */
static void ku_do_answer(struct ku_daemon *d, struct ku_do_reload *r)
{
	char *old = d->first.answer, err[512] = "";

	if (ku_same(old, r->answer))
		return;
	if (ku_session_policy_answer(d->s, r->answer, err)) {
		ku_warn("%s; the answering program as it was stays in force", err);
		return;
	}
	d->first.answer = r->answer;
	r->answer = old;
}

static void ku_do_reload(struct ku_daemon *d, void *arg)
{
	struct ku_do_reload *r = arg;
	struct ku_events *old = d->s->events;

	if (r->swap) {
		d->s->events = r->events;
		r->events = old;
	}
	/* Before the policy: what is held is asked about anew by that. */
	ku_do_answer(d, r);
	r->ok = ku_session_policy_reload(d->s);
}

/* Returns 0 with what is to be put in force in *r, or -errno with a line in err. */
static int ku_reload_open(const struct ku_daemon *d, const struct ku_conf *c, struct ku_do_reload *r, char err[static 512])
{
	int n = c->answer && d->first.policy && !ku_same(c->answer, d->first.answer) ? ku_programs_check(c->answer, err) : 0;

	if (n)
		return n;
	/* Anew, since it may have been renamed for its age; not in the loop, for it may be a pipe. */
	n = c->events ? ku_events_open(c->events, &r->events) : 0;
	if (n) {
		snprintf(err, 512, "%.300s: cannot write events there: %s", c->events, strerror(-n));
		return n;
	}
	r->answer = c->answer ? strdup(c->answer) : NULL;
	if (c->answer && !r->answer) {
		ku_events_close(r->events);
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	return 0;
}

int ku_daemon_reload(struct ku_daemon *d, char err[static 512])
{
	struct ku_do_reload r = { .swap = true };
	struct ku_conf c;
	int n;

	ku_notify("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(ku_now_ns() / 1000));
	n = d->read_conf(d, &c, err);
	if (!n) {
		n = ku_reload_open(d, &c, &r, err);
		if (n)
			ku_conf_free(&c);
	}
	if (n) {
		ku_warn("%s; the configuration as it was stays in force", err);
		ku_notify("READY=1");
		return n;
	}
	ku_daemon_fixed(d, &c);
	ku_conf_free(&d->conf);
	d->conf = c;
	ku_daemon_levels(&c);
	n = ku_daemon_want(d);
	if (n)
		snprintf(err, 512, "out of memory");
	if (!ku_daemon_do(d, ku_do_reload, &r)) {
		snprintf(err, 512, "the daemon is ending");
		n = -ESHUTDOWN;
	} else if (!n && !r.ok) {
		snprintf(err, 512, "%.300s: the policy is bad; the old one stays in force, see the journal", d->first.policy);
		n = -EINVAL;
	}
	ku_events_close(r.events);
	free(r.answer);
	if (d->wanted)
		ku_daemon_reconcile(d);
	ku_info("configuration read again");
	ku_notify("READY=1");
	return n;
}

/* the control thread */

static void ku_control_look(struct ku_daemon *d)
{
	uint64_t now = ku_now_ns();

	if (now - d->looked_ns < KU_LOOK_NS)
		return;
	d->looked_ns = now;
	ku_daemon_sync(d);
	ku_daemon_reconcile(d);
}

/* As configured: observed by BPF whoever mounts them; here they get their names. */
static void ku_control_all(struct ku_daemon *d)
{
	struct json_object *unions = json_object_new_array(), *failed = json_object_new_array();
	char err[512] = "";

	if (!unions || !failed || ku_daemon_stand(d, NULL, KU_MODE_OBSERVE, d->conf.min_size, unions, failed, err))
		ku_warn("%s", err[0] ? err : "out of memory");
	json_object_put(unions);
	json_object_put(failed);
}

static void *ku_control(void *arg)
{
	struct ku_daemon *d = arg;
	char err[512];
	int next;

	ku_daemon_reconcile(d);
	if (d->conf.all)
		ku_control_all(d);
	ku_notify("READY=1\nSTATUS=mode %s", d->conf.mode == KU_MODE_MANAGE ? "manage" : d->conf.mode == KU_MODE_GUARD ? "guard" : "observe");
	ku_info("ready, %s", d->conf.socket);
	for (;;) {
		bool ended, reload;
		int n;

		next = ku_daemon_made(d);
		n = ku_ctl_server_turn(d->server, d->wake_fd, next);
		if (n)
			ku_warn("control socket: %s", strerror(-n));
		ku_woken(d->wake_fd);
		ku_ctl_server_feed(d->server, &d->feed);
		pthread_mutex_lock(&d->lock);
		ended = d->ended;
		reload = d->reload;
		d->reload = false;
		pthread_mutex_unlock(&d->lock);
		if (ended)
			return NULL;
		if (reload)
			ku_daemon_reload(d, err);
		ku_control_look(d);
	}
}

/* start and end */

/* In the loop. */
static void ku_daemon_event(void *arg, const struct ku_event *e)
{
	struct ku_daemon *d = arg;

	/* Of the daemon's whole time: who listens since a moment ago would take them for theirs. */
	if (e->type != KU_EV_TOTALS)
		ku_feed_put(&d->feed, e);
}

static bool ku_daemon_start(struct ku_daemon *d)
{
	struct ku_session_opts opts = {
		.mode = d->conf.mode, .min_size = d->conf.min_size, .max_wait_ns = d->conf.max_wait_ns, .events = d->first.events,
		.policy = d->first.policy, .answer = d->first.answer, .all = d->conf.all, .writes = d->conf.writes, .room = KU_DAEMON_UNIONS,
		.on_event = ku_daemon_event, .event_arg = d,
		.on_super = ku_daemon_on_super, .super_arg = d,
	};
	char err[512] = "";

	d->ops = ku_daemon_ops;
	d->ops.arg = d;
	d->om = ku_om_new(KU_OM_SETS);
	d->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->feed.wake_fd = d->wake_fd;
	if (!d->om || ku_daemon_want(d) || d->call_fd < 0 || d->wake_fd < 0) {
		ku_err("daemon: cannot start: %s", strerror(errno));
		return false;
	}
	/* First: a second daemon finds out here. */
	if (ku_ctl_server_open(d->conf.socket, d->conf.gid, &d->ops, &ku_ctl_limits, &d->server, err)) {
		ku_err("daemon: %s", err);
		return false;
	}
	d->s = ku_session_start(&opts, NULL, 0, err);
	if (!d->s)
		ku_err("daemon: %s", err);
	return d->s;
}

/* Returns whether the control thread is no more. */
static bool ku_daemon_stop_control(struct ku_daemon *d)
{
	struct timespec limit;

	pthread_mutex_lock(&d->lock);
	d->ended = true;
	pthread_cond_signal(&d->cond);
	pthread_mutex_unlock(&d->lock);
	ku_wake(d->wake_fd);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += KU_JOIN_SECONDS;
	return !pthread_timedjoin_np(d->control, NULL, &limit);
}

static void ku_daemon_close(struct ku_daemon *d)
{
	ku_ctl_server_close(d->server);
	ku_feed_free(&d->feed);
	ku_daemon_forget(d);
	ku_daemon_made_free(d);
	json_object_put(d->metrics);
	json_object_put(d->live);
	ku_om_free(d->om);
	ku_closep(&d->call_fd);
	ku_closep(&d->wake_fd);
	ku_conf_free(&d->conf);
	ku_conf_free(&d->first);
}

int ku_daemon_run(struct ku_daemon *d)
{
	char err[512] = "";
	int status = KU_EXIT_USAGE, n;

	d->call_fd = d->wake_fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->made_lock, NULL);
	pthread_cond_init(&d->cond, NULL);
	ku_feed_init(&d->feed, -1);
	n = d->read_conf(d, &d->first, err);
	n = n ? n : d->read_conf(d, &d->conf, err);
	if (n) {
		ku_err("daemon: %s", err);
		return KU_EXIT_USAGE;
	}
	ku_conf_settle(&d->conf);
	ku_log_journal();
	ku_daemon_levels(&d->conf);
	n = ku_loop_open(&d->loop);
	if (n)
		ku_err("daemon: cannot take signals: %s", strerror(-n));
	if (!n && ku_daemon_start(d)) {
		n = pthread_create(&d->control, NULL, ku_control, d);
		if (n) {
			ku_err("daemon: cannot start a thread: %s", strerror(n));
		} else {
			d->loop.arg = d;
			d->loop.hangup = ku_daemon_hangup;
			d->loop.report = ku_daemon_report;
			d->loop.in[0] = (struct ku_loop_input){ .fd = d->call_fd, .ready = ku_daemon_called };
			d->loop.tick_ns = ku_notify_watchdog_ns();
			d->loop.tick = ku_daemon_tick;
			status = ku_loop_run(&d->loop, d->s);
			ku_notify("STOPPING=1");
			if (!ku_daemon_stop_control(d)) {
				/* It is inside a file system that does not answer. Everybody else is let go; what it has goes with the process. */
				ku_warn("a file system does not answer; not waited for");
				ku_session_end(d->s);
				_exit(status);
			}
		}
	}
	ku_session_end(d->s);
	ku_loop_close(&d->loop);
	ku_daemon_close(d);
	return status;
}
