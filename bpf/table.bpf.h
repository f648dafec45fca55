/* SPDX-License-Identifier: GPL-2.0-only */
/* The pending table (DESIGN 4): slots, the inode's reference to one, and the state changes that BPF makes. */
#ifndef KU_TABLE_BPF_H
#define KU_TABLE_BPF_H

const volatile struct ku_config ku_cfg SEC(".rodata.cfg");
struct ku_shared ku_shared SEC(".data.shared");

/* One word and a few counters for each pending copy. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KU_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ku_slot);
} ku_slots SEC(".maps");

/* Apart from the slots: only read once a request is known. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KU_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ku_request);
} ku_requests SEC(".maps");

/* Free slots, filled by the daemon. Empty: native. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, KU_SLOTS);
	__type(value, __u32);
} ku_free_slots SEC(".maps");

struct ku_inode {
	__u64 ref;    /* KU_REF(); 0: never had an entry */
	__u64 copier; /* the task that was last let go on to copy it up: it does as long as it has the overlay inode lock */
};

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ku_inode);
} ku_inodes SEC(".maps");

/* Hints for the daemon. Full: counted, and found again by its sweep. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KU_RING_SIZE);
} ku_ring SEC(".maps");

enum ku_verdict {
	KU_V_NONE = 0,
	KU_V_NATIVE, /* let this inode's next try pass */
	KU_V_ERROR,  /* it gets err */
};

/* After so many lost entries in a row the kernel does it: no livelock. */
#define KU_MAX_TRIES 8

/* Linking and renaming: too late to go on with the old inode. */
static __always_inline bool ku_commits(__u32 state)
{
	return state == KU_S_COMMITTING || state == KU_S_RENAMING;
}

static __always_inline bool ku_is_self(void)
{
	return (bpf_get_current_pid_tgid() >> 32) == ku_shared.self_tgid;
}

static __always_inline struct ku_slot *ku_slot_of(__u64 ref)
{
	__u32 idx = KU_REF_SLOT(ref);

	return bpf_map_lookup_elem(&ku_slots, &idx);
}

static __always_inline __u64 ku_word(struct ku_slot *slot)
{
	return *(volatile __u64 *)&slot->word;
}

/* The inode's live entry, or NULL. */
static __always_inline struct ku_slot *ku_entry(struct inode *inode, __u64 *ref)
{
	struct ku_inode *st = bpf_inode_storage_get(&ku_inodes, inode, 0, 0);
	struct ku_slot *slot;

	if (!st)
		return NULL;
	*ref = *(volatile __u64 *)&st->ref;
	slot = ku_slot_of(*ref);
	if (!slot || KU_WORD_GEN(ku_word(slot)) != KU_REF_GEN(*ref))
		return NULL;
	return slot;
}

/* The inode's last entry, live or not; 0: never had one. */
static __always_inline __u64 ku_last_ref(struct inode *inode)
{
	struct ku_inode *st = bpf_inode_storage_get(&ku_inodes, inode, 0, 0);

	return st ? *(volatile __u64 *)&st->ref : 0;
}

static __always_inline void ku_tell(__u32 type, __u64 ref, __u32 union_id, struct task_struct *task, __u32 op, __u32 err,
				    __u32 state)
{
	struct ku_record_slot *r = bpf_ringbuf_reserve(&ku_ring, sizeof(*r), 0);

	if (!r) {
		__sync_fetch_and_add(&ku_shared.dropped_records, 1);
		return;
	}
	r->type = type;
	r->union_id = union_id;
	r->slot = KU_REF_SLOT(ref);
	r->gen = KU_REF_GEN(ref);
	r->op = op;
	r->err = err;
	r->state = state;
	r->pad = 0;
	ku_fill_call(task, &r->nr, &r->compat);
	r->ts_ns = bpf_ktime_get_ns();
	ku_fill_who(&r->who, task);
	bpf_ringbuf_submit(r, 0);
}

/*
 * The kernel goes on natively, so our copy must not. True: called off, or nothing was pending. False: too late, the commit's rename is
 * running and the caller must not go on with the old inode.
 */
static __always_inline bool ku_lose(struct ku_slot *slot, __u64 ref, __u32 union_id, struct task_struct *task, __u32 op)
{
	for (int i = 0; i < 8; i++) {
		__u64 w = ku_word(slot);
		__u32 state = KU_WORD_STATE(w);

		if (KU_WORD_GEN(w) != KU_REF_GEN(ref) || !KU_STATE_PENDING(state))
			return true;
		if (state == KU_S_RENAMING)
			return false;
		if (__sync_val_compare_and_swap(&slot->word, w, KU_WORD(KU_REF_GEN(ref), 0, KU_S_LOST)) == w) {
			ku_tell(KU_R_LOST, ref, union_id, task, op, 0, KU_S_LOST);
			return true;
		}
	}
	return false;
}

/* Makes an entry for inode, with this task as its requester. 0: none (full, or somebody was faster). */
static __always_inline __u64 ku_request(struct ku_union_cfg *u, struct inode *inode, struct dentry *dentry,
					struct task_struct *task, __u32 op, bool guard)
{
	struct ku_record_slot *r;
	struct ku_request *req;
	struct ku_inode *st;
	struct ku_slot *slot;
	__u64 old, ref;
	__u32 idx, gen;

	st = bpf_inode_storage_get(&ku_inodes, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!st)
		return 0;
	old = *(volatile __u64 *)&st->ref;
	slot = ku_slot_of(old);
	if (slot) {
		__u64 w = ku_word(slot);

		if (KU_WORD_GEN(w) == KU_REF_GEN(old) && KU_STATE_PENDING(KU_WORD_STATE(w)))
			return 0;
	}
	if (bpf_map_pop_elem(&ku_free_slots, &idx)) {
		__sync_fetch_and_add(&ku_shared.no_slot, 1);
		return 0;
	}
	slot = bpf_map_lookup_elem(&ku_slots, &idx);
	req = bpf_map_lookup_elem(&ku_requests, &idx);
	if (!slot || !req)
		return 0;
	r = bpf_ringbuf_reserve(&ku_ring, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&ku_shared.dropped_requests, 1);
		bpf_map_push_elem(&ku_free_slots, &idx, 0);
		return 0;
	}

	req->ts_ns = bpf_ktime_get_ns();
	req->size = inode->i_size;
	req->union_id = u->id;
	req->op = op;
	ku_fill_call(task, &req->nr, &req->compat);
	ku_fill_who(&req->who, task);
	req->path_len = ku_fill_path(req->path, dentry);

	gen = KU_WORD_GEN(ku_word(slot));
	ref = KU_REF(idx, gen);
	slot->parked = 0;
	slot->joined = 0;
	slot->openers = 0;
	slot->write_openers = 0;
	slot->requester_tid = req->who.tid;
	slot->copier_tid = 0;
	slot->asleep = 0;
	slot->guard = guard;
	__sync_lock_test_and_set(&slot->word, KU_WORD(gen, 0, KU_S_REQUESTED));

	/* In file_open no lock is held: the second of two openers finds the first one's entry. */
	if (__sync_val_compare_and_swap(&st->ref, old, ref) != old) {
		__sync_lock_test_and_set(&slot->word, KU_WORD(gen, 0, KU_S_FREE));
		bpf_ringbuf_discard(r, 0);
		bpf_map_push_elem(&ku_free_slots, &idx, 0);
		return 0;
	}

	r->type = KU_R_REQUEST;
	r->union_id = u->id;
	r->slot = idx;
	r->gen = gen;
	r->op = op;
	r->err = 0;
	r->state = KU_S_REQUESTED;
	r->pad = 0;
	r->nr = req->nr;
	r->compat = req->compat;
	r->ts_ns = req->ts_ns;
	r->who = req->who;
	bpf_ringbuf_submit(r, 0);
	return ref;
}

#endif
