// SPDX-License-Identifier: GPL-2.0-only
/* kunion diff: what it lists of each kind of change, and of which mounts. */
#include <json-c/json.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "command.h"

#define U UNIT_UPPER "/u"
#define L UNIT_LOWER
#define M UNIT_MERGED
#define DIFF(...) COMMAND(ku_cmd_diff, "diff", ##__VA_ARGS__)

static void make_dir(const char *path)
{
	KTAP_REQUIRE(!mkdir(path, 0755), "%s", path);
}

static void layers(void)
{
	unit_layers();
	make_dir(L "/d");
	make_dir(L "/d/e");
	make_dir(L "/gone");
	unit_text(L "/d/f", "data of f");
	unit_text(L "/d/g", "data of g");
	unit_text(L "/d/e/h", "data of h");
	unit_text(L "/d/i", "data of i");
	unit_text(L "/gone/j", "data of j");
	KTAP_REQUIRE(!symlink("f", L "/d/link"));
	for (const char *const *f = (const char *const[]){ L "/d/f", L "/d/g", L "/d/i", NULL }; *f; f++)
		unit_set_time(*f, 1700000000, 0);
}

/* As it is called on a terminal; the whole of it. */
static void lists(const char *text)
{
	int status = DIFF(M);

	KTAP_CHECK(!status && !*err, "%d %s", status, err);
	KTAP_CHECK(!strcmp(out, text), "%s", out);
}

KTAP_TEST(each_kind_of_change)
{
	layers();
	unit_overlay("redirect_dir=off,metacopy=off");
	lists("");
	/* changed, metadata only, its time only, removed, replaced by another kind, added, and a new directory over an old one */
	unit_text(M "/d/f", "other");
	KTAP_REQUIRE(!chmod(M "/d/g", 0600) && !chown(M "/d/g", 7, 7) && !setxattr(M "/d/g", "trusted.t", "1", 1, 0));
	unit_set_time(M "/d/i", 1600000000, 5);
	KTAP_REQUIRE(!unlink(M "/d/link") && !mkdir(M "/d/link", 0755));
	KTAP_REQUIRE(!unlink(M "/d/e/h"));
	KTAP_REQUIRE(!unlink(M "/gone/j") && !rmdir(M "/gone") && !mkdir(M "/gone", 0755));
	unit_text(M "/gone/new", "1");
	make_dir(M "/new");
	unit_text(M "/new/a\nb", "1");
	KTAP_REQUIRE(!mkfifo(M "/new/fifo", 0600) && !symlink("x", M "/new/link"));
	lists("removed   /d/e/h\n"
	      "changed   /d/f (data, time)\n"
	      "metadata  /d/g (mode, owner, xattrs)\n"
	      "metadata  /d/i (time)\n"
	      "replaced  /d/link (dir)\n"
	      "replaced  /gone (dir)\n"
	      "added     /gone/new\n"
	      "added     /new (dir)\n"
	      "added     /new/a\\x0ab\n"
	      "added     /new/fifo (special)\n"
	      "added     /new/link (symlink)\n");
}

/* As editors save: there is no telling it from a copy, and it is none. */
KTAP_TEST(another_file_of_the_same_kind)
{
	layers();
	unit_overlay(NULL);
	unit_text(M "/d/.f", "saved");
	KTAP_REQUIRE(!rename(M "/d/.f", M "/d/f") && !chmod(M "/d/f", 0600));
	KTAP_REQUIRE(!unlink(M "/d/link") && !symlink("g", M "/d/link"));
	lists("changed   /d/f (data, mode, time)\n"
	      "replaced  /d/link (symlink)\n");
}

/* A whole directory that is gone is one line; a copy-up for nothing is none. */
KTAP_TEST(no_more_than_differs)
{
	int fd;

	layers();
	unit_overlay(NULL);
	KTAP_REQUIRE(!unlink(M "/gone/j") && !rmdir(M "/gone"));
	fd = open(M "/d/f", O_WRONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0);
	close(fd);
	KTAP_CHECK(unit_exists(U "/d/f"));
	lists("removed   /gone (dir)\n");
}

KTAP_TEST(whiteouts_that_are_files)
{
	layers();
	make_dir(U "/d");
	KTAP_REQUIRE(!setxattr(U "/d", "trusted.overlay.opaque", "x", 1, 0));
	unit_text(U "/d/f", "");
	KTAP_REQUIRE(!setxattr(U "/d/f", "trusted.overlay.whiteout", "", 0, 0));
	KTAP_REQUIRE(!mknod(U "/d/g", S_IFCHR, makedev(0, 0)) && !mknod(U "/d/null", S_IFCHR | 0600, makedev(1, 3)));
	unit_overlay(NULL);
	lists("removed   /d/f\n"
	      "removed   /d/g\n"
	      "added     /d/null (special)\n");
}

KTAP_TEST(renamed)
{
	layers();
	unit_overlay("metacopy=on,redirect_dir=on");
	KTAP_REQUIRE(!rename(M "/d/g", M "/elsewhere") && !chmod(M "/d/f", 0600));
	KTAP_REQUIRE(!rename(M "/gone", M "/d/here"));
	unit_text(M "/d/here/j", "other");
	lists("metadata  /d/f (mode)\n"
	      "removed   /d/g\n"
	      "added     /d/here (dir, was /gone)\n"
	      "changed   /d/here/j (data, time)\n"
	      "added     /elsewhere (was /d/g)\n"
	      "removed   /gone (dir)\n");
}

/* Over its own lower directory, which nobody else can see then; read-only, too. */
KTAP_TEST(mounted_over_its_lower_layer)
{
	layers();
	make_dir(M "/d");
	unit_text(M "/d/f", "data of f");
	unit_text(M "/d/g", "data of g");
	if (mount("unit", M, "overlay", 0, "lowerdir=" M ",upperdir=" U ",workdir=" UNIT_UPPER "/w"))
		ktap_skip("no overlayfs in this kernel");
	unit_text(M "/d/f", "other");
	KTAP_REQUIRE(!unlink(M "/d/g"));
	KTAP_REQUIRE(!mount(NULL, M, NULL, MS_REMOUNT | MS_RDONLY | MS_BIND, NULL));
	lists("changed   /d/f (data, time)\n"
	      "removed   /d/g\n");
	KTAP_CHECK(umount(M) == 0, "what is below is held");
}

static struct json_object *get(struct json_object *obj, const char *key)
{
	struct json_object *value = NULL;

	KTAP_REQUIRE(json_object_object_get_ex(obj, key, &value), "%s", key);
	return value;
}

KTAP_TEST(json)
{
	struct json_object *doc, *items, *one;

	layers();
	unit_overlay("redirect_dir=on,metacopy=off");
	KTAP_REQUIRE(!rename(M "/gone", M "/g\xff"));
	unit_text(M "/d/f", "longer data of f");
	KTAP_REQUIRE(!DIFF("--json", M), "%s", err);
	doc = json_tokener_parse(out);
	KTAP_REQUIRE(doc, "%s", out);
	KTAP_CHECK(!strcmp(json_object_get_string(get(doc, "union")), M) && !strcmp(json_object_get_string(get(doc, "upper")), U));
	KTAP_CHECK(!json_object_get_boolean(get(doc, "incomplete")));
	items = get(doc, "items");
	KTAP_REQUIRE(json_object_array_length(items) == 3, "%s", out);
	one = json_object_array_get_idx(items, 0);
	KTAP_CHECK(!strcmp(json_object_get_string(get(one, "path")), "/d/f") && !strcmp(json_object_get_string(get(one, "what")), "changed"));
	KTAP_CHECK(!strcmp(json_object_get_string(get(one, "kind")), "file") && json_object_get_int(get(one, "bytes")) == 16);
	KTAP_CHECK(json_object_array_length(get(one, "differs")) == 2);
	one = json_object_array_get_idx(items, 2);
	KTAP_CHECK(!strcmp(json_object_get_string(get(one, "path")), "/g\\xff"), "%s", out);
	KTAP_CHECK(!strcmp(json_object_get_string(get(one, "moved_from")), "/gone"));
	json_object_put(doc);
}

KTAP_TEST(bad_words)
{
	layers();
	command_refused(DIFF(), "TARGET is missing");
	command_refused(DIFF("/a", "/b"), "'/b' is too many");
	command_refused(DIFF(L), "not an overlay");
	command_refused(DIFF("/tmp/nowhere"), "no such directory");
	unit_overlay(NULL);
	command_refused(DIFF(M "/d"), M);
	/* A layer that cannot be found. */
	KTAP_REQUIRE(!rename(UNIT_UPPER "/u", UNIT_UPPER "/away"));
	command_refused(DIFF(M), "upper directory");
}

KTAP_MAIN()
