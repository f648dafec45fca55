/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waiting (DESIGN 3): asleep in a FUSE request on the gate's file, from a task-work callback at the exit to user space (tier park) or in
 * lsm.s/file_open itself (tier wait-open). One sleep is at most a slice long: a sleeping program holds up every tracing tool.
 */
#ifndef KU_WAIT_BPF_H
#define KU_WAIT_BPF_H

#define EINTR 4
#define EIO 5
#define EAGAIN 11
#define EBUSY 16
#define ENODATA 61
#define ETIME 62
#define ESTALE 116
#define ECANCELED 125
#define ERESTARTNOINTR 513

#define SIGCONT 18
#define SIGSTOP 19
#define TIF_SIGPENDING 2 /* x86 up to 6.17, where the tier wait-open ends */
/* Stop signals: SIGSTOP SIGTSTP SIGTTIN SIGTTOU */
#define KU_STOP_SIGNALS ((1UL << 18) | (1UL << 19) | (1UL << 20) | (1UL << 21))

/* An -ESTALE makes the walk go again at once: a call that begins within this time may be that retry, whose -ESTALE the user would see. */
#define KU_STALE_NS 1000000000ULL

extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *p) __ksym __weak;
extern struct file *bpf_get_task_exe_file(struct task_struct *task) __ksym __weak;
extern void bpf_put_file(struct file *file) __ksym __weak;
extern int bpf_get_file_xattr(struct file *file, const char *name__str, struct bpf_dynptr *value_p) __ksym __weak;

typedef int (*bpf_task_work_callback_t)(struct bpf_map *map, void *key, void *value);
/*
 * 6.18 has the first spelling, 7.x the second; an object that declares the wrong one does not load (KERNEL.md 4). Where there is
 * neither, a callback that schedules itself would be a recursion to the verifier.
 */
#if defined(KU_TASK_WORK_IMPL)
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					      bpf_task_work_callback_t callback, void *aux__prog) __ksym __weak;
extern int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					      bpf_task_work_callback_t callback, void *aux__prog) __ksym __weak;
#elif !defined(KU_TASK_WORK_NONE)
extern int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					 bpf_task_work_callback_t callback) __ksym __weak;
extern int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					 bpf_task_work_callback_t callback) __ksym __weak;
#endif

/*
 * -err, for a hook's return: from 6.12 the verifier wants to see [-4095, 0], and clang's negation hides the range (KERNEL.md 1).
 */
static __always_inline int ku_minus(__u64 err)
{
	__u64 ret;

	asm volatile("%1 &= 0xfff\n"
		     "%0 = 0\n"
		     "%0 -= %1\n"
		     : "=&r"(ret), "+r"(err));
	return ret;
}

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

/* What getxattr would fill; never read. */
char ku_xattr_value[16] SEC(".data.xattr");

/*
 * Sleeps until the daemon answers. 0: released, or the slice is over; -EINTR: a signal; anything else: cannot wait here. Only for
 * sleepable contexts.
 */
static __noinline int ku_gate_sleep(void)
{
	struct task_struct *child;
	struct bpf_dynptr value;
	struct file *exe;
	int ret = -EIO;

	if (ku_cfg.tier < KU_TIER_WAIT_OPEN)
		return -EIO;
	child = bpf_task_from_pid(ku_shared.gate_pid);
	if (!child)
		return -EIO;
	exe = bpf_get_task_exe_file(child);
	if (exe) {
		struct super_block *sb = exe->f_inode->i_sb;

		/* The child may be dead and its number somebody else's. */
		if (sb->s_magic == FUSE_SUPER_MAGIC && sb->s_dev == ku_shared.gate_dev) {
			bpf_dynptr_from_mem(ku_xattr_value, sizeof(ku_xattr_value), 0, &value);
			ret = bpf_get_file_xattr(exe, KU_XATTR_NAME, &value);
		}
		bpf_put_file(exe);
	}
	bpf_task_release(child);
	if (ret == -ENODATA)
		return 0;
	return ret == -EINTR ? -EINTR : -EIO;
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
#if defined(KU_TASK_WORK_NONE)
	return -1;
#elif defined(KU_TASK_WORK_IMPL)
	return bpf_task_work_schedule_signal_impl(task, &wait->tw, &ku_waits, callback, NULL);
#else
	return bpf_task_work_schedule_signal(task, &wait->tw, &ku_waits, callback);
#endif
}

/* From within a callback: what is scheduled as a signal would be one to the sleep that follows. */
static __always_inline int ku_schedule_next(struct task_struct *task, struct ku_wait *wait, bpf_task_work_callback_t callback)
{
#if defined(KU_TASK_WORK_NONE)
	return -1;
#elif defined(KU_TASK_WORK_IMPL)
	return bpf_task_work_schedule_resume_impl(task, &wait->tw, &ku_waits, callback, NULL);
#else
	return bpf_task_work_schedule_resume(task, &wait->tw, &ku_waits, callback);
#endif
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
