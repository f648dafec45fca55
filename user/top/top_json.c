// SPDX-License-Identifier: GPL-2.0-only
/* A snapshot as one line of JSON. */
#include <json-c/json.h>
#include <string.h>

#include "top_model.h"
#include "util.h"

static void ku_tj_add(struct json_object *o, const char *key, struct json_object *value)
{
	if (json_object_object_add(o, key, value))
		json_object_put(value);
}

static void ku_tj_num(struct json_object *o, const char *key, uint64_t n)
{
	ku_tj_add(o, key, json_object_new_uint64(n));
}

/* Three digits behind the point: more would be made up. */
static void ku_tj_rate(struct json_object *o, const char *key, double rate)
{
	char text[64];

	snprintf(text, sizeof(text), "%.3f", rate);
	ku_tj_add(o, key, json_object_new_double_s(rate, text));
}

static void ku_tj_str(struct json_object *o, const char *key, const char *bytes)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);

	ku_tj_add(o, key, json_object_new_string(text ?: ""));
}

static void ku_tj_sum(struct json_object *o, const struct ku_top_sum *s)
{
	ku_tj_num(o, "copyups", s->copyups);
	ku_tj_num(o, "bytes", s->bytes);
	ku_tj_num(o, "waits", s->waits);
	ku_tj_num(o, "stalls", s->stalls);
	ku_tj_num(o, "wait_us", s->wait_ns / 1000);
	ku_tj_rate(o, "copyups_per_s", s->copyups_rate);
	ku_tj_rate(o, "bytes_per_s", s->bytes_rate);
	ku_tj_rate(o, "wait_s_per_s", s->wait_rate);
}

static void ku_tj_task(struct json_object *o, const struct ku_top_task *t)
{
	ku_tj_num(o, "pid", t->pid);
	ku_tj_str(o, "comm", t->comm);
	ku_tj_str(o, "container", t->container);
}

static struct json_object *ku_tj_wait(const struct ku_top_wait *w, bool over)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	ku_tj_str(o, "union", w->union_path);
	ku_tj_str(o, "path", w->path);
	ku_tj_str(o, "op", w->op);
	ku_tj_str(o, "on", w->on);
	ku_tj_task(o, &w->who);
	ku_tj_num(o, "holder_pid", w->holder.pid);
	ku_tj_str(o, "holder_comm", w->holder.comm);
	ku_tj_str(o, "holder_container", w->holder.container);
	ku_tj_num(o, "wait_us", w->wait_ns / 1000);
	if (over) {
		ku_tj_str(o, "holder_op", w->holder_op);
		ku_tj_str(o, "copyup_path", w->copyup_path);
		ku_tj_num(o, "copyup_pid", w->copyup_pid);
		ku_tj_str(o, "copyup_comm", w->copyup_comm);
		ku_tj_str(o, "result", w->result);
	}
	return o;
}

static void ku_tj_waits(struct json_object *o, const char *key, const struct ku_top_wait *waits, unsigned int n, bool over)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int i = 0; list && i < n; i++)
		json_object_array_add(list, ku_tj_wait(&waits[i], over));
	ku_tj_add(o, key, list);
}

static struct json_object *ku_tj_copy(const struct ku_top_copy *c)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	ku_tj_num(o, "id", c->id);
	ku_tj_str(o, "union", c->union_path);
	ku_tj_str(o, "path", c->path);
	ku_tj_str(o, "op", c->op);
	ku_tj_str(o, "engine", c->engine);
	ku_tj_task(o, &c->who);
	ku_tj_num(o, "size", c->size);
	ku_tj_num(o, "bytes", c->bytes);
	ku_tj_num(o, "age_us", c->age_ns / 1000);
	ku_tj_rate(o, "bytes_per_s", c->rate);
	if (c->eta_s >= 0)
		ku_tj_rate(o, "eta_s", c->eta_s);
	ku_tj_waits(o, "waiters", c->waits, c->nwaits, false);
	return o;
}

static struct json_object *ku_tj_row(const struct ku_top_row *row)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	ku_tj_str(o, "union", row->union_path);
	ku_tj_str(o, "container", row->container);
	ku_tj_sum(o, &row->sum);
	return o;
}

static void ku_tj_ts(struct json_object *o)
{
	char text[48], day[24];
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%06uZ", day, (unsigned int)(ts.tv_nsec / 1000) % 1000000);
	ku_tj_str(o, "ts", text);
}

char *ku_top_json(const struct ku_top_snap *snap)
{
	struct json_object *o = json_object_new_object(), *rows = json_object_new_array(), *copies = json_object_new_array();
	const char *text;
	char *out = NULL;

	if (o) {
		ku_tj_str(o, "event", "top");
		ku_tj_ts(o);
		ku_tj_str(o, "mode", snap->mode);
		ku_tj_str(o, "tier", snap->tier);
		ku_tj_num(o, "unions", snap->unions);
		ku_tj_num(o, "up_us", snap->up_ns / 1000);
		ku_tj_sum(o, &snap->all);
		ku_tj_num(o, "waiting", snap->nwaiting);
		ku_tj_num(o, "parked", snap->parked);
		ku_tj_num(o, "dropped", snap->dropped);
		for (unsigned int i = 0; rows && i < snap->nrows; i++)
			json_object_array_add(rows, ku_tj_row(&snap->rows[i]));
		for (unsigned int i = 0; copies && i < snap->ncopies; i++)
			json_object_array_add(copies, ku_tj_copy(&snap->copies[i]));
		ku_tj_add(o, "busiest", KU_TAKE_PTR(rows));
		ku_tj_add(o, "copying", KU_TAKE_PTR(copies));
		ku_tj_waits(o, "waiting_for_others", snap->loose, snap->nloose, false);
		ku_tj_waits(o, "longest_waits", snap->longest, snap->nlongest, true);
		text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
		out = text ? strdup(text) : NULL;
	}
	json_object_put(rows);
	json_object_put(copies);
	json_object_put(o);
	return out;
}
