/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Operations that need a copy which the kernel makes at this moment, brought about by kunion (guard) or by somebody's open: inode_copy_up
 * would be too late for them, as the overlay inode lock comes before it and is held for the whole copy.
 */
#ifndef KU_HOLD_BPF_H
#define KU_HOLD_BPF_H

/* -ERESTARTNOINTR: parked until the file is upper. 0: go on. */
static __always_inline int ku_hold_back(struct dentry *dentry, __u32 op)
{
	struct inode *inode = dentry->d_inode;
	struct task_struct *task;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	struct ku_rec *rec;
	bool created = false;
	__u64 ref = 0;
	__u32 state;

	if (!inode)
		return 0;
	u = ku_union_of(inode);
	if (!u || u->mode < KU_MODE_GUARD || ku_cfg.tier != KU_TIER_PARK || ku_is_self() || !ku_is_reg(inode))
		return 0;
	/*
	 * Upper by now, nothing more to wait for. An open with O_TRUNC comes here behind its own copy-up, which has emptied the file: started again, it
	 * might find the name gone, and have changed the file all the same.
	 */
	if (!ku_is_lower(inode))
		return 0;
	slot = ku_entry(inode, &ref);
	state = slot ? KU_WORD_STATE(ku_word(slot)) : KU_S_FREE;
	if (KU_STATE_PENDING(state)) {
		if (!slot->guard || ku_commits(state))
			return 0;
	} else if (!ku_kernel_copies(inode)) {
		return 0;
	}
	task = bpf_get_current_task_btf();
	rec = ku_rec_of(task);
	if (!rec || !ku_can_wait(task) || ku_given_up(rec, inode) || (rec->inode == (__u64)inode && rec->verdict != KU_V_NONE))
		return 0;
	if (!KU_STATE_PENDING(state)) {
		/* For somebody else's open: kunion's waits for the same lock. */
		ref = ku_request(u, inode, dentry, task, op, true);
		slot = ref ? ku_slot_of(ref) : NULL;
		created = true;
	}
	if (!slot || !ku_join(rec, inode, slot, ref, u->id, task, op, created))
		return 0;
	if (ku_park(task))
		return -ERESTARTNOINTR;
	ku_unjoin(slot);
	return 0;
}

SEC("lsm/inode_setattr")
int BPF_PROG(ku_inode_setattr, void *idmap, struct dentry *dentry)
{
	return ku_hold_back(dentry, ku_current_op(bpf_get_current_task_btf()));
}

SEC("lsm/inode_setxattr")
int BPF_PROG(ku_inode_setxattr, void *idmap, struct dentry *dentry)
{
	return ku_hold_back(dentry, KU_OP_SETXATTR);
}

SEC("lsm/inode_removexattr")
int BPF_PROG(ku_inode_removexattr, void *idmap, struct dentry *dentry)
{
	return ku_hold_back(dentry, KU_OP_SETXATTR);
}

SEC("lsm/inode_set_acl")
int BPF_PROG(ku_inode_set_acl, void *idmap, struct dentry *dentry)
{
	return ku_hold_back(dentry, KU_OP_SETXATTR);
}

SEC("lsm/inode_remove_acl")
int BPF_PROG(ku_inode_remove_acl, void *idmap, struct dentry *dentry)
{
	return ku_hold_back(dentry, KU_OP_SETXATTR);
}

SEC("lsm/inode_file_setattr")
int BPF_PROG(ku_inode_file_setattr, struct dentry *dentry)
{
	return ku_hold_back(dentry, KU_OP_SETFLAGS);
}

#endif
