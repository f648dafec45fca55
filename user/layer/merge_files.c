// SPDX-License-Identifier: GPL-2.0-only
/* What a commit does to single files: never by more than one name, so that no link leads elsewhere. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "copy.h"
#include "merge_work.h"
#include "stop.h"
#include "sys.h"
#include "util.h"

#define KU_HERE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
#define KU_NEW "new"	/* in the stage: what gets its name next */
#define KU_TRASH "gone" /* in the stage: what had it */

void ku_merge_step(void)
{
	ku_stop("commit-step");
}

void ku_merge_id(char id[static KU_MERGE_NAME], char kind, uint64_t ino)
{
	snprintf(id, KU_MERGE_NAME, "%c%llu", kind, (unsigned long long)ino);
}

static int ku_names_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int ku_names_read(int dir, struct ku_names *ret)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	int r = 0;

	*ret = (struct ku_names){ 0 };
	if (!d) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (!r && (errno = 0, e = readdir(d))) {
		char *name, **more;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		name = strdup(e->d_name);
		more = name ? reallocarray(ret->names, ret->n + 1, sizeof(*more)) : NULL;
		if (!more) {
			free(name);
			r = -ENOMEM;
			break;
		}
		ret->names = more;
		more[ret->n++] = name;
	}
	if (!r)
		r = -errno;
	closedir(d);
	if (ret->n)
		qsort(ret->names, ret->n, sizeof(*ret->names), ku_names_order);
	return r;
}

bool ku_names_have(const struct ku_names *n, const char *name)
{
	return n->n && bsearch(&name, n->names, n->n, sizeof(*n->names), ku_names_order);
}

void ku_names_free(struct ku_names *n)
{
	while (n->n)
		free(n->names[--n->n]);
	free(n->names);
	n->names = NULL;
}

int ku_merge_open_dir(int dir, const char *name)
{
	return ku_openat2(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME, 0, KU_HERE);
}

int ku_merge_open(int dir, const char *name, struct stat *ret)
{
	_cleanup_close_ int fd = ku_openat2(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, KU_HERE);

	if (fd < 0)
		return fd;
	return fstat(fd, ret) < 0 ? -errno : ku_take_fd(&fd);
}

int ku_merge_stat(int dir, const char *name, struct stat *ret)
{
	return fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int ku_merge_rmtree(int dir, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct ku_names names;
	int r;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = ku_merge_open_dir(dir, name);
	if (fd < 0)
		return fd == -ENOTDIR ? -EPERM : fd;
	r = ku_names_read(fd, &names);
	for (size_t i = 0; i < names.n && !r; i++)
		r = ku_merge_rmtree(fd, names.names[i]);
	ku_names_free(&names);
	ku_merge_step();
	return r ? r : unlinkat(dir, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Gives the name to what is KU_NEW (or id) in the stage. In the place of a directory, or that of a file, in one step where the kernel can. */
static int ku_merge_name(struct ku_merge_work *m, const char *id, int dir, const char *name)
{
	struct stat old, new;
	int r = ku_merge_stat(dir, name, &old);

	if (r && r != -ENOENT)
		return r;
	ku_merge_step();
	if (r || (!S_ISDIR(old.st_mode) && !ku_merge_stat(m->stage, id, &new) && !S_ISDIR(new.st_mode)))
		return renameat(m->stage, id, dir, name) < 0 ? -errno : 0;
	/* What has the name goes to another place than id, which is for the directory that a crash shall find there. */
	r = ku_merge_rmtree(m->stage, KU_TRASH);
	if (!r && !strcmp(id, KU_NEW)) {
		if (renameat2(m->stage, id, dir, name, RENAME_EXCHANGE) == 0)
			return ku_merge_rmtree(m->stage, id);
		r = errno == EINVAL || errno == ENOSYS ? 0 : -errno;
	}
	if (!r && renameat(dir, name, m->stage, KU_TRASH) < 0)
		r = -errno;
	ku_merge_step();
	if (!r && renameat(m->stage, id, dir, name) < 0)
		r = -errno;
	return r ? r : ku_merge_rmtree(m->stage, KU_TRASH);
}

int ku_merge_remove(struct ku_merge_work *m, int dir, const char *name)
{
	struct stat st;
	int r = ku_merge_stat(dir, name, &st);

	if (r)
		return r == -ENOENT ? 0 : r;
	ku_merge_step();
	if (!S_ISDIR(st.st_mode))
		return unlinkat(dir, name, 0) < 0 ? -errno : 0;
	/* All of it at once. */
	r = ku_merge_rmtree(m->stage, KU_TRASH);
	if (!r && renameat(dir, name, m->stage, KU_TRASH) < 0)
		r = -errno;
	return r ? r : ku_merge_rmtree(m->stage, KU_TRASH);
}

static int ku_merge_copy(struct ku_merge_work *m, int from)
{
	struct ku_copy_stats stats;
	_cleanup_close_ int src = -1, dst = -1;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", from);
	src = open(name, O_RDONLY | O_CLOEXEC | O_NOATIME);
	dst = src < 0 ? -1 : openat(m->stage, KU_NEW, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (dst < 0)
		return -errno;
	ku_merge_step();
	r = ku_copy_data(src, dst, NULL, &stats);
	if (!r)
		r = ku_merge_meta(from, dst);
	/* Before it has the name: a power cut must not leave the name with less than all. */
	return r ? r : fsync(dst) < 0 ? -errno : 0;
}

static int ku_merge_make(struct ku_merge_work *m, int from, const struct stat *st)
{
	_cleanup_close_ int dst = -1;
	char target[4096];
	struct stat new;
	ssize_t n;

	if (S_ISREG(st->st_mode))
		return ku_merge_copy(m, from);
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(from, "", target, sizeof(target) - 1);
		if (n < 0)
			return -errno;
		target[n] = '\0';
		if (symlinkat(target, m->stage, KU_NEW) < 0)
			return -errno;
	} else if (mknodat(m->stage, KU_NEW, (st->st_mode & S_IFMT) | 0600, st->st_rdev) < 0) {
		return -errno;
	}
	dst = ku_merge_open(m->stage, KU_NEW, &new);
	return dst < 0 ? dst : ku_merge_meta(from, dst);
}

int ku_merge_put(struct ku_merge_work *m, int from, const struct stat *st, int dir, const char *name)
{
	bool linked = st->st_nlink > 1;
	char id[KU_MERGE_NAME];
	struct stat old;
	int r = ku_merge_rmtree(m->stage, KU_NEW);

	if (r)
		return r;
	ku_merge_id(id, 'h', st->st_ino);
	/* Another name of what was put elsewhere already. */
	if (linked && linkat(m->stage, id, m->stage, KU_NEW, 0) == 0)
		r = 0;
	else if (linked && errno != ENOENT)
		r = -errno;
	else
		r = ku_merge_make(m, from, st);
	if (!r && linked && ku_merge_stat(m->stage, id, &old) && linkat(m->stage, KU_NEW, m->stage, id, 0) < 0)
		r = -errno;
	if (!r)
		r = ku_merge_name(m, KU_NEW, dir, name);
	/* rename(2) does nothing when both are the same file already. */
	return r || !linked ? r : ku_merge_rmtree(m->stage, KU_NEW);
}

int ku_merge_put_dir(struct ku_merge_work *m, int dir, const char *name, const char *id)
{
	int r = 0;

	if (!id) {
		r = ku_merge_rmtree(m->stage, KU_NEW);
		if (!r && mkdirat(m->stage, KU_NEW, 0700) < 0)
			r = -errno;
	}
	return r ? r : ku_merge_name(m, id ? id : KU_NEW, dir, name);
}
