/* SPDX-License-Identifier: GPL-2.0-only */
/* Figures and names in few columns, safe for any terminal. */
#ifndef KU_TOP_TEXT_H
#define KU_TOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

#define KU_TOP_FIGURE 16

/* "999", "1.0K", "999M": four columns at most, powers of 1024. Returns buf. */
const char *ku_top_bytes(char buf[static KU_TOP_FIGURE], double bytes);
/* "0", "12us", "345ms", "1.23s", "12.3s", "12m05s", "3h07m", "12d03h": six columns at most. Returns buf. */
const char *ku_top_time(char buf[static KU_TOP_FIGURE], double seconds);
/* "0.0", "12.3", "1234", "12K": five columns at most. Returns buf. */
const char *ku_top_per_s(char buf[static KU_TOP_FIGURE], double rate);

/*
 * Bytes as wide characters that only ever print: what is no text, control, format and directional characters, and what the locale cannot
 * print are shown as \xHH for each byte, a backslash as two. Writes at most room characters and the end; returns how many.
 */
size_t ku_top_wide(const char *bytes, wchar_t *out, size_t room);

/*
 * Cuts text of n characters to at most columns of the screen, in place: at its front (names of files) or its end, with a mark ("..")
 * where something is missing. Returns its characters; *ret_columns is what they take.
 */
size_t ku_top_cut(wchar_t *text, size_t n, unsigned int columns, bool front, unsigned int *ret_columns);

#endif
