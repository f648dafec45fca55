// SPDX-License-Identifier: GPL-2.0-only
#include "trace_fmt.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <wchar.h>

#include "util.h"

#define KU_C_RED "31;1"
#define KU_C_YELLOW "33"
#define KU_C_CYAN "36"
#define KU_C_DIM "2"
#define KU_ID_SHOWN 12 /* as `docker ps` and `podman ps` show ids */
#define KU_PATH_LEAST 16

/* A line in the making. Without memory the stream fails, and so does the line. */
struct ku_line {
	const struct ku_trace_fmt *f;
	FILE *out;
	char *text;
	size_t size;
	unsigned int used; /* columns */
};

/* Columns of the terminal, 0: the column is left out. One blank is between them. */
struct ku_columns {
	unsigned int time, event, op, pid, comm, where, bytes, took, result;
};

static struct ku_columns ku_columns_of(const struct ku_trace_fmt *f)
{
	struct ku_columns c = { .time = 12, .event = 7, .op = 8, .pid = 7, .comm = 15, .where = 20, .bytes = 5, .took = 6, .result = 8 };
	unsigned int w = f->width;

	if (!w || w >= 160)
		return c;
	/* What is left out first says least: "ok" and "released". Anything else stands before the path then. */
	c.result = 0;
	if (w < 140)
		c.where = KU_ID_SHOWN;
	if (w < 120) {
		c.where = 0;
		c.time = 8;
	}
	if (w < 100)
		c.comm = 10;
	return c;
}

/* text */

/* The next character of valid UTF-8: its length and, on a terminal, its columns. */
static size_t ku_char(const char *s, unsigned int *ret_columns)
{
	unsigned char c = (unsigned char)s[0];
	size_t len = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	uint32_t code = len == 1 ? c : c & (0x7fu >> len);
	int columns;

	for (size_t i = 1; i < len; i++)
		code = code << 6 | ((unsigned char)s[i] & 0x3f);
	columns = wcwidth((wchar_t)code);
	*ret_columns = columns < 0 ? 1 : (unsigned int)columns;
	return len;
}

static unsigned int ku_width(const char *s)
{
	unsigned int all = 0, one;

	while (*s) {
		s += ku_char(s, &one);
		all += one;
	}
	return all;
}

static const char *ku_dots(const struct ku_trace_fmt *f)
{
	return f->utf8 ? "\xe2\x80\xa6" : "~";
}

/* How many bytes of s fit in room columns. */
static size_t ku_fits(const char *s, unsigned int room)
{
	unsigned int one, all = 0;
	size_t at = 0;

	while (s[at]) {
		size_t len = ku_char(s + at, &one);

		if (all + one > room)
			break;
		all += one;
		at += len;
	}
	return at;
}

/* The text that ends s and fits in room columns. */
static const char *ku_tail(const char *s, unsigned int room)
{
	unsigned int all = ku_width(s), one;

	while (all > room) {
		s += ku_char(s, &one);
		all -= one;
	}
	return s;
}

/* s, cut at its end (or its beginning) to room columns; allocated. */
static char *ku_cut(const struct ku_trace_fmt *f, const char *s, unsigned int room, bool front)
{
	char *ret;
	int r;

	if (ku_width(s) <= room)
		return strdup(s);
	if (!room)
		return strdup("");
	if (front)
		r = asprintf(&ret, "%s%s", ku_dots(f), ku_tail(s, room - 1));
	else
		r = asprintf(&ret, "%.*s%s", (int)ku_fits(s, room - 1), s, ku_dots(f));
	return r < 0 ? NULL : ret;
}

/* cells */

static void ku_begin(struct ku_line *l, const struct ku_trace_fmt *f)
{
	*l = (struct ku_line){ .f = f };
	l->out = open_memstream(&l->text, &l->size);
}

static char *ku_end(struct ku_line *l)
{
	bool failed;

	if (!l->out)
		return NULL;
	fputc('\n', l->out);
	failed = ferror(l->out);
	if (fclose(l->out) || failed) {
		free(l->text);
		return NULL;
	}
	return l->text;
}

/* Writes text that is fit for a terminal already. */
static void ku_put(struct ku_line *l, const char *text, const char *colour)
{
	if (!l->out || !*text)
		return;
	if (colour && l->f->colour)
		fprintf(l->out, "\033[%sm%s\033[m", colour, text);
	else
		fputs(text, l->out);
	l->used += ku_width(text);
}

static void ku_pad(struct ku_line *l, unsigned int columns)
{
	if (l->out)
		fprintf(l->out, "%*s", (int)columns, "");
	l->used += columns;
}

/* A column and the blank behind it. What is too wide is cut on a terminal, and elsewhere moves the rest. */
static void ku_cell(struct ku_line *l, const char *bytes, unsigned int width, bool right, const char *colour)
{
	_cleanup_free_ char *text = NULL, *cut = NULL;
	unsigned int used;

	if (!width)
		return;
	text = ku_terminal_text(*bytes ? bytes : "-", l->f->utf8);
	cut = text && l->f->width ? ku_cut(l->f, text, width, false) : KU_TAKE_PTR(text);
	if (!cut)
		return;
	used = ku_width(cut);
	if (right && used < width)
		ku_pad(l, width - used);
	ku_put(l, cut, colour);
	ku_pad(l, !right && used < width ? width - used + 1 : 1);
}

static void ku_cell_number(struct ku_line *l, uint64_t n, unsigned int width)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	ku_cell(l, text, width, true, NULL);
}

/* "12:34:56.789" or, in eight columns, "12:34:56" */
static void ku_cell_time(struct ku_line *l, uint64_t ts_ns, unsigned int width)
{
	time_t sec = (time_t)(ts_ns / 1000000000);
	char text[32];
	struct tm tm;
	size_t n;

	if (!ts_ns || !localtime_r(&sec, &tm)) {
		ku_cell(l, "-", width, false, NULL);
		return;
	}
	n = strftime(text, sizeof(text), "%H:%M:%S", &tm);
	if (width > 8)
		snprintf(text + n, sizeof(text) - n, ".%03u", (unsigned int)(ts_ns % 1000000000 / 1000000));
	ku_cell(l, text, width, false, NULL);
}

/* "docker:3f2a1b0c4d5e", "web", or the last part of the cgroup's path. */
static void ku_cell_where(struct ku_line *l, const struct ku_who *w, unsigned int width)
{
	bool id = strlen(w->container) > KU_ID_SHOWN && !w->container[strspn(w->container, "0123456789abcdef")];
	bool runtime = width > KU_ID_SHOWN && *w->runtime;
	const char *slash = strrchr(w->cgroup, '/');
	_cleanup_free_ char *text = NULL;

	if (!*w->container) {
		ku_cell(l, slash && slash[1] ? slash + 1 : w->cgroup, width, false, NULL);
		return;
	}
	if (asprintf(&text, "%s%s%.*s", runtime ? w->runtime : "", runtime ? ":" : "", id ? KU_ID_SHOWN : 255, w->container) < 0)
		text = NULL;
	ku_cell(l, text ? text : w->container, width, false, NULL);
}

static void ku_cells_who(struct ku_line *l, const struct ku_columns *c, const struct ku_who *w)
{
	ku_cell_number(l, w->pid, c->pid);
	ku_cell(l, w->comm, c->comm, false, NULL);
	ku_cell_where(l, w, c->where);
}

/* The rest of the line. On a terminal the path gives way first, at its beginning, and then what is behind it. */
static void ku_rest(struct ku_line *l, const char *path, const char *notes)
{
	unsigned int room, path_room, noted = ku_width(notes);
	_cleanup_free_ char *p = NULL, *n = NULL;

	if (!l->f->width) {
		ku_put(l, path, NULL);
		ku_put(l, notes, NULL);
		return;
	}
	room = l->f->width > l->used ? l->f->width - l->used : 0;
	path_room = room > noted + KU_PATH_LEAST ? room - noted : room < KU_PATH_LEAST ? room : KU_PATH_LEAST;
	p = ku_cut(l->f, path, path_room, true);
	if (!p)
		return;
	ku_put(l, p, NULL);
	n = ku_cut(l->f, notes, room - ku_width(p), false);
	if (n)
		ku_put(l, n, KU_C_DIM);
}

static void ku_cell_result(struct ku_line *l, const struct ku_columns *c, const char *result)
{
	bool fine = !*result || !strcmp(result, "ok") || !strcmp(result, "released");

	ku_cell(l, result, c->result || fine ? c->result : (unsigned int)strlen(result), false, fine ? NULL : KU_C_RED);
}

/* events */

/* The path as the union's user would write it; allocated. */
static char *ku_whole_path(const struct ku_trace_fmt *f, const struct ku_event *e, const char *path)
{
	_cleanup_free_ char *all = NULL;

	if (asprintf(&all, "%s%s", strcmp(e->union_path, "/") || !*path ? e->union_path : "", path) < 0) {
		all = NULL;
		return NULL;
	}
	return ku_terminal_text(*all ? all : "-", f->utf8);
}

/* Words in brackets behind a path; not longer than fits. */
struct ku_notes {
	char text[256];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void ku_note(struct ku_notes *n, const char *fmt, ...)
{
	char word[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(word, sizeof(word), fmt, ap);
	va_end(ap);
	if (n->len + strlen(word) + 4 < sizeof(n->text))
		n->len += (size_t)sprintf(n->text + n->len, "%s%s", n->len ? ", " : " (", word);
}

/* Allocated, fit for a terminal. */
static char *ku_notes_end(struct ku_notes *n, const struct ku_trace_fmt *f)
{
	if (n->len)
		strcpy(n->text + n->len, ")");
	return ku_terminal_text(n->text, f->utf8);
}

static void ku_fmt_copyup(struct ku_line *l, const struct ku_columns *c, const struct ku_event *e)
{
	const struct ku_ev_copyup *u = &e->copyup;
	_cleanup_free_ char *path = ku_whole_path(l->f, e, e->path), *text = NULL;
	bool file = !strcmp(u->kind, "file") || !*u->kind;
	struct ku_notes notes = { 0 };
	char buf[16];

	ku_cell(l, u->op, c->op, false, NULL);
	ku_cells_who(l, c, &u->who);
	ku_cell(l, file ? ku_short_bytes(u->bytes, buf) : "-", c->bytes, true, NULL);
	ku_cell(l, ku_short_us(u->total_us, buf), c->took, true, NULL);
	ku_cell_result(l, c, u->result);
	if (!file)
		ku_note(&notes, "%s", u->kind);
	if (!strcmp(u->engine, "kunion") || !strcmp(u->engine, "guard"))
		ku_note(&notes, "%s", u->engine);
	if (!strcmp(u->data, "cloned") || !strcmp(u->data, "metadata"))
		ku_note(&notes, "%s", u->data);
	/* Where the time went, if it is worth a word. */
	if (u->lock_us >= 1000)
		ku_note(&notes, "lock %s", ku_short_us(u->lock_us, buf));
	if (u->fsync_us >= 1000)
		ku_note(&notes, "fsync %s", ku_short_us(u->fsync_us, buf));
	if (u->waiters)
		ku_note(&notes, "%u waited", u->waiters);
	text = ku_notes_end(&notes, l->f);
	if (path && text)
		ku_rest(l, path, text);
}

static const char *ku_on_name(const char *on)
{
	static const struct {
		const char *on, *name;
	} names[] = { { "dir", "dir lock" }, { "inode", "inode lock" }, { "file", "file lock" } };

	for (size_t i = 0; i < KU_ARRAY_SIZE(names); i++)
		if (!strcmp(on, names[i].on))
			return names[i].name;
	return *on ? on : "?"; /* "copy", "commit" */
}

/* " (dir lock) <- rm[12] remove <- dd[34] copying /dir/big"; allocated, fit for a terminal. */
static char *ku_chain(const struct ku_trace_fmt *f, const struct ku_event *e)
{
	const struct ku_ev_wait *w = &e->wait;
	bool copying = w->copyup_id || *w->copyup_path;
	/* The holder copies itself: told once. */
	bool same = copying && w->holder.pid == w->copyup_pid;
	const char *comm = !*w->copyup_comm && same ? w->holder.comm : w->copyup_comm;
	_cleanup_free_ char *chain = NULL;
	bool failed;
	size_t size;
	FILE *out;

	out = open_memstream(&chain, &size);
	if (!out)
		return NULL;
	fprintf(out, " (%s)", ku_on_name(w->on));
	if (w->holder.pid && !same)
		fprintf(out, " <- %s[%u]%s%s", w->holder.comm, w->holder.pid, *w->holder_op ? " " : "", w->holder_op);
	else if (!copying)
		fprintf(out, " <- ?");
	if (copying && w->copyup_pid)
		fprintf(out, " <- %s[%u] copying", *comm ? comm : "?", w->copyup_pid);
	else if (copying)
		fprintf(out, " <- ? copying");
	if (copying && strcmp(w->copyup_path, e->path))
		fprintf(out, " %s", *w->copyup_path ? w->copyup_path : "?");
	failed = ferror(out);
	if (fclose(out) || failed)
		return NULL;
	return ku_terminal_text(chain, f->utf8);
}

static void ku_fmt_wait(struct ku_line *l, const struct ku_columns *c, const struct ku_event *e)
{
	_cleanup_free_ char *path = ku_whole_path(l->f, e, e->path), *chain = ku_chain(l->f, e);
	char buf[16];

	ku_cell(l, e->wait.op, c->op, false, NULL);
	ku_cells_who(l, c, &e->wait.who);
	ku_cell(l, "-", c->bytes, true, NULL);
	ku_cell(l, ku_short_us(e->wait.wait_us, buf), c->took, true, e->wait.wait_us >= 1000000 ? KU_C_RED : KU_C_YELLOW);
	ku_cell_result(l, c, e->wait.result);
	if (path && chain)
		ku_rest(l, path, chain);
}

static void ku_fmt_changed(struct ku_line *l, const struct ku_columns *c, const struct ku_event *e)
{
	_cleanup_free_ char *path = ku_whole_path(l->f, e, e->path);
	char buf[16];

	ku_cell(l, "written", c->op, false, NULL);
	ku_cell(l, "-", c->pid, true, NULL);
	ku_cell(l, "-", c->comm, false, NULL);
	ku_cell(l, "-", c->where, false, NULL);
	ku_cell(l, ku_short_bytes(e->changed.written, buf), c->bytes, true, NULL);
	ku_cell(l, "-", c->took, true, NULL);
	ku_cell_result(l, c, "");
	if (path)
		ku_rest(l, path, " (since its copy-up)");
}

static void ku_fmt_write(struct ku_line *l, const struct ku_columns *c, const struct ku_event *e)
{
	const struct ku_ev_write *w = &e->write;
	_cleanup_free_ char *path = ku_whole_path(l->f, e, e->path), *plain = NULL, *notes = NULL;
	bool file = !*w->kind || !strcmp(w->kind, "file");

	ku_cell(l, w->op, c->op, false, NULL);
	ku_cells_who(l, c, &w->who);
	ku_cell(l, "-", c->bytes, true, NULL);
	ku_cell(l, "-", c->took, true, NULL);
	ku_cell_result(l, c, "");
	if (asprintf(&plain, "%s%s%s%s%s", *w->path2 ? " -> " : "", w->path2, file ? "" : " (", file ? "" : w->kind, file ? "" : ")") < 0)
		plain = NULL;
	notes = plain ? ku_terminal_text(plain, l->f->utf8) : NULL;
	if (path && notes)
		ku_rest(l, path, notes);
}

/* The errno stands for a verdict that refuses. */
static void ku_fmt_policy(struct ku_line *l, const struct ku_columns *c, const struct ku_event *e)
{
	const struct ku_ev_policy *p = &e->policy;
	_cleanup_free_ char *path = ku_whole_path(l->f, e, e->path), *plain = NULL, *notes = NULL;
	bool limited = p->limit && *p->limit;
	char bytes[16];

	ku_cell(l, p->action, c->op, false, NULL);
	ku_cells_who(l, c, &p->who);
	ku_cell(l, p->size ? ku_short_bytes(p->size, bytes) : "-", c->bytes, true, NULL);
	ku_cell(l, "-", c->took, true, NULL);
	ku_cell_result(l, c, *p->err ? p->err : p->verdict);
	if (asprintf(&plain, " (%s%srule %s%s%s%s%s)", strcmp(p->kind, "file") ? p->kind : "", strcmp(p->kind, "file") ? ", " : "", p->rule,
		     limited ? ", limit " : "", limited ? p->limit : "", limited && *p->budget ? " of budget " : "", limited ? p->budget : "") < 0)
		plain = NULL;
	notes = plain ? ku_terminal_text(plain, l->f->utf8) : NULL;
	if (path && notes)
		ku_rest(l, path, notes);
}

static void ku_fmt_hold(struct ku_line *l, const struct ku_columns *c, const struct ku_event *e)
{
	const struct ku_ev_hold *h = &e->hold;
	_cleanup_free_ char *path = ku_whole_path(l->f, e, e->path), *plain = NULL, *notes = NULL;
	char bytes[16];

	ku_cell(l, h->action, c->op, false, NULL);
	ku_cells_who(l, c, &h->who);
	ku_cell(l, h->size ? ku_short_bytes(h->size, bytes) : "-", c->bytes, true, NULL);
	ku_cell(l, "-", c->took, true, NULL);
	ku_cell_result(l, c, "waits");
	if (asprintf(&plain, " (rule %s; kunion policy answer %" PRIu64 " allow or deny; in %" PRIu64 " s: %s)", h->rule, h->id, h->limit,
		     *h->err ? h->err : "allow") < 0)
		plain = NULL;
	notes = plain ? ku_terminal_text(plain, l->f->utf8) : NULL;
	if (path && notes)
		ku_rest(l, path, notes);
}

/* Events that are about nobody: words instead of columns. */
static void ku_fmt_words(struct ku_line *l, const struct ku_event *e, const char *words, const char *colour)
{
	_cleanup_free_ char *plain = NULL, *text = NULL, *cut = NULL;

	if (asprintf(&plain, "%s%s%s", e->union_path, *e->union_path ? ": " : "", words) < 0)
		plain = NULL;
	text = plain ? ku_terminal_text(plain, l->f->utf8) : NULL;
	if (!text)
		return;
	cut = l->f->width ? ku_cut(l->f, text, l->f->width > l->used ? l->f->width - l->used : 0, false) : KU_TAKE_PTR(text);
	if (cut)
		ku_put(l, cut, colour);
}

static void ku_fmt_union(struct ku_line *l, const struct ku_event *e)
{
	const struct ku_ev_union *m = &e->mount;
	_cleanup_free_ char *words = NULL;
	char place[96] = "", room[16], size[16];

	/* Not so when the upper directory is not to be found from here. */
	if (*m->upper_fs || m->upper_size)
		snprintf(place, sizeof(place), " on %s, %s of %s free%s", *m->upper_fs ? m->upper_fs : "?",
			 ku_short_bytes(m->upper_free, room), ku_short_bytes(m->upper_size, size), m->reflink ? ", reflink" : "");
	if (asprintf(&words, "%s; upper %s%s; lower %s", *m->options ? m->options : "no options", *m->upper ? m->upper : "?", place,
		     *m->lower ? m->lower : "?") < 0) {
		words = NULL;
		return;
	}
	ku_fmt_words(l, e, words, NULL);
}

static void ku_fmt_totals(struct ku_line *l, const struct ku_event *e)
{
	const struct ku_ev_totals *t = &e->totals;
	char words[256], bytes[16], copied[16], waited[16];
	int n;

	n = snprintf(words, sizeof(words), "%" PRIu64 " copy-ups, %s in %s, %" PRIu64 " failed; %" PRIu64 " waits, %s", t->copyups,
		     ku_short_bytes(t->bytes, bytes), ku_short_us(t->copyup_us, copied), t->failed, t->waits,
		     ku_short_us(t->wait_us, waited));
	if (t->missing && n > 0)
		snprintf(words + n, sizeof(words) - (size_t)n, "; %" PRIu64 " of these without an event", t->missing);
	ku_fmt_words(l, e, words, t->missing ? KU_C_RED : NULL);
}

static void ku_fmt_dropped(struct ku_line *l, const struct ku_event *e)
{
	const struct ku_ev_dropped *d = &e->dropped;
	const struct {
		uint64_t n;
		const char *what;
	} kinds[] = { { d->copyups, "copy-ups" }, { d->waits, "waits" }, { d->writes, "writes" }, { d->others, "others" } };
	char words[256];
	bool any = false;
	size_t len;

	len = (size_t)snprintf(words, sizeof(words), "%" PRIu64 " event%s lost", d->count, d->count == 1 ? "" : "s");
	for (size_t i = 0; i < KU_ARRAY_SIZE(kinds); i++) {
		if (!kinds[i].n)
			continue;
		len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%" PRIu64 " %s", any ? ", " : ": ", kinds[i].n,
					kinds[i].what);
		any = true;
	}
	ku_fmt_words(l, e, words, KU_C_RED);
}

char *ku_trace_header(const struct ku_trace_fmt *f)
{
	struct ku_columns c = ku_columns_of(f);
	struct ku_line l;

	ku_begin(&l, f);
	ku_cell(&l, "TIME", c.time, false, NULL);
	ku_cell(&l, "EVENT", c.event, false, NULL);
	ku_cell(&l, "OP", c.op, false, NULL);
	ku_cell(&l, "PID", c.pid, true, NULL);
	ku_cell(&l, "COMM", c.comm, false, NULL);
	ku_cell(&l, "CONTAINER", c.where, false, NULL);
	ku_cell(&l, "BYTES", c.bytes, true, NULL);
	ku_cell(&l, "TOOK", c.took, true, NULL);
	ku_cell(&l, "RESULT", c.result, false, NULL);
	ku_put(&l, "PATH", NULL);
	return ku_end(&l);
}

char *ku_trace_line(const struct ku_trace_fmt *f, const struct ku_event *e)
{
	static const struct {
		const char *name, *colour;
	} kinds[] = {
		[KU_EV_COPYUP] = { "copyup", KU_C_CYAN }, [KU_EV_WAIT] = { "wait", KU_C_YELLOW }, [KU_EV_CHANGED] = { "changed", NULL },
		[KU_EV_WRITE] = { "write", NULL },	  [KU_EV_POLICY] = { "policy", KU_C_RED }, [KU_EV_HOLD] = { "hold", KU_C_YELLOW },
		[KU_EV_UNION] = { "union", NULL },	  [KU_EV_TOTALS] = { "totals", NULL },
		[KU_EV_DROPPED] = { "dropped", KU_C_RED },
	};
	_Static_assert(KU_ARRAY_SIZE(kinds) == KU_EV_TYPES, "an event has no name");
	struct ku_columns c = ku_columns_of(f);
	struct ku_line l;

	ku_begin(&l, f);
	ku_cell_time(&l, e->ts_ns, c.time);
	ku_cell(&l, kinds[e->type].name, c.event, false, kinds[e->type].colour);
	switch (e->type) {
	case KU_EV_COPYUP:
		ku_fmt_copyup(&l, &c, e);
		break;
	case KU_EV_WAIT:
		ku_fmt_wait(&l, &c, e);
		break;
	case KU_EV_CHANGED:
		ku_fmt_changed(&l, &c, e);
		break;
	case KU_EV_WRITE:
		ku_fmt_write(&l, &c, e);
		break;
	case KU_EV_POLICY:
		ku_fmt_policy(&l, &c, e);
		break;
	case KU_EV_HOLD:
		ku_fmt_hold(&l, &c, e);
		break;
	case KU_EV_UNION:
		ku_fmt_union(&l, e);
		break;
	case KU_EV_TOTALS:
		ku_fmt_totals(&l, e);
		break;
	case KU_EV_DROPPED:
	case KU_EV_TYPES:
		ku_fmt_dropped(&l, e);
		break;
	}
	return ku_end(&l);
}
