// SPDX-License-Identifier: GPL-2.0-only
/* What the keys of `kunion top` do, and its filter. */
#include <curses.h>
#include <string.h>

#include "filter.h"
#include "top_view.h"
#include "util.h"

#define KU_CTRL(c) ((c) & 0x1f)
#define KU_ESC 27

/* By the path in the union, or the whole one. */
static bool ku_top_path_fits(const char *filter, const char *union_path, const char *path)
{
	size_t ulen = strlen(union_path);
	_cleanup_free_ char *whole = malloc(ulen + strlen(path) + 1);

	if (ku_glob_match(filter, path) || !whole)
		return true;
	memcpy(whole, union_path, ulen);
	strcpy(whole + ulen, path);
	return ku_glob_match(filter, whole);
}

static bool ku_top_task_fits(const char *filter, const struct ku_top_task *t)
{
	return strstr(t->comm, filter) || strstr(t->container, filter);
}

static bool ku_top_is_glob(const char *filter)
{
	return strpbrk(filter, "/*?") != NULL;
}

bool ku_top_shows_wait(const char *filter, const struct ku_top_wait *w)
{
	if (!filter[0])
		return true;
	if (ku_top_is_glob(filter))
		return ku_top_path_fits(filter, w->union_path, w->path) ||
		       (w->copyup_path[0] && ku_top_path_fits(filter, w->union_path, w->copyup_path));
	return ku_top_task_fits(filter, &w->who) || ku_top_task_fits(filter, &w->holder) || strstr(w->copyup_comm, filter);
}

bool ku_top_shows_copy(const char *filter, const struct ku_top_copy *c)
{
	if (!filter[0])
		return true;
	if (ku_top_is_glob(filter) ? ku_top_path_fits(filter, c->union_path, c->path) : ku_top_task_fits(filter, &c->who))
		return true;
	/* Those who are looked for may wait for somebody else's copy. */
	for (unsigned int i = 0; i < c->nwaits; i++)
		if (ku_top_shows_wait(filter, &c->waits[i]))
			return true;
	return false;
}

/* Adds a character as UTF-8, if there is room. */
static void ku_top_type(char *text, unsigned int c)
{
	static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = strlen(text), len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (n + len >= KU_TOP_FILTER_MAX)
		return;
	for (size_t i = len; i-- > 1; c >>= 6)
		text[n + i] = (char)(0x80 | (c & 0x3f));
	text[n] = (char)(lead[len] | c);
	text[n + len] = '\0';
}

static void ku_top_rub_out(char *text)
{
	size_t n = strlen(text);

	do
		n -= n > 0;
	while (n && ((unsigned char)text[n] & 0xc0) == 0x80);
	text[n] = '\0';
}

static enum ku_top_did ku_top_prompt(struct ku_top_ui *ui, int key, bool function)
{
	if ((function && key == KEY_BACKSPACE) || (!function && (key == 0x7f || key == KU_CTRL('h')))) {
		ku_top_rub_out(ui->typed);
	} else if ((function && key == KEY_ENTER) || (!function && (key == '\r' || key == '\n'))) {
		memcpy(ui->filter, ui->typed, sizeof(ui->filter));
		ui->typing = false;
	} else if (function) {
		return KU_TOP_NOTHING;
	} else if (key == KU_ESC || key == KU_CTRL('g')) {
		ui->typing = false;
	} else if (key == KU_CTRL('u')) {
		ui->typed[0] = '\0';
	} else if (key >= 0x20 && key < 0x110000 && (key < 0x7f || key >= 0xa0)) {
		ku_top_type(ui->typed, (unsigned int)key);
	} else {
		return KU_TOP_NOTHING;
	}
	return KU_TOP_REDRAW;
}

static void ku_top_sort_by(struct ku_top_ui *ui, int step)
{
	ui->sort = (enum ku_top_sort)(((int)ui->sort + step + KU_SORT_MAX) % KU_SORT_MAX);
}

enum ku_top_did ku_top_key(struct ku_top_ui *ui, int key, bool function)
{
	/* The keyboard's signals are keys here. */
	if (!function && (key == KU_CTRL('c') || key == KU_CTRL('\\')))
		return KU_TOP_QUIT;
	if (ui->typing)
		return ku_top_prompt(ui, key, function);
	if (function) {
		if (key != KEY_LEFT && key != KEY_RIGHT && key != KEY_UP && key != KEY_DOWN)
			return KU_TOP_NOTHING;
		ku_top_sort_by(ui, key == KEY_RIGHT || key == KEY_DOWN ? 1 : -1);
		return KU_TOP_REDRAW;
	}
	switch (key) {
	case 'q':
	case 'Q':
		return KU_TOP_QUIT;
	case 's':
		ku_top_sort_by(ui, 1);
		return KU_TOP_REDRAW;
	case 'r':
		ui->reverse = !ui->reverse;
		return KU_TOP_REDRAW;
	case 'c':
		ui->by_container = !ui->by_container;
		return KU_TOP_REDRAW;
	case 'p':
		ui->paused = !ui->paused;
		return KU_TOP_REDRAW;
	case 'f':
	case '/':
		ui->help = false;
		ui->typing = true;
		memcpy(ui->typed, ui->filter, sizeof(ui->typed));
		return KU_TOP_REDRAW;
	case 'h':
	case '?':
		ui->help = !ui->help;
		return KU_TOP_REDRAW;
	case KU_ESC:
		ui->help = false;
		return KU_TOP_REDRAW;
	case KU_CTRL('l'):
		clearok(curscr, TRUE); /* somebody else wrote on the screen */
		return KU_TOP_REDRAW;
	}
	return KU_TOP_NOTHING;
}
