// SPDX-License-Identifier: GPL-2.0-only
/* What kunion told. */
#define FX_PART
#include "fx_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FX_CONDS_MAX 8

struct fx_conds {
	const char *key[FX_CONDS_MAX], *value[FX_CONDS_MAX];
	unsigned int n;
};

static void fx_conds_read(struct fx_conds *c, va_list ap)
{
	const char *key;

	c->n = 0;
	while ((key = va_arg(ap, const char *))) {
		FX_REQUIRE(c->n < FX_CONDS_MAX, "too many conditions");
		c->key[c->n] = key;
		c->value[c->n++] = va_arg(ap, const char *);
	}
}

static bool fx_fits(struct json_object *line, const struct fx_conds *c)
{
	for (unsigned int i = 0; i < c->n; i++) {
		struct json_object *v;

		if (!json_object_object_get_ex(line, c->key[i], &v) || strcmp(json_object_get_string(v), c->value[i]))
			return false;
	}
	return true;
}

/* Counts those that fit; *first, if wanted, is the first of them. A line that is half written is not there yet. */
static int fx_scan(const struct fx *fx, const struct fx_conds *c, struct json_object **first)
{
	FILE *f = fopen(fx->events, "re");
	char *text = NULL;
	size_t size = 0;
	ssize_t len;
	int n = 0;

	while (f && (len = getline(&text, &size, f)) > 0) {
		struct json_object *line;

		if (text[len - 1] != '\n')
			break;
		line = json_tokener_parse(text);
		if (!line) {
			FX_CHECK(false, "an event line that is no JSON: %s", text);
			continue;
		}
		if (fx_fits(line, c) && n++ == 0 && first)
			*first = line;
		else
			json_object_put(line);
	}
	free(text);
	if (f)
		fclose(f);
	return n;
}

int fx_event_count(const struct fx *fx, ...)
{
	struct fx_conds c;
	va_list ap;

	va_start(ap, fx);
	fx_conds_read(&c, ap);
	va_end(ap);
	return fx_scan(fx, &c, NULL);
}

bool fx_event_wait(const struct fx *fx, int count, int ms, ...)
{
	uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000;
	struct fx_conds c;
	va_list ap;

	va_start(ap, ms);
	fx_conds_read(&c, ap);
	va_end(ap);
	while (fx_scan(fx, &c, NULL) < count) {
		if (fx_now_ns() > end) {
			fx_events_show(fx);
			return false;
		}
		fx_sleep_ms(5);
	}
	return true;
}

struct json_object *fx_event_find(const struct fx *fx, ...)
{
	struct json_object *line = NULL;
	struct fx_conds c;
	va_list ap;

	va_start(ap, fx);
	fx_conds_read(&c, ap);
	va_end(ap);
	fx_scan(fx, &c, &line);
	return line;
}

int64_t fx_event_number(const struct fx *fx, const char *field, ...)
{
	struct json_object *line = NULL, *v;
	int64_t n = -1;
	struct fx_conds c;
	va_list ap;

	va_start(ap, field);
	fx_conds_read(&c, ap);
	va_end(ap);
	fx_scan(fx, &c, &line);
	if (line && json_object_object_get_ex(line, field, &v))
		n = json_object_get_int64(v);
	json_object_put(line);
	return n;
}

void fx_events_show(const struct fx *fx)
{
	FILE *f = fopen(fx->events, "re");
	char *text = NULL;
	size_t size = 0;

	while (f && getline(&text, &size, f) > 0)
		fx_diag("%s", text);
	free(text);
	if (f)
		fclose(f);
}
