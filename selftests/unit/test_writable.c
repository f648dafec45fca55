// SPDX-License-Identifier: GPL-2.0-only
/* --writable-paths: which directories and files stand for all that a workload writes. */
#include "writable.h"

#include "scene.h"
#include "util.h"

/* Names in a directory, for those tests that may look: 'n' of them; -1 elsewhere. */
struct look {
	const char *dir;
	long n;
};

static long looked(void *arg, const char *union_path, const char *dir)
{
	const struct look *l = arg;

	(void)union_path;
	for (; l && l->dir; l++)
		if (!strcmp(l->dir, dir))
			return l->n;
	return -1;
}

static struct ku_writable *begin(void)
{
	struct ku_writable *w;

	KTAP_REQUIRE(ku_writable_new(&w) == 0);
	return w;
}

static void add(struct ku_writable *w, struct ku_event e)
{
	KTAP_REQUIRE(ku_writable_add(w, &e) == 0);
}

/* "create", "remove", "modify" of files; a directory ends with '/'. "a>b" is a rename. */
static void writes(struct ku_writable *w, const char *op, const char *path)
{
	char from[256], *to;
	size_t len;

	snprintf(from, sizeof(from), "%s", path);
	to = strchr(from, '>');
	if (to)
		*to++ = '\0';
	len = strlen(from);
	if (from[len - 1] == '/' && len > 1) {
		from[len - 1] = '\0';
		add(w, scene_write(op, "dir", from, to ? to : ""));
	} else {
		add(w, scene_write(op, "file", from, to ? to : ""));
	}
}

static void copies(struct ku_writable *w, const char *op, const char *kind, const char *path, uint32_t tid)
{
	struct ku_event e = scene_copyup(1, path);

	e.copyup.op = op;
	e.copyup.kind = kind;
	e.copyup.who.tid = tid;
	add(w, e);
}

/* Finishes it; these are the lines, each followed by '\n'. */
static void lines_are(struct ku_writable *w, const struct look *look, const char *want)
{
	char have[4096] = "";

	KTAP_REQUIRE(ku_writable_finish(w, looked, (void *)look) == 0);
	for (size_t i = 0; i < w->n; i++) {
		strcat(have, w->entries[i].option);
		strcat(have, "\n");
	}
	KTAP_CHECK(!strcmp(have, want), "%s", have);
	ku_writable_free(w);
}

KTAP_TEST(nothing)
{
	struct ku_writable *w = begin();
	struct ku_event e = scene_wait(1, 2);

	add(w, e);
	e = scene_copyup(1, "");
	add(w, e);
	lines_are(w, NULL, "");
	ku_writable_free(NULL);
}

/* Where names are made, removed or renamed, the directory must be writable; with all below it. */
KTAP_TEST(names)
{
	struct ku_writable *w = begin();

	writes(w, "create", "/var/lib/app/new");
	writes(w, "create", "/var/lib/app/dir/");
	writes(w, "create", "/var/lib/app/dir/deep");
	writes(w, "modify", "/var/lib/app/old");
	writes(w, "remove", "/srv/a/gone");
	writes(w, "rename", "/opt/x/from>/opt/y/to");
	writes(w, "link", "/usr/lib/kept"); /* to a name that is told by itself */
	lines_are(w, NULL, "-v opt-x:/opt/x\n-v opt-y:/opt/y\n-v srv-a:/srv/a\n-v var-lib-app:/var/lib/app\n");
}

KTAP_TEST(files)
{
	struct ku_writable *w = begin();

	copies(w, "open", "dir", "/etc", 1); /* on the way to the file */
	copies(w, "open", "file", "/etc/app.conf", 1);
	writes(w, "modify", "/etc/other.conf");
	copies(w, "chmod", "file", "/usr/bin/tool", 1);
	lines_are(w, NULL, "-v ./etc-app.conf:/etc/app.conf\n-v ./etc-other.conf:/etc/other.conf\n-v ./usr-bin-tool:/usr/bin/tool\n");
}

/* What the workload made itself needs nothing more when it is changed. */
KTAP_TEST(made_then_changed)
{
	struct ku_writable *w = begin();

	writes(w, "create", "/var/lib/f");
	writes(w, "modify", "/var/lib/f");
	writes(w, "rename", "/var/lib/f>/srv/data/g");
	writes(w, "modify", "/srv/data/g");
	lines_are(w, NULL, "-v srv-data:/srv/data\n-v var-lib:/var/lib\n");
}

KTAP_TEST(tmpfs)
{
	static const struct look look[] = { { "/var/cache/full", 5 }, { "/var/cache/own", 1 }, { 0 } };
	struct ku_writable *w = begin();

	writes(w, "create", "/tmp/x");
	writes(w, "create", "/run/app.pid");
	writes(w, "create", "/var/cache/full/x"); /* four others are there */
	writes(w, "create", "/var/cache/own/x");
	writes(w, "create", "/home/u/.cache/a/x");
	writes(w, "create", "/var/lock/x");
	writes(w, "remove", "/var/run/old"); /* it came from the image */
	copies(w, "open", "file", "/var/tmp/from-image", 1);
	writes(w, "create", "/var/tmp/x");
	writes(w, "create", "/var/tmpfiles/x");
	copies(w, "create", "dir", "/srv/cache/from-image", 1);
	writes(w, "create", "/srv/cache/x");
	writes(w, "create", "/etc/passwd.lock");
	writes(w, "remove", "/etc/passwd.lock");
	lines_are(w, look,
		  "--tmpfs /home/u/.cache/a\n--tmpfs /run\n--tmpfs /tmp\n--tmpfs /var/cache/own\n--tmpfs /var/lock\n"
		  "-v etc:/etc\n-v srv-cache:/srv/cache\n-v var-cache-full:/var/cache/full\n-v var-run:/var/run\n-v var-tmp:/var/tmp\n-v "
		  "var-tmpfiles:/var/tmpfiles\n");
}

/* A directory stands for many changed files in it; not "/", nor one right below it. */
KTAP_TEST(many_files)
{
	struct ku_writable *w = begin();
	char path[64];

	for (unsigned int i = 0; i < KU_WRITABLE_FILES; i++) {
		snprintf(path, sizeof(path), "/var/db/f%u", i);
		copies(w, "open", "file", path, 1);
		snprintf(path, sizeof(path), "/etc/f%u", i);
		if (i)
			copies(w, "open", "file", path, 1);
	}
	for (unsigned int i = 0; i < KU_WRITABLE_FILES - 1; i++) {
		snprintf(path, sizeof(path), "/var/few/f%u", i);
		copies(w, "open", "file", path, 1);
	}
	lines_are(w, NULL,
		  "-v var-db:/var/db\n-v ./etc-f1:/etc/f1\n-v ./etc-f2:/etc/f2\n-v ./etc-f3:/etc/f3\n"
		  "-v ./var-few-f0:/var/few/f0\n-v ./var-few-f1:/var/few/f1\n-v ./var-few-f2:/var/few/f2\n");

	w = begin();
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/etc/f%u", i);
		copies(w, "open", "file", path, 1);
	}
	KTAP_REQUIRE(ku_writable_finish(w, NULL, NULL) == 0);
	KTAP_CHECK(w->n == 100 && w->entries[0].kind == KU_WRITABLE_FILE);
	ku_writable_free(w);
}

/* chown -R: directories of directories of files. */
KTAP_TEST(whole_tree)
{
	struct ku_writable *w = begin();
	char path[64];

	for (unsigned int i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), "/var/lib/app/d%u/e%u/f%u", i / 16, i / 4, i);
		copies(w, "chown", "file", path, 1);
	}
	lines_are(w, NULL, "-v var-lib-app:/var/lib/app\n");
}

/* A directory does not stand for much that nobody wrote. */
KTAP_TEST(untouched)
{
	static const struct look half[] = { { "/var/db", 2 * KU_WRITABLE_FILES }, { 0 } };
	static const struct look less[] = { { "/var/db", 2 * KU_WRITABLE_FILES + 1 }, { 0 } };

	for (int much = 0; much < 2; much++) {
		struct ku_writable *w = begin();
		char path[64];

		for (unsigned int i = 0; i < KU_WRITABLE_FILES; i++) {
			snprintf(path, sizeof(path), "/var/db/f%u", i);
			copies(w, "open", "file", path, 1);
		}
		lines_are(w, much ? half : less,
			  much ? "-v var-db:/var/db\n"
			       : "-v ./var-db-f0:/var/db/f0\n-v ./var-db-f1:/var/db/f1\n-v ./var-db-f2:/var/db/f2\n-v "
				 "./var-db-f3:/var/db/f3\n");
	}
}

/* A directory's own copy-up says what happened in it, if it was not on the way to another. */
KTAP_TEST(directories_copied_up)
{
	struct ku_writable *w = begin();

	copies(w, "create", "dir", "/a", 1);
	copies(w, "create", "dir", "/a/b", 1);
	copies(w, "create", "dir", "/a/b/c", 1); /* here the name was made */
	copies(w, "chmod", "dir", "/d", 2);
	copies(w, "chmod", "dir", "/d/e", 2); /* this one was changed */
	copies(w, "open", "dir", "/f", 3);
	copies(w, "remove", "dir", "/a", 4); /* another task, in /a itself */
	copies(w, "chmod", "dir", "/g", 5);
	copies(w, "chmod", "file", "/g/f", 6); /* another task's */
	lines_are(w, NULL, "-v a:/a\n-v d-e:/d/e\n-v g:/g\n");
}

KTAP_TEST(lost_and_failed)
{
	struct ku_writable *w = begin();
	struct ku_event e = scene_copyup(1, "/var/a");

	e.copyup.result = "lost";
	add(w, e);
	e.path = "/var/b";
	e.copyup.result = "ENOSPC"; /* it wanted to */
	add(w, e);
	lines_are(w, NULL, "-v ./var-b:/var/b\n");
}

KTAP_TEST(root)
{
	struct ku_writable *w = begin();

	writes(w, "create", "/data/");
	writes(w, "create", "/data/deep/");
	writes(w, "create", "/data/deep/f");
	writes(w, "create", "/file");
	writes(w, "create", "/gone");
	writes(w, "remove", "/gone");
	writes(w, "remove", "/old");
	writes(w, "create", "/made/");
	writes(w, "modify", "/");
	copies(w, "open", "file", "/.profile", 1);
	lines_are(w, NULL,
		  "-v data:/data\n-v made:/made\n-v ./profile:/.profile\n"
		  "# /: the root directory itself is changed, and there is no mount for it\n"
		  "# /file: made in the root directory, for which there is no mount: let it be made elsewhere\n"
		  "# /gone: made in the root directory, for which there is no mount: let it be made elsewhere\n"
		  "# /old: removed from the root directory, for which there is no mount\n");
}

/* Names that a shell or an option would take for something else. */
KTAP_TEST(odd_names)
{
	struct ku_writable *w = begin();

	writes(w, "create", "/srv/a b/f");
	writes(w, "create", "/srv/it's/f");
	writes(w, "create", "/srv/a-b/f");
	writes(w, "create", "/srv/$x/f");
	writes(w, "create", "/srv/co:lon/f");
	writes(w, "create", "/srv/new\nline/f");
	writes(w, "create", "/srv/\xff/f");
	writes(w, "create", "/tmp/a b/f");
	writes(w, "create", "/---/f");
	lines_are(w, NULL,
		  "--tmpfs '/tmp/a b'\n"
		  "-v volume:/---\n-v 'srv--x:/srv/$x'\n-v 'srv-a-b:/srv/a b'\n-v srv-a-b-2:/srv/a-b\n-v 'srv-it-s:/srv/it'\\''s'\n"
		  "# /srv/co:lon: names are made, removed or renamed in it, but no option can take such a name\n"
		  "# /srv/new\\x0aline: names are made, removed or renamed in it, but no option can take such a name\n"
		  "# /srv/\\xff: names are made, removed or renamed in it, but no option can take such a name\n");
}

KTAP_TEST(unions)
{
	struct ku_writable *w = begin();
	struct ku_event e = scene_write("create", "file", "/srv/a/x", "");

	e.union_path = "/two";
	add(w, e);
	e.union_path = "/one";
	e.path = "/var/lib/x";
	add(w, e);
	KTAP_REQUIRE(ku_writable_finish(w, NULL, NULL) == 0);
	KTAP_REQUIRE(w->n == 2 && w->writes == 2);
	KTAP_CHECK(!strcmp(w->entries[0].union_path, "/one") && !strcmp(w->entries[0].option, "-v var-lib:/var/lib"));
	KTAP_CHECK(!strcmp(w->entries[1].union_path, "/two") && !strcmp(w->entries[1].option, "-v srv-a:/srv/a"));
	ku_writable_free(w);
}

/* Counts what is there, follows no symlink, and does not leave the union. */
KTAP_TEST(look)
{
	unit_place();
	KTAP_REQUIRE(mkdir("/tmp/m", 0755) == 0 && mkdir("/tmp/m/d", 0755) == 0 && mkdir("/tmp/m/d/sub", 0755) == 0);
	unit_text("/tmp/m/d/f", "");
	KTAP_REQUIRE(symlink("d", "/tmp/m/l") == 0);
	KTAP_CHECK(ku_writable_look(NULL, "/tmp/m", "/d") == 2);
	KTAP_CHECK(ku_writable_look(NULL, "/tmp/m", "/d/sub") == 0);
	KTAP_CHECK(ku_writable_look(NULL, "/tmp/m", "/") == 2);
	KTAP_CHECK(ku_writable_look(NULL, "/tmp/m", "/l") == -1);
	KTAP_CHECK(ku_writable_look(NULL, "/tmp/m", "/d/f") == -1);
	KTAP_CHECK(ku_writable_look(NULL, "/tmp/m", "/../m/d") == -1);
	KTAP_CHECK(ku_writable_look(NULL, "/tmp/none", "/d") == -1);
}

KTAP_MAIN()
