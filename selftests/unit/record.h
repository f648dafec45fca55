/* SPDX-License-Identifier: GPL-2.0-only */
/* The intents record from outside. */
#ifndef KU_UNIT_RECORD_H
#define KU_UNIT_RECORD_H

#include <limits.h>

#include "intents.h"
#include "unit.h"

#define KEY "unit"

/* The record's layout, on purpose written down a second time: what a version wrote, the next one must understand. */
#define SLOT_SIZE 4608
struct slot {
	char magic[8];
	uint64_t sum;
	char name[64];
	char dir[4096];
};

static inline uint64_t fnv(uint64_t h, const char *s)
{
	do
		h = (h ^ (unsigned char)*s) * 0x100000001b3ull;
	while (*s++);
	return h;
}

static inline struct slot make_slot(const char *name, const char *dir)
{
	struct slot s = { .magic = "kunion1" };

	s.magic[7] = '\n';
	snprintf(s.name, sizeof(s.name), "%s", name);
	snprintf(s.dir, sizeof(s.dir), "%s", dir);
	s.sum = fnv(fnv(0xcbf29ce484222325ull, s.name), s.dir);
	return s;
}

static inline void record_path(char path[static PATH_MAX])
{
	DIR *d = opendir("/tmp/state");
	struct dirent *e;

	path[0] = '\0';
	KTAP_REQUIRE(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			snprintf(path, PATH_MAX, "/tmp/state/%s", e->d_name);
	closedir(d);
	KTAP_REQUIRE(path[0], "no record");
}

static inline void put_slot(unsigned int i, const void *data, size_t size)
{
	char path[PATH_MAX];
	int fd;

	record_path(path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0);
	KTAP_REQUIRE(pwrite(fd, data, size, (off_t)(i + 1) * SLOT_SIZE) == (ssize_t)size);
	close(fd);
}

struct found {
	unsigned int n;
	char path[8][256];
	int err[8];
};

static inline void found(void *arg, const char *path, int err)
{
	struct found *f = arg;

	if (f->n < 8) {
		snprintf(f->path[f->n], sizeof(f->path[0]), "%s", path);
		f->err[f->n] = err;
	}
	f->n++;
}

static inline struct ku_intents *open_record(void)
{
	struct ku_intents *in;

	KTAP_REQUIRE(ku_intents_open(KEY, true, &in) == 0);
	return in;
}

static inline int open_root(void)
{
	int fd = open(UNIT_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);

	KTAP_REQUIRE(fd >= 0);
	return fd;
}

static inline int recover(struct ku_intents *in, bool dry_run, struct found *f)
{
	int root = open_root(), r;

	if (f)
		memset(f, 0, sizeof(*f));
	r = ku_intents_recover(in, root, dry_run, f ? found : NULL, f);
	close(root);
	return r;
}

#define NAME0 KU_TEMP_PREFIX "00000000000000000000000000000000"
#define NAME1 KU_TEMP_PREFIX "11111111111111111111111111111111"
#define NAME2 KU_TEMP_PREFIX "22222222222222222222222222222222"

#endif
