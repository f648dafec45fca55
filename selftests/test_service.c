// SPDX-License-Identifier: GPL-2.0-only
/* kunion daemon: unions that come and go while it runs, its socket and who abuses it, and its end with somebody waiting. */
#include "service.h"

FX_LEAN

#define LATER FX_DIR "/later"
#define HALF_OPEN 40

/* Its status, to be put; NULL when it gives none. */
static struct json_object *status(void)
{
	return KUNION("status", "--json") ? NULL : json_tokener_parse(SAID);
}

static int count_of(const char *list)
{
	struct json_object *s = status(), *l;
	int n = s && json_object_object_get_ex(s, list, &l) ? (int)json_object_array_length(l) : -1;

	json_object_put(s);
	return n;
}

static bool comes(const char *list, int n)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;

	while (count_of(list) != n && fx_now_ns() < end)
		fx_sleep_ms(50);
	return KTAP_CHECK(count_of(list) == n, "%s: %s", list, SAID);
}

/* Who means no good: floods, halves, nonsense, what is too long or too deep; some stay. */
static void abuse_socket(int half[HALF_OPEN])
{
	static char big[200000];
	static const char deep[] = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", sane[] = "{\"method\":\"io.kunion.Status\"}";

	memset(big, 'x', sizeof(big));
	for (int i = 0; i < HALF_OPEN; i++) {
		half[i] = dial();
		if (half[i] >= 0)
			send(half[i], sane, (size_t)(i % 20), MSG_NOSIGNAL);
	}
	for (int i = 0; i < 300; i++) {
		int fd = dial();

		if (fd < 0)
			continue;
		if (i % 4 == 0)
			send(fd, big, sizeof(big), MSG_NOSIGNAL | MSG_DONTWAIT);
		else if (i % 4 == 1)
			send(fd, deep, sizeof(deep), MSG_NOSIGNAL | MSG_DONTWAIT);
		else if (i % 4 == 2)
			send(fd, sane, sizeof(sane), MSG_NOSIGNAL | MSG_DONTWAIT); /* and does not read */
		close(fd);
	}
}

/* Starts the daemon in the highest mode there is; returns whether that is manage. */
static bool start_daemon(struct fx *fx)
{
	const char *conf = "min-size = \"64K\";\nverbose = 1;\nevents = \"%s\";\nunions = ( \"" LATER "\" );\n";
	bool manage = true;

	write_file(CONF, fx_name(conf, fx->events));
	for (;; manage = false) {
		int st;

		forget_told();
		daemon_pid = start(fx->log, (const char *const[]){ "kunion", "daemon", "-c", CONF, "--socket", SOCK,
								     "--mode", manage ? "manage" : "observe", NULL });
		for (uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull; fx_now_ns() < end;) {
			struct pollfd p = { .fd = notify_fd, .events = POLLIN };

			if (poll(&p, 1, 50) == 1)
				return KTAP_CHECK(told("READY=1")), manage;
			if (waitpid(daemon_pid, &st, WNOHANG) == daemon_pid)
				break;
		}
		KTAP_REQUIRE(manage && strstr(text_of(fx->log), "does not work on this kernel"), "%s", text_of(fx->log));
	}
}

/* Attach, what it says of it, a copy-up that is managed or told, and the counts. */
static void by_command(struct fx *fx, bool manage)
{
	const char *engine = manage ? "kunion" : "kernel";
	struct json_object *s, *v;

	KTAP_CHECK(KUNION("attach", fx->merged) == 0, "%s", SAID);
	KTAP_CHECK(KUNION("attach", fx->merged) == 1 && strstr(SAID, "is attached already"), "%s", SAID);
	KTAP_CHECK(KUNION("attach", fx->lower) == 1 && strstr(SAID, "not an overlay"), "%s", SAID);
	s = status();
	KTAP_REQUIRE(s && json_object_object_get_ex(s, "unions", &v) && json_object_array_length(v) == 1, "%s", SAID);
	v = json_object_array_get_idx(v, 0);
	KTAP_CHECK(strstr(json_object_to_json_string_ext(v, JSON_C_TO_STRING_NOSLASHESCAPE), fx->upper), "%s", SAID);
	KTAP_CHECK(json_object_object_get_ex(v, "in_force", &v) && !strcmp(json_object_get_string(v), manage ? "manage" : "observe"), "%s", SAID);
	json_object_put(s);
	KTAP_CHECK(KUNION("status") == 0 && strstr(SAID, "metacopy=") && strstr(SAID, fx->merged), "%s", SAID);

	KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_WRITE, fx_path(fx, "d/first"), .id = 7)) == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", "/d/first", "engine", engine, NULL));
	KTAP_CHECK(KUNION("metrics") == 0 && strstr(SAID, "kunion_copyups_total{union=\"" FX_DIR "/merged\"") && strstr(SAID, "# EOF"), "%s",
		   SAID);
}

/* Whoever has a call with the socket: nobody at the gate notices. */
static void hostile(struct fx *fx)
{
	struct fx_op op;
	int half[HALF_OPEN];
	/* One that is told of all of it, and does not move. */
	pid_t deaf = start(FX_DIR "/deaf", (const char *const[]){ "kunion", "trace", "--json", "--socket", SOCK, NULL });

	KTAP_CHECK(said(FX_DIR "/deaf", "\"event\":\"union\"") && !kill(deaf, SIGSTOP));
	fx_stop_arm(fx, "copying");
	fx_call_start(&op, FX_CALL(FX_OPEN_WRITE, fx_path(fx, "d/second"), .id = 8));
	fx_stop_wait(fx, "copying", FX_LONG);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG));
	abuse_socket(half);
	KTAP_CHECK(count_of("unions") == 1, "%s", SAID);
	KTAP_CHECK(!fx_op_done(&op));
	fx_stop_go(fx, "copying");
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0);
	for (int i = 0; i < HALF_OPEN; i++)
		close(half[i]);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", "/d/second", NULL));
	KTAP_CHECK(!kill(deaf, SIGCONT) && !kill(deaf, SIGINT) && finish(deaf) == 0);
	KTAP_CHECK(strstr(text_of(FX_DIR "/deaf"), "/d/second"), "%s", text_of(FX_DIR "/deaf"));
}

/* Let go while somebody waits: he goes on natively at once, and the command comes back when our copy is given up. */
static void detach_waiter(struct fx *fx)
{
	struct fx_op op;
	pid_t pid;

	fx_stop_arm(fx, "copying");
	fx_call_start(&op, FX_CALL(FX_OPEN_WRITE, fx_path(fx, "d/third"), .id = 9));
	fx_stop_wait(fx, "copying", FX_LONG);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG));
	pid = start(FX_DIR "/out", (const char *const[]){ "kunion", "detach", "--socket", SOCK, fx->merged, NULL });
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0, "he still waits");
	fx_stop_go(fx, "copying");
	KTAP_CHECK(finish(pid) == 0, "%s", SAID);
}

/* Of the configuration: taken up when it is mounted, let go when it is unmounted. */
static void configured(struct fx *fx)
{
	KTAP_CHECK(count_of("waiting") == 1, "%s", SAID);
	fx_sh("mkdir -p %s/u2 %s/w2 " LATER, fx->upper_base, fx->upper_base);
	KTAP_REQUIRE(!mount("later", LATER, "overlay", 0,
			    fx_name("lowerdir=%s,upperdir=%s/u2,workdir=%s/w2", fx->lower, fx->upper_base, fx->upper_base)));
	comes("unions", 1);
	KTAP_CHECK(count_of("waiting") == 0);
	KTAP_CHECK(umount(LATER) == 0, "%s", strerror(errno));
	comes("unions", 0);
	KTAP_CHECK(count_of("waiting") == 1);
}

static void reload(struct fx *fx)
{
	write_file(CONF, "mode = 5;\n");
	forget_told();
	KTAP_CHECK(!kill(daemon_pid, SIGHUP) && told("RELOADING=1") && told("READY=1"), "%s", notified);
	KTAP_CHECK(strstr(text_of(fx->log), "mode = '5'") && strstr(text_of(fx->log), "stays in force"), "%s", text_of(fx->log));
	KTAP_CHECK(count_of("waiting") == 1, "the bad one is in force");
	write_file(CONF, fx_name("min-size = \"64K\";\nevents = \"%s\";\n", fx->events));
	forget_told();
	KTAP_CHECK(!kill(daemon_pid, SIGHUP) && told("READY=1"), "%s", notified);
	comes("waiting", 0);
}

static void stop_with_waiter(struct fx *fx, bool manage)
{
	struct fx_op op;

	KTAP_CHECK(KUNION("attach", fx->merged) == 0, "%s", SAID);
	if (manage) {
		fx_stop_arm(fx, "copying");
		fx_call_start(&op, FX_CALL(FX_OPEN_WRITE, fx_path(fx, "d/fifth"), .id = 11));
		fx_stop_wait(fx, "copying", FX_LONG);
		KTAP_CHECK(fx_wait_parked(&op, FX_LONG));
	}
	forget_told();
	KTAP_CHECK(!kill(daemon_pid, SIGTERM) && told("STOPPING=1"), "%s", notified);
	if (manage) {
		KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0, "he still waits");
		fx_stop_go(fx, "copying");
	}
	KTAP_CHECK(finish(daemon_pid) == 0, "%s", text_of(fx->log));
	KTAP_CHECK(!fx_exists(SOCK), "the socket is left");
	KTAP_CHECK(KUNION("status") == 2 && strstr(SAID, "no kunion daemon answers"), "%s", SAID);
}

KTAP_TEST_LIMIT(unions_come_and_go, 600)
{
	static const char *const files[] = { "d/first", "d/second", "d/third", "d/fourth", "d/fifth" };
	struct fx fx;
	bool manage;
	int told_of;

	fx_init(&fx, NULL);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		fx_lower(&fx, files[i], FX_MB(2), 0644);
	fx_mount(&fx);
	notify_socket();
	manage = start_daemon(&fx);
	KTAP_CHECK(count_of("unions") == 0);

	by_command(&fx, manage);
	if (manage) {
		hostile(&fx);
		detach_waiter(&fx);
	} else {
		int half[HALF_OPEN];

		abuse_socket(half);
		KTAP_CHECK(KUNION("detach", fx.merged) == 0, "%s", SAID);
	}
	KTAP_CHECK(KUNION("detach", fx.merged) == 1 && strstr(SAID, "is not attached"), "%s", SAID);
	KTAP_CHECK(count_of("unions") == 0);
	told_of = fx_event_count(&fx, "event", "copyup", NULL);
	KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_WRITE, fx_path(&fx, "d/fourth"), .id = 10)) == 0);
	configured(&fx);
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", NULL) == told_of, "a union that was let go is seen");
	KTAP_CHECK(told("WATCHDOG=1"));
	reload(&fx);
	stop_with_waiter(&fx, manage);
	fx_end(&fx);
}

/* As the package configures it: what nobody attached is seen, too. */
KTAP_TEST_LIMIT(all_is_observed, 600)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/first", FX_MB(2), 0644);
	fx_lower(&fx, "d/second", FX_KB(64), 0644);
	fx_mount(&fx);
	notify_socket();
	write_file(CONF, "mode = \"observe\";\nall = true;\n");
	forget_told();
	daemon_pid = start(fx.log, (const char *const[]){ "kunion", "daemon", "-c", CONF, "--socket", SOCK, NULL });
	KTAP_REQUIRE(told("READY=1"), "%s", text_of(fx.log));
	KTAP_CHECK(KUNION("attach", "-m", "guard", fx.merged) == 1 && strstr(SAID, "is more than the daemon was started for"), "%s", SAID);
	KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_WRITE, fx_path(&fx, "d/first"), .id = 7)) == 0);
	while ((KUNION("metrics") || !strstr(SAID, "kunion_copyups_total{union=\"" FX_DIR "/merged\"")) && fx_now_ns() < end)
		fx_sleep_ms(100);
	KTAP_CHECK(strstr(SAID, "kunion_copyups_total{union=\"" FX_DIR "/merged\""), "%s", SAID);
	KTAP_CHECK(KUNION("trace", "--json", fx.merged, "--", "chmod", "0600", fx_path(&fx, "d/second")) == 0 && strstr(SAID, "/d/second"), "%s", SAID);
	/* A name and events for one of them. */
	KTAP_CHECK(KUNION("attach", fx.merged) == 0, "%s", SAID);
	KTAP_CHECK(count_of("unions") == 1);
	KTAP_CHECK(!kill(daemon_pid, SIGTERM) && finish(daemon_pid) == 0, "%s", text_of(fx.log));
	fx_end(&fx);
}

KTAP_MAIN()
