// SPDX-License-Identifier: GPL-2.0-only
/* The table of directories: as deep as there is much to tell, and no longer than a table may be. */
#include <errno.h>
#include <string.h>

#include "advice.h"
#include "analysis.h"
#include "analysis_work.h"
#include "util.h"

static struct ku_an_dir *ku_an_dir_at(const struct ku_an_work *w, size_t i)
{
	return w->dirs.entries[i].item;
}

/* Longest path first: no directory comes behind the one that it lies in. */
static int ku_an_deeper(const void *a, const void *b)
{
	const struct ku_an_dir *x = *(struct ku_an_dir *const *)a, *y = *(struct ku_an_dir *const *)b;

	return (y->len > x->len) - (y->len < x->len);
}

/* Makes a directory's parent, and so for those made here, which come behind it in the map. */
static int ku_an_dir_parents(struct ku_an_work *w)
{
	w->dirs.max = 0;
	for (size_t i = 0; i < w->dirs.n; i++) {
		struct ku_an_dir *d = ku_an_dir_at(w, i), *up;
		size_t len = d->len;
		int err;

		d->all = d->own;
		d->own_writes = d->writes;
		d->own_written = d->written;
		if (len <= 1)
			continue;
		while (len > 1 && d->path[len - 1] != '/')
			len--;
		while (len > 1 && d->path[len - 1] == '/')
			len--;
		err = ku_an_dir_get(w, d->union_index, d->path, len, &up);
		if (err)
			return -ENOMEM;
		d->parent = up;
		d->sibling = up->child;
		up->child = d;
	}
	return 0;
}

/* Everything goes into `all` of the directories above. */
static int ku_an_dir_tree(struct ku_an_work *w)
{
	_cleanup_free_ struct ku_an_dir **order = NULL;
	int err = ku_an_dir_parents(w);
	size_t n = w->dirs.n;

	if (err)
		return err;
	order = calloc(n + 1, sizeof(*order));
	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		order[i] = ku_an_dir_at(w, i);
	qsort(order, n, sizeof(*order), ku_an_deeper);
	for (size_t i = 0; i < n; i++) {
		struct ku_an_dir *d = order[i], *up = d->parent;

		if (!up)
			continue;
		ku_an_sum_add(&up->all, &d->all);
		/* A directory with advice of its own is not its parent's too. */
		if (ku_advice_busy(d))
			continue;
		up->writes += d->writes;
		up->written += d->written;
	}
	return 0;
}

static bool ku_an_sum_none(const struct ku_an_sum *s)
{
	return !s->copyups && !s->waits;
}

static void ku_an_sum_take(struct ku_an_sum *from, const struct ku_an_sum *s)
{
	from->copyups -= s->copyups;
	from->failed -= s->failed;
	from->bytes -= s->bytes;
	from->copyup_us -= s->copyup_us;
	from->waits -= s->waits;
	from->wait_us -= s->wait_us;
}

static struct ku_an_row ku_an_dir_row(const struct ku_an_dir *d)
{
	return (struct ku_an_row){ .name = d->path, .detail = "", .union_index = d->union_index, .sum = d->all };
}

/* The longest in a directory and in those below it that have no row of their own. */
static uint64_t ku_an_dir_max(const struct ku_an_dir *dir)
{
	uint64_t max = dir->own_max, below;

	for (const struct ku_an_dir *d = dir->child; d; d = d->sibling) {
		below = d->shown ? 0 : ku_an_dir_max(d);
		if (below > max)
			max = below;
	}
	return max;
}

struct ku_an_dir_rows {
	struct ku_an_row rows[KU_AN_ROWS];
	const struct ku_an_dir *dirs[KU_AN_ROWS];
	size_t n;
};

/* The directory that weighs most of those right below a shown one, if there is room for it; and in which row it is counted now. */
static struct ku_an_dir *ku_an_dir_next(const struct ku_an_dir_rows *t, size_t *ret_from)
{
	struct ku_an_row best_row = { 0 };
	struct ku_an_dir *best = NULL;

	for (size_t i = 0; i < t->n; i++)
		for (struct ku_an_dir *d = t->dirs[i]->child; d; d = d->sibling) {
			struct ku_an_row row = ku_an_dir_row(d);
			struct ku_an_sum left = t->rows[i].sum;

			if (d->shown || ku_an_sum_none(&d->all) || (best && ku_an_row_order(&row, &best_row) > 0))
				continue;
			ku_an_sum_take(&left, &d->all);
			if (t->n == KU_AN_ROWS && !ku_an_sum_none(&left))
				continue;
			best = d;
			best_row = row;
			*ret_from = i;
		}
	return best;
}

/*
 * The table begins with each union's "/"; as long as there is room, the directory that weighs most takes its part out of the row
 * above it. A row that is left with nothing makes room for it.
 */
int ku_an_dirs(struct ku_an_work *w, struct ku_an_table *table)
{
	struct ku_an_dir_rows t = { .n = 0 };
	struct ku_an_dir *next;
	size_t from = 0;
	int err = ku_an_dir_tree(w);

	if (err)
		return err;
	table->rest = w->dirs_over;
	table->nrest = !ku_an_sum_none(&w->dirs_over);
	for (size_t i = 0; i < w->dirs.n; i++) {
		struct ku_an_dir *d = ku_an_dir_at(w, i);

		if (d->parent || ku_an_sum_none(&d->all))
			continue;
		if (t.n == KU_AN_ROWS) {
			ku_an_sum_add(&table->rest, &d->all);
			table->nrest++;
			continue;
		}
		d->shown = true;
		t.dirs[t.n] = d;
		t.rows[t.n++] = ku_an_dir_row(d);
	}
	while ((next = ku_an_dir_next(&t, &from))) {
		next->shown = true;
		ku_an_sum_take(&t.rows[from].sum, &next->all);
		if (!ku_an_sum_none(&t.rows[from].sum))
			from = t.n++;
		t.rows[from] = ku_an_dir_row(next);
		t.dirs[from] = next;
	}
	if (!t.n)
		return 0;
	for (size_t i = 0; i < t.n; i++) {
		const struct ku_an_dir *d = t.dirs[i];

		t.rows[i].below = t.rows[i].sum.copyups != d->own.copyups || t.rows[i].sum.waits != d->own.waits;
		t.rows[i].max_us = ku_an_dir_max(d);
	}
	w->dir_rows = calloc(t.n, sizeof(*w->dir_rows));
	if (!w->dir_rows)
		return -ENOMEM;
	memcpy(w->dir_rows, t.rows, t.n * sizeof(*t.rows));
	qsort(w->dir_rows, t.n, sizeof(*t.rows), ku_an_row_order);
	table->rows = w->dir_rows;
	table->n = t.n;
	return 0;
}
