// SPDX-License-Identifier: GPL-2.0-only
#include "beneath.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fdpass.h"
#include "util.h"

/* In the child. Returns a descriptor or -errno. */
static int ku_beneath_open(const char *path, dev_t dev)
{
	struct stat st;
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	if (st.st_dev != dev)
		return -ESTALE;
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return -errno;
	fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int ku_beneath(const char *path, dev_t dev)
{
	_cleanup_close_ int mine = -1, theirs = -1;
	int socks[2], fd, r;
	char none[1];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		return -errno;
	mine = socks[0];
	theirs = socks[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		fd = ku_beneath_open(path, dev);
		_exit(!!ku_pass_send(theirs, fd < 0 ? fd : 0, NULL, fd));
	}
	ku_closep(&theirs);
	r = ku_pass_receive(mine, none, sizeof(none), &fd);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		ku_closep(&fd);
	return r < 0 ? r : fd;
}
