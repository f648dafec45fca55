/* SPDX-License-Identifier: GPL-2.0-only */
/* What the unit tests share: a private place to mount in, files, overlays, and system calls that fail when told to. */
#ifndef KU_UNIT_H
#define KU_UNIT_H

#include <dirent.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "ktap.h"

#define UNIT_DIR "/tmp/unit"
#define UNIT_LOWER UNIT_DIR "/lower"
#define UNIT_UPPER UNIT_DIR "/upper"
#define UNIT_MERGED UNIT_DIR "/merged"

/*
 * A private mount namespace with an empty tmpfs on /tmp, so that nothing is left behind: the namespace goes with the test. State
 * and run directories lie there too.
 */
static inline void unit_place(void)
{
	if (geteuid() != 0)
		ktap_skip("needs root");
	KTAP_REQUIRE(unshare(CLONE_NEWNS) == 0);
	KTAP_REQUIRE(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	KTAP_REQUIRE(mount("unit", "/tmp", "tmpfs", 0, "mode=1777") == 0);
	KTAP_REQUIRE(mkdir(UNIT_DIR, 0755) == 0);
	KTAP_REQUIRE(mkdir("/tmp/state", 0700) == 0);
	KTAP_REQUIRE(mkdir("/tmp/stop", 0700) == 0);
	setenv("KUNION_STATE_DIR", "/tmp/state", 1);
	setenv("KUNION_RUN_DIR", "/tmp/run", 1);
	unsetenv("KUNION_STOP_DIR");
	umask(022);
}

static inline void unit_tmpfs(const char *dir, const char *options)
{
	KTAP_REQUIRE(mkdir(dir, 0755) == 0 || errno == EEXIST, "%s", dir);
	KTAP_REQUIRE(mount("unit", dir, "tmpfs", 0, options) == 0, "%s", dir);
}

/* Makes lower/ (its own file system) and upper/{u,w}; fill lower/ before unit_overlay(). */
static inline void unit_layers(void)
{
	unit_place();
	unit_tmpfs(UNIT_LOWER, "mode=0755");
	unit_tmpfs(UNIT_UPPER, "mode=0755");
	KTAP_REQUIRE(mkdir(UNIT_UPPER "/u", 0755) == 0 && mkdir(UNIT_UPPER "/w", 0755) == 0);
	KTAP_REQUIRE(mkdir(UNIT_MERGED, 0755) == 0);
}

static inline void unit_overlay(const char *more)
{
	char options[512];

	snprintf(options, sizeof(options), "lowerdir=" UNIT_LOWER ",upperdir=" UNIT_UPPER "/u,workdir=" UNIT_UPPER "/w%s%s",
		 more ? "," : "", more ? more : "");
	if (mount("unit", UNIT_MERGED, "overlay", 0, options) == 0)
		return;
	if (errno == ENODEV)
		ktap_skip("no overlayfs in this kernel");
	KTAP_REQUIRE(!"mount", "%s", options);
}

/* A file with these bytes, anew. */
static inline void unit_write(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	KTAP_REQUIRE(fd >= 0, "%s", path);
	KTAP_REQUIRE(write(fd, data, size) == (ssize_t)size, "%s", path);
	close(fd);
}

static inline void unit_text(const char *path, const char *text)
{
	unit_write(path, text, strlen(text));
}

/* The whole file, with a NUL behind it; *ret_size may be NULL. */
static inline char *unit_read(const char *path, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 0, room = 1 << 16;
	char *data = malloc(room + 1);
	ssize_t n;

	KTAP_REQUIRE(fd >= 0, "%s", path);
	KTAP_REQUIRE(data);
	while ((n = read(fd, data + size, room - size)) > 0) {
		size += (size_t)n;
		if (size == room) {
			room *= 2;
			data = realloc(data, room + 1);
			KTAP_REQUIRE(data);
		}
	}
	KTAP_REQUIRE(n == 0, "%s", path);
	close(fd);
	data[size] = '\0';
	if (ret_size)
		*ret_size = size;
	return data;
}

static inline bool unit_has_text(const char *path, const char *text)
{
	char *data = unit_read(path, NULL);
	bool same = !strcmp(data, text);

	if (!same)
		ktap_diag("%s has '%s'", path, data);
	free(data);
	return same;
}

static inline bool unit_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* How many names there are in dir. */
static inline int unit_count(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	KTAP_REQUIRE(d, "%s", dir);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static inline struct stat unit_stat(const char *path)
{
	struct stat st;

	KTAP_REQUIRE(lstat(path, &st) == 0, "%s", path);
	return st;
}

static inline bool unit_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static inline void unit_set_time(const char *path, time_t sec, long nsec)
{
	struct timespec t[2] = { { sec, nsec }, { sec, nsec } };

	KTAP_REQUIRE(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW) == 0, "%s", path);
}

/* Bytes that no two places share, from a seed. */
static inline void unit_fill(unsigned char *data, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++) {
		if (i % 8 == 0)
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		data[i] = (unsigned char)(seed >> (8 * (i % 8)));
	}
}

/* Where the low half of a system call's argument is. */
#define UNIT_LOW_HALF (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4u : 0u)

#define UNIT_GO_ON (-1)

/* One system call that fails: from the skip-th matching call of this thread on, times times (0: always). */
struct unit_fault {
	int nr;
	int arg; /* -1: any call; else this argument & mask must equal value */
	uint64_t mask, value;
	int err; /* positive errno; 0: returns 0 without doing anything; UNIT_GO_ON: is done after all */
	void (*before)(void); /* called while the caller waits, in another thread; may be NULL */
	unsigned int skip, times;
	unsigned int seen, failed;
};

struct unit_faults {
	struct unit_fault *f;
	size_t n;
	int listener;
};

static inline int unit_fault_answer(struct unit_faults *all, const struct seccomp_data *data, bool *ret_fail)
{
	for (size_t i = 0; i < all->n; i++) {
		struct unit_fault *f = &all->f[i];

		if (f->nr != data->nr || (f->arg >= 0 && (data->args[f->arg] & f->mask) != f->value))
			continue;
		if (f->seen++ < f->skip || (f->times && f->failed >= f->times))
			continue;
		f->failed++;
		if (f->before)
			f->before();
		*ret_fail = f->err != UNIT_GO_ON;
		return *ret_fail ? -f->err : 0;
	}
	*ret_fail = false;
	return 0;
}

static inline void *unit_fault_thread(void *arg)
{
	struct unit_faults *all = arg;
	struct seccomp_notif_resp resp;
	struct seccomp_notif req;
	bool fail;

	while (__atomic_load_n(&all->listener, __ATOMIC_ACQUIRE) < 0)
		usleep(100);
	for (;;) {
		memset(&req, 0, sizeof(req));
		if (ioctl(all->listener, SECCOMP_IOCTL_NOTIF_RECV, &req) < 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return NULL;
		}
		memset(&resp, 0, sizeof(resp));
		resp.id = req.id;
		resp.error = unit_fault_answer(all, &req.data, &fail);
		resp.flags = fail ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(all->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
	}
}

/* From here on the calling thread's system calls meet these faults (the array must live on; it counts what happens). */
static inline void unit_faults(struct unit_fault *f, size_t n)
{
	static struct unit_faults all = { .listener = -1 };
	struct sock_filter code[64];
	struct sock_fprog prog = { .filter = code };
	pthread_t thread;
	size_t at = 0;
	int fd;

	KTAP_REQUIRE(all.listener < 0 && n <= 10, "once in a test");
	/* Only what matches is asked about: the leak checker stops the thread that answers. */
	for (size_t i = 0; i < n; i++) {
		unsigned int arg = 0;

		if (f[i].arg >= 0)
			arg = (unsigned int)offsetof(struct seccomp_data, args) + 8u * (unsigned int)f[i].arg + UNIT_LOW_HALF;
		code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)f[i].nr, 0, arg ? 4 : 1);
		if (arg) {
			code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arg);
			code[at++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (unsigned int)f[i].mask);
			code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)f[i].value, 0, 1);
		}
		code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	}
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)at;

	all.f = f;
	all.n = n;
	KTAP_REQUIRE(pthread_create(&thread, NULL, unit_fault_thread, &all) == 0);
	pthread_detach(thread);
	KTAP_REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
	if (fd < 0)
		ktap_skip("no seccomp notification here: %s", strerror(errno));
	__atomic_store_n(&all.listener, fd, __ATOMIC_RELEASE);
}

#endif
