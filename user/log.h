/* SPDX-License-Identifier: GPL-2.0-only */
/* Messages for people, on stderr, each one line with the prefix "kunion: ". */
#ifndef KU_LOG_H
#define KU_LOG_H

#include <stdarg.h>
#include <stdbool.h>

enum ku_log_level { KU_LOG_ERROR, KU_LOG_WARN, KU_LOG_INFO, KU_LOG_DEBUG };

/* Messages above this level are dropped. Default KU_LOG_WARN. */
void ku_log_set_level(enum ku_log_level level);

void ku_log(enum ku_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ku_err(...) ku_log(KU_LOG_ERROR, __VA_ARGS__)
#define ku_warn(...) ku_log(KU_LOG_WARN, __VA_ARGS__)
#define ku_info(...) ku_log(KU_LOG_INFO, __VA_ARGS__)
#define ku_debug(...) ku_log(KU_LOG_DEBUG, __VA_ARGS__)

/* If stderr is the journal: with its priorities, <3> to <7>, in place of the prefix. */
void ku_log_journal(void);

/* Sends libbpf's output through ku_log, one level quieter; with quiet, drops it (while probing). */
void ku_log_libbpf(bool quiet);

#endif
