// SPDX-License-Identifier: GPL-2.0-only
/*
 * Taking events in. Sums are exact for whatever comes; single records are kept up to the limits of analysis.h, then counted as not kept.
 * A session begins for a union with its "union" event: ids are unique, and exact totals count, in a session only.
 */
#include "analysis.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "advice.h"
#include "analysis_work.h"
#include "util.h"

#define KU_AN_EXTENSION_MAX 16

static bool ku_an_given_up(const char *result)
{
	return !strcmp(result, "lost") || !strcmp(result, "native");
}

void ku_an_sum_add(struct ku_an_sum *to, const struct ku_an_sum *from)
{
	to->copyups += from->copyups;
	to->failed += from->failed;
	to->bytes += from->bytes;
	to->copyup_us += from->copyup_us;
	to->waits += from->waits;
	to->wait_us += from->wait_us;
}

static unsigned int ku_an_bucket(uint64_t us)
{
	unsigned int n = us ? 64 - (unsigned int)__builtin_clzll(us) : 0;

	return n < KU_HIST ? n : KU_HIST - 1;
}

static int ku_an_count(struct ku_an_count *c, const char *name, const char *detail, const struct ku_an_sum *sum, uint64_t max_us)
{
	size_t nlen = strlen(name), dlen = strlen(detail);
	_cleanup_free_ char *key = malloc(nlen + dlen + 2);
	struct ku_an_row *row;
	const char *kept;
	void *item;
	bool new;
	int err;

	if (!key)
		return -ENOMEM;
	memcpy(key, name, nlen + 1);
	memcpy(key + nlen + 1, detail, dlen + 1);
	err = ku_map_get(&c->rows, key, nlen + dlen + 1, &item, &kept, &new);
	if (err == -ENOSPC) {
		c->overflow = true;
		ku_an_sum_add(&c->over, sum);
		return 0;
	}
	if (err)
		return err;
	row = item;
	if (new) {
		row->name = kept;
		row->detail = kept + nlen + 1;
	}
	ku_an_sum_add(&row->sum, sum);
	if (max_us > row->max_us)
		row->max_us = max_us;
	return 0;
}

/* A union by its path, with its state. */
static int ku_an_union(struct ku_analysis *a, const char *path, unsigned int *ret_index, struct ku_an_sessions **ret)
{
	struct ku_an_work *w = a->work;
	struct ku_an_union *more;
	const char *kept;
	void *item;

	*ret = ku_map_find(&w->unions, path, strlen(path));
	if (!*ret) {
		more = reallocarray(a->unions, a->nunions + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		a->unions = more;
		if (ku_map_get(&w->unions, path, strlen(path), &item, &kept, NULL))
			return -ENOMEM;
		*ret = item;
		(*ret)->index = (unsigned int)a->nunions;
		more[a->nunions++] = (struct ku_an_union){ .path = kept, .lower = "", .upper = "", .options = "", .upper_fs = "" };
	}
	*ret_index = (*ret)->index;
	return 0;
}

size_t ku_an_dir_len(const char *path, bool is_dir)
{
	size_t len = strlen(path);

	/* No kernel tells such a name; here it would only make a deep tree. */
	if (len > PATH_MAX)
		return 0;
	while (len > 1 && path[len - 1] == '/')
		len--;
	if (is_dir)
		return len;
	while (len && path[len - 1] != '/')
		len--;
	while (len > 1 && path[len - 1] == '/')
		len--;
	return len;
}

int ku_an_dir_get(struct ku_an_work *w, unsigned int union_index, const char *dir, size_t len, struct ku_an_dir **ret)
{
	_cleanup_free_ char *key = malloc(sizeof(union_index) + len);
	const char *kept;
	void *item;
	bool new;
	int err;

	if (!key)
		return -ENOMEM;
	memcpy(key, &union_index, sizeof(union_index));
	memcpy(key + sizeof(union_index), dir, len);
	err = ku_map_get(&w->dirs, key, sizeof(union_index) + len, &item, &kept, &new);
	if (err)
		return err;
	*ret = item;
	if (new) {
		(*ret)->path = kept + sizeof(union_index);
		(*ret)->len = len;
		(*ret)->union_index = union_index;
	}
	return 0;
}

static int ku_an_in_dir(struct ku_an_work *w, unsigned int union_index, const char *path, bool is_dir, const struct ku_an_sum *sum,
			uint64_t max_us)
{
	struct ku_an_dir *dir;
	int err = ku_an_dir_get(w, union_index, path, ku_an_dir_len(path, is_dir), &dir);

	if (err == -ENOSPC) {
		ku_an_sum_add(&w->dirs_over, sum);
		return 0;
	}
	if (err)
		return err;
	ku_an_sum_add(&dir->own, sum);
	if (max_us > dir->own_max)
		dir->own_max = max_us;
	return 0;
}

static int ku_an_in_container(struct ku_an_work *w, const struct ku_who *who, const struct ku_an_sum *sum, uint64_t max_us)
{
	if (who->container[0])
		return ku_an_count(&w->container, who->container, who->runtime, sum, max_us);
	return ku_an_count(&w->container, who->cgroup, who->cgroup[0] ? "cgroup" : "", sum, max_us);
}

/* What is behind the last dot of a name, without version numbers behind that: "so" of "libx.so.1.2"; "" if that is no extension. */
static void ku_an_extension(const char *path, char ret[static KU_AN_EXTENSION_MAX + 1])
{
	const char *name = strrchr(path, '/'), *end, *dot;
	bool digits;

	ret[0] = '\0';
	name = name ? name + 1 : path;
	end = name + strlen(name);
	for (;;) {
		dot = end;
		digits = true;
		while (dot > name && *--dot != '.')
			digits = digits && *dot >= '0' && *dot <= '9';
		/* A name that begins with its only dot is hidden, and has none. */
		if (dot <= name)
			return;
		if (!digits)
			break;
		end = dot;
	}
	dot++;
	if (end - dot > KU_AN_EXTENSION_MAX)
		return;
	memcpy(ret, dot, (size_t)(end - dot));
	ret[end - dot] = '\0';
}

static void ku_an_span(struct ku_analysis *a, uint64_t ts_ns, uint64_t us)
{
	uint64_t end = ts_ns + us * 1000;

	if (!ts_ns)
		return;
	if (!a->start_ns || ts_ns < a->start_ns)
		a->start_ns = ts_ns;
	if (end > a->end_ns)
		a->end_ns = end;
}

static int ku_an_copyup(struct ku_analysis *a, const struct ku_event *e)
{
	const struct ku_ev_copyup *c = &e->copyup;
	const struct ku_an_sum sum = { .copyups = 1, .failed = strcmp(c->result, "ok") != 0, .bytes = c->bytes, .copyup_us = c->total_us };
	bool file = !strcmp(c->kind, "file") || !c->kind[0];
	char extension[KU_AN_EXTENSION_MAX + 1];
	struct ku_an_work *w = a->work;
	struct ku_an_sessions *state;
	unsigned int index;
	int err;

	err = ku_an_union(a, e->union_path, &index, &state);
	if (err)
		return err;
	ku_an_span(a, e->ts_ns, c->total_us);
	err = ku_an_keep_copyup(a, e, index, state->session);
	if (err)
		return err;
	if (ku_an_given_up(c->result)) {
		a->given_up.lost += !strcmp(c->result, "lost");
		a->given_up.native += !strcmp(c->result, "native");
		return 0;
	}
	ku_an_sum_add(&a->seen, &sum);
	ku_an_sum_add(&a->unions[index].seen, &sum);
	a->copyup_hist[ku_an_bucket(c->total_us)]++;
	a->phases.queued_us += c->queued_us;
	a->phases.lock_us += c->lock_us;
	a->phases.copy_us += c->copy_us;
	a->phases.fsync_us += c->fsync_us;
	a->phases.commit_us += c->commit_us;
	err = ku_an_count(&w->cause, c->op, c->syscall, &sum, c->total_us);
	if (!err)
		err = ku_an_count(&w->engine, c->engine, "", &sum, c->total_us);
	if (!err)
		err = ku_an_count(&w->data, c->data, "", &sum, c->total_us);
	if (!err)
		err = ku_an_count(&w->kind, c->kind, "", &sum, c->total_us);
	if (!err)
		err = ku_an_in_container(w, &c->who, &sum, c->total_us);
	if (!err)
		err = ku_an_in_dir(w, index, e->path, !strcmp(c->kind, "dir"), &sum, c->total_us);
	if (!err && file) {
		ku_an_extension(e->path, extension);
		err = ku_an_count(&w->extension, extension, "", &sum, c->total_us);
	}
	if (!err && file && !strcmp(c->result, "ok"))
		err = ku_an_keep_file(a, e, index);
	return err;
}

static int ku_an_by_holder(struct ku_an_work *w, const struct ku_ev_wait *v, const struct ku_an_sum *sum)
{
	const char *in = v->holder.container[0] ? v->holder.container : v->holder.cgroup;
	_cleanup_free_ char *detail = NULL;

	if (!v->holder.pid)
		return ku_an_count(&w->holder, "", "", sum, v->wait_us);
	if (asprintf(&detail, "%s%s%s", v->holder_op, v->holder_op[0] && in[0] ? ", " : "", in) < 0) {
		detail = NULL;
		return -ENOMEM;
	}
	return ku_an_count(&w->holder, v->holder.comm, detail, sum, v->wait_us);
}

static int ku_an_wait(struct ku_analysis *a, const struct ku_event *e)
{
	const struct ku_ev_wait *v = &e->wait;
	const struct ku_an_sum sum = { .waits = 1, .wait_us = v->wait_us };
	struct ku_an_work *w = a->work;
	struct ku_an_sessions *state;
	unsigned int index;
	int err;

	err = ku_an_union(a, e->union_path, &index, &state);
	if (err)
		return err;
	ku_an_span(a, e->ts_ns, v->wait_us);
	ku_an_sum_add(&a->seen, &sum);
	ku_an_sum_add(&a->unions[index].seen, &sum);
	a->wait_hist[ku_an_bucket(v->wait_us)]++;
	err = ku_an_count(&w->lock, v->on, "", &sum, v->wait_us);
	if (!err)
		err = ku_an_by_holder(w, v, &sum);
	if (!err)
		err = ku_an_in_container(w, &v->who, &sum, 0);
	if (!err)
		err = ku_an_in_dir(w, index, e->path, !strcmp(v->on, "dir"), &sum, 0);
	if (!err)
		err = ku_an_keep_wait(a, e, index, state->session);
	return err;
}

static int ku_an_write(struct ku_analysis *a, const struct ku_event *e)
{
	struct ku_an_sessions *state;
	struct ku_an_dir *dir;
	unsigned int index;
	int err;

	a->writes++;
	err = ku_an_union(a, e->union_path, &index, &state);
	if (!err)
		err = ku_an_dir_get(a->work, index, e->path, ku_an_dir_len(e->path, false), &dir);
	if (err)
		return err == -ENOSPC ? 0 : err;
	dir->writes++;
	return 0;
}

/* The copy-up's last figure counts. */
static int ku_an_changed(struct ku_analysis *a, const struct ku_event *e)
{
	struct ku_an_key key = { .id = e->changed.copyup_id };
	struct ku_an_sessions *state;
	struct ku_an_copyup *c;
	int err;

	err = ku_an_union(a, e->union_path, &key.union_index, &state);
	if (err)
		return err;
	key.session = state->session;
	c = key.id ? ku_map_find(&a->work->copyups, &key, sizeof(key)) : NULL;
	if (c) {
		c->written_known = true;
		c->written = e->changed.written;
	}
	return 0;
}

/* Its exact sums hold only if every session told them. */
static void ku_an_next_session(struct ku_an_union *u, struct ku_an_sessions *s)
{
	s->session++;
	s->untold = s->untold || !s->told;
	s->told = false;
	s->before = u->exact;
	s->missing_before = u->missing;
	u->exact_known = false;
}

static int ku_an_described(struct ku_analysis *a, const struct ku_event *e)
{
	struct ku_an_sessions *state;
	struct ku_an_union *u;
	unsigned int index;
	int err;

	err = ku_an_union(a, e->union_path, &index, &state);
	if (err)
		return err;
	u = &a->unions[index];
	if (u->described)
		ku_an_next_session(u, state);
	u->described = true;
	u->upper_free = e->mount.upper_free;
	u->upper_size = e->mount.upper_size;
	u->reflink = e->mount.reflink;
	err = ku_an_string(a->work, e->mount.lower, &u->lower);
	if (!err)
		err = ku_an_string(a->work, e->mount.upper, &u->upper);
	if (!err)
		err = ku_an_string(a->work, e->mount.options, &u->options);
	if (!err)
		err = ku_an_string(a->work, e->mount.upper_fs, &u->upper_fs);
	return err;
}

/* Each of a session's totals takes the place of the one before. */
static int ku_an_totals(struct ku_analysis *a, const struct ku_event *e)
{
	const struct ku_ev_totals *t = &e->totals;
	struct ku_an_sessions *state;
	struct ku_an_union *u;
	unsigned int index;
	int err;

	err = ku_an_union(a, e->union_path, &index, &state);
	if (err)
		return err;
	u = &a->unions[index];
	state->told = true;
	u->exact_known = !state->untold;
	u->exact = (struct ku_an_sum){ .copyups = t->copyups, .failed = t->failed, .bytes = t->bytes, .copyup_us = t->copyup_us,
				       .waits = t->waits, .wait_us = t->wait_us };
	ku_an_sum_add(&u->exact, &state->before);
	u->missing = state->missing_before + t->missing;
	return 0;
}

int ku_analysis_add(struct ku_analysis *a, const struct ku_event *e)
{
	switch (e->type) {
	case KU_EV_COPYUP:
		return ku_an_copyup(a, e);
	case KU_EV_WAIT:
		return ku_an_wait(a, e);
	case KU_EV_CHANGED:
		return ku_an_changed(a, e);
	case KU_EV_WRITE:
		return ku_an_write(a, e);
	case KU_EV_UNION:
		return ku_an_described(a, e);
	case KU_EV_TOTALS:
		return ku_an_totals(a, e);
	case KU_EV_DROPPED:
		a->dropped.count += e->dropped.count;
		a->dropped.copyups += e->dropped.copyups;
		a->dropped.waits += e->dropped.waits;
		a->dropped.writes += e->dropped.writes;
		a->dropped.others += e->dropped.others;
		return 0;
	case KU_EV_HOLD:
	case KU_EV_POLICY: /* of what did not come about there is nothing to add up */
	case KU_EV_TYPES:
		break;
	}
	return 0;
}

int ku_analysis_new(struct ku_analysis **ret)
{
	static const struct ku_an_count count = { .rows = KU_MAP(struct ku_an_row, KU_AN_NAMES) };
	struct ku_analysis *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->work = calloc(1, sizeof(*a->work));
	if (!a->work) {
		free(a);
		return -ENOMEM;
	}
	*a->work = (struct ku_an_work){
		.strings = { .item_size = 0, .max = KU_AN_STRINGS },
		.whos = KU_MAP(struct ku_who, KU_AN_STRINGS),
		.unions = KU_MAP(struct ku_an_sessions, 0),
		.copyups = KU_MAP(struct ku_an_copyup, KU_AN_COPYUPS),
		.files = KU_MAP(struct ku_an_file, KU_AN_FILES),
		.dirs = KU_MAP(struct ku_an_dir, KU_AN_DIRS),
		.cause = count, .container = count, .extension = count, .engine = count,
		.data = count, .kind = count, .holder = count, .lock = count,
	};
	a->source = "";
	*ret = a;
	return 0;
}

static void ku_an_count_free(struct ku_an_count *c)
{
	ku_map_free(&c->rows);
	free(c->sorted);
}

void ku_analysis_free(struct ku_analysis *a)
{
	struct ku_an_work *w;

	if (!a)
		return;
	w = a->work;
	ku_an_count_free(&w->cause);
	ku_an_count_free(&w->container);
	ku_an_count_free(&w->extension);
	ku_an_count_free(&w->engine);
	ku_an_count_free(&w->data);
	ku_an_count_free(&w->kind);
	ku_an_count_free(&w->holder);
	ku_an_count_free(&w->lock);
	ku_map_free(&w->strings);
	ku_map_free(&w->whos);
	ku_map_free(&w->unions);
	ku_map_free(&w->copyups);
	ku_map_free(&w->files);
	ku_map_free(&w->dirs);
	free(w->dir_rows);
	free(w->waits);
	free(w->by_cost);
	free(w->stalls);
	free(w->wait_lists);
	free(w->loose);
	free(w->sorted_files);
	ku_advice_free(w->advice, w->nadvice);
	free(w);
	free(a->unions);
	free(a);
}
