/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file system outside the union that notices whoever so much as looks: its server, a child, is asked for every step of a walk (nothing is cached), and notes
 * what a thread of the daemon asks for. There is a file "f" in every directory, and a directory by every other name.
 */
#ifndef CANARY_H
#define CANARY_H

#include "fx_fixture.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#define CANARY FX_DIR "/canary"
#define CANARY_BYTE 'C'
#define CANARY_SIZE FX_KB(64)
#define CANARY_TOLD 32

enum { CANARY_FILE = 2, CANARY_SUBDIR = 3 };

/* In memory shared with the server. */
struct canary {
	volatile pid_t watched; /* the daemon */
	char now[64];		/* what the test is at */
	volatile unsigned int requests, hits;
	char told[CANARY_TOLD][96];
};

static struct canary *canary;
static pid_t canary_pid;

static inline void canary_note(const struct fuse_in_header *in)
{
	char path[64];
	unsigned int n;

	canary->requests++;
	snprintf(path, sizeof(path), "/proc/%d/task/%u", canary->watched, in->pid);
	if (!canary->watched || !fx_exists(path))
		return;
	n = canary->hits;
	if (n < CANARY_TOLD)
		snprintf(canary->told[n], sizeof(canary->told[n]), "%.60s: request %u", canary->now, in->opcode);
	canary->hits = n + 1;
}

static inline struct fuse_attr canary_attr(uint64_t node)
{
	bool file = node == CANARY_FILE;

	return (struct fuse_attr){ .ino = node, .size = file ? CANARY_SIZE : 0, .mode = file ? S_IFREG | 0644 : S_IFDIR | 0755, .nlink = file ? 1 : 2,
				   .blksize = FX_BLOCK };
}

/* The answer's length behind its header, or -errno. */
static inline int canary_answer(const struct fuse_in_header *in, const void *arg, void *out)
{
	switch (in->opcode) {
	case FUSE_INIT:
		*(struct fuse_init_out *)out = (struct fuse_init_out){ .major = FUSE_KERNEL_VERSION, .minor = ((const struct fuse_init_in *)arg)->minor,
								       .max_write = FX_BLOCK };
		return sizeof(struct fuse_init_out);
	case FUSE_LOOKUP: {
		struct fuse_entry_out *e = out;

		*e = (struct fuse_entry_out){ .nodeid = strcmp(arg, "f") ? CANARY_SUBDIR : CANARY_FILE };
		e->attr = canary_attr(e->nodeid);
		return sizeof(*e);
	}
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		*(struct fuse_attr_out *)out = (struct fuse_attr_out){ .attr = canary_attr(in->nodeid) };
		return sizeof(struct fuse_attr_out);
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		*(struct fuse_open_out *)out = (struct fuse_open_out){ 0 };
		return sizeof(struct fuse_open_out);
	case FUSE_READ:
		memset(out, CANARY_BYTE, FX_BLOCK);
		return FX_BLOCK;
	case FUSE_STATFS:
		*(struct fuse_statfs_out *)out = (struct fuse_statfs_out){ 0 };
		return sizeof(struct fuse_statfs_out);
	case FUSE_ACCESS:
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return 0;
	default:
		return -ENOSYS;
	}
}

static inline void canary_serve(int dev)
{
	static char in[1 << 18], out[sizeof(struct fuse_out_header) + FX_BLOCK];
	struct fuse_in_header *h = (struct fuse_in_header *)in;
	struct fuse_out_header *o = (struct fuse_out_header *)out;

	for (;;) {
		ssize_t n = read(dev, in, sizeof(in) - 1);
		int len;

		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(*h))
			_exit(0);
		in[n] = '\0';
		/* What the kernel sends by itself has no sender. */
		if (h->opcode == FUSE_FORGET || h->opcode == FUSE_BATCH_FORGET || h->opcode == FUSE_INTERRUPT)
			continue;
		if (h->opcode != FUSE_INIT)
			canary_note(h);
		len = canary_answer(h, h + 1, o + 1);
		*o = (struct fuse_out_header){ .unique = h->unique, .error = len < 0 ? len : 0, .len = (uint32_t)(sizeof(*o) + (size_t)(len > 0 ? len : 0)) };
		if (write(dev, out, o->len) < 0 && errno != ENOENT)
			_exit(1);
	}
}

/* Mounts it at CANARY, in the test's mount namespace. */
static inline void canary_start(void)
{
	char opts[96];
	int dev;

	canary = mmap(NULL, sizeof(*canary), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	KTAP_REQUIRE(canary != MAP_FAILED);
	fx_sh("modprobe -q fuse || true");
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", dev);
	KTAP_REQUIRE(dev >= 0 && !mkdir(CANARY, 0755) && !mount("canary", CANARY, "fuse", 0, opts), "%s", strerror(errno));
	canary_pid = fork();
	KTAP_REQUIRE(canary_pid >= 0);
	if (!canary_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		canary_serve(dev);
	}
	close(dev);
}

static inline void canary_end(void)
{
	kill(canary_pid, SIGKILL);
	KTAP_CHECK(waitpid(canary_pid, NULL, 0) == canary_pid);
	umount2(CANARY, MNT_DETACH);
}

static inline void canary_at(const char *what)
{
	snprintf(canary->now, sizeof(canary->now), "%s", what);
}

/* Nobody of the daemon's has looked. */
static inline void canary_check(void)
{
	KTAP_CHECK(!canary->hits, "the daemon went outside %u times", canary->hits);
	for (unsigned int i = 0; i < canary->hits && i < CANARY_TOLD; i++)
		ktap_diag("%s", canary->told[i]);
}

#endif
