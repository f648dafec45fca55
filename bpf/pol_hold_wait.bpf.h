/* SPDX-License-Identifier: GPL-2.0-only */
/* A held task's waits: asleep in task work, a slice at a time, until its question is answered; and the end of the operation that was let pass. */
#ifndef KU_POL_HOLD_WAIT_BPF_H
#define KU_POL_HOLD_WAIT_BPF_H

/* A wait's element has the thread's id as its key, every other slice with the former bit; what tells the operation's end with the latter. */
#define KU_POL_OTHER_WAIT 0x80000000u
#define KU_POL_OVER 0x40000000u
#define NR_EXECVE 59 /* x86: arch/x86/entry/syscalls */
#define NR_EXECVEAT 322
#define NR_EXECVE_32 11
#define NR_EXECVEAT_32 358

struct ku_pol_wait {
	struct bpf_task_work tw;
	__u64 id; /* of the question */
};

/* Full: not held, the rule's other verdict. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_MAX_PARKED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_pol_wait);
} ku_pol_waits SEC(".maps");

/* From kunion, by the question's id: KU_POL_ANSWER(). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_MAX_PARKED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} ku_pol_answers SEC(".maps");

/* Seconds. */
static __always_inline __u32 ku_pol_hold_limit(struct ku_pol_task *t, __u32 rule)
{
	struct ku_pol_bank *b = ku_pol_bank_of(t->gen);

	return b ? b->hold[rule & (KU_POL_RULES - 1)].limit : 0;
}

static __always_inline struct ku_pol_held *ku_pol_held_at(struct ku_pol_task *t, __u32 i)
{
	return &t->held[i & (KU_POL_HELD - 1)];
}

static __always_inline void ku_pol_forget_held(struct ku_pol_task *t)
{
	for (__u32 i = 0; i < KU_POL_HELD; i++)
		t->held[i].state = KU_H_NONE;
}

/* How often the gate made this task start again. */
static __always_inline __u32 ku_pol_gate_waits(struct task_struct *task)
{
	struct ku_rec *rec = bpf_task_storage_get(&ku_recs, task, 0, 0);

	return rec ? rec->waits : 0;
}

static __always_inline bool ku_pol_holds_still(struct ku_pol_task *t)
{
	return *(volatile __u32 *)&ku_pol_shared.holding == KU_HOLDING && t->held_gen == *(volatile __u32 *)&ku_pol_shared.gen;
}

/* Of the question at h: what came of it. False: nothing yet. */
static __always_inline bool ku_pol_answered(struct ku_pol_task *t, struct ku_pol_held *h)
{
	__u64 id = h->id;
	__u32 *answer = bpf_map_lookup_elem(&ku_pol_answers, &id);

	if (answer) {
		h->err = *answer & 0xfff;
		h->state = KU_H_ANSWERED;
		bpf_map_delete_elem(&ku_pol_answers, &id);
		return true;
	}
	if (!ku_pol_holds_still(t)) {
		/* Another policy, or nobody who would answer: it is judged anew. */
		h->state = KU_H_NONE;
		return true;
	}
	if (bpf_ktime_get_ns() > t->held_until) {
		h->err = t->held_err;
		h->state = KU_H_ANSWERED;
		return true;
	}
	return false;
}

static int ku_pol_parked(struct bpf_map *map, void *key, void *value);

/* As ku_park_on(). */
static __always_inline bool ku_pol_park_on(struct task_struct *task, __u32 key, __u64 id)
{
	struct ku_pol_wait new = { .id = id }, *wait;
	__u32 other = key ^ KU_POL_OTHER_WAIT;

	if (bpf_map_update_elem(&ku_pol_waits, &other, &new, BPF_ANY))
		return false;
	wait = bpf_map_lookup_elem(&ku_pol_waits, &other);
	if (wait && !KU_SCHEDULE_RESUME(task, &wait->tw, &ku_pol_waits, ku_pol_parked))
		return true;
	bpf_map_delete_elem(&ku_pol_waits, &other);
	return false;
}

/* At the exit to user space. */
static int ku_pol_parked(struct bpf_map *map, void *key, void *value)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_pol_task *t = bpf_task_storage_get(&ku_pol_tasks, task, 0, 0);
	__u32 mine = *(__u32 *)key;
	struct ku_pol_held *h;
	int slept = 0;

	/* Or taken back meanwhile. */
	if (!t || !t->asking)
		goto out;
	h = ku_pol_held_at(t, t->asking - 1);
	if (!ku_pol_answered(t, h) && !(task->flags & PF_EXITING)) {
		slept = ku_sleep_at(ku_pol_shared.gate_pid, ku_pol_shared.gate_dev);
		if (!ku_pol_answered(t, h)) {
			if (!slept && !(task->flags & PF_EXITING) && ku_pol_park_on(task, mine, h->id)) {
				bpf_map_delete_elem(&ku_pol_waits, &mine);
				return 0;
			}
			/*
			 * After a signal's handler it comes back to the same question; and when kunion is gone, which takes the hooks along in a
			 * moment unless they are pinned.
			 */
			if (slept == -EIO && ku_pol_shared.pinned) {
				h->err = t->held_err;
				h->state = KU_H_ANSWERED;
			}
		}
	}
	t->asking = 0;
out:
	bpf_map_delete_elem(&ku_pol_waits, &mine);
	return 0;
}

/* An operation that was let pass is over, unless it starts again. */
static int ku_pol_over(struct bpf_map *map, void *key, void *value)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_pol_task *t = bpf_task_storage_get(&ku_pol_tasks, task, 0, 0);
	__u32 mine = *(__u32 *)key;

	if (t) {
		t->over = 0;
		if (t->over_parks == t->parks && t->over_waits == ku_pol_gate_waits(task))
			ku_pol_forget_held(t);
		else
			for (__u32 i = 0; i < KU_POL_HELD; i++)
				if (t->held[i].state == KU_H_USED)
					t->held[i].state = KU_H_ANSWERED;
	}
	bpf_map_delete_elem(&ku_pol_waits, &mine);
	return 0;
}

/* False: its end would not be told. */
static __always_inline bool ku_pol_await_end(struct ku_pol_task *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 key = (__u32)bpf_get_current_pid_tgid() | KU_POL_OVER;
	struct ku_pol_wait new = { 0 }, *wait;

	t->over_parks = t->parks;
	t->over_waits = ku_pol_gate_waits(task);
	if (t->over)
		return true;
	if (bpf_map_update_elem(&ku_pol_waits, &key, &new, BPF_ANY))
		return false;
	wait = bpf_map_lookup_elem(&ku_pol_waits, &key);
	if (wait && !KU_SCHEDULE_RESUME(task, &wait->tw, &ku_pol_waits, ku_pol_over)) {
		t->over = 1;
		return true;
	}
	bpf_map_delete_elem(&ku_pol_waits, &key);
	return false;
}

/* Can this task's system call start again? Not that of an execve which has given its old memory up. */
static __always_inline bool ku_pol_can_hold(struct ku_pol_task *t, struct task_struct *task)
{
	long nr;

	if (ku_pol_shared.holding != KU_HOLDING || !ku_can_wait(task))
		return false;
	if (!t->mapped)
		return true;
	nr = ku_syscall_nr(task);
	if (task->thread_info.status & TS_COMPAT)
		return nr != NR_EXECVE_32 && nr != NR_EXECVEAT_32;
	return nr != NR_EXECVE && nr != NR_EXECVEAT;
}

static __always_inline bool ku_pol_park(struct ku_pol_task *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 i = t->todo_at;
	__u32 key = (__u32)bpf_get_current_pid_tgid();
	struct ku_pol_wait new = { .id = ku_pol_held_at(t, i)->id }, *wait;

	if (bpf_map_update_elem(&ku_pol_waits, &key, &new, BPF_ANY))
		return false;
	wait = bpf_map_lookup_elem(&ku_pol_waits, &key);
	if (!wait)
		return false;
	/* Before it could run. */
	t->asking = i + 1;
	t->parks++;
	if (!KU_SCHEDULE_SIGNAL(task, &wait->tw, &ku_pol_waits, ku_pol_parked))
		return true;
	t->asking = 0;
	bpf_map_delete_elem(&ku_pol_waits, &key);
	return false;
}

#endif
