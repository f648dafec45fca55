// SPDX-License-Identifier: GPL-2.0-only
/* Sinks of event lines that refuse them: nothing stalls, nothing is torn, what is lost is counted. */
#include "event.h"

#include <json-c/json.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "samples.h"
#include "unit.h"
#include "util.h"

/* stdout is this descriptor from here on. */
static void stdout_to(int fd)
{
	fflush(stdout);
	KTAP_REQUIRE(dup2(fd, STDOUT_FILENO) == STDOUT_FILENO);
}

/* Reads lines until there is nothing for a moment; what is not a line of JSON counts as bad. */
static void drain(int fd, unsigned int *ret_lines, unsigned int *ret_dropped, unsigned int *ret_bad)
{
	static char all[1 << 21];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t size = 0;
	ssize_t n;

	while (poll(&p, 1, 100) == 1 && size < sizeof(all) - 1) {
		n = read(fd, all + size, sizeof(all) - 1 - size);
		if (n <= 0)
			break;
		size += (size_t)n;
	}
	all[size] = '\0';
	*ret_lines = *ret_dropped = *ret_bad = 0;
	for (char *at = all, *end; *at; at = end + 1) {
		struct json_object *obj, *value;

		end = strchr(at, '\n');
		if (!end) {
			++*ret_bad;
			break;
		}
		*end = '\0';
		obj = json_tokener_parse(at);
		if (!obj)
			++*ret_bad;
		else if (json_object_object_get_ex(obj, "count", &value))
			*ret_dropped += (unsigned int)json_object_get_int(value);
		else
			++*ret_lines;
		json_object_put(obj);
	}
}

/* A pipe that nobody reads: no stall, nothing lost silently, nothing torn, and the pipe's flags stay as they were. */
static void full_pipe(size_t path_len)
{
	struct ku_event c = copyup();
	unsigned int lines, dropped, bad, sum;
	int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10), p[2];
	char *path = malloc(path_len + 1);
	struct ku_events *ev;

	KTAP_REQUIRE(path && pipe2(p, O_CLOEXEC) == 0);
	memset(path, 'p', path_len);
	path[path_len] = '\0';
	c.path = path;
	stdout_to(p[1]);
	KTAP_REQUIRE(ku_events_open("-", &ev) == 0);
	alarm(20);
	for (int i = 0; i < 1000; i++)
		ku_events_put(ev, &c);
	stdout_to(saved);
	KTAP_CHECK(!(fcntl(p[1], F_GETFL) & O_NONBLOCK), "everybody's stdout is non-blocking now");
	drain(p[0], &lines, &dropped, &bad);
	KTAP_CHECK(lines > 0 && lines < 1000, "%u", lines);
	KTAP_CHECK(bad <= (path_len > PIPE_BUF ? 1 : 0), "%u of the lines are torn", bad);
	sum = lines;
	KTAP_CHECK(!dropped);

	/* There is room again: the next lines come, behind the count of what did not. */
	for (int i = 0; i < 3; i++)
		ku_events_put(ev, &c);
	drain(p[0], &lines, &dropped, &bad);
	/* A line cut in two by the full pipe has its end here, which the test reads as one bad line. */
	KTAP_CHECK(bad <= (path_len > PIPE_BUF ? 1 : 0), "%u", bad);
	sum += lines + dropped + bad;
	KTAP_CHECK(dropped > 0 && sum == 1003, "%u lines, %u dropped, sum %u", lines, dropped, sum);
	ku_events_close(ev);
	free(path);
}

KTAP_TEST(full_pipe_drops_and_says_so)
{
	full_pipe(100);
}

KTAP_TEST(full_pipe_and_lines_longer_than_it_takes_at_once)
{
	full_pipe(3 * PIPE_BUF);
}

/* Without /proc the pipe cannot be had anew: ask first then. */
KTAP_TEST(full_pipe_without_proc)
{
	if (geteuid() != 0)
		ktap_skip("needs root");
	KTAP_REQUIRE(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	KTAP_REQUIRE(mount("none", "/proc", "tmpfs", 0, NULL) == 0);
	full_pipe(100);
	KTAP_REQUIRE(umount("/proc") == 0); /* the leak checker needs it */
}

KTAP_TEST(full_socket)
{
	struct ku_event c = copyup();
	int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10), s[2];
	unsigned int lines, dropped, bad, more_lines, more_dropped, more_bad;
	struct ku_events *ev;

	KTAP_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	stdout_to(s[1]);
	KTAP_REQUIRE(ku_events_open("-", &ev) == 0);
	alarm(20);
	for (int i = 0; i < 5000; i++)
		ku_events_put(ev, &c);
	stdout_to(saved);
	KTAP_CHECK(!(fcntl(s[1], F_GETFL) & O_NONBLOCK));
	drain(s[0], &lines, &dropped, &bad);
	ku_events_put(ev, &c);
	ku_events_put(ev, &c);
	drain(s[0], &more_lines, &more_dropped, &more_bad);
	KTAP_CHECK(lines > 0 && lines < 5000 && bad + more_bad <= 2, "%u %u %u", lines, bad, more_bad);
	KTAP_CHECK(more_dropped > 0 && lines + more_lines + more_dropped + more_bad == 5002, "%u %u %u %u", lines, more_lines,
		   more_dropped, more_bad);
	close(s[0]);
	ku_events_put(ev, &c); /* no signal */
	ku_events_close(ev);
}

/* The reader went away: no SIGPIPE, and its disposition, which children inherit, is not touched. */
KTAP_TEST(closed_pipe)
{
	int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10), p[2];
	struct ku_event c = copyup();
	struct sigaction sa;
	struct ku_events *ev;
	sigset_t mask;

	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	stdout_to(p[1]);
	KTAP_REQUIRE(ku_events_open("-", &ev) == 0);
	close(p[0]);
	ku_events_put(ev, &c);
	ku_events_put(ev, &c);
	ku_events_close(ev);
	stdout_to(saved);
	KTAP_CHECK(sigaction(SIGPIPE, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
	KTAP_CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0 && !sigismember(&mask, SIGPIPE));
}

/* A full disk: no torn line stays, and afterwards the count comes first. */
KTAP_TEST(full_disk)
{
	struct ku_event c = copyup();
	unsigned int lines, dropped, bad;
	struct ku_events *ev;
	char path[3000];
	int fd;

	unit_place();
	unit_tmpfs("/tmp/small", "size=16k");
	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	c.path = path;
	KTAP_REQUIRE(ku_events_open("/tmp/small/events", &ev) == 0);
	for (int i = 0; i < 10; i++)
		ku_events_put(ev, &c);
	fd = open("/tmp/small/events", O_RDONLY | O_CLOEXEC);
	drain(fd, &lines, &dropped, &bad);
	close(fd);
	KTAP_CHECK(lines > 2 && lines < 10 && !bad && !dropped, "%u %u %u", lines, bad, dropped);
	KTAP_REQUIRE(truncate("/tmp/small/events", 0) == 0);
	ku_events_put(ev, &c);
	ku_events_close(ev);
	fd = open("/tmp/small/events", O_RDONLY | O_CLOEXEC);
	dropped = lines;
	drain(fd, &lines, &bad, &dropped);
	close(fd);
	KTAP_CHECK(lines == 1 && bad >= 5 && !dropped, "%u lines, %u dropped, %u bad", lines, bad, dropped);
}

KTAP_TEST(fifo_and_devices)
{
	struct ku_event c = copyup();
	struct ku_events *ev;
	char *line;
	int fd;

	unit_place();
	KTAP_REQUIRE(mkfifo("/tmp/fifo", 0600) == 0);
	alarm(10);
	KTAP_CHECK(ku_events_open("/tmp/fifo", &ev) == -ENXIO, "nobody reads it: an error, not a stall");
	fd = open("/tmp/fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	KTAP_REQUIRE(ku_events_open("/tmp/fifo", &ev) == 0);
	ku_events_put(ev, &c);
	line = calloc(1, 1000);
	KTAP_CHECK(line && read(fd, line, 999) > 100 && line[strlen(line) - 1] == '\n');
	free(line);
	ku_events_close(ev);
	KTAP_REQUIRE(ku_events_open("/dev/full", &ev) == 0);
	ku_events_put(ev, &c);
	ku_events_close(ev);
	KTAP_REQUIRE(ku_events_open("/dev/null", &ev) == 0);
	ku_events_put(ev, &c);
	ku_events_close(ev);
}

static void *writer(void *arg)
{
	struct ku_event c = copyup();
	struct ku_event w = waited();

	for (int i = 0; i < 300; i++) {
		ku_events_put(arg, &c);
		ku_events_put(arg, &w);
	}
	return NULL;
}

KTAP_TEST(threads)
{
	unsigned int lines, dropped, bad;
	struct ku_events *ev;
	pthread_t t[4];
	int fd;

	unit_place();
	KTAP_REQUIRE(ku_events_open("/tmp/events", &ev) == 0);
	for (int i = 0; i < 4; i++)
		KTAP_REQUIRE(pthread_create(&t[i], NULL, writer, ev) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ku_events_close(ev);
	fd = open("/tmp/events", O_RDONLY | O_CLOEXEC);
	drain(fd, &lines, &dropped, &bad);
	KTAP_CHECK(lines == 2400 && !dropped && !bad, "%u %u %u", lines, dropped, bad);
	close(fd);
}

static struct ku_events *shared;
static int second_done;

static void *second(void *arg)
{
	struct ku_event c = copyup();

	ku_events_put(shared, &c);
	__atomic_store_n(&second_done, 1, __ATOMIC_RELEASE);
	return arg;
}

static void while_the_first_writes(void)
{
	pthread_t t;

	KTAP_REQUIRE(pthread_create(&t, NULL, second, NULL) == 0);
	pthread_detach(t);
	usleep(100000);
	KTAP_CHECK(!__atomic_load_n(&second_done, __ATOMIC_ACQUIRE), "two threads in it at once");
}

KTAP_TEST(one_thread_at_a_time)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_write, .arg = -1, .err = UNIT_GO_ON, .times = 1, .before = while_the_first_writes },
	};
	struct ku_event c = copyup();

	unit_place();
	KTAP_REQUIRE(ku_events_open("/tmp/events", &shared) == 0);
	unit_faults(faults, 1);
	ku_events_put(shared, &c);
	for (int i = 0; i < 5000 && !__atomic_load_n(&second_done, __ATOMIC_ACQUIRE); i++)
		usleep(1000);
	KTAP_CHECK(second_done);
	ku_events_close(shared);
}

KTAP_MAIN()
