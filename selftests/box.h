/* SPDX-License-Identifier: GPL-2.0-only */
/* For the tests of containers: a daemon, and boxes: children with a mount namespace and a container's cgroup of their own that run shell commands. */
#ifndef BOX_H
#define BOX_H

#include "see.h"

#include <sched.h>
#include <sys/wait.h>

#define BOX_SOCK FX_DIR "/io.kunion"
#define BOX_OUT FX_DIR "/out"
/* Loading all programs under emulation takes its time. */
#define BOX_LIMIT_MS 120000

struct box {
	pid_t pid;
	int to, from;
};

static inline const char *box_text(const char *name)
{
	static char text[1 << 16];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	size_t all = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + all, sizeof(text) - 1 - all)) > 0)
		all += (size_t)n;
	text[all] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

#define BOX_SAID box_text(BOX_OUT)

/* The mount namespace, cgroup and user namespace of a container; the same mounts to begin with. */
static inline void box_start(struct box *b, enum see_place_nr place, bool rootless)
{
	int to[2], from[2], status;
	char cmd[2048];
	ssize_t n;

	KTAP_REQUIRE(!pipe2(to, O_CLOEXEC) && !pipe2(from, O_CLOEXEC));
	b->pid = fork();
	KTAP_REQUIRE(b->pid >= 0);
	if (b->pid) {
		close(to[0]);
		close(from[1]);
		b->to = to[1];
		b->from = from[0];
		KTAP_REQUIRE(read(b->from, &status, sizeof(status)) == sizeof(status), "no box");
		if (rootless) {
			fx_sh("echo 0 0 65536 >/proc/%d/uid_map; echo 0 0 65536 >/proc/%d/gid_map", b->pid, b->pid);
			KTAP_REQUIRE(write(b->to, "setup", 6) == 6 && read(b->from, &status, sizeof(status)) == sizeof(status) && !status);
		}
		return;
	}
	close(to[1]);
	close(from[0]);
	if (!see_enter(place) || unshare(CLONE_NEWNS | (rootless ? CLONE_NEWUSER : 0)))
		_exit(1);
	status = 0;
	if (write(from[1], &status, sizeof(status)) != sizeof(status))
		_exit(1);
	while ((n = read(to[0], cmd, sizeof(cmd) - 1)) > 0) {
		cmd[n] = '\0';
		if (!strcmp(cmd, "setup"))
			status = setresgid(0, 0, 0) || setresuid(0, 0, 0);
		else
			status = system(cmd);
		if (write(from[1], &status, sizeof(status)) != sizeof(status))
			break;
	}
	_exit(0);
}

/* Its wait status. */
static inline int box_run(struct box *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline int box_run(struct box *b, const char *fmt, ...)
{
	char cmd[2048];
	int status = -1;
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = (size_t)vsnprintf(cmd, sizeof(cmd), fmt, ap) + 1;
	va_end(ap);
	KTAP_REQUIRE(len < sizeof(cmd) && write(b->to, cmd, len) == (ssize_t)len && read(b->from, &status, sizeof(status)) == sizeof(status), "%s", cmd);
	return status;
}

static inline void box_end(struct box *b)
{
	close(b->to);
	close(b->from);
	/* Boxes that were made later have its pipe, too. */
	kill(b->pid, SIGKILL);
	KTAP_CHECK(waitpid(b->pid, NULL, 0) == b->pid);
}

static inline pid_t box_spawn(const char *out, const char *const *argv)
{
	pid_t pid = fork();
	int fd;

	KTAP_REQUIRE(pid >= 0);
	if (pid)
		return pid;
	fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(126);
	execvp(argv[0], (char **)argv);
	_exit(127);
}

static inline int box_finish(pid_t pid)
{
	uint64_t end = fx_now_ns() + BOX_LIMIT_MS * 1000000ull;
	int status = -1;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (fx_now_ns() > end) {
			KTAP_CHECK(false, "still running");
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -1;
		}
		fx_sleep_ms(2);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A command's exit status; BOX_SAID is what it said. */
#define BOX_KUNION(cmd, ...) \
	box_finish(box_spawn(BOX_OUT, (const char *const[]){ "kunion", cmd, "--socket", BOX_SOCK, ##__VA_ARGS__, NULL }))

/* In the highest mode of these that the kernel has. Arguments behind the mode, up to NULL. Returns whether that is manage. */
static inline bool box_daemon(struct fx *fx, bool manage, const char *policy)
{
	const char *argv[16] = { "kunion", "daemon", "-c", FX_DIR "/kunion.conf", "--socket", BOX_SOCK, "--mode" };
	uint64_t end = fx_now_ns() + BOX_LIMIT_MS * 1000000ull;
	int st;

	fx_sh("printf 'min-size = \"64K\";\\nevents = \"%s\";\\nverbose = 1;\\n%s%s%s' >" FX_DIR "/kunion.conf", fx->events,
	      policy ? "policy = \"" : "", policy ? policy : "", policy ? "\";\\n" : "");
	for (;; manage = false) {
		argv[7] = manage ? "manage" : "observe";
		fx->kunion = box_spawn(fx->log, argv);
		while (fx_now_ns() < end && waitpid(fx->kunion, &st, WNOHANG) != fx->kunion) {
			if (fx_exists(BOX_SOCK) && BOX_KUNION("status") == 0)
				return manage;
			fx_sleep_ms(100);
		}
		KTAP_REQUIRE(manage && strstr(box_text(fx->log), "does not work on this kernel"), "%s", box_text(fx->log));
	}
}

static inline void box_daemon_end(struct fx *fx)
{
	KTAP_CHECK(!kill(fx->kunion, SIGTERM) && box_finish(fx->kunion) == 0, "%s", box_text(fx->log));
	fx->kunion = 0;
}

/* The union of this path and container (NULL: any) that status tells, to be put with *ret_all; NULL: none. */
static inline struct json_object *box_union(const char *path, const char *container, struct json_object **ret_all)
{
	struct json_object *s = BOX_KUNION("status", "--json") ? NULL : json_tokener_parse(BOX_SAID), *l;

	*ret_all = s;
	if (!s || !json_object_object_get_ex(s, "unions", &l))
		return NULL;
	for (size_t i = 0; i < json_object_array_length(l); i++) {
		struct json_object *u = json_object_array_get_idx(l, i);

		if (see_is(u, "path", path) && (!container || see_is(u, "container", container)))
			return u;
	}
	return NULL;
}

static inline bool box_comes(const char *path, const char *container, bool there)
{
	uint64_t end = fx_now_ns() + BOX_LIMIT_MS * 1000000ull;
	struct json_object *all;
	bool is = !there;

	while (is != there && fx_now_ns() < end) {
		is = box_union(path, container, &all);
		json_object_put(all);
		if (is != there)
			fx_sleep_ms(50);
	}
	if (!KTAP_CHECK(is == there, "%s is %s: %s", path, there ? "not there" : "there", BOX_SAID))
		ktap_diag("the daemon said: %s", box_text(FX_DIR "/log"));
	return is == there;
}

#endif
