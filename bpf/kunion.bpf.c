// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate (DESIGN 4). All programs let everything pass that is not on an attached union, comes from kunion itself, or
 * is in doubt: they fail to the kernel's native behaviour.
 *
 * lsm/inode_copy_up	every copy-up, before its first byte: makes or joins an entry and parks (tier park); calls our
 *			copy off when the kernel goes on by itself
 * lsm.s/file_open	notes O_TRUNC; waits for a copy (tier wait-open); holds opens while a commit is under way
 * lsm/inode_unlink	makes a pending copy moot
 * lsm/inode_rename	the same for a file renamed over; for kunion's own rename: the last word on a commit
 * lsm/inode_getattr	the holder test, on a worker's statx
 * lsm/sb_delete	a union's superblock ends: so does its attachment
 * fexit/ovl_copy_up_one	the end of a native copy-up
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
#include "table.bpf.h"
#include "wait.bpf.h"

#define FMODE_WRITE 0x2
#define O_TRUNC 01000

char LICENSE[] SEC("license") = "GPL";

static __always_inline struct ku_rec *ku_rec_of(struct task_struct *task)
{
	return bpf_task_storage_get(&ku_recs, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* The kernel copies: remember what the end of it needs. */
static __always_inline int ku_go_native(struct ku_rec *rec, struct dentry *dentry, __u32 op)
{
	if (rec) {
		rec->native_dentry = (__u64)dentry;
		rec->native_ns = bpf_ktime_get_ns();
		rec->op = op;
	}
	return 0;
}

/* The kernel copies although an entry is there. */
static __always_inline int ku_overtake(struct ku_rec *rec, struct ku_slot *slot, __u64 ref, __u32 union_id, struct dentry *dentry,
				       struct task_struct *task, __u32 op)
{
	/* The commit's rename waits for the lock that this task holds: walking again finds the new file. */
	if (!ku_lose(slot, ref, union_id, task, op))
		return -ESTALE;
	return ku_go_native(rec, dentry, op);
}

/* What an earlier wait of this task for this inode ended with. True: *ret is the hook's answer. */
static __always_inline bool ku_verdict(struct ku_rec *rec, struct inode *inode, struct dentry *dentry, __u32 op, int *ret)
{
	__u32 verdict = rec->verdict, err = rec->err;

	if (rec->inode != (__u64)inode || verdict == KU_V_NONE)
		return false;
	rec->verdict = KU_V_NONE;
	rec->inode = 0;
	if (verdict == KU_V_ERROR) {
		*ret = ku_minus(err);
		return true;
	}
	*ret = ku_go_native(rec, dentry, op);
	return true;
}

/* Must an entry that is terminal, or a limit that is over, send this task native? */
static __always_inline bool ku_given_up(struct ku_rec *rec, struct inode *inode)
{
	if (rec->inode != (__u64)inode)
		return false;
	return rec->tries >= KU_MAX_TRIES || bpf_ktime_get_ns() > rec->deadline_ns;
}

static __always_inline bool ku_wanted(struct ku_union_cfg *u, struct inode *inode)
{
	return u->mode == KU_MODE_MANAGE && inode->i_nlink == 1 && (__u64)inode->i_size >= u->min_size;
}

SEC("lsm/inode_copy_up")
int BPF_PROG(ku_inode_copy_up, struct dentry *dentry, struct cred **new)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct inode *inode = dentry->d_inode;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	struct ku_rec *rec;
	bool trunc, created = false;
	__u64 ref = 0;
	__u32 op, state;
	int ret;

	if (!inode)
		return 0;
	u = ku_union_of(inode);
	if (!u || ku_is_self())
		return 0;
	op = ku_current_op(task);
	rec = ku_rec_of(task);
	if (!rec || !ku_is_reg(inode))
		return ku_go_native(rec, dentry, op);

	/* Data copied for nothing would be thrown away: always native. */
	trunc = op == KU_OP_OPEN && rec->open_inode == (__u64)inode && rec->open_trunc;
	slot = ku_entry(inode, &ref);
	state = slot ? KU_WORD_STATE(ku_word(slot)) : KU_S_FREE;

	if (slot && rec->ref == ref && !KU_STATE_PENDING(state) && rec->verdict == KU_V_NONE)
		ku_settle(rec, slot, 0);
	if (ku_verdict(rec, inode, dentry, op, &ret))
		goto passed;

	if (!ku_can_wait(task) || trunc || ku_cfg.tier != KU_TIER_PARK || ku_given_up(rec, inode))
		goto native;

	if (!slot || !KU_STATE_PENDING(state)) {
		if (!ku_wanted(u, inode))
			goto native;
		ref = ku_request(u, inode, dentry, task, op);
		if (!ref)
			goto native;
		created = true;
		slot = ku_slot_of(ref);
		if (!slot)
			return 0;
	}
	if (!ku_join(rec, inode, slot, ref, u->id, task, op, created))
		goto native;
	if (ku_cfg.tier == KU_TIER_PARK && ku_park(task))
		return -ERESTARTNOINTR;
	ku_unjoin(slot);
	__sync_fetch_and_add(&ku_shared.cannot_wait, 1);

native:
	if (rec->inode == (__u64)inode) {
		if (rec->ref == ref && ref && bpf_ktime_get_ns() > rec->deadline_ns)
			ku_tell(KU_R_LEAVE, ref, u->id, task, op, ETIME, state);
		rec->inode = 0;
	}
	ret = 0;
passed:
	if (ret)
		return ret;
	if (slot)
		return ku_overtake(rec, slot, ref, u->id, dentry, task, op);
	return ku_go_native(rec, dentry, op);
}

/* Tier wait-open: asleep here, where no lock is held, then the walk goes again. */
static __always_inline int ku_wait_in_open(struct ku_rec *rec, struct ku_slot *slot, __u64 ref, struct inode *inode, __u32 union_id,
					   struct task_struct *task, bool write, bool created)
{
	__u64 now, w;
	int slept;

	if (!ku_join(rec, inode, slot, ref, union_id, task, KU_OP_OPEN, created)) {
		ku_lose(slot, ref, union_id, task, KU_OP_OPEN);
		return 0;
	}
	__sync_fetch_and_add(&slot->openers, 1);
	if (write)
		__sync_fetch_and_add(&slot->write_openers, 1);
	__sync_fetch_and_add(&slot->asleep, 1);
	slept = ku_gate_sleep();
	__sync_fetch_and_sub(&slot->asleep, 1);
	if (write)
		__sync_fetch_and_sub(&slot->write_openers, 1);
	__sync_fetch_and_sub(&slot->openers, 1);
	w = ku_word(slot);
	ku_settle(rec, slot, slept);
	ku_unjoin(slot);

	if (rec->verdict == KU_V_ERROR) {
		rec->verdict = KU_V_NONE;
		rec->inode = 0;
		return ku_minus(rec->err);
	}
	if (rec->verdict == KU_V_NATIVE) {
		rec->verdict = KU_V_NONE;
		rec->inode = 0;
		ku_lose(slot, ref, union_id, task, KU_OP_OPEN);
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (KU_WORD_GEN(w) == KU_REF_GEN(ref) && KU_STATE_PENDING(KU_WORD_STATE(w))) {
		if (ku_restart_by_signal(task))
			return -ERESTARTNOINTR;
		if (now - rec->stale_ns > KU_STALE_NS) {
			rec->stale_ns = now;
			return -ESTALE;
		}
		ku_tell(KU_R_LEAVE, ref, union_id, task, KU_OP_OPEN, ETIME, KU_WORD_STATE(w));
		ku_lose(slot, ref, union_id, task, KU_OP_OPEN);
		return 0;
	}
	/* Done, lost or failed for somebody else: look again, by name. */
	if (now - rec->stale_ns > KU_STALE_NS) {
		rec->stale_ns = now;
		return -ESTALE;
	}
	if (ku_restart_by_signal(task))
		return -ERESTARTNOINTR;
	return 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(ku_file_open, struct file *file)
{
	struct inode *inode = file->f_inode;
	struct task_struct *task;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	struct ku_rec *rec;
	bool write, created = false;
	__u64 ref = 0;
	__u32 state;
	int ret;

	u = ku_union_of(inode);
	if (!u || !ku_is_reg(inode) || ku_is_self())
		return 0;
	task = bpf_get_current_task_btf();
	write = file->f_mode & FMODE_WRITE || file->f_flags & O_TRUNC;
	slot = ku_entry(inode, &ref);
	state = slot ? KU_WORD_STATE(ku_word(slot)) : KU_S_FREE;
	if (!write && state != KU_S_COMMITTING && state != KU_S_RENAMING)
		return 0;
	rec = ku_rec_of(task);
	if (!rec)
		return 0;
	if (write) {
		rec->open_inode = (__u64)inode;
		rec->open_trunc = !!(file->f_flags & O_TRUNC);
	}

	if (state == KU_S_COMMITTING || state == KU_S_RENAMING) {
		/* Also for reading: an old file held across the commit would miss every later write. */
		if (!ku_can_wait(task) || ku_given_up(rec, inode)) {
			rec->inode = 0;
			return ku_lose(slot, ref, u->id, task, KU_OP_READ) ? 0 : -ESTALE;
		}
		if (ku_cfg.tier == KU_TIER_PARK) {
			if (write)
				return 0; /* inode_copy_up parks it */
			if (!ku_join(rec, inode, slot, ref, u->id, task, KU_OP_READ, false))
				return ku_lose(slot, ref, u->id, task, KU_OP_READ) ? 0 : -ESTALE;
			if (ku_park(task))
				return -ERESTARTNOINTR;
			ku_unjoin(slot);
			return ku_lose(slot, ref, u->id, task, KU_OP_READ) ? 0 : -ESTALE;
		}
	}
	if (ku_cfg.tier != KU_TIER_WAIT_OPEN)
		return 0;

	if (!ku_can_wait(task) || (write && rec->open_trunc))
		return 0; /* inode_copy_up calls the copy off */
	if (rec->ref == ref && slot && !KU_STATE_PENDING(state) && rec->verdict == KU_V_NONE)
		ku_settle(rec, slot, 0);
	if (rec->inode == (__u64)inode && rec->verdict != KU_V_NONE) {
		ret = rec->verdict == KU_V_ERROR ? ku_minus(rec->err) : 0;
		rec->verdict = KU_V_NONE;
		rec->inode = 0;
		return ret;
	}
	if (ku_given_up(rec, inode)) {
		if (slot && rec->ref == ref && KU_STATE_PENDING(state))
			ku_tell(KU_R_LEAVE, ref, u->id, task, KU_OP_OPEN, ETIME, state);
		rec->inode = 0;
		return 0;
	}
	if (!slot || !KU_STATE_PENDING(state)) {
		if (!ku_wanted(u, inode) || !ku_is_lower(inode))
			return 0;
		ref = ku_request(u, inode, file->f_path.dentry, task, KU_OP_OPEN);
		if (ref) {
			created = true;
			slot = ku_slot_of(ref);
		} else {
			slot = ku_entry(inode, &ref); /* somebody was faster */
		}
		if (!slot)
			return 0;
	}
	return ku_wait_in_open(rec, slot, ref, inode, u->id, task, write, created);
}

SEC("lsm/inode_unlink")
int BPF_PROG(ku_inode_unlink, struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	__u64 ref = 0;

	u = ku_union_of(dir);
	if (!u || !inode || ku_is_self())
		return 0;
	slot = ku_entry(inode, &ref);
	/* RENAMING is not seen here: that rename holds this directory's lock. */
	if (slot)
		ku_lose(slot, ref, u->id, bpf_get_current_task_btf(), KU_OP_OTHER);
	return 0;
}

/*
 * kunion's own rename over the file: with the directory and the file locked, is it still the file that was copied, nobody else's,
 * and has nothing overtaken it? This closes R2, R5 and the window of every holder test before it.
 */
static __always_inline int ku_commit_check(struct inode *inode, struct dentry *dentry)
{
	struct ku_slot *slot;
	__u64 ref = 0, w;

	slot = ku_entry(inode, &ref);
	if (!slot || slot->copier_tid != (__u32)bpf_get_current_pid_tgid())
		return -ECANCELED;
	w = ku_word(slot);
	if (KU_WORD_STATE(w) != KU_S_COMMITTING)
		return -ECANCELED;
	slot->held.excess = ku_held(dentry, inode, slot, &slot->held);
	if (slot->held.excess)
		return -EBUSY;
	if (__sync_val_compare_and_swap(&slot->word, w, KU_WORD(KU_REF_GEN(ref), 0, KU_S_RENAMING)) != w)
		return -ECANCELED;
	return 0;
}

SEC("lsm/inode_rename")
int BPF_PROG(ku_inode_rename, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry)
{
	struct inode *victim = new_dentry->d_inode;
	struct ku_union_cfg *u;
	struct ku_slot *slot;
	__u64 ref = 0;

	u = ku_union_of(new_dir);
	if (!u)
		return 0;
	if (ku_is_self()) {
		if (!victim)
			return -ECANCELED; /* unlinked meanwhile: never bring a file back */
		return ku_commit_check(victim, new_dentry);
	}
	if (!victim)
		return 0;
	slot = ku_entry(victim, &ref);
	if (slot)
		ku_lose(slot, ref, u->id, bpf_get_current_task_btf(), KU_OP_RENAME);
	return 0;
}

SEC("lsm/inode_getattr")
int BPF_PROG(ku_inode_getattr, const struct path *path)
{
	struct dentry *dentry = path->dentry;
	struct inode *inode = dentry->d_inode;
	struct ku_slot *slot;
	__u64 ref = 0;

	if (!inode || !ku_union_of(inode) || !ku_is_self())
		return 0;
	__sync_fetch_and_add(&ku_shared.self_seen, 1);
	slot = ku_entry(inode, &ref);
	if (!slot)
		return 0;
	slot->copier_tid = (__u32)bpf_get_current_pid_tgid();
	slot->held.excess = ku_held(dentry, inode, slot, &slot->held);
	__sync_fetch_and_add(&slot->held.seq, 1);
	return 0;
}

SEC("lsm/sb_delete")
int BPF_PROG(ku_sb_delete, struct super_block *sb)
{
	struct ku_union_cfg *u;
	struct ku_record_gone *r;
	__u32 dev;

	if (sb->s_magic != OVERLAYFS_SUPER_MAGIC)
		return 0;
	dev = sb->s_dev;
	u = bpf_map_lookup_elem(&ku_unions, &dev);
	if (!u)
		return 0;
	r = bpf_ringbuf_reserve(&ku_ring, sizeof(*r), 0);
	if (r) {
		r->type = KU_R_GONE;
		r->union_id = u->id;
		bpf_ringbuf_submit(r, 0);
	} else {
		__sync_fetch_and_add(&ku_shared.dropped_records, 1);
	}
	/* The number is free for another superblock from here on. */
	bpf_map_delete_elem(&ku_unions, &dev);
	return 0;
}

SEC("fexit/ovl_copy_up_one")
int BPF_PROG(ku_ovl_copy_up_one, struct dentry *parent, struct dentry *dentry, int flags, int result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ku_record_native *r;
	struct ku_union_cfg *u;
	struct inode *inode;
	struct ku_rec *rec;

	rec = bpf_task_storage_get(&ku_recs, task, 0, 0);
	if (!rec || rec->native_dentry != (__u64)dentry)
		return 0;
	rec->native_dentry = 0;
	inode = dentry->d_inode;
	if (!inode)
		return 0;
	u = ku_union_of(inode);
	if (!u)
		return 0;
	r = bpf_ringbuf_reserve(&ku_ring, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&ku_shared.dropped_records, 1);
		return 0;
	}
	r->type = KU_R_NATIVE;
	r->union_id = u->id;
	r->result = result;
	r->pad = 0;
	r->end_ns = bpf_ktime_get_ns();
	r->req.ts_ns = rec->native_ns;
	r->req.union_id = u->id;
	r->req.op = rec->op;
	r->req.size = 0;
	/* O_TRUNC, metadata and everything that is not a file copies no data. */
	if (ku_is_reg(inode) && !(flags & O_TRUNC))
		r->req.size = inode->i_size;
	ku_fill_who(&r->req.who, task);
	r->req.path_len = ku_fill_path(r->req.path, dentry);
	bpf_ringbuf_submit(r, 0);
	return 0;
}

struct ku_register_args {
	__u32 what; /* 0: kunion itself, 1: the gate's child */
};

SEC("syscall")
int ku_register(struct ku_register_args *args)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (args->what)
		ku_shared.gate_pid = tgid;
	else
		ku_shared.self_tgid = tgid;
	return 0;
}
