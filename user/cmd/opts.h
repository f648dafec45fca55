/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading option values. */
#ifndef KU_OPTS_H
#define KU_OPTS_H

#include <argp.h>
#include <linux/types.h>
#include <stdint.h>
#include <sys/types.h>

#include "kunion_abi.h"

/* "4096", "64K", "1M", "2G" (powers of 1024). Returns 0 or -EINVAL. */
int ku_parse_size(const char *text, uint64_t *ret);

/* Seconds, with a fraction: "30", "0.5"; above 0 and at most a day. Returns 0 or -EINVAL. */
int ku_parse_seconds(const char *text, uint64_t *ret_ns);

/* A process's number, 1 or more. Returns 0 or -EINVAL. */
int ku_parse_pid(const char *text, pid_t *ret);

/* "observe", "guard", "manage". Returns 0 or -EINVAL. */
int ku_parse_mode(const char *text, enum ku_mode *ret);

/* The command line of "kunion status", into input. Returns KU_EXIT_OK; a bad one is said on stderr, and is the end or KU_EXIT_USAGE. */
int ku_parse_args(const char *name, const struct argp *argp, int argc, char **argv, void *input);

#endif
