/* SPDX-License-Identifier: GPL-2.0-only */
/* What decides a commit: the holder test, link, and kunion's own rename. */
#ifndef KU_COMMIT_BPF_H
#define KU_COMMIT_BPF_H

/*
 * Between the look-up of a file and its new name: vfs_link calls a file gone that a commit has replaced meanwhile, and one whose commit
 * runs must not be linked any more. The new name's directory is locked, which need not be the file's.
 */
SEC("lsm/inode_link")
int BPF_PROG(ku_inode_link, struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry)
{
	struct inode *inode = old_dentry->d_inode;
	struct task_struct *task;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	struct ku_rec *rec;
	__u64 ref = 0;
	__u32 state;

	if (!inode)
		return 0;
	u = ku_union_of(inode);
	if (!u || u->mode < KU_MODE_GUARD || !ku_is_reg(inode) || ku_is_self())
		return 0;
	if (ku_hold_back(old_dentry, KU_OP_LINK))
		return -ERESTARTNOINTR;
	if (u->mode != KU_MODE_MANAGE)
		return 0;
	slot = ku_entry(inode, &ref);
	state = slot ? KU_WORD_STATE(ku_word(slot)) : KU_S_FREE;
	if (inode->i_nlink && !ku_commits(state))
		return 0;
	task = bpf_get_current_task_btf();
	rec = ku_rec_of(task);
	if (!rec)
		return 0;
	if (!slot || !ku_commits(state))
		return ku_walk_again(rec, inode, task);
	if (ku_can_wait(task) && ku_cfg.tier == KU_TIER_PARK && !ku_given_up(rec, inode) &&
	    ku_join(rec, inode, slot, ref, u->id, task, KU_OP_LINK, false)) {
		if (ku_park(task))
			return -ERESTARTNOINTR;
		ku_unjoin(slot);
	}
	return ku_lose(slot, ref, u->id, task, KU_OP_LINK) ? 0 : ku_out_of_the_way(task);
}

/*
 * kunion's own rename over the file: with the directory and the file locked, is it still the file that was copied, nobody else's,
 * and has nothing overtaken it? This closes R2, R5 and the window of every holder test before it.
 */
static __always_inline int ku_commit_check(struct inode *inode, struct dentry *dentry)
{
	struct ku_slot *slot;
	__u64 ref = 0, w;

	slot = ku_entry(inode, &ref);
	if (!slot || slot->copier_tid != (__u32)bpf_get_current_pid_tgid())
		return -ECANCELED;
	w = ku_word(slot);
	if (KU_WORD_STATE(w) != KU_S_COMMITTING)
		return -ECANCELED;
	slot->held.excess = ku_held(dentry, inode, slot, &slot->held);
	if (slot->held.excess)
		return -EBUSY;
	if (__sync_val_compare_and_swap(&slot->word, w, KU_WORD(KU_REF_GEN(ref), 0, KU_S_RENAMING)) != w)
		return -ECANCELED;
	return 0;
}

SEC("lsm/inode_rename")
int BPF_PROG(ku_inode_rename, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry)
{
	struct inode *victim = new_dentry->d_inode;
	struct ku_union_cfg *u;

	u = ku_union_of(new_dir);
	if (!u)
		return 0;
	if (ku_is_self()) {
		if (!victim)
			return -ECANCELED; /* unlinked meanwhile: never bring a file back */
		return ku_commit_check(victim, new_dentry);
	}
	if (ku_hold_back(old_dentry, KU_OP_RENAME))
		return -ERESTARTNOINTR;
	return victim ? ku_make_moot(u, victim, new_dentry, KU_OP_RENAME) : 0;
}

SEC("lsm/inode_getattr")
int BPF_PROG(ku_inode_getattr, const struct path *path)
{
	struct dentry *dentry = path->dentry;
	struct inode *inode = dentry->d_inode;
	struct ku_slot *slot;
	__u64 ref = 0;

	if (!inode || !ku_union_of(inode) || !ku_is_self())
		return 0;
	__sync_fetch_and_add(&ku_shared.self_seen, 1);
	slot = ku_entry(inode, &ref);
	if (!slot)
		return 0;
	slot->copier_tid = (__u32)bpf_get_current_pid_tgid();
	slot->held.excess = ku_held(dentry, inode, slot, &slot->held);
	__sync_fetch_and_add(&slot->held.seq, 1);
	return 0;
}

#endif
