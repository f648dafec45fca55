/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What policy.bpf.c and its loader share beside the compiled policy itself.
 *
 * There are two banks. Operations look at the one that the lowest bit of ku_pol_shared.gen names, and read that word once, before anything else. A new
 * policy is written into the other bank, and what it says of each union into that union's element, then gen goes up by one; that bank in turn is
 * written only when every operation that began before has ended.
 */
#ifndef KUNION_JUDGE_ABI_H
#define KUNION_JUDGE_ABI_H

#include "kunion_policy_abi.h"

/* Raised with whatever a policy that another kunion has pinned would be read wrongly by, and the shape of its maps does not show. */
#define KU_POL_ABI 1

#define KU_POL_BANKS 2
#define KU_POL_BANK(gen) ((gen) & 1)
#define KU_DEV_NEW 0 /* no superblock has it: what is in force on unions that come, until they have a name */
#define KU_POL_MAX_UNIONS 4096
#define KU_POL_MAX_ACCOUNTS 65536
/* Bytes. A record is some 120 bytes and its path: about 8000 of them. */
#define KU_POL_RING_SIZE (2u << 20)

/* How a hold ends by itself. */
struct ku_pol_hold_end {
	__u16 limit; /* seconds */
	__u16 allow; /* let pass then; else the rule's errno */
};

/* Seconds. */
#define KU_POL_LIMIT 30
#define KU_POL_LIMIT_MAX 3600

/* In ku_pol_answers. */
#define KU_POL_ANSWER(err) ((__u32)(err) & 0xfff)

enum ku_pol_budget_flags {
	KU_PB_DENY = 1, /* at the limit; else it is told */
	KU_PB_ALL = 2,	/* one account for all unions; else each has its own */
};

/* A limit of ~0 is none. */
struct ku_pol_budget {
	__u32 id; /* of its accounts: the same as long as policies have a budget of this name */
	__u32 flags;
	__u64 max[KU_PL_MAX]; /* by enum ku_pol_limit */
	__u64 interval_ns;    /* between two copy-ups */
	char name[72];	      /* with its end: whoever takes a pinned policy over knows its accounts by that */
};

struct ku_pol_bank {
	struct ku_pol pol;
	struct ku_pol_hold_end hold[KU_POL_RULES];
	struct ku_pol_set deny; /* the rules that deny or hold: what decides where a string is not known */
	__u32 denies;		/* is there any? */
	__u32 holds;		/* is there one that holds? */
	__u32 charges;		/* is there a budget, or space to keep free? */
	__u32 writes;		/* does a budget limit what is written? */
	__u16 sums[KU_POL_SETS]; /* bit i: word i of the set is not 0 */
	struct ku_pol_set unnamed; /* the rules for a union that no rule names */
	__u32 unnamed_sum;
	__u32 pad;
	__u64 keep_free;	/* bytes that a copy-up has to leave free in the upper file system; ~0: not looked at */
	struct ku_pol_budget budgets[KU_POL_BUDGETS];
};

/* What was charged to a budget: made by user space, changed by BPF only. */
struct ku_pol_account_key {
	__u32 dev; /* of the union; 0: all of them */
	__u32 id;  /* of the budget */
};

struct ku_pol_account {
	__u64 used[KU_PL_MAX]; /* by enum ku_pol_limit; RATE: CLOCK_MONOTONIC ns at which all that was let pass is paid for */
	__u64 copyups;
	__u64 over[KU_PL_MAX]; /* how often an operation went beyond it, or would have */
	__u64 last_ns;	       /* when it last did */
};

/*
 * Free space, by a union's dev. What user space found, at a time when no copy-up was under way: free. Copy-ups let pass since then: under_way, and those
 * of them that ended, done - base. now: what was found last.
 */
struct ku_pol_free {
	__u64 free, base, now;
	__u64 ts_ns; /* of free */
	__u64 looked_ns; /* of now */
};

struct ku_pol_space {
	__u64 under_way, done; /* bytes; changed by BPF only */
};

/*
 * Key: kernel dev_t of the overlay superblock. Which rules its merged path lets through, in each bank, of which policy. One that was taken up in the
 * kernel, and not by user space yet, has nothing of a policy that came since: it is one that no rule names.
 */
struct ku_pol_union {
	struct ku_pol_set set[KU_POL_BANKS];
	__u32 sum[KU_POL_BANKS]; /* as of sums */
	__u32 gen[KU_POL_BANKS]; /* whose rules they are */
	__u64 serial;		 /* another one with each element that is written */
};

/* One for each rule of each bank: element bank * KU_POL_RULES + rule. */
struct ku_pol_count {
	__u64 hits;    /* it decided */
	__u64 denied;
	__u64 last_ns; /* CLOCK_MONOTONIC, to a tick of the kernel (1 to 10 ms) */
	__u64 tick;    /* BPF's own */
};

/* Read-only for BPF, set between open and load. */
struct ku_pol_config {
	__u32 open_waits; /* the gate waits in file_open: what will be copied is judged there, too */
	__u32 linger_ms;  /* for tests: a hook stands still this long once it knows its policy; else 0 */
};

/* Does somebody take questions? Else a rule with hold means what it says for the limit; at the policy's end, nothing. */
enum ku_pol_holding { KU_HOLDING_NOT, KU_HOLDING, KU_HOLDING_OVER };

/* Shared, memory-mapped. */
struct ku_pol_shared {
	__u32 self_tgid; /* kunion itself, exempt: set by the program ku_pol_register */
	__u32 gen;	 /* above */
	__u32 self_seen; /* kunion mapped memory executable: the proof that the kernel calls the programs */
	__u32 holding;	 /* enum ku_pol_holding */
	__u32 pinned;	 /* it is to outlive kunion */
	__u32 pad;
	__u32 gate_pid;	 /* the gate's child: set by the program ku_pol_register_gate */
	__u32 gate_dev;	 /* kernel dev_t of the gate's FUSE superblock */
	__u64 self_start; /* when that process began: a pinned policy outlives it, and its number will be another's */
	__u64 dropped;	 /* ring full, or no memory: a verdict was not told */
	__u64 dropped_told; /* how many of these kunion has told; for itself */
	__u64 unknown;	 /* paths not known: deeper than 4096 bytes, cut off, or renamed again and again meanwhile */
};

enum ku_pol_record_type {
	KU_PR_VERDICT = 1, /* struct ku_pol_record */
	KU_PR_QUESTION,	  /* struct ku_pol_record: a task is held; err is what it gets at the limit; its id is the question's */
	KU_PR_TAKEN_BACK,  /* the same, of the one with this id: the file was there already, nothing was created */
};

/* A verdict other than allow. */
struct ku_pol_record {
	__u32 type;
	__u32 dev;
	__u64 id;
	__u64 ts_ns;
	__u64 size;
	__u32 gen; /* whose rule it is */
	__u32 rule;
	__u32 action, kind, verdict;
	__u32 err;     /* positive; 0: not refused */
	__u32 unsure;  /* it may be taken back at once */
	__u32 limit;	/* of a question: seconds */
	__u32 path_len; /* of the path behind this, from the union's root, without an end; 0: not known */
	__u32 rule_err; /* of a question: what a denial gives, positive */
	__u32 met;	/* enum ku_pol_limit that it went beyond */
	__u32 budget;	/* number + 1 of the budget it belongs to */
	struct ku_task who;
};

#ifndef __bpf__
_Static_assert(sizeof(struct ku_pol_bank) <= 4u << 20, "a bank has to fit into an element of an array map");
_Static_assert(sizeof(struct ku_pol_record) == 128, "ku_pol_record is part of the ABI");
#endif

#endif
