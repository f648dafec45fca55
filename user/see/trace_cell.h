/* SPDX-License-Identifier: GPL-2.0-only */
/* The cells of a line of the trace: text that fits its column, and the terminal. */
#ifndef KU_TRACE_CELL_H
#define KU_TRACE_CELL_H

#include <stdio.h>

#include "trace_fmt.h"

#define KU_C_RED "31;1"
#define KU_C_YELLOW "33"
#define KU_C_CYAN "36"
#define KU_C_DIM "2"

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

/* The columns for a terminal of f's width. */
struct ku_columns ku_columns_of(const struct ku_trace_fmt *f);

/* s, cut at its end (or its beginning) to room columns; allocated, NULL without memory. */
char *ku_text_cut(const struct ku_trace_fmt *f, const char *s, unsigned int room, bool front);

void ku_line_begin(struct ku_line *l, const struct ku_trace_fmt *f);
/* With '\n', allocated; NULL if there was no memory on the way. */
char *ku_line_end(struct ku_line *l);
/* Writes text that is fit for a terminal already. */
void ku_line_put(struct ku_line *l, const char *text, const char *colour);
/* The rest of the line. On a terminal the path gives way first, at its beginning, and then what is behind it. */
void ku_line_rest(struct ku_line *l, const char *path, const char *notes);

/* A column and the blank behind it. What is too wide is cut on a terminal, and elsewhere moves the rest. */
void ku_cell(struct ku_line *l, const char *bytes, unsigned int width, bool right, const char *colour);
/* "12:34:56.789" or, in eight columns, "12:34:56" */
void ku_cell_time(struct ku_line *l, uint64_t ts_ns, unsigned int width);
/* pid, comm, and where it runs */
void ku_cells_who(struct ku_line *l, const struct ku_columns *c, const struct ku_who *w);
/* In red, also where there is no column for it, if it is no good one. */
void ku_cell_result(struct ku_line *l, const struct ku_columns *c, const char *result);

#endif
