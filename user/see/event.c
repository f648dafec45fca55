// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sink must never hold up the main loop, so nothing here may block: where the sink is not a regular file, we write through an
 * open file description of our own that is O_NONBLOCK (a flag of the description: set on stdout itself it would be everybody's).
 */
#include "event.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "util.h"

#define KU_DROPPED_MAX 64

enum ku_sink {
	KU_SINK_FILE,	  /* regular: no waiting but for the disk */
	KU_SINK_NONBLOCK, /* pipe, terminal, device, opened by us */
	KU_SINK_SOCKET,	  /* a stream: send(2) has a flag for it */
	KU_SINK_POLL,	  /* none of these: ask first, and only for what a pipe takes whole */
};

struct ku_events {
	pthread_mutex_t lock; /* all below */
	int fd;
	enum ku_sink sink;
	uint64_t dropped;
	char *tail; /* what the sink did not take of the last line: it comes before any other */
	size_t tail_at, tail_len;
};

/* Opens what fd is anew, for a description of our own; -1 where that cannot be (a socket, no /proc). */
static int ku_reopen_nonblock(int fd)
{
	char proc[32];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return open(proc, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int ku_sink_stdout(struct ku_events *ev)
{
	struct stat st;

	if (fstat(STDOUT_FILENO, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode)) {
		ev->sink = KU_SINK_NONBLOCK;
		ev->fd = ku_reopen_nonblock(STDOUT_FILENO);
		if (ev->fd >= 0)
			return 0;
	}
	ev->sink = S_ISREG(st.st_mode) ? KU_SINK_FILE : S_ISSOCK(st.st_mode) ? KU_SINK_SOCKET : KU_SINK_POLL;
	ev->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	return ev->fd < 0 ? -errno : 0;
}

static int ku_sink_open(struct ku_events *ev, const char *file)
{
	struct stat st;

	if (!strcmp(file, "-"))
		return ku_sink_stdout(ev);
	/* O_NONBLOCK: a FIFO without a reader is ENXIO, not a start that hangs. */
	ev->fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
	if (ev->fd < 0 || fstat(ev->fd, &st) < 0)
		return -errno;
	ev->sink = S_ISREG(st.st_mode) ? KU_SINK_FILE : KU_SINK_NONBLOCK;
	return 0;
}

int ku_events_open(const char *file, struct ku_events **ret)
{
	struct ku_events *ev = calloc(1, sizeof(*ev));
	int r;

	if (!ev)
		return -ENOMEM;
	ev->fd = -1;
	pthread_mutex_init(&ev->lock, NULL);
	r = ku_sink_open(ev, file);
	if (r < 0) {
		ku_events_close(ev);
		return r;
	}
	*ret = ev;
	return 0;
}

/* write(2) without SIGPIPE: whether that signal is ignored is inherited by what `run` starts, so it is not ours to change. */
static ssize_t ku_write_quietly(int fd, const char *data, size_t len)
{
	const struct timespec now = { 0 };
	sigset_t pipe, old, pending;
	ssize_t n;
	int err;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe, &old);
	n = write(fd, data, len);
	err = errno;
	if (n < 0 && err == EPIPE && !sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return n;
}

/* One write that does not block. Returns what was taken, perhaps 0. */
static size_t ku_sink_write(const struct ku_events *ev, const char *data, size_t len)
{
	struct pollfd p = { .fd = ev->fd, .events = POLLOUT };
	ssize_t n;

	if (ev->sink == KU_SINK_SOCKET) {
		n = send(ev->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		return n < 0 ? 0 : (size_t)n;
	}
	if (ev->sink == KU_SINK_POLL && (len > PIPE_BUF || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)))
		return 0;
	do
		n = ku_write_quietly(ev->fd, data, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? 0 : (size_t)n;
}

/* A full disk took a part of a line: takes it back, if nobody wrote behind it. */
static bool ku_sink_take_back(const struct ku_events *ev, size_t part)
{
	off_t end = lseek(ev->fd, 0, SEEK_CUR);
	struct stat st;

	if (end < (off_t)part || fstat(ev->fd, &st) < 0 || st.st_size != end)
		return false;
	end -= (off_t)part;
	return ftruncate(ev->fd, end) == 0 && lseek(ev->fd, end, SEEK_SET) == end;
}

/* Sends what is left of an earlier line. */
static bool ku_events_flush_tail(struct ku_events *ev)
{
	if (!ev->tail)
		return true;
	ev->tail_at += ku_sink_write(ev, ev->tail + ev->tail_at, ev->tail_len - ev->tail_at);
	if (ev->tail_at < ev->tail_len)
		return false;
	free(ev->tail);
	ev->tail = NULL;
	return true;
}

/* True when the line is out, or will be: the sink has its beginning and we keep the rest. */
static bool ku_events_send(struct ku_events *ev, const char *line, size_t len)
{
	size_t n;

	if (!ku_events_flush_tail(ev))
		return false;
	n = ku_sink_write(ev, line, len);
	if (n == len)
		return true;
	if (!n || (ev->sink == KU_SINK_FILE && ku_sink_take_back(ev, n)))
		return false;
	/* Without memory the rest shrinks to the line's end: one bad line, the next one good. */
	ev->tail = malloc(len - n);
	if (!ev->tail) {
		ku_sink_write(ev, "\n", 1);
		return false;
	}
	memcpy(ev->tail, line + n, len - n);
	ev->tail_at = 0;
	ev->tail_len = len - n;
	return true;
}

/* The line that says how many are missing, "" if none are. */
static size_t ku_dropped_line(const struct ku_events *ev, char line[static KU_DROPPED_MAX])
{
	line[0] = '\0';
	if (!ev->dropped)
		return 0;
	return (size_t)snprintf(line, KU_DROPPED_MAX, "{\"event\":\"dropped\",\"count\":%llu}\n", (unsigned long long)ev->dropped);
}

static void ku_events_say_dropped(struct ku_events *ev)
{
	char line[KU_DROPPED_MAX];
	size_t len = ku_dropped_line(ev, line);

	if (len && ku_events_send(ev, line, len))
		ev->dropped = 0;
}

void ku_events_close(struct ku_events *ev)
{
	if (!ev)
		return;
	if (ev->fd >= 0 && ku_events_flush_tail(ev))
		ku_events_say_dropped(ev);
	ku_closep(&ev->fd);
	pthread_mutex_destroy(&ev->lock);
	free(ev->tail);
	free(ev);
}

void ku_events_put(struct ku_events *ev, const struct ku_event *e)
{
	char dropped[KU_DROPPED_MAX];
	_cleanup_free_ char *lines = NULL, *text = NULL;
	int len = -1;

	if (!ev)
		return;
	text = ku_event_json(e);
	pthread_mutex_lock(&ev->lock);
	/* In one write with the line: alone, the short "dropped" would fit in where nothing else does, again and again. */
	ku_dropped_line(ev, dropped);
	if (text)
		len = asprintf(&lines, "%s%s\n", dropped, text);
	if (len < 0)
		lines = NULL;
	if (lines && ku_events_send(ev, lines, (size_t)len))
		ev->dropped = 0;
	else
		ev->dropped++;
	pthread_mutex_unlock(&ev->lock);
}

void ku_dropped_add(struct ku_ev_dropped *d, const struct ku_event *e)
{
	struct ku_ev_dropped one = { .count = 1 };

	switch (e->type) {
	case KU_EV_DROPPED:
		one = e->dropped;
		break;
	case KU_EV_COPYUP:
		one.copyups = 1;
		break;
	case KU_EV_WAIT:
		one.waits = 1;
		break;
	case KU_EV_WRITE:
		one.writes = 1;
		break;
	default:
		one.others = 1;
	}
	d->count += one.count;
	d->copyups += one.copyups;
	d->waits += one.waits;
	d->writes += one.writes;
	d->others += one.others;
}
