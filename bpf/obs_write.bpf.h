/* SPDX-License-Identifier: GPL-2.0-only */
/* What is written: into files that were copied up, always; anything in the upper layer, when asked for. And a union's end. */
#ifndef KU_OBS_WRITE_BPF_H
#define KU_OBS_WRITE_BPF_H

/* Files copied up, and written to. The oldest make room: what is written to those later is not counted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct ku_written_key);
	__type(value, struct ku_written);
} ku_written_to SEC(".maps");

static __always_inline void ku_written_key_of(struct inode *inode, struct ku_written_key *key)
{
	key->inode = (__u64)inode;
	key->ino = BPF_CORE_READ(inode, i_ino);
}

/* From now on writes to it count. */
static __always_inline void ku_obs_written(struct dentry *dentry, struct ku_obs_copyup *c)
{
	struct ku_written value = { .id = c->id };
	struct ku_written_key key;

	if (c->result || (c->mode & S_IFMT) != S_IFREG || !c->bytes)
		return;
	ku_written_key_of(BPF_CORE_READ(dentry, d_inode), &key);
	bpf_map_update_elem(&ku_written_to, &key, &value, BPF_ANY);
}

SEC("fexit/ovl_write_iter")
KU_OBS_PROG(ku_obs_write, struct kiocb *iocb, void *iter, long ret)
{
	struct ku_written_key key;
	struct ku_written *w;

	if (ret <= 0)
		return 0;
	ku_written_key_of(BPF_CORE_READ(iocb, ki_filp, f_inode), &key);
	w = bpf_map_lookup_elem(&ku_written_to, &key);
	if (w)
		__sync_fetch_and_add(&w->written, ret);
	return 0;
}

/* By thread id; a record is too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_MAX_ACTIVE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_obs_write);
} ku_writing SEC(".maps");

static const struct ku_obs_write ku_no_write = {};

static __always_inline void ku_tell_write(struct dentry *dentry, struct inode *inode, __u32 op, __u32 mode)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), dev;
	struct ku_obs_write *w;
	__u64 len;

	if (!ku_observes(BPF_CORE_READ(inode, i_sb), &dev) || bpf_get_current_pid_tgid() >> 32 == ku_obs.self_tgid)
		return;
	if (bpf_map_update_elem(&ku_writing, &tid, &ku_no_write, BPF_ANY)) {
		__sync_fetch_and_add(&ku_obs.dropped[KU_O_WRITE], 1);
		return;
	}
	w = bpf_map_lookup_elem(&ku_writing, &tid);
	if (!w)
		return;
	w->type = KU_O_WRITE;
	w->dev = dev;
	w->ts_ns = bpf_ktime_get_ns();
	w->op = op;
	w->mode = mode;
	ku_fill_who(&w->who, task);
	w->path_len = ku_obs_path(w->path, dentry);
	len = w->path_len;
	if (len > sizeof(w->path))
		len = 0;
	ku_obs_send(w, KU_O_WRITE, offsetof(struct ku_obs_write, path) + len);
	bpf_map_delete_elem(&ku_writing, &tid);
}

SEC("fexit/ovl_create_or_link")
KU_OBS_PROG(ku_obs_create, struct dentry *dentry, struct inode *inode, void *attr, bool origin, int ret)
{
	if (!ret)
		ku_tell_write(dentry, BPF_CORE_READ(dentry, d_parent, d_inode), KU_OP_CREATE, BPF_CORE_READ(inode, i_mode));
	return 0;
}

/* At its beginning: afterwards the name has no inode. A removal that fails is told, too. */
SEC("fentry/ovl_do_remove")
KU_OBS_PROG(ku_obs_remove, struct dentry *dentry, bool is_dir)
{
	ku_tell_write(dentry, BPF_CORE_READ(dentry, d_parent, d_inode), KU_OP_REMOVE, BPF_CORE_READ(dentry, d_inode, i_mode));
	return 0;
}

/* Of a file that is upper already: each time it is opened for writing. A lower one is a copy-up. */
SEC("fentry/ovl_open")
KU_OBS_PROG(ku_obs_open, struct inode *inode, struct file *file)
{
	if ((BPF_CORE_READ(file, f_flags) & O_ACCMODE) && !ku_is_lower(inode))
		ku_tell_write(BPF_CORE_READ(file, f_path.dentry), inode, KU_OP_OPEN, BPF_CORE_READ(inode, i_mode));
	return 0;
}

/* Before anybody can reach it: mount(2) has not returned, and no mount of it is there. */
SEC("fexit/ovl_fill_super")
KU_OBS_PROG(ku_obs_fill_super, struct super_block *sb)
{
	struct ku_obs_made made = { .type = KU_O_MADE, .pid = bpf_get_current_pid_tgid() >> 32 };
	struct ku_union_cfg cfg = { .mode = KU_MODE_OBSERVE };
	__u64 ret;

	/* How many parameters it has depends on the kernel. */
	if (bpf_get_func_ret(ctx, &ret) || (int)ret || !(ku_obs_cfg.all || ku_obs.take_new))
		return 0;
	made.dev = BPF_CORE_READ(sb, s_dev);
	if (ku_obs.take_new && bpf_map_update_elem(&ku_unions, &made.dev, &cfg, BPF_ANY))
		__sync_fetch_and_add(&ku_obs.dropped[KU_O_MADE], 1);
	else
		ku_obs_send(&made, KU_O_MADE, sizeof(made));
	return 0;
}

SEC("fentry/ovl_put_super")
KU_OBS_PROG(ku_obs_put_super, struct super_block *sb)
{
	struct ku_obs_gone gone = { .type = KU_O_GONE };

	if (!ku_observes(sb, &gone.dev))
		return 0;
	ku_obs_send(&gone, KU_O_GONE, sizeof(gone));
	/* The number is free for another superblock from here on. */
	bpf_map_delete_elem(&ku_unions, &gone.dev);
	return 0;
}

#endif
