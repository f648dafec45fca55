// SPDX-License-Identifier: GPL-2.0-only
/* What a session tells: event lines and the summary. */
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "session.h"
#include "util.h"

static const char *const ku_op_names[] = {
	[KU_OP_OTHER] = "other",   [KU_OP_OPEN] = "open",	  [KU_OP_CHMOD] = "chmod",	 [KU_OP_CHOWN] = "chown",
	[KU_OP_UTIMES] = "utimes", [KU_OP_TRUNCATE] = "truncate", [KU_OP_SETXATTR] = "setxattr", [KU_OP_LINK] = "link",
	[KU_OP_RENAME] = "rename", [KU_OP_SETFLAGS] = "setflags", [KU_OP_CREATE] = "create",	 [KU_OP_READ] = "read",
};
_Static_assert(KU_ARRAY_SIZE(ku_op_names) == KU_OP_MAX, "an operation has no name");

static const char *ku_op_name(uint32_t op)
{
	return ku_op_names[op < KU_OP_MAX ? op : KU_OP_OTHER];
}

static struct ku_who ku_who_of(const struct ku_task *t)
{
	return (struct ku_who){ .pid = t->pid, .tid = t->tid, .uid = t->uid, .comm = t->comm, .cgroup_id = t->cgroup_id };
}

static uint64_t ku_us(uint64_t from, uint64_t to)
{
	return from && to > from ? (to - from) / 1000 : 0;
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

static void ku_report_wait(struct ku_session *s, const struct ku_pending *p, const struct ku_waiter *w, const char *path)
{
	struct ku_ev_wait e = {
		.ts_ns = w->start_ns,
		.union_path = p->at->u.path,
		.path = path,
		.op = ku_op_name(w->op),
		.who = ku_who_of(&w->who),
		.on = w->on_commit ? "commit" : "copy",
		.holder_pid = s->bpf.requests[p->slot].who.pid,
		.wait_us = ku_us(w->start_ns, w->end_ns ? w->end_ns : p->end_ns),
		.result = w->end_ns && w->result ? w->result : p->result ? "failed" : "released",
	};

	/* Released by what made the copy moot, not by a failure. */
	if (!w->end_ns && p->result == -ECANCELED)
		e.result = "released";
	s->totals.waits++;
	ku_events_wait(s->events, &e);
}

void ku_report_copy(struct ku_session *s, struct ku_pending *p)
{
	const struct ku_request *req = &s->bpf.requests[p->slot];
	struct ku_ev_copyup e = {
		.ts_ns = req->ts_ns,
		.union_path = p->at->u.path,
		.path = p->path ? p->path : "",
		.op = ku_op_name(req->op),
		.who = ku_who_of(&req->who),
		.engine = "kunion",
		.bytes = p->result ? 0 : p->stats.bytes,
		.queued_us = ku_us(req->ts_ns, p->start_ns),
		.copy_us = ku_us(p->start_ns, p->copied_ns),
		.commit_us = ku_us(p->copied_ns, p->end_ns),
	};
	char buf[16];

	for (const struct ku_waiter *w = p->waiters; w; w = w->next)
		e.waiters++;
	e.result = ku_result_name(p, buf);
	ku_events_copyup(s->events, &e);
	for (const struct ku_waiter *w = p->waiters; w; w = w->next)
		ku_report_wait(s, p, w, e.path);

	switch (p->result) {
	case 0:
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

void ku_report_native(struct ku_session *s, const struct ku_record_native *r)
{
	struct ku_attached *at = ku_session_union(s, r->union_id);
	_cleanup_free_ char *path = ku_request_path(&r->req);
	char buf[16];
	struct ku_ev_copyup e = {
		.ts_ns = r->req.ts_ns,
		.union_path = at ? at->u.path : "",
		.path = path ? path : "",
		.op = ku_op_name(r->req.op),
		.who = ku_who_of(&r->req.who),
		.engine = "kernel",
		.bytes = r->result ? 0 : r->req.size,
		.copy_us = ku_us(r->req.ts_ns, r->end_ns),
		.result = r->result ? ku_errno_name(-r->result, buf) : "ok",
	};

	s->totals.kernel++;
	ku_events_copyup(s->events, &e);
}

void ku_report_summary(const struct ku_session *s)
{
	const struct ku_totals *t = &s->totals;

	fprintf(stderr,
		"kunion: tier %s: %llu copied by kunion (%llu bytes), %llu by the kernel; %llu lost, %llu left to the kernel, "
		"%llu failed; %llu waits, %llu over the limit\n",
		ku_tier_name(s->bpf.tier), (unsigned long long)t->copies, (unsigned long long)t->bytes, (unsigned long long)t->kernel,
		(unsigned long long)t->lost, (unsigned long long)t->native, (unsigned long long)t->failed, (unsigned long long)t->waits,
		(unsigned long long)t->timeouts);
}
