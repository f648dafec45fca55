// SPDX-License-Identifier: GPL-2.0-only
/* The lines of kunion trace to the letter, in files and on terminals. */
#include "trace_fmt.h"

#include <wchar.h>

#include "trace_events.h"
#include "util.h"

static const struct ku_trace_fmt file_fmt = { .utf8 = true };

static void check(const struct ku_trace_fmt *f, const char *json, const char *want)
{
	struct ku_event *e = event_of(json);
	char *line = ku_trace_line(f, e);

	KTAP_CHECK(line && !strcmp(line, want), "got:    %swanted: %s", line ? line : "nothing\n", want);
	free(line);
	ku_event_free(e);
}

KTAP_TEST(lines_in_a_file)
{
	char *head = ku_trace_header(&file_fmt);

	begin();
	KTAP_CHECK(head && !strcmp(head, HEAD), "%s", head);
	free(head);
	check(&file_fmt, COPYUP, L_COPYUP);
	check(&file_fmt, COPYUP_FAILED, L_FAILED);
	check(&file_fmt, WAIT_DIR, L_DIR);
	check(&file_fmt, WAIT_INODE, L_INODE);
	check(&file_fmt, WAIT_UNKNOWN, L_UNKNOWN);
	check(&file_fmt, CHANGED, L_CHANGED);
	check(&file_fmt, WRITE, L_WRITE);
	check(&file_fmt, UNION, L_UNION);
	check(&file_fmt, "{\"event\":\"union\"," TS "\"lower\":\"l\",\"upper\":\"u\"}", AT "union   /merged: no options; upper u; lower l\n");
	check(&file_fmt, TOTALS, L_TOTALS);
	check(&file_fmt, DROPPED, L_DROPPED);
}

/* The columns that a line has on a terminal of so many, and none beyond it. */
static void check_width(unsigned int width, const char *json, const char *want)
{
	struct ku_trace_fmt f = { .width = width, .utf8 = true };
	wchar_t wide[512];
	size_t n = mbstowcs(wide, want, 512);

	KTAP_CHECK(n != (size_t)-1 && wcswidth(wide, n - 1) <= (int)width, "the wanted line is too long for %u", width);
	check(&f, json, want);
}

KTAP_TEST(lines_on_terminals)
{
	begin();
	check_width(80, COPYUP, "18:00:00 copyup  chmod       1230 chmod       512M  1.23s /merged/dir/big (fsyn\xe2\x80\xa6\n");
	check_width(80, COPYUP_FAILED, "18:00:00 copyup  rename   4194304 averylong\xe2\x80\xa6     -  450us ENOSPC /merged/link "
		"(\xe2\x80\xa6\n");
	check_width(80, WAIT_DIR, "18:00:00 wait    create      1250 sh             -  1.10s /merged/dir (dir lock\xe2\x80\xa6\n");
	check_width(100, WAIT_DIR, "18:00:00 wait    create      1250 sh                  -  1.10s /merged/dir (dir lock) <- "
		"rm[1240] r\xe2\x80\xa6\n");
	check_width(120, COPYUP, AT "copyup  chmod       1230 chmod           3f2a1b0c4d5e  512M  1.23s /merged/dir/big (fsync "
		"34.0ms, 2 waited)\n");
	check_width(120, WAIT_INODE, AT "wait    remove      1240 rm              session-3.s\xe2\x80\xa6     - 1.10ms timeout "
		"/merged/dir/big (inode lock) <-\xe2\x80\xa6\n");
	check_width(140, COPYUP, AT "copyup  chmod       1230 chmod           docker:3f2a1b0c4d5e   512M  1.23s /merged/dir/big "
		"(fsync 34.0ms, 2 waited)\n");
	check_width(200, COPYUP, L_COPYUP);
	check_width(200, WAIT_DIR, L_DIR);
	check_width(80, UNION, "18:00:00 union   /merged: metacopy=off,index=off; upper /u on ext4, 1.1G of 92G\xe2\x80\xa6\n");
	check_width(80, DROPPED, "18:00:00 dropped 12 events lost: 7 copy-ups, 5 waits\n");
}

/* On a terminal a long path is cut at its beginning, so that the name is seen; never in a file. No line is ever wider than the terminal. */
KTAP_TEST(long_paths)
{
	char path[600] = "", json[2000], want[1000], *line;
	struct ku_event *e;
	wchar_t wide[1000];

	begin();
	for (int i = 0; i < 50; i++)
		strcat(path, "/direct\xc3\xb6ry");
	snprintf(json, sizeof(json),
		 "{\"event\":\"copyup\"," TS "\"id\":1,\"path\":\"%s/name\",\"kind\":\"file\",\"op\":\"open\"," WHO("1", "sh") SESSION
		 "\"engine\":\"kernel\",\"bytes\":0,\"result\":\"ok\"}",
		 path);
	snprintf(want, sizeof(want), AT "copyup  open           1 sh              session-3.scope          0    0us ok       "
		"/merged%s/name\n", path);
	check(&file_fmt, json, want);
	e = event_of(json);
	for (unsigned int width = 1; width <= 220; width++) {
		struct ku_trace_fmt f = { .width = width, .utf8 = true };

		line = ku_trace_line(&f, e);
		KTAP_REQUIRE(line);
		KTAP_CHECK(mbstowcs(wide, line, 1000) != (size_t)-1, "%u columns: not text: %s", width, line);
		/* What is left of the path is its end. */
		if (width >= 80) {
			KTAP_CHECK(wcswidth(wide, wcslen(wide) - 1) == (int)width, "%u columns: %s", width, line);
			KTAP_CHECK(strstr(line, " \xe2\x80\xa6") && strstr(line, "ry/name\n"), "%s", line);
		}
		free(line);
	}
	ku_event_free(e);
}

#define JA "\xe6\x97\xa5\xe6\x9c\xac"
#define JAPAN JA "\xe8\xaa\x9e"

/* Letters of two columns are counted as such. */
KTAP_TEST(wide_letters)
{
	struct ku_trace_fmt f = { .width = 70, .utf8 = true };

	begin();
	check_width(80,
		    "{\"event\":\"copyup\"," TS "\"id\":1,\"kind\":\"file\",\"op\":\"open\",\"path\":\"/" JAPAN JAPAN JAPAN "\","
		    WHO("1", JA) SESSION "\"engine\":\"kernel\",\"bytes\":0,\"result\":\"ok\"}",
		    "18:00:00 copyup  open           1 " JA "           0    0us \xe2\x80\xa6" "ed/" JAPAN JAPAN JAPAN "\n");
	check(&f,
	      "{\"event\":\"copyup\"," TS "\"id\":1,\"kind\":\"file\",\"op\":\"open\",\"path\":\"/" JAPAN JAPAN JAPAN "\","
	      WHO("1", JA) SESSION "\"engine\":\"kernel\",\"bytes\":0,\"result\":\"ok\"}",
	      "18:00:00 copyup  open           1 " JA "           0    0us \xe2\x80\xa6\xe6\x9c\xac\xe8\xaa\x9e" JAPAN "\n");
}

KTAP_TEST(names_for_a_terminal)
{
	static const struct {
		const char *in, *out, *ascii;
	} t[] = {
		{ "plain", "plain", "plain" },
		{ "\033[31m", "\\x1b[31m", NULL },
		{ "a\nb\rc\td\x7f", "a\\x0ab\\x0dc\\x09d\\x7f", NULL },
		{ "back\\slash", "back\\\\slash", NULL },
		{ "\xff", "\\xff", NULL },
		{ "\xc3\xa4", "\xc3\xa4", "\\xc3\\xa4" },
		{ "\xc2\x9b" "31m", "\\xc2\\x9b31m", NULL },	 /* CSI of eight bits */
		{ "\x9b", "\\x9b", NULL },
		{ "\xc2\xa0", "\xc2\xa0", "\\xc2\\xa0" },
		{ "\xe2\x80\xae", "\\xe2\\x80\\xae", NULL },	 /* right to left */
		{ "\xe2\x81\xa6", "\\xe2\\x81\\xa6", NULL },
		{ "\xe2\x80\x8b", "\\xe2\\x80\\x8b", NULL },	 /* no width */
		{ "\xef\xbb\xbf", "\\xef\\xbb\\xbf", NULL },
		{ "\xe2\x82\xac", "\xe2\x82\xac", "\\xe2\\x82\\xac" },
		{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\\xf0\\x9f\\x98\\x80" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++) {
		char *text = ku_terminal_text(t[i].in, true), *ascii = ku_terminal_text(t[i].in, false);

		KTAP_CHECK(text && !strcmp(text, t[i].out), "%zu: %s, not %s", i, text, t[i].out);
		KTAP_CHECK(ascii && !strcmp(ascii, t[i].ascii ? t[i].ascii : t[i].out), "%zu: %s", i, ascii);
		ku_unescape_bytes(text);
		ku_unescape_bytes(ascii);
		KTAP_CHECK(!strcmp(text, t[i].in) && !strcmp(ascii, t[i].in), "%zu does not come back", i);
		free(text);
		free(ascii);
	}
}

/* Whatever the names are: one line, nothing that a terminal obeys. */
KTAP_TEST(no_name_breaks_a_line)
{
	const char *evil = "\033]0;x\007\n\r\x9b\xe2\x80\xae\xff";
	struct ku_event *events[2] = { event_of(COPYUP), event_of(WAIT_DIR) };

	begin();
	events[0]->path = events[0]->union_path = evil;
	events[0]->copyup.who.comm = events[0]->copyup.who.container = events[0]->copyup.who.runtime = evil;
	events[0]->copyup.op = events[0]->copyup.kind = events[0]->copyup.result = evil;
	events[1]->path = events[1]->wait.copyup_path = events[1]->wait.on = events[1]->wait.who.cgroup = evil;
	events[1]->wait.holder.comm = events[1]->wait.holder_op = events[1]->wait.copyup_comm = evil;
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int width = 0; width <= 200; width += 40) {
			struct ku_trace_fmt f = { .width = width, .utf8 = true };
			char *line = ku_trace_line(&f, events[i]);

			KTAP_REQUIRE(line);
			for (char *c = line; *c; c++)
				if ((unsigned char)*c < 0x20 || *c == 0x7f)
					KTAP_CHECK(*c == '\n' && !c[1], "%#x in %s", (unsigned char)*c, line);
			KTAP_CHECK(!strstr(line, "\xe2\x80\xae") && !strchr(line, '\xff'), "%s", line);
			free(line);
		}
	ku_event_free(events[0]);
	ku_event_free(events[1]);
}

KTAP_TEST(colours)
{
	struct ku_trace_fmt f = { .width = 200, .utf8 = true, .colour = true };

	begin();
	check(&f, WAIT_INODE,
	      AT "\033[33mwait\033[m    remove      1240 rm              session-3.scope          - \033[33m1.10ms\033[m "
	      	"\033[31;1mtimeout\033[m  "
		 "/merged/dir/big\033[2m (inode lock) <- chmod[1230] copying\033[m\n");
	check(&f, DROPPED, AT "\033[31;1mdropped\033[m \033[31;1m12 events lost: 7 copy-ups, 5 waits\033[m\n");
}

KTAP_TEST(short_numbers)
{
	static const struct {
		uint64_t n;
		const char *text;
	} bytes[] = { { 0, "0" }, { 999, "999" }, { 1000, "1.0K" }, { 1023, "1.0K" }, { 1024, "1.0K" }, { 1536, "1.5K" }, { 10188, "9.9K" },
		      { 10189, "10K" }, { 1023487, "999K" }, { 1023488, "1.0M" }, { 536870912, "512M" }, { UINT64_MAX, "16E" } },
	  us[] = { { 0, "0us" }, { 999, "999us" }, { 1000, "1.00ms" }, { 9994, "9.99ms" }, { 9996, "10.0ms" }, { 12345, "12.3ms" },
		   { 99960, "100ms" }, { 999499, "999ms" }, { 999500, "1.00s" }, { 1234567, "1.23s" }, { 12345678, "12.3s" },
		   	{ 59949999, "59.9s" },
		   { 59950000, "1m00s" }, { 3599499999, "59m59s" }, { 3599500000, "1h00m" }, { 86399000000, "23h59m" },
		   	{ 360000000000, "4d04h" } };
	char buf[16];

	for (size_t i = 0; i < KU_ARRAY_SIZE(bytes); i++)
		KTAP_CHECK(!strcmp(ku_short_bytes(bytes[i].n, buf), bytes[i].text), "%llu: %s", (unsigned long long)bytes[i].n, buf);
	for (size_t i = 0; i < KU_ARRAY_SIZE(us); i++)
		KTAP_CHECK(!strcmp(ku_short_us(us[i].n, buf), us[i].text), "%llu: %s", (unsigned long long)us[i].n, buf);
}

KTAP_MAIN()
