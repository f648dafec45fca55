/* SPDX-License-Identifier: GPL-2.0-only */
/* What is going on at this moment, over the control socket: the reply to Live. */
#ifndef KU_CTL_LIVE_JSON_H
#define KU_CTL_LIVE_JSON_H

#include "live.h"

struct json_object;

/* Of each kind at most so many are told: a reply is bounded. */
#define KU_LIVE_COPIES 2048
#define KU_LIVE_WAITS 4096
#define KU_LIVE_COUNTS 8192

/* copies, waits and counts of a session, to be put; NULL without memory. The session's thread only. */
struct json_object *ku_live_json(struct ku_session *s);

struct ku_live_ops {
	void (*copy)(void *arg, const struct ku_live_copy *c);
	void (*wait)(void *arg, const struct ku_live_wait *w);
	void (*count)(void *arg, const struct ku_counts *c); /* without histograms */
	void *arg;
};

/* Calls back for each; what is missing in the reply is 0 or empty. Returns 0 or -ENOMEM. */
int ku_live_parse(struct json_object *reply, const struct ku_live_ops *ops);

/* A member of a reply as text, or as a number; "" and 0 where it has none. The text lives as long as o. */
const char *ku_live_text(struct json_object *o, const char *key);
uint64_t ku_live_u64(struct json_object *o, const char *key);

#endif
