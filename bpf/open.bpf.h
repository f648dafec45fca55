/* SPDX-License-Identifier: GPL-2.0-only */
/* lsm.s/file_open: O_TRUNC's note, opens held during a commit, and all the waiting of tier wait-open. */
#ifndef KU_OPEN_BPF_H
#define KU_OPEN_BPF_H

#define FMODE_WRITE 0x2
#define FMODE_EXEC 0x20 /* in f_flags: execve */

/* Tier wait-open: asleep here, where no lock is held, then the walk goes again. */
static __always_inline int ku_wait_in_open(struct ku_rec *rec, struct ku_slot *slot, __u64 ref, struct inode *inode, __u32 union_id,
					   struct task_struct *task, bool write, bool created)
{
	__u64 now, w;
	int slept;

	if (!ku_join(rec, inode, slot, ref, union_id, task, write ? KU_OP_OPEN : KU_OP_READ, created)) {
		ku_lose(slot, ref, union_id, task, KU_OP_OPEN);
		return 0;
	}
	__sync_fetch_and_add(&slot->openers, 1);
	if (write)
		__sync_fetch_and_add(&slot->write_openers, 1);
	__sync_fetch_and_add(&slot->asleep, 1);
	slept = ku_gate_sleep();
	__sync_fetch_and_sub(&slot->asleep, 1);
	if (write)
		__sync_fetch_and_sub(&slot->write_openers, 1);
	__sync_fetch_and_sub(&slot->openers, 1);
	w = ku_word(slot);
	ku_settle(rec, slot, slept);
	ku_unjoin(slot);

	if (rec->verdict == KU_V_ERROR) {
		rec->verdict = KU_V_NONE;
		rec->inode = 0;
		return ku_minus(rec->err);
	}
	/* Not when its name was taken away meanwhile: then the kernel's copy-up fails, and looking again tells why. */
	if (rec->verdict == KU_V_NATIVE && inode->i_nlink) {
		rec->verdict = KU_V_NONE;
		rec->inode = 0;
		ku_lose(slot, ref, union_id, task, KU_OP_OPEN);
		return 0;
	}
	rec->verdict = KU_V_NONE;
	now = bpf_ktime_get_ns();
	if (KU_WORD_GEN(w) == KU_REF_GEN(ref) && KU_STATE_PENDING(KU_WORD_STATE(w))) {
		if (ku_restart_by_signal(task))
			return -ERESTARTNOINTR;
		if (!rec->rewalk) {
			rec->stale_ns = now;
			return -ESTALE;
		}
		ku_tell(KU_R_LEAVE, ref, union_id, task, KU_OP_OPEN, ETIME, KU_WORD_STATE(w));
		ku_lose(slot, ref, union_id, task, KU_OP_OPEN);
		return 0;
	}
	/* Done, lost or failed for somebody else: look again, by name. */
	if (!rec->rewalk) {
		rec->stale_ns = now;
		return -ESTALE;
	}
	if (ku_restart_by_signal(task))
		return -ERESTARTNOINTR;
	return 0;
}

/*
 * kunion opens a merged file only for the copy-up that this brings about, and wants no event of it to reach anybody's watch: refusing the upper file,
 * the very last step, makes the open fail after the copy-up and before fsnotify.
 */
struct ku_guard {
	__u64 inode; /* the overlay's, once its file_open was seen */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_SLOTS);
	__type(key, __u32);
	__type(value, struct ku_guard);
} ku_guards SEC(".maps");

static __always_inline int ku_guard_open(struct inode *inode)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_guard *g = bpf_map_lookup_elem(&ku_guards, &tid);

	if (!g)
		return 0;
	if (inode->i_sb->s_magic == OVERLAYFS_SUPER_MAGIC) {
		/* Taken by now, or the copy is another's: behind this hook the open would break it. */
		if (ku_is_leased(inode))
			return -EAGAIN;
		g->inode = (__u64)inode;
		return 0;
	}
	/* Not the copy in the making, which the kernel opens, too. */
	if (g->inode && (__u64)ku_upper_inode((struct inode *)g->inode) == (__u64)inode)
		return -ECANCELED;
	return 0;
}

/* execve of a file that kunion has open for writing, or is about to, would fail with ETXTBSY. */
static __always_inline bool ku_exec_waits(struct file *file, struct ku_slot *slot, __u32 state)
{
	/* The tier first, a constant: below it the verifier need not follow this. */
	return ku_cfg.tier == KU_TIER_PARK && (file->f_flags & FMODE_EXEC) && slot && slot->guard && KU_STATE_PENDING(state) &&
	       !ku_commits(state);
}

/* What to do with an open that may have to wait: the hook's answer. */
static __always_inline int ku_open_decide(struct ku_union_cfg *u, struct file *file, struct inode *inode, struct task_struct *task,
					  struct ku_rec *rec, struct ku_slot *slot, __u64 ref, __u32 state, bool write)
{
	bool created = false;
	int ret;

	if (write) {
		rec->open_inode = (__u64)inode;
		rec->open_trunc = !!(file->f_flags & O_TRUNC);
	}

	if (ku_exec_waits(file, slot, state)) {
		if (!ku_can_wait(task) || ku_given_up(rec, inode) || !ku_join(rec, inode, slot, ref, u->id, task, KU_OP_READ, false))
			return 0;
		if (ku_park(task))
			return -ERESTARTNOINTR;
		ku_unjoin(slot);
		return 0;
	}
	if (ku_commits(state)) {
		/* Also for reading: an old file held across the commit would miss every later write. */
		if (!ku_can_wait(task) || ku_given_up(rec, inode)) {
			rec->inode = 0;
			return ku_lose(slot, ref, u->id, task, KU_OP_READ) ? 0 : ku_out_of_the_way(task);
		}
		if (ku_cfg.tier == KU_TIER_PARK) {
			if (write)
				return 0; /* inode_copy_up parks it */
			if (!ku_join(rec, inode, slot, ref, u->id, task, KU_OP_READ, false))
				return ku_lose(slot, ref, u->id, task, KU_OP_READ) ? 0 : ku_out_of_the_way(task);
			if (ku_park(task))
				return -ERESTARTNOINTR;
			ku_unjoin(slot);
			return ku_lose(slot, ref, u->id, task, KU_OP_READ) ? 0 : ku_out_of_the_way(task);
		}
	}
	if (ku_cfg.tier != KU_TIER_WAIT_OPEN)
		return 0;

	if (!ku_can_wait(task) || (write && rec->open_trunc && !ku_commits(state)))
		return 0; /* inode_copy_up calls the copy off */
	if (rec->ref == ref && slot && !KU_STATE_PENDING(state) && rec->verdict == KU_V_NONE)
		ku_settle(rec, slot, 0);
	if (rec->inode == (__u64)inode && rec->verdict != KU_V_NONE) {
		ret = rec->verdict == KU_V_ERROR ? ku_minus(rec->err) : 0;
		rec->verdict = KU_V_NONE;
		rec->inode = 0;
		return ret;
	}
	if (ku_given_up(rec, inode)) {
		if (slot && rec->ref == ref && KU_STATE_PENDING(state))
			ku_tell(KU_R_LEAVE, ref, u->id, task, KU_OP_OPEN, ETIME, state);
		rec->inode = 0;
		return 0;
	}
	if (!slot || !KU_STATE_PENDING(state)) {
		if (!ku_wanted(u, inode) || !ku_is_lower(inode))
			return 0;
		ref = ku_request(u, inode, file->f_path.dentry, task, KU_OP_OPEN, false);
		if (ref) {
			created = true;
			slot = ku_slot_of(ref);
		} else {
			slot = ku_entry(inode, &ref); /* somebody was faster */
		}
		if (!slot)
			return 0;
	}
	return ku_wait_in_open(rec, slot, ref, inode, u->id, task, write, created);
}

SEC("lsm.s/file_open")
int BPF_PROG(ku_file_open, struct file *file)
{
	struct inode *inode = file->f_inode;
	struct task_struct *task;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	struct ku_rec *rec;
	__u64 ref = 0;
	__u32 state;
	bool write, gone;
	int ret;

	if (ku_shared.guarding && ku_is_self())
		return ku_guard_open(inode);
	u = ku_union_of(inode);
	if (!u || !ku_is_reg(inode) || ku_is_self())
		return 0;
	task = bpf_get_current_task_btf();
	write = file->f_mode & FMODE_WRITE || file->f_flags & O_TRUNC;
	slot = ku_entry(inode, &ref);
	state = slot ? KU_WORD_STATE(ku_word(slot)) : KU_S_FREE;
	/* An inode that had an entry and has no name: perhaps replaced, then a descriptor on it is worth nothing. */
	gone = u->mode == KU_MODE_MANAGE && !inode->i_nlink && !KU_STATE_PENDING(state) && ku_last_ref(inode);
	if (!write && !gone && !ku_commits(state) && !ku_exec_waits(file, slot, state))
		return 0;
	rec = ku_rec_of(task);
	if (!rec)
		return 0;
	if (gone) {
		ret = ku_walk_again(rec, inode, task);
		if (ret || !write)
			return ret;
	}
	rec->rewalk = bpf_ktime_get_ns() - rec->stale_ns < KU_STALE_NS; /* before any sleep */
	ret = ku_open_decide(u, file, inode, task, rec, slot, ref, state, write);
	/* It goes on, or starts anew: the next -ESTALE is a first one again. */
	if (ret != -ESTALE)
		rec->stale_ns = 0;
	return ret;
}

#endif
