// SPDX-License-Identifier: GPL-2.0-only
/* Listeners on the control socket, and servers, that are many, may not, or mean no good. */
#include <grp.h>

#include "ctl_served.h"

#define OTHER 65534
#define GROUP 4321

/* How many of so many are told of events; those that are stay open. */
static int listen_many(int *fd, int n)
{
	int told = 0;

	for (int i = 0; i < n; i++) {
		fd[i] = listen_to();
		told += fd[i] >= 0;
	}
	return told;
}

static void hang_up(int *fd, int n)
{
	for (int i = 0; i < n; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static bool others_are_fewer(void)
{
	int fd[KU_CTL_CLIENTS_OTHERS], n = listen_many(fd, KU_CTL_CLIENTS_OTHERS);

	hang_up(fd, KU_CTL_CLIENTS_OTHERS);
	return n == KU_CTL_STREAMS_OTHERS;
}

static bool hears(void)
{
	int fd = listen_to();

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* What this user's process says. */
static bool as_other(gid_t gid, bool (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	KTAP_REQUIRE(pid >= 0);
	if (!pid) {
		if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(OTHER, OTHER, OTHER))
			_exit(2);
		_exit(fn() ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	KTAP_CHECK(status == 0 || status == 256, "%#x", status);
	return status == 0;
}

KTAP_TEST(the_group_may_watch_others_may_not)
{
	struct served v;

	begin(&v, GROUP);
	KTAP_CHECK(as_other(GROUP, hears));
	KTAP_REQUIRE(!chmod(SOCK, 0666));
	KTAP_CHECK(!as_other(OTHER, hears), "a stranger is told");
	KTAP_CHECK(listeners_become(&v, 0));
	KTAP_CHECK(as_other(GROUP, others_are_fewer));
	KTAP_CHECK(listeners_become(&v, 0));
	end(&v);
}

KTAP_TEST(hundreds_at_once)
{
	int fd[300], more;
	struct served v;

	begin(&v, (gid_t)-1);
	KTAP_CHECK(listen_many(fd, KU_CTL_STREAMS) == KU_CTL_STREAMS);
	/* One too many is told so, and may ask for something else. */
	more = dial();
	KTAP_CHECK(send(more, MONITOR, sizeof(MONITOR), MSG_NOSIGNAL) > 0 && strstr(hear(more), "EBUSY"));
	KTAP_CHECK(send(more, STATUS, sizeof(STATUS), MSG_NOSIGNAL) > 0 && strstr(hear(more), "\"text\""));
	close(more);
	for (int i = KU_CTL_STREAMS; i < 300; i++) {
		fd[i] = dial();
		if (fd[i] >= 0)
			send(fd[i], MONITOR, sizeof(MONITOR), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	happen(&v, 1, 5000);
	KTAP_CHECK(v.fake.listeners == KU_CTL_STREAMS, "%d", v.fake.listeners);
	hang_up(fd, 300);
	KTAP_CHECK(listeners_become(&v, 0), "%d", v.fake.listeners);
	KTAP_CHECK(works() && hears());
	end(&v);
}

/* They were more than there are places for, and have hung up before the server looked: who comes after them is answered. */
KTAP_TEST(comes_after_many_that_hung_up)
{
	int fd[KU_CTL_STREAMS], late;
	struct served v;

	begin(&v, (gid_t)-1);
	KTAP_CHECK(listen_many(fd, KU_CTL_STREAMS) == KU_CTL_STREAMS);
	v.asleep = true;
	usleep(50000);
	/* As many as wait at most, but for one. */
	for (int i = 0; i < KU_CTL_CLIENTS - 1; i++) {
		int gone = dial();

		KTAP_REQUIRE(gone >= 0 && send(gone, STATUS, sizeof(STATUS), MSG_NOSIGNAL) > 0);
		close(gone);
	}
	late = dial();
	KTAP_REQUIRE(late >= 0 && send(late, STATUS, sizeof(STATUS), MSG_NOSIGNAL) > 0);
	v.asleep = false;
	KTAP_CHECK(strstr(hear(late), "\"text\""), "it was let go");
	close(late);
	hang_up(fd, KU_CTL_STREAMS);
	KTAP_CHECK(listeners_become(&v, 0), "%d", v.fake.listeners);
	end(&v);
}

/* What is sent on such a connection is nobody's concern; half a request is none; a second end is none. */
KTAP_TEST(hostile_listeners)
{
	static char big[300000];
	static const char deep[] = "{\"method\":\"io.kunion.Monitor\",\"more\":true,\"parameters\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
				   "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}}}}}}}}}}}";
	static const char twice[] = MONITOR "\0" MONITOR "\0" STATUS;
	struct served v;
	int fd;

	begin(&v, (gid_t)-1);
	memset(big, '{', sizeof(big));
	fd = listen_to();
	KTAP_CHECK(fd >= 0);
	send(fd, big, sizeof(big), MSG_NOSIGNAL | MSG_DONTWAIT);
	happen(&v, 1, 1);
	KTAP_CHECK(strstr(hear(fd), "\"id\":1"));
	KTAP_CHECK(!shutdown(fd, SHUT_WR) && !strcmp(hear(fd), "{\"parameters\":{}}") && !*hear(fd));
	KTAP_CHECK(shutdown(fd, SHUT_WR) || true);
	close(fd);
	/* In a row: the first one is answered. */
	fd = dial();
	KTAP_CHECK(send(fd, twice, sizeof(twice), MSG_NOSIGNAL) == sizeof(twice) && strstr(hear(fd), "continues"));
	KTAP_CHECK(strstr(hear(fd), "union") && works());
	close(fd);
	fd = dial();
	KTAP_CHECK(send(fd, deep, sizeof(deep), MSG_NOSIGNAL) == sizeof(deep) && !*hear(fd));
	close(fd);
	/* Every beginning of a request, and gone. */
	for (size_t n = 0; n < sizeof(MONITOR); n++) {
		fd = dial();
		KTAP_CHECK(send(fd, MONITOR, n, MSG_NOSIGNAL) == (ssize_t)n);
		close(fd);
	}
	/* Gone in the middle of what it is told. */
	for (int i = 0; i < 100; i++) {
		fd = listen_to();
		KTAP_CHECK(fd >= 0);
		happen(&v, 1, 100);
		close(fd);
		KTAP_REQUIRE(listeners_become(&v, 0));
	}
	KTAP_CHECK(works() && hears());
	KTAP_CHECK(listeners_become(&v, 0));
	end(&v);
}

/* A daemon that is none, or ends. */
KTAP_TEST(client_of_a_bad_server)
{
	static const char *const replies[] = { "nonsense", "[]", "{\"parameters\":{}}", "{\"error\":5}", "{\"error\":\"io.kunion.Failed\",\"parameters\":[]}" };
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = SOCK };
	struct heard h = { 0 };
	char err[512];

	unit_place();
	KTAP_REQUIRE(!mkdir("/tmp/run", 0755) || errno == EEXIST);
	for (size_t i = 0; i < KU_ARRAY_SIZE(replies); i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct ku_monitor *m = NULL;
		pid_t pid;

		KTAP_REQUIRE(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a)) && !listen(fd, 1));
		pid = fork();
		KTAP_REQUIRE(pid >= 0);
		if (!pid) {
			int c = accept(fd, NULL, NULL);
			char buf[256];

			_exit(recv(c, buf, sizeof(buf), 0) < 0 || send(c, replies[i], strlen(replies[i]) + 1, 0) < 0);
		}
		close(fd);
		err[0] = '\0';
		KTAP_CHECK(ku_monitor_open(SOCK, on_event, &h, &m, err) && *err && !strchr(err, '\n'), "'%s' was taken: %s", replies[i], err);
		waitpid(pid, NULL, 0);
		unlink(SOCK);
	}
}

KTAP_TEST(client_notices_the_end)
{
	struct heard h = { 0 };
	struct ku_monitor *m;
	struct pollfd p;
	char err[512] = "";
	struct served v;

	begin(&v, (gid_t)-1);
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &h, &m, err), "%s", err);
	end(&v);
	p = (struct pollfd){ .fd = ku_monitor_fd(m), .events = POLLIN };
	while (poll(&p, 1, WAIT_MS) == 1 && ku_monitor_read(m))
		;
	KTAP_CHECK(ku_monitor_finish(m) == -ECONNRESET);
	ku_monitor_close(m);
}

KTAP_MAIN()
