/* SPDX-License-Identifier: GPL-2.0-only */
/* Advice that follows from what was seen and from the mounts' options. None without data that supports it. */
#ifndef KU_ADVICE_H
#define KU_ADVICE_H

#include "analysis.h"

/* From how much on something is worth a word. */
#define KU_ADVICE_BYTES (16ull << 20)		 /* copied for nothing */
#define KU_ADVICE_FILES 10u			 /* copied whole for chown or chmod */
#define KU_ADVICE_FSYNC_US 500000u		 /* time in fsync .. */
#define KU_ADVICE_FSYNC_PERCENT 30u		 /* .. and its share of all copy-up time */
#define KU_ADVICE_REFLINK_BYTES (256ull << 20)	 /* copied byte by byte .. */
#define KU_ADVICE_REFLINK_US 1000000u		 /* .. or the time that this took */
#define KU_ADVICE_AGAIN_FILES 3u		 /* copied up at more than one start .. */
#define KU_ADVICE_AGAIN_BYTES KU_ADVICE_BYTES	 /* .. or what was copied again */
#define KU_ADVICE_BIG_FILE (16ull << 20)	 /* a big file .. */
#define KU_ADVICE_CHANGED_PERCENT 10u		 /* .. of which less than this was changed */
#define KU_ADVICE_DIR_WRITES 1000u		 /* names made, removed or files changed in a directory .. */
#define KU_ADVICE_DIR_WRITTEN (256ull << 20)	 /* .. or bytes written into copied-up files in it */
#define KU_ADVICE_STALL_US 100000u		 /* waited for directories that a copy-up kept locked */
#define KU_ADVICE_PATHS 3u			 /* paths told for one piece of advice */

/*
 * The advice for a, whose tables are ready: an array that ku_advice_free() takes, biggest weight first. Returns 0, or -ENOMEM.
 */
int ku_advise(const struct ku_analysis *a, struct ku_advice **ret, size_t *ret_n);
void ku_advice_free(struct ku_advice *advice, size_t n);

struct ku_an_dir;
/* Is so much written in this directory that there is advice for it? */
bool ku_advice_busy(const struct ku_an_dir *d);

/* An option's value in "a=x,b,c=y": "x" for a, "on" for b; false if it is not there. Writes at most size bytes. */
bool ku_option(const char *options, const char *name, char *ret, size_t size);

#endif
