// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/stream.h"

#include <string.h>
#include <sys/socket.h>

#include "util.h"

/* For what has to be said in any case: how much was lost, and the end. */
#define KU_STREAM_RESERVE 1024u

static const char ku_begin[] = "{\"parameters\":{},\"continues\":true}", ku_head[] = "{\"parameters\":{\"event\":", ku_tail[] = "},\"continues\":true}",
		  ku_end[] = "{\"parameters\":{}}";

struct ku_stream *ku_stream_new(uint64_t after)
{
	struct ku_stream *st = calloc(1, sizeof(*st));

	if (st)
		st->buf = malloc(KU_STREAM_MAX);
	if (!st || !st->buf) {
		free(st);
		return NULL;
	}
	st->after = after;
	memcpy(st->buf, ku_begin, sizeof(ku_begin));
	st->len = sizeof(ku_begin);
	return st;
}

void ku_stream_free(struct ku_stream *st)
{
	if (st)
		free(st->buf);
	free(st);
}

/* Makes room by moving what waits down; seldom, for it may be much. */
static bool ku_stream_room(struct ku_stream *st, size_t n)
{
	if (n > KU_STREAM_MAX)
		return false;
	if (st->len + n > KU_STREAM_MAX && st->done >= KU_STREAM_MAX / 4) {
		memmove(st->buf, st->buf + st->done, st->len - st->done);
		st->len -= st->done;
		st->done = 0;
	}
	return st->len + n <= KU_STREAM_MAX;
}

static void ku_stream_add(struct ku_stream *st, const char *text, size_t len)
{
	memcpy(st->buf + st->len, text, len);
	st->len += len;
}

/* False: there was no room. */
static bool ku_stream_event(struct ku_stream *st, const char *json, size_t len, size_t reserve)
{
	size_t head = strlen(ku_head);

	if (len > KU_STREAM_MAX || !ku_stream_room(st, head + len + sizeof(ku_tail) + reserve))
		return false;
	ku_stream_add(st, ku_head, head);
	ku_stream_add(st, json, len);
	ku_stream_add(st, ku_tail, sizeof(ku_tail));
	return true;
}

static bool ku_stream_say_lost(struct ku_stream *st, size_t reserve)
{
	struct ku_event e = { .type = KU_EV_DROPPED, .union_path = "", .path = "", .dropped = st->lost };
	_cleanup_free_ char *json = NULL;

	if (!st->lost.count)
		return true;
	e.ts_ns = ku_utc_ns(ku_now_ns());
	json = ku_event_json(&e);
	if (!json || !ku_stream_event(st, json, strlen(json), reserve))
		return false;
	st->lost = (struct ku_ev_dropped){ 0 };
	return true;
}

void ku_stream_lost(struct ku_stream *st, const struct ku_ev_dropped *lost)
{
	struct ku_event e = { .type = KU_EV_DROPPED, .dropped = *lost };

	ku_dropped_add(&st->lost, &e);
}

void ku_stream_put(struct ku_stream *st, const char *json, size_t len, const struct ku_ev_dropped *one)
{
	/* In their order: what was lost before it is said before it. */
	if (!ku_stream_say_lost(st, KU_STREAM_RESERVE) || !ku_stream_event(st, json, len, KU_STREAM_RESERVE))
		ku_stream_lost(st, one);
}

void ku_stream_end(struct ku_stream *st)
{
	if (st->last)
		return;
	ku_stream_say_lost(st, sizeof(ku_end));
	ku_stream_add(st, ku_end, sizeof(ku_end));
	st->last = true;
}

bool ku_stream_pending(const struct ku_stream *st)
{
	return st->len > st->done;
}

ssize_t ku_stream_write(struct ku_stream *st, int fd)
{
	ssize_t n = send(fd, st->buf + st->done, st->len - st->done, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	st->done += (size_t)n;
	if (st->done < st->len)
		return n;
	st->len = st->done = 0;
	/* Nothing may come any more to say it with. */
	if (!st->last)
		ku_stream_say_lost(st, KU_STREAM_RESERVE);
	return n;
}
