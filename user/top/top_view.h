/* SPDX-License-Identifier: GPL-2.0-only */
/* The picture of `kunion top`, and what the keys do to it. ncurses must be on (ku_term_open()). */
#ifndef KU_TOP_VIEW_H
#define KU_TOP_VIEW_H

#include <stdbool.h>
#include <wchar.h>

#include "top_model.h"

#define KU_TOP_FILTER_MAX 256

struct ku_top_ui {
	enum ku_top_sort sort;
	bool reverse, by_container, paused, help;
	char filter[KU_TOP_FILTER_MAX]; /* UTF-8; "" for none */
	/* while one is typed */
	bool typing;
	char typed[KU_TOP_FILTER_MAX];
};

enum ku_top_did { KU_TOP_NOTHING, KU_TOP_REDRAW, KU_TOP_QUIT };

/* A key as ku_term_key() gives it. */
enum ku_top_did ku_top_key(struct ku_top_ui *ui, int key, bool function);

/* Draws all of the screen anew; snap NULL: nothing is known yet. */
void ku_top_draw(const struct ku_top_ui *ui, const struct ku_top_snap *snap);

/* Does the filter let them through? With '/', '*' or '?' it is a glob for paths, else a part of a command's or container's name. */
bool ku_top_shows_wait(const char *filter, const struct ku_top_wait *w);
bool ku_top_shows_copy(const char *filter, const struct ku_top_copy *c);

#endif
