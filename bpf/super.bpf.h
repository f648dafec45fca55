/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of superblocks, and who kunion is. */
#ifndef KU_SUPER_BPF_H
#define KU_SUPER_BPF_H

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
