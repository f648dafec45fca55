/* SPDX-License-Identifier: GPL-2.0-only */
/* Waiting for the lock of a directory, or of a file, whose holder copies up or waits for a copy-up. */
#ifndef KU_OBS_SEM_BPF_H
#define KU_OBS_SEM_BPF_H

#define RENAME_EXCHANGE 2 /* include/uapi/linux/fs.h */

static __always_inline int ku_dirs_begin(struct inode *a, struct inode *b)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), dev;
	struct ku_dirs dirs = { .inode = { (__u64)a, (__u64)b } };

	if (ku_observes(BPF_CORE_READ(a, i_sb), &dev))
		bpf_map_update_elem(&ku_dirs_of, &tid, &dirs, BPF_ANY);
	return 0;
}

/* Of a rename, before it has either: who waits for the second has the first one locked. */
SEC("fentry/lock_two_directories")
KU_OBS_PROG(ku_obs_two_dirs, struct dentry *a, struct dentry *b)
{
	return ku_dirs_begin(BPF_CORE_READ(a, d_inode), BPF_CORE_READ(b, d_inode));
}

SEC("fentry/ovl_rename")
KU_OBS_PROG(ku_obs_rename, void *idmap, struct inode *olddir, struct dentry *old, struct inode *newdir, struct dentry *new, unsigned int flags)
{
	if (ku_obs_cfg.writes)
		ku_tell_rename(old, new, flags & RENAME_EXCHANGE);
	return ku_dirs_begin(olddir, newdir);
}

SEC("fentry/ovl_link")
KU_OBS_PROG(ku_obs_link, struct dentry *old, struct inode *newdir)
{
	struct inode *inode = BPF_CORE_READ(old, d_inode);

	if (ku_obs_cfg.writes)
		ku_tell_write(old, inode, KU_OP_LINK, BPF_CORE_READ(inode, i_mode));
	return ku_dirs_begin(newdir, newdir);
}

/* Most semaphores of the machine are in no inode of an overlay: reading what would be its superblock tells. */
static __always_inline struct inode *ku_inode_of_sem(void *sem, __u32 *dev)
{
	struct inode *inode = sem - bpf_core_field_offset(struct inode, i_rwsem);

	return ku_observes(BPF_CORE_READ(inode, i_sb), dev) ? inode : NULL;
}

static __always_inline int ku_sem_begin(void *sem)
{
	struct task_struct *holder;
	struct ku_obs_wait *w;
	struct inode *inode;
	__u32 dev;
	s64 owner;

	inode = ku_inode_of_sem(sem, &dev);
	if (!inode)
		return 0;
	w = ku_wait_begin(inode, ku_alias(inode), dev, (BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFDIR ? KU_ON_DIR : KU_ON_FILE, 0);
	if (!w)
		return 0;
	w->lock = (__u64)sem;
	/* For who looks now; the record's comes from ku_holds_of. Bit 0: readers, of which the last one is not the one to blame. */
	owner = BPF_CORE_READ(inode, i_rwsem.owner.counter);
	holder = (struct task_struct *)ku_lock_owner(owner);
	if (holder && !(owner & 1))
		ku_fill_holder(&w->holder, holder);
	return 0;
}

static __always_inline int ku_sem_end(void *sem)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), dev, at = 0;
	__u64 lock = (__u64)sem, most = 0;
	struct ku_holds *holds;
	struct ku_obs_wait *w;
	struct inode *inode;

	inode = ku_inode_of_sem(sem, &dev);
	if (!inode)
		return 0;
	w = bpf_map_lookup_elem(&ku_lockwaits, &tid);
	if (!w || w->lock != lock)
		return 0;
	w->end_ns = bpf_ktime_get_ns();
	holds = bpf_map_lookup_elem(&ku_holds_of, &lock);
	if (!holds)
		goto out;
	for (__u32 i = 0; i < KU_HOLDS; i++) {
		struct ku_hold *h = &holds->h[i];
		__u64 from = h->begin_ns > w->start_ns ? h->begin_ns : w->start_ns;
		__u64 to = h->end_ns < w->end_ns ? h->end_ns : w->end_ns;

		if (to > from && to - from > most) {
			most = to - from;
			at = i;
		}
	}
	/* A queue of others is the reason where a copy-up was not for half of the time. */
	if (most * 2 < w->end_ns - w->start_ns || !most)
		goto out;
	w->holder = holds->h[at & (KU_HOLDS - 1)].who;
	w->holder_op = holds->h[at & (KU_HOLDS - 1)].op;
	w->root = holds->h[at & (KU_HOLDS - 1)].root;
	ku_wait_tell(w, ku_alias(inode), bpf_get_current_task_btf());
out:
	bpf_map_delete_elem(&ku_lockwaits, &tid);
	return 0;
}

SEC("fentry/rwsem_down_write_slowpath")
KU_OBS_PROG(ku_obs_down_write, void *sem)
{
	return ku_sem_begin(sem);
}

SEC("fexit/rwsem_down_write_slowpath")
KU_OBS_PROG(ku_obs_downed_write, void *sem)
{
	return ku_sem_end(sem);
}

SEC("fentry/rwsem_down_read_slowpath")
KU_OBS_PROG(ku_obs_down_read, void *sem)
{
	return ku_sem_begin(sem);
}

SEC("fexit/rwsem_down_read_slowpath")
KU_OBS_PROG(ku_obs_downed_read, void *sem)
{
	return ku_sem_end(sem);
}

#endif
