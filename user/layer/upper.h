/* SPDX-License-Identifier: GPL-2.0-only */
/* The upper layer and the work directory of an overlay that is to be: opened, checked, not in use elsewhere. */
#ifndef KU_UPPER_H
#define KU_UPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KU_LAYER_ERR 512
#define KU_COMMIT_JOURNAL "kunion-commit" /* in the work directory: a commit was begun and did not end */

struct ku_upper {
	int upper, work; /* O_RDONLY */
	char *upper_path, *work_path; /* absolute, without symbolic links */
	char *fstype;
	bool upper_made, work_made; /* they were missing */
};

/* "what: why" */
__attribute__((format(printf, 3, 4))) int ku_layer_err(char err[static KU_LAYER_ERR], int r, const char *fmt, ...);

/*
 * Opens both; work NULL is upper with ".work" behind it. A last component that is missing is made, unless must_exist. They must be two
 * directories of one mount, neither within the other; upper is locked (flock) until it is closed, so that no two kunions use it at once.
 * Returns 0, or -errno with a line in err; what was made is then removed. *ret must be closed after success only.
 */
int ku_upper_open(const char *upper, const char *work, bool must_exist, struct ku_upper *ret, char err[static KU_LAYER_ERR]);
/* With undo, directories that were made are removed again, if empty. */
void ku_upper_close(struct ku_upper *u, bool undo);

/* Opens both anew by their names, in a mount namespace that is a copy of the one they were opened in. 0 or -errno; -ESTALE: others are there. */
int ku_upper_again(struct ku_upper *u);

/* Is one of them in the directory? Overlayfs itself does not refuse that. 1, 0, -errno. */
int ku_upper_is_in(const struct ku_upper *u, int dir);

/* Can the file system carry an upper layer? Tried in the work directory. Returns 0, or -errno with what it lacks in err. */
int ku_upper_probe(const struct ku_upper *u, char err[static KU_LAYER_ERR]);

/* Is it the upper layer of an overlay that is mounted, in whatever mount namespace? -EBUSY, 0, or -errno, with a line in err. */
int ku_upper_unused(const struct ku_upper *u, char err[static KU_LAYER_ERR]);

/* The canonical name behind a descriptor, allocated; NULL with errno. */
char *ku_fd_path(int fd);

#endif
