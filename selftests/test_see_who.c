// SPDX-License-Identifier: GPL-2.0-only
/* What became of the data, and who did it although he is gone, and his number somebody else's, when it is told. */
#include "see.h"

#include <linux/sched.h>
#include <pthread.h>
#include <sys/syscall.h>

/* cloned, copied, only attributes; and what of the time is the flush */

static void data_told(const struct fx *fx, const char *path, unsigned int nr, const char *data, off_t bytes)
{
	unsigned int at = 0, n = 0;
	struct json_object *e;
	struct see s;

	KTAP_CHECK(fx_event_wait(fx, (int)nr + 1, FX_LONG, "event", "copyup", "path", path, NULL), "%s is not told", path);
	see_load(fx, &s);
	while ((e = see_next(&s, &at, "copyup")) && (!see_is(e, "path", path) || n++ != nr))
		;
	SEE_STR(e, "data", data);
	SEE_NUM(e, "bytes", bytes);
	SEE_NUM(e, "size", FX_MB(1));
	SEE_STR(e, "result", "ok");
	see_free(&s);
}

/* Whether what was cloned is flushed depends on the kernel. */
enum flush { NO_FLUSH, FLUSH, KERNELS_OWN };

static void data_kind(const struct fx_opts *opts, const char *chmod_data, const char *open_data, enum flush flush)
{
	int64_t fsync_us;
	struct fx fx;

	fx_init(&fx, opts);
	fx_lower(&fx, "d/chmod", FX_MB(1), 0644);
	fx_lower(&fx, "d/open", FX_MB(1), 0644);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", NULL);
	KTAP_CHECK(fx_call_now(FX_CALL(FX_CHMOD, fx_path(&fx, "d/chmod"), .mode = 0600)) == 0);
	data_told(&fx, "/d/chmod", 0, chmod_data, strcmp(chmod_data, "metadata") ? FX_MB(1) : 0);
	if (!strcmp(chmod_data, "metadata")) {
		KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_W, fx_path(&fx, "d/chmod"))) == 0);
		data_told(&fx, "/d/chmod", 1, open_data, FX_MB(1));
	}
	KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_W, fx_path(&fx, "d/open"))) == 0);
	data_told(&fx, "/d/open", 0, open_data, FX_MB(1));
	fsync_us = fx_event_number(&fx, "fsync_us", "event", "copyup", "path", "/d/open", NULL);
	KTAP_CHECK(flush == KERNELS_OWN || flush == (fsync_us > 0 ? FLUSH : NO_FLUSH), "%lld us", (long long)fsync_us);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(data_cloned, 120)
{
	data_kind(&(struct fx_opts){ .upper_fs = "xfs" }, "cloned", "cloned", KERNELS_OWN);
}

KTAP_TEST_LIMIT(data_copied_when_it_is_needed, 120)
{
	data_kind(&(struct fx_opts){ .upper_fs = "ext4", .lower_fs = "tmpfs", .mount_opts = "metacopy=on" }, "metadata", "copied", FLUSH);
}

KTAP_TEST_LIMIT(volatile_flushes_nothing, 120)
{
	data_kind(&(struct fx_opts){ .upper_fs = "ext4", .lower_fs = "tmpfs", .mount_opts = "volatile" }, "copied", "copied", NO_FLUSH);
}

/* who is gone, and whose number somebody else has, when it is told */

static long opens(const char *path, const char *to)
{
	(void)to;
	return see_closed(open(path, O_WRONLY | O_CLOEXEC));
}

static void *thread_opens(void *path)
{
	prctl(PR_SET_NAME, "see-thread");
	return see_closed(open(path, O_WRONLY | O_CLOEXEC)) ? NULL : (void *)(long)gettid();
}

static long by_thread(const char *path, const char *tid_to)
{
	pthread_t t;
	void *tid = NULL;

	if (pthread_create(&t, NULL, thread_opens, (void *)path) || pthread_join(t, &tid) || !tid)
		return -1;
	*(pid_t *)tid_to = (pid_t)(long)tid;
	return 0;
}

/* A process by that number, which sleeps on. */
static void take_number(pid_t pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };
	long r = syscall(SYS_clone3, &args, sizeof(args));

	KTAP_REQUIRE(r >= 0, "number %d is not free", pid);
	if (r == 0) {
		prctl(PR_SET_NAME, "see-other");
		if (!see_enter(SEE_PODMAN))
			_exit(255);
		pause();
		_exit(0);
	}
}

KTAP_TEST_LIMIT(told_of_who_did_it_not_of_who_has_the_number, 120)
{
	struct json_object *e;
	pid_t pid[2], *tid;
	struct fx fx;
	struct see s;

	fx_init(&fx, NULL);
	see_places_make();
	fx_lower(&fx, "process", FX_KB(64), 0644);
	fx_lower(&fx, "thread", FX_KB(64), 0644);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", NULL);
	tid = mmap(NULL, sizeof(*tid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	KTAP_REQUIRE(tid != MAP_FAILED);

	/* kunion does not get to hear of it before the numbers are others'. */
	KTAP_REQUIRE(kill(fx.kunion, SIGSTOP) == 0);
	pid[0] = see_child(SEE_DOCKER, "see-process", 0, opens, fx_path(&fx, "process"), NULL);
	pid[1] = see_child(SEE_DOCKER, "see-threads", 0, by_thread, fx_path(&fx, "thread"), (char *)tid);
	take_number(pid[0]);
	take_number(pid[1]);
	if (*tid != pid[1])
		take_number(*tid);
	fx_sleep_ms(100);
	KTAP_REQUIRE(kill(fx.kunion, SIGCONT) == 0);
	fx_detach(&fx);

	see_load(&fx, &s);
	KTAP_CHECK(see_count(&s, "copyup") == 2, "%u", see_count(&s, "copyup"));
	e = see_only(&s, "copyup", "pid", pid[0]);
	SEE_STR(e, "path", "/process");
	SEE_STR(e, "comm", "see-process");
	SEE_NUM(e, "tid", pid[0]);
	see_check_place(e, "", SEE_DOCKER);
	e = see_only(&s, "copyup", "pid", pid[1]);
	SEE_STR(e, "path", "/thread");
	SEE_STR(e, "comm", "see-thread");
	SEE_NUM(e, "tid", *tid);
	see_check_place(e, "", SEE_DOCKER);
	see_free(&s);
	fx_end(&fx);
}

KTAP_MAIN()
