// SPDX-License-Identifier: GPL-2.0-only
/* The budgets of a policy file, and the rules' naming of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "opts.h"
#include "policy/policy_load.h"
#include "util.h"

static const char *const ku_per_words[] = { "union", "all", NULL };
static const char *const ku_limit_words[] = { "deny", "audit", NULL };
static const char *const ku_budget_words[] = { "name", "copy_up", "write", "files", "copy_ups_per_second", "per", "at_limit", NULL };

/* What can be told apart in nanoseconds, and is no limit any more beyond. */
#define KU_RATE_MAX 1000000

struct ku_budget_value {
	struct ku_pol_src *src;
	struct ku_policy_budget *b;
	config_setting_t *setting;
	const char *key;
	unsigned int line;
};

static int ku_budget_fail(const struct ku_budget_value *v, const char *what)
{
	return ku_pol_fail(v->src, v->line, "budget%s%s%s: %s: %s", v->b->name ? " '" : "", v->b->name ?: "", v->b->name ? "'" : "", v->key, what);
}

static const char *ku_budget_text(const struct ku_budget_value *v)
{
	return config_setting_type(v->setting) == CONFIG_TYPE_STRING ? config_setting_get_string(v->setting) : NULL;
}

static int ku_budget_name(struct ku_budget_value *v)
{
	const char *text = ku_budget_text(v), *bad;
	void *item;
	bool new;

	if (!text)
		return ku_budget_fail(v, "text in quotes is expected; \"a name\" would be right");
	bad = ku_pol_bad_name(text);
	if (bad)
		return ku_budget_fail(v, bad);
	if (ku_map_get(&v->src->budgets, text, strlen(text), &item, NULL, &new))
		return -ENOMEM;
	if (!new)
		return ku_pol_fail(v->src, v->line, "budget '%s' is there already, in line %u; another name would be right", text,
				   v->src->p->budgets[*(size_t *)item - 1].line);
	*(size_t *)item = v->src->p->nbudgets;
	v->b->name = strdup(text);
	return v->b->name ? 0 : -ENOMEM;
}

/* A size, or a plain number. */
static int ku_budget_size(struct ku_budget_value *v, enum ku_pol_limit limit)
{
	const char *text = ku_budget_text(v);
	int type = config_setting_type(v->setting);

	if (text && !ku_parse_size(text, &v->b->max[limit]))
		return 0;
	if ((type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) || config_setting_get_int64(v->setting) < 0)
		return ku_budget_fail(v, "a size is expected; 4096 or \"64M\" would be right");
	v->b->max[limit] = (uint64_t)config_setting_get_int64(v->setting);
	return 0;
}

static int ku_budget_number(struct ku_budget_value *v, enum ku_pol_limit limit, long long from, long long to)
{
	int type = config_setting_type(v->setting);
	long long n = config_setting_get_int64(v->setting);
	char what[100];

	if ((type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) || n < from || n > to) {
		snprintf(what, sizeof(what), "a number from %lld to %lld is expected; 100 would be right", from, to);
		return ku_budget_fail(v, what);
	}
	v->b->max[limit] = (uint64_t)n;
	return 0;
}

/* The number of one of two words. */
static int ku_budget_word(struct ku_budget_value *v, const char *const *words)
{
	const char *text = ku_budget_text(v);
	char key[128];

	snprintf(key, sizeof(key), "budget '%s': %s", v->b->name, v->key);
	return text ? ku_pol_word(v->src, v->line, key, text, words) : ku_budget_fail(v, "text in quotes is expected");
}

static int ku_budget_key(struct ku_budget_value *v)
{
	int n;

	v->key = config_setting_name(v->setting);
	v->line = config_setting_source_line(v->setting);
	if (!strcmp(v->key, "name"))
		return 0;
	if (!strcmp(v->key, "copy_up"))
		return ku_budget_size(v, KU_PL_COPIED);
	if (!strcmp(v->key, "write"))
		return ku_budget_size(v, KU_PL_WRITTEN);
	if (!strcmp(v->key, "files"))
		return ku_budget_number(v, KU_PL_CREATED, 0, INT64_MAX);
	if (!strcmp(v->key, "copy_ups_per_second"))
		return ku_budget_number(v, KU_PL_RATE, 1, KU_RATE_MAX);
	if (!strcmp(v->key, "per")) {
		n = ku_budget_word(v, ku_per_words);
		v->b->all = n == 1;
		return n < 0 ? n : 0;
	}
	if (!strcmp(v->key, "at_limit")) {
		n = ku_budget_word(v, ku_limit_words);
		v->b->deny = n == 0;
		return n < 0 ? n : 0;
	}
	n = ku_pol_word(v->src, v->line, "budgets: key", v->key, ku_budget_words);
	return n < 0 ? n : -EINVAL;
}

static int ku_budget(struct ku_pol_src *s, config_setting_t *group, struct ku_policy_budget *b)
{
	struct ku_budget_value v = { .src = s, .b = b, .key = "name", .line = config_setting_source_line(group) };
	bool limited = false;
	int err;

	b->line = v.line;
	b->deny = true;
	for (unsigned int i = 0; i < KU_PL_MAX; i++)
		b->max[i] = UINT64_MAX;
	v.setting = config_setting_get_member(group, "name");
	if (!v.setting)
		return ku_pol_fail(s, v.line, "a budget without a name; add name = \"..\"");
	err = ku_budget_name(&v);
	for (int i = 0; i < config_setting_length(group) && !err; i++) {
		v.setting = config_setting_get_elem(group, (unsigned int)i);
		err = ku_budget_key(&v);
	}
	for (unsigned int i = 0; i < KU_PL_MAX; i++)
		limited = limited || b->max[i] != UINT64_MAX;
	if (!err && !limited)
		return ku_pol_fail(s, b->line, "budget '%s' limits nothing; add copy_up, write, files or copy_ups_per_second", b->name);
	return err;
}

int ku_pol_budgets(struct ku_pol_src *s, config_setting_t *list)
{
	int n = list ? config_setting_length(list) : 0;

	if (!list)
		return 0;
	if (!config_setting_is_list(list))
		return ku_pol_fail(s, config_setting_source_line(list), "budgets: a list in parentheses is expected: ( { name = \"..\"; .. }, .. )");
	if (n > KU_POL_BUDGETS)
		return ku_pol_fail(s, config_setting_source_line(list), "budgets: %d are too many, %d are possible", n, KU_POL_BUDGETS);
	s->p->budgets = calloc((size_t)n + 1, sizeof(*s->p->budgets));
	if (!s->p->budgets)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		config_setting_t *group = config_setting_get_elem(list, (unsigned int)i);
		int err;

		if (!config_setting_is_group(group))
			return ku_pol_fail(s, config_setting_source_line(group), "budgets: a budget is written in braces: { name = \"..\"; .. }");
		err = ku_budget(s, group, &s->p->budgets[s->p->nbudgets++]);
		if (err)
			return err;
	}
	return 0;
}

size_t ku_pol_budget_of(struct ku_pol_src *s, unsigned int line, const char *whose, const char *name)
{
	const char *words[KU_POL_BUDGETS + 1] = { 0 }, *near;

	for (size_t i = 0; i < s->p->nbudgets; i++) {
		words[i] = s->p->budgets[i].name;
		if (!strcmp(words[i], name))
			return i + 1;
	}
	near = ku_pol_near(name, words);
	if (near)
		ku_pol_fail(s, line, "%s: there is no budget '%.64s'; did you mean '%s'?", whose, name, near);
	else
		ku_pol_fail(s, line, "%s: there is no budget '%.64s'; add budgets = ( { name = \"%.64s\"; .. } );", whose, name, name);
	return 0;
}

int ku_pol_budget_fits(struct ku_pol_src *s, const struct ku_policy_rule *r)
{
	uint32_t charged = 1u << KU_A_COPY_UP | 1u << KU_A_CREATE | 1u << KU_A_MODIFY;

	if (!r->budget)
		return 0;
	if (r->verdict != KU_V_ALLOW && r->verdict != KU_V_AUDIT)
		return ku_pol_fail(s, r->line, "rule '%s': budget is for the verdicts allow and audit; leave it out", r->name);
	if (!(r->actions & charged))
		return ku_pol_fail(s, r->line, "rule '%s': budget is for the actions copy-up, create and modify; leave it out", r->name);
	return 0;
}
