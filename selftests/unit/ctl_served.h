// SPDX-License-Identifier: GPL-2.0-only
/* What the tests of events over the control socket share: a server with a fake daemon, in a thread of its own, and clients. */
#ifndef CTL_SERVED_H
#define CTL_SERVED_H

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/ask.h"
#include "ctl/monitor.h"
#include "ctl/stream.h"
#include "ctl_fake.h"
#include "samples.h"
#include "unit.h"
#include "util.h"

#define SOCK "/tmp/run/sub.sock"
#define MONITOR "{\"method\":\"io.kunion.Monitor\",\"more\":true}"
#define STATUS "{\"method\":\"io.kunion.Status\"}"
#define WAIT_MS 60000

struct served {
	struct ku_ctl_server *s;
	struct fake fake;
	struct ku_ctl_ops ops;
	pthread_t thread;
	int wake_fd;
	volatile bool stop, asleep; /* asleep: as if it were held up by a file system */
};

static inline void *serve(void *arg)
{
	struct served *v = arg;
	uint64_t n;

	while (!v->stop) {
		if (v->asleep) {
			usleep(1000);
			continue;
		}
		if (ku_ctl_server_turn(v->s, v->wake_fd, 10) || (read(v->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN))
			_exit(99);
		ku_ctl_server_feed(v->s, &v->fake.feed);
	}
	return NULL;
}

static inline void begin_with(struct served *v, gid_t gid, const struct ku_ctl_limits *limits)
{
	char err[512] = "";

	unit_place();
	*v = (struct served){ .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	ku_feed_init(&v->fake.feed, v->wake_fd);
	v->ops = (struct ku_ctl_ops)FAKE_OPS(&v->fake);
	KTAP_REQUIRE(!ku_ctl_server_open(SOCK, gid, &v->ops, limits, &v->s, err), "%s", err);
	v->fake.server = v->s;
	KTAP_REQUIRE(!pthread_create(&v->thread, NULL, serve, v));
}

static inline void begin(struct served *v, gid_t gid)
{
	begin_with(v, gid, &ku_ctl_limits);
}

static inline void end(struct served *v)
{
	v->stop = true;
	pthread_join(v->thread, NULL);
	ku_ctl_server_close(v->s);
	KTAP_CHECK(v->fake.listeners == 0, "%d still listen", v->fake.listeners);
	ku_feed_free(&v->fake.feed);
	close(v->wake_fd);
}

static inline int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = SOCK };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	KTAP_REQUIRE(fd >= 0);
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	close(fd);
	return -1;
}

/* One message, without more than it; "" at the end of the connection. */
static inline const char *hear(int fd)
{
	static char buf[65536];
	size_t n = 0;

	while (n < sizeof(buf) - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, WAIT_MS) != 1 || recv(fd, buf + n, 1, 0) != 1)
			break;
		if (!buf[n++])
			return buf;
	}
	return "";
}

/* Asks to be told; the descriptor, -1 if it was refused or not answered. */
static inline int listen_to(void)
{
	int fd = dial();

	if (fd >= 0 && send(fd, MONITOR, sizeof(MONITOR), MSG_NOSIGNAL) == sizeof(MONITOR) && !strcmp(hear(fd), "{\"parameters\":{},\"continues\":true}") &&
	    strstr(hear(fd), "\"event\":\"union\""))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static inline bool works(void)
{
	int fd = dial();
	bool ok = fd >= 0 && send(fd, STATUS, sizeof(STATUS), MSG_NOSIGNAL) == sizeof(STATUS) && strstr(hear(fd), "\"text\"");

	if (fd >= 0)
		close(fd);
	return ok;
}

static inline bool listeners_become(const struct served *v, int n)
{
	for (uint64_t to = ku_now_ns() + WAIT_MS * 1000000ull; v->fake.listeners != n && ku_now_ns() < to;)
		usleep(1000);
	return v->fake.listeners == n;
}

static inline void happen(struct served *v, uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct ku_event e = copyup();

		e.copyup.id = first + i;
		ku_feed_put(&v->fake.feed, &e);
	}
}

struct heard {
	uint64_t unions, copyups, lost, last_id;
	bool disorder;
};

static inline void on_event(void *arg, const struct ku_event *e)
{
	struct heard *h = arg;

	h->unions += e->type == KU_EV_UNION;
	h->lost += e->type == KU_EV_DROPPED ? e->dropped.copyups : 0;
	if (e->type != KU_EV_COPYUP)
		return;
	h->copyups++;
	/* What was lost is said where it is missing. */
	h->disorder |= e->copyup.id != h->last_id + 1 && !h->lost;
	h->disorder |= e->copyup.id <= h->last_id;
	h->last_id = e->copyup.id;
}

#endif
