// SPDX-License-Identifier: GPL-2.0-only
/* The walk over the upper layer: directory after directory, each name held against what the layers below have for it. */
#include "drift.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "drift_work.h"
#include "log.h"
#include "trace_fmt.h"
#include "util.h"

static const char *const ku_class_names[] = {
	[KU_DRIFT_NONE] = "",		  [KU_DRIFT_ADDED] = "added",	    [KU_DRIFT_CHANGED] = "changed",
	[KU_DRIFT_METADATA] = "metadata", [KU_DRIFT_REMOVED] = "removed",   [KU_DRIFT_REPLACED] = "replaced",
	[KU_DRIFT_UNCHANGED] = "unchanged copy",
};
_Static_assert(KU_ARRAY_SIZE(ku_class_names) == KU_DRIFT_CLASSES, "a class has no name");

const char *ku_drift_class_name(enum ku_drift_class class)
{
	return ku_class_names[class];
}

const char *ku_drift_diff_name(unsigned int bit)
{
	switch (bit) {
	case KU_DIFF_DATA:
		return "data";
	case KU_DIFF_MODE:
		return "mode";
	case KU_DIFF_OWNER:
		return "owner";
	case KU_DIFF_TIME:
		return "time";
	default:
		return "xattrs";
	}
}

const char *ku_drift_kind(mode_t type)
{
	return S_ISREG(type) ? "file" : S_ISDIR(type) ? "dir" : S_ISLNK(type) ? "symlink" : "special";
}

static void ku_drift_trouble(struct ku_drift *d, const char *path, int err)
{
	_cleanup_free_ char *text = ku_terminal_text(path, true);

	ku_warn("%s of the upper layer cannot be looked at: %s", text ? text : "a file", strerror(-err));
	d->incomplete = true;
}

/* Takes path over, also when it fails. */
static struct ku_drift_item *ku_drift_item_new(struct ku_drift *d, struct ku_drift_item *parent, char *path)
{
	struct ku_drift_item *item = calloc(1, sizeof(*item)), **more;
	size_t room = d->work->room ? d->work->room * 2 : 64;

	if (item && d->n == d->work->room) {
		more = reallocarray(d->items, room, sizeof(*more));
		if (more) {
			d->items = more;
			d->work->room = room;
		}
	}
	if (!item || d->n == d->work->room) {
		free(item);
		free(path);
		return NULL;
	}
	item->path = path;
	item->parent = parent;
	if (parent)
		item->top = parent->top || !parent->whole ? parent->top : parent;
	d->items[d->n++] = item;
	return item;
}

/* What the item is merged with: takes the places over. */
static int ku_drift_merge(struct ku_drift_item *item, struct ku_stack *places)
{
	item->stack = malloc(sizeof(*item->stack));
	if (!item->stack)
		return -ENOMEM;
	/* A tree may have more directories than there are descriptors. */
	ku_object_close(&places->top);
	*item->stack = *places;
	*places = (struct ku_stack){ .top.fd = -1 };
	return 0;
}

/* Events know what is in a renamed directory by its old path, too. */
static int ku_drift_find_seen(struct ku_drift *d, const struct ku_drift_item *parent, const char *path, const char *name,
			      struct ku_drift_seen **ret)
{
	const struct ku_stack *s = parent->stack;
	_cleanup_free_ char *old = NULL;

	*ret = ku_map_find(&d->work->seen, path, strlen(path));
	if (*ret || !s->n || !strcmp(s->places[0].path, parent->path + 1))
		return 0;
	if (asprintf(&old, "/%s%s%s", s->places[0].path, s->places[0].path[0] ? "/" : "", name) < 0) {
		old = NULL;
		return -ENOMEM;
	}
	*ret = ku_map_find(&d->work->seen, old, strlen(old));
	return 0;
}

static const struct ku_drift_mark *ku_drift_who(const struct ku_drift_item *item)
{
	const struct ku_drift_seen *s = item->seen;

	if (item->class == KU_DRIFT_REMOVED)
		return s && s->gone.by ? &s->gone : NULL;
	if (s && s->made.by)
		return &s->made;
	/* Who renamed the directory brought along what is in it. */
	for (const struct ku_drift_item *p = item->parent; p; p = p->parent)
		if (p->moved_from && p->mark)
			return p->mark;
	return NULL;
}

/* Where a redirect leads from the directory. from.n is 0 when that is nowhere. */
static int ku_drift_redirect(struct ku_drift *d, struct ku_drift_item *item, const struct ku_object *upper, struct ku_stack *from)
{
	int r;
	_cleanup_free_ char *redirect = ku_layer_xattr(&d->work->layers, upper->fd, "redirect", &r);

	if (!redirect)
		return r;
	r = ku_layers_find(&d->work->layers, *redirect == '/' ? NULL : item->parent->stack, redirect, from);
	if (r || !from->n)
		return r;
	if (asprintf(&item->moved_from, "/%s", from->places[0].path) < 0) {
		item->moved_from = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int ku_drift_look_dir(struct ku_drift *d, struct ku_drift_item *item, const struct ku_object *upper, struct ku_stack *lower)
{
	int opaque = ku_layer_is_opaque(&d->work->layers, upper), r = opaque < 0 ? opaque : 0;
	struct ku_stack from = { .top.fd = -1 };

	item->class = lower->n ? KU_DRIFT_REPLACED : KU_DRIFT_ADDED;
	if (!r && !opaque)
		r = ku_drift_redirect(d, item, upper, &from);
	if (!r && !item->moved_from && !opaque && lower->n && S_ISDIR(lower->top.st.st_mode)) {
		r = ku_drift_compare(d->work, upper, &lower->top, false, &item->diff, &item->guessed);
		item->class = item->diff ? KU_DRIFT_METADATA : KU_DRIFT_NONE;
		return r ? r : ku_drift_merge(item, lower);
	}
	item->whole = !item->moved_from;
	if (!r)
		r = ku_drift_merge(item, &from);
	ku_stack_free(&from);
	return r;
}

/* Was the file made by a copy-up? Of hard links, and of what kunion copies, no origin is recorded. */
static int ku_drift_is_copy(struct ku_drift *d, const struct ku_drift_item *item, const struct ku_object *upper, const struct stat *lower)
{
	int r;
	_cleanup_free_ char *origin = ku_layer_xattr(&d->work->layers, upper->fd, "origin", &r);

	if (r)
		return r;
	if (item->seen && (item->seen->anew || item->seen->copied))
		return item->seen->copied;
	return origin || lower->st_nlink > 1;
}

static int ku_drift_look_file(struct ku_drift *d, struct ku_drift_item *item, const struct ku_object *upper, const struct ku_stack *lower)
{
	int r, copy = 0;
	_cleanup_free_ char *metacopy = ku_layer_xattr(&d->work->layers, upper->fd, "metacopy", &r);
	struct ku_stack from = { .top.fd = -1 };

	if (!r && metacopy)
		r = ku_drift_redirect(d, item, upper, &from);
	ku_stack_free(&from);
	if (r)
		return r;
	item->bytes = S_ISREG(item->type) && !metacopy ? (uint64_t)upper->st.st_size : 0;
	item->class = lower->n ? KU_DRIFT_REPLACED : KU_DRIFT_ADDED;
	if (item->moved_from || !lower->n || (lower->top.st.st_mode & S_IFMT) != item->type)
		return 0;
	r = ku_drift_compare(d->work, upper, &lower->top, !metacopy, &item->diff, &item->guessed);
	if (!r && item->diff & KU_DIFF_DATA)
		copy = S_ISREG(item->type) ? ku_drift_is_copy(d, item, upper, &lower->top.st) : 0;
	if (r || copy < 0)
		return r ? r : copy;
	item->compared = item->diff;
	if (!(item->diff & KU_DIFF_DATA))
		item->class = item->diff ? KU_DRIFT_METADATA : KU_DRIFT_UNCHANGED;
	else if (copy)
		item->class = KU_DRIFT_CHANGED;
	else
		item->diff = 0;
	return 0;
}

/* Takes path over. */
static int ku_drift_found(struct ku_drift *d, struct ku_drift_item *parent, char *path, const char *name, const struct ku_object *upper,
			  struct ku_stack *lower)
{
	int whiteout = ku_layer_is_whiteout(&d->work->layers, upper), r;
	struct ku_drift_seen *seen = NULL;
	struct ku_drift_item *item;

	/* Of a whiteout that hides nothing nobody sees anything. */
	if (whiteout < 0 || (whiteout && !lower->n)) {
		free(path);
		return whiteout < 0 ? whiteout : 0;
	}
	item = ku_drift_item_new(d, parent, path);
	if (!item)
		return -ENOMEM;
	item->st = upper->st;
	item->type = (whiteout ? lower->top.st.st_mode : upper->st.st_mode) & S_IFMT;
	r = ku_drift_find_seen(d, parent, item->path, name, &seen);
	item->seen = seen;
	if (r)
		return r;
	if (whiteout)
		item->class = KU_DRIFT_REMOVED;
	else if (S_ISDIR(item->type))
		r = ku_drift_look_dir(d, item, upper, lower);
	else
		r = ku_drift_look_file(d, item, upper, lower);
	if (seen && !whiteout)
		seen->here = true;
	item->mark = ku_drift_who(item);
	return r;
}

static int ku_drift_look(struct ku_drift *d, struct ku_drift_item *parent, const char *name)
{
	struct ku_object upper = { .fd = -1 };
	struct ku_stack lower = { .top.fd = -1 };
	size_t before = d->n;
	char *path;
	int r;

	if (asprintf(&path, "%s/%s", parent->path[1] ? parent->path : "", name) < 0)
		return -ENOMEM;
	r = ku_layer_look(d->work->layers.upper, path + 1, &upper);
	/* Removed in between; or something else is mounted there. */
	if (r == -ENOENT || r == -EXDEV) {
		free(path);
		return 0;
	}
	if (!r)
		r = ku_layers_find(&d->work->layers, parent->stack, name, &lower);
	if (r) {
		ku_drift_trouble(d, path, r);
		free(path);
	} else {
		r = ku_drift_found(d, parent, path, name, &upper, &lower);
		if (r && d->n > before) {
			ku_drift_trouble(d, d->items[d->n - 1]->path, r);
			d->items[d->n - 1]->class = KU_DRIFT_NONE;
		} else if (r) {
			ku_drift_trouble(d, parent->path, r);
		}
	}
	ku_object_close(&upper);
	ku_stack_free(&lower);
	return r == -ENOMEM ? r : 0;
}

static int ku_drift_dir(struct ku_drift *d, struct ku_drift_item *item)
{
	int fd = ku_layer_open(d->work->layers.upper, item->path + 1, O_RDONLY | O_DIRECTORY), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	size_t names = 0;

	if (!dir) {
		r = fd < 0 ? fd : -errno;
		if (fd >= 0)
			close(fd);
		if (r != -ENOENT)
			ku_drift_trouble(d, item->path, r);
		return 0;
	}
	while (!r && (errno = 0, e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		names++;
		r = ku_drift_look(d, item, e->d_name);
	}
	if (!r && errno)
		ku_drift_trouble(d, item->path, -errno);
	else if (!names && item->class == KU_DRIFT_NONE && item->parent)
		item->class = KU_DRIFT_UNCHANGED;
	closedir(dir);
	return r;
}

static void ku_drift_unstack(struct ku_drift_item *item)
{
	if (item->stack)
		ku_stack_free(item->stack);
	free(item->stack);
	item->stack = NULL;
}

static int ku_drift_by_path(const void *a, const void *b)
{
	return strcmp((*(struct ku_drift_item *const *)a)->path, (*(struct ku_drift_item *const *)b)->path);
}

static void ku_drift_sum(struct ku_drift *d)
{
	for (size_t i = 0; i < d->n; i++) {
		struct ku_drift_item *item = d->items[i];

		if (item->class == KU_DRIFT_NONE)
			continue;
		ku_drift_count(d, item);
		d->bytes += item->bytes;
		if (item->top) {
			item->top->entries++;
			item->top->entry_bytes += item->bytes;
		} else {
			d->told[item->class]++;
		}
	}
}

int ku_drift_walk(struct ku_drift *d)
{
	struct ku_stack roots = { .top.fd = -1 };
	char *path = strdup("/");
	/* The root is the mounter's, not a copy. */
	struct ku_drift_item *root = path ? ku_drift_item_new(d, NULL, path) : NULL;
	int r = root ? ku_layers_roots(&d->work->layers, &roots) : -ENOMEM;

	if (!r)
		r = ku_drift_merge(root, &roots);
	ku_stack_free(&roots);
	/* What is found in one is appended. */
	for (size_t i = 0; i < d->n && !r; i++) {
		if (d->items[i]->stack)
			r = ku_drift_dir(d, d->items[i]);
		ku_drift_unstack(d->items[i]);
	}
	if (r)
		return r;
	ku_drift_sum(d);
	qsort(d->items, d->n, sizeof(*d->items), ku_drift_by_path);
	return ku_drift_order(d);
}

int ku_drift_new(const struct ku_union *u, struct ku_drift **ret, char err[static KU_UNION_ERR])
{
	struct ku_drift *d = calloc(1, sizeof(*d));
	struct ku_drift_work *work = calloc(1, sizeof(*work));
	int r;

	if (!d || !work) {
		free(d);
		free(work);
		snprintf(err, KU_UNION_ERR, "%s: out of memory", u->path);
		return -ENOMEM;
	}
	*work = (struct ku_drift_work){ .seen = KU_MAP(struct ku_drift_seen, 0), .processes = KU_MAP(struct ku_drift_process, 0) };
	d->u = u;
	d->work = work;
	d->unknown.comm = d->unknown.container = "";
	r = ku_layers_open(u, &work->layers, err);
	if (r)
		ku_drift_free(d);
	else
		*ret = d;
	return r;
}

void ku_drift_free(struct ku_drift *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->n; i++) {
		ku_drift_unstack(d->items[i]);
		free(d->items[i]->path);
		free(d->items[i]->moved_from);
		free(d->items[i]);
	}
	free(d->items);
	ku_layers_close(&d->work->layers);
	ku_map_free(&d->work->seen);
	ku_map_free(&d->work->processes);
	free(d->work->order);
	free(d->work);
	free(d);
}
