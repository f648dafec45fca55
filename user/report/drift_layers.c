// SPDX-License-Identifier: GPL-2.0-only
/* The layers of an overlay as overlayfs reads them: whiteouts, opaque directories, redirects. Never through a symbolic link. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <string.h>
#include <sys/xattr.h>

#include "beneath.h"
#include "drift_work.h"
#include "sys.h"
#include "util.h"

#define KU_BELOW (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
#define KU_PIECE_MAX 2048 /* of a path that may be longer than PATH_MAX */

char *ku_path_join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s%s", dir, *dir ? "/" : "", name) < 0 ? NULL : path;
}

/* Goes down a path that is too long until what is left of it fits into one call. Returns the descriptor to go on from, or -errno. */
static int ku_layer_descend(int root, const char **path)
{
	_cleanup_close_ int at = -1;
	char piece[KU_PIECE_MAX + 1];

	while (strlen(*path) > KU_PIECE_MAX) {
		size_t n = KU_PIECE_MAX;
		int next;

		while ((*path)[n] != '/') /* a name has at most 255 bytes */
			n--;
		memcpy(piece, *path, n);
		piece[n] = '\0';
		next = ku_openat2(at < 0 ? root : at, piece, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, KU_BELOW);
		if (next < 0)
			return next;
		ku_closep(&at);
		at = next;
		*path += n + 1;
	}
	return ku_take_fd(&at);
}

int ku_layer_open(int root, const char *path, int flags)
{
	uint64_t how = (uint64_t)(flags ? flags : O_PATH) | O_NOFOLLOW | O_CLOEXEC;
	_cleanup_close_ int at = -1;
	int fd = -EPERM;

	if (strlen(path) > KU_PIECE_MAX) {
		at = ku_layer_descend(root, &path);
		if (at < 0)
			return at;
		root = at;
	}
	/* Access times stay as they are where one may ask for that. */
	if (flags)
		fd = ku_openat2(root, *path ? path : ".", how | O_NOATIME | O_NONBLOCK, 0, KU_BELOW);
	if (fd == -EPERM)
		fd = ku_openat2(root, *path ? path : ".", how | (flags ? O_NONBLOCK : 0), 0, KU_BELOW);
	return fd;
}

int ku_layer_look(int root, const char *path, struct ku_object *ret)
{
	int fd = ku_layer_open(root, path, 0), err;

	/* A file where the directory was has nothing below it. */
	if (fd < 0)
		return fd == -ENOTDIR ? -ENOENT : fd;
	if (fstat(fd, &ret->st) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	ret->fd = fd;
	return 0;
}

void ku_object_close(struct ku_object *o)
{
	ku_closep(&o->fd);
}

char *ku_layer_xattr(const struct ku_layers *l, int fd, const char *name, int *ret_err)
{
	char at[64], full[64], *value;
	ssize_t n;

	*ret_err = 0;
	snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
	snprintf(full, sizeof(full), "%s%s", l->prefix, name);
	for (;;) {
		n = getxattr(at, full, NULL, 0);
		if (n < 0)
			break;
		value = malloc((size_t)n + 2);
		if (!value) {
			*ret_err = -ENOMEM;
			return NULL;
		}
		/* One more: no room at all would be a question for the size again. */
		n = getxattr(at, full, value, (size_t)n + 1);
		if (n >= 0) {
			value[n] = '\0';
			return value;
		}
		free(value);
		/* It grew in between. */
		if (errno != ERANGE)
			break;
	}
	if (errno != ENODATA && errno != EOPNOTSUPP)
		*ret_err = -errno;
	return NULL;
}

int ku_layer_is_whiteout(const struct ku_layers *l, const struct ku_object *o)
{
	_cleanup_free_ char *value = NULL;
	int err;

	if (S_ISCHR(o->st.st_mode))
		return o->st.st_rdev == 0;
	if (!S_ISREG(o->st.st_mode) || o->st.st_size)
		return 0;
	value = ku_layer_xattr(l, o->fd, "whiteout", &err);
	return err ? err : !!value;
}

int ku_layer_is_opaque(const struct ku_layers *l, const struct ku_object *o)
{
	int err;
	_cleanup_free_ char *value = ku_layer_xattr(l, o->fd, "opaque", &err);

	/* "x" says that there are whiteouts of the xattr form in it. */
	return err ? err : value && !strcmp(value, "y");
}

void ku_stack_free(struct ku_stack *s)
{
	while (s->n)
		free(s->places[--s->n].path);
	free(s->places);
	s->places = NULL;
	ku_object_close(&s->top);
}

/* Takes path over, also when it fails; and the object, if it is the first. */
static int ku_stack_push(struct ku_stack *s, unsigned int layer, char *path, struct ku_object *o)
{
	struct ku_place *more = path ? reallocarray(s->places, s->n + 1, sizeof(*more)) : NULL;

	if (!more) {
		free(path);
		return -ENOMEM;
	}
	s->places = more;
	if (!s->n && o) {
		s->top = *o;
		o->fd = -1;
	}
	more[s->n++] = (struct ku_place){ .layer = layer, .path = path };
	return 0;
}

static int ku_layers_roots_from(const struct ku_layers *l, unsigned int first, struct ku_stack *ret)
{
	int err = 0;

	for (unsigned int i = first; i < l->n && !err; i++)
		err = ku_stack_push(ret, i, strdup(""), NULL);
	return err;
}

int ku_layers_roots(const struct ku_layers *l, struct ku_stack *ret)
{
	return ku_layers_roots_from(l, 0, ret);
}

static int ku_layers_path(const struct ku_layers *l, unsigned int first, const char *path, struct ku_stack *ret);

/*
 * One name in the directory of one layer. Returns 1 when the layers below count too, 0 when this was the last one; or -errno. *name becomes
 * another one where a redirect says so.
 */
static int ku_layers_step(const struct ku_layers *l, const struct ku_place *dir, char **name, struct ku_stack *ret)
{
	struct ku_object o = { .fd = -1 };
	char *path = ku_path_join(dir->path, *name), *redirect;
	int r = path ? ku_layer_look(l->lower[dir->layer], path, &o) : -ENOMEM;

	if (r) {
		free(path);
		return r == -ENOENT ? 1 : r;
	}
	r = ku_layer_is_whiteout(l, &o);
	if (r || (!S_ISDIR(o.st.st_mode) && ret->n)) {
		free(path);
		ku_object_close(&o);
		return r < 0 ? r : 0;
	}
	if (!S_ISDIR(o.st.st_mode)) {
		r = ku_stack_push(ret, dir->layer, path, &o);
		ku_object_close(&o);
		return r;
	}
	r = ku_layer_is_opaque(l, &o);
	redirect = r ? NULL : ku_layer_xattr(l, o.fd, "redirect", &r);
	if (r < 0)
		free(path);
	else if (ku_stack_push(ret, dir->layer, path, &o))
		r = -ENOMEM;
	else
		r = !r;
	ku_object_close(&o);
	if (r == 1 && redirect && *redirect == '/') {
		r = ku_layers_path(l, dir->layer + 1, redirect, ret);
	} else if (redirect) {
		free(*name);
		*name = KU_TAKE_PTR(redirect);
	}
	free(redirect);
	return r;
}

int ku_layers_find(const struct ku_layers *l, const struct ku_stack *dir, const char *name, struct ku_stack *ret)
{
	_cleanup_free_ char *now = NULL;
	int r = 1;

	if (!dir)
		return ku_layers_path(l, 0, name, ret);
	now = strdup(name);
	if (!now)
		return -ENOMEM;
	for (size_t i = 0; i < dir->n && r == 1; i++)
		r = ku_layers_step(l, &dir->places[i], &now, ret);
	return r < 0 ? r : 0;
}

/* Appends where an absolute path is in the layers from first on. */
static int ku_layers_path(const struct ku_layers *l, unsigned int first, const char *path, struct ku_stack *ret)
{
	struct ku_stack at = { .top.fd = -1 };
	_cleanup_free_ char *words = strdup(path);
	int r = words ? ku_layers_roots_from(l, first, &at) : -ENOMEM;
	char *save, *word;

	for (word = r ? NULL : strtok_r(words, "/", &save); word && !r && at.n; word = strtok_r(NULL, "/", &save)) {
		struct ku_stack next = { .top.fd = -1 };

		r = ku_layers_find(l, &at, word, &next);
		ku_stack_free(&at);
		at = next;
	}
	for (size_t i = 0; i < at.n && !r; i++)
		r = ku_stack_push(ret, at.places[i].layer, strdup(at.places[i].path), &at.top);
	ku_stack_free(&at);
	return r;
}

/* As overlayfs takes a backslash off. */
static void ku_unbackslash(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '\\' && s[1])
			s++;
		*to++ = *s;
	}
	*to = '\0';
}

__attribute__((format(printf, 3, 4))) static int ku_layers_err(char err[static KU_UNION_ERR], int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, KU_UNION_ERR, fmt, ap);
	va_end(ap);
	return r;
}

/* The root of the union shows what its upper directory has: another directory of that name, elsewhere, would not be the same. */
static bool ku_is_upper(const struct ku_union *u, int fd)
{
	struct stat a, b;

	for (int i = 0; i < 3; i++) {
		/* Somebody may change it in between. */
		if (stat(u->path, &a) < 0 || fstat(fd, &b) < 0)
			return false;
		if (a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid && !memcmp(&a.st_ctim, &b.st_ctim, sizeof(a.st_ctim)))
			return true;
	}
	return false;
}

static int ku_layers_upper(const struct ku_union *u, struct ku_layers *l, char err[static KU_UNION_ERR])
{
	_cleanup_free_ char *plain = strdup(u->upperdir);
	const char *const names[] = { u->upperdir, plain };

	if (!plain)
		return ku_layers_err(err, -ENOMEM, "%s: out of memory", u->path);
	ku_unbackslash(plain);
	for (size_t i = 0; i < KU_ARRAY_SIZE(names) && *u->upperdir == '/'; i++) {
		l->upper = open(names[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (l->upper >= 0 && ku_is_upper(u, l->upper))
			return 0;
		ku_closep(&l->upper);
	}
	return ku_layers_err(err, -ENOENT, "%s: its upper directory '%s' is not to be found here; run in the mount namespace that mounted it",
			     u->path, u->upperdir);
}

/* What overlayfs writes into trusted xattrs looks to anybody else as if it was not there. */
static bool ku_reads_trusted(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/uid_map", "re");
	unsigned int inside, outside, n;

	return !geteuid() && f && fscanf(f, "%u %u %u", &inside, &outside, &n) == 3 && !inside && !outside && n == UINT32_MAX;
}

int ku_layers_open(const struct ku_union *u, struct ku_layers *ret, char err[static KU_UNION_ERR])
{
	_cleanup_free_ char *all = strdup(u->lowerdir);
	int r;

	*ret = (struct ku_layers){ .upper = -1, .prefix = u->userxattr ? "user.overlay." : "trusted.overlay." };
	if (strcmp(u->prefix, "/"))
		return ku_layers_err(err, -EINVAL, "%s: only %s of an overlay is mounted there; give the directory on which all of it is", u->path,
				     u->prefix);
	if (!u->userxattr && !ku_reads_trusted())
		return ku_layers_err(err, -EPERM, "%s: what overlayfs notes in its upper layer only root can read, outside of user namespaces",
				     u->path);
	r = all ? ku_layers_upper(u, ret, err) : ku_layers_err(err, -ENOMEM, "%s: out of memory", u->path);
	/* Behind "::" there are layers that only have data. */
	for (char *at = all, *end; !r && at && *at && *at != ':'; at = end) {
		int *more = reallocarray(ret->lower, ret->n + 1, sizeof(*more));

		for (end = at; *end && *end != ':'; end++)
			end += *end == '\\' && end[1];
		if (*end)
			*end++ = '\0';
		if (!more)
			return ku_layers_err(err, -ENOMEM, "%s: out of memory", u->path);
		ret->lower = more;
		ku_unbackslash(at);
		/* Mounted over what is its own layer: that is there no more, or rather below. Of ours the name may be that of a descriptor. */
		if (u->ours || !strcmp(at, u->path))
			more[ret->n] = ku_beneath(u->path, u->dev);
		else
			more[ret->n] = *at == '/' ? open(at, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
		if (more[ret->n] < 0)
			return ku_layers_err(err, -ENOENT,
					     "%s: its lower directory '%s' is not to be found here; run in the mount namespace that mounted it",
					     u->path, at);
		ret->n++;
	}
	if (!r && !ret->n)
		return ku_layers_err(err, -ENOTSUP, "%s: this kernel does not show its lower directories; mount it with lowerdir=",
				     u->path);
	return r;
}

void ku_layers_close(struct ku_layers *l)
{
	while (l->n)
		close(l->lower[--l->n]);
	free(l->lower);
	l->lower = NULL;
	ku_closep(&l->upper);
}
