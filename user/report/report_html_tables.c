// SPDX-License-Identifier: GPL-2.0-only
/* The HTML report: the worst stalls and the tables. */
#include <string.h>

#include "report_page.h"
#include "util.h"

#define KU_PAGE_COPYUPS 20 /* rows of the table of single copy-ups */
#define KU_PAGE_ID 64	   /* digits of a container's id, as all but systemd-nspawn and LXC have it */

static void ku_page_op(struct ku_html *h, const struct ku_analysis *a, const char *op, const char *syscall, const char *path,
		       unsigned int union_index)
{
	ku_html(h, "<span class=\"does\"><span class=\"op\"");
	if (*syscall)
		ku_html(h, " title=\"%s(2)\"", syscall);
	ku_html(h, ">%s</span> ", op);
	if (*path)
		ku_page_path(h, a, path, union_index);
	ku_html(h, "</span>\n");
}

/* One link of a chain begins. */
static void ku_page_link(struct ku_html *h, const char *class, const char *role)
{
	ku_html(h, "<li class=\"link %s\"><span class=\"role\">%s</span>\n", class, role);
}

static void ku_page_holder(struct ku_html *h, const struct ku_analysis *a, const struct ku_an_stall *s)
{
	const struct ku_an_wait *w = s->worst, *hw = s->holder_wait;

	ku_page_link(h, "holder", "held it, and waited too");
	ku_page_who(h, w->holder->comm, w->holder->pid, w->holder);
	ku_page_op(h, a, w->holder_op, hw ? hw->syscall : "", hw ? hw->path : "", w->union_index);
	if (hw)
		ku_html(h, "<span class=\"for\">%s for %s</span>", KU_TIME(hw->wait_us), ku_page_lock(hw->on));
	ku_html(h, "</li>\n");
}

static void ku_page_copier(struct ku_html *h, const struct ku_analysis *a, const struct ku_an_stall *s)
{
	const struct ku_an_wait *w = s->worst;
	const struct ku_an_copyup *c = w->copyup;

	ku_page_link(h, "copier", "copied up");
	if (c)
		ku_page_who(h, c->who->comm, c->who->pid, c->who);
	else if (s->holder_copies && w->holder)
		ku_page_who(h, w->holder->comm, w->holder->pid, w->holder);
	else if (w->copyup_pid)
		ku_page_who(h, w->copyup_comm, w->copyup_pid, NULL);
	else
		ku_html(h, "<span class=\"who\">somebody</span>\n");
	if (c)
		ku_page_op(h, a, c->op, c->syscall, c->path, c->union_index);
	else
		ku_page_op(h, a, s->holder_copies ? w->holder_op : "", "", w->copyup_path, w->union_index);
	if (c)
		ku_html(h, "<span class=\"for\">%s in %s</span>", KU_SIZE(c->bytes), KU_TIME(c->total_us));
	ku_html(h, "</li>\n");
}

static void ku_page_chain(struct ku_html *h, const struct ku_analysis *a, const struct ku_an_stall *s)
{
	const struct ku_an_wait *w = s->worst;

	ku_html(h, "<ol class=\"chain\">\n");
	ku_page_link(h, "waiter", "waited");
	ku_page_who(h, w->who->comm, w->who->pid, w->who);
	ku_page_op(h, a, w->op, w->syscall, w->path, w->union_index);
	ku_html(h, "<span class=\"for\">%s for %s</span></li>\n", KU_TIME(w->wait_us), ku_page_lock(w->on));
	if (!s->holder_copies && w->holder)
		ku_page_holder(h, a, s);
	ku_page_copier(h, a, s);
	ku_html(h, "</ol>\n");
}

/* Where the timeline has it; -1 if it has not. */
static long ku_page_timeline_at(const struct ku_analysis *a, const struct ku_an_copyup *c)
{
	for (size_t i = 0; c && i < a->ntimeline; i++)
		if (a->timeline[i] == c && c->nlisted)
			return (long)i;
	return -1;
}

void ku_page_stalls(struct ku_html *h, const struct ku_analysis *a)
{
	if (!a->nstalls)
		return;
	ku_html(h, "<section id=\"stalls\">\n<h2>Worst stalls</h2>\n<ol class=\"stalls\">\n");
	for (size_t i = 0; i < a->nstalls; i++) {
		const struct ku_an_stall *s = &a->stalls[i];
		const struct ku_an_wait *w = s->worst;
		long at = ku_page_timeline_at(a, w->copyup);

		ku_html(h, "<li class=\"card stall\">\n<p class=\"facts\"><strong>%s</strong><span>%s</span>", KU_TIME(w->wait_us),
			KU_DATE(w->ts_ns));
		if (s->waits > 1)
			ku_html(h, "<span>%s waits, %s in all</span>", KU_COUNT(s->waits), KU_TIME(s->wait_us));
		if (*w->result && strcmp(w->result, "released"))
			ku_html(h, "<span class=\"bad\">%s</span>", w->result);
		if (at >= 0)
			ku_html(h, "<a href=\"#c%ld\">in the timeline</a>", at);
		ku_html(h, "</p>\n");
		ku_page_chain(h, a, s);
		ku_html(h, "</li>\n");
	}
	ku_html(h, "</ol>\n</section>\n");
}

/*
 * A figure with its share of the biggest one as a bar behind it. Each cell also has its heading: on narrow screens a row is a paragraph, in
 * which what is nothing is left out.
 */
static void ku_page_cell(struct ku_html *h, const char *heading, const char *class, uint64_t n, uint64_t most, const char *text)
{
	ku_html(h, "<td class=\"num%s\" data-l=\"%s\" data-v=\"%llu\">", n ? "" : " zero", heading, (unsigned long long)n);
	if (most && n)
		ku_html(h, "<svg class=\"share %s\" aria-hidden=\"true\"><rect width=\"%.2f%%\" height=\"100%%\"/></svg>", class,
			100.0 * (double)n / (double)most);
	ku_html(h, "<span>%s</span></td>", n ? text : "\xe2\x80\x93");
}

enum ku_page_name { KU_NAME_PLAIN, KU_NAME_CONTAINER, KU_NAME_DIR, KU_NAME_EXTENSION, KU_NAME_LOCK };

struct ku_page_table {
	const char *title, *first, *none; /* heading of the first column; what a row without a name is called */
	const struct ku_an_table *t;
	enum ku_page_name name;
	bool waits_only;
	bool failed; /* some did: the table has a column for it */
};

/* "open, ID" or any other words; an id is cut as everywhere. */
static void ku_page_detail(struct ku_html *h, const char *detail)
{
	const char *id = strstr(detail, ", ");
	int before = id ? (int)(id + 2 - detail) : 0;

	if (id && strlen(id + 2) == KU_PAGE_ID)
		ku_html(h, "<span class=\"detail\" title=\"%s\">%.*s%.12s</span>", detail, before, detail, id + 2);
	else
		ku_html(h, "<span class=\"detail\">%s</span>", detail);
}

static void ku_page_name(struct ku_html *h, const struct ku_analysis *a, const struct ku_page_table *p, const struct ku_an_row *r)
{
	ku_html(h, "<th scope=\"row\" data-v=\"%s\">", r->name);
	if (p->name == KU_NAME_DIR) {
		ku_page_path(h, a, *r->name ? r->name : "/", r->union_index);
		if (r->below)
			ku_html(h, "<span class=\"detail\">and below</span>");
	} else if (!*r->name) {
		ku_html(h, "<i>%s</i>", p->none);
	} else if (p->name == KU_NAME_CONTAINER && strlen(r->name) == KU_PAGE_ID) {
		ku_html(h, "<code title=\"%s\">%.12s</code>", r->name, r->name);
	} else if (p->name == KU_NAME_EXTENSION) {
		ku_html(h, "<code>.%s</code>", r->name);
	} else if (p->name == KU_NAME_LOCK) {
		const char *words = ku_page_lock(r->name);

		ku_html(h, "%s", words + (strncmp(words, "the ", 4) ? 0 : 4));
	} else {
		ku_html(h, "<span class=\"name\">%s</span>", r->name);
	}
	if (*r->detail)
		ku_page_detail(h, r->detail);
	ku_html(h, "</th>");
}

static uint64_t ku_page_more(uint64_t x, uint64_t y)
{
	return x > y ? x : y;
}

static void ku_page_most(const struct ku_an_table *t, struct ku_an_sum *most)
{
	*most = (struct ku_an_sum){ 0 };
	for (size_t i = 0; i < t->n; i++) {
		const struct ku_an_sum *s = &t->rows[i].sum;

		most->copyups = ku_page_more(s->copyups, most->copyups);
		most->bytes = ku_page_more(s->bytes, most->bytes);
		most->copyup_us = ku_page_more(s->copyup_us, most->copyup_us);
		most->waits = ku_page_more(s->waits, most->waits);
		most->wait_us = ku_page_more(s->wait_us, most->wait_us);
	}
}

static void ku_page_sums(struct ku_html *h, const struct ku_page_table *p, const struct ku_an_sum *s, const struct ku_an_sum *most)
{
	if (!p->waits_only) {
		ku_page_cell(h, "Copy-ups", "copies", s->copyups, most->copyups, KU_COUNT(s->copyups));
		if (p->failed)
			ku_page_cell(h, "Failed", "", s->failed, 0, KU_COUNT(s->failed));
		ku_page_cell(h, "Bytes", "copies", s->bytes, most->bytes, KU_SIZE(s->bytes));
		ku_page_cell(h, "Time", "copies", s->copyup_us, most->copyup_us, KU_TIME(s->copyup_us));
	}
	ku_page_cell(h, "Waits", "waits", s->waits, most->waits, KU_COUNT(s->waits));
	ku_page_cell(h, "Waited", "waits", s->wait_us, most->wait_us, KU_TIME(s->wait_us));
}

/* Wide tables scroll in themselves, with the keyboard too. */
static void ku_page_table_start(struct ku_html *h, const char *title, const char *class, const char *first)
{
	ku_html(h,
		"<div class=\"card scroll %s\" tabindex=\"0\" role=\"region\" aria-label=\"%s\">\n<table class=\"sortable\">\n"
		"<caption>%s</caption>\n<thead><tr><th scope=\"col\">%s</th>",
		class, title, title, first);
}

static void ku_page_heading(struct ku_html *h, const char *text, bool number)
{
	ku_html(h, "<th scope=\"col\" class=\"%s\">%s</th>", number ? "num" : "text", text);
}

static void ku_page_table(struct ku_html *h, const struct ku_analysis *a, const struct ku_page_table *p)
{
	struct ku_an_sum most;

	if (!p->t->n)
		return;
	ku_page_most(p->t, &most);
	ku_page_table_start(h, p->title, p->waits_only ? "few" : "many", p->first);
	if (!p->waits_only) {
		ku_page_heading(h, "Copy-ups", true);
		if (p->failed)
			ku_page_heading(h, "Failed", true);
		ku_page_heading(h, "Bytes", true);
		ku_page_heading(h, "Time", true);
	}
	ku_page_heading(h, "Waits", true);
	ku_page_heading(h, "Waited", true);
	ku_page_heading(h, "Longest", true);
	ku_html(h, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < p->t->n; i++) {
		const struct ku_an_row *r = &p->t->rows[i];

		ku_html(h, "<tr>");
		ku_page_name(h, a, p, r);
		ku_page_sums(h, p, &r->sum, &most);
		ku_page_cell(h, "Longest", "", r->max_us, 0, KU_TIME(r->max_us));
		ku_html(h, "</tr>\n");
	}
	ku_html(h, "</tbody>\n");
	if (p->t->nrest) {
		most = (struct ku_an_sum){ 0 };
		ku_html(h, "<tfoot><tr><th scope=\"row\">%s more</th>", KU_COUNT(p->t->nrest));
		ku_page_sums(h, p, &p->t->rest, &most);
		ku_html(h, "<td class=\"zero\"></td></tr></tfoot>\n");
	}
	ku_html(h, "</table>\n</div>\n");
}

static int ku_page_dearer(const void *x, const void *y)
{
	const struct ku_an_copyup *c = *(const struct ku_an_copyup *const *)x, *d = *(const struct ku_an_copyup *const *)y;
	uint64_t a = c->total_us + c->wait_us, b = d->total_us + d->wait_us;

	return a < b ? 1 : a > b ? -1 : c->ts_ns < d->ts_ns ? -1 : c->ts_ns > d->ts_ns;
}

static void ku_page_copyup_row(struct ku_html *h, const struct ku_analysis *a, const struct ku_an_copyup *c)
{
	ku_html(h, "<tr><th scope=\"row\" data-v=\"%s\">", c->path);
	ku_page_path(h, a, c->path, c->union_index);
	if (strcmp(c->kind, "file"))
		ku_html(h, "<span class=\"detail\">%s</span>", c->kind);
	ku_html(h, "</th><td data-l=\"Cause\" title=\"%s\">%s</td><td data-l=\"Who\" data-v=\"%s\">", c->syscall, c->op, c->who->comm);
	ku_page_who(h, c->who->comm, c->who->pid, c->who);
	ku_html(h, "</td><td data-l=\"Data\">%s</td>", c->data);
	ku_page_cell(h, "Bytes", "", c->bytes, 0, KU_SIZE(c->bytes));
	/* Not known sorts below nothing. */
	if (c->written_known)
		ku_html(h, "<td class=\"num\" data-l=\"Written since\" data-v=\"%llu\">%s</td>", (unsigned long long)c->written,
			KU_SIZE(c->written));
	else
		ku_html(h, "<td class=\"num zero\" data-l=\"Written since\" data-v=\"-1\"></td>");
	ku_page_cell(h, "Time", "", c->total_us, 0, KU_TIME(c->total_us));
	ku_page_cell(h, "Waits", "", c->nwaits, 0, KU_COUNT(c->nwaits));
	ku_page_cell(h, "Waited", "", c->wait_us, 0, KU_TIME(c->wait_us));
	ku_html(h, "<td class=\"%s\" data-l=\"Result\">%s</td></tr>\n", ku_page_failed(c->result) ? "bad" : "text", c->result);
}

/* Those that cost most, themselves and by what others waited for them. */
static void ku_page_copyups(struct ku_html *h, const struct ku_analysis *a)
{
	static const struct {
		const char *text;
		bool number;
	} headings[] = { { "Cause", false }, { "Who", false },	{ "Data", false },   { "Bytes", true }, { "Written since", true },
			 { "Time", true },   { "Waits", true }, { "Waited", true }, { "Result", false } };
	_cleanup_free_ const struct ku_an_copyup **list = NULL;

	if (!a->ntimeline)
		return;
	list = calloc(a->ntimeline, sizeof(*list));
	if (!list) {
		h->err = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < a->ntimeline; i++)
		list[i] = a->timeline[i];
	qsort(list, a->ntimeline, sizeof(*list), ku_page_dearer);
	ku_page_table_start(h, "Dearest copy-ups", "wide", "Path");
	for (size_t i = 0; i < KU_ARRAY_SIZE(headings); i++)
		ku_page_heading(h, headings[i].text, headings[i].number);
	ku_html(h, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < a->ntimeline && i < KU_PAGE_COPYUPS; i++)
		ku_page_copyup_row(h, a, list[i]);
	ku_html(h, "</tbody>\n</table>\n</div>\n");
}

void ku_page_tables(struct ku_html *h, const struct ku_analysis *a)
{
	struct ku_page_table tables[] = {
		{ "By cause", "Cause", "not known", &a->by_cause, KU_NAME_PLAIN, false, false },
		{ "By container", "Container or cgroup", "not known", &a->by_container, KU_NAME_CONTAINER, false, false },
		{ "By directory", "Directory", "/", &a->by_dir, KU_NAME_DIR, false, false },
		{ "By extension", "Extension", "none", &a->by_extension, KU_NAME_EXTENSION, false, false },
		{ "By holder: who made others wait", "Holder", "not known", &a->by_holder, KU_NAME_PLAIN, true, false },
		{ "By lock: what they waited for", "Lock", "not known", &a->by_lock, KU_NAME_LOCK, true, false },
		{ "By kind of file", "Kind", "not known", &a->by_kind, KU_NAME_PLAIN, false, false },
		{ "By data", "Data", "not known", &a->by_data, KU_NAME_PLAIN, false, false },
		{ "By engine", "Who copied", "not known", &a->by_engine, KU_NAME_PLAIN, false, false },
	};

	if (!a->seen.copyups && !a->seen.waits)
		return;
	ku_html(h, "<section id=\"tables\">\n<h2>Tables</h2>\n");
	ku_page_copyups(h, a);
	ku_html(h, "<div class=\"tables\">\n");
	for (size_t i = 0; i < KU_ARRAY_SIZE(tables); i++) {
		struct ku_page_table *p = &tables[i];

		p->failed = p->t->rest.failed > 0;
		for (size_t j = 0; j < p->t->n; j++)
			p->failed |= p->t->rows[j].sum.failed > 0;
		ku_page_table(h, a, p);
	}
	ku_html(h, "</div>\n</section>\n");
}
