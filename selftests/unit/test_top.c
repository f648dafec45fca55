// SPDX-License-Identifier: GPL-2.0-only
/* The figures of `kunion top`, its texts, keys and filter. What it looks like: test_top_view.c. */
#include "top_model.h"

#include <json-c/json.h>
#include <locale.h>
#include <math.h>

#include "top_scene.h"
#include "top_text.h"
#include "top_view.h"
#include "util.h"

static const struct ku_top_head head = { .mode = "observe", .tier = "park", .unions = 1 };

static bool near(double a, double b)
{
	return fabs(a - b) < 0.001;
}

static void count(struct ku_top_model *m, const char *union_path, const char *container, const char *result, uint64_t copyups,
		  uint64_t bytes, uint64_t wait_ns)
{
	struct ku_counts c = scene_counts(union_path, container, "kernel", result, copyups, bytes, copyups * 2, wait_ns);

	c.stalls = copyups;
	ku_top_count(m, &c);
}

KTAP_TEST(sums_and_rates)
{
	struct ku_top_model *m = ku_top_new(false);
	struct ku_top_snap *snap;

	KTAP_REQUIRE(m);
	ku_top_begin(m, 10 * SEC);
	count(m, "/a", "c1", "ok", 100, 1000, 5 * SEC);
	count(m, "/a", "c1", "failed", 10, 0, SEC);
	/* Given up, or told again by the kernel: no copy-ups of their own, but their waits are. */
	count(m, "/a", "c1", "native", 7, 70000, SEC);
	count(m, "/a", "c1", "lost", 7, 70000, SEC);
	count(m, "/b", "", "ok", 1, 1, 0);
	count(m, "/idle", "", "ok", 0, 0, 0);
	snap = ku_top_end(m, &head);
	KTAP_REQUIRE(snap && snap->nrows == 2);
	KTAP_CHECK(!strcmp(snap->mode, "observe") && !strcmp(snap->tier, "park") && snap->unions == 1 && snap->up_ns == 0);
	KTAP_CHECK(!strcmp(snap->rows[0].union_path, "/a") && !strcmp(snap->rows[0].container, "c1"));
	KTAP_CHECK(snap->rows[0].sum.copyups == 110 && snap->rows[0].sum.bytes == 1000 && snap->rows[0].sum.wait_ns == 8 * SEC);
	KTAP_CHECK(snap->rows[0].sum.waits == 248 && snap->rows[0].sum.stalls == 124);
	KTAP_CHECK(snap->all.copyups == 111 && snap->all.bytes == 1001 && snap->all.waits == 250);
	/* There is nothing to compare with yet. */
	KTAP_CHECK(snap->rows[0].sum.copyups_rate == 0 && snap->all.bytes_rate == 0);
	ku_top_snap_free(snap);

	ku_top_begin(m, 14 * SEC);
	count(m, "/a", "c1", "ok", 120, 5000, 7 * SEC);
	count(m, "/a", "c1", "failed", 10, 0, SEC);
	count(m, "/a", "c1", "native", 7, 70000, SEC);
	count(m, "/a", "c1", "lost", 7, 70000, SEC);
	count(m, "/new", "", "ok", 2, 8, 0);
	snap = ku_top_end(m, &head);
	KTAP_REQUIRE(snap && snap->nrows == 2);
	KTAP_CHECK(snap->up_ns == 4 * SEC);
	KTAP_CHECK(near(snap->rows[0].sum.copyups_rate, 5) && near(snap->rows[0].sum.bytes_rate, 1000));
	KTAP_CHECK(near(snap->rows[0].sum.wait_rate, 0.5), "%f", snap->rows[0].sum.wait_rate);
	KTAP_CHECK(!strcmp(snap->rows[1].union_path, "/new") && near(snap->rows[1].sum.copyups_rate, 0.5));
	/* /b is counted no more: nothing runs backwards. */
	KTAP_CHECK(snap->all.copyups == 132 && near(snap->all.copyups_rate, 21.0 / 4), "%f", snap->all.copyups_rate);
	ku_top_snap_free(snap);

	ku_top_begin(m, 15 * SEC);
	snap = ku_top_end(m, &head);
	KTAP_CHECK(snap && snap->nrows == 0 && snap->all.copyups_rate == 0 && snap->all.wait_rate == 0);
	ku_top_snap_free(snap);
	ku_top_free(m);
}

KTAP_TEST(gauges_are_told)
{
	struct ku_top_head h = head;
	struct ku_top_model *m = ku_top_new(false);
	struct ku_top_snap *snap;

	KTAP_REQUIRE(m);
	h.gauges = (struct ku_gauges){ .dropped_copyups = 1, .dropped_waits = 20, .dropped_writes = 300, .dropped_others = 4000,
					.parked = 5 };
	ku_top_begin(m, SEC);
	snap = ku_top_end(m, &h);
	KTAP_CHECK(snap && snap->dropped == 4321 && snap->parked == 5);
	ku_top_snap_free(snap);
	ku_top_free(m);
}

static struct ku_event copyup(const char *union_path, uint64_t bytes, const char *result)
{
	struct ku_event e = {
		.type = KU_EV_COPYUP,
		.union_path = union_path,
		.path = "/f",
		.copyup = { .kind = "file", .op = "open", .syscall = "", .who = scene_who(1, "a", "c1"), .engine = "kernel",
			    .data = "copied", .bytes = bytes, .result = result },
	};

	return e;
}

/* With a filter that counts know nothing of, the events are summed up, and the counts left alone. */
KTAP_TEST(sums_from_events)
{
	struct ku_event e = copyup("/a", 1000, "ok"), w = scene_stall("/d", 2000000);
	struct ku_top_model *m = ku_top_new(true);
	struct ku_top_snap *snap;

	KTAP_REQUIRE(m);
	ku_top_begin(m, SEC);
	ku_top_snap_free(ku_top_end(m, &head));
	ku_top_event(m, &e);
	e = copyup("/a", 7, "ENOSPC");
	ku_top_event(m, &e);
	e = copyup("/a", 9999, "native");
	ku_top_event(m, &e);
	ku_top_event(m, &w);
	w.wait.on = "inode";
	ku_top_event(m, &w);
	ku_top_begin(m, 3 * SEC);
	count(m, "/a", "c1", "ok", 100, 1000, 5 * SEC);
	snap = ku_top_end(m, &head);
	KTAP_REQUIRE(snap && snap->nrows == 2);
	KTAP_CHECK(snap->rows[0].sum.copyups == 2 && snap->rows[0].sum.bytes == 1007 && near(snap->rows[0].sum.copyups_rate, 1));
	KTAP_CHECK(!strcmp(snap->rows[1].union_path, "/srv/merged") && !strcmp(snap->rows[1].container, "web1"));
	KTAP_CHECK(snap->rows[1].sum.waits == 2 && snap->rows[1].sum.stalls == 1 && snap->rows[1].sum.wait_ns == 4 * SEC);
	KTAP_CHECK(near(snap->rows[1].sum.wait_rate, 2));
	ku_top_snap_free(snap);
	ku_top_free(m);
}

KTAP_TEST(progress)
{
	struct ku_top_model *m = ku_top_new(false);
	struct ku_who who = scene_who(1, "a", "");
	struct ku_top_snap *snap;

	KTAP_REQUIRE(m);
	ku_top_begin(m, 10 * SEC);
	scene_copy(m, 2, "/young", 9 * SEC, 50, 100, "kernel", who);
	scene_copy(m, 1, "/old", 5 * SEC, 100, 1100, "kunion", who);
	scene_copy(m, 3, "/blind", 9 * SEC, 0, 100, "kernel", who);
	snap = ku_top_end(m, &head);
	KTAP_REQUIRE(snap && snap->ncopies == 3);
	/* The oldest first. */
	KTAP_CHECK(snap->copies[0].id == 1 && snap->copies[1].id == 2 && snap->copies[2].id == 3);
	KTAP_CHECK(!strcmp(snap->copies[0].path, "/old") && snap->copies[0].age_ns == 5 * SEC && !strcmp(snap->copies[0].engine, "kunion"));
	KTAP_CHECK(near(snap->copies[0].rate, 20) && near(snap->copies[0].eta_s, 50));
	KTAP_CHECK(near(snap->copies[1].rate, 50) && near(snap->copies[1].eta_s, 1));
	KTAP_CHECK(snap->copies[2].rate == 0 && snap->copies[2].eta_s < 0);
	ku_top_snap_free(snap);

	/* Half the rate of now, half of what it was. */
	ku_top_begin(m, 12 * SEC);
	scene_copy(m, 1, "/old", 5 * SEC, 900, 1100, "kunion", who);
	scene_copy(m, 2, "/young", 9 * SEC, 150, 100, "kernel", who); /* it grew meanwhile */
	snap = ku_top_end(m, &head);
	KTAP_REQUIRE(snap && snap->ncopies == 2);
	KTAP_CHECK(near(snap->copies[0].rate, 210) && near(snap->copies[0].eta_s, 200.0 / 210), "%f", snap->copies[0].rate);
	KTAP_CHECK(snap->copies[1].eta_s == 0);
	ku_top_snap_free(snap);
	ku_top_free(m);
}

KTAP_TEST(waiters_find_their_copy)
{
	struct ku_who copier = scene_who(10, "cp", ""), other = scene_who(20, "dd", ""), none = { .comm = "", .cgroup = "", .container = "",
												     .runtime = "" };
	struct ku_who a = scene_who(1, "a", ""), b = scene_who(2, "b", ""), c = scene_who(3, "c", ""), d = scene_who(4, "d", "");
	struct ku_top_model *m = ku_top_new(false);
	const struct ku_top_copy *copy;
	struct ku_top_snap *snap;

	KTAP_REQUIRE(m);
	ku_top_begin(m, 100 * SEC);
	scene_copy(m, 5, "/young", 99 * SEC, 1, 2, "kernel", other);
	scene_copy(m, 7, "/old", 90 * SEC, 1, 2, "kernel", copier);
	scene_wait(m, "/d", "create", "dir", 98 * SEC, 0, c, b);       /* behind b, which waits for the copy */
	scene_wait(m, "/old", "open", "inode", 99 * SEC, 0, a, copier); /* behind the copier itself */
	scene_wait(m, "/old", "remove", "inode", 95 * SEC, 7, b, none); /* by its number */
	scene_wait(m, "/young", "open", "copy", 99 * SEC, 5, d, none);
	scene_wait(m, "/x", "open", "dir", 99 * SEC, 99, d, b);	       /* for a copy that is over */
	scene_wait(m, "/y", "open", "file", 96 * SEC, 0, d, none);
	/* Each waits for the other: no end but an end all the same. */
	scene_wait(m, "/z", "open", "dir", 97 * SEC, 0, scene_who(31, "x", ""), scene_who(32, "y", ""));
	scene_wait(m, "/z", "open", "dir", 97 * SEC, 0, scene_who(32, "y", ""), scene_who(31, "x", ""));
	snap = ku_top_end(m, &head);
	KTAP_REQUIRE(snap && snap->ncopies == 2 && snap->nwaiting == 8);
	copy = &snap->copies[0];
	KTAP_REQUIRE(copy->id == 7 && copy->nwaits == 3, "%u", copy->nwaits);
	KTAP_CHECK(copy->waits[0].who.pid == 2 && copy->waits[0].wait_ns == 5 * SEC && !strcmp(copy->waits[0].op, "remove"));
	KTAP_CHECK(copy->waits[1].who.pid == 3 && copy->waits[1].holder.pid == 2 && !strcmp(copy->waits[1].on, "dir"));
	KTAP_CHECK(copy->waits[2].who.pid == 1);
	KTAP_CHECK(snap->copies[1].nwaits == 1 && snap->copies[1].waits[0].who.pid == 4);
	KTAP_REQUIRE(snap->nloose == 4);
	KTAP_CHECK(!strcmp(snap->loose[0].path, "/y") && !strcmp(snap->loose[3].path, "/x"));
	ku_top_snap_free(snap);
	ku_top_free(m);
}

/* The longest are kept, whole, however many come. */
KTAP_TEST(longest_waits)
{
	struct ku_top_model *m = ku_top_new(false);
	struct ku_top_snap *snap;
	char path[32];

	KTAP_REQUIRE(m);
	for (unsigned int i = 0; i < 1000; i++) {
		struct ku_event e;

		snprintf(path, sizeof(path), "/d%u", i * 7919 % 1000);
		e = scene_stall(path, i * 7919 % 1000);
		ku_top_event(m, &e);
	}
	memset(path, 'x', sizeof(path));
	ku_top_begin(m, SEC);
	snap = ku_top_end(m, &head);
	KTAP_REQUIRE(snap && snap->nlongest == KU_TOP_LONGEST);
	for (unsigned int i = 0; i < KU_TOP_LONGEST; i++) {
		snprintf(path, sizeof(path), "/d%u", 999 - i);
		KTAP_CHECK(snap->longest[i].wait_ns == (999 - i) * 1000ull && !strcmp(snap->longest[i].path, path), "%u: %s", i,
			   snap->longest[i].path);
	}
	KTAP_CHECK(snap->longest[0].holder.pid == 4200 && !strcmp(snap->longest[0].holder.comm, "rm"));
	KTAP_CHECK(!strcmp(snap->longest[0].holder_op, "remove") && snap->longest[0].copyup_pid == 4100);
	KTAP_CHECK(!strcmp(snap->longest[0].copyup_path, "/spool/big.img") && !strcmp(snap->longest[0].copyup_comm, "dd"));
	KTAP_CHECK(!strcmp(snap->longest[0].who.container, "web1") && !strcmp(snap->longest[0].result, "released"));
	/* It does not live on the model, where others take their place. */
	for (unsigned int i = 0; i < 2 * KU_TOP_LONGEST; i++) {
		struct ku_event e = scene_stall("/e999", 2000);

		ku_top_event(m, &e);
	}
	ku_top_free(m);
	KTAP_CHECK(!strcmp(snap->longest[0].path, "/d999"));
	ku_top_snap_free(snap);
}

static void names_are(const struct ku_top_row *rows, unsigned int n, bool by_container, const char *want)
{
	char have[64] = "";

	for (unsigned int i = 0; i < n; i++) {
		strcat(have, by_container ? rows[i].container : rows[i].union_path);
		strcat(have, " ");
	}
	KTAP_CHECK(!strcmp(have, want), "have '%s', want '%s'", have, want);
}

KTAP_TEST(rows_in_order)
{
	struct ku_top_row data[] = {
		{ "/a", "c2", { .copyups = 1, .bytes = 50, .waits = 9, .wait_ns = 1, .copyups_rate = 1, .bytes_rate = 5, .wait_rate = 2 } },
		{ "/b", "c1", { .copyups = 5, .bytes = 70, .waits = 8, .wait_ns = 9, .copyups_rate = 2, .bytes_rate = 1, .wait_rate = 1 } },
		{ "/a", "c1", { .copyups = 2, .bytes = 30, .waits = 2, .wait_ns = 4, .copyups_rate = 4, .bytes_rate = 1, .wait_rate = 1 } },
		{ "/c", "", { .copyups = 9, .bytes = 1, .waits = 1, .wait_ns = 2, .copyups_rate = 1, .bytes_rate = 4, .wait_rate = 4 } },
	};
	static const char *const by_union[KU_SORT_MAX] = {
		[KU_SORT_BYTES] = "/a /b /c ",	     [KU_SORT_BYTES_RATE] = "/a /c /b ", [KU_SORT_COPYUPS] = "/c /b /a ",
		[KU_SORT_COPYUPS_RATE] = "/a /b /c ", [KU_SORT_WAIT] = "/b /a /c ",	 [KU_SORT_WAIT_RATE] = "/c /a /b ",
		[KU_SORT_WAITS] = "/a /b /c ",	     [KU_SORT_NAME] = "/a /b /c ",
	};
	struct ku_top_snap snap = { .rows = data, .nrows = 4 };
	struct ku_top_row out[4];
	unsigned int n;

	for (enum ku_top_sort sort = 0; sort < KU_SORT_MAX; sort++) {
		n = ku_top_rows(&snap, false, sort, false, out);
		KTAP_CHECK(n == 3);
		names_are(out, n, false, by_union[sort]);
	}
	n = ku_top_rows(&snap, false, KU_SORT_NAME, true, out);
	names_are(out, n, false, "/c /b /a ");
	n = ku_top_rows(&snap, false, KU_SORT_COPYUPS, true, out);
	names_are(out, n, false, "/a /b /c ");
	/* Of several containers none is named. */
	KTAP_CHECK(!out[0].container[0] && !strcmp(out[1].container, "c1"));
	KTAP_CHECK(out[0].sum.bytes == 80 && out[0].sum.copyups == 3 && out[0].sum.waits == 11 && out[0].sum.wait_ns == 5);
	KTAP_CHECK(near(out[0].sum.copyups_rate, 5) && near(out[0].sum.bytes_rate, 6) && near(out[0].sum.wait_rate, 3));
	n = ku_top_rows(&snap, true, KU_SORT_BYTES, false, out);
	names_are(out, n, true, "c1 c2  ");
	KTAP_CHECK(out[0].sum.bytes == 100 && !out[0].union_path[0] && !strcmp(out[1].union_path, "/a"));
	snap.nrows = 0;
	KTAP_CHECK(ku_top_rows(&snap, true, KU_SORT_BYTES, false, out) == 0);
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	KTAP_REQUIRE(json_object_object_get_ex(o, key, &v), "%s", key);
	return v;
}

#define STR(o, key) json_object_get_string(member(o, key))
#define NUM(o, key) json_object_get_uint64(member(o, key))
#define DBL(o, key) json_object_get_double(member(o, key))
#define AT(o, key, i) json_object_array_get_idx(member(o, key), i)

KTAP_TEST(json)
{
	struct ku_top_model *m = ku_top_new(false);
	struct ku_top_snap *snap;
	struct json_object *o, *c, *w;
	char *text;

	KTAP_REQUIRE(m);
	ku_top_snap_free(scene_snap(m, 0));
	snap = scene_snap(m, 1);
	KTAP_REQUIRE(snap);
	text = ku_top_json(snap);
	KTAP_REQUIRE(text && !strchr(text, '\n'));
	o = json_tokener_parse(text);
	KTAP_REQUIRE(o);
	KTAP_CHECK(!strcmp(STR(o, "event"), "top") && strlen(STR(o, "ts")) == 27);
	KTAP_CHECK(!strcmp(STR(o, "mode"), "observe") && !strcmp(STR(o, "tier"), "park") && NUM(o, "unions") == 4);
	KTAP_CHECK(NUM(o, "up_us") == 1000000 && NUM(o, "copyups") == 1304 && NUM(o, "waits") == 20);
	KTAP_CHECK(near(DBL(o, "copyups_per_s"), 12) && near(DBL(o, "wait_s_per_s"), 1) && near(DBL(o, "bytes_per_s"), 240.0 * MIB));
	KTAP_CHECK(NUM(o, "waiting") == 4 && NUM(o, "dropped") == 2 && NUM(o, "parked") == 0);
	KTAP_CHECK(json_object_array_length(member(o, "busiest")) == 4);
	KTAP_CHECK(!strcmp(STR(AT(o, "busiest", 0), "container"), "9f3c5ad00b1e") && NUM(AT(o, "busiest", 2), "wait_us") == 13000000);
	KTAP_CHECK(!strcmp(STR(AT(o, "busiest", 3), "union"), "/mnt/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e/\x1b[31mred\x07/m"));
	c = AT(o, "copying", 0);
	KTAP_CHECK(NUM(c, "id") == 7 && !strcmp(STR(c, "engine"), "kunion") && NUM(c, "size") == 2 * GIB && NUM(c, "bytes") == 720 * MIB);
	KTAP_CHECK(NUM(c, "pid") == 4100 && !strcmp(STR(c, "comm"), "postgres") && NUM(c, "age_us") == 4000000);
	KTAP_CHECK(DBL(c, "bytes_per_s") > 1 && DBL(c, "eta_s") > 1);
	KTAP_REQUIRE(json_object_array_length(member(c, "waiters")) == 3);
	w = AT(c, "waiters", 2);
	KTAP_CHECK(!strcmp(STR(w, "on"), "dir") && NUM(w, "pid") == 4302 && NUM(w, "holder_pid") == 4301 && NUM(w, "wait_us") == 2000000);
	KTAP_CHECK(!strcmp(STR(w, "holder_comm"), "rm") && !strcmp(STR(w, "container"), "web1") && !strcmp(STR(w, "op"), "create"));
	c = AT(o, "copying", 1);
	KTAP_CHECK(!strcmp(STR(c, "path"), "/etc/\\xff\\xfe b\xc3\xa4r\xe2\x80\xae.conf"), "%s", STR(c, "path"));
	KTAP_CHECK(!json_object_object_get(c, "eta_s"));
	KTAP_CHECK(NUM(AT(o, "waiting_for_others", 0), "pid") == 4303);
	w = AT(o, "longest_waits", 0);
	KTAP_CHECK(NUM(w, "wait_us") == 12345678 && !strcmp(STR(w, "holder_op"), "remove") && NUM(w, "copyup_pid") == 4100);
	KTAP_CHECK(!strcmp(STR(w, "copyup_path"), "/spool/big.img") && !strcmp(STR(w, "result"), "released"));
	json_object_put(o);
	free(text);
	ku_top_snap_free(snap);
	ku_top_free(m);
}

#define IS(fn, value, want)                                                          \
	({                                                                           \
		char buf_[KU_TOP_FIGURE];                                            \
		KTAP_CHECK(!strcmp(fn(buf_, value), want), "%s is no " want, buf_); \
	})

KTAP_TEST(figures)
{
	IS(ku_top_bytes, 0, "0");
	IS(ku_top_bytes, 999.4, "999");
	IS(ku_top_bytes, 999.6, "1.0K");
	IS(ku_top_bytes, 1024, "1.0K");
	IS(ku_top_bytes, 9.94 * 1024, "9.9K");
	IS(ku_top_bytes, 9.96 * 1024, "10K");
	IS(ku_top_bytes, 999.4 * 1024, "999K");
	IS(ku_top_bytes, 999.6 * 1024, "1.0M");
	IS(ku_top_bytes, 3.5 * GIB, "3.5G");
	IS(ku_top_bytes, 1e30, "999E");
	IS(ku_top_time, 0, "0");
	IS(ku_top_time, 0.0000012, "1us");
	IS(ku_top_time, 0.000999, "999us");
	IS(ku_top_time, 0.0009996, "1ms");
	IS(ku_top_time, 0.9994, "999ms");
	IS(ku_top_time, 0.9996, "1.00s");
	IS(ku_top_time, 9.994, "9.99s");
	IS(ku_top_time, 9.996, "10.0s");
	IS(ku_top_time, 59.94, "59.9s");
	IS(ku_top_time, 59.96, "1m00s");
	IS(ku_top_time, 61, "1m01s");
	IS(ku_top_time, 3599.9, "59m59s");
	IS(ku_top_time, 3600 + 7 * 60, "1h07m");
	IS(ku_top_time, 86400 * 12 + 3600 * 3, "12d03h");
	IS(ku_top_time, 86400.0 * 400, "400d");
	IS(ku_top_time, 1e18, "46296d");
	IS(ku_top_per_s, 0, "0.0");
	IS(ku_top_per_s, 999.94, "999.9");
	IS(ku_top_per_s, 999.96, "1000");
	IS(ku_top_per_s, 99999, "99999");
	IS(ku_top_per_s, 123456, "123K");
	IS(ku_top_per_s, 1e12, "9999K");
}

static void wide_is(const char *bytes, const wchar_t *want)
{
	wchar_t have[256];
	size_t n = ku_top_wide(bytes, have, 255);

	KTAP_CHECK(n == wcslen(have) && !wcscmp(have, want), "%s: have %ls, want %ls", bytes, have, want);
}

KTAP_TEST(names_are_harmless)
{
	wchar_t few[9];

	KTAP_REQUIRE(setlocale(LC_CTYPE, "C.UTF-8"));
	wide_is("", L"");
	wide_is("/a b.c", L"/a b.c");
	wide_is("b\xc3\xa4r \xe6\x97\xa5", L"b\u00e4r \u65e5");
	wide_is("a\\b", L"a\\\\b");
	wide_is("\x1b[2J\x07\n\x7f", L"\\x1b[2J\\x07\\x0a\\x7f");
	wide_is("\xff\xc3", L"\\xff\\xc3");
	wide_is("\xc2\x9b" "2J", L"\\xc2\\x9b2J");		     /* CSI as one character */
	wide_is("\xe2\x80\xae" "fdp", L"\\xe2\\x80\\xaefdp");	     /* right to left */
	wide_is("a\xe2\x80\x8d" "b", L"a\\xe2\\x80\\x8db");	     /* of no width */
	wide_is("e\xcc\x81t\xc3\xa9", L"e\u0301t\u00e9");	     /* an accent of its own */
	wide_is("\xcc\x81", L"\\xcc\\x81");			     /* on nothing */
	wide_is("e\xcc\x81\xcc\x81\xcc\x81", L"e\u0301\u0301\\xcc\\x81"); /* and too many */
	wide_is("\xf0\x9f\x98\x80", L"\U0001f600");
	wide_is("\xf3\xa0\x80\x81", L"\\xf3\\xa0\\x80\\x81");	     /* a tag */
	/* Never half an escape. */
	KTAP_CHECK(ku_top_wide("abcde\x01", few, 8) == 5 && !wcscmp(few, L"abcde"));
	KTAP_CHECK(ku_top_wide("abcd\x01", few, 8) == 8 && !wcscmp(few, L"abcd\\x01"));

	/* A locale that has no such characters. */
	KTAP_REQUIRE(setlocale(LC_CTYPE, "C"));
	wide_is("b\xc3\xa4r", L"b\\xc3\\xa4r");
}

static void cut_is(const wchar_t *text, unsigned int columns, bool front, const wchar_t *want, unsigned int want_columns)
{
	wchar_t have[64];
	unsigned int took;
	size_t n;

	wcscpy(have, text);
	n = ku_top_cut(have, wcslen(have), columns, front, &took);
	KTAP_CHECK(n == wcslen(have) && !wcscmp(have, want) && took == want_columns, "%ls in %u: %ls, %u columns", text, columns,
		   have, took);
}

KTAP_TEST(cut)
{
	KTAP_REQUIRE(setlocale(LC_CTYPE, "C.UTF-8"));
	cut_is(L"/a/b/c", 6, true, L"/a/b/c", 6);
	cut_is(L"/a/b/c", 5, true, L"..b/c", 5);
	cut_is(L"/a/b/c", 5, false, L"/a/..", 5);
	cut_is(L"/a/b/c", 3, true, L"b/c", 3);
	cut_is(L"/a/b/c", 0, true, L"", 0);
	/* Two columns each: one stays free. */
	cut_is(L"\u65e5\u672c\u8a9e", 6, true, L"\u65e5\u672c\u8a9e", 6);
	cut_is(L"\u65e5\u672c\u8a9e", 5, true, L"..\u8a9e", 4);
	cut_is(L"\u65e5\u672c\u8a9e", 5, false, L"\u65e5..", 4);
	/* A mark goes with its letter. */
	cut_is(L"e\u0301xyz", 4, true, L"e\u0301xyz", 4);
	cut_is(L"ae\u0301xyzuv", 6, true, L"..yzuv", 6);
	cut_is(L"aae\u0301wxyz", 6, true, L"..wxyz", 6);
}

KTAP_TEST(keys)
{
	struct ku_top_ui ui = { 0 };

	KTAP_CHECK(ku_top_key(&ui, 'q', false) == KU_TOP_QUIT && ku_top_key(&ui, 'Q', false) == KU_TOP_QUIT);
	KTAP_CHECK(ku_top_key(&ui, 3, false) == KU_TOP_QUIT && ku_top_key(&ui, 28, false) == KU_TOP_QUIT);
	KTAP_CHECK(ku_top_key(&ui, 26, false) == KU_TOP_NOTHING && ku_top_key(&ui, 'x', false) == KU_TOP_NOTHING);
	for (int i = 1; i <= KU_SORT_MAX; i++)
		KTAP_CHECK(ku_top_key(&ui, 's', false) == KU_TOP_REDRAW && ui.sort == (enum ku_top_sort)(i % KU_SORT_MAX));
	ku_top_key(&ui, 0404, true); /* left */
	KTAP_CHECK(ui.sort == KU_SORT_MAX - 1);
	ku_top_key(&ui, 0405, true); /* right */
	KTAP_CHECK(ui.sort == 0);
	KTAP_CHECK(ku_top_key(&ui, 'r', false) == KU_TOP_REDRAW && ui.reverse && ku_top_key(&ui, 'r', false) && !ui.reverse);
	KTAP_CHECK(ku_top_key(&ui, 'c', false) == KU_TOP_REDRAW && ui.by_container && ku_top_key(&ui, 'c', false) && !ui.by_container);
	KTAP_CHECK(ku_top_key(&ui, 'p', false) == KU_TOP_REDRAW && ui.paused && ku_top_key(&ui, 'p', false) && !ui.paused);
	KTAP_CHECK(ku_top_key(&ui, 'h', false) == KU_TOP_REDRAW && ui.help && ku_top_key(&ui, '?', false) && !ui.help);
}

static void type(struct ku_top_ui *ui, const wchar_t *keys)
{
	for (; *keys; keys++)
		ku_top_key(ui, (int)*keys, false);
}

KTAP_TEST(filter_line)
{
	struct ku_top_ui ui = { 0 };

	type(&ui, L"/qs\u00e4\u65e5\U0001f600");
	KTAP_CHECK(ui.typing && !ui.filter[0] && !strcmp(ui.typed, "qs\xc3\xa4\xe6\x97\xa5\xf0\x9f\x98\x80"), "%s", ui.typed);
	type(&ui, L"\x7f\x08");
	KTAP_CHECK(!strcmp(ui.typed, "qs\xc3\xa4"));
	ku_top_key(&ui, 0407, true); /* backspace */
	KTAP_CHECK(!strcmp(ui.typed, "qs"));
	type(&ui, L"\r");
	KTAP_CHECK(!ui.typing && !strcmp(ui.filter, "qs"));
	/* The next begins with it; escape leaves it. */
	type(&ui, L"fx");
	KTAP_CHECK(ui.typing && !strcmp(ui.typed, "qsx"));
	type(&ui, L"\x1b");
	KTAP_CHECK(!ui.typing && !strcmp(ui.filter, "qs"));
	type(&ui, L"f\x15\x7f\n");
	KTAP_CHECK(!ui.typing && !ui.filter[0]);
	/* No key's escape is a character of it, and it ends where there is no more room. */
	type(&ui, L"f\x01\x02");
	ku_top_key(&ui, 0402, true);
	KTAP_CHECK(!ui.typed[0]);
	for (int i = 0; i < 1000; i++)
		type(&ui, L"\u65e5");
	KTAP_CHECK(strlen(ui.typed) == (KU_TOP_FILTER_MAX - 1) / 3 * 3, "%zu", strlen(ui.typed));
	KTAP_CHECK(ku_top_key(&ui, 3, false) == KU_TOP_QUIT);
}

KTAP_TEST(filter)
{
	struct ku_top_wait w = { .union_path = "/m", .path = "/dir", .op = "", .on = "dir", .holder_op = "", .who = { 1, "touch", "web1" },
				 .holder = { 2, "rm", "db" }, .copyup_path = "/dir/big", .copyup_comm = "dd", .result = "" };
	struct ku_top_copy c = { .union_path = "/m", .path = "/var/log/x.log", .op = "", .engine = "", .who = { 3, "sed", "web2" } };

	KTAP_CHECK(ku_top_shows_wait("", &w) && ku_top_shows_copy("", &c));
	KTAP_CHECK(ku_top_shows_wait("tou", &w) && ku_top_shows_wait("web1", &w));
	KTAP_CHECK(ku_top_shows_wait("rm", &w) && ku_top_shows_wait("db", &w));
	KTAP_CHECK(ku_top_shows_wait("dd", &w) && !ku_top_shows_wait("sed", &w) && !ku_top_shows_wait("dir", &w));
	KTAP_CHECK(ku_top_shows_wait("/dir", &w) && ku_top_shows_wait("/m/dir", &w) && ku_top_shows_wait("/dir/*", &w));
	KTAP_CHECK(!ku_top_shows_wait("/other", &w) && !ku_top_shows_wait("/m/d?", &w));
	KTAP_CHECK(ku_top_shows_copy("/var/**", &c) && ku_top_shows_copy("/m/var/**", &c) && !ku_top_shows_copy("/var/*", &c));
	KTAP_CHECK(ku_top_shows_copy("sed", &c) && ku_top_shows_copy("web2", &c) && !ku_top_shows_copy("touch", &c));
	c.waits = &w;
	c.nwaits = 1;
	KTAP_CHECK(ku_top_shows_copy("touch", &c));
}

KTAP_MAIN()
