/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differential tests: the same scenes with the kernel alone and with kunion attached. Each run notes what it sees, and both records
 * must be the same, line by line. Every scene has a directory of its own, by its name, so that many share one kunion.
 */
#ifndef FX_RECORD_H
#define FX_RECORD_H

#include "fx_fixture.h"

struct fx_scene {
	const char *name;
	void (*lower)(struct fx *fx); /* makes lower files; NULL: one of 1 MiB called f */
	void (*steps)(struct fx *fx); /* fx->opts.kernel tells the runs apart */
	const void *arg;
};

struct fx_twice {
	struct fx_opts opts;
	const char *args[4];	      /* to kunion run, behind --min-size 64K */
	const struct fx_scene *scenes; /* up to one without a name */
};

/* Runs both, the kernel's first, and compares. True: the same. */
bool fx_twice(const struct fx_twice *t);

/* The scene that is on, and a name in its directory: below the union's root, and in merged. They last as long as the test. */
extern const struct fx_scene *fx_scene;
const char *fx_in(const char *name);
const char *fx_at(const struct fx *fx, const char *name);
/* Engines of f's copy-ups in this scene: one successful by this one, none by the other. */
void fx_scene_engine(const struct fx *fx, const char *engine);

/* A line of the record; children of the test may note, too. */
__attribute__((format(printf, 1, 2))) void fx_note(const char *fmt, ...);
/* The return value or errno of a call, by the name of it. Gives back r. */
long fx_note_call(const char *what, long r);
/* What an inotify descriptor (IN_NONBLOCK) has. */
void fx_note_events(const char *what, int fd);
/*
 * All that can be seen of a file but its number: type, mode, owner, size, links, times (one of this run is "now"), xattrs,
 * contents. A directory's contents are its names.
 */
void fx_note_file(const struct fx *fx, const char *name); /* of the scene, as the next one's; "" is its directory */
/* The same of a file in the upper layer, overlayfs' own xattrs left out. */
void fx_note_upper(const struct fx *fx, const char *name);

#ifndef FX_PART
#define fx_twice(...) FX_AT(fx_twice(__VA_ARGS__))
#endif

#endif
