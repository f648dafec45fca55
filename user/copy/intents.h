/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The intents record: which temporary names exist between a commit's link and its rename, so that the next start, or
 * `kunion fsck`, can remove what a crash left (DESIGN 5). One file per upper layer in the state directory
 * (/var/lib/kunion, or $KUNION_STATE_DIR), named by a hash of the upper layer's identity; it exists while somebody has it open
 * or while it holds an entry.
 *
 * The file is an array of slots, one per temporary at a time. Whoever uses a slot holds a lock on its bytes, which the kernel
 * drops when the process dies: a valid slot that nobody locks is what a crash left. So any number of processes may share a record.
 */
#ifndef KU_INTENTS_H
#define KU_INTENTS_H

#include <stdbool.h>

#define KU_TEMP_PREFIX ".kunion-"
#define KU_TEMP_RANDOM 32 /* hex digits behind the prefix: 128 bits, so no user's file has such a name by chance */
#define KU_TEMP_NAME_MAX 64

struct ku_intents;

/* Does this name have the form of a temporary's? */
bool ku_is_temp_name(const char *name);

/*
 * Opens (makes) the record for the union whose upper layer is identified by key (struct ku_union's).
 * durable: fdatasync each entry before its temporary exists (false on volatile overlays). Returns 0 or -errno.
 */
int ku_intents_open(const char *key, bool durable, struct ku_intents **ret);

/* in may be NULL. Entries that are not void stay in the record, for ku_intents_recover(). */
void ku_intents_close(struct ku_intents *in);

/*
 * Makes up an unused temporary name and records that it may come to exist in directory dir (path below the union's root,
 * no leading slash, "" or "." for the root itself, bytes). Thread-safe. Returns 0 and a handle for ku_intents_done(), or -errno
 * (-ENAMETOOLONG: dir has more than 4 KiB).
 */
int ku_intents_begin(struct ku_intents *in, const char *dir, char name[static KU_TEMP_NAME_MAX], unsigned int *ret_id);

/* The temporary is gone (renamed or removed): its entry is void. Thread-safe. */
void ku_intents_done(struct ku_intents *in, unsigned int id);

/*
 * Removes under root (a directory descriptor of the merged mount) the temporaries that earlier runs recorded and voids their
 * entries; with dry_run changes nothing. Calls found() (may be NULL) for each that exists, with its path below the root and 0, or
 * the negative errno of its removal. Never follows a symbolic link, leaves the mount, or touches what a living process recorded.
 * An entry whose removal fails stays recorded. Returns how many there were, or -errno.
 */
int ku_intents_recover(struct ku_intents *in, int root, bool dry_run, void (*found)(void *arg, const char *path, int err),
		       void *arg);

#endif
