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
	const unsigned char *name; /* for the path of a record */
};

struct super_block {
	u32 s_dev;	       /* which union */
	unsigned long s_magic; /* overlayfs at all? */
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
};

struct dentry {
	unsigned int d_flags; /* holder test: DCACHE_MOUNTED */
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct lockref d_lockref;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	unsigned int f_mode;  /* FMODE_WRITE */
	unsigned int f_flags; /* O_TRUNC */
	struct inode *f_inode;
	struct path f_path;
};

/* overlayfs's inode (module or built in): has the file an upper part already? */
struct ovl_inode {
	struct inode vfs_inode;
	struct dentry *__upperdentry;
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
