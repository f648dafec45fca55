// SPDX-License-Identifier: GPL-2.0-only
#include "log.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum ku_log_level ku_log_max = KU_LOG_WARN;

void ku_log_set_level(enum ku_log_level level)
{
	ku_log_max = level;
}

static bool ku_log_priorities;

void ku_log_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	ku_log_priorities = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) && st.st_dev == dev &&
			    st.st_ino == ino;
}

/* One write per message: workers log too, and lines must not mix. */
static void ku_vlog(enum ku_log_level level, const char *fmt, va_list ap)
{
	/* sd-daemon(3) */
	static const char *const priorities[] = { [KU_LOG_ERROR] = "<3>", [KU_LOG_WARN] = "<4>", [KU_LOG_INFO] = "<6>", [KU_LOG_DEBUG] = "<7>" };
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
	fprintf(stderr, "%s%s\n", ku_log_priorities ? priorities[level] : "kunion: ", line);
}

void ku_log(enum ku_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > ku_log_max)
		return;
	va_start(ap, fmt);
	ku_vlog(level, fmt, ap);
	va_end(ap);
}

static int ku_libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	enum ku_log_level ours = level == LIBBPF_WARN ? KU_LOG_INFO : KU_LOG_DEBUG;

	if (ours <= ku_log_max)
		ku_vlog(ours, fmt, ap);
	return 0;
}

void ku_log_libbpf(bool quiet)
{
	libbpf_set_print(quiet ? NULL : ku_libbpf_print);
}
