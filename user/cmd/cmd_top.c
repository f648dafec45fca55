// SPDX-License-Identifier: GPL-2.0-only
/* kunion top: what is being copied up now, at whose request, and who waits. */
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "cmd.h"
#include "counts.h"
#include "ctl/client.h"
#include "ctl/live_json.h"
#include "lines.h"
#include "log.h"
#include "opts.h"
#include "top_model.h"
#include "top_screen.h"
#include "util.h"
#include "watch.h"

/* For a slow reader of --json; a snapshot that finds no room is left out. */
#define KU_TOP_QUEUE (8u << 20)

struct ku_top {
	struct ku_watch w;
	unsigned int count, done; /* snapshots; count 0: no limit */
	struct ku_top_model *model;
	struct ku_top_screen *screen;
	struct ku_lines *lines;
	int err;
	char mode[16], tier[16]; /* the daemon's */
	char refused[512];	 /* what it said in the end; "": nothing */
};

/* The session's state, through the filter. */

static void ku_top_on_count(void *arg, const struct ku_counts *c)
{
	struct ku_top *top = arg;

	if (ku_watch_has(&top->w, c->union_path) && ku_counts_match(&top->w.filter, c))
		ku_top_count(top->model, c);
}

static void ku_top_on_copy(void *arg, const struct ku_live_copy *c)
{
	struct ku_top *top = arg;
	struct ku_event e = {
		.type = KU_EV_COPYUP,
		.union_path = c->union_path,
		.path = c->path,
		.copyup = { .id = c->id, .kind = "file", .op = c->op, .syscall = "", .who = c->who, .engine = c->engine, .data = "",
			    .size = c->size, .bytes = c->size, .total_us = (ku_now_ns() - c->start_ns) / 1000, .result = "ok" },
	};

	if (ku_watch_has(&top->w, c->union_path) && ku_filter_match(&top->w.filter, &e))
		ku_top_copy(top->model, c);
}

static void ku_top_on_wait(void *arg, const struct ku_live_wait *w)
{
	struct ku_top *top = arg;
	struct ku_event e = {
		.type = KU_EV_WAIT,
		.union_path = w->union_path,
		.path = w->path,
		.wait = { .op = w->op, .syscall = "", .who = w->who, .on = w->on, .holder = w->holder, .holder_op = "",
			  .copyup_id = w->copyup_id, .copyup_path = "", .copyup_comm = "", .wait_us = (ku_now_ns() - w->start_ns) / 1000,
			  .result = "released" },
	};

	if (ku_watch_has(&top->w, w->union_path) && ku_filter_match(&top->w.filter, &e))
		ku_top_wait(top->model, w);
}

static void ku_top_on_event(void *arg, const struct ku_event *e)
{
	struct ku_top *top = arg;

	ku_top_event(top->model, e);
}

static void ku_top_say(struct ku_top *top, struct ku_top_snap *snap)
{
	_cleanup_free_ char *json = ku_top_json(snap), *line = NULL;

	ku_top_snap_free(snap);
	if (json && asprintf(&line, "%s\n", json) >= 0)
		ku_lines_put(top->lines, line, false);
	if (top->count && ++top->done >= top->count)
		top->w.stop = true;
}

static void ku_top_show(struct ku_top *top, const struct ku_top_head *head)
{
	struct ku_top_snap *snap = ku_top_end(top->model, head);

	if (!snap)
		return;
	if (top->screen)
		ku_top_screen_show(top->screen, snap);
	else
		ku_top_say(top, snap);
}

/* The same from the daemon. */
static void ku_top_ask(struct ku_top *top)
{
	const struct ku_live_ops ops = { .copy = ku_top_on_copy, .wait = ku_top_on_wait, .count = ku_top_on_count, .arg = top };
	struct ku_top_head head = { .mode = top->mode, .tier = top->tier };
	struct json_object *reply = NULL;

	if (ku_ctl_ask(top->w.asked, "Live", NULL, &reply, top->refused)) {
		top->w.stop = true;
		return;
	}
	/* Once: the screen may be reading them. */
	if (!top->mode[0]) {
		snprintf(top->mode, sizeof(top->mode), "%s", ku_live_text(reply, "mode"));
		snprintf(top->tier, sizeof(top->tier), "%s", ku_live_text(reply, "tier"));
	}
	head.unions = top->w.only ? top->w.npaths : (unsigned int)ku_live_u64(reply, "unions");
	head.gauges.dropped_others = ku_live_u64(reply, "dropped");
	head.gauges.parked = ku_live_u64(reply, "parked");
	ku_top_begin(top->model, ku_now_ns());
	ku_live_parse(reply, &ops);
	json_object_put(reply);
	ku_top_show(top, &head);
}

static void ku_top_on_tick(void *arg, struct ku_session *s)
{
	struct ku_top *top = arg;
	struct ku_top_head head = { 0 };

	if (!s) {
		ku_top_ask(top);
		return;
	}
	head = (struct ku_top_head){ .mode = ku_session_mode(s), .tier = ku_session_tier(s), .unions = ku_session_nunions(s) };
	ku_gauges_read(s, &head.gauges);
	ku_top_begin(top->model, ku_now_ns());
	ku_counts_each(s, ku_top_on_count, top);
	ku_live_each(s, ku_top_on_copy, ku_top_on_wait, top);
	ku_top_show(top, &head);
}

static bool ku_top_on_end(void *arg, struct ku_session *s)
{
	(void)arg;
	(void)s;
	return false;
}

/* Only here: what attaching has to say comes before. */
static void ku_top_on_start(void *arg, struct ku_session *s)
{
	struct ku_top *top = arg;

	(void)s;
	if (top->w.json) {
		top->err = ku_lines_open(STDOUT_FILENO, KU_TOP_QUEUE, &top->lines);
		top->w.fd = top->err ? -1 : ku_lines_fd(top->lines);
	} else {
		top->err = ku_top_screen_open(top->count, &top->screen);
		top->w.fd = top->err ? -1 : ku_top_screen_fd(top->screen);
	}
	top->w.stop = top->err;
}

static int ku_top_finish(struct ku_top *top, int status)
{
	int err = 0;

	/* Before any word: stderr is the terminal again. */
	ku_top_screen_close(top->screen);
	if (top->lines)
		err = ku_lines_close(top->lines);
	if (top->err == -ENODEV)
		ku_err("top: cannot draw on a terminal of type '%s'; set TERM to what it is, or use 'kunion trace'", getenv("TERM") ?: "");
	else if (top->err)
		ku_err("top: %s", strerror(-top->err));
	if (top->err)
		return KU_EXIT_USAGE;
	if (top->refused[0]) {
		ku_err("top: %s", top->refused);
		status = status ? status : KU_EXIT_FAIL;
	}
	/* Whoever closed the pipe has seen enough. */
	if (err && err != -EPIPE) {
		ku_err("top: cannot write: %s", strerror(-err));
		status = status ? status : KU_EXIT_FAIL;
	}
	return status;
}

static error_t ku_top_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_top *top = state->input;
	unsigned long n;
	char *end;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &top->w;
		return 0;
	case 'd':
		if (ku_parse_seconds(arg, &top->w.tick_ns) || top->w.tick_ns < 50000000)
			argp_error(state, "--delay '%s': seconds, at least 0.05, as 2 or 0.5", arg);
		return 0;
	case 'n':
		errno = 0;
		n = strtoul(arg, &end, 10);
		if (*arg < '1' || *arg > '9' || *end || errno || n > UINT_MAX)
			argp_error(state, "--count '%s': how often, as 10", arg);
		top->count = (unsigned int)n;
		return 0;
	case ARGP_KEY_END:
		if (top->w.from)
			argp_error(state, "top shows what happens now; for a file of events use 'kunion report --from %s'", top->w.from);
		if (top->w.cmd)
			argp_error(state, "top runs no command: start it elsewhere, or use 'kunion trace'");
		if (!top->w.json && !isatty(STDOUT_FILENO))
			argp_error(state, "stdout is no terminal; use 'kunion trace', or top --json");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int ku_cmd_top(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "delay", 'd', "SECONDS", 0, "between two pictures (default: 1)", 4 },
		{ "count", 'n', "COUNT", 0, "end after so many", 4 },
		{ 0 },
	};
	static const struct argp_child children[] = { { .argp = &ku_watch_now_argp }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = ku_top_parse,
		.children = children,
		.args_doc = "[MERGED... | --all]",
		.doc = "Show what is being copied up now, who waits for it, the busiest unions and the longest waits; the key h lists "
		       "the keys.\v"
		       "With --json one JSON object for each picture, also without a terminal.\n"
		       "Exit status: 0; 1 when a line could not be written; 2 when nothing was attached.",
	};
	struct ku_top top = { 0 };
	int status = ku_watch_init(&top.w, "kunion top", &argc, argv);
	sigset_t winch;

	if (status)
		return status;
	top.w.tick_ns = 1000000000;
	top.w.may_ask = true;
	top.w.on_start = ku_top_on_start;
	top.w.on_event = ku_top_on_event;
	top.w.on_tick = ku_top_on_tick;
	top.w.on_input = ku_top_on_end;
	top.w.arg = &top;
	argp_parse(&argp, argc, argv, 0, NULL, &top);
	/* For the screen, in all threads that the session will have. */
	sigemptyset(&winch);
	sigaddset(&winch, SIGWINCH);
	sigprocmask(SIG_BLOCK, &winch, NULL);
	top.model = ku_top_new(!ku_counts_can(&top.w.filter));
	if (!top.model) {
		ku_err("top: out of memory");
		status = KU_EXIT_USAGE;
	} else {
		status = ku_top_finish(&top, ku_watch_run(&top.w));
	}
	ku_top_free(top.model);
	ku_watch_free(&top.w);
	return status;
}
