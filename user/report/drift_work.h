/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of drift share: the layers, and where a name is in them. */
#ifndef KU_DRIFT_WORK_H
#define KU_DRIFT_WORK_H

#include "drift.h"
#include "map.h"

struct ku_layers {
	int upper;
	int *lower; /* the topmost first */
	unsigned int n;
	const char *prefix; /* "trusted.overlay." */
};

struct ku_object {
	int fd; /* O_PATH; -1: there is none */
	struct stat st;
};

/* Where a merged directory is in the lower layers, or a file in one; the topmost first. */
struct ku_stack {
	struct ku_place {
		unsigned int layer;
		char *path; /* below its root; "" for that */
	} *places;
	size_t n;
	struct ku_object top; /* the first place's */
};

struct ku_drift_work {
	struct ku_layers layers;
	struct ku_map seen;	 /* struct ku_drift_seen; key: path */
	struct ku_map processes; /* struct ku_drift_process; key: comm, NUL, container */
	struct ku_drift_process **order;
	size_t room;
	uint64_t compared; /* bytes */
};

int ku_layers_open(const struct ku_union *u, struct ku_layers *ret, char err[static KU_UNION_ERR]);
void ku_layers_close(struct ku_layers *l);

/* Opens what is there, O_PATH unless flags say otherwise. path: below root, "" for root itself. Returns a descriptor or -errno. */
int ku_layer_open(int root, const char *path, int flags);
/* The object there; 0, -ENOENT, -errno. */
int ku_layer_look(int root, const char *path, struct ku_object *ret);
void ku_object_close(struct ku_object *o);

/* The overlay xattr of that name ("opaque"), allocated with a NUL behind it; NULL for none (*ret_err 0) or -errno in *ret_err. */
char *ku_layer_xattr(const struct ku_layers *l, int fd, const char *name, int *ret_err);
/* 1, 0, -errno */
int ku_layer_is_whiteout(const struct ku_layers *l, const struct ku_object *o);
int ku_layer_is_opaque(const struct ku_layers *l, const struct ku_object *o);

/*
 * Where name is in the lower directories of dir; or, with dir NULL, a path from the roots. ret is a zeroed stack with top.fd -1; n stays 0 when
 * it is nowhere. ret must be freed in any case.
 */
int ku_layers_find(const struct ku_layers *l, const struct ku_stack *dir, const char *name, struct ku_stack *ret);
/* The roots themselves. */
int ku_layers_roots(const struct ku_layers *l, struct ku_stack *ret);
void ku_stack_free(struct ku_stack *s);

char *ku_path_join(const char *dir, const char *name);

/* What of two of the same kind differs: KU_DIFF_*. data: whether that is to be compared, too. */
int ku_drift_compare(struct ku_drift_work *w, const struct ku_object *upper, const struct ku_object *lower, bool data, unsigned int *ret_diff,
		     bool *ret_guessed);

/* Counts an item for who made it. */
void ku_drift_count(struct ku_drift *d, const struct ku_drift_item *item);
int ku_drift_order(struct ku_drift *d);

#endif
