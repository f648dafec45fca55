/* SPDX-License-Identifier: GPL-2.0-only */
/* Which events the user wants to see. */
#ifndef KU_FILTER_H
#define KU_FILTER_H

#include <stdbool.h>

#include "event.h"

/* What is not set (0, NULL) lets everything pass. */
struct ku_filter {
	uint32_t pid;	       /* process or thread: the task, the holder or the copier */
	const char *container; /* the beginning of its id, or its whole name */
	const char *cgroup;    /* this one and all below it */
	const char *union_path;
	const char *path; /* glob, of the path, of that of a wait's copy-up, or of a rename's new name */
	uint64_t min_bytes; /* of copy-ups; a wait passes */
	uint64_t min_ns;    /* time taken: total of a copy-up, duration of a wait */
};

/*
 * Who is asked for may be the waiter or the holder of a wait. Unions, totals and dropped records pass unless they are another union's.
 * What is told of a file after its copy-up (changed) names nobody, so of a filter only union and path count for it.
 */
bool ku_filter_match(const struct ku_filter *f, const struct ku_event *e);

/* Is it the container that is meant: by the beginning of its id, or its whole name? */
bool ku_filter_container(const char *want, const char *container);

/*
 * A path against a glob: '*' and '?' within a name, '**' across names, '**' and a slash for any number of directories, also none; a
 * backslash takes the next character as it is. A glob that does not begin with a slash may begin matching at any directory: "*.db" is
 * of files anywhere.
 */
bool ku_glob_match(const char *glob, const char *path);

#endif
