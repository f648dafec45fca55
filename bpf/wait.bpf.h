/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waiting (DESIGN 3): asleep in a FUSE request on the gate's file, from a task-work callback at the exit to user space (tier park) or in
 * lsm.s/file_open itself (tier wait-open). One sleep is at most a slice long: a sleeping program holds up every tracing tool.
 */
#ifndef KU_WAIT_BPF_H
#define KU_WAIT_BPF_H

#include "sleep.bpf.h"

#define EAGAIN 11
#define EBUSY 16
#define ETIME 62
#define ESTALE 116
#define ECANCELED 125

#define SIGCONT 18
#define SIGSTOP 19
#define TIF_SIGPENDING 2 /* x86 up to 6.17, where the tier wait-open ends */
/* Stop signals: SIGSTOP SIGTSTP SIGTTIN SIGTTOU */
#define KU_STOP_SIGNALS ((1UL << 18) | (1UL << 19) | (1UL << 20) | (1UL << 21))

/* An -ESTALE makes the walk go again at once: a call that begins within this time may be that retry, whose -ESTALE the user would see. */
#define KU_STALE_NS 1000000000ULL

struct ku_wait {
	struct bpf_task_work tw;
	__u64 ref;
};

/* By thread id, so that the daemon can tell from a FUSE request's header what its sender waits for. Full: native. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_MAX_PARKED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_wait);
} ku_waits SEC(".maps");

/* As ku_sleep_at(). */
static __noinline int ku_gate_sleep(void)
{
	if (ku_cfg.tier < KU_TIER_WAIT_OPEN)
		return -EIO;
	return ku_sleep_at(ku_shared.gate_pid, ku_shared.gate_dev);
}

/* Notes that this task waits on ref. False: no room, go native. */
static __always_inline bool ku_join(struct ku_rec *rec, struct inode *inode, struct ku_slot *slot, __u64 ref, __u32 union_id,
				    struct task_struct *task, __u32 op, bool requester)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_wait wait = { .ref = ref };

	if (bpf_map_update_elem(&ku_waits, &tid, &wait, BPF_ANY))
		return false;
	if (rec->inode != (__u64)inode) {
		rec->inode = (__u64)inode;
		rec->deadline_ns = bpf_ktime_get_ns() + ku_cfg.max_wait_ns;
		rec->tries = 0;
		rec->ref = 0;
	}
	rec->op = op;
	rec->waits++;
	__sync_fetch_and_add(&slot->parked, 1);
	if (rec->ref != ref) {
		rec->ref = ref;
		rec->requester = requester;
		rec->verdict = KU_V_NONE;
		if (!requester) {
			__sync_fetch_and_add(&slot->joined, 1);
			ku_tell(KU_R_JOIN, ref, union_id, task, op, 0, KU_WORD_STATE(ku_word(slot)));
		}
	}
	return true;
}

static __always_inline void ku_unjoin(struct ku_slot *slot)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	__sync_fetch_and_sub(&slot->parked, 1);
	bpf_map_delete_elem(&ku_waits, &tid);
}

/* After a wait on rec->ref: what came of it, into rec->verdict. */
static __always_inline void ku_settle(struct ku_rec *rec, struct ku_slot *slot, int slept)
{
	__u64 w = ku_word(slot);

	if (slept == -EIO) {
		__sync_fetch_and_add(&ku_shared.cannot_wait, 1);
		rec->verdict = KU_V_NATIVE;
		return;
	}
	if (KU_WORD_GEN(w) != KU_REF_GEN(rec->ref) || rec->op == KU_OP_READ)
		return;
	switch (KU_WORD_STATE(w)) {
	case KU_S_DONE:
		rec->inode = 0;
		break;
	case KU_S_LOST:
		rec->tries++;
		break;
	case KU_S_FAILED:
		rec->err = KU_WORD_ERR(w);
		if (!rec->err)
			rec->verdict = KU_V_NATIVE;
		else if (rec->requester)
			rec->verdict = KU_V_ERROR;
		break;
	}
}

static int ku_parked(struct bpf_map *map, void *key, void *value);

static __always_inline int ku_schedule(struct task_struct *task, struct ku_wait *wait, bpf_task_work_callback_t callback)
{
	return KU_SCHEDULE_SIGNAL(task, &wait->tw, &ku_waits, callback);
}

/* From within a callback: what is scheduled as a signal would be one to the sleep that follows. */
static __always_inline int ku_schedule_next(struct task_struct *task, struct ku_wait *wait, bpf_task_work_callback_t callback)
{
	return KU_SCHEDULE_RESUME(task, &wait->tw, &ku_waits, callback);
}

/*
 * A callback cannot schedule its own element. The next slice without a way through the system call: the locks that it takes on that way
 * may be long in coming.
 */
static __always_inline bool ku_park_on(struct task_struct *task, __u32 key, __u64 ref)
{
	struct ku_wait new = { .ref = ref }, *wait;
	__u32 other = key ^ KU_OTHER_WAIT;

	if (bpf_map_update_elem(&ku_waits, &other, &new, BPF_ANY))
		return false;
	wait = bpf_map_lookup_elem(&ku_waits, &other);
	if (wait && !ku_schedule_next(task, wait, ku_parked))
		return true;
	bpf_map_delete_elem(&ku_waits, &other);
	return false;
}

/* At the exit to user space, no lock held; in the end the system call starts again and meets the hook anew. */
static int ku_parked(struct bpf_map *map, void *key, void *value)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_rec *rec = bpf_task_storage_get(&ku_recs, task, 0, 0);
	__u32 mine = *(__u32 *)key;
	struct ku_slot *slot;
	int slept = 0;
	__u64 w;

	if (!rec)
		return 0;
	slot = ku_slot_of(rec->ref);
	if (!slot)
		return 0;
	w = ku_word(slot);
	__sync_fetch_and_add(&slot->asleep, 1);
	if (KU_WORD_GEN(w) == KU_REF_GEN(rec->ref) && KU_STATE_PENDING(KU_WORD_STATE(w)) && !(task->flags & PF_EXITING))
		slept = ku_gate_sleep();
	__sync_fetch_and_sub(&slot->asleep, 1);
	w = ku_word(slot);
	if (!slept && KU_WORD_GEN(w) == KU_REF_GEN(rec->ref) && KU_STATE_PENDING(KU_WORD_STATE(w)) &&
	    bpf_ktime_get_ns() < rec->deadline_ns && !(task->flags & PF_EXITING) && ku_park_on(task, mine, rec->ref)) {
		bpf_map_delete_elem(&ku_waits, &mine);
		return 0;
	}
	ku_settle(rec, slot, slept);
	__sync_fetch_and_sub(&slot->parked, 1);
	bpf_map_delete_elem(&ku_waits, &mine);
	return 0;
}

/* Tier park. -ERESTARTNOINTR, or 0 when the task cannot be parked (never the one without the other: DESIGN 3). */
static __always_inline int ku_park(struct task_struct *task)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_wait *wait = bpf_map_lookup_elem(&ku_waits, &tid);

	if (!wait || ku_schedule(task, wait, ku_parked))
		return 0;
	return -ERESTARTNOINTR;
}

#endif
