// SPDX-License-Identifier: GPL-2.0-only
#include "stop.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

#define KU_STOP_NAME_MAX 64

static int ku_stop_dir = -1;

int ku_stop_init(void)
{
	const char *dir = secure_getenv("KUNION_STOP_DIR");
	int fd;

	ku_closep(&ku_stop_dir);
	if (!dir || !*dir)
		return 0;
	/* A stop point holds up everybody who waits for this process. */
	if (getuid() != 0 || geteuid() != 0)
		return -EPERM;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ku_stop_dir = fd;
	return 0;
}

void ku_stop(const char *name)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	char stop[KU_STOP_NAME_MAX], hit[KU_STOP_NAME_MAX];
	_cleanup_close_ int fd = -1;
	struct stat st;
	int hit_fd;

	if (ku_stop_dir < 0)
		return;
	snprintf(stop, sizeof(stop), "%s.stop", name);
	snprintf(hit, sizeof(hit), "%s.hit", name);
	fd = openat(ku_stop_dir, stop, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	if (st.st_size > 0 && ftruncate(fd, st.st_size - 1) == 0)
		return;

	hit_fd = openat(ku_stop_dir, hit, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	ku_closep(&hit_fd);
	/* By the file, not its name: that may be another one's before we look. */
	while (fstat(fd, &st) == 0 && st.st_nlink)
		nanosleep(&ms, NULL);
}

bool ku_stop_without(const char *name)
{
	char without[KU_STOP_NAME_MAX];

	if (ku_stop_dir < 0)
		return false;
	snprintf(without, sizeof(without), "%s.without", name);
	return faccessat(ku_stop_dir, without, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
