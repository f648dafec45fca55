// SPDX-License-Identifier: GPL-2.0-only
/* What a session tells of its own copies and their waiters: events and the summary. */
#include <stdlib.h>
#include <string.h>

#include "session.h"
#include "util.h"

static uint64_t ku_us(uint64_t from, uint64_t to)
{
	return from && to > from ? (to - from) / 1000 : 0;
}

void ku_session_emit(struct ku_session *s, const struct ku_event *e)
{
	ku_events_put(s->events, e);
	if (s->opts.on_event)
		s->opts.on_event(s->opts.event_arg, e);
}

static const char *ku_result_kind(const struct ku_pending *p)
{
	return !p->result ? "ok" : p->result == -ECANCELED ? "lost" : p->result == -EREMOTE ? "native" : "failed";
}

static const char *ku_result_name(const struct ku_pending *p, char buf[static 16])
{
	if (!p->result)
		return "ok";
	if (p->result == -ECANCELED)
		return "lost";
	if (p->result == -EREMOTE)
		return "native";
	return ku_errno_name(-p->result, buf);
}

/* NULL without memory: not counted. */
static struct ku_count *ku_own_count(struct ku_session *s, const struct ku_pending *p, uint64_t cgroup_id, const char *engine, const char *result)
{
	struct ku_own_counts *own;

	if (s->nown_counts >= KU_OWN_COUNTS)
		cgroup_id = 0;
	for (own = s->own_counts; own; own = own->next)
		if (own->union_id == p->at->id && own->cgroup_id == cgroup_id && own->engine == engine && own->result == result)
			return &own->c;
	own = calloc(1, sizeof(*own));
	if (!own)
		return NULL;
	*own = (struct ku_own_counts){ .next = s->own_counts, .union_id = p->at->id, .cgroup_id = cgroup_id, .engine = engine, .result = result };
	s->own_counts = own;
	s->nown_counts++;
	return &own->c;
}

static unsigned int ku_bucket(uint64_t us)
{
	unsigned int n = 0;

	while (us && n < KU_OBS_HIST - 1) {
		us >>= 1;
		n++;
	}
	return n;
}

void ku_report_free(struct ku_session *s)
{
	while (s->own_counts) {
		struct ku_own_counts *own = s->own_counts;

		s->own_counts = own->next;
		free(own);
	}
}

void ku_report_forget(struct ku_session *s, uint32_t id)
{
	for (struct ku_own_counts **at = &s->own_counts, *own; (own = *at);) {
		if (own->union_id != id) {
			at = &own->next;
			continue;
		}
		*at = own->next;
		s->nown_counts--;
		free(own);
	}
}

static const char *ku_engine(const struct ku_pending *p)
{
	return p->guarded ? "guard" : "kunion";
}

/* It needed no copy of ours, for somebody else's was there or under way. */
static bool ku_waited_only(const struct ku_pending *p)
{
	return p->guarded && !p->guard_data && (p->found || p->other.pid);
}

static void ku_report_wait(struct ku_session *s, const struct ku_pending *p, const struct ku_waiter *w, const char *path)
{
	const struct ku_request *req = &s->bpf.requests[p->slot];
	const struct ku_task nobody = { 0 }, *holder = ku_waited_only(p) ? (p->other.pid ? &p->other : &nobody) : &req->who;
	struct ku_who_text text, holder_text;
	struct ku_count *c;
	struct ku_event e = { .type = KU_EV_WAIT, .ts_ns = ku_utc_ns(w->start_ns), .union_path = p->at->u.path, .path = path };

	e.wait = (struct ku_ev_wait){
		.op = ku_op_name(w->op),
		.syscall = ku_syscall_name(w->nr, w->compat),
		.on = w->on_commit ? "commit" : "copy",
		.holder_op = ku_op_name(holder == &req->who ? req->op : p->other_op),
		.copyup_id = holder == &req->who ? p->id : p->other_id,
		.copyup_path = path,
		.copyup_pid = holder->pid,
		.wait_us = ku_us(w->start_ns, w->end_ns ? w->end_ns : p->end_ns),
		.result = w->end_ns && w->result ? w->result : p->result ? "failed" : "released",
	};
	ku_who_fill(&e.wait.who, &w->who, &text);
	ku_who_fill(&e.wait.holder, holder, &holder_text);
	e.wait.copyup_comm = e.wait.holder.comm;
	/* Released by what made the copy moot, not by a failure. */
	if (!w->end_ns && p->result == -ECANCELED)
		e.wait.result = "released";
	s->totals.waits++;
	c = ku_own_count(s, p, w->who.cgroup_id, ku_engine(p), "ok");
	if (c) {
		c->waits++;
		c->wait_ns += e.wait.wait_us * 1000;
		c->wait_hist[ku_bucket(e.wait.wait_us)]++;
	}
	ku_session_emit(s, &e);
}

void ku_report_beside(struct ku_session *s, const struct ku_pending *p, const struct ku_obs_copyup *c)
{
	struct ku_count *n = ku_own_count(s, p, s->bpf.requests[p->slot].who.cgroup_id, "kunion", c->result ? "failed" : "ok");

	if (!n)
		return;
	n->copyups++;
	n->copyup_ns += c->end_ns - c->start_ns;
	n->copyup_hist[ku_bucket((c->end_ns - c->start_ns) / 1000)]++;
}

void ku_report_copy(struct ku_session *s, struct ku_pending *p)
{
	const struct ku_request *req = &s->bpf.requests[p->slot];
	struct ku_who_text text;
	struct ku_event e = { .type = KU_EV_COPYUP, .ts_ns = ku_utc_ns(req->ts_ns), .union_path = p->at->u.path,
			      .path = p->path ? p->path : "" };
	struct ku_count *c;
	char buf[16];

	e.copyup = (struct ku_ev_copyup){
		.id = p->id,
		.kind = "file",
		.op = ku_op_name(req->op),
		.syscall = ku_syscall_name(req->nr, req->compat),
		.engine = ku_engine(p),
		/* What the observer has not told, or not yet, is not known. */
		.data = p->result ? "none" : p->guarded ? (p->guard_data ? p->guard_data : "") :
			p->stats.how == KU_COPY_CLONE ? "cloned" : "copied",
		.size = req->size,
		.bytes = p->result ? 0 : p->guarded ? p->guard_bytes : p->stats.bytes,
		.queued_us = ku_us(req->ts_ns, p->start_ns),
		.copy_us = ku_us(p->start_ns, p->copied_ns),
		.commit_us = ku_us(p->copied_ns, p->end_ns),
		.total_us = ku_us(req->ts_ns, p->end_ns),
	};
	if (ku_waited_only(p)) {
		struct ku_waiter asked = { .who = req->who, .op = req->op, .nr = req->nr, .compat = req->compat, .start_ns = req->ts_ns };

		ku_report_wait(s, p, &asked, e.path);
		for (const struct ku_waiter *w = p->waiters; w; w = w->next)
			ku_report_wait(s, p, w, e.path);
		return;
	}
	ku_who_fill(&e.copyup.who, &req->who, &text);
	for (const struct ku_waiter *w = p->waiters; w; w = w->next)
		e.copyup.waiters++;
	e.copyup.result = ku_result_name(p, buf);
	if (p->guarded) {
		e.copyup.copy_us = p->guard_copy_us;
		e.copyup.lock_us = p->guard_lock_us;
		e.copyup.fsync_us = p->guard_fsync_us;
	}
	c = ku_own_count(s, p, req->who.cgroup_id, ku_engine(p), ku_result_kind(p));
	if (c) {
		c->copyups++;
		c->bytes += e.copyup.bytes;
		c->copyup_ns += e.copyup.total_us * 1000;
		c->copyup_hist[ku_bucket(e.copyup.total_us)]++;
	}
	ku_session_emit(s, &e);
	for (const struct ku_waiter *w = p->waiters; w; w = w->next)
		ku_report_wait(s, p, w, e.path);

	switch (p->result) {
	case 0:
		if (p->guarded) {
			s->totals.guarded++;
			break;
		}
		s->totals.copies++;
		s->totals.bytes += p->stats.bytes;
		break;
	case -ECANCELED:
		s->totals.lost++;
		break;
	case -EREMOTE:
		s->totals.native++;
		break;
	default:
		s->totals.failed++;
	}
}

void ku_report_summary(const struct ku_session *s)
{
	const struct ku_totals *t = &s->totals;

	fprintf(stderr,
		"kunion: tier %s: %llu copied by kunion (%llu bytes), %llu by the kernel (%llu brought about by kunion); %llu lost, %llu left to the kernel, "
		"%llu failed; %llu waits, %llu over the limit\n",
		ku_tier_name(s->bpf.tier), (unsigned long long)t->copies, (unsigned long long)t->bytes, (unsigned long long)(t->kernel + t->guarded),
		(unsigned long long)t->guarded,
		(unsigned long long)t->lost, (unsigned long long)t->native, (unsigned long long)t->failed, (unsigned long long)t->waits,
		(unsigned long long)t->timeouts);
	ku_session_policy_report(s);
}
