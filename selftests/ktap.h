/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small KTAP harness for C test programs: each test runs in a child of its own with a time limit, so a crash or a hang is just
 * another "not ok", and a test that checked nothing is one too.
 *
 *	KTAP_TEST(name)			a test; KTAP_TEST_LIMIT(name, seconds) with its own limit
 *	{
 *		KTAP_CHECK(cond, "got %d", n);	counts, tells a failure, goes on; is cond
 *		KTAP_REQUIRE(cond, "..");	the same, but a failure ends the test
 *		ktap_skip("reason");		ends the test as skipped (a failed check before it stays a failure)
 *		ktap_again("reason");		ends it, as the interleaving it is about did not come: it is run again; in the last attempt a failure
 *		ktap_diag("..");		a line of its own
 *	}
 *	KTAP_MAIN()
 *
 * Checks also count in children that the test forks, as long as they end with _exit(). Arguments: --list, or names of the tests to
 * run. $KTAP_TIMEOUT overrides every limit, in seconds; 0 is none (for debuggers).
 * Exit status: 0 passed, 1 failed, 4 all skipped; 2 for bad arguments.
 */
#ifndef KTAP_H
#define KTAP_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KTAP_LIMIT_DEFAULT 120
#define KTAP_REASON_MAX 256
#define KTAP_ATTEMPTS 3

/* KTAP_EXIT_AGAIN is between a test's child and its parent only. */
enum ktap_exit { KTAP_EXIT_PASS = 0, KTAP_EXIT_FAIL = 1, KTAP_EXIT_USAGE = 2, KTAP_EXIT_SKIP = 4, KTAP_EXIT_AGAIN = 5 };

struct ktap_test {
	const char *name;
	void (*fn)(void);
	unsigned int limit;
	struct ktap_test *next;
};

/* Shared with the child that runs the test, and with its children. */
struct ktap_state {
	unsigned int checks, failures;
	unsigned int attempt; /* 0, 1, .. below KTAP_ATTEMPTS */
	bool skipped;
	char reason[KTAP_REASON_MAX];
};

static struct ktap_test *ktap_tests, **ktap_tests_end = &ktap_tests;
static struct ktap_state *ktap_now;

static inline void ktap_register(struct ktap_test *t)
{
	*ktap_tests_end = t;
	ktap_tests_end = &t->next;
}

/* One write per line, so that the lines of several processes do not mix; a newline in the text begins another "# " line. */
__attribute__((format(printf, 1, 0))) static inline void ktap_vdiag(const char *fmt, va_list ap)
{
	char text[2048], line[2112], *save, *part;

	vsnprintf(text, sizeof(text), fmt, ap);
	fflush(stdout);
	for (part = strtok_r(text, "\n", &save); part; part = strtok_r(NULL, "\n", &save)) {
		int n;

		part += strspn(part, " ");
		n = *part ? snprintf(line, sizeof(line), "# %s\n", part) : 0;
		if (n > 0 && write(STDOUT_FILENO, line, (size_t)n) < 0)
			return;
	}
}

__attribute__((format(printf, 1, 2))) static inline void ktap_diag(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ktap_vdiag(fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 5, 6))) static inline bool ktap_check(bool ok, const char *cond, const char *file, int line,
								    const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	__atomic_add_fetch(&ktap_now->checks, 1, __ATOMIC_RELAXED);
	if (!ok) {
		__atomic_add_fetch(&ktap_now->failures, 1, __ATOMIC_RELAXED);
		ktap_diag("%s:%d: not so: %s (errno %d, %s)", file, line, cond, err, strerror(err));
		va_start(ap, fmt);
		ktap_vdiag(fmt, ap);
		va_end(ap);
	}
	errno = err;
	return ok;
}

/* The blank lets a check stand without words. */
#define KTAP_CHECK(cond, ...) ktap_check((cond), #cond, __FILE__, __LINE__, " " __VA_ARGS__)
#define KTAP_REQUIRE(cond, ...)                        \
	do {                                           \
		if (!KTAP_CHECK(cond, ##__VA_ARGS__))  \
			exit(KTAP_EXIT_FAIL);          \
	} while (0)

__attribute__((format(printf, 1, 2), noreturn)) static inline void ktap_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ktap_now->reason, sizeof(ktap_now->reason), fmt, ap);
	va_end(ap);
	ktap_now->skipped = true;
	exit(KTAP_EXIT_SKIP);
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void ktap_again(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ktap_vdiag(fmt, ap);
	va_end(ap);
	exit(KTAP_EXIT_AGAIN);
}

#define KTAP_TEST_LIMIT(test_name, seconds)                                                                       \
	static void ktap_fn_##test_name(void);                                                                    \
	__attribute__((constructor)) static void ktap_register_##test_name(void)                                  \
	{                                                                                                         \
		static struct ktap_test t = { .name = #test_name, .fn = ktap_fn_##test_name, .limit = (seconds) }; \
                                                                                                                  \
		ktap_register(&t);                                                                                \
	}                                                                                                         \
	static void ktap_fn_##test_name(void)
#define KTAP_TEST(test_name) KTAP_TEST_LIMIT(test_name, KTAP_LIMIT_DEFAULT)

/* Waits for the test's child. False: the limit (0: none) passed. */
static inline bool ktap_wait(pid_t pid, unsigned int limit, int *ret_status)
{
	struct timespec now, end, tick = { .tv_nsec = 100000000 };
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += limit;
	for (;;) {
		if (waitpid(pid, ret_status, WNOHANG) == pid)
			return true;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (limit && (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)))
			return false;
		sigtimedwait(&chld, NULL, &tick); /* SIGCHLD is blocked, so one that came before is not lost */
	}
}

/* Ends and reaps what a test left running, daemons in sessions of their own too: they hold our output and mounts. */
static inline void ktap_sweep(void)
{
	while (waitpid(-1, NULL, WNOHANG) >= 0) {
		FILE *f = fopen("/proc/thread-self/children", "re");
		int pid;

		if (!f) /* no procfs: what is not in the test's group stays */
			return;
		while (fscanf(f, "%d", &pid) == 1)
			kill(pid, SIGKILL);
		fclose(f);
		usleep(1000);
	}
}

/* Runs one test once; returns its exit code and fills in what there is to say about it. */
static inline enum ktap_exit ktap_attempt(const struct ktap_test *t, unsigned int limit, unsigned int attempt)
{
	sigset_t chld, old;
	int status = 0;
	bool ended;
	pid_t pid;

	*ktap_now = (struct ktap_state){ .attempt = attempt };
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &old);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		sigprocmask(SIG_SETMASK, &old, NULL);
		errno = 0;
		t->fn();
		exit(KTAP_EXIT_PASS); /* not _exit(): the leak checker reports at exit */
	}
	if (pid < 0) {
		ktap_diag("fork: %s", strerror(errno));
		sigprocmask(SIG_SETMASK, &old, NULL);
		return KTAP_EXIT_FAIL;
	}
	setpgid(pid, pid); /* whoever of both is first: the group must be there before it is killed */
	ended = ktap_wait(pid, limit, &status);
	kill(-pid, SIGKILL);
	if (!ended)
		waitpid(pid, &status, 0);
	ktap_sweep();
	sigprocmask(SIG_SETMASK, &old, NULL);

	if (!ended)
		ktap_diag("%s: still running after %u s, killed", t->name, limit);
	else if (WIFSIGNALED(status))
		ktap_diag("%s: killed by signal %d (%s)", t->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (ktap_now->failures)
		ktap_diag("%s: %u of %u checks failed", t->name, ktap_now->failures, ktap_now->checks);
	else if (ktap_now->skipped && WEXITSTATUS(status) == KTAP_EXIT_SKIP)
		return KTAP_EXIT_SKIP;
	else if (WEXITSTATUS(status) == KTAP_EXIT_AGAIN && attempt + 1 < KTAP_ATTEMPTS)
		return KTAP_EXIT_AGAIN;
	else if (WEXITSTATUS(status) == KTAP_EXIT_AGAIN)
		ktap_diag("%s: proved nothing in %u attempts", t->name, KTAP_ATTEMPTS);
	else if (WEXITSTATUS(status))
		ktap_diag("%s: exit status %d", t->name, WEXITSTATUS(status));
	else if (!ktap_now->checks)
		ktap_diag("%s: made no check at all", t->name);
	else
		return KTAP_EXIT_PASS;
	return KTAP_EXIT_FAIL;
}

static inline enum ktap_exit ktap_run(const struct ktap_test *t, unsigned int limit)
{
	enum ktap_exit r = KTAP_EXIT_AGAIN;

	for (unsigned int attempt = 0; r == KTAP_EXIT_AGAIN; attempt++)
		r = ktap_attempt(t, limit, attempt);
	return r;
}

static inline bool ktap_selected(const struct ktap_test *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], t->name))
			return true;
	return argc < 2;
}

static inline bool ktap_arguments_known(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct ktap_test *t = ktap_tests;

		while (t && strcmp(t->name, argv[i]))
			t = t->next;
		if (!t) {
			fprintf(stderr, "%s: no test '%s'; --list names them\n", argv[0], argv[i]);
			return false;
		}
	}
	return true;
}

static inline int ktap_main(int argc, char **argv)
{
	const char *limit = getenv("KTAP_TIMEOUT");
	unsigned int count = 0, n = 0, failed = 0, skipped = 0;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (const struct ktap_test *t = ktap_tests; t; t = t->next)
			puts(t->name);
		return KTAP_EXIT_PASS;
	}
	if (!ktap_arguments_known(argc, argv))
		return KTAP_EXIT_USAGE;
	ktap_now = mmap(NULL, sizeof(*ktap_now), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ktap_now == MAP_FAILED) {
		perror("mmap");
		return KTAP_EXIT_FAIL;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* for ktap_sweep() */
	for (const struct ktap_test *t = ktap_tests; t; t = t->next)
		count += ktap_selected(t, argc, argv);

	printf("KTAP version 1\n1..%u\n", count);
	for (const struct ktap_test *t = ktap_tests; t; t = t->next) {
		enum ktap_exit r;

		if (!ktap_selected(t, argc, argv))
			continue;
		r = ktap_run(t, limit ? (unsigned int)atoi(limit) : t->limit);
		n++;
		failed += r == KTAP_EXIT_FAIL;
		skipped += r == KTAP_EXIT_SKIP;
		if (r == KTAP_EXIT_SKIP)
			printf("ok %u %s # SKIP %s\n", n, t->name, ktap_now->reason);
		else
			printf("%s %u %s\n", r == KTAP_EXIT_PASS ? "ok" : "not ok", n, t->name);
		fflush(stdout);
	}
	if (failed || !count)
		return KTAP_EXIT_FAIL;
	return skipped == count ? KTAP_EXIT_SKIP : KTAP_EXIT_PASS;
}

#define KTAP_MAIN()                              \
	int main(int argc, char **argv)          \
	{                                        \
		return ktap_main(argc, argv);    \
	}

#endif
