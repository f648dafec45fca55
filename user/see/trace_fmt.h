/* SPDX-License-Identifier: GPL-2.0-only */
/* Events as lines of text, in columns. */
#ifndef KU_TRACE_FMT_H
#define KU_TRACE_FMT_H

#include "event.h"

struct ku_trace_fmt {
	unsigned int width; /* columns of the terminal; 0: it is none, and nothing is cut */
	bool colour;
	bool utf8; /* else what is not ASCII is escaped too */
};

/* The names of the columns, with '\n', allocated; NULL without memory. */
char *ku_trace_header(const struct ku_trace_fmt *f);

/* One line, with '\n', allocated; NULL without memory. Times are local. */
char *ku_trace_line(const struct ku_trace_fmt *f, const struct ku_event *e);

/*
 * Bytes for a terminal: as ku_escape_bytes(), and so is every control character and what changes a line's direction or has no width.
 * Returns an allocated string, NULL without memory.
 */
char *ku_terminal_text(const char *bytes, bool utf8);

/* "512", "1.5K", "12M": at most five characters. */
const char *ku_short_bytes(uint64_t n, char buf[static 16]);
/* "12us", "1.2ms", "34s", "1h02m": at most six characters up to a year. */
const char *ku_short_us(uint64_t us, char buf[static 16]);

#endif
