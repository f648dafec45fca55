/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of native copy-ups and of superblocks, and who kunion is. */
#ifndef KU_OBSERVE_BPF_H
#define KU_OBSERVE_BPF_H

SEC("lsm/sb_delete")
int BPF_PROG(ku_sb_delete, struct super_block *sb)
{
	struct ku_union_cfg *u;
	struct ku_record_gone *r;
	__u32 dev;

	if (sb->s_magic != OVERLAYFS_SUPER_MAGIC)
		return 0;
	dev = sb->s_dev;
	u = bpf_map_lookup_elem(&ku_unions, &dev);
	if (!u)
		return 0;
	r = bpf_ringbuf_reserve(&ku_ring, sizeof(*r), 0);
	if (r) {
		r->type = KU_R_GONE;
		r->union_id = u->id;
		bpf_ringbuf_submit(r, 0);
	} else {
		__sync_fetch_and_add(&ku_shared.dropped_records, 1);
	}
	/* The number is free for another superblock from here on. */
	bpf_map_delete_elem(&ku_unions, &dev);
	return 0;
}

SEC("fexit/ovl_copy_up_one")
int BPF_PROG(ku_ovl_copy_up_one, struct dentry *parent, struct dentry *dentry, int flags, int result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_record_native *r;
	struct ku_union_cfg *u;
	struct inode *inode;
	struct ku_rec *rec;

	rec = bpf_task_storage_get(&ku_recs, task, 0, 0);
	if (!rec || rec->native_dentry != (__u64)dentry)
		return 0;
	rec->native_dentry = 0;
	inode = dentry->d_inode;
	if (!inode)
		return 0;
	u = ku_union_of(inode);
	if (!u)
		return 0;
	r = bpf_ringbuf_reserve(&ku_ring, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&ku_shared.dropped_records, 1);
		return 0;
	}
	r->type = KU_R_NATIVE;
	r->union_id = u->id;
	r->result = result;
	r->pad = 0;
	r->end_ns = bpf_ktime_get_ns();
	r->req.ts_ns = rec->native_ns;
	r->req.union_id = u->id;
	r->req.op = rec->op;
	r->req.size = 0;
	/* O_TRUNC, metadata and everything that is not a file copies no data. */
	if (ku_is_reg(inode) && !(flags & O_TRUNC))
		r->req.size = inode->i_size;
	ku_fill_who(&r->req.who, task);
	r->req.path_len = ku_fill_path(r->req.path, dentry);
	bpf_ringbuf_submit(r, 0);
	return 0;
}

struct ku_register_args {
	__u32 what; /* 0: kunion itself, 1: the gate's child */
};

SEC("syscall")
int ku_register(struct ku_register_args *args)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (args->what)
		ku_shared.gate_pid = tgid;
	else
		ku_shared.self_tgid = tgid;
	return 0;
}

#endif
