/* SPDX-License-Identifier: GPL-2.0-only */
/* kunion report --drift. */
#ifndef KU_REPORT_DRIFT_H
#define KU_REPORT_DRIFT_H

#include "watch.h"

/* What a union is asked for besides, that has no meaning here: its option, as "--html"; NULL for nothing. */
const char *ku_report_drift_refuses(const struct ku_watch *w);

/* Reports on w's only path, reading w->from if it is given. Returns an exit status; says on stderr what went wrong. */
int ku_report_drift(struct ku_watch *w);

#endif
