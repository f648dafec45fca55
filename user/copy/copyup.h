/* SPDX-License-Identifier: GPL-2.0-only */
/* What `kunion copy-up` works on: files of one union, and the ways to copy them. */
#ifndef KU_COPYUP_H
#define KU_COPYUP_H

#include <stdbool.h>
#include <stdint.h>

#include "union.h"

struct ku_cu_file {
	char *path; /* "/in/the/union" */
	uint64_t size;
	bool done;
};

/* The files of one union, in the order given. */
struct ku_cu_set {
	struct ku_union u;
	struct ku_cu_file *files;
	size_t nfiles, room;
	uint64_t bytes;
	void *names; /* tsearch(3) tree of the files' paths */
	struct ku_cu_set *next;
};

struct ku_cu_progress {
	bool tty;
	size_t files, all_files;
	uint64_t bytes, all_bytes;
	uint64_t start_ns, shown_ns;
	size_t by_kunion, by_kernel, failed;
};

/* One file is over: err 0 or -errno (then it is said). Redraws the bar. */
void ku_cu_done(struct ku_cu_progress *pr, const struct ku_cu_set *set, struct ku_cu_file *f, bool by_kernel, int err);

/* Has the upper layer this file already? False when the upper directory cannot be seen from here. */
bool ku_cu_is_upper(const struct ku_union *u, const char *path);

/* Opens the directory of path below root, for reading; *ret_name points into path. Descriptor or -errno. */
int ku_cu_open_dir(int root, const char *path, const char **ret_name);

/* The kernel's own copy-up of path, by opening it for writing. 0 or -errno. */
int ku_cu_kernel(const struct ku_union *u, const char *path);

/*
 * --exclusive: kunion's copier without BPF, a flush for each batch. Returns 0, or -errno of what kept it from beginning, with a line in err.
 */
int ku_cu_exclusive(struct ku_cu_set *set, struct ku_cu_progress *pr, char err[static 512]);

#endif
