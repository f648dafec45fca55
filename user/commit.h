/* SPDX-License-Identifier: GPL-2.0-only */
/* Temporaries in the union and their commit: link under a temporary name, rename over the file (DESIGN 5). */
#ifndef KU_COMMIT_H
#define KU_COMMIT_H

#include <stdbool.h>

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
};

/*
 * Opens an O_TMPFILE in dirfd; where overlayfs has none (before 6.3: EOPNOTSUPP) a named one (mode 0600, recorded first).
 * Returns 0 or -errno. End it with ku_temp_drop() in every case, also after a commit.
 */
int ku_temp_open(int dirfd, const char *dir, struct ku_intents *intents, struct ku_temp *ret);

/* Closes it, removes its name if it has one, voids its intent. Harmless after a commit and on an already dropped one. */
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
 * Puts the temporary in the place of name in its directory and puts the directory's access and modification times back.
 * The caller has copied, flushed, and holds no other descriptor on the file it replaces. Returns 0, or -errno with name
 * untouched.
 */
int ku_temp_commit(struct ku_temp *t, const char *name, const struct ku_commit_opts *opts);

#endif
