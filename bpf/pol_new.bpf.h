/* SPDX-License-Identifier: GPL-2.0-only */
/* Overlays that are mounted later: under the policy before anybody can reach them. */
#ifndef KU_POL_NEW_BPF_H
#define KU_POL_NEW_BPF_H

struct ku_pol_open_accounts {
	struct ku_pol_bank *bank;
	__u32 dev;
};

/* The numbers of a union that had this device before are not its own. */
static long ku_pol_open_account(__u32 i, void *ctx)
{
	static const struct ku_pol_account none = {};
	struct ku_pol_open_accounts *o = ctx;
	struct ku_pol_budget *bu = &o->bank->budgets[i & (KU_POL_BUDGETS - 1)];
	struct ku_pol_account_key key = { .dev = o->dev, .id = bu->id };

	if (!bu->id)
		return 1;
	if (!(bu->flags & KU_PB_ALL))
		bpf_map_update_elem(&ku_pol_accounts, &key, &none, BPF_ANY);
	return 0;
}

/* As of a union that no rule names, until user space has found where it is mounted: the element of device 0, which no superblock has. */
SEC("fexit/ovl_fill_super")
int ku_pol_fill_super(unsigned long long *ctx)
{
	static const struct ku_pol_space nothing = {};
	struct super_block *sb = (struct super_block *)ctx[0];
	struct ku_pol_open_accounts o = { .dev = KU_DEV_NEW };
	struct ku_pol_union *u = bpf_map_lookup_elem(&ku_pol_unions, &o.dev);
	__u64 ret;

	/* How many parameters it has depends on the kernel. */
	if (!u || bpf_get_func_ret(ctx, &ret) || (int)ret)
		return 0;
	o.bank = ku_pol_bank_of(*(volatile __u32 *)&ku_pol_shared.gen);
	o.dev = BPF_CORE_READ(sb, s_dev);
	if (!o.bank)
		return 0;
	bpf_map_update_elem(&ku_pol_spaces, &o.dev, &nothing, BPF_ANY);
	bpf_loop(KU_POL_BUDGETS, ku_pol_open_account, &o, 0);
	if (bpf_map_update_elem(&ku_pol_unions, &o.dev, u, BPF_ANY))
		__sync_fetch_and_add(&ku_pol_shared.dropped, 1);
	return 0;
}

#endif
