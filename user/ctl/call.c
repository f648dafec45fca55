// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/call.h"

#include <json-c/json.h>
#include <string.h>

#include "ctl/frame.h"
#include "event.h"
#include "util.h"

#define KU_SERVICE "org.varlink.service"

extern const char ku_ctl_interface_start[];

static const char ku_service_text[] =
	"# The interface that every varlink service has.\n"
	"interface " KU_SERVICE "\n\n"
	"method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)\n\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
	"error InterfaceNotFound (interface: string)\n\n"
	"error MethodNotFound (method: string)\n\n"
	"error MethodNotImplemented (method: string)\n\n"
	"error InvalidParameter (parameter: string)\n\n"
	"error PermissionDenied ()\n\n"
	"error ExpectedMore ()\n";

const char *ku_ctl_interface(void)
{
	return ku_ctl_interface_start;
}

void ku_ctl_add_bytes(struct json_object *o, const char *key, const char *bytes)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);

	json_object_object_add(o, key, json_object_new_string(text ? text : ""));
}

void ku_ctl_add_line(struct json_object *array, const char *line)
{
	_cleanup_free_ char *text = ku_escape_bytes(line);

	json_object_array_add(array, json_object_new_string(text ? text : ""));
}

struct json_object *ku_ctl_reply(struct json_object *parameters)
{
	struct json_object *o = json_object_new_object();

	if (!o) {
		json_object_put(parameters);
		return NULL;
	}
	json_object_object_add(o, "parameters", parameters ? parameters : json_object_new_object());
	return o;
}

struct json_object *ku_ctl_error(const char *name, struct json_object *parameters)
{
	struct json_object *o = ku_ctl_reply(parameters);

	if (o)
		json_object_object_add(o, "error", json_object_new_string(name));
	return o;
}

static struct json_object *ku_ctl_error_1(const char *name, const char *key, const char *value)
{
	struct json_object *p = json_object_new_object();

	if (p)
		json_object_object_add(p, key, json_object_new_string(value));
	return ku_ctl_error(name, p);
}

struct json_object *ku_ctl_failed(int err, const char *message)
{
	struct json_object *p = json_object_new_object();
	_cleanup_free_ char *text = ku_escape_bytes(message);
	char buf[16];

	if (p) {
		json_object_object_add(p, "reason", json_object_new_string(ku_errno_name(-err, buf)));
		json_object_object_add(p, "message", json_object_new_string(text ? text : ""));
	}
	return ku_ctl_error("io.kunion.Failed", p);
}

/* A call under way. */
struct ku_call {
	const struct ku_ctl_ops *ops;
	struct json_object *params; /* never NULL */
	struct ku_ctl_answer *answer;
	bool more;
};

static struct json_object *ku_call_invalid(const char *parameter)
{
	return ku_ctl_error_1(KU_SERVICE ".InvalidParameter", "parameter", parameter);
}

/* The path of the parameters, as bytes, to be freed. NULL with *ret_error. */
static char *ku_call_path(const struct ku_call *c, struct json_object **ret_error)
{
	struct json_object *o;
	char *path = NULL;

	/* A NUL within would make it another path than what is shown. */
	if (json_object_object_get_ex(c->params, "path", &o) && json_object_is_type(o, json_type_string) &&
	    strlen(json_object_get_string(o)) == (size_t)json_object_get_string_len(o))
		path = strdup(json_object_get_string(o));
	if (path)
		ku_unescape_bytes(path);
	if (path && path[0] == '/')
		return path;
	free(path);
	*ret_error = ku_call_invalid("path");
	return NULL;
}

/* A text of the parameters as bytes, to be freed; NULL: not there. False: *ret_error. */
static bool ku_call_text(const struct ku_call *c, const char *name, char **ret, struct json_object **ret_error)
{
	struct json_object *o;

	*ret = NULL;
	if (!json_object_object_get_ex(c->params, name, &o) || !o)
		return true;
	if (json_object_is_type(o, json_type_string) && json_object_get_string_len(o) &&
	    strlen(json_object_get_string(o)) == (size_t)json_object_get_string_len(o))
		*ret = strdup(json_object_get_string(o));
	if (*ret)
		ku_unescape_bytes(*ret);
	else
		*ret_error = ku_call_invalid(name);
	return *ret;
}

static struct json_object *ku_call_attach_all(struct ku_call *c)
{
	_cleanup_free_ char *container = NULL, *match = NULL, *mode = NULL;
	struct json_object *o, *error = NULL, *p = NULL;
	struct ku_ctl_all all = { .min_size = -1 };
	char err[512] = "";
	int64_t pid;
	int n;

	if (!ku_call_text(c, "container", &container, &error) || !ku_call_text(c, "match", &match, &error) ||
	    !ku_call_text(c, "mode", &mode, &error))
		return error;
	if (json_object_object_get_ex(c->params, "pid", &o) && o) {
		pid = json_object_get_int64(o);
		if (!json_object_is_type(o, json_type_int) || pid < 1 || pid > INT32_MAX || container)
			return ku_call_invalid("pid");
		all.pid = (uint32_t)pid;
	}
	if (json_object_object_get_ex(c->params, "min_size", &o) && o) {
		all.min_size = json_object_get_int64(o);
		if (!json_object_is_type(o, json_type_int) || all.min_size < 0)
			return ku_call_invalid("min_size");
	}
	all.container = container;
	all.match = match;
	all.mode = mode;
	n = c->ops->attach_all(c->ops->arg, &all, &p, err);
	return n ? ku_ctl_failed(n, err) : ku_ctl_reply(p);
}

static struct json_object *ku_call_attach(struct ku_call *c)
{
	struct json_object *o, *about = NULL, *p, *error = NULL;
	_cleanup_free_ char *path = ku_call_path(c, &error);
	const char *mode = NULL;
	int64_t min_size = -1;
	char err[512] = "";
	int n;

	if (!path)
		return error;
	if (json_object_object_get_ex(c->params, "mode", &o) && o) {
		if (!json_object_is_type(o, json_type_string))
			return ku_call_invalid("mode");
		mode = json_object_get_string(o);
	}
	if (json_object_object_get_ex(c->params, "min_size", &o) && o) {
		min_size = json_object_get_int64(o);
		if (!json_object_is_type(o, json_type_int) || min_size < 0)
			return ku_call_invalid("min_size");
	}
	n = c->ops->attach(c->ops->arg, path, mode, min_size, &about, err);
	if (n)
		return ku_ctl_failed(n, err);
	p = json_object_new_object();
	if (p)
		json_object_object_add(p, "union", about);
	else
		json_object_put(about);
	return ku_ctl_reply(p);
}

static struct json_object *ku_call_detach(struct ku_call *c)
{
	struct json_object *error = NULL, *p;
	_cleanup_free_ char *path = ku_call_path(c, &error), *container = NULL;
	char err[512] = "";
	int n;

	if (!path || !ku_call_text(c, "container", &container, &error))
		return error;
	n = c->ops->detach(c->ops->arg, path, container, &c->answer->ticket, err);
	if (n == -ENOENT) {
		p = json_object_new_object();
		if (p)
			ku_ctl_add_bytes(p, "path", path);
		return ku_ctl_error("io.kunion.NotAttached", p);
	}
	if (n)
		return ku_ctl_failed(n, err);
	c->answer->later = true;
	return NULL;
}

static struct json_object *ku_call_detach_all(struct ku_call *c)
{
	_cleanup_free_ char *match = NULL;
	struct json_object *error = NULL, *p;
	char err[512] = "";
	int n;

	if (!ku_call_text(c, "match", &match, &error))
		return error;
	n = c->ops->detach_all(c->ops->arg, match, &c->answer->ticket, err);
	if (n == -ENOENT) {
		p = json_object_new_object();
		if (p)
			ku_ctl_add_bytes(p, "match", match ? match : "");
		return ku_ctl_error("io.kunion.NotStanding", p);
	}
	if (n)
		return ku_ctl_failed(n, err);
	c->answer->later = true;
	return NULL;
}

/* What only tells. */
static struct json_object *ku_call_read(const struct ku_call *c, int (*fn)(void *arg, struct json_object **ret, char err[512]))
{
	struct json_object *p = NULL;
	char err[512] = "";
	int n = fn(c->ops->arg, &p, err);

	return n ? ku_ctl_failed(n, err) : ku_ctl_reply(p);
}

static struct json_object *ku_call_status(struct ku_call *c)
{
	return ku_call_read(c, c->ops->status);
}

static struct json_object *ku_call_metrics(struct ku_call *c)
{
	return ku_call_read(c, c->ops->metrics);
}

static struct json_object *ku_call_live(struct ku_call *c)
{
	return ku_call_read(c, c->ops->live);
}

static struct json_object *ku_call_policy(struct ku_call *c)
{
	return ku_call_read(c, c->ops->policy);
}

static struct json_object *ku_call_reload(struct ku_call *c)
{
	char err[512] = "";
	int n = c->ops->reload(c->ops->arg, err);

	return n ? ku_ctl_failed(n, err) : ku_ctl_reply(NULL);
}

/* Told one by one, by the server. */
static struct json_object *ku_call_monitor(struct ku_call *c)
{
	if (!c->more || c->answer->oneway)
		return ku_ctl_error(KU_SERVICE ".ExpectedMore", NULL);
	c->answer->stream = true;
	return NULL;
}

static struct json_object *ku_call_info(struct ku_call *c)
{
	struct json_object *p = json_object_new_object(), *list = json_object_new_array();

	(void)c;
	if (!p || !list) {
		json_object_put(p);
		json_object_put(list);
		return NULL;
	}
	json_object_object_add(p, "vendor", json_object_new_string("kunion"));
	json_object_object_add(p, "product", json_object_new_string("kunion"));
	json_object_object_add(p, "version", json_object_new_string(KU_VERSION));
	json_object_object_add(p, "url", json_object_new_string(""));
	json_object_array_add(list, json_object_new_string(KU_SERVICE));
	json_object_array_add(list, json_object_new_string("io.kunion"));
	json_object_object_add(p, "interfaces", list);
	return ku_ctl_reply(p);
}

static struct json_object *ku_call_describe(struct ku_call *c)
{
	struct json_object *o, *p;
	const char *name, *text = NULL;

	if (!json_object_object_get_ex(c->params, "interface", &o) || !json_object_is_type(o, json_type_string))
		return ku_call_invalid("interface");
	name = json_object_get_string(o);
	if (!strcmp(name, "io.kunion"))
		text = ku_ctl_interface();
	else if (!strcmp(name, KU_SERVICE))
		text = ku_service_text;
	if (!text)
		return ku_ctl_error_1(KU_SERVICE ".InterfaceNotFound", "interface", name);
	p = json_object_new_object();
	if (p)
		json_object_object_add(p, "description", json_object_new_string(text));
	return ku_ctl_reply(p);
}

static const struct {
	const char *name;
	struct json_object *(*fn)(struct ku_call *c);
	bool changes;
	const char *const *params; /* those it knows */
} ku_methods[] = {
	{ KU_SERVICE ".GetInfo", ku_call_info, false, (const char *const[]){ NULL } },
	{ KU_SERVICE ".GetInterfaceDescription", ku_call_describe, false, (const char *const[]){ "interface", NULL } },
	{ "io.kunion.Attach", ku_call_attach, true, (const char *const[]){ "path", "mode", "min_size", NULL } },
	{ "io.kunion.AttachAll", ku_call_attach_all, true,
	  (const char *const[]){ "pid", "container", "match", "mode", "min_size", NULL } },
	{ "io.kunion.Detach", ku_call_detach, true, (const char *const[]){ "path", "container", NULL } },
	{ "io.kunion.DetachAll", ku_call_detach_all, true, (const char *const[]){ "match", NULL } },
	{ "io.kunion.Status", ku_call_status, false, (const char *const[]){ NULL } },
	{ "io.kunion.Metrics", ku_call_metrics, false, (const char *const[]){ NULL } },
	{ "io.kunion.Live", ku_call_live, false, (const char *const[]){ NULL } },
	{ "io.kunion.Policy", ku_call_policy, false, (const char *const[]){ NULL } },
	{ "io.kunion.Monitor", ku_call_monitor, false, (const char *const[]){ NULL } },
	{ "io.kunion.Reload", ku_call_reload, true, (const char *const[]){ NULL } },
};

static struct json_object *ku_call_unknown(const char *method)
{
	const char *dot = strrchr(method, '.');
	_cleanup_free_ char *interface = dot ? strndup(method, (size_t)(dot - method)) : strdup(method);

	if (!interface)
		return NULL;
	if (strcmp(interface, "io.kunion") && strcmp(interface, KU_SERVICE))
		return ku_ctl_error_1(KU_SERVICE ".InterfaceNotFound", "interface", interface);
	return ku_ctl_error_1(KU_SERVICE ".MethodNotFound", "method", method);
}

/* The first parameter that the method has not; NULL: all are known. */
static const char *ku_call_stranger(struct json_object *params, const char *const *known)
{
	json_object_object_foreach(params, key, value) {
		const char *const *k = known;

		(void)value;
		while (*k && strcmp(*k, key))
			k++;
		if (!*k)
			return key;
	}
	return NULL;
}

static struct json_object *ku_call_method(struct ku_call *c, const struct ku_ctl_peer *peer, const char *method)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_methods); i++) {
		const char *stranger;

		if (strcmp(ku_methods[i].name, method))
			continue;
		if (ku_methods[i].changes && !peer->may_change)
			return ku_ctl_error(KU_SERVICE ".PermissionDenied", NULL);
		stranger = ku_call_stranger(c->params, ku_methods[i].params);
		return stranger ? ku_call_invalid(stranger) : ku_methods[i].fn(c);
	}
	return ku_call_unknown(method);
}

static bool ku_call_flag(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

int ku_ctl_call(const struct ku_ctl_ops *ops, const struct ku_ctl_peer *peer, const char *msg, size_t len, struct ku_ctl_answer *ret)
{
	struct json_object *o = ku_frame_parse(msg, len), *method, *params = NULL;
	struct ku_call c = { .ops = ops, .answer = ret };
	int err = 0;

	*ret = (struct ku_ctl_answer){ 0 };
	if (!o)
		return -errno;
	if (!json_object_object_get_ex(o, "method", &method) || !json_object_is_type(method, json_type_string) ||
	    (json_object_object_get_ex(o, "parameters", &params) && params && !json_object_is_type(params, json_type_object))) {
		json_object_put(o);
		return -EBADMSG;
	}
	ret->oneway = ku_call_flag(o, "oneway");
	c.params = params ? json_object_get(params) : json_object_new_object();
	c.more = ku_call_flag(o, "more");
	/* What goes on answering says so; the others answer "more" once, which varlink allows. An upgrade is not. */
	if (!c.params)
		err = -ENOMEM;
	else if (ku_call_flag(o, "upgrade"))
		ret->reply = ku_ctl_error_1(KU_SERVICE ".MethodNotImplemented", "method", json_object_get_string(method));
	else
		ret->reply = ku_call_method(&c, peer, json_object_get_string(method));
	if (!err && !ret->reply && !ret->later && !ret->stream)
		err = -ENOMEM;
	if (ret->oneway) {
		json_object_put(ret->reply);
		ret->reply = NULL;
	}
	json_object_put(c.params);
	json_object_put(o);
	return err;
}
