// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations as recorded event lines tell them. Whether what is removed is in a lower layer, and what a rename replaces, is told since events have a
 * layer. Without it: what was made or copied up before, and is still there, is in the upper layer; of the rest it is not known. What was run is told
 * only by a policy's verdicts.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "event_file.h"
#include "filter.h"
#include "log.h"
#include "map.h"
#include "policy/policy_cmd.h"
#include "util.h"

#define KU_RENAMING 64

/* The rename, or link, that a thread was told of last: the new name is the next that it is told to create. */
struct ku_renaming {
	uint32_t tid;
	enum ku_pol_kind kind;
	bool unsure; /* it is not told what is replaced */
	char *from;
};

struct ku_pol_reader {
	struct ku_filter filter;
	int (*fn)(void *arg, const struct ku_pol_seen *seen);
	void *arg;
	struct ku_map upper; /* bool: it is there; key: union, NUL, path */
	struct ku_renaming renaming[KU_RENAMING]; /* by tid; of two that meet the later one stays */
	struct ku_pol_untold untold;
	int err;
};

/* Whether path is known to be in the upper layer, to be changed; NULL without memory. */
static bool *ku_reader_upper(struct ku_pol_reader *r, const char *union_path, const char *path)
{
	_cleanup_free_ char *key = NULL;
	void *item = NULL;
	int len = asprintf(&key, "%s%c%s", union_path, '\0', path);

	if (len < 0 || ku_map_get(&r->upper, key, (size_t)len, &item, NULL, NULL)) {
		r->err = -ENOMEM;
		return NULL;
	}
	return item;
}

static enum ku_pol_kind ku_kind_of(const char *kind)
{
	for (unsigned int k = 0; k < KU_K_MAX; k++)
		if (!strcmp(kind, ku_pol_kind_name((enum ku_pol_kind)k)))
			return (enum ku_pol_kind)k;
	return KU_K_FILE;
}

static void ku_reader_tell(struct ku_pol_reader *r, const struct ku_event *e, const char *path, enum ku_pol_action action, bool unsure,
			   const char *from)
{
	const struct ku_who *who = e->type == KU_EV_COPYUP ? &e->copyup.who : e->type == KU_EV_POLICY ? &e->policy.who : &e->write.who;
	const char *kind = e->type == KU_EV_COPYUP ? e->copyup.kind : e->type == KU_EV_POLICY ? e->policy.kind : e->write.kind;
	const struct ku_pol_seen seen = {
		.op = { .action = action,
			.kind = ku_kind_of(kind),
			.size = e->type == KU_EV_COPYUP ? e->copyup.size : e->type == KU_EV_POLICY ? e->policy.size : e->write.size,
			.uid = who->uid, .union_path = e->union_path, .path = path, .exe = "", .comm = who->comm, .cgroup = who->cgroup },
		.who = who,
		.from = from,
		.unsure = unsure,
	};

	if (!*path)
		r->untold.no_path++;
	else if (!r->err)
		r->err = r->fn(r->arg, &seen);
}

/* Something comes to be in the upper layer, or goes from there. */
static void ku_reader_goes(struct ku_pol_reader *r, const struct ku_event *e)
{
	bool *upper = ku_reader_upper(r, e->union_path, e->path), is_upper;

	if (!upper)
		return;
	is_upper = *e->write.layer ? !strcmp(e->write.layer, "upper") : *upper;
	ku_reader_tell(r, e, e->path, is_upper ? KU_A_REMOVE_UPPER : KU_A_REMOVE, !is_upper && !*e->write.layer, NULL);
	*upper = false;
}

/* from: the name that it had before, or NULL */
static void ku_reader_comes(struct ku_pol_reader *r, const struct ku_event *e, const char *path, enum ku_pol_action action, const char *from,
			    bool unsure)
{
	bool *upper = ku_reader_upper(r, e->union_path, path);

	ku_reader_tell(r, e, path, action, unsure, from);
	if (upper)
		*upper = true;
}

/* The next name that this thread makes is another one of this file. */
static void ku_reader_renames(struct ku_pol_reader *r, const struct ku_event *e, bool unsure)
{
	struct ku_renaming *m = &r->renaming[e->write.who.tid % KU_RENAMING];

	free(m->from);
	*m = (struct ku_renaming){ .tid = e->write.who.tid, .kind = ku_kind_of(e->write.kind), .unsure = unsure, .from = strdup(e->path) };
	if (!m->from)
		r->err = -ENOMEM;
}

static void ku_reader_write(struct ku_pol_reader *r, const struct ku_event *e)
{
	struct ku_renaming *m = &r->renaming[e->write.who.tid % KU_RENAMING];
	bool same = m->from && m->tid == e->write.who.tid && m->kind == ku_kind_of(e->write.kind);
	const char *op = e->write.op;

	if (!strcmp(op, "create")) {
		_cleanup_free_ char *from = same ? KU_TAKE_PTR(m->from) : NULL;

		ku_reader_comes(r, e, e->path, KU_A_CREATE, from, from && m->unsure);
	} else if (!strcmp(op, "modify")) {
		ku_reader_comes(r, e, e->path, KU_A_MODIFY, NULL, false);
	} else if (!strcmp(op, "remove") || !strcmp(op, "rename")) {
		ku_reader_goes(r, e);
	}
	if (*e->write.path2)
		ku_reader_comes(r, e, e->write.path2, KU_A_CREATE, e->path, true);
	else if (!r->err && (!strcmp(op, "rename") || !strcmp(op, "link")))
		ku_reader_renames(r, e, !strcmp(op, "rename") && !*e->write.layer);
}

static void ku_reader_event(void *arg, const struct ku_event *e)
{
	struct ku_pol_reader *r = arg;

	/* Of whatever union and container. */
	if (e->type == KU_EV_DROPPED)
		r->untold.lost += e->dropped.count > e->dropped.waits ? e->dropped.count - e->dropped.waits : 0;
	if (!ku_filter_match(&r->filter, e) || (r->filter.union_path && strcmp(e->union_path, r->filter.union_path)))
		return;
	if (e->type == KU_EV_COPYUP) {
		/* A copy by kunion that came to nothing; the kernel's own, if any, has an event too. */
		if (strcmp(e->copyup.result, "lost") && strcmp(e->copyup.result, "native"))
			ku_reader_comes(r, e, e->path, KU_A_COPY_UP, NULL, false);
	} else if (e->type == KU_EV_POLICY) {
		/* All else has an event of its own where it came about. */
		if (!strcmp(e->policy.action, "exec") && !*e->policy.err)
			ku_reader_tell(r, e, e->path, KU_A_EXEC, false, NULL);
	} else if (e->type == KU_EV_WRITE) {
		ku_reader_write(r, e);
	}
}

int ku_pol_events_read(const struct ku_policy_args *a, int (*fn)(void *arg, const struct ku_pol_seen *seen), void *arg,
		       struct ku_pol_untold *ret)
{
	struct ku_pol_reader r = {
		.filter = { .union_path = a->union_path, .container = a->container }, .fn = fn, .arg = arg, .upper = KU_MAP(bool, 0),
	};
	struct ku_event_file *f;
	int err = ku_event_file_open(a->from, "policy", ku_reader_event, &r, &f);

	if (err) {
		ku_err("policy: %s: %s", a->from, strerror(-err));
		return KU_EXIT_USAGE;
	}
	for (struct pollfd p = { .fd = ku_event_file_fd(f), .events = POLLIN }; !r.err;) {
		if (poll(&p, 1, -1) < 0 && errno != EINTR) {
			r.err = -errno;
			break;
		}
		if (!ku_event_file_read(f))
			break;
	}
	err = ku_event_file_close(f); /* says it itself */
	if (r.err)
		ku_err("policy: %s: %s", a->from, strerror(-r.err));
	ku_map_free(&r.upper);
	for (unsigned int i = 0; i < KU_RENAMING; i++)
		free(r.renaming[i].from);
	*ret = r.untold;
	return err || r.err ? KU_EXIT_USAGE : KU_EXIT_OK;
}
