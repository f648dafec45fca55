/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking at overlayfs: is it a union of ours, is the file lower-only, who holds it, what is its path. */
#ifndef KU_OVL_BPF_H
#define KU_OVL_BPF_H

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define FUSE_SUPER_MAGIC 0x65735546
#define DCACHE_MOUNTED 0x00010000 /* include/linux/dcache.h; bit 16 in all of 6.1 to 7.3 */
#define S_APPEND 4    /* include/linux/fs.h */
#define S_IMMUTABLE 8
#define S_IFMT 0170000
#define S_IFREG 0100000

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

static __always_inline bool ku_is_reg(struct inode *inode)
{
	return (inode->i_mode & S_IFMT) == S_IFREG;
}

/* overlayfs keeps these flags in an xattr of the upper inode that only its own copy-up writes. */
static __always_inline bool ku_is_protected(struct inode *inode)
{
	return BPF_CORE_READ(inode, i_flags) & (S_APPEND | S_IMMUTABLE);
}

/* Without overlayfs in BTF nothing can be attached; the test only keeps the program loadable. */
static __always_inline bool ku_is_lower(struct inode *inode)
{
	struct dentry *upper = NULL;
	void *oi;

	if (!bpf_core_type_exists(struct ovl_inode))
		return false;
	oi = (void *)inode - bpf_core_field_offset(struct ovl_inode, vfs_inode);
	bpf_probe_read_kernel(&upper, sizeof(upper), oi + bpf_core_field_offset(struct ovl_inode, __upperdentry));
	return upper == NULL;
}

/*
 * The holder test of KERNEL.md 9. The caller itself holds one reference on the dentry; each task asleep in file_open on this slot
 * holds two more (the walk's path and the file's), and a count as writer or reader.
 */
static __always_inline __u32 ku_held(struct dentry *dentry, struct inode *inode, struct ku_slot *slot, struct ku_holders *h)
{
	__s32 openers = *(volatile __u32 *)&slot->openers;
	__s32 writers = *(volatile __u32 *)&slot->write_openers;
	__u32 excess = 0;

	h->d_count = BPF_CORE_READ(dentry, d_lockref.count);
	h->i_count = BPF_CORE_READ(inode, i_count.counter);
	h->writers = BPF_CORE_READ(inode, i_writecount.counter);
	h->readers = openers - writers; /* what the kernel cannot tell without CONFIG_IMA */
	if (bpf_core_field_exists(inode->i_readcount))
		h->readers = BPF_CORE_READ(inode, i_readcount.counter);

	if (h->d_count != 1 + 2 * openers)
		excess |= KU_HELD_DENTRY;
	if (h->i_count != 1)
		excess |= KU_HELD_INODE;
	if (h->readers != openers - writers)
		excess |= KU_HELD_READ;
	if (h->writers != writers)
		excess |= KU_HELD_WRITE;
	/* A watch on the directory would see the copy's temporary name, and the file go and come. */
	if (BPF_CORE_READ(inode, i_fsnotify_mask) || BPF_CORE_READ(dentry, d_parent, d_inode, i_fsnotify_mask))
		excess |= KU_HELD_NOTIFY;
	if (BPF_CORE_READ(dentry, d_flags) & DCACHE_MOUNTED)
		excess |= KU_HELD_MOUNT;
	if (!ku_is_lower(inode))
		excess |= KU_HELD_UPPER;
	if (ku_is_protected(inode))
		excess |= KU_HELD_FLAGS;
	return excess;
}

/*
 * Writes the names from dentry up to the root. Returns the bytes written, 0 when deeper than KU_PATH_DEPTH or longer than KU_PATH_MAX.
 * No lock is held: a rename meanwhile gives a path that does not lead to the inode, which the daemon checks.
 */
static __always_inline __u32 ku_fill_path(char *path, struct dentry *dentry)
{
	__u32 off = 0;

	for (int i = 0; i < KU_PATH_DEPTH; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		const unsigned char *name;
		long n;

		if (parent == dentry)
			return off;
		if (off >= KU_PATH_MAX)
			return 0;
		name = BPF_CORE_READ(dentry, d_name.name);
		n = bpf_probe_read_kernel_str(path + (off & (KU_PATH_MAX - 1)), KU_NAME_ROOM, name);
		if (n <= 1)
			return 0;
		off += n;
		dentry = parent;
	}
	return 0;
}

#endif
