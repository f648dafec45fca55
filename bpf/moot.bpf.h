/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What makes a copy moot: unlink, rename over, rmdir. kunion's own copy they call off. The kernel's cannot be called off: they would wait for it
 * with the directory locked, so they are parked first (guard).
 */
#ifndef KU_MOOT_BPF_H
#define KU_MOOT_BPF_H

/* -ERESTARTNOINTR: parked until the kernel's copy is over. 0: go on. */
static __always_inline int ku_wait_for_kernel(struct ku_union_cfg *u, struct inode *inode, struct dentry *dentry, struct ku_slot *slot, __u64 ref,
					      __u32 state, __u32 op)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_rec *rec = ku_rec_of(task);
	bool created = false;
	int ret;

	if (!rec)
		return 0;
	if (slot && rec->ref == ref && !KU_STATE_PENDING(state) && rec->verdict == KU_V_NONE)
		ku_settle(rec, slot, 0);
	/* A copy's failure is not theirs: the file goes anyhow. */
	if (ku_verdict(rec, inode, &ret))
		return 0;
	if (!ku_can_wait(task) || ku_given_up(rec, inode))
		goto go_on;
	if (!slot || !KU_STATE_PENDING(state)) {
		if (!ku_kernel_copies(inode))
			goto go_on;
		ref = ku_request(u, inode, dentry, task, op, true);
		slot = ref ? ku_slot_of(ref) : NULL;
		if (!slot)
			goto go_on;
		created = true;
	}
	if (!ku_join(rec, inode, slot, ref, u->id, task, op, created))
		goto go_on;
	if (ku_park(task))
		return -ERESTARTNOINTR;
	ku_unjoin(slot);
	__sync_fetch_and_add(&ku_shared.cannot_wait, 1);
go_on:
	rec->inode = 0;
	return 0;
}

static __always_inline int ku_make_moot(struct ku_union_cfg *u, struct inode *inode, struct dentry *dentry, __u32 op)
{
	struct ku_slot *slot;
	__u32 state;
	__u64 ref = 0;

	slot = ku_entry(inode, &ref);
	state = slot ? KU_WORD_STATE(ku_word(slot)) : KU_S_FREE;
	if (slot && KU_STATE_PENDING(state) && !(slot->guard && state == KU_S_COPYING)) {
		/* RENAMING is not seen here: that rename holds this directory's lock. */
		ku_lose(slot, ref, u->id, bpf_get_current_task_btf(), op);
		return 0;
	}
	if (u->mode < KU_MODE_GUARD || ku_cfg.tier != KU_TIER_PARK || !ku_is_reg(inode))
		return 0;
	return ku_wait_for_kernel(u, inode, dentry, slot, ref, state, op);
}

SEC("lsm/inode_unlink")
int BPF_PROG(ku_inode_unlink, struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;
	struct ku_union_cfg *u;

	u = ku_union_of(dir);
	if (!u || !inode || ku_is_self())
		return 0;
	return ku_make_moot(u, inode, dentry, KU_OP_REMOVE);
}

/* A directory's copy-up is short, there is nothing to open: try again until it is over. */
SEC("lsm/inode_rmdir")
int BPF_PROG(ku_inode_rmdir, struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;
	struct task_struct *task;
	struct ku_union_cfg *u;
	struct ku_rec *rec;

	u = ku_union_of(dir);
	if (!u || !inode || u->mode < KU_MODE_GUARD || ku_cfg.tier != KU_TIER_PARK || ku_is_self() || !ku_kernel_copies(inode))
		return 0;
	task = bpf_get_current_task_btf();
	rec = ku_rec_of(task);
	return rec ? ku_again(rec, (__u64)inode, task) : 0;
}

#endif
