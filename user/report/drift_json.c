// SPDX-License-Identifier: GPL-2.0-only
/* Drift as one JSON document. Names are escaped and times written as in event lines. */
#include <json-c/json.h>
#include <string.h>
#include <time.h>

#include "drift.h"
#include "util.h"

/* Puts value, which is taken over, into obj. False without memory; so of all of these. */
static bool ku_dj_add(struct json_object *obj, const char *key, struct json_object *value)
{
	if (value && !json_object_object_add(obj, key, value))
		return true;
	json_object_put(value);
	return false;
}

static bool ku_dj_push(struct json_object *list, struct json_object *value)
{
	if (value && !json_object_array_add(list, value))
		return true;
	json_object_put(value);
	return false;
}

static bool ku_dj_n(struct json_object *obj, const char *key, uint64_t n)
{
	return ku_dj_add(obj, key, json_object_new_uint64(n));
}

static bool ku_dj_bool(struct json_object *obj, const char *key, bool is)
{
	return ku_dj_add(obj, key, json_object_new_boolean(is));
}

static bool ku_dj_s(struct json_object *obj, const char *key, const char *bytes)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);

	return ku_dj_add(obj, key, text ? json_object_new_string(text) : NULL);
}

static bool ku_dj_ts(struct json_object *obj, const char *key, time_t sec, long nsec)
{
	char text[64] = "";
	struct tm tm;
	size_t n;

	if ((sec || nsec) && gmtime_r(&sec, &tm)) {
		n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(text + n, sizeof(text) - n, ".%06ldZ", nsec / 1000);
	}
	return ku_dj_s(obj, key, text);
}

static struct json_object *ku_dj_mark(const struct ku_drift_mark *m)
{
	struct json_object *obj = json_object_new_object();

	if (obj && ku_dj_ts(obj, "ts", (time_t)(m->ts_ns / 1000000000ull), (long)(m->ts_ns % 1000000000ull)) && ku_dj_s(obj, "op", m->op) &&
	    ku_dj_n(obj, "pid", m->pid) && ku_dj_n(obj, "uid", m->uid) && ku_dj_s(obj, "comm", m->by->comm) &&
	    ku_dj_s(obj, "container", m->by->container))
		return obj;
	json_object_put(obj);
	return NULL;
}

/* A whiteout has no times and no owner of its own. */
static bool ku_dj_file(struct json_object *obj, const struct stat *st)
{
	return ku_dj_ts(obj, "mtime", st->st_mtim.tv_sec, st->st_mtim.tv_nsec) &&
	       ku_dj_ts(obj, "ctime", st->st_ctim.tv_sec, st->st_ctim.tv_nsec) && ku_dj_n(obj, "uid", st->st_uid) &&
	       ku_dj_n(obj, "gid", st->st_gid) && ku_dj_n(obj, "mode", st->st_mode & 07777);
}

static struct json_object *ku_dj_diff(unsigned int diff)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int bit = 1; list && bit < KU_DIFF_ALL; bit <<= 1)
		if (diff & bit && !ku_dj_push(list, json_object_new_string(ku_drift_diff_name(bit)))) {
			json_object_put(list);
			return NULL;
		}
	return list;
}

static struct json_object *ku_dj_item(const struct ku_drift_item *item)
{
	struct json_object *obj = json_object_new_object();
	bool ok;

	if (!obj)
		return NULL;
	ok = ku_dj_s(obj, "path", item->path) && ku_dj_s(obj, "what", ku_drift_class_name(item->class)) &&
	     ku_dj_s(obj, "kind", ku_drift_kind(item->type)) && ku_dj_n(obj, "bytes", item->bytes + item->entry_bytes) &&
	     ku_dj_n(obj, "entries", item->entries) && ku_dj_s(obj, "moved_from", item->moved_from ? item->moved_from : "") &&
	     ku_dj_add(obj, "differs", ku_dj_diff(item->diff)) && ku_dj_bool(obj, "guessed", item->guessed) &&
	     ku_dj_n(obj, "executed", item->seen ? item->seen->execs : 0);
	if (ok && item->class != KU_DRIFT_REMOVED)
		ok = ku_dj_file(obj, &item->st);
	if (ok && item->mark)
		ok = ku_dj_add(obj, "by", ku_dj_mark(item->mark));
	if (ok)
		return obj;
	json_object_put(obj);
	return NULL;
}

static struct json_object *ku_dj_items(const struct ku_drift *d)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; list && i < d->n; i++)
		if (d->items[i]->class != KU_DRIFT_NONE && !d->items[i]->top && !ku_dj_push(list, ku_dj_item(d->items[i]))) {
			json_object_put(list);
			return NULL;
		}
	return list;
}

static bool ku_dj_counts(struct json_object *obj, const char *key, const uint64_t *n)
{
	struct json_object *counts = json_object_new_object();

	for (int c = KU_DRIFT_ADDED; counts && c < KU_DRIFT_CLASSES; c++)
		if (!ku_dj_n(counts, ku_drift_class_name((enum ku_drift_class)c), n[c])) {
			json_object_put(counts);
			return false;
		}
	return ku_dj_add(obj, key, counts);
}

static struct json_object *ku_dj_process(const struct ku_drift_process *p)
{
	struct json_object *obj = json_object_new_object();

	if (obj && ku_dj_s(obj, "comm", p->comm) && ku_dj_s(obj, "container", p->container) && ku_dj_counts(obj, "counts", p->items) &&
	    ku_dj_n(obj, "bytes", p->bytes) && ku_dj_n(obj, "executed", p->execs))
		return obj;
	json_object_put(obj);
	return NULL;
}

static struct json_object *ku_dj_processes(const struct ku_drift *d)
{
	struct json_object *list = json_object_new_array();
	const struct ku_drift_process *p;

	for (size_t i = 0; list && (p = ku_drift_process_at(d, i)); i++)
		if (!ku_dj_push(list, ku_dj_process(p))) {
			json_object_put(list);
			return NULL;
		}
	return list;
}

static struct json_object *ku_dj_exec(const struct ku_drift_seen *s, const char *path)
{
	struct json_object *obj = json_object_new_object();

	if (obj && ku_dj_s(obj, "path", path) && ku_dj_n(obj, "times", s->execs) && ku_dj_bool(obj, "there", s->here) &&
	    ku_dj_add(obj, "by", ku_dj_mark(&s->exec)))
		return obj;
	json_object_put(obj);
	return NULL;
}

static struct json_object *ku_dj_execs(const struct ku_drift *d)
{
	struct json_object *list = json_object_new_array();
	const struct ku_drift_seen *s;
	const char *path;

	for (size_t i = 0; list && (s = ku_drift_executed(d, &i, &path));)
		if (!ku_dj_push(list, ku_dj_exec(s, path))) {
			json_object_put(list);
			return NULL;
		}
	return list;
}

int ku_drift_json(const struct ku_drift *d, FILE *out)
{
	struct json_object *obj = json_object_new_object();
	const char *text = NULL;

	if (obj && ku_dj_s(obj, "union", d->u->path) && ku_dj_s(obj, "upper", d->u->upperdir) && ku_dj_s(obj, "lower", d->u->lowerdir) &&
	    ku_dj_bool(obj, "incomplete", d->incomplete) && ku_dj_n(obj, "events", d->events) && ku_dj_n(obj, "lost", d->dropped) &&
	    ku_dj_n(obj, "bytes", d->bytes) && ku_dj_counts(obj, "counts", d->told) && ku_dj_add(obj, "items", ku_dj_items(d)) &&
	    ku_dj_add(obj, "processes", ku_dj_processes(d)) && ku_dj_add(obj, "executed", ku_dj_execs(d)))
		text = json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		fprintf(out, "%s\n", text);
	json_object_put(obj);
	return text ? 0 : -ENOMEM;
}
