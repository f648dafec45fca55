// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/monitor.h"

#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "ctl/client.h"
#include "ctl/frame.h"
#include "ctl/server.h"
#include "util.h"

/* Nothing at all for so long: it will not answer any more. */
#define KU_FINISH_MS 30000

struct ku_monitor {
	int fd, err;
	bool begun, ended; /* the first, the last reply was there */
	struct ku_frame in;
	void (*fn)(void *arg, const struct ku_event *e);
	void *arg;
};

static void ku_monitor_event(struct ku_monitor *m, struct json_object *params)
{
	struct json_object *v;
	struct ku_event *e;

	if (!params || !json_object_object_get_ex(params, "event", &v) || !v)
		return;
	/* What this version does not know it passes over. */
	if (ku_event_parse(json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), &e))
		return;
	m->fn(m->arg, e);
	ku_event_free(e);
}

/* One reply. 0, or -errno with a line in err. */
static int ku_monitor_reply(struct ku_monitor *m, const char *msg, size_t len, char err[static 512])
{
	struct json_object *reply = ku_frame_parse(msg, len), *params = NULL, *v;
	int n;

	if (!reply) {
		snprintf(err, 512, "the daemon does not speak varlink");
		return -errno;
	}
	m->ended = !json_object_object_get_ex(reply, "continues", &v) || !json_object_get_boolean(v);
	n = ku_ctl_call_result(reply, &params, err);
	if (!n)
		ku_monitor_event(m, params);
	json_object_put(params);
	m->begun = true;
	return n;
}

/* One recv, and the replies that are whole then. 0, or -errno with a line in err. */
static int ku_monitor_take(struct ku_monitor *m, int flags, char err[static 512])
{
	const char *msg;
	char buf[65536];
	size_t len;
	ssize_t n = recv(m->fd, buf, sizeof(buf), flags);
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR) && flags)
		return 0;
	r = n < 0 ? -errno : n ? ku_frame_put(&m->in, buf, (size_t)n) : -ECONNRESET;
	if (r)
		snprintf(err, 512, "%s", r == -ECONNRESET ? "the daemon has ended" : strerror(-r));
	while (!r && !m->ended && (msg = ku_frame_next(&m->in, &len)))
		r = ku_monitor_reply(m, msg, len, err);
	return r;
}

int ku_monitor_open(const char *socket, void (*fn)(void *arg, const struct ku_event *e), void *arg, struct ku_monitor **ret, char err[static 512])
{
	struct ku_monitor *m = calloc(1, sizeof(*m));
	int n;

	if (!m) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	*m = (struct ku_monitor){ .fd = -1, .in.max = KU_CTL_REPLY_MAX, .fn = fn, .arg = arg };
	n = ku_ctl_call_begin(socket, "Monitor", NULL, true, &m->fd, err);
	/* Only now is it certain that nothing is missed. */
	while (!n && !m->begun)
		n = ku_monitor_take(m, 0, err);
	if (!n && m->ended) {
		snprintf(err, 512, "the daemon tells no events; is it of another version?");
		n = -EPROTO;
	}
	if (n)
		ku_monitor_close(m);
	else
		*ret = m;
	return n;
}

int ku_monitor_fd(const struct ku_monitor *m)
{
	return m->fd;
}

bool ku_monitor_read(struct ku_monitor *m)
{
	char err[512];

	if (!m->ended && !m->err)
		m->err = ku_monitor_take(m, MSG_DONTWAIT, err);
	return !m->ended && !m->err;
}

int ku_monitor_finish(struct ku_monitor *m)
{
	struct pollfd p = { .fd = m->fd, .events = POLLIN };
	char err[512];

	if (!m->err && !m->ended && shutdown(m->fd, SHUT_WR))
		m->err = -errno;
	while (!m->err && !m->ended) {
		int n = poll(&p, 1, KU_FINISH_MS);

		m->err = n < 0 && errno != EINTR ? -errno : !n ? -ETIMEDOUT : n > 0 ? ku_monitor_take(m, MSG_DONTWAIT, err) : 0;
	}
	return m->err;
}

void ku_monitor_close(struct ku_monitor *m)
{
	if (!m)
		return;
	ku_closep(&m->fd);
	ku_frame_free(&m->in);
	free(m);
}
