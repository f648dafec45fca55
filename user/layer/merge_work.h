/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of ku_merge() share. All functions return 0 or -errno; the first failure's path is kept for the message. */
#ifndef KU_MERGE_WORK_H
#define KU_MERGE_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define KU_OVERLAY_XATTR "trusted.overlay."
#define KU_MERGE_NAME 32 /* "d" and an inode number */

/* A directory that was renamed: its upper inode number, and where it is in the lower layer ("a/b"; NULL: nowhere). */
struct ku_move {
	uint64_t ino;
	char *origin;
	unsigned int depth;
};

struct ku_merge_work {
	int upper, lower, stage;
	struct ku_move *moves;
	size_t n_moves;
	char *failed;	  /* where it failed: a path below the root, allocated */
	const char *what; /* what could not be done, static */
};

struct ku_names {
	char **names;
	size_t n;
};

/* All names in dir but "." and "..", sorted; must be freed in any case. dir's position is not changed. */
int ku_names_read(int dir, struct ku_names *ret);
bool ku_names_have(const struct ku_names *n, const char *name);
void ku_names_free(struct ku_names *n);

/* Opens a directory by one name: no link is followed and no mount entered. A descriptor or -errno. */
int ku_merge_open_dir(int dir, const char *name);
/* The same for anything, O_PATH, and what it is. */
int ku_merge_open(int dir, const char *name, struct stat *ret);
/* What it is: 0, -ENOENT, .. */
int ku_merge_stat(int dir, const char *name, struct stat *ret);
/* An overlay xattr as text, allocated; NULL with *ret_err 0 or -errno. */
char *ku_merge_xattr(int fd, const char *name, int *ret_err);

/* Removes what is there, with all that is in it; nothing there is no error. */
int ku_merge_rmtree(int dir, const char *name);

/* Owner, xattrs but overlayfs's, mode and times of from; what to has besides is taken off. Both O_PATH or more. */
int ku_merge_meta(int from, int to);

/* Every point at which a crash makes a difference: a stop point for tests. */
void ku_merge_step(void);

/* Finds the renamed directories, and what cannot be carried over (-EOPNOTSUPP, what and failed are set). */
int ku_merge_plan(struct ku_merge_work *m);
/* Takes renamed directories out of their old places, into the stage. May be called again after a crash. */
int ku_merge_take_out(struct ku_merge_work *m);

/* Puts the file that from is, not a directory, in the place of name in dir. */
int ku_merge_put(struct ku_merge_work *m, int from, const struct stat *st, int dir, const char *name);
/* The same with a new, empty directory, or with one in the stage (id not NULL). */
int ku_merge_put_dir(struct ku_merge_work *m, int dir, const char *name, const char *id);
int ku_merge_remove(struct ku_merge_work *m, int dir, const char *name);

/* The name in the stage of what belongs to an upper inode; kind: 'd' directory, 'h' hard link. */
void ku_merge_id(char id[static KU_MERGE_NAME], char kind, uint64_t ino);

/* Keeps r and where it was; path and name may be NULL. Returns r. */
int ku_merge_failed(struct ku_merge_work *m, int r, const char *what, const char *path, const char *name);

#endif
