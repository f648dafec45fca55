// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/frame.h"

#include <json-c/json.h>
#include <string.h>

#include "util.h"

void ku_frame_free(struct ku_frame *f)
{
	free(f->buf);
	*f = (struct ku_frame){ .max = f->max };
}

int ku_frame_put(struct ku_frame *f, const char *data, size_t n)
{
	char *buf;

	if (f->start) {
		memmove(f->buf, f->buf + f->start, f->len - f->start);
		f->len -= f->start;
		f->scanned -= f->start;
		f->start = 0;
	}
	/* What is whole was taken before: the rest is one message's beginning. */
	if (n > f->max || f->len > f->max - n)
		return -EMSGSIZE;
	buf = realloc(f->buf, f->len + n);
	if (!buf && f->len + n)
		return -ENOMEM;
	f->buf = buf;
	memcpy(f->buf + f->len, data, n);
	f->len += n;
	return 0;
}

const char *ku_frame_next(struct ku_frame *f, size_t *ret_len)
{
	const char *end, *msg;

	if (f->scanned == f->len)
		return NULL;
	end = memchr(f->buf + f->scanned, '\0', f->len - f->scanned);
	if (!end) {
		f->scanned = f->len;
		return NULL;
	}
	msg = f->buf + f->start;
	*ret_len = (size_t)(end - msg);
	f->start += *ret_len + 1;
	f->scanned = f->start;
	return msg;
}

bool ku_frame_partial(const struct ku_frame *f)
{
	return f->len > f->start;
}

struct json_object *ku_frame_parse(const char *msg, size_t len)
{
	struct json_tokener *tok = json_tokener_new_ex(KU_FRAME_DEPTH);
	struct json_object *o;
	bool whole;

	if (!tok) {
		errno = ENOMEM;
		return NULL;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With the NUL: a number is whole only when something else follows. */
	o = json_tokener_parse_ex(tok, msg, (int)len + 1);
	whole = o && json_tokener_get_error(tok) == json_tokener_success && json_tokener_get_parse_end(tok) >= len &&
		json_object_is_type(o, json_type_object);
	json_tokener_free(tok);
	if (whole)
		return o;
	json_object_put(o);
	errno = EBADMSG;
	return NULL;
}

char *ku_frame_text(struct json_object *o, size_t *ret_len)
{
	const char *text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, ret_len);
	char *copy = text ? malloc(*ret_len + 1) : NULL;

	if (copy)
		memcpy(copy, text, ++*ret_len);
	return copy;
}
