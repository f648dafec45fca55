// SPDX-License-Identifier: GPL-2.0-only
/* Numbers for people, and text in lines and columns. */
#include "figures.h"

#include "ktap.h"
#include "text.h"
#include "util.h"

KTAP_TEST(figures)
{
	static const struct {
		uint64_t n;
		const char *size, *time, *count;
	} figures[] = {
		{ 0, "0 B", "0 us", "0" },
		{ 999, "999 B", "999 us", "999" },
		{ 1000, "0.98 KiB", "1 ms", "1,000" },
		{ 1024, "1 KiB", "1.02 ms", "1,024" },
		{ 1536, "1.5 KiB", "1.54 ms", "1,536" },
		{ 999499, "976 KiB", "999 ms", "999,499" },
		{ 999500, "976 KiB", "1 s", "999,500" },
		{ 1023693, "0.98 MiB", "1.02 s", "1,023,693" },
		{ 12345678, "11.8 MiB", "12.3 s", "12,345,678" },
		{ 99999999, "95.4 MiB", "100 s", "99,999,999" },
		{ 100000000, "95.4 MiB", "1m40s", "100,000,000" },
		{ 3599999999, "3.35 GiB", "59m59s", "3,599,999,999" },
		{ 3600000000, "3.35 GiB", "1h00m", "3,600,000,000" },
		{ UINT64_MAX, "16 EiB", "5124095576h01m", "18,446,744,073,709,551,615" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(figures); i++) {
		KTAP_CHECK(!strcmp(KU_SIZE(figures[i].n), figures[i].size), "%s", KU_SIZE(figures[i].n));
		KTAP_CHECK(!strcmp(KU_TIME(figures[i].n), figures[i].time), "%s", KU_TIME(figures[i].n));
		KTAP_CHECK(!strcmp(KU_COUNT(figures[i].n), figures[i].count), "%s", KU_COUNT(figures[i].n));
	}
}

KTAP_TEST(layout)
{
	static const struct {
		const char *text;
		size_t columns;
		const char *want;
	} fits[] = {
		{ "12345678", 8, "12345678" },
		{ "123456789", 8, "1...6789" },
		{ "/usr/share/doc/package/file", 15, "/usr...age/file" },
		{ "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6", 8,
		  "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6" },
		{ "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc", 8,
		  "\xc3\xa4...\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc" },
	};
	static const struct {
		const char *lead, *text;
		size_t width;
		const char *want;
	} wraps[] = {
		{ "", "", 10, "\n" },
		{ "- ", "one two three", 9, "- one two\n  three\n" },
		{ "- ", "one two three", 8, "- one\n  two\n  three\n" },
		{ "", "a verylongword b", 6, "a\nverylongword\nb\n" },
		{ "", "\xc3\xa4\xc3\xa4 \xc3\xb6\xc3\xb6 x", 5, "\xc3\xa4\xc3\xa4 \xc3\xb6\xc3\xb6\nx\n" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(fits); i++) {
		char *text = ku_text_fit(fits[i].text, fits[i].columns);

		KTAP_CHECK(!strcmp(text, fits[i].want), "%s", text);
		free(text);
	}
	for (size_t i = 0; i < KU_ARRAY_SIZE(wraps); i++) {
		char *text;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		ku_text_wrap(f, wraps[i].lead, wraps[i].text, wraps[i].width);
		fclose(f);
		KTAP_CHECK(!strcmp(text, wraps[i].want), "%s", text);
		free(text);
	}
}

KTAP_MAIN()
