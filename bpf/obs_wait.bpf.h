/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waits for copy-ups. Who waits for the overlay inode lock finds its holder there. Who waits for a directory's (or a file's) lock does so for
 * a copy-up only if the holder copied, or waited, meanwhile: every copy-up and every such wait notes, when it is over and the
 * locks are still held, during which time it held which lock (ku_holds). Waiters get the lock later, so they find the note.
 */
#ifndef KU_OBS_WAIT_BPF_H
#define KU_OBS_WAIT_BPF_H

/* By thread id: who waits at this moment. Full: counted, not told. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_MAX_ACTIVE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_obs_wait);
} ku_lockwaits SEC(".maps");

static const struct ku_obs_wait ku_no_wait = {};

struct ku_hold {
	__u64 begin_ns, end_ns;
	struct ku_task who;
	__u32 op;
	__u32 pad;
	struct ku_obs_root root;
};

/* Several operations may have held the lock in turn while one task waited for it. */
#define KU_HOLDS 4

struct ku_holds {
	__u32 next;
	__u32 pad;
	struct ku_hold h[KU_HOLDS];
};

/* By the lock's address; times tell when the memory became another lock. The oldest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, struct ku_holds);
} ku_holds_of SEC(".maps");

static const struct ku_holds ku_no_holds = {};

/* The directories of each thread's last rename or link: ku_note_hold() asks whether it has them locked. */
struct ku_dirs {
	__u64 inode[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct ku_dirs);
} ku_dirs_of SEC(".maps");

static __always_inline void ku_note_hold(struct inode *inode, const struct ku_hold *hold, struct task_struct *task)
{
	struct ku_holds *holds;
	__u64 lock;

	if (!inode || ku_lock_owner(BPF_CORE_READ(inode, i_rwsem.owner.counter)) != (__u64)task)
		return;
	lock = (__u64)inode + bpf_core_field_offset(struct inode, i_rwsem);
	holds = bpf_map_lookup_elem(&ku_holds_of, &lock);
	if (!holds) {
		bpf_map_update_elem(&ku_holds_of, &lock, &ku_no_holds, BPF_NOEXIST);
		holds = bpf_map_lookup_elem(&ku_holds_of, &lock);
		if (!holds)
			return;
	}
	holds->h[holds->next & (KU_HOLDS - 1)] = *hold;
	holds->next++;
}

/* Whatever of the file itself (if asked for), its directory and the rename's or link's directories this task has locked. */
static __always_inline void ku_note_holds(struct dentry *dentry, const struct ku_hold *hold, struct task_struct *task, bool file)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct inode *inode = BPF_CORE_READ(dentry, d_inode), *parent = BPF_CORE_READ(dentry, d_parent, d_inode);
	struct ku_dirs *dirs = bpf_map_lookup_elem(&ku_dirs_of, &tid);

	if (file)
		ku_note_hold(inode, hold, task);
	if (parent != inode)
		ku_note_hold(parent, hold, task);
	for (__u32 i = 0; dirs && i < 2; i++)
		if (dirs->inode[i] != (__u64)inode && dirs->inode[i] != (__u64)parent && (!i || dirs->inode[1] != dirs->inode[0]))
			ku_note_hold((struct inode *)dirs->inode[i], hold, task);
}

static __always_inline struct ku_obs_wait *ku_wait_begin(struct inode *inode, struct dentry *dentry, __u32 dev, __u32 on, int flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_obs_wait *w;

	if (bpf_map_update_elem(&ku_lockwaits, &tid, &ku_no_wait, BPF_ANY)) {
		__sync_fetch_and_add(&ku_obs.no_room, 1);
		return NULL;
	}
	w = bpf_map_lookup_elem(&ku_lockwaits, &tid);
	if (!w)
		return NULL;
	w->type = KU_O_WAIT;
	w->dev = dev;
	w->on = on;
	w->op = ku_obs_op(task, flags);
	ku_fill_call(task, &w->nr, &w->compat);
	ku_fill_who(&w->who, task);
	w->path_len = ku_obs_path(w->path, dentry);
	w->start_ns = bpf_ktime_get_ns();
	return w;
}

/* Tells it, and notes which locks were held meanwhile. */
static __always_inline void ku_wait_tell(struct ku_obs_wait *w, struct dentry *dentry, struct task_struct *task)
{
	struct ku_hold hold = { .begin_ns = w->start_ns, .end_ns = w->end_ns, .who = w->who, .op = w->op, .root = w->root };
	__u64 ns = w->end_ns - w->start_ns, len = w->path_len;
	__u32 bucket = ku_hist_bucket(ns);

	if (len > sizeof(w->path))
		len = 0;
	/* Not told as it is: the daemon takes from it whom its requester waited for. */
	if (ku_obs_is_self(&w->who)) {
		if (w->on == KU_ON_INODE)
			ku_obs_send(w, KU_O_WAIT, offsetof(struct ku_obs_wait, path) + len);
		return;
	}
	ku_count_wait(ku_count_sum(), w->on == KU_ON_DIR, ns, bucket);
	ku_count_wait(ku_count_of(w->dev, w->who.cgroup_id, false), w->on == KU_ON_DIR, ns, bucket);
	ku_obs_send(w, KU_O_WAIT, offsetof(struct ku_obs_wait, path) + len);
	/* The lock that it waited for is its own by now, and was not meanwhile. */
	if (dentry)
		ku_note_holds(dentry, &hold, task, w->on == KU_ON_INODE);
}

static __always_inline void ku_wait_forget(void)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&ku_lockwaits, &tid);
}

/* The overlay inode lock. */

static __always_inline int ku_inode_wait_begin(struct dentry *dentry, int flags)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	struct task_struct *holder;
	struct ku_obs_copyup *c;
	struct dentry *copied;
	struct ku_obs_wait *w;
	__u32 tid, dev;

	if (!inode || !ku_observes(BPF_CORE_READ(inode, i_sb), &dev))
		return 0;
	holder = (struct task_struct *)ku_ovl_lock_owner(inode);
	if (!holder)
		return 0;
	tid = BPF_CORE_READ(holder, pid);
	/* unlink and rename hold it for a moment, too. */
	c = bpf_map_lookup_elem(&ku_active, &tid);
	if (!c)
		return 0;
	w = ku_wait_begin(inode, dentry, dev, KU_ON_INODE, flags);
	if (!w)
		return 0;
	w->lock = (__u64)inode - bpf_core_field_offset(struct ovl_inode, vfs_inode) + bpf_core_field_offset(struct ovl_inode, lock);
	ku_fill_holder(&w->holder, holder);
	w->holder_op = c->op;
	w->root.id = c->id;
	w->root.pid = w->holder.pid;
	w->root.tid = w->holder.tid;
	__builtin_memcpy(w->root.comm, w->holder.comm, sizeof(w->root.comm));
	/* The holder may have ended meanwhile, and its element be another's. */
	barrier();
	copied = (struct dentry *)c->dentry;
	if (c->who.tid != tid || BPF_CORE_READ(copied, d_inode) != inode)
		ku_wait_forget();
	else
		__sync_fetch_and_add(&c->waiters, 1);
	return 0;
}

static __always_inline void ku_inode_wait_end(struct dentry *dentry, int result)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_obs_wait *w = bpf_map_lookup_elem(&ku_lockwaits, &tid);

	if (!w || w->on != KU_ON_INODE)
		return;
	w->end_ns = bpf_ktime_get_ns();
	w->result = result < 0 ? result : 0;
	if (!ku_obs.lsm || bpf_map_lookup_elem(&ku_real, &w->root.id))
		ku_wait_tell(w, dentry, bpf_get_current_task_btf());
	bpf_map_delete_elem(&ku_lockwaits, &tid);
}

SEC("fentry/ovl_copy_up_start")
KU_OBS_PROG(ku_obs_lock, struct dentry *dentry, int flags)
{
	struct ku_obs_copyup *c = ku_active_now();

	/* ku_obs_begin was left out. */
	if (!c || c->dentry != (__u64)dentry || c->lock_start_ns) {
		ku_copyup_begin(dentry, flags);
		c = ku_active_now();
	}
	if (c)
		c->lock_start_ns = bpf_ktime_get_ns();
	return ku_inode_wait_begin(dentry, flags);
}

SEC("fexit/ovl_copy_up_start")
KU_OBS_PROG(ku_obs_locked, struct dentry *dentry, int flags, int ret)
{
	struct ku_obs_copyup *c = ku_active_now();

	if (c && c->lock_start_ns && !c->lock_ns)
		c->lock_ns = bpf_ktime_get_ns() - c->lock_start_ns;
	if (c && ret)
		c->already = 1; /* ret 1: somebody else was faster; below 0: interrupted */
	ku_inode_wait_end(dentry, ret);
	return 0;
}

SEC("fentry/ovl_nlink_start")
KU_OBS_PROG(ku_obs_nlink, struct dentry *dentry)
{
	return ku_inode_wait_begin(dentry, 0);
}

SEC("fexit/ovl_nlink_start")
KU_OBS_PROG(ku_obs_nlinked, struct dentry *dentry, int ret)
{
	ku_inode_wait_end(dentry, ret);
	return 0;
}

#endif
