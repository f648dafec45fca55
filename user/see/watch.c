// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include <string.h>

#include "cmd.h"
#include "ctl/monitor.h"
#include "event_file.h"
#include "log.h"
#include "loop.h"
#include "util.h"

#define KU_SEEN 65536 /* copy-ups of which later changes are told; 512 KiB */

struct ku_watch_run {
	struct ku_watch *w;
	struct ku_session *s; /* NULL: from a file */
	struct ku_event_file *file;
	struct ku_monitor *monitor;
	struct ku_loop loop;
	bool started;		/* on_start was called: events may be told */
	char **early;		/* those before, as lines */
	size_t nearly;
	uint64_t early_lost;
	bool some;		/* the filter leaves copy-ups out */
	uint64_t seen[KU_SEEN]; /* ids of copy-ups that passed, each where its number falls */
};

/* Attaching may still fail: until it has not, nothing is told. */
static void ku_watch_keep(struct ku_watch_run *run, const struct ku_event *e)
{
	char **early = reallocarray(run->early, run->nearly + 1, sizeof(*early));

	if (early) {
		run->early = early;
		early[run->nearly] = ku_event_json(e);
	}
	if (early && early[run->nearly])
		run->nearly++;
	else
		run->early_lost++;
}

bool ku_watch_has(const struct ku_watch *w, const char *union_path)
{
	bool has = !w->only;

	for (unsigned int i = 0; !has && i < w->npaths; i++)
		has = !strcmp(w->only[i], union_path);
	return has;
}

static void ku_watch_got(void *arg, const struct ku_event *e)
{
	struct ku_watch_run *run = arg;
	struct ku_watch *w = run->w;

	if (!run->started) {
		ku_watch_keep(run, e);
		return;
	}
	if (w->stop || (*e->union_path && !ku_watch_has(w, e->union_path)) || !ku_filter_match(&w->filter, e))
		return;
	/* It names nobody and has no size of its own. */
	if (e->type == KU_EV_CHANGED && run->some && run->seen[e->changed.copyup_id % KU_SEEN] != e->changed.copyup_id)
		return;
	if (e->type == KU_EV_COPYUP)
		run->seen[e->copyup.id % KU_SEEN] = e->copyup.id;
	if (w->on_event)
		w->on_event(w->arg, e);
	run->loop.stop = w->stop;
}

static void ku_watch_start(struct ku_watch_run *run)
{
	struct ku_event lost = { .type = KU_EV_DROPPED, .union_path = "", .path = "", .ts_ns = ku_utc_ns(ku_now_ns()) };
	struct ku_event *e;

	if (run->w->on_start)
		run->w->on_start(run->w->arg, run->s);
	run->started = true;
	for (size_t i = 0; i < run->nearly; i++) {
		if (ku_event_parse(run->early[i], &e)) {
			run->early_lost++;
			continue;
		}
		ku_watch_got(run, e);
		ku_event_free(e);
	}
	lost.dropped.count = lost.dropped.others = run->early_lost;
	if (run->early_lost)
		ku_watch_got(run, &lost);
}

static void ku_watch_tick(void *arg)
{
	struct ku_watch_run *run = arg;

	run->w->on_tick(run->w->arg, run->s);
	run->loop.stop = run->w->stop;
}

static bool ku_watch_input(void *arg)
{
	struct ku_watch_run *run = arg;
	bool more = run->w->on_input(run->w->arg, run->s);

	run->loop.stop = run->w->stop;
	run->loop.in[0].fd = run->w->fd;
	return more;
}

static bool ku_watch_file(void *arg)
{
	struct ku_watch_run *run = arg;

	return ku_event_file_read(run->file);
}

/* What is the same live and from a file. */
static void ku_watch_loop(struct ku_watch_run *run)
{
	struct ku_watch *w = run->w;

	run->loop.arg = run;
	run->loop.stop = w->stop;
	run->loop.end_ns = w->duration_ns ? ku_now_ns() + w->duration_ns : 0;
	if (w->on_tick && w->tick_ns) {
		run->loop.tick = ku_watch_tick;
		run->loop.tick_ns = w->tick_ns;
	}
	if (w->on_input && w->fd >= 0)
		run->loop.in[0] = (struct ku_loop_input){ .fd = w->fd, .ready = ku_watch_input };
}

static int ku_watch_from(struct ku_watch_run *run)
{
	struct ku_watch *w = run->w;
	const char *word = ku_watch_word(w);
	int status, r;

	r = ku_event_file_open(w->from, word, ku_watch_got, run, &run->file);
	if (r) {
		ku_err("%s: %s: %s", word, w->from, strerror(-r));
		return KU_EXIT_USAGE;
	}
	run->loop.in[1] = (struct ku_loop_input){ .fd = ku_event_file_fd(run->file), .ready = ku_watch_file };
	ku_watch_start(run);
	ku_watch_loop(run);
	status = ku_loop_run(&run->loop, NULL);
	r = ku_event_file_close(run->file);
	return status == KU_EXIT_OK && r ? KU_EXIT_USAGE : status;
}

static int ku_watch_live(struct ku_watch_run *run)
{
	struct ku_watch *w = run->w;
	char err[512] = "";
	int status, r = 0;

	w->opts.all = w->all;
	w->opts.on_event = ku_watch_got;
	w->opts.event_arg = run;
	run->s = ku_session_start(&w->opts, w->paths, w->npaths, err);
	if (!run->s) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	/* First: what CMD prints comes behind it. */
	ku_watch_start(run);
	if (w->cmd)
		r = ku_loop_spawn(&run->loop, w->cmd);
	if (r) {
		ku_err("%s: cannot start %s: %s", ku_watch_word(w), w->cmd[0], strerror(-r));
		ku_session_end(run->s);
		return KU_EXIT_USAGE;
	}
	ku_watch_loop(run);
	status = ku_loop_run(&run->loop, run->s);
	if (w->on_end)
		w->on_end(w->arg, run->s);
	ku_session_end(run->s);
	return status;
}

static bool ku_watch_monitor(void *arg)
{
	struct ku_watch_run *run = arg;

	return ku_monitor_read(run->monitor);
}

static int ku_watch_daemon(struct ku_watch_run *run)
{
	struct ku_watch *w = run->w;
	const char *word = ku_watch_word(w);
	char err[512] = "";
	int status, r;

	if (ku_monitor_open(w->asked, ku_watch_got, run, &run->monitor, err)) {
		ku_err("%s: %s", word, err);
		return KU_EXIT_USAGE;
	}
	run->loop.in[1] = (struct ku_loop_input){ .fd = ku_monitor_fd(run->monitor), .ready = ku_watch_monitor };
	ku_watch_start(run);
	r = w->cmd ? ku_loop_spawn(&run->loop, w->cmd) : 0;
	if (r) {
		ku_err("%s: cannot start %s: %s", word, w->cmd[0], strerror(-r));
		ku_monitor_close(run->monitor);
		return KU_EXIT_USAGE;
	}
	ku_watch_loop(run);
	status = ku_loop_run(&run->loop, NULL);
	r = ku_monitor_finish(run->monitor);
	ku_monitor_close(run->monitor);
	if (!r)
		return status;
	ku_err("%s: the daemon %s: what is told is not all", word, r == -ETIMEDOUT ? "does not answer" : "has ended");
	return status ? status : KU_EXIT_FAIL;
}

int ku_watch_run(struct ku_watch *w)
{
	struct ku_watch_run *run;
	int status, r;

	if (!w->from && (!ku_watch_choose(w) || (!w->asked && !ku_loop_may_attach(ku_watch_word(w)))))
		return KU_EXIT_USAGE;
	run = calloc(1, sizeof(*run));
	if (!run) {
		ku_err("%s: out of memory", ku_watch_word(w));
		return KU_EXIT_USAGE;
	}
	run->w = w;
	run->some = w->filter.pid || w->filter.container || w->filter.cgroup || w->filter.min_bytes || w->filter.min_ns;
	r = ku_loop_open(&run->loop);
	if (r) {
		ku_err("%s: cannot take signals: %s", ku_watch_word(w), strerror(-r));
		status = KU_EXIT_USAGE;
	} else {
		status = w->from ? ku_watch_from(run) : w->asked ? ku_watch_daemon(run) : ku_watch_live(run);
	}
	ku_loop_give_signals_back(&run->loop);
	for (size_t i = 0; i < run->nearly; i++)
		free(run->early[i]);
	free(run->early);
	free(run);
	return status;
}
