// SPDX-License-Identifier: GPL-2.0-only
/* A session's policy: in force on its unions from the first moment on. */
#include <string.h>

#include "judge.h"
#include "judge_pin.h"
#include "judge_program.h"
#include "log.h"
#include "session.h"
#include "util.h"

static void ku_judged(void *arg, const struct ku_event *e)
{
	struct ku_session *s = arg;

	if (e->type == KU_EV_POLICY && *e->policy.err)
		s->totals.denied++;
	else if (e->type == KU_EV_POLICY)
		s->totals.audited++;
	ku_session_emit(s, e);
}

static struct ku_attached *ku_judged_union(struct ku_session *s, uint32_t dev)
{
	for (unsigned int i = 0; i < s->nunions; i++)
		if (!s->unions[i].gone && ku_kernel_dev(s->unions[i].u.dev) == dev)
			return &s->unions[i];
	return NULL;
}

static const char *ku_judged_path(void *arg, uint32_t dev)
{
	const struct ku_attached *at = ku_judged_union(arg, dev);

	return at ? at->u.path : NULL;
}

static int ku_judged_root(void *arg, uint32_t dev)
{
	const struct ku_attached *at = ku_judged_union(arg, dev);

	if (!at)
		return -ENOENT;
	/* A user may have made a file system of theirs the upper one, and never answer. */
	return at->u.ns.ino && ku_ns_is_users(&at->u.ns) ? -EOPNOTSUPP : ku_union_root(&at->u);
}

static const char *ku_judged_new_path(void *arg, uint32_t dev, uint32_t pid)
{
	struct ku_session *s = arg;
	const struct ku_mount *m = s->observer ? ku_observer_mount(s->observer, dev, pid) : NULL;

	return m ? m->path : "";
}

/*
 * On a union that a pinned policy is for, the gate would be asked before it, and kunion's own copies be judged by it. Watching does neither.
 */
static bool ku_session_policy_free(const struct ku_session *s, char err[static 512])
{
	if (s->opts.pin || (!s->opts.policy && s->opts.mode == KU_MODE_OBSERVE))
		return true;
	for (unsigned int i = 0; i < s->nunions; i++)
		if (ku_pin_has_union(ku_kernel_dev(s->unions[i].u.dev))) {
			snprintf(err, 512, "%s: a pinned policy is in force there: take it over with 'kunion run --policy FILE --pin', or 'kunion detach --all' "
					   "first", s->unions[i].u.path);
			return false;
		}
	return true;
}

bool ku_session_policy(struct ku_session *s, char err[static 512])
{
	struct ku_judge_ops ops = { .emit = ku_judged, .arg = s, .open_waits = s->bpf.obj && s->bpf.tier == KU_TIER_WAIT_OPEN, .fd_recs = -1 };
	int n;

	ops.pin = s->opts.pin;
	ops.answer = s->opts.answer;
	ops.union_path = ku_judged_path;
	ops.union_root = ku_judged_root;
	ops.new_path = ku_judged_new_path;
	if (!ku_session_policy_free(s, err))
		return false;
	if (!s->opts.policy)
		return true;
	if (s->opts.all && !s->opts.room) {
		snprintf(err, 512, "a policy is for unions that are named: leave --all out");
		return false;
	}
	if (s->bpf.obj)
		ops.fd_recs = bpf_map__fd(bpf_object__find_map_by_name(s->bpf.obj, "ku_recs"));
	/* Also where nothing is held yet. */
	if (ops.answer && ku_programs_check(ops.answer, err))
		return false;
	if (ku_judge_open(s->opts.policy, &ops, &s->judge, err))
		return false;
	n = ku_session_watch(s, ku_judge_fd(s->judge));
	if (n)
		snprintf(err, 512, "cannot start: %s", strerror(-n));
	return !n;
}

int ku_session_policy_add(struct ku_session *s, const struct ku_attached *at, char err[static 512])
{
	uint32_t dev = ku_kernel_dev(at->u.dev);
	int n;

	if ((s->judge || at->mode != KU_MODE_OBSERVE) && !s->opts.pin && ku_pin_has_union(dev)) {
		snprintf(err, 512, "%s: a pinned policy is in force there: 'kunion detach --all' first", at->u.path);
		return -EBUSY;
	}
	if (!s->judge)
		return 0;
	/* The number may be that of a superblock that is gone. */
	ku_judge_union_remove(s->judge, dev);
	n = ku_judge_union_add(s->judge, dev, at->u.path, at->u.metacopy, at->u.ns.ino);
	if (n)
		snprintf(err, 512, "%s: cannot put the policy in force: %s", at->u.path, strerror(-n));
	return n;
}

bool ku_session_policy_on(struct ku_session *s, char err[static 512])
{
	if (!s->judge)
		return true;
	/* Unions first: there is no moment at which only some are under it. */
	for (unsigned int i = 0; i < s->nunions; i++) {
		int n = ku_judge_union_add(s->judge, ku_kernel_dev(s->unions[i].u.dev), s->unions[i].u.path, s->unions[i].u.metacopy,
					   s->unions[i].u.ns.ino);

		if (n) {
			snprintf(err, 512, "%s: cannot put the policy in force: %s", s->unions[i].u.path, strerror(-n));
			return false;
		}
	}
	return !ku_judge_attach(s->judge, err);
}

bool ku_session_policy_pin(struct ku_session *s, char err[static 512])
{
	return !s->judge || !ku_judge_settle(s->judge, err);
}

int ku_session_policy_answer(struct ku_session *s, const char *program, char err[static 512])
{
	int n = s->judge ? ku_judge_answer(s->judge, program, err) : 0;

	if (!n)
		s->opts.answer = program;
	return n;
}

bool ku_session_policy_reload(struct ku_session *s)
{
	char err[512] = "";

	if (!s->judge)
		return true;
	if (ku_judge_reload(s->judge, err)) {
		ku_warn("%s; the policy as it was stays in force", err);
		return false;
	}
	ku_info("%s: the new policy is in force", s->opts.policy);
	return true;
}

void ku_session_policy_report(const struct ku_session *s)
{
	if (!s->judge)
		return;
	fprintf(stderr, "kunion: policy: %llu operations refused, %llu told of\n", (unsigned long long)s->totals.denied,
		(unsigned long long)s->totals.audited);
	ku_judge_report(s->judge, stderr);
}
