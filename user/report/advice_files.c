// SPDX-License-Identifier: GPL-2.0-only
/* Advice about files and directories: better outside the union, or copied up ahead of time. */
#include <errno.h>
#include <string.h>

#include "advice_work.h"
#include "analysis_work.h"
#include "figures.h"
#include "util.h"

/* A path and a size that were copied up at several starts, or in several unions. */
struct ku_again {
	uint64_t copies, bytes, us;
	const char *path;
};

static uint64_t ku_again_bytes(const struct ku_again *g)
{
	return g->bytes - g->bytes / g->copies;
}

static int ku_again_find(const struct ku_analysis *a, struct ku_map *groups)
{
	for (size_t i = 0; i < a->nfiles; i++) {
		const struct ku_an_file *f = a->files[i];
		size_t len = strlen(f->path);
		_cleanup_free_ char *key = NULL;
		struct ku_again *g;
		void *item;

		if (!f->data_copies)
			continue;
		key = malloc(sizeof(f->size) + len);
		if (!key)
			return -ENOMEM;
		memcpy(key, &f->size, sizeof(f->size));
		memcpy(key + sizeof(f->size), f->path, len);
		if (ku_map_get(groups, key, sizeof(f->size) + len, &item, NULL, NULL))
			return -ENOMEM;
		g = item;
		g->copies += f->data_copies;
		g->bytes += f->bytes;
		g->us += f->copyup_us;
		g->path = f->path;
	}
	return 0;
}

int ku_advise_again(struct ku_advisor *ad)
{
	struct ku_map groups = KU_MAP(struct ku_again, 0);
	struct ku_advice piece = {
		.name = "pre-copy", .union_path = "",
		.title = "Copy up before the start what is copied up at every start",
		.caveat = "The copies take their room in every upper layer, also when that start does not change the file.",
	};
	const struct ku_again *most = NULL;
	uint64_t files = 0, bytes = 0;
	int err = ku_again_find(ad->a, &groups);

	for (size_t i = 0; !err && i < groups.n; i++) {
		const struct ku_again *g = groups.entries[i].item;

		if (g->copies < 2)
			continue;
		files++;
		bytes += ku_again_bytes(g);
		piece.weight_us += g->us - g->us / g->copies;
		if (!most || ku_again_bytes(g) > ku_again_bytes(most))
			most = g;
	}
	if (most && (files >= KU_ADVICE_AGAIN_FILES || bytes >= KU_ADVICE_AGAIN_BYTES))
		err = ku_advice_say(
			ad, piece,
			ku_advice_text("%s file%s copied up more than once, with %s that had been copied before; most of all %s, %s times.",
				       KU_COUNT(files), files == 1 ? " was" : "s were", KU_SIZE(bytes), most->path, KU_COUNT(most->copies)),
			ku_advice_text("Make a list of them with kunion report --from EVENTS.jsonl --hydrate-list > LIST, and before each "
				       "start run kunion copy-up --from LIST."));
	ku_map_free(&groups);
	return err;
}

/* Paths for one piece of advice: those with most, biggest first. */
struct ku_top {
	struct {
		const char *path;
		uint64_t amount, other;
		size_t dir; /* length of what is to be mounted */
	} top[KU_ADVICE_PATHS];
	unsigned int n;
	uint64_t all;
};

static void ku_top_add(struct ku_top *t, const char *path, size_t dir, uint64_t amount, uint64_t other)
{
	unsigned int at = t->n;

	t->all++;
	while (at && t->top[at - 1].amount < amount)
		at--;
	if (at == KU_ADVICE_PATHS)
		return;
	if (t->n < KU_ADVICE_PATHS)
		t->n++;
	memmove(&t->top[at + 1], &t->top[at], (t->n - at - 1) * sizeof(t->top[0]));
	t->top[at].path = path;
	t->top[at].amount = amount;
	t->top[at].other = other;
	t->top[at].dir = dir;
}

static bool ku_top_again(const struct ku_top *t, unsigned int i)
{
	for (unsigned int k = 0; k < i; k++)
		if (t->top[i].dir == t->top[k].dir && !strncmp(t->top[i].path, t->top[k].path, t->top[i].dir))
			return true;
	return false;
}

/* "/a, /b": what is to be mounted, each once. Allocated. */
static char *ku_top_dirs(const struct ku_top *t)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	for (unsigned int i = 0; i < t->n; i++)
		if (!ku_top_again(t, i))
			fprintf(f, "%s%.*s", i ? ", " : "", (int)t->top[i].dir, t->top[i].path);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

/* Much copied for little that was changed. */
static int ku_advise_changed(struct ku_advisor *ad, unsigned int index)
{
	const struct ku_analysis *a = ad->a;
	struct ku_advice piece = {
		.name = "volume-for-files", .union_path = a->unions[index].path, .caveat = "",
		.title = "Keep big files that change a little outside the union",
	};
	_cleanup_free_ char *dirs = NULL, *rest = NULL;
	struct ku_top top = { .n = 0 };

	for (size_t i = 0; i < a->nfiles; i++) {
		const struct ku_an_file *f = a->files[i];
		size_t dir = ku_an_dir_len(f->path, false);

		/* changed_bytes is 0 where nobody knows what was written. */
		if (f->union_index != index || f->size < KU_ADVICE_BIG_FILE || f->changed_bytes < KU_ADVICE_BIG_FILE ||
		    f->written >= f->changed_bytes / 100 * KU_ADVICE_CHANGED_PERCENT)
			continue;
		piece.weight_us += f->copyup_us;
		/* Nothing is mounted over "/": then the file itself. */
		ku_top_add(&top, f->path, dir > 1 ? dir : strlen(f->path), f->changed_bytes, f->written);
	}
	if (!top.n)
		return 0;
	dirs = ku_top_dirs(&top);
	rest = top.all > 1 ? ku_advice_text(" So it was with %s more file%s.", KU_COUNT(top.all - 1), ku_advice_s(top.all - 1))
			   : strdup("");
	if (!dirs || !rest)
		return -ENOMEM;
	return ku_advice_say(ad, piece,
			     ku_advice_text("%s: %s were copied, and then %s written.%s", top.top[0].path, KU_SIZE(top.top[0].amount),
					    KU_SIZE(top.top[0].other), rest),
			     ku_advice_text("Mount a volume there (-v NAME:PATH), or a tmpfs (--tmpfs PATH) for what may be lost: %s.%s",
					    dirs,
					    top.top[0].other ? "" : " Or let the program open the file read-only, if it never writes."));
}

bool ku_advice_busy(const struct ku_an_dir *d)
{
	bool own = d->own_writes >= KU_ADVICE_DIR_WRITES || d->own_written >= KU_ADVICE_DIR_WRITTEN;

	/* A directory of the first level is too much to mount over for what is somewhere below it. */
	if (d->len <= 1 || (!own && !memchr(d->path + 1, '/', d->len - 1)))
		return false;
	return d->writes >= KU_ADVICE_DIR_WRITES || d->written >= KU_ADVICE_DIR_WRITTEN;
}

static int ku_advise_dirs(struct ku_advisor *ad, unsigned int index)
{
	const struct ku_an_work *w = ad->a->work;
	struct ku_advice piece = {
		.name = "tmpfs-for-dir", .union_path = ad->a->unions[index].path,
		.title = "Give directories with many writes a tmpfs or a volume",
		.caveat = "A tmpfs begins empty, takes memory, and is lost at the end; a volume stays.",
	};
	_cleanup_free_ char *dirs = NULL, *what = NULL;
	struct ku_top top = { .n = 0 };

	for (size_t i = 0; i < w->dirs.n; i++) {
		const struct ku_an_dir *d = w->dirs.entries[i].item;

		if (d->union_index != index || !ku_advice_busy(d))
			continue;
		piece.weight_us += d->all.copyup_us + d->all.wait_us;
		ku_top_add(&top, d->path, d->len, d->writes, d->written);
	}
	if (!top.n)
		return 0;
	dirs = ku_top_dirs(&top);
	what = top.top[0].amount >= KU_ADVICE_DIR_WRITES ?
		       ku_advice_text("files and names were made, changed or removed %s times", KU_COUNT(top.top[0].amount)) :
		       ku_advice_text("%s were written into files that had been copied up", KU_SIZE(top.top[0].other));
	if (!dirs || !what)
		return -ENOMEM;
	return ku_advice_say(ad, piece, ku_advice_text("In %s and below, %s.", top.top[0].path, what),
			     ku_advice_text("Mount a tmpfs (--tmpfs PATH) for what may be lost, else a volume (-v NAME:PATH): %s.", dirs));
}

int ku_advise_files(struct ku_advisor *ad, unsigned int union_index)
{
	int err = ku_advise_changed(ad, union_index);

	return err ? err : ku_advise_dirs(ad, union_index);
}
