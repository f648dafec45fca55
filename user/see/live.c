// SPDX-License-Identifier: GPL-2.0-only
#include "live.h"

#include <bpf/bpf.h>
#include <string.h>

#include "names.h"
#include "session.h"
#include "util.h"

static char *ku_live_path(const char *names, uint32_t len)
{
	if (len == KU_PATH_UNKNOWN)
		return NULL;
	return len ? ku_names_path(names, len) : strdup("/");
}

static const char *ku_live_union(struct ku_session *s, uint32_t dev, uint32_t pid)
{
	struct ku_mount *m = ku_observer_mount(s->observer, dev, pid);

	return m ? m->path : "";
}

/* Copies that kunion makes itself, and who waits for them. */
static void ku_live_pending(struct ku_session *s, void (*copy)(void *, const struct ku_live_copy *),
			    void (*wait)(void *, const struct ku_live_wait *), void *arg)
{
	for (uint32_t i = 0; i < KU_SLOTS; i++) {
		const struct ku_pending *p = &s->pending[i];
		const struct ku_request *req;
		struct ku_who_text text;
		struct ku_live_copy c;

		if (!p->used || p->finished)
			continue;
		req = &s->bpf.requests[i];
		c = (struct ku_live_copy){ .id = p->id, .union_path = p->at->u.path, .path = p->path ? p->path : "", .op = ku_op_name(req->op),
					   .engine = s->bpf.slots[i].guard ? "guard" : "kunion", .start_ns = req->ts_ns, .size = req->size,
					   .bytes = __atomic_load_n(&p->progress, __ATOMIC_RELAXED) };
		ku_who_fill(&c.who, &req->who, &text);
		if (copy)
			copy(arg, &c);
		for (const struct ku_waiter *w = p->waiters; w && wait; w = w->next) {
			struct ku_live_wait lw = { .union_path = c.union_path, .path = c.path, .op = ku_op_name(w->op),
						   .on = w->on_commit ? "commit" : "copy", .holder = c.who, .start_ns = w->start_ns, .copyup_id = p->id };
			struct ku_who_text waiter;

			if (w->end_ns)
				continue;
			ku_who_fill(&lw.who, &w->who, &waiter);
			wait(arg, &lw);
		}
	}
}

/* Who waits for the lock of a file, or found it copied, copies nothing: the observing programs' own rule, before the end. */
static bool ku_live_copies(const struct ku_obs *o, const struct ku_obs_copyup *c)
{
	return o->shared->lsm ? c->seen || c->file_start_ns : c->lock_ns && !c->already;
}

static void ku_live_kernel(struct ku_session *s, void (*copy)(void *, const struct ku_live_copy *), void *arg)
{
	const struct ku_obs *o = ku_observer_bpf(s->observer);
	__u32 key, next, *at = NULL;
	_cleanup_free_ struct ku_obs_copyup *c = malloc(sizeof(*c));

	for (; c && !bpf_map_get_next_key(o->fd_active, at, &next); at = &key) {
		_cleanup_free_ char *path = NULL;
		struct ku_who_text text;
		struct ku_live_copy lc;

		key = next;
		/* kunion's own are somebody's request, told above. */
		if (bpf_map_lookup_elem(o->fd_active, &key, c) || (o->shared->self_tgid && c->who.pid == o->shared->self_tgid) ||
		    !ku_live_copies(o, c))
			continue;
		path = ku_live_path(c->path, c->path_len);
		lc = (struct ku_live_copy){ .id = c->id, .union_path = ku_live_union(s, c->dev, c->who.pid), .path = path ? path : "",
					    .op = ku_op_name(c->op), .engine = "kernel", .start_ns = c->start_ns, .size = c->bytes, .bytes = c->done };
		ku_who_fill(&lc.who, &c->who, &text);
		copy(arg, &lc);
	}
}

/* Is tid one that copies up, or waits for who does? Then whom it holds up waits for a copy-up. */
static bool ku_live_busy(const struct ku_obs *o, uint32_t tid, struct ku_obs_copyup *c, struct ku_obs_wait *w, uint64_t *ret_id)
{
	if (!bpf_map_lookup_elem(o->fd_active, &tid, c)) {
		*ret_id = c->id;
		return true;
	}
	if (!bpf_map_lookup_elem(o->fd_waits, &tid, w) && w->on == KU_ON_INODE) {
		*ret_id = w->root.id;
		return true;
	}
	return false;
}

static void ku_live_waits(struct ku_session *s, void (*wait)(void *, const struct ku_live_wait *), void *arg)
{
	static const char *const on[] = { [KU_ON_INODE] = "inode", [KU_ON_DIR] = "dir", [KU_ON_FILE] = "file" };
	const struct ku_obs *o = ku_observer_bpf(s->observer);
	_cleanup_free_ struct ku_obs_copyup *c = malloc(sizeof(*c));
	_cleanup_free_ struct ku_obs_wait *w = malloc(sizeof(*w)), *behind = malloc(sizeof(*behind));
	__u32 key, next, *at = NULL;

	if (!c || !w || !behind)
		return;
	for (; !bpf_map_get_next_key(o->fd_waits, at, &next); at = &key) {
		_cleanup_free_ char *path = NULL;
		struct ku_who_text text, holder;
		struct ku_live_wait lw;
		uint64_t id;

		key = next;
		if (bpf_map_lookup_elem(o->fd_waits, &key, w) || w->on < KU_ON_INODE || w->on > KU_ON_FILE)
			continue;
		id = w->root.id;
		if (w->on != KU_ON_INODE && !ku_live_busy(o, w->holder.tid, c, behind, &id))
			continue;
		path = ku_live_path(w->path, w->path_len);
		lw = (struct ku_live_wait){ .union_path = ku_live_union(s, w->dev, w->who.pid), .path = path ? path : "", .op = ku_op_name(w->op),
					    .on = on[w->on], .start_ns = w->start_ns, .copyup_id = id };
		ku_who_fill(&lw.who, &w->who, &text);
		ku_who_fill(&lw.holder, &w->holder, &holder);
		wait(arg, &lw);
	}
}

void ku_live_each(struct ku_session *s, void (*copy)(void *arg, const struct ku_live_copy *c),
		  void (*wait)(void *arg, const struct ku_live_wait *w), void *arg)
{
	if (s->bpf.slots)
		ku_live_pending(s, copy, wait, arg);
	if (s->observer && copy)
		ku_live_kernel(s, copy, arg);
	if (s->observer && wait)
		ku_live_waits(s, wait, arg);
}

static void ku_counts_fill(struct ku_counts *to, const struct ku_count *c)
{
	to->copyups = c->copyups;
	to->bytes = c->bytes;
	to->copyup_ns = c->copyup_ns;
	to->waits = c->waits;
	to->wait_ns = c->wait_ns;
	to->stalls = c->stalls;
	for (int i = 0; i < KU_HIST; i++) {
		to->copyup_hist[i] = c->copyup_hist[i];
		to->wait_hist[i] = c->wait_hist[i];
	}
}
_Static_assert(KU_HIST == KU_OBS_HIST, "the kernel's buckets are those told");

void ku_counts_each(struct ku_session *s, void (*fn)(void *arg, const struct ku_counts *c), void *arg)
{
	struct ku_count_key key, last, *at = NULL;
	const struct ku_obs *o;
	struct ku_count c;

	for (struct ku_own_counts *own = s->own_counts; own; own = own->next) {
		struct ku_task who = { .cgroup_id = own->cgroup_id };
		struct ku_counts row = { .union_path = s->unions[own->union_id].u.path, .engine = own->engine, .result = own->result };
		struct ku_who_text text;
		struct ku_who w;

		ku_who_fill(&w, &who, &text);
		row.cgroup = w.cgroup;
		row.container = w.container;
		row.runtime = w.runtime;
		ku_counts_fill(&row, &own->c);
		fn(arg, &row);
	}
	if (!s->observer)
		return;
	o = ku_observer_bpf(s->observer);
	for (; !ku_obs_count_next(o, at, &key); at = &last) {
		struct ku_task who = { .cgroup_id = key.cgroup_id };
		struct ku_counts row = { .engine = "kernel", .result = key.failed ? "failed" : "ok" };
		struct ku_who_text text;
		struct ku_who w;

		last = key;
		if (ku_obs_count(o, &key, &c))
			continue;
		ku_who_fill(&w, &who, &text);
		row.union_path = ku_live_union(s, key.dev, 0);
		row.cgroup = w.cgroup;
		row.container = w.container;
		row.runtime = w.runtime;
		ku_counts_fill(&row, &c);
		fn(arg, &row);
	}
}

static void ku_gauges_hook(void *arg, const char *name, uint64_t runs, uint64_t ns, uint64_t missed)
{
	struct ku_gauges *g = arg;

	if (g->nhooks < KU_ARRAY_SIZE(g->hooks))
		g->hooks[g->nhooks++] = (struct ku_hook){ .name = name, .runs = runs, .ns = ns };
	g->dropped_others += missed;
}

static uint64_t ku_map_used(int fd)
{
	__u32 key, next, *at = NULL;
	uint64_t n = 0;

	for (; !bpf_map_get_next_key(fd, at, &next) && n < KU_MAX_ACTIVE; at = &key) {
		key = next;
		n++;
	}
	return n;
}

void ku_gauges_read(struct ku_session *s, struct ku_gauges *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->slots = s->bpf.slots ? KU_SLOTS : 0;
	for (uint32_t i = 0; s->bpf.slots && i < KU_SLOTS; i++) {
		ret->parked += __atomic_load_n(&s->bpf.slots[i].parked, __ATOMIC_RELAXED);
		ret->slots_used += s->pending[i].used;
	}
	if (s->bpf.shared)
		ret->dropped_waits = s->bpf.shared->dropped_records;
	if (s->observer) {
		const struct ku_obs *o = ku_observer_bpf(s->observer);

		ret->dropped_copyups = o->shared->dropped[KU_O_COPYUP];
		ret->dropped_waits += o->shared->dropped[KU_O_WAIT];
		ret->dropped_writes = o->shared->dropped[KU_O_WRITE];
		ret->dropped_others = o->shared->no_room + o->shared->dropped[KU_O_GONE] + o->shared->dropped[KU_O_MADE];
		ret->active_max = KU_MAX_ACTIVE;
		ret->active = ku_map_used(o->fd_active) + ku_map_used(o->fd_waits);
		ku_bpf_hooks(o->obj, ku_gauges_hook, ret);
	}
	if (s->bpf.obj)
		ku_bpf_hooks(s->bpf.obj, ku_gauges_hook, ret);
}
