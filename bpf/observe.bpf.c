// SPDX-License-Identifier: GPL-2.0-only
/*
 * Observation (DESIGN 7): what the kernel copies up, who waited for it, and who stood behind. Nothing here changes what happens. All attach points
 * are optional; `kunion doctor` says what is not seen without each.
 *
 * ovl_copy_up_one		a copy-up from its beginning to its end
 * lsm/inode_copy_up		the same, where the beginning was left out; lets everything pass
 * ovl_copy_up_start		waiting for the overlay inode lock before it
 * ovl_copy_up_file, vfs_fsync, do_splice_direct, vfs_clone_file_range, do_clone_file_range
 *				its data: size, progress, time, flush, reflink
 * ovl_nlink_start		unlink, rename over and rmdir waiting for the same lock
 * ovl_rename, ovl_link, lock_two_directories	which directories the caller has locked
 * rwsem_down_{write,read}_slowpath	waiting for the lock of a directory, or of the file
 * contention_{begin,end}	the same, and the overlay inode lock, where those were left out
 * ovl_write_iter		bytes written to files that were copied up
 * ovl_create_or_link, ovl_tmpfile, ovl_do_remove, ovl_open, ovl_setattr	writes into the upper layer; loaded only when asked for
 * ovl_fill_super		a union begins
 * ovl_put_super		a union ends
 * ovl_show_options		kunion reads a union's line in mountinfo; only for the daemon
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "kunion_observe_abi.h"

#define O_TRUNC 01000
#define O_ACCMODE 3
#define ERESTARTNOINTR 513

#include "task.bpf.h"
#include "ovl.bpf.h"
#include "unions.bpf.h"
#include "obs_count.bpf.h"
#include "obs_copyup.bpf.h"
#include "obs_write.bpf.h"
#include "obs_wait.bpf.h"
#include "obs_end.bpf.h"
#include "obs_sem.bpf.h"
#include "obs_contention.bpf.h"
#include "obs_layers.bpf.h"

char LICENSE[] SEC("license") = "GPL";
