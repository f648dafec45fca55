// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/ask.h"

#include <json-c/json.h>
#include <string.h>

#include "cmd.h"
#include "ctl/call.h"
#include "ctl/client.h"
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
