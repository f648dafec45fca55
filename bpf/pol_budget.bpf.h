/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Budgets. What an operation will take is taken from its budget's account before it begins, by compare-and-swap: whatever races, an account never goes
 * beyond a limit that denies.
 *
 * For a copy-up there is an entry as long as it is under way, by the overlay inode's address, with an owner. Whoever comes to the same file's copy-up
 * later takes the entry over instead of paying again: a task that waited for it, or the one that was sent to wait and comes back. The owner whose
 * copy-up fails gives it back; so does the end of an inode that was never copied. An entry that got lost was paid for: that errs on the safe side.
 */
#ifndef KU_POL_BUDGET_BPF_H
#define KU_POL_BUDGET_BPF_H

#include "pol_account.bpf.h"

#define KU_POL_PARKED (-513) /* -ERESTARTNOINTR: the gate makes it wait, and it comes back */

enum ku_pol_charge { KU_PC_NONE, KU_PC_COPY, KU_PC_CREATE };

/* Owners that are no tasks: it is ending; kunion renames its copy over the file. */
#define KU_RES_ENDED 1
#define KU_RES_COMMIT 2

struct ku_pol_reserved {
	__u64 owner; /* bpf_get_current_pid_tgid() */
	__u64 bytes;
	struct ku_pol_account_key account; /* id 0: none */
	__u32 dev;
	__u32 spaced; /* its bytes are under way in ku_pol_spaces */
};

/* Full: paid for, and not given back. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct ku_pol_reserved);
} ku_pol_reservations SEC(".maps");

/* By overlay inode: who pays for what is written to it. Full: nobody does. */
struct ku_pol_writer {
	struct ku_pol_account_key account;
	__u32 gen, rule, budget; /* that let it be opened for writing last */
	__u32 dev;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct ku_pol_writer);
} ku_pol_writers SEC(".maps");

/* Has this inode all that a copy-up brings? */
static __always_inline bool ku_pol_is_copied(struct inode *inode)
{
	return !ku_is_lower(inode) && !ku_lacks_data(inode);
}

/* The entry's end; its owner has been changed to KU_RES_ENDED by who calls. */
static __always_inline void ku_pol_end(struct ku_pol_reserved *r, __u64 inode, bool copied)
{
	struct ku_pol_account_key key = r->account;
	__u64 bytes = r->bytes;
	__u32 dev = r->dev, spaced = r->spaced;

	bpf_map_delete_elem(&ku_pol_reservations, &inode);
	if (!copied)
		ku_pol_give_back(&key, KU_PL_COPIED, bytes);
	if (spaced)
		ku_pol_leave_space(dev, bytes, copied);
}

/* The copy-up at hand was paid for already. */
static __always_inline bool ku_pol_take_over(__u64 inode)
{
	__u64 me = bpf_get_current_pid_tgid();

	for (int i = 0; i < 4; i++) {
		struct ku_pol_reserved *r = bpf_map_lookup_elem(&ku_pol_reservations, &inode);
		__u64 owner;

		if (!r)
			return false;
		owner = *(volatile __u64 *)&r->owner;
		if (owner == KU_RES_ENDED)
			return false;
		if (__sync_val_compare_and_swap(&r->owner, owner, me) == owner)
			return true;
	}
	return false;
}

static __always_inline __u32 ku_pol_charge_copy(struct ku_pol_task *t, struct ku_pol_bank *b, struct ku_pol_budget *bu)
{
	struct ku_pol_reserved res = { .owner = bpf_get_current_pid_tgid(), .bytes = t->bytes, .dev = t->dev };
	struct ku_pol_account *a = NULL;
	__u64 inode = t->inode;
	__u32 over = KU_PL_NONE;

	if (ku_pol_take_over(inode))
		return 0;
	if (bu) {
		res.account.dev = bu->flags & KU_PB_ALL ? 0 : t->dev;
		res.account.id = bu->id;
		a = bpf_map_lookup_elem(&ku_pol_accounts, &res.account);
		over = a ? ku_pol_pay(a, bu, KU_PL_COPIED, t->bytes) : KU_PL_COPIED;
		t->met = over;
		if (over && bu->flags & KU_PB_DENY)
			return EDQUOT;
	}
	if (t->bytes && !ku_pol_take_space(t->dev, b->keep_free, t->bytes, &res.spaced)) {
		t->met = KU_PL_SPACE;
		ku_pol_give_back(&res.account, KU_PL_COPIED, t->bytes);
		return ENOSPC;
	}
	if (!bpf_map_update_elem(&ku_pol_reservations, &inode, &res, BPF_NOEXIST))
		return 0;
	/* Another one was first, in file_open, where no lock is held. */
	if (ku_pol_take_over(inode)) {
		ku_pol_give_back(&res.account, KU_PL_COPIED, t->bytes);
		if (res.spaced)
			ku_pol_leave_space(t->dev, t->bytes, false);
	}
	return 0;
}

/* Positive errno, or 0; t->met says which limit was met. */
__noinline int ku_pol_charge(struct ku_pol_task *t)
{
	struct ku_pol_account_key key = {}; /* 6.1 takes no keys but from the stack */
	struct ku_pol_budget *bu = NULL;
	struct ku_pol_account *a;
	struct ku_pol_bank *b;

	if (!t)
		return ENOMEM;
	b = ku_pol_bank_of(t->gen);
	if (!b)
		return 0;
	if (t->budget)
		bu = &b->budgets[(t->budget - 1) & (KU_POL_BUDGETS - 1)];
	if (t->charge == KU_PC_COPY)
		return ku_pol_charge_copy(t, b, bu);
	t->made.id = 0;
	t->made_dentry = t->dentry;
	t->made_rule = t->rule;
	t->made_budget = t->budget;
	if (!bu)
		return 0;
	key.dev = bu->flags & KU_PB_ALL ? 0 : t->dev;
	key.id = bu->id;
	a = bpf_map_lookup_elem(&ku_pol_accounts, &key);
	t->met = a ? ku_pol_pay(a, bu, KU_PL_CREATED, 1) : KU_PL_CREATED;
	if (t->met && bu->flags & KU_PB_DENY)
		return EDQUOT;
	t->made = key;
	return 0;
}

/* Nothing was created after all. */
static __always_inline void ku_pol_unmake(struct ku_pol_task *t)
{
	struct ku_pol_account_key key = t->made;

	t->made.id = 0;
	ku_pol_give_back(&key, KU_PL_CREATED, 1);
}

/*
 * What a copy-up will take. None of a file's bytes if it is opened to be truncated; nor if its mount copies the data with the first write only, and this
 * is none. Of a sparse file the holes are counted, too.
 */
static __always_inline void ku_pol_copies(struct ku_pol_task *t, struct dentry *dentry, struct inode *inode)
{
	__u32 op = ku_current_op(bpf_get_current_task_btf());
	struct ovl_fs *ofs;

	t->charge = KU_PC_COPY;
	t->inode = (__u64)inode;
	t->bytes = t->size;
	if (t->trunc == (__u64)dentry && op == KU_OP_OPEN)
		t->bytes = 0;
	if (op == KU_OP_OPEN || op == KU_OP_TRUNCATE || op == KU_OP_OTHER || !bpf_core_type_exists(struct ovl_fs))
		return;
	ofs = BPF_CORE_READ(inode, i_sb, s_fs_info);
	if (BPF_CORE_READ(ofs, config.metacopy))
		t->bytes = 0;
}

/* kunion renames its copy over this file. Whether that succeeds is seen by what becomes of the inode. */
static __always_inline void ku_pol_commit(__u64 inode)
{
	struct ku_pol_reserved *r = bpf_map_lookup_elem(&ku_pol_reservations, &inode);
	__u64 owner;

	if (!r)
		return;
	owner = *(volatile __u64 *)&r->owner;
	if (owner != KU_RES_ENDED)
		__sync_val_compare_and_swap(&r->owner, owner, KU_RES_COMMIT);
}

SEC("lsm/inode_free_security")
int BPF_PROG(ku_pol_inode_free, struct inode *inode)
{
	__u64 key = (__u64)inode, owner;
	struct ku_pol_reserved *r;

	if (inode->i_sb->s_magic != OVERLAYFS_SUPER_MAGIC)
		return 0;
	bpf_map_delete_elem(&ku_pol_writers, &key);
	r = bpf_map_lookup_elem(&ku_pol_reservations, &key);
	if (!r)
		return 0;
	owner = __sync_lock_test_and_set(&r->owner, KU_RES_ENDED);
	if (owner != KU_RES_ENDED)
		ku_pol_end(r, key, owner == KU_RES_COMMIT || ku_pol_is_copied(inode));
	return 0;
}

/* The end of a copy-up, or of a metacopy file's data's. Where this is left out, the inode's end or the next copy-up of it will do. */
SEC("fexit/ovl_copy_up_one")
int BPF_PROG(ku_pol_copied, struct dentry *parent, struct dentry *dentry, int flags, int ret)
{
	__u64 key = (__u64)BPF_CORE_READ(dentry, d_inode), me = bpf_get_current_pid_tgid();
	struct ku_pol_reserved *r = bpf_map_lookup_elem(&ku_pol_reservations, &key);

	if (!r || ret == KU_POL_PARKED)
		return 0;
	if (ret) {
		if (__sync_val_compare_and_swap(&r->owner, me, KU_RES_ENDED) == me)
			ku_pol_end(r, key, false);
	} else if (__sync_lock_test_and_set(&r->owner, KU_RES_ENDED) != KU_RES_ENDED) {
		ku_pol_end(r, key, true);
	}
	return 0;
}

/* Also where the directory's copy-up was refused. 7.3 has an idmap before the dentry. */
SEC("fexit/ovl_create_object")
int ku_pol_created(unsigned long long *ctx)
{
	__u64 dentry = 0, ret = 0;
	struct ku_pol_task *t;

	bpf_get_func_ret(ctx, &ret);
	if (!(int)ret || bpf_get_func_arg(ctx, bpf_get_func_arg_cnt(ctx) - 4, &dentry))
		return 0;
	t = bpf_task_storage_get(&ku_pol_tasks, bpf_get_current_task_btf(), 0, 0);
	if (t && t->made_dentry == dentry)
		ku_pol_unmake(t);
	return 0;
}

#endif
