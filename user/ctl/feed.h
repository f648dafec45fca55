/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Event lines on their way from the session's loop to the control thread, in bounded memory. The loop never waits: the lock is held to append or to
 * take all there is, not while anything is written.
 */
#ifndef KU_CTL_FEED_H
#define KU_CTL_FEED_H

#include <pthread.h>

#include "event.h"

#define KU_FEED_MAX (8u << 20)

struct ku_feed_item {
	struct ku_feed_item *next;
	uint64_t seq;		  /* the first is 1 */
	struct ku_ev_dropped one; /* what is to be counted if it is lost */
	size_t len;
	char json[]; /* an event line without its end, NUL-terminated */
};

struct ku_feed {
	pthread_mutex_t lock;
	struct ku_feed_item *first, **last;
	size_t bytes;
	uint64_t seq; /* of the last one */
	unsigned int listeners;
	struct ku_ev_dropped lost;
	int wake_fd; /* eventfd, written when there is something to take after there was nothing */
};

void ku_feed_init(struct ku_feed *f, int wake_fd);
void ku_feed_free(struct ku_feed *f);

/* Adds an event, if anybody listens: or counts it where there is no room. */
void ku_feed_put(struct ku_feed *f, const struct ku_event *e);

/* All there is, to be freed by ku_feed_items_free(); *ret_lost: what found no room since the last time. */
struct ku_feed_item *ku_feed_take(struct ku_feed *f, struct ku_ev_dropped *ret_lost);
void ku_feed_items_free(struct ku_feed_item *items);

/* One listener more, or (n -1) less. Returns the number of the last event so far. */
uint64_t ku_feed_listen(struct ku_feed *f, int n);

#endif
