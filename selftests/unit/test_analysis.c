// SPDX-License-Identifier: GPL-2.0-only
/* What `kunion report` makes of events: exact figures, also with more events than it keeps. */
#include "analysis.h"

#include "scene.h"
#include "util.h"

static bool sum_is(const struct ku_an_sum *s, uint64_t copyups, uint64_t failed, uint64_t bytes, uint64_t copyup_us, uint64_t waits,
		   uint64_t wait_us)
{
	bool same = s->copyups == copyups && s->failed == failed && s->bytes == bytes && s->copyup_us == copyup_us && s->waits == waits &&
		    s->wait_us == wait_us;

	if (!same)
		ktap_diag("%ju %ju %ju %ju %ju %ju", (uintmax_t)s->copyups, (uintmax_t)s->failed, (uintmax_t)s->bytes,
			  (uintmax_t)s->copyup_us, (uintmax_t)s->waits, (uintmax_t)s->wait_us);
	return same;
}

static bool row_is(const struct ku_an_table *t, size_t i, const char *name, const char *detail, uint64_t n)
{
	bool same = i < t->n && !strcmp(t->rows[i].name, name) && !strcmp(t->rows[i].detail, detail) &&
		    t->rows[i].sum.copyups + t->rows[i].sum.waits == n;

	if (!same && i < t->n)
		ktap_diag("row %zu: '%s' '%s' %ju %ju", i, t->rows[i].name, t->rows[i].detail, (uintmax_t)t->rows[i].sum.copyups,
			  (uintmax_t)t->rows[i].sum.waits);
	return same;
}

KTAP_TEST(nothing)
{
	struct ku_analysis *a = scene_begin();

	scene_finish(a);
	KTAP_CHECK(sum_is(&a->seen, 0, 0, 0, 0, 0, 0));
	KTAP_CHECK(!a->nunions && !a->exact_known && !a->lost && !a->start_ns && !a->end_ns);
	KTAP_CHECK(!a->by_cause.n && !a->by_dir.n && !a->nstalls && !a->ntimeline && !a->nloose && !a->nfiles && !a->nadvice);
	ku_analysis_free(a);
	ku_analysis_free(NULL);
}

KTAP_TEST(sums)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_copyup(1, "/a");

	e.copyup.bytes = 100;
	e.copyup.total_us = 21;
	e.copyup.queued_us = 1;
	e.copyup.lock_us = 2;
	e.copyup.copy_us = 3;
	e.copyup.fsync_us = 7;
	e.copyup.commit_us = 8;
	scene_add(a, e);
	e.copyup.id = 2;
	scene_add(a, e);
	e.copyup.id = 3;
	e.copyup.result = "ENOSPC";
	e.copyup.bytes = 0;
	scene_add(a, e);
	/* What kunion gave up is no copy-up. */
	e.copyup.result = "lost";
	scene_add(a, e);
	e.copyup.result = "native";
	scene_add(a, e);
	scene_add(a, e);
	scene_add(a, scene_wait(1, 50));
	scene_add(a, scene_wait(1, 60));
	scene_finish(a);
	KTAP_CHECK(sum_is(&a->seen, 3, 1, 200, 63, 2, 110));
	KTAP_REQUIRE(a->nunions == 1);
	KTAP_CHECK(sum_is(&a->unions[0].seen, 3, 1, 200, 63, 2, 110));
	KTAP_CHECK(!strcmp(a->unions[0].path, "/merged") && !a->unions[0].described);
	KTAP_CHECK(a->given_up.lost == 1 && a->given_up.native == 2);
	KTAP_CHECK(a->phases.queued_us == 3 && a->phases.lock_us == 6 && a->phases.copy_us == 9 && a->phases.fsync_us == 21 &&
		   a->phases.commit_us == 24);
	KTAP_CHECK(a->start_ns == SCENE_MS(1) && a->end_ns == SCENE_MS(1) + 60000, "%ju", (uintmax_t)(a->end_ns - a->start_ns));
	/* The six records are all in the timeline. */
	KTAP_CHECK(a->ntimeline == 6 && !a->timeline_rest);
	ku_analysis_free(a);
}

KTAP_TEST(histograms)
{
	static const struct {
		uint64_t us;
		unsigned int bucket;
	} times[] = { { 0, 0 },	      { 1, 1 },	       { 2, 2 },		  { 3, 2 },		     { 4, 3 },
		      { 1023, 10 },   { 1024, 11 },    { (1ull << 30) - 1, 30 }, { 1ull << 30, 31 }, { 1ull << 31, 31 },
		      { 1ull << 45, 31 } };
	uint64_t want[KU_HIST] = { 0 };
	struct ku_analysis *a = scene_begin();

	for (size_t i = 0; i < KU_ARRAY_SIZE(times); i++) {
		struct ku_event e = scene_copyup(i + 1, "/a");

		e.copyup.total_us = times[i].us;
		scene_add(a, e);
		scene_add(a, scene_wait(0, times[i].us));
		want[times[i].bucket]++;
	}
	scene_finish(a);
	KTAP_CHECK(!memcmp(a->copyup_hist, want, sizeof(want)));
	KTAP_CHECK(!memcmp(a->wait_hist, want, sizeof(want)));
	ku_analysis_free(a);
}

/* Nothing of an event is looked at after it was taken in. */
KTAP_TEST(events_are_copied)
{
	struct ku_analysis *a = scene_begin();
	char path[] = "/d/a.txt", comm[] = "mv", on[] = "dir", options[] = "metacopy=off";
	struct ku_event e = scene_copyup(1, path);

	e.copyup.who.comm = comm;
	scene_add(a, e);
	e = scene_wait(1, 5);
	e.wait.on = on;
	e.wait.who.comm = comm;
	scene_add(a, e);
	scene_add(a, scene_union(options));
	memset(path, 'x', 8);
	memset(comm, 'x', 2);
	memset(on, 'x', 3);
	memset(options, 'x', 12);
	scene_finish(a);
	KTAP_REQUIRE(a->ntimeline == 1 && a->nfiles == 1 && a->nstalls == 1);
	KTAP_CHECK(!strcmp(a->timeline[0]->path, "/d/a.txt") && !strcmp(a->timeline[0]->who->comm, "mv"));
	KTAP_CHECK(!strcmp(a->files[0]->path, "/d/a.txt"));
	KTAP_CHECK(!strcmp(a->stalls[0].worst->on, "dir") && !strcmp(a->stalls[0].worst->who->comm, "mv"));
	KTAP_CHECK(!strcmp(a->unions[0].options, "metacopy=off"));
	KTAP_CHECK(row_is(&a->by_lock, 0, "dir", "", 1));
	ku_analysis_free(a);
}

KTAP_TEST(tables)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_copyup(1, "/a/x.c");

	e.copyup.total_us = 10;
	scene_add(a, e);
	e.copyup.op = "chown";
	e.copyup.syscall = "fchownat";
	e.copyup.who.container = "c0ffee";
	e.copyup.who.runtime = "podman";
	e.copyup.engine = "kunion";
	e.copyup.data = "metadata";
	scene_add(a, e);
	e.copyup.syscall = "lchown";
	e.copyup.who.container = "";
	e.copyup.who.cgroup = "";
	e.copyup.total_us = 11;
	e.copyup.kind = "dir";
	scene_add(a, e);
	scene_add(a, scene_wait(1, 100));
	e = scene_wait(1, 7);
	e.wait.holder.pid = 0;
	e.wait.on = "inode";
	scene_add(a, e);
	e = scene_wait(1, 1);
	e.wait.holder.container = "c0ffee";
	scene_add(a, e);
	scene_finish(a);
	KTAP_CHECK(a->by_cause.n == 3);
	KTAP_CHECK(row_is(&a->by_cause, 0, "chown", "lchown", 1));
	KTAP_CHECK(row_is(&a->by_cause, 1, "chown", "fchownat", 1));
	KTAP_CHECK(row_is(&a->by_cause, 2, "open", "openat", 1));
	KTAP_CHECK(a->by_container.n == 3);
	KTAP_CHECK(row_is(&a->by_container, 0, "/user.slice", "cgroup", 4), "the waits are the waiter's");
	KTAP_CHECK(row_is(&a->by_container, 1, "", "", 1));
	KTAP_CHECK(row_is(&a->by_container, 2, "c0ffee", "podman", 1));
	KTAP_CHECK(a->by_engine.n == 2 && row_is(&a->by_engine, 0, "kunion", "", 2) && row_is(&a->by_engine, 1, "kernel", "", 1));
	KTAP_CHECK(a->by_data.n == 2 && row_is(&a->by_data, 0, "metadata", "", 2) && row_is(&a->by_data, 1, "copied", "", 1));
	KTAP_CHECK(a->by_kind.n == 2 && row_is(&a->by_kind, 0, "file", "", 2) && row_is(&a->by_kind, 1, "dir", "", 1));
	KTAP_CHECK(a->by_extension.n == 1 && row_is(&a->by_extension, 0, "c", "", 2), "of files only");
	KTAP_CHECK(a->by_lock.n == 2 && row_is(&a->by_lock, 0, "dir", "", 2) && row_is(&a->by_lock, 1, "inode", "", 1));
	KTAP_CHECK(a->by_lock.rows[0].max_us == 100 && a->by_lock.rows[0].sum.wait_us == 101);
	KTAP_CHECK(a->by_holder.n == 3);
	KTAP_CHECK(row_is(&a->by_holder, 0, "rm", "remove, /user.slice", 1));
	KTAP_CHECK(row_is(&a->by_holder, 1, "", "", 1));
	KTAP_CHECK(row_is(&a->by_holder, 2, "rm", "remove, c0ffee", 1));
	KTAP_CHECK(a->by_cause.rows[0].max_us == 11);
	ku_analysis_free(a);
}

KTAP_TEST(extensions)
{
	static const struct {
		const char *path, *extension;
	} names[] = {
		{ "/a/b.txt", "txt" },	     { "/a/archive.tar.gz", "gz" }, { "/a/libx.so.1.22", "so" },
		{ "/a/messages.1", "" },     { "/a/log.txt.3", "txt" },	    { "/a/.bashrc", "" },
		{ "/a/.config.json", "json" }, { "/a.d/plain", "" },	    { "/a/end.", "" },
		{ "/a/x.JPG", "JPG" },	     { "/a/x.0123456789abcdef", "0123456789abcdef" },
		{ "/a/x.0123456789abcdefg", "" }, { "/a/.", "" },	    { "", "" },
		{ "/a/.1.2", "" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(names); i++) {
		struct ku_analysis *a = scene_begin();

		scene_add(a, scene_copyup(1, names[i].path));
		scene_finish(a);
		KTAP_CHECK(row_is(&a->by_extension, 0, names[i].extension, "", 1), "%s", names[i].path);
		ku_analysis_free(a);
	}
}

/* What finds no row of its own is in the last one: nothing is missing from the sum. */
KTAP_TEST(tables_end)
{
	struct ku_analysis *a = scene_begin();
	char op[16];

	for (unsigned int i = 1; i <= KU_AN_ROWS + 5; i++) {
		struct ku_event e = scene_copyup(i, "/a");

		snprintf(op, sizeof(op), "op%u", i);
		e.copyup.op = op;
		e.copyup.total_us = i;
		scene_add(a, e);
	}
	scene_finish(a);
	KTAP_CHECK(a->by_cause.n == KU_AN_ROWS && a->by_cause.nrest == 5);
	KTAP_CHECK(row_is(&a->by_cause, 0, "op25", "openat", 1) && row_is(&a->by_cause, 19, "op6", "openat", 1));
	KTAP_CHECK(sum_is(&a->by_cause.rest, 5, 0, 5, 1 + 2 + 3 + 4 + 5, 0, 0));
	ku_analysis_free(a);
}

static const struct ku_an_row *dir_row(const struct ku_analysis *a, const char *path, unsigned int union_index)
{
	for (size_t i = 0; i < a->by_dir.n; i++)
		if (!strcmp(a->by_dir.rows[i].name, path) && a->by_dir.rows[i].union_index == union_index)
			return &a->by_dir.rows[i];
	return NULL;
}

/* All of it is in the rows and the rest, whatever they are. */
static bool dirs_complete(const struct ku_analysis *a)
{
	uint64_t copyups = a->by_dir.rest.copyups, us = a->by_dir.rest.copyup_us, waits = a->by_dir.rest.waits;

	for (size_t i = 0; i < a->by_dir.n; i++) {
		copyups += a->by_dir.rows[i].sum.copyups;
		us += a->by_dir.rows[i].sum.copyup_us;
		waits += a->by_dir.rows[i].sum.waits;
	}
	return copyups == a->seen.copyups && us == a->seen.copyup_us && waits == a->seen.waits;
}

KTAP_TEST(directories_few)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_copyup(1, "/usr/lib/deep/down/file");

	e.copyup.total_us = 100;
	scene_add(a, e);
	e.path = "/usr/lib/deep/down/other";
	scene_add(a, e);
	e.path = "/usr/top";
	e.copyup.total_us = 7;
	scene_add(a, e);
	e.path = "/atroot";
	scene_add(a, e);
	/* A directory belongs to itself. */
	e.path = "/usr/lib";
	e.copyup.kind = "dir";
	e.copyup.total_us = 3;
	scene_add(a, e);
	e = scene_wait(0, 9);
	e.path = "/usr/lib/deep";
	scene_add(a, e);
	e.wait.on = "inode";
	e.path = "/usr/lib/deep/waited";
	scene_add(a, e);
	e = scene_copyup(9, "/usr/lib/deep/down/file");
	e.union_path = "/second";
	scene_add(a, e);
	scene_finish(a);
	KTAP_CHECK(dirs_complete(a));
	KTAP_REQUIRE(a->by_dir.n == 6, "%zu", a->by_dir.n);
	KTAP_CHECK(dir_row(a, "/usr/lib/deep/down", 0) && sum_is(&dir_row(a, "/usr/lib/deep/down", 0)->sum, 2, 0, 2, 200, 0, 0));
	KTAP_CHECK(dir_row(a, "/usr/lib/deep", 0) && sum_is(&dir_row(a, "/usr/lib/deep", 0)->sum, 0, 0, 0, 0, 2, 18));
	KTAP_CHECK(dir_row(a, "/usr/lib", 0) && sum_is(&dir_row(a, "/usr/lib", 0)->sum, 1, 0, 1, 3, 0, 0));
	KTAP_CHECK(dir_row(a, "/usr", 0) && sum_is(&dir_row(a, "/usr", 0)->sum, 1, 0, 1, 7, 0, 0));
	KTAP_CHECK(dir_row(a, "/", 0) && sum_is(&dir_row(a, "/", 0)->sum, 1, 0, 1, 7, 0, 0));
	KTAP_CHECK(dir_row(a, "/usr/lib/deep/down", 1) && dir_row(a, "/usr/lib/deep/down", 1)->sum.copyups == 1);
	for (size_t i = 0; i < a->by_dir.n; i++)
		KTAP_CHECK(!a->by_dir.rows[i].below, "%s", a->by_dir.rows[i].name);
	KTAP_CHECK(a->by_dir.rows[0].max_us == 100);
	ku_analysis_free(a);
}

KTAP_TEST(directories_many)
{
	struct ku_analysis *a = scene_begin();
	char path[64];

	for (unsigned int i = 0; i < 1000; i++) {
		struct ku_event e;

		snprintf(path, sizeof(path), "/home/u%u/cache/f%u", i % 100, i);
		e = scene_copyup(i + 1, path);
		e.copyup.total_us = i % 100 == 42 ? 100000 : 1 + i;
		scene_add(a, e);
	}
	scene_finish(a);
	KTAP_CHECK(dirs_complete(a));
	KTAP_CHECK(a->by_dir.n == KU_AN_ROWS, "%zu", a->by_dir.n);
	KTAP_CHECK(!strcmp(a->by_dir.rows[0].name, "/home/u42/cache") && !a->by_dir.rows[0].below);
	KTAP_CHECK(sum_is(&a->by_dir.rows[0].sum, 10, 0, 10, 1000000, 0, 0));
	KTAP_REQUIRE(dir_row(a, "/home", 0), "what has no row of its own");
	KTAP_CHECK(dir_row(a, "/home", 0)->below);
	KTAP_CHECK(dir_row(a, "/home", 0)->sum.copyups == (100 - (KU_AN_ROWS - 1)) * 10);
	KTAP_CHECK(dir_row(a, "/home", 0)->max_us == 982, "%ju", (uintmax_t)dir_row(a, "/home", 0)->max_us);
	ku_analysis_free(a);
}

KTAP_TEST(exact_totals)
{
	struct ku_analysis *a = scene_begin();

	scene_add(a, scene_union("metacopy=off"));
	scene_add(a, scene_totals(5, 1));
	scene_add(a, scene_totals(10, 2)); /* takes the place of the one before */
	scene_add(a, scene_union("metacopy=on"));
	scene_add(a, scene_totals(100, 4)); /* of another session: adds to it */
	scene_add(a, scene_dropped(5));
	scene_finish(a);
	KTAP_REQUIRE(a->nunions == 1 && a->unions[0].described);
	KTAP_CHECK(!strcmp(a->unions[0].options, "metacopy=on") && !strcmp(a->unions[0].lower, "/lower"));
	KTAP_CHECK(a->exact_known && sum_is(&a->exact, 110, 55, 1100, 330, 440, 550));
	KTAP_CHECK(a->unions[0].exact_known && sum_is(&a->unions[0].exact, 110, 55, 1100, 330, 440, 550));
	KTAP_CHECK(a->missing == 6 && a->dropped.count == 5 && a->dropped.copyups == 4 && a->lost == 6);
	ku_analysis_free(a);
}

/* A session that ended without its totals, or a union that never told any. */
KTAP_TEST(exact_totals_unknown)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_totals(3, 0);

	scene_add(a, scene_union(""));
	scene_add(a, scene_union(""));
	scene_add(a, scene_totals(10, 0));
	scene_add(a, scene_dropped(5));
	scene_add(a, scene_dropped(2));
	scene_finish(a);
	KTAP_CHECK(!a->exact_known && a->lost == 7);
	ku_analysis_free(a);

	a = scene_begin();
	scene_add(a, e);
	e = scene_copyup(1, "/a");
	e.union_path = "/second";
	scene_add(a, e);
	scene_finish(a);
	KTAP_CHECK(!a->exact_known && a->unions[0].exact_known && !a->unions[1].exact_known);
	ku_analysis_free(a);

	/* What cannot be told to any union does not spoil it. */
	a = scene_begin();
	e = scene_copyup(1, "/a");
	e.union_path = "";
	scene_add(a, e);
	scene_add(a, scene_totals(3, 0));
	scene_finish(a);
	KTAP_CHECK(a->exact_known && a->exact.copyups == 3);
	ku_analysis_free(a);
}

/* Ids are a session's: what comes later belongs to the last one. */
KTAP_TEST(sessions)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_copyup(7, "/f");

	e.copyup.bytes = 1000;
	scene_add(a, scene_union(""));
	scene_add(a, e);
	scene_add(a, scene_wait(7, 11));
	scene_add(a, scene_changed(7, "/f", 10));
	scene_add(a, scene_changed(7, "/f", 20));
	scene_add(a, scene_union(""));
	scene_add(a, scene_changed(7, "/f", 4000)); /* of what? */
	e.ts_ns = SCENE_MS(100);
	scene_add(a, e);
	scene_add(a, scene_changed(7, "/f", 300));
	scene_add(a, scene_wait(7, 22));
	scene_add(a, scene_wait(7, 33));
	scene_finish(a);
	KTAP_REQUIRE(a->ntimeline == 2);
	KTAP_CHECK(a->timeline[0]->written_known && a->timeline[0]->written == 20 && a->timeline[0]->session == 0);
	KTAP_CHECK(a->timeline[1]->written_known && a->timeline[1]->written == 300 && a->timeline[1]->session == 1);
	KTAP_CHECK(a->timeline[0]->nwaits == 1 && a->timeline[0]->wait_us == 11);
	KTAP_CHECK(a->timeline[1]->nwaits == 2 && a->timeline[1]->wait_us == 55);
	KTAP_CHECK(a->changed.copyups == 2 && a->changed.copied == 2000 && a->changed.written == 320);
	KTAP_REQUIRE(a->nfiles == 1);
	KTAP_CHECK(a->files[0]->copyups == 2 && a->files[0]->data_copies == 2 && a->files[0]->opens == 2);
	KTAP_CHECK(a->files[0]->written_known && a->files[0]->written == 320 && a->files[0]->changed_bytes == 2000);
	ku_analysis_free(a);
}

KTAP_TEST(files)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_copyup(1, "/late");

	e.ts_ns = SCENE_MS(50);
	scene_add(a, e);
	e.ts_ns = SCENE_MS(40); /* events come as things end */
	scene_add(a, e);
	e = scene_copyup(2, "/early");
	e.copyup.data = "metadata";
	e.copyup.op = "chmod";
	scene_add(a, e);
	e.copyup.data = "cloned";
	e.copyup.size = 77;
	e.ts_ns = SCENE_MS(60);
	scene_add(a, e);
	e = scene_copyup(3, "/dir");
	e.copyup.kind = "dir";
	scene_add(a, e);
	e = scene_copyup(4, "/failed");
	e.copyup.result = "EIO";
	scene_add(a, e);
	scene_finish(a);
	KTAP_REQUIRE(a->nfiles == 2);
	KTAP_CHECK(!strcmp(a->files[0]->path, "/early") && !strcmp(a->files[1]->path, "/late"));
	KTAP_CHECK(a->files[0]->copyups == 2 && a->files[0]->data_copies == 1 && !a->files[0]->opens && a->files[0]->size == 77);
	KTAP_CHECK(a->files[0]->first_ns == SCENE_MS(2) && a->files[0]->last_ns == SCENE_MS(60) && !a->files[0]->written_known);
	KTAP_CHECK(a->files[1]->first_ns == SCENE_MS(40) && a->files[1]->last_ns == SCENE_MS(50));
	ku_analysis_free(a);
}

/* The stall of the directory: touch waited for rm, which waited for what cat copies. */
KTAP_TEST(stall_chain)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_wait(5, 1300), c = scene_copyup(5, "/dir/big");

	for (uint32_t i = 0; i < 5; i++) {
		struct ku_event w = scene_wait(5, 1000 + i);

		w.wait.who = scene_who(30 + i, "touch");
		scene_add(a, w);
	}
	/* rm's own wait; and one of long before, and somebody else's. */
	e.path = "/dir/big";
	e.wait.who = scene_who(20, "rm");
	e.wait.op = "remove";
	e.wait.on = "inode";
	e.wait.holder = scene_who(10, "dd");
	e.wait.holder_op = "open";
	scene_add(a, e);
	e.ts_ns = SCENE_MS(1) - 500000;
	e.wait.wait_us = 400;
	scene_add(a, e);
	/* The copy-up's event comes last. */
	c.ts_ns = SCENE_MS(0);
	c.copyup.total_us = 1500;
	scene_add(a, c);
	scene_finish(a);
	KTAP_REQUIRE(a->nstalls == 2, "%zu", a->nstalls);
	KTAP_CHECK(a->stalls[0].worst->wait_us == 1300 && a->stalls[0].holder_copies && !a->stalls[0].holder_wait);
	KTAP_CHECK(a->stalls[0].waits == 2 && a->stalls[0].wait_us == 1700);
	KTAP_CHECK(a->stalls[1].worst->wait_us == 1004 && a->stalls[1].worst->who->pid == 34);
	KTAP_CHECK(a->stalls[1].waits == 5 && a->stalls[1].wait_us == 5010 && !a->stalls[1].holder_copies);
	KTAP_REQUIRE(a->stalls[1].holder_wait && a->stalls[1].worst->copyup);
	KTAP_CHECK(a->stalls[1].holder_wait->wait_us == 1300);
	KTAP_CHECK(a->stalls[1].worst->copyup->total_us == 1500 && a->stalls[1].worst->copyup->nwaits == 7);
	ku_analysis_free(a);
}

/* Without a copy-up's id nothing says that two waits are one stall. */
KTAP_TEST(stalls_apart)
{
	struct ku_analysis *a = scene_begin();

	for (uint32_t i = 1; i <= KU_AN_STALLS + 3; i++)
		scene_add(a, scene_wait(0, i));
	scene_finish(a);
	KTAP_REQUIRE(a->nstalls == KU_AN_STALLS);
	for (uint32_t i = 0; i < KU_AN_STALLS; i++)
		KTAP_CHECK(a->stalls[i].worst->wait_us == KU_AN_STALLS + 3 - i && a->stalls[i].waits == 1);
	KTAP_CHECK(!a->stalls[0].holder_wait && !a->stalls[0].worst->copyup);
	KTAP_CHECK(a->nloose == KU_AN_STALLS + 3);
	ku_analysis_free(a);
}

KTAP_TEST(timeline)
{
	struct ku_analysis *a = scene_begin();
	const struct ku_an_copyup *waited = NULL;

	/* The longer ones come later; the shortest of all is waited for. */
	for (unsigned int i = 1; i <= KU_AN_TIMELINE + 50; i++) {
		struct ku_event e = scene_copyup(i, "/f");

		e.copyup.total_us = i;
		scene_add(a, e);
	}
	for (unsigned int i = 1; i <= KU_AN_TIMELINE_WAITS + 20; i++) {
		struct ku_event e = scene_wait(1, i);

		e.ts_ns = SCENE_MS(1000 - i);
		scene_add(a, e);
	}
	scene_add(a, scene_wait(0, 5));
	scene_add(a, scene_wait(99999, 6)); /* its copy-up is not there */
	scene_finish(a);
	KTAP_CHECK(a->ntimeline == KU_AN_TIMELINE && a->timeline_rest == 50);
	KTAP_CHECK(a->timeline[0]->id == 1 && a->timeline[1]->id == 52, "%ju", (uintmax_t)a->timeline[1]->id);
	for (size_t i = 1; i < a->ntimeline; i++)
		KTAP_CHECK(a->timeline[i]->ts_ns > a->timeline[i - 1]->ts_ns);
	waited = a->timeline[0];
	KTAP_CHECK(waited->nwaits == KU_AN_TIMELINE_WAITS + 20 && waited->nlisted == KU_AN_TIMELINE_WAITS);
	KTAP_CHECK(waited->wait_us == (KU_AN_TIMELINE_WAITS + 20) * (KU_AN_TIMELINE_WAITS + 21) / 2);
	for (size_t i = 0; i < waited->nlisted; i++) {
		KTAP_CHECK(waited->waits[i]->wait_us > 20, "the longest are listed");
		KTAP_CHECK(!i || waited->waits[i]->ts_ns > waited->waits[i - 1]->ts_ns);
	}
	KTAP_CHECK(!a->timeline[1]->nlisted && !a->timeline[1]->waits);
	KTAP_CHECK(a->nloose == 2);
	ku_analysis_free(a);
}

/* More than is kept: the sums go on, the longest waits stay, and it is told. */
KTAP_TEST(more_waits_than_kept)
{
	struct ku_analysis *a = scene_begin();
	uint64_t all = 0, kept = 0;

	for (uint64_t i = 1; i <= KU_AN_WAITS + 10; i++) {
		struct ku_event e = scene_wait(i % 1000 + 1, i * 7919 % (KU_AN_WAITS + 11));

		all += e.wait.wait_us;
		scene_add(a, e);
	}
	for (uint64_t i = 1; i <= 1000; i++)
		scene_add(a, scene_copyup(i, "/f"));
	scene_finish(a);
	KTAP_CHECK(a->seen.waits == KU_AN_WAITS + 10 && a->seen.wait_us == all);
	KTAP_CHECK(a->unkept.waits == KU_AN_WAITS / 2, "%ju", (uintmax_t)a->unkept.waits);
	for (size_t i = 0; i < a->ntimeline; i++)
		kept += a->timeline[i]->nwaits;
	KTAP_CHECK(kept && kept <= KU_AN_WAITS / 2 + 10);
	KTAP_CHECK(a->stalls[0].worst->wait_us >= KU_AN_WAITS, "%ju", (uintmax_t)a->stalls[0].worst->wait_us);
	ku_analysis_free(a);
}

KTAP_TEST_LIMIT(more_copyups_than_kept, 120)
{
	struct ku_analysis *a = scene_begin();
	char path[32];

	for (unsigned int i = 1; i <= KU_AN_COPYUPS + 10; i++) {
		snprintf(path, sizeof(path), "/d%u/f%u", i % 1000, i);
		scene_add(a, scene_copyup(i, path));
	}
	scene_finish(a);
	KTAP_CHECK(sum_is(&a->seen, KU_AN_COPYUPS + 10, 0, KU_AN_COPYUPS + 10, KU_AN_COPYUPS + 10, 0, 0));
	KTAP_CHECK(a->unkept.copyups == 10 && a->unkept.files == 10 && a->nfiles == KU_AN_FILES);
	KTAP_CHECK(a->timeline_rest == KU_AN_COPYUPS + 10 - KU_AN_TIMELINE);
	KTAP_CHECK(dirs_complete(a));
	ku_analysis_free(a);
}

KTAP_MAIN()
