// SPDX-License-Identifier: GPL-2.0-only
/* Overlays with idmapped layers, in a container's mount namespace: a copy is owned by whom the kernel's own copy would be, twin by twin. */
#include "box.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

FX_LEAN

#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x00100000
#endif

#define OURS FX_DIR "/ours"	/* kunion attaches to it */
#define TWIN FX_DIR "/twin"	/* the kernel alone */
#define MAPPED FX_DIR "/mapped" /* the lower layer, as the container's engine maps it */

struct idmap_attr {
	uint64_t attr_set, attr_clr, propagation, userns_fd;
};

static void in_mounts_of(pid_t pid)
{
	int fd = open(fx_name("/proc/%d/ns/mnt", pid), O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNS))
		_exit(255);
	close(fd);
}

/* A user namespace of this map, which no process is in any more. */
static int userns(const char *map)
{
	int fds[2], fd;
	pid_t pid;
	char c;

	KTAP_REQUIRE(!pipe2(fds, O_CLOEXEC));
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (!pid) {
		if (unshare(CLONE_NEWUSER) || write(fds[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	close(fds[1]);
	KTAP_REQUIRE(read(fds[0], &c, 1) == 1, "no user namespaces");
	close(fds[0]);
	fx_sh("echo '%s' >/proc/%d/uid_map && echo '%s' >/proc/%d/gid_map", map, pid, map, pid);
	fd = open(fx_name("/proc/%d/ns/user", pid), O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0 && !kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid);
	return fd;
}

/* In pid's mount namespace, from mapped by the user namespace is mounted on to; on itself with NULL. Returns 0 or an errno. */
static int map(pid_t pid, int userns_fd, const char *from, const char *to)
{
	struct idmap_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd };
	pid_t child = fork();
	int status, tree;

	KTAP_REQUIRE(child >= 0);
	if (!child) {
		in_mounts_of(pid);
		tree = (int)syscall(SYS_open_tree, AT_FDCWD, from, 1 /* OPEN_TREE_CLONE */);
		if (tree < 0 || syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) ||
		    syscall(SYS_move_mount, tree, "", AT_FDCWD, to, 4 /* MOVE_MOUNT_F_EMPTY_PATH */))
			_exit(errno);
		_exit(0);
	}
	KTAP_REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* All of a file but its number and what overlayfs keeps there for itself. */
static void describe(FILE *f, const char *path)
{
	static char names[4096], value[4096];
	struct stat st;
	ssize_t len, n;

	if (lstat(path, &st)) {
		fprintf(f, "%s\n", strerrorname_np(errno));
		return;
	}
	fprintf(f, "%u:%u %o %lld %lld.%09ld\n", st.st_uid, st.st_gid, st.st_mode, (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	len = llistxattr(path, names, sizeof(names));
	for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		if (strstr(name, ".overlay."))
			continue;
		n = lgetxattr(path, name, value, sizeof(value));
		fprintf(f, "%s (%zd)", name, n);
		for (ssize_t i = 0; i < n; i++)
			fprintf(f, " %02x", (unsigned char)value[i]);
		fputc('\n', f);
	}
}

struct step {
	const char *file;
	uid_t uid;
	bool rename;
};

/* What it gives, and how the merged and the upper file are then. */
static const char *step(const struct box *b, const struct step *s, const char *merged, const char *upper)
{
	const char *out = fx_name("%s.said", merged);
	pid_t child = fork();
	int status;

	KTAP_REQUIRE(child >= 0);
	if (!child) {
		const char *path = fx_name("%s/%s", merged, s->file), *to = fx_name("%s.new", path), *now = s->rename ? ".new" : "";
		FILE *f = fopen(out, "we");
		long r;

		in_mounts_of(b->pid);
		if (s->uid && (setresgid(s->uid, s->uid, s->uid) || setresuid(-1, s->uid, -1)))
			_exit(254);
		r = s->rename ? rename(path, to) : see_closed(open(path, O_WRONLY | O_CLOEXEC));
		fprintf(f, "%s\n", r ? strerrorname_np(errno) : "ok");
		if (s->uid && setresuid(-1, 0, -1))
			_exit(253);
		describe(f, fx_name("%s/%s%s", merged, s->file, r ? "" : now));
		describe(f, fx_name("%s/%s%s", upper, s->file, r ? "" : now));
		_exit(fclose(f) ? 252 : 0);
	}
	KTAP_REQUIRE(waitpid(child, &status, 0) == child && !status, "%s: %#x", s->file, status);
	return strdup(box_text(out));
}

static void both(struct fx *fx, const struct box *b, const struct step *s, const char *engine)
{
	const char *ours = step(b, s, OURS, FX_DIR "/u/ours/u"), *twin = step(b, s, TWIN, FX_DIR "/u/twin/u");

	KTAP_CHECK(!strcmp(ours, twin), "%s: '%s', the kernel alone '%s'", s->file, ours, twin);
	if (engine)
		KTAP_CHECK(!strncmp(ours, "ok\n", 3) && fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "union", OURS, "path", fx_name("/%s", s->file),
								      "engine", engine, "result", "ok", NULL), "%s: %s", s->file, ours);
}

static void lower(struct fx *fx)
{
	static const char *const files[] = { "see", "guard", "plain", "acl", "cap", "xattr", "users", "nobody", "tool", NULL };

	for (const char *const *f = files; *f; f++)
		fx_lower(fx, fx_name("d/%s", *f), FX_KB(256), 0644);
	/* 70000 is none of the map's. */
	fx_sh("cd %s/d && chown 5:7 plain see guard && chmod 6755 plain && setfacl -m u:1000:rw,u:5:---,g:1002:r,m::rwx acl && chmod 755 cap && "
	      "setcap cap_net_raw+ep cap && setfattr -n user.a -v b xattr && setfattr -n trusted.t -v t xattr && chown 5:5 users && chmod 600 users && "
	      "chown 70000:7 nobody && chown 5:70000 tool", fx->lower);
	fx_mount(fx);
}

enum what { LOWER, BOTH, MOUNT };

/* The two of them, in the container. False: overlayfs itself has no idmapped mounts. */
static bool mount_twins(struct fx *fx, struct box *b, int ns, enum what what)
{
	static const char *const names[] = { "ours", "twin" };

	if (what != MOUNT)
		KTAP_CHECK(map(b->pid, ns, fx->lower, MAPPED) == 0);
	for (int i = 0; i < 2; i++) {
		const char *up = fx_name(what == BOTH ? FX_DIR "/up.%s" : FX_DIR "/u/%s", names[i]), *at = fx_name(FX_DIR "/%s", names[i]);
		int err;

		fx_sh("mkdir -p " FX_DIR "/u/%s/u " FX_DIR "/u/%s/w " FX_DIR "/up.%s " FX_DIR "/first", names[i], names[i], names[i]);
		if (what == BOTH)
			KTAP_CHECK(map(b->pid, ns, fx_name(FX_DIR "/u/%s", names[i]), up) == 0);
		KTAP_CHECK(box_run(b, "mount -t overlay -o lowerdir=%s,upperdir=%s/u,workdir=%s/w o %s", what == MOUNT ? fx->lower : MAPPED, up, up,
				   what == MOUNT ? FX_DIR "/first" : at) == 0);
		if (what != MOUNT)
			continue;
		err = map(b->pid, ns, FX_DIR "/first", at);
		KTAP_CHECK(!err || err == EINVAL, "%s", strerrorname_np(err));
		KTAP_CHECK(box_run(b, "umount " FX_DIR "/first") == 0);
		if (err)
			return false;
	}
	return true;
}

/* Each mode's copies on both. engine: who copies in manage where it works. told: what status says. */
static void twins(enum what what, const char *lower_map, const char *engine, const char *told)
{
	struct json_object *u, *o, *all;
	struct box b;
	struct fx fx;
	int ns;

	fx_init(&fx, &(struct fx_opts){ .upper_fs = "ext4" });
	lower(&fx);
	fx_sh("mkdir " OURS " " TWIN " " MAPPED);
	see_places_make();
	box_start(&b, SEE_DOCKER, false);
	ns = userns(lower_map);
	if (!mount_twins(&fx, &b, ns, what)) {
		box_end(&b);
		see_places_remove();
		fx_end(&fx);
		ktap_skip("overlayfs has no idmapped mounts in this kernel");
	}
	if (!box_daemon(&fx, true, NULL))
		engine = NULL;

	KTAP_CHECK(BOX_KUNION("attach", "-m", "observe", "--container", "3f1b", "--match", OURS) == 0, "%s", BOX_SAID);
	u = box_union(OURS, SEE_ID_A, &all);
	KTAP_CHECK(u && json_object_object_get_ex(u, "options", &o) && see_is(o, "idmap", told), "not %s: %s", told, BOX_SAID);
	json_object_put(all);
	both(&fx, &b, &(struct step){ .file = "d/see" }, "kernel");
	KTAP_CHECK(BOX_KUNION("detach", "--container", "3f1b", OURS) == 0, "%s", BOX_SAID);
	if (engine) {
		KTAP_CHECK(BOX_KUNION("attach", "-m", "guard", "--container", "3f1b", "--match", OURS) == 0, "%s", BOX_SAID);
		both(&fx, &b, &(struct step){ .file = "d/guard", .rename = true }, NULL);
		KTAP_CHECK(BOX_KUNION("detach", "--container", "3f1b", OURS) == 0, "%s", BOX_SAID);
	}
	KTAP_CHECK(BOX_KUNION("attach", "--container", "3f1b", "--match", OURS) == 0, "%s", BOX_SAID);
	for (const char *const *f = (const char *const[]){ "d/plain", "d/acl", "d/cap", "d/xattr", NULL }; *f; f++)
		both(&fx, &b, &(struct step){ .file = *f }, engine ?: "kernel");
	both(&fx, &b, &(struct step){ .file = "d/users", .uid = 100005 }, engine ?: "kernel");
	/* Whose owner or group the mount has no number for cannot be changed, by anybody. */
	both(&fx, &b, &(struct step){ .file = "d/nobody" }, NULL);
	both(&fx, &b, &(struct step){ .file = "d/nobody", .rename = true }, NULL);
	KTAP_CHECK(BOX_KUNION("detach", "--container", "3f1b", OURS) == 0, "%s", BOX_SAID);
	KTAP_CHECK(box_run(&b, "kunion copy-up --exclusive " OURS "/d/tool >" BOX_OUT " 2>&1") != 0, "%s", BOX_SAID);
	KTAP_CHECK(!fx_exists(FX_DIR "/u/ours/u/d/tool"), "a copy that is nobody's: %s", BOX_SAID);
	KTAP_CHECK(box_run(&b, "umount " OURS " && umount " TWIN) == 0, "busy");
	close(ns);
	box_end(&b);
	box_daemon_end(&fx);
	see_places_remove();
	fx_end(&fx);
}

#define ALL_MAPPED "0 100000 65536"
/* Root is root, so that it can mount the union, and make files. */
#define BUT_ROOT "0 0 1\n1 100001 65535"

KTAP_TEST_LIMIT(lower_layers, 300)
{
	twins(LOWER, ALL_MAPPED, "kunion", "lower");
}

KTAP_TEST_LIMIT(both_layers, 300)
{
	twins(BOTH, BUT_ROOT, "kunion", "lower+upper");
}

KTAP_TEST_LIMIT(merged_mount, 300)
{
	twins(MOUNT, BUT_ROOT, "kunion", "mount");
}

/* kunion, as root, cannot make a file there: the kernel copies. */
KTAP_TEST_LIMIT(merged_mount_without_root, 300)
{
	twins(MOUNT, ALL_MAPPED, "kernel", "mount");
}

KTAP_MAIN()
