/* SPDX-License-Identifier: GPL-2.0-only */
/* What bench_stall is asked for, and the disk, the union and the large file that it works on. */
#ifndef STALL_DISK_H
#define STALL_DISK_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "/dev/vda"
#define MIB (1u << 20)
#define BLOCK 4096u

static struct {
	const char *dir; /* lower, upper, work, merged are below it */
	uint64_t size;
	bool check, cold, why, alone;
	const char *mode;
} opt = { .size = 512ull * MIB, .mode = "manage" };

static bool guards(void)
{
	return !strcmp(opt.mode, "guard");
}

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fputs("bench_stall: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static void path_of(char path[static PATH_MAX], const char *name)
{
	snprintf(path, PATH_MAX, "%s/%s", opt.dir, name);
}

static void make_dir(const char *name)
{
	char path[PATH_MAX];

	path_of(path, name);
	if (mkdir(path, 0755) && errno != EEXIST)
		die("%s: %s", path, strerror(errno));
}

static int spawn(char *const argv[], const char *stderr_to)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (stderr_to && !freopen(stderr_to, "we", stderr))
			_exit(126);
		if (stderr_to)
			fcntl(STDERR_FILENO, F_SETFD, 0);
		execvp(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("%s: %s", argv[0], strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void fill_file(const char *path)
{
	_Alignas(8) static char buf[MIB];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	for (uint64_t at = 0; at < opt.size; at += MIB) {
		for (uint32_t i = 0; i < MIB; i += BLOCK) {
			uint64_t stamp = at + i;

			memset(buf + i, (int)(stamp / BLOCK % 251 + 1), BLOCK);
			memcpy(buf + i, &stamp, sizeof(stamp));
		}
		if (write(fd, buf, MIB) != MIB)
			die("%s: %s", path, strerror(errno));
	}
	if (fsync(fd) || close(fd))
		die("%s: %s", path, strerror(errno));
}

/* The disk of scripts/vm comes empty; never touch another. */
static void use_disk(void)
{
	static const char *const mkfs[] = { "mkfs.ext4", "-q", "-F", "-E", "nodiscard", DEVICE, NULL };
	static char head[MIB];
	int fd = open(DEVICE, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, head, sizeof(head)) != (ssize_t)sizeof(head))
		die(DEVICE ": %s; name a folder with --dir", strerror(errno));
	close(fd);
	for (size_t i = 0; i < sizeof(head); i++)
		if (head[i])
			die(DEVICE " is not empty; name a folder with --dir");
	if (spawn((char *const *)mkfs, NULL))
		die("mkfs.ext4 " DEVICE " failed");
	opt.dir = "/mnt/stall";
	if (mkdir(opt.dir, 0700) && errno != EEXIST)
		die("%s: %s", opt.dir, strerror(errno));
	/* The background initialisation of a new ext4 would be measured too. */
	if (mount(DEVICE, opt.dir, "ext4", 0, "noinit_itable"))
		die("mount " DEVICE ": %s", strerror(errno));
}

static void remove_tree(const char *name)
{
	char path[PATH_MAX], *argv[] = { "rm", "-rf", path, NULL };

	path_of(path, name);
	spawn(argv, NULL);
}

static void mount_union(void)
{
	char merged[PATH_MAX], data[4 * PATH_MAX];

	remove_tree("upper");
	remove_tree("work");
	make_dir("upper");
	make_dir("work");
	make_dir("merged");
	path_of(merged, "merged");
	snprintf(data, sizeof(data), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", opt.dir, opt.dir, opt.dir);
	if (mount("stall", merged, "overlay", 0, data))
		die("mount of the overlay: %s", strerror(errno));
}

/* The same state before each run: nothing to write back, the lower file in the page cache or not. */
static void settle(void)
{
	static char buf[MIB];
	char path[PATH_MAX];
	int fd;

	sync();
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "3", 1) != 1)
		die("drop_caches: %s", strerror(errno));
	close(fd);
	if (opt.cold)
		return;
	path_of(path, "lower/dir/big");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

#endif
