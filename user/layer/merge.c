// SPDX-License-Identifier: GPL-2.0-only
/*
 * The phases of a commit, each of which may be gone through again after a crash:
 *   1  renamed directories are taken out of their old places, into the stage
 *   2  the upper layer is walked, and each name put in its place
 *   3  the upper layer is emptied
 * The journal has the number; it is raised when the lower file system has all of the phase before.
 */
#include "merge.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "merge_work.h"
#include "trace_fmt.h"
#include "util.h"

enum { KU_TAKE_OUT = 1, KU_PUT = 2, KU_EMPTY = 3 };

int ku_merge_state(const struct ku_upper *u)
{
	_cleanup_close_ int fd = openat(u->work, KU_COMMIT_JOURNAL, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char c;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = read(fd, &c, 1);
	if (n < 0)
		return -errno;
	return n == 1 && c >= '0' + KU_TAKE_OUT && c <= '0' + KU_EMPTY ? c - '0' : -EBADMSG;
}

/* Atomically, and on the disk when it returns. */
static int ku_merge_set_state(const struct ku_upper *u, int state, ino_t lower)
{
	static const char new[] = KU_COMMIT_JOURNAL ".new";
	_cleanup_close_ int fd = openat(u->work, new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	int n;

	if (fd < 0)
		return -errno;
	n = dprintf(fd, "%d %llu\n", state, (unsigned long long)lower);
	if (n < 0 || fsync(fd) < 0)
		return -errno;
	ku_merge_step();
	if (renameat(u->work, new, u->work, KU_COMMIT_JOURNAL) < 0 || fsync(u->work) < 0)
		return -errno;
	ku_merge_step();
	return 0;
}

/* Was the commit that is under way begun for this directory? */
static bool ku_merge_same_lower(const struct ku_upper *u, ino_t lower)
{
	int fd = openat(u->work, KU_COMMIT_JOURNAL, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), state;
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	unsigned long long ino;

	if (!f && fd >= 0)
		close(fd);
	return f && fscanf(f, "%d %llu", &state, &ino) == 2 && ino == lower;
}

static int ku_put_dir(struct ku_merge_work *m, int upper, int lower, const char *path, bool opaque);

static int ku_put_subdir(struct ku_merge_work *m, const struct stat *st, int upper, int lower, const char *name, const char *path, bool opaque)
{
	_cleanup_free_ char *redirect = NULL, *is_opaque = NULL;
	_cleanup_close_ int from = ku_merge_open_dir(upper, name), to = -1;
	char id[KU_MERGE_NAME];
	struct stat old;
	int r = from < 0 ? from : 0;

	if (!r)
		is_opaque = ku_merge_xattr(from, "opaque", &r);
	opaque = opaque || (is_opaque && !strcmp(is_opaque, "y"));
	if (!r && !(is_opaque && !strcmp(is_opaque, "y")))
		redirect = ku_merge_xattr(from, "redirect", &r);
	ku_merge_id(id, 'd', st->st_ino);
	/* One that is not in the stage is in its place, since before a crash. */
	if (!r && redirect) {
		opaque = false;
		if (!ku_merge_stat(m->stage, id, &old))
			r = ku_merge_put_dir(m, lower, name, id);
	} else if (!r && (ku_merge_stat(lower, name, &old) || !S_ISDIR(old.st_mode))) {
		r = ku_merge_put_dir(m, lower, name, NULL);
	}
	if (!r) {
		to = ku_merge_open_dir(lower, name);
		r = to < 0 ? to : ku_put_dir(m, from, to, path, opaque);
	}
	if (!r)
		r = ku_merge_meta(from, to);
	ku_merge_step();
	return r;
}

static int ku_put_entry(struct ku_merge_work *m, int upper, int lower, const char *name, const char *path, bool opaque)
{
	_cleanup_free_ char *whiteout = NULL;
	_cleanup_close_ int from = -1;
	struct stat st;
	int r = 0;

	from = ku_merge_open(upper, name, &st);
	if (from < 0)
		return from;
	if (S_ISDIR(st.st_mode))
		return ku_put_subdir(m, &st, upper, lower, name, path, opaque);
	if (S_ISREG(st.st_mode) && !st.st_size)
		whiteout = ku_merge_xattr(from, "whiteout", &r);
	if (r)
		return r;
	if (whiteout || (S_ISCHR(st.st_mode) && !st.st_rdev))
		return ku_merge_remove(m, lower, name);
	return ku_merge_put(m, from, &st, lower, name);
}

/* Not so in the stage itself, which is in the root. */
static int ku_put_clear(struct ku_merge_work *m, int lower, const struct ku_names *keep)
{
	struct ku_names names;
	int r = ku_names_read(lower, &names);

	for (size_t i = 0; i < names.n && !r; i++)
		if (!ku_names_have(keep, names.names[i]))
			r = ku_merge_remove(m, lower, names.names[i]);
	ku_names_free(&names);
	return r;
}

static int ku_put_dir(struct ku_merge_work *m, int upper, int lower, const char *path, bool opaque)
{
	struct ku_names names;
	int r = ku_names_read(upper, &names);

	if (!r && opaque)
		r = ku_put_clear(m, lower, &names);
	ku_merge_failed(m, r, "cannot be carried over", path, NULL);
	for (size_t i = 0; i < names.n && !r; i++) {
		char *deeper;

		if (asprintf(&deeper, "%s%s%s", path, *path ? "/" : "", names.names[i]) < 0) {
			r = -ENOMEM;
			break;
		}
		r = ku_merge_failed(m, ku_put_entry(m, upper, lower, names.names[i], deeper, opaque), "cannot be carried over", deeper, NULL);
		free(deeper);
	}
	ku_names_free(&names);
	return r;
}

/* As before it was used. */
static int ku_merge_empty(struct ku_merge_work *m)
{
	static const char *const own[] = { "opaque", "redirect", "origin", "impure", "nlink", "upper", "metacopy", "protattr", "uuid" };
	struct ku_names names;
	int r = ku_names_read(m->upper, &names);

	for (size_t i = 0; i < names.n && !r; i++)
		r = ku_merge_failed(m, ku_merge_rmtree(m->upper, names.names[i]), "cannot be removed from the upper layer", names.names[i], NULL);
	ku_names_free(&names);
	for (size_t i = 0; i < KU_ARRAY_SIZE(own) && !r; i++) {
		char name[64];

		snprintf(name, sizeof(name), KU_OVERLAY_XATTR "%s", own[i]);
		if (fremovexattr(m->upper, name) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
			r = -errno;
	}
	/* The times of its root, which a union shows, are those of the other root still. */
	return r ? r : ku_merge_meta(m->lower, m->upper);
}

/* Before the journal says that anything was begun. */
static int ku_merge_begin(struct ku_merge_work *m, const struct ku_upper *u, ino_t lower, const char *target, char err[static KU_LAYER_ERR])
{
	struct statvfs fs;
	struct stat st;
	int r;

	if (fstatvfs(m->lower, &fs) == 0 && fs.f_flag & ST_RDONLY)
		return ku_layer_err(err, -EROFS, "%s: read-only; make it writable", target);
	if (!ku_merge_stat(m->lower, KU_MERGE_STAGE, &st))
		return ku_layer_err(err, -EBUSY, "%s/" KU_MERGE_STAGE ": a commit of another upper directory did not end; go on with that one", target);
	r = ku_merge_set_state(u, KU_TAKE_OUT, lower);
	return r ? ku_layer_err(err, r, "%s/" KU_COMMIT_JOURNAL ": %s", u->work_path, strerror(-r)) : 0;
}

static int ku_merge_open_stage(struct ku_merge_work *m, const char *target, char err[static KU_LAYER_ERR])
{
	if (mkdirat(m->lower, KU_MERGE_STAGE, 0700) == 0 || errno == EEXIST)
		m->stage = ku_merge_open_dir(m->lower, KU_MERGE_STAGE);
	else
		m->stage = -errno;
	return m->stage < 0 ? ku_layer_err(err, m->stage, "%s/" KU_MERGE_STAGE ": %s", target, strerror(-m->stage)) : 0;
}

static int ku_merge_apply(struct ku_merge_work *m, const struct ku_upper *u, int state, ino_t lower)
{
	int r = 0;

	if (state < KU_PUT) {
		r = ku_merge_take_out(m);
		if (!r && syncfs(m->lower) < 0)
			r = -errno;
		if (!r)
			r = ku_merge_set_state(u, KU_PUT, lower);
	}
	if (!r)
		r = ku_put_dir(m, m->upper, m->lower, "", false);
	ku_closep(&m->stage);
	if (!r)
		r = ku_merge_rmtree(m->lower, KU_MERGE_STAGE);
	ku_merge_step();
	/* Last: the stage was a name in it. */
	if (!r)
		r = ku_merge_meta(m->upper, m->lower);
	if (!r && syncfs(m->lower) < 0)
		r = -errno;
	return r ? r : ku_merge_set_state(u, KU_EMPTY, lower);
}

static int ku_merge_run(struct ku_merge_work *m, const struct ku_upper *u, const char *target, char err[static KU_LAYER_ERR])
{
	int state = ku_merge_state(u), r = 0;
	struct stat st;

	if (state < 0)
		return ku_layer_err(err, state, "%s/" KU_COMMIT_JOURNAL ": cannot be read: %s", u->work_path, strerror(-state));
	if (fstat(m->lower, &st) < 0)
		return ku_layer_err(err, -errno, "%s: %s", target, strerror(errno));
	if (state && !ku_merge_same_lower(u, st.st_ino))
		return ku_layer_err(err, -EINVAL, "%s: a commit of %s to another directory did not end; give that one", target, u->upper_path);
	if (state < KU_EMPTY) {
		r = ku_merge_plan(m);
		if (!r && !state)
			r = ku_merge_begin(m, u, st.st_ino, target, err);
		if (!r)
			r = ku_merge_open_stage(m, target, err);
		if (!r)
			r = ku_merge_apply(m, u, state, st.st_ino);
	}
	if (!r)
		r = ku_merge_empty(m);
	if (!r && unlinkat(u->work, KU_COMMIT_JOURNAL, 0) < 0)
		r = -errno;
	return r;
}

/* A line of the work's, unless there is one. */
static int ku_merge_end(struct ku_merge_work *m, int r, const char *where, char err[static KU_LAYER_ERR])
{
	if (r && !*err) {
		_cleanup_free_ char *path = m->failed && *m->failed ? ku_terminal_text(m->failed, false) : NULL;

		ku_layer_err(err, r, "%s%s%.300s: %s: %s", where, path ? "/" : "", path ? path : "", m->what ? m->what : "cannot be committed",
			     strerror(-r));
	}
	ku_closep(&m->stage);
	for (size_t i = 0; i < m->n_moves; i++)
		free(m->moves[i].origin);
	free(m->moves);
	free(m->failed);
	return r;
}

/* A few for each directory on the way down. */
static void ku_merge_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int ku_merge(const struct ku_upper *u, int lower, const char *target, char err[static KU_LAYER_ERR])
{
	struct ku_merge_work m = { .upper = u->upper, .lower = lower, .stage = -1 };

	*err = '\0';
	ku_merge_many_files();
	return ku_merge_end(&m, ku_merge_run(&m, u, target, err), target, err);
}

int ku_merge_check(const struct ku_upper *u, char err[static KU_LAYER_ERR])
{
	struct ku_merge_work m = { .upper = u->upper, .lower = -1, .stage = -1 };

	*err = '\0';
	ku_merge_many_files();
	return ku_merge_end(&m, ku_merge_plan(&m), u->upper_path, err);
}
