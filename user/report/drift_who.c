// SPDX-License-Identifier: GPL-2.0-only
/* Who made the drift, as event lines tell it. */
#include <string.h>

#include "drift_work.h"
#include "util.h"

static struct ku_drift_process *ku_drift_process_of(struct ku_drift *d, const struct ku_who *who)
{
	_cleanup_free_ char *key = NULL;
	struct ku_drift_process *p;
	const char *kept;
	void *item;
	int len = asprintf(&key, "%s%c%s", who->comm, '\0', who->container);

	if (len < 0) {
		key = NULL;
		return NULL;
	}
	if (ku_map_get(&d->work->processes, key, (size_t)len, &item, &kept, NULL))
		return NULL;
	p = item;
	p->comm = kept;
	p->container = kept + strlen(kept) + 1;
	return p;
}

static int ku_drift_mark(struct ku_drift *d, struct ku_drift_mark *mark, const char *op, const struct ku_who *who, uint64_t ts_ns)
{
	struct ku_drift_process *by = ku_drift_process_of(d, who);

	if (!by)
		return -ENOMEM;
	*mark = (struct ku_drift_mark){ .by = by, .op = op, .pid = who->pid, .uid = who->uid, .ts_ns = ts_ns };
	return 0;
}

static int ku_drift_seen_of(struct ku_drift *d, const char *path, struct ku_drift_seen **ret)
{
	void *item;
	int err = ku_map_get(&d->work->seen, path, strlen(path), &item, NULL, NULL);

	if (!err)
		*ret = item;
	return err;
}

static int ku_drift_made(struct ku_drift *d, const char *path, const char *op, const struct ku_who *who, uint64_t ts_ns, bool anew)
{
	struct ku_drift_seen *s;
	int err = ku_drift_seen_of(d, path, &s);

	if (err)
		return err;
	if (anew) {
		s->anew = true;
		s->copied = false;
	}
	return ku_drift_mark(d, &s->made, op, who, ts_ns);
}

static int ku_drift_write(struct ku_drift *d, const struct ku_event *e)
{
	const struct ku_ev_write *w = &e->write;
	struct ku_drift_seen *s;
	int err;

	if (!strcmp(w->op, "create"))
		return ku_drift_made(d, e->path, "create", &w->who, e->ts_ns, true);
	if (!strcmp(w->op, "modify"))
		return ku_drift_made(d, e->path, "modify", &w->who, e->ts_ns, false);
	if (strcmp(w->op, "remove") && strcmp(w->op, "rename"))
		return 0;
	err = ku_drift_seen_of(d, e->path, &s);
	if (!err)
		err = ku_drift_mark(d, &s->gone, !strcmp(w->op, "remove") ? "remove" : "rename", &w->who, e->ts_ns);
	if (!err && w->path2[0])
		err = ku_drift_made(d, w->path2, "rename", &w->who, e->ts_ns, true);
	return err;
}

static int ku_drift_copyup(struct ku_drift *d, const struct ku_event *e)
{
	struct ku_drift_seen *s;
	int err;

	if (strcmp(e->copyup.result, "ok"))
		return 0;
	err = ku_drift_seen_of(d, e->path, &s);
	if (err)
		return err;
	s->copied = true;
	s->anew = false;
	return ku_drift_mark(d, &s->made, "copy-up", &e->copyup.who, e->ts_ns);
}

/* Refused, it did not run. */
static int ku_drift_exec(struct ku_drift *d, const struct ku_event *e)
{
	struct ku_drift_seen *s;
	int err;

	if (strcmp(e->policy.action, "exec") || strcmp(e->policy.verdict, "audit"))
		return 0;
	err = ku_drift_seen_of(d, e->path, &s);
	if (!err)
		err = ku_drift_mark(d, &s->exec, "exec", &e->policy.who, e->ts_ns);
	if (err)
		return err;
	s->execs++;
	s->exec.by->execs++;
	return 0;
}

int ku_drift_event(struct ku_drift *d, const struct ku_event *e)
{
	bool here = !strcmp(e->union_path, d->u->path);

	d->with_events = true;
	if (e->type == KU_EV_DROPPED)
		d->dropped += e->dropped.count;
	if (e->type != KU_EV_COPYUP && e->type != KU_EV_WRITE && e->type != KU_EV_POLICY)
		return 0;
	if (!here || e->path[0] != '/') {
		d->others++;
		return 0;
	}
	d->events++;
	if (e->type == KU_EV_COPYUP)
		return ku_drift_copyup(d, e);
	return e->type == KU_EV_WRITE ? ku_drift_write(d, e) : ku_drift_exec(d, e);
}

void ku_drift_count(struct ku_drift *d, const struct ku_drift_item *item)
{
	struct ku_drift_process *p = item->mark ? item->mark->by : &d->unknown;

	p->items[item->class]++;
	p->bytes += item->bytes;
}

static uint64_t ku_drift_all(const struct ku_drift_process *p)
{
	uint64_t n = p->execs;

	for (int c = KU_DRIFT_ADDED; c < KU_DRIFT_CLASSES; c++)
		n += p->items[c];
	return n;
}

static int ku_drift_most(const void *a, const void *b)
{
	const struct ku_drift_process *x = *(struct ku_drift_process *const *)a, *y = *(struct ku_drift_process *const *)b;
	uint64_t n = ku_drift_all(x), m = ku_drift_all(y);
	int order = (n < m) - (n > m);

	if (!order)
		order = strcmp(x->comm, y->comm);
	return order ? order : strcmp(x->container, y->container);
}

int ku_drift_order(struct ku_drift *d)
{
	struct ku_drift_work *w = d->work;

	w->order = calloc(w->processes.n + 1, sizeof(*w->order));
	if (!w->order)
		return -ENOMEM;
	for (size_t i = 0; i < w->processes.n; i++)
		w->order[i] = w->processes.entries[i].item;
	qsort(w->order, w->processes.n, sizeof(*w->order), ku_drift_most);
	return 0;
}

const struct ku_drift_process *ku_drift_process_at(const struct ku_drift *d, size_t i)
{
	const struct ku_drift_process *p = d->work->order ? d->work->order[i] : NULL;

	/* The rest made nothing that is still there. */
	return p && ku_drift_all(p) ? p : NULL;
}

const struct ku_drift_seen *ku_drift_executed(const struct ku_drift *d, size_t *i, const char **ret_path)
{
	const struct ku_map *seen = &d->work->seen;

	while (*i < seen->n) {
		const struct ku_map_entry *e = &seen->entries[(*i)++];
		const struct ku_drift_seen *s = e->item;

		if (s->execs) {
			*ret_path = e->key;
			return s;
		}
	}
	return NULL;
}
