// SPDX-License-Identifier: GPL-2.0-only
/* kunion copy-up --from: what it makes of a list. --exclusive, so that nothing is loaded into this machine's kernel. */
#include <limits.h>

#include "command.h"
#include "event.h"

#define COPY_UP(...) COMMAND(ku_cmd_copy_up, "copy-up", "--exclusive", __VA_ARGS__)
#define UP UNIT_UPPER "/u"

/* A name that is no text, and one that is two lines. */
#define ODD "odd\xff\\x41"
#define TWO "two\nlines"

static void fixture(void)
{
	unit_layers();
	KTAP_REQUIRE(mkdir(UNIT_LOWER "/d", 0755) == 0);
	unit_text(UNIT_LOWER "/a", "aaa");
	unit_text(UNIT_LOWER "/b", "bbb");
	unit_text(UNIT_LOWER "/d/c", "ccc");
	unit_text(UNIT_LOWER "/" ODD, "odd");
	unit_text(UNIT_LOWER "/" TWO, "two");
	unit_overlay(NULL);
}

static bool summary(const char *want)
{
	char *at = strstr(err, "files copied up"), *line = at;

	while (line && line > err && line[-1] != '\n')
		line--;
	return KTAP_CHECK(line && !strncmp(line, want, strlen(want)), "%s", err);
}

KTAP_TEST(a_list)
{
	char *odd;

	fixture();
	odd = ku_escape_bytes(UNIT_MERGED "/" ODD "\n" UNIT_MERGED "/a");
	unit_text("/tmp/list", odd);
	free(odd);
	KTAP_CHECK(COPY_UP("--from", "/tmp/list") == 0, "%s", err);
	summary("kunion: 2 files copied up (2 by kunion, 0 by the kernel), 0 failed\n");
	KTAP_CHECK(unit_has_text(UP "/a", "aaa") && unit_has_text(UP "/" ODD, "odd"));
	KTAP_CHECK(!unit_exists(UP "/b") && unit_count(UP) == 2);
}

KTAP_TEST(comments_and_escapes)
{
	fixture();
	unit_text("/tmp/list", "# in order of use\n\n" UNIT_MERGED "/d/c\n" UNIT_MERGED "/two\\x0alines\n# " UNIT_MERGED "/a\n");
	KTAP_CHECK(COPY_UP("--from=/tmp/list") == 0, "%s", err);
	summary("kunion: 2 files copied up");
	KTAP_CHECK(unit_has_text(UP "/d/c", "ccc") && unit_has_text(UP "/" TWO, "two") && !unit_exists(UP "/a"));
}

KTAP_TEST(from_stdin)
{
	fixture();
	unit_text("/tmp/list", UNIT_MERGED "/b");
	KTAP_CHECK(command_in("/tmp/list", ku_cmd_copy_up, (const char *const[]){ "copy-up", "-x", "--from", "-", NULL }) == 0, "%s", err);
	KTAP_CHECK(unit_has_text(UP "/b", "bbb"));
}

/* What is wrong with a line is said with its number; all others are copied, and the status is 1. */
KTAP_TEST(bad_lines)
{
	fixture();
	KTAP_REQUIRE(symlink("a", UNIT_UPPER "/link") == 0);
	unit_text("/tmp/list", UNIT_MERGED "/none\n" UNIT_MERGED "/a\nb\n" UNIT_MERGED "/d\n/tmp/list\n" UNIT_MERGED "/b\n");
	KTAP_CHECK(COPY_UP("--from=/tmp/list") == 1, "%s", err);
	KTAP_CHECK(strstr(err, "kunion: copy-up: /tmp/list:1: " UNIT_MERGED "/none: No such file or directory\n"), "%s", err);
	KTAP_CHECK(strstr(err, "kunion: copy-up: /tmp/list:3: 'b' is not an absolute path\n"), "%s", err);
	KTAP_CHECK(strstr(err, "kunion: copy-up: /tmp/list:4: " UNIT_MERGED "/d: is a directory"), "%s", err);
	KTAP_CHECK(strstr(err, "kunion: copy-up: /tmp/list:5: "), "%s", err);
	summary("kunion: 2 files copied up (2 by kunion, 0 by the kernel), 4 failed\n");
	KTAP_CHECK(unit_has_text(UP "/a", "aaa") && unit_has_text(UP "/b", "bbb"));
}

/* Up already, and named twice, also beside the list: nothing to do, no failure. */
KTAP_TEST(twice)
{
	fixture();
	unit_text("/tmp/list", UNIT_MERGED "/a\n" UNIT_MERGED "//a\n" UNIT_MERGED "/a\n" UNIT_MERGED "/b\n");
	KTAP_CHECK(COPY_UP("--from=/tmp/list", UNIT_MERGED "/b") == 0, "%s", err);
	summary("kunion: 2 files copied up");
	KTAP_CHECK(COPY_UP("--from=/tmp/list") == 0, "%s", err);
	summary("kunion: 0 files copied up");
}

KTAP_TEST(directories_with_recursive)
{
	fixture();
	unit_text("/tmp/list", UNIT_MERGED "/d\n");
	KTAP_CHECK(COPY_UP("--from=/tmp/list", "-r") == 0, "%s", err);
	KTAP_CHECK(unit_has_text(UP "/d/c", "ccc"));
}

KTAP_TEST(unreadable)
{
	fixture();
	command_refused(COPY_UP("--from=/tmp/none"), "/tmp/none: No such file or directory");
	command_refused(COPY_UP("--from=/tmp"), "/tmp: Is a directory");
	command_refused(COMMAND(ku_cmd_copy_up, "copy-up"), "--from LIST");
	/* Nothing is begun. */
	command_refused(COPY_UP("--from=/tmp/none", UNIT_MERGED "/a"), "/tmp/none");
	KTAP_CHECK(unit_count(UP) == 0);
	unit_text("/tmp/list", "");
	KTAP_CHECK(COPY_UP("--from=/tmp/list") == 0, "%s", err);
	summary("kunion: 0 files copied up");
}

KTAP_MAIN()
