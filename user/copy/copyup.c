// SPDX-License-Identifier: GPL-2.0-only
#include "copyup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "below.h"
#include "commit.h"
#include "copy.h"
#include "log.h"
#include "meta.h"
#include "sys.h"
#include "util.h"

/* A batch shares one flush: two descriptors a file, and not so much data that the flush becomes one long stall. */
#define KU_BATCH_FILES 128
#define KU_BATCH_BYTES (1ull << 30)

bool ku_cu_is_upper(const struct ku_union *u, const char *path)
{
	_cleanup_free_ char *upper = NULL;
	struct stat st;

	if (asprintf(&upper, "%s%s%s", u->upperdir, strcmp(u->prefix, "/") ? u->prefix : "", path) < 0) {
		upper = NULL;
		return false;
	}
	return !lstat(upper, &st) && S_ISREG(st.st_mode);
}

int ku_cu_open_dir(int root, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash == path ? strdup(".") : strndup(path + 1, (size_t)(slash - path - 1));

	if (!dir)
		return -ENOMEM;
	*ret_name = slash + 1;
	return ku_openat2(root, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, KU_BELOW);
}

int ku_cu_kernel(const struct ku_union *u, const char *path)
{
	_cleanup_close_ int root = ku_union_root(u), found = -1, fd = -1;

	if (root < 0)
		return root;
	found = ku_below_find(root, path + 1);
	if (found < 0)
		return found;
	fd = ku_below_open(found, O_WRONLY);
	return fd < 0 ? fd : 0;
}

struct ku_batch_file {
	struct ku_cu_file *f;
	struct ku_temp temp;
	int dirfd;
	char *dir;
	const char *name;
	ino_t ino;
	dev_t dev;
};

struct ku_batch {
	struct ku_cu_set *set;
	struct ku_cu_progress *pr;
	struct ku_intents *intents;
	struct ku_batch_file files[KU_BATCH_FILES];
	unsigned int n;
	uint64_t bytes;
};

static void ku_batch_drop(struct ku_batch_file *b)
{
	ku_temp_drop(&b->temp);
	ku_closep(&b->dirfd);
	free(b->dir);
}

/* Copies f into a temporary that the batch's flush and commit then share. 0, -errno, or -EREMOTE: one for the kernel. */
static int ku_batch_copy(struct ku_batch *batch, struct ku_cu_file *f)
{
	struct ku_batch_file *b = &batch->files[batch->n];
	_cleanup_close_ int root = -1, found = -1, src = -1;
	struct ku_copy_opts opts = { .may_use_reserve = true };
	struct ku_copy_stats stats;
	struct stat st;
	int err;

	memset(b, 0, sizeof(*b));
	b->dirfd = b->temp.fd = -1;
	b->f = f;
	root = ku_union_root(&batch->set->u);
	if (root < 0)
		return root;
	b->dirfd = ku_cu_open_dir(root, f->path, &b->name);
	if (b->dirfd < 0)
		return b->dirfd;
	b->dir = b->name == f->path + 1 ? strdup(".") : strndup(f->path + 1, (size_t)(b->name - f->path - 2));
	if (!b->dir) {
		err = -ENOMEM;
		goto fail;
	}
	found = ku_below_find(b->dirfd, b->name);
	src = found < 0 ? found : ku_below_open(found, O_RDONLY);
	if (src < 0) {
		err = src;
		goto fail;
	}
	if (fstat(src, &st)) {
		err = -errno;
		goto fail;
	}
	/* index=on keeps hard links together, nfs_export=on handles, metacopy=on may have the inode up already: the kernel knows how. */
	if (st.st_nlink != 1 || batch->set->u.metacopy || batch->set->u.nfs_export) {
		err = -EREMOTE;
		goto fail;
	}
	b->ino = st.st_ino;
	b->dev = st.st_dev;
	err = ku_temp_open(b->dirfd, b->dir, batch->intents, &b->temp);
	if (!err)
		err = ku_copy_data(src, b->temp.fd, &opts, &stats);
	if (!err)
		err = ku_copy_meta(src, b->temp.fd);
	if (err)
		goto fail;
	batch->n++;
	batch->bytes += stats.bytes;
	return 0;
fail:
	ku_batch_drop(b);
	return err;
}

/* The user's word is that nobody uses the union; a name that changed all the same is left alone. */
static int ku_batch_commit(struct ku_batch_file *b)
{
	_cleanup_close_ int found = ku_below_find(b->dirfd, b->name);
	struct stat st;

	if (found < 0)
		return found;
	if (fstat(found, &st))
		return -errno;
	if (st.st_ino != b->ino || st.st_dev != b->dev)
		return -ESTALE;
	return ku_temp_commit(&b->temp, b->name, NULL);
}

static void ku_batch_flush(struct ku_batch *batch)
{
	int flushed = 0;

	if (batch->n && !batch->set->u.volatile_ && syncfs(batch->files[0].temp.fd))
		flushed = -errno;
	for (unsigned int i = 0; i < batch->n; i++) {
		struct ku_batch_file *b = &batch->files[i];
		int err = flushed ? flushed : ku_batch_commit(b);

		ku_batch_drop(b);
		ku_cu_done(batch->pr, batch->set, b->f, false, err);
	}
	batch->n = 0;
	batch->bytes = 0;
}

int ku_cu_exclusive(struct ku_cu_set *set, struct ku_cu_progress *pr, char err[static 512])
{
	struct ku_batch batch = { .set = set, .pr = pr };
	_cleanup_close_ int root = -1;
	int r;

	r = ku_union_lock(&set->u, err);
	if (r)
		return r;
	r = ku_intents_open(set->u.key, !set->u.volatile_, &batch.intents);
	if (r) {
		snprintf(err, 512, "%s: cannot open its intents record: %s", set->u.path, strerror(-r));
		return r;
	}
	root = ku_union_root(&set->u);
	r = root < 0 ? root : ku_intents_recover(batch.intents, root, false, NULL, NULL);
	if (r < 0) {
		snprintf(err, 512, "%s: cannot clean up after an earlier run: %s; see 'kunion fsck'", set->u.path, strerror(-r));
		ku_intents_close(batch.intents);
		return r;
	}
	ku_closep(&root);
	for (size_t i = 0; i < set->nfiles; i++) {
		if (batch.n == KU_BATCH_FILES || batch.bytes >= KU_BATCH_BYTES)
			ku_batch_flush(&batch);
		r = ku_batch_copy(&batch, &set->files[i]);
		if (r == -EREMOTE)
			ku_cu_done(pr, set, &set->files[i], true, ku_cu_kernel(&set->u, set->files[i].path));
		else if (r)
			ku_cu_done(pr, set, &set->files[i], false, r);
	}
	ku_batch_flush(&batch);
	ku_intents_close(batch.intents);
	return 0;
}
