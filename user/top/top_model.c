// SPDX-License-Identifier: GPL-2.0-only
#include "top_model.h"

#include <string.h>

#include "map.h"
#include "util.h"

/* Unions and containers remembered; what comes beyond shows up in the totals only. */
#define KU_TOP_ROWS 65536
/* Who waits for one who waits for one .. : longer chains are not followed. */
#define KU_TOP_HOPS 16

struct ku_top_string {
	struct ku_top_string *next;
	char s[];
};

struct ku_top_figures {
	const char *union_path, *container; /* the key's */
	struct ku_top_sum now;
	uint64_t copyups, bytes, wait_ns; /* at the tick before */
};

/* What a copy had at the tick before. */
struct ku_top_before {
	uint64_t id, bytes;
	double rate;
};

/* Who a wait belongs to, until the end of the tick. */
struct ku_top_link {
	uint32_t tid, holder_tid;
	uint64_t copyup_id;
	unsigned int copy; /* index; ncopies: none */
};

struct ku_top_linked {
	struct ku_top_wait wait;
	struct ku_top_link link;
};

struct ku_top_kept {
	struct ku_top_wait wait;
	struct ku_top_string *strings;
};

struct ku_top_model {
	bool from_events;
	struct ku_map rows; /* struct ku_top_figures by union, NUL, container */
	struct ku_top_sum all;
	uint64_t all_copyups, all_bytes, all_wait_ns; /* at the tick before */
	struct ku_top_kept longest[KU_TOP_LONGEST];
	unsigned int nlongest;
	struct ku_top_before *before;
	unsigned int nbefore;
	uint64_t start_ns, now_ns, before_ns;
	/* the tick under way */
	struct ku_top_snap *snap;
	uint32_t *copy_tids;
	unsigned int copies_room, tids_room;
	struct ku_top_linked *waits;
	unsigned int nwaits, waits_room;
};

/* A copy of s that lives with the list; "" without memory. */
static const char *ku_top_strdup(struct ku_top_string **strings, const char *s)
{
	size_t size = strlen(s) + 1;
	struct ku_top_string *str;

	if (size == 1)
		return "";
	str = malloc(sizeof(*str) + size);
	if (!str)
		return "";
	memcpy(str->s, s, size);
	str->next = *strings;
	*strings = str;
	return str->s;
}

static void ku_top_strings_free(struct ku_top_string *strings)
{
	while (strings) {
		struct ku_top_string *s = strings;

		strings = s->next;
		free(s);
	}
}

/* Room for one more in an array; the array as it is then, NULL without memory (it stays what it was). */
static void *ku_top_grown(void *array, unsigned int n, unsigned int *room, size_t size)
{
	unsigned int more = *room ? 2 * *room : 16;
	void *p;

	if (n < *room)
		return array;
	p = reallocarray(array, more, size);
	if (p)
		*room = more;
	return p;
}

struct ku_top_model *ku_top_new(bool from_events)
{
	struct ku_top_model *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->rows = (struct ku_map)KU_MAP(struct ku_top_figures, KU_TOP_ROWS);
	m->from_events = from_events;
	return m;
}

void ku_top_snap_free(struct ku_top_snap *snap)
{
	if (!snap)
		return;
	for (unsigned int i = 0; i < snap->ncopies; i++)
		free(snap->copies[i].waits);
	free(snap->copies);
	free(snap->rows);
	free(snap->loose);
	free(snap->longest);
	ku_top_strings_free(snap->strings);
	free(snap);
}

void ku_top_free(struct ku_top_model *m)
{
	if (!m)
		return;
	for (unsigned int i = 0; i < m->nlongest; i++)
		ku_top_strings_free(m->longest[i].strings);
	ku_map_free(&m->rows);
	ku_top_snap_free(m->snap);
	free(m->before);
	free(m->copy_tids);
	free(m->waits);
	free(m);
}

static struct ku_top_figures *ku_top_row_of(struct ku_top_model *m, const char *union_path, const char *container)
{
	size_t ulen = strlen(union_path) + 1, clen = strlen(container);
	_cleanup_free_ char *key = malloc(ulen + clen + 1);
	struct ku_top_figures *f;
	const char *kept;
	void *item;

	if (!key)
		return NULL;
	memcpy(key, union_path, ulen);
	memcpy(key + ulen, container, clen + 1);
	if (ku_map_get(&m->rows, key, ulen + clen, &item, &kept, NULL))
		return NULL;
	f = item;
	f->union_path = kept;
	f->container = kept + ulen;
	return f;
}

static void ku_top_add(struct ku_top_model *m, const char *union_path, const char *container, const struct ku_top_sum *sum)
{
	struct ku_top_figures *row = ku_top_row_of(m, union_path, container);
	struct ku_top_sum *into[] = { &m->all, row ? &row->now : NULL };

	for (unsigned int i = 0; i < 2 && into[i]; i++) {
		into[i]->copyups += sum->copyups;
		into[i]->bytes += sum->bytes;
		into[i]->waits += sum->waits;
		into[i]->stalls += sum->stalls;
		into[i]->wait_ns += sum->wait_ns;
	}
}

/* Neither one that was given up nor one that was left to the kernel, which then tells its own. */
static bool ku_top_is_copyup(const char *result)
{
	return strcmp(result, "native") && strcmp(result, "lost");
}

/* events */

static struct ku_top_task ku_top_task_of(struct ku_top_string **strings, const struct ku_who *who)
{
	return (struct ku_top_task){ .pid = who->pid, .comm = ku_top_strdup(strings, who->comm),
				     .container = ku_top_strdup(strings, who->container) };
}

/* The place of a wait of this length among the longest, NULL if it is too short. */
static struct ku_top_kept *ku_top_place(struct ku_top_model *m, uint64_t wait_ns)
{
	struct ku_top_kept *least = m->longest;

	if (m->nlongest < KU_TOP_LONGEST)
		return &m->longest[m->nlongest++];
	for (unsigned int i = 1; i < m->nlongest; i++)
		if (m->longest[i].wait.wait_ns < least->wait.wait_ns)
			least = &m->longest[i];
	return wait_ns > least->wait.wait_ns ? least : NULL;
}

static void ku_top_keep(struct ku_top_model *m, const struct ku_event *e)
{
	const struct ku_ev_wait *w = &e->wait;
	struct ku_top_kept *kept = ku_top_place(m, w->wait_us * 1000);
	struct ku_top_string *s = NULL;

	if (!kept)
		return;
	ku_top_strings_free(kept->strings);
	kept->wait = (struct ku_top_wait){
		.union_path = ku_top_strdup(&s, e->union_path),
		.path = ku_top_strdup(&s, e->path),
		.op = ku_top_strdup(&s, w->op),
		.on = ku_top_strdup(&s, w->on),
		.holder_op = ku_top_strdup(&s, w->holder_op),
		.who = ku_top_task_of(&s, &w->who),
		.holder = ku_top_task_of(&s, &w->holder),
		.wait_ns = w->wait_us * 1000,
		.copyup_path = ku_top_strdup(&s, w->copyup_path),
		.copyup_comm = ku_top_strdup(&s, w->copyup_comm),
		.copyup_pid = w->copyup_pid,
		.result = ku_top_strdup(&s, w->result),
	};
	kept->strings = s;
}

void ku_top_event(struct ku_top_model *m, const struct ku_event *e)
{
	struct ku_top_sum sum = { 0 };

	if (e->type == KU_EV_WAIT) {
		sum.waits = 1;
		sum.stalls = !strcmp(e->wait.on, "dir");
		sum.wait_ns = e->wait.wait_us * 1000;
		if (m->from_events)
			ku_top_add(m, e->union_path, e->wait.who.container, &sum);
		ku_top_keep(m, e);
	} else if (e->type == KU_EV_COPYUP && m->from_events && ku_top_is_copyup(e->copyup.result)) {
		sum.copyups = 1;
		sum.bytes = e->copyup.bytes;
		ku_top_add(m, e->union_path, e->copyup.who.container, &sum);
	}
}

/* ticks */

void ku_top_begin(struct ku_top_model *m, uint64_t now_ns)
{
	m->now_ns = now_ns;
	if (!m->start_ns)
		m->start_ns = now_ns;
	ku_top_snap_free(m->snap);
	m->snap = calloc(1, sizeof(*m->snap));
	m->copies_room = 0;
	m->nwaits = 0;
	if (m->from_events)
		return;
	memset(&m->all, 0, sizeof(m->all));
	for (size_t i = 0; i < m->rows.n; i++) {
		struct ku_top_figures *f = m->rows.entries[i].item;

		memset(&f->now, 0, sizeof(f->now));
	}
}

void ku_top_count(struct ku_top_model *m, const struct ku_counts *c)
{
	struct ku_top_sum sum = { .waits = c->waits, .stalls = c->stalls, .wait_ns = c->wait_ns };

	if (m->from_events)
		return;
	if (ku_top_is_copyup(c->result)) {
		sum.copyups = c->copyups;
		sum.bytes = c->bytes;
	}
	ku_top_add(m, c->union_path, c->container, &sum);
}

void ku_top_copy(struct ku_top_model *m, const struct ku_live_copy *c)
{
	struct ku_top_snap *snap = m->snap;
	struct ku_top_copy *copies;
	uint32_t *tids;

	tids = snap ? ku_top_grown(m->copy_tids, snap->ncopies, &m->tids_room, sizeof(*tids)) : NULL;
	if (!tids)
		return;
	m->copy_tids = tids;
	copies = ku_top_grown(snap->copies, snap->ncopies, &m->copies_room, sizeof(*copies));
	if (!copies)
		return;
	snap->copies = copies;
	tids[snap->ncopies] = c->who.tid;
	copies[snap->ncopies++] = (struct ku_top_copy){
		.id = c->id,
		.size = c->size,
		.bytes = c->bytes,
		.age_ns = m->now_ns > c->start_ns ? m->now_ns - c->start_ns : 0,
		.union_path = ku_top_strdup(&snap->strings, c->union_path),
		.path = ku_top_strdup(&snap->strings, c->path),
		.op = ku_top_strdup(&snap->strings, c->op),
		.engine = ku_top_strdup(&snap->strings, c->engine),
		.who = ku_top_task_of(&snap->strings, &c->who),
	};
}

void ku_top_wait(struct ku_top_model *m, const struct ku_live_wait *w)
{
	struct ku_top_snap *snap = m->snap;
	struct ku_top_linked *waits;

	waits = snap ? ku_top_grown(m->waits, m->nwaits, &m->waits_room, sizeof(*waits)) : NULL;
	if (!waits)
		return;
	m->waits = waits;
	waits[m->nwaits++] = (struct ku_top_linked){
		.wait = {
			.union_path = ku_top_strdup(&snap->strings, w->union_path),
			.path = ku_top_strdup(&snap->strings, w->path),
			.op = ku_top_strdup(&snap->strings, w->op),
			.on = ku_top_strdup(&snap->strings, w->on),
			.holder_op = "",
			.who = ku_top_task_of(&snap->strings, &w->who),
			.holder = ku_top_task_of(&snap->strings, &w->holder),
			.wait_ns = m->now_ns > w->start_ns ? m->now_ns - w->start_ns : 0,
			.copyup_path = "",
			.copyup_comm = "",
			.result = "",
		},
		.link = { .tid = w->who.tid, .holder_tid = w->holder.tid, .copyup_id = w->copyup_id },
	};
}

/* The copy that a wait is for: named, or its holder's, or the one that its holder waits for. */
static unsigned int ku_top_copy_of(const struct ku_top_model *m, const struct ku_top_link *link)
{
	const struct ku_top_snap *snap = m->snap;

	for (unsigned int hop = 0; link && hop < KU_TOP_HOPS; hop++) {
		uint32_t holder = link->holder_tid;

		for (unsigned int i = 0; i < snap->ncopies; i++)
			if (link->copyup_id ? snap->copies[i].id == link->copyup_id : holder && m->copy_tids[i] == holder)
				return i;
		if (link->copyup_id || !holder)
			break;
		link = NULL;
		for (unsigned int i = 0; i < m->nwaits && !link; i++)
			if (m->waits[i].link.tid == holder)
				link = &m->waits[i].link;
	}
	return snap->ncopies;
}

/* By copy, longest first. */
static int ku_top_by_copy(const void *a, const void *b)
{
	const struct ku_top_linked *x = a, *y = b;

	if (x->link.copy != y->link.copy)
		return x->link.copy < y->link.copy ? -1 : 1;
	return x->wait.wait_ns > y->wait.wait_ns ? -1 : x->wait.wait_ns < y->wait.wait_ns;
}

static void ku_top_share_out(struct ku_top_model *m)
{
	struct ku_top_snap *snap = m->snap;

	for (unsigned int i = 0; i < m->nwaits; i++)
		m->waits[i].link.copy = ku_top_copy_of(m, &m->waits[i].link);
	if (m->nwaits)
		qsort(m->waits, m->nwaits, sizeof(*m->waits), ku_top_by_copy);
	for (unsigned int i = 0, n; i < m->nwaits; i += n) {
		unsigned int copy = m->waits[i].link.copy;
		struct ku_top_wait *waits;

		for (n = 1; i + n < m->nwaits && m->waits[i + n].link.copy == copy; n++)
			;
		waits = calloc(n, sizeof(*waits));
		if (!waits)
			continue;
		for (unsigned int k = 0; k < n; k++)
			waits[k] = m->waits[i + k].wait;
		*(copy < snap->ncopies ? &snap->copies[copy].waits : &snap->loose) = waits;
		*(copy < snap->ncopies ? &snap->copies[copy].nwaits : &snap->nloose) = n;
	}
	snap->nwaiting = m->nwaits;
}

static int ku_top_by_age(const void *a, const void *b)
{
	const struct ku_top_copy *x = a, *y = b;

	return x->age_ns > y->age_ns ? -1 : x->age_ns < y->age_ns ? 1 : x->id < y->id ? -1 : x->id > y->id;
}

/* Rate and time to go of each copy; remembers what the next tick needs. */
static void ku_top_progress(struct ku_top_model *m, double seconds)
{
	struct ku_top_snap *snap = m->snap;
	struct ku_top_before *before = calloc(snap->ncopies + 1, sizeof(*before));

	for (unsigned int i = 0; i < snap->ncopies; i++) {
		struct ku_top_copy *c = &snap->copies[i];
		const struct ku_top_before *b = NULL;

		for (unsigned int k = 0; k < m->nbefore && !b; k++)
			if (m->before[k].id == c->id)
				b = &m->before[k];
		/* Half of it the last tick's: a figure that jumps tells nobody when the copy will be there. */
		if (b && seconds > 0)
			c->rate = (c->bytes > b->bytes ? (double)(c->bytes - b->bytes) / seconds : 0) * 0.5 + b->rate * 0.5;
		else if (c->age_ns)
			c->rate = (double)c->bytes * 1e9 / (double)c->age_ns;
		c->eta_s = c->bytes >= c->size ? 0 : c->rate > 0 ? (double)(c->size - c->bytes) / c->rate : -1;
		if (before)
			before[i] = (struct ku_top_before){ .id = c->id, .bytes = c->bytes, .rate = c->rate };
	}
	free(m->before);
	m->before = before;
	m->nbefore = before ? snap->ncopies : 0;
}

static double ku_top_rate(uint64_t now, uint64_t before, double seconds)
{
	return seconds > 0 && now > before ? (double)(now - before) / seconds : 0;
}

static void ku_top_rates(struct ku_top_sum *s, uint64_t *copyups, uint64_t *bytes, uint64_t *wait_ns, double seconds)
{
	s->copyups_rate = ku_top_rate(s->copyups, *copyups, seconds);
	s->bytes_rate = ku_top_rate(s->bytes, *bytes, seconds);
	s->wait_rate = ku_top_rate(s->wait_ns, *wait_ns, seconds) / 1e9;
	*copyups = s->copyups;
	*bytes = s->bytes;
	*wait_ns = s->wait_ns;
}

static void ku_top_figures_out(struct ku_top_model *m, double seconds)
{
	struct ku_top_snap *snap = m->snap;

	ku_top_rates(&m->all, &m->all_copyups, &m->all_bytes, &m->all_wait_ns, seconds);
	snap->all = m->all;
	snap->rows = m->rows.n ? calloc(m->rows.n, sizeof(*snap->rows)) : NULL;
	for (size_t i = 0; i < m->rows.n; i++) {
		struct ku_top_figures *f = m->rows.entries[i].item;

		ku_top_rates(&f->now, &f->copyups, &f->bytes, &f->wait_ns, seconds);
		if (!snap->rows || !(f->now.copyups || f->now.bytes || f->now.waits))
			continue;
		snap->rows[snap->nrows++] = (struct ku_top_row){
			.union_path = ku_top_strdup(&snap->strings, f->union_path),
			.container = ku_top_strdup(&snap->strings, f->container),
			.sum = f->now,
		};
	}
}

static int ku_top_by_wait(const void *a, const void *b)
{
	const struct ku_top_wait *x = a, *y = b;

	return x->wait_ns > y->wait_ns ? -1 : x->wait_ns < y->wait_ns;
}

static void ku_top_longest_out(struct ku_top_model *m)
{
	struct ku_top_snap *snap = m->snap;

	snap->longest = m->nlongest ? calloc(m->nlongest, sizeof(*snap->longest)) : NULL;
	if (!snap->longest)
		return;
	for (unsigned int i = 0; i < m->nlongest; i++) {
		struct ku_top_wait *w = &snap->longest[i];
		const char **strings[] = { &w->union_path, &w->path, &w->op, &w->on, &w->holder_op, &w->who.comm, &w->who.container,
					   &w->holder.comm, &w->holder.container, &w->copyup_path, &w->copyup_comm, &w->result };

		*w = m->longest[i].wait;
		for (unsigned int k = 0; k < KU_ARRAY_SIZE(strings); k++)
			*strings[k] = ku_top_strdup(&snap->strings, *strings[k]);
	}
	snap->nlongest = m->nlongest;
	qsort(snap->longest, snap->nlongest, sizeof(*snap->longest), ku_top_by_wait);
}

struct ku_top_snap *ku_top_end(struct ku_top_model *m, const struct ku_top_head *head)
{
	double seconds = m->before_ns && m->now_ns > m->before_ns ? (double)(m->now_ns - m->before_ns) / 1e9 : 0;
	const struct ku_gauges *g = &head->gauges;
	struct ku_top_snap *snap = m->snap;

	if (!snap)
		return NULL;
	snap->mode = head->mode;
	snap->tier = head->tier;
	snap->unions = head->unions;
	snap->up_ns = m->now_ns - m->start_ns;
	snap->dropped = g->dropped_copyups + g->dropped_waits + g->dropped_writes + g->dropped_others;
	snap->parked = g->parked;
	ku_top_share_out(m);
	/* Only now: until here their places were the waits' links. */
	if (snap->ncopies)
		qsort(snap->copies, snap->ncopies, sizeof(*snap->copies), ku_top_by_age);
	ku_top_progress(m, seconds);
	ku_top_figures_out(m, seconds);
	ku_top_longest_out(m);
	m->before_ns = m->now_ns;
	return KU_TAKE_PTR(m->snap);
}
