// SPDX-License-Identifier: GPL-2.0-only
/* Names and numbers for people. */
#include <string.h>

#include "trace_fmt.h"
#include "util.h"

/* What a terminal would obey instead of show: controls, marks of direction, and what has no width. */
static const struct {
	uint32_t from, to;
} ku_unshown[] = {
	{ 0x01, 0x1f },	    { 0x7f, 0x9f },	{ 0xad, 0xad },	    { 0x61c, 0x61c },	{ 0x180e, 0x180e },   { 0x200b, 0x200f },
	{ 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe007f },
};

/* One character of valid UTF-8. Returns its length. */
static size_t ku_decode(const unsigned char *s, uint32_t *ret)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	*ret = len == 1 ? s[0] : s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++)
		*ret = *ret << 6 | (s[i] & 0x3f);
	return len;
}

static bool ku_is_shown(uint32_t code, bool utf8)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_unshown); i++)
		if (code >= ku_unshown[i].from && code <= ku_unshown[i].to)
			return false;
	return utf8 || code < 0x80;
}

char *ku_terminal_text(const char *bytes, bool utf8)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);
	char *out = text ? malloc(strlen(text) * 4 + 1) : NULL, *o = out;

	if (!out)
		return NULL;
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		uint32_t code;
		size_t len = ku_decode(s, &code);

		if (ku_is_shown(code, utf8)) {
			memcpy(o, s, len);
			o += len;
		} else {
			for (size_t i = 0; i < len; i++)
				o += sprintf(o, "\\x%02x", s[i]);
		}
		s += len;
	}
	*o = '\0';
	return out;
}

const char *ku_short_bytes(uint64_t n, char buf[static 16])
{
	static const char units[] = "KMGTPE";
	double d = (double)n;
	int unit = -1;

	/* What rounds to 1000 is the next unit's, so that three digits are enough. */
	while (d >= 999.5 && unit < 5) {
		d /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buf, 16, "%u", (unsigned int)n);
	else
		snprintf(buf, 16, "%.*f%c", d < 9.95 ? 1 : 0, d, units[unit]);
	return buf;
}

const char *ku_short_us(uint64_t us, char buf[static 16])
{
	static const struct {
		uint64_t below; /* in microseconds, rounding included */
		double unit;
		const char *name;
	} steps[] = { { 1000, 1, "us" }, { 999500, 1e3, "ms" }, { 59950000, 1e6, "s" } };
	unsigned long long s = us / 1000000 + (us % 1000000 >= 500000);

	for (size_t i = 0; i < KU_ARRAY_SIZE(steps); i++) {
		double d = (double)us / steps[i].unit;

		if (us >= steps[i].below)
			continue;
		snprintf(buf, 16, "%.*f%s", !i || d >= 99.95 ? 0 : d >= 9.995 ? 1 : 2, d, steps[i].name);
		return buf;
	}
	if (s < 3600)
		snprintf(buf, 16, "%llum%02llus", s / 60, s % 60);
	else if (s < 100 * 3600)
		snprintf(buf, 16, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 16, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return buf;
}
