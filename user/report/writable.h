/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which directories and files must be writable for a workload, if all else is read-only. From copy-ups and write events:
 *  - a directory in which names were made, removed or renamed, or that was itself changed, must be writable as a whole, with all below it;
 *    what the workload made itself thus lies in a directory that is;
 *  - files that were only changed are listed one by one; but a directory stands for them when at least KU_WRITABLE_FILES of what is in it
 *    (files, or directories that stand for theirs) are listed, it is not "/" nor right below it, and, if it can be looked at, at least
 *    half of the names in it are;
 *  - "/" is never listed: a directory made there is, anything else there becomes a remark.
 * A directory can be a tmpfs if its name, or that of one above it, is of a place for throw-away files (tmp, run, cache, ..) and nothing in
 * it is known to have come from elsewhere: no lower file was changed or removed, and there is no name in it now that the workload did not
 * make.
 */
#ifndef KU_WRITABLE_H
#define KU_WRITABLE_H

#include <stddef.h>

#include "event.h"

#define KU_WRITABLE_FILES 4u
#define KU_WRITABLE_PATHS (1u << 20) /* remembered */

enum ku_writable_kind { KU_WRITABLE_TMPFS, KU_WRITABLE_VOLUME, KU_WRITABLE_FILE, KU_WRITABLE_REMARK, KU_WRITABLE_KINDS };

struct ku_writable_entry {
	const char *union_path, *path; /* bytes */
	enum ku_writable_kind kind;
	const char *reason; /* why it is listed; static */
	const char *option; /* the line: "--tmpfs /tmp", "-v var-lib:/var/lib", "# .." */
};

struct ku_writable {
	/* after ku_writable_finish(): by union, kind, path */
	const struct ku_writable_entry *entries;
	size_t n;
	uint64_t writes;  /* write events seen: without any, only what was copied up is known */
	uint64_t no_room; /* paths */
	struct ku_writable_work *work;
};

/* How many names there are in dir ("/in/the/union") of a union; -1: not known. */
typedef long (*ku_writable_count)(void *arg, const char *union_path, const char *dir);

/* All return 0 or -ENOMEM. count may be NULL. */
int ku_writable_new(struct ku_writable **ret);
int ku_writable_add(struct ku_writable *w, const struct ku_event *e);
int ku_writable_finish(struct ku_writable *w, ku_writable_count count, void *arg);
void ku_writable_free(struct ku_writable *w);

/* Such a count of what is mounted there now. */
long ku_writable_look(void *arg, const char *union_path, const char *dir);

#endif
