/* SPDX-License-Identifier: GPL-2.0-only */
/* What is run, or mapped executable, and is not as it is in the image. */
#ifndef KU_POL_EXEC_BPF_H
#define KU_POL_EXEC_BPF_H

#define PROT_EXEC 4

static __always_inline int ku_pol_exec(struct dentry *dentry, bool mapped)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	struct ku_pol_here h;
	struct ku_pol_task *t;
	__u32 dev;
	__u64 ran;

	if (BPF_CORE_READ(sb, s_magic) != OVERLAYFS_SUPER_MAGIC || ku_is_lower(inode))
		return 0;
	dev = BPF_CORE_READ(sb, s_dev);
	if (!ku_pol_begin_dev(&h, dev) || !ku_pol_asks(h.bank, KU_A_EXEC))
		return 0;
	t = ku_pol_task_of(&h);
	if (!t)
		return ku_minus(ku_pol_no_memory(&h));
	ran = t->exec_inode;
	t->exec_inode = mapped ? 0 : (__u64)inode;
	/* execve maps what it was allowed to run. */
	if (mapped && ran == (__u64)inode)
		return 0;
	t->mapped = mapped;
	t->action = KU_A_EXEC;
	t->kind = KU_K_FILE;
	t->size = BPF_CORE_READ(inode, i_size);
	return ku_minus(ku_pol_done(&h, ku_pol_judge_at(t, dentry, KU_POL_TELL)));
}

SEC("lsm/bprm_check_security")
int BPF_PROG(ku_pol_bprm, struct linux_binprm *bprm)
{
	return ku_pol_exec(bprm->file->f_path.dentry, false);
}

/*
 * There is no file where memory is mapped that is none's. The verifier of 6.12 and 6.18 takes the argument for one that is always there, and leaves
 * a test for that out: it is read as a number.
 */
SEC("lsm/mmap_file")
int ku_pol_mmap(unsigned long long *ctx)
{
	struct file *file = NULL;

	if (!(ctx[2] & PROT_EXEC))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), ctx);
	if (file)
		return ku_pol_exec(BPF_CORE_READ(file, f_path.dentry), true);
	if (ku_pol_is_self())
		ku_pol_shared.self_seen = 1;
	return 0;
}

/* Of an overlay file it is the real file that is mapped. Until 6.4 that had the overlay's path, from 6.5 on it has it beside its own. */
SEC("lsm/file_mprotect")
int BPF_PROG(ku_pol_mprotect, struct vm_area_struct *vma, unsigned long asked, unsigned long prot)
{
	struct dentry *dentry;
	struct file *file;

	if (!(prot & PROT_EXEC))
		return 0;
	file = BPF_CORE_READ(vma, vm_file);
	if (!file)
		return 0;
	dentry = BPF_CORE_READ(file, f_path.dentry);
	if (bpf_core_type_exists(struct backing_file)) {
		struct backing_file *b = (void *)file - bpf_core_field_offset(struct backing_file, file);
		struct dentry *user = BPF_CORE_READ(b, user_path.dentry);
		struct inode *inode = BPF_CORE_READ(user, d_inode);

		/* Or it is none of these, and what is behind it something else: then this is not the file's. */
		if (BPF_CORE_READ(inode, i_sb, s_magic) == OVERLAYFS_SUPER_MAGIC && ku_upper_inode(inode) == BPF_CORE_READ(file, f_inode))
			dentry = user;
	}
	return ku_pol_exec(dentry, true);
}

#endif
