/* SPDX-License-Identifier: GPL-2.0-only */
/* A client that is told of events: replies that wait for it, in bounded memory, and what it missed. */
#ifndef KU_CTL_STREAM_H
#define KU_CTL_STREAM_H

#include "event.h"

/* Some 2000 events beyond what its socket takes. */
#define KU_STREAM_MAX (1u << 20)

struct ku_stream {
	char *buf;
	size_t len, done; /* of buf: filled, written */
	uint64_t after;	  /* events up to this number are none of its */
	struct ku_ev_dropped lost;
	bool last; /* the last reply was put; nothing comes any more */
};

/* Begins with a reply without an event. NULL without memory. */
struct ku_stream *ku_stream_new(uint64_t after);
void ku_stream_free(struct ku_stream *st);

/* A reply with this event line; if there is no room it is counted as one. */
void ku_stream_put(struct ku_stream *st, const char *json, size_t len, const struct ku_ev_dropped *one);
void ku_stream_lost(struct ku_stream *st, const struct ku_ev_dropped *lost);
/* The last reply. */
void ku_stream_end(struct ku_stream *st);

bool ku_stream_pending(const struct ku_stream *st);
/* What its socket takes now. Returns how many bytes, or -errno. */
ssize_t ku_stream_write(struct ku_stream *st, int fd);

#endif
