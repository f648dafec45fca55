// SPDX-License-Identifier: GPL-2.0-only
/* kunion run: attached for as long as a command runs. */
#include <argp.h>
#include <string.h>

#include "cmd.h"
#include "log.h"
#include "loop.h"
#include "opts.h"
#include "scan.h"
#include "session.h"
#include "util.h"

/* Smaller files are copied by the kernel before a worker has even opened them. */
#define KU_MIN_SIZE (1u << 20)
#define KU_MAX_WAIT_NS 30000000000ull

struct ku_run {
	struct ku_session_opts opts;
	char **paths;
	unsigned int npaths;
	struct ku_scan_wanted found;
	bool all;
};

enum { KU_O_PIN = 0x200, KU_O_ANSWER, KU_O_PID, KU_O_ALL, KU_O_MATCH };

static const struct argp_option ku_run_options[] = {
	{ "container", 'c', "CONTAINER", 0, "instead of MERGED: the overlays of this container, the beginning of its id, or its name", 0 },
	{ "pid", KU_O_PID, "PID", 0, "the overlays of this process's mount namespace", 0 },
	{ "all", KU_O_ALL, NULL, 0, "every overlay that is mounted now, containers' too", 0 },
	{ "match", KU_O_MATCH, "GLOB", 0, "of these only the ones with such a path: * and ? within a name, ** across", 0 },
	{ "mode", 'm', "observe|guard|manage", 0, "report copy-ups, keep directories free of them, or take them over (default)", 0 },
	{ "min-size", 's', "SIZE", 0, "leave smaller files to the kernel (default: 1M)", 0 },
	{ "max-wait", 'w', "SECONDS", 0, "who has waited so long goes on natively (default: 30)", 0 },
	{ "policy", 'p', "FILE", 0, "what may be written into the upper layer, see kunion-policy(5); read again on SIGHUP", 0 },
	{ "pin", KU_O_PIN, NULL, 0, "the policy stays in force when kunion ends, until 'kunion detach --all'", 0 },
	{ "answer", KU_O_ANSWER, "PROGRAM", 0, "run for each operation that the policy holds; its exit status 0 allows, 1 denies", 0 },
	{ "events", 'e', "FILE|-", 0, "append one JSON object a line", 0 },
	{ "verbose", 'v', NULL, 0, "say more on stderr; twice for all", 0 },
	{ 0 },
};

static void ku_run_found_end(struct ku_run *run, struct argp_state *state)
{
	int ways = !!run->found.pid + !!run->found.container + run->all;

	if (ways > 1)
		argp_error(state, "one of --pid, --container and --all");
	if (ways && run->npaths)
		argp_error(state, "'%s': with --pid, --container or --all no MERGED is named; --match takes a glob", run->paths[0]);
	if (!ways && run->found.match)
		argp_error(state, "--match goes with --pid, --container or --all");
	if (!ways && !run->npaths)
		argp_error(state, "no MERGED: name the overlay's merged directory");
	if (ways && run->opts.pin)
		argp_error(state, "--pin is for unions that are named: MERGED");
	if (ways)
		run->opts.found = &run->found;
}

static error_t ku_run_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_run *run = state->input;
	static int verbose;
	pid_t pid;

	switch (key) {
	case 'c':
		if (!*arg)
			argp_error(state, "--container '': the beginning of its id, or its name");
		run->found.container = arg;
		return 0;
	case KU_O_PID:
		if (ku_parse_pid(arg, &pid))
			argp_error(state, "--pid '%s': a process's number is wanted", arg);
		run->found.pid = (uint32_t)pid;
		return 0;
	case KU_O_ALL:
		run->all = true;
		return 0;
	case KU_O_MATCH:
		if (!*arg)
			argp_error(state, "--match '': a glob, as /var/lib/containers/**");
		run->found.match = arg;
		return 0;
	case 'm':
		if (ku_parse_mode(arg, &run->opts.mode))
			argp_error(state, "--mode '%s': observe, guard or manage", arg);
		return 0;
	case 's':
		if (ku_parse_size(arg, &run->opts.min_size))
			argp_error(state, "--min-size '%s': bytes, or with K, M, G, as 64K", arg);
		return 0;
	case 'w':
		if (ku_parse_seconds(arg, &run->opts.max_wait_ns))
			argp_error(state, "--max-wait '%s': seconds above 0, as 30 or 0.5", arg);
		return 0;
	case 'p':
		run->opts.policy = arg;
		return 0;
	case KU_O_PIN:
		run->opts.pin = true;
		return 0;
	case KU_O_ANSWER:
		run->opts.answer = arg;
		return 0;
	case 'e':
		run->opts.events = arg;
		return 0;
	case 'v':
		ku_log_set_level(++verbose > 1 ? KU_LOG_DEBUG : KU_LOG_INFO);
		return 0;
	case ARGP_KEY_ARG:
		run->paths[run->npaths++] = arg;
		return 0;
	case ARGP_KEY_END:
		ku_run_found_end(run, state);
		if (run->opts.pin && !run->opts.policy)
			argp_error(state, "--pin is for a policy: name one with --policy FILE");
		if (run->opts.answer && !run->opts.policy)
			argp_error(state, "--answer is for a policy: name one with --policy FILE");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp ku_run_argp = {
	.options = ku_run_options,
	.parser = ku_run_parse,
	.args_doc = "MERGED [MERGED...] [-- CMD [ARG...]]\n--container CONTAINER [-- CMD [ARG...]]\n--pid PID [-- CMD [ARG...]]\n--all [-- CMD [ARG...]]",
	.doc = "Attach to overlay mounts for as long as CMD runs; without CMD until SIGINT or SIGTERM.\v"
	       "Exit status: that of CMD (128 + N when signal N ended it); 2 when nothing was attached.",
};

static void ku_run_hangup(void *arg)
{
	ku_session_policy_reload(arg);
}

static void ku_run_report(void *arg)
{
	ku_session_policy_report(arg);
}

int ku_cmd_run(int argc, char **argv)
{
	struct ku_run run = {
		.opts = { .mode = KU_MODE_MANAGE, .min_size = KU_MIN_SIZE, .max_wait_ns = KU_MAX_WAIT_NS, .summary = true },
	};
	char err[512] = "", name[] = "kunion run", **cmd = NULL;
	struct ku_session *s;
	struct ku_loop loop;
	int status, r;

	argp_err_exit_status = KU_EXIT_USAGE;
	for (int i = 1; i < argc && !cmd; i++)
		if (!strcmp(argv[i], "--")) {
			cmd = argv + i + 1;
			argc = i;
		}
	if (cmd && !cmd[0]) {
		ku_err("run: no command behind '--'; leave '--' out to run until SIGINT");
		return KU_EXIT_USAGE;
	}
	run.paths = calloc((size_t)argc + 1, sizeof(*run.paths));
	if (!run.paths) {
		ku_err("out of memory");
		return KU_EXIT_USAGE;
	}
	argv[0] = name;
	ku_log_libbpf(false);
	if (argp_parse(&ku_run_argp, argc, argv, 0, NULL, &run)) {
		free(run.paths);
		return KU_EXIT_USAGE;
	}
	if (!ku_loop_may_attach("run")) {
		free(run.paths);
		return KU_EXIT_USAGE;
	}
	r = ku_loop_open(&loop);
	s = ku_session_start(&run.opts, run.paths, run.npaths, err);
	free(run.paths);
	if (r || !s) {
		ku_err("%s", s ? "cannot take signals" : err);
		ku_session_end(s);
		ku_loop_close(&loop);
		return KU_EXIT_USAGE;
	}
	r = cmd ? ku_loop_spawn(&loop, cmd) : 0;
	if (r) {
		ku_err("cannot start %s: %s", cmd[0], strerror(-r));
		ku_session_end(s);
		ku_loop_close(&loop);
		return KU_EXIT_USAGE;
	}
	if (!cmd)
		fprintf(stderr, "kunion: attached, tier %s\n", ku_tier_name(s->bpf.tier));
	if (run.opts.policy) {
		loop.hangup = ku_run_hangup;
		loop.report = ku_run_report;
		loop.arg = s;
	}
	status = ku_loop_run(&loop, s);
	ku_session_end(s);
	ku_loop_close(&loop);
	return status;
}
