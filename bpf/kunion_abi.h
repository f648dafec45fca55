/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the BPF programs and the daemon share. Fixed-width types and constants only; DESIGN 4 is the table's contract.
 *
 * A slot's word is changed by compare-and-swap only, from both sides. Its upper half is a generation, which the daemon
 * advances when it recycles the slot; an inode's storage names slot and generation, so an old reference is no entry.
 */
#ifndef KUNION_ABI_H
#define KUNION_ABI_H

/* Pending copies at one time; when none is free, an operation goes native. 512 of them cost 2.3 MiB of request records. */
#define KU_SLOTS 512
/* Tasks parked at one time (task-work elements are allocated as needed); beyond it, native. */
#define KU_MAX_PARKED 65536
/* A wait's element has the thread's id as its key, every other slice with this bit. */
#define KU_OTHER_WAIT 0x80000000u
#define KU_MAX_UNIONS 4096
/* Longest path of a request, and room for the last name that may start just below it. */
#define KU_PATH_MAX 4096
#define KU_NAME_ROOM 256
#define KU_PATH_DEPTH 2048
/* Bytes; the gate's records are small. */
#define KU_RING_SIZE (4u << 20)

#define KU_XATTR_NAME "user.kunion"

enum ku_state {
	KU_S_FREE = 0,
	KU_S_REQUESTED,	 /* somebody waits, no worker yet */
	KU_S_COPYING,
	KU_S_COMMITTING, /* linking; can still be called off */
	KU_S_RENAMING,	 /* between lsm/inode_rename of the commit and its return: can't be called off */
	KU_S_DONE,
	KU_S_LOST,	 /* made moot, or overtaken by a native copy-up */
	KU_S_FAILED,	 /* with an errno for the requester; 0: "go native" for all */
};

/* word = generation << 32 | errno << 8 | state */
#define KU_WORD(gen, err, state) (((__u64)(gen) << 32) | ((__u64)(err) << 8) | (__u64)(state))
#define KU_WORD_STATE(w) ((__u32)((w) & 0xff))
#define KU_WORD_ERR(w) ((__u32)(((w) >> 8) & 0xffff))
#define KU_WORD_GEN(w) ((__u32)((w) >> 32))
#define KU_STATE_PENDING(s) ((s) >= KU_S_REQUESTED && (s) <= KU_S_RENAMING)

/* Inode storage: slot + 1 in the low half (0: none), generation in the high half. */
#define KU_REF(slot, gen) (((__u64)(gen) << 32) | ((__u64)(slot) + 1))
#define KU_REF_SLOT(r) ((__u32)(r) - 1)
#define KU_REF_GEN(r) ((__u32)((r) >> 32))

/* What lsm/inode_getattr of a worker's statx saw (KERNEL.md 9); excess = 0 means nobody else holds the file. */
struct ku_holders {
	__u32 seq;	/* odd parts never seen: written last, so a change says that the hook ran */
	__u32 excess;	/* KU_HELD_* */
	__s32 d_count;
	__s32 i_count;
	__s32 readers;
	__s32 writers;
};

enum ku_held {
	KU_HELD_DENTRY = 1,  /* descriptor (O_PATH too), mapping, running program */
	KU_HELD_INODE = 2,   /* another dentry or a watch */
	KU_HELD_READ = 4,
	KU_HELD_WRITE = 8,
	KU_HELD_NOTIFY = 16,
	KU_HELD_MOUNT = 32,
	KU_HELD_UPPER = 64,  /* not a lower file any more */
	KU_HELD_FLAGS = 128, /* append-only or immutable: nobody's, but the kernel's to copy */
};

struct ku_slot {
	__u64 word;
	__u32 parked;	     /* tasks inside a wait on it at this moment */
	__u32 joined;	     /* tasks that ever waited on it */
	__u32 openers;	     /* of the parked, those asleep in file_open: each holds references on the dentry */
	__u32 write_openers; /* of the openers, those that hold a write count */
	__u32 requester_tid;
	__u32 copier_tid;    /* the worker, as BPF sees it; set by lsm/inode_getattr of that worker */
	struct ku_holders held;
	__u32 asleep;	     /* of the parked, those that let go of everything: in the callback, or in file_open */
	__u32 guard;	     /* the kernel copies, brought about by kunion: what is moot waits, and cannot call it off */
};

enum ku_op {
	KU_OP_OTHER = 0,
	KU_OP_OPEN,
	KU_OP_CHMOD,
	KU_OP_CHOWN,
	KU_OP_UTIMES,
	KU_OP_TRUNCATE,
	KU_OP_SETXATTR,
	KU_OP_LINK,
	KU_OP_RENAME,
	KU_OP_SETFLAGS,
	KU_OP_CREATE,
	KU_OP_READ,
	KU_OP_REMOVE,
	KU_OP_MAX,
};

struct ku_task {
	__u32 tid, pid, uid;
	__u32 fsuid, fsgid;
	__u32 cap_resource; /* CAP_SYS_RESOURCE in the initial user namespace */
	__u64 cgroup_id;
	char comm[16];
};

/* One for each slot, written by who makes the entry, before the REQUEST record is sent. */
struct ku_request {
	__u64 ts_ns;
	__u64 size;
	__u32 union_id;
	__u32 op;
	__s32 nr;     /* system call; below 0: none */
	__u32 compat; /* nr is of the 32-bit table */
	struct ku_task who;
	__u32 path_len; /* of path[]; 0: deeper or longer than the limits */
	__u32 pad;
	/* The names from the file up to, not including, the root, each NUL-ended. */
	char path[KU_PATH_MAX + KU_NAME_ROOM];
};

enum ku_record_type {
	KU_R_REQUEST = 1, /* struct ku_record_slot */
	KU_R_JOIN,	  /* struct ku_record_slot: a task waits for the first time */
	KU_R_LEAVE,	  /* struct ku_record_slot: it gave up; err says why */
	KU_R_LOST,	  /* struct ku_record_slot: release its waiters */
	KU_R_GONE,	  /* struct ku_record_gone: the superblock is being shut down */
};

struct ku_record_slot {
	__u32 type;
	__u32 union_id;
	__u32 slot, gen;
	__u32 op;
	__u32 err;   /* LEAVE: ETIME (limit), EINTR (signal), EIO (cannot wait) */
	__u32 state; /* JOIN: the slot's state */
	__s32 nr;    /* as of a request */
	__u32 compat;
	__u32 pad;
	__u64 ts_ns;
	struct ku_task who;
};

struct ku_record_gone {
	__u32 type;
	__u32 union_id;
};

enum ku_mode { KU_MODE_OBSERVE = 1, KU_MODE_GUARD, KU_MODE_MANAGE };

/* Key: kernel dev_t of the overlay superblock (major << 20 | minor). */
struct ku_union_cfg {
	__u32 id;
	__u32 mode;
	__u64 min_size;
};

enum ku_tier { KU_TIER_NONE = 0, KU_TIER_OBSERVE, KU_TIER_WAIT_OPEN, KU_TIER_PARK };

/* Read-only for BPF, set between open and load. */
struct ku_config {
	__u32 tier;
	__u32 pad;
	__u64 max_wait_ns;
};

/* Shared, memory-mapped. */
struct ku_shared {
	__u32 self_tgid; /* kunion itself, exempt: set by the program ku_register, which sees it in the right pid namespace */
	__u32 gate_pid;	 /* the gate's child, likewise */
	__u32 gate_dev;	 /* kernel dev_t of the gate's FUSE superblock */
	__u32 self_seen; /* kunion's own stats on a union: the proof that the kernel calls the programs */
	__u32 guarding;	 /* threads of kunion that bring the kernel's copy-up about */
	__u32 pad;
	__u64 dropped_requests; /* ring full: went native */
	__u64 dropped_records;	/* ring full: a JOIN, LEAVE, LOST or NATIVE was not told */
	__u64 no_slot;
	__u64 cannot_wait; /* task work or gate refused: went native */
};

#ifndef __bpf__
_Static_assert(sizeof(struct ku_slot) == 64, "ku_slot is part of the ABI");
_Static_assert(sizeof(struct ku_union_cfg) == 16, "ku_union_cfg is part of the ABI");
#endif

#endif
