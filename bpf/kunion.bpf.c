// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate (DESIGN 4). All programs let everything pass that is not on an attached union, comes from kunion itself, or
 * is in doubt: they fail to the kernel's native behaviour.
 *
 * lsm/inode_copy_up	every copy-up, before its first byte: makes or joins an entry and parks (tier park); calls our
 *			copy off when the kernel goes on by itself
 * lsm.s/file_open	notes O_TRUNC; waits for a copy (tier wait-open); holds opens while a commit is under way
 * lsm/inode_link	holds links during a commit
 * lsm/inode_unlink	makes a pending copy moot; waits for the kernel's, which cannot be called off
 * lsm/inode_rmdir	the latter for a directory
 * lsm/inode_rename	the same for a file renamed over; for kunion's own rename: the last word on a commit
 * lsm/inode_setattr, _setxattr, _removexattr, _set_acl, _remove_acl, _file_setattr, and the two above
 *			park what needs a copy that kunion has the kernel make
 * lsm/inode_getattr	the holder test, on a worker's statx
 * lsm/sb_delete	a union's superblock ends: so does its attachment
 * syscall		ku_register: tells BPF who kunion is
 *
 * The LSM trampoline stops at the first program that denies, so none is run after another's error.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "kunion_abi.h"

#include "task.bpf.h"
#include "ovl.bpf.h"
#include "unions.bpf.h"
#include "rec.bpf.h"
#include "table.bpf.h"
#include "wait.bpf.h"
#include "restart.bpf.h"

#define O_TRUNC 01000

#include "gate.bpf.h"
#include "open.bpf.h"
#include "hold.bpf.h"
#include "moot.bpf.h"
#include "commit.bpf.h"
#include "super.bpf.h"

char LICENSE[] SEC("license") = "GPL";
