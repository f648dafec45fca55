// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sink must never hold up the main loop, so nothing here may block: where the sink is not a regular file, we write through an
 * open file description of our own that is O_NONBLOCK (a flag of the description: set on stdout itself it would be everybody's).
 */
#include "event.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "util.h"

#define KU_DROPPED_MAX 64

enum ku_sink {
	KU_SINK_FILE,	  /* regular: no waiting but for the disk */
	KU_SINK_NONBLOCK, /* pipe, terminal, device, opened by us */
	KU_SINK_SOCKET,	  /* a stream: send(2) has a flag for it */
	KU_SINK_POLL,	  /* none of these: ask first, and only for what a pipe takes whole */
};

struct ku_events {
	pthread_mutex_t lock; /* all below, and the cgroup cache */
	int fd;
	enum ku_sink sink;
	uint64_t dropped;
	char *tail; /* what the sink did not take of the last line: it comes before any other */
	size_t tail_at, tail_len;
};

/* The length of the valid UTF-8 character at s, 0 if there is none. Overlong forms and surrogates are not valid. */
static size_t ku_utf8_len(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t code;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	len = s[0] >= 0xf0 && s[0] < 0xf8 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc0 && s[0] < 0xe0 ? 2 : 0;
	if (!len)
		return 0;
	code = s[0] & (0x7f >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80) /* also the string's end */
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : len;
}

char *ku_escape_bytes(const char *bytes)
{
	const unsigned char *s = (const unsigned char *)bytes;
	char *out = malloc(strlen(bytes) * 4 + 1), *o = out;

	if (!out)
		return NULL;
	while (*s) {
		size_t len = ku_utf8_len(s);

		if (*s == '\\') {
			*o++ = '\\';
			*o++ = '\\';
			s++;
		} else if (len) {
			memcpy(o, s, len);
			o += len;
			s += len;
		} else {
			o += sprintf(o, "\\x%02x", *s++);
		}
	}
	*o = '\0';
	return out;
}

const char *ku_errno_name(int err, char buf[static 16])
{
	const char *name = strerrorname_np(err);

	if (name && err > 0)
		return name;
	snprintf(buf, 16, "E%d", err);
	return buf;
}

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
static bool ku_events_put(struct ku_events *ev, const char *line, size_t len)
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

	if (len && ku_events_put(ev, line, len))
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

void ku_events_dropped(struct ku_events *ev, uint64_t count)
{
	if (!ev || !count)
		return;
	pthread_mutex_lock(&ev->lock);
	ev->dropped += count;
	ku_events_say_dropped(ev);
	pthread_mutex_unlock(&ev->lock);
}

/* A line in the making. Out of memory anywhere makes the whole line fail. */
struct ku_line {
	struct json_object *obj;
	bool failed;
};

static void ku_line_add(struct ku_line *l, const char *key, struct json_object *value)
{
	if (l->obj && value && json_object_object_add(l->obj, key, value) == 0)
		return;
	json_object_put(value);
	l->failed = true;
}

static void ku_line_string(struct ku_line *l, const char *key, const char *bytes)
{
	_cleanup_free_ char *escaped = ku_escape_bytes(bytes ? bytes : "");

	ku_line_add(l, key, escaped ? json_object_new_string(escaped) : NULL);
}

static void ku_line_number(struct ku_line *l, const char *key, uint64_t n)
{
	ku_line_add(l, key, json_object_new_uint64(n));
}

/* A moment of CLOCK_MONOTONIC as UTC, by the clocks' present distance. */
static void ku_line_time(struct ku_line *l, uint64_t ts_ns)
{
	struct timespec real;
	char text[64];
	uint64_t ns;
	struct tm tm;
	time_t sec;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &real);
	ns = (uint64_t)real.tv_sec * 1000000000ull + (uint64_t)real.tv_nsec - ku_now_ns() + ts_ns;
	sec = (time_t)(ns / 1000000000ull);
	if (!gmtime_r(&sec, &tm))
		memset(&tm, 0, sizeof(tm));
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%06uZ", (unsigned int)(ns % 1000000000ull / 1000));
	ku_line_string(l, "ts", text);
}

static void ku_line_who(struct ku_line *l, const struct ku_who *w)
{
	ku_line_number(l, "pid", w->pid);
	ku_line_number(l, "tid", w->tid);
	ku_line_string(l, "comm", w->comm);
	ku_line_number(l, "uid", w->uid);
	ku_line_string(l, "cgroup", ku_cgroup_path(w->cgroup_id));
}

static void ku_line_write(struct ku_events *ev, struct ku_line *l)
{
	char dropped[KU_DROPPED_MAX];
	_cleanup_free_ char *lines = NULL;
	const char *text = NULL;
	int len = -1;

	if (!l->failed)
		text = json_object_to_json_string_ext(l->obj, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	/* In one write with the line: alone, the short "dropped" would fit in where nothing else does, again and again. */
	ku_dropped_line(ev, dropped);
	if (text)
		len = asprintf(&lines, "%s%s\n", dropped, text);
	if (len < 0)
		lines = NULL;
	if (lines && ku_events_put(ev, lines, (size_t)len))
		ev->dropped = 0;
	else
		ev->dropped++;
	json_object_put(l->obj);
}

void ku_events_copyup(struct ku_events *ev, const struct ku_ev_copyup *e)
{
	struct ku_line l;

	if (!ev)
		return;
	pthread_mutex_lock(&ev->lock);
	l = (struct ku_line){ .obj = json_object_new_object() };
	ku_line_string(&l, "event", "copyup");
	ku_line_time(&l, e->ts_ns);
	ku_line_string(&l, "union", e->union_path);
	ku_line_string(&l, "path", e->path);
	ku_line_string(&l, "op", e->op);
	ku_line_who(&l, &e->who);
	ku_line_string(&l, "engine", e->engine);
	ku_line_number(&l, "bytes", e->bytes);
	ku_line_number(&l, "waiters", e->waiters);
	ku_line_number(&l, "queued_us", e->queued_us);
	ku_line_number(&l, "copy_us", e->copy_us);
	ku_line_number(&l, "commit_us", e->commit_us);
	ku_line_string(&l, "result", e->result);
	ku_line_write(ev, &l);
	pthread_mutex_unlock(&ev->lock);
}

void ku_events_wait(struct ku_events *ev, const struct ku_ev_wait *e)
{
	struct ku_line l;

	if (!ev)
		return;
	pthread_mutex_lock(&ev->lock);
	l = (struct ku_line){ .obj = json_object_new_object() };
	ku_line_string(&l, "event", "wait");
	ku_line_time(&l, e->ts_ns);
	ku_line_string(&l, "union", e->union_path);
	ku_line_string(&l, "path", e->path);
	ku_line_string(&l, "op", e->op);
	ku_line_who(&l, &e->who);
	ku_line_string(&l, "on", e->on);
	ku_line_number(&l, "holder_pid", e->holder_pid);
	ku_line_number(&l, "wait_us", e->wait_us);
	ku_line_string(&l, "result", e->result);
	ku_line_write(ev, &l);
	pthread_mutex_unlock(&ev->lock);
}
