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

int ku_ask_detach(const char *socket, const char *path, char err[static 512])
{
	/* Its name, if it is there no more. */
	_cleanup_free_ char *real = realpath(path, NULL);
	struct json_object *params = json_object_new_object(), *reply = NULL;
	int n;

	ku_ctl_add_bytes(params, "path", real ? real : path);
	n = ku_ctl_ask(socket, "Detach", params, &reply, err);
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
