/* SPDX-License-Identifier: GPL-2.0-only */
/* What the waiting hooks share, and the choke point: lsm/inode_copy_up. */
#ifndef KU_GATE_BPF_H
#define KU_GATE_BPF_H

static __always_inline struct ku_rec *ku_rec_of(struct task_struct *task)
{
	return bpf_task_storage_get(&ku_recs, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* The kernel copies although an entry is there. */
static __always_inline int ku_overtake(struct ku_slot *slot, __u64 ref, __u32 union_id, struct task_struct *task, __u32 op)
{
	if (!ku_lose(slot, ref, union_id, task, op))
		return ku_out_of_the_way(task);
	return 0;
}

/* What an earlier wait of this task for this inode ended with. True: *ret is the hook's answer. */
static __always_inline bool ku_verdict(struct ku_rec *rec, struct inode *inode, int *ret)
{
	__u32 verdict = rec->verdict, err = rec->err;

	if (rec->inode != (__u64)inode || verdict == KU_V_NONE)
		return false;
	rec->verdict = KU_V_NONE;
	rec->inode = 0;
	if (verdict == KU_V_ERROR) {
		*ret = ku_minus(err);
		return true;
	}
	*ret = 0;
	return true;
}

/* Must an entry that is terminal, or a limit that is over, send this task native? */
static __always_inline bool ku_given_up(struct ku_rec *rec, struct inode *inode)
{
	if (rec->inode != (__u64)inode)
		return false;
	return rec->tries >= KU_MAX_TRIES || bpf_ktime_get_ns() > rec->deadline_ns;
}

static __always_inline bool ku_wanted(struct ku_union_cfg *u, struct inode *inode)
{
	return u->mode == KU_MODE_MANAGE && inode->i_nlink == 1 && (__u64)inode->i_size >= u->min_size && !ku_is_protected(inode);
}

static __always_inline bool ku_is_leased(struct inode *inode)
{
	struct file_lock_context *ctx = BPF_CORE_READ(inode, i_flctx);

	return ctx && (__u64)BPF_CORE_READ(ctx, flc_lease.next) != (__u64)ctx + bpf_core_field_offset(struct file_lock_context, flc_lease);
}

/*
 * May kunion open it for writing in the caller's stead? Somebody's lease would be broken by that, and who asks needs no help where neither a
 * directory nor the file is locked.
 */
static __always_inline bool ku_guardable(struct ku_union_cfg *u, struct inode *inode, __u32 op)
{
	if (u->mode < KU_MODE_GUARD || ku_cfg.tier != KU_TIER_PARK || op == KU_OP_OPEN || op == KU_OP_OTHER)
		return false;
	if ((__u64)inode->i_size < u->min_size || ku_is_protected(inode))
		return false;
	return !ku_is_leased(inode);
}

/* The kernel copies it now: who would wait for that with a directory locked can find out. */
static __always_inline void ku_note_copier(struct ku_union_cfg *u, struct inode *inode, struct task_struct *task)
{
	struct ku_inode *st;

	if (u->mode < KU_MODE_GUARD || ku_cfg.tier != KU_TIER_PARK)
		return;
	st = bpf_inode_storage_get(&ku_inodes, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (st)
		st->copier = (__u64)task;
}

/* It does so at this moment. */
static __always_inline bool ku_kernel_copies(struct inode *inode)
{
	struct ku_inode *st = bpf_inode_storage_get(&ku_inodes, inode, 0, 0);

	return st && st->copier && ku_ovl_lock_owner(inode) == st->copier;
}

SEC("lsm/inode_copy_up")
int BPF_PROG(ku_inode_copy_up, struct dentry *dentry, struct cred **new)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct inode *inode = dentry->d_inode;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	struct ku_rec *rec;
	bool trunc, guard, created = false;
	__u64 ref = 0;
	__u32 op, state;
	int ret;

	if (!inode)
		return 0;
	u = ku_union_of(inode);
	if (!u || ku_is_self())
		return 0;
	op = ku_current_op(task);
	rec = ku_rec_of(task);
	if (!rec || !ku_is_reg(inode)) {
		ku_note_copier(u, inode, task);
		return 0;
	}

	/* Data copied for nothing would be thrown away: always native. */
	trunc = op == KU_OP_OPEN && rec->open_inode == (__u64)inode && rec->open_trunc;
	slot = ku_entry(inode, &ref);
	state = slot ? KU_WORD_STATE(ku_word(slot)) : KU_S_FREE;
	if (u->mode == KU_MODE_MANAGE && !KU_STATE_PENDING(state)) {
		ret = ku_walk_again(rec, inode, task);
		if (ret)
			return ret;
	}

	if (slot && rec->ref == ref && !KU_STATE_PENDING(state) && rec->verdict == KU_V_NONE)
		ku_settle(rec, slot, 0);
	if (ku_verdict(rec, inode, &ret))
		goto passed;

	if (!ku_can_wait(task) || (trunc && !ku_commits(state)) || ku_cfg.tier != KU_TIER_PARK || ku_given_up(rec, inode))
		goto native;

	if (!slot || !KU_STATE_PENDING(state)) {
		guard = !ku_wanted(u, inode);
		if (guard && !ku_guardable(u, inode, op))
			goto native;
		ref = ku_request(u, inode, dentry, task, op, guard);
		if (!ref)
			goto native;
		created = true;
		slot = ku_slot_of(ref);
		if (!slot)
			return 0;
	}
	if (!ku_join(rec, inode, slot, ref, u->id, task, op, created))
		goto native;
	if (ku_cfg.tier == KU_TIER_PARK && ku_park(task))
		return -ERESTARTNOINTR;
	ku_unjoin(slot);
	rec->waits--;
	__sync_fetch_and_add(&ku_shared.cannot_wait, 1);

native:
	if (rec->inode == (__u64)inode) {
		if (rec->ref == ref && ref && bpf_ktime_get_ns() > rec->deadline_ns)
			ku_tell(KU_R_LEAVE, ref, u->id, task, op, ETIME, state);
		rec->inode = 0;
	}
	ret = 0;
passed:
	if (ret)
		return ret;
	ku_note_copier(u, inode, task);
	if (slot)
		return ku_overtake(slot, ref, u->id, task, op);
	return 0;
}

#endif
