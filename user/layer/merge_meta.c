// SPDX-License-Identifier: GPL-2.0-only
/* Attributes of any kind of file, by O_PATH descriptors. */
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "merge_work.h"
#include "util.h"

#define KU_ESCAPED KU_OVERLAY_XATTR "overlay." /* what an overlay within the overlay keeps as its own */

struct ku_xattr_names {
	char *all;
	size_t size;
};

static const char *ku_at(char buf[static 32], int fd)
{
	snprintf(buf, 32, "/proc/self/fd/%d", fd);
	return buf;
}

static int ku_xattrs_list(const char *at, struct ku_xattr_names *ret)
{
	*ret = (struct ku_xattr_names){ 0 };
	for (;;) {
		ssize_t n = listxattr(at, NULL, 0);

		if (n <= 0)
			return n < 0 && errno != EOPNOTSUPP ? -errno : 0;
		ret->all = malloc((size_t)n);
		if (!ret->all)
			return -ENOMEM;
		n = listxattr(at, ret->all, (size_t)n);
		if (n >= 0) {
			ret->size = (size_t)n;
			return 0;
		}
		free(ret->all);
		ret->all = NULL;
		if (errno != ERANGE)
			return -errno;
	}
}

/* An xattr's value with a NUL behind it, allocated; NULL with errno. */
static char *ku_xattr_get(const char *at, const char *name, size_t *ret_size)
{
	for (;;) {
		ssize_t n = getxattr(at, name, NULL, 0);
		char *value = n < 0 ? NULL : malloc((size_t)n + 1);

		if (!value)
			return NULL;
		n = getxattr(at, name, value, (size_t)n);
		if (n >= 0) {
			value[n] = '\0';
			*ret_size = (size_t)n;
			return value;
		}
		free(value);
		if (errno != ERANGE)
			return NULL;
	}
}

char *ku_merge_xattr(int fd, const char *name, int *ret_err)
{
	char at[32], full[64], *value;
	size_t size;

	snprintf(full, sizeof(full), KU_OVERLAY_XATTR "%s", name);
	value = ku_xattr_get(ku_at(at, fd), full, &size);
	*ret_err = value || errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
	return value;
}

/* What the xattr is called in the layer below; NULL: it is overlayfs's, or EVM's, which makes it anew. */
static const char *ku_xattr_name_below(const char *name, char room[static XATTR_NAME_MAX + 1])
{
	if (!strncmp(name, KU_ESCAPED, strlen(KU_ESCAPED))) {
		snprintf(room, XATTR_NAME_MAX + 1, KU_OVERLAY_XATTR "%s", name + strlen(KU_ESCAPED));
		return room;
	}
	return !strncmp(name, KU_OVERLAY_XATTR, strlen(KU_OVERLAY_XATTR)) || !strcmp(name, "security.evm") ? NULL : name;
}

/* Labels are fixed by some mounts. */
static bool ku_is_fixed(int err, const char *name)
{
	return err == EOPNOTSUPP && (!strcmp(name, "security.selinux") || !strcmp(name, "security.SMACK64"));
}

static int ku_xattrs_set(const char *from, const struct ku_xattr_names *names, const char *to)
{
	char room[XATTR_NAME_MAX + 1];

	for (const char *name = names->all; name && name < names->all + names->size; name += strlen(name) + 1) {
		const char *below = ku_xattr_name_below(name, room);
		_cleanup_free_ char *value = NULL;
		size_t size;

		if (!below)
			continue;
		value = ku_xattr_get(from, name, &size);
		if (!value && errno != ENODATA)
			return -errno;
		if (value && setxattr(to, below, value, size, 0) < 0 && !ku_is_fixed(errno, below))
			return -errno;
	}
	return 0;
}

static bool ku_xattrs_have(const struct ku_xattr_names *names, const char *name)
{
	char room[XATTR_NAME_MAX + 1];

	for (const char *at = names->all; at && at < names->all + names->size; at += strlen(at) + 1) {
		const char *below = ku_xattr_name_below(at, room);

		if (below && !strcmp(below, name))
			return true;
	}
	return false;
}

static int ku_xattrs_drop(const struct ku_xattr_names *keep, const char *to)
{
	struct ku_xattr_names have;
	int r = ku_xattrs_list(to, &have);

	for (const char *name = have.all; !r && name && name < have.all + have.size; name += strlen(name) + 1) {
		if (ku_xattrs_have(keep, name) || !strcmp(name, "security.evm") || !strcmp(name, "security.selinux") ||
		    !strcmp(name, "security.SMACK64"))
			continue;
		if (removexattr(to, name) < 0 && errno != ENODATA)
			r = -errno;
	}
	free(have.all);
	return r;
}

int ku_merge_meta(int from, int to)
{
	char f[32], t[32];
	struct ku_xattr_names names = { 0 };
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstat(from, &st) < 0 || fchownat(to, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0)
		return -errno;
	r = ku_xattrs_list(ku_at(f, from), &names);
	if (!r)
		r = ku_xattrs_drop(&names, ku_at(t, to));
	if (!r)
		r = ku_xattrs_set(f, &names, ku_at(t, to));
	free(names.all);
	if (r)
		return r;
	/* Behind the ACL, whose setting rewrites the group's bits. */
	if (!S_ISLNK(st.st_mode) && chmod(t, st.st_mode & 07777) < 0)
		return -errno;
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return utimensat(to, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}
