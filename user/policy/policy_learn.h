/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where something was seen to be written, generalised to globs:
 *  - names of one directory that differ in numbers (or long hexadecimal ones) only become one glob when there are KU_LEARN_ALIKE of them, and
 *    names that end as mkstemp(3) makes them even alone;
 *  - a directory with so many names becomes DIR/ and a star for these names, one with so many directories, or so much below it, DIR/ and two
 *    stars: but not "/", nor a directory of the system's right below it.
 */
#ifndef KU_POLICY_LEARN_H
#define KU_POLICY_LEARN_H

#include "map.h"
#include "policy/policy.h"

#define KU_LEARN_ALIKE 3u
#define KU_LEARN_COMMS 3u

struct ku_learn_limits {
	unsigned int names; /* of a directory, before they become one star */
	unsigned int dirs;  /* directly in a directory, before all below it becomes two stars .. */
	unsigned int below; /* .. or globs below it */
};

/* What was seen of a path, or of all that became one glob. */
struct ku_learn_seen {
	uint32_t actions; /* bits; 0: nothing of itself */
	uint64_t events;
	const char *comms[KU_LEARN_COMMS]; /* whoever was first, NULL behind the last; not owned */
	bool more_comms;
};

struct ku_learn_node {
	char *glob; /* of its name */
	char *below; /* the same in globs of what is below it, NULL: as glob */
	struct ku_learn_seen seen;
	struct ku_learn_node *parent, *child, *next;
};

/* A name or path as a glob that fits nothing else, allocated; NULL without memory. */
char *ku_learn_literal(const char *name, size_t len);

/*
 * Adds a path, "/a/b", after those before it: in the order of their names, directory by directory. 0 or -ENOMEM. The root has no name; all nodes
 * are freed with it.
 */
int ku_learn_add(struct ku_learn_node *root, const char *path, const struct ku_learn_seen *seen);
/*
 * A directory was renamed: what may be below the one name must be below the other, or BPF refuses the renaming (kunion-policy(5)). Names of which
 * one begins with the other ("x.dpkg-new", "x") become one glob for what is below. False: they cannot. *ret_err is 0 or -ENOMEM.
 */
bool ku_learn_moved(struct ku_learn_node *root, const char *from, const char *to, int *ret_err);
/* Generalises all below root. 0 or -ENOMEM. */
int ku_learn_generalise(struct ku_learn_node *root, const struct ku_learn_limits *limits);
void ku_learn_free(struct ku_learn_node *root);

/* Puts what was seen of one thing to what was seen of another. */
void ku_learn_merge(struct ku_learn_seen *to, const struct ku_learn_seen *from);

#endif
