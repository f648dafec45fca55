// SPDX-License-Identifier: GPL-2.0-only
#include "policy/policy_ask.h"

#include <dirent.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "judge_hold.h"
#include "union.h"
#include "util.h"

#define KU_ASK_MS 10000

int ku_hold_ask(const char *path, const char *message, char *reply, size_t size)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX }, own = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	/* A name of the kernel's choice, for the reply to come to. */
	if (bind(fd, (struct sockaddr *)&own, sizeof(own.sun_family)) || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	if (send(fd, message, strlen(message), MSG_NOSIGNAL) < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	if (poll(&p, 1, KU_ASK_MS) <= 0)
		return -ETIMEDOUT;
	n = recv(fd, reply, size - 1, 0);
	if (n < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	reply[n] = '\0';
	return 0;
}

int ku_hold_each(int (*fn)(void *arg, const char *path), void *arg)
{
	const char *dir_path = "";
	int dir_fd = ku_run_dir(&dir_path), ret = 0;
	struct dirent *e;
	DIR *dir;

	if (dir_fd < 0)
		return dir_fd;
	close(dir_fd);
	dir = opendir(dir_path);
	if (!dir)
		return -errno;
	while (!ret && (e = readdir(dir))) {
		_cleanup_free_ char *path = NULL;

		if (strncmp(e->d_name, KU_HOLD_SOCKET ".", strlen(KU_HOLD_SOCKET) + 1))
			continue;
		if (asprintf(&path, "%s/%s", dir_path, e->d_name) < 0) {
			path = NULL;
			ret = -ENOMEM;
		} else {
			ret = fn(arg, path);
		}
	}
	closedir(dir);
	return ret;
}
