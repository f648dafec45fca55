/* SPDX-License-Identifier: GPL-2.0-only */
/* A daemon that only remembers: for the tests of the control socket. */
#ifndef CTL_FAKE_H
#define CTL_FAKE_H

#include <json-c/json.h>
#include <string.h>

#include "ctl/call.h"
#include "ctl/feed.h"
#include "ctl/frame.h"
#include "ctl/server.h"
#include "ktap.h"

struct fake {
	unsigned int attached, detached, statuses;
	char path[256], mode[64];
	int64_t min_size;
	volatile bool gone; /* what is detached */
	size_t status_size; /* bytes of its text */
	/* for those who listen */
	struct ku_feed feed;
	struct ku_ctl_server *server;
	volatile int listeners;
	void (*on_listen)(struct fake *f); /* just before it is one */
};

#define FAKE_UNION "{\"event\":\"union\",\"ts\":\"2026-01-01T00:00:00.000000Z\",\"union\":\"/merged\",\"path\":\"\"}"

static inline int fake_listen(void *arg, uint64_t *ret_after, void (*first)(void *ctx, const char *json, size_t len), void *ctx, char err[512])
{
	struct fake *f = arg;

	(void)err;
	f->listeners++;
	first(ctx, FAKE_UNION, strlen(FAKE_UNION));
	if (f->on_listen)
		f->on_listen(f);
	*ret_after = ku_feed_listen(&f->feed, 1);
	return 0;
}

static inline void fake_unlisten(void *arg)
{
	struct fake *f = arg;

	f->listeners--;
	ku_feed_listen(&f->feed, -1);
}

static inline void fake_settle(void *arg)
{
	struct fake *f = arg;

	ku_ctl_server_feed(f->server, &f->feed);
}

static inline int fake_attach(void *arg, const char *path, const char *mode, int64_t min_size, struct json_object **ret, char err[512])
{
	struct fake *f = arg;

	if (!strcmp(path, "/busy")) {
		snprintf(err, 512, "/busy: another kunion is attached to it");
		return -EBUSY;
	}
	f->attached++;
	snprintf(f->path, sizeof(f->path), "%s", path);
	snprintf(f->mode, sizeof(f->mode), "%s", mode ? mode : "");
	f->min_size = min_size;
	*ret = json_object_new_object();
	ku_ctl_add_bytes(*ret, "path", path);
	return 0;
}

static inline int fake_attach_all(void *arg, const struct ku_ctl_all *all, struct json_object **ret, char err[512])
{
	struct fake *f = arg;

	if (all->pid == 404) {
		snprintf(err, 512, "process 404: there is none of that number");
		return -ESRCH;
	}
	snprintf(f->path, sizeof(f->path), "%u|%s|%s", all->pid, all->container ?: "", all->match ?: "");
	snprintf(f->mode, sizeof(f->mode), "%s", all->mode ?: "");
	f->min_size = all->min_size;
	*ret = json_object_new_object();
	json_object_object_add(*ret, "unions", json_object_new_array());
	return 0;
}

static inline int fake_detach(void *arg, const char *path, const char *container, uint64_t *ret_ticket, char err[512])
{
	struct fake *f = arg;

	if (container && strcmp(container, "c0ffee"))
		return -ENOENT;

	(void)err;
	if (strcmp(path, f->path))
		return -ENOENT;
	f->detached++;
	*ret_ticket = 42;
	return 0;
}

static inline int fake_detach_all(void *arg, const char *match, uint64_t *ret_ticket, char err[512])
{
	struct fake *f = arg;

	(void)err;
	if (match && strcmp(match, f->path))
		return -ENOENT;
	f->detached++;
	*ret_ticket = 42;
	return 0;
}

static inline bool fake_detached(void *arg, uint64_t ticket)
{
	const struct fake *f = arg;

	return ticket == 42 && f->gone;
}

static inline int fake_status(void *arg, struct json_object **ret, char err[512])
{
	struct fake *f = arg;
	char *text = calloc(1, f->status_size + 1);

	(void)err;
	f->statuses++;
	*ret = json_object_new_object();
	memset(text, 's', f->status_size);
	json_object_object_add(*ret, "text", json_object_new_string(text));
	free(text);
	return 0;
}

static inline int fake_reload(void *arg, char err[512])
{
	(void)arg;
	snprintf(err, 512, "file:3: no");
	return -EINVAL;
}

#define FAKE_OPS(f)                                                                                              \
	{                                                                                                        \
		.attach = fake_attach, .attach_all = fake_attach_all, .detach = fake_detach, .detach_all = fake_detach_all, .detached = fake_detached, .status = fake_status, \
		.metrics = fake_status, .live = fake_status, .policy = fake_status, .reload = fake_reload,      \
		.listen = fake_listen, .unlisten = fake_unlisten, .settle = fake_settle, .arg = (f)             \
	}

/* The answer to one message as text, "" for none, "BAD" for what cannot be answered; static. */
static inline const char *fake_call(const struct ku_ctl_ops *ops, bool root, const char *msg)
{
	const struct ku_ctl_peer peer = { .may_change = root };
	static char text[65536];
	struct ku_ctl_answer a;

	if (ku_ctl_call(ops, &peer, msg, strlen(msg), &a))
		return "BAD";
	snprintf(text, sizeof(text), "%s", a.reply ? json_object_to_json_string_ext(a.reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) :
						     a.later ? "LATER" : a.stream ? "STREAM" : "");
	json_object_put(a.reply);
	return text;
}

#endif
