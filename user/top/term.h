/* SPDX-License-Identifier: GPL-2.0-only */
/* The terminal, taken for drawing on all of it, and given back whatever ends the program. */
#ifndef KU_TERM_H
#define KU_TERM_H

#include <stdbool.h>

/*
 * Takes it: ncurses on stdout, keys unechoed and without signals, one terminal in a program. It is given back by ku_term_close(), at
 * exit(), and by a signal that ends the program. While it is taken, what goes to a stderr that is a terminal is kept back and shown
 * afterwards. Returns 0, -ENOTTY when stdout is none, -ENODEV when it cannot do it ($TERM), or -errno.
 */
int ku_term_open(void);

/* Gives it back; harmless when it is not taken. */
void ku_term_close(void);

/* The same without a word to the terminal: it takes none any more. */
void ku_term_abandon(void);

/* To poll for keys; -1 when there is nobody to press any. */
int ku_term_keys_fd(void);

#define KU_TERM_NO_KEY (-1) /* none now */
#define KU_TERM_GONE (-2)   /* nor ever again */

/* The next key: a character (Unicode), or *ret_function and a KEY_* of ncurses. */
int ku_term_key(bool *ret_function);

/* Follows the terminal's size. Call it after SIGWINCH, and before drawing. */
void ku_term_resize(void);

#endif
