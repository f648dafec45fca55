/* SPDX-License-Identifier: GPL-2.0-only */
/* The parts of the HTML report; report_html.c puts them together. Errors stay in h, see html.h. */
#ifndef KU_REPORT_PAGE_H
#define KU_REPORT_PAGE_H

#include "analysis.h"
#include "figures.h"
#include "html.h"

/* Copy-ups and waits that the timeline draws at most: the longest. */
#define KU_PAGE_INTERVALS 2000

/* "comm[pid]" and its container, if it has one. */
void ku_page_who(struct ku_html *h, const char *comm, uint32_t pid, const struct ku_who *who);
/* A path in a union: the directory may be cut on screen, the name is not. With its union's number where there are several. */
void ku_page_path(struct ku_html *h, const struct ku_analysis *a, const char *path, unsigned int union_index);
/* What a wait was for, from an event's `on`: "the directory lock", "kunion's copy". */
const char *ku_page_lock(const char *on);

/* Whether a copy-up's result is an errno's name. */
static inline bool ku_page_failed(const char *result)
{
	return *result == 'E';
}

void ku_page_stalls(struct ku_html *h, const struct ku_analysis *a);
void ku_page_timeline(struct ku_html *h, const struct ku_analysis *a);
void ku_page_tables(struct ku_html *h, const struct ku_analysis *a);

#endif
