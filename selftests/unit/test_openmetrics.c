// SPDX-License-Identifier: GPL-2.0-only
/* OpenMetrics: the exact text of given counts, and a strict reader of the format over it. */
#include "openmetrics.h"

#include <ctype.h>
#include <math.h>

#include "unit.h"
#include "util.h"

static struct ku_counts some(const char *union_path, const char *container, const char *engine, const char *result)
{
	struct ku_counts c = {
		.union_path = union_path,
		.cgroup = "/x",
		.container = container,
		.runtime = "docker",
		.engine = engine,
		.result = result,
		.copyups = 3,
		.bytes = 4096,
		.copyup_ns = 1500000001,
		.waits = 2,
		.wait_ns = 7,
		.stalls = 1,
	};

	c.copyup_hist[0] = c.copyup_hist[5] = c.copyup_hist[31] = 1;
	c.wait_hist[4] = 1;
	c.wait_hist[28] = 1;
	return c;
}

static struct ku_om_session session(void)
{
	struct ku_om_session s = {
		.mode = "observe",
		.tier = "park",
		.unions = 2,
		.gauges = { .dropped_copyups = 1, .dropped_waits = 2, .dropped_writes = 3, .dropped_others = 4, .parked = 5,
			    .slots_used = 6, .slots = 512, .active = 7, .active_max = 8192 },
	};

	return s;
}

static char *written(struct ku_openmetrics *om, const struct ku_om_session *s)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	KTAP_REQUIRE(f);
	KTAP_CHECK(ku_om_write(om, s, f) == 0);
	fclose(f);
	KTAP_REQUIRE(text);
	return text;
}

static bool has(const char *text, const char *what)
{
	if (strstr(text, what))
		return true;
	ktap_diag("no '%s' in:\n%.1500s", what, text);
	return false;
}

/* What stands between the first line that begins with from and the one that begins with to, is it this? */
static void part_is(const char *text, const char *from, const char *to, const char *want)
{
	const char *a = strstr(text, from), *b = a ? strstr(a + 1, to) : NULL;
	char *have;

	KTAP_REQUIRE(b, "'%s' .. '%s'", from, to);
	have = strndup(a, (size_t)(b - a));
	KTAP_REQUIRE(have);
	KTAP_CHECK(!strcmp(have, want), "have:\n%swant:\n%s", have, want);
	free(have);
}

#define L "union=\"/merged\",container=\"c1\",engine=\"kernel\",result=\"ok\""
#define BUCKET(le, n) "kunion_copyup_seconds_bucket{" L ",le=\"" le "\"} " #n "\n"

KTAP_TEST(exact_text)
{
	struct ku_counts c = some("/merged", "c1", "kernel", "ok");
	struct ku_openmetrics *om = ku_om_new(10);
	struct ku_om_session s = session();
	char *text;

	KTAP_REQUIRE(om);
	ku_om_begin(om);
	KTAP_CHECK(ku_om_count(om, &c) == 0);
	text = written(om, &s);
	KTAP_CHECK(!strncmp(text, "# TYPE kunion_copyups ", 22));
	part_is(text, "# TYPE kunion_copyups", "# TYPE kunion_wait_seconds",
		"# TYPE kunion_copyups counter\n"
		"# HELP kunion_copyups Copy-ups that came to an end.\n"
		"kunion_copyups_total{" L "} 3\n"
		"# TYPE kunion_copyup_bytes counter\n"
		"# UNIT kunion_copyup_bytes bytes\n"
		"# HELP kunion_copyup_bytes Data that copy-ups copied or cloned.\n"
		"kunion_copyup_bytes_total{" L "} 4096\n"
		"# TYPE kunion_copyup_seconds histogram\n"
		"# UNIT kunion_copyup_seconds seconds\n"
		"# HELP kunion_copyup_seconds How long copy-ups took.\n"
		BUCKET("0.000016", 1) BUCKET("0.000064", 2) BUCKET("0.000256", 2) BUCKET("0.001024", 2) BUCKET("0.004096", 2)
		BUCKET("0.016384", 2) BUCKET("0.065536", 2) BUCKET("0.262144", 2) BUCKET("1.048576", 2) BUCKET("4.194304", 2)
		BUCKET("16.777216", 2) BUCKET("67.108864", 2) BUCKET("268.435456", 2) BUCKET("+Inf", 3)
		"kunion_copyup_seconds_sum{" L "} 1.500000001\n"
		"kunion_copyup_seconds_count{" L "} 3\n"
		"# TYPE kunion_waits counter\n"
		"# HELP kunion_waits Waits that copy-ups caused.\n"
		"kunion_waits_total{" L "} 2\n");
	/* The bucket below 2^n us belongs to the bound 2^n us, the first and the last bound too. */
	KTAP_CHECK(has(text, "kunion_wait_seconds_bucket{" L ",le=\"0.000016\"} 1\n"));
	KTAP_CHECK(has(text, "kunion_wait_seconds_bucket{" L ",le=\"67.108864\"} 1\n"));
	KTAP_CHECK(has(text, "kunion_wait_seconds_bucket{" L ",le=\"268.435456\"} 2\n"));
	KTAP_CHECK(has(text, "kunion_wait_seconds_sum{" L "} 0.000000007\n"));
	part_is(text, "# TYPE kunion_stalls", "# EOF",
		"# TYPE kunion_stalls counter\n"
		"# HELP kunion_stalls Of the waits, those for a directory.\n"
		"kunion_stalls_total{" L "} 1\n"
		"# TYPE kunion_dropped_events counter\n"
		"# HELP kunion_dropped_events Events that could not be told; all counters above are exact all the same.\n"
		"kunion_dropped_events_total{kind=\"copyup\"} 1\n"
		"kunion_dropped_events_total{kind=\"wait\"} 2\n"
		"kunion_dropped_events_total{kind=\"write\"} 3\n"
		"kunion_dropped_events_total{kind=\"other\"} 4\n"
		"# TYPE kunion_parked gauge\n"
		"# HELP kunion_parked Tasks that kunion keeps waiting now.\n"
		"kunion_parked 5\n"
		"# TYPE kunion_pending_slots gauge\n"
		"# HELP kunion_pending_slots Pending entries in use.\n"
		"kunion_pending_slots 6\n"
		"# TYPE kunion_pending_slots_limit gauge\n"
		"# HELP kunion_pending_slots_limit Pending entries there are; beyond them operations are the kernel's.\n"
		"kunion_pending_slots_limit 512\n"
		"# TYPE kunion_active gauge\n"
		"# HELP kunion_active Copy-ups and waits under way in the kernel's tables.\n"
		"kunion_active 7\n"
		"# TYPE kunion_active_limit gauge\n"
		"# HELP kunion_active_limit Room of these tables; what is beyond is counted as dropped.\n"
		"kunion_active_limit 8192\n"
		"# TYPE kunion_unions gauge\n"
		"# HELP kunion_unions Attached unions.\n"
		"kunion_unions{mode=\"observe\",tier=\"park\"} 2\n");
	KTAP_CHECK(!strcmp(text + strlen(text) - 6, "# EOF\n"));
	free(text);
	ku_om_free(om);
}

KTAP_TEST(hooks_only_when_counted)
{
	struct ku_om_session s = session();
	struct ku_openmetrics *om = ku_om_new(10);
	char *text;

	KTAP_REQUIRE(om);
	s.gauges.nhooks = 2;
	s.gauges.hooks[0] = (struct ku_hook){ .name = "ku_copy_up" };
	s.gauges.hooks[1] = (struct ku_hook){ .name = "ku_file_open" };
	ku_om_begin(om);
	text = written(om, &s);
	KTAP_CHECK(!strstr(text, "hook"));
	free(text);
	s.gauges.hooks[1].runs = 9;
	s.gauges.hooks[1].ns = 12000000345;
	text = written(om, &s);
	part_is(text, "# TYPE kunion_hook_runs", "# TYPE kunion_unions",
		"# TYPE kunion_hook_runs counter\n"
		"# HELP kunion_hook_runs Runs of BPF programs.\n"
		"kunion_hook_runs_total{hook=\"ku_copy_up\"} 0\n"
		"kunion_hook_runs_total{hook=\"ku_file_open\"} 9\n"
		"# TYPE kunion_hook_seconds counter\n"
		"# UNIT kunion_hook_seconds seconds\n"
		"# HELP kunion_hook_seconds Time in BPF programs.\n"
		"kunion_hook_seconds_total{hook=\"ku_copy_up\"} 0.000000000\n"
		"kunion_hook_seconds_total{hook=\"ku_file_open\"} 12.000000345\n");
	free(text);
	ku_om_free(om);
}

KTAP_TEST(escaping)
{
	struct ku_counts c = some("/a\"b\\c\nd\xff\xc3\xa4", "", "kunion", "lost");
	struct ku_openmetrics *om = ku_om_new(10);
	struct ku_om_session s = session();
	char *text;

	KTAP_REQUIRE(om);
	ku_om_begin(om);
	KTAP_CHECK(ku_om_count(om, &c) == 0);
	text = written(om, &s);
	/* The backslash doubled as in the events, then each of these once more as a label. */
	KTAP_CHECK(has(text, "kunion_copyups_total{union=\"/a\\\"b\\\\\\\\c\\nd\\\\xff\xc3\xa4\",container=\"\","
			     "engine=\"kunion\",result=\"lost\"} 3\n"));
	free(text);
	ku_om_free(om);
}

/* Cgroups of one container are one set of labels. */
KTAP_TEST(cgroups_are_summed)
{
	struct ku_counts c = some("/merged", "c1", "kernel", "ok");
	struct ku_openmetrics *om = ku_om_new(10);
	struct ku_om_session s = session();
	char *text;

	KTAP_REQUIRE(om);
	ku_om_begin(om);
	KTAP_CHECK(ku_om_count(om, &c) == 0);
	c.cgroup = "/x/y";
	KTAP_CHECK(ku_om_count(om, &c) == 0);
	text = written(om, &s);
	KTAP_CHECK(has(text, "kunion_copyups_total{" L "} 6\n"));
	KTAP_CHECK(has(text, "kunion_copyup_bytes_total{" L "} 8192\n"));
	KTAP_CHECK(has(text, BUCKET("+Inf", 6)));
	KTAP_CHECK(has(text, "kunion_copyup_seconds_sum{" L "} 3.000000002\n"));
	KTAP_CHECK(has(text, "kunion_waits_total{" L "} 4\n"));
	KTAP_CHECK(has(text, "kunion_wait_seconds_sum{" L "} 0.000000014\n"));
	KTAP_CHECK(has(text, "kunion_wait_seconds_count{" L "} 4\n"));
	KTAP_CHECK(has(text, "kunion_stalls_total{" L "} 2\n"));
	free(text);
	ku_om_free(om);
}

static unsigned int lines_with(const char *text, const char *what)
{
	unsigned int n = 0;

	for (text = strstr(text, what); text; text = strstr(text + 1, what))
		n++;
	return n;
}

#define REST "union=\"other\",container=\"other\",engine=\"kernel\",result=\""

/* So many sets and no more; each keeps its place, whatever order they come in, and gives it up when it is counted no more. */
KTAP_TEST(bounded)
{
	char name[3][3] = { "c1", "c2", "c3" };
	struct ku_openmetrics *om = ku_om_new(2);
	struct ku_om_session s = session();
	struct ku_counts c;
	char *text;

	KTAP_REQUIRE(om);
	for (unsigned int round = 0; round < 3; round++) {
		bool last = round == 2;

		ku_om_begin(om);
		/* The last time without the first. */
		for (unsigned int i = last; i < 3; i++) {
			c = some("/merged", name[round == 1 ? 2 - i : i], "kernel", "ok");
			KTAP_CHECK(ku_om_count(om, &c) == 0);
		}
		c = some("/more", "c4", "kernel", "ok");
		KTAP_CHECK(ku_om_count(om, &c) == 0);
		c.result = "failed";
		KTAP_CHECK(ku_om_count(om, &c) == 0);
		text = written(om, &s);
		KTAP_CHECK(lines_with(text, "\nkunion_copyups_total{") == (last ? 3 : 4), "round %u", round);
		KTAP_CHECK(!strstr(text, "container=\"c1\"") == last, "round %u", round);
		KTAP_CHECK(has(text, "container=\"c2\""));
		KTAP_CHECK(!strstr(text, "container=\"c3\"") && !strstr(text, "container=\"c4\""), "round %u", round);
		KTAP_CHECK(has(text, "kunion_copyups_total{" REST "ok\"} 6\n"));
		KTAP_CHECK(has(text, "kunion_copyups_total{" REST "failed\"} 3\n"));
		free(text);
	}
	/* The place of c1 is free since the last reading. */
	ku_om_begin(om);
	for (unsigned int i = 1; i < 3; i++) {
		c = some("/merged", name[i], "kernel", "ok");
		KTAP_CHECK(ku_om_count(om, &c) == 0);
	}
	text = written(om, &s);
	KTAP_CHECK(has(text, "container=\"c3\""));
	KTAP_CHECK(!strstr(text, "container=\"other\""));
	free(text);
	ku_om_free(om);
}

/* A strict reader: what the format's grammar does not have ends it. */

struct reader {
	char name[64], type[16];
	bool unit, help, samples;
	/* of a histogram */
	char series[4096];
	double le, below, inf; /* the last bound, its count; inf < 0: not seen yet */
	unsigned int nsamples, nhists;
	bool eof;
};

static const char *take_name(const char *s, char out[static 64])
{
	size_t n = 0;

	KTAP_REQUIRE(isalpha((unsigned char)*s) || *s == '_', "no name: %.60s", s);
	while (isalnum((unsigned char)s[n]) || s[n] == '_')
		n++;
	KTAP_REQUIRE(n < 64);
	snprintf(out, 64, "%.*s", (int)n, s);
	return s + n;
}

/* {a="b",c="d"}: all but le go into series. */
static const char *take_labels(const char *s, char *series, size_t size, char le[static 64])
{
	size_t used = 0;
	char key[64];

	series[0] = le[0] = '\0';
	if (*s != '{')
		return s;
	do {
		const char *value;

		s = take_name(s + 1, key);
		KTAP_REQUIRE(s[0] == '=' && s[1] == '"', "%.60s", s);
		value = s += 2;
		for (; *s != '"'; s++) {
			KTAP_REQUIRE(*s && *s != '\n', "a label does not end");
			if (*s == '\\') {
				s++;
				KTAP_REQUIRE(*s == '\\' || *s == '"' || *s == 'n', "escape \\%c", *s);
			}
		}
		if (!strcmp(key, "le")) {
			snprintf(le, 64, "%.*s", (int)(s - value), value);
		} else {
			used += (size_t)snprintf(series + used, size - used, "%s=%.*s,", key, (int)(s - value), value);
			KTAP_REQUIRE(used < size);
		}
		s++;
	} while (*s == ',');
	KTAP_REQUIRE(*s == '}', "%.60s", s);
	return s + 1;
}

static void read_comment(struct reader *r, const char *line)
{
	char name[64], word[16];
	const char *rest;
	size_t n, u;

	KTAP_REQUIRE(sscanf(line, "# %15[A-Z] ", word) == 1, "%s", line);
	rest = take_name(line + 3 + strlen(word), name);
	KTAP_REQUIRE(*rest++ == ' ', "%s", line);
	n = strlen(name);
	u = strlen(rest);
	if (!strcmp(word, "TYPE")) {
		KTAP_CHECK(!r->name[0] || r->samples, "%s has no samples", r->name);
		snprintf(r->name, sizeof(r->name), "%s", name);
		snprintf(r->type, sizeof(r->type), "%s", rest);
		r->unit = r->help = r->samples = false;
		r->series[0] = '\0';
		KTAP_CHECK(!strcmp(rest, "counter") || !strcmp(rest, "gauge") || !strcmp(rest, "histogram"), "%s", line);
		return;
	}
	KTAP_CHECK(!strcmp(name, r->name) && !r->samples, "out of place: %s", line);
	if (!strcmp(word, "UNIT")) {
		KTAP_CHECK(!r->unit && n > u && !strcmp(name + n - u, rest) && name[n - u - 1] == '_', "%s", line);
		r->unit = true;
		return;
	}
	KTAP_CHECK(!strcmp(word, "HELP") && !r->help && u, "%s", line);
	r->help = true;
}

static void read_hist(struct reader *r, const char *suffix, const char *series, const char *le, double value, const char *line)
{
	if (!strcmp(suffix, "_bucket")) {
		if (!r->series[0] || r->inf >= 0) {
			snprintf(r->series, sizeof(r->series), "%s", series);
			r->le = r->below = 0;
			r->inf = -1;
		}
		KTAP_CHECK(!strcmp(series, r->series), "%s", line);
		KTAP_CHECK(value >= r->below && strtod(le, NULL) > r->le, "%s", line);
		r->below = value;
		r->le = strtod(le, NULL);
		if (isinf(r->le))
			r->inf = value;
		return;
	}
	KTAP_CHECK(!le[0] && r->inf >= 0 && !strcmp(series, r->series), "%s", line);
	if (strcmp(suffix, "_count")) {
		KTAP_CHECK(!strcmp(suffix, "_sum"), "%s", line);
		return;
	}
	KTAP_CHECK(value == r->inf, "%s", line);
	r->nhists++;
}

static void read_sample(struct reader *r, const char *line)
{
	char name[64], series[4096], le[64], *end;
	const char *at = take_labels(take_name(line, name), series, sizeof(series), le), *suffix;
	double value;

	KTAP_REQUIRE(*at == ' ', "%s", line);
	value = strtod(at + 1, &end);
	KTAP_REQUIRE(!*end && end > at + 1 && value >= 0, "%s", line);
	KTAP_REQUIRE(r->help && !strncmp(name, r->name, strlen(r->name)), "%s outside its family", line);
	suffix = name + strlen(r->name);
	r->samples = true;
	r->nsamples++;
	if (!strcmp(r->type, "histogram"))
		read_hist(r, suffix, series, le, value, line);
	else
		KTAP_CHECK(!strcmp(suffix, !strcmp(r->type, "counter") ? "_total" : ""), "%s", line);
}

KTAP_TEST(strict_reader)
{
	static struct reader r;
	struct ku_openmetrics *om = ku_om_new(4);
	struct ku_om_session s = session();
	char *text, *line, *save;

	KTAP_REQUIRE(om);
	ku_om_begin(om);
	for (int i = 0; i < 9; i++) {
		char name[32];
		struct ku_counts c;

		snprintf(name, sizeof(name), "/u%d/\n\"\\\xfe", i);
		c = some(name, i % 2 ? "" : "web", i % 3 ? "guard" : "kernel", i % 3 == 2 ? "failed" : "ok");
		c.copyup_hist[31] = 5;
		KTAP_CHECK(ku_om_count(om, &c) == 0);
	}
	s.gauges.nhooks = 1;
	s.gauges.hooks[0] = (struct ku_hook){ .name = "h", .runs = 1 };
	text = written(om, &s);
	KTAP_CHECK(text[strlen(text) - 1] == '\n');
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		KTAP_REQUIRE(!r.eof, "behind # EOF: %s", line);
		if (!strcmp(line, "# EOF"))
			r.eof = true;
		else if (*line == '#')
			read_comment(&r, line);
		else
			read_sample(&r, line);
	}
	KTAP_CHECK(r.eof);
	KTAP_CHECK(r.nsamples > 60 && r.nhists == 2 * (4 + 3), "%u samples, %u histograms", r.nsamples, r.nhists);
	free(text);
	ku_om_free(om);
}

KTAP_TEST(full_disk_is_told)
{
	struct ku_openmetrics *om = ku_om_new(4);
	struct ku_om_session s = session();
	FILE *f = fopen("/dev/full", "we");

	KTAP_REQUIRE(om && f);
	ku_om_begin(om);
	KTAP_CHECK(ku_om_write(om, &s, f) == -EIO);
	fclose(f);
	ku_om_free(om);
}

KTAP_TEST(file_is_replaced_whole)
{
	char *big = calloc(1, 1 << 20);
	struct stat before;

	KTAP_REQUIRE(big);
	memset(big, 'x', (1 << 20) - 1);
	unit_place();
	unit_tmpfs("/tmp/small", "size=64k,mode=0755");
	umask(077);
	KTAP_CHECK(ku_om_save("/tmp/small/k.prom", "one\n", 4) == 0);
	KTAP_CHECK(unit_has_text("/tmp/small/k.prom", "one\n"));
	before = unit_stat("/tmp/small/k.prom");
	KTAP_CHECK((before.st_mode & 07777) == 0644, "mode %o", before.st_mode);
	KTAP_CHECK(ku_om_save("/tmp/small/k.prom", "two\n", 4) == 0);
	KTAP_CHECK(unit_has_text("/tmp/small/k.prom", "two\n"));
	/* Another file: who reads the old one reads it to its end. */
	KTAP_CHECK(unit_stat("/tmp/small/k.prom").st_ino != before.st_ino);
	KTAP_CHECK(ku_om_save("/tmp/small/k.prom", big, 1 << 20) == -ENOSPC);
	KTAP_CHECK(unit_has_text("/tmp/small/k.prom", "two\n"));
	KTAP_CHECK(unit_count("/tmp/small") == 1);
	KTAP_CHECK(ku_om_save("/tmp/no/k.prom", "x", 1) == -ENOENT);
	KTAP_REQUIRE(mkdir("/tmp/small/dir", 0755) == 0);
	KTAP_CHECK(ku_om_save("/tmp/small/dir", "x", 1) == -EISDIR);
	KTAP_CHECK(unit_count("/tmp/small") == 2);
	free(big);
}

KTAP_MAIN()
