/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Drift: what the upper layer of a union makes different from the image below it, by whom and when. The layers are only read, without a
 * change of their access times; other mounts in them are not entered, as overlayfs does not.
 */
#ifndef KU_DRIFT_H
#define KU_DRIFT_H

#include <stdio.h>
#include <sys/stat.h>

#include "event.h"
#include "union.h"

enum ku_drift_class {
	KU_DRIFT_NONE, /* a directory that is there for what is in it */
	KU_DRIFT_ADDED,
	KU_DRIFT_CHANGED,   /* a copied up file: its data, perhaps more */
	KU_DRIFT_METADATA,  /* nothing but that */
	KU_DRIFT_REMOVED,
	KU_DRIFT_REPLACED,  /* another file of that name, or of another kind */
	KU_DRIFT_UNCHANGED, /* copied up for nothing */
	KU_DRIFT_CLASSES
};

enum { KU_DIFF_DATA = 1, KU_DIFF_MODE = 2, KU_DIFF_OWNER = 4, KU_DIFF_TIME = 8, KU_DIFF_XATTRS = 16, KU_DIFF_ALL = 31 };

/* A process by its comm and container; events tell of it. */
struct ku_drift_process {
	const char *comm, *container;
	uint64_t items[KU_DRIFT_CLASSES];
	uint64_t bytes; /* that are in the upper layer */
	uint64_t execs;
};

struct ku_drift_mark {
	struct ku_drift_process *by; /* NULL: none was seen */
	const char *op;		     /* static */
	uint32_t pid, uid;
	uint64_t ts_ns;
};

/* What events tell of a path. */
struct ku_drift_seen {
	struct ku_drift_mark made; /* the last time that it was made, changed or copied up */
	struct ku_drift_mark gone; /* removed or renamed away; perhaps only tried */
	struct ku_drift_mark exec; /* executed */
	uint64_t execs;
	bool copied; /* up, and not made anew since */
	bool anew;   /* made anew */
	bool here;   /* it is in the upper layer */
};

struct ku_drift_item {
	char *path;	  /* "/in/the/union", bytes */
	char *moved_from; /* where a renamed directory or metacopy file is in the image; NULL: not known to be one */
	enum ku_drift_class class;
	mode_t type;	  /* S_IFMT bits; of a removed one, those of the lower file */
	unsigned int diff; /* KU_DIFF_* */
	unsigned int compared; /* the same, also where a file of the same kind REPLACED it */
	bool guessed;	  /* from size and time: comparing would have cost too much */
	bool whole;	  /* a directory with nothing of the image in it */
	uint64_t bytes;	  /* data in the upper layer */
	uint64_t entries, entry_bytes; /* of whole: all that is in it */
	struct stat st;	  /* in the upper layer */
	const struct ku_drift_seen *seen; /* NULL: nothing */
	const struct ku_drift_mark *mark; /* who made it what it is; NULL: not known */
	struct ku_drift_item *top; /* the whole directory that it is told with; NULL: on its own */
	struct ku_drift_item *parent;
	struct ku_stack *stack; /* while it is walked: the lower directories that it is merged with */
};

struct ku_drift {
	const struct ku_union *u;
	struct ku_drift_item **items; /* after ku_drift_walk(): by path, all of them */
	size_t n;
	uint64_t told[KU_DRIFT_CLASSES]; /* items on their own */
	uint64_t bytes;			 /* of all */
	struct ku_drift_process unknown; /* of nobody that was seen */
	bool with_events;
	bool incomplete; /* something could not be looked at; it was said on stderr */
	uint64_t events, others, dropped; /* of this union; of other ones */
	struct ku_drift_work *work;
};

/* All return 0 or -errno; what can be wrong about the union's layers has a line in err. */
int ku_drift_new(const struct ku_union *u, struct ku_drift **ret, char err[static KU_UNION_ERR]);
/* All events first, in their order. */
int ku_drift_event(struct ku_drift *d, const struct ku_event *e);
int ku_drift_walk(struct ku_drift *d);
void ku_drift_free(struct ku_drift *d);

/* i from 0 until NULL: who made the most first (after ku_drift_walk()); paths that were executed, *ret_path its bytes. */
const struct ku_drift_process *ku_drift_process_at(const struct ku_drift *d, size_t i);
const struct ku_drift_seen *ku_drift_executed(const struct ku_drift *d, size_t *i, const char **ret_path);

/* "added"; "data" of a single bit, in the order of bits; "file", "dir", "symlink", "special". */
const char *ku_drift_class_name(enum ku_drift_class class);
const char *ku_drift_diff_name(unsigned int bit);
const char *ku_drift_kind(mode_t type);

/* For people, a line each; for programs. 0 or -ENOMEM, the caller looks at ferror(out). */
int ku_drift_text(const struct ku_drift *d, FILE *out);
int ku_drift_json(const struct ku_drift *d, FILE *out);

#endif
