/* SPDX-License-Identifier: GPL-2.0-only */
/* What report_text.c and report_text_tables.c share. */
#ifndef KU_REPORT_TEXT_H
#define KU_REPORT_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "analysis.h"

#define KU_WIDTH 80u

struct ku_out {
	const struct ku_analysis *a;
	FILE *f;
	bool utf8;
	bool no_memory;
};

/* A name for the terminal, cut to columns (0: not at all). Allocated; NULL without memory, which o remembers. */
char *ku_name(struct ku_out *o, const char *bytes, size_t columns);
/* The same for a container: long ids are cut as their runtimes do. */
char *ku_container_name(struct ku_out *o, const char *name);

void ku_report_text_tables(struct ku_out *o);

#endif
