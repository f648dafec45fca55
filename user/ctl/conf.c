// SPDX-License-Identifier: GPL-2.0-only
#include "ctl/conf.h"

#include <grp.h>
#include <limits.h>
#include <string.h>

#include "ctl/server.h"
#include "opts.h"
#include "policy/policy_load.h"
#include "session.h"
#include "util.h"

static int ku_conf_text(char **to, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int ku_conf_absolute(char **to, const char *text)
{
	return text[0] == '/' ? ku_conf_text(to, text) : -EINVAL;
}

static int ku_conf_bool(bool *to, const char *text)
{
	*to = !strcmp(text, "true");
	return *to || !strcmp(text, "false") ? 0 : -EINVAL;
}

static int ku_set_mode(struct ku_conf *c, const char *text)
{
	return ku_parse_mode(text, &c->mode);
}

static int ku_set_min_size(struct ku_conf *c, const char *text)
{
	return ku_parse_size(text, &c->min_size);
}

static int ku_set_max_wait(struct ku_conf *c, const char *text)
{
	return ku_parse_seconds(text, &c->max_wait_ns);
}

static int ku_set_policy(struct ku_conf *c, const char *text)
{
	return ku_conf_absolute(&c->policy, text);
}

static int ku_set_answer(struct ku_conf *c, const char *text)
{
	return ku_conf_absolute(&c->answer, text);
}

static int ku_set_events(struct ku_conf *c, const char *text)
{
	return strcmp(text, "-") ? ku_conf_absolute(&c->events, text) : ku_conf_text(&c->events, text);
}

static int ku_set_socket(struct ku_conf *c, const char *text)
{
	return ku_conf_absolute(&c->socket, text);
}

static int ku_set_group(struct ku_conf *c, const char *text)
{
	const struct group *g = getgrnam(text);

	if (!g)
		return -EINVAL;
	c->gid = g->gr_gid;
	return ku_conf_text(&c->group, text);
}

static int ku_set_verbose(struct ku_conf *c, const char *text)
{
	if (text[0] < '0' || text[0] > '2' || text[1])
		return -EINVAL;
	c->verbose = (unsigned int)(text[0] - '0');
	return 0;
}

static int ku_set_all(struct ku_conf *c, const char *text)
{
	return ku_conf_bool(&c->all, text);
}

static int ku_set_writes(struct ku_conf *c, const char *text)
{
	return ku_conf_bool(&c->writes, text);
}

static const struct {
	const char *name;
	int (*set)(struct ku_conf *c, const char *text);
	const char *arg, *right, *about;
} ku_conf_keys[] = {
	{ "mode", ku_set_mode, "MODE", "\"observe\", \"guard\" or \"manage\"", "the highest mode of any union, and the one used unless told otherwise (default: manage)" },
	{ "min-size", ku_set_min_size, "SIZE", "bytes, or with K, M, G, as \"64K\"", "leave smaller files to the kernel (default: 1M)" },
	{ "max-wait", ku_set_max_wait, "SECONDS", "seconds above 0, as 30 or 0.5", "who has waited so long goes on natively (default: 30)" },
	{ "policy", ku_set_policy, "FILE", "an absolute path", "what may be written into the upper layers, see kunion-policy(5)" },
	{ "answer", ku_set_answer, "PROGRAM", "an absolute path", "run for each operation that the policy holds; its exit status 0 allows, 1 denies" },
	{ "events", ku_set_events, "FILE", "an absolute path, or \"-\" for stdout", "append one JSON object a line" },
	{ "socket", ku_set_socket, "PATH", "an absolute path", "the control socket (default: " KU_CTL_SOCKET ")" },
	{ "group", ku_set_group, "GROUP", "the name of a group there is", "who is in it may ask, not change (default: root only)" },
	{ "all", ku_set_all, "BOOL", "true or false", "observe every overlay mount, also those not attached (default: false)" },
	{ "writes", ku_set_writes, "BOOL", "true or false", "tell also what is made, changed or removed in the upper layers (default: false)" },
	{ "verbose", ku_set_verbose, "LEVEL", "0, 1 or 2", "say more in the journal (default: 0)" },
};

const char *ku_conf_name(size_t n, const char **ret_about, const char **ret_arg)
{
	if (n >= KU_ARRAY_SIZE(ku_conf_keys))
		return NULL;
	*ret_about = ku_conf_keys[n].about;
	*ret_arg = ku_conf_keys[n].arg;
	return ku_conf_keys[n].name;
}

int ku_conf_init(struct ku_conf *c)
{
	*c = (struct ku_conf){ .mode = KU_MODE_MANAGE, .min_size = 1u << 20, .max_wait_ns = 30000000000ull, .gid = (gid_t)-1 };
	c->socket = strdup(KU_CTL_SOCKET);
	return c->socket ? 0 : -ENOMEM;
}

static void ku_conf_no_unions(struct ku_conf *c)
{
	for (size_t i = 0; i < c->nunions; i++)
		free(c->unions[i].path);
	free(c->unions);
	c->unions = NULL;
	c->nunions = 0;
}

void ku_conf_free(struct ku_conf *c)
{
	ku_conf_no_unions(c);
	free(c->events);
	free(c->policy);
	free(c->answer);
	free(c->socket);
	free(c->group);
	*c = (struct ku_conf){ 0 };
}

int ku_conf_set(struct ku_conf *c, const char *name, const char *text, const char **ret_right)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_conf_keys); i++)
		if (!strcmp(ku_conf_keys[i].name, name)) {
			*ret_right = ku_conf_keys[i].right;
			return ku_conf_keys[i].set(c, text);
		}
	return -ENOENT;
}

int ku_conf_add(struct ku_conf *c, const char *path)
{
	struct ku_conf_union *all;
	char *copy;
	size_t n;

	if (path[0] != '/')
		return -EINVAL;
	for (n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		;
	for (size_t i = 0; i < c->nunions; i++)
		if (strlen(c->unions[i].path) == n && !strncmp(c->unions[i].path, path, n))
			return -EEXIST;
	copy = strndup(path, n);
	all = copy ? reallocarray(c->unions, c->nunions + 1, sizeof(*all)) : NULL;
	if (!all) {
		free(copy);
		return -ENOMEM;
	}
	c->unions = all;
	all[c->nunions++] = (struct ku_conf_union){ .path = copy, .min_size = UINT64_MAX };
	return 0;
}

void ku_conf_settle(struct ku_conf *c)
{
	for (size_t i = 0; i < c->nunions; i++) {
		struct ku_conf_union *u = &c->unions[i];

		if (!u->mode || u->mode > c->mode)
			u->mode = c->mode;
		if (u->min_size == UINT64_MAX)
			u->min_size = c->min_size;
	}
}

/* The text of a scalar as one would write it on the command line. False: it is none. */
static bool ku_conf_scalar(const config_setting_t *s, char *text, size_t size)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_STRING:
		return (size_t)snprintf(text, size, "%s", config_setting_get_string(s)) < size;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		snprintf(text, size, "%lld", config_setting_get_int64(s));
		return true;
	case CONFIG_TYPE_FLOAT:
		snprintf(text, size, "%g", config_setting_get_float(s));
		return true;
	case CONFIG_TYPE_BOOL:
		snprintf(text, size, "%s", config_setting_get_bool(s) ? "true" : "false");
		return true;
	}
	return false;
}

static int ku_conf_setting(struct ku_conf *c, struct ku_pol_src *src, const config_setting_t *s, const char *const *names)
{
	const char *name = config_setting_name(s), *right = "", *near;
	unsigned int line = config_setting_source_line(s);
	char text[PATH_MAX];
	int n;

	if (!ku_conf_scalar(s, text, sizeof(text)))
		text[0] = '\0';
	n = ku_conf_set(c, name, text, &right);
	if (n == -EINVAL)
		return ku_pol_fail(src, line, "%s = '%.100s': %s would be right", name, text, right);
	if (n != -ENOENT)
		return n;
	near = ku_pol_near(name, names);
	return near ? ku_pol_fail(src, line, "'%.100s' is not known; did you mean '%s'?", name, near) :
		      ku_pol_fail(src, line, "'%.100s' is not known; kunion-daemon(1) lists what is", name);
}

/* "/merged", or { path = "/merged"; mode = "guard"; min-size = "64K"; } */
static int ku_conf_union(struct ku_conf *c, struct ku_pol_src *src, const config_setting_t *s)
{
	unsigned int line = config_setting_source_line(s);
	bool group = config_setting_type(s) == CONFIG_TYPE_GROUP;
	struct ku_conf_union *u;
	const char *path = NULL;
	int n;

	if (group)
		config_setting_lookup_string(s, "path", &path);
	else if (config_setting_type(s) == CONFIG_TYPE_STRING)
		path = config_setting_get_string(s);
	if (!path)
		return ku_pol_fail(src, line, "unions: \"/merged\" or { path = \"/merged\"; } would be right");
	n = ku_conf_add(c, path);
	if (n == -EINVAL)
		return ku_pol_fail(src, line, "unions: '%.100s': an absolute path would be right", path);
	if (n == -EEXIST)
		return ku_pol_fail(src, line, "unions: '%.100s' is there already; name each union once", path);
	if (n || !group)
		return n;
	u = &c->unions[c->nunions - 1];
	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *k = config_setting_get_elem(s, (unsigned int)i);
		const char *name = config_setting_name(k);
		char text[64] = "";

		line = config_setting_source_line(k);
		if (!strcmp(name, "path"))
			continue;
		if (strcmp(name, "mode") && strcmp(name, "min-size"))
			return ku_pol_fail(src, line, "unions: '%.100s' is not known; a union has 'path', 'mode' and 'min-size'", name);
		ku_conf_scalar(k, text, sizeof(text));
		if (!strcmp(name, "mode") && (ku_parse_mode(text, &u->mode) || u->mode > c->mode))
			return ku_pol_fail(src, line, "unions: mode = '%.60s': \"observe\", \"guard\" or \"manage\", and no more than mode above the unions, would be right",
					   text);
		if (!strcmp(name, "min-size") && ku_parse_size(text, &u->min_size))
			return ku_pol_fail(src, line, "unions: min-size = '%.60s': bytes, or with K, M, G, as \"64K\", would be right", text);
	}
	return 0;
}

/* The unions last: theirs is what the others say, wherever they stand. */
static int ku_conf_take(struct ku_conf *c, struct ku_pol_src *src, const config_t *cfg)
{
	const char *names[KU_ARRAY_SIZE(ku_conf_keys) + 2] = { "unions" };
	const config_setting_t *root = config_root_setting(cfg), *unions = NULL;
	int n = 0;

	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_conf_keys); i++)
		names[i + 1] = ku_conf_keys[i].name;
	for (int i = 0; i < config_setting_length(root) && !n; i++) {
		const config_setting_t *s = config_setting_get_elem(root, (unsigned int)i);

		if (!strcmp(config_setting_name(s), "unions"))
			unions = s;
		else
			n = ku_conf_setting(c, src, s, names);
	}
	if (n || !unions)
		return n;
	if (!config_setting_is_aggregate(unions) || config_setting_is_group(unions))
		return ku_pol_fail(src, config_setting_source_line(unions), "unions: a list, as ( \"/merged\" ), would be right");
	ku_conf_no_unions(c);
	for (int i = 0; i < config_setting_length(unions) && !n; i++)
		n = ku_conf_union(c, src, config_setting_get_elem(unions, (unsigned int)i));
	return n;
}

int ku_conf_read(struct ku_conf *c, const char *file, char err[static 512])
{
	struct ku_pol_src src = { .file = file, .err = err };
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	config_t cfg;
	int n;

	err[0] = '\0';
	if (!f) {
		n = -errno;
		snprintf(err, 512, "%.300s: %s", file, strerror(-n));
		return n;
	}
	config_init(&cfg);
	if (config_read(&cfg, f) == CONFIG_TRUE)
		n = ku_conf_take(c, &src, &cfg);
	else
		n = ku_pol_fail(&src, (unsigned int)config_error_line(&cfg), "%s; settings are written as key = value;",
				config_error_text(&cfg) ? config_error_text(&cfg) : "not a configuration");
	config_destroy(&cfg);
	if (n == -ENOMEM)
		snprintf(err, 512, "%.300s: no memory", file);
	return n;
}
