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
	struct stat st;
	int fd;

	if (ku_stop_dir < 0)
		return;
	snprintf(stop, sizeof(stop), "%s.stop", name);
	snprintf(hit, sizeof(hit), "%s.hit", name);
	if (fstatat(ku_stop_dir, stop, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (st.st_size > 0) {
		fd = openat(ku_stop_dir, stop, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && ftruncate(fd, st.st_size - 1) == 0) {
			ku_closep(&fd);
			return;
		}
		ku_closep(&fd);
	}

	fd = openat(ku_stop_dir, hit, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	ku_closep(&fd);
	while (faccessat(ku_stop_dir, stop, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
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
