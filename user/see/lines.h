/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lines for a terminal, file or pipe, written by a thread of their own: whoever attaches must go on answering those who are parked, also
 * when a terminal is stopped or a reader slow.
 */
#ifndef KU_LINES_H
#define KU_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct ku_lines;

/* Up to max bytes wait for the writer. fd stays the caller's, and so does ignoring SIGPIPE. Returns 0 or -errno. */
int ku_lines_open(int fd, size_t max, struct ku_lines **ret);

/* Readable once a write failed, the reader's going away too; nothing more is written then. */
int ku_lines_fd(const struct ku_lines *l);

/*
 * Adds text, whole lines. False: there was no room, or writing failed: nothing of it is written. With wait it waits for room, unless a
 * signal that is blocked, to be read later, asks for the end.
 */
bool ku_lines_put(struct ku_lines *l, const char *text, bool wait);

/* Writes the rest and ends. Returns 0, or -errno of the write that failed; -EPIPE: nobody reads any more. NULL is allowed. */
int ku_lines_close(struct ku_lines *l);

#endif
