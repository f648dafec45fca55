/* SPDX-License-Identifier: GPL-2.0-only */
/* Accounts of budgets, and the space that is free: taken by compare-and-swap, so that whatever races nothing goes beyond its limit; and given back. */
#ifndef KU_POL_ACCOUNT_BPF_H
#define KU_POL_ACCOUNT_BPF_H

#define KU_POL_TAKES 16	    /* tries of a compare-and-swap */
#define KU_POL_BURST_NS 1000000000ull
#define KU_POL_FREE_OLD_NS 30000000000ull

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_POL_MAX_ACCOUNTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ku_pol_account_key);
	__type(value, struct ku_pol_account);
} ku_pol_accounts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_POL_MAX_UNIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_pol_free);
} ku_pol_frees SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KU_POL_MAX_UNIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ku_pol_space);
} ku_pol_spaces SEC(".maps");

/* n more, if that stays within max. */
static __always_inline bool ku_pol_take(__u64 *used, __u64 max, __u64 n)
{
	for (int i = 0; i < KU_POL_TAKES; i++) {
		__u64 old = *(volatile __u64 *)used;

		if (n > max || old > max - n)
			return false;
		if (__sync_val_compare_and_swap(used, old, old + n) == old)
			return true;
	}
	/* So much is going on here that somebody else is always first: nobody is, this way. */
	if (__sync_fetch_and_add(used, n) <= max - n)
		return true;
	__sync_fetch_and_add(used, -n);
	return false;
}

/* A second's worth at once, then one each interval. */
static __always_inline bool ku_pol_take_turn(__u64 *paid_ns, __u64 interval_ns, __u64 now)
{
	for (int i = 0; i < KU_POL_TAKES; i++) {
		__u64 old = *(volatile __u64 *)paid_ns, next = (old > now ? old : now) + interval_ns;

		if (next > now + KU_POL_BURST_NS)
			return false;
		if (__sync_val_compare_and_swap(paid_ns, old, next) == old)
			return true;
	}
	return false;
}

/* The limit that it went beyond, 0: none. With a budget that only tells, it is charged all the same. */
static __always_inline __u32 ku_pol_pay(struct ku_pol_account *a, const struct ku_pol_budget *bu, __u32 what, __u64 n)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 over = KU_PL_NONE;
	bool deny = bu->flags & KU_PB_DENY;

	if (!ku_pol_take(&a->used[what & 7], bu->max[what & 7], n)) {
		over = what;
		if (!deny)
			__sync_fetch_and_add(&a->used[what & 7], n);
	}
	if (what == KU_PL_COPIED && !(over && deny)) {
		if (bu->interval_ns && !ku_pol_take_turn(&a->used[KU_PL_RATE], bu->interval_ns, now)) {
			if (deny)
				__sync_fetch_and_add(&a->used[KU_PL_COPIED], -n);
			over = KU_PL_RATE;
		}
		if (!over || !deny)
			__sync_fetch_and_add(&a->copyups, 1);
	}
	if (over) {
		__sync_fetch_and_add(&a->over[over & 7], 1);
		a->last_ns = now;
	}
	return over;
}

static __always_inline void ku_pol_give_back(const struct ku_pol_account_key *key, __u32 what, __u64 n)
{
	struct ku_pol_account_key k = *key;
	struct ku_pol_account *a = k.id ? bpf_map_lookup_elem(&ku_pol_accounts, &k) : NULL;

	if (!a)
		return;
	__sync_fetch_and_add(&a->used[what & 7], -n);
	if (what == KU_PL_COPIED)
		__sync_fetch_and_add(&a->copyups, -1);
}

/*
 * Is there room for n bytes, taken with those of used, and for what has to stay free? What is not known stands in nobody's way. User space replaces the
 * element, and its memory may be another union's at once (ku_pol_look_union).
 */
static __always_inline bool ku_pol_has_space(__u32 dev, __u64 keep, __u64 n, __u64 used)
{
	for (int i = 0; i < KU_POL_LOOKS; i++) {
		struct ku_pol_free *f = bpf_map_lookup_elem(&ku_pol_frees, &dev), *now;
		__u64 looked;
		bool fits;

		if (!f)
			break;
		looked = *(volatile __u64 *)&f->looked_ns;
		/* Nobody looks any more: kunion is gone, and the policy pinned. */
		if (bpf_ktime_get_ns() - looked > KU_POL_FREE_OLD_NS)
			break;
		fits = f->now >= keep && n <= f->now - keep && f->free >= keep && used - f->base <= f->free - keep;
		barrier();
		now = bpf_map_lookup_elem(&ku_pol_frees, &dev);
		if (now == f && *(volatile __u64 *)&now->looked_ns == looked)
			return fits;
	}
	return true;
}

/* Takes n bytes, also where none have to stay free: a policy that asks for that may come meanwhile. *taken: they are to be left again. */
static __always_inline bool ku_pol_take_space(__u32 dev, __u64 keep, __u64 n, __u32 *taken)
{
	struct ku_pol_space *s = bpf_map_lookup_elem(&ku_pol_spaces, &dev);
	__u64 used;

	if (!s)
		return true;
	used = __sync_fetch_and_add(&s->under_way, n) + n + s->done;
	if (keep == ~0ULL || ku_pol_has_space(dev, keep, n, used)) {
		*taken = 1;
		return true;
	}
	__sync_fetch_and_add(&s->under_way, -n);
	return false;
}

/* Not under way any more. */
static __always_inline void ku_pol_leave_space(__u32 dev, __u64 n, bool copied)
{
	struct ku_pol_space *s = bpf_map_lookup_elem(&ku_pol_spaces, &dev);

	if (!s)
		return;
	/* In this order: in between it is counted twice, not at all never. */
	if (copied)
		__sync_fetch_and_add(&s->done, n);
	__sync_fetch_and_add(&s->under_way, -n);
}

#endif
