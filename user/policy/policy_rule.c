// SPDX-License-Identifier: GPL-2.0-only
/* One rule of a policy file: its keys, and what each of them takes. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "opts.h"
#include "policy/policy_load.h"
#include "kunion_judge_abi.h"
#include "util.h"

static const char *const ku_action_words[] = { "copy-up", "create", "remove", "remove-upper", "modify", "exec", "any", NULL };
static const char *const ku_kind_words[] = { "file", "dir", "symlink", "special", NULL };
static const char *const ku_verdict_words[] = { "allow", "audit", "deny", "hold", NULL };
_Static_assert(KU_ARRAY_SIZE(ku_action_words) == KU_A_MAX + 2 && KU_ARRAY_SIZE(ku_kind_words) == KU_K_MAX + 1 &&
	       KU_ARRAY_SIZE(ku_verdict_words) == KU_V_MAX + 1, "a word is missing");

/* A key of a rule, and one value of it. */
struct ku_pol_value {
	struct ku_pol_src *src;
	struct ku_policy_rule *rule;
	const struct ku_pol_key *key;
	config_setting_t *setting;
	unsigned int line;
	const char *text; /* "" if it is no string */
};

struct ku_pol_key {
	const char *name;
	int (*take)(struct ku_pol_value *v);
	bool list; /* may have several values */
	bool number; /* may be a number */
	bool below;  /* is a directory or the like, with all below it */
	const char *right; /* an example */
	size_t at; /* of text lists: where in the rule */
	const char *(*bad)(const char *text);
};

__attribute__((format(printf, 2, 3))) static int ku_value_fail(const struct ku_pol_value *v, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return ku_pol_fail(v->src, v->line, "%s%s%s%s: %s", v->rule->name ? "rule '" : "", v->rule->name ? v->rule->name : "",
			   v->rule->name ? "': " : "", v->key->name, text);
}

static int ku_take_name(struct ku_pol_value *v)
{
	const char *text = v->text;
	const char *bad = ku_pol_bad_name(text);
	size_t len = strlen(text);
	void *item;
	bool new;
	int err;

	if (bad)
		return ku_value_fail(v, "%s", bad);
	if (!strcmp(text, "default"))
		return ku_value_fail(v, "'default' is what decides when no rule does; another name would be right");
	err = ku_map_get(&v->src->names, text, len, &item, NULL, &new);
	if (err)
		return -ENOMEM;
	if (!new)
		return ku_value_fail(v, "'%s' is the name of the rule of line %u already; another one would be right", text, *(unsigned int *)item);
	*(unsigned int *)item = v->line;
	v->rule->name = strdup(text);
	return v->rule->name ? 0 : -ENOMEM;
}

static int ku_take_text(struct ku_pol_value *v)
{
	struct ku_pol_list *l = (struct ku_pol_list *)((char *)v->rule + v->key->at);
	const char *bad = v->key->bad(v->text);
	size_t len = strlen(v->text);
	char **more;

	if (bad)
		return ku_value_fail(v, "'%.100s' %s", v->text, bad);
	more = reallocarray(l->v, l->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	l->v = more;
	/* "/a/" is "/a", and "/" is what all begin with. */
	while (v->key->below && len && v->text[len - 1] == '/')
		len--;
	l->v[l->n] = strndup(v->text, len);
	if (!l->v[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

/* Digits and nothing else, up to end. */
static bool ku_uid_of(const char *text, const char *end, uint32_t *ret)
{
	uint64_t n = 0;

	if (text == end)
		return false;
	for (; text < end; text++) {
		if (!isdigit((unsigned char)*text))
			return false;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > UINT32_MAX)
			return false;
	}
	*ret = (uint32_t)n;
	return true;
}

static int ku_take_uid(struct ku_pol_value *v)
{
	struct ku_pol_uids uids, *more;

	if (*v->text) {
		const char *end = v->text + strlen(v->text), *dash = strchr(v->text, '-');

		if (!ku_uid_of(v->text, dash ? dash : end, &uids.from) || !ku_uid_of(dash ? dash + 1 : v->text, end, &uids.to))
			return ku_value_fail(v, "'%.100s' is no user id; %s would be right", v->text, v->key->right);
		if (uids.from > uids.to)
			return ku_value_fail(v, "'%.100s' ends before it begins; the smaller number comes first", v->text);
	} else {
		long long n = config_setting_get_int64(v->setting);

		if (config_setting_type(v->setting) == CONFIG_TYPE_STRING || n < 0 || n > UINT32_MAX)
			return ku_value_fail(v, "a user id is from 0 to 4294967295; %s would be right", v->key->right);
		uids.from = uids.to = (uint32_t)n;
	}
	more = reallocarray(v->rule->uids, v->rule->nuids + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	v->rule->uids = more;
	more[v->rule->nuids++] = uids;
	return 0;
}

static int ku_take_size(struct ku_pol_value *v)
{
	if (config_setting_type(v->setting) == CONFIG_TYPE_STRING) {
		if (ku_parse_size(v->text, &v->rule->min_size))
			return ku_value_fail(v, "'%.100s' is no size; %s would be right", v->text, v->key->right);
	} else if (config_setting_get_int64(v->setting) < 0) {
		return ku_value_fail(v, "a size is not below 0; %s would be right", v->key->right);
	} else {
		v->rule->min_size = (uint64_t)config_setting_get_int64(v->setting);
	}
	return 0;
}

static int ku_take_kind(struct ku_pol_value *v)
{
	int n = ku_pol_word(v->src, v->line, v->key->name, v->text, ku_kind_words);

	if (n < 0)
		return n;
	v->rule->kinds |= 1u << n;
	return 0;
}

static int ku_take_action(struct ku_pol_value *v)
{
	int n = ku_pol_word(v->src, v->line, v->key->name, v->text, ku_action_words);

	if (n < 0)
		return n;
	v->rule->actions |= n == KU_A_MAX ? (1u << KU_A_MAX) - 1 : 1u << n;
	return 0;
}

static int ku_take_verdict(struct ku_pol_value *v)
{
	int n = ku_pol_word(v->src, v->line, v->key->name, v->text, ku_verdict_words);

	if (n < 0)
		return n;
	v->rule->verdict = (enum ku_pol_verdict)n;
	return 0;
}

static int ku_take_limit(struct ku_pol_value *v)
{
	int n = config_setting_type(v->setting) == CONFIG_TYPE_INT ? config_setting_get_int(v->setting) : 0;

	if (n < 1 || n > KU_POL_LIMIT_MAX)
		return ku_value_fail(v, "seconds from 1 to %d are expected; %s would be right", KU_POL_LIMIT_MAX, v->key->right);
	v->rule->limit = (unsigned int)n;
	return 0;
}

static int ku_take_otherwise(struct ku_pol_value *v)
{
	static const char *const words[] = { "deny", "allow", NULL };
	int n = ku_pol_word(v->src, v->line, v->key->name, v->text, words);

	if (n < 0)
		return n;
	v->rule->otherwise_allow = n;
	return 0;
}

static int ku_take_errno(struct ku_pol_value *v)
{
	return ku_pol_errno_of(v->src, v->line, v->key->name, v->text, &v->rule->err);
}

static int ku_take_budget(struct ku_pol_value *v)
{
	char whose[128];

	snprintf(whose, sizeof(whose), "rule '%s': budget", v->rule->name);
	v->rule->budget = ku_pol_budget_of(v->src, v->line, whose, v->text);
	return v->rule->budget ? 0 : -EINVAL;
}

#define KU_TEXTS(key, member, check, example)                                                                             \
	.name = key, .take = ku_take_text, .list = true, .right = example, .at = offsetof(struct ku_policy_rule, member), \
	.bad = check

static const struct ku_pol_key ku_pol_keys[] = {
	{ .name = "name", .take = ku_take_name, .right = "\"a name\"" },
	{ KU_TEXTS("union", unions, ku_pol_bad_glob, "\"/srv/app/merged\"") },
	{ KU_TEXTS("container", containers, ku_pol_bad_container, "\"3f2a1b0c4d5e\"") },
	{ KU_TEXTS("cgroup", cgroups, ku_pol_bad_cgroup, "\"/system.slice\""), .below = true },
	{ .name = "uid", .take = ku_take_uid, .list = true, .number = true, .right = "0, \"1000-1999\" or [ \"0\", \"1000-1999\" ]" },
	{ KU_TEXTS("comm", comms, ku_pol_bad_comm, "\"dpkg\"") },
	{ KU_TEXTS("exe", exes, ku_pol_bad_glob, "\"/usr/bin/dpkg\"") },
	{ KU_TEXTS("path", paths, ku_pol_bad_glob, "\"/etc/*.conf\"") },
	{ KU_TEXTS("prefix", prefixes, ku_pol_bad_prefix, "\"/var/lib\""), .below = true },
	{ .name = "min_size", .take = ku_take_size, .number = true, .right = "4096 or \"10M\"" },
	{ .name = "kind", .take = ku_take_kind, .list = true, .right = "\"file\"" },
	{ .name = "action", .take = ku_take_action, .list = true, .right = "\"copy-up\" or [ \"create\", \"modify\" ]" },
	{ .name = "verdict", .take = ku_take_verdict, .right = "\"deny\"" },
	{ .name = "errno", .take = ku_take_errno, .right = "\"EACCES\"" },
	{ .name = "limit", .take = ku_take_limit, .number = true, .right = "30" },
	{ .name = "otherwise", .take = ku_take_otherwise, .right = "\"deny\"" },
	{ .name = "budget", .take = ku_take_budget, .right = "\"a budget's name\"" },
};

static int ku_take_value(struct ku_pol_value *v, config_setting_t *setting)
{
	int type = config_setting_type(setting);

	v->setting = setting;
	v->line = config_setting_source_line(setting);
	v->text = type == CONFIG_TYPE_STRING ? config_setting_get_string(setting) : "";
	if (type != CONFIG_TYPE_STRING && !(v->key->number && (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64)))
		return ku_value_fail(v, "%s is expected; %s would be right", v->key->number ? "a number or text in quotes" : "text in quotes",
				     v->key->right);
	return v->key->take(v);
}

static int ku_take_key(struct ku_pol_value *v, config_setting_t *setting)
{
	int n = config_setting_length(setting), err = 0;

	v->line = config_setting_source_line(setting);
	if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
		return ku_take_value(v, setting);
	if (!v->key->list)
		return ku_value_fail(v, "takes one value, no list; %s would be right", v->key->right);
	if (!n)
		return ku_value_fail(v, "the list is empty, so nothing would do; leave the key out for anything, or write %s", v->key->right);
	for (int i = 0; i < n && !err; i++)
		err = ku_take_value(v, config_setting_get_elem(setting, (unsigned int)i));
	return err;
}

static const struct ku_pol_key *ku_key_of(const char *name)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_pol_keys); i++)
		if (!strcmp(name, ku_pol_keys[i].name))
			return &ku_pol_keys[i];
	return NULL;
}

static int ku_no_key(struct ku_pol_src *s, const config_setting_t *setting, const char *rule)
{
	const char *words[KU_ARRAY_SIZE(ku_pol_keys) + 1] = { 0 }, *name = config_setting_name(setting), *near;
	char all[256];

	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_pol_keys); i++)
		words[i] = ku_pol_keys[i].name;
	near = ku_pol_near(name, words);
	if (near)
		return ku_pol_fail(s, config_setting_source_line(setting), "rule '%s': no key '%.100s'; did you mean '%s'?", rule, name, near);
	ku_pol_words(words, all, sizeof(all));
	return ku_pol_fail(s, config_setting_source_line(setting), "rule '%s': no key '%.100s'; a rule has %s", rule, name, all);
}

int ku_pol_rule(struct ku_pol_src *s, config_setting_t *group, struct ku_policy_rule *r)
{
	/* The name first: messages say it. */
	config_setting_t *name = config_setting_get_member(group, "name");
	struct ku_pol_value v = { .src = s, .rule = r, .key = &ku_pol_keys[0], .text = "" };
	int err;

	r->line = config_setting_source_line(group);
	if (!name)
		return ku_pol_fail(s, r->line, "a rule without a name; add name = \"..\"");
	err = ku_take_key(&v, name);
	for (int i = 0; i < config_setting_length(group) && !err; i++) {
		config_setting_t *setting = config_setting_get_elem(group, (unsigned int)i);

		v.key = ku_key_of(config_setting_name(setting));
		if (!v.key)
			err = ku_no_key(s, setting, r->name);
		else if (setting != name)
			err = ku_take_key(&v, setting);
	}
	if (err)
		return err;
	if (!r->actions)
		return ku_pol_fail(s, r->line, "rule '%s': action is missing; add action = \"copy-up\", another action, or \"any\"", r->name);
	if (!config_setting_get_member(group, "verdict"))
		return ku_pol_fail(s, r->line, "rule '%s': verdict is missing; add verdict = \"allow\", \"audit\", \"deny\" or \"hold\"", r->name);
	if (r->err && r->verdict != KU_V_DENY && r->verdict != KU_V_HOLD)
		return ku_pol_fail(s, r->line, "rule '%s': errno is for the verdicts deny and hold; leave it out", r->name);
	if (r->verdict != KU_V_HOLD && (r->limit || config_setting_get_member(group, "otherwise")))
		return ku_pol_fail(s, r->line, "rule '%s': limit and otherwise are for the verdict hold; leave them out", r->name);
	if (r->verdict == KU_V_HOLD && !r->limit)
		r->limit = KU_POL_LIMIT;
	return ku_pol_budget_fits(s, r);
}
