// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mode guard and programs that run: the kernel refuses to open them for writing, so their copy-up is brought about in another way; who runs
 * one, watches it or starts it meanwhile finds what it would find with the kernel alone.
 */
#include "fx_record.h"

#include <fcntl.h>
#include <sys/inotify.h>

FX_LEAN

#define BIG FX_MB(32) /* the kernel copies it for long enough to see what happens meanwhile */
#define TRIES 3

static void needs_park(void)
{
	if (!fx_kernel_since(6, 18))
		ktap_skip("mode guard needs Linux 6.18");
}

static void lower_program(struct fx *fx)
{
	/* Busybox, which is static and knows what to do by its name. */
	fx_sh("mkdir %s && cp /bin/busybox %s && chmod 755 %s", fx_lpath(fx, fx_in("")), fx_lpath(fx, fx_in("f")),
	      fx_lpath(fx, fx_in("f")));
}

/* Sleeps; back once it is the program. */
static pid_t run(const char *path)
{
	char exe[64], target[FX_PATH_MAX] = "";
	pid_t pid = fork();

	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		execl(path, "sleep", "1000", (char *)NULL);
		_exit(1);
	}
	snprintf(exe, sizeof(exe), "/proc/%d/exe", pid);
	for (int i = 0; i < FX_LONG && strcmp(target, path); i++) {
		ssize_t n = readlink(exe, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		fx_sleep_ms(1);
	}
	KTAP_REQUIRE(!strcmp(target, path), "%s does not run: %s", path, target);
	return pid;
}

static bool end_run(pid_t pid)
{
	bool alive = waitpid(pid, NULL, WNOHANG) == 0;

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return alive;
}

/* A copy of its own by either call, the file and its directory watched. */
static void steps_running(struct fx *fx)
{
	bool renames = !strcmp(fx_scene->arg, "rename");
	const char *end = renames ? "g" : "f";
	pid_t pid = run(fx_at(fx, "f"));
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct stat before, after;

	KTAP_REQUIRE(inotify_add_watch(fd, fx_at(fx, "f"), IN_ALL_EVENTS) == 1 && inotify_add_watch(fd, fx_at(fx, ""), IN_ALL_EVENTS) == 2);
	KTAP_REQUIRE(stat(fx_at(fx, "f"), &before) == 0);
	if (renames)
		fx_note_call("rename", rename(fx_at(fx, "f"), fx_at(fx, end)));
	else
		fx_note_call("chmod", chmod(fx_at(fx, "f"), 0711));
	fx_note_events("watch", fd);
	KTAP_REQUIRE(stat(fx_at(fx, end), &after) == 0);
	fx_note("the same number: %d, device: %d", before.st_ino == after.st_ino, before.st_dev == after.st_dev);
	fx_note_call("writing it", open(fx_at(fx, end), O_WRONLY | O_CLOEXEC));
	fx_note_file(fx, end);
	fx_note_upper(fx, end);
	fx_note_file(fx, "");
	fx_note("alive: %d", end_run(pid));
	close(fd);
	fx_scene_engine(fx, "guard");
}

static long run_true(void *path)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl(path, "true", (char *)NULL);
		_exit(errno);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* No ETXTBSY because of kunion: it waits while kunion may have the file open. */
static void steps_exec(struct fx *fx)
{
	struct fx_op chmod_op, exec_op;

	fx_stop_arm(fx, "guarding");
	fx_call_start(&chmod_op, FX_CALL(FX_CHMOD, fx_at(fx, "f"), .mode = 0711));
	fx_stop_wait(fx, "guarding", FX_LONG);
	fx_op_start(&exec_op, 0, run_true, (void *)fx_at(fx, "f"));
	fx_sleep_ms(fx->opts.kernel ? 0 : 300);
	KTAP_CHECK(fx->opts.kernel || !fx_op_done(&exec_op), "it runs although kunion may open the file for writing");
	fx_stop_go(fx, "guarding");
	KTAP_REQUIRE(fx_op_wait(&chmod_op, FX_LONG) && fx_op_wait(&exec_op, FX_LONG));
	fx_note("chmod: %d, exec: %ld %d", chmod_op.res->err, exec_op.res->ret, exec_op.res->err);
	KTAP_CHECK(exec_op.res->ret == 0, "%ld", exec_op.res->ret);
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "guard");
}

KTAP_TEST_LIMIT(programs_see_no_difference, 150)
{
	static const struct fx_scene scenes[] = {
		{ .name = "rename", .lower = lower_program, .steps = steps_running, .arg = "rename" },
		{ .name = "chmod", .lower = lower_program, .steps = steps_running, .arg = "chmod" },
		{ .name = "exec", .lower = lower_program, .steps = steps_exec },
		{ .name = NULL },
	};

	needs_park();
	fx_twice(&(struct fx_twice){ .args = { "-m", "guard" }, .scenes = scenes });
}

/* What the attribute's replacement fails with is another matter there. */
static void elsewhere(const struct fx_opts *opts)
{
	static const struct fx_scene scenes[] = {
		{ .name = "rename", .lower = lower_program, .steps = steps_running, .arg = "rename" },
		{ .name = NULL },
	};

	needs_park();
	fx_twice(&(struct fx_twice){ .opts = *opts, .args = { "-m", "guard" }, .scenes = scenes });
}

KTAP_TEST_LIMIT(nor_on_ext4, 100)
{
	elsewhere(&(struct fx_opts){ .upper_fs = "ext4", .lower_fs = "tmpfs" });
}

KTAP_TEST_LIMIT(nor_on_btrfs, 100)
{
	elsewhere(&(struct fx_opts){ .upper_fs = "btrfs", .lower_fs = "ext4" });
}

KTAP_TEST_LIMIT(nor_with_userxattr, 100)
{
	elsewhere(&(struct fx_opts){ .mount_opts = "userxattr" });
}

/* Others work in its directory before and during the copy. False: the copy was over too soon to tell. */
static bool rename_running(struct fx *fx, const char *dir)
{
	const char *file = fx_name("%s/f", dir), *to = fx_name("%s/g", dir), *path = fx_name("/%s", file);
	pid_t pid = run(fx_path(fx, file));
	struct fx_op op, create;
	uint64_t before;
	bool seen;

	fx_stop_arm(fx, "guarding");
	fx_call_start(&op, FX_CALL(FX_RENAME, fx_path(fx, file), .path2 = fx_path(fx, to)));
	fx_stop_wait(fx, "guarding", FX_LONG);
	KTAP_REQUIRE(fx_wait_parked(&op, FX_LONG));
	fx_call_start(&create, FX_CALL(FX_CREATE, fx_path(fx, fx_name("%s/new1", dir)), .id = 1));
	KTAP_REQUIRE(fx_op_wait(&create, FX_LONG) && create.res->err == 0, "errno %d", create.res->err);
	before = fx_upper_free(fx);
	fx_stop_go(fx, "guarding");
	seen = fx_wait_copying(fx, before, &op);
	fx_call_start(&create, FX_CALL(FX_CREATE, fx_path(fx, fx_name("%s/new2", dir)), .id = 1));
	KTAP_REQUIRE(fx_op_wait(&create, FX_LONG) && create.res->err == 0, "errno %d", create.res->err);
	seen = seen && !fx_op_done(&op);
	KTAP_REQUIRE(fx_op_wait(&op, 2 * FX_LONG) && op.res->err == 0, "errno %d", op.res->err);
	ktap_diag("rename took %.0f ms, a create beside the copy %.0f ms, before it ended: %d", fx_op_ms(&op), fx_op_ms(&create), seen);
	KTAP_CHECK(fx_in_upper(fx, to) && !fx_exists(fx_path(fx, file)));
	fx_sh("cmp %s %s", fx_lpath(fx, file), fx_path(fx, to));
	KTAP_CHECK(end_run(pid), "the program ended");
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "engine", "guard", "op", "rename", "result", "ok", NULL));
	KTAP_CHECK(fx_event_number(fx, "bytes", "event", "copyup", "path", path, NULL) > BIG);
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", path, NULL) == 1, "%s was copied twice", path);
	return seen;
}

KTAP_TEST_LIMIT(renaming_a_running_program_holds_up_no_directory, 150)
{
	bool seen = false;
	struct fx fx;

	needs_park();
	fx_init(&fx, NULL);
	for (unsigned int t = 0; t < TRIES; t++)
		fx_sh("d=%s/d%u; mkdir $d && cp /bin/busybox $d/f && yes kunion | head -c %lld >>$d/f", fx.lower, t, (long long)BIG);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "guard", NULL);
	for (unsigned int t = 0; t < TRIES && !seen; t++)
		seen = rename_running(&fx, fx_name("d%u", t));
	KTAP_CHECK(seen, "no create came back during a copy");
	fx_end(&fx);
}

KTAP_MAIN()
