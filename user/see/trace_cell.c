// SPDX-License-Identifier: GPL-2.0-only
#include "trace_cell.h"

#include <inttypes.h>
#include <string.h>
#include <wchar.h>

#include "util.h"

#define KU_ID_SHOWN 12 /* as `docker ps` and `podman ps` show ids */
#define KU_PATH_LEAST 16

struct ku_columns ku_columns_of(const struct ku_trace_fmt *f)
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

char *ku_text_cut(const struct ku_trace_fmt *f, const char *s, unsigned int room, bool front)
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

void ku_line_begin(struct ku_line *l, const struct ku_trace_fmt *f)
{
	*l = (struct ku_line){ .f = f };
	l->out = open_memstream(&l->text, &l->size);
}

char *ku_line_end(struct ku_line *l)
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

void ku_line_put(struct ku_line *l, const char *text, const char *colour)
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

void ku_cell(struct ku_line *l, const char *bytes, unsigned int width, bool right, const char *colour)
{
	_cleanup_free_ char *text = NULL, *cut = NULL;
	unsigned int used;

	if (!width)
		return;
	text = ku_terminal_text(*bytes ? bytes : "-", l->f->utf8);
	cut = text && l->f->width ? ku_text_cut(l->f, text, width, false) : KU_TAKE_PTR(text);
	if (!cut)
		return;
	used = ku_width(cut);
	if (right && used < width)
		ku_pad(l, width - used);
	ku_line_put(l, cut, colour);
	ku_pad(l, !right && used < width ? width - used + 1 : 1);
}

static void ku_cell_number(struct ku_line *l, uint64_t n, unsigned int width)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	ku_cell(l, text, width, true, NULL);
}

void ku_cell_time(struct ku_line *l, uint64_t ts_ns, unsigned int width)
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

void ku_cells_who(struct ku_line *l, const struct ku_columns *c, const struct ku_who *w)
{
	ku_cell_number(l, w->pid, c->pid);
	ku_cell(l, w->comm, c->comm, false, NULL);
	ku_cell_where(l, w, c->where);
}

void ku_line_rest(struct ku_line *l, const char *path, const char *notes)
{
	unsigned int room, path_room, noted = ku_width(notes);
	_cleanup_free_ char *p = NULL, *n = NULL;

	if (!l->f->width) {
		ku_line_put(l, path, NULL);
		ku_line_put(l, notes, NULL);
		return;
	}
	room = l->f->width > l->used ? l->f->width - l->used : 0;
	path_room = room > noted + KU_PATH_LEAST ? room - noted : room < KU_PATH_LEAST ? room : KU_PATH_LEAST;
	p = ku_text_cut(l->f, path, path_room, true);
	if (!p)
		return;
	ku_line_put(l, p, NULL);
	n = ku_text_cut(l->f, notes, room - ku_width(p), false);
	if (n)
		ku_line_put(l, n, KU_C_DIM);
}

void ku_cell_result(struct ku_line *l, const struct ku_columns *c, const char *result)
{
	bool fine = !*result || !strcmp(result, "ok") || !strcmp(result, "released");

	ku_cell(l, result, c->result || fine ? c->result : (unsigned int)strlen(result), false, fine ? NULL : KU_C_RED);
}
