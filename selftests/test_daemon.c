// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of kunion, whenever it comes, releases everyone into the kernel's own behaviour: killed at each step of a copy, told to
 * end, its union unmounted.
 */
#include "fx_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>

FX_BARE

#define SIZE FX_MB(2)
/* From the end of kunion to the end of who waited: detaching patches the kernel's text many times. */
#define NATIVE_MS 10000

static unsigned int temps_in(const char *dir)
{
	unsigned int n = 0;
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		n += !strncmp(e->d_name, ".kunion-", 8);
	if (d)
		closedir(d);
	return n;
}

/* Files d/f and d/g, and a copy of d/f held at this point. */
static void begin(struct fx *fx, struct fx_op *op, const char *stop, enum fx_call_kind kind)
{
	fx_init(fx, NULL);
	fx_lower(fx, "d/f", SIZE, 0644);
	fx_lower(fx, "d/g", SIZE, 0644);
	fx_mount(fx);
	fx_attach(fx, NULL);
	fx_stop_arm(fx, stop);
	fx_call_start(op, &(struct fx_call){ kind, fx_path(fx, "d/f"), .id = fx_id("new") });
	fx_stop_wait(fx, stop, FX_LONG);
}

/* Is d/f the lower file with block 0 written by the opener? */
static void check_written(const struct fx *fx, mode_t mode)
{
	int fd = open(fx_path(fx, "d/f"), O_RDONLY | O_CLOEXEC);
	struct stat st;

	KTAP_REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
	KTAP_CHECK(st.st_size == SIZE && (st.st_mode & 07777) == mode, "size %lld, mode %o", (long long)st.st_size, st.st_mode);
	KTAP_CHECK(fx_get_block(fd, 0) == fx_id("new"), "%#x", fx_get_block(fd, 0));
	for (unsigned int i = 1; i < SIZE / FX_BLOCK; i++)
		KTAP_REQUIRE(fx_get_block(fd, i) == fx_id("d/f"), "block %u: %#x", i, fx_get_block(fd, i));
	close(fd);
	KTAP_CHECK(fx_in_upper(fx, "d/f"));
}

/* The next start works, and nothing of the last one is left. */
static void check_next_start(struct fx *fx)
{
	fx_attach(fx, NULL);
	fx_no_temps(fx);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(fx, "d/g") }) == 0);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", "/d/g", "engine", "kunion", "result", "ok", NULL));
	fx_end(fx);
}

/* SIGKILL */

static void killed_at(const char *stop, unsigned int temps)
{
	struct fx_op writer, second;
	uint64_t start;
	struct fx fx;
	bool park;

	begin(&fx, &writer, stop, FX_OPEN_WRITE);
	park = fx.tier == FX_TIER_PARK;
	if (strcmp(stop, "after-rename"))
		KTAP_REQUIRE(fx_wait_parked(&writer, FX_LONG));
	fx_call_start(&second, &(struct fx_call){ park ? FX_CHMOD : FX_OPEN_W, fx_path(&fx, "d/f"), .mode = 0600 });
	if (strcmp(stop, "after-rename"))
		KTAP_REQUIRE(fx_wait_parked(&second, FX_LONG));

	start = fx_now_ns();
	fx_kill(&fx);
	KTAP_CHECK(fx_op_wait(&writer, FX_LONG) && writer.res->err == 0, "errno %d", writer.res->err);
	KTAP_CHECK(fx_op_wait(&second, FX_LONG) && second.res->err == 0, "errno %d", second.res->err);
	KTAP_CHECK(fx_now_ns() - start < NATIVE_MS * 1000000ull, "%llu ms", (unsigned long long)(fx_now_ns() - start) / 1000000);
	check_written(&fx, park ? 0600 : 0644);
	/* Without one the cleaning of the next start would be put to no test. */
	KTAP_CHECK(temps_in(fx_upath(&fx, "d")) == temps, "%u temporaries", temps_in(fx_upath(&fx, "d")));
	fx_stop_go(&fx, stop);
	check_next_start(&fx);
}

KTAP_TEST(killed_before_it_opens)
{
	killed_at("before-open", 0);
}

KTAP_TEST(killed_before_it_copies)
{
	killed_at("copying", 0);
}

KTAP_TEST(killed_while_it_copies)
{
	killed_at("copy-chunk", 0);
}

KTAP_TEST(killed_before_it_commits)
{
	killed_at("before-commit", 0);
}

KTAP_TEST(killed_while_it_commits)
{
	killed_at("committing", 0);
}

KTAP_TEST(killed_after_the_link)
{
	killed_at("after-link", 1);
}

KTAP_TEST(killed_before_the_rename)
{
	killed_at("before-rename", 1);
}

KTAP_TEST(killed_after_the_rename)
{
	killed_at("after-rename", 0);
}

KTAP_TEST(killed_while_a_reader_waits)
{
	struct fx_op opener, reader;
	struct fx fx;

	begin(&fx, &opener, "before-rename", FX_OPEN_W);
	fx_call_start(&reader, &(struct fx_call){ FX_OPEN_R, fx_path(&fx, "d/f"), .id = fx_id("d/f"), .size = SIZE });
	KTAP_REQUIRE(fx_wait_parked(&reader, FX_LONG));
	fx_kill(&fx);
	KTAP_CHECK(fx_op_wait(&reader, NATIVE_MS) && reader.res->err == 0, "errno %d", reader.res->err);
	KTAP_CHECK(fx_op_wait(&opener, NATIVE_MS) && opener.res->err == 0, "errno %d", opener.res->err);
	fx_stop_go(&fx, "before-rename");
	check_next_start(&fx);
}

/* What the next start removes is what it recorded, and nothing of the user's. */
KTAP_TEST(next_start_removes_only_its_own)
{
	static const char *const mine[] = { "d/.kunion-0123456789abcdef0123456789abcdef", "d/.kunion-x" };
	struct fx_op writer;
	struct fx fx;

	begin(&fx, &writer, "after-link", FX_OPEN_WRITE);
	for (unsigned int i = 0; i < 2; i++)
		KTAP_REQUIRE(mknod(fx_path(&fx, mine[i]), S_IFREG | 0644, 0) == 0);
	fx_kill(&fx);
	KTAP_CHECK(fx_op_wait(&writer, FX_LONG) && writer.res->err == 0, "errno %d", writer.res->err);
	KTAP_CHECK(temps_in(fx_upath(&fx, "d")) == 3);
	fx_stop_go(&fx, "after-link");
	fx_attach(&fx, NULL);
	KTAP_CHECK(temps_in(fx_upath(&fx, "d")) == 2, "%u", temps_in(fx_upath(&fx, "d")));
	for (unsigned int i = 0; i < 2; i++)
		KTAP_CHECK(unlink(fx_path(&fx, mine[i])) == 0);
	fx_end(&fx);
}

/* told to end */

static void told(int sig, const char *stop)
{
	struct fx_op writer;
	int status = 0;
	struct fx fx;

	begin(&fx, &writer, stop, FX_OPEN_WRITE);
	KTAP_REQUIRE(fx_wait_parked(&writer, FX_LONG));
	/* The copy is held at its stop point, so kunion itself cannot end yet; who waits need not wait for that. */
	kill(fx.kunion, sig);
	KTAP_CHECK(fx_op_wait(&writer, NATIVE_MS) && writer.res->err == 0, "errno %d", writer.res->err);
	check_written(&fx, 0644);
	KTAP_CHECK(waitpid(fx.kunion, &status, WNOHANG) == 0, "it must not leave its worker behind");
	fx_stop_go(&fx, stop);
	fx_detach(&fx); /* its SIGINT is one more */
	check_written(&fx, 0644);
	fx_no_temps(&fx);
	check_next_start(&fx);
}

KTAP_TEST(sigint_releases_a_waiter)
{
	told(SIGINT, "copying");
}

KTAP_TEST(sigterm_releases_a_waiter)
{
	told(SIGTERM, "copying");
}

KTAP_TEST(sigterm_while_it_commits)
{
	told(SIGTERM, "before-rename");
}

KTAP_TEST(detaching_with_nobody_waiting)
{
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", SIZE, 0644);
	fx_lower(&fx, "d/g", SIZE, 0644);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	fx_detach(&fx);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/f") }) == 0);
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", NULL) == 0, "detached means that nothing is told");
	check_next_start(&fx);
}

/* Below the initial pid namespace its requests do not say who waits: then it must not let anybody wait. */
KTAP_TEST(refused_in_a_pid_namespace)
{
	struct fx fx;
	int status;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", SIZE, 0644);
	fx_mount(&fx);
	if (!fx_kernel_since(6, 12))
		ktap_skip("needs mode manage");
	status = system("unshare -p -f kunion run " FX_DIR "/merged -- chmod 600 " FX_DIR "/merged/d/f 2>" FX_DIR "/said");
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%#x", status);
	fx_sh("[ $(wc -l <" FX_DIR "/said) = 1 ] && grep -q 'pid namespace' " FX_DIR "/said");
	status = system("unshare -p -f kunion run -m observe " FX_DIR "/merged -- chmod 600 " FX_DIR "/merged/d/f");
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
	fx_end(&fx);
}

/* two of them */

KTAP_TEST(second_daemon_is_refused)
{
	char *const argv[] = { "kunion", "run", FX_DIR "/merged", "--", "touch", FX_DIR "/ran", NULL };
	struct fx_op writer;
	int status = 0;
	struct fx fx;
	pid_t pid;

	begin(&fx, &writer, "copying", FX_OPEN_WRITE);
	pid = fork();
	if (pid == 0) {
		int fd = open(FX_DIR "/said", O_WRONLY | O_CREAT | O_TRUNC, 0644);

		dup2(fd, STDERR_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2, "status %#x", status);
	fx_sh("[ $(wc -l <" FX_DIR "/said) = 1 ] && grep -q 'another kunion' " FX_DIR "/said");
	KTAP_CHECK(!fx_exists(FX_DIR "/ran"));

	KTAP_CHECK(fx_wait_parked(&writer, FX_LONG), "the first one is unharmed");
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_op_wait(&writer, FX_LONG) && writer.res->err == 0, "errno %d", writer.res->err);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "ok", NULL));
	check_written(&fx, 0644);
	fx_end(&fx);
}

/* unmounting */

/* Waits until it has ended by itself; its exit status. */
static int wait_end(struct fx *fx)
{
	int status = -1;

	for (uint64_t end = fx_now_ns() + NATIVE_MS * 1000000ull; fx_now_ns() < end; fx_sleep_ms(2))
		if (waitpid(fx->kunion, &status, WNOHANG) == fx->kunion) {
			fx->kunion = 0;
			break;
		}
	for (int i = 0; i < 2000 && fx_kunion_count(); i++)
		fx_sleep_ms(1);
	KTAP_CHECK(fx_kunion_count() == 0, "a process of kunion is left");
	return status;
}

KTAP_TEST(unmounting_works_at_once_and_ends_the_attachment)
{
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", SIZE, 0644);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/f") }) == 0);
	fx_umount(&fx); /* right behind a copy: nothing of it is open any more */
	KTAP_CHECK(wait_end(&fx) == 0);
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "ok", NULL) == 1);
	fx_mount(&fx);
	fx_end(&fx);
}

/* The number of a superblock that is gone is given to the next one. */
KTAP_TEST(unmounted_union_is_not_another)
{
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", SIZE, 0644);
	fx_mount(&fx);
	fx_sh("cd " FX_DIR "/u && mkdir lower2 upper2 work2 ../merged2 && truncate -s 1M lower2/f && "
	      "mount -t overlay -o lowerdir=lower2,upperdir=upper2,workdir=work2 overlay ../merged2");
	fx_attach(&fx, FX_DIR "/merged2", NULL);
	fx_umount(&fx);
	fx_mount(&fx);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/f") }) == 0);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = FX_DIR "/merged2/f" }) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "union", FX_DIR "/merged2", "engine", "kunion", NULL));
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", "/d/f", NULL) == 0, "told of a union that it was not given");
	KTAP_CHECK(umount2(FX_DIR "/merged2", 0) == 0);
	KTAP_CHECK(wait_end(&fx) == 0);
	fx_end(&fx);
}

KTAP_MAIN()
