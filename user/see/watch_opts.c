// SPDX-License-Identifier: GPL-2.0-only
/* The options that trace, top, report and metrics share. */
#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "cmd.h"
#include "ctl/server.h"
#include "log.h"
#include "opts.h"
#include "util.h"
#include "watch.h"

/* As `kunion run`: smaller files are copied by the kernel before anybody has come to wait. */
#define KU_MIN_SIZE (1u << 20)
#define KU_MAX_WAIT_NS 30000000000ull

enum { KU_O_ALL = 0x100, KU_O_CGROUP, KU_O_UNION, KU_O_PATH, KU_O_MIN_BYTES, KU_O_MIN_MS, KU_O_JSON, KU_O_FROM, KU_O_DURATION, KU_O_NO_DAEMON };

static const struct argp_option ku_watch_options[] = {
	{ NULL, 0, NULL, 0, "Which unions, and how:", 1 },
	{ "all", KU_O_ALL, NULL, 0, "every overlay mount, those to come too", 1 },
	{ "mode", 'm', "observe|guard|manage", 0, "report copy-ups (default), keep directories free of them, or take them over", 1 },
	{ "min-size", 's', "SIZE", 0, "leave smaller files to the kernel (default: 1M)", 1 },
	{ "max-wait", 'w', "SECONDS", 0, "who has waited so long goes on natively (default: 30)", 1 },
	{ "duration", KU_O_DURATION, "T", 0, "end after so many seconds, or 5m, 2h", 1 },
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
	if (!w->from && !w->all && !w->npaths && !w->beside && !ku_watch_may_ask(w))
		argp_error(state, "no MERGED: name the overlay's merged directory, or --all for every one, or --from FILE");
	if (w->socket && (w->from || w->no_daemon))
		argp_error(state, "either --socket or --%s, not both", w->from ? "from" : "no-daemon");
	if (w->socket && !ku_watch_may_ask(w))
		argp_error(state, "--mode and --policy are for what kunion attaches itself: leave them out, or --socket");
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

static const struct argp ku_watch_all_argp = {
	.options = ku_watch_options,
	.parser = ku_watch_parse,
};

static const struct argp_child ku_watch_children[] = { { .argp = &ku_watch_all_argp }, { 0 } };

/* Where it comes from: those above are its child's. */
static error_t ku_watch_parse_source(int key, char *arg, struct argp_state *state)
{
	struct ku_watch *w = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = w;
		return 0;
	case KU_O_FROM:
		w->from = arg;
		return 0;
	case 'S':
		w->socket = arg;
		return 0;
	case KU_O_NO_DAEMON:
		w->no_daemon = true;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

#define KU_WATCH_DAEMON                                                                                                            \
	{ "socket", 'S', "PATH", 0, "of the daemon (default: " KU_CTL_SOCKET ")", 1 },                                     \
	{ "no-daemon", KU_O_NO_DAEMON, NULL, 0, "attach, also where the daemon is attached and could be asked", 1 }

static const struct argp_option ku_watch_from_options[] = {
	{ "from", KU_O_FROM, "FILE|-", 0, "read event lines that 'trace --json' or 'run --events' wrote; attach to nothing", 1 },
	KU_WATCH_DAEMON,
	{ 0 },
};

/* Understood, so that it can be said what would be right. */
static const struct argp_option ku_watch_now_options[] = {
	{ "from", KU_O_FROM, "FILE|-", OPTION_HIDDEN, NULL, 1 },
	KU_WATCH_DAEMON,
	{ 0 },
};

static const struct argp_option ku_watch_count_options[] = {
	{ "from", KU_O_FROM, "FILE|-", OPTION_HIDDEN, NULL, 1 },
	{ 0 },
};

const struct argp ku_watch_argp = { .options = ku_watch_from_options, .parser = ku_watch_parse_source, .children = ku_watch_children };
const struct argp ku_watch_now_argp = { .options = ku_watch_now_options, .parser = ku_watch_parse_source, .children = ku_watch_children };
const struct argp ku_watch_count_argp = { .options = ku_watch_count_options, .parser = ku_watch_parse_source, .children = ku_watch_children };

const char *ku_watch_word(const struct ku_watch *w)
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
	ku_watch_forget(w);
	free(w->paths);
	free(w->union_buf);
	w->paths = NULL;
	w->union_buf = NULL;
	w->filter.union_path = NULL;
}
