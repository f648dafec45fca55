// SPDX-License-Identifier: GPL-2.0-only
#include "log.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

static enum ku_log_level ku_log_max = KU_LOG_WARN;

void ku_log_set_level(enum ku_log_level level)
{
	ku_log_max = level;
}

/* One write per message: workers log too, and lines must not mix. */
static void ku_vlog(const char *fmt, va_list ap)
{
	char line[2048];
	int n;

	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	while (n > 0 && line[n - 1] == '\n')
		n--;
	line[n] = '\0';
	fprintf(stderr, "kunion: %s\n", line);
}

void ku_log(enum ku_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > ku_log_max)
		return;
	va_start(ap, fmt);
	ku_vlog(fmt, ap);
	va_end(ap);
}

static int ku_libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	enum ku_log_level ours = level == LIBBPF_WARN ? KU_LOG_INFO : KU_LOG_DEBUG;

	if (ours <= ku_log_max)
		ku_vlog(fmt, ap);
	return 0;
}

void ku_log_libbpf(bool quiet)
{
	libbpf_set_print(quiet ? NULL : ku_libbpf_print);
}
