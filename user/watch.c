// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "cmd.h"
#include "event_file.h"
#include "log.h"
#include "loop.h"
#include "opts.h"
#include "util.h"

/* As `kunion run`: smaller files are copied by the kernel before anybody has come to wait. */
#define KU_MIN_SIZE (1u << 20)
#define KU_MAX_WAIT_NS 30000000000ull
#define KU_SEEN 65536 /* copy-ups of which later changes are told; 512 KiB */

/* options */

enum { KU_O_ALL = 0x100, KU_O_CGROUP, KU_O_UNION, KU_O_PATH, KU_O_MIN_BYTES, KU_O_MIN_MS, KU_O_JSON, KU_O_FROM, KU_O_DURATION };

static const struct argp_option ku_watch_options[] = {
	{ NULL, 0, NULL, 0, "Which unions, and how:", 1 },
	{ "all", KU_O_ALL, NULL, 0, "every overlay mount, those to come too", 1 },
	{ "mode", 'm', "observe|guard|manage", 0, "report copy-ups (default), keep directories free of them, or take them over", 1 },
	{ "min-size", 's', "SIZE", 0, "leave smaller files to the kernel (default: 1M)", 1 },
	{ "max-wait", 'w', "SECONDS", 0, "who has waited so long goes on natively (default: 30)", 1 },
	{ "duration", KU_O_DURATION, "T", 0, "end after so many seconds, or 5m, 2h", 1 },
	{ "from", KU_O_FROM, "FILE|-", 0, "read event lines that 'trace --json' or 'run --events' wrote; attach to nothing", 1 },
	{ NULL, 0, NULL, 0, "Which events:", 2 },
	{ "pid", 'p', "PID", 0, "of this process or thread: that asks, holds or copies", 2 },
	{ "container", 'c', "CONTAINER", 0, "of this container: the beginning of its id, or its name", 2 },
	{ "cgroup", KU_O_CGROUP, "PATH", 0, "of this cgroup and those below it", 2 },
	{ "union", KU_O_UNION, "MERGED", 0, "of this union", 2 },
	{ "path", KU_O_PATH, "GLOB", 0, "of these paths in the union: * and ? within a name, ** across", 2 },
	{ "min-bytes", KU_O_MIN_BYTES, "SIZE", 0, "copy-ups of at least so many bytes", 2 },
	{ "min-ms", KU_O_MIN_MS, "MS", 0, "what took at least so many milliseconds", 2 },
	{ NULL, 0, NULL, 0, "Output:", 3 },
	{ "json", KU_O_JSON, NULL, 0, "for programs", 3 },
	{ "verbose", 'v', NULL, 0, "say more on stderr; twice for all", 3 },
	{ 0 },
};

/* "30", "0.5", "30s", "5m", "2h". */
static int ku_parse_duration(const char *text, uint64_t *ret_ns)
{
	static const char units[] = "smh";
	static const unsigned int factors[] = { 1, 60, 3600 };
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1]) : NULL;
	_cleanup_free_ char *number = strndup(text, unit ? len - 1 : len);
	uint64_t ns;

	if (!number)
		return -ENOMEM;
	if (ku_parse_seconds(number, &ns))
		return -EINVAL;
	*ret_ns = ns * (unit ? factors[unit - units] : 1);
	return 0;
}

/* Milliseconds, with a fraction; up to a day. */
static int ku_parse_ms(const char *text, uint64_t *ret_ns)
{
	char *end;
	double ms;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	ms = strtod(text, &end);
	if (*end || !(ms <= 86400e3))
		return -EINVAL;
	*ret_ns = (uint64_t)(ms * 1e6);
	return 0;
}

static void ku_watch_pid(struct ku_watch *w, const char *arg, struct argp_state *state)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(arg, &end, 10);
	if (arg[0] < '1' || arg[0] > '9' || *end || errno || n > INT_MAX)
		argp_error(state, "--pid '%s': a process id, as 1234", arg);
	w->filter.pid = (uint32_t)n;
}

/* Also as a path of the file system, as tab completion gives it. */
static void ku_watch_cgroup(struct ku_watch *w, const char *arg, struct argp_state *state)
{
	static const char *const mounts[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
	const char *path = arg;

	for (size_t i = 0; i < KU_ARRAY_SIZE(mounts); i++) {
		size_t len = strlen(mounts[i]);

		if (!strncmp(arg, mounts[i], len) && (!arg[len] || arg[len] == '/')) {
			path = arg[len] ? arg + len : "/";
			break;
		}
	}
	if (*path != '/')
		argp_error(state, "--cgroup '%s': its path from the root, as /system.slice/cron.service", arg);
	w->filter.cgroup = path;
}

/* Events have unions by their real path; a recorded one need not exist here. */
static void ku_watch_union(struct ku_watch *w, const char *arg, struct argp_state *state)
{
	size_t len = strlen(arg);

	free(w->union_buf);
	w->union_buf = realpath(arg, NULL);
	if (!w->union_buf && *arg == '/') {
		while (len > 1 && arg[len - 1] == '/')
			len--;
		w->union_buf = strndup(arg, len);
	}
	if (!w->union_buf)
		argp_error(state, "--union '%s': %s", arg, strerror(errno));
	w->filter.union_path = w->union_buf;
}

static void ku_watch_end(struct ku_watch *w, struct argp_state *state)
{
	if (w->from && !w->beside && (w->npaths || w->all))
		argp_error(state, "--from reads what was recorded: leave MERGED and --all out, or name one union by --union");
	if (w->from && w->cmd)
		argp_error(state, "--from reads what was recorded: no command is run");
	if (w->all && w->opts.mode != KU_MODE_OBSERVE)
		argp_error(state, "--all only observes: name the unions for -m guard or -m manage");
	if (w->all && w->npaths)
		argp_error(state, "either MERGED or --all, not both");
	if (!w->from && !w->all && !w->npaths && !w->beside)
		argp_error(state, "no MERGED: name the overlay's merged directory, or --all for every one, or --from FILE");
	if (w->cmd && w->duration_ns)
		argp_error(state, "--duration has no use with a command: its end is the end");
}

static error_t ku_watch_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_watch *w = state->input;
	static int verbose;

	switch (key) {
	case KU_O_ALL:
		w->all = true;
		return 0;
	case 'm':
		if (ku_parse_mode(arg, &w->opts.mode))
			argp_error(state, "--mode '%s': observe, guard or manage", arg);
		return 0;
	case 's':
		if (ku_parse_size(arg, &w->opts.min_size))
			argp_error(state, "--min-size '%s': bytes, or with K, M, G, as 64K", arg);
		return 0;
	case 'w':
		if (ku_parse_seconds(arg, &w->opts.max_wait_ns))
			argp_error(state, "--max-wait '%s': seconds above 0, as 30 or 0.5", arg);
		return 0;
	case KU_O_DURATION:
		if (ku_parse_duration(arg, &w->duration_ns))
			argp_error(state, "--duration '%s': seconds above 0, or with s, m, h, as 5m", arg);
		return 0;
	case KU_O_FROM:
		w->from = arg;
		return 0;
	case 'p':
		ku_watch_pid(w, arg, state);
		return 0;
	case 'c':
		if (!*arg)
			argp_error(state, "--container '': its id or name");
		w->filter.container = arg;
		return 0;
	case KU_O_CGROUP:
		ku_watch_cgroup(w, arg, state);
		return 0;
	case KU_O_UNION:
		ku_watch_union(w, arg, state);
		return 0;
	case KU_O_PATH:
		if (!*arg)
			argp_error(state, "--path '': a glob, as /var/** or *.db");
		w->filter.path = arg;
		return 0;
	case KU_O_MIN_BYTES:
		if (ku_parse_size(arg, &w->filter.min_bytes))
			argp_error(state, "--min-bytes '%s': bytes, or with K, M, G, as 64K", arg);
		return 0;
	case KU_O_MIN_MS:
		if (ku_parse_ms(arg, &w->filter.min_ns))
			argp_error(state, "--min-ms '%s': milliseconds, as 10 or 0.5", arg);
		return 0;
	case KU_O_JSON:
		w->json = true;
		return 0;
	case 'v':
		ku_log_set_level(++verbose > 1 ? KU_LOG_DEBUG : KU_LOG_INFO);
		return 0;
	case ARGP_KEY_ARG:
		w->paths[w->npaths++] = arg;
		return 0;
	case ARGP_KEY_END:
		ku_watch_end(w, state);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

const struct argp ku_watch_argp = {
	.options = ku_watch_options,
	.parser = ku_watch_parse,
};

/* "trace" of "kunion trace" */
static const char *ku_watch_word(const struct ku_watch *w)
{
	const char *blank = strchr(w->name, ' ');

	return blank ? blank + 1 : w->name;
}

int ku_watch_init(struct ku_watch *w, const char *name, int *argc, char **argv)
{
	*w = (struct ku_watch){
		.name = name,
		.opts = { .mode = KU_MODE_OBSERVE, .min_size = KU_MIN_SIZE, .max_wait_ns = KU_MAX_WAIT_NS },
		.fd = -1,
	};
	argp_err_exit_status = KU_EXIT_USAGE;
	for (int i = 1; i < *argc && !w->cmd; i++)
		if (!strcmp(argv[i], "--")) {
			w->cmd = argv + i + 1;
			*argc = i;
		}
	if (w->cmd && !w->cmd[0]) {
		ku_err("%s: no command behind '--'; leave '--' out to run until SIGINT", ku_watch_word(w));
		return KU_EXIT_USAGE;
	}
	w->paths = calloc((size_t)*argc + 1, sizeof(*w->paths));
	if (!w->paths) {
		ku_err("%s: out of memory", ku_watch_word(w));
		return KU_EXIT_USAGE;
	}
	/* argp's name in messages */
	argv[0] = (char *)name;
	ku_log_libbpf(false);
	return 0;
}

void ku_watch_free(struct ku_watch *w)
{
	free(w->paths);
	free(w->union_buf);
	w->paths = NULL;
	w->union_buf = NULL;
	w->filter.union_path = NULL;
}

/* the run */

struct ku_watch_run {
	struct ku_watch *w;
	struct ku_session *s; /* NULL: from a file */
	struct ku_event_file *file;
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

static void ku_watch_got(void *arg, const struct ku_event *e)
{
	struct ku_watch_run *run = arg;
	struct ku_watch *w = run->w;

	if (!run->started) {
		ku_watch_keep(run, e);
		return;
	}
	if (w->stop || !ku_filter_match(&w->filter, e))
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

int ku_watch_run(struct ku_watch *w)
{
	struct ku_watch_run *run;
	int status, r;

	if (!w->from && !ku_loop_may_attach(ku_watch_word(w)))
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
		status = w->from ? ku_watch_from(run) : ku_watch_live(run);
	}
	ku_loop_give_signals_back(&run->loop);
	for (size_t i = 0; i < run->nearly; i++)
		free(run->early[i]);
	free(run->early);
	free(run);
	return status;
}
