/* SPDX-License-Identifier: GPL-2.0-only */
/* Varlink's framing: JSON objects, each ended by a NUL byte. Bytes in, messages out, in bounded memory. */
#ifndef KU_CTL_FRAME_H
#define KU_CTL_FRAME_H

#include <stdbool.h>
#include <stddef.h>

struct json_object;

/* Deeper nesting is refused. */
#define KU_FRAME_DEPTH 16

struct ku_frame {
	char *buf;
	size_t len, start, scanned; /* a message not taken yet begins at start; no NUL before scanned */
	size_t max;		    /* of one message, its NUL too */
};

void ku_frame_free(struct ku_frame *f);
/* Appends what was received. Returns 0, -EMSGSIZE when a message is longer than max (nothing more can come of it), or -ENOMEM. */
int ku_frame_put(struct ku_frame *f, const char *data, size_t n);
/* The next whole message, until the next call of put or next; NULL: none yet. *ret_len without the NUL. */
const char *ku_frame_next(struct ku_frame *f, size_t *ret_len);
/* Has a message begun that is not whole? */
bool ku_frame_partial(const struct ku_frame *f);

/* A message as a JSON object, to be put by the caller. NULL: it is none (errno EBADMSG), or no memory (ENOMEM). */
struct json_object *ku_frame_parse(const char *msg, size_t len);

/* Its text with the NUL, allocated; *ret_len with the NUL. NULL without memory. */
char *ku_frame_text(struct json_object *o, size_t *ret_len);

#endif
