// SPDX-License-Identifier: GPL-2.0-only
#include "top_text.h"

#include <stdio.h>
#include <string.h>
#include <wctype.h>

#include "event.h"
#include "util.h"

const char *ku_top_bytes(char buf[static KU_TOP_FIGURE], double bytes)
{
	static const char units[] = "KMGTPE";
	unsigned int unit = 0;

	if (bytes < 999.5) {
		snprintf(buf, KU_TOP_FIGURE, "%.0f", bytes);
		return buf;
	}
	/* 999.5 and not 1023: four digits and a unit are five columns. */
	for (bytes /= 1024; bytes >= 999.5 && unit < sizeof(units) - 2; unit++)
		bytes /= 1024;
	snprintf(buf, KU_TOP_FIGURE, "%.*f%c", bytes < 9.95, bytes < 999.5 ? bytes : 999, units[unit]);
	return buf;
}

const char *ku_top_time(char buf[static KU_TOP_FIGURE], double seconds)
{
	unsigned int s = seconds < 4e9 ? (unsigned int)seconds : 4000000000u;

	if (seconds <= 0)
		snprintf(buf, KU_TOP_FIGURE, "0");
	else if (seconds < 0.0009995)
		snprintf(buf, KU_TOP_FIGURE, "%.0fus", seconds * 1e6);
	else if (seconds < 0.9995)
		snprintf(buf, KU_TOP_FIGURE, "%.0fms", seconds * 1e3);
	else if (seconds < 59.95)
		snprintf(buf, KU_TOP_FIGURE, "%.*fs", seconds < 9.995 ? 2 : 1, seconds);
	else if (s < 3600)
		snprintf(buf, KU_TOP_FIGURE, "%um%02us", s < 60 ? 1 : s / 60, s < 60 ? 0 : s % 60);
	else if (s < 86400)
		snprintf(buf, KU_TOP_FIGURE, "%uh%02um", s / 3600, s / 60 % 60);
	else if (s < 100 * 86400)
		snprintf(buf, KU_TOP_FIGURE, "%ud%02uh", s / 86400, s / 3600 % 24);
	else
		snprintf(buf, KU_TOP_FIGURE, "%ud", s / 86400);
	return buf;
}

const char *ku_top_per_s(char buf[static KU_TOP_FIGURE], double rate)
{
	if (rate < 999.95)
		snprintf(buf, KU_TOP_FIGURE, "%.1f", rate);
	else if (rate < 99999.5)
		snprintf(buf, KU_TOP_FIGURE, "%.0f", rate);
	else
		snprintf(buf, KU_TOP_FIGURE, "%.0fK", rate < 9.999e6 ? rate / 1e3 : 9999);
	return buf;
}

/* Characters without a shape of their own, and those that turn the text behind them round. */
static bool ku_top_is_format(uint32_t c)
{
	return c == 0xad || c == 0x34f || c == 0x61c || (c >= 0x180b && c <= 0x180f) || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfe00 && c <= 0xfe0f) ||
	       (c >= 0xfff0 && c <= 0xfffb) || (c >= 0xe000 && c <= 0xf8ff) || c >= 0xe0000;
}

/* The character at s, which is valid UTF-8, and its length. */
static uint32_t ku_top_char(const unsigned char *s, unsigned int *ret_len)
{
	unsigned int len = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t c = len == 1 ? s[0] : s[0] & (0x7fu >> len);

	for (unsigned int i = 1; i < len; i++)
		c = c << 6 | (s[i] & 0x3fu);
	*ret_len = len;
	return c;
}

size_t ku_top_wide(const char *bytes, wchar_t *out, size_t room)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);
	const unsigned char *s = (const unsigned char *)(text ?: "?");
	unsigned int len, marks = 0;
	size_t n = 0;

	for (; *s; s += len) {
		uint32_t c = ku_top_char(s, &len);
		int width = iswprint((wint_t)c) && !ku_top_is_format(c) ? wcwidth((wchar_t)c) : -1;

		/* A few accents on a letter are a name; a heap of them, or some on nothing, is somebody's joke. */
		marks = width ? 0 : marks + 1;
		if (width > 0 || (!width && n && marks <= 2)) {
			if (n == room)
				break;
			out[n++] = (wchar_t)c;
			continue;
		}
		if (n + 4 * len > room)
			break;
		for (unsigned int i = 0; i < len; i++, n += 4)
			swprintf(out + n, 5, L"\\x%02x", s[i]);
	}
	out[n] = L'\0';
	return n;
}

static unsigned int ku_top_columns(const wchar_t *text, size_t n)
{
	unsigned int columns = 0;

	for (size_t i = 0; i < n; i++) {
		int width = wcwidth(text[i]);

		columns += width > 0 ? (unsigned int)width : 0;
	}
	return columns;
}

size_t ku_top_cut(wchar_t *text, size_t n, unsigned int columns, bool front, unsigned int *ret_columns)
{
	unsigned int have = ku_top_columns(text, n), mark = columns < 4 ? 0 : 2;
	size_t from = 0, end = n;

	if (have <= columns) {
		*ret_columns = have;
		return n;
	}
	/* Whole characters with their marks: never begin with a mark. */
	while (have > columns - mark) {
		size_t at = front ? from++ : --end;
		int width = wcwidth(text[at]);

		have -= width > 0 ? (unsigned int)width : 0;
		while (front && from < end && wcwidth(text[from]) == 0)
			from++;
	}
	n = end - from;
	if (front) {
		wmemmove(text + mark, text + from, n);
		wmemset(text, L'.', mark);
	} else {
		wmemset(text + n, L'.', mark);
	}
	n += mark;
	text[n] = L'\0';
	*ret_columns = have + mark;
	return n;
}
