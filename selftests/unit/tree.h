/* SPDX-License-Identifier: GPL-2.0-only */
/* A directory tree as text: type, mode, owner, xattrs, times, contents, and which names are one file. */
#ifndef KU_UNIT_TREE_H
#define KU_UNIT_TREE_H

#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "unit.h"
#include "util.h"

struct tree {
	FILE *f;
	struct tree_link {
		dev_t dev;
		ino_t ino;
		char *path;
	} links[256];
	size_t n;
};

static inline int tree_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline uint64_t tree_hash(const char *data, size_t size)
{
	uint64_t h = 1469598103934665603ull;

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)data[i]) * 1099511628211ull;
	return h;
}

static inline void tree_xattrs(struct tree *t, const char *path)
{
	char list[4096], value[4096], *names[64];
	ssize_t n = llistxattr(path, list, sizeof(list));
	size_t count = 0;

	for (char *at = list; n > 0 && at < list + n; at += strlen(at) + 1) {
		KTAP_REQUIRE(count < KU_ARRAY_SIZE(names));
		/* What layers have of overlayfs no union shows; so a test looks for them itself. */
		if (strncmp(at, "trusted.overlay.", 16))
			names[count++] = at;
	}
	qsort(names, count, sizeof(*names), tree_order);
	for (size_t i = 0; i < count; i++) {
		n = lgetxattr(path, names[i], value, sizeof(value));
		KTAP_REQUIRE(n >= 0, "%s %s", path, names[i]);
		fprintf(t->f, " %s=%016llx", names[i], (unsigned long long)tree_hash(value, (size_t)n));
	}
}

static inline void tree_file(struct tree *t, const char *path, const char *shown, const struct stat *st)
{
	char target[4096];
	size_t size, i;
	char *data;
	ssize_t n;

	for (i = 0; i < t->n && (t->links[i].ino != st->st_ino || t->links[i].dev != st->st_dev); i++)
		;
	if (i < t->n) {
		fprintf(t->f, " is %s", t->links[i].path);
	} else {
		KTAP_REQUIRE(t->n < KU_ARRAY_SIZE(t->links));
		t->links[t->n].dev = st->st_dev;
		t->links[t->n].ino = st->st_ino;
		t->links[t->n++].path = strdup(shown);
	}
	if (S_ISREG(st->st_mode)) {
		data = unit_read(path, &size);
		fprintf(t->f, " %zu:%016llx", size, (unsigned long long)tree_hash(data, size));
		free(data);
	} else if (S_ISLNK(st->st_mode)) {
		n = readlink(path, target, sizeof(target));
		fprintf(t->f, " -> %.*s", (int)n, target);
	} else {
		fprintf(t->f, " %x", (unsigned int)st->st_rdev);
	}
}

static inline void tree_walk(struct tree *t, const char *path, const char *shown)
{
	struct stat st = unit_stat(path);
	char *names[512];
	size_t n = 0;
	struct dirent *e;
	DIR *d;

	fprintf(t->f, "%s %o %u:%u %lld.%09ld", shown, st.st_mode, st.st_uid, st.st_gid, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	tree_xattrs(t, path);
	if (!S_ISDIR(st.st_mode)) {
		tree_file(t, path, shown, &st);
		fputc('\n', t->f);
		return;
	}
	fputc('\n', t->f);
	d = opendir(path);
	KTAP_REQUIRE(d, "%s", path);
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
			KTAP_REQUIRE(n < KU_ARRAY_SIZE(names));
			names[n++] = strdup(e->d_name);
		}
	closedir(d);
	qsort(names, n, sizeof(*names), tree_order);
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *deeper = NULL, *text = NULL;

		KTAP_REQUIRE(asprintf(&deeper, "%s/%s", path, names[i]) > 0 && asprintf(&text, "%s/%s", shown, names[i]) > 0);
		tree_walk(t, deeper, text);
		free(names[i]);
	}
}

/* Allocated. */
static inline char *tree_text(const char *path)
{
	struct tree t = { 0 };
	char *text = NULL;
	size_t size;

	t.f = open_memstream(&text, &size);
	KTAP_REQUIRE(t.f);
	tree_walk(&t, path, "");
	KTAP_REQUIRE(!fclose(t.f));
	while (t.n)
		free(t.links[--t.n].path);
	return text;
}

/* Tells the first line that differs. */
static inline bool tree_is(const char *path, const char *text)
{
	_cleanup_free_ char *have = tree_text(path);
	const char *a = have, *b = text;

	if (!strcmp(a, b))
		return true;
	while (*a && *b && strcspn(a, "\n") == strcspn(b, "\n") && !strncmp(a, b, strcspn(a, "\n"))) {
		a += strcspn(a, "\n") + 1;
		b += strcspn(b, "\n") + 1;
	}
	ktap_diag("is:     %.*s", (int)strcspn(a, "\n"), a);
	ktap_diag("wanted: %.*s", (int)strcspn(b, "\n"), b);
	return false;
}

#endif
