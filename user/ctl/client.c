// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/client.h"

#include <json-c/json.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "ctl/call.h"
#include "ctl/frame.h"
#include "ctl/server.h"
#include "event.h"
#include "util.h"

/* An attachment waits for a journal perhaps; a daemon that does not answer at all is told of some time. */
#define KU_ASK_SECONDS 120

static int ku_ask_connect(const char *path, int *ret_fd, char err[static 512])
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = KU_ASK_SECONDS };
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(a.sun_path)) {
		snprintf(err, 512, "%.300s: too long for a socket", path);
		return -ENAMETOOLONG;
	}
	memcpy(a.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit))) {
		int n = -errno;

		snprintf(err, 512, "cannot make a socket: %s", strerror(-n));
		return n;
	}
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a))) {
		if (errno == EACCES)
			snprintf(err, 512, "%.300s: not allowed: root only, and the daemon's group to read", path);
		else
			snprintf(err, 512, "no kunion daemon answers at %.300s: %s; start it with 'systemctl start kunion' or 'kunion daemon'",
				 path, strerror(errno));
		return -ENOTCONN;
	}
	*ret_fd = ku_take_fd(&fd);
	return 0;
}

static int ku_ask_send(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EPIPE;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int ku_ask_recv(int fd, struct json_object **ret)
{
	struct ku_frame f = { .max = KU_CTL_REPLY_MAX };
	char buf[16384];
	size_t len;
	int err = 0;

	*ret = NULL;
	while (!*ret && !err) {
		const char *msg = ku_frame_next(&f, &len);
		ssize_t n;

		if (msg) {
			*ret = ku_frame_parse(msg, len);
			err = *ret ? 0 : -errno;
			break;
		}
		n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0 && errno == EINTR)
			continue;
		err = n < 0 ? -errno : n ? ku_frame_put(&f, buf, (size_t)n) : -ECONNRESET;
	}
	ku_frame_free(&f);
	return err;
}

static int ku_ask_silent(const char *socket, int n, char err[static 512])
{
	snprintf(err, 512, "%.300s: the daemon does not answer: %s", socket, n == -EAGAIN ? "it takes too long" : strerror(-n));
	return n;
}

static const char *ku_ask_text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return o && json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

/* What an error says, as a line. */
static int ku_ask_error(const char *name, struct json_object *params, char err[static 512])
{
	if (!strcmp(name, "io.kunion.NotAttached")) {
		snprintf(err, 512, "%.300s: is not attached; 'kunion status' lists what is", ku_ask_text(params, "path"));
		return -ENOENT;
	}
	if (!strcmp(name, "io.kunion.NotStanding")) {
		const char *match = ku_ask_text(params, "match");

		snprintf(err, 512, "no 'kunion attach --all%s%.300s' stands; 'kunion status' shows what does", *match ? " --match " : "", match);
		return -ENOENT;
	}
	if (!strcmp(name, "io.kunion.Failed") && *ku_ask_text(params, "message"))
		snprintf(err, 512, "%.500s", ku_ask_text(params, "message"));
	else if (!strcmp(name, "org.varlink.service.PermissionDenied"))
		snprintf(err, 512, "the daemon lets only root do this");
	else if (!strcmp(name, "org.varlink.service.InvalidParameter"))
		snprintf(err, 512, "the daemon does not take this %.100s; is it of another version?", ku_ask_text(params, "parameter"));
	else
		snprintf(err, 512, "the daemon says %.200s; is it of another version?", name);
	return -EREMOTEIO;
}

int ku_ctl_call_begin(const char *socket, const char *method, struct json_object *params, bool more, int *ret_fd, char err[static 512])
{
	struct json_object *o = json_object_new_object();
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	char name[64];
	size_t len = 0;
	int n;

	snprintf(name, sizeof(name), "io.kunion.%s", method);
	json_object_object_add(o, "method", json_object_new_string(name));
	json_object_object_add(o, "parameters", params ? params : json_object_new_object());
	if (more)
		json_object_object_add(o, "more", json_object_new_boolean(true));
	text = ku_frame_text(o, &len);
	json_object_put(o);
	if (!text) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	n = ku_ask_connect(socket, &fd, err);
	if (n)
		return n;
	n = ku_ask_send(fd, text, len);
	if (n)
		return ku_ask_silent(socket, n, err);
	*ret_fd = ku_take_fd(&fd);
	return 0;
}

int ku_ctl_call_result(struct json_object *reply, struct json_object **ret_params, char err[static 512])
{
	struct json_object *params = NULL, *v;
	int n = 0;

	json_object_object_get_ex(reply, "parameters", &params);
	if (json_object_object_get_ex(reply, "error", &v))
		n = ku_ask_error(json_object_get_string(v), params, err);
	*ret_params = n ? NULL : json_object_get(params);
	json_object_put(reply);
	return n;
}

int ku_ctl_ask(const char *socket, const char *method, struct json_object *params, struct json_object **ret_params, char err[static 512])
{
	struct json_object *reply = NULL;
	_cleanup_close_ int fd = -1;
	int n = ku_ctl_call_begin(socket, method, params, false, &fd, err);

	if (n)
		return n;
	n = ku_ask_recv(fd, &reply);
	return n ? ku_ask_silent(socket, n, err) : ku_ctl_call_result(reply, ret_params, err);
}
