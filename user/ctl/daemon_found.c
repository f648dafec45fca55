// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unions that are found, not named: those of a container or process, and the standing order for all, of which new ones are observed by BPF from their
 * mounting on and get their name and mode here. In the control thread, but for ku_daemon_on_super().
 */
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <string.h>

#include "ctl/call.h"
#include "ctl/daemon.h"
#include "filter.h"
#include "log.h"
#include "scan.h"
#include "util.h"

/* A mount has its place in its namespace only when mount(2), or move_mount(2), is done. */
#define KU_SOON_NS 3000000000ull
#define KU_SOON_MS 20
#define KU_DEEP_NS 500000000ull
#define KU_GIVEN_UP_NS 60000000000ull
/* Looking for containers' ids reads /proc. */
#define KU_CONTAINERS_NS 1000000000ull

static void ku_made_drop(struct ku_daemon *d, uint32_t dev)
{
	for (struct ku_made **at = &d->made, *m; (m = *at); at = &m->next)
		if (m->dev == dev) {
			*at = m->next;
			free(m);
			return;
		}
}

void ku_daemon_on_super(void *arg, uint32_t dev, uint32_t pid, bool made)
{
	struct ku_daemon *d = arg;
	struct ku_made *m = made ? calloc(1, sizeof(*m)) : NULL;

	pthread_mutex_lock(&d->made_lock);
	ku_made_drop(d, dev);
	if (m) {
		m->dev = dev;
		m->pid = pid;
		m->since_ns = ku_now_ns();
		m->next = d->made;
		d->made = m;
	}
	pthread_mutex_unlock(&d->made_lock);
	if (m)
		ku_daemon_wake(d);
}

/* Attaches; one that may not have the mode is observed. 0 or -errno. */
static int ku_found_attach(struct ku_daemon *d, struct ku_union *u, struct ku_entry **ret, char err[static 512])
{
	int n = ku_daemon_attach_found(d, u, d->standing.mode, d->standing.min_size, true, ret, err);

	if (n != -EOPNOTSUPP || d->standing.mode == KU_MODE_OBSERVE)
		return n;
	return ku_daemon_attach_found(d, u, KU_MODE_OBSERVE, d->standing.min_size, true, ret, err);
}

struct ku_do_forget {
	uint32_t dev;
};

static void ku_do_forget(struct ku_daemon *d, void *arg)
{
	const struct ku_do_forget *f = arg;

	if (d->s->judge)
		ku_judge_forget_new(d->s->judge, f->dev);
	if (d->s->observer && !d->conf.all)
		ku_observer_forget(d->s->observer, f->dev);
}

/* BPF took it up, and it is not to be attached; perhaps somebody named it meanwhile. */
static void ku_made_forget(struct ku_daemon *d, uint32_t dev)
{
	struct ku_do_forget f = { .dev = dev };

	for (const struct ku_entry *e = d->entries; e; e = e->next)
		if (ku_kernel_dev(e->dev) == dev)
			return;
	ku_daemon_do(d, ku_do_forget, &f);
}

/* True: nothing more is to be done about it. */
static bool ku_made_look(struct ku_daemon *d, const struct ku_made *m, bool deep)
{
	struct ku_scan_wanted wanted = { .dev = m->dev, .pid = deep ? 0 : m->pid };
	struct ku_scan found;
	struct ku_entry *e;
	char err[512] = "";
	bool done;
	int n;

	n = ku_scan(&wanted, &found, err);
	done = !n && found.n;
	if (done && d->standing.match && !ku_glob_match(d->standing.match, found.unions[0].path)) {
		ku_made_forget(d, m->dev);
	} else if (done) {
		n = ku_found_attach(d, &found.unions[0], &e, err);
		/* Its namespace's one process that was found has ended, or it is gone: looked for again, until it is given up. */
		if (n == -ENOENT)
			done = false;
		else if (n && n != -EEXIST)
			ku_info("%s", err);
	}
	ku_scan_free(&found);
	return done;
}

static bool ku_has_ended(uint32_t pid)
{
	return kill((pid_t)pid, 0) && errno == ESRCH;
}

/* The next one whose turn it is, copied; false: none. */
static bool ku_made_next(struct ku_daemon *d, struct ku_made *ret, bool *ret_deep)
{
	uint64_t now = ku_now_ns();
	bool found = false;

	pthread_mutex_lock(&d->made_lock);
	for (struct ku_made **at = &d->made, *m; (m = *at) && !found;) {
		bool soon = now - m->since_ns < KU_SOON_NS, deep = now - m->deep_ns >= (soon ? KU_DEEP_NS : 2 * KU_DEEP_NS);

		if (now - m->since_ns > KU_GIVEN_UP_NS) {
			*at = m->next;
			free(m);
			continue;
		}
		at = &m->next;
		/* First where it most likely comes to be, while that can be looked at. */
		deep = deep && (!m->pid || ku_has_ended(m->pid) || now - m->since_ns > KU_DEEP_NS);
		if (!deep && (!soon || now - m->looked_ns < KU_SOON_MS * 1000000ull))
			continue;
		m->looked_ns = now;
		if (deep)
			m->deep_ns = now;
		*ret = *m;
		*ret_deep = deep;
		found = true;
	}
	pthread_mutex_unlock(&d->made_lock);
	return found;
}

/* Nobody waits for them any more. */
static void ku_made_drain(struct ku_daemon *d)
{
	for (;;) {
		struct ku_made *m;

		pthread_mutex_lock(&d->made_lock);
		m = d->made;
		if (m)
			d->made = m->next;
		pthread_mutex_unlock(&d->made_lock);
		if (!m)
			return;
		ku_made_forget(d, m->dev);
		free(m);
	}
}

int ku_daemon_made(struct ku_daemon *d)
{
	int ms = 1000;
	struct ku_made m;
	bool deep;

	if (!d->standing.on)
		ku_made_drain(d);
	while (d->standing.on && ku_made_next(d, &m, &deep)) {
		if (!ku_made_look(d, &m, deep))
			continue;
		pthread_mutex_lock(&d->made_lock);
		/* Its number may be another one's by now. */
		for (const struct ku_made *now = d->made; now; now = now->next)
			if (now->dev == m.dev && now->since_ns == m.since_ns) {
				ku_made_drop(d, m.dev);
				break;
			}
		pthread_mutex_unlock(&d->made_lock);
	}
	pthread_mutex_lock(&d->made_lock);
	for (const struct ku_made *now = d->made; now; now = now->next)
		if (ku_now_ns() - now->since_ns < KU_SOON_NS)
			ms = KU_SOON_MS;
	pthread_mutex_unlock(&d->made_lock);
	return ms;
}

void ku_daemon_made_free(struct ku_daemon *d)
{
	while (d->made)
		ku_made_drop(d, d->made->dev);
	free(d->standing.match);
	d->standing.match = NULL;
}

/* A policy may be none for those that do not match: it waits for their names. */
static void ku_do_take_new(struct ku_daemon *d, void *arg)
{
	int n = d->s->judge ? ku_judge_take_new(d->s->judge, !d->standing.match) : 0;

	(void)arg;
	if (n)
		ku_warn("unions to come are under the policy only when they have been found: %s", strerror(-n));
	if (d->s->observer)
		ku_obs_take_new(ku_observer_bpf(d->s->observer), true);
}

int ku_daemon_stand(struct ku_daemon *d, const char *match, enum ku_mode mode, uint64_t min_size, struct json_object *unions,
		    struct json_object *failed, char err[static 512])
{
	struct ku_scan_wanted wanted = { .match = match };
	char *copy = match ? strdup(match) : NULL;
	struct ku_scan found;
	struct ku_entry *e;
	int n;

	if (match && !copy) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	free(d->standing.match);
	d->standing = (struct ku_standing){ .on = true, .match = copy, .mode = mode, .min_size = min_size };
	/* First: what is mounted while we look is found twice rather than not at all. */
	if (!ku_daemon_do(d, ku_do_take_new, NULL)) {
		snprintf(err, 512, "the daemon is ending");
		return -ESHUTDOWN;
	}
	n = ku_scan(&wanted, &found, err);
	for (size_t i = 0; i < found.n; i++) {
		char why[512] = "";
		int r = ku_found_attach(d, &found.unions[i], &e, why);

		if (!r)
			json_object_array_add(unions, ku_daemon_union_json(e));
		else if (r != -EEXIST)
			ku_ctl_add_line(failed, why);
	}
	ku_scan_free(&found);
	return n;
}

static void ku_do_take_none(struct ku_daemon *d, void *arg)
{
	(void)arg;
	if (d->s->judge)
		ku_judge_take_new(d->s->judge, false);
	if (d->s->observer)
		ku_obs_take_new(ku_observer_bpf(d->s->observer), false);
}

int ku_daemon_stand_down(struct ku_daemon *d, const char *match, uint64_t *ret_ticket, char err[static 512])
{
	if (!d->standing.on || (match && (!d->standing.match || strcmp(match, d->standing.match))))
		return -ENOENT;
	/* What is found no more is not taken up; those that BPF has taken are let go by the next ku_daemon_made(). */
	d->standing.on = false;
	if (!ku_daemon_do(d, ku_do_take_none, NULL)) {
		snprintf(err, 512, "the daemon is ending");
		return -ESHUTDOWN;
	}
	ku_daemon_sync(d);
	*ret_ticket = ++d->serial;
	for (struct ku_entry *e = d->entries; e; e = e->next)
		if (e->automatic && !ku_daemon_drop(d, e))
			e->ended_by = *ret_ticket;
	ku_info("attach --all%s%s: has ended", d->standing.match ? " --match " : "", d->standing.match ? d->standing.match : "");
	free(d->standing.match);
	d->standing.match = NULL;
	return 0;
}

int ku_daemon_attach_some(struct ku_daemon *d, const struct ku_scan_wanted *wanted, enum ku_mode mode, uint64_t min_size,
			  struct json_object *unions, struct json_object *failed, char err[static 512])
{
	struct ku_scan found;
	struct ku_entry *e;
	int n;

	n = ku_scan(wanted, &found, err);
	if (!n && !found.n) {
		if (wanted->pid)
			snprintf(err, 512, "process %u: its mount namespace has no writable overlay%s", wanted->pid, wanted->match ? " of that path" : "");
		else
			snprintf(err, 512, "container %.64s: has no writable overlay%s", wanted->container, wanted->match ? " of that path" : "");
		n = -ENOENT;
	}
	for (size_t i = 0; i < found.n; i++) {
		char why[512] = "";

		if (ku_daemon_attach_found(d, &found.unions[i], mode, min_size, false, &e, why))
			ku_ctl_add_line(failed, why);
		else
			json_object_array_add(unions, ku_daemon_union_json(e));
	}
	ku_scan_free(&found);
	return n;
}

void ku_daemon_containers(struct ku_daemon *d)
{
	struct ku_scan_wanted wanted = { 0 };
	struct ku_scan found;
	bool some = false;
	char err[256];

	for (const struct ku_entry *e = d->entries; e; e = e->next)
		some = some || !e->container[0];
	if (!some || ku_now_ns() - d->containers_ns < KU_CONTAINERS_NS)
		return;
	d->containers_ns = ku_now_ns();
	if (!ku_scan(&wanted, &found, err))
		for (struct ku_entry *e = d->entries; e; e = e->next)
			for (size_t i = 0; i < found.n && !e->container[0]; i++)
				if (found.unions[i].dev == e->dev)
					snprintf(e->container, sizeof(e->container), "%s", found.unions[i].container);
	ku_scan_free(&found);
}
