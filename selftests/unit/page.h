/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of the HTML report share: a small analysis, and looks at the page that comes of it. */
#ifndef KU_UNIT_PAGE_H
#define KU_UNIT_PAGE_H

#include "ktap.h"
#include "report_html.h"
#include "util.h"

#define MS 1000ull
#define START 1795370400123456000ull /* 2026-11-22 18:00:00.123456 */

static const struct ku_who nobody = { .comm = "", .cgroup = "", .container = "", .runtime = "" };

/* A small analysis, as ku_analysis_finish() leaves it: a copy-up of a second, an unlink that waited for it,
	a create that waited for that. */
struct sample {
	struct ku_analysis a;
	struct ku_who waiter, holder, copier;
	struct ku_an_copyup big, small, *timeline[2];
	struct ku_an_wait stalled, held, loose;
	const struct ku_an_wait *waits[2], *looses[1];
	struct ku_an_stall stall;
	struct ku_an_row row, lock;
	struct ku_an_union u[2];
	struct ku_advice advice;
};

static inline void sample_tables(struct sample *s)
{
	s->row = (struct ku_an_row){
		.name = "open", .detail = "openat", .sum = { 12, 2, 3 << 20, 250 * MS, 3, 1900 * MS }, .max_us = 1000 * MS
	};
	s->lock = (struct ku_an_row){ .name = "dir", .detail = "", .sum = { .waits = 2, .wait_us = 850 * MS }, .max_us = 800 * MS };
	s->a.by_cause = (struct ku_an_table){ .rows = &s->row, .n = 1, .nrest = 5, .rest = { 50, 0, 1024, 10, 0, 0 } };
	s->a.by_lock = (struct ku_an_table){ .rows = &s->lock, .n = 1 };
	s->a.copyup_hist[10] = 4;
	s->a.copyup_hist[12] = 8;
	s->a.wait_hist[KU_HIST - 1] = 1;
	s->a.phases.copy_us = 750;
	s->a.phases.fsync_us = 250;
	s->u[0] = (struct ku_an_union){
		.path = "/merged", .described = true, .lower = "/lower", .upper = "/upper", .options = "metacopy=off,index=on",
		.upper_fs = "ext4", .upper_free = 1ull << 30, .upper_size = 4ull << 30,
	};
	s->a.unions = s->u;
	s->a.nunions = 1;
	s->advice = (struct ku_advice){
		.name = "volatile", .union_path = "/merged", .title = "Mount it volatile", .reason = "fsync took 5 s",
		.todo = "mount -o \\\n  volatile", .caveat = "not after a crash", .weight_us = 5000 * MS,
	};
	s->a.advice = &s->advice;
	s->a.nadvice = 1;
}

static inline void sample_copyups(struct sample *s)
{
	s->big = (struct ku_an_copyup){
		.id = 7, .path = "/dir/big", .kind = "file", .op = "open", .syscall = "openat", .engine = "kernel", .data = "copied",
		.result = "ok", .who = &s->copier, .ts_ns = START, .size = 64 << 20, .bytes = 64 << 20,
		.lock_us = 100 * MS, .copy_us = 700 * MS, .fsync_us = 200 * MS, .total_us = 1000 * MS,
		.written_known = true, .written = 4096, .nwaits = 2, .wait_us = 1700 * MS, .waits = s->waits, .nlisted = 2,
	};
	s->small = (struct ku_an_copyup){
		.path = "/etc/conf", .kind = "file", .op = "chmod", .syscall = "", .engine = "kernel", .data = "none",
		.result = "ENOSPC", .who = &s->copier, .ts_ns = START + 1500 * MS * 1000, .total_us = 500 * MS,
	};
	s->timeline[0] = &s->big;
	s->timeline[1] = &s->small;
}

static inline void sample_waits(struct sample *s)
{
	s->held = (struct ku_an_wait){
		.path = "/dir/big", .op = "remove", .syscall = "unlink", .on = "inode", .result = "released", .who = &s->holder,
		.holder = &s->copier, .holder_op = "open", .ts_ns = START + 100 * MS * 1000, .wait_us = 900 * MS,
		.copyup_path = "/dir/big", .copyup_comm = "dd", .copyup_pid = 10, .copyup = &s->big,
	};
	s->stalled = (struct ku_an_wait){
		.path = "/dir", .op = "create", .syscall = "openat", .on = "dir", .result = "released", .who = &s->waiter,
		.holder = &s->holder, .holder_op = "remove", .ts_ns = START + 200 * MS * 1000, .wait_us = 800 * MS,
		.copyup_path = "/dir/big", .copyup_comm = "dd", .copyup_pid = 10, .copyup = &s->big,
	};
	s->loose = (struct ku_an_wait){
		.path = "/x", .op = "open", .syscall = "", .on = "?", .result = "signal", .who = &nobody, .holder_op = "",
		.ts_ns = START + 1950 * MS * 1000, .wait_us = 50 * MS, .copyup_path = "", .copyup_comm = "",
	};
	s->waits[0] = &s->held;
	s->waits[1] = &s->stalled;
	s->looses[0] = &s->loose;
	s->stall = (struct ku_an_stall){ .worst = &s->stalled, .holder_wait = &s->held, .waits = 3, .wait_us = 2000 * MS };
}

static inline void sample_fill(struct sample *s)
{
	memset(s, 0, sizeof(*s));
	s->waiter = (struct ku_who){ 30, 31, 1000, "touch", "/c", "0123456789abcdef", "docker" };
	s->holder = (struct ku_who){ 20, 20, 0, "rm", "", "", "" };
	s->copier = (struct ku_who){ 10, 10, 0, "dd", "", "", "" };
	sample_copyups(s);
	sample_waits(s);
	s->a = (struct ku_analysis){
		.source = "run.jsonl", .start_ns = START, .end_ns = START + 2000 * MS * 1000,
		.seen = { 2, 1, 64 << 20, 1500 * MS, 3, 1750 * MS },
		.exact = { 1234, 1, 64 << 20, 1500 * MS, 5678, 1800 * MS }, .exact_known = true,
		.changed = { 1, 64 << 20, 4096 },
		.stalls = &s->stall, .nstalls = 1,
		.timeline = s->timeline, .ntimeline = 2, .loose = s->looses, .nloose = 1,
	};
	sample_tables(s);
}

/* The page, allocated. */
static inline char *page_of(const struct ku_analysis *a)
{
	/* Static: gcc 12 takes what it points to for a local variable. */
	static char *page;
	static size_t size;
	FILE *out = open_memstream(&page, &size);

	KTAP_REQUIRE(out);
	KTAP_CHECK(ku_report_html(a, out) == 0);
	KTAP_REQUIRE(fclose(out) == 0);
	KTAP_REQUIRE(strlen(page) == size, "a NUL in the page");
	return page;
}

static inline size_t count(const char *page, const char *what)
{
	size_t n = 0;

	for (const char *at = page; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

static inline bool has(const char *page, const char *what)
{
	return KTAP_CHECK(strstr(page, what), "no '%s'", what);
}

/* What stands between two marks, with one '|' for the tags between two texts. The next call ends its life. */
static inline const char *text_of(const char *page, const char *from, const char *to)
{
	static char text[1 << 16];
	const char *at = strstr(page, from), *end = at ? strstr(at, to) : NULL;
	bool tag = false, sep = false;
	size_t n = 0;

	KTAP_REQUIRE(end, "no '%s' .. '%s'", from, to);
	/* Not from within a tag. */
	if (*from != '<' || !strchr(from, '>'))
		at += strcspn(at, ">");
	for (; at < end && n + 2 < sizeof(text); at++) {
		if (*at == '<' || *at == '>') {
			tag = *at == '<';
			sep = n > 0;
		} else if (!tag && (*at == '\n' || *at == ' ') && (sep || !n)) {
			continue;
		} else if (!tag) {
			while (sep && n && (text[n - 1] == ' ' || text[n - 1] == '\n'))
				n--;
			if (sep)
				text[n++] = '|';
			sep = false;
			text[n++] = *at;
		}
	}
	text[n] = '\0';
	return text;
}

/* A checker for the HTML that is written here: stricter than browsers, all tags closed, all values quoted, no mark in text. */
struct checker {
	char stack[64][24];
	size_t depth;
};

static inline const char *check_attributes(const char *at)
{
	for (;;) {
		at += strspn(at, " \n");
		if (*at == '>' || (at[0] == '/' && at[1] == '>'))
			return at;
		at += strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
		if (at[0] != '=' || at[1] != '"')
			return NULL;
		at += 2;
		at += strcspn(at, "\"<>");
		if (*at != '"')
			return NULL;
		at++;
		if (*at != ' ' && *at != '>' && *at != '/' && *at != '\n')
			return NULL;
	}
}

/* The tag at `at`; returns what is behind it, NULL if something is wrong. */
static inline const char *check_tag(struct checker *c, const char *at)
{
	bool closing = at[1] == '/';
	size_t len = strspn(at + 1 + closing, "abcdefghijklmnopqrstuvwxyz0123456789");
	char name[24], end[32];

	if (!len || len >= sizeof(name))
		return NULL;
	snprintf(name, sizeof(name), "%.*s", (int)len, at + 1 + closing);
	at += 1 + closing + len;
	if (closing)
		return *at == '>' && c->depth && !strcmp(c->stack[--c->depth], name) ? at + 1 : NULL;
	at = check_attributes(at);
	if (!at || *at == '/' || !strcmp(name, "meta"))
		return at ? at + 1 + (*at == '/') : NULL;
	if (c->depth == KU_ARRAY_SIZE(c->stack))
		return NULL;
	strcpy(c->stack[c->depth++], name);
	if (strcmp(name, "style") && strcmp(name, "script"))
		return at + 1;
	snprintf(end, sizeof(end), "</%s>", name);
	return strstr(at, end);
}

/* Where the page is not well-formed, NULL if it is. */
static inline const char *fault(const char *page)
{
	static const char doctype[] = "<!DOCTYPE html>\n", *const entities[] = { "&lt;", "&gt;", "&amp;", "&quot;", "&#39;" };
	struct checker c = { .depth = 0 };
	const char *at = page + strlen(doctype), *next;

	if (strncmp(page, doctype, strlen(doctype)))
		return page;
	while (*at) {
		bool known = *at != '&';

		for (size_t i = 0; i < KU_ARRAY_SIZE(entities); i++)
			known |= !strncmp(at, entities[i], strlen(entities[i]));
		if (!known || *at == '>' || ((unsigned char)*at < ' ' && *at != '\n'))
			return at;
		next = *at == '<' ? check_tag(&c, at) : at + 1;
		if (!next)
			return at;
		at = next;
	}
	return c.depth ? at : NULL;
}

static inline bool well_formed(const char *page)
{
	const char *at = fault(page);

	return KTAP_CHECK(!at, "at '%.80s'", at ? at : "");
}

/* Each link leads somewhere, and no place is there twice. */
static inline void links_lead(const char *page)
{
	const char *at = page;
	char id[64], want[80];

	while ((at = strstr(at, "href=\""))) {
		at += strlen("href=\"");
		KTAP_CHECK(*at == '#', "%.30s", at);
		snprintf(id, sizeof(id), "%.*s", (int)strcspn(at, "\""), at);
		snprintf(want, sizeof(want), " id=\"%s\"", id + 1);
		KTAP_CHECK(count(page, want) == 1, "%zu times%s", count(page, want), want);
	}
}

#endif
