// SPDX-License-Identifier: GPL-2.0-only
/* kunion report, from recorded events to what it prints: text, JSON, the lists, the page's file; and bad words. */
#include <json-c/json.h>
#include <sys/sysmacros.h>

#include "command.h"
#include "scene.h"
#include "text.h"
#include "util.h"

#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define EVENTS "/tmp/events"
#define REPORT(...) COMMAND(ku_cmd_report, "report", __VA_ARGS__)

static FILE *events;

static void begin(void)
{
	unit_place();
	setenv("LC_ALL", "C.UTF-8", 1);
	events = fopen(EVENTS, "we");
	KTAP_REQUIRE(events);
}

static void put(struct ku_event e)
{
	char *line = ku_event_json(&e);

	KTAP_REQUIRE(line && fprintf(events, "%s\n", line) > 0);
	free(line);
}

static void recorded(void)
{
	KTAP_REQUIRE(fclose(events) == 0);
}

/* The stall of the main job: dd copies /dir/big, rm waits for it with the directory locked, five touch wait for that. */
static void stall_scene(void)
{
	struct ku_event e = scene_union("metacopy=off,index=off,redirect_dir=off,nfs_export=off,xino=off,volatile=off");

	put(e);
	e = scene_copyup(5, "/dir/big");
	e.copyup.who = scene_who(10, "dd");
	e.copyup.size = e.copyup.bytes = 512 * MIB;
	e.copyup.total_us = 1500000;
	e.copyup.lock_us = 10;
	e.copyup.copy_us = 599990;
	e.copyup.fsync_us = 900000;
	put(e);
	e = scene_wait(5, 1300000);
	e.path = "/dir/big";
	e.wait.who = scene_who(20, "rm");
	e.wait.op = "remove";
	e.wait.on = "inode";
	e.wait.holder = scene_who(10, "dd");
	e.wait.holder_op = "open";
	put(e);
	for (uint32_t i = 0; i < 5; i++) {
		e = scene_wait(5, 1200000 - i * 1000);
		e.wait.who = scene_who(30 + i, "touch");
		put(e);
	}
	e = scene_copyup(6, "/usr/lib/libx.so.1");
	e.copyup.who.container = CONTAINER;
	e.copyup.who.runtime = "docker";
	e.copyup.op = "chown";
	e.copyup.syscall = "fchownat";
	e.copyup.result = "ENOSPC";
	e.copyup.bytes = 0;
	e.copyup.total_us = 70;
	put(e);
	put(scene_changed(5, "/dir/big", 4096));
	e = scene_totals(4, 3);
	e.totals = (struct ku_ev_totals){
		.copyups = 4, .bytes = 512 * MIB, .failed = 2, .copyup_us = 1500080, .waits = 7, .wait_us = 7300000, .missing = 3
	};
	put(e);
	put(scene_dropped(3));
}

static const char stall_text[] =
	"kunion report: " EVENTS "\n"
	"2026-11-22 18:00:00 to 2026-11-22 18:00:01 UTC (1.5 s)\n"
	"! 3 events were lost; totals are exact, lists are not.\n"
	"\n"
	"Union\n"
	"  /merged\n"
	"      lower    /lower\n"
	"      upper    /upper\n"
	"               ext4, 10 MiB free of 20 MiB, files cannot be cloned\n"
	"      options  metacopy=off, index=off, redirect_dir=off, nfs_export=off,\n"
	"               xino=off, volatile=off\n"
	"\n"
	"Totals\n"
	"                 copy-ups   failed     bytes      time    waits    waited\n"
	"  exact                 4        2   512 MiB     1.5 s        7     7.3 s\n"
	"  from events           2        1   512 MiB     1.5 s        6    7.29 s\n"
	"  Copied against changed: of 512 MiB copied, 4 KiB were written into the copies\n"
	"  so far (1 copy-up watched).\n"
	"  Where the time went: queued 0 us, inode lock 10 us, copying 600 ms, fsync 900\n"
	"  ms, commit 0 us.\n"
	"\n"
	"By cause\n"
	" copy-ups    bytes     time    waits   waited\n"
	"        1  512 MiB    1.5 s        0     0 us  open (openat)\n"
	"        1      0 B    70 us        0     0 us  chown (fchownat) [1 failed]\n"
	"\n"
	"By container or cgroup\n"
	" copy-ups    bytes     time    waits   waited\n"
	"        1  512 MiB    1.5 s        6   7.29 s  /user.slice\n"
	"        1      0 B    70 us        0     0 us  0123456789ab (docker) [1 failed]\n"
	"\n"
	"By directory (.. with those below it that are not listed)\n"
	" copy-ups    bytes     time    waits   waited\n"
	"        1  512 MiB    1.5 s        6   7.29 s  /dir\n"
	"        1      0 B    70 us        0     0 us  /usr/lib [1 failed]\n"
	"\n"
	"By extension\n"
	" copy-ups    bytes     time    waits   waited\n"
	"        1  512 MiB    1.5 s        0     0 us  (none)\n"
	"        1      0 B    70 us        0     0 us  so [1 failed]\n"
	"\n"
	"By kind\n"
	" copy-ups    bytes     time    waits   waited\n"
	"        2  512 MiB    1.5 s        0     0 us  file [1 failed]\n"
	"\n"
	"By what became of the data\n"
	" copy-ups    bytes     time    waits   waited\n"
	"        2  512 MiB    1.5 s        0     0 us  copied [1 failed]\n"
	"\n"
	"By who copied\n"
	" copy-ups    bytes     time    waits   waited\n"
	"        2  512 MiB    1.5 s        0     0 us  kernel [1 failed]\n"
	"\n";

static const char stall_waits[] =
	"Waits by what was waited for\n"
	"    waits   waited  longest\n"
	"        5   5.99 s    1.2 s  a directory's lock\n"
	"        1    1.3 s    1.3 s  the file's overlay inode\n"
	"\n"
	"Waits by holder\n"
	"    waits   waited  longest\n"
	"        5   5.99 s    1.2 s  rm (remove, /user.slice)\n"
	"        1    1.3 s    1.3 s  dd (open, /user.slice)\n"
	"\n"
	"Worst stalls\n"
	"  1. 1.3 s: rm[20] remove of /dir/big waited for the file's overlay inode, held\n"
	"     by dd[10] open, which copied /dir/big (512 MiB, 1.5 s).\n"
	"  2. 1.2 s: touch[30] create in /dir waited for the directory, held by rm[20]\n"
	"     remove, which waited 1.3 s for dd[10], which copied /dir/big (512 MiB, 1.5\n"
	"     s).\n"
	"     4 more waited for the same; 5.99 s in all.\n"
	"\n"
	"Advice\n"
	"  1. Run kunion in guard or manage mode\n"
	"     Why: 5 operations waited 5.99 s for a directory that was locked during a\n"
	"          copy-up; the worst one waited 1.2 s for /dir, held by remove of rm\n"
	"          during the copy-up of /dir/big.\n"
	"     Do:  Keep this running beside the workload: kunion run -m guard /merged (or\n"
	"          -m manage, to have the large files copied by kunion).\n"
	"     But: Needs Linux 6.18 or later (kunion doctor says). With guard the kernel\n"
	"          still makes the copies; with manage kunion does, and st_ino of those\n"
	"          files changes.\n"
	"  2. Keep big files that change a little outside the union\n"
	"     Why: /dir/big: 512 MiB were copied, and then 4 KiB written.\n"
	"     Do:  Mount a volume there (-v NAME:PATH), or a tmpfs (--tmpfs PATH) for\n"
	"          what may be lost: /dir.\n";

/* No line is wider than this, whatever the names are. */
static void narrow(unsigned int columns)
{
	char *copy = strdup(out), *save;

	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		KTAP_CHECK(ku_text_columns(line) <= columns, "%s", line);
	free(copy);
}

KTAP_TEST(text)
{
	const char *hist, *waits;

	begin();
	stall_scene();
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS) == KU_EXIT_OK && !*err, "%s", err);
	KTAP_CHECK(!strncmp(out, stall_text, strlen(stall_text)), "%s", out);
	hist = strstr(out, "How long\n     less than   copy-ups                            waits\n"
			   "        128 us          1 ####################           0\n");
	KTAP_CHECK(hist, "%s", out);
	KTAP_CHECK(hist && strstr(hist, "        2.1 s          1 ####################           6 ####################\n\n"), "%s", hist);
	waits = strstr(out, "Waits by what");
	KTAP_CHECK(waits && !strncmp(waits, stall_waits, strlen(stall_waits)), "%s", waits);
	narrow(80);
}

KTAP_TEST(nothing)
{
	static const char want[] = "kunion report: " EVENTS "\n\nTotals\n"
				   "                 copy-ups   failed     bytes      time    waits    waited\n"
				   "  from events           0        0       0 B      0 us        0      0 us\n"
				   "  There are no exact totals for all of it.\n"
				   "  Nothing was copied up, and nobody waited.\n"
				   "\nAdvice\n  None: nothing was seen that there is a remedy for.\n";

	begin();
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS) == KU_EXIT_OK && !*err, "%s", err);
	KTAP_CHECK(!strcmp(out, want), "%s", out);
	KTAP_CHECK(REPORT("--from", EVENTS, "--writable-paths") == KU_EXIT_OK);
	KTAP_CHECK(!strcmp(out, "# no write events were seen (kunion trace --json --writes records them): what was only made or removed is "
				"not in this list\n# nothing was "
				"written\n"),
		   "%s", out);
	KTAP_CHECK(REPORT("--from", EVENTS, "--hydrate-list") == KU_EXIT_OK && !*out && !*err);
}

/* Names that are long, not text, or would command the terminal; several unions; many rows. */
KTAP_TEST(odd_names)
{
	char path[512] = "/";

	begin();
	memset(path + 1, 'd', 200);
	strcpy(path + 201, "/end");
	for (unsigned int i = 1; i <= KU_AN_ROWS + 10; i++) {
		struct ku_event e = scene_copyup(i, path);
		char cgroup[32];

		snprintf(cgroup, sizeof(cgroup), "/g%u", i);
		e.copyup.who.cgroup = cgroup;
		e.union_path = i % 2 ? "/one\x1b[31m" : "/two";
		e.copyup.result = i % 3 ? "ok" : "EIO";
		put(e);
	}
	put((struct ku_event){ .type = KU_EV_UNION, .union_path = "/two", .path = "",
			       .mount = { .lower = path, .upper = "/u\nU", .options = "", .upper_fs = "" } });
	for (unsigned int i = 0; i < 2; i++) {
		struct ku_event e = scene_wait(0, 200000);

		e.path = i ? path : "/\xff\xfe/\xe2\x82\xac";
		e.wait.who.comm = "bad\nname";
		put(e);
	}
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS) == KU_EXIT_OK && !*err, "%s", err);
	KTAP_CHECK(!strchr(out, '\x1b') && strstr(out, "[1] /one\\x1b[31m\n") && strstr(out, "[2] /two\n"), "%s", out);
	KTAP_CHECK(strstr(out, "bad\\x0aname[30] create in /\\xff\\xfe/\xe2\x82\xac waited"), "%s", out);
	KTAP_CHECK(strstr(out, "/u\\x0aU"));
	KTAP_CHECK(strstr(out, "  (11 more) [5 failed]\n"), "%s", out);
	KTAP_CHECK(strstr(out, "  [1] /d...ddddddddddddd [5 failed]\n"), "%s", strstr(out, "By directory"));
	KTAP_CHECK(strstr(out, "-m guard /merged"));
}

/* A file that no kunion wrote: names of a megabyte, as deep as that and without a blank. */
KTAP_TEST(huge_names)
{
	static const char *const modes[] = { "--writable-paths", "--hydrate-list", "--json", "-v" };
	size_t size = 1 << 20;
	char *path = calloc(1, size + 1);
	struct ku_event e = scene_copyup(1, path);

	begin();
	for (size_t i = 0; i < size; i++)
		path[i] = i % 2 ? 'd' : '/';
	put(e);
	e = scene_wait(1, 1000000);
	e.path = path;
	put(e);
	put(scene_write("create", "dir", path, ""));
	put(scene_write("rename", "file", "/a/b", path));
	memset(path, 'x', size);
	e.wait.copyup_path = e.wait.who.comm = path;
	put(e);
	recorded();
	for (size_t i = 0; i < KU_ARRAY_SIZE(modes); i++)
		KTAP_CHECK(REPORT("--from", EVENTS, modes[i]) == KU_EXIT_OK && *out, "%s: %.200s", modes[i], err);
	KTAP_CHECK(strstr(out, "(not known)"));
	KTAP_CHECK(REPORT("--from", EVENTS, "--writable-paths") == KU_EXIT_OK);
	KTAP_CHECK(strstr(out, "# there was no room for 3 events' paths: this list may lack them\n") && strstr(out, "\n-v a:/a\n"), "%s",
		   out);
	free(path);
}

KTAP_TEST(lost)
{
	struct ku_event e;

	begin();
	put(scene_totals(4, 0));
	put(scene_dropped(1200));
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS) == KU_EXIT_OK);
	KTAP_CHECK(strstr(out, "\n! 1,200 events were lost; totals are exact, lists are not.\n"), "%s", out);
	KTAP_CHECK(REPORT("--from", EVENTS, "--writable-paths") == KU_EXIT_OK);
	KTAP_CHECK(!strncmp(out, "# 1,200 events were lost; totals are exact, lists are not: this list may lack paths\n", 83), "%s", out);
	KTAP_CHECK(REPORT("--from", EVENTS, "--hydrate-list") == KU_EXIT_OK && !*out);
	KTAP_CHECK(!strcmp(err, "kunion: report: 1,200 events were lost; totals are exact, lists are not: this one may lack files\n"), "%s",
		   err);
	KTAP_CHECK(REPORT("--from", EVENTS, "--json") == KU_EXIT_OK);
	KTAP_CHECK(strstr(out, "\"lost\":1200,") && strstr(out, "\"warning\":\"1,200 events were lost; totals are exact, lists are not\""),
		   "%s", out);
	for (const char *const *list = (const char *const[]){ "--writable-paths", "--hydrate-list", NULL }; *list; list++) {
		KTAP_CHECK(REPORT("--from", EVENTS, *list, "--json") == KU_EXIT_OK);
		KTAP_CHECK(strstr(out, "\"lost\":1200,"), "%s", out);
	}
	/* Without totals nothing is exact. */
	begin();
	e = scene_copyup(1, "/f");
	put(e);
	put(scene_dropped(1));
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS) == KU_EXIT_OK);
	KTAP_CHECK(strstr(out, "\n! 1 event was lost; neither totals nor lists are complete.\n"), "%s", out);
	KTAP_CHECK(strstr(out, "There are no exact totals") && !strstr(out, "  exact"));
}

KTAP_TEST(filtered)
{
	begin();
	stall_scene();
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS, "--path", "/usr/**") == KU_EXIT_OK && !*err, "%s", err);
	KTAP_CHECK(strstr(out, "\n! The events are a selection; the exact totals count everything.\n"), "%s", out);
	KTAP_CHECK(strstr(out, "  exact                 4        2 ") && strstr(out, "  from events           1        1 "), "%s", out);
}

/* The number at a path of keys. */
static int64_t number(struct json_object *obj, const char *keys)
{
	char *copy = strdup(keys), *save;

	for (char *key = strtok_r(copy, ".", &save); key && obj; key = strtok_r(NULL, ".", &save)) {
		if (json_object_is_type(obj, json_type_array))
			obj = json_object_array_get_idx(obj, (size_t)atoi(key));
		else if (!json_object_object_get_ex(obj, key, &obj))
			obj = NULL;
	}
	free(copy);
	return obj ? json_object_get_int64(obj) : -1;
}

static const char *string(struct json_object *obj, const char *list, size_t i, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(obj, list, &v))
		return "";
	if (json_object_is_type(v, json_type_object) && !json_object_object_get_ex(v, "rows", &v))
		return "";
	v = json_object_array_get_idx(v, i);
	return v && json_object_object_get_ex(v, key, &v) ? json_object_get_string(v) : "";
}

KTAP_TEST(json)
{
	struct json_object *doc;

	begin();
	stall_scene();
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS, "--json") == KU_EXIT_OK && !*err, "%s", err);
	doc = json_tokener_parse(out);
	KTAP_REQUIRE(doc, "%s", out);
	KTAP_CHECK(number(doc, "exact.copyups") == 4 && number(doc, "exact.wait_us") == 7300000);
	KTAP_CHECK(number(doc, "seen.copyups") == 2 && number(doc, "seen.failed") == 1 && number(doc, "seen.waits") == 6);
	KTAP_CHECK(number(doc, "lost") == 3 && number(doc, "dropped.copyups") == 2 && number(doc, "missing") == 3);
	KTAP_CHECK(number(doc, "changed.copied") == (int64_t)(512 * MIB) && number(doc, "changed.written") == 4096);
	KTAP_CHECK(number(doc, "phases.fsync_us") == 900000);
	KTAP_CHECK(!strcmp(string(doc, "unions", 0, "upper_fs"), "ext4"));
	KTAP_CHECK(!strcmp(string(doc, "by_cause", 0, "op"), "open") && !strcmp(string(doc, "by_cause", 0, "syscall"), "openat"));
	KTAP_CHECK(!strcmp(string(doc, "by_container", 1, "container"), CONTAINER));
	KTAP_CHECK(!strcmp(string(doc, "by_directory", 0, "directory"), "/dir"));
	KTAP_CHECK(!strcmp(string(doc, "by_holder", 0, "comm"), "rm") && number(doc, "by_holder.rows.0.wait_us") == 5990000);
	KTAP_CHECK(number(doc, "by_cause.more") == 0 && number(doc, "by_cause.rest.copyups") == 0);
	KTAP_CHECK(number(doc, "copyup_histogram.0.below_us") == 128 && number(doc, "copyup_histogram.0.from_us") == 64);
	KTAP_CHECK(number(doc, "copyup_histogram.0.count") == 1 && number(doc, "wait_histogram.0.count") == 6);
	KTAP_CHECK(number(doc, "stalls.1.waiter.pid") == 30 && number(doc, "stalls.1.holder.pid") == 20);
	KTAP_CHECK(number(doc, "stalls.1.holder_wait_us") == 1300000 && number(doc, "stalls.1.copyup.pid") == 10);
	KTAP_CHECK(number(doc, "stalls.1.copyup.total_us") == 1500000 && number(doc, "stalls.1.waits") == 5);
	KTAP_CHECK(!strcmp(string(doc, "stalls", 1, "ts"), "2026-11-22T18:00:00.001000Z"));
	KTAP_CHECK(number(doc, "timeline.copyups.0.nwaits") == 6 && number(doc, "timeline.copyups.0.waits.5.wait_us") > 0);
	KTAP_CHECK(number(doc, "timeline.more") == 0);
	KTAP_CHECK(!strcmp(string(doc, "advice", 0, "name"), "guard") && *string(doc, "advice", 0, "do"));
	json_object_put(doc);
}

KTAP_TEST(writable_paths)
{
	struct json_object *doc;

	begin();
	put(scene_write("create", "file", "/var/lib/app/f", ""));
	put(scene_write("create", "file", "/tmp/f", ""));
	put(scene_write("create", "file", "/top", ""));
	put(scene_copyup(1, "/etc/conf"));
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS, "--writable-paths") == KU_EXIT_OK && !*err, "%s", err);
	KTAP_CHECK(!strcmp(out, "# -v NAME:DIR: a new named volume begins with what the image has in DIR\n"
				"# -v ./NAME:FILE: copy FILE out of the image to ./NAME first\n"
				"# /merged\n"
				"--tmpfs /tmp\n"
				"-v var-lib-app:/var/lib/app\n"
				"-v ./etc-conf:/etc/conf\n"
				"# /top: made in the root directory, for which there is no mount: let it be made elsewhere\n"),
		   "%s", out);
	KTAP_CHECK(REPORT("--from", EVENTS, "--writable-paths", "--json") == KU_EXIT_OK);
	doc = json_tokener_parse(out);
	KTAP_REQUIRE(doc, "%s", out);
	KTAP_CHECK(number(doc, "writes") == 3 && number(doc, "lost") == 0);
	KTAP_CHECK(!strcmp(string(doc, "writable_paths", 0, "kind"), "tmpfs") &&
		   !strcmp(string(doc, "writable_paths", 0, "option"), "--tmpfs /tmp"));
	KTAP_CHECK(!strcmp(string(doc, "writable_paths", 1, "kind"), "volume") && !strcmp(string(doc, "writable_paths", 2, "kind"), "fil"
																    "e"));
	KTAP_CHECK(!strcmp(string(doc, "writable_paths", 3, "kind"), "remark") && !*string(doc, "writable_paths", 3, "option"));
	KTAP_CHECK(!strcmp(string(doc, "writable_paths", 3, "union"), "/merged") && !strcmp(string(doc, "writable_paths", 3, "path"), "/to"
																      "p"));
	json_object_put(doc);
}

KTAP_TEST(hydrate_list)
{
	struct json_object *doc;
	struct ku_event e;

	begin();
	e = scene_copyup(20, "/second");
	put(e);
	e = scene_copyup(10, "/first\nline \\ \xff\xc3\xa4");
	e.copyup.data = "cloned";
	put(e);
	put(e);
	e = scene_copyup(30, "/meta");
	e.copyup.data = "metadata";
	put(e);
	e = scene_copyup(31, "/dir");
	e.copyup.kind = "dir";
	put(e);
	e = scene_copyup(32, "/failed");
	e.copyup.result = "EIO";
	put(e);
	e = scene_copyup(33, "/lost");
	e.copyup.result = "lost";
	put(e);
	e = scene_copyup(34, "/nowhere");
	e.union_path = "";
	put(e);
	e = scene_copyup(5, "/in/root");
	e.union_path = "/";
	put(e);
	recorded();
	KTAP_CHECK(REPORT("--from", EVENTS, "--hydrate-list") == KU_EXIT_OK && !*err, "%s", err);
	KTAP_CHECK(!strcmp(out, "/in/root\n/merged/first\\x0aline \\\\ \\xff\xc3\xa4\n/merged/second\n"), "%s", out);
	KTAP_CHECK(REPORT("--from", EVENTS, "--hydrate-list", "--json") == KU_EXIT_OK);
	doc = json_tokener_parse(out);
	KTAP_REQUIRE(doc, "%s", out);
	KTAP_CHECK(!strcmp(string(doc, "files", 1, "path"), "/first\nline \\\\ \\xff\xc3\xa4") && number(doc, "files.1.copyups") == 2);
	KTAP_CHECK(!strcmp(string(doc, "files", 2, "first"), "2026-11-22T18:00:00.020000Z"));
	KTAP_CHECK(!strcmp(string(doc, "files", 3, "path"), "/nowhere") && !*string(doc, "files", 4, "path"));
	json_object_put(doc);
}

/* The page takes its name when it is whole; a symlink to it stays one, a device is not replaced. */
KTAP_TEST(html)
{
	struct stat st;
	char *page;

	begin();
	stall_scene();
	recorded();
	KTAP_REQUIRE(mkdir("/tmp/pages", 0755) == 0);
	unit_text("/tmp/pages/old.html", "old");
	KTAP_REQUIRE(symlink("old.html", "/tmp/pages/link.html") == 0);
	KTAP_CHECK(REPORT("--from", EVENTS, "--html", "/tmp/pages/link.html") == KU_EXIT_OK && !*err && !*out, "%s", err);
	page = unit_read("/tmp/pages/old.html", NULL);
	KTAP_CHECK(strstr(page, "<html") && strstr(page, "</html>") && strstr(page, "/dir/big"), "%.80s", page);
	free(page);
	KTAP_CHECK(S_ISLNK(unit_stat("/tmp/pages/link.html").st_mode));
	st = unit_stat("/tmp/pages/old.html");
	KTAP_CHECK((st.st_mode & 07777) == 0644, "%o", st.st_mode);
	KTAP_CHECK(unit_count("/tmp/pages") == 2);
	KTAP_CHECK(REPORT("--from", EVENTS, "--html", "/tmp/pages/new.html", "--json") == KU_EXIT_OK && out[0] == '{');
	KTAP_CHECK(unit_count("/tmp/pages") == 3 && unit_stat("/tmp/pages/new.html").st_size == st.st_size);
	KTAP_CHECK(REPORT("--from", EVENTS, "--html", "-") == KU_EXIT_OK && strstr(out, "</html>"));
	KTAP_REQUIRE(mknod("/tmp/pages/null", S_IFCHR | 0666, makedev(1, 3)) == 0);
	KTAP_CHECK(REPORT("--from", EVENTS, "--html", "/tmp/pages/null") == KU_EXIT_OK);
	KTAP_CHECK(S_ISCHR(unit_stat("/tmp/pages/null").st_mode));
}

KTAP_TEST(html_fails)
{
	char size[64];

	begin();
	stall_scene();
	recorded();
	/* All of the page finds room but its end. */
	KTAP_REQUIRE(REPORT("--from", EVENTS, "--html", "/tmp/page") == KU_EXIT_OK);
	snprintf(size, sizeof(size), "size=%lld", (long long)unit_stat("/tmp/page").st_size / 4096 * 4096 + 4096);
	unit_tmpfs("/tmp/full", size);
	KTAP_REQUIRE(mkdir("/tmp/full/dir", 0755) == 0);
	unit_text("/tmp/full/page", "old");
	/* Not even begun: nothing was read for it. */
	command_refused(REPORT("--from", EVENTS, "--html", "/tmp/none/page"), "--html '/tmp/none/page': No such file or directory");
	command_refused(REPORT("--from", EVENTS, "--html", "/tmp/full/dir"), "--html '/tmp/full/dir': Is a directory");
	command_refused(REPORT("--from", EVENTS, "--html", ""), "--html ''");
	/* A page that cannot be whole leaves the old one. */
	KTAP_CHECK(REPORT("--from", EVENTS, "--html", "/tmp/full/page") == KU_EXIT_FAIL);
	KTAP_CHECK(!strcmp(err, "kunion: report: cannot write '/tmp/full/page': No space left on device\n"), "%s", err);
	KTAP_CHECK(unit_has_text("/tmp/full/page", "old") && unit_count("/tmp/full") == 2);
}

KTAP_TEST(bad_words)
{
	begin();
	stall_scene();
	recorded();
	command_refused(REPORT("--from", EVENTS, "--writable-paths", "--hydrate-list"), "not both");
	command_refused(REPORT("--from", EVENTS, "--writable-paths", "--html", "/tmp/x"), "--html");
	command_refused(REPORT("--from", EVENTS, "--hydrate-list", "--html", "/tmp/x"), "--html");
	command_refused(REPORT("--from", EVENTS, "--json", "--html", "-"), "stdout");
	command_refused(REPORT("--from", "/tmp/none"), "/tmp/none");
	command_refused(REPORT("--html", "/tmp/x"), "MERGED");
	command_refused(REPORT("--bad"), "--bad");
	KTAP_CHECK(!unit_exists("/tmp/x"));
	KTAP_CHECK(REPORT("--help") == KU_EXIT_OK && strstr(out, "--writable-paths") && strstr(out, "--from"), "%s", out);
}

KTAP_MAIN()
