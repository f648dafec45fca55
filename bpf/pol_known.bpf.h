/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was decided about a change of a file is kept with its inode, so that opening it again walks no path and matches no rule.
 *
 * It holds as long as the path is the same for certain:
 * - the file has one name, and got no second one since kunion is there: names come by inode_link only, which lets nothing be kept from then on. A
 *   file with one name is nowhere else (dentry and hash are compared for the sake of a link that was under way when the hooks were attached);
 * - nothing was renamed since on the whole machine: each rename, also of a directory above, and each move of a dentry into its place counts
 *   rename_lock on;
 * - the policy is the same;
 * - the inode is the same: what is kept goes with it.
 * And only to be let pass is decided from here, where nothing but path, uid and size was asked for; all else is judged anew, at most by the path's set.
 */
#ifndef KU_POL_KNOWN_BPF_H
#define KU_POL_KNOWN_BPF_H

/* Never changed: put in whole, and taken out whole. */
struct ku_pol_known {
	__u64 dentry;
	__u64 union_serial, size;
	__u32 hash; /* of the name */
	__u32 gen, seq;
	__u32 path_set;
	__u32 uid, rule; /* who was let pass, by which rule; KU_POL_RULES: nobody */
};

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ku_pol_known);
} ku_pol_knowns SEC(".maps");

/* What is there may have more than one name. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} ku_pol_linked SEC(".maps");

static __always_inline __u32 ku_pol_uid(void)
{
	return bpf_get_current_task_btf()->real_cred->fsuid.val;
}

/* What is known of dentry, a name of inode, by the policy at hand; or NULL. */
static __always_inline struct ku_pol_known *ku_pol_known_of(struct ku_pol_here *h, struct dentry *dentry, struct inode *inode)
{
	struct ku_pol_known *k = bpf_inode_storage_get(&ku_pol_knowns, inode, 0, 0);

	/* An odd number, while something is renamed, was never kept. */
	if (!k || k->gen != h->gen || k->dentry != (__u64)dentry || k->hash != dentry->d_name.hash || k->seq != ku_pol_seq(&rename_lock))
		return NULL;
	return k;
}

/* Was the same thing let pass before? Counted, then. What was upper still is. */
static __always_inline bool ku_pol_pass(struct ku_pol_here *h, struct ku_pol_known *k, struct inode *inode)
{
	if (!k || k->rule == KU_POL_RULES || k->union_serial != h->u->serial || k->uid != ku_pol_uid())
		return false;
	if (h->bank->pol.size.n != 1 && k->size != (__u64)inode->i_size)
		return false;
	ku_pol_count(h->gen, k->rule, 0);
	return true;
}

/* Is it decided by the path, by whom and by size alone? */
static __always_inline bool ku_pol_plain(struct ku_pol_bank *b, __u32 rule)
{
	return !ku_pol_wants(b, KU_PS_COMM) && !ku_pol_wants(b, KU_PS_EXE) && !ku_pol_wants(b, KU_PS_CGROUP) && !ku_pol_wants(b, KU_PS_CONTAINER) &&
	       ku_pol_rule_at(b, rule)->verdict == KU_V_ALLOW && !ku_pol_rule_at(b, rule)->budget;
}

/* Behind a verdict on dentry: what it was. */
static __always_inline void ku_pol_keep(struct ku_pol_here *h, struct ku_pol_task *t, struct dentry *dentry, struct inode *inode)
{
	struct ku_pol_known k = { 0 };

	if (!t->judged || t->unknown || inode->i_nlink != 1)
		return;
	if (t->known) {
		/* Who takes turns with others need not wear it out. */
		if (bpf_get_prandom_u32() & 15)
			return;
		k.path_set = t->known - 1;
		k.seq = t->known_seq;
	} else {
		if (!t->path_known || (t->path_seq & 1))
			return;
		k.path_set = t->sets[KU_PS_PATH];
		k.seq = t->path_seq;
	}
	if (bpf_inode_storage_get(&ku_pol_linked, inode, 0, 0))
		return;
	k.dentry = (__u64)dentry;
	k.hash = dentry->d_name.hash;
	k.union_serial = t->of_union_serial;
	k.gen = h->gen;
	k.size = t->size;
	k.uid = ku_pol_uid();
	k.rule = ku_pol_plain(h->bank, t->rule) ? t->rule : KU_POL_RULES;
	bpf_inode_storage_delete(&ku_pol_knowns, inode);
	bpf_inode_storage_get(&ku_pol_knowns, inode, &k, BPF_LOCAL_STORAGE_GET_F_CREATE);
	/* It comes first and what is kept goes behind it (below): one of us sees the other's. */
	if (bpf_inode_storage_get(&ku_pol_linked, inode, 0, 0))
		bpf_inode_storage_delete(&ku_pol_knowns, inode);
}

/* It is about to get another name. False: no memory. */
static __always_inline bool ku_pol_forget(struct inode *inode)
{
	if (!bpf_inode_storage_get(&ku_pol_linked, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return false;
	bpf_inode_storage_delete(&ku_pol_knowns, inode);
	return true;
}

#endif
