/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the observing programs (observe.bpf.c) and the daemon share. Unions are told by the kernel dev_t of their superblock. A record is as long
 * as its path: what is behind path[path_len] is not sent.
 */
#ifndef KUNION_OBSERVE_ABI_H
#define KUNION_OBSERVE_ABI_H

#include "kunion_abi.h"

/* Copy-ups, and waits for them, at one time; beyond it they are counted but not told. */
#define KU_MAX_ACTIVE 8192
/* Bytes. A record is about 300 bytes and its path: some 20000 of them. */
#define KU_OBS_RING_SIZE (8u << 20)
/* Different {union, cgroup} with exact totals of their own; the sum over all is exact beyond that, too. */
#define KU_MAX_COUNTS 4096
/* Times in powers of two of a microsecond: bucket n has those below 2^n, and not below 2^(n-1). The last has all others. */
#define KU_OBS_HIST 32

/* path_len of a file whose path is not known, or too long; 0 is the root's. */
#define KU_PATH_UNKNOWN 0xffffffffu

enum ku_obs_record {
	KU_O_COPYUP = 1, /* struct ku_obs_copyup */
	KU_O_WAIT,	 /* struct ku_obs_wait */
	KU_O_WRITE,	 /* struct ku_obs_write */
	KU_O_GONE,	 /* struct ku_obs_gone */
	KU_O_MADE,	 /* struct ku_obs_made */
	KU_O_MAX,
};

enum ku_obs_data { KU_DATA_NONE, KU_DATA_COPIED, KU_DATA_CLONED, KU_DATA_METADATA };

/* One copy-up by the kernel: while it runs in the map ku_active, by thread id; then a record. */
struct ku_obs_copyup {
	__u32 type;
	__u32 dev;
	__u64 id; /* its beginning, CLOCK_MONOTONIC in ns, made unique by the CPU */
	__u64 start_ns, end_ns;
	__u64 lock_start_ns, lock_ns;	/* waiting for the overlay inode lock */
	__u64 file_start_ns, file_ns;	/* copying, without fsync */
	__u64 fsync_start_ns, fsync_ns;
	__u64 size;  /* of the lower file */
	__u64 bytes; /* to be copied or cloned; 0: no data */
	__u64 done;  /* of these, so far */
	__u64 dentry; /* to compare only */
	__u32 op;
	__s32 nr;     /* system call; below 0: none */
	__u32 compat; /* nr is of the 32-bit table */
	__u32 mode;   /* i_mode */
	__u32 data;   /* enum ku_obs_data */
	__s32 result; /* 0 or -errno */
	__u32 already; /* somebody else had copied it */
	__u32 waiters; /* who waited for its lock */
	__u32 seen;	/* by lsm/inode_copy_up, which nobody comes to whom the gate sent away, or who found the file copied */
	__u32 was_upper; /* metadata is up already, now the data follows: passes no LSM hook */
	__u32 path_len;
	__u32 pad;
	struct ku_task who;
	char path[KU_PATH_MAX + KU_NAME_ROOM];
};

enum ku_obs_on { KU_ON_INODE = 1, KU_ON_DIR, KU_ON_FILE };

/* The copy-up that a wait is due to. id 0: not known. */
struct ku_obs_root {
	__u64 id;
	__u32 pid, tid;
	char comm[16];
};

/* One wait: while it lasts in the map ku_lockwaits, by thread id; then, if a copy-up was the reason, a record. */
struct ku_obs_wait {
	__u32 type;
	__u32 dev;
	__u64 start_ns, end_ns;
	__u64 lock; /* to compare only */
	__u32 on;   /* enum ku_obs_on */
	__u32 op;
	__s32 nr;
	__u32 compat;
	__s32 result;
	__u32 holder_op;
	struct ku_task who, holder; /* holder.pid 0: not known */
	struct ku_obs_root root;
	__u32 pad;
	__u32 path_len;
	char path[KU_PATH_MAX + KU_NAME_ROOM];
};

/* Something was made, changed or removed in the upper layer. */
struct ku_obs_write {
	__u32 type;
	__u32 dev;
	__u64 ts_ns;
	__u64 size; /* of a regular file */
	__u32 op; /* KU_OP_CREATE, _REMOVE, _RENAME, _LINK, _OPEN (modify) */
	__u32 mode;
	struct ku_task who;
	__u32 lower; /* nothing of it is in the upper layer */
	__u32 path_len;
	char path[KU_PATH_MAX + KU_NAME_ROOM];
};

struct ku_obs_gone {
	__u32 type;
	__u32 dev;
};

/* An overlay is being mounted, and observed from here on. */
struct ku_obs_made {
	__u32 type;
	__u32 dev;
	__u32 pid; /* who mounts it, as the initial pid namespace numbers it */
	__u32 pad;
};

/* Of the program ku_obs_take: the copy-up of this thread with this number, which does not run any more, is over. */
struct ku_obs_take_args {
	__u64 id;
	__u32 tid;
	__u32 pad;
};

/* Exact numbers, counted on each CPU. Key: */
struct ku_count_key {
	__u32 dev;
	__u32 failed;
	__u64 cgroup_id;
};

struct ku_count {
	__u64 copyups, bytes, copyup_ns;
	__u64 waits, wait_ns, stalls;
	__u64 copyup_hist[KU_OBS_HIST], wait_hist[KU_OBS_HIST];
};

/* Bytes written into a file since it was copied up. Key: */
struct ku_written_key {
	__u64 inode, ino;
};

struct ku_written {
	__u64 id; /* of the copy-up */
	__u64 written;
	__u32 told; /* a write was told (KU_O_WRITE) */
	__u32 pad;
};

/* Unions whose layers are remembered from one look at mountinfo to the question; overlayfs takes 500 lower layers. */
#define KU_MAX_LAYERS 4096
#define KU_OVL_LAYERS 512

/* A union's idmapped layers. Key: its device */
struct ku_obs_layers {
	__u32 lower; /* so many */
	__u32 upper; /* the upper one is */
};

/* Read-only for BPF, set between open and load. */
struct ku_obs_config {
	__u32 all; /* unions that nobody named, too */
	__u32 writes; /* tell what is made, changed and removed */
	__u32 layers; /* look at them when mountinfo is read */
};

/* Shared, memory-mapped. */
struct ku_obs_shared {
	__u32 self_tgid; /* kunion, whose copy-ups are somebody else's request and told as such; 0: it makes none */
	__u32 lsm;	 /* the kernel calls lsm/inode_copy_up: its word counts */
	__u32 take_new;	 /* overlays that are mounted from now on are unions */
	__u32 own_tgid;	 /* kunion, in every mode: whose reading of mountinfo is looked at */
	__u64 dropped[KU_O_MAX]; /* records that found no room, by kind */
	__u64 no_room;		 /* copy-ups and waits beyond KU_MAX_ACTIVE */
	__u64 no_counts;	 /* copy-ups and waits beyond KU_MAX_COUNTS: in the sum only */
};

#endif
