/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bytes written. How many a call will write is not known before, so they are counted behind it, and once the budget is used up the next one is refused:
 * it can be exceeded by the calls that are under way.
 */
#ifndef KU_POL_BYTES_BPF_H
#define KU_POL_BYTES_BPF_H

#define MAY_WRITE 2 /* include/linux/fs.h */

/* Writes to this inode are paid for by this budget (its number + 1), until another one lets it be opened. */
static __always_inline void ku_pol_writes(struct ku_pol_task *t, struct inode *inode, __u32 rule, __u32 budget)
{
	struct ku_pol_writer w = { .gen = t->gen, .rule = rule, .budget = budget, .dev = t->dev };
	struct ku_pol_bank *b = ku_pol_bank_of(t->gen);
	struct ku_pol_budget *bu;
	__u64 key = (__u64)inode;

	if (!b || !budget || !ku_is_reg(inode))
		return;
	bu = &b->budgets[(budget - 1) & (KU_POL_BUDGETS - 1)];
	if (bu->max[KU_PL_WRITTEN] == ~0ULL)
		return;
	w.account.dev = bu->flags & KU_PB_ALL ? 0 : t->dev;
	w.account.id = bu->id;
	bpf_map_update_elem(&ku_pol_writers, &key, &w, BPF_ANY);
}

/* The budget in force of the account, whatever its number was when the file was opened. NULL: there is none any more. */
static __always_inline struct ku_pol_budget *ku_pol_budget_of(struct ku_pol_bank *b, const struct ku_pol_writer *w)
{
	struct ku_pol_budget *bu = &b->budgets[(w->budget - 1) & (KU_POL_BUDGETS - 1)];

	if (bu->id == w->account.id)
		return bu;
	for (int i = 0; i < KU_POL_BUDGETS; i++)
		if (b->budgets[i].id == w->account.id)
			return &b->budgets[i];
	return NULL;
}

static __always_inline __u32 ku_pol_no_more(struct ku_pol_here *h, struct ku_pol_writer *w, struct dentry *dentry, struct inode *inode)
{
	struct ku_pol_account_key key = w->account;
	struct ku_pol_budget *bu = ku_pol_budget_of(h->bank, w);
	struct ku_pol_account *a = bu ? bpf_map_lookup_elem(&ku_pol_accounts, &key) : NULL;
	struct ku_pol_task *t;
	__u32 err;

	if (!a || *(volatile __u64 *)&a->used[KU_PL_WRITTEN] < bu->max[KU_PL_WRITTEN])
		return 0;
	err = bu->flags & KU_PB_DENY ? EDQUOT : 0;
	a->last_ns = bpf_ktime_get_ns();
	/* Where it is only told, once is enough. */
	if (__sync_fetch_and_add(&a->over[KU_PL_WRITTEN], 1) && !err)
		return 0;
	t = ku_pol_task_of(h);
	if (!t)
		return err;
	t->action = KU_A_MODIFY;
	ku_pol_object(t, inode);
	t->dentry = (__u64)dentry;
	t->met = KU_PL_WRITTEN;
	t->budget = w->budget;
	if (w->gen == t->gen)
		ku_pol_count(t->gen, w->rule, err);
	/* Names are those of the policy that it was opened under. */
	t->gen = w->gen;
	ku_pol_tell(t, w->rule, err ? KU_V_DENY : KU_V_AUDIT, err);
	return err;
}

SEC("lsm/file_permission")
int BPF_PROG(ku_pol_may_write, struct file *file, int mask)
{
	struct inode *inode = file->f_inode;
	__u64 key = (__u64)inode;
	struct ku_pol_writer *w;
	struct ku_pol_here h;

	if (!(mask & MAY_WRITE) || inode->i_sb->s_magic != OVERLAYFS_SUPER_MAGIC)
		return 0;
	w = bpf_map_lookup_elem(&ku_pol_writers, &key);
	if (!w || !ku_pol_begin(&h, inode->i_sb))
		return 0;
	return ku_minus(ku_pol_no_more(&h, w, file->f_path.dentry, inode));
}

static __always_inline int ku_pol_wrote(struct file *file, long n)
{
	__u64 key = (__u64)BPF_CORE_READ(file, f_inode);
	struct ku_pol_writer *w = n > 0 ? bpf_map_lookup_elem(&ku_pol_writers, &key) : NULL;
	struct ku_pol_account_key account;
	struct ku_pol_account *a;

	if (!w || ku_pol_is_self())
		return 0;
	account = w->account;
	a = bpf_map_lookup_elem(&ku_pol_accounts, &account);
	if (a)
		__sync_fetch_and_add(&a->used[KU_PL_WRITTEN], n);
	return 0;
}

SEC("fexit/ovl_write_iter")
int BPF_PROG(ku_pol_write_iter, struct kiocb *iocb, void *iter, long ret)
{
	return ku_pol_wrote(BPF_CORE_READ(iocb, ki_filp), ret);
}

SEC("fexit/ovl_splice_write")
int BPF_PROG(ku_pol_splice, void *pipe, struct file *out, void *ppos, unsigned long len, unsigned int flags, long ret)
{
	return ku_pol_wrote(out, ret);
}

SEC("fexit/ovl_copy_file_range")
int BPF_PROG(ku_pol_copy_range, struct file *in, long long pos_in, struct file *out, long long pos_out, unsigned long len, unsigned int flags, long ret)
{
	return ku_pol_wrote(out, ret);
}

#endif
