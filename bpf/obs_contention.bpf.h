/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's own tracepoints of contended locks. Their programs run with preemption off and so are never left out, as tracing programs may be
 * (obs_count.bpf.h): a wait that those missed begins here, and every wait that slept ends here. Who only span for a semaphore passes no
 * tracepoint, and one that sleeps after spinning comes late to it, so the others are not replaced.
 */
#ifndef KU_OBS_CONTENTION_BPF_H
#define KU_OBS_CONTENTION_BPF_H

/* include/trace/events/lock.h; unchanged since 5.19 */
#define LCB_F_READ (1u << 1)
#define LCB_F_WRITE (1u << 2)
#define LCB_F_MUTEX (1u << 5)

/* A mutex of anything: what would be the superblock tells. */
static __always_inline int ku_mutex_begin(void *mutex)
{
	struct ku_obs_copyup *c;
	struct dentry *dentry;
	struct inode *inode;

	if (!bpf_core_type_exists(struct ovl_inode))
		return 0;
	inode = mutex - bpf_core_field_offset(struct ovl_inode, lock) + bpf_core_field_offset(struct ovl_inode, vfs_inode);
	if (BPF_CORE_READ(inode, i_sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return 0;
	/* The name that this task came by, where it is known. */
	c = ku_active_now();
	dentry = c ? (struct dentry *)c->dentry : NULL;
	if (!dentry || BPF_CORE_READ(dentry, d_inode) != inode)
		dentry = ku_alias(inode);
	return dentry ? ku_inode_wait_begin(dentry, 0) : 0;
}

SEC("tp_btf/contention_begin")
int BPF_PROG(ku_obs_contended, void *lock, unsigned int flags)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_obs_wait *w;

	/* Spinning locks first: they are the most, and none of ours. */
	if (!(flags & LCB_F_MUTEX) && flags != LCB_F_READ && flags != LCB_F_WRITE)
		return 0;
	w = bpf_map_lookup_elem(&ku_lockwaits, &tid);
	if (w && w->lock == (__u64)lock)
		return 0;
	return flags & LCB_F_MUTEX ? ku_mutex_begin(lock) : ku_sem_begin(lock);
}

/* Its own by now, or given up. */
SEC("tp_btf/contention_end")
int BPF_PROG(ku_obs_contended_no_more, void *lock, int ret)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_obs_wait *w = bpf_map_lookup_elem(&ku_lockwaits, &tid);
	struct inode *inode;

	if (!w || w->lock != (__u64)lock)
		return 0;
	if (w->on != KU_ON_INODE)
		return ku_sem_end(lock);
	inode = lock - bpf_core_field_offset(struct ovl_inode, lock) + bpf_core_field_offset(struct ovl_inode, vfs_inode);
	ku_inode_wait_end(ku_alias(inode), ret);
	return 0;
}

#endif
