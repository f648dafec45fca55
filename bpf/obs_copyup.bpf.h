/* SPDX-License-Identifier: GPL-2.0-only */
/* Copy-ups by the kernel, from ovl_copy_up_one's beginning to its end. */
#ifndef KU_OBS_COPYUP_BPF_H
#define KU_OBS_COPYUP_BPF_H

/* By thread id: a task has one copy-up at a time. Full: counted, not told. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_MAX_ACTIVE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_obs_copyup);
} ku_active SEC(".maps");

static const struct ku_obs_copyup ku_no_copyup = {};

static __always_inline struct ku_obs_copyup *ku_active_now(void)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&ku_active, &tid);
}

/* io_uring's workers have no system call of their own: overlayfs's flags tell an open. */
static __always_inline __u32 ku_obs_op(struct task_struct *task, int flags)
{
	__u32 op = ku_current_op(task);

	return op == KU_OP_OTHER && (flags & (O_ACCMODE | O_TRUNC)) ? KU_OP_OPEN : op;
}

/* What became of the data is known at the end only. */
static __always_inline void ku_obs_settle(struct ku_obs_copyup *c, int flags)
{
	if (c->data == KU_DATA_NONE && (c->mode & S_IFMT) == S_IFREG && c->size && !(flags & O_TRUNC))
		c->data = KU_DATA_METADATA;
	if (c->result) {
		c->bytes = 0;
		c->data = KU_DATA_NONE;
	}
}

static __always_inline void ku_obs_count(struct ku_obs_copyup *c)
{
	__u64 ns = c->end_ns - c->start_ns;
	__u32 bucket = ku_hist_bucket(ns);

	if (ku_obs_is_self(&c->who))
		return;
	ku_count_copyup(ku_count_sum(), c->bytes, ns, bucket);
	ku_count_copyup(ku_count_of(c->dev, c->who.cgroup_id, c->result != 0), c->bytes, ns, bucket);
}

/* Neither for who found it done, nor for who was sent to wait or told the error of kunion's own copy. */
static __always_inline bool ku_obs_is_real(const struct ku_obs_copyup *c)
{
	return ku_obs.lsm ? c->seen || (c->was_upper && !c->already) : !c->already;
}

static __always_inline void ku_obs_tell(struct ku_obs_copyup *c)
{
	__u64 len = c->path_len;

	if (len > sizeof(c->path))
		len = 0;
	ku_obs_send(c, KU_O_COPYUP, offsetof(struct ku_obs_copyup, path) + len);
}

/* Its end was left out, twice. What is known of it is told; user space does so for tasks that never come here again. */
static __always_inline void ku_obs_unended(struct ku_obs_copyup *c)
{
	if (!ku_obs_is_real(c))
		return;
	c->end_ns = c->start_ns + c->lock_ns + c->file_ns + c->fsync_ns;
	ku_obs_settle(c, 0);
	ku_obs_count(c);
	ku_obs_tell(c);
}

static __always_inline int ku_copyup_begin(struct dentry *dentry, int flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), dev;
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	struct ku_obs_copyup *c;

	if (!inode || !ku_observes(BPF_CORE_READ(inode, i_sb), &dev))
		return 0;
	c = ku_active_now();
	if (c)
		ku_obs_unended(c);
	if (bpf_map_update_elem(&ku_active, &tid, &ku_no_copyup, BPF_ANY)) {
		__sync_fetch_and_add(&ku_obs.no_room, 1);
		return 0;
	}
	c = bpf_map_lookup_elem(&ku_active, &tid);
	if (!c)
		return 0;
	c->type = KU_O_COPYUP;
	c->dev = dev;
	c->start_ns = bpf_ktime_get_ns();
	c->id = c->start_ns << 8 | (bpf_get_smp_processor_id() & 0xff);
	c->dentry = (__u64)dentry;
	c->op = ku_obs_op(task, flags);
	ku_fill_call(task, &c->nr, &c->compat);
	c->mode = BPF_CORE_READ(inode, i_mode);
	c->size = BPF_CORE_READ(inode, i_size);
	c->was_upper = !ku_is_lower(inode);
	/* Looked at outside the lock, copied since: known here, in case that ku_obs_locked is left out. */
	c->already = c->was_upper && !ku_lacks_data(inode);
	ku_fill_who(&c->who, task);
	c->path_len = ku_obs_path(c->path, dentry);
	return 0;
}

SEC("fentry/ovl_copy_up_one")
KU_OBS_PROG(ku_obs_begin, struct dentry *parent, struct dentry *dentry, int flags)
{
	return ku_copyup_begin(dentry, flags);
}

/*
 * Copy-ups that really are, by number: who waited a moment for the lock of one that was sent away, or that found the file copied, has not
 * waited for a copy-up. The oldest make room; they are asked for at once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} ku_real SEC(".maps");

static __always_inline void ku_obs_mark(const struct ku_obs_copyup *c)
{
	__u32 one = 1;

	bpf_map_update_elem(&ku_real, &c->id, &one, BPF_ANY);
}

/*
 * With the lock held, before the first byte. Unlike tracing programs, those of BPF LSM are never left out: a copy-up whose beginning was missed
 * begins here. Attached before the gate, it runs behind it, and not at all for whom the gate sends away.
 */
SEC("lsm/inode_copy_up")
int BPF_PROG(ku_obs_copies, struct dentry *dentry, void *new)
{
	struct ku_obs_copyup *c = ku_active_now();

	if (!ku_obs.lsm)
		ku_obs.lsm = 1;
	if (!c || c->dentry != (__u64)dentry || c->seen) {
		ku_copyup_begin(dentry, 0);
		c = ku_active_now();
	}
	if (!c)
		return 0;
	c->seen = 1;
	ku_obs_mark(c);
	return 0;
}

SEC("fentry/ovl_copy_up_file")
KU_OBS_PROG(ku_obs_file, void *ofs, struct dentry *dentry, struct file *new_file, long long len)
{
	struct ku_obs_copyup *c = ku_active_now();

	if (!c || c->dentry != (__u64)dentry)
		return 0;
	if (c->was_upper)
		ku_obs_mark(c);
	c->file_start_ns = bpf_ktime_get_ns();
	c->bytes = len;
	if (len)
		c->data = KU_DATA_COPIED;
	return 0;
}

SEC("fexit/ovl_copy_up_file")
KU_OBS_PROG(ku_obs_file_end)
{
	struct ku_obs_copyup *c = ku_active_now();

	if (c && c->file_start_ns)
		c->file_ns = bpf_ktime_get_ns() - c->file_start_ns;
	return 0;
}

SEC("fexit/do_splice_direct")
KU_OBS_PROG(ku_obs_chunk, struct file *in, void *ppos, struct file *out, void *opos, unsigned long len, unsigned int flags, long ret)
{
	struct ku_obs_copyup *c = ku_active_now();

	if (c && ret > 0)
		c->done += ret;
	return 0;
}

static __always_inline int ku_obs_clone(long long ret)
{
	struct ku_obs_copyup *c = ku_active_now();

	if (c && ret > 0) {
		c->done = ret;
		if ((__u64)ret == c->bytes)
			c->data = KU_DATA_CLONED;
	}
	return 0;
}

SEC("fexit/vfs_clone_file_range")
KU_OBS_PROG(ku_obs_vfs_clone, struct file *in, long long pos_in, struct file *out, long long pos_out, long long len, unsigned int flags,
	     long long ret)
{
	return ku_obs_clone(ret);
}

/* What overlayfs calls up to 6.6. */
SEC("fexit/do_clone_file_range")
KU_OBS_PROG(ku_obs_do_clone, struct file *in, long long pos_in, struct file *out, long long pos_out, long long len, unsigned int flags,
	     long long ret)
{
	return ku_obs_clone(ret);
}

SEC("fentry/vfs_fsync")
KU_OBS_PROG(ku_obs_fsync)
{
	struct ku_obs_copyup *c = ku_active_now();

	if (c)
		c->fsync_start_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("fexit/vfs_fsync")
KU_OBS_PROG(ku_obs_fsync_end)
{
	struct ku_obs_copyup *c = ku_active_now();

	__u64 ns;

	if (!c || !c->fsync_start_ns)
		return 0;
	ns = bpf_ktime_get_ns() - c->fsync_start_ns;
	c->fsync_ns += ns;
	/* Within the copy of the data, or behind it: that depends on the kernel. */
	if (c->file_start_ns && !c->file_ns)
		c->file_start_ns += ns;
	return 0;
}

#endif
