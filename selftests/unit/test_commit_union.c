// SPDX-License-Identifier: GPL-2.0-only
/* kunion commit: the lower directory becomes what the union showed, whatever stops it on the way. */
#include <sys/socket.h>
#include <sys/un.h>

#include "bind_scene.h"
#include "stop.h"
#include "tree.h"

#define LAYERS UNIT_DIR "/layers" /* as they were before the commit */
#define COMMIT(...) COMMAND(ku_cmd_commit, "commit", ##__VA_ARGS__)
#define RESUME() COMMIT("--upper", UP, SRC)
#define BIG (300 << 10)

static const char old_text[] = "data of f", new_text[] = "something else, and longer";
static char *wanted; /* what the union showed */

static void dirs(const char *const *names)
{
	for (; *names; names++)
		make_dir(*names);
}

static void big_file(const char *path, uint64_t seed)
{
	unsigned char *data = malloc(BIG);

	KTAP_REQUIRE(data);
	unit_fill(data, BIG, seed);
	unit_write(path, data, BIG);
	free(data);
}

static void lower_tree(void)
{
	dirs((const char *const[]){ SRC "/keep", SRC "/old", SRC "/old/sub", SRC "/old/sub/deep", SRC "/gone", SRC "/gone/2", SRC "/opaque",
				    SRC "/opaque/q", SRC "/to-file", SRC "/swap1", SRC "/swap2", SRC "/nest", SRC "/nest/inner", NULL });
	for (const char *const *f = (const char *const[]){ SRC "/f", SRC "/meta", SRC "/keep/a", SRC "/keep/b", SRC "/old/x", SRC "/old/sub/y",
							   SRC "/old/sub/deep/z", SRC "/gone/1", SRC "/gone/2/3", SRC "/opaque/p",
							   SRC "/opaque/q/r", SRC "/to-file/1", SRC "/to-dir", SRC "/swap1/one", SRC "/swap2/two",
							   SRC "/nest/inner/n", SRC "/link1", NULL };
	     *f; f++)
		unit_text(*f, old_text);
	KTAP_REQUIRE(!link(SRC "/link1", SRC "/link2") && !symlink("keep", SRC "/symlink"));
	KTAP_REQUIRE(!setxattr(SRC "/meta", "trusted.taken.off", "1", 1, 0));
	KTAP_REQUIRE(!setxattr(SRC "/keep", "trusted.taken.off", "1", 1, 0));
	big_file(SRC "/big", 1);
}

static void changes_to_directories(void)
{
	/* Renamed, changed inside, and one of it moved out of it. */
	KTAP_REQUIRE(!rename(T "/old", T "/new"));
	unit_text(T "/new/x", new_text);
	KTAP_REQUIRE(!rename(T "/new/sub", T "/out-of-it") && !unlink(T "/out-of-it/y"));
	/* Each in the other's place, and one in the place of another. */
	KTAP_REQUIRE(!rename(T "/swap1", T "/swap") && !rename(T "/swap2", T "/swap1") && !rename(T "/swap", T "/swap2"));
	unit_text(T "/swap1/two", new_text);
	make_dir(T "/fresh");
	KTAP_REQUIRE(!rename(T "/nest/inner", T "/fresh/inner"));
	unit_text(T "/fresh/inner/more", new_text);
	KTAP_REQUIRE(!unlink(T "/gone/1") && !unlink(T "/gone/2/3") && !rmdir(T "/gone/2") && !rmdir(T "/gone"));
	KTAP_REQUIRE(!unlink(T "/opaque/p") && !unlink(T "/opaque/q/r") && !rmdir(T "/opaque/q") && !rmdir(T "/opaque"));
	make_dir(T "/opaque");
	make_dir(T "/opaque/q");
	unit_text(T "/opaque/q/other", new_text);
	/* A file for a directory, and the other way round. */
	KTAP_REQUIRE(!unlink(T "/to-file/1") && !rmdir(T "/to-file") && !unlink(T "/to-dir"));
	unit_text(T "/to-file", new_text);
	make_dir(T "/to-dir");
	unit_text(T "/to-dir/1", new_text);
}

static void changes_to_files(void)
{
	/* user::rwx user:7:rwx group::r-x mask::rwx other::--- */
	static const uint32_t acl[] = { 2, 0x00070001, ~0u, 0x00070002, 7, 0x00050004, ~0u, 0x00070010, ~0u, 0x00000020, ~0u };
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = T "/fresh/socket" };
	char odd[300] = T "/fresh/";
	int fd;

	unit_text(T "/f", new_text);
	big_file(T "/big", 2);
	KTAP_REQUIRE(!chmod(T "/meta", 04711) && !chown(T "/meta", 5, 6) && !chmod(T "/meta", 06750) &&
		     !removexattr(T "/meta", "trusted.taken.off") && !setxattr(T "/meta", "trusted.put.on", "value", 5, 0));
	KTAP_REQUIRE(!unlink(T "/keep/a") && !removexattr(T "/keep", "trusted.taken.off"));
	unit_text(T "/link1", new_text);
	KTAP_REQUIRE(!unlink(T "/symlink") && !symlink("/somewhere/else", T "/symlink") && !lchown(T "/symlink", 8, 9));
	unit_text(T "/h1", new_text);
	KTAP_REQUIRE(!link(T "/h1", T "/fresh/h2") && !link(T "/h1", T "/new/h3"));
	KTAP_REQUIRE(!mkfifo(T "/fresh/fifo", 0640) && !mknod(T "/fresh/null", S_IFCHR | 0666, makedev(1, 3)) &&
		     !mknod(T "/fresh/block", S_IFBLK | 0600, makedev(7, 200)));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	KTAP_REQUIRE(fd >= 0 && !bind(fd, (struct sockaddr *)&name, sizeof(name)));
	close(fd);
	fd = open(T "/fresh/sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0604);
	KTAP_REQUIRE(fd >= 0 && pwrite(fd, "end", 3, 1 << 20) == 3 && !ftruncate(fd, (1 << 20) + 9000));
	close(fd);
	memset(odd + strlen(odd), 'n', 250);
	memcpy(odd + strlen(T "/fresh/"), "\n\xff\\ :", 5);
	unit_text(odd, new_text);
	if (setxattr(T "/fresh", "system.posix_acl_default", acl, sizeof(acl), 0) || setxattr(T "/f", "system.posix_acl_access", acl, sizeof(acl), 0))
		ktap_diag("no ACLs here: %s", strerror(errno));
	unit_text(T "/fresh/inherits", new_text);
	unit_set_time(T "/f", 1234567890, 123456789);
	unit_set_time(T "/fresh/inner", 1000000000, 1);
	unit_set_time(T "/symlink", 1100000000, 7);
	KTAP_REQUIRE(!chmod(T, 01751) && !setxattr(T, "trusted.of.root", "r", 1, 0));
	unit_set_time(T, 1200000000, 9);
}

static void copy(const char *from, const char *to)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "rm -rf %s && cp -a --sparse=always %s %s", to, from, to);
	KTAP_REQUIRE(system(cmd) == 0, "%s", cmd);
}

/* Lower and upper layer, and what the union shows; it is attached. */
static void changed(void)
{
	scene();
	lower_tree();
	attach();
	changes_to_directories();
	changes_to_files();
	wanted = tree_text(T);
}

/* The same, but it is off, and the layers are kept. */
static void changed_and_off(void)
{
	changed();
	detach();
	KTAP_REQUIRE(!umount(T));
	make_dir(LAYERS);
	copy(SRC, LAYERS "/src");
	copy(UP, LAYERS "/up");
}

static void layers_back(void)
{
	copy(LAYERS "/src", SRC);
	copy(LAYERS "/up", UP);
	KTAP_REQUIRE(system("rm -rf " WORK "/kunion-commit*") == 0);
}

/* All of it was done: nothing else is left. */
static bool complete(const char *text)
{
	bool ok = KTAP_CHECK(tree_is(SRC, text));

	ok = KTAP_CHECK(unit_count(UP) == 0, "the upper layer has something") && ok;
	ok = KTAP_CHECK(!unit_exists(WORK "/kunion-commit") && !unit_exists(WORK "/kunion-commit.new")) && ok;
	return ok;
}

KTAP_TEST(lower_becomes_what_the_union_showed)
{
	char *after;

	changed();
	KTAP_REQUIRE(COMMIT(T) == 0, "%s", err);
	KTAP_CHECK(strstr(out, "detached: " T) && strstr(out, "\ncommitted: " T "\n"), "%s", out);
	KTAP_CHECK(!attached());
	complete(wanted);
	KTAP_CHECK(unit_stat(SRC "/fresh/sparse").st_blocks < 64, "holes are holes");
	/* Back on: the same, and nothing is different. */
	attach();
	KTAP_CHECK(tree_is(T, wanted));
	KTAP_REQUIRE(COMMAND(ku_cmd_diff, "diff", T) == 0);
	KTAP_CHECK(!*out, "%s", out);
	unit_text(T "/f", "once more");
	after = tree_text(T);
	KTAP_REQUIRE(COMMIT(T) == 0, "%s", err);
	complete(after);
	free(after);
	free(wanted);
}

KTAP_TEST(dry_run_changes_nothing)
{
	char *list, *upper;

	changed();
	upper = tree_text(UP);
	KTAP_REQUIRE(COMMAND(ku_cmd_diff, "diff", T) == 0);
	list = strdup(out);
	KTAP_REQUIRE(list && *list);
	KTAP_CHECK(COMMIT("--dry-run", T) == 0 && !strcmp(out, list), "%s %s", out, err);
	KTAP_CHECK(attached() && tree_is(UP, upper) && tree_is(T, wanted));
	detach();
	KTAP_REQUIRE(!umount(T));
	KTAP_CHECK(COMMIT("-n", "--upper", UP, SRC) == 0 && !strcmp(out, list), "%s %s", out, err);
	KTAP_CHECK(tree_is(UP, upper) && !unit_exists(SRC "/new"));
	KTAP_REQUIRE(RESUME() == 0, "%s", err);
	complete(wanted);
	free(list);
	free(upper);
	free(wanted);
}

/* At any time one or the other, and no part of a file. */
static void old_or_new(void)
{
	static const char *const files[] = { SRC "/f", SRC "/old/x", SRC "/new/x", SRC "/keep/b", SRC "/swap1/one", SRC "/swap1/two", SRC "/swap2/one",
					     SRC "/h1", SRC "/fresh/h2", SRC "/to-dir/1", SRC "/link1", SRC "/link2", SRC "/opaque/q/other" };
	unsigned char *olds = malloc(BIG), *news = malloc(BIG);
	struct stat st;
	size_t size;
	char *data;

	KTAP_REQUIRE(olds && news);
	for (size_t i = 0; i < KU_ARRAY_SIZE(files); i++) {
		if (lstat(files[i], &st) || !S_ISREG(st.st_mode))
			continue;
		data = unit_read(files[i], NULL);
		KTAP_CHECK(!strcmp(data, old_text) || !strcmp(data, new_text), "%s has '%s'", files[i], data);
		free(data);
	}
	KTAP_CHECK(unit_exists(SRC "/f") && unit_exists(SRC "/keep/b") && unit_exists(SRC "/link2") && unit_exists(SRC "/link1"));
	unit_fill(olds, BIG, 1);
	unit_fill(news, BIG, 2);
	data = unit_read(SRC "/big", &size);
	KTAP_CHECK(size == BIG && (!memcmp(data, olds, BIG) || !memcmp(data, news, BIG)), "big is neither");
	free(data);
	free(olds);
	free(news);
}

/* Goes on with the commit and holds it at its n-th step, for then(); NULL: to kill it there. False: it ended before. */
static bool hold_at(unsigned int n, void (*then)(void))
{
	static const char *const words[] = { "commit", "--upper", UP, SRC, NULL };
	bool hit = false;
	int status;
	pid_t pid;

	unlink("/tmp/stop/commit-step.hit");
	unit_text("/tmp/stop/commit-step.stop", "");
	KTAP_REQUIRE(!truncate("/tmp/stop/commit-step.stop", n));
	fflush(NULL);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		int o = open("/tmp/out", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		if (dup2(o, 1) < 0 || dup2(o, 2) < 0)
			_exit(99);
		_exit(command_call(ku_cmd_commit, words));
	}
	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			_cleanup_free_ char *said = unit_read("/tmp/out", NULL);

			KTAP_CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || (hit && WEXITSTATUS(status) == 1)), "%x: %s", status, said);
			break;
		}
		if (hit) {
			usleep(200);
			continue;
		}
		hit = unit_exists("/tmp/stop/commit-step.hit");
		if (hit && then) {
			then();
			unlink("/tmp/stop/commit-step.stop");
		} else if (hit) {
			kill(pid, SIGKILL);
			KTAP_REQUIRE(waitpid(pid, NULL, 0) == pid);
			break;
		}
		usleep(200);
	}
	unlink("/tmp/stop/commit-step.stop");
	return hit;
}

static bool kill_at(unsigned int n)
{
	return hold_at(n, NULL);
}

KTAP_TEST_LIMIT(killed_at_every_step, 600)
{
	unsigned int n;

	changed_and_off();
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	for (n = 0;; n++) {
		layers_back();
		if (!kill_at(n))
			break;
		old_or_new();
		KTAP_REQUIRE(RESUME() == 0, "%u: %s", n, err);
		if (!complete(wanted)) {
			ktap_diag("killed at step %u", n);
			exit(KTAP_EXIT_FAIL);
		}
	}
	complete(wanted);
	ktap_diag("%u steps", n);
	KTAP_CHECK(n > 50);
	free(wanted);
}

/* Again and again in one commit, and after any time. */
KTAP_TEST_LIMIT(killed_at_random_points, 600)
{
	const char *given = getenv("COMMIT_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : (unsigned int)time(NULL), kills = 0;

	changed_and_off();
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	ktap_diag("COMMIT_SEED=%u", seed);
	while (kills < 50) {
		unsigned int before = kills;

		layers_back();
		while (kill_at((unsigned int)rand_r(&seed) % 80)) {
			kills++;
			old_or_new();
		}
		if (!complete(wanted)) {
			ktap_diag("after %u kills", kills - before);
			exit(KTAP_EXIT_FAIL);
		}
	}
	free(wanted);
}

/* What only other tools, or other kernels, make. */
#define CANARY UNIT_DIR "/canary" /* the lower directory's names, elsewhere */

/* Below before above. */
static const char *const led_away[] = { "keep", "old/sub", "old", "gone/2", "gone", "opaque/q", "opaque", "swap1", "swap2", "nest", "fresh", "new",
					"out-of-it", "to-file", "to-dir", ".kunion-commit" };

static void lead_away_by(bool by_mount)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(led_away); i++) {
		char name[128], away[128], to[128];
		struct stat st;

		snprintf(name, sizeof(name), SRC "/%s", led_away[i]);
		snprintf(away, sizeof(away), SRC "/away%zu", i);
		snprintf(to, sizeof(to), CANARY "/%s", led_away[i]);
		if (lstat(name, &st) || !S_ISDIR(st.st_mode))
			continue;
		if (!by_mount)
			KTAP_REQUIRE(!rename(name, away) && !symlink(to, name), "%s: %s", name, strerror(errno));
		else if (!lstat(to, &st) && S_ISDIR(st.st_mode))
			KTAP_REQUIRE(!mount(to, name, NULL, MS_BIND, NULL), "%s: %s", name, strerror(errno));
	}
}

static void by_link(void)
{
	lead_away_by(false);
}

static void by_mount(void)
{
	lead_away_by(true);
}

/* What is renamed and mounted into its way leads a commit nowhere: it fails, and changes nothing there. */
KTAP_TEST_LIMIT(led_away_on_the_way, 600)
{
	unsigned int n = 0;
	char *canary;

	changed_and_off();
	copy(LAYERS "/src", CANARY);
	make_dir(CANARY "/.kunion-commit");
	make_dir(CANARY "/fresh");
	make_dir(CANARY "/new");
	unit_text(CANARY "/.kunion-commit/new", old_text);
	canary = tree_text(CANARY);
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	do {
		layers_back();
		if (!hold_at(n, n % 2 ? by_mount : by_link))
			break;
		for (size_t i = KU_ARRAY_SIZE(led_away); i-- > 0 && n % 2;) {
			char name[128];

			snprintf(name, sizeof(name), SRC "/%s", led_away[i]);
			umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW);
		}
	} while (KTAP_CHECK(tree_is(CANARY, canary), "%s at step %u", n % 2 ? "mounts" : "links", n) && (n += 3)); /* all take too long; links and mounts by turns */
	KTAP_CHECK(n > 50, "%u steps", n);
	free(canary);
	free(wanted);
}

KTAP_TEST(layers_made_by_hand)
{
	static const char value[] = "y";
	char have[8];

	source();
	make_dir(UP);
	make_dir(WORK);
	make_dir(SRC "/was");
	unit_text(SRC "/was/1", old_text);
	dirs((const char *const[]){ UP "/d", UP "/nowhere", UP "/inner", NULL });
	KTAP_REQUIRE(!setxattr(UP "/d", "trusted.overlay.opaque", "x", 1, 0));
	unit_text(UP "/d/f", "");
	KTAP_REQUIRE(!setxattr(UP "/d/f", "trusted.overlay.whiteout", "", 0, 0));
	KTAP_REQUIRE(!setxattr(UP "/nowhere", "trusted.overlay.redirect", "/not/there", 10, 0));
	unit_text(UP "/nowhere/1", new_text);
	/* An overlay's upper directory in the union. */
	KTAP_REQUIRE(!setxattr(UP "/inner", "trusted.overlay.overlay.opaque", value, 1, 0));
	KTAP_REQUIRE(!mknod(UP "/never-was", S_IFCHR, 0));
	KTAP_REQUIRE(RESUME() == 0, "%s", err);
	KTAP_CHECK(unit_exists(SRC "/d/e") && !unit_exists(SRC "/d/f") && !unit_exists(SRC "/never-was") && unit_exists(SRC "/was/1"));
	KTAP_CHECK(unit_has_text(SRC "/nowhere/1", new_text) && getxattr(SRC "/nowhere", "trusted.overlay.redirect", NULL, 0) < 0);
	KTAP_CHECK(getxattr(SRC "/inner", "trusted.overlay.opaque", have, sizeof(have)) == 1 && *have == 'y');
	KTAP_CHECK(unit_count(UP) == 0);
}

/* An error is told, and nothing is lost: it goes on where it was. */
KTAP_TEST(goes_on_after_an_error)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_fsync, .arg = -1, .err = ENOSPC, .skip = 4, .times = 1 },
		{ .nr = SYS_renameat, .arg = -1, .err = EIO, .skip = 9, .times = 1 },
	};
	int status;

	changed_and_off();
	unit_faults(faults, KU_ARRAY_SIZE(faults));
	status = RESUME();
	KTAP_CHECK(status == 1 && strstr(err, "No space left"), "%d %s", status, err);
	old_or_new();
	command_refused(COMMIT("--dry-run", "--upper", UP, SRC), "under way");
	command_refused(COMMIT("--upper", UP, UNIT_DIR "/host"), "in " UNIT_DIR "/host itself");
	make_dir(UNIT_DIR "/elsewhere");
	KTAP_CHECK(COMMIT("--upper", UP, UNIT_DIR "/elsewhere") == 1 && strstr(err, "to another directory did not end"), "%s", err);
	/* The other one waits, too. */
	make_dir(UNIT_DIR "/host/up2");
	make_dir(UNIT_DIR "/host/up2.work");
	command_refused(COMMIT("--upper", UNIT_DIR "/host/up2", SRC), "of another upper directory did not end");
	status = RESUME();
	KTAP_CHECK(status == 1 && strstr(err, "Input/output error"), "%d %s", status, err);
	KTAP_REQUIRE(RESUME() == 0, "%s", err);
	complete(wanted);
	free(wanted);
}

KTAP_TEST(refused)
{
	struct ku_union u;
	char e[KU_UNION_ERR];
	int fd;

	scene();
	command_refused(COMMIT(), "TARGET is missing");
	command_refused(COMMIT(T, T), "is too many");
	command_refused(COMMIT("--work", "/tmp", T), "no use without --upper");
	command_refused(COMMIT(T), "no union is attached there");
	command_refused(COMMIT("--upper", UP, T), "no such directory");
	attach();
	unit_text(T "/g", new_text);
	command_refused(COMMIT("--upper", UP, T), "leave --upper out");
	command_refused(COMMIT("--upper", UP, SRC), "in use by the overlay on " T);
	fd = open(T "/g", O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0);
	command_refused(COMMIT(T), "in use");
	close(fd);
	/* A kunion that manages it. */
	KTAP_REQUIRE(!ku_union_open(T, &u, e) && !ku_union_lock(&u, e), "%s", e);
	command_refused(COMMIT(T), "another kunion is attached");
	ku_union_close(&u);
	KTAP_CHECK(attached() && unit_has_text(SRC "/g", "data of g"));
	detach();
	KTAP_REQUIRE(!mount(NULL, T, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	KTAP_REQUIRE(ATTACH("--upper", UP, T) == 0);
	command_refused(COMMIT(T), "read-only");
	KTAP_CHECK(attached());
	detach();
	command_refused(COMMIT("--upper", UP, T), "read-only");
	KTAP_REQUIRE(!umount(T));
	/* Data that is elsewhere. */
	unit_text(UP "/meta", "");
	KTAP_REQUIRE(!setxattr(UP "/meta", "trusted.overlay.metacopy", "", 0, 0));
	command_refused(RESUME(), "/meta: its data is not in the upper layer (metacopy=on)");
	KTAP_CHECK(unit_has_text(SRC "/g", "data of g") && !unit_exists(WORK "/kunion-commit"));
	unlink(UP "/meta");
	/* An overlay of somebody else. */
	if (mount("unit", T, "overlay", 0, "lowerdir=" SRC ",upperdir=" UP ",workdir=" WORK) == 0)
		command_refused(COMMIT(T), "did not put there");
}

KTAP_MAIN()
