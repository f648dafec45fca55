// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whoever waits for a copy can be killed, stopped and interrupted as ever, waits no longer than the limit, and is in nobody's way.
 * An open for write waits in every tier, chmod only where it can be parked.
 */
#include "fx_fixture.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>

FX_BARE

#define SIZE FX_MB(2)
#define WRITERS 32
/* What needs no slice's end comes well before it: of so many tries one is quick, however busy the machine is. */
#define TRIES 4
#define QUICK_MS 500

/* A copy held at "copying", with this call waiting for it. */
static void begin(struct fx *fx, struct fx_op *op, enum fx_call_kind kind, const char *max_wait)
{
	fx_init(fx, NULL);
	fx_lower(fx, "d/f", SIZE, 0644);
	fx_mount(fx);
	fx_attach(fx, "--max-wait", max_wait, NULL);
	fx_needs(fx, kind == FX_OPEN_WRITE ? FX_TIER_WAIT_OPEN : FX_TIER_PARK);
	fx_stop_arm(fx, "copying");
	fx_call_start(op, &(struct fx_call){ kind, fx_path(fx, "d/f"), .mode = 0600, .id = fx_id("new") });
	fx_stop_wait(fx, "copying", FX_LONG);
	KTAP_REQUIRE(fx_wait_parked(op, FX_LONG));
}

/* One copy, by kunion. */
static void one_copy(const struct fx *fx)
{
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "engine", "kunion", "result", "ok", NULL));
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", "/d/f", NULL) == 1);
}

static void end_well(struct fx *fx, struct fx_op *op)
{
	fx_stop_go(fx, "copying");
	KTAP_CHECK(fx_op_wait(op, FX_LONG) && op->res->err == 0, "errno %d", op->res->err);
	one_copy(fx);
	fx_end(fx);
}

static bool wait_state(pid_t pid, char state, int ms)
{
	for (uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000; fx_now_ns() < end; usleep(500))
		if (fx_task_state(pid) == state)
			return true;
	ktap_diag("state %c, not %c", fx_task_state(pid), state);
	return false;
}

/* killed */

/* Milliseconds from SIGKILL to the end of one more waiter. */
static double kill_one(struct fx *fx, enum fx_call_kind kind)
{
	struct fx_op op;
	uint64_t start;

	fx_call_start(&op, &(struct fx_call){ kind, fx_path(fx, "d/f"), .mode = 0640 });
	KTAP_REQUIRE(fx_wait_parked(&op, FX_LONG));
	start = fx_now_ns();
	fx_op_kill(&op, SIGKILL);
	KTAP_CHECK(!fx_op_wait(&op, FX_LONG) && !op.pid, "killed, it must not have returned");
	return (double)(fx_now_ns() - start) / 1e6;
}

static void killed(enum fx_call_kind kind)
{
	double ms, least = FX_LONG;
	struct fx_op op;
	struct fx fx;

	begin(&fx, &op, kind, "30");
	for (int i = 0; i < TRIES; i++) {
		ms = kill_one(&fx, kind);
		least = ms < least ? ms : least;
	}
	KTAP_CHECK(least < QUICK_MS, "killed waiters are reaped after %.0f ms at the soonest", least);
	KTAP_CHECK(fx_op_parked(&op) || fx_wait_parked(&op, FX_LONG), "the others go on waiting");
	end_well(&fx, &op);
}

KTAP_TEST(killed_opener_is_reaped_at_once)
{
	killed(FX_OPEN_WRITE);
}

KTAP_TEST(killed_chmod_is_reaped_at_once)
{
	killed(FX_CHMOD);
}

KTAP_TEST(killed_requester_leaves_the_copy_to_the_others)
{
	struct fx_op first, second;
	struct fx fx;

	begin(&fx, &first, FX_OPEN_WRITE, "30");
	fx_call_start(&second, &(struct fx_call){ FX_OPEN_WRITE, fx_path(&fx, "d/f"), .id = fx_id("second") });
	KTAP_REQUIRE(fx_wait_parked(&second, FX_LONG));
	fx_op_kill(&first, SIGKILL);
	KTAP_CHECK(!fx_op_wait(&first, FX_LONG) && !first.pid);
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_op_wait(&second, FX_LONG) && second.res->err == 0, "errno %d", second.res->err);
	one_copy(&fx);
	fx_end(&fx);
}

/* stopped */

static void stopped(enum fx_call_kind kind)
{
	struct fx_op op;
	struct fx fx;

	begin(&fx, &op, kind, "30");
	fx_op_kill(&op, SIGSTOP);
	KTAP_CHECK(wait_state(op.pid, 'T', FX_LONG));
	fx_sleep_ms(50);
	KTAP_CHECK(fx_task_state(op.pid) == 'T', "stopped for good, not for a moment: %c", fx_task_state(op.pid));
	fx_op_kill(&op, SIGCONT);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG), "continued, it waits again");
	end_well(&fx, &op);
}

KTAP_TEST(stopped_opener_waits_again_when_continued)
{
	stopped(FX_OPEN_WRITE);
}

KTAP_TEST(stopped_chmod_waits_again_when_continued)
{
	stopped(FX_CHMOD);
}

KTAP_TEST(stopped_waiter_holds_up_nobody)
{
	struct fx_op first, second;
	struct fx fx;

	begin(&fx, &first, FX_OPEN_WRITE, "30");
	fx_call_start(&second, &(struct fx_call){ FX_OPEN_WRITE, fx_path(&fx, "d/f"), .id = fx_id("second") });
	KTAP_REQUIRE(fx_wait_parked(&second, FX_LONG));
	fx_op_kill(&first, SIGSTOP);
	KTAP_REQUIRE(wait_state(first.pid, 'T', FX_LONG));
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_op_wait(&second, FX_LONG) && second.res->err == 0, "errno %d", second.res->err);
	KTAP_CHECK(fx_in_upper(&fx, "d/f"));
	KTAP_CHECK(fx_task_state(first.pid) == 'T' && !fx_op_done(&first), "state %c", fx_task_state(first.pid));
	fx_op_kill(&first, SIGCONT);
	KTAP_CHECK(fx_op_wait(&first, FX_LONG) && first.res->err == 0, "errno %d", first.res->err);
	one_copy(&fx);
	fx_end(&fx);
}

/* frozen, with its control group */

#define CGROUP FX_DIR "/cgroup"

static bool wait_frozen(char want, int ms)
{
	char events[128] = "", *at = NULL;

	for (uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000;; usleep(500)) {
		int fd = open(CGROUP "/fx/cgroup.events", O_RDONLY | O_CLOEXEC);

		if (read(fd, events, sizeof(events) - 1) < 0)
			events[0] = '\0';
		close(fd);
		at = strstr(events, "frozen ");
		if (at && at[7] == want)
			return true;
		if (fx_now_ns() >= end)
			break;
	}
	ktap_diag("not frozen %c: %s", want, events);
	return false;
}

static void frozen(enum fx_call_kind kind)
{
	struct fx_op op;
	struct fx fx;

	begin(&fx, &op, kind, "30");
	KTAP_REQUIRE(mkdir(CGROUP, 0755) == 0);
	if (mount("none", CGROUP, "cgroup2", 0, NULL) || (mkdir(CGROUP "/fx", 0755) && errno != EEXIST))
		ktap_skip("no cgroup2 here");
	fx_sh("echo %d >" CGROUP "/fx/cgroup.procs", op.pid);
	fx_sh("echo 1 >" CGROUP "/fx/cgroup.freeze");
	KTAP_CHECK(wait_frozen('1', FX_LONG));
	fx_sleep_ms(50);
	KTAP_CHECK(wait_frozen('1', 0) && !fx_op_parked(&op), "frozen for good, not for a moment");
	fx_sh("echo 0 >" CGROUP "/fx/cgroup.freeze");
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG), "thawed, it waits again");
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0, "errno %d", op.res->err);
	one_copy(&fx);
	rmdir(CGROUP "/fx");
	KTAP_CHECK(umount2(CGROUP, 0) == 0);
	fx_end(&fx);
}

KTAP_TEST(frozen_opener_waits_again_when_thawed)
{
	frozen(FX_OPEN_WRITE);
}

KTAP_TEST(frozen_chmod_waits_again_when_thawed)
{
	frozen(FX_CHMOD);
}

/* signal handlers */

struct handled {
	const char *path;
	bool chmod;
	volatile unsigned int *count;
};

static volatile unsigned int *handler_count;

static void handler(int sig)
{
	(void)sig;
	__atomic_add_fetch(handler_count, 1, __ATOMIC_SEQ_CST);
}

/* Without SA_RESTART: nothing of what is waited for can be interrupted, so no call may say that it was. */
static long call_with_handler(void *arg)
{
	const struct sigaction sa = { .sa_handler = handler };
	const struct handled *h = arg;
	int fd;

	handler_count = h->count;
	sigaction(SIGUSR1, &sa, NULL);
	if (h->chmod)
		return chmod(h->path, 0600);
	fd = open(h->path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -1 : close(fd);
}

static void handled(bool chmod)
{
	volatile unsigned int *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double least = FX_LONG;
	struct fx_op op, held;
	struct handled h;
	struct fx fx;

	KTAP_REQUIRE(count != MAP_FAILED);
	begin(&fx, &held, chmod ? FX_CHMOD : FX_OPEN_WRITE, "30");
	h = (struct handled){ fx_path(&fx, "d/f"), chmod, count };
	fx_op_start(&op, 0, call_with_handler, &h);
	for (unsigned int i = 1; i <= TRIES; i++) {
		uint64_t start, end;

		KTAP_REQUIRE(fx_wait_parked(&op, FX_LONG), "after %u signals", i - 1);
		start = fx_now_ns();
		end = start + 5000000000ull;
		fx_op_kill(&op, SIGUSR1);
		while (*count < i && fx_now_ns() < end)
			usleep(200);
		KTAP_CHECK(*count == i, "%u of %u signals handled", *count, i);
		least = (double)(fx_now_ns() - start) / 1e6 < least ? (double)(fx_now_ns() - start) / 1e6 : least;
	}
	KTAP_CHECK(least < QUICK_MS, "the handler runs after %.0f ms at the soonest", least);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG), "the call starts again by itself");
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0, "errno %d", op.res->err);
	KTAP_CHECK(fx_op_wait(&held, FX_LONG) && held.res->err == 0);
	one_copy(&fx);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "wait", "result", "released", NULL), "a signal ends no wait");
	fx_end(&fx);
}

KTAP_TEST(handler_runs_while_an_open_waits)
{
	handled(false);
}

KTAP_TEST(handler_runs_while_a_chmod_waits)
{
	handled(true);
}

/* the limit */

static void limited(enum fx_call_kind kind)
{
	struct fx_op op;
	struct fx fx;

	begin(&fx, &op, kind, "1");
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0, "errno %d", op.res->err);
	KTAP_CHECK(fx_op_ms(&op) >= 900, "gone on after %.0f ms", fx_op_ms(&op));
	KTAP_CHECK(fx_in_upper(&fx, "d/f"), "kunion's copy is held up: this is the kernel's");
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "engine", "kunion", "result", "lost", NULL));
	fx_end(&fx);
}

KTAP_TEST(limit_sends_an_open_native)
{
	limited(FX_OPEN_WRITE);
}

KTAP_TEST(limit_sends_a_chmod_native)
{
	limited(FX_CHMOD);
}

/* Of waiters, so of one who is not the requester: that one is killed, or its own limit would end all. */
KTAP_TEST(limit_is_told_as_a_timeout)
{
	struct fx_op first, second;
	char pid[16], *text;
	struct fx fx;

	begin(&fx, &first, FX_OPEN_WRITE, "1");
	fx_call_start(&second, &(struct fx_call){ FX_OPEN_WRITE, fx_path(&fx, "d/f"), .id = fx_id("second") });
	snprintf(pid, sizeof(pid), "%d", second.pid);
	KTAP_REQUIRE(fx_wait_parked(&second, FX_LONG));
	fx_op_kill(&first, SIGKILL);
	KTAP_CHECK(fx_op_wait(&second, FX_LONG) && second.res->err == 0, "errno %d", second.res->err);
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(
		fx_event_wait(&fx, 1, FX_LONG, "event", "wait", "op", "open", "on", "copy", "pid", pid, "result", "timeout", NULL));
	KTAP_CHECK(fx_event_number(&fx, "wait_us", "event", "wait", "pid", pid, NULL) >= 900000);
	fx_detach(&fx);
	text = fx_log_text(&fx);
	KTAP_CHECK(strstr(text, ", 1 over the limit") || strstr(text, ", 2 over the limit"), "%s", text);
	free(text);
	fx_end(&fx);
}

/* many */

struct writer {
	const char *path;
	uint32_t id;
	unsigned int nr;
};

static long write_one(void *arg)
{
	const struct writer *w = arg;
	int fd = open(w->path, O_WRONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -1;
	err = fx_put_block(fd, w->id, w->nr);
	close(fd);
	errno = -err;
	return err ? -1 : 0;
}

KTAP_TEST(many_writers_one_copy)
{
	struct writer writers[WRITERS];
	struct fx_op ops[WRITERS];
	struct fx fx;
	int fd;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", SIZE, 0644);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	fx_stop_arm(&fx, "copying");
	for (unsigned int i = 0; i < WRITERS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "writer%u", i);
		writers[i] = (struct writer){ fx_path(&fx, "d/f"), fx_id(name), i };
		fx_op_start(&ops[i], 0, write_one, &writers[i]);
	}
	fx_stop_wait(&fx, "copying", FX_LONG);
	for (unsigned int i = 0; i < WRITERS; i++)
		KTAP_REQUIRE(fx_wait_parked(&ops[i], FX_LONG), "writer %u", i);
	fx_stop_go(&fx, "copying");
	for (unsigned int i = 0; i < WRITERS; i++)
		KTAP_CHECK(fx_op_wait(&ops[i], FX_LONG) && ops[i].res->err == 0, "writer %u: errno %d", i, ops[i].res->err);

	one_copy(&fx);
	KTAP_CHECK(fx_event_number(&fx, "bytes", "event", "copyup", "path", "/d/f", NULL) == SIZE);
	KTAP_CHECK(fx_event_number(&fx, "waiters", "event", "copyup", "path", "/d/f", NULL) == WRITERS - 1);
	KTAP_CHECK(fx_event_wait(&fx, WRITERS - 1, FX_LONG, "event", "wait", "result", "released", NULL));
	/* And none for the kernel's locks but the directory's, which the kernel copied. */
	KTAP_CHECK(fx_event_count(&fx, "event", "wait", "path", "/d/f", NULL) == WRITERS - 1);

	fd = open(fx_path(&fx, "d/f"), O_RDONLY | O_CLOEXEC);
	for (unsigned int i = 0; i < SIZE / FX_BLOCK; i++) {
		uint32_t want = i < WRITERS ? writers[i].id : fx_id("d/f");

		KTAP_REQUIRE(fx_get_block(fd, i) == want, "block %u: %#x", i, fx_get_block(fd, i));
	}
	close(fd);
	fx_end(&fx);
}

/* tracing tools */

/* Opens, enables and closes a kprobe event: the close waits for every BPF program that sleeps. -1: cannot be done here. */
static double kprobe_ms(void)
{
	static const char symbol[] = "vfs_fallocate";
	struct perf_event_attr attr = { .size = sizeof(attr) };
	uint64_t start = fx_now_ns();
	FILE *f = fopen("/sys/bus/event_source/devices/kprobe/type", "re");
	long fd;
	bool ok;

	ok = f && fscanf(f, "%u", &attr.type) == 1;
	if (f)
		fclose(f);
	if (!ok)
		return -1;
	attr.kprobe_func = (uint64_t)(uintptr_t)symbol;
	fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -1;
	ioctl((int)fd, PERF_EVENT_IOC_ENABLE, 0);
	close((int)fd);
	return (double)(fx_now_ns() - start) / 1e6;
}

static void traced(enum fx_call_kind kind)
{
	unsigned int seconds = getenv("FX_LONG") ? 60 : 8, n = 0;
	double ms, least = FX_LONG, worst = 0;
	struct fx_op op;
	struct fx fx;

	if (kprobe_ms() < 0)
		ktap_skip("no kprobe events on this kernel");
	begin(&fx, &op, kind, "120");
	while (fx_op_ms(&op) < seconds * 1000.0) {
		ms = kprobe_ms();
		worst = ms > worst ? ms : worst;
		least = ms < least ? ms : least;
		n++;
		fx_sleep_ms(100);
	}
	/* Asleep for as long as it waits, it would hold up the first one for longer than this loop lasts. A busy machine holds up one or the other. */
	KTAP_CHECK(n >= 3 && least < 3000 && worst < seconds * 1000.0 / 2, "kprobe events took %.0f to %.0f ms, %u of them", least, worst, n);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG), "still waiting after %u s", seconds);
	end_well(&fx, &op);
}

KTAP_TEST_LIMIT(waiting_open_does_not_block_tracing, 120)
{
	traced(FX_OPEN_WRITE);
}

KTAP_TEST_LIMIT(waiting_chmod_does_not_block_tracing, 120)
{
	traced(FX_CHMOD);
}

KTAP_MAIN()
