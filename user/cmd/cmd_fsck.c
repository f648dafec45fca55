// SPDX-License-Identifier: GPL-2.0-only
/* kunion fsck: finds, and with --repair removes, the temporaries that a crash left in a union. */
#include <argp.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "below.h"
#include "cmd.h"
#include "event.h"
#include "intents.h"
#include "log.h"
#include "opts.h"
#include "sys.h"
#include "union.h"
#include "util.h"

#define KU_PIECE_MAX 2048 /* of a path that may be longer than PATH_MAX */

struct ku_strings {
	char **s;
	size_t n, room;
};

struct ku_fsck {
	const char *merged;
	bool repair;
	int root;
	struct ku_strings told;	 /* what the record knew: not to be told twice */
	struct ku_strings queue; /* directories to look into, paths below the root */
	unsigned long left;	 /* found and still there */
	unsigned long removed;
	bool incomplete; /* something could not be looked at */
};

/* Takes s over, also when it fails. */
static int ku_strings_add(struct ku_strings *l, char *s)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		char **p = s ? reallocarray(l->s, room, sizeof(*p)) : NULL;

		if (!p) {
			free(s);
			return -ENOMEM;
		}
		l->s = p;
		l->room = room;
	}
	if (!s)
		return -ENOMEM;
	l->s[l->n++] = s;
	return 0;
}

static void ku_strings_free(struct ku_strings *l)
{
	while (l->n)
		free(l->s[--l->n]);
	free(l->s);
}

static char *ku_join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s%s", dir, *dir ? "/" : "", name) < 0 ? NULL : path;
}

/* One line on stdout; what would spoil the line is written as \xHH, as in event lines. */
static void ku_fsck_say(const char *what, const char *path, int err)
{
	_cleanup_free_ char *text = ku_escape_bytes(path);

	printf("%s: /", what);
	for (const unsigned char *c = (const unsigned char *)(text ? text : path); *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			printf("\\x%02x", *c);
		else
			putchar(*c);
	if (err)
		printf(": %s", strerror(-err));
	putchar('\n');
}

static void ku_fsck_tell(struct ku_fsck *f, const char *path, int err)
{
	if (!f->repair)
		ku_fsck_say("found", path, 0);
	else if (err)
		ku_fsck_say("cannot remove", path, err);
	else
		ku_fsck_say("removed", path, 0);
	if (f->repair && !err)
		f->removed++;
	else
		f->left++;
}

static void ku_fsck_recorded(void *arg, const char *path, int err)
{
	struct ku_fsck *f = arg;

	ku_fsck_tell(f, path, err);
	/* Without memory it is told twice. */
	(void)ku_strings_add(&f->told, strdup(path));
}

static void ku_fsck_trouble(struct ku_fsck *f, const char *path, int err)
{
	ku_warn("%s: /%s: cannot be looked at: %s", f->merged, path, strerror(-err));
	f->incomplete = true;
}

/* Opens a directory below the root by a path of any length. */
static int ku_open_below(int root, const char *path)
{
	int dir = ku_openat2(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, KU_BELOW);
	char piece[KU_PIECE_MAX + 1];

	while (dir >= 0 && *path) {
		size_t n = strlen(path);
		int next;

		if (n > KU_PIECE_MAX) {
			n = KU_PIECE_MAX;
			while (path[n] != '/') /* a name has at most 255 bytes */
				n--;
		}
		memcpy(piece, path, n);
		piece[n] = '\0';
		path += n + (path[n] == '/');
		next = ku_openat2(dir, piece, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, KU_BELOW);
		close(dir);
		dir = next;
	}
	return dir;
}

static bool ku_fsck_is_told(const struct ku_fsck *f, const char *path)
{
	for (size_t i = 0; i < f->told.n; i++)
		if (!strcmp(f->told.s[i], path))
			return true;
	return false;
}

/* A name of the temporaries' form that is a regular file. */
static void ku_fsck_suspect(struct ku_fsck *f, int dirfd, const char *dir, const char *name)
{
	_cleanup_free_ char *path = ku_join(dir, name);
	struct stat st;
	int err = 0;

	if (!path || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (!path || errno != ENOENT)
			ku_fsck_trouble(f, dir, path ? -errno : -ENOMEM);
		return;
	}
	if (!S_ISREG(st.st_mode) || ku_fsck_is_told(f, path))
		return;
	if (f->repair && unlinkat(dirfd, name, 0) < 0)
		err = -errno;
	ku_fsck_tell(f, path, err);
}

static bool ku_is_dir(int dirfd, const struct dirent *d)
{
	struct stat st;

	if (d->d_type != DT_UNKNOWN)
		return d->d_type == DT_DIR;
	return fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Looks into one directory and queues those in it. */
static int ku_fsck_dir(struct ku_fsck *f, const char *path)
{
	_cleanup_close_ int at = ku_open_below(f->root, path);
	const struct dirent *d;
	DIR *dir;
	int fd, r = 0;

	if (at == -EXDEV) /* something else is mounted there */
		return 0;
	fd = at < 0 ? at : openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return at < 0 ? at : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	while (errno = 0, !r && (d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (ku_is_temp_name(d->d_name))
			ku_fsck_suspect(f, fd, path, d->d_name);
		else if (ku_is_dir(fd, d))
			r = ku_strings_add(&f->queue, ku_join(path, d->d_name));
	}
	if (!r)
		r = -errno;
	closedir(dir);
	return r;
}

/* The whole merged tree: a power cut may have taken the record along. */
static void ku_fsck_scan(struct ku_fsck *f)
{
	if (ku_strings_add(&f->queue, strdup("")) < 0)
		ku_fsck_trouble(f, "", -ENOMEM);
	while (f->queue.n) {
		_cleanup_free_ char *path = f->queue.s[--f->queue.n];
		int r = ku_fsck_dir(f, path);

		if (r < 0 && r != -ENOENT)
			ku_fsck_trouble(f, path, r);
	}
}

static int ku_fsck_record(struct ku_fsck *f, const struct ku_union *u)
{
	struct ku_intents *in;
	int r = ku_intents_open(u->key, !u->volatile_, &in);

	if (r < 0) {
		ku_warn("%s: the record of temporaries cannot be read: %s; looking at the whole tree", f->merged, strerror(-r));
		return r;
	}
	r = ku_intents_recover(in, f->root, !f->repair, ku_fsck_recorded, f);
	if (r < 0)
		ku_warn("%s: a recorded temporary cannot be looked at: %s", f->merged, strerror(-r));
	ku_intents_close(in);
	return r < 0 ? r : 0;
}

static int ku_fsck_union(struct ku_fsck *f)
{
	_cleanup_close_ int root = -1;
	char err[KU_UNION_ERR];
	struct ku_union u;
	int r;

	r = ku_union_open(f->merged, &u, err);
	if (r < 0) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	/* While a kunion is attached, a temporary is one at work. */
	r = ku_union_lock(&u, err);
	if (r < 0) {
		ku_err("%s", err);
		ku_union_close(&u);
		return KU_EXIT_USAGE;
	}
	root = ku_union_root(&u);
	if (root < 0) {
		ku_err("%s: cannot be opened: %s", f->merged, strerror(-root));
		ku_union_close(&u);
		return KU_EXIT_USAGE;
	}
	f->root = root;
	if (ku_fsck_record(f, &u) < 0)
		f->incomplete = true;
	ku_fsck_scan(f);
	ku_union_close(&u);

	if (fflush(stdout) == EOF) {
		ku_err("stdout: %s", strerror(errno));
		f->incomplete = true;
	}
	if (f->left && !f->repair)
		ku_warn("%s: %lu left over; 'kunion fsck --repair %s' removes them", f->merged, f->left, f->merged);
	return f->left || f->incomplete ? KU_EXIT_FAIL : KU_EXIT_OK;
}

static error_t ku_fsck_option(int key, char *arg, struct argp_state *state)
{
	struct ku_fsck *f = state->input;

	switch (key) {
	case 'r':
		f->repair = true;
		return 0;
	case ARGP_KEY_ARG:
		if (f->merged)
			argp_error(state, "one MERGED at a time; '%s' is too many", arg);
		f->merged = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "MERGED is missing: the directory on which the overlay is mounted");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ku_fsck_options[] = {
	{ "repair", 'r', NULL, 0, "remove what is found", 0 },
	{ 0 },
};

static const struct argp ku_fsck_argp = {
	.options = ku_fsck_options,
	.parser = ku_fsck_option,
	.args_doc = "MERGED",
	.doc = "Finds the temporary files that a crash of kunion or of the machine left in the overlay mounted on MERGED, each on a "
	       "line of its own.\vStatus: 0 nothing is left over, 1 something is, or not all could be looked at, 2 nothing was looked "
	       "at (not an overlay, or a kunion is attached to it).\n\nExample: kunion fsck --repair /var/lib/app/merged",
};

int ku_cmd_fsck(int argc, char **argv)
{
	struct ku_fsck f = { .root = -1 };
	int r;

	if (ku_parse_args("kunion fsck", &ku_fsck_argp, argc, argv, &f))
		return KU_EXIT_USAGE;
	r = ku_fsck_union(&f);
	ku_strings_free(&f.told);
	ku_strings_free(&f.queue);
	return r;
}
