// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/server.h"

#include <json-c/json.h>
#include <libgen.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "ctl/feed.h"
#include "ctl/frame.h"
#include "ctl/stream.h"
#include "log.h"
#include "util.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#define KU_CTL_GROUPS 1024
/* How often it is asked whether a union is let go. */
#define KU_CTL_LATER_MS 10

const struct ku_ctl_limits ku_ctl_limits = { .partial_ms = 10000, .idle_ms = 60000 };

struct ku_client {
	int fd; /* -1: free */
	struct ku_ctl_peer peer;
	struct ku_frame in;
	char *out;
	size_t out_len, out_done;
	uint64_t since_ns; /* the last progress: a request came whole, or bytes of a reply were taken */
	bool more;	   /* whole requests may be in its buffer */
	bool eof;	   /* it sends nothing more */
	bool later, later_oneway; /* a reply is due when ticket is */
	uint64_t ticket;
	struct ku_stream *stream; /* it is told of events, and asks for nothing any more */
};

struct ku_ctl_server {
	int fd;
	char *path;
	dev_t dev;
	ino_t ino;
	gid_t gid;
	const struct ku_ctl_ops *ops;
	struct ku_ctl_limits limits;
	struct ku_client clients[KU_CTL_CLIENTS];
	unsigned int nothers, nstreams, nstreams_others;
	size_t out_all; /* bytes of replies that wait */
};

static void ku_client_close(struct ku_ctl_server *s, struct ku_client *c)
{
	s->out_all -= c->out_len;
	s->nothers -= !c->peer.may_change;
	if (c->stream) {
		s->nstreams--;
		s->nstreams_others -= !c->peer.may_change;
		s->ops->unlisten(s->ops->arg);
		ku_stream_free(c->stream);
	}
	ku_closep(&c->fd);
	ku_frame_free(&c->in);
	free(c->out);
	*c = (struct ku_client){ .fd = -1 };
}

/* Is it root, or of the group? */
static bool ku_peer_of(const struct ku_ctl_server *s, int fd, struct ku_ctl_peer *ret)
{
	gid_t groups[KU_CTL_GROUPS];
	socklen_t len = sizeof(groups);
	struct ucred cred;
	socklen_t cred_len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len))
		return false;
	*ret = (struct ku_ctl_peer){ .may_change = cred.uid == 0 };
	if (!cred.uid)
		return true;
	if (s->gid == (gid_t)-1)
		return false;
	if (cred.gid == s->gid)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		return false;
	for (size_t i = 0; i < len / sizeof(*groups); i++)
		if (groups[i] == s->gid)
			return true;
	return false;
}

static struct ku_client *ku_server_place(struct ku_ctl_server *s)
{
	for (unsigned int i = 0; i < KU_CTL_CLIENTS; i++)
		if (s->clients[i].fd < 0)
			return &s->clients[i];
	return NULL;
}

/* Has somebody hung up whose turn has not come since? There is a place after it. */
static bool ku_server_soon(const struct ku_ctl_server *s)
{
	for (unsigned int i = 0; i < KU_CTL_CLIENTS; i++) {
		struct pollfd p = { .fd = s->clients[i].fd };

		if (!s->clients[i].later && poll(&p, 1, 0) == 1 && p.revents & POLLHUP)
			return true;
	}
	return false;
}

/* A bounded number at once: those who are served already must not starve. */
static void ku_server_accept(struct ku_ctl_server *s)
{
	for (int n = 0; n < KU_CTL_CLIENTS; n++) {
		struct ku_client *c = ku_server_place(s);
		_cleanup_close_ int fd = -1;
		struct ku_ctl_peer peer;

		if (!c && ku_server_soon(s))
			return;
		fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		if (!c || !ku_peer_of(s, fd, &peer) || (!peer.may_change && s->nothers >= KU_CTL_CLIENTS_OTHERS))
			continue; /* closed: who has a right to come may try again */
		s->nothers += !peer.may_change;
		*c = (struct ku_client){ .fd = ku_take_fd(&fd), .peer = peer, .in.max = KU_CTL_REQUEST_MAX, .since_ns = ku_now_ns() };
	}
}

/* Puts a reply behind what waits. False: no room, or no memory. */
static bool ku_client_send(struct ku_ctl_server *s, struct ku_client *c, struct json_object *reply)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	char *out;

	text = reply ? ku_frame_text(reply, &len) : NULL;
	if (!text || len > KU_CTL_REPLY_MAX || s->out_all + len > KU_CTL_REPLIES_MAX)
		return false;
	out = realloc(c->out, c->out_len + len);
	if (!out)
		return false;
	memcpy(out + c->out_len, text, len);
	c->out = out;
	c->out_len += len;
	s->out_all += len;
	return true;
}

static void ku_client_first(void *ctx, const char *json, size_t len)
{
	static const struct ku_ev_dropped one = { .count = 1, .others = 1 };

	ku_stream_put(ctx, json, len, &one);
}

/* From here on it is told of events. Otherwise the reply that says why not, NULL without memory. */
static struct json_object *ku_client_stream(struct ku_ctl_server *s, struct ku_client *c)
{
	struct ku_stream *st;
	char err[512] = "";
	int n;

	if (s->nstreams >= KU_CTL_STREAMS || (!c->peer.may_change && s->nstreams_others >= KU_CTL_STREAMS_OTHERS))
		return ku_ctl_failed(-EBUSY, "too many are told of events already; end one of them");
	st = ku_stream_new(0);
	if (!st)
		return NULL;
	n = s->ops->listen(s->ops->arg, &st->after, ku_client_first, st, err);
	if (n) {
		ku_stream_free(st);
		return ku_ctl_failed(n, err);
	}
	s->nstreams++;
	s->nstreams_others += !c->peer.may_change;
	c->stream = st;
	c->more = false;
	return NULL;
}

/* One request. False: this client is to be dropped. */
static bool ku_client_request(struct ku_ctl_server *s, struct ku_client *c, const char *msg, size_t len)
{
	struct ku_ctl_answer a;
	int err = ku_ctl_call(s->ops, &c->peer, msg, len, &a);
	bool ok = true;

	if (err)
		return false;
	if (a.stream) {
		a.reply = ku_client_stream(s, c);
		ok = c->stream || ku_client_send(s, c, a.reply);
	} else if (a.later) {
		c->later = true;
		c->later_oneway = a.oneway;
		c->ticket = a.ticket;
	} else if (!a.oneway) {
		ok = ku_client_send(s, c, a.reply);
	}
	json_object_put(a.reply);
	return ok;
}

static bool ku_client_read(struct ku_client *c)
{
	char buf[16384];
	size_t room = sizeof(buf);
	ssize_t n;

	/* So that what is too long is only what cannot become a request. */
	if (c->in.len - c->in.start < KU_CTL_REQUEST_MAX && room > KU_CTL_REQUEST_MAX - (c->in.len - c->in.start))
		room = KU_CTL_REQUEST_MAX - (c->in.len - c->in.start);
	n = recv(c->fd, buf, room, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (!n) {
		c->eof = true;
		return true;
	}
	c->more = true;
	return !ku_frame_put(&c->in, buf, (size_t)n);
}

static bool ku_client_write(struct ku_ctl_server *s, struct ku_client *c)
{
	ssize_t n = send(c->fd, c->out + c->out_done, c->out_len - c->out_done, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->out_done += (size_t)n;
	c->since_ns = ku_now_ns();
	if (c->out_done < c->out_len)
		return true;
	s->out_all -= c->out_len;
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_done = 0;
	return true;
}

/* One that is told of events: it sends nothing more, or ends by doing so, and then is told what has happened until then. False: drop it. */
static bool ku_client_told(struct ku_ctl_server *s, struct ku_client *c, short revents)
{
	ssize_t n = 0;

	if (revents & POLLHUP)
		return false;
	if (revents & POLLRDHUP && !c->stream->last) {
		s->ops->settle(s->ops->arg);
		ku_stream_end(c->stream);
		c->since_ns = ku_now_ns();
	}
	if (ku_stream_pending(c->stream))
		n = ku_stream_write(c->stream, c->fd);
	if (n > 0)
		c->since_ns = ku_now_ns();
	return n >= 0 && !(c->stream->last && !ku_stream_pending(c->stream));
}

/* One step for one client, so that all have their turn. False: drop it. */
static bool ku_client_turn(struct ku_ctl_server *s, struct ku_client *c, short revents)
{
	const char *msg;
	size_t len;

	if (revents & (POLLERR | POLLNVAL))
		return false;
	if (c->stream)
		return ku_client_told(s, c, revents);
	if (c->later && s->ops->detached(s->ops->arg, c->ticket)) {
		struct json_object *reply = ku_ctl_reply(NULL);
		bool ok = c->later_oneway || ku_client_send(s, c, reply);

		json_object_put(reply);
		c->later = false;
		if (!ok)
			return false;
	}
	if (c->out_len && (revents & POLLOUT || !revents) && !ku_client_write(s, c))
		return false;
	/* No next request before the reply to this one is taken: what waits is one reply a client. */
	if (c->out_len || c->later)
		return true;
	if (!c->more && !c->eof && revents & (POLLIN | POLLHUP) && !ku_client_read(c))
		return false;
	msg = c->more ? ku_frame_next(&c->in, &len) : NULL;
	if (!msg) {
		c->more = false;
		return !c->eof;
	}
	c->since_ns = ku_now_ns();
	if (!ku_client_request(s, c, msg, len))
		return false;
	return !c->out_len || ku_client_write(s, c);
}

static short ku_client_events(const struct ku_client *c)
{
	if (c->stream)
		return (short)((ku_stream_pending(c->stream) ? POLLOUT : 0) | (c->stream->last ? 0 : POLLRDHUP));
	return c->out_len ? POLLOUT : c->later || c->more || c->eof ? 0 : POLLIN;
}

static bool ku_client_late(const struct ku_ctl_server *s, const struct ku_client *c)
{
	unsigned int ms = c->out_len || c->stream || ku_frame_partial(&c->in) ? s->limits.partial_ms : s->limits.idle_ms;

	/* Who is told of events may be slow: it misses some. */
	if (c->stream && !c->stream->last)
		return false;
	return !c->later && ku_now_ns() - c->since_ns > ms * 1000000ull;
}

int ku_ctl_server_turn(struct ku_ctl_server *s, int wake_fd, int timeout_ms)
{
	struct pollfd fds[2 + KU_CTL_CLIENTS] = { { .fd = s->fd, .events = POLLIN }, { .fd = wake_fd, .events = POLLIN } };

	for (unsigned int i = 0; i < KU_CTL_CLIENTS; i++) {
		const struct ku_client *c = &s->clients[i];
		int ms = c->fd < 0 ? -1 : c->later ? KU_CTL_LATER_MS : c->more && !c->out_len ? 0 : 1000;

		fds[2 + i].fd = c->fd;
		fds[2 + i].events = ku_client_events(c);
		/* Its hanging up would come again and again. */
		if (c->later && c->fd >= 0)
			fds[2 + i].fd = -1;
		if (ms >= 0 && (timeout_ms < 0 || ms < timeout_ms))
			timeout_ms = ms;
	}
	if (poll(fds, KU_ARRAY_SIZE(fds), timeout_ms) < 0 && errno != EINTR)
		return -errno;
	for (unsigned int i = 0; i < KU_CTL_CLIENTS; i++) {
		struct ku_client *c = &s->clients[i];

		if (c->fd < 0)
			continue;
		if ((fds[2 + i].revents || c->more || c->later) && !ku_client_turn(s, c, fds[2 + i].revents))
			ku_client_close(s, c);
		else if (ku_client_late(s, c))
			ku_client_close(s, c);
	}
	if (fds[0].revents)
		ku_server_accept(s);
	return 0;
}

void ku_ctl_server_feed(struct ku_ctl_server *s, struct ku_feed *f)
{
	struct ku_ev_dropped lost;
	struct ku_feed_item *items = ku_feed_take(f, &lost);

	for (unsigned int c = 0; c < KU_CTL_CLIENTS; c++) {
		struct ku_stream *st = s->clients[c].stream;

		if (!st || st->last)
			continue;
		for (const struct ku_feed_item *i = items; i; i = i->next)
			if (i->seq > st->after)
				ku_stream_put(st, i->json, i->len, &i->one);
		/* They found no room behind those. */
		if (lost.count)
			ku_stream_lost(st, &lost);
	}
	ku_feed_items_free(items);
}

/* Somebody who listens there is not pushed aside. */
static int ku_server_clear(const struct sockaddr_un *a)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(a->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (!connect(fd, (const struct sockaddr *)a, sizeof(*a)) || errno == EAGAIN)
		return -EADDRINUSE;
	return unlink(a->sun_path) && errno != ENOENT ? -errno : 0;
}

static int ku_server_dir(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	return mkdir(dirname(copy), 0755) && errno != EEXIST ? -errno : 0;
}

static int ku_server_listen(struct ku_ctl_server *s)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t mask;
	int n;

	if (strlen(s->path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, s->path, strlen(s->path));
	n = ku_server_dir(s->path);
	if (!n)
		n = ku_server_clear(&a);
	if (n)
		return n;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	/* Nobody gets in between bind and chmod. */
	mask = umask(0177);
	n = bind(s->fd, (const struct sockaddr *)&a, sizeof(a)) ? -errno : 0;
	umask(mask);
	if (n)
		return n;
	if (lstat(s->path, &st))
		return -errno;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	if (s->gid != (gid_t)-1 && (lchown(s->path, (uid_t)-1, s->gid) || chmod(s->path, 0660)))
		return -errno;
	return listen(s->fd, KU_CTL_CLIENTS) ? -errno : 0;
}

int ku_ctl_server_open(const char *path, gid_t gid, const struct ku_ctl_ops *ops, const struct ku_ctl_limits *limits,
		       struct ku_ctl_server **ret, char err[static 512])
{
	struct ku_ctl_server *s = calloc(1, sizeof(*s));
	int n;

	if (s)
		s->path = strdup(path);
	if (!s || !s->path) {
		free(s);
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	s->fd = -1;
	s->gid = gid;
	s->ops = ops;
	s->limits = *limits;
	for (unsigned int i = 0; i < KU_CTL_CLIENTS; i++)
		s->clients[i].fd = -1;
	n = ku_server_listen(s);
	if (!n) {
		*ret = s;
		return 0;
	}
	if (n == -EADDRINUSE)
		snprintf(err, 512, "%.300s: another kunion daemon listens there; end that one first, or give another --socket", path);
	else if (n == -EEXIST)
		snprintf(err, 512, "%.300s: is there and is no socket; give another --socket", path);
	else
		snprintf(err, 512, "%.300s: cannot listen there: %s", path, strerror(-n));
	ku_ctl_server_close(s);
	return n;
}

void ku_ctl_server_close(struct ku_ctl_server *s)
{
	struct stat st;

	if (!s)
		return;
	for (unsigned int i = 0; i < KU_CTL_CLIENTS; i++)
		if (s->clients[i].fd >= 0)
			ku_client_close(s, &s->clients[i]);
	ku_closep(&s->fd);
	/* Ours, not that of one who came after us. */
	if (s->ino && !lstat(s->path, &st) && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
	free(s->path);
	free(s);
}
