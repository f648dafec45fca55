// SPDX-License-Identifier: GPL-2.0-only
/* A snapshot's rows, put together and in order. */
#include <stdlib.h>
#include <string.h>

#include "top_model.h"

struct ku_top_order {
	bool by_container, reverse;
	enum ku_top_sort sort;
};

static const char *ku_top_name(const struct ku_top_row *row, bool by_container)
{
	return by_container ? row->container : row->union_path;
}

static int ku_top_by_name(const void *a, const void *b, void *arg)
{
	const struct ku_top_order *o = arg;

	return strcmp(ku_top_name(a, o->by_container), ku_top_name(b, o->by_container));
}

static double ku_top_figure(const struct ku_top_sum *s, enum ku_top_sort sort)
{
	switch (sort) {
	case KU_SORT_BYTES:
		return (double)s->bytes;
	case KU_SORT_BYTES_RATE:
		return s->bytes_rate;
	case KU_SORT_COPYUPS:
		return (double)s->copyups;
	case KU_SORT_COPYUPS_RATE:
		return s->copyups_rate;
	case KU_SORT_WAIT:
		return (double)s->wait_ns;
	case KU_SORT_WAIT_RATE:
		return s->wait_rate;
	case KU_SORT_WAITS:
		return (double)s->waits;
	case KU_SORT_NAME:
	case KU_SORT_MAX:
		break;
	}
	return 0;
}

static int ku_top_by_figure(const void *a, const void *b, void *arg)
{
	const struct ku_top_row *p = a, *q = b;
	const struct ku_top_order *o = arg;
	double x = ku_top_figure(&p->sum, o->sort), y = ku_top_figure(&q->sum, o->sort);
	int order = x > y ? -1 : x < y ? 1 : ku_top_by_name(a, b, arg);

	return o->reverse ? -order : order;
}

unsigned int ku_top_rows(const struct ku_top_snap *snap, bool by_container, enum ku_top_sort sort, bool reverse, struct ku_top_row *out)
{
	struct ku_top_order order = { .by_container = by_container, .reverse = reverse, .sort = sort };
	unsigned int n = 0;

	if (!snap->nrows)
		return 0;
	memcpy(out, snap->rows, snap->nrows * sizeof(*out));
	qsort_r(out, snap->nrows, sizeof(*out), ku_top_by_name, &order);
	for (unsigned int i = 1; i < snap->nrows; i++) {
		struct ku_top_sum *into = &out[n].sum, *from = &out[i].sum;

		if (ku_top_by_name(&out[n], &out[i], &order)) {
			out[++n] = out[i];
			continue;
		}
		if (strcmp(out[n].union_path, out[i].union_path))
			out[n].union_path = "";
		if (strcmp(out[n].container, out[i].container))
			out[n].container = "";
		into->copyups += from->copyups;
		into->bytes += from->bytes;
		into->waits += from->waits;
		into->stalls += from->stalls;
		into->wait_ns += from->wait_ns;
		into->copyups_rate += from->copyups_rate;
		into->bytes_rate += from->bytes_rate;
		into->wait_rate += from->wait_rate;
	}
	n++;
	qsort_r(out, n, sizeof(*out), ku_top_by_figure, &order);
	return n;
}
