// SPDX-License-Identifier: GPL-2.0-only
/* A tree of all paths that were written, and the choice of those that stand for all. */
#include "writable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>

#include "map.h"
#include "sys.h"
#include "trace_fmt.h"
#include "util.h"

struct ku_wnode {
	const char *path;
	size_t len;
	unsigned int union_index;
	struct ku_wnode *parent, *child, *sibling;
	bool dir;	/* by an event, or something is below it */
	bool names;	/* names were made, removed or renamed in it */
	bool changed;	/* itself */
	bool made;	/* by the workload .. */
	bool there;	/* .. and not removed since */
	bool lower;	/* it came from the lower layer */
	bool lost;	/* something of the lower layer was removed from it */
	bool gone;	/* it was there before, and was removed */
	bool stands;	/* for what is in it */
	/* a directory's copy-up that is its own so far, not one on the way to something below */
	uint32_t tid;
	const char *op;
};

struct ku_writable_work {
	struct ku_map unions; /* unsigned int: its number */
	struct ku_map nodes;  /* struct ku_wnode; key: union number, path */
	struct ku_map names;  /* of volumes; no items */
	struct ku_map ops;    /* no items: equal names are one */
	struct ku_writable_entry *entries;
	size_t room;
	ku_writable_count count;
	void *count_arg;
};

/* The node of a path of len bytes and those above it. Returns 0; -ENOSPC, -ENOMEM. */
static int ku_wnode_get(struct ku_writable *w, unsigned int index, const char *path, size_t len, struct ku_wnode **ret)
{
	_cleanup_free_ char *key = NULL;
	struct ku_wnode *n, *below = NULL;
	const char *kept;
	void *item;
	bool new;
	int err;

	while (len > 1 && path[len - 1] == '/')
		len--;
	if (len > PATH_MAX)
		return -ENOSPC;
	key = malloc(sizeof(index) + len);
	if (!key)
		return -ENOMEM;
	memcpy(key, &index, sizeof(index));
	memcpy(key + sizeof(index), path, len);
	for (;;) {
		err = ku_map_get(&w->work->nodes, key, sizeof(index) + len, &item, &kept, &new);
		if (err)
			return err;
		n = item;
		if (new)
			*n = (struct ku_wnode){ .path = kept + sizeof(index), .len = len, .union_index = index };
		if (!below)
			*ret = n;
		if (below) {
			below->parent = n;
			below->sibling = n->child;
			n->child = below;
			n->dir = true;
		}
		if (!new || len <= 1)
			return 0;
		below = n;
		while (len > 1 && path[len - 1] != '/')
			len--;
		while (len > 1 && path[len - 1] == '/')
			len--;
	}
}

static bool ku_is(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(s, *words))
			return true;
	return false;
}

/* What overlayfs copies up on the way to something deeper is that one's business. */
static void ku_wnode_not_own(struct ku_wnode *n, uint32_t tid, const char *op)
{
	for (n = n->parent; n; n = n->parent)
		if (n->op == op && n->tid == tid)
			n->op = NULL;
}

static int ku_writable_copyup(struct ku_writable *w, const struct ku_event *e, struct ku_wnode *n)
{
	const struct ku_ev_copyup *c = &e->copyup;
	const char *op;
	void *item;
	int err;

	if (!strcmp(c->result, "lost"))
		return 0;
	err = ku_map_get(&w->work->ops, c->op, strlen(c->op), &item, &op, NULL);
	if (err)
		return err;
	n->lower = true;
	ku_wnode_not_own(n, c->who.tid, op);
	if (!strcmp(c->kind, "dir")) {
		n->dir = true;
		n->op = op;
		n->tid = c->who.tid;
		return 0;
	}
	n->changed = true;
	if (!strcmp(c->op, "rename") && n->parent)
		n->parent->names = true;
	return 0;
}

static int ku_writable_write(struct ku_writable *w, const struct ku_event *e, struct ku_wnode *n)
{
	const struct ku_ev_write *v = &e->write;
	struct ku_wnode *to;
	int err;

	w->writes++;
	n->dir = n->dir || !strcmp(v->kind, "dir");
	if (!strcmp(v->op, "modify")) {
		n->changed = true;
		return 0;
	}
	/* The new name is made by itself. */
	if (!strcmp(v->op, "link"))
		return 0;
	if (n->parent)
		n->parent->names = true;
	if (!strcmp(v->op, "create")) {
		n->made = n->there = true;
		return 0;
	}
	n->there = false;
	if (!n->made) {
		n->gone = true;
		if (n->parent)
			n->parent->lost = true;
	}
	if (strcmp(v->op, "rename") || !v->path2[0])
		return 0;
	err = ku_wnode_get(w, n->union_index, v->path2, strlen(v->path2), &to);
	if (err)
		return err;
	to->made = to->there = true;
	to->dir = to->dir || n->dir;
	if (to->parent)
		to->parent->names = true;
	return 0;
}

int ku_writable_add(struct ku_writable *w, const struct ku_event *e)
{
	struct ku_wnode *n;
	void *item;
	bool new;
	int err;

	if ((e->type != KU_EV_COPYUP && e->type != KU_EV_WRITE) || e->path[0] != '/')
		return 0;
	err = ku_map_get(&w->work->unions, e->union_path, strlen(e->union_path), &item, NULL, &new);
	if (err)
		return err == -ENOSPC ? -ENOMEM : err;
	if (new)
		*(unsigned int *)item = (unsigned int)(w->work->unions.n - 1);
	err = ku_wnode_get(w, *(unsigned int *)item, e->path, strlen(e->path), &n);
	if (!err)
		err = e->type == KU_EV_COPYUP ? ku_writable_copyup(w, e, n) : ku_writable_write(w, e, n);
	if (err == -ENOSPC) {
		w->no_room++;
		err = 0;
	}
	return err;
}

static const char *ku_wnode_union(const struct ku_writable *w, const struct ku_wnode *n)
{
	return w->work->unions.entries[n->union_index].key;
}

static bool ku_wnode_first_level(const struct ku_wnode *n)
{
	return n->parent && n->parent->len == 1;
}

/* How many there are in the directory now; -1: not known. */
static long ku_wnode_names(const struct ku_writable *w, const struct ku_wnode *n)
{
	return w->work->count ? w->work->count(w->work->count_arg, ku_wnode_union(w, n), n->path) : -1;
}

/* At least half of what is in it is listed, as far as one can look. */
static bool ku_wnode_mostly(const struct ku_writable *w, const struct ku_wnode *n, unsigned int listed)
{
	long all = ku_wnode_names(w, n);

	return all < 0 || (unsigned long)all <= 2ul * listed;
}

/* From the leaves up: which directories stand for what is in them. Paths are at most some thousand names deep. */
static void ku_writable_choose(struct ku_writable *w, struct ku_wnode *n)
{
	static const char *const names[] = { "create", "remove", "rename", "link", NULL };
	unsigned int listed = 0;

	if (n->op) {
		n->names = n->names || ku_is(n->op, names);
		n->changed = n->changed || (!ku_is(n->op, names) && strcmp(n->op, "open"));
	}
	for (struct ku_wnode *c = n->child; c; c = c->sibling) {
		ku_writable_choose(w, c);
		listed += c->stands || (!c->dir && c->changed);
	}
	if (n->parent && !ku_wnode_first_level(n) && listed >= KU_WRITABLE_FILES && !n->names && !n->changed)
		n->stands = ku_wnode_mostly(w, n, listed);
}

/* Is there anything below (or lost from) n that the lower layer brought? */
static bool ku_wnode_lower(const struct ku_wnode *n)
{
	if (n->lost)
		return true;
	for (const struct ku_wnode *c = n->child; c; c = c->sibling)
		if (c->lower || (c->changed && !c->made) || ku_wnode_lower(c))
			return true;
	return false;
}

static bool ku_wnode_throwaway(const struct ku_wnode *n)
{
	static const char *const words[] = { "tmp", "run", "cache", ".cache", "lock", "shm", NULL };
	char name[16];

	for (; n->parent; n = n->parent) {
		const char *last = strrchr(n->path, '/') + 1;

		if (strlen(last) >= sizeof(name))
			continue;
		strcpy(name, last);
		if (ku_is(name, words))
			return true;
	}
	return false;
}

/* "var-lib-app" of "/var/lib/app", not given before. Allocated; NULL without memory. */
static char *ku_writable_name(struct ku_writable *w, const char *path)
{
	char *name = strdup(path + strspn(path, "/.-_")), *full = NULL;
	void *item;
	bool new;

	for (char *c = name; c && *c; c++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", *c))
			*c = '-';
	for (unsigned int i = 1; name; i++) {
		if (i == 1)
			full = strdup(*name ? name : "volume");
		else if (asprintf(&full, "%s-%u", *name ? name : "volume", i) < 0)
			full = NULL;
		if (!full || ku_map_get(&w->work->names, full, strlen(full), &item, NULL, &new)) {
			free(full);
			full = NULL;
			break;
		}
		if (new)
			break;
		free(full);
	}
	free(name);
	return full;
}

/* The word as a shell takes it. Allocated; NULL without memory. */
static char *ku_writable_quote(const char *word)
{
	char *out = malloc(strlen(word) * 4 + 3), *to = out;

	if (!out)
		return NULL;
	if (!word[strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-/:@%+=,")]) {
		strcpy(out, word);
		return out;
	}
	*to++ = '\'';
	for (; *word; word++) {
		if (*word == '\'')
			to = stpcpy(to, "'\\''");
		else
			*to++ = *word;
	}
	strcpy(to, "'");
	return out;
}

/* The line of an entry; one whose path cannot stand in an option becomes a remark. */
static char *ku_writable_option(struct ku_writable *w, struct ku_writable_entry *e)
{
	_cleanup_free_ char *line = ku_terminal_text(e->path, true), *name = NULL, *word = NULL, *quoted = NULL;
	char *text = NULL;

	if (!line)
		return NULL;
	if (e->kind != KU_WRITABLE_REMARK && (strchr(e->path, ':') || strcmp(line, e->path))) {
		if (asprintf(&text, "# %s: %s, but no option can take such a name", line, e->reason) < 0)
			return NULL;
		e->kind = KU_WRITABLE_REMARK;
		return text;
	}
	switch (e->kind) {
	case KU_WRITABLE_REMARK:
		return asprintf(&text, "# %s: %s", line, e->reason) < 0 ? NULL : text;
	case KU_WRITABLE_TMPFS:
		quoted = ku_writable_quote(e->path);
		return !quoted || asprintf(&text, "--tmpfs %s", quoted) < 0 ? NULL : text;
	default:
		name = ku_writable_name(w, e->path);
		if (!name || asprintf(&word, "%s%s:%s", e->kind == KU_WRITABLE_FILE ? "./" : "", name, e->path) < 0) {
			word = NULL;
			return NULL;
		}
		quoted = ku_writable_quote(word);
		return !quoted || asprintf(&text, "-v %s", quoted) < 0 ? NULL : text;
	}
}

static int ku_writable_say(struct ku_writable *w, const struct ku_wnode *n, enum ku_writable_kind kind, const char *reason)
{
	struct ku_writable_work *work = w->work;
	struct ku_writable_entry *more;

	if (w->n == work->room) {
		work->room = work->room ? work->room * 2 : 32;
		more = reallocarray(work->entries, work->room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		work->entries = more;
		w->entries = more;
	}
	work->entries[w->n++] =
		(struct ku_writable_entry){ .union_path = ku_wnode_union(w, n), .path = n->path, .kind = kind, .reason = reason };
	return 0;
}

/* Names that nobody here made, as far as one can look. */
static bool ku_wnode_others(const struct ku_writable *w, const struct ku_wnode *n)
{
	long made = 0, all = ku_wnode_names(w, n);

	for (const struct ku_wnode *c = n->child; c; c = c->sibling)
		made += c->made && c->there;
	return all > made;
}

static int ku_writable_dir(struct ku_writable *w, const struct ku_wnode *n, const char *reason)
{
	bool tmpfs = ku_wnode_throwaway(n) && !ku_wnode_lower(n) && !ku_wnode_others(w, n);

	return ku_writable_say(w, n, tmpfs ? KU_WRITABLE_TMPFS : KU_WRITABLE_VOLUME, reason);
}

static int ku_writable_list(struct ku_writable *w, const struct ku_wnode *n)
{
	bool root = !n->parent;
	int err = 0;

	if (!root && n->dir && n->names)
		return ku_writable_dir(w, n, "names are made, removed or renamed in it");
	if (!root && n->dir && n->changed)
		return ku_writable_dir(w, n, "the directory itself is changed");
	if (n->stands)
		return ku_writable_dir(w, n, "many files in it are changed");
	if (!root && n->parent->len == 1 && n->dir && n->made)
		return ku_writable_dir(w, n, "it is made in the root directory: the image must have it");
	if (!root && n->parent->len == 1 && (n->made || n->gone))
		return ku_writable_say(w, n, KU_WRITABLE_REMARK,
				       n->made ? "made in the root directory, for which there is no mount: let it be made elsewhere" :
						 "removed from the root directory, for which there is no mount");
	if (!n->dir)
		return n->changed ? ku_writable_say(w, n, KU_WRITABLE_FILE, "the file is changed") : 0;
	if (root && n->changed)
		err = ku_writable_say(w, n, KU_WRITABLE_REMARK, "the root directory itself is changed, and there is no mount for it");
	for (const struct ku_wnode *c = n->child; c && !err; c = c->sibling)
		err = ku_writable_list(w, c);
	return err;
}

static int ku_writable_order(const void *a, const void *b)
{
	const struct ku_writable_entry *x = a, *y = b;
	int order = strcmp(x->union_path, y->union_path);

	if (!order)
		order = (x->kind > y->kind) - (x->kind < y->kind);
	return order ? order : strcmp(x->path, y->path);
}

int ku_writable_finish(struct ku_writable *w, ku_writable_count count, void *arg)
{
	int err = 0;

	w->work->count = count;
	w->work->count_arg = arg;
	for (size_t i = 0; i < w->work->nodes.n && !err; i++) {
		struct ku_wnode *n = w->work->nodes.entries[i].item;

		/* A longer one without parents: there was no room for them. */
		if (n->parent || n->len > 1)
			continue;
		ku_writable_choose(w, n);
		err = ku_writable_list(w, n);
	}
	if (err || !w->n)
		return err;
	qsort(w->work->entries, w->n, sizeof(*w->entries), ku_writable_order);
	for (size_t i = 0; i < w->n; i++) {
		w->work->entries[i].option = ku_writable_option(w, &w->work->entries[i]);
		if (!w->entries[i].option)
			return -ENOMEM;
	}
	/* Some may have become remarks. */
	qsort(w->work->entries, w->n, sizeof(*w->entries), ku_writable_order);
	return 0;
}

int ku_writable_new(struct ku_writable **ret)
{
	struct ku_writable *w = calloc(1, sizeof(*w));
	struct ku_writable_work *work = calloc(1, sizeof(*work));

	if (!w || !work) {
		free(w);
		free(work);
		return -ENOMEM;
	}
	*work = (struct ku_writable_work){
		.unions = KU_MAP(unsigned int, 0),
		.nodes = KU_MAP(struct ku_wnode, KU_WRITABLE_PATHS),
	};
	w->work = work;
	*ret = w;
	return 0;
}

void ku_writable_free(struct ku_writable *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->n; i++)
		free((char *)w->entries[i].option);
	ku_map_free(&w->work->unions);
	ku_map_free(&w->work->nodes);
	ku_map_free(&w->work->names);
	ku_map_free(&w->work->ops);
	free(w->work->entries);
	free(w->work);
	free(w);
}

long ku_writable_look(void *arg, const char *union_path, const char *dir)
{
	_cleanup_close_ int top = open(union_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	long n = -2; /* "." and ".." */
	int fd;
	DIR *d;

	(void)arg;
	if (top < 0)
		return -1;
	fd = ku_openat2(top, dir[1] ? dir + 1 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (readdir(d))
		n++;
	closedir(d);
	return n < 0 ? 0 : n;
}
