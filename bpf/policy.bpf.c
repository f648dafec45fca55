// SPDX-License-Identifier: GPL-2.0-only
/*
 * The policy (DESIGN 8): what may be written into a union's upper layer, and run from it. All of it needs no more than BPF LSM. What is not on a
 * union that a policy is for, or comes from kunion itself, passes. On such a union what is not known (a path too deep, no memory) passes no
 * rule that denies.
 *
 * lsm/inode_copy_up	every copy-up, before its first byte
 * lsm/file_open	a write-open of what is upper already; the copy-up of its data, where only metadata is upper; on tier wait-open a copy-up before the gate waits for it
 * lsm/inode_setattr	truncation by name, likewise
 * lsm/inode_create, _mkdir, _symlink, _mknod, _link	new names
 * lsm/dentry_create_files_as	O_TMPFILE
 * lsm/d_instantiate	a name that was about to be created is there already
 * lsm/inode_unlink, _rmdir	names that go
 * lsm/inode_rename	both of them
 * lsm/bprm_check_security, mmap_file, file_mprotect	running what is upper
 * lsm/inode_free_security, fexit/ovl_copy_up_one, ovl_create_object	what was charged and came to nothing is given back
 * lsm/file_permission; fexit/ovl_write_iter, ovl_splice_write, ovl_copy_file_range	bytes written, and no more of them
 * fexit/ovl_fill_super	a union comes, where all that come are under the policy
 * lsm/sb_delete	a union's superblock ends: no policy is for it any more
 * syscall		ku_pol_register, ku_pol_register_gate: tell BPF who kunion and its gate's child are
 *
 * The LSM trampoline stops at the first program that denies, so none is run after another's error.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "kunion_judge_abi.h"

#include "task.bpf.h"
#include "ovl.bpf.h"
#include "rec.bpf.h"
#include "sleep.bpf.h"
#include "pol_map.bpf.h"
#include "pol_path.bpf.h"
#include "pol_match.bpf.h"
#include "pol_budget.bpf.h"
#include "pol_judge.bpf.h"
#include "pol_hold.bpf.h"
#include "pol_known.bpf.h"
#include "pol_bytes.bpf.h"
#include "pol_write.bpf.h"
#include "pol_name.bpf.h"
#include "pol_exec.bpf.h"
#include "pol_new.bpf.h"

SEC("lsm/sb_delete")
int BPF_PROG(ku_pol_sb_delete, struct super_block *sb)
{
	__u32 dev = sb->s_dev;

	/* The number is free for another superblock from here on. */
	if (sb->s_magic == OVERLAYFS_SUPER_MAGIC)
		bpf_map_delete_elem(&ku_pol_unions, &dev);
	return 0;
}

SEC("syscall")
int ku_pol_register(void *ctx)
{
	ku_pol_shared.self_start = ku_pol_began(bpf_get_current_task_btf());
	ku_pol_shared.self_tgid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}

SEC("syscall")
int ku_pol_register_gate(void *ctx)
{
	ku_pol_shared.gate_pid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
