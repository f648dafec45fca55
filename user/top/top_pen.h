/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing into one line of the screen, never beyond its end. */
#ifndef KU_TOP_PEN_H
#define KU_TOP_PEN_H

#include <curses.h>
#include <stdbool.h>

struct ku_pen {
	int y;
	unsigned int x, end; /* columns */
	attr_t base;	     /* of all that is written */
};

enum ku_pen_colours { KU_PEN_GREEN = 1, KU_PEN_YELLOW, KU_PEN_RED };

/* At the beginning of line y; the last margin columns stay free. */
struct ku_pen ku_pen(int y, unsigned int margin);

/* 0 without colours. */
attr_t ku_pen_colour(enum ku_pen_colours colour);

unsigned int ku_pen_left(const struct ku_pen *p);

/* Words of our own: ASCII. What does not fit is cut, with a mark. */
void ku_pen_put(struct ku_pen *p, attr_t attr, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Bytes from anywhere, in at most so many columns; front: cut there, for paths. */
void ku_pen_name(struct ku_pen *p, attr_t attr, const char *bytes, unsigned int columns, bool front);

/* Blanks to the line's end. */
void ku_pen_fill(struct ku_pen *p);

/* A whole line. */
void ku_pen_line(int y, attr_t attr, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
