// SPDX-License-Identifier: GPL-2.0-only
/* From rules to what BPF reads: sets of rules for each action, kind, user, size, and end of a string. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "policy/policy_dfa.h"
#include "util.h"

struct ku_compiler {
	const struct ku_policy *p;
	struct ku_pol *pol;
	char *err;
	struct ku_pol_sets sets;
	struct ku_pol_packer packer;
	struct ku_pol_set all;
	uint32_t count[KU_POL_RULES]; /* states in which a rule is under way */
};

__attribute__((format(printf, 2, 3))) static int ku_too_big(struct ku_compiler *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->err, 512, fmt, ap);
	va_end(ap);
	return -E2BIG;
}

static void ku_set_add(struct ku_pol_set *s, size_t rule)
{
	s->w[rule / 64] |= 1ull << rule % 64;
}

/* Takes up a set; the only limit here is how many there are. */
static int ku_take_set(struct ku_compiler *c, const struct ku_pol_set *set, uint16_t *ret)
{
	int err = ku_pol_sets_get(&c->sets, set, ret);

	if (err != -E2BIG)
		return err;
	return ku_too_big(c, "the rules overlap in more than %d ways, which is the limit; fewer rules that overlap, or several paths in one rule, "
			  "are needed", KU_POL_SETS);
}

/* The rules that need most of what there is too little of: "rule 'a'", "rules 'a', 'b' and 'c'". */
static void ku_worst_rules(const struct ku_compiler *c, char text[static 200])
{
	size_t worst[3], n = 0, at = 0;

	for (; n < KU_ARRAY_SIZE(worst); n++) {
		size_t best = c->p->nrules;

		for (size_t i = 0; i < c->p->nrules; i++) {
			bool taken = false;

			for (size_t j = 0; j < n; j++)
				taken = taken || worst[j] == i;
			if (!taken && c->count[i] && (best == c->p->nrules || c->count[i] > c->count[best]))
				best = i;
		}
		if (best == c->p->nrules)
			break;
		worst[n] = best;
	}
	at += (size_t)snprintf(text, 200, n == 1 ? "rule" : "rules");
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, 200 - at, "%s '%.40s' (line %u)", !i ? "" : i + 1 < n ? "," : " and",
				       c->p->rules[worst[i]].name, c->p->rules[worst[i]].line);
}

/* Does the operation take anything of the rule's budget? Whoever opens a file for writing may write. */
static bool ku_is_charged(const struct ku_policy *p, const struct ku_policy_rule *r, enum ku_pol_action a)
{
	const struct ku_policy_budget *b = r->budget ? &p->budgets[r->budget - 1] : NULL;

	if (a == KU_A_COPY_UP && p->keep_free != UINT64_MAX)
		return true;
	if (!b)
		return false;
	return a == KU_A_COPY_UP || a == KU_A_CREATE || (a == KU_A_MODIFY && b->max[KU_PL_WRITTEN] != UINT64_MAX);
}

static int ku_compile_words(struct ku_compiler *c)
{
	for (unsigned int a = 0; a < KU_A_MAX; a++) {
		struct ku_pol_set set = { 0 };
		int err;

		for (size_t i = 0; i < c->p->nrules; i++) {
			if (!(c->p->rules[i].actions & 1u << a))
				continue;
			ku_set_add(&set, i);
			if (c->p->rules[i].verdict != KU_V_ALLOW || ku_is_charged(c->p, &c->p->rules[i], (enum ku_pol_action)a))
				c->pol->actions |= 1u << a;
		}
		err = ku_take_set(c, &set, &c->pol->action_set[a]);
		if (err)
			return err;
	}
	for (unsigned int k = 0; k < KU_K_MAX; k++) {
		struct ku_pol_set set = { 0 };
		int err;

		for (size_t i = 0; i < c->p->nrules; i++)
			if (!c->p->rules[i].kinds || c->p->rules[i].kinds & 1u << k)
				ku_set_add(&set, i);
		err = ku_take_set(c, &set, &c->pol->kind_set[k]);
		if (err)
			return err;
	}
	return 0;
}

static bool ku_has_uid(const struct ku_policy_rule *r, uint64_t uid)
{
	for (size_t i = 0; i < r->nuids; i++)
		if (uid >= r->uids[i].from && uid <= r->uids[i].to)
			return true;
	return !r->nuids;
}

static bool ku_has_size(const struct ku_policy_rule *r, uint64_t size)
{
	return size >= r->min_size;
}

static int ku_u64_cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Between two bounds nothing changes: each interval is judged by its first value. */
static int ku_compile_intervals(struct ku_compiler *c, uint64_t *bounds, size_t n, bool (*has)(const struct ku_policy_rule *, uint64_t),
				const char *key, struct ku_pol_intervals *ret)
{
	qsort(bounds, n, sizeof(*bounds), ku_u64_cmp);
	for (size_t i = 0; i < n; i++) {
		struct ku_pol_set set = { 0 };
		uint16_t number;
		int err;

		if (i && bounds[i] == bounds[i - 1])
			continue;
		for (size_t r = 0; r < c->p->nrules; r++)
			if (has(&c->p->rules[r], bounds[i]))
				ku_set_add(&set, r);
		err = ku_take_set(c, &set, &number);
		if (err)
			return err;
		if (ret->n && ret->set[ret->n - 1] == number)
			continue;
		if (ret->n == KU_POL_BOUNDS)
			return ku_too_big(c, "more than %d different bounds of '%s', which is the limit; one range instead of several next to each "
					  "other would be right", KU_POL_BOUNDS, key);
		ret->bounds[ret->n] = bounds[i];
		ret->set[ret->n++] = number;
	}
	return 0;
}

static int ku_compile_numbers(struct ku_compiler *c)
{
	_cleanup_free_ uint64_t *bounds = NULL;
	size_t n = 1;
	int err;

	for (size_t i = 0; i < c->p->nrules; i++)
		n += 2 * c->p->rules[i].nuids + 1;
	bounds = calloc(n, sizeof(*bounds));
	if (!bounds)
		return -ENOMEM;
	n = 1;
	for (size_t i = 0; i < c->p->nrules; i++)
		for (size_t j = 0; j < c->p->rules[i].nuids; j++) {
			bounds[n++] = c->p->rules[i].uids[j].from;
			bounds[n++] = (uint64_t)c->p->rules[i].uids[j].to + 1;
		}
	err = ku_compile_intervals(c, bounds, n, ku_has_uid, "uid", &c->pol->uid);
	if (err)
		return err;
	bounds[0] = 0;
	for (n = 0; n < c->p->nrules; n++)
		bounds[n + 1] = c->p->rules[n].min_size;
	return ku_compile_intervals(c, bounds, n + 1, ku_has_size, "min_size", &c->pol->size);
}

typedef void (*ku_pattern_fn)(struct ku_nfa *a, const char *text, unsigned int group);

static void ku_add_list(struct ku_nfa *a, struct ku_dfa_asked *asked, const struct ku_pol_list *l, unsigned int group, ku_pattern_fn add)
{
	for (size_t i = 0; i < l->n; i++)
		add(a, l->v[i], group);
	if (l->n)
		ku_set_add(&asked->by[group], a->rule);
}

static void ku_add_glob(struct ku_nfa *a, const char *text, unsigned int group)
{
	ku_nfa_glob(a, text, false, group);
}

/* A thread's name is no path: its glob does not begin in its middle. */
static void ku_add_comm(struct ku_nfa *a, const char *text, unsigned int group)
{
	ku_nfa_glob(a, text, true, group);
}

static void ku_add_rule(struct ku_nfa *a, struct ku_dfa_asked *asked, const struct ku_policy_rule *r, enum ku_pol_string string)
{
	switch (string) {
	case KU_PS_PATH:
		ku_add_list(a, asked, &r->paths, 0, ku_add_glob);
		ku_add_list(a, asked, &r->prefixes, 1, ku_nfa_prefix);
		break;
	case KU_PS_EXE:
		ku_add_list(a, asked, &r->exes, 0, ku_add_glob);
		break;
	case KU_PS_COMM:
		ku_add_list(a, asked, &r->comms, 0, ku_add_comm);
		break;
	case KU_PS_CGROUP:
		ku_add_list(a, asked, &r->cgroups, 0, ku_nfa_cgroup);
		break;
	case KU_PS_CONTAINER:
		ku_add_list(a, asked, &r->containers, 0, ku_nfa_container);
		break;
	case KU_PS_MAX:
		break;
	}
}

static int ku_compile_nfa(struct ku_compiler *c, const struct ku_nfa *a, const struct ku_dfa_asked *asked, enum ku_pol_string string)
{
	static const char *const keys[] = { "path", "exe", "comm", "cgroup", "container" };
	struct ku_dfa d;
	char worst[200];
	int err;

	_Static_assert(KU_ARRAY_SIZE(keys) == KU_PS_MAX, "a string has no name");
	memset(c->count, 0, sizeof(c->count));
	err = ku_dfa_make(a, asked, &c->sets, c->count, &d);
	if (!err)
		err = ku_dfa_minimise(&d);
	if (!err)
		err = ku_pol_pack(&c->packer, &d, string, c->pol);
	ku_dfa_free(&d);
	if (!err || err == -ENOMEM)
		return err;
	ku_worst_rules(c, worst);
	return ku_too_big(c, "'%s': the patterns need more than %d %s, which is the limit; most is due to %s: %s would be right", keys[string],
			  err == -EMLINK   ? KU_POL_SETS :
			  err == -ENOBUFS ? KU_POL_EDGES :
					    KU_POL_STATES,
			  err == -EMLINK   ? "sets of rules" :
			  err == -ENOBUFS ? "transitions" :
					    "states",
			  worst,
			  string == KU_PS_CONTAINER ? "whole ids instead of their beginnings, or cgroup," :
						      "shorter lists, fewer '*' within a path, or prefix instead of path");
}

static int ku_compile_string(struct ku_compiler *c, enum ku_pol_string string)
{
	_cleanup_free_ struct ku_pol_set *covers = calloc(c->p->nrules, sizeof(*covers));
	struct ku_dfa_asked asked = { .all = c->all, .covers = covers };
	static const struct ku_pol_set none;
	struct ku_nfa a;
	int err = covers ? 0 : -ENOMEM;

	if (err)
		return err;
	err = ku_nfa_init(&a);

	for (size_t i = 0; i < c->p->nrules; i++) {
		a.rule = (uint32_t)i;
		ku_add_rule(&a, &asked, &c->p->rules[i], string);
	}
	if (!err)
		err = a.err;
	if (!err && (memcmp(&asked.by[0], &none, sizeof(none)) || memcmp(&asked.by[1], &none, sizeof(none)))) {
		ku_pol_covers(c->p, string, covers);
		err = ku_compile_nfa(c, &a, &asked, string);
	}
	ku_nfa_free(&a);
	return err;
}

static int ku_compile(struct ku_compiler *c)
{
	uint16_t number;
	int err;

	if (c->p->nrules > KU_POL_RULES)
		return ku_too_big(c, "%zu rules are too many, %d are possible; several paths in one rule (path = [ \"..\", \"..\" ]) would be right",
				  c->p->nrules - 1, KU_POL_RULES - 1);
	for (size_t i = 0; i < c->p->nrules; i++) {
		const struct ku_policy_rule *r = &c->p->rules[i];

		ku_set_add(&c->all, i);
		c->pol->rules[i] = (struct ku_pol_rule){ .verdict = (uint8_t)r->verdict, .budget = (uint8_t)r->budget, .err = (uint16_t)r->err };
	}
	c->pol->version = KU_POL_VERSION;
	c->pol->nrules = (uint32_t)c->p->nrules;
	err = ku_take_set(c, &c->all, &number); /* set 0 */
	if (!err)
		err = ku_compile_words(c);
	if (!err)
		err = ku_compile_numbers(c);
	for (unsigned int s = 0; s < KU_PS_MAX && !err; s++)
		err = ku_compile_string(c, (enum ku_pol_string)s);
	for (size_t i = 0; i < c->sets.map.n && !err; i++)
		memcpy(&c->pol->sets[i], c->sets.map.entries[i].key, sizeof(c->pol->sets[i]));
	return err;
}

int ku_policy_compile(const struct ku_policy *p, struct ku_pol *ret, char err[static 512])
{
	struct ku_compiler *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;

	memset(ret, 0, sizeof(*ret));
	if (c) {
		/* The state 0, dead, is there from the beginning. */
		*c = (struct ku_compiler){
			.p = p, .pol = ret, .err = err, .sets = { KU_MAP(uint16_t, KU_POL_SETS) }, .packer = { .nstates = 1 },
		};
		r = ku_compile(c);
		ku_map_free(&c->sets.map);
	}
	free(c);
	if (r == -ENOMEM)
		snprintf(err, 512, "no memory");
	return r;
}

void ku_policy_union_set(const struct ku_policy *p, const char *union_path, struct ku_pol_set *ret)
{
	*ret = (struct ku_pol_set){ 0 };
	for (size_t i = 0; i < p->nrules && i < KU_POL_RULES; i++) {
		const struct ku_pol_list *l = &p->rules[i].unions;
		bool has = !l->n;

		for (size_t j = 0; j < l->n && !has; j++)
			has = ku_glob_match(l->v[j], union_path);
		if (has)
			ku_set_add(ret, i);
	}
}
