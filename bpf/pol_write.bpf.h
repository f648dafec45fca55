/* SPDX-License-Identifier: GPL-2.0-only */
/* What is copied up, or changed in the upper layer. */
#ifndef KU_POL_WRITE_BPF_H
#define KU_POL_WRITE_BPF_H

#define FMODE_WRITE 0x2		/* include/linux/fs.h; the same values in all of 6.1 to 7.3 */
#define FMODE_CREATED 0x100000
#define O_TRUNC 01000
#define O_TMPFILE_BIT 020000000 /* __O_TMPFILE of asm-generic */
#define ATTR_SIZE (1 << 3)
#define ATTR_FILE (1 << 13)

/*
 * The gate made this task wait for a copy-up that was let pass, and the call starts anew: it is the same one still, also where it finds the file in
 * the upper layer by now, or another file under that name.
 */
static __always_inline bool ku_pol_again(struct ku_pol_task *t, struct dentry *dentry)
{
	struct ku_rec *rec;

	if (!t->copy_dir || t->copy_dir != (__u64)BPF_CORE_READ(dentry, d_parent, d_inode) ||
	    t->copy_hash != BPF_CORE_READ(dentry, d_name.hash))
		return false;
	rec = bpf_task_storage_get(&ku_recs, bpf_get_current_task_btf(), 0, 0);
	if (!rec || rec->waits == t->copy_waits)
		return false;
	t->copy_waits = rec->waits;
	return true;
}

static __always_inline void ku_pol_note_copy(struct ku_pol_task *t, struct dentry *dentry, bool asked)
{
	struct ku_rec *rec = bpf_task_storage_get(&ku_recs, bpf_get_current_task_btf(), 0, 0);

	t->copy_dir = (__u64)BPF_CORE_READ(dentry, d_parent, d_inode);
	t->copy_hash = BPF_CORE_READ(dentry, d_name.hash);
	t->copy_waits = rec ? rec->waits : 0;
	t->copy_rule = t->rule;
	t->copy_budget = asked ? t->budget : 0;
}

static __always_inline __u32 ku_pol_copy(struct ku_pol_here *h, struct dentry *dentry, struct inode *inode)
{
	struct ku_pol_task *t;
	__u32 err;

	/* A file's is noted although nothing asks about copy-ups: something may about changes. */
	if (!ku_pol_asks(h->bank, KU_A_COPY_UP) && !ku_pol_asks(h->bank, KU_A_MODIFY))
		return 0;
	t = ku_pol_task_of(h);
	if (!t)
		return ku_pol_no_memory(h);
	t->action = KU_A_COPY_UP;
	ku_pol_object(t, inode);
	if (h->bank->charges)
		ku_pol_copies(t, dentry, inode);
	err = ku_pol_judge_at(t, dentry, ku_pol_again(t, dentry) ? KU_POL_AGAIN : KU_POL_TELL);
	if (err)
		return err;
	ku_pol_note_copy(t, dentry, ku_pol_asks(h->bank, KU_A_COPY_UP));
	if (h->bank->writes)
		ku_pol_writes(t, inode, t->copy_rule, t->copy_budget);
	return 0;
}

/* k: what is known of it, or NULL */
static __always_inline __u32 ku_pol_modify(struct ku_pol_here *h, struct ku_pol_known *k, struct dentry *dentry, struct inode *inode)
{
	struct ku_pol_task *t;
	__u32 err;

	if (!ku_pol_asks(h->bank, KU_A_MODIFY))
		return 0;
	t = ku_pol_task_of(h);
	if (!t)
		return ku_pol_no_memory(h);
	if (ku_pol_again(t, dentry)) {
		/* kunion's copy is another inode than the one that was judged. */
		if (h->bank->writes)
			ku_pol_writes(t, inode, t->copy_rule, t->copy_budget);
		return 0;
	}
	t->action = KU_A_MODIFY;
	ku_pol_object(t, inode);
	if (k) {
		t->known = 1 + k->path_set;
		t->known_seq = k->seq;
	}
	err = ku_pol_judge_at(t, dentry, KU_POL_TELL);
	ku_pol_keep(h, t, dentry, inode);
	if (!err && h->bank->writes)
		ku_pol_writes(t, inode, t->rule, t->budget);
	return err;
}

/* Is asked for again when the copy-up begins: an open that truncates copies nothing. */
static __always_inline void ku_pol_note_trunc(struct ku_pol_here *h, struct dentry *dentry, bool trunc)
{
	struct ku_pol_task *t = ku_pol_task_of(h);

	if (t)
		t->trunc = trunc ? (__u64)dentry : 0;
}

static __always_inline void ku_pol_writes_made(struct ku_pol_here *h, struct dentry *dentry, struct inode *inode)
{
	struct ku_pol_task *t = ku_pol_task_of(h);

	if (t && t->made_dentry == (__u64)dentry)
		ku_pol_writes(t, inode, t->made_rule, t->made_budget);
}

/* Every copy-up, by whatever operation and caller: nothing passes it by. Within it the task has the mounter's credentials. */
SEC("lsm/inode_copy_up")
int BPF_PROG(ku_pol_copy_up, struct dentry *dentry, struct cred **new)
{
	struct inode *inode = dentry->d_inode;
	struct ku_pol_here h;

	if (!inode || !ku_pol_begin(&h, inode->i_sb))
		return 0;
	return ku_minus(ku_pol_done(&h, ku_pol_copy(&h, dentry, inode)));
}

/*
 * O_TMPFILE, before the upper layer's file is made: the one hook on the way there that no other open comes to. overlayfs knows O_TMPFILE since 6.10 and
 * has asked about the new file's credentials here ever since; it asks for those of files with names, too, which were judged by then.
 */
SEC("lsm/dentry_create_files_as")
int BPF_PROG(ku_pol_tmpfile, struct dentry *dentry, int mode, const struct qstr *name)
{
	struct ku_pol_task *t;
	struct ku_pol_here h;
	struct qstr q;

	bpf_core_read(&q, sizeof(q), &dentry->d_name);
	if (q.len != 1 || !ku_pol_is_nameless(&q) || !ku_pol_begin(&h, dentry->d_sb) || !ku_pol_asks(h.bank, KU_A_CREATE))
		return 0;
	t = ku_pol_task_of(&h);
	if (!t)
		return ku_minus(ku_pol_done(&h, ku_pol_no_memory(&h)));
	t->action = KU_A_CREATE;
	t->kind = KU_K_FILE;
	t->size = 0;
	t->charge = KU_PC_CREATE;
	return ku_minus(ku_pol_done(&h, ku_pol_judge_at(t, dentry, KU_POL_TELL)));
}

SEC("lsm/file_open")
int BPF_PROG(ku_pol_open, struct file *file)
{
	struct inode *inode = file->f_inode;
	struct ku_pol_known *k;
	struct ku_pol_here h;
	bool lower;
	__u32 err;

	/* Reading costs no more than this. */
	if (!(file->f_mode & FMODE_WRITE) && !(file->f_flags & O_TRUNC))
		return 0;
	if (!ku_is_reg(inode) || !ku_pol_begin(&h, inode->i_sb))
		return 0;
	/* What was created by this open was judged then. */
	if (file->f_mode & FMODE_CREATED || file->f_flags & O_TMPFILE_BIT) {
		if (h.bank->writes)
			ku_pol_writes_made(&h, file->f_path.dentry, inode);
		return 0;
	}
	k = ku_pol_known_of(&h, file->f_path.dentry, inode);
	if (!h.bank->writes && ku_pol_pass(&h, k, inode))
		return 0;
	lower = ku_is_lower(inode);
	if ((lower || ku_lacks_data(inode)) && h.bank->charges)
		ku_pol_note_trunc(&h, file->f_path.dentry, file->f_flags & O_TRUNC);
	/* The copy of the data alone comes by no other hook. */
	if (!lower && !ku_lacks_data(inode))
		err = ku_pol_modify(&h, k, file->f_path.dentry, inode);
	else if (!lower || ku_pol_cfg.open_waits)
		err = ku_pol_copy(&h, file->f_path.dentry, inode);
	else
		return 0;
	return ku_minus(ku_pol_done(&h, err));
}

/* By name; a descriptor that can truncate was judged when it was opened. */
static __always_inline int ku_pol_truncate(struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = dentry->d_inode;
	struct ku_pol_known *k;
	struct ku_pol_here h;
	__u32 err;

	if ((attr->ia_valid & (ATTR_SIZE | ATTR_FILE)) != ATTR_SIZE)
		return 0;
	if (!inode || !ku_pol_begin(&h, inode->i_sb) || ku_is_lower(inode))
		return 0;
	k = ku_pol_known_of(&h, dentry, inode);
	if (!h.bank->writes && ku_pol_pass(&h, k, inode))
		return 0;
	err = ku_lacks_data(inode) ? ku_pol_copy(&h, dentry, inode) : ku_pol_modify(&h, k, dentry, inode);
	return ku_minus(ku_pol_done(&h, err));
}

SEC("lsm/inode_setattr")
int BPF_PROG(ku_pol_setattr, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	return ku_pol_truncate(dentry, attr);
}

/* Before 6.3. */
SEC("lsm/inode_setattr")
int BPF_PROG(ku_pol_setattr_2, struct dentry *dentry, struct iattr *attr)
{
	return ku_pol_truncate(dentry, attr);
}

#endif
