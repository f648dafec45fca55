/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A compiled policy, as user/policy/ makes it and policy.bpf.c reads it (DESIGN 8).
 *
 * Each thing that a rule may ask for (path, program, size, ..) gives, for an operation, the set of those rules that it lets through: one bit a
 * rule. The rule that decides is the first one in all of these sets. Strings are matched by one automaton, byte by byte from its beginning; what
 * it costs depends on the string's length, not on how many rules there are.
 *
 * The blob has no pointers, and every index in it is masked or checked by who reads it: a wrong blob gives wrong answers, nothing worse.
 */
#ifndef KUNION_POLICY_ABI_H
#define KUNION_POLICY_ABI_H

#include "kunion_abi.h"

#define KU_POL_VERSION 1

/* Rules, the default among them: it is the last one, and in every set. */
#define KU_POL_RULES 1024
#define KU_POL_WORDS (KU_POL_RULES / 64)
/* All sets of the policy, each once. Set 0 has all rules. */
#define KU_POL_SETS 4096
/* The automaton's states; state 0 is dead: only the rules that ask for no such string are left, whatever follows. */
#define KU_POL_STATES 65536
/* Its transitions, by base[state] + byte; room behind the last base for 256 of them. */
#define KU_POL_EDGES 262144
/* Bounds of an interval table: entry i is for values from bounds[i] up to, not including, bounds[i + 1]. */
#define KU_POL_BOUNDS 2048
#define KU_POL_BUDGETS 64

enum ku_pol_action {
	KU_A_COPY_UP,	    /* a lower file, directory or the like would be copied */
	KU_A_CREATE,	    /* a new name in the upper layer */
	KU_A_REMOVE,	    /* a whiteout: the file or directory is in a lower layer */
	KU_A_REMOVE_UPPER,  /* what is in the upper layer only, or copied up */
	KU_A_MODIFY,	    /* opened for writing, or truncated, and upper already */
	KU_A_EXEC,	    /* run or mapped executable, and not as it is in the image: upper */
	KU_A_MAX
};

enum ku_pol_kind { KU_K_FILE, KU_K_DIR, KU_K_SYMLINK, KU_K_SPECIAL, KU_K_MAX };

enum ku_pol_verdict { KU_V_ALLOW, KU_V_AUDIT, KU_V_DENY, KU_V_HOLD, KU_V_MAX };

/* What a budget limits; and the free space of the upper file system, which is everybody's. */
enum ku_pol_limit {
	KU_PL_NONE,
	KU_PL_COPIED,  /* bytes of files copied up */
	KU_PL_WRITTEN, /* bytes written to files */
	KU_PL_CREATED, /* files, directories and the like made anew */
	KU_PL_RATE,    /* copy-ups per second */
	KU_PL_SPACE,
	KU_PL_MAX
};

/* Strings, each with a state of the automaton to begin in. */
enum ku_pol_string {
	KU_PS_PATH,	 /* of the object, from the union's root: "/etc/passwd" */
	KU_PS_EXE,	 /* of the program that runs, as in its own mount namespace's root file system; "" for kernel threads */
	KU_PS_COMM,	 /* at most 15 bytes */
	KU_PS_CGROUP,	 /* v2, from the hierarchy's root: "/system.slice/x" */
	KU_PS_CONTAINER, /* the same string, for what asks for a container */
	KU_PS_MAX
};

struct ku_pol_rule {
	__u8 verdict; /* enum ku_pol_verdict */
	__u8 budget;  /* number + 1 of the budget it is charged to; 0: none */
	__u16 err;    /* deny, and the end of a hold: positive errno. 0: the action's own (EROFS for copy-up and create, EPERM else) */
};

struct ku_pol_set {
	__u64 w[KU_POL_WORDS]; /* bit i % 64 of word i / 64 is rule i */
};

/* n intervals, sorted; the first begins at 0. */
struct ku_pol_intervals {
	__u32 n;
	__u32 pad;
	__u64 bounds[KU_POL_BOUNDS];
	__u16 set[KU_POL_BOUNDS];
};

/*
 * From state s with byte b: e = edges[base[s] + b]; if (e >> 16) == s then e & 0xffff, else fallback[s]. State 0 has no edges and falls back to
 * itself: an edge whose owner is 0 belongs to nobody.
 */
struct ku_pol_automaton {
	__u16 start[8];		       /* by enum ku_pol_string; 0: no rule asks for it, set 0 */
	__u16 dead_set[8];	       /* what state 0 gives, for a string that was begun */
	__u32 base[KU_POL_STATES];
	__u16 fallback[KU_POL_STATES];
	__u16 set[KU_POL_STATES];      /* of a string that ends there */
	__u32 edges[KU_POL_EDGES];
};

struct ku_pol {
	__u32 version; /* KU_POL_VERSION */
	__u32 nrules;  /* the default included */
	__u32 actions; /* bit a: some rule may refuse, tell, hold or charge action a; else it need not be looked at */
	__u32 pad;
	__u16 action_set[8];
	__u16 kind_set[8];
	struct ku_pol_rule rules[KU_POL_RULES];
	struct ku_pol_intervals uid;  /* of the file system user id, initial user namespace */
	struct ku_pol_intervals size; /* bytes of the object; 0 for all but regular files that exist */
	struct ku_pol_automaton strings;
	struct ku_pol_set sets[KU_POL_SETS];
};

#ifndef __bpf__
_Static_assert(sizeof(struct ku_pol_rule) == 4, "ku_pol_rule is part of the ABI");
/* An array map's element may be KMALLOC_MAX_SIZE on 6.1. */
_Static_assert(sizeof(struct ku_pol) <= 4u << 20, "a policy has to fit into an element of an array map");
#endif

#endif
