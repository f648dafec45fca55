/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking at overlayfs: is the file lower-only, who holds it, what is its path. */
#ifndef KU_OVL_BPF_H
#define KU_OVL_BPF_H

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define FUSE_SUPER_MAGIC 0x65735546
#define DCACHE_MOUNTED 0x00010000 /* include/linux/dcache.h; bit 16 in all of 6.1 to 7.3 */
#define S_APPEND 4    /* include/linux/fs.h */
#define S_IMMUTABLE 8
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFLNK 0120000

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
static __always_inline struct dentry *ku_upper_dentry(struct inode *inode)
{
	struct dentry *upper = NULL;
	void *oi;

	if (!bpf_core_type_exists(struct ovl_inode))
		return NULL;
	oi = (void *)inode - bpf_core_field_offset(struct ovl_inode, vfs_inode);
	bpf_probe_read_kernel(&upper, sizeof(upper), oi + bpf_core_field_offset(struct ovl_inode, __upperdentry));
	return upper;
}

static __always_inline struct inode *ku_upper_inode(struct inode *inode)
{
	struct dentry *upper = ku_upper_dentry(inode);

	return upper ? BPF_CORE_READ(upper, d_inode) : NULL;
}

static __always_inline bool ku_is_lower(struct inode *inode)
{
	return bpf_core_type_exists(struct ovl_inode) && !ku_upper_dentry(inode);
}

/* An upper file whose data is in the lower layer still (metacopy=on), and will be copied when it is opened for writing. */
static __always_inline bool ku_lacks_data(struct inode *inode)
{
	unsigned long flags = 0;

	if (!bpf_core_type_exists(struct ovl_inode) || !bpf_core_enum_value_exists(enum ovl_inode_flag, OVL_UPPERDATA))
		return false;
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return false;
	if (bpf_probe_read_kernel(&flags, sizeof(flags),
				  (void *)inode - bpf_core_field_offset(struct ovl_inode, vfs_inode) + bpf_core_field_offset(struct ovl_inode, flags)))
		return false;
	return !(flags >> bpf_core_enum_value(enum ovl_inode_flag, OVL_UPPERDATA) & 1);
}

/* The low bits are flags: mutexes have 3, rwsems 2. */
static __always_inline __u64 ku_lock_owner(s64 owner)
{
	return (__u64)owner & ~7ULL;
}

/* The task_struct of who has the overlay inode lock; 0: nobody. */
static __always_inline __u64 ku_ovl_lock_owner(struct inode *inode)
{
	s64 owner = 0;

	if (!bpf_core_type_exists(struct ovl_inode))
		return 0;
	bpf_probe_read_kernel(&owner, sizeof(owner),
			      (void *)inode - bpf_core_field_offset(struct ovl_inode, vfs_inode) +
				      bpf_core_field_offset(struct ovl_inode, lock) + bpf_core_field_offset(struct mutex, owner));
	return ku_lock_owner(owner);
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

/* A name of the inode, NULL for none. */
static __always_inline struct dentry *ku_alias(struct inode *inode)
{
	struct hlist_node *node = BPF_CORE_READ(inode, i_dentry.first);

	if (!node)
		return NULL;
	if (bpf_core_field_exists(struct dentry, d_u.d_alias))
		return (void *)node - bpf_core_field_offset(struct dentry, d_u.d_alias);
	if (bpf_core_field_exists(struct dentry___flat, d_alias))
		return (void *)node - bpf_core_field_offset(struct dentry___flat, d_alias);
	return NULL;
}

struct ku_path_walk {
	char *path;
	struct dentry *dentry;
	__u32 off;
	__u32 len; /* 0: not at the root yet */
};

static long ku_path_step(__u32 i, void *ctx)
{
	struct ku_path_walk *w = ctx;
	struct dentry *dentry = w->dentry, *parent = BPF_CORE_READ(dentry, d_parent);
	long n;

	if (parent == dentry) {
		w->len = w->off;
		return 1;
	}
	if (w->off >= KU_PATH_MAX)
		return 1;
	n = bpf_probe_read_kernel_str(w->path + (w->off & (KU_PATH_MAX - 1)), KU_NAME_ROOM, BPF_CORE_READ(dentry, d_name.name));
	if (n <= 1)
		return 1;
	w->off += n;
	w->dentry = parent;
	return 0;
}

/*
 * Writes the names from dentry up to the root. Returns the bytes written, 0 when deeper than KU_PATH_DEPTH or longer than KU_PATH_MAX.
 * No lock is held: a rename meanwhile gives a path that does not lead to the inode, which the daemon checks. bpf_loop(): the verifier
 * follows the step once, instead of as often as a path may be deep.
 */
static __always_inline __u32 ku_fill_path(char *path, struct dentry *dentry)
{
	struct ku_path_walk w = { .path = path, .dentry = dentry };

	bpf_loop(KU_PATH_DEPTH, ku_path_step, &w, 0);
	return w.len;
}

#endif
