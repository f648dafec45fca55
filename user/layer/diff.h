/* SPDX-License-Identifier: GPL-2.0-only */
/* What a union's upper layer changes, item by item. */
#ifndef KU_DIFF_H
#define KU_DIFF_H

#include <stdio.h>

#include "drift.h"

/* Does the item differ from the lower layer? Not so a copy-up that changed nothing, nor a directory that only leads to what does. */
bool ku_diff_tells(const struct ku_drift_item *item);

/* After ku_drift_walk(). For people, a line each; one JSON document. 0 or -ENOMEM; the caller looks at ferror(out). */
int ku_diff_text(const struct ku_drift *d, FILE *out);
int ku_diff_json(const struct ku_drift *d, FILE *out);

#endif
