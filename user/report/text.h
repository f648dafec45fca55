/* SPDX-License-Identifier: GPL-2.0-only */
/* Laying out text for people: columns and paragraphs. Names come through ku_terminal_text() first. */
#ifndef KU_TEXT_H
#define KU_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* How many columns UTF-8 text takes, a character for one. */
size_t ku_text_columns(const char *text);

/* The same text if it fits into so many columns (at least 8), else with "..." in its middle. Allocated; NULL without memory. */
char *ku_text_fit(const char *text, size_t columns);

/*
 * Writes a paragraph at most width columns wide: the first line begins with lead, the others with as many blanks. A word that is longer
 * than a line has one of its own.
 */
void ku_text_wrap(FILE *out, const char *lead, const char *text, size_t width);

#endif
