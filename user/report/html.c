// SPDX-License-Identifier: GPL-2.0-only
/* Writing HTML; see html.h. */
#include <stdarg.h>
#include <string.h>

#include "event.h"
#include "html.h"
#include "util.h"

/* U+200E, U+200F, U+202A..U+202E, U+2066..U+2069: a name with them could be read as another. U+0080..U+009F: control characters. */
static size_t ku_unseen(const unsigned char *s)
{
	if (s[0] < 0x20 || s[0] == 0x7f)
		return 1;
	if (s[0] == 0xc2 && s[1] < 0xa0)
		return 2;
	if (s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xaa && s[2] <= 0xae)))
		return 3;
	if (s[0] == 0xe2 && s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9)
		return 3;
	return 0;
}

static void ku_html_escaped(struct ku_html *h, const char *bytes, bool prose)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);

	if (!text) {
		h->err = -ENOMEM;
		return;
	}
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		size_t unseen = ku_unseen(s);

		if (prose && s[0] == '\\' && s[1] == '\\')
			s++; /* two stand for one */
		else if (prose && *s == '\n')
			unseen = 0;
		if (unseen) {
			for (size_t i = 0; i < unseen; i++)
				fprintf(h->out, "\\x%02x", s[i]);
			s += unseen - 1;
			continue;
		}
		switch (*s) {
		case '&':
			fputs("&amp;", h->out);
			break;
		case '<':
			fputs("&lt;", h->out);
			break;
		case '>':
			fputs("&gt;", h->out);
			break;
		case '"':
			fputs("&quot;", h->out);
			break;
		case '\'':
			fputs("&#39;", h->out);
			break;
		default:
			putc(*s, h->out);
		}
	}
}

/* At most `most` bytes of text, if that is not negative. */
static void ku_html_string(struct ku_html *h, const char *text, int most)
{
	_cleanup_free_ char *cut = most >= 0 ? strndup(text, (size_t)most) : NULL;

	if (most >= 0 && !cut)
		h->err = -ENOMEM;
	else
		ku_html_escaped(h, cut ? cut : text, false);
}

void ku_html_prose(struct ku_html *h, const char *text)
{
	ku_html_escaped(h, text, true);
}

/* One conversion: spec is "%...c" with its length modifiers in it. */
static void ku_html_one(struct ku_html *h, const char *spec, char conversion, unsigned int longs, bool size, va_list *ap)
{
	const char *precision = strchr(spec, '.');
	int most = !precision ? -1 : precision[1] == '*' ? va_arg(*ap, int) : atoi(precision + 1);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	switch (conversion) {
	case 's':
		ku_html_string(h, va_arg(*ap, const char *), most);
		break;
	case 'f':
		fprintf(h->out, spec, va_arg(*ap, double));
		break;
	case 'd':
	case 'u':
	case 'c':
		if (size)
			fprintf(h->out, spec, va_arg(*ap, size_t));
		else if (longs == 2)
			fprintf(h->out, spec, va_arg(*ap, unsigned long long));
		else if (longs == 1)
			fprintf(h->out, spec, va_arg(*ap, unsigned long));
		else
			fprintf(h->out, spec, va_arg(*ap, unsigned int));
		break;
	default:
		h->err = -EINVAL;
	}
#pragma GCC diagnostic pop
}

void ku_html(struct ku_html *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	while (*fmt && !h->err) {
		size_t text = strcspn(fmt, "%"), len;
		unsigned int longs = 0;
		bool size = false;
		char spec[24];

		fwrite(fmt, 1, text, h->out);
		fmt += text;
		if (!*fmt)
			break;
		if (fmt[1] == '%') {
			putc('%', h->out);
			fmt += 2;
			continue;
		}
		len = 1 + strspn(fmt + 1, "0123456789.*-+ ");
		for (; fmt[len] == 'l'; len++)
			longs++;
		if (fmt[len] == 'z') {
			size = true;
			len++;
		}
		if (!fmt[len] || len + 1 >= sizeof(spec)) {
			h->err = -EINVAL;
			break;
		}
		memcpy(spec, fmt, len + 1);
		spec[len + 1] = '\0';
		ku_html_one(h, spec, fmt[len], longs, size, &ap);
		fmt += len + 1;
	}
	va_end(ap);
}

const char *ku_html_date(char buf[static KU_HTML_DATE], uint64_t ts_ns)
{
	time_t sec = (time_t)(ts_ns / 1000000000ull);
	struct tm tm;
	size_t n;

	if (!gmtime_r(&sec, &tm))
		memset(&tm, 0, sizeof(tm));
	n = strftime(buf, KU_HTML_DATE, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(buf + n, KU_HTML_DATE - n, ".%03u", (unsigned int)(ts_ns % 1000000000ull / 1000000));
	return buf;
}
