// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mode guard: what would copy a large lower file, or wait for such a copy, with a directory or the file locked is parked outside all
 * locks while the kernel's own copy-up is brought about; what comes of it is what the kernel alone makes of it.
 */
#include "fx_record.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define SIZE FX_MB(1) /* of a scene's f */
#define BIG FX_MB(64) /* the kernel copies it for long enough to see what happens meanwhile */
#define TRIES 6

static void needs_park(void)
{
	if (!fx_kernel_since(6, 18))
		ktap_skip("mode guard needs Linux 6.18");
}

static void twice(const struct fx_scene *scenes, const char *mode)
{
	needs_park();
	fx_twice(&(struct fx_twice){ .args = { "-m", mode }, .scenes = scenes });
}

/* Creating, looking up, listing, and changing another file: each must come back while kunion is held up. */
static void neighbours(const struct fx *fx)
{
	const struct fx_call calls[] = {
		{ .kind = FX_CREATE, .path = fx_at(fx, "new"), .id = 1 },
		{ .kind = FX_STAT, .path = fx_at(fx, "f") },
		{ .kind = FX_STAT, .path = fx_at(fx, "none") },
		{ .kind = FX_READDIR, .path = fx_at(fx, "") },
		{ .kind = FX_CHMOD, .path = fx_at(fx, "small"), .mode = 0611 },
	};

	for (unsigned int i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct fx_op op;

		fx_call_start(&op, &calls[i]);
		KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s: %s waits", fx_scene->name, fx_call_names[calls[i].kind]);
		fx_note("%s: %d", fx_call_names[calls[i].kind], op.res->err);
	}
}

/* Of whatever engine's copy, made for this operation. */
static void copied_by(const struct fx *fx, const char *name, const char *engine, const char *op, const char *call)
{
	char path[FX_PATH_MAX];

	if (fx->opts.kernel)
		return;
	snprintf(path, sizeof(path), "/%s", fx_in(name));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "engine", engine, "op", op, "syscall", call, "result", "ok",
				 NULL), "%s was not copied by %s for %s", path, engine, call);
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", path, "result", "ok", NULL) == 1, "%s was copied twice", path);
}

/* each operation */

struct operation {
	const char *op, *syscall; /* in the event */
	long (*fn)(void *fx);
	const char *to; /* where f is in the end */
};

static long do_rename(void *fx)
{
	return rename(fx_at(fx, "f"), fx_at(fx, "g"));
}

static long do_move(void *fx)
{
	return rename(fx_at(fx, "f"), fx_at(fx, "sub/g"));
}

static long do_exchange(void *fx)
{
	return renameat2(AT_FDCWD, fx_at(fx, "f"), AT_FDCWD, fx_at(fx, "small"), RENAME_EXCHANGE);
}

static long do_link(void *fx)
{
	return link(fx_at(fx, "f"), fx_at(fx, "g"));
}

static long do_chmod(void *fx)
{
	return chmod(fx_at(fx, "f"), 0604);
}

/* By the 32-bit table: the number is another, the name the same. */
static long do_chmod_32(void *fx)
{
	char *path = mmap(NULL, FX_PATH_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long r;

	snprintf(path, FX_PATH_MAX, "%s", fx_at(fx, "f"));
	asm volatile("int $0x80" : "=a"(r) : "a"(15), "b"(path), "c"(0604) : "memory", "r8", "r9", "r10", "r11");
	errno = r < 0 ? (int)-r : 0;
	return r < 0 ? -1 : 0;
}

static long do_fchmod(void *fx)
{
	return fchmod(open(fx_at(fx, "f"), O_RDONLY | O_CLOEXEC), 0604);
}

static long do_chown(void *fx)
{
	return chown(fx_at(fx, "f"), 11, 12);
}

static long do_utimes(void *fx)
{
	const struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 6, .tv_nsec = 7 } };

	return utimensat(AT_FDCWD, fx_at(fx, "f"), times, 0);
}

static long do_setxattr(void *fx)
{
	return setxattr(fx_at(fx, "f"), "trusted.new", "new", 3, 0);
}

static long do_removexattr(void *fx)
{
	return removexattr(fx_at(fx, "f"), "trusted.old");
}

/* u::rw-,u:1000:r--,g::r--,m::r--,o::--- */
static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0,
				     255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };

static long do_set_acl(void *fx)
{
	return setxattr(fx_at(fx, "f"), "system.posix_acl_access", acl, sizeof(acl), 0);
}

static long do_remove_acl(void *fx)
{
	return removexattr(fx_at(fx, "f"), "system.posix_acl_access");
}

static long do_truncate(void *fx)
{
	return truncate(fx_at(fx, "f"), FX_BLOCK);
}

static long do_setflags(void *fx)
{
	int fd = open(fx_at(fx, "f"), O_RDONLY | O_CLOEXEC), flags = FS_NODUMP_FL;

	return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static void lower_operation(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), SIZE, 0644);
	fx_lower(fx, fx_in("small"), FX_KB(4), 0644);
	fx_lower(fx, fx_in("sub/other"), FX_KB(4), 0644);
	KTAP_REQUIRE(setxattr(fx_lpath(fx, fx_in("f")), "trusted.old", "old", 3, 0) == 0);
	if (!strcmp(fx_scene->name, "remove-acl"))
		KTAP_REQUIRE(setxattr(fx_lpath(fx, fx_in("f")), "system.posix_acl_access", acl, sizeof(acl), 0) == 0);
}

static void steps_operation(struct fx *fx)
{
	const struct operation *o = fx_scene->arg;
	struct stat before, after;
	struct fx_op op;

	KTAP_REQUIRE(stat(fx_at(fx, "f"), &before) == 0);
	if (fx->opts.kernel)
		neighbours(fx);
	fx_stop_arm(fx, "guarding");
	fx_op_start(&op, 0, o->fn, fx);
	fx_stop_wait(fx, "guarding", FX_LONG);
	if (!fx->opts.kernel) {
		KTAP_REQUIRE(fx_wait_parked(&op, FX_LONG), "%s", fx_scene->name);
		neighbours(fx);
		KTAP_CHECK(!fx_op_done(&op) && !fx_in_upper(fx, fx_in("f")), "%s", fx_scene->name);
	}
	fx_stop_go(fx, "guarding");
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s does not return", fx_scene->name);
	fx_note("%s: %s", fx_scene->name, op.res->err ? strerrorname_np(op.res->err) : "ok");
	KTAP_REQUIRE(stat(fx_at(fx, o->to), &after) == 0, "%s", fx_scene->name);
	fx_note("the same number: %d, device: %d", before.st_ino == after.st_ino, before.st_dev == after.st_dev);
	KTAP_CHECK(before.st_ino == after.st_ino && before.st_dev == after.st_dev && fx_in_upper(fx, fx_in(o->to)), "%s",
		   fx_scene->name);
	fx_note_file(fx, "f");
	fx_note_file(fx, o->to);
	fx_note_upper(fx, o->to);
	fx_note_file(fx, "");
	copied_by(fx, "f", "guard", o->op, o->syscall);
}

#define OPERATION(what, kind, nr, call, ...)                        \
	{ .name = what,                                             \
	  .lower = lower_operation,                                 \
	  .steps = steps_operation,                                 \
	  .arg = &(const struct operation){ kind, nr, call, __VA_ARGS__ } }

static const struct fx_scene operations[] = {
	OPERATION("rename", "rename", "rename", do_rename, "g"),
	OPERATION("move", "rename", "rename", do_move, "sub/g"),
	OPERATION("exchange", "rename", "renameat2", do_exchange, "small"),
	OPERATION("link", "link", "link", do_link, "g"),
	OPERATION("chmod", "chmod", "chmod", do_chmod, "f"),
	OPERATION("chmod-32", "chmod", "chmod", do_chmod_32, "f"),
	OPERATION("fchmod", "chmod", "fchmod", do_fchmod, "f"),
	OPERATION("chown", "chown", "chown", do_chown, "f"),
	OPERATION("utimes", "utimes", "utimensat", do_utimes, "f"),
	OPERATION("setxattr", "setxattr", "setxattr", do_setxattr, "f"),
	OPERATION("removexattr", "setxattr", "removexattr", do_removexattr, "f"),
	OPERATION("set-acl", "setxattr", "setxattr", do_set_acl, "f"),
	OPERATION("remove-acl", "setxattr", "removexattr", do_remove_acl, "f"),
	OPERATION("truncate", "truncate", "truncate", do_truncate, "f"),
	OPERATION("setflags", "setflags", "ioctl", do_setflags, "f"),
	{ .name = NULL },
};

KTAP_TEST_LIMIT(operations_are_parked, 150)
{
	twice(operations, "guard");
}

/* a second operation during the copy */

struct second {
	struct fx_call call; /* names in the scene's directory */
	bool goes_on;	     /* needs no copy: not parked */
	const char *op, *syscall; /* in its event */
};

static void lower_pair(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), SIZE, 0644);
	fx_lower(fx, fx_in("small"), FX_KB(4), 0644);
}

static struct fx_call at(const struct fx *fx, struct fx_call c)
{
	c.path = fx_at(fx, c.path);
	c.path2 = c.path2 ? fx_at(fx, c.path2) : NULL;
	c.id = fx_id(fx_in("f"));
	c.size = c.kind == FX_OPEN_R ? SIZE : c.size;
	return c;
}

/* A chmod first; what need not wait is over before it. Of two that wait, either may go on first once the copy is there. */
static void steps_second(struct fx *fx)
{
	const struct second *s = fx_scene->arg;
	/* Then the end depends on that. */
	bool either = s->call.kind == FX_RENAME || s->call.kind == FX_EXCHANGE || s->call.kind == FX_CHMOD;
	struct fx_call second = at(fx, s->call);
	bool waits = !fx->opts.kernel && !s->goes_on;
	struct fx_op ops[2];
	char pid[16];

	if (fx->opts.kernel && !s->goes_on)
		neighbours(fx);
	if (fx->opts.kernel && s->goes_on) {
		fx_call_start(&ops[1], &second);
		KTAP_REQUIRE(fx_op_wait(&ops[1], FX_LONG), "%s", fx_scene->name);
	}
	fx_stop_arm(fx, "guarding");
	fx_call_start(&ops[0], FX_CALL(FX_CHMOD, fx_at(fx, "f"), .mode = 0604));
	fx_stop_wait(fx, "guarding", FX_LONG);
	KTAP_REQUIRE(fx->opts.kernel ? fx_op_wait(&ops[0], FX_LONG) : fx_wait_parked(&ops[0], FX_LONG), "%s", fx_scene->name);
	if (!fx->opts.kernel || !s->goes_on)
		fx_call_start(&ops[1], &second);
	snprintf(pid, sizeof(pid), "%d", ops[1].pid);
	KTAP_REQUIRE(waits ? fx_wait_parked(&ops[1], FX_LONG) : fx_op_wait(&ops[1], FX_LONG), "%s", fx_scene->name);
	if (waits) {
		neighbours(fx);
		KTAP_CHECK(!fx_op_done(&ops[0]) && !fx_op_done(&ops[1]), "%s", fx_scene->name);
	}
	fx_stop_go(fx, "guarding");
	for (unsigned int i = 0; i < 2; i++) {
		KTAP_REQUIRE(fx_op_wait(&ops[i], FX_LONG), "%s: call %u does not return", fx_scene->name, i);
		if (either && i == 0)
			KTAP_CHECK(ops[0].res->err == 0 || (s->call.kind == FX_RENAME && ops[0].res->err == ENOENT), "%s: %s", fx_scene->name,
				   strerror(ops[0].res->err));
		else
			fx_note("call %u: %s", i, ops[i].res->err ? strerrorname_np(ops[i].res->err) : "ok");
	}
	if (!either) {
		fx_note_file(fx, "f");
		fx_note_file(fx, "g");
		fx_note_file(fx, "");
	}
	copied_by(fx, "f", "guard", "chmod", "chmod");
	if (waits)
		KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "wait", "op", s->op, "syscall", s->syscall, "on", "copy", "pid", pid,
					 "result", "released", NULL), "%s", fx_scene->name);
}

#define SECOND(what, kind_, told, nr, ...)                                                                      \
	{ .name = what,                                                                                         \
	  .lower = lower_pair,                                                                                  \
	  .steps = steps_second,                                                                                \
	  .arg = &(const struct second){                                                                        \
		  .call = { .kind = kind_, .path = "f", ##__VA_ARGS__ }, .op = told, .syscall = nr, .goes_on = !told } }

static const struct fx_scene seconds[] = {
	SECOND("second-rename", FX_RENAME, "rename", "rename", .path2 = "g"),
	SECOND("second-exchange", FX_EXCHANGE, "rename", "renameat2", .path2 = "small"),
	SECOND("second-link", FX_LINK, "link", "link", .path2 = "g"),
	SECOND("second-chmod", FX_CHMOD, "chmod", "chmod", .mode = 0640),
	SECOND("second-chown", FX_CHOWN, "chown", "chown", .owner = 7),
	SECOND("second-utimes", FX_UTIMES, "utimes", "utimensat"),
	SECOND("second-truncate", FX_TRUNCATE, "truncate", "truncate", .size = FX_BLOCK),
	SECOND("second-setxattr", FX_SETXATTR, "setxattr", "setxattr"),
	SECOND("second-open", FX_OPEN_WRITE, "open", "openat"),
	SECOND("second-read", FX_OPEN_R, NULL, NULL),
	SECOND("second-stat", FX_STAT, NULL, NULL),
	{ .name = NULL },
};

KTAP_TEST_LIMIT(second_operations_are_parked, 150)
{
	twice(seconds, "guard");
}

/* What makes the copy moot waits where the kernel's copy runs; before that it need not. */
static void steps_moot(struct fx *fx)
{
	struct fx_call moot = at(fx, *(const struct fx_call *)fx_scene->arg);
	struct fx_op ops[2];

	if (fx->opts.kernel)
		neighbours(fx);
	fx_stop_arm(fx, "guarding");
	fx_call_start(&ops[0], FX_CALL(FX_CHMOD, fx_at(fx, "f"), .mode = 0604));
	fx_stop_wait(fx, "guarding", FX_LONG);
	KTAP_REQUIRE(fx->opts.kernel ? fx_op_wait(&ops[0], FX_LONG) : fx_wait_parked(&ops[0], FX_LONG), "%s", fx_scene->name);
	fx_call_start(&ops[1], &moot);
	if (!fx->opts.kernel) {
		KTAP_REQUIRE(fx_wait_parked(&ops[1], FX_LONG), "%s", fx_scene->name);
		neighbours(fx);
	}
	fx_stop_go(fx, "guarding");
	KTAP_REQUIRE(fx_op_wait(&ops[0], FX_LONG) && fx_op_wait(&ops[1], FX_LONG), "%s", fx_scene->name);
	/* Which of both comes first once the copy is there is anybody's guess. */
	KTAP_CHECK(ops[0].res->err == 0 || ops[0].res->err == ENOENT, "%s: errno %d", fx_scene->name, ops[0].res->err);
	fx_note("%s: %d", fx_scene->name, ops[1].res->err);
	if (moot.kind == FX_UNLINK)
		KTAP_CHECK(fx_is_whiteout(fx, fx_in("f")));
	fx_note("merged %d, upper %d", fx_exists(fx_at(fx, "f")), fx_in_upper(fx, fx_in("f")));
	fx_note("small: %d", fx_exists(fx_at(fx, "small")));
}

static const struct fx_scene moots[] = {
	{ .name = "moot-unlink", .lower = lower_pair, .steps = steps_moot, .arg = FX_CALL(FX_UNLINK, "f") },
	{ .name = "moot-rename", .lower = lower_pair, .steps = steps_moot, .arg = FX_CALL(FX_RENAME, "small", .path2 = "f") },
	{ .name = NULL },
};

KTAP_TEST_LIMIT(moot_operations_are_parked, 100)
{
	twice(moots, "guard");
}

/* a copy that the kernel makes, long enough to see */

/* What comes then is parked while the kernel copies for the first, and the directory is free. */
struct running {
	const char *name;
	struct fx_call first, then;
};

static const struct running running[] = {
	{ "unlink-native", { .kind = FX_OPEN_W, .path = "f" }, { .kind = FX_UNLINK, .path = "f" } },
	{ "rename-over-native", { .kind = FX_OPEN_W, .path = "f" }, { .kind = FX_RENAME, .path = "small", .path2 = "f" } },
	{ "rename-native", { .kind = FX_OPEN_W, .path = "f" }, { .kind = FX_RENAME, .path = "f", .path2 = "g" } },
	{ "link-native", { .kind = FX_OPEN_W, .path = "f" }, { .kind = FX_LINK, .path = "f", .path2 = "g" } },
	{ "unlink-guard", { .kind = FX_CHMOD, .path = "f", .mode = 0600 }, { .kind = FX_UNLINK, .path = "f" } },
	{ "rename-over-guard", { .kind = FX_CHMOD, .path = "f", .mode = 0600 }, { .kind = FX_RENAME, .path = "small", .path2 = "f" } },
	{ "rename-guard", { .kind = FX_CHMOD, .path = "f", .mode = 0600 }, { .kind = FX_RENAME, .path = "f", .path2 = "g" } },
	{ "link-guard", { .kind = FX_CHMOD, .path = "f", .mode = 0600 }, { .kind = FX_LINK, .path = "f", .path2 = "g" } },
};

#define NRUNNING (sizeof(running) / sizeof(running[0]))

static struct fx_call in_dir(const struct fx *fx, struct fx_call c, const char *dir)
{
	c.path = fx_path(fx, fx_name("%s/%s", dir, c.path));
	c.path2 = c.path2 ? fx_path(fx, fx_name("%s/%s", dir, c.path2)) : NULL;
	return c;
}

/* False: the copy was over too soon to tell. */
static bool during_copy(struct fx *fx, const struct running *r, const char *dir)
{
	struct fx_call first = in_dir(fx, r->first, dir), then = in_dir(fx, r->then, dir);
	const char *file = fx_name("/%s/f", dir);
	struct fx_op ops[2], create = { 0 };
	uint64_t before = fx_upper_free(fx);
	bool copying, parked = false, seen = false;
	char pids[2][16];

	fx_call_start(&ops[0], &first);
	copying = fx_wait_copying(fx, before, &ops[0]);
	fx_call_start(&ops[1], &then);
	for (unsigned int i = 0; i < 2; i++)
		snprintf(pids[i], sizeof(pids[i]), "%d", ops[i].pid);
	while (!parked && !fx_op_done(&ops[1])) {
		parked = fx_op_parked(&ops[1]);
		usleep(500);
	}
	if (parked) {
		fx_call_start(&create, FX_CALL(FX_CREATE, fx_path(fx, fx_name("%s/new", dir)), .id = 1));
		KTAP_CHECK(fx_op_wait(&create, FX_LONG) && create.res->err == 0, "%s: errno %d", r->name, create.res->err);
		seen = !fx_op_done(&ops[0]) && !fx_op_done(&ops[1]);
	}
	KTAP_REQUIRE(fx_op_wait(&ops[0], 2 * FX_LONG) && fx_op_wait(&ops[1], 2 * FX_LONG), "%s", r->name);
	ktap_diag("%s: %s took %.0f ms, then %s %.0f ms; copying seen %d, parked %d, create %.0f ms, before both ended %d", r->name,
		  fx_call_names[first.kind], fx_op_ms(&ops[0]), fx_call_names[then.kind], fx_op_ms(&ops[1]), copying, parked,
		  parked ? fx_op_ms(&create) : 0.0, seen);
	/* A guarded chmod looks for its name again when the copy is there. */
	KTAP_CHECK(ops[0].res->err == 0 || (first.kind == FX_CHMOD && ops[0].res->err == ENOENT), "%s: errno %d", r->name,
		   ops[0].res->err);
	KTAP_CHECK(ops[1].res->err == 0, "%s: errno %d", r->name, ops[1].res->err);
	if (then.kind == FX_UNLINK)
		KTAP_CHECK(!fx_exists(then.path) && fx_is_whiteout(fx, fx_name("%s/f", dir)), "%s", r->name);
	else
		KTAP_CHECK(fx_exists(then.path2) && fx_exists(then.path) == (then.kind == FX_LINK), "%s", r->name);
	if (!seen)
		return false;
	/* One copy, whoever made it, and a wait for it. */
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "wait", "path", file, "pid", pids[1], "holder_pid", pids[0], "result", "released",
				 NULL), "%s", r->name);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", file, "pid", pids[0], "engine",
				 first.kind == FX_OPEN_W ? "kernel" : "guard", "result", "ok", NULL), "%s", r->name);
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", file, NULL) == 1, "%s", r->name);
	return true;
}

KTAP_TEST_LIMIT(running_copies_hold_up_no_directory, 200)
{
	struct fx fx;

	needs_park();
	fx_init(&fx, NULL);
	for (unsigned int i = 0; i < NRUNNING; i++)
		for (unsigned int t = 0; t < TRIES; t++) {
			const char *dir = fx_name("%s%u", running[i].name, t);

			fx_lower(&fx, fx_name("%s/small", dir), FX_KB(4), 0644);
			/* Of one file's blocks; a link of it is a file of its own to the union. */
			if (i || t)
				fx_sh("ln %s %s/f", fx_lpath(&fx, "big"), fx_lpath(&fx, dir));
			else
				fx_sh("yes kunion | head -c %lld >%s && ln %s %s/f", (long long)BIG, fx_lpath(&fx, "big"),
				      fx_lpath(&fx, "big"), fx_lpath(&fx, dir));
		}
	fx_mount(&fx);
	fx_attach(&fx, "-m", "guard", NULL);
	for (unsigned int i = 0; i < NRUNNING; i++) {
		bool seen = false;

		for (unsigned int t = 0; t < TRIES && !seen; t++) {
			const char *dir = fx_name("%s%u", running[i].name, t);

			seen = during_copy(&fx, &running[i], dir);
			fx_sh("rm -rf %s", fx_path(&fx, dir));
		}
		KTAP_CHECK(seen, "%s: never parked with the directory free", running[i].name);
	}
	fx_end(&fx);
}

/* where it cannot work */

KTAP_TEST(refused_where_nobody_can_be_parked)
{
	char *text, *end;
	struct fx fx;
	int r;

	if (fx_kernel_since(6, 18))
		ktap_skip("this kernel can");
	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", SIZE, 0644);
	fx_mount(&fx);
	r = system(fx_name("kunion run -m guard %s -- true >%s 2>&1", fx.merged, fx.log));
	text = fx_log_text(&fx);
	end = strchr(text, '\n');
	KTAP_CHECK(WIFEXITED(r) && WEXITSTATUS(r) == 2, "status %#x", r);
	KTAP_CHECK(end && !end[1] && strstr(text, "mode guard does not work on this kernel: ") && strstr(text, "use -m observe"), "%s",
		   text);
	free(text);
	fx_end(&fx);
}

KTAP_MAIN()
