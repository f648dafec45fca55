// SPDX-License-Identifier: GPL-2.0-only
#include "trace_fmt.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "trace_cell.h"
#include "util.h"

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
		ku_line_rest(l, path, text);
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
		ku_line_rest(l, path, chain);
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
		ku_line_rest(l, path, " (since its copy-up)");
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
		ku_line_rest(l, path, notes);
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
		ku_line_rest(l, path, notes);
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
		ku_line_rest(l, path, notes);
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
	cut = l->f->width ? ku_text_cut(l->f, text, l->f->width > l->used ? l->f->width - l->used : 0, false) : KU_TAKE_PTR(text);
	if (cut)
		ku_line_put(l, cut, colour);
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

	ku_line_begin(&l, f);
	ku_cell(&l, "TIME", c.time, false, NULL);
	ku_cell(&l, "EVENT", c.event, false, NULL);
	ku_cell(&l, "OP", c.op, false, NULL);
	ku_cell(&l, "PID", c.pid, true, NULL);
	ku_cell(&l, "COMM", c.comm, false, NULL);
	ku_cell(&l, "CONTAINER", c.where, false, NULL);
	ku_cell(&l, "BYTES", c.bytes, true, NULL);
	ku_cell(&l, "TOOK", c.took, true, NULL);
	ku_cell(&l, "RESULT", c.result, false, NULL);
	ku_line_put(&l, "PATH", NULL);
	return ku_line_end(&l);
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

	ku_line_begin(&l, f);
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
	return ku_line_end(&l);
}
