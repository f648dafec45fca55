// SPDX-License-Identifier: GPL-2.0-only
/*
 * Policies and the less usual ways to change a file: io_uring, files without a name, and the data of a file whose metadata alone was copied up. Each
 * refused and let pass, by its errno, its event, and what is in the upper layer.
 */
#include "policy.h"
#include "uring.h"

FX_LEAN

static const struct {
	const char *name;
	unsigned int setup, sqe;
} ways[] = { { "inline", 0, 0 }, { "worker", 0, IOSQE_ASYNC }, { "sqpoll", IORING_SETUP_SQPOLL, 0 } };
#define NWAYS (sizeof(ways) / sizeof(ways[0]))

/* In a process of its own, with another name than its workers' have. */
static int uring_open(unsigned int way, const char *path, int flags)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct io_uring_sqe sqe = { .opcode = IORING_OP_OPENAT, .flags = (__u8)ways[way].sqe, .fd = AT_FDCWD };
		struct ring r;
		struct stat st;
		int fd;

		prctl(PR_SET_NAME, "uring-task");
		if (!ring_open(&r, ways[way].setup))
			_exit(255);
		/* A name in the cache can be opened at once. */
		stat(path, &st);
		sqe.addr = (uint64_t)(uintptr_t)path;
		sqe.open_flags = (__u32)flags | O_CLOEXEC;
		sqe.len = 0644;
		fd = ring_do(&r, &sqe);
		_exit(fd < 0 ? -fd : 0);
	}
	KTAP_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void uring_files(struct fx *fx)
{
	for (unsigned int i = 0; i < NWAYS; i++) {
		fx_lower(fx, fx_name("deny/low-%s", ways[i].name), FX_KB(64), 0644);
		fx_lower(fx, fx_name("free/low-%s", ways[i].name), FX_KB(64), 0644);
		fx_sh("mkdir -p %s %s; echo up >%s/deny/up-%s; echo up >%s/free/up-%s", fx_upath(fx, "deny"), fx_upath(fx, "free"), fx->upper, ways[i].name,
		      fx->upper, ways[i].name);
	}
}

static void uring_run(struct fx *fx)
{
	static const struct {
		const char *file, *action;
		int flags;
	} ops[] = { { "low", "copy-up", 0 }, { "up", "modify", 0 }, { "new", "create", O_CREAT } };

	for (unsigned int i = 0; i < NWAYS; i++)
		for (unsigned int k = 0; k < 3; k++) {
			const char *name = fx_name("deny/%s-%s", ops[k].file, ways[i].name);
			int err = uring_open(i, fx_path(fx, name), O_WRONLY | ops[k].flags);

			if (err == 255) {
				ktap_diag("no io_uring on this kernel");
				return;
			}
			KTAP_CHECK(err == ENOTTY, "%s: %s", name, strerrorname_np(err));
			fx_event_wait(fx, 1, FX_LONG / 4, "event", "policy", "path", fx_name("/%s", name), NULL);
			/* An open at once may be asked for again by a worker. */
			KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", fx_name("/%s", name), "action", ops[k].action, "errno", "ENOTTY", NULL) > 0,
				   "%s is not told", name);
			KTAP_CHECK(k == 1 || !fx_in_upper(fx, name), "%s is in the upper layer", name);
			name = fx_name("free/%s-%s", ops[k].file, ways[i].name);
			err = uring_open(i, fx_path(fx, name), O_WRONLY | ops[k].flags);
			KTAP_CHECK(err == 0 && fx_in_upper(fx, name), "%s: %s", name, strerrorname_np(err));
		}
	/* The program's name is the task's that asked. */
	KTAP_CHECK(uring_open(1, fx_path(fx, "named"), O_WRONLY | O_CREAT) == ENOTTY && policy_open(fx_path(fx, "named"), O_WRONLY | O_CREAT) == 0);
}

/* A file without a name, and its name afterwards. */
static void tmpfile_run(struct fx *fx)
{
	int fd = open(fx_path(fx, "deny"), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);

	/* Before 6.3 overlayfs has none. */
	if (fd < 0 && errno == EOPNOTSUPP) {
		ktap_diag("no O_TMPFILE on this kernel's overlayfs");
		return;
	}
	KTAP_CHECK(fd < 0 && errno == ENOTTY, "O_TMPFILE: %s", strerrorname_np(errno));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG / 4, "event", "policy", "action", "create", "comm", "test_policy_way", "errno", "ENOTTY", NULL));
	fd = open(fx_path(fx, "free"), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
	KTAP_REQUIRE(fd >= 0, "O_TMPFILE: %s", strerrorname_np(errno));
	KTAP_CHECK(linkat(fd, "", AT_FDCWD, fx_path(fx, "deny/linked"), AT_EMPTY_PATH) < 0 && errno == ENOTTY, "linkat: %s", strerrorname_np(errno));
	policy_told(fx, "/deny/linked", "create", "deny", ENOTTY, 1);
	KTAP_CHECK(!fx_in_upper(fx, "deny/linked"));
	KTAP_CHECK(linkat(fd, "", AT_FDCWD, fx_path(fx, "free/linked"), AT_EMPTY_PATH) == 0, "linkat: %s", strerrorname_np(errno));
	KTAP_CHECK(fx_in_upper(fx, "free/linked"));
	close(fd);
}

KTAP_TEST_LIMIT(rings_and_files_without_a_name, 200)
{
	struct fx fx;

	fx_init(&fx, NULL);
	uring_files(&fx);
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = (\n"
				  "{ name = \"deny\"; prefix = \"/deny\"; action = \"any\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
				  "{ name = \"named\"; path = \"/named\"; comm = \"uring-task\"; action = \"any\"; verdict = \"deny\"; errno = \"ENOTTY\"; });\n");
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	uring_run(&fx);
	tmpfile_run(&fx);
	fx_end(&fx);
}

/* Is its data in the lower layer still? */
static bool below(const struct fx *fx, const char *name)
{
	char v[64];

	return getxattr(fx_upath(fx, name), "trusted.overlay.metacopy", v, sizeof(v)) >= 0;
}

/* With metacopy=on a chmod copies no data; that is copied when the file is opened for writing, and it is a copy-up then, no change. */
KTAP_TEST_LIMIT(data_behind_metadata, 200)
{
	static const char *const names[] = { "deny/open", "deny/trunc", "free/open", "free/trunc" };
	struct fx fx;

	fx_init(&fx, &(struct fx_opts){ .upper_fs = "ext4", .mount_opts = "metacopy=on" });
	for (unsigned int i = 0; i < 4; i++)
		fx_lower(&fx, names[i], FX_KB(64), 0644);
	fx_mount(&fx);
	for (unsigned int i = 0; i < 4; i++)
		KTAP_REQUIRE(chmod(fx_path(&fx, names[i]), 0600) == 0 && fx_in_upper(&fx, names[i]) && below(&fx, names[i]));
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = (\n"
				  "{ name = \"deny\"; prefix = \"/deny\"; action = \"copy-up\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
				  "{ name = \"audit\"; prefix = \"/free\"; action = [ \"copy-up\", \"modify\" ]; verdict = \"audit\"; });\n");
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	KTAP_CHECK(policy_open(fx_path(&fx, "deny/open"), O_WRONLY) == ENOTTY && below(&fx, "deny/open"));
	policy_told(&fx, "/deny/open", "copy-up", "deny", ENOTTY, 1);
	KTAP_CHECK(policy_result(truncate(fx_path(&fx, "deny/trunc"), 10000)) == ENOTTY && below(&fx, "deny/trunc"));
	policy_told(&fx, "/deny/trunc", "copy-up", "deny", ENOTTY, 1);
	KTAP_CHECK(policy_open(fx_path(&fx, "deny/open"), O_RDONLY) == 0);
	KTAP_CHECK(policy_open(fx_path(&fx, "free/open"), O_WRONLY) == 0 && !below(&fx, "free/open"));
	policy_told(&fx, "/free/open", "copy-up", "audit", 0, 1);
	policy_told(&fx, "/free/open", "modify", "audit", 0, 0);
	KTAP_CHECK(policy_result(truncate(fx_path(&fx, "free/trunc"), 10000)) == 0 && !below(&fx, "free/trunc"));
	policy_told(&fx, "/free/trunc", "copy-up", "audit", 0, 1);
	/* All there now: the next is a change. */
	KTAP_CHECK(policy_open(fx_path(&fx, "free/open"), O_WRONLY) == 0);
	policy_told(&fx, "/free/open", "modify", "audit", 0, 1);
	policy_told(&fx, "/free/open", "copy-up", "audit", 0, 1);
	fx_end(&fx);
}

KTAP_MAIN()
