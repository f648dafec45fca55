/* SPDX-License-Identifier: GPL-2.0-only */
/* Starting a system call again without waiting for anything: at the end of a slice, or to walk to a name anew. */
#ifndef KU_RESTART_BPF_H
#define KU_RESTART_BPF_H

/* As long as what takes a name away may need between the inode's last link and the name itself. */
#define KU_MAX_WALKS 32

static int ku_walked(struct bpf_map *map, void *key, void *value)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	ku_gate_sleep(); /* nothing to wait for: answered at once, and the CPU was somebody else's meanwhile */
	bpf_map_delete_elem(&ku_waits, &tid);
	return 0;
}

/*
 * Tier wait-open, at the end of a slice: a stop signal at once taken back by SIGCONT leaves only TIF_SIGPENDING, so that
 * -ERESTARTNOINTR restarts the call (KERNEL.md 2). Not where anybody could notice: a SIGCONT handler, a tracer, a blocked
 * or a real stop on its way. False: not done.
 */
static __always_inline bool ku_restart_by_signal(struct task_struct *task)
{
	sigset_t *blocked = &task->blocked;

	if (task->thread_info.flags & (1UL << TIF_SIGPENDING))
		return true;
	if (task->ptrace || (blocked->sig[0] & (1UL << (SIGCONT - 1))))
		return false;
	if (BPF_CORE_READ(task, sighand, action[SIGCONT - 1].sa.sa_handler))
		return false;
	if (bpf_send_signal_thread(SIGSTOP))
		return false;
	/* A real stop that came in between must stay: the task stops, and SIGCONT from who stopped it sweeps both away. */
	if (!(BPF_CORE_READ(task, signal, shared_pending.signal.sig[0]) & KU_STOP_SIGNALS))
		bpf_send_signal_thread(SIGCONT);
	return task->thread_info.flags & (1UL << TIF_SIGPENDING);
}

/* Starts the call again, up to KU_MAX_WALKS times for the same reason. -ERESTARTNOINTR, or 0: go on. */
static __always_inline int ku_again(struct ku_rec *rec, __u64 reason, struct task_struct *task)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_wait new = { .ref = 0 }, *wait; /* nothing that the gate would wait for */

	if (!ku_can_wait(task))
		return 0;
	if (rec->gone != reason) {
		rec->gone = reason;
		rec->walks = 0;
	}
	if (rec->walks >= KU_MAX_WALKS)
		return 0;
	rec->walks++;
	if (ku_cfg.tier == KU_TIER_WAIT_OPEN)
		return ku_restart_by_signal(task) ? -ERESTARTNOINTR : 0;
	if (ku_cfg.tier != KU_TIER_PARK || bpf_map_update_elem(&ku_waits, &tid, &new, BPF_ANY))
		return 0;
	wait = bpf_map_lookup_elem(&ku_waits, &tid);
	if (!wait)
		return 0;
	if (!ku_schedule(task, wait, ku_walked))
		return -ERESTARTNOINTR;
	bpf_map_delete_elem(&ku_waits, &tid);
	return 0;
}

/*
 * inode lost its last name behind this task's look-up: unlinked, renamed over, or replaced by a commit of ours. The kernel would refuse to
 * copy it up with EEXIST, and a descriptor on it would miss all that is written to the new file. Starting again finds the name gone, or
 * the other file; but not for ever, for whoever has a descriptor meets the same inode again. -ERESTARTNOINTR, or 0: go on.
 */
static __always_inline int ku_walk_again(struct ku_rec *rec, struct inode *inode, struct task_struct *task)
{
	if (inode->i_nlink)
		return 0;
	return ku_again(rec, ku_last_ref(inode) ?: (__u64)inode, task);
}

/*
 * The rename of a commit runs, and may wait for a lock that this task holds: neither going on with the old inode nor waiting will do.
 * Walking again by -ESTALE works once in a system call and may come too early; a restart as often as need be.
 */
static __always_inline int ku_out_of_the_way(struct task_struct *task)
{
	if (ku_cfg.tier == KU_TIER_WAIT_OPEN && ku_can_wait(task) && ku_restart_by_signal(task))
		return -ERESTARTNOINTR;
	return -ESTALE;
}

#endif
