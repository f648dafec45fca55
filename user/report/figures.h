/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers as people read them, in plain ASCII. */
#ifndef KU_FIGURES_H
#define KU_FIGURES_H

#include <stdint.h>

#define KU_FIGURE 32

/* "1,234" */
const char *ku_figure_count(char buf[static KU_FIGURE], uint64_t n);
/* "512 MiB", "1.25 GiB": three digits that count, powers of 1024 */
const char *ku_figure_size(char buf[static KU_FIGURE], uint64_t bytes);
/* "850 us", "12.3 ms", "3m20s" */
const char *ku_figure_time(char buf[static KU_FIGURE], uint64_t us);

/* The same into a buffer that lives as long as the block around it. */
#define KU_COUNT(n) ku_figure_count((char[KU_FIGURE]){ 0 }, n)
#define KU_SIZE(n) ku_figure_size((char[KU_FIGURE]){ 0 }, n)
#define KU_TIME(us) ku_figure_time((char[KU_FIGURE]){ 0 }, us)

#endif
