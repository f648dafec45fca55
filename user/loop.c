// SPDX-License-Identifier: GPL-2.0-only
#include "loop.h"

#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "cmd.h"
#include "log.h"
#include "session.h"
#include "stop.h"
#include "util.h"

bool ku_loop_may_attach(const char *what)
{
	int r;

	if (geteuid()) {
		ku_err("%s: attaching needs root (CAP_BPF, CAP_SYS_ADMIN)", what);
		return false;
	}
	r = ku_stop_init();
	if (r)
		ku_err("KUNION_STOP_DIR: %s; it is for tests, by root, and names a directory", strerror(-r));
	return !r;
}

int ku_loop_open(struct ku_loop *l)
{
	sigset_t set;

	*l = (struct ku_loop){ .sigfd = -1 };
	for (unsigned int i = 0; i < KU_LOOP_INPUTS; i++)
		l->in[i].fd = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, &l->mask))
		return -errno;
	/* A reader of our events or our stderr that goes away must not end us with everyone parked. */
	signal(SIGPIPE, SIG_IGN);
	l->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return l->sigfd < 0 ? -errno : 0;
}

int ku_loop_spawn(struct ku_loop *l, char **argv)
{
	l->cmd = fork();
	if (l->cmd < 0)
		return -errno;
	if (l->cmd)
		return 0;
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &l->mask, NULL);
	execvp(argv[0], argv);
	ku_err("%s: %s", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Reads signals and children. True: the end, with *status. */
static bool ku_loop_signals(struct ku_loop *l, int *status)
{
	struct signalfd_siginfo si;
	int st;

	while (read(l->sigfd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD) {
			if (l->cmd > 0 && waitpid(l->cmd, &st, WNOHANG) == l->cmd) {
				*status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
				return true;
			}
			continue;
		}
		/* A terminal that hangs up says so itself. */
		if (si.ssi_signo == SIGHUP && l->hangup && si.ssi_code <= 0) {
			l->hangup(l->arg);
			continue;
		}
		if (si.ssi_signo == SIGUSR1 && l->report) {
			l->report(l->arg);
			continue;
		}
		if (l->cmd <= 0) {
			*status = KU_EXIT_OK;
			return true;
		}
		/* The terminal's signals reach CMD anyhow; others are handed on, and its end is ours. */
		if (si.ssi_code <= 0)
			kill(l->cmd, (int)si.ssi_signo);
	}
	return false;
}

/* The sooner of wait (milliseconds, negative: never) and a moment. */
static int ku_loop_sooner(int wait, uint64_t at_ns, uint64_t now)
{
	/* Rounded up: not once around the loop for nothing. */
	uint64_t ms = at_ns > now ? (at_ns - now + 999999) / 1000000 : 0;

	return wait < 0 || ms < (uint64_t)wait ? (ms > 1000 ? 1000 : (int)ms) : wait;
}

/* Sleeps until something is there. False: an input came to its end. */
static bool ku_loop_poll(struct ku_loop *l, struct ku_session *s, int wait)
{
	struct pollfd fds[2 + KU_LOOP_INPUTS] = {
		{ .fd = l->sigfd, .events = POLLIN },
		{ .fd = s ? ku_session_fd(s) : -1, .events = POLLIN },
	};

	for (unsigned int i = 0; i < KU_LOOP_INPUTS; i++)
		fds[2 + i] = (struct pollfd){ .fd = l->in[i].fd, .events = POLLIN };
	if (poll(fds, KU_ARRAY_SIZE(fds), wait) <= 0)
		return true;
	for (unsigned int i = 0; i < KU_LOOP_INPUTS; i++)
		if (fds[2 + i].revents && !l->in[i].ready(l->arg))
			return false;
	return true;
}

int ku_loop_run(struct ku_loop *l, struct ku_session *s)
{
	uint64_t tick_at = ku_now_ns(), now;
	int status = KU_EXIT_FAIL, wait = -1;

	for (;;) {
		if (s) {
			wait = ku_session_turn(s);
			if (wait < -1) {
				ku_err("the gate broke: %s", strerror(-wait));
				return KU_EXIT_FAIL;
			}
			/* Once a second also without a reason: dropped records are told. */
			if (wait < 0 || wait > 1000)
				wait = 1000;
		}
		if (l->cmd <= 0 && (l->stop || (s && !s->nalive && !s->opts.all && !s->opts.room)))
			return KU_EXIT_OK; /* all unmounted: nothing to do any more */
		now = ku_now_ns();
		if (l->end_ns && now >= l->end_ns)
			return KU_EXIT_OK;
		if (l->tick_ns && now >= tick_at) {
			l->tick(l->arg);
			tick_at = now + l->tick_ns;
		}
		if (l->end_ns)
			wait = ku_loop_sooner(wait, l->end_ns, now);
		if (l->tick_ns)
			wait = ku_loop_sooner(wait, tick_at, now);
		if (!ku_loop_poll(l, s, wait))
			return KU_EXIT_OK;
		if (ku_loop_signals(l, &status))
			return status;
	}
}

void ku_loop_give_signals_back(struct ku_loop *l)
{
	struct signalfd_siginfo si;

	while (l->sigfd >= 0 && read(l->sigfd, &si, sizeof(si)) == sizeof(si))
		;
	ku_closep(&l->sigfd);
	sigprocmask(SIG_SETMASK, &l->mask, NULL);
}

void ku_loop_close(struct ku_loop *l)
{
	ku_closep(&l->sigfd);
}
