// SPDX-License-Identifier: GPL-2.0-only
/* The session's events for the clients that listen: from the loop, where they happen, to the control thread, which tells them. */
#include <string.h>

#include "ctl/daemon.h"
#include "util.h"

/* A union, as the loop writes it down. Made a line of by the control thread: there may be thousands, and the loop has others to answer. */
struct ku_listed {
	struct ku_listed *next;
	struct ku_event e;
	char text[];
};

struct ku_do_listen {
	struct ku_listed *first, **last;
	uint64_t after;
	bool no_memory;
};

static const char *ku_listed_text(char **at, const char *text)
{
	char *to = *at;

	*at = stpcpy(to, text) + 1;
	return to;
}

static void ku_listen_union(void *arg, const struct ku_event *e)
{
	const struct ku_ev_union *m = &e->mount;
	struct ku_do_listen *l = arg;
	struct ku_listed *u = malloc(sizeof(*u) + strlen(e->union_path) + strlen(m->lower) + strlen(m->upper) + strlen(m->options) +
				     strlen(m->upper_fs) + 5);
	char *at;

	if (!u) {
		l->no_memory = true;
		return;
	}
	at = u->text;
	u->next = NULL;
	u->e = *e;
	u->e.union_path = ku_listed_text(&at, e->union_path);
	u->e.mount.lower = ku_listed_text(&at, m->lower);
	u->e.mount.upper = ku_listed_text(&at, m->upper);
	u->e.mount.options = ku_listed_text(&at, m->options);
	u->e.mount.upper_fs = ku_listed_text(&at, m->upper_fs);
	*l->last = u;
	l->last = &u->next;
}

static void ku_do_listen(struct ku_daemon *d, void *arg)
{
	struct ku_do_listen *l = arg;

	if (d->s->observer)
		ku_observer_again(d->s->observer, ku_listen_union, l);
	l->after = ku_feed_listen(&d->feed, 1);
}

int ku_daemon_listen(void *arg, uint64_t *ret_after, void (*first)(void *ctx, const char *json, size_t len), void *ctx, char err[512])
{
	struct ku_do_listen l = { .last = &l.first };
	struct ku_daemon *d = arg;
	int n = 0;

	if (!ku_daemon_do(d, ku_do_listen, &l)) {
		snprintf(err, 512, "the daemon is ending");
		return -ESHUTDOWN;
	}
	while (l.first) {
		struct ku_listed *u = l.first;
		_cleanup_free_ char *json = l.no_memory ? NULL : ku_event_json(&u->e);

		l.no_memory = !json;
		if (json)
			first(ctx, json, strlen(json));
		l.first = u->next;
		free(u);
	}
	if (l.no_memory) {
		snprintf(err, 512, "out of memory");
		ku_feed_listen(&d->feed, -1);
		n = -ENOMEM;
	}
	*ret_after = l.after;
	return n;
}

void ku_daemon_unlisten(void *arg)
{
	struct ku_daemon *d = arg;

	ku_feed_listen(&d->feed, -1);
}

static void ku_do_settle(struct ku_daemon *d, void *arg)
{
	(void)arg;
	/* What is in BPF's buffers. An error is the loop's next turn's, too. */
	ku_session_turn(d->s);
	if (d->s->observer)
		ku_observer_hurry(d->s->observer);
}

void ku_daemon_settle(void *arg)
{
	struct ku_daemon *d = arg;

	ku_daemon_do(d, ku_do_settle, NULL);
	ku_ctl_server_feed(d->server, &d->feed);
}
