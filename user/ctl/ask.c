// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/ask.h"

#include <json-c/json.h>
#include <string.h>

#include "cmd.h"
#include "ctl/call.h"
#include "ctl/client.h"
#include "ctl/live_json.h"
#include "log.h"
#include "util.h"

int ku_ask_attach(const char *socket, const char *path, const char *mode, int64_t min_size)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	struct json_object *params, *reply = NULL;
	char err[512] = "";
	int n;

	if (!real) {
		ku_err("attach: %s: %s", path, strerror(errno));
		return KU_EXIT_FAIL;
	}
	params = json_object_new_object();
	ku_ctl_add_bytes(params, "path", real);
	if (mode)
		json_object_object_add(params, "mode", json_object_new_string(mode));
	if (min_size >= 0)
		json_object_object_add(params, "min_size", json_object_new_int64(min_size));
	n = ku_ctl_ask(socket, "Attach", params, &reply, err);
	json_object_put(reply);
	if (n == -ENOTCONN)
		ku_err("attach: %s; a bind mount is made a union by --upper DIR", err);
	else if (n)
		ku_err("attach: %s", err);
	return n == -ENOTCONN ? KU_EXIT_USAGE : n ? KU_EXIT_FAIL : KU_EXIT_OK;
}

/* One line each; a control character would be the terminal's. */
static void ku_ask_lines(struct json_object *reply, const char *key, const char *field, void (*say)(const char *line))
{
	struct json_object *list, *o;

	if (!json_object_object_get_ex(reply, key, &list) || !json_object_is_type(list, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		_cleanup_free_ char *line = NULL;

		o = json_object_array_get_idx(list, i);
		if (field && !json_object_object_get_ex(o, field, &o))
			continue;
		line = strdup(json_object_get_string(o) ?: "");
		for (char *c = line; c && *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = '?';
		if (line)
			say(line);
	}
}

static void ku_ask_attached(const char *line)
{
	puts(line);
}

static void ku_ask_failed(const char *line)
{
	ku_err("attach: %s", line);
}

int ku_ask_attach_all(const char *socket, const struct ku_ctl_all *all)
{
	struct json_object *params = json_object_new_object(), *reply = NULL, *failed;
	char err[512] = "";
	int n;

	if (all->pid)
		json_object_object_add(params, "pid", json_object_new_int64(all->pid));
	if (all->container)
		ku_ctl_add_bytes(params, "container", all->container);
	if (all->match)
		ku_ctl_add_bytes(params, "match", all->match);
	if (all->mode)
		json_object_object_add(params, "mode", json_object_new_string(all->mode));
	if (all->min_size >= 0)
		json_object_object_add(params, "min_size", json_object_new_int64(all->min_size));
	n = ku_ctl_ask(socket, "AttachAll", params, &reply, err);
	if (n) {
		ku_err("attach: %s", err);
		return n == -ENOTCONN ? KU_EXIT_USAGE : KU_EXIT_FAIL;
	}
	ku_ask_lines(reply, "unions", "path", ku_ask_attached);
	ku_ask_lines(reply, "failed", NULL, ku_ask_failed);
	n = json_object_object_get_ex(reply, "failed", &failed) && json_object_array_length(failed);
	json_object_put(reply);
	return n || fflush(stdout) ? KU_EXIT_FAIL : KU_EXIT_OK;
}

int ku_ask_detach(const char *socket, const char *path, const char *container, char err[static 512])
{
	/* Its name, if it is there no more. */
	_cleanup_free_ char *real = container ? NULL : realpath(path, NULL);
	struct json_object *params = json_object_new_object(), *reply = NULL;
	int n;

	ku_ctl_add_bytes(params, "path", real ? real : path);
	if (container)
		ku_ctl_add_bytes(params, "container", container);
	n = ku_ctl_ask(socket, "Detach", params, &reply, err);
	json_object_put(reply);
	return n;
}

int ku_ask_detach_all(const char *socket, const char *match, char err[static 512])
{
	struct json_object *params = json_object_new_object(), *reply = NULL;
	int n;

	if (match)
		ku_ctl_add_bytes(params, "match", match);
	n = ku_ctl_ask(socket, "DetachAll", params, &reply, err);
	json_object_put(reply);
	return n;
}

bool ku_ask_about(const char *socket, char line[static 448])
{
	struct json_object *status = NULL, *unions;
	const char *version;
	char err[512] = "";
	size_t n = 0;
	bool same;

	if (ku_ctl_ask(socket, "Status", NULL, &status, err)) {
		snprintf(line, 448, "%.447s", err);
		return false;
	}
	if (json_object_object_get_ex(status, "unions", &unions) && json_object_is_type(unions, json_type_array))
		n = json_object_array_length(unions);
	version = ku_live_text(status, "version");
	same = !strcmp(version, KU_VERSION);
	snprintf(line, 448, "%.32s answers at %.200s: mode %.16s, tier %.16s, %zu union%s attached%s", version, socket, ku_live_text(status, "mode"),
		 ku_live_text(status, "tier"), n, n == 1 ? "" : "s", same ? "" : "; this is " KU_VERSION ": 'systemctl restart kunion'");
	json_object_put(status);
	return same;
}
