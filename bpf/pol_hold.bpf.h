/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Verdict hold: the question goes to kunion, the task sleeps at the exit to user space with no lock held (DESIGN 3), and the system call starts again.
 * What it then meets again was answered: each answer is good for one operation. One operation may be several questions (a rename is a removal and a
 * creation): it starts again after each, and what was answered before stays answered until it is over, which another callback tells.
 */
#ifndef KU_POL_HOLD_BPF_H
#define KU_POL_HOLD_BPF_H

#include "pol_hold_wait.bpf.h"

/* The place of this question among those of the operation under way, or a free one. */
static __always_inline __u32 ku_pol_place(struct ku_pol_task *t, __u32 rule, __u64 dir, __u32 hash)
{
	__u32 free = KU_POL_HELD;

	for (__u32 i = 0; i < KU_POL_HELD; i++) {
		struct ku_pol_held *h = &t->held[i];

		if (h->state == KU_H_NONE)
			free = i;
		else if (h->dir == dir && h->hash == hash && h->rule == rule && h->action == t->action)
			return i;
	}
	return free;
}

/*
 * Positive errno, 0: let pass, or ERESTARTNOINTR: it has to wait for the answer. *t is about an operation that a rule with hold decides about; otherwise
 * is the errno, or 0, without an answer. t->settled: that is the verdict, to be counted and told.
 */
__noinline int ku_pol_hold(struct ku_pol_task *t, __u32 rule, __u32 otherwise)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_pol_held *h;
	struct dentry *dentry;
	__u32 i, hash, limit;
	__u64 dir;

	if (!t)
		return ENOMEM;
	if (ku_pol_shared.holding == KU_HOLDING_OVER) {
		t->settled = 0;
		return 0;
	}
	t->settled = 1;
	if (!ku_pol_can_hold(t, task))
		return otherwise;
	dentry = (struct dentry *)t->dentry;
	dir = (__u64)BPF_CORE_READ(dentry, d_parent, d_inode);
	hash = BPF_CORE_READ(dentry, d_name.hash);
	limit = ku_pol_hold_limit(t, rule);
	if (t->held_gen != t->gen)
		ku_pol_forget_held(t);
	t->held_gen = t->gen;
	i = ku_pol_place(t, rule, dir, hash);
	if (i >= KU_POL_HELD)
		return otherwise;
	h = ku_pol_held_at(t, i);
	if (h->state == KU_H_ASKED)
		ku_pol_answered(t, h);
	if (h->state == KU_H_USED) {
		/* The same operation asks again, as an open that truncates does. */
		t->settled = 0;
		return 0;
	}
	if (h->state == KU_H_ANSWERED) {
		__u32 err = h->err & 0xfff;

		h->state = KU_H_USED;
		t->todo_at = i;
		if (err)
			ku_pol_forget_held(t);
		else
			t->todo = KU_T_END;
		return err;
	}
	t->todo_at = i;
	if (h->state == KU_H_ASKED) {
		t->settled = 0;
		t->todo = KU_T_PARK;
		return ERESTARTNOINTR;
	}
	h->dir = dir;
	h->hash = hash;
	h->rule = rule;
	h->action = t->action;
	h->state = KU_H_ASKED;
	t->held_until = bpf_ktime_get_ns() + limit * 1000000000ULL;
	t->held_err = otherwise;
	/* The record's number is the question's. */
	t->limit = limit;
	ku_pol_tell(t, rule, KU_V_HOLD, otherwise);
	t->limit = 0;
	h->id = t->sent;
	if (!h->id) {
		h->state = KU_H_NONE;
		return otherwise;
	}
	t->settled = 0;
	t->todo = KU_T_PARK;
	return ERESTARTNOINTR;
}

/* It was decided that the task waits, and it cannot. */
__noinline int ku_pol_give_up(struct ku_pol_task *t)
{
	if (!t)
		return ENOMEM;
	ku_pol_held_at(t, t->todo_at)->state = KU_H_NONE;
	t->settled = 1;
	t->err = t->held_err;
	t->sent = 0;
	ku_pol_count(t->gen, t->rule, t->err);
	ku_pol_tell(t, t->rule, KU_V_HOLD, t->err);
	return t->err;
}

/* After the last judgement of a hook that names no other: what is to be done about its questions. */
static __noinline __u32 ku_pol_act(__u32 err)
{
	struct ku_pol_task *t = bpf_task_storage_get(&ku_pol_tasks, bpf_get_current_task_btf(), 0, 0);
	__u32 todo;

	if (!t)
		return err;
	todo = t->todo;
	t->todo = KU_T_NONE;
	if (todo == KU_T_PARK && !ku_pol_park(t))
		return ku_pol_give_up(t);
	if (todo == KU_T_END && !ku_pol_await_end(t))
		ku_pol_forget_held(t);
	return err;
}

/*
 * The last word of each hook. Functions that the verifier looks at by themselves must not name a callback that sleeps, and it follows that anew
 * wherever it is named: so once for each hook, behind all judgements.
 */
static __always_inline __u32 ku_pol_done(const struct ku_pol_here *h, __u32 err)
{
	return h->bank->holds ? ku_pol_act(err) : err;
}

/* The last question was about what did not come about: the name was there already. */
static __always_inline void ku_pol_hold_taken_back(struct ku_pol_task *t)
{
	if (!t->asking)
		return;
	ku_pol_held_at(t, t->asking - 1)->state = KU_H_NONE;
	t->asking = 0;
}

#endif
