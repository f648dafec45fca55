// SPDX-License-Identifier: GPL-2.0-only
/* The compiled tables, read step by step as policy.bpf.c does it. */
#include "policy/policy.h"

/* The set of the interval that v is in. */
static uint16_t ku_pol_interval(const struct ku_pol_intervals *t, uint64_t v)
{
	uint32_t lo = 0, hi = t->n;

	while (hi - lo > 1) {
		uint32_t mid = (lo + hi) / 2;

		if (t->bounds[mid % KU_POL_BOUNDS] <= v)
			lo = mid;
		else
			hi = mid;
	}
	return t->set[lo % KU_POL_BOUNDS];
}

static uint16_t ku_pol_run(const struct ku_pol_automaton *t, uint16_t state, const char *text)
{
	for (; *text && state; text++) {
		uint32_t e = t->edges[(t->base[state] + (unsigned char)*text) % KU_POL_EDGES];

		state = e >> 16 == state ? (uint16_t)e : t->fallback[state];
	}
	return state;
}

static uint16_t ku_pol_string_set(const struct ku_pol_automaton *t, enum ku_pol_string string, const char *text)
{
	uint16_t state = t->start[string];

	if (!state)
		return 0;
	state = ku_pol_run(t, state, text);
	return state ? t->set[state] : t->dead_set[string];
}

/* The automaton is minimal: equal states stand for the same rules for whatever follows. */
bool ku_pol_same_below(const struct ku_pol *pol, const char *a, const char *b)
{
	const struct ku_pol_automaton *t = &pol->strings;
	uint16_t start = t->start[KU_PS_PATH];

	return ku_pol_run(t, ku_pol_run(t, start, a), "/") == ku_pol_run(t, ku_pol_run(t, start, b), "/");
}

size_t ku_pol_match(const struct ku_pol *pol, const struct ku_pol_set *union_set, const struct ku_pol_op *op)
{
	const struct ku_pol_automaton *t = &pol->strings;
	const uint16_t sets[] = {
		pol->action_set[op->action],
		pol->kind_set[op->kind],
		ku_pol_interval(&pol->uid, op->uid),
		ku_pol_interval(&pol->size, op->size),
		ku_pol_string_set(t, KU_PS_PATH, op->path),
		ku_pol_string_set(t, KU_PS_EXE, op->exe),
		ku_pol_string_set(t, KU_PS_COMM, op->comm),
		ku_pol_string_set(t, KU_PS_CGROUP, op->cgroup),
		ku_pol_string_set(t, KU_PS_CONTAINER, op->cgroup),
	};

	for (size_t w = 0; w < KU_POL_WORDS; w++) {
		uint64_t left = union_set->w[w];

		for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
			left &= pol->sets[sets[i] % KU_POL_SETS].w[w];
		if (left)
			return w * 64 + (size_t)__builtin_ctzll(left);
	}
	return pol->nrules ? pol->nrules - 1 : 0;
}
