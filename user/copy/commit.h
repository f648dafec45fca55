/* SPDX-License-Identifier: GPL-2.0-only */
/* Temporaries in the union and their commit: link under a temporary name, rename over the file (DESIGN 5). */
#ifndef KU_COMMIT_H
#define KU_COMMIT_H

#include <stdbool.h>
#include <time.h>

#include "intents.h"

/* The copy in the making, in the directory of the file it will replace. */
struct ku_temp {
	int fd;			     /* read-write; owned */
	int dirfd;		     /* the caller's */
	const char *dir;	     /* the caller's: path of dirfd below the union's root, for the record */
	struct ku_intents *intents;  /* the caller's */
	bool named;		     /* it has name[] in dirfd */
	char name[KU_TEMP_NAME_MAX];
	unsigned int intent;
	struct timespec mtime_was; /* the directory's, without us; and as we left it: another change in between is kept */
	struct timespec mtime_ours;
};

/*
 * Opens an O_TMPFILE in dirfd; where overlayfs has none (before 6.3: EOPNOTSUPP) a named one (mode 0600, recorded first).
 * Returns 0 or -errno. End it with ku_temp_drop() in every case, also after a commit; after a failure that is harmless.
 */
int ku_temp_open(int dirfd, const char *dir, struct ku_intents *intents, struct ku_temp *ret);

/*
 * Closes it, removes its name if it has one, voids its intent (unless the removal fails: then the next start tries again).
 * Harmless after a commit and on an already dropped one.
 */
void ku_temp_drop(struct ku_temp *t);

struct ku_commit_opts {
	/*
	 * Called with the temporary linked, before each try of the rename; a non-zero value ends the commit with it.
	 * May be NULL.
	 */
	int (*before_rename)(void *arg);
	/*
	 * The rename gave err (positive errno): return true to try again (the callee does the sleeping). May be NULL.
	 */
	bool (*retry)(void *arg, int err);
	void *arg;
};

/*
 * Puts the temporary in the place of name in its directory and puts the directory's modification time back (its access time is
 * not touched by a commit). The caller has copied, flushed, and holds no other descriptor on the file it replaces. Returns 0, or
 * -errno (or what before_rename gave) with name untouched. opts may be NULL.
 *
 * The directory is not flushed, nor is it by the kernel's copy-up: after a power cut there is the lower file or the complete copy.
 */
int ku_temp_commit(struct ku_temp *t, const char *name, const struct ku_commit_opts *opts);

#endif
