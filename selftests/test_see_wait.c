// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who waited for whom, and how long: each waiter measures its own call, and what is told is held against it. The files are so large that
 * a call's other work is nothing beside its wait, and larger in another attempt, when a copy was over too soon for the others to meet it.
 */
#include "see.h"

#include <sys/syscall.h>

#define SIZE (FX_MB(96) << ktap_now->attempt)
#define UPPER_SIZE (FX_MB(200) + SIZE)
#define ACTORS 12

/* actors: children that call once, when told to, and measure it */

enum what { OPEN, CHMOD, RENAME, LINK, UNLINK, RMDIR, CREATE, LOOK_UP, LIST };

static const struct {
	const char *op, *syscall; /* as they are told */
} whats[] = {
	[OPEN] = { "open", "openat" },	   [CHMOD] = { "chmod", "chmod" },    [RENAME] = { "rename", "rename" },
	[LINK] = { "link", "link" },	   [UNLINK] = { "remove", "unlink" }, [CREATE] = { "open", "openat" },
	[LOOK_UP] = { "other", "newfstatat" }, [LIST] = { "other", "getdents64" }, [RMDIR] = { "remove", "rmdir" },
};

struct actor {
	enum what what;
	const char *path, *to;
	enum see_place_nr place;
	char comm[16];
	struct fx_op op;
	struct shared {
		bool ready, go;
		uint64_t start_ns, end_ns;
	} *shared;
};

static struct actor actors[ACTORS];
static unsigned int nactors;

static long act(const struct actor *a)
{
	char buf[4096];
	struct stat st;
	long fd, r;

	switch (a->what) {
	case OPEN:
		return syscall(SYS_openat, AT_FDCWD, a->path, O_WRONLY, 0) < 0 ? -1 : 0;
	case CREATE:
		return syscall(SYS_openat, AT_FDCWD, a->path, O_WRONLY | O_CREAT | O_EXCL, 0644) < 0 ? -1 : 0;
	case CHMOD:
		return syscall(SYS_chmod, a->path, 0604);
	case RENAME:
		return syscall(SYS_rename, a->path, a->to);
	case LINK:
		return syscall(SYS_link, a->path, a->to);
	case UNLINK:
		return syscall(SYS_unlink, a->path);
	case RMDIR:
		return syscall(SYS_rmdir, a->path);
	case LOOK_UP:
		r = syscall(SYS_newfstatat, AT_FDCWD, a->path, &st, 0);
		return r < 0 && errno == ENOENT ? 0 : -1;
	case LIST:
		fd = open(a->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* The opening did not wait, and is not what is measured. */
		a->shared->start_ns = fx_now_ns();
		return fd < 0 || syscall(SYS_getdents64, fd, buf, sizeof(buf)) <= 0 ? -1 : 0;
	}
	return -1;
}

static long actor_main(void *arg)
{
	struct actor *a = arg;
	long r;

	prctl(PR_SET_NAME, a->comm);
	if (!see_enter(a->place))
		return -1;
	__atomic_store_n(&a->shared->ready, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&a->shared->go, __ATOMIC_SEQ_CST))
		usleep(500);
	a->shared->start_ns = fx_now_ns();
	r = act(a);
	a->shared->end_ns = fx_now_ns();
	return r;
}

static struct actor *actor(enum what what, const char *path, const char *to)
{
	struct actor *a = &actors[nactors];

	KTAP_REQUIRE(nactors < ACTORS);
	*a = (struct actor){ .what = what, .path = path, .to = to, .place = nactors % SEE_PLACES };
	snprintf(a->comm, sizeof(a->comm), "see-%s-%u", whats[what].op, nactors++);
	a->shared = mmap(NULL, sizeof(*a->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	KTAP_REQUIRE(a->shared != MAP_FAILED);
	fx_op_start(&a->op, 0, actor_main, a);
	while (!__atomic_load_n(&a->shared->ready, __ATOMIC_SEQ_CST))
		usleep(500);
	return a;
}

static void go(struct actor *a)
{
	__atomic_store_n(&a->shared->go, true, __ATOMIC_SEQ_CST);
}

static void begun(const struct actor *a)
{
	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull; fx_now_ns() < end && !__atomic_load_n(&a->shared->start_ns, __ATOMIC_SEQ_CST);)
		fx_sleep_ms(1);
}

static void still_there(const struct actor *a)
{
	if (fx_op_done(&a->op))
		ktap_again("%s was too quick, this proves nothing", a->comm);
}

static void stack_of(const struct actor *a, char stack[static 4096])
{
	int fd = open(fx_name("/proc/%d/stack", a->op.pid), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, stack, 4095);

	stack[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/*
 * It has begun, and its kernel stack names this function, or ms have passed (the stack of who runs just now is not told); and it is not done. Who
 * copies may run all the time; who waits will sleep.
 */
static void in_kernel(const struct actor *a, const char *function, unsigned int ms)
{
	char stack[4096] = "";

	begun(a);
	for (uint64_t end = fx_now_ns() + ms * 1000000ull; fx_now_ns() < end && !fx_op_done(&a->op) && !strstr(stack, function); fx_sleep_ms(1))
		stack_of(a, stack);
	still_there(a);
}

#define copying(a) in_kernel(a, "ovl_copy_up", 150)
#define waiting(a) in_kernel(a, a->what == OPEN ? "ovl_copy_up_start" : "ovl_nlink_start", 5000)

/* It has begun and sleeps, for a lock: stacks do not name the functions of those (they count as the scheduler's), so three looks in a row. */
static void waiting_dir(const struct actor *a)
{
	unsigned int looks = 0;

	begun(a);
	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull; fx_now_ns() < end && !fx_op_done(&a->op) && looks < 3; fx_sleep_ms(1))
		looks = fx_task_state(a->op.pid) == 'D' ? looks + 1 : 0;
	still_there(a);
	KTAP_REQUIRE(looks == 3, "%s does not sleep", a->comm);
}

static pid_t pids[ACTORS];

static void all_done(void)
{
	for (unsigned int i = 0; i < nactors; i++) {
		pids[i] = actors[i].op.pid;
		KTAP_REQUIRE(fx_op_wait(&actors[i].op, 120000), "%s does not return", actors[i].comm);
		KTAP_CHECK(actors[i].op.res->err == 0, "%s: errno %d", actors[i].comm, actors[i].op.res->err);
	}
}

static pid_t pid_of(const struct actor *a)
{
	return pids[a - actors];
}

static int64_t measured_us(const struct actor *a)
{
	return (int64_t)((a->shared->end_ns - a->shared->start_ns) / 1000);
}

/* The same without its own work afterwards: as long as the holder's call lasted. What is told may be a little longer, until there was a CPU. */
static int64_t measured_behind_us(const struct actor *a, const struct actor *holder)
{
	uint64_t end = a->shared->end_ns < holder->shared->end_ns ? a->shared->end_ns : holder->shared->end_ns;

	return (int64_t)((end - a->shared->start_ns) / 1000);
}

/* what is told */

static int64_t sum_told, sum_measured, sum_behind;

/* Of the holder, and of who copies. */
struct behind {
	const struct actor *holder, *copier;
	struct json_object *copyup;
};

static void check_wait(const struct see *s, const struct actor *a, const char *on, const char *path, const struct behind *b)
{
	struct json_object *e = see_only(s, "wait", "pid", pid_of(a));
	int64_t told, measured = measured_us(a), behind = measured_behind_us(a, b->holder);

	if (!e)
		return;
	SEE_STR(e, "path", path);
	SEE_STR(e, "op", whats[a->what].op);
	SEE_STR(e, "syscall", whats[a->what].syscall);
	SEE_STR(e, "comm", a->comm);
	SEE_STR(e, "on", on);
	SEE_STR(e, "result", "released");
	SEE_NUM(e, "tid", pid_of(a));
	see_check_place(e, "", a->place);
	SEE_NUM(e, "holder_pid", pid_of(b->holder));
	SEE_NUM(e, "holder_tid", pid_of(b->holder));
	SEE_STR(e, "holder_comm", b->holder->comm);
	SEE_STR(e, "holder_op", whats[b->holder->what].op);
	see_check_place(e, "holder_", b->holder->place);
	SEE_NUM(e, "copyup_id", see_num(b->copyup, "id"));
	SEE_STR(e, "copyup_path", see_str(b->copyup, "path"));
	SEE_NUM(e, "copyup_pid", pid_of(b->copier));
	SEE_STR(e, "copyup_comm", b->copier->comm);
	told = see_num(e, "wait_us");
	KTAP_CHECK(told <= measured, "%s: %lld us are told, %lld measured", a->comm, (long long)told, (long long)measured);
	/* Who waited may have to wait for a CPU, too; the sum is held to more than this. */
	if (told * 10 < behind * 7)
		ktap_again("%s: %lld us are told, %lld measured, %lld of them behind the holder", a->comm, (long long)told, (long long)measured,
			   (long long)behind);
	sum_told += told;
	sum_measured += measured;
	sum_behind += behind;
}

/* All waits of the test were looked at, and their sum is what the waiters measured. */
static void check_sums(const struct see *s, unsigned int waits)
{
	unsigned int at = 0;
	struct json_object *t = see_next(s, &at, "totals");
	int64_t us;

	KTAP_CHECK(see_count(s, "wait") == waits, "%u waits are told", see_count(s, "wait"));
	KTAP_CHECK(sum_told <= sum_measured);
	ktap_diag("%u waits: %lld us told, %lld us measured, ratio %.4f; %lld us behind the holder, ratio %.4f", waits, (long long)sum_told,
		  (long long)sum_measured, (double)sum_told / (double)(sum_measured ?: 1), (long long)sum_behind,
		  (double)sum_told / (double)(sum_behind ?: 1));
	SEE_NUM(t, "waits", waits);
	us = see_num(t, "wait_us") - see_sum(s, "wait", "wait_us");
	KTAP_CHECK(us >= -SEE_PLACES && us <= (int64_t)waits, "the total is %lld us more", (long long)us);
	/* A CPU that came late is less of a longer wait. */
	if (sum_told * 10 < sum_behind * 9)
		ktap_again("too little is told");
}

/* As if the kernel had left these programs out each time (see bpf/obs_contention.bpf.h). */
static const char *const missed[] = { "ku_obs_lock", "ku_obs_locked", "ku_obs_nlink", "ku_obs_nlinked",
				      "ku_obs_down_write", "ku_obs_downed_write", "ku_obs_down_read", "ku_obs_downed_read" };
static bool all_missed;

static void attach(struct fx *fx)
{
	char *log;

	for (unsigned int i = 0; all_missed && i < sizeof(missed) / sizeof(missed[0]); i++)
		fx_without(fx, missed[i]);
	fx_attach(fx, "-m", "observe", NULL);
	log = fx_log_text(fx);
	for (unsigned int i = 0; all_missed && i < sizeof(missed) / sizeof(missed[0]); i++)
		KTAP_CHECK(strstr(log, fx_name("left out, as a test asked for: %s\n", missed[i])), "%s", log);
	free(log);
}

static void begin_in(struct fx *fx, const struct fx_opts *opts, off_t size, const char *dir)
{
	fx_init(fx, opts);
	see_places_make();
	fx_lower(fx, fx_name("%s/small", dir), FX_KB(64), 0644);
	see_big(fx, fx_name("%s/big", dir), size);
	fx_lower(fx, "e/f", FX_KB(4), 0644);
	fx_mount(fx);
	/* Both directories are upper already: what is copied from now on is the file. */
	KTAP_REQUIRE(chmod(fx_path(fx, dir), 0755) == 0 && chmod(fx_path(fx, "e"), 0755) == 0);
	attach(fx);
}

static void begin(struct fx *fx, const struct fx_opts *opts, off_t size)
{
	begin_in(fx, opts, size, "d");
}

static void end(struct fx *fx, struct see *s)
{
	see_free(s);
	see_places_remove();
	fx_end(fx);
}

/* One copies, the others wait for it. */
KTAP_TEST_LIMIT(openers_wait_for_one_of_them, 200)
{
	struct behind b = { 0 };
	struct fx fx;
	struct see s;

	begin(&fx, NULL, SIZE);
	for (unsigned int i = 0; i < 6; i++)
		actor(OPEN, fx_path(&fx, "d/big"), NULL);
	go(&actors[0]);
	copying(&actors[0]);
	for (unsigned int i = 1; i < nactors; i++)
		go(&actors[i]);
	all_done();
	fx_detach(&fx);
	see_load(&fx, &s);
	KTAP_REQUIRE(see_count(&s, "copyup") == 1, "%u copy-ups", see_count(&s, "copyup"));
	b = (struct behind){ .holder = &actors[0], .copier = &actors[0], .copyup = see_only(&s, "copyup", "pid", pids[0]) };
	KTAP_REQUIRE(b.copyup);
	for (unsigned int i = 1; i < nactors; i++)
		check_wait(&s, &actors[i], "inode", "/d/big", &b);
	SEE_NUM(b.copyup, "waiters", nactors - 1);
	check_sums(&s, nactors - 1);
	end(&fx, &s);
}

/* holder's own copy-up keeps a directory, or two, or the file, locked; those behind want the same lock. */
static void held_by_copier(enum what what, const char *to, const char *other_dir)
{
	struct actor *holder;
	struct behind b;
	struct fx fx;
	struct see s;

	begin(&fx, NULL, SIZE);
	holder = actor(what, fx_path(&fx, "d/big"), to ? fx_path(&fx, to) : NULL);
	if (what == CHMOD) {
		actor(CHMOD, fx_path(&fx, "d/big"), NULL);
		actor(CHMOD, fx_path(&fx, "d/big"), NULL);
	} else {
		actor(CREATE, fx_path(&fx, fx_name("%s/new1", other_dir)), NULL);
		actor(CREATE, fx_path(&fx, fx_name("%s/new2", other_dir)), NULL);
		actor(LOOK_UP, fx_path(&fx, fx_name("%s/nobody", other_dir)), NULL);
		actor(LIST, fx_path(&fx, other_dir), NULL);
		if (what == RENAME && strcmp(other_dir, "d"))
			actor(CREATE, fx_path(&fx, "d/new3"), NULL);
	}
	go(holder);
	copying(holder);
	for (unsigned int i = 1; i < nactors; i++)
		go(&actors[i]);
	all_done();
	fx_detach(&fx);
	see_load(&fx, &s);
	b = (struct behind){ .holder = holder, .copier = holder, .copyup = see_only(&s, "copyup", "pid", pid_of(holder)) };
	KTAP_REQUIRE(b.copyup && see_count(&s, "copyup") == 1, "%u copy-ups", see_count(&s, "copyup"));
	for (unsigned int i = 1; i < nactors; i++)
		check_wait(&s, &actors[i], what == CHMOD ? "file" : "dir",
			   what == CHMOD ? "/d/big" : strstr(actors[i].path, "/d/") ? "/d" : fx_name("/%s", other_dir), &b);
	check_sums(&s, nactors - 1);
	end(&fx, &s);
}

KTAP_TEST_LIMIT(stands_behind_a_rename, 200)
{
	held_by_copier(RENAME, "d/moved", "d");
}

KTAP_TEST_LIMIT(stands_behind_a_rename_between_directories, 200)
{
	held_by_copier(RENAME, "e/moved", "e");
}

KTAP_TEST_LIMIT(stands_behind_a_link_from_elsewhere, 200)
{
	held_by_copier(LINK, "e/linked", "e");
}

KTAP_TEST_LIMIT(stands_behind_a_chmod_of_the_file, 200)
{
	held_by_copier(CHMOD, NULL, NULL);
}

/* The stall experiment: one copies the file, another removes or replaces it meanwhile, and all others stand behind that one. */
static void stall(enum what what)
{
	struct actor *copier, *holder;
	struct behind copy, dir;
	struct fx fx;
	struct see s;

	begin(&fx, &(struct fx_opts){ .upper_fs = "ext4", .upper_size = UPPER_SIZE, .lower_fs = "tmpfs" }, SIZE);
	copier = actor(OPEN, fx_path(&fx, "d/big"), NULL);
	if (what == UNLINK)
		holder = actor(UNLINK, fx_path(&fx, "d/big"), NULL);
	else
		holder = actor(RENAME, fx_path(&fx, "d/small"), fx_path(&fx, "d/big"));
	for (unsigned int i = 0; i < 4; i++)
		actor(CREATE, fx_path(&fx, fx_name("d/new%u", i)), NULL);
	actor(LOOK_UP, fx_path(&fx, "d/nobody"), NULL);
	actor(LIST, fx_path(&fx, "d"), NULL);
	go(copier);
	copying(copier);
	go(holder);
	waiting(holder);
	for (unsigned int i = 2; i < nactors; i++)
		go(&actors[i]);
	all_done();
	fx_detach(&fx);
	see_load(&fx, &s);
	copy.holder = copy.copier = dir.copier = copier;
	dir.holder = holder;
	dir.copyup = copy.copyup = see_only(&s, "copyup", "pid", pid_of(copier));
	KTAP_REQUIRE(copy.copyup);
	SEE_STR(copy.copyup, "path", "/d/big");
	SEE_NUM(copy.copyup, "waiters", 1);
	KTAP_CHECK(what == RENAME || see_num(copy.copyup, "fsync_us") > 0, "ext4 flushes");
	check_wait(&s, holder, "inode", "/d/big", &copy);
	for (unsigned int i = 2; i < nactors; i++)
		check_wait(&s, &actors[i], "dir", "/d", &dir);
	check_sums(&s, nactors - 1);
	end(&fx, &s);
}

KTAP_TEST_LIMIT(stall_of_a_directory_by_unlink, 200)
{
	stall(UNLINK);
}

KTAP_TEST_LIMIT(stall_of_a_directory_by_rename_over, 200)
{
	stall(RENAME);
}

KTAP_TEST_LIMIT(waits_that_are_missed_are_told, 200)
{
	all_missed = true;
	stall(UNLINK);
}

/*
 * One more between them: who waits for the unlink's directory has another one locked meanwhile, in which the rest stands. (Of two directories
 * a rename locks the one above the other first, whichever way it moves; without that the order is the kernel's.)
 */
static void chain(enum what what)
{
	const char *dir = what == RENAME ? "above/d" : "d", *file = fx_name("/%s/big", dir);
	struct actor *copier, *holder, *between;
	struct behind copy, first, second;
	struct fx fx;
	struct see s;

	begin_in(&fx, &(struct fx_opts){ .upper_fs = "ext4", .upper_size = UPPER_SIZE, .lower_fs = "tmpfs" }, SIZE, dir);
	fx_sh("rm %s/%s/small; : >%s/upper", fx.merged, dir, fx.merged);
	copier = actor(OPEN, fx_path(&fx, file + 1), NULL);
	holder = actor(UNLINK, fx_path(&fx, file + 1), NULL);
	if (what == RENAME)
		between = actor(RENAME, fx_path(&fx, "upper"), fx_path(&fx, fx_name("%s/moved", dir)));
	else
		between = actor(RMDIR, fx_path(&fx, dir), NULL);
	actor(CREATE, fx_path(&fx, "new1"), NULL);
	actor(CREATE, fx_path(&fx, "new2"), NULL);
	actor(LOOK_UP, fx_path(&fx, "nobody"), NULL);
	actor(LIST, fx.merged, NULL);
	go(copier);
	copying(copier);
	go(holder);
	waiting(holder);
	go(between);
	waiting_dir(between);
	for (unsigned int i = 3; i < nactors; i++)
		go(&actors[i]);
	all_done();
	fx_detach(&fx);
	see_load(&fx, &s);
	copy = first = second = (struct behind){ .holder = copier, .copier = copier, .copyup = see_only(&s, "copyup", "pid", pid_of(copier)) };
	first.holder = holder;
	second.holder = between;
	KTAP_REQUIRE(copy.copyup);
	check_wait(&s, holder, "inode", file, &copy);
	check_wait(&s, between, "dir", fx_name("/%s", dir), &first);
	for (unsigned int i = 3; i < nactors; i++)
		check_wait(&s, &actors[i], "dir", "/", &second);
	check_sums(&s, nactors - 1);
	end(&fx, &s);
}

KTAP_TEST_LIMIT(stands_behind_a_rename_that_waits_for_its_second_directory, 200)
{
	chain(RENAME);
}

KTAP_TEST_LIMIT(stands_behind_an_rmdir_that_waits_for_the_directory, 200)
{
	chain(RMDIR);
}

/* Nobody waits where nobody is in the way; and a wait for something else than a copy-up is none of ours. */
KTAP_TEST_LIMIT(no_wait_is_told_where_none_is_due_to_a_copy_up, 200)
{
	struct actor *copier;
	struct fx fx;
	struct see s;

	begin(&fx, NULL, SIZE);
	copier = actor(OPEN, fx_path(&fx, "d/big"), NULL);
	/* An open has no directory locked. */
	actor(CREATE, fx_path(&fx, "d/new1"), NULL);
	actor(LOOK_UP, fx_path(&fx, "d/nobody"), NULL);
	actor(LIST, fx_path(&fx, "d"), NULL);
	actor(UNLINK, fx_path(&fx, "d/small"), NULL);
	go(copier);
	copying(copier);
	for (unsigned int i = 1; i < nactors; i++)
		go(&actors[i]);
	all_done();
	/* Many in each other's way in one directory, which queue for its lock. */
	fx_sh("for p in 1 2 3 4; do (i=0; while [ $i -lt 150 ]; do : >%s/e/$p.$i; i=$((i + 1)); done) & done; wait", fx.merged);
	fx_detach(&fx);
	see_load(&fx, &s);
	KTAP_CHECK(see_count(&s, "copyup") == 1, "%u", see_count(&s, "copyup"));
	check_sums(&s, 0);
	end(&fx, &s);
}

/* A waiter that is killed meanwhile is told, too, and that a signal ended its wait. */
KTAP_TEST_LIMIT(killed_waiter_is_told, 200)
{
	struct actor *copier, *waiter;
	struct json_object *e;
	struct fx fx;
	struct see s;

	begin(&fx, NULL, SIZE);
	copier = actor(OPEN, fx_path(&fx, "d/big"), NULL);
	waiter = actor(OPEN, fx_path(&fx, "d/big"), NULL);
	go(copier);
	copying(copier);
	go(waiter);
	waiting(waiter);
	pids[0] = copier->op.pid;
	pids[1] = waiter->op.pid;
	still_there(copier);
	fx_op_kill(&waiter->op, SIGKILL);
	KTAP_CHECK(!fx_op_wait(&waiter->op, 60000) && !waiter->op.pid, "it is done");
	KTAP_CHECK(fx_op_wait(&copier->op, 60000));
	fx_detach(&fx);
	see_load(&fx, &s);
	e = see_only(&s, "wait", "pid", pids[1]);
	SEE_STR(e, "result", "signal");
	SEE_STR(e, "comm", waiter->comm);
	SEE_NUM(e, "holder_pid", pids[0]);
	KTAP_CHECK(see_num(e, "wait_us") > 0 && see_num(e, "wait_us") < see_num(see_only(&s, "copyup", "pid", pids[0]), "total_us"),
		   "%lld us", (long long)see_num(e, "wait_us"));
	end(&fx, &s);
}

KTAP_MAIN()
