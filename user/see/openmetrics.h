/* SPDX-License-Identifier: GPL-2.0-only */
/* OpenMetrics text of what a session counted. */
#ifndef KU_OPENMETRICS_H
#define KU_OPENMETRICS_H

#include <stdio.h>

#include "judge.h"
#include "live.h"

/* So many label sets (union, container, engine, result) are told one by one; the rest is summed as union="other",container="other". */
#define KU_OM_SETS 256

struct ku_openmetrics;

/* max_sets: KU_OM_SETS but for tests. NULL without memory. */
struct ku_openmetrics *ku_om_new(unsigned int max_sets);
void ku_om_free(struct ku_openmetrics *om);

/*
 * One reading: begin, a count for each call, then write. A label set that is told once keeps its place from reading to reading for as
 * long as it is counted, so that no counter runs backwards. Cgroups of one container are summed. Returns 0 or -ENOMEM.
 */
void ku_om_begin(struct ku_openmetrics *om);
int ku_om_count(struct ku_openmetrics *om, const struct ku_counts *c);

/* The attachment itself; strings are static. */
struct ku_om_session {
	const char *mode, *tier;
	unsigned int unions;
	struct ku_gauges gauges;
	const struct ku_judge *judge; /* NULL: no policy */
};

/* Writes the whole text, "# EOF" last. Returns 0 or -EIO. */
int ku_om_write(struct ku_openmetrics *om, const struct ku_om_session *s, FILE *f);

/* openmetrics_policy.c: the families of a policy. */
void ku_om_policy(FILE *f, const struct ku_judge *judge);

/* openmetrics.c: a label's value, escaped, to be freed; NULL without memory. And a family's three lines (unit NULL: none). */
char *ku_om_label(const char *bytes);
void ku_om_head(FILE *f, const char *name, const char *type, const char *unit, const char *help);

/*
 * Puts text in the place of a file, mode 0644, so that nobody ever reads half of one: the old file is there until the new one is whole.
 * Returns 0 or -errno; then the old one stays.
 */
int ku_om_save(const char *file, const char *text, size_t size);

#endif
