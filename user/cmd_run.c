// SPDX-License-Identifier: GPL-2.0-only
/* kunion run: attached for as long as a command runs. */
#include <argp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "cmd.h"
#include "log.h"
#include "opts.h"
#include "session.h"
#include "stop.h"
#include "util.h"

/* Smaller files are copied by the kernel before a worker has even opened them. */
#define KU_MIN_SIZE (1u << 20)
#define KU_MAX_WAIT_NS 30000000000ull

struct ku_run {
	struct ku_session_opts opts;
	char **paths;
	unsigned int npaths;
};

static const struct argp_option ku_run_options[] = {
	{ "mode", 'm', "manage|observe", 0, "take copy-ups over, or only report them (default: manage)", 0 },
	{ "min-size", 's', "SIZE", 0, "leave smaller files to the kernel (default: 1M)", 0 },
	{ "max-wait", 'w', "SECONDS", 0, "who has waited so long goes on natively (default: 30)", 0 },
	{ "events", 'e', "FILE|-", 0, "append one JSON object a line", 0 },
	{ "verbose", 'v', NULL, 0, "say more on stderr; twice for all", 0 },
	{ 0 },
};

static error_t ku_run_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_run *run = state->input;
	static int verbose;

	switch (key) {
	case 'm':
		if (!strcmp(arg, "manage"))
			run->opts.mode = KU_MODE_MANAGE;
		else if (!strcmp(arg, "observe"))
			run->opts.mode = KU_MODE_OBSERVE;
		else
			argp_error(state, "--mode '%s': manage or observe", arg);
		return 0;
	case 's':
		if (ku_parse_size(arg, &run->opts.min_size))
			argp_error(state, "--min-size '%s': bytes, or with K, M, G, as 64K", arg);
		return 0;
	case 'w':
		if (ku_parse_seconds(arg, &run->opts.max_wait_ns))
			argp_error(state, "--max-wait '%s': seconds above 0, as 30 or 0.5", arg);
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
		if (!run->npaths)
			argp_error(state, "no MERGED: name the overlay's merged directory");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp ku_run_argp = {
	.options = ku_run_options,
	.parser = ku_run_parse,
	.args_doc = "MERGED [MERGED...] [-- CMD [ARG...]]",
	.doc = "Attach to overlay mounts for as long as CMD runs; without CMD until SIGINT or SIGTERM.\v"
	       "Exit status: that of CMD (128 + N when signal N ended it); 2 when nothing was attached.",
};

/* The signals that end us, and the child's end, as a descriptor. Returns it or -errno. */
static int ku_signals(sigset_t *old)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, old))
		return -errno;
	/* A reader of our events or our stderr that goes away must not end us with everyone parked. */
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Starts CMD with the signals as they were. Returns its pid or -errno. */
static pid_t ku_spawn(char **argv, const sigset_t *mask)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid)
		return pid;
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	ku_err("%s: %s", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Reads signals and children. True: the end, with *status. */
static bool ku_run_signals(int fd, pid_t cmd, int *status)
{
	struct signalfd_siginfo si;
	int st;

	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD) {
			if (cmd > 0 && waitpid(cmd, &st, WNOHANG) == cmd) {
				*status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
				return true;
			}
			continue;
		}
		if (cmd <= 0) {
			*status = KU_EXIT_OK;
			return true;
		}
		/* The terminal's signals reach CMD anyhow; others are handed on, and its end is ours. */
		if (si.ssi_code <= 0)
			kill(cmd, (int)si.ssi_signo);
	}
	return false;
}

static int ku_run_loop(struct ku_session *s, int sigfd, pid_t cmd)
{
	struct pollfd fds[2] = { { .fd = sigfd, .events = POLLIN }, { .fd = ku_session_fd(s), .events = POLLIN } };
	int status = KU_EXIT_FAIL, next;

	for (;;) {
		next = ku_session_turn(s);
		if (next < 0 && next != -1) {
			ku_err("the gate broke: %s", strerror(-next));
			return KU_EXIT_FAIL;
		}
		if (cmd <= 0 && !s->nalive)
			return KU_EXIT_OK; /* all unmounted: nothing to do any more */
		/* Once a second also without a reason: dropped records are told. */
		if (poll(fds, 2, next < 0 || next > 1000 ? 1000 : next) < 0 && errno != EINTR)
			return KU_EXIT_FAIL;
		if (ku_run_signals(sigfd, cmd, &status))
			return status;
	}
}

int ku_cmd_run(int argc, char **argv)
{
	struct ku_run run = {
		.opts = { .mode = KU_MODE_MANAGE, .min_size = KU_MIN_SIZE, .max_wait_ns = KU_MAX_WAIT_NS, .summary = true },
	};
	char err[512] = "", name[] = "kunion run", **cmd = NULL;
	_cleanup_close_ int sigfd = -1;
	struct ku_session *s;
	sigset_t mask;
	pid_t pid = 0;
	int status;

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
	if (geteuid()) {
		ku_err("run: attaching needs root (CAP_BPF, CAP_SYS_ADMIN)");
		free(run.paths);
		return KU_EXIT_USAGE;
	}
	status = ku_stop_init();
	if (status) {
		ku_err("KUNION_STOP_DIR: %s; it is for tests, by root, and names a directory", strerror(-status));
		free(run.paths);
		return KU_EXIT_USAGE;
	}
	sigfd = ku_signals(&mask);
	s = ku_session_start(&run.opts, run.paths, run.npaths, err);
	free(run.paths);
	if (sigfd < 0 || !s) {
		ku_err("%s", s ? "cannot take signals" : err);
		ku_session_end(s);
		return KU_EXIT_USAGE;
	}
	if (cmd) {
		pid = ku_spawn(cmd, &mask);
		if (pid < 0) {
			ku_err("cannot start %s: %s", cmd[0], strerror(-pid));
			ku_session_end(s);
			return KU_EXIT_USAGE;
		}
	} else {
		fprintf(stderr, "kunion: attached, tier %s\n", ku_tier_name(s->bpf.tier));
	}
	status = ku_run_loop(s, sigfd, pid);
	ku_session_end(s);
	return status;
}
