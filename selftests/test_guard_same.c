// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mode guard, seen by others: whoever holds the file, watches it, has a lock or a lease on it, or is stopped or killed while it
 * waits finds what it would find with the kernel alone. The same for the files that mode manage leaves to the kernel.
 */
#include "fx_record.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

FX_LEAN

#define SIZE FX_MB(1) /* of a scene's f */

static void twice(const struct fx_twice *t)
{
	if (!fx_kernel_since(6, 18))
		ktap_skip("mode guard needs Linux 6.18");
	fx_twice(t);
}

/* Whose blocks 0 and 1 are. */
static void note_blocks(const char *what, int fd)
{
	fx_note("%s: block 0 %#x, block 1 %#x", what, fx_get_block(fd, 0), fx_get_block(fd, 1));
}

static int open_f(const struct fx *fx)
{
	int fd = open(fx_at(fx, "f"), O_RDONLY | O_CLOEXEC);

	KTAP_REQUIRE(fd >= 0, "%s", fx_scene->name);
	return fd;
}

/* Changes block 0 by its name. */
static void write_f(const struct fx *fx)
{
	int fd = open(fx_at(fx, "f"), O_WRONLY | O_CLOEXEC);

	fx_note_call("open for writing", fd);
	fx_note_call("write", fx_put_block(fd, fx_id("new"), 0) ? -1 : 0);
	close(fd);
}

static void note_fd(const struct fx *fx, int fd)
{
	struct stat st, by_path;

	KTAP_REQUIRE(fstat(fd, &st) == 0 && stat(fx_at(fx, "f"), &by_path) == 0);
	fx_note("fstat: mode %o owner %u size %lld links %u, the same file: %d", st.st_mode, st.st_uid, (long long)st.st_size,
		(unsigned int)st.st_nlink, st.st_ino == by_path.st_ino && st.st_dev == by_path.st_dev);
	fx_note("by path: mode %o owner %u size %lld", by_path.st_mode, by_path.st_uid, (long long)by_path.st_size);
	note_blocks("descriptor", fd);
}

/* descriptors, mappings, locks */

static void steps_descriptor(struct fx *fx)
{
	int fd = open_f(fx);

	fx_note_call("chmod", chmod(fx_at(fx, "f"), 0604));
	note_fd(fx, fd);
	write_f(fx);
	note_fd(fx, fd);
	fx_note_call("fchmod", fchmod(fd, 0741));
	note_fd(fx, fd);
	close(fd);
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "guard");
}

static void steps_by_descriptor(struct fx *fx)
{
	int fd = open_f(fx);

	fx_note_call("fchmod", fchmod(fd, 0741));
	note_fd(fx, fd);
	fx_note_call("fchown", fchown(fd, 11, 12));
	note_fd(fx, fd);
	close(fd);
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "guard");
}

static void steps_unlinked(struct fx *fx)
{
	int fd = open_f(fx);

	fx_note_call("unlink", unlink(fx_at(fx, "f")));
	fx_note_call("fchmod", fchmod(fd, 0741));
	note_blocks("descriptor", fd);
	/* Another file by that name is not the one that is meant. */
	close(open(fx_at(fx, "f"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	fx_note_call("fchmod", fchmod(fd, 0741));
	close(fd);
	fx_note_file(fx, "f");
}

static void steps_mapping(struct fx *fx)
{
	int fd = open_f(fx);
	const uint32_t *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	KTAP_REQUIRE(map != MAP_FAILED);
	close(fd);
	fx_note("mapped: %#x", map[1]);
	fx_note_call("rename", rename(fx_at(fx, "f"), fx_at(fx, "g")));
	fx_note_call("back", rename(fx_at(fx, "g"), fx_at(fx, "f")));
	write_f(fx);
	fx_note("mapped: %#x %#x", map[1], map[FX_BLOCK / 4 + 1]);
	munmap((void *)map, SIZE);
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "guard");
}

static long get_lock(void *path)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fcntl(fd, F_GETLK, &fl))
		return -1;
	close(fd);
	return fl.l_type == F_UNLCK ? 0 : fl.l_pid;
}

static void steps_lock(struct fx *fx)
{
	struct flock fl = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 100 };
	int fd = open_f(fx);
	struct fx_op op;

	KTAP_REQUIRE(fcntl(fd, F_SETLK, &fl) == 0);
	/* By others: a descriptor that we close would drop it. */
	fx_call_start(&op, FX_CALL(FX_CHMOD, fx_at(fx, "f"), .mode = 0604));
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	fx_note("chmod: %d", op.res->err);
	fx_op_start(&op, 0, get_lock, (void *)fx_at(fx, "f"));
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	fx_note("locked by us: %d, errno %d", op.res->ret == getpid(), op.res->err);
	KTAP_CHECK(op.res->ret == getpid(), "%ld", op.res->ret);
	fl.l_type = F_UNLCK;
	fx_note_call("unlock", fcntl(fd, F_SETLK, &fl));
	fx_op_start(&op, 0, get_lock, (void *)fx_at(fx, "f"));
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	fx_note("locked: %ld", op.res->ret);
	close(fd);
	fx_scene_engine(fx, "guard");
}

/* watches: not one event more or less */

static void steps_watched(struct fx *fx)
{
	const struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 6 } };
	const char *what = fx_scene->arg, *f = fx_at(fx, "f");
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	long r = -1;

	KTAP_REQUIRE(inotify_add_watch(fd, f, IN_ALL_EVENTS) == 1 && inotify_add_watch(fd, fx_at(fx, ""), IN_ALL_EVENTS) == 2);
	if (!strcmp(what, "chmod"))
		r = chmod(f, 0604);
	else if (!strcmp(what, "utimes"))
		r = utimensat(AT_FDCWD, f, times, 0);
	else if (!strcmp(what, "rename"))
		r = rename(f, fx_at(fx, "g"));
	else if (!strcmp(what, "link"))
		r = link(f, fx_at(fx, "g"));
	else if (!strcmp(what, "truncate"))
		r = truncate(f, FX_BLOCK);
	fx_note_call(what, r);
	fx_note_events(what, fd);
	if (!strcmp(what, "rename"))
		rename(fx_at(fx, "g"), f);
	write_f(fx);
	fx_note_events("write", fd);
	close(fd);
	fx_scene_engine(fx, "guard");
}

/* A try of kunion's may have been before it. */
static void copied_natively(const struct fx *fx)
{
	const char *path = fx_name("/%s", fx_in("f"));

	if (!fx->opts.kernel)
		KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "engine", "kernel", "result", "ok", NULL), "%s",
			   path);
}

/* leases */

static void steps_lease(struct fx *fx)
{
	bool late = fx_scene->arg;
	struct fx_op op;
	int fd = -1;

	signal(SIGIO, SIG_IGN);
	if (!late || fx->opts.kernel) {
		fd = open_f(fx);
		fx_note_call("lease", fcntl(fd, F_SETLEASE, F_RDLCK));
	}
	if (late)
		fx_stop_arm(fx, "guarding");
	fx_call_start(&op, FX_CALL(FX_CHMOD, fx_at(fx, "f"), .mode = 0604));
	if (late && !fx->opts.kernel) {
		fx_stop_wait(fx, "guarding", FX_LONG);
		fd = open_f(fx);
		fx_note_call("lease", fcntl(fd, F_SETLEASE, F_RDLCK));
		fx_stop_go(fx, "guarding");
	}
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	fx_note("chmod: %d", op.res->err);
	fx_note("lease is %d", fcntl(fd, F_GETLEASE));
	fx_note_call("lease dropped", fcntl(fd, F_SETLEASE, F_UNLCK));
	note_fd(fx, fd);
	close(fd);
	fx_note_file(fx, "f");
	signal(SIGIO, SIG_DFL);
	copied_natively(fx);
}

/* other kinds of files */

static void lower_linked(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), SIZE, 0644);
	KTAP_REQUIRE(link(fx_lpath(fx, fx_in("f")), fx_lpath(fx, fx_in("other"))) == 0);
}

static void steps_linked(struct fx *fx)
{
	fx_note_call("rename", rename(fx_at(fx, "f"), fx_at(fx, "g")));
	fx_note_call("chmod of the other name", chmod(fx_at(fx, "other"), 0600));
	fx_note_file(fx, "g");
	fx_note_file(fx, "other");
	fx_note_file(fx, "");
	fx_scene_engine(fx, "guard");
}

static void lower_flagged(struct fx *fx)
{
	int flags = strcmp(fx_scene->arg, "append") ? FS_IMMUTABLE_FL : FS_APPEND_FL, fd;

	fx_lower(fx, fx_in("f"), SIZE, 0644);
	fd = open(fx_lpath(fx, fx_in("f")), O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0);
	close(fd);
}

static void steps_flagged(struct fx *fx)
{
	int fd = open_f(fx), flags = 0;

	fx_note_call("chmod", chmod(fx_at(fx, "f"), 0600));
	fx_note_call("truncate", truncate(fx_at(fx, "f"), FX_BLOCK));
	fx_note_call("rename", rename(fx_at(fx, "f"), fx_at(fx, "g")));
	fx_note_call("link", link(fx_at(fx, "f"), fx_at(fx, "g")));
	fx_note("upper: %d", fx_in_upper(fx, fx_in("f")));
	fx_note_call("flags off", ioctl(fd, FS_IOC_SETFLAGS, &flags));
	fx_note_call("get flags", ioctl(fd, FS_IOC_GETFLAGS, &flags));
	fx_note("flags %#x", (unsigned int)flags);
	close(fd);
	fx_note_call("chmod", chmod(fx_at(fx, "f"), 0600));
	fx_note_file(fx, "f");
	fx_note_file(fx, "");
	if (!fx->opts.kernel)
		KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", fx_name("/%s", fx_in("f")), "engine", "guard", NULL) == 0, "%s",
			   fx_scene->name);
}

static void steps_denied(struct fx *fx)
{
	static const enum fx_call_kind kinds[] = { FX_CHMOD, FX_CHOWN, FX_UTIMES, FX_TRUNCATE, FX_SETXATTR, FX_RENAME, FX_LINK };
	struct fx_op op;

	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		fx_call_start(&op, &(struct fx_call){ .kind = kinds[i], .path = fx_at(fx, "f"), .path2 = fx_at(fx, "g"), .as = 1000 });
		KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
		fx_note("%s: %d", fx_call_names[kinds[i]], op.res->err);
	}
	fx_note("upper: %d", fx_in_upper(fx, fx_in("f")));
	fx_note_file(fx, "f");
}

KTAP_TEST_LIMIT(holders_see_no_difference, 150)
{
	static const struct fx_scene scenes[] = {
		{ .name = "descriptor", .steps = steps_descriptor },
		{ .name = "by-descriptor", .steps = steps_by_descriptor },
		{ .name = "unlinked", .steps = steps_unlinked },
		{ .name = "mapping", .steps = steps_mapping },
		{ .name = "lock", .steps = steps_lock },
		{ .name = "watched-chmod", .steps = steps_watched, .arg = "chmod" },
		{ .name = "watched-utimes", .steps = steps_watched, .arg = "utimes" },
		{ .name = "watched-rename", .steps = steps_watched, .arg = "rename" },
		{ .name = "watched-link", .steps = steps_watched, .arg = "link" },
		{ .name = "watched-truncate", .steps = steps_watched, .arg = "truncate" },
		{ .name = "lease", .steps = steps_lease },
		{ .name = "late-lease", .steps = steps_lease, .arg = "late" },
		{ .name = "linked", .lower = lower_linked, .steps = steps_linked },
		{ .name = "append", .lower = lower_flagged, .steps = steps_flagged, .arg = "append" },
		{ .name = "immutable", .lower = lower_flagged, .steps = steps_flagged, .arg = "immutable" },
		{ .name = "denied", .steps = steps_denied },
		{ .name = NULL },
	};

	twice(&(struct fx_twice){ .args = { "-m", "guard" }, .scenes = scenes });
}

/* no room */

static void lower_full(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), FX_MB(8), 0644);
}

static void steps_full(struct fx *fx)
{
	fx_note_call("chmod", chmod(fx_at(fx, "f"), 0600));
	fx_note_call("rename", rename(fx_at(fx, "f"), fx_at(fx, "g")));
	fx_note_call("link", link(fx_at(fx, "f"), fx_at(fx, "g")));
	fx_note_file(fx, "f");
	fx_note_file(fx, "");
	fx_note("upper: %d", fx_in_upper(fx, fx_in("f")));
}

KTAP_TEST(no_room_is_told_by_the_kernel)
{
	static const struct fx_scene scenes[] = { { .name = "full", .lower = lower_full, .steps = steps_full }, { .name = NULL } };

	twice(&(struct fx_twice){ .opts = { .upper_fs = "tmpfs", .lower_fs = "tmpfs", .upper_size = FX_MB(4) },
				  .args = { "-m", "guard" }, .scenes = scenes });
}

/* manage leaves some to the kernel: no directory stalls for those either */

static void steps_managed(struct fx *fx)
{
	struct fx_call call = *(const struct fx_call *)fx_scene->arg;
	int fd = strstr(fx_scene->name, "held") ? open_f(fx) : -1;
	struct stat before, after;
	struct fx_op op, create;

	call.path = fx_at(fx, call.path);
	call.path2 = call.path2 ? fx_at(fx, call.path2) : NULL;
	KTAP_REQUIRE(stat(call.path, &before) == 0);
	fx_stop_arm(fx, "guarding");
	fx_call_start(&op, &call);
	fx_stop_wait(fx, "guarding", FX_LONG);
	KTAP_REQUIRE(fx->opts.kernel || fx_wait_parked(&op, FX_LONG), "%s", fx_scene->name);
	fx_call_start(&create, FX_CALL(FX_CREATE, fx_at(fx, "new"), .id = 1));
	KTAP_REQUIRE(fx_op_wait(&create, FX_LONG) && create.res->err == 0, "%s: the directory is locked", fx_scene->name);
	KTAP_CHECK(fx->opts.kernel || !fx_op_done(&op));
	fx_stop_go(fx, "guarding");
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	fx_note("%s: %d", fx_call_names[call.kind], op.res->err);
	KTAP_REQUIRE(stat(call.kind == FX_RENAME ? call.path2 : call.path, &after) == 0);
	fx_note("the same number: %d", before.st_ino == after.st_ino && before.st_dev == after.st_dev);
	if (fd >= 0)
		note_blocks("descriptor", fd);
	close(fd);
	fx_note_file(fx, "f");
	fx_note_file(fx, "g");
	fx_note_file(fx, "");
	fx_scene_engine(fx, "guard");
}

#define MANAGED(what, files, ...) { .name = what, .lower = files, .steps = steps_managed, .arg = FX_CALL(__VA_ARGS__) }

static const struct fx_scene managed[] = {
	MANAGED("held-rename", NULL, FX_RENAME, "f", .path2 = "g"),
	MANAGED("held-link", NULL, FX_LINK, "f", .path2 = "g"),
	MANAGED("held-chmod", NULL, FX_CHMOD, "f", .mode = 0604),
	MANAGED("linked-rename", lower_linked, FX_RENAME, "f", .path2 = "g"),
	MANAGED("linked-link", lower_linked, FX_LINK, "f", .path2 = "g"),
	MANAGED("linked-chmod", lower_linked, FX_CHMOD, "f", .mode = 0604),
	{ .name = NULL },
};

KTAP_TEST_LIMIT(manage_guards_what_it_leaves_to_the_kernel, 100)
{
	twice(&(struct fx_twice){ .scenes = managed });
}

KTAP_TEST_LIMIT(manage_guards_with_nfs_export, 100)
{
	const struct fx_scene scenes[] = { MANAGED("rename", NULL, FX_RENAME, "f", .path2 = "g"),
					   MANAGED("chmod", NULL, FX_CHMOD, "f", .mode = 0604),
					   MANAGED("linked-link", lower_linked, FX_LINK, "f", .path2 = "g"),
					   { .name = NULL } };

	twice(&(struct fx_twice){ .opts = { .mount_opts = "index=on,nfs_export=on", .upper_fs = "ext4" }, .scenes = scenes });
}

/* a waiter's own life */

static volatile unsigned int *handled;

static void handler(int sig)
{
	(void)sig;
	__atomic_add_fetch(handled, 1, __ATOMIC_SEQ_CST);
}

/* Without SA_RESTART. */
static long chmod_handling(void *path)
{
	const struct sigaction sa = { .sa_handler = handler };

	sigaction(SIGUSR1, &sa, NULL);
	return chmod(path, 0604);
}

/* Parked, with kunion held at "guarding". */
static void park_chmod(struct fx *fx, struct fx_op *op, const char *name)
{
	fx_stop_arm(fx, "guarding");
	fx_op_start(op, 0, chmod_handling, (void *)fx_path(fx, name));
	fx_stop_wait(fx, "guarding", FX_LONG);
	KTAP_REQUIRE(fx_wait_parked(op, FX_LONG), "%s", name);
}

static void end_chmod(struct fx *fx, struct fx_op *op, const char *name)
{
	struct stat st;

	fx_stop_go(fx, "guarding");
	KTAP_CHECK(fx_op_wait(op, FX_LONG) && op->res->err == 0, "%s: errno %d", name, op->res->err);
	KTAP_CHECK(stat(fx_path(fx, name), &st) == 0 && (st.st_mode & 07777) == 0604, "%s", name);
}

static void begin(struct fx *fx, const char *const *names, const char *max_wait)
{
	if (!fx_kernel_since(6, 18))
		ktap_skip("mode guard needs Linux 6.18");
	handled = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	KTAP_REQUIRE(handled != MAP_FAILED);
	fx_init(fx, NULL);
	for (; *names; names++)
		fx_lower(fx, *names, SIZE, 0644);
	fx_mount(fx);
	fx_attach(fx, "-m", "guard", "--max-wait", max_wait, NULL);
}

KTAP_TEST_LIMIT(signals_reach_who_waits, 100)
{
	static const char *const names[] = { "handler", "killed", "frozen", NULL };
	struct fx_op op;
	struct fx fx;

	begin(&fx, names, "30");
	park_chmod(&fx, &op, "handler");
	for (unsigned int i = 1; i <= 3; i++) {
		fx_op_kill(&op, SIGUSR1);
		for (int k = 0; k < FX_LONG && *handled < i; k++)
			fx_sleep_ms(1);
		KTAP_CHECK(*handled == i && fx_wait_parked(&op, FX_LONG), "signal %u: %u handled", i, *handled);
	}
	end_chmod(&fx, &op, "handler");

	park_chmod(&fx, &op, "killed");
	fx_op_kill(&op, SIGKILL);
	KTAP_CHECK(!fx_op_wait(&op, FX_LONG) && !op.pid, "a killed one must not have returned");
	fx_call_start(&op, FX_CALL(FX_RENAME, fx_path(&fx, "killed"), .path2 = fx_path(&fx, "renamed")));
	KTAP_REQUIRE(fx_wait_parked(&op, FX_LONG), "the next one waits in its place");
	fx_stop_go(&fx, "guarding");
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0 && fx_exists(fx_path(&fx, "renamed")), "errno %d", op.res->err);

	park_chmod(&fx, &op, "frozen");
	KTAP_REQUIRE(mkdir(FX_DIR "/cgroup", 0755) == 0 && mount("none", FX_DIR "/cgroup", "cgroup2", 0, NULL) == 0);
	fx_sh("mkdir -p %s/cgroup/fx && echo %d >%s/cgroup/fx/cgroup.procs && echo 1 >%s/cgroup/fx/cgroup.freeze", FX_DIR, op.pid, FX_DIR,
	      FX_DIR);
	fx_sh("for i in $(seq 500); do grep -q 'frozen 1' %s/cgroup/fx/cgroup.events && exit; sleep 0.02; done; exit 1", FX_DIR);
	KTAP_CHECK(!fx_op_parked(&op), "frozen, it does not sleep in the gate");
	fx_sh("echo 0 >%s/cgroup/fx/cgroup.freeze", FX_DIR);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG), "thawed, it waits again");
	end_chmod(&fx, &op, "frozen");
	rmdir(FX_DIR "/cgroup/fx");
	KTAP_CHECK(umount2(FX_DIR "/cgroup", 0) == 0);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(nobody_waits_for_ever, 150)
{
	static const char *const names[] = { "limit", "crash", "end", NULL };
	struct fx_op op;
	struct fx fx;

	begin(&fx, names, "1");
	park_chmod(&fx, &op, "limit");
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0 && fx_op_ms(&op) >= 900, "errno %d after %.0f ms", op.res->err,
		   fx_op_ms(&op));
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/limit", "engine", "kernel", "result", "ok", NULL));
	end_chmod(&fx, &op, "limit");
	fx_detach(&fx);

	fx_attach(&fx, "-m", "guard", NULL);
	park_chmod(&fx, &op, "crash");
	fx_kill(&fx);
	end_chmod(&fx, &op, "crash");

	fx_attach(&fx, "-m", "guard", NULL);
	park_chmod(&fx, &op, "end");
	kill(fx.kunion, SIGINT);
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0, "SIGINT: errno %d", op.res->err);
	end_chmod(&fx, &op, "end");
	fx_end(&fx);
}

KTAP_MAIN()
