/* SPDX-License-Identifier: GPL-2.0-only */
/* Is it a union of ours? */
#ifndef KU_UNIONS_BPF_H
#define KU_UNIONS_BPF_H

/* The attached unions. A superblock that goes away takes its entry along (lsm/sb_delete). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_MAX_UNIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_union_cfg);
} ku_unions SEC(".maps");

/* The cheap test first: these hooks run for every file system of the machine. */
static __always_inline struct ku_union_cfg *ku_union_of(struct inode *inode)
{
	struct super_block *sb = inode->i_sb;
	__u32 dev;

	if (sb->s_magic != OVERLAYFS_SUPER_MAGIC)
		return NULL;
	dev = sb->s_dev;
	return bpf_map_lookup_elem(&ku_unions, &dev);
}

#endif
