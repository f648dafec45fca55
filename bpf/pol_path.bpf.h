/* SPDX-License-Identifier: GPL-2.0-only */
/* Paths as one string each: of a file in its union, of a program, of a cgroup. Names are put in from the end, KU_PATH_MAX, on. */
#ifndef KU_POL_PATH_BPF_H
#define KU_POL_PATH_BPF_H

/* More than this many names of one byte do not fit in. */
#define KU_POL_LEVELS (KU_PATH_MAX / 2)
#define KU_POL_TRIES 8

/* Sequence locks of the kernel: the number comes first, is odd while somebody changes, and grows with each change. */
extern const void rename_lock __ksym __weak;
extern const void mount_lock __ksym __weak;

static __always_inline __u32 ku_pol_seq(const void *lock)
{
	__u32 seq = 0;

	if (lock)
		bpf_probe_read_kernel(&seq, sizeof(seq), lock);
	return seq;
}

/* "/name" before what is there. False: no room. */
static __always_inline bool ku_pol_prepend(struct ku_pol_task *t, const void *name, __u32 len)
{
	__u32 at = t->at;

	if (len > 255 || at > KU_PATH_MAX || at < len + 1)
		return false;
	at -= len;
	if (bpf_probe_read_kernel(&t->text[at & (KU_PATH_MAX - 1)], len & 255, name))
		return false;
	at--;
	t->text[at & (KU_PATH_MAX - 1)] = '/';
	t->at = at;
	return true;
}

/* No file's name has a slash. */
static __always_inline bool ku_pol_is_nameless(const struct qstr *q)
{
	char c = 0;

	return !bpf_probe_read_kernel(&c, 1, q->name) && c == '/';
}

struct ku_pol_climb {
	struct ku_pol_task *t;
	__u64 dentry, mnt, root, root_mnt;
	__u32 top; /* came to the end */
};

static long ku_pol_up(__u32 i, struct ku_pol_climb *c)
{
	struct dentry *dentry = (struct dentry *)c->dentry;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	struct qstr q;

	if (parent == dentry) {
		c->top = 1;
		return 1;
	}
	bpf_core_read(&q, sizeof(q), &dentry->d_name);
	/* What is made without a name (O_TMPFILE) is "/" until it has a number: "#123" then. */
	if (!ku_pol_prepend(c->t, q.name, q.len))
		return 1;
	if (!i && q.len == 1 && ku_pol_is_nameless(&q))
		c->t->text[KU_PATH_MAX - 1] = '#';
	c->dentry = (__u64)parent;
	return 0;
}

/* The path of t->dentry into text[]. 0: not known. */
__noinline int ku_pol_path(struct ku_pol_task *t)
{
	const void *lock = &rename_lock;
	struct ku_pol_climb c = { .t = t };
	struct dentry *dentry;
	__u64 root;

	if (!t)
		return 0;
	dentry = (struct dentry *)t->dentry;
	root = (__u64)BPF_CORE_READ(dentry, d_sb, s_root);
	t->end = KU_PATH_MAX;
	for (int i = 0; i < KU_POL_TRIES; i++) {
		__u32 seq = ku_pol_seq(lock);

		t->at = KU_PATH_MAX;
		c.dentry = (__u64)dentry;
		c.top = 0;
		bpf_loop(KU_POL_LEVELS + 1, ku_pol_up, &c, 0);
		/* One that changed is not this path; nor is one that a rename took apart meanwhile. */
		barrier();
		if ((seq & 1) || ku_pol_seq(lock) != seq)
			continue;
		/* Cut off from the tree (a file handle's) has no path, nor has one too long. */
		if (!c.top || c.dentry != root)
			return 0;
		if (t->at == KU_PATH_MAX)
			ku_pol_prepend(t, "", 0);
		t->path_seq = seq;
		return 1;
	}
	return 0;
}

/* Over the roots of mounts, up to the task's own. */
static long ku_pol_up_mounts(__u32 i, struct ku_pol_climb *c)
{
	struct dentry *dentry = (struct dentry *)c->dentry;
	struct mount *m = (void *)c->mnt - bpf_core_field_offset(struct mount, mnt);
	struct qstr q;

	if (c->dentry == c->root && c->mnt == c->root_mnt) {
		c->top = 1;
		return 1;
	}
	if (dentry == BPF_CORE_READ(m, mnt.mnt_root)) {
		struct mount *parent = BPF_CORE_READ(m, mnt_parent);

		if (parent == m) {
			c->top = 1;
			return 1;
		}
		c->dentry = (__u64)BPF_CORE_READ(m, mnt_mountpoint);
		c->mnt = (__u64)parent + bpf_core_field_offset(struct mount, mnt);
		return 0;
	}
	if (BPF_CORE_READ(dentry, d_parent) == dentry)
		return 1;
	bpf_core_read(&q, sizeof(q), &dentry->d_name);
	if (!ku_pol_prepend(c->t, q.name, q.len))
		return 1;
	c->dentry = (__u64)BPF_CORE_READ(dentry, d_parent);
	return 0;
}

static __always_inline bool ku_pol_exe_path(struct ku_pol_task *t, struct task_struct *task, struct file *exe)
{
	struct ku_pol_climb c = { .t = t };

	t->at = t->end = KU_PATH_MAX;
	c.dentry = (__u64)BPF_CORE_READ(exe, f_path.dentry);
	c.mnt = (__u64)BPF_CORE_READ(exe, f_path.mnt);
	c.root = (__u64)BPF_CORE_READ(task, fs, root.dentry);
	c.root_mnt = (__u64)BPF_CORE_READ(task, fs, root.mnt);
	bpf_loop(KU_POL_LEVELS * 2, ku_pol_up_mounts, &c, 0);
	return c.top;
}

static long ku_pol_up_cgroup(__u32 i, struct ku_pol_climb *c)
{
	struct kernfs_node *kn = (struct kernfs_node *)c->dentry, *parent;
	long n;

	if (bpf_core_field_exists(kn->parent))
		parent = BPF_CORE_READ(kn, parent);
	else
		parent = BPF_CORE_READ((struct kernfs_node___rcu *)kn, __parent);
	if (!parent) {
		c->top = 1;
		return 1;
	}
	n = bpf_probe_read_kernel_str(c->t->name, sizeof(c->t->name), BPF_CORE_READ(kn, name));
	if (n <= 1 || !ku_pol_prepend(c->t, c->t->name, n - 1))
		return 1;
	c->dentry = (__u64)parent;
	return 0;
}

static __always_inline bool ku_pol_cgroup_path(struct ku_pol_task *t, struct task_struct *task)
{
	struct ku_pol_climb c = { .t = t };

	t->at = t->end = KU_PATH_MAX;
	c.dentry = (__u64)BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	bpf_loop(KU_POL_LEVELS + 1, ku_pol_up_cgroup, &c, 0);
	if (c.top && t->at == KU_PATH_MAX)
		ku_pol_prepend(t, "", 0);
	return c.top;
}

#endif
