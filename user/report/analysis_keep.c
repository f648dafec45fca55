// SPDX-License-Identifier: GPL-2.0-only
/* Single records, up to the limits of analysis.h: copy-ups, files, and the longest waits. */
#include <errno.h>
#include <string.h>

#include "analysis.h"
#include "analysis_work.h"
#include "util.h"

/* When there are too many, later ones are told as "...". */
int ku_an_string(struct ku_an_work *w, const char *s, const char **ret)
{
	void *item;
	int err = ku_map_get(&w->strings, s, strlen(s), &item, ret, NULL);

	if (err != -ENOSPC)
		return err;
	*ret = "...";
	return 0;
}

static int ku_an_who(struct ku_an_work *w, const struct ku_who *who, const struct ku_who **ret)
{
	static const struct ku_who many = { .comm = "...", .cgroup = "", .container = "", .runtime = "" };
	struct {
		uint32_t pid, tid, uid, pad;
		const char *comm, *cgroup, *container, *runtime;
	} key = { .pid = who->pid, .tid = who->tid, .uid = who->uid };
	void *item;
	bool new;
	int err;

	err = ku_an_string(w, who->comm, &key.comm);
	if (!err)
		err = ku_an_string(w, who->cgroup, &key.cgroup);
	if (!err)
		err = ku_an_string(w, who->container, &key.container);
	if (!err)
		err = ku_an_string(w, who->runtime, &key.runtime);
	if (!err)
		err = ku_map_get(&w->whos, &key, sizeof(key), &item, NULL, &new);
	if (err == -ENOSPC) {
		*ret = &many;
		return 0;
	}
	if (err)
		return err;
	if (new)
		*(struct ku_who *)item = (struct ku_who){ .pid = key.pid, .tid = key.tid, .uid = key.uid, .comm = key.comm,
							  .cgroup = key.cgroup, .container = key.container, .runtime = key.runtime };
	*ret = item;
	return 0;
}

int ku_an_keep_file(struct ku_analysis *a, const struct ku_event *e, unsigned int index)
{
	const struct ku_ev_copyup *c = &e->copyup;
	size_t len = strlen(e->path);
	_cleanup_free_ char *key = malloc(sizeof(index) + len);
	struct ku_an_file *f;
	const char *kept;
	void *item;
	bool new;
	int err;

	if (!key)
		return -ENOMEM;
	memcpy(key, &index, sizeof(index));
	memcpy(key + sizeof(index), e->path, len);
	err = ku_map_get(&a->work->files, key, sizeof(index) + len, &item, &kept, &new);
	if (err == -ENOSPC) {
		a->unkept.files++;
		return 0;
	}
	if (err)
		return err;
	f = item;
	if (new) {
		f->union_index = index;
		f->path = kept + sizeof(index);
		f->first_ns = e->ts_ns;
	}
	if (e->ts_ns < f->first_ns)
		f->first_ns = e->ts_ns;
	if (e->ts_ns > f->last_ns)
		f->last_ns = e->ts_ns;
	f->copyups++;
	f->data_copies += !strcmp(c->data, "copied") || !strcmp(c->data, "cloned");
	f->opens += !strcmp(c->op, "open");
	f->size = c->size;
	f->bytes += c->bytes;
	f->copyup_us += c->total_us;
	return 0;
}

int ku_an_keep_copyup(struct ku_analysis *a, const struct ku_event *e, unsigned int index, uint32_t session)
{
	const struct ku_ev_copyup *c = &e->copyup;
	struct ku_an_work *w = a->work;
	struct ku_an_key key = { .union_index = index, .session = session, .id = c->id };
	struct ku_an_copyup *r;
	void *item;
	int err;

	if (!c->id || ku_map_find(&w->copyups, &key, sizeof(key)))
		key.serial = w->copyups.n + 1;
	err = ku_map_get(&w->copyups, &key, sizeof(key), &item, NULL, NULL);
	if (err == -ENOSPC) {
		a->unkept.copyups++;
		return 0;
	}
	if (err)
		return err;
	r = item;
	*r = (struct ku_an_copyup){
		.id = c->id, .session = session, .union_index = index, .ts_ns = e->ts_ns, .size = c->size, .bytes = c->bytes,
		.queued_us = c->queued_us, .lock_us = c->lock_us, .copy_us = c->copy_us, .fsync_us = c->fsync_us,
		.commit_us = c->commit_us, .total_us = c->total_us,
	};
	err = ku_an_who(w, &c->who, &r->who);
	if (!err)
		err = ku_an_string(w, e->path, &r->path);
	if (!err)
		err = ku_an_string(w, c->kind[0] ? c->kind : "file", &r->kind);
	if (!err)
		err = ku_an_string(w, c->op, &r->op);
	if (!err)
		err = ku_an_string(w, c->syscall, &r->syscall);
	if (!err)
		err = ku_an_string(w, c->engine, &r->engine);
	if (!err)
		err = ku_an_string(w, c->data, &r->data);
	if (!err)
		err = ku_an_string(w, c->result, &r->result);
	return err;
}

static int ku_an_longer(const void *a, const void *b)
{
	const struct ku_an_wait *x = a, *y = b;

	if (x->wait_us != y->wait_us)
		return x->wait_us < y->wait_us ? 1 : -1;
	return (x->ts_ns > y->ts_ns) - (x->ts_ns < y->ts_ns);
}

/* Room for one more wait; when there are too many, the shorter half goes. */
static int ku_an_wait_room(struct ku_analysis *a)
{
	struct ku_an_work *w = a->work;
	struct ku_an_wait *more;
	size_t room;

	if (w->nwaits < w->waits_room)
		return 0;
	if (w->waits_room < KU_AN_WAITS) {
		room = w->waits_room ? w->waits_room * 2 : 64;
		more = reallocarray(w->waits, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		w->waits = more;
		w->waits_room = room;
		return 0;
	}
	qsort(w->waits, w->nwaits, sizeof(*w->waits), ku_an_longer);
	a->unkept.waits += w->nwaits - KU_AN_WAITS / 2;
	w->nwaits = KU_AN_WAITS / 2;
	return 0;
}

int ku_an_keep_wait(struct ku_analysis *a, const struct ku_event *e, unsigned int index, uint32_t session)
{
	const struct ku_ev_wait *v = &e->wait;
	struct ku_an_work *w = a->work;
	struct ku_an_wait r = { .union_index = index, .session = session, .ts_ns = e->ts_ns, .wait_us = v->wait_us,
				.copyup_id = v->copyup_id, .copyup_pid = v->copyup_pid };
	int err = ku_an_who(w, &v->who, &r.who);

	if (!err && v->holder.pid)
		err = ku_an_who(w, &v->holder, &r.holder);
	if (!err)
		err = ku_an_string(w, e->path, &r.path);
	if (!err)
		err = ku_an_string(w, v->op, &r.op);
	if (!err)
		err = ku_an_string(w, v->syscall, &r.syscall);
	if (!err)
		err = ku_an_string(w, v->on, &r.on);
	if (!err)
		err = ku_an_string(w, v->result, &r.result);
	if (!err)
		err = ku_an_string(w, v->holder_op, &r.holder_op);
	if (!err)
		err = ku_an_string(w, v->copyup_path, &r.copyup_path);
	if (!err)
		err = ku_an_string(w, v->copyup_comm, &r.copyup_comm);
	if (!err)
		err = ku_an_wait_room(a);
	if (!err)
		w->waits[w->nwaits++] = r;
	return err;
}
