/* SPDX-License-Identifier: GPL-2.0-only */
/* What top and metrics share: exact counts seen through a filter, and a session in words. */
#ifndef KU_COUNTS_H
#define KU_COUNTS_H

#include "filter.h"
#include "live.h"
#include "session.h"

/* Counts are by union and cgroup. Is that all the filter asks for? */
bool ku_counts_can(const struct ku_filter *f);
bool ku_counts_match(const struct ku_filter *f, const struct ku_counts *c);

/* Static. The tier: what this kernel has, or of that what was needed. */
const char *ku_session_mode(const struct ku_session *s);
const char *ku_session_tier(const struct ku_session *s);

#endif
