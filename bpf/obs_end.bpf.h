/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of a copy-up by the kernel, with the locks of its caller still held. */
#ifndef KU_OBS_END_BPF_H
#define KU_OBS_END_BPF_H

static __always_inline int ku_copyup_end(struct dentry *dentry, int flags, int result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct ku_obs_copyup *c = bpf_map_lookup_elem(&ku_active, &tid);
	struct ku_hold hold;

	if (!c)
		return 0;
	if (c->dentry != (__u64)dentry)
		return 0;
	/* Another kunion's gate may have come behind our look. */
	if (!ku_obs_is_real(c) || result == -ERESTARTNOINTR)
		goto out;
	c->end_ns = bpf_ktime_get_ns();
	c->result = result;
	ku_obs_settle(c, flags);
	ku_obs_count(c);
	hold = (struct ku_hold){ .begin_ns = c->start_ns + c->lock_ns, .end_ns = c->end_ns, .who = c->who, .op = c->op };
	hold.root.id = c->id;
	hold.root.pid = c->who.pid;
	hold.root.tid = c->who.tid;
	__builtin_memcpy(hold.root.comm, c->who.comm, sizeof(hold.root.comm));
	ku_note_holds(dentry, &hold, task, true);
	ku_obs_written(dentry, c);
	ku_obs_tell(c);
out:
	bpf_map_delete_elem(&ku_active, &tid);
	return 0;
}

SEC("fexit/ovl_copy_up_one")
KU_OBS_PROG(ku_obs_end, struct dentry *parent, struct dentry *dentry, int flags, int result)
{
	return ku_copyup_end(dentry, flags, result);
}

SEC("fexit/ovl_copy_up_one")
KU_OBS_PROG(ku_obs_end_again, struct dentry *parent, struct dentry *dentry, int flags, int result)
{
	return ku_copyup_end(dentry, flags, result);
}

/* For user space, when the task of a copy-up that never ended here is gone. Returns the caller's process as BPF numbers it. */
SEC("syscall")
int ku_obs_take(struct ku_obs_take_args *args)
{
	__u32 tid = args->tid;
	struct ku_obs_copyup *c = bpf_map_lookup_elem(&ku_active, &tid);

	if (c && c->id == args->id && ku_obs_is_real(c)) {
		ku_obs_unended(c);
		bpf_map_delete_elem(&ku_active, &tid);
	}
	return bpf_get_current_pid_tgid() >> 32;
}

#endif
