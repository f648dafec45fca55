/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's configuration: a file in libconfig's syntax, and the command line over it. */
#ifndef KU_CTL_CONF_H
#define KU_CTL_CONF_H

#include <stdbool.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kunion_abi.h"

#define KU_CONF_FILE "/etc/kunion/kunion.conf"

struct ku_conf_union {
	char *path; /* absolute */
	enum ku_mode mode; /* 0 until ku_conf_settle(): as the others */
	uint64_t min_size; /* UINT64_MAX: likewise */
};

struct ku_conf {
	enum ku_mode mode; /* the highest that a union may have, and the one it has unless told otherwise */
	uint64_t min_size, max_wait_ns;
	char *events, *policy, *answer; /* NULL: none */
	char *socket, *group;  /* group NULL: root only */
	gid_t gid;	       /* of group, else -1 */
	unsigned int verbose;  /* 0 to 2 */
	bool all, writes;
	struct ku_conf_union *unions;
	size_t nunions;
};

/* Defaults. Returns 0 or -ENOMEM. */
int ku_conf_init(struct ku_conf *c);
void ku_conf_free(struct ku_conf *c);

/*
 * Reads file over what c has; its unions take the place of c's. Returns 0, or -errno with one line in err ("FILE:LINE: what, what would be right");
 * then c is to be freed.
 */
int ku_conf_read(struct ku_conf *c, const char *file, char err[static 512]);

/* Sets one setting by its name, from text; *ret_right: what would be right. Returns 0, -EINVAL, or -ENOENT: no such setting; -ENOMEM. */
int ku_conf_set(struct ku_conf *c, const char *name, const char *text, const char **ret_right);

/* Adds a union; -EINVAL: path is not absolute; -EEXIST; -ENOMEM. */
int ku_conf_add(struct ku_conf *c, const char *path);
/* When all is read: the unions that say nothing have what is said for all, and none more than that mode. */
void ku_conf_settle(struct ku_conf *c);

/* The n-th setting's name and what it is for; NULL behind the last. */
const char *ku_conf_name(size_t n, const char **ret_about, const char **ret_arg);

#endif
