// SPDX-License-Identifier: GPL-2.0-only
/* The report as one JSON document. Names are escaped as in event lines; times are microseconds, as there. */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <time.h>

#include "report_out.h"
#include "util.h"

struct ku_js {
	const struct ku_analysis *a;
	bool no_memory;
};

/* Puts value, which is taken over, into obj. */
static void ku_js_add(struct ku_js *j, struct json_object *obj, const char *key, struct json_object *value)
{
	if (!obj || !value || json_object_object_add(obj, key, value) < 0) {
		json_object_put(value);
		j->no_memory = true;
	}
}

static struct json_object *ku_js_into(struct ku_js *j, struct json_object *obj, const char *key, struct json_object *value)
{
	ku_js_add(j, obj, key, value);
	return j->no_memory ? NULL : value;
}

static void ku_js_push(struct ku_js *j, struct json_object *list, struct json_object *value)
{
	if (!list || !value || json_object_array_add(list, value) < 0) {
		json_object_put(value);
		j->no_memory = true;
	}
}

static void ku_js_n(struct ku_js *j, struct json_object *obj, const char *key, uint64_t n)
{
	ku_js_add(j, obj, key, json_object_new_uint64(n));
}

static void ku_js_bool(struct ku_js *j, struct json_object *obj, const char *key, bool is)
{
	ku_js_add(j, obj, key, json_object_new_boolean(is));
}

static void ku_js_s(struct ku_js *j, struct json_object *obj, const char *key, const char *bytes)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);

	ku_js_add(j, obj, key, text ? json_object_new_string(text) : NULL);
}

static void ku_js_ts(struct ku_js *j, struct json_object *obj, const char *key, uint64_t ns)
{
	time_t sec = (time_t)(ns / 1000000000ull);
	char text[64] = "";
	struct tm tm;
	size_t n;

	if (ns && gmtime_r(&sec, &tm)) {
		n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(text + n, sizeof(text) - n, ".%06uZ", (unsigned int)(ns % 1000000000ull / 1000));
	}
	ku_js_s(j, obj, key, text);
}

static void ku_js_sum(struct ku_js *j, struct json_object *obj, const struct ku_an_sum *s)
{
	ku_js_n(j, obj, "copyups", s->copyups);
	ku_js_n(j, obj, "failed", s->failed);
	ku_js_n(j, obj, "bytes", s->bytes);
	ku_js_n(j, obj, "copyup_us", s->copyup_us);
	ku_js_n(j, obj, "waits", s->waits);
	ku_js_n(j, obj, "wait_us", s->wait_us);
}

static void ku_js_sum_in(struct ku_js *j, struct json_object *obj, const char *key, const struct ku_an_sum *s)
{
	ku_js_sum(j, ku_js_into(j, obj, key, json_object_new_object()), s);
}

static const char *ku_js_union_path(struct ku_js *j, unsigned int i)
{
	return j->a->unions[i].path;
}

static void ku_js_table(struct ku_js *j, struct json_object *obj, const char *key, const struct ku_an_table *t, const char *name,
			const char *detail)
{
	bool dirs = !strcmp(name, "directory");
	struct json_object *table = ku_js_into(j, obj, key, json_object_new_object());
	struct json_object *rows = ku_js_into(j, table, "rows", json_object_new_array());

	for (size_t i = 0; i < t->n && !j->no_memory; i++) {
		const struct ku_an_row *r = &t->rows[i];
		struct json_object *row = json_object_new_object();

		if (dirs)
			ku_js_s(j, row, "union", ku_js_union_path(j, r->union_index));
		ku_js_s(j, row, name, r->name);
		if (detail)
			ku_js_s(j, row, detail, r->detail);
		if (dirs)
			ku_js_bool(j, row, "below", r->below);
		ku_js_sum(j, row, &r->sum);
		ku_js_n(j, row, "max_us", r->max_us);
		ku_js_push(j, rows, row);
	}
	ku_js_n(j, table, "more", t->nrest);
	ku_js_sum_in(j, table, "rest", &t->rest);
}

static void ku_js_who(struct ku_js *j, struct json_object *obj, const char *key, const struct ku_who *who, const char *op)
{
	struct json_object *w = ku_js_into(j, obj, key, json_object_new_object());

	ku_js_n(j, w, "pid", who->pid);
	ku_js_n(j, w, "tid", who->tid);
	ku_js_s(j, w, "comm", who->comm);
	ku_js_n(j, w, "uid", who->uid);
	ku_js_s(j, w, "cgroup", who->cgroup);
	ku_js_s(j, w, "container", who->container);
	ku_js_s(j, w, "runtime", who->runtime);
	ku_js_s(j, w, "op", op);
}

static void ku_js_unions(struct ku_js *j, struct json_object *doc)
{
	struct json_object *list = ku_js_into(j, doc, "unions", json_object_new_array());

	for (size_t i = 0; i < j->a->nunions && !j->no_memory; i++) {
		const struct ku_an_union *u = &j->a->unions[i];
		struct json_object *o = json_object_new_object();

		ku_js_s(j, o, "union", u->path);
		if (u->described) {
			ku_js_s(j, o, "lower", u->lower);
			ku_js_s(j, o, "upper", u->upper);
			ku_js_s(j, o, "options", u->options);
			ku_js_s(j, o, "upper_fs", u->upper_fs);
			ku_js_n(j, o, "upper_free", u->upper_free);
			ku_js_n(j, o, "upper_size", u->upper_size);
			ku_js_bool(j, o, "reflink", u->reflink);
		}
		ku_js_sum_in(j, o, "seen", &u->seen);
		if (u->exact_known) {
			ku_js_sum_in(j, o, "exact", &u->exact);
			ku_js_n(j, o, "missing", u->missing);
		}
		ku_js_push(j, list, o);
	}
}

static void ku_js_lost(struct ku_js *j, struct json_object *doc)
{
	const struct ku_analysis *a = j->a;
	_cleanup_free_ char *words = ku_report_lost(a);
	struct json_object *o;

	ku_js_n(j, doc, "lost", a->lost);
	if (!words)
		j->no_memory = true;
	else if (words[0])
		ku_js_s(j, doc, "warning", words);
	o = ku_js_into(j, doc, "dropped", json_object_new_object());
	ku_js_n(j, o, "count", a->dropped.count);
	ku_js_n(j, o, "copyups", a->dropped.copyups);
	ku_js_n(j, o, "waits", a->dropped.waits);
	ku_js_n(j, o, "writes", a->dropped.writes);
	ku_js_n(j, o, "others", a->dropped.others);
	ku_js_n(j, doc, "missing", a->missing);
	o = ku_js_into(j, doc, "unkept", json_object_new_object());
	ku_js_n(j, o, "copyups", a->unkept.copyups);
	ku_js_n(j, o, "waits", a->unkept.waits);
	ku_js_n(j, o, "files", a->unkept.files);
}

static void ku_js_totals(struct ku_js *j, struct json_object *doc)
{
	const struct ku_analysis *a = j->a;
	struct json_object *o;

	ku_js_bool(j, doc, "filtered", a->filtered);
	ku_js_sum_in(j, doc, "seen", &a->seen);
	if (a->exact_known)
		ku_js_sum_in(j, doc, "exact", &a->exact);
	o = ku_js_into(j, doc, "given_up", json_object_new_object());
	ku_js_n(j, o, "lost", a->given_up.lost);
	ku_js_n(j, o, "native", a->given_up.native);
	o = ku_js_into(j, doc, "changed", json_object_new_object());
	ku_js_n(j, o, "copyups", a->changed.copyups);
	ku_js_n(j, o, "copied", a->changed.copied);
	ku_js_n(j, o, "written", a->changed.written);
	o = ku_js_into(j, doc, "phases", json_object_new_object());
	ku_js_n(j, o, "queued_us", a->phases.queued_us);
	ku_js_n(j, o, "lock_us", a->phases.lock_us);
	ku_js_n(j, o, "copy_us", a->phases.copy_us);
	ku_js_n(j, o, "fsync_us", a->phases.fsync_us);
	ku_js_n(j, o, "commit_us", a->phases.commit_us);
	ku_js_n(j, doc, "writes", a->writes);
}

/* Only buckets that have something; "below_us" is null for the last one, which has no upper end. */
static void ku_js_hist(struct ku_js *j, struct json_object *doc, const char *key, const uint64_t hist[static KU_HIST])
{
	struct json_object *list = ku_js_into(j, doc, key, json_object_new_array());

	for (unsigned int i = 0; i < KU_HIST && !j->no_memory; i++) {
		struct json_object *o;

		if (!hist[i])
			continue;
		o = json_object_new_object();
		ku_js_n(j, o, "from_us", i ? 1ull << (i - 1) : 0);
		if (i < KU_HIST - 1)
			ku_js_n(j, o, "below_us", 1ull << i);
		ku_js_n(j, o, "count", hist[i]);
		ku_js_push(j, list, o);
	}
}

static void ku_js_stalls(struct ku_js *j, struct json_object *doc)
{
	struct json_object *list = ku_js_into(j, doc, "stalls", json_object_new_array());

	for (size_t i = 0; i < j->a->nstalls && !j->no_memory; i++) {
		const struct ku_an_stall *s = &j->a->stalls[i];
		const struct ku_an_wait *v = s->worst;
		struct json_object *o = json_object_new_object(), *c;

		ku_js_ts(j, o, "ts", v->ts_ns);
		ku_js_s(j, o, "union", ku_js_union_path(j, v->union_index));
		ku_js_s(j, o, "path", v->path);
		ku_js_s(j, o, "on", v->on);
		ku_js_n(j, o, "wait_us", v->wait_us);
		ku_js_who(j, o, "waiter", v->who, v->op);
		if (v->holder)
			ku_js_who(j, o, "holder", v->holder, v->holder_op);
		if (s->holder_wait)
			ku_js_n(j, o, "holder_wait_us", s->holder_wait->wait_us);
		ku_js_bool(j, o, "holder_copies", s->holder_copies);
		if (v->copyup_id || v->copyup_path[0]) {
			c = ku_js_into(j, o, "copyup", json_object_new_object());
			ku_js_n(j, c, "id", v->copyup_id);
			ku_js_s(j, c, "path", v->copyup_path);
			ku_js_n(j, c, "pid", v->copyup_pid);
			ku_js_s(j, c, "comm", v->copyup_comm);
			if (v->copyup) {
				ku_js_n(j, c, "bytes", v->copyup->bytes);
				ku_js_n(j, c, "total_us", v->copyup->total_us);
				ku_js_s(j, c, "op", v->copyup->op);
				ku_js_s(j, c, "engine", v->copyup->engine);
			}
		}
		ku_js_n(j, o, "waits", s->waits);
		ku_js_n(j, o, "all_wait_us", s->wait_us);
		ku_js_push(j, list, o);
	}
}

static void ku_js_wait(struct ku_js *j, struct json_object *list, const struct ku_an_wait *v)
{
	struct json_object *o = json_object_new_object();

	ku_js_ts(j, o, "ts", v->ts_ns);
	ku_js_n(j, o, "wait_us", v->wait_us);
	ku_js_s(j, o, "path", v->path);
	ku_js_s(j, o, "on", v->on);
	ku_js_who(j, o, "waiter", v->who, v->op);
	if (v->holder)
		ku_js_who(j, o, "holder", v->holder, v->holder_op);
	ku_js_s(j, o, "result", v->result);
	ku_js_push(j, list, o);
}

static void ku_js_timeline(struct ku_js *j, struct json_object *doc)
{
	const struct ku_analysis *a = j->a;
	struct json_object *t = ku_js_into(j, doc, "timeline", json_object_new_object());
	struct json_object *list = ku_js_into(j, t, "copyups", json_object_new_array());

	for (size_t i = 0; i < a->ntimeline && !j->no_memory; i++) {
		const struct ku_an_copyup *c = a->timeline[i];
		struct json_object *o = json_object_new_object(), *waits;

		ku_js_ts(j, o, "ts", c->ts_ns);
		ku_js_n(j, o, "id", c->id);
		ku_js_s(j, o, "union", ku_js_union_path(j, c->union_index));
		ku_js_s(j, o, "path", c->path);
		ku_js_s(j, o, "kind", c->kind);
		ku_js_who(j, o, "by", c->who, c->op);
		ku_js_s(j, o, "engine", c->engine);
		ku_js_s(j, o, "data", c->data);
		ku_js_n(j, o, "size", c->size);
		ku_js_n(j, o, "bytes", c->bytes);
		ku_js_n(j, o, "total_us", c->total_us);
		if (c->written_known)
			ku_js_n(j, o, "written", c->written);
		ku_js_s(j, o, "result", c->result);
		ku_js_n(j, o, "nwaits", c->nwaits);
		ku_js_n(j, o, "wait_us", c->wait_us);
		waits = ku_js_into(j, o, "waits", json_object_new_array());
		for (size_t k = 0; k < c->nlisted && !j->no_memory; k++)
			ku_js_wait(j, waits, c->waits[k]);
		ku_js_push(j, list, o);
	}
	ku_js_n(j, t, "more", a->timeline_rest);
	list = ku_js_into(j, t, "other_waits", json_object_new_array());
	for (size_t i = 0; i < a->nloose && !j->no_memory; i++)
		ku_js_wait(j, list, a->loose[i]);
}

static void ku_js_advice(struct ku_js *j, struct json_object *doc)
{
	struct json_object *list = ku_js_into(j, doc, "advice", json_object_new_array());

	for (size_t i = 0; i < j->a->nadvice && !j->no_memory; i++) {
		const struct ku_advice *v = &j->a->advice[i];
		struct json_object *o = json_object_new_object();

		ku_js_s(j, o, "name", v->name);
		ku_js_s(j, o, "union", v->union_path);
		ku_js_s(j, o, "title", v->title);
		ku_js_s(j, o, "reason", v->reason);
		ku_js_s(j, o, "do", v->todo);
		ku_js_s(j, o, "caveat", v->caveat);
		ku_js_n(j, o, "time_us", v->weight_us);
		ku_js_push(j, list, o);
	}
}

static void ku_js_report(struct ku_js *j, struct json_object *doc)
{
	const struct ku_analysis *a = j->a;

	ku_js_s(j, doc, "source", a->source);
	ku_js_ts(j, doc, "start", a->start_ns);
	ku_js_ts(j, doc, "end", a->end_ns);
	ku_js_lost(j, doc);
	ku_js_totals(j, doc);
	ku_js_unions(j, doc);
	ku_js_table(j, doc, "by_cause", &a->by_cause, "op", "syscall");
	ku_js_table(j, doc, "by_container", &a->by_container, "container", "runtime");
	ku_js_table(j, doc, "by_directory", &a->by_dir, "directory", NULL);
	ku_js_table(j, doc, "by_extension", &a->by_extension, "extension", NULL);
	ku_js_table(j, doc, "by_kind", &a->by_kind, "kind", NULL);
	ku_js_table(j, doc, "by_data", &a->by_data, "data", NULL);
	ku_js_table(j, doc, "by_engine", &a->by_engine, "engine", NULL);
	ku_js_table(j, doc, "by_lock", &a->by_lock, "on", NULL);
	ku_js_table(j, doc, "by_holder", &a->by_holder, "comm", "holds");
	ku_js_hist(j, doc, "copyup_histogram", a->copyup_hist);
	ku_js_hist(j, doc, "wait_histogram", a->wait_hist);
	ku_js_stalls(j, doc);
	ku_js_timeline(j, doc);
	ku_js_advice(j, doc);
}

/* Writes doc and puts it away. Returns 0 or -ENOMEM. */
static int ku_js_out(struct ku_js *j, struct json_object *doc, FILE *out)
{
	const char *text;

	if (!j->no_memory) {
		text = json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
		if (text)
			fprintf(out, "%s\n", text);
		else
			j->no_memory = true;
	}
	json_object_put(doc);
	return j->no_memory ? -ENOMEM : 0;
}

int ku_report_json(const struct ku_analysis *a, FILE *out)
{
	struct json_object *doc = json_object_new_object();
	struct ku_js j = { .a = a, .no_memory = !doc };

	ku_js_report(&j, doc);
	return ku_js_out(&j, doc, out);
}

int ku_report_writable_json(const struct ku_analysis *a, const struct ku_writable *w, FILE *out)
{
	static const char *const kinds[] = { [KU_WRITABLE_TMPFS] = "tmpfs", [KU_WRITABLE_VOLUME] = "volume", [KU_WRITABLE_FILE] = "file",
					     [KU_WRITABLE_REMARK] = "remark" };
	struct json_object *doc = json_object_new_object(), *list;
	struct ku_js j = { .a = a, .no_memory = !doc };

	_Static_assert(KU_ARRAY_SIZE(kinds) == KU_WRITABLE_KINDS, "a kind has no name");
	ku_js_s(&j, doc, "source", a->source);
	ku_js_lost(&j, doc);
	ku_js_n(&j, doc, "writes", w->writes);
	ku_js_n(&j, doc, "no_room", w->no_room);
	list = ku_js_into(&j, doc, "writable_paths", json_object_new_array());
	for (size_t i = 0; i < w->n && !j.no_memory; i++) {
		const struct ku_writable_entry *e = &w->entries[i];
		struct json_object *o = json_object_new_object();

		ku_js_s(&j, o, "union", e->union_path);
		ku_js_s(&j, o, "path", e->path);
		ku_js_s(&j, o, "kind", kinds[e->kind]);
		ku_js_s(&j, o, "reason", e->reason);
		if (e->kind != KU_WRITABLE_REMARK)
			ku_js_s(&j, o, "option", e->option);
		ku_js_push(&j, list, o);
	}
	return ku_js_out(&j, doc, out);
}

int ku_report_hydrate_json(const struct ku_analysis *a, FILE *out)
{
	struct json_object *doc = json_object_new_object(), *list;
	struct ku_js j = { .a = a, .no_memory = !doc };

	ku_js_s(&j, doc, "source", a->source);
	ku_js_lost(&j, doc);
	list = ku_js_into(&j, doc, "files", json_object_new_array());
	for (size_t i = 0; i < a->nfiles && !j.no_memory; i++) {
		const struct ku_an_file *f = a->files[i];
		struct json_object *o;

		if (!f->data_copies)
			continue;
		o = json_object_new_object();
		ku_js_s(&j, o, "union", ku_js_union_path(&j, f->union_index));
		ku_js_s(&j, o, "path", f->path);
		ku_js_n(&j, o, "size", f->size);
		ku_js_ts(&j, o, "first", f->first_ns);
		ku_js_n(&j, o, "copyups", f->copyups);
		ku_js_push(&j, list, o);
	}
	return ku_js_out(&j, doc, out);
}
