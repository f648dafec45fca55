/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which layers of an overlay are idmapped. An overlay's layers are mounts of its own that no name leads to, and engines take those off that they were
 * made of; but the superblock has them, and passes here when kunion reads its line in mountinfo.
 */
#ifndef KU_OBS_LAYERS_BPF_H
#define KU_OBS_LAYERS_BPF_H

/* The oldest ones give way; what is asked for was written a moment ago. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, KU_MAX_LAYERS);
	__type(key, __u32);
	__type(value, struct ku_obs_layers);
} ku_layers_of SEC(".maps");

struct ku_layers_walk {
	unsigned long at; /* of the first struct ovl_layer */
	__u32 n;
	struct mnt_idmap *none; /* what a mount without a mapping has */
	struct ku_obs_layers found;
};

static long ku_layer_look(__u32 i, void *ctx)
{
	struct ku_layers_walk *w = ctx;
	struct ovl_layer *l = (struct ovl_layer *)(w->at + i * bpf_core_type_size(struct ovl_layer));
	struct vfsmount *mnt;
	bool mapped;

	if (i >= w->n)
		return 1;
	mnt = BPF_CORE_READ(l, mnt);
	if (!mnt)
		return 0;
	if (bpf_core_field_exists(mnt->mnt_idmap))
		mapped = BPF_CORE_READ(mnt, mnt_idmap) != w->none;
	else /* before 6.2 */
		mapped = BPF_CORE_READ(mnt, mnt_userns) != BPF_CORE_READ(mnt, mnt_sb, s_user_ns);
	if (i)
		w->found.lower += mapped;
	else
		w->found.upper = mapped;
	return 0;
}

SEC("fentry/ovl_show_options")
KU_OBS_PROG(ku_obs_show, struct seq_file *m, struct dentry *dentry)
{
	struct super_block *sb = BPF_CORE_READ(dentry, d_sb);
	struct ovl_fs *ofs = BPF_CORE_READ(sb, s_fs_info);
	struct ku_layers_walk w = {};
	__u32 dev = BPF_CORE_READ(sb, s_dev);

	if (bpf_get_current_pid_tgid() >> 32 != ku_obs.own_tgid || !bpf_core_type_exists(struct ovl_layer))
		return 0;
	/* mountinfo's own mount is one of procfs, which cannot be idmapped. */
	if (bpf_core_field_exists(struct vfsmount, mnt_idmap))
		w.none = BPF_CORE_READ(m, file, f_path.mnt, mnt_idmap);
	w.at = (unsigned long)BPF_CORE_READ(ofs, layers);
	w.n = BPF_CORE_READ(ofs, numlayer);
	bpf_loop(KU_OVL_LAYERS, ku_layer_look, &w, 0);
	bpf_map_update_elem(&ku_layers_of, &dev, &w.found, BPF_ANY);
	return 0;
}

#endif
