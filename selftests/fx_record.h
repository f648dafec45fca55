/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differential tests: the same steps with the kernel alone and with kunion attached. Each run notes what it sees, and both records must
 * be the same, line by line.
 */
#ifndef FX_RECORD_H
#define FX_RECORD_H

#include "fx_fixture.h"

struct fx_twice {
	struct fx_opts opts;
	const char *args[4]; /* to kunion run, behind --min-size 64K */
	void (*lower)(struct fx *fx); /* makes the lower files */
	void (*steps)(struct fx *fx); /* fx->opts.kernel tells the runs apart */
};

/* Runs both, the kernel's first, and compares. True: the same. */
bool fx_twice(const struct fx_twice *t);

/* A line of the record; children of the test may note, too. */
__attribute__((format(printf, 1, 2))) void fx_note(const char *fmt, ...);
/* The return value or errno of a call, by the name of it. Gives back r. */
long fx_note_call(const char *what, long r);
/*
 * All that can be seen of a file but its number: type, mode, owner, size, links, times (one of this run is "now"), xattrs, contents.
 * A directory's contents are its names.
 */
void fx_note_file(const struct fx *fx, const char *name);
/* The same of a file in the upper layer, overlayfs' own xattrs left out, allocated blocks noted. */
void fx_note_upper(const struct fx *fx, const char *name);

#ifndef FX_PART
#define fx_twice(...) FX_AT(fx_twice(__VA_ARGS__))
#endif

#endif
