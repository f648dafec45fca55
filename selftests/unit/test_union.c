// SPDX-License-Identifier: GPL-2.0-only
/* Recognising a union by its merged directory, and the right to attach to it. */
#include "union.h"

#include <limits.h>
#include <sys/sysmacros.h>

#include "unit.h"
#include "util.h"

static int parse(const char *text, struct ku_mountinfo *ret)
{
	static char line[4096];

	snprintf(line, sizeof(line), "%s", text);
	return ku_mountinfo_parse(line, ret);
}

KTAP_TEST(mountinfo_lines)
{
	struct ku_mountinfo m;

	KTAP_REQUIRE(parse("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue\n",
			   &m) == 0);
	KTAP_CHECK(m.id == 36 && m.major == 98 && m.minor == 0);
	KTAP_CHECK(!strcmp(m.root, "/mnt1") && !strcmp(m.mountpoint, "/mnt 2") && !strcmp(m.options, "rw,noatime"));
	KTAP_CHECK(!strcmp(m.fstype, "ext3") && !strcmp(m.source, "/dev/root") && !strcmp(m.super_options, "rw,errors=continue"));

	/* No optional field; an empty source; a mount point that looks like the mark. */
	KTAP_REQUIRE(parse("1 2 0:7 / /a rw - tmpfs none rw", &m) == 0);
	KTAP_CHECK(!strcmp(m.source, "none"));
	KTAP_REQUIRE(parse("1 2 0:7 / /a rw - tmpfs  rw", &m) == 0);
	KTAP_CHECK(!strcmp(m.source, "") && !strcmp(m.super_options, "rw"));
	KTAP_REQUIRE(parse("1 2 0:7 / /a\\040-\\040b rw - overlay o rw,lowerdir=/x", &m) == 0);
	KTAP_CHECK(!strcmp(m.mountpoint, "/a - b") && !strcmp(m.fstype, "overlay"));

	KTAP_CHECK(parse("", &m) == -EINVAL);
	KTAP_CHECK(parse("\n", &m) == -EINVAL);
	KTAP_CHECK(parse("garbage", &m) == -EINVAL);
	KTAP_CHECK(parse(" - ", &m) == -EINVAL);
	KTAP_CHECK(parse("1 2 0:7 / /a rw tmpfs none rw", &m) == -EINVAL);
	KTAP_CHECK(parse("1 2 x / /a rw - tmpfs none rw", &m) == -EINVAL);
	KTAP_CHECK(parse("1 2 0:7 / /a rw - tmpfs", &m) == -EINVAL);
	KTAP_CHECK(parse("1 2 0:7 / - tmpfs none rw", &m) == -EINVAL);
}

KTAP_TEST(escapes)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "", "" },	      { "plain", "plain" },	  { "a\\040b", "a b" },	    { "\\011\\012\\134\\043", "\t\n\\#" },
		{ "\\377", "\xff" },  { "\\", "\\" },		  { "\\04", "\\04" },	    { "\\0408", " 8" },
		{ "\\400", "\\400" }, { "\\089", "\\089" },	  { "\\134040", "\\040" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++) {
		char s[32];

		snprintf(s, sizeof(s), "%s", t[i].in);
		ku_mount_unescape(s);
		KTAP_CHECK(!strcmp(s, t[i].out), "'%s' gave '%s'", t[i].in, s);
	}
}

static bool option_is(const char *options, const char *name, const char *want)
{
	char *value = ku_mount_option(options, name);
	bool ok = want ? value && !strcmp(value, want) : !value && errno == 0;

	if (!ok)
		ktap_diag("%s in '%s': %s", name, options, value ? value : "none");
	free(value);
	return ok;
}

KTAP_TEST(options)
{
	static const char o[] = "rw,lowerdir=/a\\054b:/c,upperdir=/u\\040p,workdir=,volatile,xupperdir=no,index=off";

	KTAP_CHECK(option_is(o, "rw", ""));
	KTAP_CHECK(option_is(o, "ro", NULL));
	KTAP_CHECK(option_is(o, "lowerdir", "/a,b:/c"));
	KTAP_CHECK(option_is(o, "upperdir", "/u p"));
	KTAP_CHECK(option_is(o, "workdir", ""));
	KTAP_CHECK(option_is(o, "volatile", ""));
	KTAP_CHECK(option_is(o, "index", "off"));
	KTAP_CHECK(option_is(o, "inde", NULL));
	KTAP_CHECK(option_is("", "rw", NULL));
	KTAP_CHECK(option_is(",,rw", "rw", ""));

	KTAP_CHECK(ku_mount_volatile("rw,lowerdir=/a,volatile"));
	KTAP_CHECK(ku_mount_volatile("rw,fsync=volatile,uuid=on"));
	KTAP_CHECK(!ku_mount_volatile("rw,fsync=ordered,upperdir=volatile"));
	KTAP_CHECK(!ku_mount_volatile("rw"));
}

/* Opens what must not open, and the line must say all of the words. */
static void refuses(const char *path, int want, const char *word)
{
	struct ku_union u = { .lock_fd = 77 };
	char err[KU_UNION_ERR] = "";
	int r = ku_union_open(path, &u, err);

	KTAP_CHECK(r == want, "%d: %s", r, err);
	KTAP_CHECK(strstr(err, word), "'%s' does not say '%s'", err, word);
	KTAP_CHECK(!strncmp(err, path, 10) || !strncmp(err, "...", 3), "'%s' does not say what", err);
	KTAP_CHECK(!strchr(err, '\n'));
	KTAP_CHECK(u.lock_fd == 77, "written although it failed");
	KTAP_CHECK(strlen(err) < KU_UNION_ERR - 1, "cut off: %s", err);
}

KTAP_TEST(what_is_no_union)
{
	char path[2000];

	unit_layers();
	KTAP_REQUIRE(mkdir(UNIT_LOWER "/sub", 0755) == 0);
	unit_text(UNIT_LOWER "/file", "");
	unit_overlay(NULL);
	refuses(UNIT_DIR "/none", -ENOENT, "no such directory");
	refuses(UNIT_LOWER, -EINVAL, "not an overlay");
	refuses(UNIT_MERGED "/file", -ENOTDIR, "not a directory");
	refuses(UNIT_MERGED "/sub", -EINVAL, "give " UNIT_MERGED);
	KTAP_REQUIRE(symlink("loop", UNIT_DIR "/loop") == 0);
	refuses(UNIT_DIR "/loop", -ELOOP, "Too many");

	/* However long the path is, the reason is not cut off. */
	snprintf(path, sizeof(path), UNIT_DIR);
	for (int i = 0; i < 8; i++) {
		memset(path + strlen(path), 0, sizeof(path) - strlen(path));
		strcat(path, "/");
		memset(path + strlen(path), 'l', 200);
		KTAP_REQUIRE(mkdir(path, 0755) == 0);
	}
	refuses(path, -EINVAL, "not an overlay; give the directory on which one is mounted");

	KTAP_REQUIRE(mount(NULL, UNIT_MERGED, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
	refuses(UNIT_MERGED, -EROFS, "read-only");
	KTAP_REQUIRE(mount(NULL, UNIT_MERGED, NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
	KTAP_REQUIRE(mount(NULL, UNIT_MERGED, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
	refuses(UNIT_MERGED, -EROFS, "read-only");
	/* The mount is writable, its superblock is not. */
	KTAP_REQUIRE(mount(NULL, UNIT_MERGED, NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
	refuses(UNIT_MERGED, -EROFS, "read-only");
	KTAP_REQUIRE(umount(UNIT_MERGED) == 0);
	KTAP_REQUIRE(mount("o", UNIT_MERGED, "overlay", 0, "lowerdir=" UNIT_LOWER ":" UNIT_LOWER "/sub") == 0 ||
		     mount("o", UNIT_MERGED, "overlay", 0, "lowerdir=" UNIT_LOWER ":" UNIT_UPPER) == 0);
	refuses(UNIT_MERGED, -EROFS, "");
}

static struct ku_union opened(const char *path)
{
	struct ku_union u;
	char err[KU_UNION_ERR] = "";

	KTAP_REQUIRE(ku_union_open(path, &u, err) == 0, "%s", err);
	return u;
}

/* A module parameter as it is now. */
static bool param(const char *name)
{
	char path[128], *text;
	bool on;

	snprintf(path, sizeof(path), "/sys/module/overlay/parameters/%s", name);
	text = unit_read(path, NULL);
	on = text[0] == 'Y';
	free(text);
	return on;
}

KTAP_TEST(a_union)
{
	struct ku_union u;
	int root;

	unit_layers();
	unit_text(UNIT_LOWER "/file", "");
	unit_overlay(NULL);
	KTAP_REQUIRE(symlink("merged", UNIT_DIR "/link") == 0);
	KTAP_REQUIRE(chdir(UNIT_DIR) == 0);
	u = opened("./link/../link/.");
	KTAP_CHECK(!strcmp(u.path, UNIT_MERGED), "%s", u.path);
	KTAP_CHECK(!strcmp(u.prefix, "/"), "%s", u.prefix);
	KTAP_CHECK(!strcmp(u.upperdir, UNIT_UPPER "/u"), "%s", u.upperdir);
	KTAP_CHECK(!strcmp(u.lowerdir, UNIT_LOWER), "%s", u.lowerdir);
	KTAP_CHECK(u.dev == unit_stat(UNIT_MERGED).st_dev && u.lock_fd == -1);
	KTAP_CHECK(u.metacopy == param("metacopy") && u.index == param("index") && u.nfs_export == param("nfs_export") &&
		   u.redirect_dir == param("redirect_dir"));
	KTAP_CHECK(!u.volatile_ && !u.userxattr);

	root = ku_union_root(&u);
	KTAP_CHECK(root >= 0 && faccessat(root, "file", F_OK, 0) == 0);
	KTAP_CHECK(umount(UNIT_MERGED) < 0 && errno == EBUSY);
	close(root);
	/* Nothing of ours keeps it busy. */
	KTAP_CHECK(umount(UNIT_MERGED) == 0);
	KTAP_CHECK(ku_union_root(&u) == -ESTALE);
	unit_overlay(NULL);
	if (u.mnt_unique) /* before 6.8 the new one is likely to have the old one's numbers */
		KTAP_CHECK(ku_union_root(&u) == -ESTALE, "another mount by now");
	ku_union_close(&u);
	KTAP_CHECK(!u.path && u.lock_fd == -1);
	ku_union_close(&u);
}

KTAP_TEST(options_in_force)
{
	static const char file[] = "/sys/module/overlay/parameters/metacopy";
	struct ku_union u;
	bool was;

	unit_layers();
	unit_overlay("metacopy=on,volatile,index=on");
	u = opened(UNIT_MERGED);
	KTAP_CHECK(u.metacopy && u.redirect_dir && u.volatile_ && u.index && !u.userxattr);
	ku_union_close(&u);
	KTAP_REQUIRE(umount(UNIT_MERGED) == 0);
	KTAP_REQUIRE(system("rm -rf " UNIT_UPPER "/w/work") == 0);
	unit_overlay("userxattr,index=off,redirect_dir=nofollow");
	u = opened(UNIT_MERGED);
	KTAP_CHECK(!u.metacopy && !u.redirect_dir && u.userxattr && !u.index && !u.volatile_);
	ku_union_close(&u);
	KTAP_REQUIRE(umount(UNIT_MERGED) == 0);

	/*
	 * By the module's default, the mount's options then say nothing. The parameter is everybody's on this machine, so it is put
	 * back at once; a mount made meanwhile by somebody else would have it on, which does no harm.
	 */
	was = param("metacopy");
	if (access(file, W_OK) < 0)
		ktap_skip("module parameters cannot be set here");
	unit_text(file, "Y");
	unit_overlay(NULL);
	u = opened(UNIT_MERGED);
	unit_text(file, was ? "Y" : "N");
	KTAP_CHECK(u.metacopy, "on by the module's default");
	ku_union_close(&u);
	/* And when the default changes behind it, the options do say it. */
	u = opened(UNIT_MERGED);
	KTAP_CHECK(u.metacopy);
	ku_union_close(&u);
}

/* The kernel escapes these in mountinfo. (Of the backslashes that upperdir= itself needs it shows some or none, by version.) */
KTAP_TEST(odd_characters_in_paths)
{
	static const char odd[] = "a b\tc\nd\\e,f#g\xffh";
	static const char upper[] = UNIT_UPPER "/a b\tc\nd#g\xffh";
	char merged[PATH_MAX];
	struct ku_union u;

	unit_layers();
	snprintf(merged, sizeof(merged), UNIT_DIR "/%s", odd);
	KTAP_REQUIRE(mkdir(merged, 0755) == 0 && mkdir(upper, 0755) == 0);
	KTAP_REQUIRE(mount("un it", merged, "overlay", 0,
			   "lowerdir=" UNIT_LOWER ",workdir=" UNIT_UPPER "/w,upperdir=" UNIT_UPPER "/a b\tc\nd#g\xffh") == 0);
	u = opened(merged);
	KTAP_CHECK(!strcmp(u.path, merged), "%s", u.path);
	KTAP_CHECK(!strcmp(u.upperdir, upper), "%s", u.upperdir);
	ku_union_close(&u);
}

KTAP_TEST(bind_mount_of_a_part)
{
	struct ku_union u, whole;
	int root;

	unit_layers();
	KTAP_REQUIRE(mkdir(UNIT_LOWER "/a b", 0755) == 0 && mkdir(UNIT_LOWER "/a b/c", 0755) == 0);
	unit_text(UNIT_LOWER "/a b/c/file", "");
	unit_overlay(NULL);
	KTAP_REQUIRE(mkdir(UNIT_DIR "/bound", 0755) == 0);
	KTAP_REQUIRE(mount(UNIT_MERGED "/a b/c", UNIT_DIR "/bound", NULL, MS_BIND, NULL) == 0);
	u = opened(UNIT_DIR "/bound");
	whole = opened(UNIT_MERGED);
	KTAP_CHECK(!strcmp(u.path, UNIT_DIR "/bound") && !strcmp(u.prefix, "/a b/c"), "%s", u.prefix);
	KTAP_CHECK(!strcmp(u.upperdir, UNIT_UPPER "/u"));
	KTAP_CHECK(u.dev == whole.dev && u.mnt_id != whole.mnt_id);
	KTAP_CHECK(strcmp(u.key, whole.key), "both record below their own roots");
	root = ku_union_root(&u);
	KTAP_CHECK(root >= 0 && faccessat(root, "file", F_OK, 0) == 0);
	close(root);
	ku_union_close(&u);
	ku_union_close(&whole);
}

static int lock_errno(const char *path)
{
	struct ku_union u = opened(path);
	char err[KU_UNION_ERR] = "";
	int r = ku_union_lock(&u, err);

	KTAP_CHECK(!r == !*err, "%d: '%s'", r, err);
	if (r == -EBUSY)
		KTAP_CHECK(strstr(err, "another kunion") && strstr(err, path), "%s", err);
	ku_union_close(&u);
	return r;
}

KTAP_TEST(one_kunion_at_a_time)
{
	char err[KU_UNION_ERR], name[128];
	struct ku_union u, v;
	int status;
	pid_t pid;

	unit_layers();
	unit_overlay(NULL);
	KTAP_REQUIRE(mkdir(UNIT_DIR "/bound", 0755) == 0);
	KTAP_REQUIRE(mount(UNIT_MERGED, UNIT_DIR "/bound", NULL, MS_BIND, NULL) == 0);
	u = opened(UNIT_MERGED);
	KTAP_CHECK(ku_union_lock(&u, err) == 0);
	KTAP_CHECK((unit_stat("/tmp/run").st_mode & 07777) == 0755);
	snprintf(name, sizeof(name), "/tmp/run/union-%u:%u.lock", major(u.dev), minor(u.dev));
	KTAP_CHECK(unit_exists(name), "%s", name);
	/* By whatever mount, from this process or another. */
	KTAP_CHECK(lock_errno(UNIT_MERGED) == -EBUSY);
	KTAP_CHECK(lock_errno(UNIT_DIR "/bound") == -EBUSY);
	pid = fork();
	if (pid == 0) {
		KTAP_CHECK(lock_errno(UNIT_MERGED) == -EBUSY);
		_exit(0);
	}
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
	ku_union_close(&u);
	KTAP_CHECK(unit_count("/tmp/run") == 0, "the lock file was left");
	KTAP_CHECK(lock_errno(UNIT_MERGED) == 0);

	/* A dead holder's lock is free, and its file no obstacle. */
	pid = fork();
	if (pid == 0) {
		v = opened(UNIT_MERGED);
		_exit(ku_union_lock(&v, err) ? 1 : 0);
	}
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
	KTAP_CHECK(unit_exists(name));
	KTAP_CHECK(lock_errno(UNIT_MERGED) == 0);

	setenv("KUNION_RUN_DIR", UNIT_DIR "/none/deeper", 1);
	KTAP_CHECK(lock_errno(UNIT_MERGED) == -ENOENT);
}

/* Two never hold it, whatever the openings and removals of the file. */
KTAP_TEST(lock_race)
{
	int bad = 0, status;
	unsigned int *shared;
	pid_t pid[4];

	unit_layers();
	unit_overlay(NULL);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	KTAP_REQUIRE(shared != MAP_FAILED);
	for (int p = 0; p < 4; p++) {
		pid[p] = fork();
		if (pid[p] == 0) {
			for (int i = 0; i < 400; i++) {
				char err[KU_UNION_ERR];
				struct ku_union u;

				if (ku_union_open(UNIT_MERGED, &u, err))
					_exit(1);
				if (ku_union_lock(&u, err) == 0) {
					if (__atomic_add_fetch(&shared[0], 1, __ATOMIC_SEQ_CST) != 1)
						_exit(2);
					__atomic_add_fetch(&shared[1], 1, __ATOMIC_SEQ_CST);
					sched_yield();
					__atomic_sub_fetch(&shared[0], 1, __ATOMIC_SEQ_CST);
				}
				ku_union_close(&u);
			}
			_exit(0);
		}
	}
	for (int p = 0; p < 4; p++) {
		KTAP_REQUIRE(waitpid(pid[p], &status, 0) == pid[p]);
		bad |= status;
	}
	KTAP_CHECK(!bad, "%x", (unsigned int)bad);
	KTAP_CHECK(shared[1] > 0, "%u", shared[1]);
	KTAP_CHECK(unit_count("/tmp/run") == 0);
}

static struct ku_union leaving;

static void leave(void)
{
	ku_union_close(&leaving);
}

/* The holder goes between our opening of its file and our locking of it: that file has no name any more, and locks out nobody. */
KTAP_TEST(lock_of_a_file_just_removed)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_flock, .arg = -1, .err = UNIT_GO_ON, .times = 1, .before = leave },
	};
	char err[KU_UNION_ERR];
	struct ku_union u;

	unit_layers();
	unit_overlay(NULL);
	leaving = opened(UNIT_MERGED);
	u = opened(UNIT_MERGED);
	KTAP_REQUIRE(ku_union_lock(&leaving, err) == 0);
	unit_faults(faults, 1);
	KTAP_CHECK(ku_union_lock(&u, err) == 0, "%s", err);
	KTAP_CHECK(faults[0].failed == 1 && !leaving.path);
	KTAP_CHECK(unit_count("/tmp/run") == 1);
	KTAP_CHECK(lock_errno(UNIT_MERGED) == -EBUSY);
	ku_union_close(&u);
}

KTAP_MAIN()
