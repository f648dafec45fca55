/* SPDX-License-Identifier: GPL-2.0-only */
/* From the records of policy.bpf.c to events. */
#ifndef KU_JUDGE_TELL_H
#define KU_JUDGE_TELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

struct ku_tell;
struct ku_pol_record;

struct ku_tell_ops {
	void (*emit)(void *arg, const struct ku_event *e);
	void *emit_arg;
	/* Names, "" where not known. */
	const char *(*rule)(void *arg, uint32_t gen, uint32_t rule);
	const char *(*budget)(void *arg, uint32_t gen, uint32_t budget);
	const char *(*union_path)(void *arg, uint32_t dev, uint32_t pid); /* pid: who was judged, who may see it mounted */
	/* A task is held, which *e tells: sets the number of its question, 0 if it is none any more. */
	void (*asked)(void *arg, const struct ku_pol_record *r, struct ku_event *e);
	void *arg;
};

/* NULL without memory. */
struct ku_tell *ku_tell_new(const struct ku_tell_ops *ops);
void ku_tell_free(struct ku_tell *t);

/* For ring_buffer__new(). */
int ku_tell_record(void *tell, void *data, size_t size);
/* After so many records it stops ring_buffer__consume() by -EAGAIN. */
void ku_tell_budget(struct ku_tell *t, unsigned int records);
/* n verdicts were not told. */
void ku_tell_dropped(struct ku_tell *t, uint64_t n);
/* Tells what was held back long enough, or all. Milliseconds until more of it is due, -1: there is none. */
int ku_tell_turn(struct ku_tell *t, bool all);

#endif
