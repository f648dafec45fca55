/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing HTML so that no name can break out of its place. */
#ifndef KU_HTML_H
#define KU_HTML_H

#include <stdint.h>
#include <stdio.h>

/* Errors stick: look at err once, behind the last output. */
struct ku_html {
	FILE *out;
	int err; /* 0 or -ENOMEM; what stdio met is in ferror(out) */
};

/*
 * Like fprintf, but what %s brings is escaped, for text and for quoted attribute values: bytes as ku_escape_bytes() has them, control
 * characters and those that turn the writing direction as \xHH, then HTML's own. Knows %s %.*s %c %d %u %f, the numbers also with width,
 * precision, l, ll and z.
 */
void ku_html(struct ku_html *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Text in sentences, or several lines of a command: newlines and backslashes stay as they are, all else as above. */
void ku_html_prose(struct ku_html *h, const char *text);

#define KU_HTML_DATE 40
/* "2026-11-22 18:00:00.123", UTC */
const char *ku_html_date(char buf[static KU_HTML_DATE], uint64_t ts_ns);
/* The same into a buffer that lives as long as the block. */
#define KU_DATE(ns) ku_html_date((char[KU_HTML_DATE]){ 0 }, ns)

#endif
