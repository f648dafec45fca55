// SPDX-License-Identifier: GPL-2.0-only
/* Is a file still what the image has? Size and time first, the data itself last. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "drift_work.h"
#include "util.h"

#define KU_COMPARE_FILE (64ull << 20) /* more is not read of one file .. */
#define KU_COMPARE_ALL (4ull << 30)   /* .. and of all */
#define KU_COMPARE_BLOCK (1u << 17)

static const char *ku_fd_name(char buf[static 32], int fd)
{
	snprintf(buf, 32, "/proc/self/fd/%d", fd);
	return buf;
}

/* The regular file behind an O_PATH descriptor, for reading. */
static int ku_reopen(int fd)
{
	char name[32];
	int ret = open(ku_fd_name(name, fd), O_RDONLY | O_CLOEXEC | O_NOATIME | O_NONBLOCK);

	if (ret < 0 && errno == EPERM)
		ret = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return ret < 0 ? -errno : ret;
}

/* As many bytes as there are, up to size. */
static ssize_t ku_read_block(int fd, char *to, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(fd, to + have, size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

/* Returns 1 when they have the same bytes, 0, or -errno. */
static int ku_same_data(const struct ku_object *a, const struct ku_object *b)
{
	_cleanup_close_ int fa = ku_reopen(a->fd), fb = ku_reopen(b->fd);
	_cleanup_free_ char *block = malloc((size_t)KU_COMPARE_BLOCK * 2);
	char *other = block + KU_COMPARE_BLOCK;
	ssize_t n, m;

	if (!block)
		return -ENOMEM;
	if (fa < 0 || fb < 0)
		return fa < 0 ? fa : fb;
	do {
		n = ku_read_block(fa, block, KU_COMPARE_BLOCK);
		m = n < 0 ? n : ku_read_block(fb, other, KU_COMPARE_BLOCK);
		if (n < 0 || m < 0)
			return (int)(n < 0 ? n : m);
		if (n != m || memcmp(block, other, (size_t)n))
			return 0;
	} while (n == KU_COMPARE_BLOCK);
	return 1;
}

static int ku_same_link(const struct ku_object *a, const struct ku_object *b)
{
	char x[PATH_MAX], y[PATH_MAX];
	ssize_t n = readlinkat(a->fd, "", x, sizeof(x)), m = n < 0 ? n : readlinkat(b->fd, "", y, sizeof(y));

	if (n < 0 || m < 0)
		return -errno;
	return n == m && !memcmp(x, y, (size_t)n);
}

/* The names of its xattrs, each with a NUL behind it, two behind the last. Allocated; NULL and *ret_err. */
static char *ku_xattr_names(int fd, int *ret_err)
{
	char at[32], *names;
	ssize_t n;

	*ret_err = 0;
	for (;;) {
		n = listxattr(ku_fd_name(at, fd), NULL, 0);
		if (n < 0 && errno == EOPNOTSUPP)
			n = 0;
		names = n < 0 ? NULL : calloc(1, (size_t)n + 2);
		if (!names)
			break;
		n = n ? listxattr(at, names, (size_t)n) : 0;
		if (n >= 0)
			return names;
		free(names);
		if (errno != ERANGE)
			break;
	}
	*ret_err = -errno;
	return NULL;
}

/* Overlayfs's own; and what the kernel makes anew for a copy, so that it says nothing of who changed it. */
static bool ku_xattr_is_left_out(const struct ku_layers *l, const char *name)
{
	return !strncmp(name, l->prefix, strlen(l->prefix)) || !strcmp(name, "security.selinux") || !strcmp(name, "security.evm");
}

/* Does b have what a has? 1, 0, -errno. */
static int ku_has_xattrs(const struct ku_layers *l, int a, int b)
{
	_cleanup_free_ char *values = malloc(XATTR_SIZE_MAX * 2), *names = NULL;
	char at[32], bt[32];
	int err = -ENOMEM;

	names = values ? ku_xattr_names(a, &err) : NULL;
	if (!names)
		return err;
	ku_fd_name(at, a);
	ku_fd_name(bt, b);
	for (const char *name = names; *name; name += strlen(name) + 1) {
		ssize_t n, m;

		if (ku_xattr_is_left_out(l, name))
			continue;
		n = getxattr(at, name, values, XATTR_SIZE_MAX);
		m = n < 0 ? n : getxattr(bt, name, values + XATTR_SIZE_MAX, XATTR_SIZE_MAX);
		if (n < 0 || m < 0)
			return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
		if (n != m || memcmp(values, values + XATTR_SIZE_MAX, (size_t)n))
			return 0;
	}
	return 1;
}

static int ku_same_xattrs(const struct ku_layers *l, int a, int b)
{
	int r = ku_has_xattrs(l, a, b);

	return r == 1 ? ku_has_xattrs(l, b, a) : r;
}

static int ku_compare_file(struct ku_drift_work *w, const struct ku_object *upper, const struct ku_object *lower, bool same_time,
			   bool *ret_guessed)
{
	int err;
	uint64_t size = (uint64_t)upper->st.st_size;
	/* What a lower metacopy file shows is in yet another one. */
	_cleanup_free_ char *elsewhere = ku_layer_xattr(&w->layers, lower->fd, "metacopy", &err);

	if (err)
		return err;
	if (upper->st.st_size != lower->st.st_size)
		return 0;
	if (elsewhere || size > KU_COMPARE_FILE || w->compared + size > KU_COMPARE_ALL) {
		*ret_guessed = true;
		return same_time;
	}
	w->compared += size;
	return ku_same_data(upper, lower);
}

int ku_drift_compare(struct ku_drift_work *w, const struct ku_object *upper, const struct ku_object *lower, bool data, unsigned int *ret_diff,
		     bool *ret_guessed)
{
	const struct stat *a = &upper->st, *b = &lower->st;
	bool same_time = a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
	int r = 1, same;

	if (data && S_ISREG(a->st_mode))
		r = ku_compare_file(w, upper, lower, same_time, ret_guessed);
	else if (S_ISLNK(a->st_mode))
		r = ku_same_link(upper, lower);
	else if (S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode))
		r = a->st_rdev == b->st_rdev;
	if (r < 0)
		return r;
	same = ku_same_xattrs(&w->layers, upper->fd, lower->fd);
	if (same < 0)
		return same;
	*ret_diff = (r ? 0 : KU_DIFF_DATA) | ((a->st_mode ^ b->st_mode) & 07777 ? KU_DIFF_MODE : 0) |
		    (a->st_uid != b->st_uid || a->st_gid != b->st_gid ? KU_DIFF_OWNER : 0) | (same ? 0 : KU_DIFF_XATTRS);
	/* That of a directory goes with the names in it. */
	if (!same_time && !S_ISDIR(a->st_mode))
		*ret_diff |= KU_DIFF_TIME;
	return 0;
}
