// SPDX-License-Identifier: GPL-2.0-only
/* Counts, sizes and times for people. */
#include "figures.h"

#include <inttypes.h>
#include <stdio.h>

#include "util.h"

const char *ku_figure_count(char buf[static KU_FIGURE], uint64_t n)
{
	char digits[24], *to = buf;
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return buf;
}

/* n units in three digits; a fraction only if there is one. */
static const char *ku_figure(char buf[static KU_FIGURE], double n, const char *unit)
{
	int decimals = n < 9.995 ? 2 : n < 99.95 ? 1 : 0;
	int len = snprintf(buf, KU_FIGURE, "%.*f", decimals, n);

	if (decimals) {
		while (buf[len - 1] == '0')
			len--;
		if (buf[len - 1] == '.')
			len--;
	}
	snprintf(buf + len, (size_t)(KU_FIGURE - len), " %s", unit);
	return buf;
}

const char *ku_figure_size(char buf[static KU_FIGURE], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = (double)bytes;
	size_t unit = 0;

	/* 999.5 and more would be four digits. */
	for (; n >= 999.5 && unit + 1 < KU_ARRAY_SIZE(units); unit++)
		n /= 1024;
	return ku_figure(buf, n, units[unit]);
}

const char *ku_figure_time(char buf[static KU_FIGURE], uint64_t us)
{
	uint64_t s = us / 1000000;

	if (us < 1000)
		return ku_figure(buf, (double)us, "us");
	if (us < 999500)
		return ku_figure(buf, (double)us / 1e3, "ms");
	if (s < 100)
		return ku_figure(buf, (double)us / 1e6, "s");
	if (s < 3600)
		snprintf(buf, KU_FIGURE, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else
		snprintf(buf, KU_FIGURE, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s % 3600 / 60);
	return buf;
}
