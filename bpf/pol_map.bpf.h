/* SPDX-License-Identifier: GPL-2.0-only */
/* The policy, the unions it is for, and each task's own memory. */
#ifndef KU_POL_MAP_BPF_H
#define KU_POL_MAP_BPF_H

#define EPERM 1
#define ENOMEM 12
#define EXDEV 18
#define ENOSPC 28
#define EROFS 30
#define EDQUOT 122

const volatile struct ku_pol_config ku_pol_cfg SEC(".rodata.cfg");
struct ku_pol_shared ku_pol_shared SEC(".data.shared");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KU_POL_BANKS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ku_pol_bank);
} ku_pol_banks SEC(".maps");

/* A superblock that goes away takes its entry along. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_POL_MAX_UNIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_pol_union);
} ku_pol_unions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KU_POL_BANKS * KU_POL_RULES);
	__type(key, __u32);
	__type(value, struct ku_pol_count);
} ku_pol_counts SEC(".maps");

/* Full: the verdict stands, that it is not told is counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KU_POL_RING_SIZE);
} ku_pol_ring SEC(".maps");

/* A question. */
enum ku_pol_held_state { KU_H_NONE, KU_H_ASKED, KU_H_ANSWERED, KU_H_USED };

#define KU_POL_HELD 8

/* END: be told when the operation is over. */
enum ku_pol_todo { KU_T_NONE, KU_T_PARK, KU_T_END };

struct ku_pol_held {
	__u64 id;
	__u64 dir; /* its name: numbers to compare, never followed */
	__u32 hash, rule, action;
	__u32 state, err; /* ANSWERED: err, or 0 to let it pass; USED: it was let pass by that, and goes on */
	__u32 pad;
};

/*
 * A task's own: these programs can be preempted, so that what belongs to a CPU would be overwritten. Made when a task first does what the policy
 * asks about, gone with the task.
 */
struct ku_pol_task {
	/* what is to be judged; a system call may be several such things, all by one policy */
	__u32 gen, dev;
	__u32 action, kind;
	__u64 size;
	/* its name, and for a link or rename both: addresses. Functions that the verifier looks at by themselves take no kernel objects. */
	__u64 dentry, old, new;
	/*
	 * By enum ku_pol_string: the set that each lets through, and all ones if it is not to be had. In memory, for the verifier follows each value that
	 * is at hand through the loop behind.
	 */
	__u32 sets[8];
	__u64 open[8];
	__u32 unknown; /* is there such a one? */
	__u32 unsure;
	__u32 judged;	  /* by a rule: some is there for such things */
	__u32 known;	  /* 1 + the path's set, where it is known without the path; else 0 */
	__u32 known_seq;
	__u32 path_known; /* sets[KU_PS_PATH] is that of the path as it was at rename_lock's number path_seq */
	__u32 path_seq;
	__u32 uid_gen, uid, uid_set; /* the last one's */
	__u32 of_union_gen, of_union_sum;
	__u64 of_union_serial; /* of which element of ku_pol_unions */
	__u32 of_union_dev;
	struct ku_pol_set of_union;
	/* the string at hand: text[at] up to, not including, text[end]; its state of the automaton */
	__u32 at, end, state;
	/* what the strings of a cgroup and a program gave, by the policy's gen */
	__u32 cgroup_gen;
	__u64 cgroup_id;
	__u32 cgroup_set, container_set;
	__u32 exe_gen, exe_set;
	__u32 rename_seq, mount_seq;
	__u64 exe[4]; /* file, dentry, mount, root */
	/* of a file that was just executed: its mapping is no second execution */
	__u64 exec_inode;
	/* the second half of an exchange has the names the other way round */
	__u64 swap[2];
	/* the copy-up that was last let pass: whose name, in which directory, and how often the gate had made this task wait by then */
	__u64 copy_dir;
	__u32 copy_hash, copy_waits;
	/* the last verdict: the rule's number, its errno, its record or 0 */
	__u32 rule, err;
	__u64 sent;
	/* of a file's creation that was asked for before the name was looked up */
	__u64 unsure_dentry, unsure_sent;
	__u32 unsure_rule, unsure_err, unsure_gen;
	__u32 unsure_settled;
	/* verdict hold: the questions of the operation under way, of which policy; which of them is being asked, + 1; how that ends by itself */
	__u32 held_gen, asking, held_err;
	__u64 held_until;
	struct ku_pol_held held[KU_POL_HELD];
	__u32 todo, todo_at; /* with which of them: enum ku_pol_todo */
	__u32 limit;   /* seconds, while a question is sent; else 0 */
	__u32 rule_err;
	__u32 settled; /* the last verdict is one, and not that it is held */
	__u32 mapped;  /* exec: by mmap or mprotect */
	/* how often it was held; by its last answer, and how often the gate had made it wait by then; is the end awaited? */
	__u32 parks, over_parks, over_waits, over;
	/* what is charged if a rule lets it pass: a copy-up of these bytes of this inode (an address), or one file created; and what came of it */
	__u32 charge, met, budget;
	__u64 inode, bytes;
	/* of a file's creation: which name, and whose account, to give it back */
	__u64 made_dentry;
	struct ku_pol_account_key made;
	__u32 made_rule, made_budget;
	__u32 copy_rule, copy_budget; /* of the copy-up that was last let pass */
	/* the name whose open truncates: no data is copied */
	__u64 trunc;
	char name[KU_NAME_ROOM];
	/* Paths are put together from their end. */
	char text[KU_PATH_MAX + KU_NAME_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ku_pol_task);
} ku_pol_tasks SEC(".maps");

/* A hook's union and policy, which stays the same to its end, whatever is loaded meanwhile. */
struct ku_pol_here {
	struct ku_pol_union *u;
	struct ku_pol_bank *bank;
	__u32 gen, dev;
};

static __always_inline struct ku_pol_bank *ku_pol_bank_of(__u32 gen)
{
	__u32 bank = KU_POL_BANK(gen);

	return bpf_map_lookup_elem(&ku_pol_banks, &bank);
}

static __always_inline __u64 ku_pol_began(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

static __always_inline bool ku_pol_is_self(void)
{
	if ((bpf_get_current_pid_tgid() >> 32) != ku_pol_shared.self_tgid)
		return false;
	return ku_pol_began(bpf_get_current_task_btf()) == ku_pol_shared.self_start;
}

static long ku_pol_still(__u32 i, __u64 *until)
{
	return bpf_ktime_get_ns() > *until;
}

/* Only tests have it loaded: elsewhere the verifier finds a constant, and leaves it out. */
static __always_inline void ku_pol_linger(void)
{
	__u64 until;

	if (!ku_pol_cfg.linger_ms)
		return;
	until = bpf_ktime_get_ns() + ku_pol_cfg.linger_ms * 1000000ULL;
	bpf_loop(1u << 23, ku_pol_still, &until, 0);
}

/* False: none of ours. */
static __always_inline bool ku_pol_begin_dev(struct ku_pol_here *h, __u32 dev)
{
	h->dev = dev;
	/* First: the union's element is written before it. What is found the other way round may be too old for it. */
	h->gen = *(volatile __u32 *)&ku_pol_shared.gen;
	ku_pol_linger();
	h->u = bpf_map_lookup_elem(&ku_pol_unions, &dev);
	if (!h->u || ku_pol_is_self())
		return false;
	h->bank = ku_pol_bank_of(h->gen);
	return h->bank;
}

static __always_inline bool ku_pol_begin(struct ku_pol_here *h, struct super_block *sb)
{
	return sb->s_magic == OVERLAYFS_SUPER_MAGIC && ku_pol_begin_dev(h, sb->s_dev);
}

/* Is there a rule that does more than allow this? */
static __always_inline bool ku_pol_asks(const struct ku_pol_bank *bank, __u32 action)
{
	return bank->pol.actions & (1u << (action & 31));
}

#define KU_POL_LOOKS 4

/*
 * Into t: which rules are for the union u. The map gives the memory of an element that is replaced to the next one at once, which may be another union's,
 * while somebody still looks at it (kernel/bpf/hashtab.c): what was read counts if it is this union's element still. Not inlined: stacks of 6.1.
 */
static __noinline int ku_pol_look_union(struct ku_pol_task *t, const struct ku_pol_union *u, const struct ku_pol_bank *b, __u32 gen, __u32 dev)
{
	__u32 bank = KU_POL_BANK(gen);

	for (int i = 0; i < KU_POL_LOOKS; i++) {
		__u64 serial = *(volatile __u64 *)&u->serial;
		const struct ku_pol_union *now;
		/* Else user space has not found it yet. */
		bool named = u->gen[bank] == gen;

		__builtin_memcpy(&t->of_union, named ? &u->set[bank] : &b->unnamed, sizeof(t->of_union));
		t->of_union_sum = named ? u->sum[bank] : b->unnamed_sum;
		barrier();
		now = bpf_map_lookup_elem(&ku_pol_unions, &dev);
		if (!now)
			break;
		if (now == u && *(volatile __u64 *)&now->serial == serial) {
			t->of_union_gen = gen;
			t->of_union_serial = serial;
			t->of_union_dev = dev;
			return 0;
		}
		u = now;
	}
	/* Let go by now. */
	__builtin_memcpy(&t->of_union, &b->unnamed, sizeof(t->of_union));
	t->of_union_sum = b->unnamed_sum;
	t->of_union_gen = 0;
	return 0;
}

/* NULL: no memory. */
static __always_inline struct ku_pol_task *ku_pol_task_of(const struct ku_pol_here *h)
{
	struct ku_pol_task *t = bpf_task_storage_get(&ku_pol_tasks, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!t)
		return NULL;
	t->gen = h->gen;
	t->dev = h->dev;
	t->unsure = 0;
	t->mapped = 0;
	t->todo = KU_T_NONE;
	t->charge = 0;
	t->known = t->path_known = t->judged = 0;
	if (t->of_union_gen != h->gen || t->of_union_dev != h->dev || t->of_union_serial != h->u->serial)
		ku_pol_look_union(t, h->u, h->bank, h->gen, h->dev);
	return t;
}

/* What cannot be judged passes no policy that denies anything. */
static __always_inline __u32 ku_pol_no_memory(const struct ku_pol_here *h)
{
	__sync_fetch_and_add(&ku_pol_shared.dropped, 1);
	return h->bank->denies ? ENOMEM : 0;
}

static __always_inline void ku_pol_object(struct ku_pol_task *t, struct inode *inode)
{
	__u32 mode = inode->i_mode & S_IFMT;

	t->kind = mode == S_IFREG ? KU_K_FILE : mode == S_IFDIR ? KU_K_DIR : mode == S_IFLNK ? KU_K_SYMLINK : KU_K_SPECIAL;
	t->size = mode == S_IFREG ? inode->i_size : 0;
}

#endif
