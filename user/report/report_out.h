/* SPDX-License-Identifier: GPL-2.0-only */
/* What `kunion report` writes. The caller looks at ferror(out) afterwards; the return value is 0 or -ENOMEM. */
#ifndef KU_REPORT_OUT_H
#define KU_REPORT_OUT_H

#include <stdio.h>

#include "analysis.h"
#include "writable.h"

/* For people, 80 columns. */
int ku_report_text(const struct ku_analysis *a, FILE *out);

/* All of it as one JSON document with a newline behind it. */
int ku_report_json(const struct ku_analysis *a, FILE *out);

/* The lines for a read-only root, comments between them; or as JSON. */
int ku_report_writable(const struct ku_analysis *a, const struct ku_writable *w, FILE *out);
int ku_report_writable_json(const struct ku_analysis *a, const struct ku_writable *w, FILE *out);

/*
 * What to copy up before the next start: files whose data was copied or cloned, in the order of their first copy-up, each once, as
 * absolute paths, one a line, escaped as ku_escape_bytes() and control characters too. What was lost is told on stderr: the list is read
 * by a program.
 */
int ku_report_hydrate(const struct ku_analysis *a, FILE *out);
int ku_report_hydrate_json(const struct ku_analysis *a, FILE *out);

/* "12 events were lost; totals are exact, lists are not", allocated; "" when nothing was. NULL without memory. */
char *ku_report_lost(const struct ku_analysis *a);

#endif
