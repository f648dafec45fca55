/* SPDX-License-Identifier: GPL-2.0-only */
/* The loop of a command that attaches, or reads what was recorded: signals, CMD, a session, and until when. */
#ifndef KU_LOOP_H
#define KU_LOOP_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ku_session;

#define KU_LOOP_INPUTS 2

struct ku_loop {
	int sigfd;
	sigset_t mask; /* as it was */
	pid_t cmd;     /* 0: none */
	bool stop;     /* set by a callback: end, with CMD when there is one */
	uint64_t end_ns;  /* CLOCK_MONOTONIC; 0: never */
	uint64_t tick_ns; /* period; 0: never */
	void (*tick)(void *arg);
	void (*hangup)(void *arg); /* on a SIGHUP that a process sent; NULL: as any other signal */
	void (*report)(void *arg); /* on SIGUSR1; NULL: as any other signal */
	struct ku_loop_input {
		int fd; /* -1: none */
		bool (*ready)(void *arg); /* false: the end, at once */
	} in[KU_LOOP_INPUTS];
	void *arg;
};

/* Is this user allowed to attach, and are the tests' stopping places in order? Returns false after one line on stderr. what: "run". */
bool ku_loop_may_attach(const char *what);

/* Takes the signals that end us, and ignores SIGPIPE. Returns 0 or -errno. */
int ku_loop_open(struct ku_loop *l);

/* Starts CMD with the signals as they were. Returns 0 or -errno. */
int ku_loop_spawn(struct ku_loop *l, char **argv);

/*
 * Runs until CMD ends, else until a signal, the end of all unions (unless more may come), of the input or of the time. s may be NULL.
 * Returns the exit status: CMD's (128 + N for signal N), KU_EXIT_OK, or KU_EXIT_FAIL after one line on stderr.
 */
int ku_loop_run(struct ku_loop *l, struct ku_session *s);

/* Gives the signals back, so that what is left to do can be interrupted; those that came meanwhile are gone. */
void ku_loop_give_signals_back(struct ku_loop *l);

void ku_loop_close(struct ku_loop *l);

#endif
