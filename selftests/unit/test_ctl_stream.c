// SPDX-License-Identifier: GPL-2.0-only
/* Events over the control socket: in order, none unsaid, whoever is slow; and what goes on, read back. */
#include "ctl/live_json.h"
#include "ctl_served.h"

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
