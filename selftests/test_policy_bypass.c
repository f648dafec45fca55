// SPDX-License-Identifier: GPL-2.0-only
/* Ways around a policy that are none: other names for the same file, other ways to it, and what happens while a new policy is loaded. */
#include "policy.h"

#include <sched.h>
#include <sys/fanotify.h>

FX_LEAN

#define RULES_HEAD "version = 1;\ndefault = \"allow\";\nrules = (\n"
/* An errno that nothing else gives. */
#define SECRET "{ name = \"secret\"; prefix = \"/secret\"; action = \"any\"; verdict = \"deny\"; errno = \"ENOTTY\"; }"

static void denied(int err, const char *what)
{
	KTAP_CHECK(err == ENOTTY, "%s: %s", what, strerrorname_np(err));
}

static void by_name(struct fx *fx)
{
	int fd, root;

	denied(policy_open(fx_path(fx, "other/../secret/f"), O_WRONLY), "..");
	denied(policy_open(fx_path(fx, "to-upper"), O_WRONLY), "symlink to an upper file");
	denied(policy_open(fx_path(fx, "to-lower"), O_WRONLY), "symlink to a lower file");
	denied(policy_open(fx_name("/proc/self/root%s", fx_path(fx, "secret/f")), O_WRONLY), "/proc/self/root");
	denied(policy_open(fx_name("/proc/%d/root%s", (int)getpid(), fx_path(fx, "secret/low")), O_WRONLY), "/proc/PID/root");

	fx_sh("mkdir -p " FX_DIR "/bind " FX_DIR "/part; mount --bind %s " FX_DIR "/bind; mount --bind %s " FX_DIR "/part", fx->merged,
	      fx_path(fx, "secret"));
	denied(policy_open(FX_DIR "/bind/secret/f", O_WRONLY), "bind mount of the union");
	denied(policy_open(FX_DIR "/part/f", O_WRONLY), "bind mount of a part");
	denied(policy_open(FX_DIR "/part/low", O_WRONLY), "bind mount of a part, lower file");
	denied(policy_open(FX_DIR "/part/new", O_WRONLY | O_CREAT), "bind mount of a part, new file");
	fx_sh("umount " FX_DIR "/bind " FX_DIR "/part");

	root = open(fx_path(fx, "secret"), O_PATH | O_CLOEXEC);
	fd = openat(root, "low", O_WRONLY | O_CLOEXEC);
	denied(fd < 0 ? errno : 0, "a directory's descriptor");
	fd = open(fx_path(fx, "secret/f"), O_PATH | O_CLOEXEC);
	denied(policy_open(fx_name("/proc/self/fd/%d", fd), O_WRONLY), "O_PATH, upper");
	close(fd);
	fd = open(fx_path(fx, "secret/low"), O_RDONLY | O_CLOEXEC);
	denied(policy_open(fx_name("/proc/self/fd/%d", fd), O_WRONLY), "a descriptor for reading, lower");
	denied(policy_result(fchmod(fd, 0600)), "fchmod");
	denied(policy_result(linkat(fd, "", AT_FDCWD, fx_path(fx, "other/linked"), AT_EMPTY_PATH)), "link of a descriptor");
	close(fd);
	close(root);
}

static void by_namespace(struct fx *fx)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int err;

		if (unshare(CLONE_NEWNS) || chroot(fx_path(fx, "secret")))
			_exit(EDOM);
		err = policy_open("/f", O_WRONLY);
		_exit(err == ENOTTY ? policy_open("/low", O_WRONLY) : err);
	}
	KTAP_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	denied(WEXITSTATUS(status), "another root in another mount namespace");
}

static void by_rename(struct fx *fx)
{
	denied(policy_result(rename(fx_path(fx, "secret/f"), fx_path(fx, "other/f"))), "rename out of");
	denied(policy_result(rename(fx_path(fx, "other/up"), fx_path(fx, "secret/in"))), "rename into");
	denied(policy_result(rename(fx_path(fx, "other/up"), fx_path(fx, "secret/f"))), "rename over");
	denied(policy_result(renameat2(AT_FDCWD, fx_path(fx, "other/up"), AT_FDCWD, fx_path(fx, "secret/f"), RENAME_EXCHANGE)), "exchange");
	denied(policy_result(renameat2(AT_FDCWD, fx_path(fx, "secret/f"), AT_FDCWD, fx_path(fx, "other/up"), RENAME_EXCHANGE)), "exchange back");
	denied(policy_result(link(fx_path(fx, "other/up"), fx_path(fx, "secret/in"))), "link into");
	denied(policy_result(link(fx_path(fx, "secret/f"), fx_path(fx, "other/f"))), "link out of, upper");
	denied(policy_result(link(fx_path(fx, "secret/low"), fx_path(fx, "other/f"))), "link out of, lower");
	/* With a directory above goes what is below. */
	KTAP_CHECK(policy_result(rename(fx_path(fx, "above"), fx_path(fx, "besides"))) == EXDEV, "a directory with a rule below it");
	KTAP_CHECK(policy_result(rename(fx_path(fx, "evil"), fx_path(fx, "gone"))) == EXDEV, "a directory to where a rule is");
	KTAP_CHECK(policy_result(rename(fx_path(fx, "plain"), fx_path(fx, "plain2"))) == 0, "a directory without rules");
	KTAP_CHECK(!fx_exists(fx_path(fx, "secret/in")) && !fx_exists(fx_path(fx, "other/f")));
}

static void by_handle(struct fx *fx, const char *name)
{
	struct {
		struct file_handle h;
		unsigned char room[MAX_HANDLE_SZ];
	} h = { .h.handle_bytes = MAX_HANDLE_SZ };
	int id, fd, mnt = open(fx->merged, O_RDONLY | O_CLOEXEC);

	KTAP_REQUIRE(mnt >= 0 && name_to_handle_at(AT_FDCWD, fx_path(fx, name), &h.h, &id, 0) == 0);
	fx_sh("sync; echo 3 >/proc/sys/vm/drop_caches");
	fd = open_by_handle_at(mnt, &h.h, O_WRONLY | O_CLOEXEC);
	denied(fd < 0 ? errno : 0, fx_name("handle of %s", name));
	close(mnt);
}

/* The kernel opens the file for who reads the event, with the group's flags: no open(2), no security_file_post_open. */
static void by_fanotify(struct fx *fx, const char *name)
{
	struct fanotify_event_metadata e = { .fd = FAN_NOFD };
	int group = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	KTAP_REQUIRE(group >= 0 && fanotify_mark(group, FAN_MARK_ADD, FAN_CLOSE_NOWRITE, AT_FDCWD, fx_path(fx, name)) == 0, "fanotify: %s",
		     strerrorname_np(errno));
	KTAP_REQUIRE(policy_open(fx_path(fx, name), O_RDONLY) == 0);
	n = read(group, &e, sizeof(e));
	denied(n < 0 ? errno : 0, fx_name("descriptor of a watch of %s", name));
	if (n > 0 && e.fd >= 0)
		close(e.fd);
	close(group);
}

/* Directories of one name each, below base; the descriptor of the last. */
static int deep_dir(const char *base, unsigned int levels, const char *name, bool make)
{
	int at = open(base, O_PATH | O_CLOEXEC);

	for (unsigned int i = 0; i < levels; i++) {
		int next;

		if (make)
			KTAP_REQUIRE(mkdirat(at, name, 0755) == 0);
		next = openat(at, name, O_PATH | O_CLOEXEC);
		KTAP_REQUIRE(next >= 0, "level %u", i);
		close(at);
		at = next;
	}
	return at;
}

#define LONG_NAME "long-long-long-long-long-long-long-long-long-long-name"

static const struct {
	const char *base, *name;
	unsigned int levels;
	int err;
} deep[] = {
	{ "secret", "d", 200, ENOTTY }, { "other", "d", 200, 0 }, { "secret", LONG_NAME, 100, ENOTTY }, { "other", LONG_NAME, 100, ENOTTY },
};

static void by_depth(struct fx *fx)
{
	for (unsigned int i = 0; i < sizeof(deep) / sizeof(deep[0]); i++) {
		int dir = deep_dir(fx_path(fx, deep[i].base), deep[i].levels, deep[i].name, false), fd = openat(dir, "f", O_WRONLY | O_CLOEXEC);

		/* What is too long for a path is refused by every rule that denies something by path. */
		KTAP_CHECK((fd < 0 ? errno : 0) == deep[i].err, "%s/%s, %u levels: %s", deep[i].base, deep[i].name, deep[i].levels,
			   fd < 0 ? strerrorname_np(errno) : "opened");
		if (fd >= 0)
			close(fd);
		close(dir);
	}
}

#define KEPT "{ name = \"kept\"; prefix = \"/kept/locked\"; action = \"modify\"; verdict = \"deny\"; errno = \"ENOTTY\"; }," \
	     "{ name = \"kept-uid\"; path = \"/kept/uid\"; uid = 1500; action = \"modify\"; verdict = \"deny\"; errno = \"ENOTTY\"; }," \
	     "{ name = \"kept-size\"; path = \"/kept/size\"; min_size = \"1M\"; action = \"modify\"; verdict = \"deny\"; errno = \"ENOTTY\"; },"

static int open_as(uid_t uid, const char *path)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(setresuid(uid, uid, uid) ? EDOM : policy_open(path, O_WRONLY));
	KTAP_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void kept_open(struct fx *fx, const char *name, int want)
{
	/* The second time it is known. */
	for (int i = 0; i < 3; i++) {
		int err = policy_open(fx_path(fx, name), O_WRONLY);

		KTAP_CHECK(err == want, "%s: %s, not %s", name, strerrorname_np(err), strerrorname_np(want));
	}
}

/* What was let pass once is not let pass for ever. */
static void kept_run(struct fx *fx)
{
	kept_open(fx, "kept/free/moves", 0);
	KTAP_REQUIRE(rename(fx_path(fx, "kept/free/moves"), fx_path(fx, "kept/locked/moves")) == 0);
	kept_open(fx, "kept/locked/moves", ENOTTY);

	kept_open(fx, "kept/free/linked", 0);
	KTAP_REQUIRE(link(fx_path(fx, "kept/free/linked"), fx_path(fx, "kept/locked/linked")) == 0);
	kept_open(fx, "kept/locked/linked", ENOTTY);
	kept_open(fx, "kept/free/linked", 0);
	KTAP_REQUIRE(unlink(fx_path(fx, "kept/free/linked")) == 0);
	kept_open(fx, "kept/locked/linked", ENOTTY);

	kept_open(fx, "kept/uid", 0);
	KTAP_CHECK(open_as(1500, fx_path(fx, "kept/uid")) == ENOTTY);
	kept_open(fx, "kept/uid", 0);

	kept_open(fx, "kept/size", 0);
	fx_sh("head -c 2000000 /dev/zero >>%s", fx_path(fx, "kept/size"));
	kept_open(fx, "kept/size", ENOTTY);
}

KTAP_TEST_LIMIT(no_way_around, 200)
{
	struct fx fx;

	fx_init(&fx, &(struct fx_opts){ .upper_fs = "ext4", .mount_opts = "index=on,nfs_export=on" });
	fx_lower(&fx, "secret/low", FX_KB(64), 0644);
	policy_mkdirs(fx_upath(&fx, "secret"), true);
	policy_mkdirs(fx_upath(&fx, "other"), true);
	policy_mkdirs(fx_upath(&fx, "above/sec"), true);
	policy_mkdirs(fx_upath(&fx, "evil"), true);
	policy_mkdirs(fx_upath(&fx, "plain"), true);
	policy_file(fx_upath(&fx, "secret/f"), 4096);
	policy_file(fx_upath(&fx, "other/up"), 4096);
	for (unsigned int i = 0; i < sizeof(deep) / sizeof(deep[0]); i++) {
		int dir = deep_dir(fx_upath(&fx, deep[i].base), deep[i].levels, deep[i].name, true), fd = openat(dir, "f", O_CREAT | O_WRONLY, 0644);

		KTAP_REQUIRE(fd >= 0);
		close(fd);
		close(dir);
	}
	KTAP_REQUIRE(symlink("secret/f", fx_upath(&fx, "to-upper")) == 0 && symlink("secret/low", fx_upath(&fx, "to-lower")) == 0);
	fx_sh("mkdir -p %s %s; cd %s/kept; echo >free/moves; echo >free/linked; echo >uid; echo >size; chmod 666 uid", fx_upath(&fx, "kept/free"),
	      fx_upath(&fx, "kept/locked"), fx.upper);
	policy_write(POLICY_FILE, RULES_HEAD KEPT SECRET ", { name = \"below\"; prefix = [ \"/above/sec\", \"/gone/sec\" ]; action = \"any\"; verdict = \"deny\"; });\n");
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	kept_run(&fx);
	by_name(&fx);
	by_namespace(&fx);
	by_rename(&fx);
	by_depth(&fx);
	by_handle(&fx, "secret/f");
	by_handle(&fx, "secret/low");
	by_fanotify(&fx, "secret/f");
	by_fanotify(&fx, "secret/low");
	KTAP_CHECK(!fx_in_upper(&fx, "secret/low"));
	fx_end(&fx);
}

struct hammer {
	const char *path;
	volatile bool *stop;
};

static long hammer(void *arg)
{
	const struct hammer *h = arg;
	unsigned int n[2] = { 0 };

	while (!*h->stop) {
		int err = policy_open(h->path, O_WRONLY);

		if (err != ENOTTY && err != EDOM) {
			errno = err ? err : EUCLEAN;
			return -1;
		}
		n[err == EDOM]++;
		usleep(5000); /* kunion has to read the other policy, and to tell of each refusal, on a CPU that is emulated */
	}
	errno = ENODATA;
	return n[0] && n[1] ? 0 : -1;
}

#define FIRST RULES_HEAD "{ name = \"one\"; prefix = \"/d\"; action = \"any\"; verdict = \"deny\"; errno = \"ENOTTY\"; });\n"
/* Another number of rules, other sets. */
#define SECOND RULES_HEAD "{ name = \"none\"; prefix = \"/x\"; action = \"any\"; verdict = \"allow\"; },\n" \
			  "{ name = \"two\"; path = \"/d/*\"; comm = \"*\"; action = \"any\"; verdict = \"deny\"; errno = \"EDOM\"; });\n"

static void reload(const struct fx *fx, const char *text, const char *path, int want)
{
	policy_write(POLICY_FILE, "%s", text);
	KTAP_REQUIRE(kill(fx->kunion, SIGHUP) == 0);
	for (uint64_t end = fx_now_ns() + 3 * FX_LONG * 1000000ull; policy_open(path, O_WRONLY) != want;) {
		KTAP_REQUIRE(fx_now_ns() < end, "the new policy does not come: %s", fx_log_text(fx));
		fx_sleep_ms(20);
	}
}

#define ELSE RULES_HEAD "{ name = \"else\"; prefix = \"/d\"; action = \"exec\"; verdict = \"deny\"; });\n"

static int attached(const struct fx *fx)
{
	FILE *p = popen(fx_name("grep -ls link_type /proc/%d/fdinfo/* | wc -l", (int)fx->kunion), "re");
	int n = -1;

	KTAP_REQUIRE(p && fscanf(p, "%d", &n) == 1);
	pclose(p);
	return n;
}

/* A policy that asks about nothing of the kind leaves its hooks alone; another one's come along. */
static void hooks_as_needed(const struct fx *fx, const char *path)
{
	int all = attached(fx), end = 0;

	reload(fx, ELSE, path, 0);
	/* It is in force before the last hook is left. */
	while (attached(fx) >= all && end++ < FX_LONG / 20)
		fx_sleep_ms(20);
	KTAP_CHECK(attached(fx) < all, "%d hooks, %d with a policy that asks for one thing", all, attached(fx));
	reload(fx, FIRST, path, ENOTTY);
}

/* Both refuse it: there is no moment at which it is let pass. A bad policy changes nothing. */
KTAP_TEST_LIMIT(loading_another_is_atomic, 300)
{
	struct fx fx;
	struct hammer lower, upper;
	struct fx_op op[2];
	char *log;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/low", FX_KB(64), 0644);
	policy_mkdirs(fx_upath(&fx, "d"), true);
	policy_file(fx_upath(&fx, "d/up"), 4096);
	policy_write(POLICY_FILE, "%s", FIRST);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	lower = (struct hammer){ fx_path(&fx, "d/low"), mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) };
	upper = (struct hammer){ fx_path(&fx, "d/up"), lower.stop };
	fx_op_start(&op[0], 0, hammer, &lower);
	fx_op_start(&op[1], 0, hammer, &upper);
	for (int i = 0; i < 4; i++) {
		reload(&fx, SECOND, upper.path, EDOM);
		reload(&fx, FIRST, upper.path, ENOTTY);
	}
	*lower.stop = true;
	for (int i = 0; i < 2; i++)
		KTAP_CHECK(fx_op_wait(&op[i], FX_LONG) && op[i].res->ret == 0, "%d: %s", i, strerrorname_np(op[i].res->err));

	hooks_as_needed(&fx, upper.path);
	policy_write(POLICY_FILE, "version = 1; rules = ( { name = \"bad\"; action = \"fly\"; verdict = \"deny\"; } );\n");
	KTAP_REQUIRE(kill(fx.kunion, SIGHUP) == 0);
	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull;; fx_sleep_ms(5)) {
		log = fx_log_text(&fx);
		if (strstr(log, "stays in force") || fx_now_ns() > end)
			break;
		free(log);
	}
	KTAP_CHECK(strstr(log, "stays in force"), "%s", log);
	KTAP_CHECK(policy_open(upper.path, O_WRONLY) == ENOTTY);
	free(log);
	fx_end(&fx);
}

static long open_to_write(void *path)
{
	errno = policy_open(path, O_WRONLY);
	return errno ? -1 : 0;
}

/*
 * The other policy comes while an operation stands between its look at the policy and at what that says of the union: that goes by one of both, whole.
 * The first change is the one: the union had no rules in the other bank.
 */
KTAP_TEST_LIMIT(another_comes_within_a_hook, 100)
{
	struct fx_op op;
	struct fx fx;

	fx_init(&fx, NULL);
	policy_mkdirs(fx_upath(&fx, "d"), true);
	policy_file(fx_upath(&fx, "d/up"), 4096);
	policy_write(POLICY_FILE, "%s", FIRST);
	fx_mount(&fx);
	fx_without(&fx, "policy-haste");
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	fx_op_start(&op, 0, open_to_write, (void *)fx_path(&fx, "d/up"));
	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull; !op.res->started && fx_now_ns() < end;)
		fx_sleep_ms(5);
	fx_sleep_ms(100);
	policy_write(POLICY_FILE, "%s", SECOND);
	KTAP_REQUIRE(kill(fx.kunion, SIGHUP) == 0 && fx_op_wait(&op, FX_LONG));
	KTAP_CHECK(op.res->err == ENOTTY || op.res->err == EDOM, "%s", strerrorname_np(op.res->err));
	if (policy_open(fx_path(&fx, "d/up"), O_WRONLY) != EDOM)
		ktap_again("the other policy came too late");
	fx_end(&fx);
}

#define BIG FX_MB(2)

/* What kunion itself copies: it is judged before anybody waits, and once. */
KTAP_TEST_LIMIT(before_kunion_copies, 100)
{
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "deny/f", BIG, 0644);
	fx_lower(&fx, "copy/f", BIG, 0644);
	fx_lower(&fx, "copy/g", BIG, 0644);
	policy_write(POLICY_FILE, RULES_HEAD "{ name = \"deny\"; path = \"/deny/*\"; action = \"copy-up\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
			"{ name = \"audit\"; prefix = \"/copy\"; action = \"copy-up\"; kind = \"file\"; verdict = \"audit\"; },\n"
			"{ name = \"modify\"; prefix = \"/copy\"; action = \"modify\"; verdict = \"deny\"; errno = \"EDOM\"; });\n");
	fx_mount(&fx);
	fx_attach(&fx, "--policy", POLICY_FILE, NULL);
	denied(policy_open(fx_path(&fx, "deny/f"), O_WRONLY), "open");
	denied(policy_result(chmod(fx_path(&fx, "deny/f"), 0600)), "chmod");
	KTAP_CHECK(!fx_in_upper(&fx, "deny/f"));
	policy_told(&fx, "/deny/f", "copy-up", "deny", ENOTTY, 2);
	KTAP_CHECK(policy_open(fx_path(&fx, "copy/f"), O_WRONLY) == 0, "it is a copy-up to the end");
	KTAP_CHECK(policy_open(fx_path(&fx, "copy/f"), O_WRONLY) == EDOM, "now it is there");
	KTAP_CHECK(policy_result(truncate(fx_path(&fx, "copy/g"), 4096)) == 0);
	KTAP_CHECK(policy_result(truncate(fx_path(&fx, "copy/g"), 4096)) == EDOM);
	policy_told(&fx, "/copy/f", "copy-up", "audit", 0, 1);
	policy_told(&fx, "/copy/g", "copy-up", "audit", 0, 1);
	policy_told(&fx, "/copy/f", "modify", "deny", EDOM, 1);
	fx_end(&fx);
}

KTAP_MAIN()
