/* SPDX-License-Identifier: GPL-2.0-only */
/* Paths as BPF sends them. */
#ifndef KU_NAMES_H
#define KU_NAMES_H

#include <stdint.h>

/*
 * The names from a file up to, not including, the root, each NUL-ended, as "/a/b". Allocated; NULL with errno EINVAL when len is 0 or the
 * names are not of that form, or ENOMEM.
 */
char *ku_names_path(const char *names, uint32_t len);

#endif
