// SPDX-License-Identifier: GPL-2.0-only
/* The control socket's server: whom it serves, and what the others cannot do to it. */
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/client.h"
#include "ctl/server.h"
#include "ctl_fake.h"
#include "unit.h"
#include "util.h"

#define SOCK "/tmp/run/sub.sock"
#define OTHER 65534
#define GROUP 4321
#define STATUS "{\"method\":\"io.kunion.Status\"}"
#define WAIT_MS 20000

struct served {
	struct ku_ctl_server *s;
	struct fake fake;
	struct ku_ctl_ops ops;
	pthread_t thread;
	volatile bool stop;
};

static void *serve(void *arg)
{
	struct served *v = arg;

	while (!v->stop)
		if (ku_ctl_server_turn(v->s, -1, 10))
			_exit(99);
	return NULL;
}

static void begin(struct served *v, gid_t gid, const struct ku_ctl_limits *limits)
{
	char err[512] = "";

	unit_place();
	*v = (struct served){ 0 };
	v->ops = (struct ku_ctl_ops)FAKE_OPS(&v->fake);
	KTAP_REQUIRE(!ku_ctl_server_open(SOCK, gid, &v->ops, limits, &v->s, err), "%s", err);
	KTAP_REQUIRE(!pthread_create(&v->thread, NULL, serve, v));
}

static void end(struct served *v)
{
	v->stop = true;
	pthread_join(v->thread, NULL);
	ku_ctl_server_close(v->s);
	KTAP_CHECK(!unit_exists(SOCK), "the socket is left");
}

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = SOCK };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	KTAP_REQUIRE(fd >= 0);
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	close(fd);
	return -1;
}

/* Bytes up to the end of a message, of the connection or of the time: how many; -1: of the time. */
static ssize_t hear(int fd, char *buf, size_t size)
{
	size_t all = 0;

	while (all < size && (!all || buf[all - 1])) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (poll(&p, 1, WAIT_MS) != 1)
			return -1;
		n = recv(fd, buf + all, size - all, 0);
		if (n <= 0)
			break;
		all += (size_t)n;
	}
	return (ssize_t)all;
}

static bool answers(int fd)
{
	char buf[256] = "";

	return send(fd, STATUS, sizeof(STATUS), MSG_NOSIGNAL) == sizeof(STATUS) && hear(fd, buf, sizeof(buf)) > 0 && strstr(buf, "\"text\"");
}

static bool works(void)
{
	int fd = dial();
	bool ok = fd >= 0 && answers(fd);

	if (fd >= 0)
		close(fd);
	return ok;
}

KTAP_TEST(asks_in_a_row_and_at_once)
{
	static const char two[] = STATUS "\0" STATUS;
	char buf[256] = "";
	struct served v;
	int fd;

	begin(&v, (gid_t)-1, &ku_ctl_limits);
	KTAP_CHECK((unit_stat(SOCK).st_mode & 07777) == 0600);
	fd = dial();
	KTAP_CHECK(answers(fd) && answers(fd));
	KTAP_CHECK(send(fd, two, sizeof(two), 0) == sizeof(two) && hear(fd, buf, sizeof(buf)) > 0);
	KTAP_CHECK(strstr(buf, "\"text\""));
	for (uint64_t to = ku_now_ns() + WAIT_MS * 1000000ull; v.fake.statuses < 4 && ku_now_ns() < to;)
		usleep(1000);
	KTAP_CHECK(v.fake.statuses == 4, "%u", v.fake.statuses);
	close(fd);
	end(&v);
}

KTAP_TEST(detach_answers_when_it_is_done)
{
	struct json_object *reply = NULL, *p = json_object_new_object();
	static const char detach[] = "{\"method\":\"io.kunion.Detach\",\"parameters\":{\"path\":\"/m\"}}";
	char err[512] = "", buf[64] = "";
	struct served v;
	int fd;

	begin(&v, (gid_t)-1, &ku_ctl_limits);
	json_object_object_add(p, "path", json_object_new_string("/m"));
	KTAP_CHECK(!ku_ctl_ask(SOCK, "Attach", p, &reply, err), "%s", err);
	json_object_put(reply);
	fd = dial();
	KTAP_CHECK(send(fd, detach, sizeof(detach), 0) == sizeof(detach));
	/* Others are served meanwhile. */
	KTAP_CHECK(works());
	KTAP_CHECK(recv(fd, buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno == EAGAIN, "it answered too soon");
	v.fake.gone = true;
	KTAP_CHECK(hear(fd, buf, sizeof(buf)) == sizeof("{\"parameters\":{}}") && !strcmp(buf, "{\"parameters\":{}}"), "'%s'", buf);
	close(fd);
	end(&v);
}

KTAP_TEST(client_tells_what_the_daemon_says)
{
	struct json_object *reply = NULL, *p = json_object_new_object();
	char err[512] = "";
	struct served v;

	begin(&v, (gid_t)-1, &ku_ctl_limits);
	json_object_object_add(p, "path", json_object_new_string("/busy"));
	KTAP_CHECK(ku_ctl_ask(SOCK, "Attach", p, &reply, err) == -EREMOTEIO && !strcmp(err, "/busy: another kunion is attached to it"), "%s", err);
	p = json_object_new_object();
	json_object_object_add(p, "path", json_object_new_string("/none"));
	KTAP_CHECK(ku_ctl_ask(SOCK, "Detach", p, &reply, err) == -ENOENT && strstr(err, "/none: is not attached"), "%s", err);
	KTAP_CHECK(ku_ctl_ask("/tmp/none", "Status", NULL, &reply, err) == -ENOTCONN && strstr(err, "no kunion daemon answers at /tmp/none"), "%s", err);
	end(&v);
	KTAP_CHECK(ku_ctl_ask(SOCK, "Status", NULL, &reply, err) == -ENOTCONN, "%s", err);
}

/* What this user's process says. */
static bool as_other(gid_t gid, gid_t more, bool (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	KTAP_REQUIRE(pid >= 0);
	if (!pid) {
		if (setgroups(more != (gid_t)-1, &more) || setresgid(gid, gid, gid) || setresuid(OTHER, OTHER, OTHER))
			_exit(2);
		_exit(fn() ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	KTAP_CHECK(status == 0 || status == 256, "%#x", status);
	return status == 0;
}

static bool may_attach(void)
{
	static const char attach[] = "{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/m\"}}";
	char buf[256] = "";
	int fd = dial();

	return fd >= 0 && send(fd, attach, sizeof(attach), MSG_NOSIGNAL) > 0 && hear(fd, buf, sizeof(buf)) > 0 && !strstr(buf, "PermissionDenied");
}

KTAP_TEST(root_changes_the_group_asks_others_nothing)
{
	struct served v;

	begin(&v, GROUP, &ku_ctl_limits);
	KTAP_CHECK((unit_stat(SOCK).st_mode & 07777) == 0660 && unit_stat(SOCK).st_gid == GROUP);
	KTAP_CHECK(works() && may_attach());
	KTAP_CHECK(as_other(GROUP, (gid_t)-1, works) && !as_other(GROUP, (gid_t)-1, may_attach));
	KTAP_CHECK(as_other(OTHER, GROUP, works), "a member whose first group is another");
	KTAP_CHECK(!as_other(OTHER, (gid_t)-1, works));
	/* Also when the file's mode would let them. */
	KTAP_REQUIRE(!chmod(SOCK, 0666));
	KTAP_CHECK(!as_other(OTHER, (gid_t)-1, works), "a stranger was answered");
	KTAP_CHECK(v.fake.attached == 1);
	end(&v);
}

static bool takes_all(void)
{
	int n = 0;

	for (int i = 0; i < 2 * KU_CTL_CLIENTS; i++) {
		int fd = dial();
		char c;

		if (fd < 0)
			continue;
		n += answers(fd);
		(void)c;
	}
	return n == KU_CTL_CLIENTS_OTHERS;
}

static bool takes_and_stays(void)
{
	bool ok = takes_all();

	/* The test's root comes while these are open. */
	if (ok && mkdir("/tmp/unit/taken", 0700) && errno != EEXIST)
		return false;
	for (int i = 0; i < WAIT_MS / 10 && access("/tmp/unit/go", F_OK); i++)
		usleep(10000);
	return ok;
}

KTAP_TEST(root_gets_in_past_the_group)
{
	pid_t pid;
	int status = -1;
	struct served v;

	begin(&v, GROUP, &ku_ctl_limits);
	KTAP_REQUIRE(!chmod("/tmp/unit", 0777));
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (!pid)
		_exit(!as_other(GROUP, (gid_t)-1, takes_and_stays));
	for (uint64_t to = ku_now_ns() + WAIT_MS * 1000000ull; !unit_exists("/tmp/unit/taken") && ku_now_ns() < to;)
		usleep(1000);
	KTAP_CHECK(works(), "root is kept out");
	unit_text("/tmp/unit/go", "");
	waitpid(pid, &status, 0);
	KTAP_CHECK(status == 0, "%#x", status);
	end(&v);
}

KTAP_TEST(bad_ones_are_dropped)
{
	static char big[KU_CTL_REQUEST_MAX + 4096];
	static const char *const bad[] = { "", "x", "{}", "[]", "{\"method\":1}", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[" };
	struct served v;
	char buf[64];
	int fd;

	begin(&v, (gid_t)-1, &ku_ctl_limits);
	for (size_t i = 0; i < KU_ARRAY_SIZE(bad); i++) {
		fd = dial();
		KTAP_CHECK(send(fd, bad[i], strlen(bad[i]) + 1, MSG_NOSIGNAL) > 0 && hear(fd, buf, sizeof(buf)) == 0, "'%s'", bad[i]);
		close(fd);
	}
	memset(big, '{', sizeof(big));
	fd = dial();
	for (size_t at = 0; at < sizeof(big);) {
		ssize_t n = send(fd, big + at, sizeof(big) - at, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	KTAP_CHECK(hear(fd, buf, sizeof(buf)) == 0, "too long, and still there");
	close(fd);
	KTAP_CHECK(works() && v.fake.statuses == 1);
	end(&v);
}

/* A client that does not read, or does not end its request, or says nothing, is let go when its time is over. */
KTAP_TEST(slow_ones_are_dropped)
{
	static const struct ku_ctl_limits limits = { .partial_ms = 300, .idle_ms = 1200 };
	struct served v;
	int part, idle, deaf;
	uint64_t from;
	char buf[64];

	begin(&v, (gid_t)-1, &limits);
	v.fake.status_size = KU_CTL_REPLY_MAX - 100;
	deaf = dial();
	KTAP_CHECK(send(deaf, STATUS, sizeof(STATUS), MSG_NOSIGNAL) > 0);
	from = ku_now_ns();
	idle = dial();
	part = dial();
	KTAP_CHECK(send(part, "{", 1, MSG_NOSIGNAL) == 1);
	KTAP_CHECK(hear(part, buf, sizeof(buf)) == 0 && ku_now_ns() - from >= 300000000ull);
	KTAP_CHECK(hear(idle, buf, sizeof(buf)) == 0 && ku_now_ns() - from >= 1200000000ull);
	close(part);
	close(idle);
	v.fake.status_size = 10;
	KTAP_CHECK(works());
	/* All of it never comes. */
	{
		struct pollfd p = { .fd = deaf, .events = POLLRDHUP };
		size_t all = 0;
		static char much[65536];
		ssize_t n;

		KTAP_CHECK(poll(&p, 1, WAIT_MS) == 1, "it is not let go");

		while ((n = recv(deaf, much, sizeof(much), 0)) > 0)
			all += (size_t)n;
		KTAP_CHECK(all < KU_CTL_REPLY_MAX - 100, "%zu bytes", all);
	}
	close(deaf);
	end(&v);
}

KTAP_TEST(replies_take_bounded_memory)
{
	int fd[KU_CTL_CLIENTS], open_after = 0;
	struct served v;

	begin(&v, (gid_t)-1, &ku_ctl_limits);
	v.fake.status_size = KU_CTL_REPLY_MAX / 2;
	for (int i = 0; i < KU_CTL_CLIENTS; i++) {
		fd[i] = dial();
		KTAP_CHECK(send(fd[i], STATUS, sizeof(STATUS), MSG_NOSIGNAL) > 0);
	}
	for (uint64_t to = ku_now_ns() + WAIT_MS * 1000000ull; v.fake.statuses < KU_CTL_CLIENTS && ku_now_ns() < to;)
		usleep(1000);
	usleep(50000);
	for (int i = 0; i < KU_CTL_CLIENTS; i++) {
		struct pollfd p = { .fd = fd[i], .events = POLLRDHUP };

		open_after += !(poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLRDHUP));
	}
	KTAP_CHECK(open_after > 0 && (unsigned int)open_after <= KU_CTL_REPLIES_MAX / (KU_CTL_REPLY_MAX / 2), "%d hold half a reply each", open_after);
	for (int i = 0; i < KU_CTL_CLIENTS; i++)
		close(fd[i]);
	v.fake.status_size = 10;
	KTAP_CHECK(works());
	end(&v);
}

KTAP_TEST(places)
{
	struct ku_ctl_server *other = NULL;
	struct ku_ctl_ops none = { 0 };
	struct served v;
	char err[512] = "";
	int fd;

	begin(&v, (gid_t)-1, &ku_ctl_limits);
	KTAP_CHECK(ku_ctl_server_open(SOCK, (gid_t)-1, &none, &ku_ctl_limits, &other, err) == -EADDRINUSE && strstr(err, "another kunion daemon"), "%s", err);
	KTAP_CHECK(works(), "the first was pushed aside");
	end(&v);
	unit_text(SOCK, "a file");
	KTAP_CHECK(ku_ctl_server_open(SOCK, (gid_t)-1, &none, &ku_ctl_limits, &other, err) == -EEXIST && strstr(err, "is no socket"), "%s", err);
	KTAP_CHECK(unit_has_text(SOCK, "a file"));
	unlink(SOCK);
	/* Left over by one that was killed. */
	{
		struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = SOCK };

		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		KTAP_REQUIRE(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
		close(fd);
	}
	KTAP_CHECK(!ku_ctl_server_open(SOCK, (gid_t)-1, &none, &ku_ctl_limits, &other, err), "%s", err);
	ku_ctl_server_close(other);
	KTAP_CHECK(!unit_exists(SOCK));
}

KTAP_MAIN()
