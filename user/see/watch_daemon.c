// SPDX-License-Identifier: GPL-2.0-only
/* Whether a running daemon is asked instead of attaching a second time. */
#include <json-c/json.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/server.h"
#include "log.h"
#include "union.h"
#include "util.h"
#include "watch.h"

bool ku_watch_may_ask(const struct ku_watch *w)
{
	return w->may_ask && !w->no_daemon && !w->from && !w->beside && w->opts.mode == KU_MODE_OBSERVE && !w->opts.policy;
}

static bool ku_status_flag(struct json_object *status, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(status, key, &v) && json_object_get_boolean(v);
}

/* Is the daemon attached to the union mounted on path? */
static bool ku_status_has(struct json_object *status, const char *path)
{
	struct json_object *unions, *v;

	if (!json_object_object_get_ex(status, "unions", &unions) || !json_object_is_type(unions, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(unions); i++) {
		_cleanup_free_ char *name = NULL;

		if (!json_object_object_get_ex(json_object_array_get_idx(unions, i), "path", &v) || !json_object_is_type(v, json_type_string))
			continue;
		name = strdup(json_object_get_string(v));
		if (!name)
			return false;
		ku_unescape_bytes(name);
		if (!strcmp(name, path))
			return true;
	}
	return false;
}

/* A daemon that sees all overlays calls each as its mount is called. */
static bool ku_is_overlay_mount(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	bool overlay = false;
	struct ku_mountinfo m;
	size_t size = 0;

	while (f && getline(&line, &size, f) >= 0)
		if (!ku_mountinfo_parse(line, &m) && !strcmp(m.mountpoint, path))
			overlay = !strcmp(m.fstype, "overlay"); /* the last one covers those before */
	return overlay;
}

/* The real names of what is to be seen, if the daemon sees all of it. -ENOENT: it does not. */
static int ku_watch_only(struct ku_watch *w, struct json_object *status)
{
	if (!w->npaths)
		return !w->all || ku_status_flag(status, "all") ? 0 : -ENOENT;
	w->only = calloc(w->npaths, sizeof(*w->only));
	if (!w->only)
		return -ENOMEM;
	for (unsigned int i = 0; i < w->npaths; i++) {
		w->only[i] = realpath(w->paths[i], NULL);
		if (!w->only[i] || (!ku_status_has(status, w->only[i]) && !(ku_status_flag(status, "all") && ku_is_overlay_mount(w->only[i]))))
			return -ENOENT;
	}
	return 0;
}

void ku_watch_forget(struct ku_watch *w)
{
	for (unsigned int i = 0; w->only && i < w->npaths; i++)
		free(w->only[i]);
	free(w->only);
	w->only = NULL;
}

bool ku_watch_choose(struct ku_watch *w)
{
	/* Is there something to attach to instead? */
	bool named = w->npaths || w->all, must = w->socket || !named || geteuid();
	const char *socket = w->socket ?: KU_CTL_SOCKET;
	struct json_object *status = NULL;
	char err[512] = "";
	int n;

	if (!ku_watch_may_ask(w))
		return true;
	n = ku_ctl_ask(socket, "Status", NULL, &status, err);
	if (n) {
		if (must)
			ku_err("%s: %s%s", ku_watch_word(w), !named ? "no MERGED, and " : w->socket ? "" : "attaching needs root, and ", err);
		else
			ku_debug("%s: %s", ku_watch_word(w), err);
		return !must;
	}
	n = ku_watch_only(w, status);
	if (n == -ENOENT && must) {
		ku_err("%s: the daemon is not attached to %s: 'kunion attach' attaches it", ku_watch_word(w), w->all ? "all overlays" : "MERGED");
	} else if (!n && w->opts.writes && !ku_status_flag(status, "writes")) {
		n = -ENOENT;
		if (must)
			ku_err("%s: the daemon does not tell writes: 'writes = true;' in its configuration makes it; or name MERGED and no --socket",
			       ku_watch_word(w));
	} else if (n == -ENOMEM) {
		ku_err("%s: out of memory", ku_watch_word(w));
	}
	json_object_put(status);
	if (n) {
		ku_watch_forget(w);
		return n == -ENOENT && !must;
	}
	ku_debug("%s: the daemon at %s is asked", ku_watch_word(w), socket);
	w->asked = socket;
	return true;
}
