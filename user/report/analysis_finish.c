// SPDX-License-Identifier: GPL-2.0-only
/* What was taken in becomes tables, stalls and a timeline. */
#include <errno.h>
#include <string.h>

#include "advice.h"
#include "analysis.h"
#include "analysis_work.h"
#include "util.h"

#define KU_AN_LESS(x, y) ((x) < (y) ? -1 : (x) > (y))

int ku_an_row_order(const void *a, const void *b)
{
	const struct ku_an_row *x = a, *y = b;
	uint64_t xt = x->sum.copyup_us + x->sum.wait_us, yt = y->sum.copyup_us + y->sum.wait_us;
	int order = KU_AN_LESS(yt, xt);

	if (!order)
		order = KU_AN_LESS(y->sum.copyups, x->sum.copyups);
	if (!order)
		order = strcmp(x->name, y->name);
	if (!order)
		order = strcmp(x->detail, y->detail);
	return order ? order : KU_AN_LESS(x->union_index, y->union_index);
}

static int ku_an_table(struct ku_an_count *c, struct ku_an_table *t)
{
	size_t n = c->rows.n;

	t->rest = c->over;
	t->nrest = c->overflow;
	if (!n)
		return 0;
	c->sorted = calloc(n, sizeof(*c->sorted));
	if (!c->sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		c->sorted[i] = *(struct ku_an_row *)c->rows.entries[i].item;
	qsort(c->sorted, n, sizeof(*c->sorted), ku_an_row_order);
	for (size_t i = KU_AN_ROWS; i < n; i++) {
		ku_an_sum_add(&t->rest, &c->sorted[i].sum);
		t->nrest++;
	}
	t->rows = c->sorted;
	t->n = n < KU_AN_ROWS ? n : KU_AN_ROWS;
	return 0;
}

static struct ku_an_copyup *ku_an_copyup_at(const struct ku_an_work *w, size_t i)
{
	return w->copyups.entries[i].item;
}

/* Each wait and its copy-up. */
static void ku_an_join(struct ku_an_work *w)
{
	for (size_t i = 0; i < w->nwaits; i++) {
		struct ku_an_wait *v = &w->waits[i];
		struct ku_an_key key = { .union_index = v->union_index, .session = v->session, .id = v->copyup_id };
		struct ku_an_copyup *c = v->copyup_id ? ku_map_find(&w->copyups, &key, sizeof(key)) : NULL;

		v->copyup = c;
		if (!c)
			continue;
		c->nwaits++;
		c->wait_us += v->wait_us;
	}
}

/* What was written into the copies. */
static int ku_an_written(struct ku_analysis *a)
{
	struct ku_an_work *w = a->work;

	for (size_t i = 0; i < w->copyups.n; i++) {
		const struct ku_an_copyup *c = ku_an_copyup_at(w, i);
		size_t len = strlen(c->path), head = sizeof(c->union_index);
		_cleanup_free_ char *key = NULL;
		struct ku_an_dir *dir;
		struct ku_an_file *f;

		if (!c->written_known || strcmp(c->result, "ok"))
			continue;
		a->changed.copyups++;
		a->changed.copied += c->bytes;
		a->changed.written += c->written;
		key = malloc(head + len);
		if (!key)
			return -ENOMEM;
		memcpy(key, &c->union_index, head);
		memcpy(key + head, c->path, len);
		f = ku_map_find(&w->files, key, head + len);
		if (f) {
			f->written_known = true;
			f->changed_bytes += c->bytes;
			f->written += c->written;
		}
		dir = ku_map_find(&w->dirs, key, head + ku_an_dir_len(c->path, false));
		if (dir)
			dir->written += c->written;
	}
	return 0;
}

static int ku_an_stall_order(const void *a, const void *b)
{
	const struct ku_an_stall *x = a, *y = b;
	int order = KU_AN_LESS(y->worst->wait_us, x->worst->wait_us);

	return order ? order : KU_AN_LESS(x->worst->ts_ns, y->worst->ts_ns);
}

/* The wait of a stall's holder for the same copy-up, while the worst waiter waited. */
static const struct ku_an_wait *ku_an_holder_wait(const struct ku_an_work *w, const struct ku_an_wait *worst)
{
	if (!worst->holder || !worst->copyup_id)
		return NULL;
	for (size_t i = 0; i < w->nwaits; i++) {
		const struct ku_an_wait *v = &w->waits[i];

		if (v != worst && v->who->tid == worst->holder->tid && v->copyup_id == worst->copyup_id &&
		    v->union_index == worst->union_index && v->session == worst->session &&
		    v->ts_ns < worst->ts_ns + worst->wait_us * 1000 && v->ts_ns + v->wait_us * 1000 > worst->ts_ns)
			return v;
	}
	return NULL;
}

/* Puts each wait to those for the same holder, lock and copy-up; one without a copy-up's id stands alone. */
static int ku_an_stall_groups(const struct ku_an_work *w, struct ku_map *groups)
{
	for (size_t i = 0; i < w->nwaits; i++) {
		const struct ku_an_wait *v = &w->waits[i];
		struct {
			uint32_t union_index, session, holder_pid, holder_tid;
			uint64_t id, alone;
			const char *on, *path; /* equal strings are one here */
		} key = { .union_index = v->union_index, .session = v->session, .id = v->copyup_id, .on = v->on, .path = v->path };
		struct ku_an_stall *s;
		void *item;

		if (v->holder) {
			key.holder_pid = v->holder->pid;
			key.holder_tid = v->holder->tid;
		}
		if (!v->copyup_id)
			key.alone = i + 1;
		if (ku_map_get(groups, &key, sizeof(key), &item, NULL, NULL))
			return -ENOMEM;
		s = item;
		if (!s->worst || v->wait_us > s->worst->wait_us || (v->wait_us == s->worst->wait_us && v->ts_ns < s->worst->ts_ns))
			s->worst = v;
		s->waits++;
		s->wait_us += v->wait_us;
	}
	return 0;
}

static int ku_an_stalls(struct ku_analysis *a)
{
	struct ku_map groups = KU_MAP(struct ku_an_stall, 0);
	struct ku_an_work *w = a->work;
	int err = ku_an_stall_groups(w, &groups);

	if (!err && groups.n) {
		w->stalls = calloc(groups.n, sizeof(*w->stalls));
		if (!w->stalls)
			err = -ENOMEM;
	}
	for (size_t i = 0; !err && i < groups.n; i++)
		w->stalls[i] = *(struct ku_an_stall *)groups.entries[i].item;
	if (!err && groups.n) {
		qsort(w->stalls, groups.n, sizeof(*w->stalls), ku_an_stall_order);
		a->nstalls = groups.n < KU_AN_STALLS ? groups.n : KU_AN_STALLS;
		a->stalls = w->stalls;
	}
	ku_map_free(&groups);
	for (size_t i = 0; i < a->nstalls; i++) {
		struct ku_an_stall *s = &w->stalls[i];

		s->holder_copies = s->worst->holder && s->worst->holder->pid == s->worst->copyup_pid;
		s->holder_wait = s->holder_copies ? NULL : ku_an_holder_wait(w, s->worst);
	}
	return err;
}

static int ku_an_cost_order(const void *a, const void *b)
{
	const struct ku_an_copyup *x = *(struct ku_an_copyup *const *)a, *y = *(struct ku_an_copyup *const *)b;
	int order = KU_AN_LESS(y->wait_us, x->wait_us);

	if (!order)
		order = KU_AN_LESS(y->total_us, x->total_us);
	return order ? order : KU_AN_LESS(x->ts_ns, y->ts_ns);
}

static int ku_an_copyup_time(const void *a, const void *b)
{
	const struct ku_an_copyup *x = *(struct ku_an_copyup *const *)a, *y = *(struct ku_an_copyup *const *)b;

	return x->ts_ns != y->ts_ns ? KU_AN_LESS(x->ts_ns, y->ts_ns) : KU_AN_LESS(x->id, y->id);
}

static int ku_an_wait_time(const void *a, const void *b)
{
	const struct ku_an_wait *x = *(const struct ku_an_wait *const *)a, *y = *(const struct ku_an_wait *const *)b;

	return KU_AN_LESS(x->ts_ns, y->ts_ns);
}

static int ku_an_wait_longest(const void *a, const void *b)
{
	const struct ku_an_wait *x = a, *y = b;

	return x->wait_us != y->wait_us ? KU_AN_LESS(y->wait_us, x->wait_us) : KU_AN_LESS(x->ts_ns, y->ts_ns);
}

/* The waits of each copy-up of the timeline, and the loose ones. The waits are sorted, longest first. */
static int ku_an_timeline_waits(struct ku_analysis *a)
{
	struct ku_an_work *w = a->work;
	size_t room = 0;

	for (size_t i = 0; i < a->ntimeline; i++) {
		uint64_t n = a->timeline[i]->nwaits;

		room += n < KU_AN_TIMELINE_WAITS ? n : KU_AN_TIMELINE_WAITS;
	}
	w->wait_lists = calloc(room + 1, sizeof(*w->wait_lists));
	w->loose = calloc(KU_AN_TIMELINE_WAITS, sizeof(*w->loose));
	if (!w->wait_lists || !w->loose)
		return -ENOMEM;
	room = 0;
	for (size_t i = 0; i < a->ntimeline; i++) {
		uint64_t n = a->timeline[i]->nwaits;

		if (!n)
			continue;
		a->timeline[i]->waits = w->wait_lists + room;
		room += n < KU_AN_TIMELINE_WAITS ? n : KU_AN_TIMELINE_WAITS;
	}
	for (size_t i = 0; i < w->nwaits; i++) {
		struct ku_an_copyup *c = (struct ku_an_copyup *)w->waits[i].copyup; /* ours */

		if (!c && a->nloose < KU_AN_TIMELINE_WAITS)
			w->loose[a->nloose++] = &w->waits[i];
		else if (c && c->waits && c->nlisted < KU_AN_TIMELINE_WAITS)
			c->waits[c->nlisted++] = &w->waits[i];
	}
	for (size_t i = 0; i < a->ntimeline; i++)
		if (a->timeline[i]->nlisted)
			qsort(a->timeline[i]->waits, a->timeline[i]->nlisted, sizeof(*w->wait_lists), ku_an_wait_time);
	if (a->nloose) {
		qsort(w->loose, a->nloose, sizeof(*w->loose), ku_an_wait_time);
		a->loose = w->loose;
	}
	return 0;
}

static int ku_an_timeline(struct ku_analysis *a)
{
	struct ku_an_work *w = a->work;
	size_t n = w->copyups.n;

	if (n) {
		w->by_cost = calloc(n, sizeof(*w->by_cost));
		if (!w->by_cost)
			return -ENOMEM;
		for (size_t i = 0; i < n; i++)
			w->by_cost[i] = ku_an_copyup_at(w, i);
		qsort(w->by_cost, n, sizeof(*w->by_cost), ku_an_cost_order);
		a->timeline = w->by_cost;
		a->ntimeline = n < KU_AN_TIMELINE ? n : KU_AN_TIMELINE;
		qsort(a->timeline, a->ntimeline, sizeof(*a->timeline), ku_an_copyup_time);
	}
	a->timeline_rest = n - a->ntimeline + a->unkept.copyups;
	return ku_an_timeline_waits(a);
}

static int ku_an_file_time(const void *a, const void *b)
{
	const struct ku_an_file *x = *(const struct ku_an_file *const *)a, *y = *(const struct ku_an_file *const *)b;
	int order = KU_AN_LESS(x->first_ns, y->first_ns);

	return order ? order : strcmp(x->path, y->path);
}

static int ku_an_files(struct ku_analysis *a)
{
	struct ku_an_work *w = a->work;
	size_t n = w->files.n;

	if (!n)
		return 0;
	w->sorted_files = calloc(n, sizeof(*w->sorted_files));
	if (!w->sorted_files)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		w->sorted_files[i] = w->files.entries[i].item;
	qsort(w->sorted_files, n, sizeof(*w->sorted_files), ku_an_file_time);
	a->files = w->sorted_files;
	a->nfiles = n;
	return 0;
}

/* Exact is only what every named union told. */
static void ku_an_exact(struct ku_analysis *a)
{
	size_t known = 0;

	a->exact_known = true;
	for (size_t i = 0; i < a->nunions; i++) {
		const struct ku_an_union *u = &a->unions[i];

		ku_an_sum_add(&a->exact, &u->exact);
		a->missing += u->missing;
		known += u->exact_known;
		if (u->path[0] && !u->exact_known)
			a->exact_known = false;
	}
	a->exact_known = a->exact_known && known;
	a->lost = a->dropped.count > a->missing ? a->dropped.count : a->missing;
}

int ku_analysis_finish(struct ku_analysis *a)
{
	struct ku_an_work *w = a->work;
	int err;

	ku_an_exact(a);
	if (w->nwaits)
		qsort(w->waits, w->nwaits, sizeof(*w->waits), ku_an_wait_longest);
	ku_an_join(w);
	err = ku_an_written(a);
	if (!err)
		err = ku_an_table(&w->cause, &a->by_cause);
	if (!err)
		err = ku_an_table(&w->container, &a->by_container);
	if (!err)
		err = ku_an_table(&w->extension, &a->by_extension);
	if (!err)
		err = ku_an_table(&w->engine, &a->by_engine);
	if (!err)
		err = ku_an_table(&w->data, &a->by_data);
	if (!err)
		err = ku_an_table(&w->kind, &a->by_kind);
	if (!err)
		err = ku_an_table(&w->holder, &a->by_holder);
	if (!err)
		err = ku_an_table(&w->lock, &a->by_lock);
	if (!err)
		err = ku_an_dirs(w, &a->by_dir);
	if (!err)
		err = ku_an_stalls(a);
	if (!err)
		err = ku_an_timeline(a);
	if (!err)
		err = ku_an_files(a);
	if (!err)
		err = ku_advise(a, &w->advice, &w->nadvice);
	if (err)
		return err;
	a->advice = w->advice;
	a->nadvice = w->nadvice;
	return 0;
}
