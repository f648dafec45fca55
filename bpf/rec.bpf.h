/* SPDX-License-Identifier: GPL-2.0-only */
/* What the gate keeps of a task; the policy looks whether it made that wait. */
#ifndef KU_REC_BPF_H
#define KU_REC_BPF_H

/* A task's own memory from one restart to the next. */
struct ku_rec {
	__u64 inode; /* what it waits for: a number to compare, never followed */
	__u64 ref;   /* KU_REF() of the entry */
	__u64 deadline_ns;
	__u64 stale_ns;	   /* when it was last sent to walk again by -ESTALE */
	__u64 open_inode;  /* the last file_open for writing, and whether that truncates */
	__u32 open_trunc;
	__u32 rewalk;	   /* this is the walk after an -ESTALE: another one would reach the user */
	__u32 requester;
	__u32 verdict; /* enum ku_verdict */
	__u32 err;
	__u32 tries;   /* entries of this inode that it saw LOST */
	__u32 walks;   /* how often it was sent to look for a name again */
	__u64 gone;    /* of which inode: its last entry's KU_REF(), or its address, which is none */
	__u32 op;
	__u32 waits;   /* how often it was made to wait, or would have been */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ku_rec);
} ku_recs SEC(".maps");

#endif
