/* SPDX-License-Identifier: GPL-2.0-only */
/* The rule that decides: the first one in all sets (kunion_policy_abi.h). */
#ifndef KU_POL_MATCH_BPF_H
#define KU_POL_MATCH_BPF_H

#define KU_POL_STEP 16 /* bytes that a round of the loop takes: a call costs as much as several of them */

struct ku_pol_run {
	struct ku_pol_bank *bank;
	struct ku_pol_task *t;
};

static long ku_pol_bytes(__u32 i, struct ku_pol_run *r)
{
	struct ku_pol_automaton *a = &r->bank->pol.strings;
	struct ku_pol_task *t = r->t;
	__u32 at = t->at, end = t->end, s = t->state;

	for (int k = 0; k < KU_POL_STEP; k++) {
		__u32 byte, e;

		barrier_var(at);
		if (at >= end || at > KU_PATH_MAX || !s)
			break;
		byte = (__u8)t->text[at];
		s &= KU_POL_STATES - 1;
		e = a->edges[(a->base[s] + byte) & (KU_POL_EDGES - 1)];
		s = e >> 16 == s ? e & 0xffff : a->fallback[s];
		at++;
	}
	t->at = at;
	t->state = s;
	return at >= end || !s;
}

/* The set that the string at hand lets through. */
__noinline int ku_pol_string(struct ku_pol_task *t, __u32 which)
{
	struct ku_pol_automaton *a;
	struct ku_pol_run r;
	__u32 at;

	if (!t)
		return 0;
	r.t = t;
	r.bank = ku_pol_bank_of(t->gen);
	if (!r.bank)
		return 0;
	a = &r.bank->pol.strings;
	at = t->at;
	t->state = a->start[which & 7];
	bpf_loop(KU_PATH_MAX / KU_POL_STEP + 1, ku_pol_bytes, &r, 0);
	t->at = at;
	return t->state ? a->set[t->state & (KU_POL_STATES - 1)] : a->dead_set[which & 7];
}

/* The last interval that begins at or below v. */
static __always_inline __u32 ku_pol_interval(struct ku_pol_intervals *in, __u64 v)
{
	/* 0, but no constant to the verifier, which would follow each value of its own. */
	__u32 n = in->n, base = in->pad & (KU_POL_BOUNDS - 1);

	if (n == 1)
		return in->set[0];
	for (__u32 step = KU_POL_BOUNDS / 2; step; step >>= 1) {
		__u32 next = (base + step) & (KU_POL_BOUNDS - 1);

		if (next < n && in->bounds[next] <= v)
			base = next;
		base &= KU_POL_BOUNDS - 1;
		barrier_var(base);
	}
	return in->set[base & (KU_POL_BOUNDS - 1)];
}

/* The sets that the numbers let through: uid in the upper half, size in the lower one. */
__noinline int ku_pol_numbers(struct ku_pol_task *t, __u32 uid)
{
	struct ku_pol_bank *b;

	if (!t)
		return 0;
	b = ku_pol_bank_of(t->gen);
	if (!b)
		return 0;
	if (t->uid_gen != t->gen || t->uid != uid) {
		t->uid_set = ku_pol_interval(&b->pol.uid, uid);
		t->uid = uid;
		t->uid_gen = t->gen;
	}
	return t->uid_set << 16 | ku_pol_interval(&b->pol.size, t->size);
}

/* What is not known may be anything to a rule that denies, and is nothing to any other that asks for it. */
static __always_inline __u32 ku_pol_unknown(struct ku_pol_task *t, struct ku_pol_bank *b, __u32 which)
{
	t->unknown = 1;
	t->open[which & 7] = ~0ULL;
	return b->pol.strings.dead_set[which & 7];
}

static __always_inline bool ku_pol_wants(const struct ku_pol_bank *b, __u32 which)
{
	return b->pol.strings.start[which & 7];
}

/* The worker of an io_uring is named after nobody: its process is meant. */
__noinline int ku_pol_comm(struct ku_pol_task *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	long n;

	if (!t)
		return 0;
	if (task->flags & (PF_IO_WORKER | PF_USER_WORKER))
		n = bpf_probe_read_kernel_str(t->text, sizeof(task->comm), BPF_CORE_READ(task, group_leader, comm));
	else
		n = bpf_probe_read_kernel_str(t->text, sizeof(task->comm), __builtin_preserve_access_index(&task->comm));
	t->at = 0;
	t->end = n > 0 ? n - 1 : 0;
	return ku_pol_string(t, KU_PS_COMM);
}

/* Into cgroup_set and container_set. */
__noinline int ku_pol_cgroup(struct ku_pol_task *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_pol_bank *b;
	__u64 id;

	if (!t)
		return 0;
	b = ku_pol_bank_of(t->gen);
	if (!b)
		return 0;
	/* A cgroup of the unified hierarchy keeps its path. Generations begin at 1. */
	id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	if (t->cgroup_gen == t->gen && t->cgroup_id == id)
		return 0;
	t->cgroup_gen = 0;
	if (!ku_pol_cgroup_path(t, task)) {
		t->cgroup_set = ku_pol_unknown(t, b, KU_PS_CGROUP);
		t->container_set = ku_pol_unknown(t, b, KU_PS_CONTAINER);
		return 0;
	}
	t->cgroup_set = ku_pol_wants(b, KU_PS_CGROUP) ? ku_pol_string(t, KU_PS_CGROUP) : 0;
	t->container_set = ku_pol_wants(b, KU_PS_CONTAINER) ? ku_pol_string(t, KU_PS_CONTAINER) : 0;
	t->cgroup_id = id;
	t->cgroup_gen = t->gen;
	return 0;
}

__noinline int ku_pol_exe(struct ku_pol_task *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const void *renames = &rename_lock, *mounts = &mount_lock;
	struct ku_pol_bank *b;
	struct file *exe;
	__u32 seq, mseq;
	__u64 key[4];

	if (!t)
		return 0;
	b = ku_pol_bank_of(t->gen);
	if (!b)
		return 0;
	exe = BPF_CORE_READ(task, mm, exe_file);
	if (!exe) {
		/* A kernel thread. */
		t->at = t->end = 0;
		return ku_pol_string(t, KU_PS_EXE);
	}
	key[0] = (__u64)exe;
	key[1] = (__u64)BPF_CORE_READ(exe, f_path.dentry);
	key[2] = (__u64)BPF_CORE_READ(exe, f_path.mnt);
	key[3] = (__u64)BPF_CORE_READ(task, fs, root.dentry);
	seq = ku_pol_seq(renames);
	mseq = ku_pol_seq(mounts);
	/* Nothing was renamed or mounted since. */
	if (renames && mounts && t->exe_gen == t->gen && t->rename_seq == seq && t->mount_seq == mseq && t->exe[0] == key[0] &&
	    t->exe[1] == key[1] && t->exe[2] == key[2] && t->exe[3] == key[3])
		return t->exe_set;
	t->exe_gen = 0;
	if (!ku_pol_exe_path(t, task, exe))
		return ku_pol_unknown(t, b, KU_PS_EXE);
	t->exe_set = ku_pol_string(t, KU_PS_EXE);
	__builtin_memcpy(t->exe, key, sizeof(key));
	t->rename_seq = seq;
	t->mount_seq = mseq;
	barrier();
	/* Taken together while something moved: not for another time. */
	if (!((seq | mseq) & 1) && ku_pol_seq(renames) == seq && ku_pol_seq(mounts) == mseq)
		t->exe_gen = t->gen;
	return t->exe_set;
}

static __always_inline __u64 ku_pol_word(struct ku_pol_bank *b, __u32 set, __u32 i)
{
	return b->pol.sets[set & (KU_POL_SETS - 1)].w[i & (KU_POL_WORDS - 1)];
}

static __always_inline __u32 ku_pol_sum(struct ku_pol_bank *b, __u32 set)
{
	return b->sums[set & (KU_POL_SETS - 1)];
}

/* clang 14 crashes on its own; and to the verifier each outcome is a path, which need not be followed behind the call. */
__noinline int ku_pol_first_bit(__u64 w)
{
	__u32 bit = 0;

	for (__u32 half = 32; half; half >>= 1)
		if (!(w & ((1ULL << half) - 1))) {
			w >>= half;
			bit += half;
		}
	return bit;
}

/* What the strings let through, into sets[]. */
__noinline int ku_pol_strings(struct ku_pol_task *t)
{
	struct ku_pol_bank *b;

	if (!t)
		return 0;
	b = ku_pol_bank_of(t->gen);
	if (!b)
		return 0;
	t->unknown = 0;
	for (int i = 0; i < KU_PS_MAX; i++) {
		t->sets[i] = 0;
		t->open[i] = 0;
	}
	if (ku_pol_wants(b, KU_PS_COMM))
		t->sets[KU_PS_COMM] = ku_pol_comm(t);
	if (ku_pol_wants(b, KU_PS_CGROUP) || ku_pol_wants(b, KU_PS_CONTAINER)) {
		ku_pol_cgroup(t);
		t->sets[KU_PS_CGROUP] = t->cgroup_set;
		t->sets[KU_PS_CONTAINER] = t->container_set;
	}
	if (ku_pol_wants(b, KU_PS_EXE))
		t->sets[KU_PS_EXE] = ku_pol_exe(t);
	t->path_known = 0;
	if (!ku_pol_wants(b, KU_PS_PATH))
		return 0;
	if (t->known) {
		t->sets[KU_PS_PATH] = t->known - 1;
	} else if (ku_pol_path(t)) {
		t->sets[KU_PS_PATH] = ku_pol_string(t, KU_PS_PATH);
		t->path_known = 1;
	} else {
		t->sets[KU_PS_PATH] = ku_pol_unknown(t, b, KU_PS_PATH);
	}
	return 0;
}

/* The number of the rule that decides. */
__noinline int ku_pol_rule(struct ku_pol_task *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 action, kind, numbers, sum;
	struct ku_pol_bank *b;

	if (!t)
		return 0;
	b = ku_pol_bank_of(t->gen);
	if (!b)
		return 0;
	ku_pol_strings(t);
	action = b->pol.action_set[t->action & 7];
	kind = b->pol.kind_set[t->kind & 7];
	numbers = ku_pol_numbers(t, task->real_cred->fsuid.val);
	sum = t->of_union_sum & ku_pol_sum(b, action) & ku_pol_sum(b, kind) & ku_pol_sum(b, numbers >> 16) & ku_pol_sum(b, numbers);
	if (!t->unknown)
		for (__u32 k = 0; k < KU_PS_MAX; k++)
			sum &= ku_pol_sum(b, t->sets[k]);
	for (__u32 i = 0; i < KU_POL_WORDS; i++) {
		__u64 w, deny;

		if (!(sum & 1u << i))
			continue;
		w = t->of_union.w[i] & ku_pol_word(b, action, i) & ku_pol_word(b, kind, i) & ku_pol_word(b, numbers >> 16, i) &
		    ku_pol_word(b, numbers, i);
		if (!w)
			continue;
		deny = b->deny.w[i];
		for (__u32 k = 0; k < KU_PS_MAX; k++)
			w &= ku_pol_word(b, t->sets[k], i) | (deny & t->open[k]);
		if (w)
			return i * 64 + ku_pol_first_bit(w);
	}
	/* The default is in every set. */
	return b->pol.nrules - 1;
}

#endif
