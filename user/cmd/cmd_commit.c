// SPDX-License-Identifier: GPL-2.0-only
/* kunion commit: carries the upper layer of a union that kunion attach made into the lower one. */
#include <argp.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "beneath.h"
#include "bind.h"
#include "cmd.h"
#include "diff.h"
#include "log.h"
#include "opts.h"
#include "merge.h"
#include "stop.h"
#include "util.h"

enum { KU_O_UPPER = 256, KU_O_WORK };

struct ku_commit_args {
	const char *target, *upper, *work;
	bool dry_run;
};

/* What a commit would carry over. */
static int ku_commit_list(const struct ku_union *u)
{
	char err[KU_UNION_ERR];
	struct ku_drift *d;
	int r;

	if (ku_drift_new(u, &d, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	r = ku_drift_walk(d);
	if (!r)
		r = ku_diff_text(d, stdout);
	errno = 0;
	if (!r && (fflush(stdout) || ferror(stdout)))
		r = errno ? -errno : -EIO;
	if (r && r != -EPIPE)
		ku_err("%s: %s", u->path, strerror(-r));
	r = d->incomplete || (r && r != -EPIPE) ? KU_EXIT_FAIL : KU_EXIT_OK;
	ku_drift_free(d);
	return r;
}

/* As lowerdir= is written. */
static char *ku_commit_escaped(const char *path)
{
	char *text = malloc(2 * strlen(path) + 1), *to = text;

	for (; text && *path; path++) {
		if (*path == ':' || *path == '\\')
			*to++ = '\\';
		*to++ = *path;
	}
	if (text)
		*to = '\0';
	return text;
}

/* Of one that is not mounted: its layers are held against each other as if it were. */
static int ku_commit_list_layers(const struct ku_upper *up, int lower)
{
	_cleanup_free_ char *path = ku_fd_path(lower), *name = path ? ku_commit_escaped(path) : NULL;
	struct ku_union u = { .path = up->upper_path, .upperdir = up->upper_path, .lowerdir = name, .prefix = (char *)"/", .lock_fd = -1 };

	if (!name) {
		ku_err("%s: %s", up->upper_path, strerror(errno));
		return KU_EXIT_USAGE;
	}
	return ku_commit_list(&u);
}

static int ku_commit_layers(const struct ku_commit_args *a, struct ku_upper *up)
{
	_cleanup_close_ int lower = open(a->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char err[KU_LAYER_ERR];
	int r;

	if (lower < 0) {
		ku_err("%s: %s", a->target, errno == ENOENT ? "no such directory" : strerror(errno));
		return KU_EXIT_USAGE;
	}
	if (ku_upper_is_in(up, lower)) {
		ku_err("%s: in %s itself; a commit would remove what it reads", up->upper_path, a->target);
		return KU_EXIT_USAGE;
	}
	r = ku_upper_unused(up, err);
	if (!r && a->dry_run && ku_merge_state(up)) {
		ku_err("%s: a commit of it is under way; what is left of it cannot be listed", up->upper_path);
		return KU_EXIT_USAGE;
	}
	if (!r && a->dry_run)
		r = ku_merge_check(up, err);
	if (!r && a->dry_run)
		return ku_commit_list_layers(up, lower);
	if (!r)
		r = ku_merge(up, lower, a->target, err);
	if (r) {
		ku_err("%s", err);
		return ku_merge_state(up) ? KU_EXIT_FAIL : KU_EXIT_USAGE;
	}
	printf("committed: %s\n", a->target);
	return fflush(stdout) ? KU_EXIT_FAIL : KU_EXIT_OK;
}

/* What must be known before it is taken off. Returns 0, or an exit status. */
static int ku_commit_check(const struct ku_commit_args *a, struct ku_union *u, const struct ku_upper *up)
{
	_cleanup_close_ int lower = ku_beneath(u->path, u->dev);
	char err[KU_LAYER_ERR];
	struct statvfs fs;

	if (lower < 0 || fstatvfs(lower, &fs) < 0)
		ku_err("%s: what is below the union cannot be looked at: %s", a->target, strerror(lower < 0 ? -lower : errno));
	else if (fs.f_flag & ST_RDONLY)
		ku_err("%s: what is below the union is read-only; make it writable", a->target);
	else if (ku_merge_check(up, err))
		ku_err("%s", err);
	else if (ku_union_lock(u, err))
		ku_err("%s", err);
	else
		return 0;
	return KU_EXIT_USAGE;
}

static int ku_commit_union(const struct ku_commit_args *a, struct ku_union *u)
{
	char err[KU_LAYER_ERR];
	struct ku_upper up;
	int status;

	if (ku_upper_open(u->upperdir, u->workdir, true, &up, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	status = ku_commit_check(a, u, &up);
	if (!status && a->dry_run) {
		status = ku_commit_list(u);
	} else if (!status) {
		ku_union_unlock(u);
		if (ku_bind_detach(a->target, 0, err)) {
			ku_err("%s", err);
			status = KU_EXIT_USAGE;
		} else {
			printf("detached: %s (if this is interrupted: kunion commit --upper %s --work %s %s)\n", a->target, up.upper_path, up.work_path,
			       a->target);
			fflush(stdout);
			status = ku_commit_layers(a, &up);
		}
	}
	ku_upper_close(&up, false);
	return status;
}

static int ku_commit(const struct ku_commit_args *a)
{
	char err[KU_LAYER_ERR];
	struct ku_upper up;
	struct ku_union u;
	int status = KU_EXIT_USAGE;

	if (!ku_union_inspect(a->target, &u, err)) {
		if (!u.ours)
			ku_err("%s: an overlay that kunion attach did not put there; unmount it, then name its upper directory with --upper", a->target);
		else if (a->upper)
			ku_err("%s: attached; its upper directory is known, leave --upper out", a->target);
		else
			status = ku_commit_union(a, &u);
		ku_union_close(&u);
		return status;
	}
	if (!a->upper) {
		ku_err("%s: no union is attached there; name the directory to commit with --upper", a->target);
		return KU_EXIT_USAGE;
	}
	if (ku_upper_open(a->upper, a->work, true, &up, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	status = ku_commit_layers(a, &up);
	ku_upper_close(&up, false);
	return status;
}

static error_t ku_commit_option(int key, char *arg, struct argp_state *state)
{
	struct ku_commit_args *a = state->input;

	switch (key) {
	case KU_O_UPPER:
		a->upper = arg;
		return 0;
	case KU_O_WORK:
		a->work = arg;
		return 0;
	case 'n':
		a->dry_run = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->target)
			argp_error(state, "one TARGET at a time; '%s' is too many", arg);
		a->target = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->target)
			argp_error(state, "TARGET is missing: the directory that is written to");
		if (a->work && !a->upper)
			argp_error(state, "--work: has no use without --upper");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ku_commit_options[] = {
	{ "dry-run", 'n', NULL, 0, "list what would be carried over, and change nothing", 0 },
	{ "upper", KU_O_UPPER, "DIR", 0, "of a union that is not attached, or whose commit was interrupted", 0 },
	{ "work", KU_O_WORK, "DIR", 0, "its work directory (default: that of --upper with '.work' behind it)", 0 },
	{ 0 },
};

static const struct argp ku_commit_argp = {
	.options = ku_commit_options,
	.parser = ku_commit_option,
	.args_doc = "TARGET",
	.doc = "Carries what was written into the union on TARGET, which 'kunion attach --upper' made, into the directory below it. The union is "
	       "taken off first, and its upper directory is empty afterwards. Interrupted, also by a crash, it goes on when it is called again with "
	       "--upper; each file has its old or its new content at any time.\vStatus: 0 all is carried over, 1 a part of it, 2 nothing was "
	       "done; stderr says why.\n\nExample: kunion commit /srv/data",
};

int ku_cmd_commit(int argc, char **argv)
{
	struct ku_commit_args a = { 0 };

	if (ku_parse_args("kunion commit", &ku_commit_argp, argc, argv, &a))
		return KU_EXIT_USAGE;
	if (ku_stop_init() < 0) {
		ku_err("KUNION_STOP_DIR is for tests, by root, and names a directory");
		return KU_EXIT_USAGE;
	}
	return ku_commit(&a);
}
