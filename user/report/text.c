// SPDX-License-Identifier: GPL-2.0-only
/* Text in lines and columns. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

static bool ku_text_begins(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t ku_text_columns_of(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ku_text_begins(text[i]);
	return n;
}

size_t ku_text_columns(const char *text)
{
	return ku_text_columns_of(text, strlen(text));
}

/* Where the character of a number begins. */
static const char *ku_text_at(const char *text, size_t n)
{
	for (; *text; text++)
		if (ku_text_begins(*text) && !n--)
			break;
	return text;
}

char *ku_text_fit(const char *text, size_t columns)
{
	size_t all = ku_text_columns(text), front, back;
	const char *head, *tail;
	char *out;

	if (all <= columns)
		return strdup(text);
	/* The end of a path says more than its beginning. */
	front = (columns - 3) / 3;
	back = columns - 3 - front;
	head = ku_text_at(text, front);
	tail = ku_text_at(text, all - back);
	if (asprintf(&out, "%.*s...%s", (int)(head - text), text, tail) < 0)
		return NULL;
	return out;
}

void ku_text_wrap(FILE *out, const char *lead, const char *text, size_t width)
{
	size_t indent = ku_text_columns(lead), at = indent;

	fputs(lead, out);
	for (bool first = true; *text; first = false) {
		size_t len = strcspn(text, " "), columns = ku_text_columns_of(text, len);

		if (!first && at + 1 + columns > width) {
			fprintf(out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			fputc(' ', out);
			at++;
		}
		fwrite(text, 1, len, out);
		at += columns;
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}
