/* SPDX-License-Identifier: GPL-2.0-only */
/* A union: an overlay that is mounted somewhere, seen from its merged directory. */
#ifndef KU_UNION_H
#define KU_UNION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "ns.h"

#define KU_UNION_ERR 256
#define KU_UNION_SOURCE "kunion" /* what mountinfo shows as source of an overlay that is ours */

struct ku_mountinfo;

struct ku_union {
	char *path;	/* merged directory: absolute, no symbolic links; in another mount namespace as a process there has it */
	char *prefix;	/* what of the overlay is mounted there: "/", or "/a/b" for a bind mount of a part */
	char *upperdir; /* as the overlay's options say: perhaps relative, of another mount namespace, with its backslashes */
	char *lowerdir; /* "" where the kernel shows none; layers parted by ':', with their backslashes */
	char *workdir;	/* likewise */
	char *key;	/* for ku_intents_open() */
	dev_t dev;	/* of the overlay's superblock: st_dev of its directories */
	uint64_t mnt_id;
	uint64_t mnt_unique; /* never used again, unlike mnt_id and dev; 0 before Linux 6.8 */
	bool metacopy, volatile_, index, userxattr, nfs_export, redirect_dir; /* the options in force */
	struct ku_ns ns; /* the mount namespace that path is of; ino 0: ours */
	char container[KU_CONTAINER_MAX]; /* whose root it is, or in whose mount namespace; "" for none */
	bool ours; /* `kunion attach --upper` put it over what is its lower layer */
	int lock_fd;
};

/*
 * Looks at what is mounted on path: it must be the root of a writable mount of a writable overlay with an upper layer.
 * No descriptor on it is kept. Returns 0, or -errno with a line in err ("what: why; what would be right") for the caller to print.
 */
int ku_union_open(const char *path, struct ku_union *ret, char err[static KU_UNION_ERR]);

/* The same for who only looks: it may be read-only, too. */
int ku_union_inspect(const char *path, struct ku_union *ret, char err[static KU_UNION_ERR]);

/*
 * The same for a line of another mount namespace's mountinfo (m's strings are not kept), with nothing opened: what is there is known by number only.
 * ns NULL: ours. Returns 0, -EROFS: read-only, or without an upper layer; -ENOMEM, -EINVAL.
 */
int ku_union_of(const struct ku_mountinfo *m, const struct ku_ns_seen *ns, struct ku_union *ret);

/* For who will open files of a union of ku_union_of() in another mount namespace. 0, or -errno with a line in err. */
int ku_union_enter(struct ku_union *u, char err[static KU_UNION_ERR]);

/* Is its mount still where it was found? */
bool ku_union_is_there(const struct ku_union *u);

/* The mountinfo of the namespace that u is mounted in, to be closed; NULL with errno: ENOENT where the namespace has no process any more. */
FILE *ku_union_mountinfo(const struct ku_union *u);

/* Also ends the lock. Harmless on a zeroed struct whose lock_fd is -1 and on a closed one. */
void ku_union_close(struct ku_union *u);

/*
 * Opens the root anew, O_PATH. Returns a descriptor, -ESTALE when another mount is there by now, or -errno. Close it soon: while it
 * is open the union cannot be unmounted.
 */
int ku_union_root(const struct ku_union *u);

/*
 * Takes the right to attach, one for each overlay superblock in the system, in /run/kunion (or $KUNION_RUN_DIR).
 * Returns 0, -EBUSY when another kunion has it (err says so), or -errno with a line in err.
 */
int ku_union_lock(struct ku_union *u, char err[static KU_UNION_ERR]);

/* kunion's run directory, made if need be, and its name. An O_PATH descriptor or -errno. */
int ku_run_dir(const char **ret_path);

/* Ends it before ku_union_close(), when the union is gone. */
void ku_union_unlock(struct ku_union *u);

/* One line of /proc/self/mountinfo; the strings point into the line, which is changed. */
struct ku_mountinfo {
	uint64_t id, parent;
	unsigned int major, minor;
	const char *root, *mountpoint, *options, *fstype, *source;
	const char *optional; /* "shared:1 master:2", "" for none */
	char *super_options; /* still escaped: ku_mount_option() takes it apart */
};

/* Returns 0, or -EINVAL for a line that is not of that form. */
int ku_mountinfo_parse(char *line, struct ku_mountinfo *ret);

/* Undoes \ooo in place. */
void ku_mount_unescape(char *s);

/*
 * The value of the option name in a comma-separated list: an allocated, unescaped string ("" for one without a value), or NULL when
 * it is not there (errno 0) or memory is short (errno ENOMEM).
 */
char *ku_mount_option(const char *options, const char *name);

/*
 * An on/off option of an overlay as it is in force. Overlayfs shows one only when it differs from the module's parameter (ovl_show_options), as
 * that is now: not shown means that the mount has the parameter's value.
 */
bool ku_mount_option_on(const char *options, const char *name);

/* Do an overlay's options say that it never flushes? Written "volatile", newer kernels show "fsync=volatile". */
bool ku_mount_volatile(const char *options);

#endif
