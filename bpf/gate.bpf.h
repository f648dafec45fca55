/* SPDX-License-Identifier: GPL-2.0-only */
/* What the waiting hooks share, and the choke point: lsm/inode_copy_up. */
#ifndef KU_GATE_BPF_H
#define KU_GATE_BPF_H

static __always_inline struct ku_rec *ku_rec_of(struct task_struct *task)
{
	return bpf_task_storage_get(&ku_recs, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* The kernel copies: remember what the end of it needs. */
static __always_inline int ku_go_native(struct ku_rec *rec, struct dentry *dentry, __u32 op)
{
	if (rec) {
		rec->native_dentry = (__u64)dentry;
		rec->native_ns = bpf_ktime_get_ns();
		rec->op = op;
	}
	return 0;
}

/* The kernel copies although an entry is there. */
static __always_inline int ku_overtake(struct ku_rec *rec, struct ku_slot *slot, __u64 ref, __u32 union_id, struct dentry *dentry,
				       struct task_struct *task, __u32 op)
{
	if (!ku_lose(slot, ref, union_id, task, op))
		return ku_out_of_the_way(task);
	return ku_go_native(rec, dentry, op);
}

/* What an earlier wait of this task for this inode ended with. True: *ret is the hook's answer. */
static __always_inline bool ku_verdict(struct ku_rec *rec, struct inode *inode, struct dentry *dentry, __u32 op, int *ret)
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
	*ret = ku_go_native(rec, dentry, op);
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

SEC("lsm/inode_copy_up")
int BPF_PROG(ku_inode_copy_up, struct dentry *dentry, struct cred **new)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct inode *inode = dentry->d_inode;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	struct ku_rec *rec;
	bool trunc, created = false;
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
	if (!rec || !ku_is_reg(inode))
		return ku_go_native(rec, dentry, op);

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
	if (ku_verdict(rec, inode, dentry, op, &ret))
		goto passed;

	if (!ku_can_wait(task) || (trunc && !ku_commits(state)) || ku_cfg.tier != KU_TIER_PARK || ku_given_up(rec, inode))
		goto native;

	if (!slot || !KU_STATE_PENDING(state)) {
		if (!ku_wanted(u, inode))
			goto native;
		ref = ku_request(u, inode, dentry, task, op);
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
	if (slot)
		return ku_overtake(rec, slot, ref, u->id, dentry, task, op);
	return ku_go_native(rec, dentry, op);
}

#endif
