// SPDX-License-Identifier: GPL-2.0-only
/*
 * Three sections below a header: busiest unions, copies under way with those who wait for them, and the longest waits. What does not fit is
 * left out with a word about it; columns go one after the other, the least telling first.
 */
#include "top_view.h"

#include <curses.h>
#include <stdarg.h>
#include <string.h>

#include "top_pen.h"
#include "top_text.h"
#include "util.h"

#define KU_TOP_LOW 14	 /* lines; below it no line stays free */
#define KU_TOP_NARROW 60 /* columns; below it words are left out */
#define KU_TOP_WIDE 120	 /* columns: room for who copies, and for a row's other name */
#define KU_TOP_WIDER 150 /* a wait that is over takes one line, not two */
#define KU_TOP_NAME_MIN 14u

/* header */

static void ku_top_title(const struct ku_top_ui *ui, const struct ku_top_snap *snap)
{
	struct ku_pen p = ku_pen(0, 1);
	char buf[KU_TOP_FIGURE];

	p.base = A_REVERSE;
	ku_pen_put(&p, A_BOLD, " kunion top ");
	if (ui->paused)
		ku_pen_put(&p, A_BOLD, " PAUSED ");
	if (ui->filter[0]) {
		ku_pen_put(&p, 0, " filter ");
		ku_pen_name(&p, A_BOLD, ui->filter, COLS < KU_TOP_WIDE ? 16 : 40, false);
		ku_pen_put(&p, 0, " ");
	}
	if (snap && COLS < KU_TOP_NARROW)
		ku_pen_put(&p, 0, " %s/%s %u union%s ", snap->mode, snap->tier, snap->unions, snap->unions == 1 ? "" : "s");
	else if (snap)
		ku_pen_put(&p, 0, " mode %s, tier %s   %u union%s   up %s ", snap->mode, snap->tier, snap->unions,
			   snap->unions == 1 ? "" : "s", ku_top_time(buf, (double)snap->up_ns / 1e9));
	ku_pen_fill(&p);
}

static void ku_top_totals(const struct ku_top_snap *snap)
{
	char a[KU_TOP_FIGURE], b[KU_TOP_FIGURE], c[KU_TOP_FIGURE], d[KU_TOP_FIGURE];
	const struct ku_top_sum *s = &snap->all;
	struct ku_pen p = ku_pen(1, 1);

	if (COLS < KU_TOP_NARROW)
		ku_pen_put(&p, 0, " %s/s %s/s", ku_top_per_s(a, s->copyups_rate), ku_top_bytes(b, s->bytes_rate));
	else if (COLS < 100)
		ku_pen_put(&p, 0, " copy-ups %s/s, bytes %s/s", ku_top_per_s(a, s->copyups_rate), ku_top_bytes(b, s->bytes_rate));
	else
		ku_pen_put(&p, 0, " copy-ups %s/s (%llu in all), bytes %s/s (%s in all)", ku_top_per_s(a, s->copyups_rate),
			   (unsigned long long)s->copyups, ku_top_bytes(b, s->bytes_rate), ku_top_bytes(c, (double)s->bytes));
	ku_pen_put(&p, snap->nwaiting ? A_BOLD | ku_pen_colour(KU_PEN_YELLOW) : 0, "  waiting %u", snap->nwaiting);
	/* Never left out: without it the lists would look whole. */
	ku_pen_put(&p, snap->dropped ? A_BOLD | ku_pen_colour(KU_PEN_RED) : 0, "  dropped %llu", (unsigned long long)snap->dropped);
	ku_pen_put(&p, 0, "  waited %s", ku_top_time(d, (double)s->wait_ns / 1e9));
	if (snap->parked)
		ku_pen_put(&p, 0, "  parked %llu", (unsigned long long)snap->parked);
}

/* busiest */

struct ku_top_column {
	const char *title;
	unsigned int width;
	unsigned int rank; /* the higher, the sooner it goes */
	enum ku_top_sort sort;
};

static const struct ku_top_column ku_top_columns[] = {
	{ "BYTES", 6, 1, KU_SORT_BYTES },	  { "B/s", 6, 4, KU_SORT_BYTES_RATE }, { "COPY-UPS", 10, 3, KU_SORT_COPYUPS },
	{ "/s", 7, 5, KU_SORT_COPYUPS_RATE }, { "WAITED", 8, 2, KU_SORT_WAIT },	   { "WAIT/s", 8, 6, KU_SORT_WAIT_RATE },
	{ "WAITS", 9, 7, KU_SORT_WAITS },
};

/* The columns that there is room for, as bits; the one that is sorted by always. */
static unsigned int ku_top_pick(enum ku_top_sort sort, unsigned int width)
{
	unsigned int used = KU_TOP_NAME_MIN, picked = 0;

	for (unsigned int rank = 0; rank <= KU_ARRAY_SIZE(ku_top_columns); rank++) {
		for (unsigned int i = 0; i < KU_ARRAY_SIZE(ku_top_columns); i++) {
			unsigned int mine = ku_top_columns[i].sort == sort ? 0 : ku_top_columns[i].rank;

			if (mine != rank)
				continue;
			if (used + ku_top_columns[i].width > width)
				return picked;
			used += ku_top_columns[i].width;
			picked |= 1u << i;
		}
	}
	return picked;
}

static const char *ku_top_cell(char buf[static KU_TOP_FIGURE], const struct ku_top_sum *s, enum ku_top_sort sort)
{
	switch (sort) {
	case KU_SORT_BYTES:
		return ku_top_bytes(buf, (double)s->bytes);
	case KU_SORT_BYTES_RATE:
		return ku_top_bytes(buf, s->bytes_rate);
	case KU_SORT_COPYUPS_RATE:
		return ku_top_per_s(buf, s->copyups_rate);
	case KU_SORT_WAIT:
		return ku_top_time(buf, (double)s->wait_ns / 1e9);
	case KU_SORT_WAIT_RATE:
		return ku_top_time(buf, s->wait_rate);
	default:
		snprintf(buf, KU_TOP_FIGURE, "%u", (unsigned int)(sort == KU_SORT_COPYUPS ? s->copyups : s->waits));
		return buf;
	}
}

static void ku_top_busiest_head(const struct ku_top_ui *ui, int y, unsigned int picked, unsigned int shown, unsigned int n)
{
	struct ku_pen p = ku_pen(y, 1);

	p.base = A_UNDERLINE;
	for (unsigned int i = 0; i < KU_ARRAY_SIZE(ku_top_columns); i++)
		if (picked & 1u << i)
			ku_pen_put(&p, ku_top_columns[i].sort == ui->sort ? A_BOLD | A_REVERSE : A_BOLD, "%*s",
				   (int)ku_top_columns[i].width, ku_top_columns[i].title);
	ku_pen_put(&p, 0, "  ");
	ku_pen_put(&p, ui->sort == KU_SORT_NAME ? A_BOLD | A_REVERSE : A_BOLD, "%s", ui->by_container ? "CONTAINER" : "UNION");
	if (ui->reverse)
		ku_pen_put(&p, 0, " reverse");
	if (shown < n)
		ku_pen_put(&p, 0, " %u of %u", shown, n);
	ku_pen_fill(&p);
}

static void ku_top_busiest(const struct ku_top_ui *ui, const struct ku_top_row *rows, unsigned int n, int y, unsigned int lines)
{
	unsigned int picked = ku_top_pick(ui->sort, (unsigned int)COLS), shown = n < lines ? n : lines - 1;
	char buf[KU_TOP_FIGURE];

	ku_top_busiest_head(ui, y++, picked, shown, n);
	if (!n)
		ku_pen_line(y, A_DIM, " no copy-up so far");
	for (unsigned int i = 0; i < shown; i++) {
		struct ku_pen p = ku_pen(y++, 1);
		const char *name = ui->by_container ? rows[i].container : rows[i].union_path;
		const char *other = ui->by_container ? rows[i].union_path : rows[i].container;
		unsigned int left;

		for (unsigned int k = 0; k < KU_ARRAY_SIZE(ku_top_columns); k++)
			if (picked & 1u << k)
				ku_pen_put(&p, 0, "%*s", (int)ku_top_columns[k].width,
					   ku_top_cell(buf, &rows[i].sum, ku_top_columns[k].sort));
		ku_pen_put(&p, 0, "  ");
		left = ku_pen_left(&p);
		ku_pen_name(&p, 0, name[0] ? name : "-", COLS < KU_TOP_WIDE ? left : left * 2 / 3, !ui->by_container);
		if (COLS >= KU_TOP_WIDE && other[0]) {
			ku_pen_put(&p, 0, ui->by_container ? "  " : "  [");
			ku_pen_name(&p, 0, other, ku_pen_left(&p), ui->by_container);
			ku_pen_put(&p, 0, ui->by_container ? "" : "]");
		}
	}
}

/* copies and waits */

static void ku_top_task(struct ku_pen *p, const struct ku_top_task *t)
{
	ku_pen_put(p, 0, "%u ", t->pid);
	ku_pen_name(p, A_BOLD, t->comm[0] ? t->comm : "?", 16, false);
	if (t->container[0] && COLS >= KU_TOP_NARROW) {
		ku_pen_put(p, 0, " [");
		ku_pen_name(p, 0, t->container, 12, false);
		ku_pen_put(p, 0, "]");
	}
}

/* "/merged" and "/dir/file" as one path. */
static void ku_top_path(struct ku_pen *p, attr_t attr, const char *union_path, const char *path, unsigned int columns)
{
	size_t ulen = strlen(union_path), plen = strlen(path);
	_cleanup_free_ char *whole = malloc(ulen + plen + 1);

	if (!whole)
		return;
	/* A union on "/" gives "/dir/file", and its own root no slash behind it. */
	if (ulen == 1 && *path == '/')
		ulen = 0;
	if (ulen && !strcmp(path, "/"))
		plen = 0;
	memcpy(whole, union_path, ulen);
	memcpy(whole + ulen, path, plen);
	whole[ulen + plen] = '\0';
	ku_pen_name(p, attr, whole[0] ? whole : "?", columns, true);
}

/* What a wait is on: "waits for the copy", "waited for directory /merged/dir"; narrow: "copy", "dir /merged/dir". */
static void ku_top_on(struct ku_pen *p, const char *verb, const struct ku_top_wait *w, bool with_path, unsigned int share)
{
	bool dir = !strcmp(w->on, "dir"), copy = !strcmp(w->on, "copy") || !strcmp(w->on, "commit");
	bool narrow = COLS < KU_TOP_NARROW;

	if (narrow)
		ku_pen_put(p, 0, " %s ", dir ? "dir" : copy ? "copy" : "file");
	else
		ku_pen_put(p, 0, " %s for %s", verb, dir ? "directory " : with_path && !copy ? "" : copy ? "the copy" : "the file");
	if (!with_path && !dir)
		return;
	if (copy && !narrow)
		ku_pen_put(p, 0, " of ");
	ku_top_path(p, 0, w->union_path, w->path, ku_pen_left(p) / share);
}

static void ku_top_waiter(const struct ku_top_wait *w, uint32_t copier, bool with_path, int y)
{
	struct ku_pen p = ku_pen(y, 1);
	bool held = w->holder.pid && w->holder.pid != copier;
	char buf[KU_TOP_FIGURE];

	ku_pen_put(&p, A_BOLD | ku_pen_colour(KU_PEN_YELLOW), COLS < KU_TOP_NARROW ? " %6s " : " %8s ",
		   ku_top_time(buf, (double)w->wait_ns / 1e9));
	ku_top_task(&p, &w->who);
	ku_pen_put(&p, 0, " %s", w->op);
	ku_top_on(&p, "waits", w, with_path, held ? 2 : 1);
	if (held) {
		ku_pen_put(&p, 0, ", held by ");
		ku_top_task(&p, &w->holder);
	}
}

static void ku_top_bar(struct ku_pen *p, const struct ku_top_copy *c, unsigned int width)
{
	double part = c->size ? (double)c->bytes / (double)c->size : 0;
	unsigned int full;

	if (part > 1)
		part = 1;
	full = (unsigned int)(part * width);
	ku_pen_put(p, 0, " [");
	for (unsigned int i = 0; i < width; i++)
		ku_pen_put(p, i < full ? A_BOLD | ku_pen_colour(KU_PEN_GREEN) : A_DIM, i < full ? "#" : ".");
	ku_pen_put(p, 0, "]");
	/* Not everyone's progress can be seen. */
	if (c->bytes || !strcmp(c->engine, "kunion"))
		ku_pen_put(p, 0, "%4.0f%% ", part * 100);
	else
		ku_pen_put(p, 0, "   ?  ");
}

static void ku_top_copying(const struct ku_top_copy *c, int y)
{
	struct ku_pen p = ku_pen(y, 1);
	char a[KU_TOP_FIGURE], b[KU_TOP_FIGURE];
	unsigned int left;

	ku_top_bar(&p, c, COLS >= KU_TOP_WIDE ? 24 : COLS >= 70 ? 12 : 8);
	if (COLS >= 70) {
		ku_pen_put(&p, 0, "%4s/%-4s ", ku_top_bytes(a, (double)c->bytes), ku_top_bytes(b, (double)c->size));
		ku_pen_put(&p, 0, "%6s/s ", c->rate > 0 ? ku_top_bytes(a, c->rate) : "-");
	}
	if (COLS >= KU_TOP_NARROW)
		ku_pen_put(&p, 0, "left ");
	ku_pen_put(&p, A_BOLD, "%6s ", c->eta_s < 0 ? "-" : ku_top_time(a, c->eta_s));
	left = ku_pen_left(&p);
	ku_top_path(&p, A_BOLD, c->union_path, c->path, COLS < KU_TOP_WIDE ? left : left * 3 / 5);
	if (COLS < KU_TOP_WIDE)
		return;
	ku_pen_put(&p, 0, "  %s by %s for ", c->op, c->engine);
	ku_top_task(&p, &c->who);
}

static void ku_top_section(int y, const char *title, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void ku_top_section(int y, const char *title, const char *fmt, ...)
{
	struct ku_pen p = ku_pen(y, 1);
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p.base = A_UNDERLINE;
	ku_pen_put(&p, A_BOLD, " %s", title);
	ku_pen_put(&p, 0, "%s", text);
	ku_pen_fill(&p);
}

static unsigned int ku_top_copies_wanted(const struct ku_top_ui *ui, const struct ku_top_snap *snap)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < snap->ncopies; i++)
		if (ku_top_shows_copy(ui->filter, &snap->copies[i]))
			n += 1 + snap->copies[i].nwaits;
	return n;
}

/* Waits for no copy that is in the list. With a line above them, for they are not the last copy's. */
static unsigned int ku_top_loose_wanted(const struct ku_top_ui *ui, const struct ku_top_snap *snap)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < snap->nloose; i++)
		n += ku_top_shows_wait(ui->filter, &snap->loose[i]);
	return n + (n > 0);
}

static void ku_top_loose(const struct ku_top_ui *ui, const struct ku_top_snap *snap, int y, int end)
{
	if (y < end)
		ku_pen_line(y++, 0, " elsewhere");
	for (unsigned int i = 0; i < snap->nloose && y < end; i++)
		if (ku_top_shows_wait(ui->filter, &snap->loose[i]))
			ku_top_waiter(&snap->loose[i], 0, true, y++);
}

static void ku_top_copies(const struct ku_top_ui *ui, const struct ku_top_snap *snap, int y, unsigned int lines)
{
	unsigned int loose = ku_top_loose_wanted(ui, snap), wanted = ku_top_copies_wanted(ui, snap) + loose;
	int end = y + (int)lines;
	char hidden[48] = "";

	if (wanted > lines - 1)
		snprintf(hidden, sizeof(hidden), ", %u more", wanted - lines + 1);
	ku_top_section(y++, COLS < KU_TOP_NARROW ? "COPYING" : "COPYING NOW", "  %u file%s, %u waiting%s", snap->ncopies,
		       snap->ncopies == 1 ? "" : "s", snap->nwaiting, hidden);
	if (!wanted)
		ku_pen_line(y, A_DIM, snap->ncopies + snap->nloose ? " nothing that the filter shows" : " nothing");
	for (unsigned int i = 0; i < snap->ncopies; i++) {
		const struct ku_top_copy *c = &snap->copies[i];

		if (!ku_top_shows_copy(ui->filter, c))
			continue;
		if (y < end)
			ku_top_copying(c, y++);
		for (unsigned int k = 0; k < c->nwaits && y < end; k++)
			ku_top_waiter(&c->waits[k], c->who.pid, false, y++);
	}
	if (loose)
		ku_top_loose(ui, snap, y, end);
}

/* The chain behind a wait: "held by 12 rm (remove) behind 11 cp copying up /m/d/big". */
static void ku_top_chain(struct ku_pen *p, const struct ku_top_wait *w)
{
	bool same = w->copyup_pid == w->holder.pid;

	if (w->holder.pid) {
		ku_pen_put(p, 0, COLS < KU_TOP_NARROW ? "by " : "held by ");
		ku_top_task(p, &w->holder);
		if (w->holder_op[0])
			ku_pen_put(p, 0, " (%s)", w->holder_op);
	} else if (!w->copyup_pid) {
		ku_pen_put(p, 0, "holder not known");
	}
	if (!w->copyup_pid)
		return;
	if (!same) {
		ku_pen_put(p, 0, w->holder.pid ? " behind " : "behind ");
		ku_top_task(p, &(struct ku_top_task){ .pid = w->copyup_pid, .comm = w->copyup_comm, .container = "" });
	}
	/* The path is the wait's own where that is on the file. */
	if (strcmp(w->path, w->copyup_path)) {
		ku_pen_put(p, 0, same ? ", copying up " : " copying up ");
		ku_top_path(p, 0, w->union_path, w->copyup_path, ku_pen_left(p));
	} else {
		ku_pen_put(p, 0, same ? ", copying it up" : " copying it up");
	}
}

/* "1234 touch create waited for directory /m/d" and, behind it or below it, its chain. */
static void ku_top_over(const struct ku_top_wait *w, int y, unsigned int each, unsigned int lines)
{
	struct ku_pen p = ku_pen(y, 1);
	char buf[KU_TOP_FIGURE];

	ku_pen_put(&p, A_BOLD, COLS < KU_TOP_NARROW ? " %6s " : " %8s ", ku_top_time(buf, (double)w->wait_ns / 1e9));
	ku_top_task(&p, &w->who);
	ku_pen_put(&p, 0, " %s", w->op);
	ku_top_on(&p, "waited", w, true, each > 1 ? 1 : 3);
	if (strcmp(w->result, "released"))
		ku_pen_put(&p, ku_pen_colour(KU_PEN_RED), " (%s)", w->result);
	if (each == 1) {
		ku_pen_put(&p, 0, ", ");
		ku_top_chain(&p, w);
	} else if (lines > 1) {
		p = ku_pen(y + 1, 1);
		ku_pen_put(&p, 0, COLS < KU_TOP_NARROW ? "%8s" : "%10s", "");
		ku_top_chain(&p, w);
	}
}

static unsigned int ku_top_longest_shown(const struct ku_top_ui *ui, const struct ku_top_snap *snap)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < snap->nlongest; i++)
		n += ku_top_shows_wait(ui->filter, &snap->longest[i]);
	return n;
}

static void ku_top_longest(const struct ku_top_ui *ui, const struct ku_top_snap *snap, int y, unsigned int lines)
{
	unsigned int each = COLS < KU_TOP_WIDER ? 2 : 1, left = lines - 1;
	bool first = true;

	ku_top_section(y++, "LONGEST WAITS", "  since the start");
	if (!ku_top_longest_shown(ui, snap))
		ku_pen_line(y, A_DIM, snap->nlongest ? " nothing that the filter shows" : " nobody has waited");
	/* Half of one is better than nothing, but only for the first. */
	for (unsigned int i = 0; i < snap->nlongest && left && (left >= each || first); i++) {
		if (!ku_top_shows_wait(ui->filter, &snap->longest[i]))
			continue;
		ku_top_over(&snap->longest[i], y, each, left);
		y += (int)each;
		left -= left < each ? left : each;
		first = false;
	}
}

/* all of it */

static void ku_top_help(int y)
{
	static const char *const text[] = {
		"q          quit",
		"s, arrows  sort by the next column",
		"r          reverse the order",
		"f, /       filter files and waits: a glob for",
		"           paths (with / * ?), or a part of a",
		"           command's or container's name",
		"c          by union or by container",
		"p          pause",
		"h, ?       this text",
		"",
		"Rates are per second since the last picture,",
		"WAIT/s is time waited in a second. [id] is a",
		"container; 'left': until the copy is done.",
	};

	for (unsigned int i = 0; i < KU_ARRAY_SIZE(text) && y + (int)i < LINES - 1; i++)
		ku_pen_line(y + (int)i, 0, " %s", text[i]);
}

static void ku_top_foot(const struct ku_top_ui *ui)
{
	static const char *const keys[] = { "q", "quit",  "h", "help",	  "s", "sort",	   "f",
					    "filter", "p", "pause", "r", "reverse", "c", "container" };
	struct ku_pen p = ku_pen(LINES - 1, 1);

	if (ui->typing) {
		ku_pen_put(&p, A_BOLD, COLS < KU_TOP_NARROW ? " filter: " : " filter (path glob, or command): ");
		ku_pen_name(&p, 0, ui->typed, ku_pen_left(&p) ? ku_pen_left(&p) - 1 : 0, true);
		move(p.y, (int)p.x);
		return;
	}
	for (unsigned int i = 0; i + 1 < KU_ARRAY_SIZE(keys); i += 2) {
		/* A narrow terminal has room for the first ones, help among them. */
		if (ku_pen_left(&p) < strlen(keys[i]) + strlen(keys[i + 1]) + 4)
			break;
		ku_pen_put(&p, A_REVERSE, " %s ", keys[i]);
		ku_pen_put(&p, 0, "%s ", keys[i + 1]);
	}
}

/* Lines for each section out of those that there are: two each, then what they want, the copies first. */
static void ku_top_share(unsigned int have, const unsigned int want[static 3], unsigned int give[static 3])
{
	static const unsigned int turns[] = { 1, 0, 2 };
	bool more = true;

	for (unsigned int i = 0; i < 3; i++) {
		unsigned int s = turns[i];

		give[s] = have < 2 ? 0 : 2;
		have -= give[s];
	}
	while (have && more) {
		more = false;
		for (unsigned int i = 0; i < 3 && have; i++) {
			unsigned int s = turns[i];

			if (give[s] && give[s] < want[s]) {
				give[s]++;
				have--;
				more = true;
			}
		}
	}
}

static void ku_top_body(const struct ku_top_ui *ui, const struct ku_top_snap *snap, int y)
{
	_cleanup_free_ struct ku_top_row *rows = calloc(snap->nrows + 1, sizeof(*rows));
	unsigned int n = rows ? ku_top_rows(snap, ui->by_container, ui->sort, ui->reverse, rows) : 0;
	unsigned int gap = LINES >= 24, each = COLS < KU_TOP_WIDER ? 2 : 1, give[3];
	unsigned int want[3] = { 1 + n + gap, 1 + ku_top_copies_wanted(ui, snap) + ku_top_loose_wanted(ui, snap) + gap,
				 1 + each * ku_top_longest_shown(ui, snap) };

	for (unsigned int i = 0; i < 2; i++)
		if (want[i] < 2 + gap)
			want[i] = 2 + gap;
	ku_top_share((unsigned int)(LINES - 1 - y), want, give);
	/* A line between sections where all are whole. */
	if (give[0])
		ku_top_busiest(ui, rows, n, y, give[0] == want[0] ? give[0] - gap : give[0]);
	if (give[1])
		ku_top_copies(ui, snap, y + (int)give[0], give[1] == want[1] ? give[1] - gap : give[1]);
	if (give[2])
		ku_top_longest(ui, snap, y + (int)(give[0] + give[1]), give[2]);
}

void ku_top_draw(const struct ku_top_ui *ui, const struct ku_top_snap *snap)
{
	int y = LINES < KU_TOP_LOW ? 2 : 3;

	erase();
	curs_set(ui->typing);
	ku_top_title(ui, snap);
	if (snap && LINES > 3)
		ku_top_totals(snap);
	if (ui->help)
		ku_top_help(y);
	else if (snap && LINES > y + 2)
		ku_top_body(ui, snap, y);
	if (LINES > 1)
		ku_top_foot(ui);
	refresh();
}
