/* SPDX-License-Identifier: GPL-2.0-only */
/* The calling task: who it is, which operation it does, whether it can be made to wait. */
#ifndef KU_TASK_BPF_H
#define KU_TASK_BPF_H

/* linux/sched.h; values unchanged since long before 6.1, PF_USER_WORKER since 6.4 (unused bit before) */
#define PF_EXITING 0x00000004
#define PF_IO_WORKER 0x00000010
#define PF_DUMPCORE 0x00000200
#define PF_USER_WORKER 0x00004000
#define PF_KTHREAD 0x00200000

#define TS_COMPAT 0x0002 /* arch/x86/include/asm/thread_info.h */
#define NR_IO_URING_ENTER 426
#define CAP_SYS_RESOURCE 24

static __always_inline long ku_syscall_nr(struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	return (long)BPF_CORE_READ(regs, orig_ax);
}

/*
 * Restarting needs a system call of this very task: not io_uring (workers get -EINTR or a raw -513, KERNEL.md 3), not a kernel thread
 * (nfsd, loop), not a core dump.
 */
static __always_inline bool ku_can_wait(struct task_struct *task)
{
	long nr;

	if (task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER | PF_EXITING | PF_DUMPCORE))
		return false;
	nr = ku_syscall_nr(task);
	return nr >= 0 && nr != NR_IO_URING_ENTER;
}

/* arch/x86/entry/syscalls/syscall_64.tbl */
static __always_inline __u32 ku_op_x86_64(long nr)
{
	switch (nr) {
	case 2: case 85: case 257: case 304: case 437: /* open creat openat open_by_handle_at openat2 */
		return KU_OP_OPEN;
	case 90: case 91: case 268: case 452: /* chmod fchmod fchmodat fchmodat2 */
		return KU_OP_CHMOD;
	case 92: case 93: case 94: case 260: /* chown fchown lchown fchownat */
		return KU_OP_CHOWN;
	case 132: case 235: case 261: case 280: /* utime utimes futimesat utimensat */
		return KU_OP_UTIMES;
	case 76: case 77: /* truncate ftruncate */
		return KU_OP_TRUNCATE;
	case 188: case 189: case 190: case 197: case 198: case 199: case 463: case 466: /* set-, removexattr */
		return KU_OP_SETXATTR;
	case 86: case 265: /* link linkat */
		return KU_OP_LINK;
	case 82: case 264: case 316: /* rename renameat renameat2 */
		return KU_OP_RENAME;
	case 16: case 469: /* ioctl(FS_IOC_SETFLAGS), file_setattr */
		return KU_OP_SETFLAGS;
	case 83: case 88: case 133: case 258: case 259: case 266: /* mkdir symlink mknod and their -at */
		return KU_OP_CREATE;
	case 84: case 87: case 263: /* rmdir unlink unlinkat: parents */
		return KU_OP_REMOVE;
	}
	return KU_OP_OTHER;
}

/* arch/x86/entry/syscalls/syscall_32.tbl */
static __always_inline __u32 ku_op_i386(long nr)
{
	switch (nr) {
	case 5: case 8: case 295: case 342: case 437:
		return KU_OP_OPEN;
	case 15: case 94: case 306: case 452:
		return KU_OP_CHMOD;
	case 16: case 95: case 182: case 198: case 207: case 212: case 298:
		return KU_OP_CHOWN;
	case 30: case 271: case 299: case 320: case 412:
		return KU_OP_UTIMES;
	case 92: case 93: case 193: case 194:
		return KU_OP_TRUNCATE;
	case 226: case 227: case 228: case 235: case 236: case 237: case 463: case 466:
		return KU_OP_SETXATTR;
	case 9: case 303:
		return KU_OP_LINK;
	case 38: case 302: case 353:
		return KU_OP_RENAME;
	case 54: case 469:
		return KU_OP_SETFLAGS;
	case 14: case 39: case 83: case 296: case 297: case 304:
		return KU_OP_CREATE;
	case 10: case 40: case 301:
		return KU_OP_REMOVE;
	}
	return KU_OP_OTHER;
}

static __always_inline __u32 ku_current_op(struct task_struct *task)
{
	long nr = ku_syscall_nr(task);

	if (task->thread_info.status & TS_COMPAT)
		return ku_op_i386(nr);
	return ku_op_x86_64(nr);
}

/* The system call; below 0: none. */
static __always_inline void ku_fill_call(struct task_struct *task, __s32 *nr, __u32 *compat)
{
	*nr = task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER) ? -1 : (__s32)ku_syscall_nr(task);
	*compat = task->thread_info.status & TS_COMPAT ? 1 : 0;
}

/* Somebody else: the holder of a lock, alive because it holds it. */
static __always_inline void ku_fill_holder(struct ku_task *who, struct task_struct *task)
{
	who->tid = BPF_CORE_READ(task, pid);
	who->pid = BPF_CORE_READ(task, tgid);
	who->uid = BPF_CORE_READ(task, real_cred, uid.val);
	who->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	bpf_probe_read_kernel(who->comm, sizeof(who->comm), __builtin_preserve_access_index(&task->comm));
}

static __always_inline void ku_fill_who(struct ku_task *who, struct task_struct *task)
{
	__u64 ids = bpf_get_current_pid_tgid();
	const struct cred *cred = task->real_cred; /* cred is the mounter's, for overlayfs has taken that on */
	__u64 caps = 0;

	who->tid = (__u32)ids;
	who->pid = ids >> 32;
	who->uid = BPF_CORE_READ(cred, uid.val);
	who->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(who->comm, sizeof(who->comm));
	who->fsuid = BPF_CORE_READ(cred, fsuid.val);
	who->fsgid = BPF_CORE_READ(cred, fsgid.val);
	who->cap_resource = 0;
	/* Two words until 6.2, one from 6.3: the same 8 bytes on little endian. */
	bpf_probe_read_kernel(&caps, sizeof(caps), __builtin_preserve_access_index(&cred->cap_effective));
	if (BPF_CORE_READ(cred, user_ns, level) == 0 && (caps & (1ULL << CAP_SYS_RESOURCE)))
		who->cap_resource = 1;
}

#endif
