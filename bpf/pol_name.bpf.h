/* SPDX-License-Identifier: GPL-2.0-only */
/* Names that are made and taken away. */
#ifndef KU_POL_NAME_BPF_H
#define KU_POL_NAME_BPF_H

/*
 * open with O_CREAT asks before it has looked for a name that is not in the cache, and takes no notice of the answer if that is there then: a file in
 * the cache by that name is not created.
 */
static __always_inline bool ku_pol_not_looked_up(struct dentry *dentry)
{
	return !BPF_CORE_READ(dentry, d_hash.pprev);
}

SEC("lsm/d_instantiate")
int BPF_PROG(ku_pol_found, struct dentry *dentry, struct inode *inode)
{
	struct ku_pol_record *r;
	struct ku_pol_count *c;
	struct ku_pol_task *t;
	__u64 found;

	bpf_probe_read_kernel(&found, sizeof(found), ctx + 1);
	if (!found || BPF_CORE_READ((struct inode *)found, i_sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return 0;
	t = bpf_task_storage_get(&ku_pol_tasks, bpf_get_current_task_btf(), 0, 0);
	if (!t || !t->unsure_dentry || t->unsure_dentry != (__u64)dentry)
		return 0;
	t->unsure_dentry = 0;
	/* Or it was not there, has been created, and gets its inode: in the cache since it was looked up. */
	if (!ku_pol_not_looked_up(dentry))
		return 0;
	ku_pol_unmake(t);
	if (!t->unsure_settled)
		ku_pol_hold_taken_back(t);
	c = t->unsure_settled && t->unsure_gen == ku_pol_shared.gen ? ku_pol_count_of(t->unsure_gen, t->unsure_rule) : NULL;
	if (c) {
		/* On another CPU perhaps: it is the sum that counts. */
		__sync_fetch_and_add(&c->hits, -1);
		if (t->unsure_err)
			__sync_fetch_and_add(&c->denied, -1);
	}
	r = t->unsure_sent ? bpf_ringbuf_reserve(&ku_pol_ring, sizeof(*r), 0) : NULL;
	if (r) {
		__builtin_memset(r, 0, sizeof(*r));
		r->type = KU_PR_TAKEN_BACK;
		r->id = t->unsure_sent;
		bpf_ringbuf_submit(r, 0);
	}
	return 0;
}

static __always_inline int ku_pol_create(struct inode *dir, struct dentry *dentry, __u32 kind)
{
	struct ku_pol_task *t;
	struct ku_pol_here h;
	__u32 err;

	if (!ku_pol_begin(&h, dir->i_sb) || !ku_pol_asks(h.bank, KU_A_CREATE))
		return 0;
	t = ku_pol_task_of(&h);
	if (!t)
		return ku_minus(ku_pol_no_memory(&h));
	t->action = KU_A_CREATE;
	t->kind = kind;
	t->size = 0;
	t->unsure = kind == KU_K_FILE && ku_pol_not_looked_up(dentry);
	t->charge = KU_PC_CREATE;
	t->made.id = 0;
	err = ku_pol_done(&h, ku_pol_judge_at(t, dentry, KU_POL_TELL));
	t->unsure_dentry = t->unsure ? (__u64)dentry : 0;
	t->unsure_sent = t->sent;
	t->unsure_rule = t->rule;
	t->unsure_err = t->err;
	t->unsure_gen = t->gen;
	t->unsure_settled = t->settled;
	return ku_minus(err);
}

SEC("lsm/inode_create")
int BPF_PROG(ku_pol_inode_create, struct inode *dir, struct dentry *dentry, unsigned short mode)
{
	return ku_pol_create(dir, dentry, KU_K_FILE);
}

SEC("lsm/inode_mkdir")
int BPF_PROG(ku_pol_inode_mkdir, struct inode *dir, struct dentry *dentry, unsigned short mode)
{
	return ku_pol_create(dir, dentry, KU_K_DIR);
}

SEC("lsm/inode_symlink")
int BPF_PROG(ku_pol_inode_symlink, struct inode *dir, struct dentry *dentry, const char *to)
{
	return ku_pol_create(dir, dentry, KU_K_SYMLINK);
}

/* Regular files come by inode_create. */
SEC("lsm/inode_mknod")
int BPF_PROG(ku_pol_inode_mknod, struct inode *dir, struct dentry *dentry, unsigned short mode, u32 dev)
{
	return ku_pol_create(dir, dentry, KU_K_SPECIAL);
}

/* What has an upper part, merged directories too, is the upper layer's. */
static __always_inline __u32 ku_pol_remove(struct ku_pol_task *t, struct dentry *dentry, struct inode *inode)
{
	t->action = ku_is_lower(inode) ? KU_A_REMOVE : KU_A_REMOVE_UPPER;
	ku_pol_object(t, inode);
	return ku_pol_judge_at(t, dentry, KU_POL_TELL);
}

static __always_inline int ku_pol_unlink(struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;
	struct ku_pol_task *t;
	struct ku_pol_here h;

	if (!inode || !ku_pol_begin(&h, inode->i_sb) || !ku_pol_asks(h.bank, ku_is_lower(inode) ? KU_A_REMOVE : KU_A_REMOVE_UPPER))
		return 0;
	t = ku_pol_task_of(&h);
	return ku_minus(t ? ku_pol_done(&h, ku_pol_remove(t, dentry, inode)) : ku_pol_no_memory(&h));
}

SEC("lsm/inode_unlink")
int BPF_PROG(ku_pol_inode_unlink, struct inode *dir, struct dentry *dentry)
{
	return ku_pol_unlink(dentry);
}

SEC("lsm/inode_rmdir")
int BPF_PROG(ku_pol_inode_rmdir, struct inode *dir, struct dentry *dentry)
{
	return ku_pol_unlink(dentry);
}

/*
 * A file (t->old) is not to be had under another name (t->new) by who could not have changed, or run, it under this one: where action is refused at the
 * one, it must be at the other, too.
 */
__noinline int ku_pol_carry(struct ku_pol_task *t, __u32 action)
{
	struct ku_pol_bank *b;
	__u32 rule;

	if (!t)
		return ENOMEM;
	b = ku_pol_bank_of(t->gen);
	if (!b || !ku_pol_asks(b, action))
		return 0;
	t->action = action;
	t->dentry = t->new;
	rule = ku_pol_rule(t);
	if (ku_pol_refusal(b, rule, action))
		return 0;
	t->dentry = t->old;
	/* Who is asked there need not be asked here. */
	if (ku_pol_rule_at(b, rule)->verdict == KU_V_HOLD && ku_pol_rule_at(b, ku_pol_rule(t))->verdict == KU_V_HOLD)
		return 0;
	return ku_pol_judge(t, KU_POL_WARN);
}

/* The automaton after path and "/": two that are equal stand for the same rules for whatever is below. */
static __always_inline __u32 ku_pol_below(struct ku_pol_task *t, __u64 dentry)
{
	t->dentry = dentry;
	if (!ku_pol_path(t))
		return KU_POL_STATES;
	t->text[KU_PATH_MAX] = '/';
	t->end = KU_PATH_MAX + 1;
	ku_pol_string(t, KU_PS_PATH);
	return t->state;
}

/*
 * With a directory goes all that is below it, and each file would come under other rules without having been judged. As where overlayfs cannot
 * rename a directory: EXDEV, whereupon mv copies and removes file by file.
 */
__noinline int ku_pol_move_dir(struct ku_pol_task *t)
{
	struct ku_pol_bank *b;
	__u32 below;

	if (!t)
		return ENOMEM;
	b = ku_pol_bank_of(t->gen);
	if (!b || !b->denies || !ku_pol_wants(b, KU_PS_PATH))
		return 0;
	below = ku_pol_below(t, t->old);
	if (below == KU_POL_STATES)
		return EXDEV;
	return below == ku_pol_below(t, t->new) ? 0 : EXDEV;
}

SEC("lsm/inode_link")
int BPF_PROG(ku_pol_inode_link, struct dentry *old, struct inode *dir, struct dentry *new)
{
	struct inode *inode = old->d_inode;
	struct ku_pol_task *t;
	struct ku_pol_here h;
	__u32 err;

	if (!inode || !ku_pol_begin(&h, dir->i_sb))
		return 0;
	t = ku_pol_task_of(&h);
	if (!t || !ku_pol_forget(inode))
		return ku_minus(ku_pol_no_memory(&h));
	ku_pol_object(t, inode);
	t->old = (__u64)old;
	t->new = (__u64)new;
	t->action = KU_A_CREATE;
	err = ku_pol_judge_at(t, new, KU_POL_TELL);
	if (!err)
		err = ku_pol_carry(t, KU_A_MODIFY);
	if (!err)
		err = ku_pol_carry(t, KU_A_EXEC);
	return ku_minus(ku_pol_done(&h, err));
}

/* An exchange comes twice, the second time the other way round: what is left then is the other one's new name. */
static __always_inline bool ku_pol_second_half(struct ku_pol_task *t, struct dentry *old, struct dentry *new, struct inode *victim)
{
	bool second = victim && t->swap[0] == (__u64)new && t->swap[1] == (__u64)old;

	t->swap[0] = second ? 0 : (__u64)old;
	t->swap[1] = second ? 0 : (__u64)new;
	return second;
}

static __always_inline __u32 ku_pol_rename(struct ku_pol_task *t, struct dentry *old, struct inode *inode, struct dentry *new, struct inode *victim)
{
	__u32 err = 0;

	if (!ku_pol_second_half(t, old, new, victim)) {
		err = ku_pol_remove(t, old, inode);
		if (!err && victim)
			err = ku_pol_remove(t, new, victim);
	}
	if (err)
		return err;
	t->old = (__u64)old;
	t->new = (__u64)new;
	t->action = KU_A_CREATE;
	ku_pol_object(t, inode);
	err = ku_pol_judge_at(t, new, KU_POL_TELL);
	if (err)
		return err;
	if (t->kind == KU_K_DIR)
		return ku_pol_move_dir(t);
	err = ku_pol_carry(t, KU_A_MODIFY);
	if (err)
		return err;
	return ku_pol_carry(t, KU_A_EXEC);
}

SEC("lsm/inode_rename")
int BPF_PROG(ku_pol_inode_rename, struct inode *dir, struct dentry *old, struct inode *new_dir, struct dentry *new)
{
	struct inode *inode = old->d_inode;
	struct ku_pol_task *t;
	struct ku_pol_here h;

	if (ku_pol_is_self())
		ku_pol_commit((__u64)new->d_inode);
	if (!inode || !ku_pol_begin(&h, dir->i_sb))
		return 0;
	t = ku_pol_task_of(&h);
	return ku_minus(t ? ku_pol_done(&h, ku_pol_rename(t, old, inode, new, new->d_inode)) : ku_pol_no_memory(&h));
}

#endif
