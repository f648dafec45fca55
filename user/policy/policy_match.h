/* SPDX-License-Identifier: GPL-2.0-only */
/* Why a rule does not fit. */
#ifndef KU_POLICY_MATCH_H
#define KU_POLICY_MATCH_H

#include "policy/policy.h"

/* The key of the first thing that a rule asks for and op has not; NULL: it fits. */
const char *ku_policy_misfit(const struct ku_policy *p, size_t rule, const struct ku_pol_op *op);

#endif
