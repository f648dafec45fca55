// SPDX-License-Identifier: GPL-2.0-only
/* Stamped contents, and looking at what came of a test. */
#define FX_PART
#include "fx_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FX_MAGIC 0x6b756e69u
#define FX_FNV 1099511628211ull

/* The words behind the head depend on it, and the sum on all: a block that is torn or another file's shows. */
struct fx_head {
	uint32_t magic, id;
	uint64_t nr, sum;
};

union fx_block {
	struct fx_head head;
	uint64_t words[FX_BLOCK / 8];
};

uint32_t fx_id(const char *name)
{
	uint32_t h = 2166136261u;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 16777619u;
	return h ? h : 1;
}

static uint64_t fx_hash(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t w;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * FX_FNV;
		h ^= h >> 29;
	}
	while (len--)
		h = (h ^ *p++) * FX_FNV;
	return h;
}

static uint64_t fx_block_sum(const union fx_block *b)
{
	return fx_hash(b->head.nr ^ ((uint64_t)b->head.id << 32), b->words + 3, sizeof(*b) - sizeof(b->head));
}

static void fx_block_fill(union fx_block *b, uint32_t id, uint64_t nr)
{
	uint64_t x = (uint64_t)id << 32 | nr;

	for (unsigned int i = 3; i < FX_BLOCK / 8; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		b->words[i] = x;
	}
	b->head.magic = FX_MAGIC;
	b->head.id = id;
	b->head.nr = nr;
	b->head.sum = fx_block_sum(b);
}

int fx_put_block(int fd, uint32_t id, uint64_t nr)
{
	union fx_block b;
	ssize_t n;

	fx_block_fill(&b, id, nr);
	n = pwrite(fd, &b, sizeof(b), (off_t)(nr * FX_BLOCK));
	return n == sizeof(b) ? 0 : n < 0 ? -errno : -EIO;
}

uint32_t fx_get_block(int fd, uint64_t nr)
{
	union fx_block b;

	if (pread(fd, &b, sizeof(b), (off_t)(nr * FX_BLOCK)) != sizeof(b) || b.head.magic != FX_MAGIC || b.head.nr != nr ||
	    b.head.sum != fx_block_sum(&b))
		return 0;
	return b.head.id;
}

bool fx_verify_fd(int fd, uint32_t id, off_t size)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size != size) {
		fx_diag("size is %lld, not %lld", (long long)st.st_size, (long long)size);
		return false;
	}
	for (off_t nr = 0; nr < (size + FX_BLOCK - 1) / FX_BLOCK; nr++) {
		uint32_t got = fx_get_block(fd, (uint64_t)nr);

		if (got != id) {
			fx_diag("block %lld is stamped %#x, not %#x (0: torn or foreign)", (long long)nr, got, id);
			return false;
		}
	}
	return true;
}

bool fx_verify(const char *path, uint32_t id, off_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fx_verify_fd(fd, id, size);

	if (fd >= 0)
		close(fd);
	else
		fx_diag("%s: %s", path, strerror(errno));
	return ok;
}

uint64_t fx_hash_fd(int fd)
{
	static char buf[1 << 16];
	uint64_t h = 1;
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
		h = fx_hash(h, buf, (size_t)n);
		at += n;
	}
	return n < 0 ? 0 : h;
}

/* trees */

static uint64_t fx_sum;
static size_t fx_sum_base;
static unsigned int fx_temps;
static char fx_temp[FX_PATH_MAX]; /* the last one */

static uint64_t fx_hash_string(uint64_t h, const char *s)
{
	return fx_hash(h, s, strlen(s) + 1);
}

static uint64_t fx_hash_xattrs(uint64_t h, const char *path)
{
	static char names[4096], value[4096];
	ssize_t len = llistxattr(path, names, sizeof(names));

	for (const char *n = names; len > 0 && n < names + len; n += strlen(n) + 1) {
		ssize_t got = lgetxattr(path, n, value, sizeof(value));

		h = fx_hash_string(h, n);
		if (got > 0)
			h = fx_hash(h, value, (size_t)got);
	}
	return h;
}

static int fx_sum_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const uint64_t words[] = { st->st_mode,	     st->st_uid,	 st->st_gid,
				   st->st_nlink,     (uint64_t)st->st_rdev,  S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
				   (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec };
	uint64_t h = fx_hash(7, words, sizeof(words));

	(void)type;
	(void)ftw;
	h = fx_hash_string(h, path + fx_sum_base);
	h = fx_hash_xattrs(h, path);
	if (S_ISREG(st->st_mode)) {
		int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);

		h ^= fx_hash_fd(fd);
		if (fd >= 0)
			close(fd);
	}
	fx_sum += h * FX_FNV; /* in any order */
	return 0;
}

uint64_t fx_tree_sum(const char *dir)
{
	fx_sum = 1;
	fx_sum_base = strlen(dir);
	if (nftw(dir, fx_sum_one, 16, FTW_PHYS))
		return 0;
	return fx_sum;
}

bool fx_lower_unchanged(struct fx *fx)
{
	return FX_CHECK(fx_tree_sum(fx->lower) == fx->lower_sum, "the lower layer was changed");
}

static int fx_temp_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (!strncmp(path + ftw->base, ".kunion-", 8)) {
		snprintf(fx_temp, sizeof(fx_temp), "%s", path);
		fx_temps++;
	}
	return 0;
}

static unsigned int fx_temps_now(const struct fx *fx)
{
	fx_temps = 0;
	nftw(fx->upper, fx_temp_one, 16, FTW_PHYS);
	nftw(fx->work, fx_temp_one, 16, FTW_PHYS);
	if (fx->mounted)
		nftw(fx->merged, fx_temp_one, 16, FTW_PHYS);
	return fx_temps;
}

bool fx_no_temps(const struct fx *fx)
{
	unsigned int n = fx_temps_now(fx);

	/* A call that went its way before the copy was given up may have made one more attempt, which ends on its own. */
	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull; n && fx->kunion > 0 && fx_now_ns() < end; n = fx_temps_now(fx))
		fx_sleep_ms(10);
	return FX_CHECK(n == 0, "%u temporaries left: %s", n, fx_temp);
}

bool fx_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

bool fx_is_whiteout(const struct fx *fx, const char *name)
{
	char path[FX_PATH_MAX * 2];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", fx->upper, name);
	return lstat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

bool fx_in_upper(const struct fx *fx, const char *name)
{
	char path[FX_PATH_MAX * 2];

	snprintf(path, sizeof(path), "%s/%s", fx->upper, name);
	return fx_exists(path) && !fx_is_whiteout(fx, name);
}

uint64_t fx_upper_free(const struct fx *fx)
{
	struct statvfs st;

	FX_REQUIRE(statvfs(fx->upper_base, &st) == 0, "%s", fx->upper_base);
	return (uint64_t)st.f_bfree * st.f_bsize;
}

void fx_look(const struct fx *fx, const char *name, struct fx_outcome *o)
{
	char path[FX_PATH_MAX * 2];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", fx->merged, name);
	o->whiteout = fx_is_whiteout(fx, name);
	o->upper = fx_in_upper(fx, name);
	o->merged = lstat(path, &st) == 0;
	o->mode = 0;
	o->uid = 0;
	o->size = 0;
	o->hash = 0;
	if (!o->merged)
		return;
	o->mode = st.st_mode;
	o->uid = st.st_uid;
	o->size = st.st_size;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		o->hash = fx_hash_fd(fd);
		close(fd);
	}
}

bool fx_outcome_equal(const struct fx_outcome *a, const struct fx_outcome *b)
{
	return !memcmp(a->err, b->err, sizeof(a->err)) && a->merged == b->merged && a->upper == b->upper &&
	       a->whiteout == b->whiteout && a->mode == b->mode && a->uid == b->uid && a->size == b->size && a->hash == b->hash;
}

void fx_outcome_show(const char *what, const struct fx_outcome *o)
{
	fx_diag("%s: errno %d %d %d %d, merged %d upper %d whiteout %d mode %o uid %u size %lld hash %llx", what, o->err[0], o->err[1],
		o->err[2], o->err[3], o->merged, o->upper, o->whiteout, o->mode, o->uid, (long long)o->size,
		(unsigned long long)o->hash);
}
