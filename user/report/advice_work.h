/* SPDX-License-Identifier: GPL-2.0-only */
/* What advice.c and advice_files.c share. */
#ifndef KU_ADVICE_WORK_H
#define KU_ADVICE_WORK_H

#include "advice.h"

struct ku_advisor {
	const struct ku_analysis *a;
	struct ku_advice *list;
	size_t n;
};

/* Adds a piece; reason and todo (NULL: no memory) are taken over. Returns 0 or -ENOMEM. */
int ku_advice_say(struct ku_advisor *ad, struct ku_advice piece, char *reason, char *todo);

/* Allocated; NULL without memory. */
char *ku_advice_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "s" for all but one. */
const char *ku_advice_s(uint64_t n);

/* Advice about paths of a union, and about what is copied at every start. Return 0 or -ENOMEM. */
int ku_advise_files(struct ku_advisor *ad, unsigned int union_index);
int ku_advise_again(struct ku_advisor *ad);

#endif
