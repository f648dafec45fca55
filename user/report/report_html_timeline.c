// SPDX-License-Identifier: GPL-2.0-only
/*
 * The HTML report's timeline: a row for each copy-up that somebody waited for, with those who did below it; then the other copy-ups, and
 * the waits whose copy-up is not known, in lanes. Horizontal places are percent, so that it fits any screen without the script; the script,
 * which zooms, has the same in data-a and data-b: microseconds since the start.
 */
#include <string.h>

#include "report_page.h"
#include "util.h"

#define KU_TL_ROWS 6   /* waiters with a row of their own */
#define KU_TL_LANES 32 /* what finds no room lies over others in the last one */
#define KU_TL_LANE 8   /* height in pixels */
#define KU_TL_TICKS 6

struct ku_tl {
	struct ku_html *h;
	const struct ku_analysis *a;
	uint64_t start_ns, span_us;
	/* The longest are drawn: all longer than `least`, and as many of that length as `ties` says. */
	uint64_t least, ties;
	uint64_t drawn;
	const struct ku_an_wait **waits; /* those of the row at work; room for the longest list */
	size_t nwaits;
};

static uint64_t ku_tl_since(const struct ku_tl *t, uint64_t ts_ns)
{
	return ts_ns > t->start_ns ? (ts_ns - t->start_ns) / 1000 : 0;
}

/* Whether one of this length is drawn. */
static bool ku_tl_take(struct ku_tl *t, uint64_t us)
{
	if (us < t->least || (us == t->least && !t->ties))
		return false;
	if (us == t->least)
		t->ties--;
	t->drawn++;
	return true;
}

static int ku_tl_longer(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? 1 : a > b ? -1 : 0;
}

/* What a copy-up counts as: at least as much as any who waited for it, so that it is drawn if they are. */
static uint64_t ku_tl_weight(const struct ku_an_copyup *c)
{
	return c->total_us + c->wait_us;
}

/* Finds `least` and `ties`. */
static int ku_tl_cap(struct ku_tl *t)
{
	const struct ku_analysis *a = t->a;
	size_t room = a->ntimeline + a->nloose, longest = a->nloose, n = 0, last = KU_PAGE_INTERVALS - 1;
	_cleanup_free_ uint64_t *us = NULL;

	for (size_t i = 0; i < a->ntimeline; i++) {
		room += a->timeline[i]->nlisted;
		if (a->timeline[i]->nlisted > longest)
			longest = a->timeline[i]->nlisted;
	}
	us = calloc(room + 1, sizeof(*us));
	t->waits = calloc(longest + 1, sizeof(*t->waits));
	if (!us || !t->waits)
		return -ENOMEM;
	for (size_t i = 0; i < a->ntimeline; i++) {
		us[n++] = ku_tl_weight(a->timeline[i]);
		for (size_t j = 0; j < a->timeline[i]->nlisted; j++)
			us[n++] = a->timeline[i]->waits[j]->wait_us;
	}
	for (size_t i = 0; i < a->nloose; i++)
		us[n++] = a->loose[i]->wait_us;
	t->ties = n;
	if (n <= KU_PAGE_INTERVALS)
		return 0;
	qsort(us, n, sizeof(*us), ku_tl_longer);
	t->least = us[last];
	t->ties = 1;
	while (t->ties <= last && us[last - t->ties] == t->least)
		t->ties++;
	return 0;
}

static void ku_tl_svg(struct ku_tl *t, unsigned int height)
{
	ku_html(t->h, "<svg aria-hidden=\"true\" width=\"100%%\" height=\"%u\">", height);
}

/* The beginning of a bar: the caller ends the tag. */
static void ku_tl_bar(struct ku_tl *t, const char *class, uint64_t from, uint64_t to, unsigned int y, unsigned int height)
{
	ku_html(t->h, "<rect class=\"%s\" x=\"%.4f%%\" y=\"%u\" width=\"%.4f%%\" height=\"%u\" data-a=\"%llu\" data-b=\"%llu\"", class,
		100.0 * (double)from / (double)t->span_us, y, 100.0 * (double)(to - from) / (double)t->span_us, height,
		(unsigned long long)from, (unsigned long long)to);
}

/* What pointing at a copy-up shows. */
static void ku_tl_copyup_title(struct ku_html *h, const struct ku_an_copyup *c)
{
	ku_html(h, "<title>%s\n%s by %s[%u], %s: %s\n%s: %s in %s", c->path, c->op, *c->who->comm ? c->who->comm : "?", c->who->pid,
		*c->engine ? c->engine : "?", c->result, KU_DATE(c->ts_ns), KU_SIZE(c->bytes), KU_TIME(c->total_us));
	if (c->lock_us)
		ku_html(h, ", lock %s", KU_TIME(c->lock_us));
	if (c->fsync_us)
		ku_html(h, ", fsync %s", KU_TIME(c->fsync_us));
	if (c->nwaits)
		ku_html(h, "\n%s waits, %s", KU_COUNT(c->nwaits), KU_TIME(c->wait_us));
	ku_html(h, "</title>");
}

/* A bar of its whole time, and on it what else than copying that went into: first queued and lock, at the end fsync and commit. */
static void ku_tl_copyup(struct ku_tl *t, const struct ku_an_copyup *c, unsigned int y, unsigned int height)
{
	const struct {
		const char *class;
		uint64_t us;
	} parts[] = { { "queued", c->queued_us }, { "lock", c->lock_us }, { "fsync", c->fsync_us }, { "commit", c->commit_us } };
	uint64_t at = ku_tl_since(t, c->ts_ns), end = at + c->total_us, tail = c->fsync_us + c->commit_us;

	ku_html(t->h, "<g class=\"%s\">", ku_page_failed(c->result) ? "failed" : "fine");
	ku_tl_bar(t, "copy", at, end, y, height);
	ku_html(t->h, ">");
	ku_tl_copyup_title(t->h, c);
	ku_html(t->h, "</rect>");
	for (size_t i = 0; i < KU_ARRAY_SIZE(parts); i++) {
		uint64_t to;

		if (i == 2 && tail >= c->fsync_us && tail < end - at)
			at = end - tail;
		to = parts[i].us < end - at ? at + parts[i].us : end;
		if (to > at) {
			ku_tl_bar(t, parts[i].class, at, to, y, height);
			ku_html(t->h, "/>");
		}
		at = to;
	}
	ku_html(t->h, "</g>");
}

static const char *ku_tl_wait_class(const char *on)
{
	static const char *const t[][2] = {
		{ "dir", "wait on-dir" },   { "file", "wait on-file" },	    { "inode", "wait on-inode" },
		{ "copy", "wait on-copy" }, { "commit", "wait on-commit" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++)
		if (!strcmp(on, t[i][0]))
			return t[i][1];
	return "wait";
}

static void ku_tl_wait(struct ku_tl *t, const struct ku_an_wait *w, unsigned int y, unsigned int height)
{
	uint64_t from = ku_tl_since(t, w->ts_ns);

	ku_tl_bar(t, ku_tl_wait_class(w->on), from, from + w->wait_us, y, height);
	ku_html(t->h, "><title>%s\n%s by %s[%u]\n%s: waited %s for %s", w->path, *w->op ? w->op : "?", *w->who->comm ? w->who->comm : "?",
		w->who->pid, KU_DATE(w->ts_ns), KU_TIME(w->wait_us), ku_page_lock(w->on));
	if (w->holder)
		ku_html(t->h, "\nheld by %s[%u], %s", *w->holder->comm ? w->holder->comm : "?", w->holder->pid,
			*w->holder_op ? w->holder_op : "?");
	ku_html(t->h, "</title></rect>");
}

/* Each interval goes into the first lane that is free by then. */
struct ku_tl_lanes {
	uint64_t end_us[KU_TL_LANES];
	unsigned int n;
};

static unsigned int ku_tl_lane(const struct ku_tl *t, struct ku_tl_lanes *l, uint64_t ts_ns, uint64_t us)
{
	/* What is too short to be seen still takes a few pixels. */
	uint64_t from = ku_tl_since(t, ts_ns), least = t->span_us / 300;
	unsigned int i = 0;

	while (i + 1 < KU_TL_LANES && i < l->n && l->end_us[i] > from)
		i++;
	if (i == l->n)
		l->n++;
	l->end_us[i] = from + (us > least ? us : least);
	return i;
}

/* A row of lanes, in two passes: how many, then what is in them. */
static void ku_tl_lanes_start(struct ku_tl *t, const struct ku_tl_lanes *l, const char *label)
{
	ku_html(t->h, "<div class=\"row packed\"><div class=\"label\">%s</div>", label);
	ku_tl_svg(t, l->n * KU_TL_LANE + 4);
}

static void ku_tl_packed(struct ku_tl *t, const struct ku_an_wait **waits, size_t n, const char *label)
{
	struct ku_tl_lanes l = { 0 };

	for (size_t i = 0; i < n; i++)
		ku_tl_lane(t, &l, waits[i]->ts_ns, waits[i]->wait_us);
	ku_tl_lanes_start(t, &l, label);
	memset(&l, 0, sizeof(l));
	for (size_t i = 0; i < n; i++)
		ku_tl_wait(t, waits[i], ku_tl_lane(t, &l, waits[i]->ts_ns, waits[i]->wait_us) * KU_TL_LANE + 2, KU_TL_LANE - 2);
	ku_html(t->h, "</svg></div>\n");
}

static int ku_tl_wait_earlier(const void *x, const void *y)
{
	const struct ku_an_wait *w = *(const struct ku_an_wait *const *)x, *v = *(const struct ku_an_wait *const *)y;

	return w->ts_ns < v->ts_ns ? -1 : w->ts_ns > v->ts_ns;
}

static int ku_tl_wait_longer(const void *x, const void *y)
{
	const struct ku_an_wait *w = *(const struct ku_an_wait *const *)x, *v = *(const struct ku_an_wait *const *)y;

	return w->wait_us < v->wait_us ? 1 : w->wait_us > v->wait_us ? -1 : ku_tl_wait_earlier(x, y);
}

/* Of a list, those that are drawn: first the longest `rows`, then the others, both as they came. */
static void ku_tl_choose(struct ku_tl *t, const struct ku_an_wait *const *waits, size_t n, size_t rows)
{
	t->nwaits = 0;
	for (size_t i = 0; i < n; i++)
		if (ku_tl_take(t, waits[i]->wait_us))
			t->waits[t->nwaits++] = waits[i];
	rows = rows < t->nwaits ? rows : t->nwaits;
	qsort(t->waits, t->nwaits, sizeof(*t->waits), ku_tl_wait_longer);
	qsort(t->waits, rows, sizeof(*t->waits), ku_tl_wait_earlier);
	qsort(t->waits + rows, t->nwaits - rows, sizeof(*t->waits), ku_tl_wait_earlier);
}

/* "open dpkg[12]", and what it took at the right. */
static void ku_tl_doing(struct ku_tl *t, const char *op, const struct ku_who *who, const char *bytes, uint64_t us)
{
	ku_html(t->h, "<span class=\"sub\"><span class=\"op\">%s</span> ", *op ? op : "?");
	ku_page_who(t->h, who->comm, who->pid, who);
	ku_html(t->h, "<span class=\"took\">%s%s%s</span></span>", bytes, *bytes ? ", " : "", KU_TIME(us));
}

/* A copy-up and who waited for it. */
static void ku_tl_group(struct ku_tl *t, size_t index)
{
	const struct ku_an_copyup *c = t->a->timeline[index];
	size_t rows;

	ku_tl_choose(t, c->waits, c->nlisted, KU_TL_ROWS);
	rows = t->nwaits < KU_TL_ROWS ? t->nwaits : KU_TL_ROWS;
	ku_html(t->h, "<div class=\"group\" id=\"c%zu\">\n<div class=\"row head\"><div class=\"label\">", index);
	ku_page_path(t->h, t->a, c->path, c->union_index);
	ku_tl_doing(t, c->op, c->who, KU_SIZE(c->bytes), c->total_us);
	ku_html(t->h, "</div>");
	ku_tl_svg(t, 20);
	ku_tl_copyup(t, c, 3, 14);
	ku_html(t->h, "</svg></div>\n");
	for (size_t i = 0; i < rows; i++) {
		const struct ku_an_wait *w = t->waits[i];

		ku_html(t->h, "<div class=\"row\"><div class=\"label\">");
		ku_tl_doing(t, w->op, w->who, "", w->wait_us);
		ku_html(t->h, "</div>");
		ku_tl_svg(t, 12);
		ku_tl_wait(t, w, 2, KU_TL_LANE);
		ku_html(t->h, "</svg></div>\n");
	}
	if (t->nwaits > rows) {
		char label[64];

		snprintf(label, sizeof(label), "%s more waits", KU_COUNT(t->nwaits - rows));
		ku_tl_packed(t, t->waits + rows, t->nwaits - rows, label);
	}
	ku_html(t->h, "</div>\n");
}

/* Copy-ups that nobody waited for, as far as they are drawn. */
static void ku_tl_others(struct ku_tl *t, const bool *drawn)
{
	struct ku_tl_lanes l = { 0 };
	char label[80];
	size_t n = 0;

	for (size_t i = 0; i < t->a->ntimeline; i++) {
		const struct ku_an_copyup *c = t->a->timeline[i];

		if (!drawn[i] || c->nlisted)
			continue;
		ku_tl_lane(t, &l, c->ts_ns, c->total_us);
		n++;
	}
	if (!n)
		return;
	ku_html(t->h, "<div class=\"group\">\n");
	snprintf(label, sizeof(label), n == 1 ? "%s copy-up that nobody waited for" : "%s copy-ups that nobody waited for", KU_COUNT(n));
	ku_tl_lanes_start(t, &l, label);
	memset(&l, 0, sizeof(l));
	for (size_t i = 0; i < t->a->ntimeline; i++) {
		const struct ku_an_copyup *c = t->a->timeline[i];

		if (drawn[i] && !c->nlisted)
			ku_tl_copyup(t, c, ku_tl_lane(t, &l, c->ts_ns, c->total_us) * KU_TL_LANE + 2, KU_TL_LANE - 2);
	}
	ku_html(t->h, "</svg></div>\n</div>\n");
}

static void ku_tl_loose(struct ku_tl *t)
{
	ku_tl_choose(t, t->a->loose, t->a->nloose, 0);
	if (!t->nwaits)
		return;
	ku_html(t->h, "<div class=\"group\">\n");
	ku_tl_packed(t, t->waits, t->nwaits, "waits for copy-ups that are not known");
	ku_html(t->h, "</div>\n");
}

/* A round step with which there are at most KU_TL_TICKS. The script does the same. */
static uint64_t ku_tl_step(uint64_t span_us)
{
	uint64_t step = 1;

	for (;; step *= 10) {
		if (span_us / step <= KU_TL_TICKS)
			return step;
		if (span_us / (step * 2) <= KU_TL_TICKS)
			return step * 2;
		if (span_us / (step * 5) <= KU_TL_TICKS)
			return step * 5;
	}
}

static void ku_tl_axis(struct ku_tl *t)
{
	uint64_t step = ku_tl_step(t->span_us);

	ku_html(t->h, "<div class=\"row axis\"><div class=\"label\">since %s UTC</div>", KU_DATE(t->start_ns));
	ku_tl_svg(t, 20);
	for (uint64_t at = 0; at <= t->span_us; at += step)
		ku_html(t->h, "<text x=\"%.4f%%\" y=\"14\">%s</text>", 100.0 * (double)at / (double)t->span_us, at ? KU_TIME(at) : "0");
	ku_html(t->h, "</svg></div>\n<svg class=\"grid\" aria-hidden=\"true\">");
	for (uint64_t at = 0; at <= t->span_us; at += step) {
		double x = 100.0 * (double)at / (double)t->span_us;

		ku_html(t->h, "<line x1=\"%.4f%%\" x2=\"%.4f%%\" y1=\"0\" y2=\"100%%\"/>", x, x);
	}
	ku_html(t->h, "</svg>\n");
}

static void ku_tl_legend(struct ku_html *h)
{
	static const char *const t[][2] = {
		{ "copy", "copying" },		   { "queued", "queued" },	    { "lock", "waiting for the copy-up lock" },
		{ "fsync", "fsync" },		   { "commit", "putting in place" }, { "failed", "failed" },
		{ "on-dir", "waits on a directory lock" }, { "on-file", "on a file lock" },  { "on-inode", "on the copy-up lock" },
		{ "on-copy", "on kunion" },
	};

	ku_html(h, "<ul class=\"legend\">");
	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++)
		ku_html(h, "<li><i class=\"key %s\"></i>%s</li>", t[i][0], t[i][1]);
	ku_html(h, "</ul>\n");
}

static void ku_tl_chart(struct ku_tl *t, bool *drawn)
{
	const struct ku_analysis *a = t->a;

	ku_html(t->h,
		"<div class=\"card chart\" data-span=\"%llu\" tabindex=\"0\" role=\"group\" aria-label=\"Timeline of copy-ups and "
		"waits; the tables have them as text\">\n<div class=\"plot\">\n",
		(unsigned long long)t->span_us);
	ku_tl_axis(t);
	for (size_t i = 0; i < a->ntimeline; i++) {
		drawn[i] = ku_tl_take(t, ku_tl_weight(a->timeline[i]));
		if (drawn[i] && a->timeline[i]->nlisted)
			ku_tl_group(t, i);
	}
	ku_tl_others(t, drawn);
	ku_tl_loose(t);
	ku_html(t->h, "</div>\n</div>\n");
}

void ku_page_timeline(struct ku_html *h, const struct ku_analysis *a)
{
	_cleanup_free_ bool *drawn = calloc(a->ntimeline + 1, sizeof(*drawn));
	uint64_t all = a->seen.copyups + a->seen.waits;
	struct ku_tl t = { .h = h, .a = a, .start_ns = a->start_ns };
	int err;

	if (!a->ntimeline && !a->nloose)
		return;
	t.span_us = a->end_ns >= a->start_ns + 1000 ? (a->end_ns - a->start_ns) / 1000 : 1;
	err = drawn ? ku_tl_cap(&t) : -ENOMEM;
	if (err < 0) {
		h->err = err;
		free(t.waits);
		return;
	}
	ku_html(h, "<section id=\"timeline\">\n<h2>Timeline</h2>\n");
	ku_tl_legend(h);
	ku_tl_chart(&t, drawn);
	if (all > t.drawn)
		ku_html(h,
			"<p class=\"cap\">Drawn are %s of %s intervals (copy-ups and waits), those that took longest. "
			"The tables count all.</p>\n",
			KU_COUNT(t.drawn), KU_COUNT(all));
	ku_html(h, "</section>\n");
	free(t.waits);
}
