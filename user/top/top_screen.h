/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The screen and the keys of `kunion top`, in a thread of their own: a terminal may be slow or stopped, and whoever attaches must go on
 * answering those who are parked.
 */
#ifndef KU_TOP_SCREEN_H
#define KU_TOP_SCREEN_H

#include "top_model.h"

struct ku_top_screen;

/* Takes the terminal. frames: so many snapshots are drawn, then it wants to end; 0: no limit. Returns 0, or -errno as ku_term_open(). */
int ku_top_screen_open(unsigned int frames, struct ku_top_screen **ret);

/* Readable once the user, or the terminal's going away, or the last frame wants the end. */
int ku_top_screen_fd(const struct ku_top_screen *t);

/* Takes snap over; one that is not drawn yet makes way for it. NULL is allowed. */
void ku_top_screen_show(struct ku_top_screen *t, struct ku_top_snap *snap);

/* Gives the terminal back, also one that takes nothing any more. NULL is allowed. */
void ku_top_screen_close(struct ku_top_screen *t);

#endif
