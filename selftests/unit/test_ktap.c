// SPDX-License-Identifier: GPL-2.0-only
/* The harness itself: what must not pass does not. */
#include "ktap.h"

#include <fcntl.h>
#include <sys/resource.h>

static void passes(void)
{
	KTAP_CHECK(true);
}

static void fails(void)
{
	KTAP_CHECK(false, "said %d\nin two lines", 42);
	KTAP_CHECK(true);
}

static void checks_nothing(void)
{
}

static void crashes(void)
{
	const struct rlimit none = { 0 };

	KTAP_CHECK(true);
	setrlimit(RLIMIT_CORE, &none);
	abort();
}

static void hangs(void)
{
	KTAP_CHECK(true);
	for (;;)
		pause();
}

static void skips(void)
{
	ktap_skip("reason %d", 7);
}

static void fails_and_skips(void)
{
	KTAP_CHECK(false);
	ktap_skip("too late");
}

static void requires(void)
{
	KTAP_REQUIRE(false, "needed");
	ktap_diag("never said");
}

static void exits(void)
{
	KTAP_CHECK(true);
	exit(3);
}

static void comes_at_last(void)
{
	KTAP_CHECK(true);
	if (ktap_now->attempt + 1 < KTAP_ATTEMPTS)
		ktap_again("too quick in attempt %u", ktap_now->attempt);
}

static void never_comes(void)
{
	KTAP_CHECK(true);
	ktap_again("too quick");
}

static void fails_and_again(void)
{
	if (ktap_now->attempt == 0) {
		KTAP_CHECK(false);
		ktap_again("too quick");
	}
	KTAP_CHECK(true);
}

static void child_fails(void)
{
	KTAP_CHECK(true);
	if (fork() == 0) {
		KTAP_CHECK(false);
		_exit(0);
	}
	wait(NULL);
}

static void leaves_a_daemon(void)
{
	KTAP_CHECK(true);
	if (fork() == 0) {
		setsid();
		if (fork() == 0)
			setsid();
		sleep(100);
		_exit(0);
	}
	usleep(50000);
}

static char text[1 << 16];

/* Runs these as a program of their own; its exit status, its output in text. */
static int run(unsigned int n, struct ktap_test *tests, char *arg)
{
	char *argv[] = { (char *)"inner", arg, NULL };
	struct ktap_state *mine = ktap_now;
	int saved, status, p[2];
	size_t size = 0;
	ssize_t got;
	pid_t pid;

	fflush(stdout);
	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		ktap_tests = NULL;
		ktap_tests_end = &ktap_tests;
		for (unsigned int i = 0; i < n; i++)
			ktap_register(&tests[i]);
		saved = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (dup2(p[1], STDOUT_FILENO) < 0 || dup2(saved, STDERR_FILENO) < 0)
			_exit(99);
		unsetenv("KTAP_TIMEOUT");
		status = ktap_main(arg ? 2 : 1, argv);
		fflush(stdout);
		_exit(status);
	}
	close(p[1]);
	while ((got = read(p[0], text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)got;
	text[size] = '\0';
	close(p[0]);
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	ktap_now = mine;
	return WEXITSTATUS(status);
}

#define INNER(f) { .name = #f, .fn = f, .limit = 10 }

KTAP_TEST(a_pass)
{
	struct ktap_test t[] = { INNER(passes) };

	KTAP_CHECK(run(1, t, NULL) == KTAP_EXIT_PASS);
	KTAP_CHECK(!strcmp(text, "KTAP version 1\n1..1\nok 1 passes\n"), "%s", text);
}

/* Each attempt says why it was not the last. */
KTAP_TEST(a_pass_in_the_last_attempt)
{
	struct ktap_test t[] = { INNER(comes_at_last) };

	KTAP_CHECK(run(1, t, NULL) == KTAP_EXIT_PASS);
	KTAP_CHECK(!strcmp(text, "KTAP version 1\n1..1\n# too quick in attempt 0\n# too quick in attempt 1\nok 1 comes_at_last\n"), "%s", text);
}

KTAP_TEST(what_must_not_pass)
{
	struct ktap_test t[] = { INNER(fails), INNER(checks_nothing), INNER(crashes), INNER(fails_and_skips),
				 INNER(requires), INNER(exits), INNER(child_fails), INNER(never_comes), INNER(fails_and_again) };
	const unsigned int n = sizeof(t) / sizeof(t[0]);

	for (unsigned int i = 0; i < n; i++) {
		char want[64];

		t[i].next = NULL;
		KTAP_CHECK(run(1, &t[i], NULL) == KTAP_EXIT_FAIL, "%s", t[i].name);
		snprintf(want, sizeof(want), "\nnot ok 1 %s\n", t[i].name);
		KTAP_CHECK(strstr(text, want), "%s", text);
		KTAP_CHECK(!strstr(text, "never said"));
	}
	run(1, t, NULL);
	KTAP_CHECK(strstr(text, "# said 42\n# in two lines\n"), "%s", text);
}

KTAP_TEST(a_hang_ends)
{
	struct ktap_test t[] = { { .name = "hangs", .fn = hangs, .limit = 1 }, INNER(passes) };

	KTAP_CHECK(run(2, t, NULL) == KTAP_EXIT_FAIL);
	KTAP_CHECK(strstr(text, "not ok 1 hangs\nok 2 passes\n"), "%s", text);
}

KTAP_TEST(skips_are_told)
{
	struct ktap_test t[] = { INNER(skips), INNER(passes) };

	KTAP_CHECK(run(2, t, NULL) == KTAP_EXIT_PASS);
	KTAP_CHECK(strstr(text, "ok 1 skips # SKIP reason 7\n"), "%s", text);
	t[0].next = NULL;
	KTAP_CHECK(run(1, t, NULL) == KTAP_EXIT_SKIP);
}

KTAP_TEST(arguments)
{
	struct ktap_test t[] = { INNER(fails), INNER(passes) };

	KTAP_CHECK(run(2, t, (char *)"passes") == KTAP_EXIT_PASS);
	KTAP_CHECK(strstr(text, "1..1\nok 1 passes\n"), "%s", text);
	t[0].next = NULL;
	KTAP_CHECK(run(2, t, (char *)"--list") == KTAP_EXIT_PASS && !strcmp(text, "fails\npasses\n"), "%s", text);
	t[0].next = NULL;
	KTAP_CHECK(run(2, t, (char *)"nonsense") == KTAP_EXIT_USAGE && !*text, "%s", text);
	KTAP_CHECK(run(0, t, NULL) == KTAP_EXIT_FAIL, "no test at all passes");
}

/* It holds the output: if it stayed, this would not come to its end. */
KTAP_TEST_LIMIT(daemons_are_ended, 20)
{
	struct ktap_test t[] = { INNER(leaves_a_daemon) };

	KTAP_CHECK(run(1, t, NULL) == KTAP_EXIT_PASS);
}

KTAP_MAIN()
