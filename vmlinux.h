/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel types and fields that kunion's BPF programs read, and no others. CO-RE finds each field by name in the running
 * kernel's BTF, so order and gaps here mean nothing.
 */
#ifndef KUNION_VMLINUX_H
#define KUNION_VMLINUX_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __s32 s32;
typedef __s64 s64;
typedef __u32 u32;
typedef __u64 u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* uapi values: enums of the kernel that BTF has, spelled here because this header replaces <linux/bpf.h> */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_INODE_STORAGE = 28,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1024 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	u32 val;
} kuid_t;

typedef struct {
	u32 val;
} kgid_t;

/* cgroup, by its kernfs node's id: see bpf_get_current_cgroup_id(); nothing read here */

/* 64 bits in every release, first as two words, from 6.3 as one: only its address is taken */
typedef struct kernel_cap_struct {
	u64 val;
} kernel_cap_t;

struct user_namespace {
	int level; /* 0: the initial one, in which CAP_SYS_RESOURCE counts for a file system's reserve */
};

struct cred {
	kuid_t uid;   /* who waited, for the record */
	kuid_t fsuid; /* to whom a copy is charged */
	kgid_t fsgid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

struct lockref {
	int count; /* references on the dentry: descriptors, mappings, walks */
};

struct qstr {
	u32 hash; /* the same name again? */
	u32 len;
	const unsigned char *name; /* for the path of a record */
};

/* a mutex or rwsem: owner is the holder's task_struct and some low bits */
typedef struct {
	s64 counter;
} atomic64_t;
typedef atomic64_t atomic_long_t;

struct mutex {
	atomic_long_t owner; /* who copies a file up */
};

struct rw_semaphore {
	atomic_long_t owner; /* does this task hold its directory's lock? */
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct list_head {
	struct list_head *next;
};

struct file_lock_context {
	struct list_head flc_lease; /* a lease must not be broken on kunion's account */
};

struct dentry;

struct super_block {
	u32 s_dev;	       /* which union */
	struct dentry *s_root; /* a path that does not end there is none */
	unsigned long s_magic; /* overlayfs at all? */
	void *s_fs_info;       /* its options */
	struct user_namespace *s_user_ns; /* a mount's, if it is not idmapped; before 6.2 */
};

struct inode {
	unsigned short i_mode; /* regular files only */
	unsigned int i_nlink;  /* hard links go native */
	unsigned int i_flags;  /* append-only and immutable files go native */
	long long i_size;      /* min-size */
	struct super_block *i_sb;
	atomic_t i_count;      /* holder test */
	atomic_t i_writecount; /* holder test */
	atomic_t i_readcount;  /* holder test; there with CONFIG_IMA only */
	u32 i_fsnotify_mask;   /* holder test: watches */
	unsigned long i_ino;   /* with its address: which file is written to */
	struct file_lock_context *i_flctx;
	struct rw_semaphore i_rwsem;
	struct hlist_head i_dentry; /* a name of it, for the path of a wait */
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct dentry {
	unsigned int d_flags; /* holder test: DCACHE_MOUNTED */
	struct hlist_bl_node d_hash; /* not yet looked up? */
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
	struct lockref d_lockref;
	union {
		struct hlist_node d_alias; /* link in i_dentry */
	} d_u;
};

/* From 7.x on without a name of its own for the union. */
struct dentry___flat {
	struct hlist_node d_alias;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
	struct mnt_idmap *mnt_idmap;	   /* is a layer idmapped? */
	struct user_namespace *mnt_userns; /* the same before 6.2 */
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

/* a mount, for the path of a program as its own mount namespace has it */
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct file {
	unsigned int f_mode;  /* FMODE_WRITE */
	unsigned int f_flags; /* O_TRUNC */
	struct inode *f_inode;
	struct path f_path;
};

/* what overlayfs maps in place of its own file, from 6.5 on */
struct backing_file {
	struct file file;
	struct path user_path;
};

struct vm_area_struct {
	struct file *vm_file; /* mprotect() of what */
};

struct linux_binprm {
	struct file *file; /* execve() of what */
};

struct iattr {
	unsigned int ia_valid; /* ATTR_SIZE: truncation */
};

struct mm_struct {
	struct file *exe_file; /* which program */
};

struct fs_struct {
	struct path root; /* as seen from where */
};

struct kiocb {
	struct file *ki_filp; /* which file is written to */
};

/* fs/overlayfs/overlayfs.h */
enum ovl_inode_flag { OVL_UPPERDATA = 3 };

/* overlayfs's inode (module or built in): has the file an upper part already? */
struct ovl_inode {
	unsigned long flags; /* bits of that: is the data in the upper layer, too? */
	struct inode vfs_inode;
	struct dentry *__upperdentry;
	struct mutex lock; /* held during a copy-up */
};

struct ovl_config {
	bool metacopy;
};

struct ovl_layer {
	struct vfsmount *mnt; /* overlayfs's own, of that layer */
};

struct ovl_fs {
	unsigned int numlayer; /* the upper one, or its place, among them */
	const struct ovl_layer *layers;
	struct ovl_config config;
};

struct seq_file {
	const struct file *file; /* mountinfo */
};

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct sigpending {
	sigset_t signal;
};

struct signal_struct {
	struct sigpending shared_pending; /* a stop that is on its way must not be swept away (wait-open) */
};

struct sigaction {
	void *sa_handler; /* SIGCONT handled by the program: no restart that way (wait-open) */
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

struct thread_info {
	unsigned long flags; /* TIF_SIGPENDING: will the restart happen? */
	u32 status;	     /* TS_COMPAT: which system call table */
};

struct pt_regs {
	unsigned long orig_ax; /* the system call */
};

/* cgroup v2: its id is that of its kernfs node, its path the names up to the root */
struct kernfs_node {
	u64 id;
	const char *name;
	struct kernfs_node *parent;
};

/* From 6.15 on. */
struct kernfs_node___rcu {
	struct kernfs_node *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags; /* PF_*: who can't be parked */
	unsigned int ptrace;
	int pid;
	int tgid;
	const struct cred *real_cred; /* cred is the mounter's while overlayfs copies */
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	sigset_t blocked;
	struct sigpending pending;
	char comm[16];
	struct task_struct *group_leader; /* io_uring's workers have a name of their own */
	u64 start_boottime;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct fs_struct *fs;
};

/* complete, because libbpf compares kfunc prototypes by structure (KERNEL.md 12) */
struct bpf_map {
	u32 map_type;
};

struct bpf_dynptr {
	u64 __opaque[2];
};

struct bpf_task_work {
	u64 __opaque;
};

#pragma clang attribute pop

#endif
