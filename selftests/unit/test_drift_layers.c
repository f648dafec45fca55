// SPDX-License-Identifier: GPL-2.0-only
/* kunion report --drift: what overlayfs has in its layers, and trees that are hard to walk. */
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "drift_scene.h"
#include "sys.h"

/* Made by hand: not every kernel has whiteouts that are files, nor makes any. */
KTAP_TEST(whiteouts)
{
	layers();
	make_dir(U "/d");
	make_dir(U "/d/e");
	KTAP_REQUIRE(!mknod(U "/d/never", S_IFCHR, makedev(0, 0)) && !mknod(U "/d/f", S_IFCHR, makedev(0, 0)));
	KTAP_REQUIRE(!mknod(U "/device", S_IFCHR | 0600, makedev(1, 3)));
	unit_text(U "/d/e/h", "");
	KTAP_REQUIRE(!setxattr(U "/d/e/h", "trusted.overlay.whiteout", "", 0, 0));
	KTAP_REQUIRE(!setxattr(U "/d/e", "trusted.overlay.opaque", "x", 1, 0));
	unit_overlay(NULL);
	look();
	is("/d/f", "file", "removed", "");
	is("/d/e/h", "file", "removed", "");
	is("/device", "special", "added", "");
	KTAP_CHECK(items() == 3, "%s", out);
	enough();
}

KTAP_TEST(userxattr)
{
	layers();
	if (setxattr(L "/d/f", "user.test", "1", 1, 0))
		ktap_skip("no user xattrs on tmpfs: %s", strerror(errno));
	unit_overlay("userxattr");
	KTAP_REQUIRE(!unlink(M "/d/e/h") && !rmdir(M "/d/e"));
	make_dir(M "/d/e");
	unit_text(M "/d/e/h", "anew");
	append(M "/d/f");
	look();
	is("/d/e", "dir", "replaced", "");
	is("/d/f", "file", "changed", "data,time");
	KTAP_CHECK(items() == 2, "%s", out);
	/* That mount's own is not the user's. */
	KTAP_REQUIRE(!chmod(M "/d/g", 0600));
	look();
	is("/d/g", "file", "metadata", "mode");
	enough();
}

KTAP_TEST(renamed_directory)
{
	fixture("redirect_dir=on");
	KTAP_REQUIRE(!rename(M "/d", M "/moved"));
	append(M "/moved/e/h");
	make_dir(M "/new");
	make_dir(L "/x");
	unit_text(L "/x/y", "1");
	KTAP_REQUIRE(!rename(M "/x", M "/new/x"));
	append(M "/new/x/y");
	look();
	is("/d", "dir", "removed", "");
	is("/moved", "dir", "added", "");
	KTAP_CHECK(!strcmp(text_of(item("/moved"), "moved_from"), "/d"), "%s", out);
	is("/moved/e/h", "file", "changed", "data,time");
	is("/x", "dir", "removed", "");
	is("/new", "dir", "added", "");
	KTAP_CHECK(number_of(item("/new"), "entries") == 2 && number_of(item("/new"), "bytes") == 5, "%s", out);
	KTAP_CHECK(items() == 5, "%s", out);
	KTAP_CHECK(DRIFT() == 0 && strstr(out, "/moved (dir, was /d)\n"), "%s", out);
	enough();
}

KTAP_TEST(metacopy)
{
	fixture("metacopy=on");
	KTAP_REQUIRE(!chmod(M "/d/f", 0600));
	KTAP_REQUIRE(!rename(M "/d/g", M "/elsewhere"));
	look();
	is("/d/f", "file", "metadata", "mode");
	KTAP_CHECK(number_of(item("/d/f"), "bytes") == 0, "%s", out);
	is("/d/g", "file", "removed", "");
	is("/elsewhere", "file", "added", "");
	KTAP_CHECK(!strcmp(text_of(item("/elsewhere"), "moved_from"), "/d/g"), "%s", out);
	KTAP_CHECK(items() == 3, "%s", out);
	enough();
}

/* The union as it would be without its upper layer is what counts. */
KTAP_TEST(several_lower_layers)
{
	unit_place();
	unit_tmpfs(UNIT_DIR "/all", "mode=0755");
	for (const char *const *d = (const char *const[]){ "top", "top/d", "mid:dle", "mid:dle/d", "low", "low/d", "low/d/sub", "low/was",
							   "top/renamed", "u", "w", NULL };
	     *d; d++) {
		char path[256];

		snprintf(path, sizeof(path), UNIT_DIR "/all/%s", *d);
		make_dir(path);
	}
	make_dir(M);
	unit_text(UNIT_DIR "/all/low/d/hidden", "low");
	unit_text(UNIT_DIR "/all/low/d/two", "low");
	unit_text(UNIT_DIR "/all/mid:dle/d/two", "middle");
	unit_text(UNIT_DIR "/all/low/d/sub/file", "low");
	unit_text(UNIT_DIR "/all/low/was/file", "low");
	KTAP_REQUIRE(!mknod(UNIT_DIR "/all/mid:dle/d/hidden", S_IFCHR, makedev(0, 0)));
	make_dir(UNIT_DIR "/all/mid:dle/d/sub");
	KTAP_REQUIRE(!setxattr(UNIT_DIR "/all/mid:dle/d/sub", "trusted.overlay.opaque", "y", 1, 0));
	KTAP_REQUIRE(!setxattr(UNIT_DIR "/all/top/renamed", "trusted.overlay.redirect", "/was", 4, 0));
	/* Metadata above, data below: neither of the two is the file. */
	unit_text(UNIT_DIR "/all/mid:dle/d/meta", "low");
	unit_text(UNIT_DIR "/all/top/d/meta", "");
	KTAP_REQUIRE(!truncate(UNIT_DIR "/all/top/d/meta", 3) &&
		     !setxattr(UNIT_DIR "/all/top/d/meta", "trusted.overlay.metacopy", "", 0, 0));
	KTAP_REQUIRE(!mount("unit", M, "overlay", 0,
			    "metacopy=on,redirect_dir=on,lowerdir=" UNIT_DIR "/all/top:" UNIT_DIR "/all/mid\\:dle:" UNIT_DIR
			    "/all/low,upperdir=" UNIT_DIR "/all/u,workdir=" UNIT_DIR "/all/w"));
	unit_text(M "/d/hidden", "anew");
	unit_text(M "/d/sub/file", "anew");
	open_only(M "/d/two");
	open_only(M "/d/meta");
	append(M "/renamed/file");
	look();
	is("/d/hidden", "file", "added", "");
	is("/d/sub/file", "file", "added", "");
	is("/d/two", "file", "unchanged copy", "");
	is("/renamed/file", "file", "changed", "data,time");
	is("/d/meta", "file", "unchanged copy", "");
	KTAP_CHECK(json_object_get_boolean(get(item("/d/meta"), "guessed")));
	KTAP_CHECK(items() == 5, "%s", out);
	enough();
}

/* Names in them are in no directory of the union. */
KTAP_TEST(layers_with_only_data)
{
	layers();
	make_dir(UNIT_DIR "/data");
	unit_text(UNIT_DIR "/data/file", "1");
	if (mount("unit", M, "overlay", 0,
		  "metacopy=on,lowerdir=" L "::" UNIT_DIR "/data,upperdir=" U ",workdir=" UNIT_UPPER "/w"))
		ktap_skip("lowerdir with ::: %s", strerror(errno));
	unit_text(M "/file", "1");
	append(M "/d/f");
	look();
	is("/file", "file", "added", "");
	is("/d/f", "file", "changed", "data,time");
	KTAP_CHECK(items() == 2, "%s", out);
	enough();
}

/* As newer programs mount them: each layer for itself, and its name as it is. */
KTAP_TEST(lower_layers_one_by_one)
{
	static const char *const lowers[] = { L, UNIT_DIR "/a:b\\c,d" };
	int fs, mnt, r = 0;

	layers();
	make_dir(lowers[1]);
	unit_text(UNIT_DIR "/a:b\\c,d/second", "1");
	fs = ku_fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0)
		ktap_skip("fsopen: %s", strerror(-fs));
	for (size_t i = 0; i < KU_ARRAY_SIZE(lowers) && !r; i++)
		r = ku_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", lowers[i], 0);
	if (r)
		ktap_skip("lowerdir+: %s", strerror(-r));
	KTAP_REQUIRE(!ku_fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", U, 0) &&
		     !ku_fsconfig(fs, FSCONFIG_SET_STRING, "workdir", UNIT_UPPER "/w", 0) &&
		     !ku_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	mnt = ku_fsmount(fs, FSMOUNT_CLOEXEC, 0);
	KTAP_REQUIRE(mnt >= 0 && !syscall(SYS_move_mount, mnt, "", AT_FDCWD, M, MOVE_MOUNT_F_EMPTY_PATH));
	close(mnt);
	close(fs);
	append(M "/second");
	append(M "/d/f");
	look();
	is("/second", "file", "changed", "data,time");
	is("/d/f", "file", "changed", "data,time");
	KTAP_CHECK(items() == 2, "%s", out);
	enough();
}

/* Bytes that are no text, and no second line. */
KTAP_TEST(odd_names)
{
	const char *line;

	fixture(NULL);
	unit_text(M "/x\ny\xff", "1");
	look();
	KTAP_CHECK(items() == 1, "%s", out);
	is("/x\ny\\xff", "file", "added", "");
	KTAP_CHECK(DRIFT() == 0);
	line = strstr(out, "/x\\x0ay\\xff\n");
	KTAP_CHECK(line, "%s", out);
	enough();
}

/* Deeper than PATH_MAX and than there are descriptors. */
KTAP_TEST(deep)
{
	char name[256];
	int at;

	fixture(NULL);
	memset(name, 'n', 250);
	name[250] = '\0';
	at = open(M, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 40; i++) {
		int next;

		KTAP_REQUIRE(!mkdirat(at, name, 0755));
		next = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		KTAP_REQUIRE(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	look();
	KTAP_CHECK(items() == 1 && number_of(json_object_array_get_idx(get(doc, "items"), 0), "entries") == 39, "%s", out);
	enough();
}

/* As many directories at once as there are not descriptors for. */
KTAP_TEST(wide)
{
	const struct rlimit few = { 64, 64 };

	layers();
	for (int i = 0; i < 100; i++) {
		char path[64];

		snprintf(path, sizeof(path), L "/wide%d", i);
		make_dir(path);
	}
	unit_overlay(NULL);
	for (int i = 0; i < 100; i++) {
		char path[64];

		snprintf(path, sizeof(path), M "/wide%d/file", i);
		unit_text(path, "1");
	}
	KTAP_REQUIRE(!setrlimit(RLIMIT_NOFILE, &few));
	look();
	KTAP_CHECK(items() == 100, "%s", out);
	enough();
}

/* Neither a symbolic link nor a mount leads out of the upper layer, and nothing in it changes, not even access times. */
KTAP_TEST(stays_and_only_reads)
{
	struct stat before, after, dir_before, dir_after;

	fixture(NULL);
	make_dir(UNIT_DIR "/outside");
	unit_text(UNIT_DIR "/outside/secret", "1");
	KTAP_REQUIRE(!symlink(UNIT_DIR "/outside", M "/out"));
	make_dir(M "/mounted");
	open_only(M "/d/f");
	unit_tmpfs(U "/mounted", NULL);
	unit_text(U "/mounted/inside", "1");
	KTAP_REQUIRE(!utimensat(AT_FDCWD, U "/d/f", (struct timespec[2]){ { 1000, 0 }, { 0, UTIME_OMIT } }, 0));
	KTAP_REQUIRE(!utimensat(AT_FDCWD, U "/d", (struct timespec[2]){ { 1000, 0 }, { 0, UTIME_OMIT } }, 0));
	before = unit_stat(U "/d/f");
	dir_before = unit_stat(U "/d");
	look();
	is("/out", "symlink", "added", "");
	is("/d/f", "file", "unchanged copy", "");
	KTAP_CHECK(items() == 2, "%s", out);
	after = unit_stat(U "/d/f");
	dir_after = unit_stat(U "/d");
	KTAP_CHECK(unit_same_time(dir_before.st_atim, dir_after.st_atim));
	KTAP_CHECK(unit_same_time(before.st_atim, after.st_atim) && unit_same_time(before.st_ctim, after.st_ctim));
	enough();
}

KTAP_MAIN()
