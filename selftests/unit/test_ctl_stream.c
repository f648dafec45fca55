// SPDX-License-Identifier: GPL-2.0-only
/* Events over the control socket: in order, none unsaid; and clients that are slow, many, or mean no good. */
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/ask.h"
#include "ctl/live_json.h"
#include "ctl/monitor.h"
#include "ctl/stream.h"
#include "ctl_fake.h"
#include "samples.h"
#include "unit.h"
#include "util.h"

#define SOCK "/tmp/run/sub.sock"
#define OTHER 65534
#define GROUP 4321
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

static void *serve(void *arg)
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

static void begin_with(struct served *v, gid_t gid, const struct ku_ctl_limits *limits)
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

static void begin(struct served *v, gid_t gid)
{
	begin_with(v, gid, &ku_ctl_limits);
}

static void end(struct served *v)
{
	v->stop = true;
	pthread_join(v->thread, NULL);
	ku_ctl_server_close(v->s);
	KTAP_CHECK(v->fake.listeners == 0, "%d still listen", v->fake.listeners);
	ku_feed_free(&v->fake.feed);
	close(v->wake_fd);
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

/* One message, without more than it; "" at the end of the connection. */
static const char *hear(int fd)
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
static int listen_to(void)
{
	int fd = dial();

	if (fd >= 0 && send(fd, MONITOR, sizeof(MONITOR), MSG_NOSIGNAL) == sizeof(MONITOR) && !strcmp(hear(fd), "{\"parameters\":{},\"continues\":true}") &&
	    strstr(hear(fd), "\"event\":\"union\""))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool works(void)
{
	int fd = dial();
	bool ok = fd >= 0 && send(fd, STATUS, sizeof(STATUS), MSG_NOSIGNAL) == sizeof(STATUS) && strstr(hear(fd), "\"text\"");

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool listeners_become(const struct served *v, int n)
{
	for (uint64_t to = ku_now_ns() + WAIT_MS * 1000000ull; v->fake.listeners != n && ku_now_ns() < to;)
		usleep(1000);
	return v->fake.listeners == n;
}

static void happen(struct served *v, uint64_t first, uint64_t n)
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

static void on_event(void *arg, const struct ku_event *e)
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

KTAP_TEST(events_come_in_order_up_to_the_end)
{
	struct heard h = { 0 };
	struct ku_monitor *m;
	char err[512] = "";
	struct served v;

	begin(&v, (gid_t)-1);
	happen(&v, 1000, 10); /* before: nobody listens */
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &h, &m, err), "%s", err);
	for (uint64_t i = 0; i < 50; i++) {
		struct pollfd p = { .fd = ku_monitor_fd(m), .events = POLLIN };

		happen(&v, 1 + i * 40, 40);
		KTAP_REQUIRE(poll(&p, 1, WAIT_MS) == 1 && ku_monitor_read(m));
	}
	KTAP_CHECK(!ku_monitor_finish(m));
	KTAP_CHECK(h.unions == 1 && h.copyups == 2000 && h.last_id == 2000 && !h.lost && !h.disorder, "%llu of 2000, last %llu, lost %llu",
		   (unsigned long long)h.copyups, (unsigned long long)h.last_id, (unsigned long long)h.lost);
	ku_monitor_close(m);
	KTAP_CHECK(listeners_become(&v, 0));
	end(&v);
}

static void ten_happen(struct fake *f)
{
	happen((struct served *)((char *)f - offsetof(struct served, fake)), 1, 10);
}

/* What is on its way to others already is from before. */
KTAP_TEST(who_comes_late_hears_no_earlier_ones)
{
	struct heard early = { 0 }, late = { .last_id = 10 };
	struct ku_monitor *m[2];
	char err[512] = "";
	struct served v;

	begin(&v, (gid_t)-1);
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &early, &m[0], err), "%s", err);
	v.fake.on_listen = ten_happen;
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &late, &m[1], err), "%s", err);
	happen(&v, 11, 10);
	for (int i = 0; i < 2; i++) {
		KTAP_CHECK(!ku_monitor_finish(m[i]));
		ku_monitor_close(m[i]);
	}
	KTAP_CHECK(early.copyups == 20 && !early.disorder && late.copyups == 10 && late.last_id == 20 && !late.disorder, "%llu and %llu",
		   (unsigned long long)early.copyups, (unsigned long long)late.copyups);
	end(&v);
}

/* Every field arrives as an event file would have it. */
static void same_event(void *arg, const struct ku_event *e)
{
	_cleanup_free_ char *now = ku_event_json(e);

	if (e->type == KU_EV_WAIT)
		KTAP_CHECK(now && !strcmp(now, arg), "%s\n%s", now, (char *)arg);
}

KTAP_TEST(an_event_is_that_of_the_file)
{
	struct ku_event e = waited();
	_cleanup_free_ char *want = NULL;
	struct ku_monitor *m;
	char err[512] = "";
	struct served v;

	e.path = "/\xff\\\n\"";
	want = ku_event_json(&e);
	begin(&v, (gid_t)-1);
	KTAP_REQUIRE(!ku_monitor_open(SOCK, same_event, want, &m, err), "%s", err);
	ku_feed_put(&v.fake.feed, &e);
	KTAP_CHECK(!ku_monitor_finish(m));
	ku_monitor_close(m);
	end(&v);
}

/* Who does not read misses some, is told how many, and holds nobody up. */
KTAP_TEST(slow_reader_is_told_what_it_missed)
{
	struct heard h = { 0 };
	struct ku_monitor *m;
	char err[512] = "";
	struct served v;

	begin(&v, (gid_t)-1);
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &h, &m, err), "%s", err);
	for (uint64_t i = 0; i < 100; i++) {
		happen(&v, 1 + i * 200, 200);
		if (i % 10 == 0)
			KTAP_CHECK(works());
	}
	KTAP_CHECK(!ku_monitor_finish(m));
	KTAP_CHECK(h.lost > 0 && h.copyups > 100 && h.copyups + h.lost == 20000 && !h.disorder, "%llu and %llu lost", (unsigned long long)h.copyups,
		   (unsigned long long)h.lost);
	ku_monitor_close(m);
	end(&v);
}

/* It is also said without a further event, as soon as there is room. */
KTAP_TEST(what_was_missed_is_said_without_being_asked)
{
	struct heard h = { 0 };
	struct ku_monitor *m;
	char err[512] = "";
	struct served v;

	begin(&v, (gid_t)-1);
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &h, &m, err), "%s", err);
	for (uint64_t i = 0; i < 100; i++)
		happen(&v, 1 + i * 200, 200);
	while (h.copyups + h.lost < 20000) {
		struct pollfd p = { .fd = ku_monitor_fd(m), .events = POLLIN };

		if (!KTAP_CHECK(poll(&p, 1, WAIT_MS) == 1 && ku_monitor_read(m), "%llu and %llu lost", (unsigned long long)h.copyups,
				(unsigned long long)h.lost))
			break;
	}
	ku_monitor_close(m);
	end(&v);
}

/* Nothing happens for long, or it does not read: it stays. */
KTAP_TEST(who_is_told_of_events_is_not_late)
{
	static const struct ku_ctl_limits limits = { .partial_ms = 2000, .idle_ms = 2000 };
	struct heard h = { 0 };
	struct ku_monitor *m;
	char err[512] = "";
	struct served v;
	int idle;

	begin_with(&v, (gid_t)-1, &limits);
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &h, &m, err), "%s", err);
	idle = dial();
	KTAP_CHECK(!*hear(idle));
	close(idle);
	for (uint64_t i = 0; i < 100; i++)
		happen(&v, 1 + i * 200, 200);
	idle = dial();
	KTAP_CHECK(!*hear(idle));
	close(idle);
	KTAP_CHECK(!ku_monitor_finish(m) && h.copyups + h.lost == 20000, "%llu and %llu lost", (unsigned long long)h.copyups, (unsigned long long)h.lost);
	ku_monitor_close(m);
	end(&v);
}

/* The thread that makes events never waits, and what it makes is bounded, while the server is held up. */
KTAP_TEST(feed_is_bounded)
{
	struct heard h = { 0 };
	struct ku_monitor *m;
	char err[512] = "";
	struct served v;

	begin(&v, (gid_t)-1);
	KTAP_REQUIRE(!ku_monitor_open(SOCK, on_event, &h, &m, err), "%s", err);
	v.asleep = true;
	usleep(50000);
	happen(&v, 1, 30000);
	KTAP_CHECK(v.fake.feed.bytes <= KU_FEED_MAX && v.fake.feed.lost.copyups > 0, "%zu bytes", v.fake.feed.bytes);
	v.asleep = false;
	KTAP_CHECK(!ku_monitor_finish(m));
	KTAP_CHECK(h.copyups + h.lost == 30000, "%llu and %llu lost", (unsigned long long)h.copyups, (unsigned long long)h.lost);
	ku_monitor_close(m);
	end(&v);
}

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

/* What doctor says of it. */
static int about_status(void *arg, struct json_object **ret, char err[512])
{
	const struct fake *f = arg;

	(void)err;
	*ret = json_tokener_parse(f->mode);
	return 0;
}

KTAP_TEST(a_line_about_the_daemon)
{
	struct served v;
	char line[448];

	begin(&v, (gid_t)-1);
	v.ops.status = about_status;
	snprintf(v.fake.mode, sizeof(v.fake.mode), "{\"version\":\"0\"}");
	KTAP_CHECK(!ku_ask_about(SOCK, line) && strstr(line, "0 answers at " SOCK) && strstr(line, "0 unions") && strstr(line, "restart"), "%s", line);
	snprintf(v.fake.mode, sizeof(v.fake.mode), "{\"version\":\"" KU_VERSION "\",\"unions\":[5]}");
	KTAP_CHECK(ku_ask_about(SOCK, line) && !strcmp(line, KU_VERSION " answers at " SOCK ": mode , tier , 1 union attached"), "%s", line);
	end(&v);
	KTAP_CHECK(!ku_ask_about(SOCK, line) && strstr(line, "systemctl start kunion"), "%s", line);
}

struct lived {
	unsigned int copies, waits, counts;
	struct ku_live_copy copy;
	struct ku_counts count;
	char path[64], holder[32];
};

static void lived_copy(void *arg, const struct ku_live_copy *c)
{
	struct lived *l = arg;

	l->copies++;
	l->copy = *c;
	snprintf(l->path, sizeof(l->path), "%s|%s|%s|%s|%s", c->union_path, c->path, c->op, c->engine, c->who.comm);
}

static void lived_wait(void *arg, const struct ku_live_wait *w)
{
	struct lived *l = arg;

	l->waits++;
	snprintf(l->holder, sizeof(l->holder), "%s|%u|%s", w->holder.comm, w->holder.pid, w->on);
}

static void lived_count(void *arg, const struct ku_counts *c)
{
	struct lived *l = arg;

	l->counts++;
	l->count = *c;
}

KTAP_TEST(what_goes_on_is_read_back)
{
	struct json_object *o = json_tokener_parse(
		"{\"copies\":[{\"id\":18446744073709551615,\"union\":\"/m\",\"path\":\"/a\\\\xff\",\"op\":\"open\",\"engine\":\"kunion\",\"who\":{\"pid\":7,"
		"\"comm\":\"dd\"},\"age_us\":1000000,\"size\":9,\"bytes\":4},{},5,{\"who\":3,\"age_us\":18446744073709551615}],\"waits\":[{\"on\":\"dir\",\"holder\":{\"pid\":8,"
		"\"comm\":\"rm\"}},null],\"counts\":[{\"copyups\":3,\"copyup_us\":5,\"wait_us\":7,\"stalls\":1}]}");
	struct lived l = { 0 };
	const struct ku_live_ops ops = { .copy = lived_copy, .wait = lived_wait, .count = lived_count, .arg = &l };

	KTAP_REQUIRE(o);
	KTAP_CHECK(!ku_live_parse(o, &ops));
	KTAP_CHECK(l.copies == 3 && l.waits == 1 && l.counts == 1, "%u %u %u", l.copies, l.waits, l.counts);
	KTAP_CHECK(!strcmp(l.path, "||||") && !l.copy.start_ns, "%s", l.path);
	KTAP_CHECK(!strcmp(l.holder, "rm|8|dir"), "%s", l.holder);
	KTAP_CHECK(l.count.copyups == 3 && l.count.copyup_ns == 5000 && l.count.wait_ns == 7000 && l.count.stalls == 1);
	json_object_put(o);
	o = json_tokener_parse("{\"copies\":[{\"id\":18446744073709551615,\"union\":\"/m\",\"path\":\"/a\\\\xff\",\"op\":\"open\",\"engine\":\"kunion\","
			       "\"who\":{\"pid\":7,\"comm\":\"dd\"},\"age_us\":1000000,\"size\":9,\"bytes\":4}],\"waits\":{},\"counts\":7}");
	KTAP_CHECK(!ku_live_parse(o, &ops) && l.copies == 4 && l.counts == 1);
	KTAP_CHECK(!strcmp(l.path, "/m|/a\xff|open|kunion|dd") && l.copy.id == UINT64_MAX && l.copy.who.pid == 7 && l.copy.size == 9 && l.copy.bytes == 4,
		   "%s", l.path);
	KTAP_CHECK(ku_now_ns() - l.copy.start_ns >= 1000000000);
	json_object_put(o);
}

KTAP_MAIN()
