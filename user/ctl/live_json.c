// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/live_json.h"

#include <json-c/json.h>
#include <string.h>

#include "ctl/call.h"
#include "util.h"

static void ku_add_u64(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static struct json_object *ku_live_who(const struct ku_who *w)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	ku_add_u64(o, "pid", w->pid);
	ku_add_u64(o, "tid", w->tid);
	ku_add_u64(o, "uid", w->uid);
	ku_ctl_add_bytes(o, "comm", w->comm ?: "");
	ku_ctl_add_bytes(o, "cgroup", w->cgroup ?: "");
	ku_ctl_add_bytes(o, "container", w->container ?: "");
	ku_ctl_add_bytes(o, "runtime", w->runtime ?: "");
	return o;
}

/* Microseconds, as all times of kunion's JSON; clocks need not be the same on both sides. */
static uint64_t ku_live_age(uint64_t start_ns)
{
	uint64_t now = ku_now_ns();

	return now > start_ns ? (now - start_ns) / 1000 : 0;
}

struct ku_live_lists {
	struct json_object *copies, *waits, *counts;
};

static void ku_live_add_copy(void *arg, const struct ku_live_copy *c)
{
	struct ku_live_lists *l = arg;
	struct json_object *o = json_object_array_length(l->copies) < KU_LIVE_COPIES ? json_object_new_object() : NULL;

	if (!o)
		return;
	ku_add_u64(o, "id", c->id);
	ku_ctl_add_bytes(o, "union", c->union_path);
	ku_ctl_add_bytes(o, "path", c->path);
	ku_ctl_add_bytes(o, "op", c->op);
	ku_ctl_add_bytes(o, "engine", c->engine);
	json_object_object_add(o, "who", ku_live_who(&c->who));
	ku_add_u64(o, "age_us", ku_live_age(c->start_ns));
	ku_add_u64(o, "size", c->size);
	ku_add_u64(o, "bytes", c->bytes);
	json_object_array_add(l->copies, o);
}

static void ku_live_add_wait(void *arg, const struct ku_live_wait *w)
{
	struct ku_live_lists *l = arg;
	struct json_object *o = json_object_array_length(l->waits) < KU_LIVE_WAITS ? json_object_new_object() : NULL;

	if (!o)
		return;
	ku_ctl_add_bytes(o, "union", w->union_path);
	ku_ctl_add_bytes(o, "path", w->path);
	ku_ctl_add_bytes(o, "op", w->op);
	ku_ctl_add_bytes(o, "on", w->on);
	json_object_object_add(o, "who", ku_live_who(&w->who));
	json_object_object_add(o, "holder", ku_live_who(&w->holder));
	ku_add_u64(o, "age_us", ku_live_age(w->start_ns));
	ku_add_u64(o, "copyup_id", w->copyup_id);
	json_object_array_add(l->waits, o);
}

static void ku_live_add_count(void *arg, const struct ku_counts *c)
{
	struct ku_live_lists *l = arg;
	struct json_object *o = json_object_array_length(l->counts) < KU_LIVE_COUNTS ? json_object_new_object() : NULL;

	if (!o)
		return;
	ku_ctl_add_bytes(o, "union", c->union_path);
	ku_ctl_add_bytes(o, "cgroup", c->cgroup);
	ku_ctl_add_bytes(o, "container", c->container);
	ku_ctl_add_bytes(o, "runtime", c->runtime);
	ku_ctl_add_bytes(o, "engine", c->engine);
	ku_ctl_add_bytes(o, "result", c->result);
	ku_add_u64(o, "copyups", c->copyups);
	ku_add_u64(o, "bytes", c->bytes);
	ku_add_u64(o, "copyup_us", c->copyup_ns / 1000);
	ku_add_u64(o, "waits", c->waits);
	ku_add_u64(o, "wait_us", c->wait_ns / 1000);
	ku_add_u64(o, "stalls", c->stalls);
	json_object_array_add(l->counts, o);
}

struct json_object *ku_live_json(struct ku_session *s)
{
	struct ku_live_lists l = { json_object_new_array(), json_object_new_array(), json_object_new_array() };
	struct json_object *o = json_object_new_object();

	if (!o || !l.copies || !l.waits || !l.counts) {
		json_object_put(o);
		json_object_put(l.copies);
		json_object_put(l.waits);
		json_object_put(l.counts);
		return NULL;
	}
	ku_live_each(s, ku_live_add_copy, ku_live_add_wait, &l);
	ku_counts_each(s, ku_live_add_count, &l);
	json_object_object_add(o, "copies", l.copies);
	json_object_object_add(o, "waits", l.waits);
	json_object_object_add(o, "counts", l.counts);
	return o;
}

/* and back */

#define KU_LIVE_STRINGS 16

/* The strings of one callback. */
struct ku_live_strings {
	char *text[KU_LIVE_STRINGS];
	unsigned int n;
	bool no_memory;
};

static const char *ku_live_str(struct ku_live_strings *t, struct json_object *o, const char *key)
{
	struct json_object *v;
	char *text;

	if (!o || !json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string) || t->n == KU_LIVE_STRINGS)
		return "";
	text = strdup(json_object_get_string(v));
	if (!text) {
		t->no_memory = true;
		return "";
	}
	ku_unescape_bytes(text);
	return t->text[t->n++] = text;
}

const char *ku_live_text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return o && json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

uint64_t ku_live_u64(struct json_object *o, const char *key)
{
	struct json_object *v;

	return o && json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v) : 0;
}

static struct ku_who ku_live_who_of(struct ku_live_strings *t, struct json_object *parent, const char *key)
{
	struct json_object *o = NULL;

	if (json_object_object_get_ex(parent, key, &o) && !json_object_is_type(o, json_type_object))
		o = NULL;
	return (struct ku_who){ .pid = (uint32_t)ku_live_u64(o, "pid"), .tid = (uint32_t)ku_live_u64(o, "tid"), .uid = (uint32_t)ku_live_u64(o, "uid"),
				.comm = ku_live_str(t, o, "comm"), .cgroup = ku_live_str(t, o, "cgroup"), .container = ku_live_str(t, o, "container"),
				.runtime = ku_live_str(t, o, "runtime") };
}

static uint64_t ku_live_start(struct json_object *o)
{
	uint64_t now = ku_now_ns(), us = ku_live_u64(o, "age_us");

	return us < now / 1000 ? now - us * 1000 : 0;
}

static void ku_live_copy_of(const struct ku_live_ops *ops, struct json_object *o, struct ku_live_strings *t)
{
	const struct ku_live_copy c = {
		.id = ku_live_u64(o, "id"), .union_path = ku_live_str(t, o, "union"), .path = ku_live_str(t, o, "path"), .op = ku_live_str(t, o, "op"),
		.engine = ku_live_str(t, o, "engine"), .who = ku_live_who_of(t, o, "who"), .start_ns = ku_live_start(o),
		.size = ku_live_u64(o, "size"), .bytes = ku_live_u64(o, "bytes"),
	};

	ops->copy(ops->arg, &c);
}

static void ku_live_wait_of(const struct ku_live_ops *ops, struct json_object *o, struct ku_live_strings *t)
{
	const struct ku_live_wait w = {
		.union_path = ku_live_str(t, o, "union"), .path = ku_live_str(t, o, "path"), .op = ku_live_str(t, o, "op"), .on = ku_live_str(t, o, "on"),
		.who = ku_live_who_of(t, o, "who"), .holder = ku_live_who_of(t, o, "holder"), .start_ns = ku_live_start(o),
		.copyup_id = ku_live_u64(o, "copyup_id"),
	};

	ops->wait(ops->arg, &w);
}

static void ku_live_count_of(const struct ku_live_ops *ops, struct json_object *o, struct ku_live_strings *t)
{
	const struct ku_counts c = {
		.union_path = ku_live_str(t, o, "union"), .cgroup = ku_live_str(t, o, "cgroup"), .container = ku_live_str(t, o, "container"),
		.runtime = ku_live_str(t, o, "runtime"), .engine = ku_live_str(t, o, "engine"), .result = ku_live_str(t, o, "result"),
		.copyups = ku_live_u64(o, "copyups"), .bytes = ku_live_u64(o, "bytes"), .copyup_ns = ku_live_u64(o, "copyup_us") * 1000,
		.waits = ku_live_u64(o, "waits"), .wait_ns = ku_live_u64(o, "wait_us") * 1000, .stalls = ku_live_u64(o, "stalls"),
	};

	ops->count(ops->arg, &c);
}

int ku_live_parse(struct json_object *reply, const struct ku_live_ops *ops)
{
	static const struct {
		const char *key;
		void (*fn)(const struct ku_live_ops *ops, struct json_object *o, struct ku_live_strings *t);
	} kinds[] = { { "counts", ku_live_count_of }, { "copies", ku_live_copy_of }, { "waits", ku_live_wait_of } };
	bool no_memory = false;

	for (size_t k = 0; k < KU_ARRAY_SIZE(kinds); k++) {
		struct json_object *list;

		if (!json_object_object_get_ex(reply, kinds[k].key, &list) || !json_object_is_type(list, json_type_array))
			continue;
		for (size_t i = 0; i < json_object_array_length(list); i++) {
			struct json_object *o = json_object_array_get_idx(list, i);
			struct ku_live_strings t = { 0 };

			if (json_object_is_type(o, json_type_object))
				kinds[k].fn(ops, o, &t);
			no_memory = no_memory || t.no_memory;
			while (t.n)
				free(t.text[--t.n]);
		}
	}
	return no_memory ? -ENOMEM : 0;
}
