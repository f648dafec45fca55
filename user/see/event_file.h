/* SPDX-License-Identifier: GPL-2.0-only */
/* Event lines read back, from a file or as they come through a pipe. */
#ifndef KU_EVENT_FILE_H
#define KU_EVENT_FILE_H

#include <stdbool.h>

#include "event.h"

struct ku_event_file;

/*
 * Opens file ("-": stdin). fn is called for each event that ku_event_file_read() finds. word begins messages ("trace"); it and file must
 * live on. Returns 0 or -errno.
 */
int ku_event_file_open(const char *file, const char *word, void (*fn)(void *arg, const struct ku_event *e), void *arg,
		       struct ku_event_file **ret);

/* To poll for input. */
int ku_event_file_fd(const struct ku_event_file *f);

/* Reads what is there, once. A line that is no event is left out; the first one is told on stderr. False: the end, or an error. */
bool ku_event_file_read(struct ku_event_file *f);

/*
 * Says on stderr how many lines were left out, and what was wrong. Returns 0, or -errno if the file could not be read to its end, or
 * -EINVAL when it had lines and no event.
 */
int ku_event_file_close(struct ku_event_file *f);

#endif
