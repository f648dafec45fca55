/* SPDX-License-Identifier: GPL-2.0-only */
/* The report as one self-contained HTML page. */
#ifndef KU_REPORT_HTML_H
#define KU_REPORT_HTML_H

#include <stdio.h>

#include "analysis.h"

/* Writes the page of a finished analysis. Returns 0, or -errno when it could not be written. */
int ku_report_html(const struct ku_analysis *a, FILE *out);

#endif
