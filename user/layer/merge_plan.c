// SPDX-License-Identifier: GPL-2.0-only
/* Before anything is changed: which directories were renamed, and from where. Then these are taken out of their old places. */
#include <fcntl.h>
#include <string.h>

#include "drift_work.h"
#include "merge_work.h"
#include "util.h"

int ku_merge_failed(struct ku_merge_work *m, int r, const char *what, const char *path, const char *name)
{
	if (r && !m->what) {
		m->what = what;
		m->failed = ku_path_join(path ? path : "", name ? name : "");
	}
	return r;
}

static int ku_plan_move(struct ku_merge_work *m, uint64_t ino, char *origin)
{
	struct ku_move *more = reallocarray(m->moves, m->n_moves + 1, sizeof(*more));
	unsigned int depth = 0;

	if (!more) {
		free(origin);
		return -ENOMEM;
	}
	m->moves = more;
	for (const char *c = origin; c && *c; c++)
		depth += *c == '/';
	more[m->n_moves++] = (struct ku_move){ .ino = ino, .origin = origin, .depth = depth };
	return 0;
}

/* Where the redirect of a directory leads whose parent has lower as its lower directory. Allocated; NULL: nowhere (*ret_err 0). */
static char *ku_plan_origin(const char *lower, const char *redirect, int *ret_err)
{
	char *origin;

	*ret_err = 0;
	if (*redirect != '/' && !lower)
		return NULL;
	while (*redirect == '/') {
		redirect++;
		lower = "";
	}
	origin = ku_path_join(lower, redirect);
	if (!origin)
		*ret_err = -ENOMEM;
	return origin;
}

static int ku_plan_dir(struct ku_merge_work *m, int dir, const char *path, const char *lower);

/* lower: that of the directory that it is in; NULL for none, as below an opaque one. */
static int ku_plan_subdir(struct ku_merge_work *m, int fd, uint64_t ino, const char *path, const char *name, const char *lower)
{
	_cleanup_free_ char *redirect = NULL, *opaque = NULL, *below = NULL, *deeper = ku_path_join(path, name);
	int r = deeper ? 0 : -ENOMEM;

	if (!r)
		opaque = ku_merge_xattr(fd, "opaque", &r);
	if (!r && !(opaque && !strcmp(opaque, "y")))
		redirect = ku_merge_xattr(fd, "redirect", &r);
	if (!r && redirect) {
		below = ku_plan_origin(lower, redirect, &r);
		if (!r)
			r = ku_plan_move(m, ino, below ? strdup(below) : NULL);
		if (!r && below && !m->moves[m->n_moves - 1].origin)
			r = -ENOMEM;
	} else if (!r && lower && !(opaque && !strcmp(opaque, "y"))) {
		below = ku_path_join(lower, name);
		r = below ? 0 : -ENOMEM;
	}
	return r ? ku_merge_failed(m, r, "cannot be looked at", path, name) : ku_plan_dir(m, fd, deeper, below);
}

static int ku_plan_entry(struct ku_merge_work *m, int dir, const char *name, const char *path, const char *lower)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = ku_merge_open(dir, name, &st);
	if (fd < 0)
		return ku_merge_failed(m, fd, "cannot be looked at", path, name);
	if (S_ISDIR(st.st_mode)) {
		ku_closep(&fd);
		fd = ku_merge_open_dir(dir, name);
		return fd < 0 ? ku_merge_failed(m, fd, "cannot be looked at", path, name) :
				ku_plan_subdir(m, fd, st.st_ino, path, name, lower);
	}
	if (S_ISREG(st.st_mode)) {
		int r;
		_cleanup_free_ char *metacopy = ku_merge_xattr(fd, "metacopy", &r);

		if (r)
			return ku_merge_failed(m, r, "cannot be looked at", path, name);
		if (metacopy)
			return ku_merge_failed(m, -EOPNOTSUPP, "its data is not in the upper layer (metacopy=on); open it for writing in the union",
					       path, name);
	}
	return 0;
}

static int ku_plan_dir(struct ku_merge_work *m, int dir, const char *path, const char *lower)
{
	struct ku_names names;
	int r = ku_merge_failed(m, ku_names_read(dir, &names), "cannot be listed", path, NULL);

	for (size_t i = 0; i < names.n && !r; i++)
		r = ku_plan_entry(m, dir, names.names[i], path, lower);
	ku_names_free(&names);
	return r;
}

/* What is in a directory that goes, too, goes first. */
static int ku_plan_order(const void *a, const void *b)
{
	const struct ku_move *x = a, *y = b;

	return x->depth != y->depth ? (x->depth < y->depth ? 1 : -1) : x->ino < y->ino ? -1 : x->ino > y->ino;
}

int ku_merge_plan(struct ku_merge_work *m)
{
	int r = ku_plan_dir(m, m->upper, "", "");

	if (r)
		return r;
	if (m->n_moves)
		qsort(m->moves, m->n_moves, sizeof(*m->moves), ku_plan_order);
	for (size_t i = 0; i < m->n_moves; i++)
		for (size_t j = 0; j < i; j++)
			if (m->moves[i].origin && m->moves[j].origin && !strcmp(m->moves[i].origin, m->moves[j].origin))
				return ku_merge_failed(m, -EOPNOTSUPP, "two directories of the upper layer say that they were it", m->moves[i].origin,
						       NULL);
	return 0;
}

static int ku_take_out(struct ku_merge_work *m, const struct ku_move *move)
{
	_cleanup_free_ char *parent = NULL;
	_cleanup_close_ int dir = -1;
	char id[KU_MERGE_NAME], *slash;
	const char *name = "";
	struct stat st;
	int r;

	ku_merge_id(id, 'd', move->ino);
	r = ku_merge_stat(m->stage, id, &st);
	if (r != -ENOENT)
		return r;
	ku_merge_step();
	if (move->origin) {
		parent = strdup(move->origin);
		if (!parent)
			return -ENOMEM;
		slash = strrchr(parent, '/');
		name = move->origin + (slash ? slash - parent + 1 : 0);
		*(slash ? slash : parent) = '\0';
		dir = ku_layer_open(m->lower, parent, O_RDONLY | O_DIRECTORY);
		if (dir < 0 && dir != -ENOENT && dir != -ENOTDIR)
			return dir;
	}
	if (dir >= 0 && !ku_merge_stat(dir, name, &st) && S_ISDIR(st.st_mode))
		return renameat(dir, name, m->stage, id) < 0 ? -errno : 0;
	/* It was nothing below: so it is a directory with nothing but what the upper layer has. */
	return mkdirat(m->stage, id, 0700) < 0 ? -errno : 0;
}

int ku_merge_take_out(struct ku_merge_work *m)
{
	int r = 0;

	for (size_t i = 0; i < m->n_moves && !r; i++)
		r = ku_merge_failed(m, ku_take_out(m, &m->moves[i]), "cannot be moved", m->moves[i].origin, NULL);
	return r;
}
