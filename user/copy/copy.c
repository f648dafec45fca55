// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copying a file's data: each way that is refused hands what is left to the next one, so no byte is copied twice.
 *
 * The descriptors are on an overlay: FICLONE and copy_file_range work only where both real files are on one file system.
 */
#include "copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "util.h"

/* A chunk is what a cancellation has to wait for: "well below 50 ms", whatever the disks are. */
#define KU_CHUNK_FIRST (4u << 20)
#define KU_CHUNK_MIN (128u << 10)
#define KU_CHUNK_MAX (16u << 20)
#define KU_CHUNK_ALIGN (64u << 10) /* so that copy_file_range can still share blocks */
#define KU_CHUNK_AIM_NS 20000000ull
#define KU_CHUNK_SLOW_NS (KU_CHUNK_AIM_NS * 3 / 2)
#define KU_CHUNK_FAST_NS (KU_CHUNK_AIM_NS / 2)

#define KU_SPACE_EVERY (4u << 20) /* bytes between two looks at the free space, or one chunk */
#define KU_BUF_SIZE (256u << 10)

struct ku_copier {
	int src, dst;
	const struct ku_copy_opts *opts;
	off_t size;
	enum ku_copy_how how; /* the way in use, tried or not */
	const char *why;
	uint64_t bytes;
	size_t chunk;
	uint64_t allowed; /* bytes that may come before the free space is looked at again */
	bool no_seek_data;
	char *buf;
};

static const char *const ku_copy_names[] = {
	[KU_COPY_NOTHING] = "nothing",	 [KU_COPY_CLONE] = "clone",	    [KU_COPY_RANGE] = "copy_file_range",
	[KU_COPY_SENDFILE] = "sendfile", [KU_COPY_READWRITE] = "read/write",
};
_Static_assert(KU_ARRAY_SIZE(ku_copy_names) == KU_COPY_READWRITE + 1, "a way without a name");

const char *ku_copy_how_name(enum ku_copy_how how)
{
	return (size_t)how < KU_ARRAY_SIZE(ku_copy_names) ? ku_copy_names[how] : "?";
}

/* Why a way cannot be used here; NULL for an error that the next way would meet as well. */
static const char *ku_copy_refusal(int err)
{
	switch (err) {
	case EXDEV:
		return "different file systems (EXDEV)";
	case EOPNOTSUPP:
	case ENOTTY:
		return "not supported by the file system (EOPNOTSUPP)";
	case ENOSYS:
		return "not supported by the kernel (ENOSYS)";
	case EINVAL:
		return "refused for these files (EINVAL)";
	case EPERM:
	case EACCES:
		return "not permitted (EPERM)";
	case ETXTBSY:
		return "in use as a program or swap file (ETXTBSY)";
	case EOVERFLOW:
		return "too large for it (EOVERFLOW)";
	default:
		return NULL;
	}
}

static bool ku_copy_cancelled(const struct ku_copier *c)
{
	return c->opts && c->opts->cancelled && c->opts->cancelled(c->opts->arg);
}

/* Is there room for these bytes without the blocks that are kept for root? */
static int ku_copy_room(struct ku_copier *c, uint64_t bytes)
{
	struct statvfs st;
	uint64_t unit, most = bytes > KU_SPACE_EVERY ? bytes : KU_SPACE_EVERY;

	if (fstatvfs(c->dst, &st) < 0)
		return -errno;
	c->allowed = most;
	if (!st.f_blocks) /* no limit at all: tmpfs with size=0 */
		return 0;
	unit = st.f_frsize ? st.f_frsize : st.f_bsize ? st.f_bsize : 4096;
	if (bytes / unit + !!(bytes % unit) > st.f_bavail)
		return -ENOSPC;
	if (most / unit > st.f_bavail)
		c->allowed = st.f_bavail * unit;
	return 0;
}

/* The data segment at or behind pos: 0 and its bounds, 1 when only a hole is left, -errno. */
static int ku_copy_segment(struct ku_copier *c, off_t pos, off_t *ret_start, off_t *ret_end)
{
	off_t start = pos, end = c->size;

	if (!c->no_seek_data) {
		start = lseek(c->src, pos, SEEK_DATA);
		if (start < 0 && errno == ENXIO)
			return 1;
		/* A file system that cannot tell holes: all that is left is data. */
		if (start < 0) {
			c->no_seek_data = true;
			start = pos;
		} else {
			end = lseek(c->src, start, SEEK_HOLE);
			if (end <= start || end > c->size)
				end = c->size;
		}
	}
	if (start >= c->size)
		return 1;
	*ret_start = start;
	*ret_end = end;
	return 0;
}

/* Sums up the data before the first byte is copied: a copy that cannot fit shall fail at once. */
static int ku_copy_room_for_all(struct ku_copier *c)
{
	uint64_t need = 0;
	unsigned int n = 0;
	off_t start, end = 0;
	int r;

	while (end < c->size) {
		r = ku_copy_segment(c, end, &start, &end);
		if (r < 0)
			return r;
		if (r > 0)
			break;
		need += (uint64_t)(end - start + 4095) & ~4095ull;
		if (++n % 1024 == 0 && ku_copy_cancelled(c))
			return -ECANCELED;
	}
	r = ku_copy_room(c, need);
	c->allowed = 0; /* it was for all, and others write too */
	return r;
}

static ssize_t ku_copy_by_buffer(struct ku_copier *c, off_t pos, size_t len)
{
	size_t done = 0, put = 0, got = 0;
	ssize_t n = 0;

	if (!c->buf) {
		c->buf = malloc(KU_BUF_SIZE);
		if (!c->buf)
			return -ENOMEM;
	}
	while (done < len) {
		if (put == got) {
			n = pread(c->src, c->buf, len - done < KU_BUF_SIZE ? len - done : KU_BUF_SIZE, pos + (off_t)done);
			if (n <= 0)
				break;
			got = (size_t)n;
			put = 0;
		}
		n = pwrite(c->dst, c->buf + put, got - put, pos + (off_t)done);
		if (n <= 0)
			break;
		put += (size_t)n;
		done += (size_t)n;
	}
	/* What is there counts; an error that lasts comes back at the next call. */
	if (done)
		return (ssize_t)done;
	return n < 0 ? -errno : 0;
}

/* One try of the present way: bytes copied, 0 at an end of file that should not be there, or -errno. */
static ssize_t ku_copy_try(struct ku_copier *c, off_t pos, size_t len)
{
	off_t in = pos, out = pos;
	ssize_t n;

	switch (c->how) {
	case KU_COPY_RANGE:
		n = copy_file_range(c->src, &in, c->dst, &out, len, 0);
		break;
	case KU_COPY_SENDFILE:
		if (lseek(c->dst, pos, SEEK_SET) < 0)
			return -errno;
		n = sendfile(c->dst, c->src, &in, len);
		break;
	default:
		return ku_copy_by_buffer(c, pos, len);
	}
	return n < 0 ? -errno : n;
}

static void ku_copy_adapt(struct ku_copier *c, size_t done, uint64_t ns)
{
	if (ns > KU_CHUNK_SLOW_NS) {
		uint64_t fit = (uint64_t)done * KU_CHUNK_AIM_NS / ns & ~(uint64_t)(KU_CHUNK_ALIGN - 1);

		if (fit < c->chunk)
			c->chunk = fit < KU_CHUNK_MIN ? KU_CHUNK_MIN : (size_t)fit;
	} else if (ns < KU_CHUNK_FAST_NS && done == c->chunk && c->chunk < KU_CHUNK_MAX) {
		c->chunk *= 2;
		if (c->chunk > KU_CHUNK_MAX)
			c->chunk = KU_CHUNK_MAX;
	}
}

/* Copies some of [pos, end) by the present way, or steps down. Returns bytes copied (0: try again) or -errno. */
static ssize_t ku_copy_chunk(struct ku_copier *c, off_t pos, off_t end)
{
	size_t len = (uint64_t)(end - pos) < c->chunk ? (size_t)(end - pos) : c->chunk;
	uint64_t began;
	ssize_t n;

	if (c->opts && !c->opts->may_use_reserve && len > c->allowed) {
		int r = ku_copy_room(c, len);

		if (r < 0)
			return r;
	}

	began = ku_now_ns();
	n = ku_copy_try(c, pos, len);
	if (n > 0) {
		ku_copy_adapt(c, (size_t)n, ku_now_ns() - began);
		c->allowed -= (uint64_t)n < c->allowed ? (uint64_t)n : c->allowed;
		c->bytes += (uint64_t)n;
		return n;
	}
	if (n == -EINTR)
		return 0;
	if (c->how == KU_COPY_READWRITE)
		return n < 0 ? n : -EIO; /* it became shorter: never pass off a part as the whole */

	if (n == 0)
		c->why = "ended before the end of the file";
	else
		c->why = ku_copy_refusal((int)-n);
	if (!c->why)
		return n;
	c->how++;
	return 0;
}

static int ku_copy_segments(struct ku_copier *c)
{
	const struct ku_copy_opts *opts = c->opts;
	off_t pos = 0, end = 0;
	ssize_t n;
	int r;

	for (;;) {
		if (ku_copy_cancelled(c))
			return -ECANCELED;
		if (pos >= end) {
			if (end >= c->size)
				return 0;
			r = ku_copy_segment(c, end, &pos, &end);
			if (r)
				return r < 0 ? r : 0;
		}
		n = ku_copy_chunk(c, pos, end);
		if (n < 0)
			return (int)n;
		pos += n;
		if (n > 0 && opts && opts->progress)
			opts->progress(opts->arg, c->bytes);
	}
}

static int ku_copy_clone(struct ku_copier *c)
{
	if (c->how > KU_COPY_CLONE)
		return 0;
	if (ioctl(c->dst, FICLONE, c->src) == 0) {
		c->how = KU_COPY_CLONE;
		c->bytes = (uint64_t)c->size;
		if (c->opts && c->opts->progress)
			c->opts->progress(c->opts->arg, c->bytes);
		return 1;
	}
	/* Like the kernel's copy-up: whatever a clone fails with, a copy may still do. */
	c->why = ku_copy_refusal(errno);
	if (!c->why)
		c->why = "the clone failed";
	c->how = KU_COPY_RANGE;
	return 0;
}

static int ku_copy_run(struct ku_copier *c)
{
	struct stat st;
	int r;

	if (fstat(c->src, &st) < 0)
		return -errno;
	c->size = st.st_size;
	if (c->size == 0)
		return 0;
	if (ku_copy_cancelled(c))
		return -ECANCELED;

	r = ku_copy_clone(c);
	if (r)
		return r < 0 ? r : 0;

	if (c->opts && !c->opts->may_use_reserve) {
		r = ku_copy_room_for_all(c);
		if (r < 0)
			return r;
	}
	r = ku_copy_segments(c);
	if (r < 0)
		return r;

	/* A hole at the end was not written. */
	if (fstat(c->dst, &st) < 0 || (st.st_size != c->size && ftruncate(c->dst, c->size) < 0))
		return -errno;
	return 0;
}

int ku_copy_data(int src, int dst, const struct ku_copy_opts *opts, struct ku_copy_stats *ret_stats)
{
	struct ku_copier c = { .src = src, .dst = dst, .opts = opts, .chunk = KU_CHUNK_FIRST };
	int r;

	if (opts && opts->first != KU_COPY_NOTHING) {
		c.how = opts->first;
		c.why = c.how > KU_COPY_CLONE ? "not tried" : NULL;
	}
	r = ku_copy_run(&c);
	free(c.buf);

	*ret_stats = (struct ku_copy_stats){ .bytes = c.bytes };
	if (c.bytes) {
		ret_stats->how = c.how;
		ret_stats->why = c.how == KU_COPY_CLONE ? NULL : c.why;
	}
	return r;
}
