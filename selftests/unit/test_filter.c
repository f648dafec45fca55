// SPDX-License-Identifier: GPL-2.0-only
/* Globs, and which events pass. */
#include "filter.h"

#include "ktap.h"
#include "util.h"

#define ID "3f2a1b0c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8"

KTAP_TEST(globs)
{
	static const struct {
		const char *glob, *path;
		bool match;
	} t[] = {
		{ "/a", "/a", true },
		{ "/a", "/ab", false },
		{ "/a", "/b", false },
		{ "/ab", "/a", false },
		{ "/", "/", true },
		{ "", "", true },
		{ "", "/a", false },
		{ "/a", "", false },
		/* Within a name. */
		{ "/*", "/a", true },
		{ "/*", "/", true },
		{ "/*", "/a/b", false },
		{ "/*/b", "/a/b", true },
		{ "/*/b", "/a/c/b", false },
		{ "/a*", "/a", true },
		{ "/a*c", "/abbc", true },
		{ "/a*c", "/ab/c", false },
		{ "/a*b*c", "/axbxbyc", true },
		{ "/a*b*c", "/axbxby", false },
		{ "/*a*b", "/xaxaxb", true },
		{ "/?", "/a", true },
		{ "/?", "/", false },
		{ "/a?b", "/a/b", false },
		{ "/a?b", "/axb", true },
		{ "/?x", "/\xc3\xa4x", true },	   /* a letter of two bytes */
		{ "/??x", "/\xc3\xa4x", false },
		{ "/?x", "/\x84x", true },	   /* a byte that is no letter */
		{ "/*x", "/\xc3\xa4x", true },
		{ "/*??", "/\xe2\x82\xac", false },  /* one letter, also behind a star */
		{ "/*?", "/\xe2\x82\xac", true },
		{ "/*\xac", "/\xe2\x82\xac", true }, /* bytes are as the glob has them */
		{ "/*??", "/\x82\xac", true },
		/* Across. */
		{ "/**", "/a", true },
		{ "/**", "/a/b/c", true },
		{ "**", "/a/b/c", true },
		{ "/a/**", "/a/b", true },
		{ "/a/**", "/a/b/c", true },
		{ "/a/**", "/a", false },
		{ "/a/**", "/b/c", false },
		{ "/**/c", "/a/b/c", true },
		{ "/**/c", "/c", true },
		{ "/**/c", "/a/xc", false },
		{ "/**/c", "/a/c/d", false },
		{ "/**/c", "/c/d/c", true },
		{ "/a/**/c", "/a/c", true },
		{ "/a/**/c", "/a/x/y/c", true },
		{ "/a/**/c", "/ac", false },
		{ "/a/**/b/*", "/a/b/b/x", true },
		{ "/a/**/b/*", "/a/b/x/b/y", true },
		{ "/a/**/b/*.c", "/a/b/x/b/y.h", false },
		{ "/a/**/x*y", "/a/x/xzy", true },
		{ "/**.db", "/a/b.db", true },
		{ "/a**z", "/ab/c/z", true },
		{ "/a**/z", "/ab/c/z", true },
		{ "/a**/z", "/az", false },
		{ "/a***z", "/a/b/z", true },
		{ "/**/a/**/b/**", "/x/a/y/b/z", true },
		{ "/**/a/**/b/**", "/x/a/y/c/z", false },
		{ "/*/**/x", "/a/b/x", true },
		{ "/*/**/x", "/a/x", true },
		{ "/*/**/x", "/x", false },
		/* Anywhere. */
		{ "*.db", "/x.db", true },
		{ "*.db", "/a/b/x.db", true },
		{ "*.db", "/a/x.db/y", false },
		{ "b/c", "/a/b/c", true },
		{ "b/c", "/b/c", true },
		{ "b/c", "/a/xb/c", false },
		{ "x*y", "/a/b/xy", true },
		/* As it is. */
		{ "/\\*", "/*", true },
		{ "/\\*", "/a", false },
		{ "/\\?", "/?", true },
		{ "/\\?", "/a", false },
		{ "/a\\\\b", "/a\\b", true },
		{ "/a\\", "/a\\", true },
		{ "/[a]", "/[a]", true },
		{ "/[a]", "/a", false },
		{ "/\\**\\*", "/*x*", true },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++)
		KTAP_CHECK(ku_glob_match(t[i].glob, t[i].path) == t[i].match, "'%s' and '%s'", t[i].glob, t[i].path);
}

/* The definition, written as plainly as can be. */
static bool slow(const char *g, const char *p, bool at_start)
{
	if (g[0] == '*' && g[1] == '*') {
		const char *rest = g + strspn(g, "*");
		bool whole = at_start && *rest == '/';

		if (whole && slow(rest + 1, p, true))
			return true;
		for (const char *q = p;; q++) {
			/* Whole directories only, if it stands for such. */
			if (whole ? q > p && q[-1] == '/' && slow(rest + 1, q, true) : slow(rest, q, false))
				return true;
			if (!*q)
				return false;
		}
	}
	if (*g == '*') {
		for (;; p++) {
			if (slow(g + 1, p, false))
				return true;
			if (!*p || *p == '/')
				return false;
		}
	}
	if (!*g || !*p)
		return !*g && !*p;
	return (*g == '?' ? *p != '/' : *g == *p) && slow(g + 1, p + 1, *g == '/');
}

KTAP_TEST(globs_by_their_definition)
{
	uint64_t seed = 7, matched = 0;

	for (int n = 0; n < 300000; n++) {
		char glob[10] = "/", path[12] = "/";
		size_t g, p;
		bool want;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		g = 1 + (seed >> 40) % 8;
		p = 1 + (seed >> 50) % 10;
		for (size_t i = 1; i < g; i++)
			glob[i] = "ab/**?*/"[(seed >> (3 * i + 4)) % 8];
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		for (size_t i = 1; i < p; i++)
			path[i] = "ab/a"[(seed >> (2 * i + 20)) % 4];
		want = slow(glob, path, false);
		matched += want;
		if (ku_glob_match(glob, path) != want) {
			KTAP_CHECK(false, "'%s' and '%s': should be %d", glob, path, want);
			return;
		}
	}
	KTAP_CHECK(matched > 3000 && matched < 290000, "%llu matched", (unsigned long long)matched);
}

/* Many stars must not take forever. */
KTAP_TEST_LIMIT(globs_are_fast, 5)
{
	char glob[2048] = "/", path[4096] = "/";

	for (size_t i = 0; i < 500; i++)
		strcat(glob, i % 2 ? "**a" : "*a");
	strcat(glob, "b");
	memset(path + 1, 'a', sizeof(path) - 2);
	KTAP_CHECK(!ku_glob_match(glob, path));
}

#define NOBODY { .comm = "", .cgroup = "", .container = "", .runtime = "" }

static struct ku_event copyup(void)
{
	return (struct ku_event){
		.type = KU_EV_COPYUP,
		.union_path = "/merged",
		.path = "/dir/big.db",
		.copyup = { .id = 1, .kind = "file", .op = "open", .syscall = "", .engine = "kernel", .data = "copied", .result = "ok",
			    .who = { .pid = 10, .tid = 11, .comm = "dd", .cgroup = "/system.slice/docker-" ID ".scope/init.scope",
				     .container = ID, .runtime = "docker" },
			    .size = 5000, .bytes = 4096, .total_us = 2000 },
	};
}

static struct ku_event waited(void)
{
	return (struct ku_event){
		.type = KU_EV_WAIT,
		.union_path = "/merged",
		.path = "/dir",
		.wait = { .op = "create", .syscall = "", .on = "dir", .holder_op = "remove", .copyup_id = 1, .copyup_path = "/dir/big.db",
			  .copyup_pid = 30, .copyup_comm = "dd", .wait_us = 2000, .result = "released",
			  .who = { .pid = 10, .tid = 11, .comm = "sh", .cgroup = "/a.slice/w", .container = "web", .runtime = "nspawn" },
			  .holder = { .pid = 20, .tid = 21, .comm = "rm", .cgroup = "/b.slice/h", .container = ID, .runtime = "docker" } },
	};
}

#define MATCH(e, ...) ku_filter_match(&(struct ku_filter){ __VA_ARGS__ }, (e))

KTAP_TEST(copyups)
{
	struct ku_event e = copyup();

	KTAP_CHECK(MATCH(&e, .pid = 0));
	KTAP_CHECK(MATCH(&e, .pid = 10));
	KTAP_CHECK(MATCH(&e, .pid = 11));
	KTAP_CHECK(!MATCH(&e, .pid = 12));
	KTAP_CHECK(MATCH(&e, .container = ID));
	KTAP_CHECK(MATCH(&e, .container = "3f2a"));
	KTAP_CHECK(!MATCH(&e, .container = "f2a"));
	KTAP_CHECK(!MATCH(&e, .container = ID "0"));
	KTAP_CHECK(MATCH(&e, .cgroup = "/system.slice/docker-" ID ".scope"));
	KTAP_CHECK(MATCH(&e, .cgroup = "/system.slice/docker-" ID ".scope/init.scope"));
	KTAP_CHECK(MATCH(&e, .cgroup = "/system.slice"));
	KTAP_CHECK(MATCH(&e, .cgroup = "/system.slice/"));
	KTAP_CHECK(MATCH(&e, .cgroup = "/"));
	KTAP_CHECK(!MATCH(&e, .cgroup = "/system.slic"));
	KTAP_CHECK(!MATCH(&e, .cgroup = "/system.slice/docker-" ID ".scope/init.scope/x"));
	KTAP_CHECK(MATCH(&e, .union_path = "/merged"));
	KTAP_CHECK(!MATCH(&e, .union_path = "/merge"));
	KTAP_CHECK(MATCH(&e, .path = "/dir/*.db"));
	KTAP_CHECK(!MATCH(&e, .path = "/*.db"));
	KTAP_CHECK(MATCH(&e, .min_bytes = 4096));
	KTAP_CHECK(!MATCH(&e, .min_bytes = 4097));
	KTAP_CHECK(MATCH(&e, .min_ns = 2000000));
	KTAP_CHECK(!MATCH(&e, .min_ns = 2001000));
	/* All of them together. */
	KTAP_CHECK(MATCH(&e, .pid = 10, .container = "3f2a", .cgroup = "/system.slice", .union_path = "/merged", .path = "*.db"));
	KTAP_CHECK(!MATCH(&e, .pid = 10, .container = "web"));
	KTAP_CHECK(!MATCH(&e, .pid = 9, .container = ID));
	/* A name is not told by its beginning, nor is nothing. */
	e.copyup.who.container = "web2";
	KTAP_CHECK(!MATCH(&e, .container = "web"));
	KTAP_CHECK(MATCH(&e, .container = "web2"));
	e.copyup.who.container = "deadbeef";
	KTAP_CHECK(!MATCH(&e, .container = "dead"), "a short name of such letters is a name");
	e.copyup.who.container = "";
	e.copyup.who.cgroup = "";
	KTAP_CHECK(!MATCH(&e, .container = "web"));
	KTAP_CHECK(!MATCH(&e, .cgroup = "/"));
}

KTAP_TEST(waits)
{
	struct ku_event e = waited();

	KTAP_CHECK(MATCH(&e, .pid = 10) && MATCH(&e, .pid = 11) && MATCH(&e, .pid = 20) && MATCH(&e, .pid = 21) && MATCH(&e, .pid = 30));
	KTAP_CHECK(!MATCH(&e, .pid = 31));
	KTAP_CHECK(MATCH(&e, .container = "web") && MATCH(&e, .container = "3f2a") && !MATCH(&e, .container = "db"));
	KTAP_CHECK(MATCH(&e, .cgroup = "/a.slice") && MATCH(&e, .cgroup = "/b.slice") && !MATCH(&e, .cgroup = "/c.slice"));
	/* Of one and the same task. */
	KTAP_CHECK(MATCH(&e, .pid = 10, .cgroup = "/a.slice") && !MATCH(&e, .pid = 10, .cgroup = "/b.slice"));
	KTAP_CHECK(!MATCH(&e, .pid = 30, .cgroup = "/b.slice"), "nothing is known of the copier's cgroup");
	KTAP_CHECK(MATCH(&e, .path = "/dir") && MATCH(&e, .path = "*.db") && !MATCH(&e, .path = "/other"));
	KTAP_CHECK(MATCH(&e, .min_bytes = UINT64_MAX), "a wait has no bytes");
	KTAP_CHECK(MATCH(&e, .min_ns = 2000000) && !MATCH(&e, .min_ns = 2001000));
	KTAP_CHECK(!MATCH(&e, .union_path = "/other"));
	/* A holder that is not known is nobody. */
	e.wait.holder = (struct ku_who)NOBODY;
	e.wait.copyup_pid = 0;
	KTAP_CHECK(!MATCH(&e, .cgroup = "/b.slice") && !MATCH(&e, .pid = 20) && MATCH(&e, .pid = 10));
}

KTAP_TEST(others)
{
	struct ku_event e = { .type = KU_EV_DROPPED, .union_path = "", .path = "" };

	KTAP_CHECK(MATCH(&e, .pid = 1, .container = "x", .cgroup = "/x", .union_path = "/x", .path = "/x", .min_bytes = 1, .min_ns = 1000));
	e.union_path = "/merged";
	KTAP_CHECK(!MATCH(&e, .union_path = "/x"));
	e.type = KU_EV_TOTALS;
	KTAP_CHECK(MATCH(&e, .pid = 1, .path = "/x", .min_ns = 1000) && !MATCH(&e, .union_path = "/x"));
	e.type = KU_EV_UNION;
	KTAP_CHECK(MATCH(&e, .pid = 1, .path = "/x", .min_ns = 1000) && !MATCH(&e, .union_path = "/x"));
	e.type = KU_EV_CHANGED;
	e.path = "/f";
	KTAP_CHECK(MATCH(&e, .pid = 1, .container = "x", .min_bytes = 1, .path = "/f") && !MATCH(&e, .path = "/x"));
	KTAP_CHECK(!MATCH(&e, .union_path = "/x"));
	e.type = KU_EV_WRITE;
	e.write = (struct ku_ev_write){ .op = "rename", .kind = "file", .path2 = "/g", .who = NOBODY };
	e.write.who.pid = 5;
	KTAP_CHECK(MATCH(&e, .pid = 5) && !MATCH(&e, .pid = 6) && MATCH(&e, .path = "/f") && MATCH(&e, .path = "/g"));
	KTAP_CHECK(!MATCH(&e, .path = "/h") && MATCH(&e, .min_bytes = 1, .min_ns = 1000));
}

KTAP_MAIN()
