// SPDX-License-Identifier: GPL-2.0-only
/* Event lines: their exact form, and names that are no text. */
#include "event.h"

#include <json-c/json.h>
#include <limits.h>

#include "cgroup.h"
#include "samples.h"
#include "unit.h"
#include "util.h"

/* Replaces the value of "ts" by T, after a look at it. */
static void mask_times(char *lines)
{
	static const char key[] = "\"ts\":\"";
	char *at = lines;

	while ((at = strstr(at, key))) {
		struct tm tm = { 0 };
		struct timespec now;
		char *end;
		long us;

		at += strlen(key);
		end = strptime(at, "%Y-%m-%dT%H:%M:%S", &tm);
		KTAP_REQUIRE(end && *end == '.', "%.40s", at);
		us = strtol(end + 1, &end, 10);
		KTAP_REQUIRE(end[0] == 'Z' && end[1] == '"', "%.40s", at);
		KTAP_CHECK(end - at == 26, "%.40s", at);
		clock_gettime(CLOCK_REALTIME, &now);
		us += (timegm(&tm) - now.tv_sec) * 1000000l - now.tv_nsec / 1000;
		KTAP_CHECK(labs(us) < 5000000, "%.40s is not now", at);
		*at = 'T';
		memmove(at + 1, end + 1, strlen(end + 1) + 1);
	}
}

KTAP_TEST(golden_lines)
{
	struct ku_event c = copyup();
	struct ku_event w = waited();
	struct ku_events *ev;
	char *lines;

	unit_place();
	KTAP_REQUIRE(ku_events_open("/tmp/events", &ev) == 0);
	KTAP_CHECK((unit_stat("/tmp/events").st_mode & 07777) == 0644);
	ku_events_put(ev, &c);
	ku_events_put(ev, &w);
	c.copyup.result = "ENOSPC";
	c.path = "/a \"quoted\"\t\n\x01\x7f/\\back/\xff\xc3\xa4";
	c.copyup.who.comm = "b\xe4r";
	ku_events_put(ev, &c);
	ku_events_close(ev);

	lines = unit_read("/tmp/events", NULL);
	mask_times(lines);
	KTAP_CHECK(!strcmp(lines,
			   "{\"event\":\"copyup\",\"ts\":\"T\",\"id\":18446744073709551615,\"union\":\"/merged\",\"path\":\"/dir/file\","
			   "\"kind\":\"file\",\"op\":\"open\",\"syscall\":\"openat\",\"pid\":10,\"tid\":20,\"comm\":\"cat\",\"uid\":1000,"
			   "\"cgroup\":\"/a\",\"container\":\"11ff\",\"runtime\":\"docker\",\"engine\":\"kunion\",\"size\":8,\"bytes\":7,"
			   "\"data\":\"cloned\",\"waiters\":9,\"queued_us\":1,\"lock_us\":2,\"copy_us\":3,\"fsync_us\":4,\"commit_us\":5,"
			   "\"total_us\":6,\"result\":\"ok\"}\n"
			   "{\"event\":\"wait\",\"ts\":\"T\",\"union\":\"/merged\",\"path\":\"/dir\",\"op\":\"open\",\"syscall\":\"openat\","
			   "\"pid\":10,\"tid\":20,\"comm\":\"cat\",\"uid\":1000,\"cgroup\":\"/a\",\"container\":\"11ff\",\"runtime\":\"docker\","
			   "\"on\":\"dir\",\"holder_pid\":11,\"holder_tid\":21,\"holder_comm\":\"mv\",\"holder_uid\":1001,"
			   "\"holder_cgroup\":\"/b\",\"holder_container\":\"22ff\",\"holder_runtime\":\"podman\",\"holder_op\":\"rename\","
			   "\"copyup_id\":77,\"copyup_path\":\"/dir/big\",\"copyup_pid\":99,\"copyup_comm\":\"dd\",\"wait_us\":123456,"
			   "\"result\":\"released\"}\n"
			   "{\"event\":\"copyup\",\"ts\":\"T\",\"id\":18446744073709551615,\"union\":\"/merged\","
			   "\"path\":\"/a \\\"quoted\\\"\\t\\n\\u0001\x7f/\\\\\\\\back/\\\\xff\xc3\xa4\",\"kind\":\"file\",\"op\":\"open\","
			   "\"syscall\":\"openat\",\"pid\":10,\"tid\":20,\"comm\":\"b\\\\xe4r\",\"uid\":1000,\"cgroup\":\"/a\","
			   "\"container\":\"11ff\",\"runtime\":\"docker\",\"engine\":\"kunion\",\"size\":8,\"bytes\":7,\"data\":\"cloned\","
			   "\"waiters\":9,\"queued_us\":1,\"lock_us\":2,\"copy_us\":3,\"fsync_us\":4,\"commit_us\":5,\"total_us\":6,"
			   "\"result\":\"ENOSPC\"}\n"),
		   "%s", lines);
	free(lines);
}

/* The moment is the one given, not that of the writing. */
KTAP_TEST(time_is_the_events)
{
	struct ku_event c = copyup();
	struct ku_events *ev;
	struct timespec now;
	struct tm tm;
	char want[64], *lines;

	unit_place();
	clock_gettime(CLOCK_REALTIME, &now);
	c.ts_ns = ku_utc_ns(ku_now_ns()) - 3600 * 1000000000ull;
	now.tv_sec -= 3600;
	gmtime_r(&now.tv_sec, &tm);
	strftime(want, sizeof(want), "\"ts\":\"%Y-%m-%dT%H:%M:", &tm);
	KTAP_REQUIRE(ku_events_open("/tmp/events", &ev) == 0);
	ku_events_put(ev, &c);
	ku_events_close(ev);
	lines = unit_read("/tmp/events", NULL);
	KTAP_CHECK(strstr(lines, want) || tm.tm_sec >= 58, "%s in %s", want, lines);
	free(lines);
}

KTAP_TEST(file_is_appended_to)
{
	struct ku_event c = copyup();
	struct ku_events *ev;
	char *lines;

	unit_place();
	unit_text("/tmp/events", "before\n");
	for (int i = 0; i < 2; i++) {
		KTAP_REQUIRE(ku_events_open("/tmp/events", &ev) == 0);
		ku_events_put(ev, &c);
		ku_events_close(ev);
	}
	lines = unit_read("/tmp/events", NULL);
	KTAP_CHECK(!strncmp(lines, "before\n{\"event\":", 16));
	KTAP_CHECK(strlen(strchr(lines, '{')) > 400);
	free(lines);
	KTAP_CHECK(ku_events_open("/tmp/none/events", &ev) == -ENOENT);
	KTAP_CHECK(ku_events_open("/tmp", &ev) == -EISDIR);
	/* No sink: nothing happens. */
	ku_events_put(NULL, &c);
	ku_events_close(NULL);
}

/* Takes ku_escape_bytes() back, as a reader would. */
static void unescape(char *s)
{
	char *to = s;
	unsigned int byte;

	while (*s) {
		if (s[0] == '\\' && s[1] == '\\') {
			*to++ = '\\';
			s += 2;
		} else if (s[0] == '\\' && s[1] == 'x' && sscanf(s + 2, "%2x", &byte) == 1) {
			*to++ = (char)byte;
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

static bool valid_utf8(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	/* A second opinion, written as the standard's table of well-formed sequences. */
	while (*s) {
		if (s[0] < 0x80)
			s++;
		else if (s[0] >= 0xc2 && s[0] <= 0xdf && (s[1] & 0xc0) == 0x80)
			s += 2;
		else if (((s[0] == 0xe0 && s[1] >= 0xa0 && s[1] <= 0xbf) || (s[0] == 0xed && s[1] >= 0x80 && s[1] <= 0x9f) ||
			  (s[0] >= 0xe1 && s[0] <= 0xef && s[0] != 0xed && (s[1] & 0xc0) == 0x80)) &&
			 (s[2] & 0xc0) == 0x80)
			s += 3;
		else if (((s[0] == 0xf0 && s[1] >= 0x90 && s[1] <= 0xbf) || (s[0] >= 0xf1 && s[0] <= 0xf3 && (s[1] & 0xc0) == 0x80) ||
			  (s[0] == 0xf4 && s[1] >= 0x80 && s[1] <= 0x8f)) &&
			 (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80)
			s += 4;
		else
			return false;
	}
	return true;
}

static bool round_trip(const char *bytes)
{
	char *escaped = ku_escape_bytes(bytes);
	bool ok = escaped && valid_utf8(escaped);

	if (ok) {
		unescape(escaped);
		ok = !strcmp(escaped, bytes);
	}
	free(escaped);
	return ok;
}

KTAP_TEST(names_that_are_no_text)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "a\\b", "a\\\\b" },
		{ "\\xff", "\\\\xff" },
		{ "\xff", "\\xff" },
		{ "\xc3\xa4", "\xc3\xa4" },
		{ "\xc3", "\\xc3" },			      /* ends within */
		{ "\xe2\x82", "\\xe2\\x82" },
		{ "\xe2\x82x", "\\xe2\\x82x" },
		{ "\x80", "\\x80" },			      /* a continuation alone */
		{ "\xc0\xaf", "\\xc0\\xaf" },		      /* overlong '/' */
		{ "\xc1\xbf", "\\xc1\\xbf" },
		{ "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
		{ "\xe0\x9f\xbf", "\\xe0\\x9f\\xbf" },
		{ "\xe0\xa0\x80", "\xe0\xa0\x80" },	      /* the first of three bytes */
		{ "\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf" },
		{ "\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf" },
		{ "\xf0\x90\x80\x80", "\xf0\x90\x80\x80" },   /* the first of four */
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" },	      /* a surrogate */
		{ "\xed\xbf\xbf", "\\xed\\xbf\\xbf" },
		{ "\xed\x9f\xbf", "\xed\x9f\xbf" },	      /* the last before them */
		{ "\xee\x80\x80", "\xee\x80\x80" },
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },   /* the last of all */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
		{ "\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80" },
		{ "\xfe\xfe", "\\xfe\\xfe" },
	};
	uint64_t seed = 1;

	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++) {
		char *escaped = ku_escape_bytes(t[i].in);

		KTAP_CHECK(escaped && !strcmp(escaped, t[i].out), "%zu: '%s', not '%s'", i, escaped, t[i].out);
		KTAP_CHECK(round_trip(t[i].in), "%zu", i);
		free(escaped);
	}
	for (int n = 0; n < 20000; n++) {
		char s[12];
		size_t len;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		len = seed >> 33 & 7;
		unit_fill((unsigned char *)s, sizeof(s), seed);
		/* Half of them from bytes that matter. */
		if (n & 1)
			for (size_t i = 0; i < len; i++)
				s[i] = "\\x\xc3\xe0\xed\xf0\xf4\x80\x9f\xa0\xbf\x8f"[(unsigned char)s[i] % 12];
		s[len] = '\0';
		if (!round_trip(s)) {
			KTAP_CHECK(false, "%02x %02x %02x %02x", s[0] & 255, s[1] & 255, s[2] & 255, s[3] & 255);
			return;
		}
	}
}

/* Through the line and a JSON parser and back. */
KTAP_TEST(every_byte_survives_the_line)
{
	struct ku_event c = copyup();
	struct json_object *obj, *value;
	struct ku_events *ev;
	char name[256], *line, *got;

	unit_place();
	for (int i = 1; i < 256; i++)
		name[i - 1] = (char)i;
	name[255] = '\0';
	c.path = name;
	KTAP_REQUIRE(ku_events_open("/tmp/events", &ev) == 0);
	ku_events_put(ev, &c);
	ku_events_close(ev);
	line = unit_read("/tmp/events", NULL);
	KTAP_CHECK(strchr(line, '\n') == line + strlen(line) - 1, "not one line");
	KTAP_CHECK(valid_utf8(line));
	obj = json_tokener_parse(line);
	KTAP_REQUIRE(obj && json_object_object_get_ex(obj, "path", &value));
	got = strdup(json_object_get_string(value));
	unescape(got);
	KTAP_CHECK(!memcmp(got, name, sizeof(name)));
	free(got);
	free(line);
	json_object_put(obj);
}

/* What is written can be read, every field in its place. */
static void there_and_back(const struct ku_event *e)
{
	_cleanup_free_ char *line = ku_event_json(e), *again = NULL;
	struct ku_event *got;

	KTAP_REQUIRE(line && ku_event_parse(line, &got) == 0, "%s", line);
	again = ku_event_json(got);
	KTAP_CHECK(again && !strcmp(again, line), "%s became %s", line, again);
	KTAP_CHECK(got->type == e->type && got->ts_ns / 1000 == e->ts_ns / 1000 && !strcmp(got->path, e->path));
	ku_event_free(got);
}

KTAP_TEST(events_are_read_back)
{
	struct ku_event e = copyup();

	e.path = "/\\ \xff\n\"";
	there_and_back(&e);
	e = waited();
	there_and_back(&e);
	e = (struct ku_event){ .type = KU_EV_CHANGED, .union_path = "/m", .path = "/f", .changed = { .copyup_id = 3, .written = 4 } };
	there_and_back(&e);
	e = (struct ku_event){ .type = KU_EV_WRITE, .union_path = "/m", .path = "/f",
			       .write = { .op = "rename", .kind = "dir", .layer = "lower", .size = 5, .path2 = "/g", .who = SAMPLE_WHO(1) } };
	there_and_back(&e);
	e = (struct ku_event){ .type = KU_EV_POLICY, .union_path = "/m", .path = "/f",
			       .policy = { .action = "copy-up", .kind = "file", .size = 7, .rule = "a rule", .verdict = "deny", .err = "EROFS", .budget = "b", .limit = "copy_up",
					   .who = SAMPLE_WHO(1) } };
	there_and_back(&e);
	e = (struct ku_event){ .type = KU_EV_HOLD, .union_path = "/m", .path = "/f",
			       .hold = { .id = 9, .action = "create", .kind = "dir", .size = 8, .rule = "a rule", .limit = 7, .err = "EPERM", .who = SAMPLE_WHO(1) } };
	there_and_back(&e);
	e = (struct ku_event){ .type = KU_EV_UNION, .union_path = "/m", .path = "",
			       .mount = { .lower = "/l", .upper = "/u", .options = "metacopy=off", .upper_fs = "xfs", .upper_free = 5,
					  .upper_size = 6, .reflink = true } };
	there_and_back(&e);
	e = (struct ku_event){ .type = KU_EV_TOTALS, .union_path = "/m", .path = "",
			       .totals = { .copyups = 1, .bytes = 2, .failed = 3, .copyup_us = 4, .waits = 5, .wait_us = 6, .missing = 7 } };
	there_and_back(&e);
	e = (struct ku_event){ .type = KU_EV_DROPPED, .union_path = "", .path = "",
			       .dropped = { .count = 10, .copyups = 1, .waits = 2, .writes = 3, .others = 4 } };
	there_and_back(&e);
}

KTAP_TEST(what_is_no_event_is_refused)
{
	static const char *const lines[] = { "", "{", "[]", "7", "null", "{}", "{\"event\":7}", "{\"event\":\"other\"}",
					     "{\"event\":\"copyup\"} {}", "{\"event\":\"copyup\",}", "{\"event\":[\"copyup\"]}" };
	struct ku_event *e;

	for (size_t i = 0; i < KU_ARRAY_SIZE(lines); i++)
		KTAP_CHECK(ku_event_parse(lines[i], &e) == -EINVAL, "%s", lines[i]);
}

/* Lines of another version: what is missing, or of another type, is empty; what is not known is passed over. */
KTAP_TEST(fields_may_be_missing_or_strange)
{
	struct ku_event *e;

	KTAP_REQUIRE(ku_event_parse("{\"event\":\"copyup\",\"new\":{\"a\":1},\"path\":7,\"bytes\":\"12\",\"pid\":null,\"comm\":null}", &e) == 0);
	KTAP_CHECK(!strcmp(e->path, "") && !strcmp(e->copyup.op, "") && !strcmp(e->copyup.who.comm, "") && !e->copyup.who.pid && !e->ts_ns);
	ku_event_free(e);
	KTAP_REQUIRE(ku_event_parse("{\"event\":\"wait\",\"wait_us\":-5,\"ts\":\"tomorrow\"}", &e) == 0);
	KTAP_CHECK(e->wait.wait_us == 0 && e->ts_ns == 0);
	ku_event_free(e);
	ku_event_free(NULL);
}

KTAP_TEST(errno_names)
{
	char buf[16];

	KTAP_CHECK(!strcmp(ku_errno_name(ENOSPC, buf), "ENOSPC"));
	KTAP_CHECK(!strcmp(ku_errno_name(EAGAIN, buf), "EAGAIN"));
	KTAP_CHECK(!strcmp(ku_errno_name(EOPNOTSUPP, buf), "EOPNOTSUPP") || !strcmp(ku_errno_name(EOPNOTSUPP, buf), "ENOTSUP"));
	KTAP_CHECK(!strcmp(ku_errno_name(12345, buf), "E12345"));
	KTAP_CHECK(!strcmp(ku_errno_name(524, buf), "E524"));
	KTAP_CHECK(!strcmp(ku_errno_name(0, buf), "E0"));
}

/* The cgroup of an id: a new one on a cgroup2 mount, and what is not one. */
KTAP_TEST(cgroup_paths)
{
	struct {
		struct file_handle h;
		uint64_t id; /* where h.f_handle begins */
	} fh;
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char path[PATH_MAX];
	int mount_id;
	bool made = false;

	if (geteuid() != 0)
		ktap_skip("needs root");
	for (size_t i = 0; i < KU_ARRAY_SIZE(roots) && !made; i++) {
		snprintf(path, sizeof(path), "%s/cgroup.controllers", roots[i]);
		if (!unit_exists(path))
			continue;
		snprintf(path, sizeof(path), "%s/kunion-unit-%d", roots[i], (int)getpid());
		made = mkdir(path, 0755) == 0;
	}
	KTAP_CHECK(!strcmp(ku_cgroup_path(0), ""));
	KTAP_CHECK(!strcmp(ku_cgroup_path(0xfffffffffffff00dull), ""));
	if (!made)
		ktap_skip("no cgroup2 to make a cgroup in");
	fh.h.handle_bytes = sizeof(fh.id);
	if (name_to_handle_at(AT_FDCWD, path, &fh.h, &mount_id, 0) < 0) {
		rmdir(path);
		ktap_skip("no file handles of cgroups here");
	}
	KTAP_CHECK(!strcmp(ku_cgroup_path(fh.id), strrchr(path, '/')), "'%s' of %s", ku_cgroup_path(fh.id), path);
	KTAP_REQUIRE(rmdir(path) == 0);
	/* It is remembered: the events of a container come out after its end. */
	KTAP_CHECK(!strcmp(ku_cgroup_path(fh.id), strrchr(path, '/')));
	for (uint64_t i = 1; i <= 64; i++)
		ku_cgroup_path(0xffffffff00000000ull + i);
	KTAP_CHECK(!strcmp(ku_cgroup_path(fh.id), ""), "%s", ku_cgroup_path(fh.id));
}

KTAP_MAIN()
