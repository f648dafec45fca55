/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A policy that outlives kunion: its maps and links pinned in bpffs, in KU_PIN_DIR/policy. One a machine. The next start with --pin takes the maps over,
 * puts its own programs beside the old ones, and its pins in the place of the old ones at once: there is no moment without the rules.
 */
#ifndef KU_JUDGE_PIN_H
#define KU_JUDGE_PIN_H

#include <stdbool.h>
#include <stdint.h>

#define KU_BPFFS "/sys/fs/bpf"
#define KU_PIN_DIR KU_BPFFS "/kunion"

struct bpf_link;
struct bpf_object;

struct ku_pin {
	int dir_fd;   /* -1: none; the lock of who pins is on it */
	bool adopted; /* there was a policy already */
};

/*
 * The right to pin, one at a time; mounts bpffs where it is not. Returns 0, or -errno with a line in err: -EBUSY when another kunion has it, -EPROTO
 * when what is pinned is of another version.
 */
int ku_pin_open(struct ku_pin *p, char err[static 512]);
/* What is pinned stays. Harmless where dir_fd is -1. */
void ku_pin_close(struct ku_pin *p);

/* Before obj is loaded: has it use the pinned maps, if there are any. 0, or -errno with a line in err; -EPROTO as above. */
int ku_pin_adopt(const struct ku_pin *p, struct bpf_object *obj, char err[static 512]);
/* Pins obj's maps and these links in place of what is pinned. All or nothing: 0, or -errno with a line in err. */
int ku_pin_put(const struct ku_pin *p, struct bpf_object *obj, struct bpf_link *const *links, unsigned int nlinks, char err[static 512]);

/* Is a pinned policy for the union of this kernel dev_t? */
bool ku_pin_has_union(uint32_t dev);

#define KU_PIN_PROGRAMS 128

struct ku_pin_removed {
	unsigned int programs, maps;
	uint32_t ids[KU_PIN_PROGRAMS]; /* of the programs */
	bool busy; /* a kunion that pinned them still runs: its rules end with it */
};

/* Removes whatever kunion has in bpffs; back when no rule of it is in force any more, unless busy. Returns 0 or -errno, with a line in err. */
int ku_pin_remove_all(struct ku_pin_removed *ret, char err[static 512]);

#endif
