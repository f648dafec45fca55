// SPDX-License-Identifier: GPL-2.0-only
/* A session's observer: what the kernel does beside it, and at its request. */
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "session.h"
#include "stop.h"
#include "util.h"

/* What the worker tid was, or is, at when ns: it may have gone on to the next while this one is not told yet. */
static struct ku_pending *ku_pending_by_copier(struct ku_session *s, uint32_t tid, uint64_t ns)
{
	for (uint32_t i = 0; i < KU_SLOTS; i++) {
		struct ku_pending *p = &s->pending[i];

		if (p->used && __atomic_load_n(&p->copier_tid, __ATOMIC_RELAXED) == tid && ns >= p->start_ns &&
		    (!p->finished || ns <= p->end_ns))
			return p;
	}
	return NULL;
}

static void ku_observed(void *arg, const struct ku_event *e)
{
	struct ku_session *s = arg;

	if (e->type == KU_EV_COPYUP)
		s->totals.kernel++;
	ku_session_emit(s, e);
}

static void ku_observed_made(void *arg, uint32_t dev, uint32_t pid)
{
	struct ku_session *s = arg;

	if (s->opts.on_super)
		s->opts.on_super(s->opts.super_arg, dev, pid, true);
}

static void ku_observed_gone(void *arg, uint32_t dev)
{
	struct ku_session *s = arg;

	if (s->opts.on_super)
		s->opts.on_super(s->opts.super_arg, dev, 0, false);

	for (unsigned int i = 0; i < s->nunions; i++)
		if (!s->unions[i].gone && ku_kernel_dev(s->unions[i].u.dev) == dev)
			ku_session_gone(s, i);
}

/* A worker had the kernel copy: a directory above the file, which is told as it is, or the file itself, which is told as the pending copy. */
static bool ku_observed_own(void *arg, const struct ku_obs_copyup *c, struct ku_task *ret_asker)
{
	struct ku_session *s = arg;
	struct ku_pending *p = ku_pending_by_copier(s, c->who.tid, c->start_ns);

	if (!p)
		return false;
	if (!S_ISREG(c->mode)) {
		*ret_asker = s->bpf.requests[p->slot].who;
		ku_report_beside(s, p, c);
		return false;
	}
	p->id = c->id;
	p->guard_data = c->data == KU_DATA_CLONED ? "cloned" : c->data == KU_DATA_COPIED ? "copied" : "none";
	p->guard_bytes = c->bytes;
	p->guard_lock_us = c->lock_ns / 1000;
	p->guard_fsync_us = c->fsync_ns / 1000;
	p->guard_copy_us = c->file_ns / 1000;
	return true;
}

static void ku_observed_add(void *arg, uint32_t dev, struct ku_ev_totals *totals)
{
	const struct ku_session *s = arg;

	for (const struct ku_own_counts *own = s->own_counts; own; own = own->next) {
		if (ku_kernel_dev(s->unions[own->union_id].u.dev) != dev)
			continue;
		/* Given up (lost, native) is no copy-up. */
		if (!strcmp(own->result, "ok") || !strcmp(own->result, "failed")) {
			totals->copyups += own->c.copyups;
			totals->bytes += own->c.bytes;
			totals->failed += strcmp(own->result, "ok") ? own->c.copyups : 0;
			totals->copyup_us += own->c.copyup_ns / 1000;
		}
		totals->waits += own->c.waits;
		totals->wait_us += own->c.wait_ns / 1000;
	}
}

static void ku_observed_own_wait(void *arg, const struct ku_obs_wait *w)
{
	struct ku_pending *p = ku_pending_by_copier(arg, w->who.tid, w->start_ns);

	/* Also for a directory above the file: then a copy of ours follows. */
	if (!p)
		return;
	p->other = w->holder;
	p->other_op = w->holder_op;
	p->other_id = w->root.id;
}

static bool ku_observed_asker(void *arg, uint32_t tid, uint64_t ns, struct ku_task *ret)
{
	struct ku_session *s = arg;
	struct ku_pending *p = ku_pending_by_copier(s, tid, ns);

	if (p)
		*ret = s->bpf.requests[p->slot].who;
	return p;
}

/* What observe mode is for; the others do their work without it. */
bool ku_session_observe(struct ku_session *s, char err[static 512])
{
	struct ku_observer_ops ops = { .emit = ku_observed, .made = ku_observed_made, .gone = ku_observed_gone, .own = ku_observed_own,
				       .asker = ku_observed_asker, .own_wait = ku_observed_own_wait, .add = ku_observed_add, .arg = s };
	bool alone = s->opts.mode == KU_MODE_OBSERVE;
	int n;

	if (!alone && ku_stop_without("observer")) {
		snprintf(s->unobserved, sizeof(s->unobserved), "left out, as a test asked for");
		return true;
	}
	n = ku_observer_open(&ops, s->opts.all, s->opts.writes, s->opts.room, alone ? 0 : (uint32_t)getpid(), &s->observer, s->unobserved);
	if (!n)
		n = ku_session_watch(s, ku_observer_fd(s->observer));
	if (!n)
		n = ku_observer_attach(s->observer, s->unobserved);
	if (!n)
		return true;
	if (!s->unobserved[0])
		snprintf(s->unobserved, sizeof(s->unobserved), "%s", strerror(-n));
	ku_observer_close(s->observer);
	s->observer = NULL;
	if (alone)
		snprintf(err, 512, "cannot observe: %s; see 'kunion doctor'", s->unobserved);
	else
		ku_warn("the kernel's own copy-ups are not seen: %s", s->unobserved);
	return !alone;
}
