// SPDX-License-Identifier: GPL-2.0-only
/* The daemon's unions: those of the configuration, and those attached by command. All in the control thread. */
#include <string.h>

#include "ctl/daemon.h"
#include "filter.h"
#include "log.h"
#include "util.h"

/* An entry of the standing order that gives way: nobody waits there for long. */
#define KU_DROP_TRIES 500
#define KU_DROP_PAUSE_US 10000

static void ku_entry_free(struct ku_entry *e)
{
	free(e->path);
	free(e->lower);
	free(e->upper);
	free(e->configured);
	ku_about_free(&e->about);
	free(e);
}

void ku_daemon_forget(struct ku_daemon *d)
{
	while (d->entries) {
		struct ku_entry *e = d->entries;

		d->entries = e->next;
		ku_entry_free(e);
	}
	free(d->wanted);
	d->wanted = NULL;
}

int ku_daemon_want(struct ku_daemon *d)
{
	struct ku_wanted *wanted = calloc(d->conf.nunions + 1, sizeof(*wanted));

	if (!wanted)
		return -ENOMEM;
	free(d->wanted);
	d->wanted = wanted;
	return 0;
}

struct ku_entry *ku_daemon_find(struct ku_daemon *d, const char *path, const char *container)
{
	struct ku_entry *other = NULL;

	for (struct ku_entry *e = d->entries; e; e = e->next) {
		if (strcmp(e->path, path) && (!e->configured || strcmp(e->configured, path)))
			continue;
		if (container ? ku_filter_container(container, e->container) : !e->elsewhere)
			return e;
		if (!container)
			other = e;
	}
	return other;
}

struct ku_entry *ku_daemon_configured(struct ku_daemon *d, const char *path)
{
	struct ku_entry *e = ku_daemon_find(d, path, NULL);

	return e && !e->automatic && !e->elsewhere ? e : NULL;
}

static void ku_do_sync(struct ku_daemon *d, void *arg)
{
	(void)arg;
	for (struct ku_entry *e = d->entries; e; e = e->next) {
		const struct ku_attached *at = ku_session_union(d->s, e->id);

		e->copies = 0;
		if (!at) {
			e->id = UINT32_MAX;
			continue;
		}
		e->dropping = at->dropping;
		for (uint32_t i = 0; d->s->bpf.slots && i < KU_SLOTS; i++)
			e->copies += d->s->pending[i].used && !d->s->pending[i].finished && d->s->pending[i].at == at;
	}
}

void ku_daemon_sync(struct ku_daemon *d)
{
	if (!ku_daemon_do(d, ku_do_sync, NULL))
		return;
	for (struct ku_entry **at = &d->entries, *e; (e = *at);) {
		if (e->id != UINT32_MAX) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		ku_info("%s: detached", e->path);
		ku_entry_free(e);
	}
}

struct ku_do_add {
	struct ku_attached at;
	struct ku_entry *e;
	char *err;
	int result;
};

static void ku_do_add(struct ku_daemon *d, void *arg)
{
	struct ku_do_add *a = arg;

	a->result = ku_session_add(d->s, &a->at, &a->e->id, a->err);
	if (!a->result)
		a->e->in_force = ku_session_union(d->s, a->e->id)->in_force;
}

static int ku_entry_fill(const struct ku_daemon *d, struct ku_entry *e, const struct ku_union *u, const char *configured)
{
	e->path = strdup(u->path);
	e->lower = strdup(u->lowerdir);
	e->upper = strdup(u->upperdir);
	e->configured = configured ? strdup(configured) : NULL;
	if (!e->path || !e->lower || !e->upper || (configured && !e->configured))
		return -ENOMEM;
	e->dev = u->dev;
	e->elsewhere = u->ns.ino;
	memcpy(e->container, u->container, sizeof(e->container));
	e->userxattr = u->userxattr;
	e->volatile_ = u->volatile_;
	return ku_about_read(u, d->s->observer ? ku_observer_bpf(d->s->observer) : NULL, &e->about);
}

/* What is attached to it already; *ret: an entry of the standing order that will do as it is. 0, or -errno with a line in err. */
static int ku_daemon_taken(struct ku_daemon *d, const struct ku_do_add *a, struct ku_entry **ret, char err[static 512])
{
	const char *path = a->at.u.path;
	struct ku_entry *e = d->entries;

	while (e && e->dev != a->at.u.dev)
		e = e->next;
	if (!e)
		return 0;
	if (e->automatic && !a->e->automatic && !e->dropping) {
		if (e->mode == a->e->mode && e->min_size == a->e->min_size) {
			*ret = e;
			return 0;
		}
		ku_daemon_drop(d, e);
		for (int i = 0; i < KU_DROP_TRIES && e; i++) {
			usleep(KU_DROP_PAUSE_US);
			ku_daemon_sync(d);
			for (e = d->entries; e && e->dev != a->at.u.dev;)
				e = e->next;
		}
		if (!e)
			return 0;
	}
	snprintf(err, 512, e->dropping ? "%.200s: is being detached; try again" : "%.200s: is attached already, as %.200s", path, e->path);
	return e->dropping ? -EAGAIN : -EEXIST;
}

/* found, or else path. */
static int ku_daemon_prepare(struct ku_daemon *d, struct ku_do_add *a, struct ku_union *found, const char *path, const char *configured,
			     struct ku_entry **ret, char err[static 512])
{
	int n = found ? ku_session_look_found(d->s, found, a->e->mode, a->e->min_size, &a->at, err) :
			ku_session_look(d->s, path, a->e->mode, a->e->min_size, &a->at, err);

	if (!n)
		n = ku_daemon_taken(d, a, ret, err);
	if (n || *ret)
		return n;
	n = ku_entry_fill(d, a->e, &a->at.u, configured);
	if (n)
		snprintf(err, 512, "%.200s: %s", a->at.u.path, strerror(-n));
	return n ? n : ku_session_ready(&a->at, err);
}

static int ku_daemon_attach_any(struct ku_daemon *d, struct ku_union *found, const char *path, enum ku_mode mode, uint64_t min_size,
				const char *configured, bool automatic, struct ku_entry **ret, char err[static 512])
{
	struct ku_do_add a = { .at = { .u.lock_fd = -1 }, .e = calloc(1, sizeof(*a.e)), .err = err };
	struct ku_union where = found ? *found : (struct ku_union){ 0 };
	struct ku_entry *taken = NULL;
	int n;

	if (!a.e) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	/* A place may be used again by then: nobody of ours may still mean the one before. */
	ku_daemon_sync(d);
	a.e->mode = mode;
	a.e->min_size = min_size;
	a.e->automatic = automatic;
	a.e->since = time(NULL);
	a.e->serial = ++d->serial;
	n = ku_daemon_prepare(d, &a, found, path, configured, &taken, err);
	if (!n && !taken && !ku_daemon_do(d, ku_do_add, &a)) {
		snprintf(err, 512, "the daemon is ending");
		n = -ESHUTDOWN;
	}
	n = n || taken ? n : a.result;
	ku_attached_close(&a.at);
	if (n || taken) {
		ku_entry_free(a.e);
		if (n)
			return n;
		taken->automatic = false;
		if (configured && !taken->configured)
			taken->configured = strdup(configured);
		*ret = taken;
		return 0;
	}
	a.e->next = d->entries;
	d->entries = a.e;
	ku_info("%s%s%s: attached", a.e->container, a.e->container[0] ? " " : "", a.e->path);
	*ret = a.e;
	/* Nothing kept it from ending before: then its number may be another's, and only an end from now on is told. */
	if (found && !ku_union_is_there(&where)) {
		snprintf(err, 512, "%.200s: was unmounted meanwhile", a.e->path);
		ku_daemon_drop(d, a.e);
		return -ESTALE;
	}
	return 0;
}

int ku_daemon_attach(struct ku_daemon *d, const char *path, enum ku_mode mode, uint64_t min_size, const char *configured, struct ku_entry **ret,
		     char err[static 512])
{
	return ku_daemon_attach_any(d, NULL, path, mode, min_size, configured, false, ret, err);
}

int ku_daemon_attach_found(struct ku_daemon *d, struct ku_union *u, enum ku_mode mode, uint64_t min_size, bool automatic, struct ku_entry **ret,
			   char err[static 512])
{
	return ku_daemon_attach_any(d, u, u->path, mode, min_size, NULL, automatic, ret, err);
}

static void ku_do_drop(struct ku_daemon *d, void *arg)
{
	const struct ku_entry *e = arg;

	ku_session_drop(d->s, e->id);
}

int ku_daemon_drop(struct ku_daemon *d, struct ku_entry *e)
{
	if (!ku_daemon_do(d, ku_do_drop, e))
		return -ESHUTDOWN;
	e->dropping = true;
	return 0;
}

static const struct ku_conf_union *ku_conf_union_of(const struct ku_conf *c, const char *path)
{
	for (size_t i = 0; i < c->nunions; i++)
		if (!strcmp(c->unions[i].path, path))
			return &c->unions[i];
	return NULL;
}

void ku_daemon_reconcile(struct ku_daemon *d)
{
	for (struct ku_entry *e = d->entries; e; e = e->next) {
		const struct ku_conf_union *u = e->configured ? ku_conf_union_of(&d->conf, e->configured) : NULL;

		/* What changed comes back once it is gone. */
		if (e->configured && !e->dropping && (!u || u->mode != e->mode || u->min_size != e->min_size))
			ku_daemon_drop(d, e);
	}
	for (size_t i = 0; i < d->conf.nunions; i++) {
		const struct ku_conf_union *u = &d->conf.unions[i];
		struct ku_wanted *w = &d->wanted[i];
		struct ku_entry *e;
		char err[512] = "";

		if (w->let_go || ku_daemon_configured(d, u->path))
			continue;
		if (!ku_daemon_attach(d, u->path, u->mode, u->min_size, u->path, &e, err)) {
			w->said[0] = '\0';
		} else if (strcmp(w->said, err)) {
			/* Once: it is looked for again and again. */
			snprintf(w->said, sizeof(w->said), "%s", err);
			ku_warn("%s; attached when it is there", err);
		}
	}
}
