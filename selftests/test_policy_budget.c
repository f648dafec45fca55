// SPDX-License-Identifier: GPL-2.0-only
/* Budgets of a policy: what is beyond them is refused before its first byte, whatever races, and what came to nothing is given back. */
#include "policy.h"

#include <signal.h>
#include <sys/resource.h>

FX_LEAN

#define HEAD "version = 1;\ndefault = \"allow\";\n"

static int open_w(const struct fx *fx, const char *name)
{
	return policy_open(fx_path(fx, name), O_WRONLY);
}

static void is(int got, int want, const char *what)
{
	KTAP_CHECK(got == want, "%s: %s, not %s", what, strerrorname_np(got), strerrorname_np(want));
}


/* Waits until a policy that lets path be opened is in force. */
static void reload_until(const struct fx *fx, const char *path)
{
	KTAP_REQUIRE(kill(fx->kunion, SIGHUP) == 0);
	for (uint64_t end = fx_now_ns() + 3 * FX_LONG * 1000000ull; policy_open(path, O_WRONLY);) {
		KTAP_REQUIRE(fx_now_ns() < end, "the new policy does not come: %s", fx_log_text(fx));
		fx_sleep_ms(20);
	}
}

#define MAIN_POLICY(big)                                                                                                                \
	HEAD "budgets = (\n"                                                                                                            \
	     "{ name = \"big\"; copy_up = \"" big "\"; },\n"                                                                             \
	     "{ name = \"race\"; copy_up = 131072; },\n"                                                                                 \
	     "{ name = \"back\"; copy_up = \"3M\"; },\n"                                                                                 \
	     "{ name = \"files\"; files = 4; },\n"                                                                                       \
	     "{ name = \"rate\"; copy_ups_per_second = 1; },\n"                                                                          \
	     "{ name = \"written\"; write = \"200K\"; },\n"                                                                              \
	     "{ name = \"told\"; copy_up = 4096; files = 0; at_limit = \"audit\"; });\n"                                                  \
	     "rules = (\n"                                                                                                               \
	     "{ name = \"big\"; prefix = \"/big\"; action = [ \"copy-up\", \"create\" ]; verdict = \"allow\"; budget = \"big\"; },\n"      \
	     "{ name = \"race\"; prefix = \"/race\"; kind = \"file\"; action = \"copy-up\"; verdict = \"allow\"; budget = \"race\"; },\n"  \
	     "{ name = \"back\"; prefix = \"/back\"; action = \"any\"; verdict = \"allow\"; budget = \"back\"; },\n"                       \
	     "{ name = \"no-dir\"; path = \"/files/low\"; action = \"copy-up\"; verdict = \"deny\"; },\n"                                 \
	     "{ name = \"files\"; prefix = \"/files\"; action = \"create\"; verdict = \"allow\"; budget = \"files\"; },\n"                 \
	     "{ name = \"rate\"; prefix = \"/rate\"; action = \"copy-up\"; kind = \"file\"; verdict = \"allow\"; budget = \"rate\"; },\n"  \
	     "{ name = \"written\"; prefix = \"/written\"; action = \"any\"; verdict = \"allow\"; budget = \"written\"; },\n"          \
	     "{ name = \"told\"; prefix = \"/told\"; action = \"any\"; verdict = \"audit\"; budget = \"told\"; }\n"                        \
	     ");\n"

/* The issue's own: 64 MiB, and files of 10. */
static void seventh(struct fx *fx)
{
	uint64_t before;

	for (int i = 0; i < 6; i++)
		is(open_w(fx, fx_name("big/%d", i)), 0, fx_name("copy-up %d", i));
	before = fx_upper_free(fx);
	is(open_w(fx, "big/6"), EDQUOT, "the seventh");
	is(policy_result(chmod(fx_path(fx, "big/6"), 0600)), EDQUOT, "the seventh, by chmod");
	is(policy_result(truncate(fx_path(fx, "big/6"), 4096)), EDQUOT, "the seventh, by truncate");
	KTAP_CHECK(!fx_in_upper(fx, "big/6") && fx_upper_free(fx) == before, "%llu bytes free before, %llu now", (unsigned long long)before,
		   (unsigned long long)fx_upper_free(fx));
	fx_event_wait(fx, 3, FX_LONG / 4, "event", "policy", "path", "/big/6", NULL);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/big/6", "action", "copy-up", "verdict", "deny", "errno", "EDQUOT", "budget", "big",
				  "limit", "copy_up", "rule", "big", NULL) == 3);
	/* What fits still does; what copies nothing takes nothing. */
	is(policy_open(fx_path(fx, "big/6"), O_WRONLY | O_TRUNC), 0, "it is truncated");
	is(open_w(fx, "big/small"), 0, "3 MiB");
	is(open_w(fx, "big/small2"), EDQUOT, "another 3 MiB");
	is(open_w(fx, "big/0"), 0, "copied already");
}

#define RACERS 2
#define RACE_FILES 64 /* each, of 4 KiB: half of them fit */

struct racer {
	const struct fx *fx;
	int nr;
	volatile int *ready;
};

static long race(void *arg)
{
	const struct racer *r = arg;
	long n = 0;

	__sync_fetch_and_add(r->ready, 1);
	while (*r->ready < RACERS)
		;
	for (int i = 0; i < RACE_FILES; i++) {
		char path[FX_PATH_MAX + 64];
		int err;

		snprintf(path, sizeof(path), "%s/race/%d-%d", r->fx->merged, r->nr, i);
		err = policy_open(path, O_WRONLY);
		if (err && err != EDQUOT) {
			errno = err;
			return -1;
		}
		n += !err;
	}
	return n;
}

static void racing(struct fx *fx)
{
	struct racer r[RACERS];
	struct fx_op op[RACERS];
	volatile int *ready = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long n = 0;

	for (int i = 0; i < RACERS; i++) {
		r[i] = (struct racer){ fx, i, ready };
		fx_op_start(&op[i], 0, race, &r[i]);
	}
	for (int i = 0; i < RACERS; i++) {
		KTAP_REQUIRE(fx_op_wait(&op[i], 3 * FX_LONG) && op[i].res->ret >= 0, "%s", strerrorname_np(op[i].res->err));
		n += op[i].res->ret;
	}
	KTAP_CHECK(n == 32, "%ld files of 4 KiB were copied up, not 32", n);
}

/* A copy-up that comes to nothing half way: the limit of its task's files. */
static long too_large(void *arg)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	int err;

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return -1;
	err = policy_open(arg, O_WRONLY);
	errno = err;
	return err == EFBIG ? 0 : -1;
}

static void given_back(struct fx *fx)
{
	struct fx_op op;

	for (int i = 0; i < 3; i++) {
		fx_op_start(&op, 0, too_large, (void *)fx_path(fx, "back/f"));
		KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->ret == 0, "EFBIG, but %s", strerrorname_np(op.res->err));
	}
	is(open_w(fx, "back/f"), 0, "the failed ones were given back");
	is(open_w(fx, "back/g"), EDQUOT, "this one was not");
}

static void created(struct fx *fx)
{
	int err;

	is(policy_open(fx_path(fx, "files/a"), O_WRONLY | O_CREAT), 0, "first");
	is(policy_result(mkdir(fx_path(fx, "files/b"), 0755)), 0, "second");
	is(policy_result(symlink("x", fx_path(fx, "files/c"))), 0, "third");
	is(policy_result(link(fx_path(fx, "files/a"), fx_path(fx, "files/l"))), 0, "a link is no file");
	is(policy_result(rename(fx_path(fx, "files/l"), fx_path(fx, "files/m"))), 0, "nor is another name");
	/* The kernel asks before it knows that they are there. */
	for (int i = 0; i < 3; i++) {
		fx_sh("sync; echo 2 >/proc/sys/vm/drop_caches");
		is(policy_open(fx_path(fx, "files/a"), O_WRONLY | O_CREAT), 0, "is there");
	}
	/* Let pass, but its directory cannot be copied up. */
	for (int i = 0; i < 3; i++)
		is(policy_open(fx_path(fx, "files/low/new"), O_WRONLY | O_CREAT), EROFS, "comes to nothing");
	is(policy_result(mkfifo(fx_path(fx, "files/d"), 0644)), 0, "fourth");
	is(policy_open(fx_path(fx, "files/e"), O_WRONLY | O_CREAT), EDQUOT, "fifth");
	err = policy_open(fx_path(fx, "files"), O_RDWR | O_TMPFILE);
	KTAP_CHECK(err == EDQUOT || (err == EOPNOTSUPP && !fx_kernel_since(6, 3)), "fifth, without a name: %s", strerrorname_np(err));
	is(policy_open(fx_path(fx, "files/a"), O_WRONLY | O_CREAT), 0, "is there");
	KTAP_CHECK(!fx_exists(fx_upath(fx, "files/e")));
	fx_event_wait(fx, 1, FX_LONG / 4, "event", "policy", "path", "/files/e", NULL);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/files/e", "action", "create", "errno", "EDQUOT", "budget", "files", "limit", "files",
				  NULL) == 1);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/files/a", NULL) == 0);
}

#define RATE_FILES 40

static void rate(struct fx *fx)
{
	uint64_t start = fx_now_ns(), s;
	int n = 0;

	for (int i = 0; i < RATE_FILES; i++) {
		int err = open_w(fx, fx_name("rate/%d", i));

		KTAP_CHECK(!err || err == EDQUOT, "%s", strerrorname_np(err));
		n += !err;
	}
	s = (fx_now_ns() - start) / 1000000000;
	KTAP_CHECK(n >= 1 && (uint64_t)n <= s + 2, "%d copy-ups in %llu s, one each second", n, (unsigned long long)s);
	KTAP_CHECK(n == RATE_FILES || fx_event_wait(fx, 1, FX_LONG / 4, "event", "policy", "limit", "copy_ups_per_second", NULL));
}

static void told(struct fx *fx)
{
	is(open_w(fx, "told/a"), 0, "within");
	is(open_w(fx, "told/b"), 0, "beyond, and told");
	is(policy_open(fx_path(fx, "told/new"), O_WRONLY | O_CREAT), 0, "beyond, and told");
	fx_event_wait(fx, 1, FX_LONG / 4, "event", "policy", "path", "/told/new", NULL);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/told/a", "verdict", "audit", "budget", "", "limit", "", NULL) == 1);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/told/b", "verdict", "audit", "errno", "", "budget", "told", "limit", "copy_up",
				  NULL) == 1);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/told/new", "verdict", "audit", "budget", "told", "limit", "files", NULL) == 1);
}

/* Counted behind each write: the one that goes beyond is the last. */
static void written(struct fx *fx)
{
	static const char *const names[] = { "written/new", "written/low", "written/up" };
	char *buf = calloc(1, FX_KB(64));

	KTAP_REQUIRE(buf);
	for (unsigned int i = 0; i < 3; i++) {
		int fd = open(fx_path(fx, names[i]), O_WRONLY | O_CLOEXEC | (i ? 0 : O_CREAT), 0644);

		KTAP_REQUIRE(fd >= 0, "%s", names[i]);
		is(policy_result(write(fd, buf, FX_KB(64))), 0, names[i]);
		if (i == 2) {
			is(policy_result(write(fd, buf, FX_KB(16))), 0, "the last one");
			is(policy_result(write(fd, buf, 1)), EDQUOT, "one more");
			is(policy_result(pwrite(fd, buf, 1, 0)), EDQUOT, "one more");
		}
		close(fd);
	}
	is(open_w(fx, "written/up"), 0, "opening writes nothing");
	fx_event_wait(fx, 2, FX_LONG / 4, "event", "policy", "path", "/written/up", NULL);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/written/up", "action", "modify", "verdict", "deny", "errno", "EDQUOT", "budget",
				  "written", "limit", "write", "rule", "written", NULL) == 2);
	free(buf);
}

/* Asked for while it runs, and told at the end. */
static void reported(const struct fx *fx)
{
	static const char *const lines[] = { "  RULE                       HITS     DENIED  LAST", "  files                ", "  BUDGET",
					     "  files                files                             4              4" };
	char *log = NULL;
	unsigned int i;

	KTAP_REQUIRE(kill(fx->kunion, SIGUSR1) == 0);
	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull;; fx_sleep_ms(20)) {
		free(log);
		log = fx_log_text(fx);
		for (i = 0; i < 4 && strstr(log, lines[i]); i++)
			;
		if (i == 4 || fx_now_ns() > end)
			break;
	}
	KTAP_CHECK(i == 4, "no '%s' in: %s", i < 4 ? lines[i] : "", log);
	free(log);
}

KTAP_TEST_LIMIT(beyond_the_budget, 300)
{
	struct fx fx;

	fx_init(&fx, NULL);
	for (int i = 0; i < 9; i++)
		fx_lower(&fx, fx_name("big/%d", i), FX_MB(10), 0644);
	fx_lower(&fx, "big/small", FX_MB(3), 0644);
	fx_lower(&fx, "big/small2", FX_MB(3), 0644);
	for (int i = 0; i < RACERS * RACE_FILES; i++)
		fx_lower(&fx, fx_name("race/%d-%d", i % RACERS, i / RACERS), FX_KB(4), 0644);
	for (int i = 0; i < RATE_FILES; i++)
		fx_lower(&fx, fx_name("rate/%d", i), FX_KB(4), 0644);
	fx_lower(&fx, "back/f", FX_MB(2), 0644);
	fx_lower(&fx, "back/g", FX_MB(2), 0644);
	fx_lower(&fx, "told/a", FX_KB(4), 0644);
	fx_lower(&fx, "told/b", FX_KB(4), 0644);
	policy_mkdirs(fx_upath(&fx, "files"), true);
	policy_mkdirs(fx_lpath(&fx, "files/low"), true);
	fx_lower(&fx, "written/low", FX_KB(4), 0644);
	policy_mkdirs(fx_upath(&fx, "written"), true);
	policy_file(fx_upath(&fx, "written/up"), 4096);
	policy_write(POLICY_FILE, "%s", MAIN_POLICY("64M"));
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	seventh(&fx);
	racing(&fx);
	given_back(&fx);
	created(&fx);
	rate(&fx);
	told(&fx);
	written(&fx);
	reported(&fx);
	/* With 63 of them used, 20 MiB more are room for two files, counted on from where it was. */
	policy_write(POLICY_FILE, "%s", MAIN_POLICY("84M"));
	reload_until(&fx, fx_path(&fx, "big/7"));
	is(open_w(&fx, "big/8"), 0, "the second one of the new budget");
	is(open_w(&fx, "big/small2"), EDQUOT, "the third");
	is(open_w(&fx, "back/g"), EDQUOT, "as before");
	fx_end(&fx);
}

/* Tried until it is let pass: what makes room for it comes a moment later. */
static void open_at_last(const struct fx *fx, const char *name, int meanwhile)
{
	int err;

	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull; (err = open_w(fx, name));) {
		if (err != meanwhile || fx_now_ns() > end)
			break;
		fx_sleep_ms(20);
	}
	is(err, 0, name);
}

/* kunion's own copies are paid for by who asked, once for all that wait, and given back when they become moot. */
KTAP_TEST_LIMIT(copied_by_kunion, 150)
{
	struct fx_op op[2];
	struct fx fx;

	fx_init(&fx, NULL);
	for (int i = 0; i < 4; i++) {
		fx_lower(&fx, fx_name("m/%d", i), FX_MB(2), 0644);
		fx_lower(&fx, fx_name("lost/%d", i), FX_MB(2), 0644);
	}
	policy_write(POLICY_FILE, HEAD "budgets = ( { name = \"m\"; per = \"all\"; copy_up = \"3M\"; }, { name = \"lost\"; copy_up = \"3M\"; } );\n"
				       "rules = ( { name = \"m\"; prefix = \"/m\"; action = \"any\"; verdict = \"allow\"; budget = \"m\"; },\n"
				       "{ name = \"l\"; prefix = \"/lost\"; kind = \"file\"; action = \"any\"; verdict = \"allow\"; budget = \"lost\"; } );\n");
	fx_mount(&fx);
	fx_attach(&fx, "--policy", POLICY_FILE, NULL);
	fx_stop_arm(&fx, "copying");
	fx_call_start(&op[0], FX_CALL(FX_OPEN_W, fx_path(&fx, "m/0")));
	fx_stop_wait(&fx, "copying", FX_LONG);
	fx_call_start(&op[1], FX_CALL(FX_OPEN_W, fx_path(&fx, "m/0")));
	KTAP_CHECK(fx_wait_parked(&op[1], FX_LONG));
	fx_stop_go(&fx, "copying");
	for (int i = 0; i < 2; i++)
		KTAP_CHECK(fx_op_wait(&op[i], FX_LONG) && !op[i].res->err, "%s", strerrorname_np(op[i].res->err));
	fx_sh("sync; echo 2 >/proc/sys/vm/drop_caches");
	is(open_w(&fx, "m/1"), EDQUOT, "4 MiB");
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "engine", "kunion", "result", "ok", NULL));

	fx_stop_arm(&fx, "copying");
	fx_call_start(&op[0], FX_CALL(FX_OPEN_W, fx_path(&fx, "lost/0")));
	fx_stop_wait(&fx, "copying", FX_LONG);
	is(open_w(&fx, "lost/1"), EDQUOT, "as long as the other one is under way");
	is(policy_result(unlink(fx_path(&fx, "lost/0"))), 0, "unlink");
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_op_wait(&op[0], FX_LONG));
	open_at_last(&fx, "lost/1", EDQUOT);
	is(open_w(&fx, "lost/2"), EDQUOT, "that one was copied");
	fx_end(&fx);
}

/* Copies of metadata take nothing, until the data follows. What cannot fit into the upper file system is not begun. */
KTAP_TEST_LIMIT(metadata_and_free_space, 150)
{
	static const struct fx_opts opts = { .upper_fs = "tmpfs", .lower_fs = "tmpfs", .upper_size = FX_MB(32), .mount_opts = "metacopy=on" };
	uint64_t before;
	struct fx fx;

	fx_init(&fx, &opts);
	for (int i = 0; i < 3; i++)
		fx_lower(&fx, fx_name("data/%d", i), FX_MB(4), 0644);
	fx_lower(&fx, "fit/never", FX_MB(40), 0644);
	fx_lower(&fx, "fit/keep", FX_MB(25), 0644);
	for (int i = 0; i < 3; i++)
		fx_lower(&fx, fx_name("fit/%d", i), FX_MB(10), 0644);
	policy_write(POLICY_FILE, HEAD "keep_free = \"4M\";\nbudgets = ( { name = \"data\"; copy_up = \"6M\"; } );\n"
				       "rules = ( { name = \"data\"; prefix = \"/data\"; kind = \"file\"; action = \"copy-up\"; verdict = \"allow\";\n"
				       "budget = \"data\"; } );\n");
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	for (int i = 0; i < 3; i++)
		is(policy_result(chmod(fx_path(&fx, fx_name("data/%d", i)), 0600)), 0, "metadata");
	is(open_w(&fx, "data/0"), 0, "data");
	is(open_w(&fx, "data/1"), EDQUOT, "more data");
	is(policy_result(truncate(fx_path(&fx, "data/1"), 4096)), EDQUOT, "more data, by truncate");
	is(policy_result(chmod(fx_path(&fx, "data/1"), 0640)), 0, "metadata");
	is(policy_open(fx_path(&fx, "data/1"), O_WRONLY | O_TRUNC), 0, "no data");
	fx_event_wait(&fx, 2, FX_LONG / 4, "event", "policy", "path", "/data/1", NULL);
	KTAP_CHECK(fx_event_count(&fx, "event", "policy", "path", "/data/1", "action", "copy-up", "errno", "EDQUOT", "budget", "data", "limit", "copy_up",
				  NULL) == 2);

	before = fx_upper_free(&fx);
	is(open_w(&fx, "fit/never"), ENOSPC, "larger than all");
	is(open_w(&fx, "fit/keep"), ENOSPC, "what is kept free");
	KTAP_CHECK(fx_upper_free(&fx) == before && !fx_in_upper(&fx, "fit/never") && !fx_in_upper(&fx, "fit/keep"));
	fx_event_wait(&fx, 1, FX_LONG / 4, "event", "policy", "path", "/fit/keep", NULL);
	KTAP_CHECK(fx_event_count(&fx, "event", "policy", "path", "/fit/keep", "verdict", "deny", "errno", "ENOSPC", "budget", "", "limit", "keep_free",
				  NULL) == 1);
	is(policy_result(chmod(fx_path(&fx, "fit/never"), 0600)), 0, "of its metadata only");
	/* One behind the other: what the first one takes counts at once. */
	is(open_w(&fx, "fit/0"), 0, "10 MiB");
	is(open_w(&fx, "fit/1"), 0, "20 MiB");
	is(open_w(&fx, "fit/2"), ENOSPC, "30 MiB");
	is(policy_result(unlink(fx_path(&fx, "fit/0"))), 0, "unlink");
	open_at_last(&fx, "fit/2", ENOSPC);
	fx_end(&fx);
}

/* The same as metrics. */
/* What was copied up before anything had to stay free is not missing then. */
KTAP_TEST_LIMIT(keep_free_comes_later, 100)
{
	static const struct fx_opts opts = { .upper_fs = "tmpfs", .lower_fs = "tmpfs", .upper_size = FX_MB(32) };
	struct fx fx;
	char *log;

	fx_init(&fx, &opts);
	for (int i = 0; i < 2; i++)
		fx_lower(&fx, fx_name("before/%d", i), FX_MB(6), 0644);
	fx_lower(&fx, "fits", FX_MB(4), 0644);
	fx_lower(&fx, "keep", FX_MB(18), 0644);
#define LATER HEAD "%s default_budget = \"all\"; budgets = ( { name = \"all\"; copy_up = \"40M\"; } ); rules = ();\n"
	policy_write(POLICY_FILE, LATER, "");
	fx_mount(&fx);
	fx_attach(&fx, "-v", "-m", "observe", "--policy", POLICY_FILE, NULL);
	for (int i = 0; i < 2; i++)
		is(open_w(&fx, fx_name("before/%d", i)), 0, "before");
	policy_write(POLICY_FILE, LATER, "keep_free = \"4M\";");
	KTAP_REQUIRE(kill(fx.kunion, SIGHUP) == 0);
	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull;; free(log)) {
		log = fx_log_text(&fx);
		if (strstr(log, "is in force"))
			break;
		KTAP_REQUIRE(fx_now_ns() < end, "%s", log);
		fx_sleep_ms(20);
	}
	free(log);
	fx_sleep_ms(1000); /* it looks at what is free four times a second */
	is(open_w(&fx, "keep"), ENOSPC, "18 of 20 MiB");
	is(open_w(&fx, "fits"), 0, "4 of 20 MiB");
	fx_end(&fx);
}

KTAP_TEST_LIMIT(counted_as_metrics, 100)
{
	static const char *const lines[] = {
		"kunion_policy_hits_total{rule=\"m\"} 2",
		"kunion_policy_denied_total{rule=\"m\"} 1",
		"kunion_policy_denied_total{rule=\"default\"} 0",
		"kunion_policy_last_hit_seconds{rule=\"m\"} [0-9]",
		"kunion_budget_used{budget=\"b\",limit=\"copy_up\",union=\"" FX_DIR "/merged\"} 2097152",
		"kunion_budget_limit{budget=\"b\",limit=\"copy_up\",union=\"" FX_DIR "/merged\"} 3145728",
		"kunion_budget_beyond_total{budget=\"b\",limit=\"copy_up\",union=\"" FX_DIR "/merged\"} 1",
	};
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "m/a", FX_MB(2), 0644);
	fx_lower(&fx, "m/b", FX_MB(2), 0644);
	policy_write(POLICY_FILE, HEAD "budgets = ( { name = \"b\"; copy_up = \"3M\"; } );\n"
				       "rules = ( { name = \"m\"; path = \"/m/*\"; action = \"copy-up\"; verdict = \"allow\"; budget = \"b\"; } );\n");
	fx_mount(&fx);
	fx_sh("kunion metrics --policy " POLICY_FILE " %s -- sh -c '(true >>%s) && ! (true >>%s)' >" FX_DIR "/om", fx.merged, fx_path(&fx, "m/a"),
	      fx_path(&fx, "m/b"));
	for (unsigned int i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		KTAP_CHECK(system(fx_name("grep -q '^%s' " FX_DIR "/om", lines[i])) == 0, "no line '%s'", lines[i]);
	fx_end(&fx);
}

KTAP_MAIN()
