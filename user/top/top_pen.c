// SPDX-License-Identifier: GPL-2.0-only
#include "top_pen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "top_text.h"
#include "util.h"

/* Words of our own are shorter. */
#define KU_PEN_MAX 256

struct ku_pen ku_pen(int y, unsigned int margin)
{
	unsigned int width = COLS > 0 ? (unsigned int)COLS : 0;

	return (struct ku_pen){ .y = y, .end = y >= 0 && y < LINES && width > margin ? width - margin : 0 };
}

attr_t ku_pen_colour(enum ku_pen_colours colour)
{
	static const short colours[] = { [KU_PEN_GREEN] = COLOR_GREEN, [KU_PEN_YELLOW] = COLOR_YELLOW, [KU_PEN_RED] = COLOR_RED };

	/* Not started: no colours, or none wanted. */
	if (COLOR_PAIRS <= KU_PEN_RED || init_pair((short)colour, colours[colour], -1) == ERR)
		return 0;
	return COLOR_PAIR(colour);
}

unsigned int ku_pen_left(const struct ku_pen *p)
{
	return p->x < p->end ? p->end - p->x : 0;
}

static void ku_pen_ascii(struct ku_pen *p, attr_t attr, const char *text)
{
	size_t n = strlen(text), left = ku_pen_left(p);
	bool cut = n > left;

	if (cut)
		n = left;
	attrset((int)(attr | p->base));
	mvaddnstr(p->y, (int)p->x, text, (int)n);
	/* A half word says that there is more; half a number would lie. */
	if (cut && p->end > 2)
		mvaddstr(p->y, (int)p->end - 2, "..");
	attrset(A_NORMAL);
	p->x += (unsigned int)n;
}

void ku_pen_put(struct ku_pen *p, attr_t attr, const char *fmt, ...)
{
	char text[KU_PEN_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ku_pen_ascii(p, attr, text);
}

void ku_pen_name(struct ku_pen *p, attr_t attr, const char *bytes, unsigned int columns, bool front)
{
	_cleanup_free_ wchar_t *text = NULL;
	size_t n = 4 * strlen(bytes) + 4;
	unsigned int took;

	if (columns > ku_pen_left(p))
		columns = ku_pen_left(p);
	text = columns ? calloc(n + 1, sizeof(*text)) : NULL;
	if (!text)
		return;
	n = ku_top_wide(bytes, text, n);
	n = ku_top_cut(text, n, columns, front, &took);
	attrset((int)(attr | p->base));
	mvaddnwstr(p->y, (int)p->x, text, (int)n);
	attrset(A_NORMAL);
	p->x += took;
}

void ku_pen_fill(struct ku_pen *p)
{
	p->end = COLS > 0 ? (unsigned int)COLS : 0;
	attrset((int)p->base);
	mvhline(p->y, (int)p->x, ' ', (int)ku_pen_left(p));
	attrset(A_NORMAL);
	p->x = p->end;
}

void ku_pen_line(int y, attr_t attr, const char *fmt, ...)
{
	struct ku_pen p = ku_pen(y, 1);
	char text[KU_PEN_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ku_pen_ascii(&p, attr, text);
}
