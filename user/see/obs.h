/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading the observing BPF programs, on every kernel as many of them as it takes (DESIGN 7). */
#ifndef KU_OBS_H
#define KU_OBS_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "kunion_observe_abi.h"

#define KU_OBS_PROGS 40

struct ku_obs {
	struct bpf_object *obj;
	struct bpf_link *links[KU_OBS_PROGS];
	unsigned int nlinks;
	struct ring_buffer *ring;
	struct ku_obs_shared *shared; /* memory-mapped */
	int fd_unions, fd_active, fd_waits, fd_counts, fd_sum, fd_written, fd_take, fd_layers;
	uint64_t unattached; /* bit n: program n of the table; see ku_obs_unseen() */
	bool host_pids;	     /* we are in the initial pid namespace, as the records' numbers are */
	bool useless;	     /* one that nothing goes without is not there */
};

/*
 * Loads what this kernel takes. on_record gets the ring's records. Returns 0, or -errno with one line in why (where copy-ups themselves cannot be
 * seen).
 */
int ku_obs_load(struct ku_obs *o, const struct ku_obs_config *wanted, int (*on_record)(void *arg, void *data, size_t size), void *arg,
		char why[static 256]);
/* From here on it observes. Returns 0, or -errno with why. */
int ku_obs_attach(struct ku_obs *o, char why[static 256]);
void ku_obs_detach(struct ku_obs *o);
/* For one that never loaded too, if zeroed. */
void ku_obs_close(struct ku_obs *o);

/* A union by its superblock's kernel dev_t; it leaves when that ends. Returns 0 or -errno. */
int ku_obs_union_add(const struct ku_obs *o, uint32_t dev);
int ku_obs_union_remove(const struct ku_obs *o, uint32_t dev);

/* Overlays that are mounted from now on are unions, each told by a record KU_O_MADE. Whether that can be: see ku_obs_unseen(). */
void ku_obs_take_new(const struct ku_obs *o, bool on);

/* Which layers of a union are idmapped, whose line in mountinfo was read a moment ago. 0, or -ENOENT: not known. Any thread. */
int ku_obs_layers(const struct ku_obs *o, uint32_t dev, struct ku_obs_layers *ret);

/* Somebody has seen this kernel call BPF LSM programs. Otherwise that is known with the first copy-up that reaches the observer's own. */
void ku_obs_lsm_works(const struct ku_obs *o);

/* Calls back for each program that is not attached, with what is therefore not seen. */
void ku_obs_unseen(const struct ku_obs *o, void (*fn)(void *arg, const char *function, const char *unseen), void *arg);

/* How often the kernel left out a program that has no stand-in, because it ran on that CPU already: no more than that was not seen. */
uint64_t ku_obs_missed(const struct ku_obs *o);

/*
 * Copy-ups whose end the kernel left out are told and counted as over, as soon as their thread is gone; last: with the programs detached, also those
 * whose thread does something else by now. Costs a look at /proc for each copy-up that runs. In another pid namespace than the initial one:
 * nothing.
 */
void ku_obs_take_unended(const struct ku_obs *o, bool last);

/* Bytes written since the copy-up that this inode's key names; see struct ku_written. */
int ku_obs_written_next(const struct ku_obs *o, struct ku_written_key *key, struct ku_written *ret);

/* The sum over all CPUs. key NULL: over all unions. Returns 0 or -errno. */
int ku_obs_count(const struct ku_obs *o, const struct ku_count_key *key, struct ku_count *ret);
/* The key behind *key (NULL: the first). Returns 0, or -ENOENT behind the last. */
int ku_obs_count_next(const struct ku_obs *o, const struct ku_count_key *key, struct ku_count_key *ret);

/* Drops a union's numbers: its superblock is gone. */
void ku_obs_count_forget(const struct ku_obs *o, uint32_t dev);

#endif
