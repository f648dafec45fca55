// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring: its requests cannot be made to wait, neither inline nor in a worker of the kernel's. They go native, without an errno
 * that the kernel alone would not give.
 */
#include "fx_record.h"

#include "uring.h"

FX_LEAN

#define ERESTARTSYS 512 /* not for user space, so not in <errno.h> */

static void note_res(const char *what, int res)
{
	fx_note("%s: %s", what, res < 0 ? strerrorname_np(-res) : "ok");
}

/* How a request is issued. */
struct way {
	unsigned int setup, sqe;
	bool cached; /* the name is in the cache, so that an open may be done at once */
};

static void uring_open(const struct fx *fx, struct ring *r, const struct way *w, const char *name, int flags)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_OPENAT, .flags = (__u8)w->sqe, .fd = AT_FDCWD };
	struct stat st;
	int fd;

	if (w->cached)
		stat(fx_at(fx, name), &st);
	sqe.addr = (uint64_t)(uintptr_t)fx_at(fx, name);
	sqe.open_flags = (__u32)flags | O_CLOEXEC;
	sqe.len = 0644;
	fd = ring_do(r, &sqe);
	/* Seen on 6.12 with the kernel alone: its own code to restart by (kunion's is another, 513), or EINTR made of it. No yardstick. */
	for (int i = 0; i < 3 && (fd == -ERESTARTSYS || fd == -EINTR); i++) {
		ktap_diag("openat gave %d", fd);
		fd = ring_do(r, &sqe);
	}
	note_res("openat", fd);
	if (fd < 0)
		return;
	if (flags & O_ACCMODE)
		fx_note_call("write", fx_put_block(fd, fx_id("uring"), 1));
	close(fd);
}

/* What is not opened but copied up as well. */
static void uring_others(const struct fx *fx, struct ring *r, const struct way *w)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_RENAMEAT, .flags = (__u8)w->sqe, .fd = AT_FDCWD };

	sqe.addr = (uint64_t)(uintptr_t)fx_at(fx, "renamed");
	sqe.addr2 = (uint64_t)(uintptr_t)fx_at(fx, "to");
	sqe.len = (__u32)AT_FDCWD;
	note_res("renameat", ring_do(r, &sqe));
	sqe.opcode = IORING_OP_LINKAT;
	sqe.addr = (uint64_t)(uintptr_t)fx_at(fx, "linked");
	sqe.addr2 = (uint64_t)(uintptr_t)fx_at(fx, "link");
	note_res("linkat", ring_do(r, &sqe));
	memset(&sqe, 0, sizeof(sqe));
	sqe.opcode = IORING_OP_UNLINKAT;
	sqe.flags = (__u8)w->sqe;
	sqe.fd = AT_FDCWD;
	sqe.addr = (uint64_t)(uintptr_t)fx_at(fx, "unlinked");
	note_res("unlinkat", ring_do(r, &sqe));
	memset(&sqe, 0, sizeof(sqe));
	sqe.opcode = IORING_OP_SETXATTR;
	sqe.flags = (__u8)w->sqe;
	sqe.addr = (uint64_t)(uintptr_t) "trusted.fx";
	sqe.addr2 = (uint64_t)(uintptr_t) "uring";
	sqe.addr3 = (uint64_t)(uintptr_t)fx_at(fx, "marked");
	sqe.len = 5;
	note_res("setxattr", ring_do(r, &sqe));
}

static const char *const names[] = { "f", "created", "both", "truncated", "renamed", "linked", "unlinked", "marked" };

static void lower(struct fx *fx)
{
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fx_lower(fx, fx_in(names[i]), FX_KB(256), 0644);
}

/* In a child: a process' io_uring workers stay in the mount namespace that it had when they began. */
static void in_child(const struct fx *fx, void (*fn)(const struct fx *fx, struct ring *r, const struct way *w))
{
	const struct way *w = fx_scene->arg;
	pid_t pid = fork();
	struct ring r;
	int status;

	if (pid == 0) {
		if (!ring_open(&r, w->setup))
			_exit(4);
		fn(fx, &r, w);
		_exit(0);
	}
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (WEXITSTATUS(status) == 4)
		ktap_skip("no io_uring on this kernel");
	KTAP_REQUIRE(WEXITSTATUS(status) == 0);
}

static void many(const struct fx *fx, struct ring *r, const struct way *w)
{
	uring_open(fx, r, w, "f", O_RDONLY);
	uring_open(fx, r, w, "f", O_WRONLY);
	uring_open(fx, r, w, "created", O_WRONLY | O_CREAT);
	uring_open(fx, r, w, "created", O_WRONLY | O_CREAT | O_EXCL);
	uring_open(fx, r, w, "both", O_RDWR);
	uring_open(fx, r, w, "truncated", O_WRONLY | O_TRUNC);
	uring_others(fx, r, w);
}

static void steps(struct fx *fx)
{
	in_child(fx, many);
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fx_note_file(fx, names[i]);
	fx_note_file(fx, "");
	fx_scene_engine(fx, "kernel");
	if (!fx->opts.kernel)
		KTAP_CHECK(fx_event_count(fx, "event", "copyup", "engine", "kunion", "result", "ok", NULL) == 0);
}

static void steps_pending(struct fx *fx);

#define WAY(what, ...) { .name = what, .lower = lower, .steps = steps, .arg = &(const struct way){ __VA_ARGS__ } }
#define PENDING(what, ...) { .name = what, .steps = steps_pending, .arg = &(const struct way){ __VA_ARGS__ } }

KTAP_TEST(requests_go_native)
{
	const struct fx_scene scenes[] = { WAY("plain", .cached = false),
					   WAY("cached", .cached = true),
					   WAY("async", .sqe = IOSQE_ASYNC),
					   WAY("sqpoll", .setup = IORING_SETUP_SQPOLL),
					   WAY("sqpoll-cached", .setup = IORING_SETUP_SQPOLL, .cached = true),
					   { .name = NULL } };

	fx_twice(&(struct fx_twice){ .scenes = scenes });
}

/* The request overtakes a copy under way, and who waits for that goes on. */
static void one(const struct fx *fx, struct ring *r, const struct way *w)
{
	uring_open(fx, r, w, "f", O_WRONLY);
}

static void steps_pending(struct fx *fx)
{
	struct fx_op op;

	fx_stop_arm(fx, "copying");
	fx_call_start(&op, &(struct fx_call){ .kind = FX_OPEN_WRITE, .path = fx_at(fx, "f"), .id = fx_id("waiter") });
	fx_stop_wait(fx, "copying", FX_LONG);
	if (!fx->opts.kernel)
		KTAP_REQUIRE(fx_wait_parked(&op, FX_LONG));
	in_child(fx, one);
	/* Told at once, not when the copy notices. */
	KTAP_CHECK(fx_op_wait(&op, FX_LONG), "who waited still waits");
	fx_note("waiter: %s", op.res->err ? strerrorname_np(op.res->err) : "ok");
	fx_stop_go(fx, "copying");
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "kernel");
}

KTAP_TEST(requests_overtake_a_copy)
{
	const struct fx_scene scenes[] = { PENDING("plain", .cached = true), PENDING("async", .sqe = IOSQE_ASYNC),
					   PENDING("sqpoll", .setup = IORING_SETUP_SQPOLL), { .name = NULL } };

	fx_twice(&(struct fx_twice){ .scenes = scenes });
}

KTAP_MAIN()
