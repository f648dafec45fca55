/* SPDX-License-Identifier: GPL-2.0-only */
/* Asleep in a FUSE request on a gate's file (DESIGN 3), and task work, in the spelling that the kernel has. */
#ifndef KU_SLEEP_BPF_H
#define KU_SLEEP_BPF_H

#define EINTR 4
#define EIO 5
#define ENODATA 61
#define ERESTARTNOINTR 513

extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *p) __ksym __weak;
extern struct file *bpf_get_task_exe_file(struct task_struct *task) __ksym __weak;
extern void bpf_put_file(struct file *file) __ksym __weak;
extern int bpf_get_file_xattr(struct file *file, const char *name__str, struct bpf_dynptr *value_p) __ksym __weak;

typedef int (*bpf_task_work_callback_t)(struct bpf_map *map, void *key, void *value);
/*
 * 6.18 has the first spelling, 7.x the second; an object that declares the wrong one does not load (KERNEL.md 4). Where there is
 * neither, a callback that schedules itself would be a recursion to the verifier.
 */
#if defined(KU_TASK_WORK_IMPL)
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					      bpf_task_work_callback_t callback, void *aux__prog) __ksym __weak;
extern int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					      bpf_task_work_callback_t callback, void *aux__prog) __ksym __weak;
#elif !defined(KU_TASK_WORK_NONE)
extern int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					 bpf_task_work_callback_t callback) __ksym __weak;
extern int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *tw, void *map__map,
					 bpf_task_work_callback_t callback) __ksym __weak;
#endif

#if defined(KU_TASK_WORK_NONE)
#define KU_SCHEDULE_SIGNAL(task, tw, map, callback) ((void)(task), (void)(tw), (void)(callback), -1)
#define KU_SCHEDULE_RESUME(task, tw, map, callback) ((void)(task), (void)(tw), (void)(callback), -1)
#elif defined(KU_TASK_WORK_IMPL)
#define KU_SCHEDULE_SIGNAL(task, tw, map, callback) bpf_task_work_schedule_signal_impl(task, tw, map, callback, NULL)
#define KU_SCHEDULE_RESUME(task, tw, map, callback) bpf_task_work_schedule_resume_impl(task, tw, map, callback, NULL)
#else
#define KU_SCHEDULE_SIGNAL(task, tw, map, callback) bpf_task_work_schedule_signal(task, tw, map, callback)
#define KU_SCHEDULE_RESUME(task, tw, map, callback) bpf_task_work_schedule_resume(task, tw, map, callback)
#endif

/*
 * -err, for a hook's return: from 6.12 the verifier wants to see [-4095, 0], and clang's negation hides the range (KERNEL.md 1).
 */
static __always_inline int ku_minus(__u64 err)
{
	__u64 ret;

	asm volatile("%1 &= 0xfff\n"
		     "%0 = 0\n"
		     "%0 -= %1\n"
		     : "=&r"(ret), "+r"(err));
	return ret;
}

/* What getxattr would fill; never read. */
char ku_xattr_value[16] SEC(".data.xattr");

/*
 * Sleeps until the daemon answers; pid and dev: the gate's child, and the superblock of its file. 0: released, or the slice is over; -EINTR: a signal;
 * anything else: cannot wait here. Only for sleepable contexts. Inline, for in a function of a callback's the verifier of 6.18 takes the next slice for an
 * endless loop.
 */
static __always_inline int ku_sleep_at(__u32 pid, __u32 dev)
{
	struct task_struct *child;
	struct bpf_dynptr value;
	struct file *exe;
	int ret = -EIO;

	child = bpf_task_from_pid(pid);
	if (!child)
		return -EIO;
	exe = bpf_get_task_exe_file(child);
	if (exe) {
		struct super_block *sb = exe->f_inode->i_sb;

		/* The child may be dead and its number somebody else's. */
		if (sb->s_magic == FUSE_SUPER_MAGIC && sb->s_dev == dev) {
			bpf_dynptr_from_mem(ku_xattr_value, sizeof(ku_xattr_value), 0, &value);
			ret = bpf_get_file_xattr(exe, KU_XATTR_NAME, &value);
		}
		bpf_put_file(exe);
	}
	bpf_task_release(child);
	if (ret == -ENODATA)
		return 0;
	return ret == -EINTR ? -EINTR : -EIO;
}

#endif
