// SPDX-License-Identifier: GPL-2.0-only
/* kunion attach --upper and detach: the same tree and mount, whole or not at all, here or in another mount namespace. */
#include <sys/socket.h>

#include "bind_scene.h"
#include "stop.h"
#include "util.h"

KTAP_TEST(writes_go_to_the_upper_directory)
{
	struct stat root;

	scene();
	KTAP_REQUIRE(!chmod(SRC, 01710) && !chown(SRC, 11, 12) && !setxattr(SRC, "trusted.t", "v", 1, 0));
	attach();
	root = unit_stat(T);
	KTAP_CHECK((root.st_mode & 07777) == 01710 && root.st_uid == 11 && root.st_gid == 12, "%o %u", root.st_mode, root.st_uid);
	KTAP_CHECK(getxattr(T, "trusted.t", NULL, 0) == 1);
	KTAP_CHECK(unit_has_text(T "/d/f", "data of f"));
	unit_text(T "/d/f", "other");
	KTAP_REQUIRE(!unlink(T "/g") && !rename(T "/d/e", T "/e"), "directories can be renamed as before");
	KTAP_CHECK(unit_has_text(SRC "/d/f", "data of f") && unit_exists(SRC "/g") && unit_exists(SRC "/d/e"));
	KTAP_CHECK(unit_has_text(UP "/d/f", "other"));
	KTAP_CHECK(getxattr(UP, "trusted.kunion.attach", NULL, 0) < 0);
	detach();
	KTAP_CHECK(unit_has_text(T "/d/f", "data of f") && unit_exists(T "/g"));
	/* On again: the upper directory has what it had. */
	attach();
	KTAP_CHECK(unit_has_text(T "/d/f", "other") && !unit_exists(T "/g"));
	detach();
}

KTAP_TEST(upper_directory_that_is_there_keeps_its_attributes)
{
	scene();
	make_dir(UP);
	KTAP_REQUIRE(!chmod(UP, 0711));
	make_dir(UNIT_DIR "/host/w");
	KTAP_REQUIRE(!ATTACH("--upper", UP, "--work", UNIT_DIR "/host/w", T), "%s", err);
	KTAP_CHECK((unit_stat(T).st_mode & 0777) == 0711 && unit_exists(UNIT_DIR "/host/w/work") && !unit_exists(WORK));
	detach();
}

KTAP_TEST(mount_flags_are_kept)
{
	static const struct {
		unsigned long flags;
		const char *shown;
	} cases[] = {
		{ MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, "rw,nosuid,nodev,noexec,noatime" },
		{ MS_RDONLY | MS_RELATIME | MS_NODIRATIME, "ro,nodiratime,relatime" },
		{ MS_STRICTATIME, "rw" },
		{ MS_NOSUID | MS_RELATIME, "rw,nosuid,relatime" },
	};

	scene();
	for (size_t i = 0; i < KU_ARRAY_SIZE(cases); i++) {
		int status;

		KTAP_REQUIRE(!mount(NULL, T, NULL, MS_REMOUNT | MS_BIND | cases[i].flags, NULL));
		KTAP_CHECK(mount_is(T, "options", cases[i].shown));
		status = ATTACH("--upper", UP, T);
		KTAP_REQUIRE(!status, "%d %s", status, err);
		KTAP_CHECK(!*err == !(cases[i].flags & MS_RDONLY), "%s", err);
		KTAP_CHECK(attached() && mount_is(T, "options", cases[i].shown));
		detach();
		KTAP_CHECK(mount_is(T, "options", cases[i].shown));
	}
}

KTAP_TEST(propagation_is_kept)
{
	char *before, *after;

	source();
	KTAP_REQUIRE(!mount(NULL, "/tmp", NULL, MS_SHARED, NULL) && !mount(SRC, T, NULL, MS_BIND, NULL));
	before = mount_field(T, "optional");
	KTAP_REQUIRE(!strncmp(before, "shared:", 7), "%s", before);
	attach();
	after = mount_field(T, "optional");
	KTAP_CHECK(!strncmp(after, "shared:", 7) && strcmp(after, before), "%s, was %s", after, before);
	/* Not over the source, which is a peer. */
	KTAP_CHECK(mount_is(SRC, "fstype", ""));
	unit_text(T "/new", "1");
	KTAP_CHECK(!unit_exists(SRC "/new"));
	detach();
	KTAP_CHECK(mount_is(T, "optional", before));
	/* It receives again what is mounted at a peer. */
	KTAP_REQUIRE(!mount("unit", SRC "/d", "tmpfs", 0, NULL));
	KTAP_CHECK(mount_is(T "/d", "fstype", "tmpfs"));
	KTAP_REQUIRE(!umount(SRC "/d"));
	/* One that is not shared stays so. */
	KTAP_REQUIRE(!mount(NULL, T, NULL, MS_SLAVE, NULL));
	attach();
	KTAP_CHECK(mount_is(T, "optional", ""));
	detach();
	free(after);
	after = mount_field(T, "optional");
	KTAP_CHECK(!strncmp(after, "master:", 7), "%s", after);
	free(after);
	free(before);
}

/* Before Linux 6.13 layers have names only. */
KTAP_TEST(layers_by_name)
{
	scene();
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/overlay-fd.without", "");
	attach();
	unit_text(T "/d/f", "other");
	KTAP_CHECK(unit_has_text(SRC "/d/f", "data of f") && unit_has_text(UP "/d/f", "other"));
	KTAP_CHECK(getxattr(UP, "trusted.kunion.attach", NULL, 0) < 0);
	KTAP_REQUIRE(!COMMAND(ku_cmd_diff, "diff", T), "%s", err);
	KTAP_CHECK(!strcmp(out, "changed   /d/f (data, time)\n"), "%s", out);
	detach();
	command_refused(ATTACH("--upper", UNIT_DIR "/host/a,b", T), "takes no ','");
	KTAP_CHECK(!unit_exists(UNIT_DIR "/host/a,b") && !unit_exists(UNIT_DIR "/host/a,b.work"));
}

/* What overlayfs takes, too: by descriptors. */
KTAP_TEST(names_of_any_bytes)
{
	int status;

	scene();
	status = ATTACH("--upper", UNIT_DIR "/host/a,b:c\\d e", T);
	if (status && strstr(err, "takes no ','"))
		ktap_skip("layers have names only in this kernel");
	KTAP_REQUIRE(!status, "%s", err);
	unit_text(T "/d/f", "other");
	KTAP_CHECK(unit_has_text(UNIT_DIR "/host/a,b:c\\d e/d/f", "other"));
	KTAP_REQUIRE(!COMMAND(ku_cmd_diff, "diff", T), "%s", err);
	KTAP_CHECK(!strcmp(out, "changed   /d/f (data, time)\n"), "%s", out);
	detach();
}

/* A process in a mount namespace of its own with a bind mount of its own; both ends of a socketpair order its steps. */
struct other {
	pid_t pid;
	int sock;
	char number[16];
};

static char other_ask(struct other *o, char what)
{
	char answer = '?';

	KTAP_REQUIRE(write(o->sock, &what, 1) == 1 && read(o->sock, &answer, 1) == 1);
	return answer;
}

static void other_start(struct other *o)
{
	int socks[2];

	KTAP_REQUIRE(!socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	fflush(NULL);
	o->pid = fork();
	KTAP_REQUIRE(o->pid >= 0);
	if (o->pid == 0) {
		char what;

		close(socks[0]);
		KTAP_REQUIRE(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		KTAP_REQUIRE(!mount("unit", UNIT_DIR "/host", "tmpfs", 0, NULL));
		KTAP_REQUIRE(!mount(SRC, T, NULL, MS_BIND, NULL) && !mount(NULL, T, NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL));
		while (read(socks[1], &what, 1) == 1) {
			char *options = mount_field(T, "options");
			char answer = what == 'a' ? attached() ? 'y' : 'n' : what == 'd' ? strstr(options, "nodev") ? 'y' : 'n' : 'k';

			free(options);
			if (what == 'w')
				unit_text(T "/d/f", "other");
			KTAP_REQUIRE(write(socks[1], &answer, 1) == 1);
		}
		_exit(0);
	}
	close(socks[1]);
	o->sock = socks[0];
	snprintf(o->number, sizeof(o->number), "%d", (int)o->pid);
	KTAP_CHECK(other_ask(o, 'a') == 'n');
}

static void in_another_namespace(void)
{
	struct other o;
	int status;

	other_start(&o);
	note_mounts();
	status = ATTACH("--upper", UP, "--pid", o.number, T);
	KTAP_REQUIRE(!status, "%d %s", status, err);
	KTAP_CHECK(other_ask(&o, 'a') == 'y' && other_ask(&o, 'd') == 'y');
	KTAP_CHECK(same_mounts(), "something is mounted here");
	other_ask(&o, 'w');
	KTAP_CHECK(unit_has_text(UP "/d/f", "other") && unit_has_text(SRC "/d/f", "data of f"));
	command_refused(ATTACH("--upper", UNIT_DIR "/host/2", "--pid", o.number, T), "a union is attached there");
	command_refused(ATTACH("--upper", UP, T), UP ": in use by the overlay in another mount namespace");
	command_refused(DETACH(T), "nothing is mounted there");
	status = DETACH("--pid", o.number, T);
	KTAP_CHECK(!status && !*err, "%d %s", status, err);
	KTAP_CHECK(other_ask(&o, 'a') == 'n');
	command_refused(ATTACH("--upper", UP, "--pid", o.number, "tmp"), "must begin with '/'");
	command_refused(DETACH("--pid", o.number, "/tmp/nowhere"), "no such directory");
	close(o.sock);
	KTAP_CHECK(command_end(o.pid) == 0);
}

KTAP_TEST(another_mount_namespace)
{
	source();
	in_another_namespace();
}

KTAP_TEST(another_mount_namespace_by_name)
{
	source();
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/overlay-fd.without", "");
	in_another_namespace();
}

/* A user namespace with 0 mapped to 1000, as a descriptor. */
static int mapped_userns(void)
{
	char path[64];
	int fds[2], fd;
	char c;
	pid_t pid;

	KTAP_REQUIRE(!pipe(fds));
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) || write(fds[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	close(fds[1]);
	if (read(fds[0], &c, 1) != 1)
		ktap_skip("no user namespaces here");
	for (const char *const *map = (const char *const[]){ "uid_map", "gid_map", NULL }; *map; map++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, *map);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		KTAP_REQUIRE(fd >= 0 && write(fd, "0 1000 65536", 12) == 12);
		close(fd);
	}
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return fd;
}

KTAP_TEST(idmapped_mount)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	int tree;

	source();
	attr.userns_fd = (uint64_t)mapped_userns();
	tree = open_tree(AT_FDCWD, SRC, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	KTAP_REQUIRE(tree >= 0);
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)))
		ktap_skip("no idmapped tmpfs in this kernel");
	KTAP_REQUIRE(!move_mount(tree, "", AT_FDCWD, T, MOVE_MOUNT_F_EMPTY_PATH));
	close(tree);
	KTAP_REQUIRE(unit_stat(T "/d/f").st_uid == 1000);
	attach();
	KTAP_CHECK(unit_stat(T "/d/f").st_uid == 1000 && unit_stat(T).st_uid == 1000);
	unit_text(T "/d/f", "other");
	KTAP_CHECK(unit_stat(T "/d/f").st_uid == 1000);
	KTAP_REQUIRE(!COMMAND(ku_cmd_diff, "diff", T), "%s", err);
	KTAP_CHECK(!strcmp(out, "changed   /d/f (data, time)\n"), "%s", out);
	detach();
}

/* Each of these calls fails once, at its first and second time: all is as it was, and nothing was made. */
KTAP_TEST(failures_leave_nothing)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_fsmount, .arg = -1, .err = ENOMEM, .times = 1 },
		{ .nr = SYS_mount_setattr, .arg = -1, .err = ENOMEM, .times = 1 },
		{ .nr = SYS_move_mount, .arg = -1, .err = ENOMEM, .times = 1 },
		{ .nr = SYS_open_tree, .arg = -1, .err = ENOMEM, .times = 1 },
		{ .nr = SYS_fsopen, .arg = -1, .err = ENOMEM, .times = 1 },
		/* MOVE_MOUNT_SET_GROUP; once it works, when the one that is to be put there failed. */
		{ .nr = SYS_move_mount, .arg = 4, .mask = 0x100, .value = 0x100, .err = ENOMEM, .skip = 1, .times = 1 },
	};
	const size_t last = KU_ARRAY_SIZE(faults) - 1;

	source();
	KTAP_REQUIRE(!mount(NULL, "/tmp", NULL, MS_SHARED, NULL) && !mount(SRC, T, NULL, MS_BIND, NULL));
	note_mounts();
	unit_faults(faults, KU_ARRAY_SIZE(faults));
	for (size_t i = 0; i < last; i++) {
		command_refused(ATTACH("--upper", UP, T), "Cannot allocate memory");
		KTAP_CHECK(same_mounts(), "%zu", i);
		KTAP_CHECK(!unit_exists(UP) && !unit_exists(WORK), "%zu", i);
	}
	/* The one thing that cannot be undone is said. */
	command_refused(ATTACH("--upper", UP, T), "it is private now");
	KTAP_CHECK(!attached() && !unit_exists(UP) && mount_is(T, "optional", ""));
	for (size_t i = 0; i < KU_ARRAY_SIZE(faults); i++)
		KTAP_CHECK(faults[i].failed == 1, "%zu: %u", i, faults[i].failed);
	attach();
	detach();
}

KTAP_TEST(killed_before_it_is_there)
{
	static const char *const words[] = { "attach", "--upper", UP, T, NULL };
	char line[64];
	FILE *f;
	pid_t pid;
	int kid;

	scene();
	KTAP_REQUIRE(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/bind-put.stop", "");
	note_mounts();
	fflush(NULL);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0)
		_exit(command_call(ku_cmd_attach, words));
	for (int i = 0; i < 20000 && !unit_exists("/tmp/stop/bind-put.hit"); i++)
		usleep(1000);
	KTAP_REQUIRE(unit_exists("/tmp/stop/bind-put.hit"));
	snprintf(line, sizeof(line), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(line, "re");
	KTAP_REQUIRE(f && fscanf(f, "%d", &kid) == 1);
	fclose(f);
	kill(pid, SIGKILL);
	kill(kid, SIGKILL);
	waitpid(pid, NULL, 0);
	KTAP_REQUIRE(waitpid(kid, NULL, 0) == kid);
	KTAP_CHECK(same_mounts());
	unlink("/tmp/stop/bind-put.stop");
	attach();
	detach();
}

KTAP_TEST(what_an_upper_file_system_lacks)
{
	scene();
	KTAP_REQUIRE(!mount("unit", UNIT_DIR "/host", "ramfs", 0, NULL));
	command_refused(ATTACH("--upper", UP, T), "ramfs cannot carry an overlay, it lacks ");
	KTAP_CHECK(strstr(err, "RENAME_WHITEOUT"), "%s", err);
	KTAP_CHECK(!unit_count(UNIT_DIR "/host") && !attached());
	KTAP_REQUIRE(!umount(UNIT_DIR "/host"));
	make_dir(UP);
	make_dir(WORK);
	KTAP_REQUIRE(!mount("unit", UNIT_DIR "/host", NULL, MS_BIND, NULL) || !mount(UNIT_DIR "/host", UNIT_DIR "/host", NULL, MS_BIND, NULL));
	KTAP_REQUIRE(!mount(NULL, UNIT_DIR "/host", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	command_refused(ATTACH("--upper", UP, T), "read-only mount");
}

KTAP_TEST(refused)
{
	scene();
	make_dir(UNIT_DIR "/plain");
	note_mounts();
	command_refused(ATTACH(T), "no kunion daemon answers");
	command_refused(ATTACH("--upper", UP), "TARGET is missing");
	command_refused(ATTACH("--upper", UP, T, T), "is too many");
	command_refused(ATTACH("--upper", UP, "--pid", "x", T), "'x'");
	command_refused(ATTACH("--upper", UP, "--pid", "0", T), "'0'");
	command_refused(ATTACH("--upper", UP, "--pid", "999999999", T), "no such process");
	command_refused(ATTACH("--upper", UP, UNIT_DIR "/plain"), "mount --bind");
	command_refused(ATTACH("--upper", UP, UNIT_DIR "/nowhere"), "no such directory");
	command_refused(ATTACH("--upper", UP, SRC "/g"), "not a directory");
	command_refused(ATTACH("--upper", SRC "/g", T), "not a directory");
	command_refused(ATTACH("--upper", UNIT_DIR "/no/where", T), "no such directory");
	command_refused(ATTACH("--upper", UP, "--work", UP "/w", T), "in one another");
	command_refused(ATTACH("--upper", SRC "/up", "--work", SRC "/w", T), "is in " T " itself");
	command_refused(ATTACH("--upper", UNIT_DIR, "--work", "/tmp/work", T), "TARGET is in it");
	KTAP_CHECK(!unit_exists(UP) && !unit_exists(WORK) && !unit_exists(SRC "/up") && !unit_exists(SRC "/w"));
	KTAP_CHECK(same_mounts());
	unit_tmpfs(UNIT_DIR "/other", NULL);
	command_refused(ATTACH("--upper", UP, "--work", UNIT_DIR "/other", T), "not on the same mount");
	KTAP_REQUIRE(!umount(UNIT_DIR "/other"));
	/* What would be hidden. */
	KTAP_REQUIRE(!mount("unit", T "/d", "tmpfs", 0, NULL));
	command_refused(ATTACH("--upper", UP, T), T "/d is mounted below it");
	KTAP_REQUIRE(!umount(T "/d") && !mount(NULL, T, NULL, MS_UNBINDABLE, NULL));
	command_refused(ATTACH("--upper", UP, T), "unbindable");
	KTAP_REQUIRE(!mount(NULL, T, NULL, MS_PRIVATE, NULL));
	attach();
	command_refused(ATTACH("--upper", UNIT_DIR "/host/2", T), "a union is attached there");
	KTAP_REQUIRE(!mount(SRC, UNIT_DIR "/plain", NULL, MS_BIND, NULL));
	command_refused(ATTACH("--upper", UP, UNIT_DIR "/plain"), "in use by the overlay on " T);
	detach();
	unit_text(WORK "/kunion-commit", "");
	command_refused(ATTACH("--upper", UP, T), "a commit of it did not end");
	KTAP_CHECK(!attached());
}

KTAP_TEST(detach_only_what_attach_put_there)
{
	int fd;

	scene();
	command_refused(DETACH(), "TARGET is missing");
	command_refused(DETACH(T), "no union is attached there");
	command_refused(DETACH(SRC), "nothing is mounted there");
	make_dir(UP);
	make_dir(WORK);
	if (mount("unit", T, "overlay", 0, "lowerdir=" SRC ",upperdir=" UP ",workdir=" WORK))
		ktap_skip("no overlayfs in this kernel");
	command_refused(DETACH(T), "an overlay that is not kunion's");
	KTAP_CHECK(attached());
	KTAP_REQUIRE(!umount(T));
	attach();
	fd = open(T "/g", O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0);
	command_refused(DETACH(T), "in use");
	close(fd);
	KTAP_REQUIRE(!mount("unit", T "/d", "tmpfs", 0, NULL));
	command_refused(DETACH(T), "mounted below it: " T "/d");
	KTAP_REQUIRE(!umount(T "/d"));
	/* By a name relative to where we are, and with a slash behind. */
	KTAP_REQUIRE(!chdir(UNIT_DIR));
	KTAP_CHECK(DETACH("target/") == 0 && !attached(), "%s", err);
}

KTAP_MAIN()
