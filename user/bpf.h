/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading the gate's BPF programs; which tier this kernel has is found by doing it (DESIGN 2). */
#ifndef KU_BPF_H
#define KU_BPF_H

#include <bpf/libbpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "kunion_abi.h"

struct ku_bpf {
	struct bpf_object *obj;
	enum ku_tier tier;
	struct bpf_link *links[24];
	unsigned int nlinks;
	struct ring_buffer *ring;
	/* memory-mapped; all three are changed from both sides */
	struct ku_slot *slots;
	struct ku_request *requests;
	struct ku_shared *shared;
	int fd_unions, fd_inodes, fd_waits, fd_guards, fd_free, fd_register;
	char why[256]; /* why not a higher tier, one line; empty at the highest */
};

/*
 * Loads the programs at the highest tier up to max that this kernel takes, without attaching them. on_record gets the ring
 * buffer's records. Returns 0 or -errno with why filled.
 */
int ku_bpf_load(struct ku_bpf *b, enum ku_tier max, uint64_t max_wait_ns, int (*on_record)(void *arg, void *data, size_t size),
		void *arg);

/* Attaches all that is loaded. From here on attached unions are gated. Returns 0 or -errno with why filled. */
int ku_bpf_attach(struct ku_bpf *b);

/* Detaches: every operation is native again. What sleeps in the gate stays asleep until it answers. */
void ku_bpf_detach(struct ku_bpf *b);

/* Detaches and unloads; for one that never loaded too, if zeroed. */
void ku_bpf_close(struct ku_bpf *b);

/* Tells BPF that the calling process is kunion (child: is the gate's child). Returns 0 or -errno. */
int ku_bpf_register(const struct ku_bpf *b, bool child);

/* Attaches or takes off a union by its superblock's kernel dev_t. Returns 0 or -errno (-EEXIST: is attached already). */
int ku_bpf_union_add(const struct ku_bpf *b, uint32_t dev, const struct ku_union_cfg *cfg);
/* The same for one that is attached; -ENOENT: it is not, or not any more. */
int ku_bpf_union_set(const struct ku_bpf *b, uint32_t dev, const struct ku_union_cfg *cfg);
int ku_bpf_union_remove(const struct ku_bpf *b, uint32_t dev);

/* The pending entry of an open file's inode: KU_REF(), 0 for none. */
uint64_t ku_bpf_inode_ref(const struct ku_bpf *b, int fd);
/* Gives an open file's inode an entry; -EEXIST if it has a live one. */
int ku_bpf_inode_claim(const struct ku_bpf *b, int fd, uint64_t ref);

/*
 * Between these two, an open of a merged file for writing by this thread fails with ECANCELED once it has been copied up: nobody's watch sees
 * it. Returns 0 or -errno.
 */
int ku_bpf_guard_begin(const struct ku_bpf *b);
void ku_bpf_guard_end(const struct ku_bpf *b);

/* What thread tid waits for: KU_REF(), 0 for nothing. */
uint64_t ku_bpf_wait_ref(const struct ku_bpf *b, uint32_t tid);

/* A free slot, taken out of BPF's reach, or -EAGAIN. */
int ku_bpf_slot_take(const struct ku_bpf *b, uint32_t *ret_slot);
/* Gives a slot back, with a new generation. */
void ku_bpf_slot_free(const struct ku_bpf *b, uint32_t slot);

/* Each loaded program's name and, where the kernel keeps them (kernel.bpf_stats_enabled), its runs and nanoseconds; missed: runs that were not. */
void ku_bpf_hooks(const struct bpf_object *obj, void (*fn)(void *arg, const char *name, uint64_t runs, uint64_t ns, uint64_t missed), void *arg);

/* Kernel dev_t of a userspace one. */
uint32_t ku_kernel_dev(uint64_t dev);

const char *ku_tier_name(enum ku_tier tier);

/* State change by compare-and-swap; err is stored with KU_S_FAILED. False: the word was not (gen, from). */
static inline bool ku_slot_move(struct ku_slot *slot, uint32_t gen, enum ku_state from, enum ku_state to, int err)
{
	__u64 old = KU_WORD(gen, 0, from);

	return __atomic_compare_exchange_n(&slot->word, &old, KU_WORD(gen, err, to), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline __u64 ku_slot_word(const struct ku_slot *slot)
{
	return __atomic_load_n(&slot->word, __ATOMIC_SEQ_CST);
}

#endif
