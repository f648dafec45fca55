// SPDX-License-Identifier: GPL-2.0-only
#include "policy/policy_learn.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

/* As mkstemp(3) makes them. */
#define KU_TEMP_LEN 6
/* Hexadecimal digits in a row that are no word. */
#define KU_HEX_LEN 8

void ku_learn_merge(struct ku_learn_seen *to, const struct ku_learn_seen *from)
{
	to->actions |= from->actions;
	to->events += from->events;
	to->more_comms = to->more_comms || from->more_comms;
	for (size_t i = 0; i < KU_LEARN_COMMS && from->comms[i]; i++) {
		size_t j = 0;

		while (j < KU_LEARN_COMMS && to->comms[j] && strcmp(to->comms[j], from->comms[i]))
			j++;
		if (j < KU_LEARN_COMMS)
			to->comms[j] = from->comms[i];
		else
			to->more_comms = true;
	}
}

static void ku_learn_node_free(struct ku_learn_node *n)
{
	free(n->glob);
	free(n->below);
	free(n);
}

void ku_learn_free(struct ku_learn_node *root)
{
	/* Without recursion: a path may be thousands deep. */
	for (struct ku_learn_node *n = root->child; n;) {
		struct ku_learn_node *up = n->parent;

		if (n->child) {
			n = n->child;
			continue;
		}
		up->child = n->next;
		ku_learn_node_free(n);
		n = up->child ? up->child : up == root ? NULL : up;
	}
}

static struct ku_learn_node *ku_learn_child(struct ku_learn_node *dir, char *glob)
{
	struct ku_learn_node *n = glob ? calloc(1, sizeof(*n)) : NULL;

	if (!n) {
		free(glob);
		return NULL;
	}
	n->glob = glob;
	n->parent = dir;
	n->next = dir->child;
	dir->child = n;
	return n;
}

char *ku_learn_literal(const char *name, size_t len)
{
	char *glob = malloc(2 * len + 1), *to = glob;

	if (!glob)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (strchr("*?[{\\", name[i]))
			*to++ = '\\';
		*to++ = name[i];
	}
	*to = '\0';
	return glob;
}

/* Does it end as a temporary's name does? Then where that begins; else 0. */
static size_t ku_learn_temp(const char *name, size_t len)
{
	bool upper = false, lower = false, digit = false;
	size_t at = len - KU_TEMP_LEN;

	if (len <= KU_TEMP_LEN + 1 || !strchr(".-_", name[at - 1]))
		return 0;
	for (size_t i = at; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (!isalnum(c))
			return 0;
		upper = upper || isupper(c);
		lower = lower || islower(c);
		digit = digit || isdigit(c);
	}
	/* "x.config" and "x-123456" are not. */
	return upper && (lower || digit) ? at : 0;
}

/* How many bytes of a number, or of long hexadecimal digits, begin here. */
static size_t ku_learn_number(const char *s)
{
	size_t hex = strspn(s, "0123456789abcdef"), digits = strspn(s, "0123456789");

	return hex >= KU_HEX_LEN ? hex : digits;
}

/* The name with a star for each number; sure: it is a temporary's, and so is any other of the form. */
static char *ku_learn_shape(const char *glob, bool *ret_sure)
{
	size_t len = strlen(glob), temp = ku_learn_temp(glob, len);
	char *shape = malloc(len + 1), *to = shape;
	bool star = false; /* two in a row would be another thing */

	*ret_sure = temp;
	if (!shape)
		return NULL;
	for (const char *s = glob; *s;) {
		size_t n = ku_learn_number(s);

		if (temp) {
			memcpy(to, s, temp);
			to += temp;
			memset(to, '?', KU_TEMP_LEN);
			to += KU_TEMP_LEN;
			break;
		}
		if (n) {
			if (!star)
				*to++ = '*';
			star = true;
			s += n;
			continue;
		}
		star = false;
		if (*s == '\\')
			*to++ = *s++;
		*to++ = *s++;
	}
	*to = '\0';
	return shape;
}

static struct ku_learn_node *ku_learn_find(struct ku_learn_node *dir, const char *glob)
{
	struct ku_learn_node *n = dir->child;

	while (n && strcmp(n->glob, glob))
		n = n->next;
	return n;
}

int ku_learn_add(struct ku_learn_node *root, const char *path, const struct ku_learn_seen *seen)
{
	struct ku_learn_node *at = root;

	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		size_t len = strcspn(path, "/");
		char *glob = ku_learn_literal(path, len);
		struct ku_learn_node *next = at->child;

		/* In order, so that it is the one made last, or a new one. */
		if (glob && next && !strcmp(next->glob, glob))
			free(glob);
		else
			next = ku_learn_child(at, glob);
		if (!next)
			return -ENOMEM;
		at = next;
		path += len;
	}
	ku_learn_merge(&at->seen, seen);
	return 0;
}

static void ku_learn_join(struct ku_learn_node *to, struct ku_learn_node *from);

/* Moves all that is below from to below to. */
static void ku_learn_join_below(struct ku_learn_node *to, struct ku_learn_node *from)
{
	struct ku_learn_node *n;

	while ((n = from->child)) {
		struct ku_learn_node *same = ku_learn_find(to, n->glob);

		from->child = n->next;
		if (same) {
			ku_learn_join(same, n);
			continue;
		}
		n->parent = to;
		n->next = to->child;
		to->child = n;
	}
}

/* Moves all that from has into to, and frees from, which its list no longer has then. */
static void ku_learn_join(struct ku_learn_node *to, struct ku_learn_node *from)
{
	ku_learn_merge(&to->seen, &from->seen);
	ku_learn_join_below(to, from);
	if (!to->below)
		to->below = KU_TAKE_PTR(from->below);
	ku_learn_node_free(from);
}

/* The glob and whatever follows. */
static char *ku_learn_open_end(const char *glob)
{
	size_t len = strlen(glob);
	char *open = NULL;

	/* Two stars would be another thing. */
	if (len > 1 && glob[len - 1] == '*' && glob[len - 2] != '\\')
		return strdup(glob);
	return asprintf(&open, "%s*", glob) < 0 ? NULL : open;
}

/* NULL: nothing like that was seen, or no memory. */
static struct ku_learn_node *ku_learn_at(struct ku_learn_node *root, const char *path, size_t len)
{
	struct ku_learn_node *at = root;

	for (const char *end = path + len; at && path < end;) {
		size_t n = strcspn(path, "/");
		_cleanup_free_ char *glob = n ? ku_learn_literal(path, n) : NULL;

		if (n)
			at = glob ? ku_learn_find(at, glob) : NULL;
		path += n + 1;
	}
	return at;
}

bool ku_learn_moved(struct ku_learn_node *root, const char *from, const char *to, int *ret_err)
{
	const char *a = strrchr(from, '/'), *b = strrchr(to, '/');
	size_t dir = a ? (size_t)(a - from) : 0, shorter;
	struct ku_learn_node *old = ku_learn_at(root, from, strlen(from)), *new = ku_learn_at(root, to, strlen(to));
	_cleanup_free_ char *name = NULL;

	*ret_err = 0;
	/* Of what is nowhere there is nothing below. */
	if (!old || !new || old == new || (!old->child && !new->child))
		return true;
	if (!a || !b || dir != (size_t)(b - to) || strncmp(from, to, dir))
		return false;
	shorter = strlen(a) < strlen(b) ? strlen(a) : strlen(b);
	if (strncmp(a, b, shorter))
		return false;
	ku_learn_join_below(new, old);
	name = ku_learn_literal(a + 1, shorter - 1);
	free(new->below);
	new->below = name ? ku_learn_open_end(name) : NULL;
	*ret_err = new->below ? 0 : -ENOMEM;
	return true;
}

struct ku_learn_shape {
	char *shape;
	struct ku_learn_node *node;
	bool sure;
};

static int ku_learn_shape_cmp(const void *a, const void *b)
{
	const struct ku_learn_shape *x = a, *y = b;

	return strcmp(x->shape, y->shape) ?: strcmp(x->node->glob, y->node->glob);
}

/* Names that are alike become one. */
static int ku_learn_alike(struct ku_learn_node *dir)
{
	_cleanup_free_ struct ku_learn_shape *s = NULL;
	size_t n = 0, made = 0;
	int err = 0;

	for (struct ku_learn_node *c = dir->child; c; c = c->next)
		n++;
	s = calloc(n + 1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	for (struct ku_learn_node *c = dir->child; c; c = c->next)
		s[made++].node = c;
	for (size_t i = 0; i < n && !err; i++) {
		s[i].shape = ku_learn_shape(s[i].node->glob, &s[i].sure);
		err = s[i].shape ? 0 : -ENOMEM;
	}
	if (!err)
		qsort(s, n, sizeof(*s), ku_learn_shape_cmp);
	for (size_t i = 0, end; i < n && !err; i = end) {
		for (end = i + 1; end < n && !strcmp(s[i].shape, s[end].shape); end++)
			;
		if (!s[i].sure && end - i < KU_LEARN_ALIKE)
			continue;
		free(s[i].node->glob);
		s[i].node->glob = strdup(s[i].shape);
		err = s[i].node->glob ? 0 : -ENOMEM;
		for (size_t j = i + 1; j < end; j++) {
			ku_learn_join(s[i].node, s[j].node);
			s[j].node = NULL;
		}
		if (s[i].node->below) {
			free(s[i].node->below);
			s[i].node->below = ku_learn_open_end(s[i].shape);
			err = s[i].node->below ? err : -ENOMEM;
		}
	}
	/* Those that are left. */
	dir->child = NULL;
	for (size_t i = 0; i < n; i++) {
		free(s[i].shape);
		if (!s[i].node)
			continue;
		s[i].node->next = dir->child;
		dir->child = s[i].node;
	}
	return err;
}

/* Takes away what of dir is to be in one glob, itself too; with deep, what is below as well. */
static void ku_learn_gather(struct ku_learn_node *n, struct ku_learn_seen *seen, bool deep)
{
	ku_learn_merge(seen, &n->seen);
	n->seen = (struct ku_learn_seen){ 0 };
	for (struct ku_learn_node *c = n->child; deep && c; c = c->next)
		ku_learn_gather(c, seen, true);
}

/* One glob for the names of a directory, or for all below it. */
static int ku_learn_collapse(struct ku_learn_node *dir, bool deep)
{
	struct ku_learn_seen seen = { 0 };
	struct ku_learn_node *star;

	for (struct ku_learn_node *c = dir->child; c; c = c->next)
		ku_learn_gather(c, &seen, deep);
	for (struct ku_learn_node **at = &dir->child; *at;) {
		struct ku_learn_node *c = *at;

		if (c->child && !deep) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		ku_learn_free(c);
		ku_learn_node_free(c);
	}
	star = ku_learn_child(dir, strdup(deep ? "**" : "*"));
	if (!star)
		return -ENOMEM;
	star->seen = seen;
	return 0;
}

/* Where programs are, each is named: who may replace any of them may do anything. */
static bool ku_learn_programs(const struct ku_learn_node *dir)
{
	return dir->parent && (!strcmp(dir->glob, "bin") || !strcmp(dir->glob, "sbin"));
}

/* Directories that are never given away as a whole. */
static bool ku_learn_whole(const struct ku_learn_node *dir)
{
	static const char *const system[] = { "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32",
					      "opt", "proc", "root", "sbin", "srv", "sys", "usr",   "var" };

	if (!dir->parent || ku_learn_programs(dir))
		return false;
	for (size_t i = 0; !dir->parent->parent && i < KU_ARRAY_SIZE(system); i++)
		if (!strcmp(dir->glob, system[i]))
			return false;
	return true;
}

static unsigned int ku_learn_count(const struct ku_learn_node *dir)
{
	unsigned int n = 0;

	for (const struct ku_learn_node *c = dir->child; c; c = c->next)
		n += (c->seen.actions != 0) + ku_learn_count(c);
	return n;
}

int ku_learn_generalise(struct ku_learn_node *dir, const struct ku_learn_limits *limits)
{
	unsigned int names = 0, dirs = 0;
	int err = ku_learn_alike(dir);

	for (struct ku_learn_node *c = dir->child; c && !err; c = c->next) {
		err = ku_learn_generalise(c, limits);
		names += c->seen.actions != 0;
		dirs += c->child != NULL;
	}
	if (!err && dir->parent && names >= limits->names && !ku_learn_programs(dir))
		err = ku_learn_collapse(dir, false);
	if (!err && ku_learn_whole(dir) && (dirs >= limits->dirs || ku_learn_count(dir) >= limits->below))
		err = ku_learn_collapse(dir, true);
	return err;
}
