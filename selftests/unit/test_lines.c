// SPDX-License-Identifier: GPL-2.0-only
/* The writer of lines: order, limits, readers that go away, and whoever must not wait. */
#include "lines.h"

#include <poll.h>
#include <sys/socket.h>

#include "unit.h"
#include "util.h"

#define LINE "0123456789012345678901234567890123456789012345678901234567890\n"

static bool failed(const struct ku_lines *l, int ms)
{
	struct pollfd p = { .fd = ku_lines_fd(l), .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

KTAP_TEST(in_order)
{
	char line[32], *text, *at;
	struct ku_lines *l;
	int fd;

	unit_place();
	fd = open("/tmp/lines", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	KTAP_REQUIRE(fd >= 0 && ku_lines_open(fd, 1 << 20, &l) == 0);
	for (int i = 0; i < 100000; i++) {
		snprintf(line, sizeof(line), "%d\n", i);
		KTAP_REQUIRE(ku_lines_put(l, line, true));
	}
	KTAP_CHECK(ku_lines_close(l) == 0);
	text = at = unit_read("/tmp/lines", NULL);
	for (int i = 0; i < 100000; i++)
		if (strtol(at, &at, 10) != i || *at++ != '\n') {
			KTAP_CHECK(false, "line %d", i);
			break;
		}
	KTAP_CHECK(!*at);
	free(text);
	close(fd);
	KTAP_CHECK(ku_lines_close(NULL) == 0);
}

/* Out at once, without a need to close. */
KTAP_TEST(at_once)
{
	struct ku_lines *l;
	char buf[100];
	int p[2];

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0 && ku_lines_open(p[1], 1000, &l) == 0);
	KTAP_CHECK(ku_lines_put(l, "a\n", false));
	KTAP_CHECK(read(p[0], buf, sizeof(buf)) == 2);
	KTAP_CHECK(ku_lines_put(l, "b\nc\n", false));
	KTAP_CHECK(read(p[0], buf, sizeof(buf)) == 4);
	KTAP_CHECK(!failed(l, 0));
	KTAP_CHECK(ku_lines_close(l) == 0);
	close(p[0]);
	close(p[1]);
}

/* A reader that does not read: lines are refused at the limit, nobody waits, and what was taken comes out. */
KTAP_TEST(slow_reader)
{
	size_t took = 0, all = 0, refused = 0;
	struct ku_lines *l;
	char buf[4096];
	ssize_t n;
	int p[2];

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0 && ku_lines_open(p[1], 1 << 20, &l) == 0);
	for (int i = 0; i < 50000; i++) {
		bool put = ku_lines_put(l, LINE, false);

		took += put ? strlen(LINE) : 0;
		refused += !put;
	}
	KTAP_CHECK(refused > 1000 && took > 1 << 20 && took < 3 << 20, "%zu bytes, %zu lines refused", took, refused);
	/* Nobody has read so far: had a line waited, it would still. With all read there is room again, as soon as the writing thread knows. */
	while (all < took && (n = read(p[0], buf, sizeof(buf))) > 0)
		all += (size_t)n;
	while (!ku_lines_put(l, "end\n", false))
		usleep(1000);
	KTAP_CHECK(ku_lines_close(l) == 0);
	close(p[1]);
	while ((n = read(p[0], buf, sizeof(buf))) > 0)
		all += (size_t)n;
	KTAP_CHECK(all == took + 4, "%zu, not %zu", all, took + 4);
	close(p[0]);
}

static void *read_slowly(void *arg)
{
	size_t *all = arg;
	char buf[1 << 16];
	ssize_t n;

	usleep(100000);
	while ((n = read((int)all[1], buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != LINE[all[0]++ % strlen(LINE)]) {
				KTAP_CHECK(false, "byte %zu", all[0]);
				return NULL;
			}
	return NULL;
}

/* With wait nothing is refused. */
KTAP_TEST(waits_for_room)
{
	struct ku_lines *l;
	pthread_t thread;
	size_t all[2] = { 0 };
	int p[2];

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0 && ku_lines_open(p[1], 10000, &l) == 0);
	all[1] = (size_t)p[0];
	KTAP_REQUIRE(pthread_create(&thread, NULL, read_slowly, all) == 0);
	for (int i = 0; i < 10000; i++)
		KTAP_REQUIRE(ku_lines_put(l, LINE, true));
	KTAP_CHECK(ku_lines_close(l) == 0);
	close(p[1]);
	pthread_join(thread, NULL);
	KTAP_CHECK(all[0] == 10000 * strlen(LINE), "%zu", all[0]);
	close(p[0]);
}

/* A line beyond the limit goes when it is alone. */
KTAP_TEST(long_line)
{
	struct ku_lines *l;
	char buf[1000];
	int p[2];

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0 && ku_lines_open(p[1], 10, &l) == 0);
	KTAP_CHECK(ku_lines_put(l, LINE, false));
	KTAP_CHECK(read(p[0], buf, sizeof(buf)) == (ssize_t)strlen(LINE));
	KTAP_CHECK(ku_lines_close(l) == 0);
	close(p[0]);
	close(p[1]);
}

/* A signal that is blocked ends the wait for room: whoever waits has to look at it. */
KTAP_TEST_LIMIT(signal_ends_the_wait, 10)
{
	struct ku_lines *l;
	sigset_t set;
	int p[2];

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	KTAP_REQUIRE(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	KTAP_REQUIRE(ku_lines_open(p[1], 1000, &l) == 0);
	while (ku_lines_put(l, LINE LINE LINE, false) || (usleep(10000), ku_lines_put(l, LINE LINE LINE, false)))
		;
	KTAP_CHECK(kill(getpid(), SIGTERM) == 0);
	KTAP_CHECK(!ku_lines_put(l, LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE, true));
	/* The writer is stuck in the pipe: the test's end is its. */
	_exit(0);
}

/* The reader goes away: known without a write, nothing more is taken, no signal. */
KTAP_TEST(reader_goes_away)
{
	struct ku_lines *l;
	int p[2], s[2];

	signal(SIGPIPE, SIG_IGN);
	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0 && ku_lines_open(p[1], 1000, &l) == 0);
	KTAP_CHECK(!failed(l, 20));
	close(p[0]);
	KTAP_CHECK(failed(l, 5000));
	KTAP_CHECK(!ku_lines_put(l, "a\n", false) && !ku_lines_put(l, "a\n", true));
	KTAP_CHECK(ku_lines_close(l) == -EPIPE);
	close(p[1]);
	KTAP_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0 && ku_lines_open(s[1], 1000, &l) == 0);
	close(s[0]);
	ku_lines_put(l, "a\n", false);
	KTAP_CHECK(failed(l, 5000));
	KTAP_CHECK(ku_lines_close(l) == -EPIPE);
	close(s[1]);
}

KTAP_TEST(other_errors)
{
	struct ku_lines *l;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		ktap_skip("no /dev/full");
	KTAP_REQUIRE(ku_lines_open(fd, 1000, &l) == 0);
	KTAP_CHECK(ku_lines_put(l, "a\n", false));
	KTAP_CHECK(failed(l, 5000));
	KTAP_CHECK(ku_lines_close(l) == -ENOSPC);
	close(fd);
}

/* Somebody made the terminal or pipe O_NONBLOCK for all: no line is lost by it. */
KTAP_TEST(nonblocking)
{
	struct ku_lines *l;
	pthread_t thread;
	size_t all[2] = { 0 };
	int p[2];

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0 && fcntl(p[1], F_SETFL, O_NONBLOCK) == 0 && ku_lines_open(p[1], 10000, &l) == 0);
	all[1] = (size_t)p[0];
	KTAP_REQUIRE(pthread_create(&thread, NULL, read_slowly, all) == 0);
	for (int i = 0; i < 10000; i++)
		KTAP_REQUIRE(ku_lines_put(l, LINE, true));
	KTAP_CHECK(ku_lines_close(l) == 0);
	close(p[1]);
	pthread_join(thread, NULL);
	KTAP_CHECK(all[0] == 10000 * strlen(LINE), "%zu", all[0]);
	close(p[0]);
}

KTAP_MAIN()
