// SPDX-License-Identifier: GPL-2.0-only
/* kunion trace: a line for each event, as it happens. */
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cmd.h"
#include "lines.h"
#include "log.h"
#include "trace_fmt.h"
#include "util.h"
#include "watch.h"

/* About 200000 lines for a terminal that somebody has stopped, or a slow reader. Beyond that they are counted. */
#define KU_TRACE_QUEUE (32u << 20)

struct ku_trace {
	struct ku_watch w;
	struct ku_trace_fmt fmt;
	struct ku_lines *lines;
	bool tty, live;
	uint64_t lost;		     /* all of them */
	struct ku_ev_dropped unsaid; /* lines that found no room, since the last one that did */
	int err;
};

/* Has a terminal's width changed? It is asked before each line, rather than to catch a signal. */
static void ku_trace_width(struct ku_trace *t)
{
	struct winsize ws;

	if (t->tty)
		t->fmt.width = !ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_col ? ws.ws_col : 80;
}

static char *ku_trace_text(struct ku_trace *t, const struct ku_event *e)
{
	_cleanup_free_ char *json = NULL;
	char *line;

	if (!t->w.json)
		return ku_trace_line(&t->fmt, e);
	json = ku_event_json(e);
	return json && asprintf(&line, "%s\n", json) >= 0 ? line : NULL;
}

/* Says how many lines found no room. True when that is said, or there is nothing to say. */
static bool ku_trace_say_unsaid(struct ku_trace *t, bool wait)
{
	struct ku_event e = { .type = KU_EV_DROPPED, .union_path = "", .path = "", .dropped = t->unsaid };
	_cleanup_free_ char *line = NULL;

	if (!t->unsaid.count)
		return true;
	e.ts_ns = ku_utc_ns(ku_now_ns());
	line = ku_trace_text(t, &e);
	if (!line || !ku_lines_put(t->lines, line, wait))
		return false;
	t->unsaid = (struct ku_ev_dropped){ 0 };
	return true;
}

static void ku_trace_unsaid(struct ku_trace *t, const struct ku_event *e)
{
	/* What says that something was lost is not lost itself. */
	t->lost += e->type != KU_EV_DROPPED;
	ku_dropped_add(&t->unsaid, e);
}

static void ku_trace_event(void *arg, const struct ku_event *e)
{
	struct ku_trace *t = arg;
	_cleanup_free_ char *line = NULL;

	if (e->type == KU_EV_DROPPED)
		t->lost += e->dropped.count;
	ku_trace_width(t);
	line = ku_trace_text(t, e);
	/* From a file nobody is parked meanwhile. */
	if (!line || !ku_trace_say_unsaid(t, !t->live) || !ku_lines_put(t->lines, line, !t->live))
		ku_trace_unsaid(t, e);
}

/* A write failed: nothing to do any more. */
static bool ku_trace_broken(void *arg, struct ku_session *s)
{
	struct ku_trace *t = arg;

	(void)s;
	t->w.stop = true;
	t->w.fd = -1;
	return t->w.cmd;
}

static void ku_trace_start(void *arg, struct ku_session *s)
{
	struct ku_trace *t = arg;
	_cleanup_free_ char *header = NULL;

	(void)s;
	t->live = !t->w.from;
	t->err = ku_lines_open(STDOUT_FILENO, KU_TRACE_QUEUE, &t->lines);
	if (t->err) {
		t->w.stop = true;
		return;
	}
	t->w.fd = ku_lines_fd(t->lines);
	if (t->w.json)
		return;
	ku_trace_width(t);
	header = ku_trace_header(&t->fmt);
	if (header)
		ku_lines_put(t->lines, header, false);
}

static void ku_trace_look(struct ku_trace *t)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	/* Names are shown as the terminal's character set has them; numbers stay as they are. */
	setlocale(LC_CTYPE, "");
	t->tty = isatty(STDOUT_FILENO);
	t->fmt.utf8 = !t->tty || !strcmp(nl_langinfo(CODESET), "UTF-8");
	t->fmt.colour = t->tty && !(no_color && *no_color) && term && strcmp(term, "dumb");
}

/* Writes what is left. The exit status. */
static int ku_trace_finish(struct ku_trace *t, int status)
{
	int err = t->err;

	if (t->lines) {
		ku_trace_say_unsaid(t, true);
		err = ku_lines_close(t->lines);
	}
	/* Whoever closed the pipe has seen enough. */
	if (err == -EPIPE)
		return status;
	if (err) {
		ku_err("trace: cannot write: %s", strerror(-err));
		return status ? status : KU_EXIT_FAIL;
	}
	if (t->lost)
		fprintf(stderr, "kunion: trace: %" PRIu64 " event%s lost\n", t->lost, t->lost == 1 ? " was" : "s were");
	return status;
}

enum { KU_O_POLICY = 0x200 };

static error_t ku_trace_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_trace *t = state->input;

	switch (key) {
	case KU_O_POLICY:
		t->w.opts.policy = arg;
		return 0;
	case ARGP_KEY_END:
		if (t->w.opts.policy && (t->w.from || t->w.all))
			argp_error(state, "--policy is for unions that are named: leave --from and --all out");
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &t->w;
		return 0;
	case 'W':
		t->w.opts.writes = true;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int ku_cmd_trace(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "policy", KU_O_POLICY, "FILE", 0, "with this policy in force meanwhile, see kunion-policy(5)", 1 },
		{ "writes", 'W', NULL, 0, "also what is made, changed or removed in the upper layer", 2 },
		{ 0 },
	};
	static const struct argp_child children[] = { { .argp = &ku_watch_argp }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = ku_trace_parse,
		.children = children,
		.args_doc = "[MERGED... | --all] [-- CMD [ARG...]]",
		.doc = "Show copy-ups and the waits for them, a line each, as they happen; until CMD ends, or SIGINT.\v"
		       "Exit status: that of CMD (128 + N when signal N ended it), else 0; 1 when a line could not be written; 2 when "
		       "nothing was attached or read.",
	};
	struct ku_trace t = { 0 };
	int status = ku_watch_init(&t.w, "kunion trace", &argc, argv);

	if (status)
		return status;
	t.w.on_start = ku_trace_start;
	t.w.on_event = ku_trace_event;
	t.w.on_input = ku_trace_broken;
	t.w.may_ask = true;
	t.w.arg = &t;
	argp_parse(&argp, argc, argv, 0, NULL, &t);
	ku_trace_look(&t);
	status = ku_trace_finish(&t, ku_watch_run(&t.w));
	ku_watch_free(&t.w);
	return status;
}
