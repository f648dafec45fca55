/* SPDX-License-Identifier: GPL-2.0-only */
/* A daemon as the service manager starts it, and the commands that ask it. */
#ifndef SERVICE_H
#define SERVICE_H

#include "fx_fixture.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONF FX_DIR "/kunion.conf"
#define SOCK FX_DIR "/io.kunion"
#define NOTIFY FX_DIR "/notify"
/* Loading all programs under emulation takes its time. */
#define LIMIT_MS 120000

static int notify_fd = -1;
static char notified[65536];
static pid_t daemon_pid;

static inline void write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	KTAP_REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", name);
	close(fd);
}

static inline const char *text_of(const char *name)
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

/* Is what in the file, sooner or later? */
static inline bool said(const char *name, const char *what)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;

	while (!strstr(text_of(name), what) && fx_now_ns() < end)
		fx_sleep_ms(20);
	return KTAP_CHECK(strstr(text_of(name), what), "no '%s' in %s", what, text_of(name));
}

/* What kunion.service leaves the daemon. */
static inline void as_the_unit(void)
{
	static const int keep[] = { CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
				    CAP_FOWNER, CAP_FSETID, CAP_SETFCAP, CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE };

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		size_t i = 0;

		while (i < sizeof(keep) / sizeof(keep[0]) && keep[i] != cap)
			i++;
		if (i == sizeof(keep) / sizeof(keep[0]) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			_exit(125);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_exit(125);
}

/* Commands are then called by one who is in the daemon's group, and is nothing more. */
static bool as_member;

static inline void become_member(void)
{
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(1000, 1000, 1000))
		_exit(125);
}

static inline pid_t start(const char *out, const char *const *argv)
{
	pid_t pid = fork();
	int fd;

	KTAP_REQUIRE(pid >= 0);
	if (pid)
		return pid;
	fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(126);
	for (fd = 3; fd < 256; fd++)
		close(fd);
	if (!strcmp(argv[1], "daemon"))
		as_the_unit();
	else if (as_member)
		become_member();
	execvp(argv[0], (char **)argv);
	_exit(127);
}

static inline int finish(pid_t pid)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;
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

/* A command's exit status; what it said is in FX_DIR/out. */
#define KUNION(cmd, ...) finish(start(FX_DIR "/out", (const char *const[]){ "kunion", cmd, "--socket", SOCK, ##__VA_ARGS__, NULL }))
#define SAID text_of(FX_DIR "/out")

/* Datagrams so far, up to one that has what. */
static inline bool told(const char *what)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;

	while (!strstr(notified, what) && fx_now_ns() < end) {
		struct pollfd p = { .fd = notify_fd, .events = POLLIN };
		size_t len = strlen(notified);
		ssize_t n;

		if (poll(&p, 1, 20) < 1)
			continue;
		n = recv(notify_fd, notified + len, sizeof(notified) - 2 - len, 0);
		if (n > 0)
			strcpy(notified + len + n, "\n");
	}
	return strstr(notified, what);
}

/* What was told until now: also since nobody listens when the socket is full, which the watchdog's ticks see to. */
static inline void forget_told(void)
{
	while (recv(notify_fd, notified, sizeof(notified), MSG_DONTWAIT) > 0)
		;
	notified[0] = '\0';
}

static inline void notify_socket(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = NOTIFY };

	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	KTAP_REQUIRE(notify_fd >= 0 && !bind(notify_fd, (struct sockaddr *)&a, sizeof(a)));
	setenv("NOTIFY_SOCKET", NOTIFY, 1);
	setenv("WATCHDOG_USEC", "2000000", 1);
}

static inline int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = SOCK };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -1;
	}
	return fd;
}

#endif
