// SPDX-License-Identifier: GPL-2.0-only
#include "commit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "stop.h"
#include "util.h"

#define KU_NAME_TRIES 8

static bool ku_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The directory's modification time; as if nobody changed it when it cannot be told. */
static struct timespec ku_dir_mtime(const struct ku_temp *t)
{
	struct stat st;

	return fstat(t->dirfd, &st) < 0 ? t->mtime_ours : st.st_mtim;
}

/*
 * The kernel's copy-up puts the directory's time back under the directory's lock, which we cannot hold: so each of our steps
 * notes what it leaves, and when somebody else changed the directory in between, theirs is the time that stays.
 */
static void ku_dir_before(struct ku_temp *t)
{
	struct timespec now = ku_dir_mtime(t);

	if (!ku_same_time(&now, &t->mtime_ours))
		t->mtime_was = now;
}

static void ku_dir_after(struct ku_temp *t)
{
	t->mtime_ours = ku_dir_mtime(t);
}

static void ku_dir_put_back(struct ku_temp *t)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, t->mtime_was }, now = ku_dir_mtime(t);

	if (ku_same_time(&t->mtime_was, &now) || !ku_same_time(&now, &t->mtime_ours))
		return;
	if (utimensat(t->dirfd, ".", times, 0) == 0) /* else so be it, as in the kernel */
		t->mtime_ours = t->mtime_was;
}

static void ku_temp_forget(struct ku_temp *t)
{
	ku_intents_done(t->intents, t->intent);
	t->named = false;
}

/* Gives it a name that is recorded before it exists: the open file when there is one, else a new one. */
static int ku_temp_name(struct ku_temp *t)
{
	char proc[32];
	int r = -EEXIST;

	for (int i = 0; i < KU_NAME_TRIES && r == -EEXIST; i++) {
		r = ku_intents_begin(t->intents, t->dir, t->name, &t->intent);
		if (r < 0)
			return r;
		ku_dir_before(t);
		if (t->fd < 0) {
			int fd = openat(t->dirfd, t->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

			r = fd < 0 ? -errno : 0;
			t->fd = fd;
		} else {
			r = linkat(t->fd, "", t->dirfd, t->name, AT_EMPTY_PATH) < 0 ? -errno : 0;
			/* That needs CAP_DAC_READ_SEARCH, this does not. */
			if (r == -ENOENT || r == -EPERM) {
				snprintf(proc, sizeof(proc), "/proc/self/fd/%d", t->fd);
				if (linkat(AT_FDCWD, proc, t->dirfd, t->name, AT_SYMLINK_FOLLOW) == 0)
					r = 0;
				else if (errno == EEXIST)
					r = -EEXIST;
			}
		}
		t->named = !r;
		if (r < 0)
			ku_temp_forget(t);
		else
			ku_dir_after(t);
	}
	return r;
}

int ku_temp_open(int dirfd, const char *dir, struct ku_intents *intents, struct ku_temp *ret)
{
	int r;

	*ret = (struct ku_temp){ .fd = -1, .dirfd = dirfd, .dir = dir, .intents = intents };
	ret->fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (ret->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;

	r = ku_temp_name(ret);
	if (!r)
		ku_dir_put_back(ret);
	return r;
}

void ku_temp_drop(struct ku_temp *t)
{
	if (t->named) {
		ku_dir_before(t);
		if (unlinkat(t->dirfd, t->name, 0) == 0) {
			ku_dir_after(t);
			ku_dir_put_back(t);
			ku_temp_forget(t);
		} else if (errno == ENOENT) {
			ku_temp_forget(t);
		} else {
			t->named = false; /* stays recorded */
		}
	}
	ku_closep(&t->fd);
}

static int ku_temp_rename(struct ku_temp *t, const char *name, const struct ku_commit_opts *opts)
{
	for (;;) {
		int r = opts && opts->before_rename ? opts->before_rename(opts->arg) : 0;

		if (r)
			return r;
		ku_dir_before(t);
		if (renameat(t->dirfd, t->name, t->dirfd, name) == 0)
			break;
		r = errno;
		if (!opts || !opts->retry || !opts->retry(opts->arg, r))
			return -r;
	}
	ku_dir_after(t);
	return 0;
}

int ku_temp_commit(struct ku_temp *t, const char *name, const struct ku_commit_opts *opts)
{
	int r;

	if (!t->named) {
		r = ku_temp_name(t);
		if (r < 0)
			return r;
	}
	/* Open for writing, a program could not be run by its name: ETXTBSY. */
	ku_closep(&t->fd);
	ku_stop("after-link");

	r = ku_temp_rename(t, name, opts);
	if (r)
		return r;
	ku_stop("after-rename");

	ku_dir_put_back(t);
	ku_temp_forget(t);
	return 0;
}
