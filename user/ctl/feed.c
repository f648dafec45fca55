// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/feed.h"

#include <string.h>

#include "log.h"
#include "util.h"

void ku_feed_init(struct ku_feed *f, int wake_fd)
{
	*f = (struct ku_feed){ .wake_fd = wake_fd };
	f->last = &f->first;
	pthread_mutex_init(&f->lock, NULL);
}

void ku_feed_items_free(struct ku_feed_item *items)
{
	while (items) {
		struct ku_feed_item *i = items;

		items = i->next;
		free(i);
	}
}

void ku_feed_free(struct ku_feed *f)
{
	ku_feed_items_free(f->first);
	pthread_mutex_destroy(&f->lock);
	*f = (struct ku_feed){ .wake_fd = -1 };
}

static struct ku_feed_item *ku_feed_item(const struct ku_event *e)
{
	_cleanup_free_ char *json = ku_event_json(e);
	size_t len = json ? strlen(json) : 0;
	struct ku_feed_item *i = json ? malloc(sizeof(*i) + len + 1) : NULL;

	if (!i)
		return NULL;
	*i = (struct ku_feed_item){ .len = len };
	memcpy(i->json, json, len + 1);
	ku_dropped_add(&i->one, e);
	return i;
}

void ku_feed_put(struct ku_feed *f, const struct ku_event *e)
{
	struct ku_feed_item *i;
	uint64_t one = 1;
	bool first;

	if (!__atomic_load_n(&f->listeners, __ATOMIC_RELAXED))
		return;
	i = ku_feed_item(e);
	pthread_mutex_lock(&f->lock);
	first = !f->first && !f->lost.count;
	if (i && f->listeners && f->bytes + i->len <= KU_FEED_MAX) {
		i->seq = ++f->seq;
		f->bytes += i->len;
		*f->last = i;
		f->last = &i->next;
		i = NULL;
	} else if (f->listeners) {
		ku_dropped_add(&f->lost, e);
	}
	first = first && (f->first || f->lost.count);
	pthread_mutex_unlock(&f->lock);
	free(i);
	if (first && write(f->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		ku_warn("eventfd: %s", strerror(errno));
}

struct ku_feed_item *ku_feed_take(struct ku_feed *f, struct ku_ev_dropped *ret_lost)
{
	struct ku_feed_item *items;

	pthread_mutex_lock(&f->lock);
	items = f->first;
	*ret_lost = f->lost;
	f->first = NULL;
	f->last = &f->first;
	f->bytes = 0;
	f->lost = (struct ku_ev_dropped){ 0 };
	pthread_mutex_unlock(&f->lock);
	return items;
}

uint64_t ku_feed_listen(struct ku_feed *f, int n)
{
	uint64_t seq;

	pthread_mutex_lock(&f->lock);
	__atomic_store_n(&f->listeners, f->listeners + (unsigned int)n, __ATOMIC_RELAXED);
	seq = f->seq;
	pthread_mutex_unlock(&f->lock);
	return seq;
}
