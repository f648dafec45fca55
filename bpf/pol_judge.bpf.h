/* SPDX-License-Identifier: GPL-2.0-only */
/* A rule's verdict, counted and told. */
#ifndef KU_POL_JUDGE_BPF_H
#define KU_POL_JUDGE_BPF_H

static __always_inline struct ku_pol_rule *ku_pol_rule_at(struct ku_pol_bank *b, __u32 rule)
{
	return &b->pol.rules[rule & (KU_POL_RULES - 1)];
}

static __always_inline __u32 ku_pol_own_errno(__u32 action)
{
	return action == KU_A_COPY_UP || action == KU_A_CREATE ? EROFS : EPERM;
}

/* Positive errno of a rule's verdict on an action; 0: let pass. */
static __always_inline __u32 ku_pol_refusal(struct ku_pol_bank *b, __u32 rule, __u32 action)
{
	struct ku_pol_rule *r = ku_pol_rule_at(b, rule);

	if (r->verdict != KU_V_DENY)
		return 0;
	if (r->err)
		return r->err & 0xfff;
	return ku_pol_own_errno(action);
}

static __always_inline struct ku_pol_count *ku_pol_count_of(__u32 gen, __u32 rule)
{
	__u32 idx = KU_POL_BANK(gen) * KU_POL_RULES + (rule & (KU_POL_RULES - 1));

	return bpf_map_lookup_elem(&ku_pol_counts, &idx);
}

static __always_inline void ku_pol_count(__u32 gen, __u32 rule, __u32 err)
{
	struct ku_pol_count *c = ku_pol_count_of(gen, rule);
	__u64 tick;

	if (!c)
		return;
	/* Preempted, another task may count here, too. */
	__sync_fetch_and_add(&c->hits, 1);
	if (err)
		__sync_fetch_and_add(&c->denied, 1);
	/* Once a tick of the kernel is enough, and is for free. */
	tick = bpf_jiffies64();
	if (c->tick != tick) {
		c->tick = tick;
		c->last_ns = bpf_ktime_get_ns();
	}
}

static __always_inline void ku_pol_fill(struct ku_pol_record *r, struct ku_pol_task *t, __u32 rule, __u32 verdict, __u32 err, __u32 len)
{
	r->type = t->limit ? KU_PR_QUESTION : KU_PR_VERDICT;
	r->limit = t->limit;
	r->rule_err = t->rule_err;
	r->dev = t->dev;
	r->ts_ns = bpf_ktime_get_ns();
	r->id = r->ts_ns << 8 | (bpf_get_smp_processor_id() & 0xff);
	r->size = t->size;
	r->gen = t->gen;
	r->rule = rule;
	r->action = t->action;
	r->kind = t->kind;
	r->verdict = verdict;
	r->err = err;
	r->unsure = t->unsure;
	r->path_len = len;
	r->met = t->met;
	r->budget = t->met ? t->budget : 0;
	t->sent = r->id;
	ku_fill_who(&r->who, bpf_get_current_task_btf());
}

/* A record with room for n bytes of path; few of them need the largest. */
#define KU_POL_SEND(n)                                                                                        \
	({                                                                                                    \
		struct {                                                                                      \
			struct ku_pol_record rec;                                                             \
			char path[n];                                                                         \
		} *r_ = bpf_ringbuf_reserve(&ku_pol_ring, sizeof(*r_), 0);                                    \
                                                                                                              \
		if (r_) {                                                                                     \
			if (bpf_probe_read_kernel(r_->path, len, &t->text[at]))                               \
				len = 0;                                                                      \
			ku_pol_fill(&r_->rec, t, rule, verdict, err, len);                                    \
			bpf_ringbuf_submit(r_, 0);                                                            \
		}                                                                                             \
		!!r_;                                                                                         \
	})
_Static_assert(KU_PATH_MAX == 4096, "the largest record has room for the longest path");

__noinline int ku_pol_tell(struct ku_pol_task *t, __u32 rule, __u32 verdict, __u32 err)
{
	__u32 at = KU_PATH_MAX, len;
	bool sent;

	if (!t)
		return 0;
	if (ku_pol_path(t))
		at = t->at;
	if (at > KU_PATH_MAX)
		at = KU_PATH_MAX;
	barrier_var(at);
	len = KU_PATH_MAX - at;
	if (len <= 128)
		sent = KU_POL_SEND(128);
	else if (len <= 512)
		sent = KU_POL_SEND(512);
	else
		sent = KU_POL_SEND(4096);
	if (!sent)
		__sync_fetch_and_add(&ku_pol_shared.dropped, 1);
	return 0;
}

enum ku_pol_how {
	KU_POL_TELL = 1, /* as it is */
	KU_POL_WARN = 2, /* only if it refuses: it is asked on behalf of another operation */
	KU_POL_AGAIN = 3, /* likewise, and nobody is asked any more */
};

__noinline int ku_pol_hold(struct ku_pol_task *t, __u32 rule, __u32 otherwise);

/* What a rule with hold means where nobody answers; t->rule_err: when it is denied. */
static __always_inline __u32 ku_pol_otherwise(struct ku_pol_task *t, struct ku_pol_bank *b, __u32 rule)
{
	t->rule_err = ku_pol_rule_at(b, rule)->err & 0xfff;
	if (!t->rule_err)
		t->rule_err = ku_pol_own_errno(t->action);
	return b->hold[rule & (KU_POL_RULES - 1)].allow ? 0 : t->rule_err;
}

/* t->action on what t->dentry names. Positive errno (ERESTARTNOINTR: it is held), or 0: let pass. */
__noinline int ku_pol_judge(struct ku_pol_task *t, __u32 how)
{
	struct ku_pol_bank *b;
	__u32 rule, err, verdict;

	if (!t)
		return ENOMEM;
	b = ku_pol_bank_of(t->gen);
	if (!b || !ku_pol_asks(b, t->action))
		return 0;
	rule = ku_pol_rule(t);
	t->rule = rule;
	t->judged = 1;
	t->sent = 0;
	if (t->unknown)
		__sync_fetch_and_add(&ku_pol_shared.unknown, 1);
	t->met = 0;
	t->budget = 0;
	verdict = ku_pol_rule_at(b, rule)->verdict;
	if (verdict == KU_V_HOLD) {
		if (how == KU_POL_AGAIN)
			return 0;
		err = ku_pol_hold(t, rule, ku_pol_otherwise(t, b, rule));
	} else {
		t->settled = 1;
		err = ku_pol_refusal(b, rule, t->action);
		t->budget = ku_pol_rule_at(b, rule)->budget;
		if (!err && t->charge) {
			err = ku_pol_charge(t) & 0xfff;
			if (t->met)
				verdict = err ? KU_V_DENY : KU_V_AUDIT;
		}
	}
	t->err = err;
	if (!t->settled || (how != KU_POL_TELL && !err && !t->met))
		return err;
	t->sent = 0;
	ku_pol_count(t->gen, rule, err);
	if (verdict != KU_V_ALLOW)
		ku_pol_tell(t, rule, verdict, err);
	return err;
}

static __always_inline __u32 ku_pol_judge_at(struct ku_pol_task *t, struct dentry *dentry, __u32 how)
{
	t->dentry = (__u64)dentry;
	return ku_pol_judge(t, how);
}

#endif
