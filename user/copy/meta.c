// SPDX-License-Identifier: GPL-2.0-only
#include "meta.h"

#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "util.h"

#define KU_ACL_ACCESS "system.posix_acl_access"
#define KU_ACL_DEFAULT "system.posix_acl_default"
#define KU_SECURITY "security."

/* The flags that the kernel's copy-up carries over, its OVL_COPY_FS_FLAGS_MASK. */
#define KU_COPY_FLAGS (FS_SYNC_FL | FS_NOATIME_FL)

struct ku_buf {
	char *data;
	size_t size;
};

static int ku_buf_room(struct ku_buf *b, size_t size)
{
	char *p;

	if (size <= b->size)
		return 0;
	p = realloc(b->data, size);
	if (!p)
		return -ENOMEM;
	b->data = p;
	b->size = size;
	return 0;
}

/* The names of fd's xattrs, or with a name that one's value. Returns the length or -errno. */
static ssize_t ku_xattr_read(int fd, const char *name, struct ku_buf *b)
{
	ssize_t n;
	int r;

	for (;;) {
		n = name ? fgetxattr(fd, name, NULL, 0) : flistxattr(fd, NULL, 0);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = ku_buf_room(b, (size_t)n);
		if (r < 0)
			return r;
		n = name ? fgetxattr(fd, name, b->data, b->size) : flistxattr(fd, b->data, b->size);
		if (n >= 0)
			return n;
		if (errno != ERANGE) /* else it grew in between */
			return -errno;
	}
}

static bool ku_is_acl(const char *name)
{
	return !strcmp(name, KU_ACL_ACCESS) || !strcmp(name, KU_ACL_DEFAULT);
}

/* Labels that the kernel's copy-up gives through the LSM: fixed by the mount (context=), they cannot be set. */
static bool ku_is_label(const char *name)
{
	return !strcmp(name, "security.selinux") || !strcmp(name, "security.SMACK64");
}

static int ku_xattr_copy(int src, int dst, const char *name, struct ku_buf *value)
{
	ssize_t n;

	/* Keyed to the inode: EVM makes the new one itself. */
	if (!strcmp(name, "security.evm"))
		return 0;

	n = ku_xattr_read(src, name, value);
	if (n == -ENODATA || (n == -EOPNOTSUPP && ku_is_acl(name)))
		return 0;
	if (n < 0)
		return (int)n;
	if (fsetxattr(dst, name, value->data, (size_t)n, 0) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	if (ku_is_label(name))
		return 0;
	return ku_is_acl(name) || !strncmp(name, KU_SECURITY, strlen(KU_SECURITY)) ? -EOPNOTSUPP : 0;
}

/* The directory's default ACL gave dst an access ACL; fchmod() would not take its named users and groups off. */
static int ku_drop_inherited_acl(int dst)
{
	if (fremovexattr(dst, KU_ACL_ACCESS) == 0 || errno == ENODATA || errno == EOPNOTSUPP)
		return 0;
	return -errno;
}

static int ku_copy_xattrs(int src, int dst)
{
	struct ku_buf names = { 0 }, value = { 0 };
	bool has_acl = false;
	ssize_t len;
	int r = 0;

	len = ku_xattr_read(src, NULL, &names);
	if (len == -EOPNOTSUPP)
		len = 0;
	if (len < 0)
		r = (int)len;

	for (size_t at = 0; !r && len > 0 && at < (size_t)len; at += strlen(names.data + at) + 1) {
		if (!strcmp(names.data + at, KU_ACL_ACCESS))
			has_acl = true;
		r = ku_xattr_copy(src, dst, names.data + at, &value);
	}
	if (!r && !has_acl)
		r = ku_drop_inherited_acl(dst);

	free(names.data);
	free(value.data);
	return r;
}

/* Best effort as in the kernel, where a layer without such flags is no error either. */
static int ku_copy_flags(int src, int dst)
{
	int from = 0, to = 0; /* an int, whatever the ioctl's number says */

	if (ioctl(src, FS_IOC_GETFLAGS, &from) < 0 || !(from & KU_COPY_FLAGS))
		return 0;
	if (ioctl(dst, FS_IOC_GETFLAGS, &to) < 0)
		return 0;
	to = (to & ~KU_COPY_FLAGS) | (from & KU_COPY_FLAGS);
	if (ioctl(dst, FS_IOC_SETFLAGS, &to) < 0 && errno != ENOTTY && errno != EOPNOTSUPP && errno != EINVAL)
		return -errno;
	return 0;
}

int ku_copy_meta(int src, int dst)
{
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstat(src, &st) < 0)
		return -errno;
	if (fchown(dst, st.st_uid, st.st_gid) < 0)
		return -errno;
	r = ku_copy_xattrs(src, dst);
	if (r < 0)
		return r;
	/* Behind the ACL, whose setting rewrites the group's bits. */
	if (fchmod(dst, st.st_mode & 07777) < 0)
		return -errno;
	r = ku_copy_flags(src, dst);
	if (r < 0)
		return r;

	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return futimens(dst, times) < 0 ? -errno : 0;
}
