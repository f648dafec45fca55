/* SPDX-License-Identifier: GPL-2.0-only */
/* What is written: into files that were copied up, always; anything in the upper layer, when asked for. And a union's end. */
#ifndef KU_OBS_WRITE_BPF_H
#define KU_OBS_WRITE_BPF_H

#define FMODE_WRITE 0x2		/* include/linux/fs.h; the same values in all of 6.1 to 7.3 */
#define FMODE_CREATED 0x100000
#define ATTR_SIZE (1 << 3)
#define ATTR_FILE (1 << 13)

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

/* inode: what has, or gets, the name; of a file that has no inode yet, the directory */
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
	w->lower = ku_is_lower(inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFREG)
		w->size = BPF_CORE_READ(inode, i_size);
	ku_fill_who(&w->who, task);
	w->path_len = ku_obs_path(w->path, dentry);
	/* What is made without a name is "/" until it has a number: "#123" then. */
	if (w->path[0] == '/')
		w->path[0] = '#';
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
		ku_tell_write(dentry, inode, KU_OP_CREATE, BPF_CORE_READ(inode, i_mode));
	return 0;
}

SEC("fentry/ovl_tmpfile")
KU_OBS_PROG(ku_obs_tmpfile, void *idmap, struct inode *dir, struct file *file)
{
	ku_tell_write(BPF_CORE_READ(file, f_path.dentry), dir, KU_OP_CREATE, S_IFREG);
	return 0;
}

/* At its beginning: afterwards the name has no inode. A removal that fails is told, too. */
SEC("fentry/ovl_do_remove")
KU_OBS_PROG(ku_obs_remove, struct dentry *dentry, bool is_dir)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	ku_tell_write(dentry, inode, KU_OP_REMOVE, BPF_CORE_READ(inode, i_mode));
	return 0;
}

/* As fentry of ovl_rename, likewise. An exchange is two renames. */
static __always_inline void ku_tell_rename(struct dentry *old, struct dentry *new, bool exchange)
{
	struct inode *inode = BPF_CORE_READ(old, d_inode), *victim = BPF_CORE_READ(new, d_inode);
	__u32 mode = BPF_CORE_READ(inode, i_mode), victim_mode = victim ? BPF_CORE_READ(victim, i_mode) : 0;

	ku_tell_write(old, inode, KU_OP_RENAME, mode);
	if (victim && !exchange)
		ku_tell_write(new, victim, KU_OP_REMOVE, victim_mode);
	ku_tell_write(new, inode, KU_OP_CREATE, mode);
	if (victim && exchange) {
		ku_tell_write(new, victim, KU_OP_RENAME, victim_mode);
		ku_tell_write(old, victim, KU_OP_CREATE, victim_mode);
	}
}

/* Of a file that is upper already, data and all: each time it is opened for writing, or truncated by name. A lower one is a copy-up. */
static __always_inline void ku_tell_modify(struct dentry *dentry, struct inode *inode)
{
	if (!ku_is_lower(inode) && !ku_lacks_data(inode))
		ku_tell_write(dentry, inode, KU_OP_OPEN, BPF_CORE_READ(inode, i_mode));
}

SEC("fentry/ovl_open")
KU_OBS_PROG(ku_obs_open, struct inode *inode, struct file *file)
{
	__u32 mode = BPF_CORE_READ(file, f_mode);

	/* What this open created is told by then. */
	if ((mode & FMODE_WRITE || BPF_CORE_READ(file, f_flags) & O_TRUNC) && !(mode & FMODE_CREATED))
		ku_tell_modify(BPF_CORE_READ(file, f_path.dentry), inode);
	return 0;
}

SEC("fentry/ovl_setattr")
KU_OBS_PROG(ku_obs_setattr, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	if ((BPF_CORE_READ(attr, ia_valid) & (ATTR_SIZE | ATTR_FILE)) == ATTR_SIZE)
		ku_tell_modify(dentry, BPF_CORE_READ(dentry, d_inode));
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
