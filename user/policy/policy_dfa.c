// SPDX-License-Identifier: GPL-2.0-only
/* Subset construction, over classes of bytes that no pattern tells apart. */
#include "policy/policy_dfa.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

/* An item of a state is a node, and whether it is so in the middle of a '?': then it does not take bytes that go on. */
#define KU_ITEM(node, inside) ((node) << 1 | (inside))
#define KU_ITEM_NODE(item) ((item) >> 1)
#define KU_ITEM_INSIDE(item) ((item) & 1u)

struct ku_items {
	uint32_t *v;
	size_t n, room;
};

/* A list of nodes that the same bytes of a state lead to, before its closure. */
struct ku_target {
	struct ku_items items;
	uint32_t hash, to;
	bool inside;
};

struct ku_maker {
	const struct ku_nfa *a;
	const struct ku_dfa_asked *asked;
	struct ku_pol_sets *sets;
	struct ku_dfa *d;
	uint32_t *count;
	struct ku_map states; /* uint32_t: its number; key: flag and items */
	struct ku_items out[256]; /* by class */
	struct ku_target targets[256];
	size_t ntargets;
	struct ku_items closed;
	uint32_t *seen; /* by item: the last closure that has it */
	uint32_t round;
	bool middle[256]; /* class: bytes that go on in a character */
	bool lead[256];   /* class: bytes that begin one of several bytes */
};

static int ku_items_add(struct ku_items *l, uint32_t item)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		uint32_t *v = reallocarray(l->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = item;
	return 0;
}

int ku_pol_sets_get(struct ku_pol_sets *s, const struct ku_pol_set *set, uint16_t *ret)
{
	void *item;
	bool new;
	int err = ku_map_get(&s->map, set, sizeof(*set), &item, NULL, &new);

	if (err)
		return err == -ENOSPC ? -E2BIG : err;
	if (new)
		*(uint16_t *)item = (uint16_t)(s->map.n - 1);
	*ret = *(uint16_t *)item;
	return 0;
}

static void ku_dfa_classes(struct ku_maker *m)
{
	bool begins[257] = { [0] = true, [0x80] = true, [0xc0] = true };
	struct ku_dfa *d = m->d;

	for (size_t i = 0; i < m->a->nedges; i++) {
		/* No string has a NUL: it is of the class of 1. */
		if (m->a->edges[i].lo > 1)
			begins[m->a->edges[i].lo] = true;
		begins[m->a->edges[i].hi + 1] = true;
	}
	for (unsigned int b = 0; b < 256; b++) {
		d->ncls += begins[b];
		d->cls[b] = (unsigned char)(d->ncls - 1);
		m->middle[d->ncls - 1] = b >= 0x80 && b < 0xc0;
		m->lead[d->ncls - 1] = b >= 0xc0;
	}
}

static int ku_item_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int ku_dfa_close_one(struct ku_maker *m, uint32_t item)
{
	if (m->seen[item] == m->round)
		return 0;
	m->seen[item] = m->round;
	return ku_items_add(&m->closed, item);
}

/* Of a rule that fits from here on, leaves out what is under way of those that never decide then. */
static void ku_dfa_drop_covered(struct ku_maker *m)
{
	const struct ku_dfa_asked *asked = m->asked;
	struct ku_pol_set covered = { 0 };
	const struct ku_nfa *a = m->a;
	bool any = false;
	size_t to = 1;

	for (size_t i = 1; i < m->closed.n; i++) {
		const struct ku_nfa_node *node = &a->nodes[KU_ITEM_NODE(m->closed.v[i])];

		for (uint32_t l = node->all ? node->accepts : KU_NFA_NONE; l != KU_NFA_NONE; l = a->links[l].next) {
			uint32_t rule = a->links[l].to / KU_NFA_GROUPS, other = 1 - a->links[l].to % KU_NFA_GROUPS;

			/* The other thing that it asks for may still be otherwise. */
			if (asked->by[other].w[rule / 64] >> rule % 64 & 1)
				continue;
			for (size_t w = 0; w < KU_POL_WORDS; w++)
				covered.w[w] |= asked->covers[rule].w[w];
			any = true;
		}
	}
	for (size_t i = 1; any && i < m->closed.n; i++) {
		uint32_t rule = a->nodes[KU_ITEM_NODE(m->closed.v[i])].rule;

		if (rule >= KU_POL_RULES || !(covered.w[rule / 64] >> rule % 64 & 1))
			m->closed.v[to++] = m->closed.v[i];
	}
	if (any)
		m->closed.n = to;
}

/* All that is reached from items without a byte, in order, behind one number: the flag. Where it is final, nothing else is. */
static int ku_dfa_close(struct ku_maker *m, const uint32_t *items, size_t n, bool inside)
{
	const struct ku_nfa *a = m->a;
	bool final = false;
	int err;

	m->round++;
	m->closed.n = 0;
	err = ku_items_add(&m->closed, inside);
	for (size_t i = 0; i < n && !err; i++)
		err = ku_dfa_close_one(m, items[i]);
	for (size_t i = 1; i < m->closed.n && !err; i++) {
		uint32_t item = m->closed.v[i];
		const struct ku_nfa_node *node = &a->nodes[KU_ITEM_NODE(item)];

		final = final || node->final;
		if (node->rest != KU_NFA_NONE)
			err = ku_dfa_close_one(m, KU_ITEM(node->rest, 1u));
		for (uint32_t l = node->eps; l != KU_NFA_NONE && !err; l = a->links[l].next)
			err = ku_dfa_close_one(m, KU_ITEM(a->links[l].to, KU_ITEM_INSIDE(item)));
	}
	if (err)
		return err;
	if (final) {
		size_t to = 1;

		for (size_t i = 1; i < m->closed.n; i++)
			if (a->nodes[KU_ITEM_NODE(m->closed.v[i])].final)
				m->closed.v[to++] = m->closed.v[i];
		m->closed.n = to;
	}
	ku_dfa_drop_covered(m);
	qsort(m->closed.v + 1, m->closed.n - 1, sizeof(*m->closed.v), ku_item_cmp);
	return 0;
}

/* Leaves out what never decides. */
static void ku_dfa_uncover(const struct ku_dfa_asked *asked, struct ku_pol_set *set)
{
	for (size_t w = 0; w < KU_POL_WORDS; w++)
		for (uint64_t left = set->w[w], bit; left; left &= ~bit & set->w[w]) {
			const struct ku_pol_set *covered = &asked->covers[w * 64 + (size_t)__builtin_ctzll(left)];

			bit = left & -left;
			for (size_t i = w; i < KU_POL_WORDS; i++)
				set->w[i] &= ~covered->w[i];
		}
}

/* The set of a string that ends with these items; counts whose they are. */
static int ku_dfa_set(struct ku_maker *m, const uint32_t *items, size_t n, uint32_t *ret)
{
	struct ku_pol_set got[KU_NFA_GROUPS] = { 0 }, set = m->asked->all;
	const struct ku_nfa *a = m->a;
	uint32_t last = KU_NFA_NONE;
	uint16_t number;
	int err;

	for (size_t i = 0; i < n; i++) {
		const struct ku_nfa_node *node = &a->nodes[KU_ITEM_NODE(items[i])];

		if (node->rule < KU_POL_RULES && node->rule != last)
			m->count[node->rule]++;
		last = node->rule;
		for (uint32_t l = node->accepts; l != KU_NFA_NONE; l = a->links[l].next) {
			uint32_t rule = a->links[l].to / KU_NFA_GROUPS;

			got[a->links[l].to % KU_NFA_GROUPS].w[rule / 64] |= 1ull << rule % 64;
		}
	}
	for (size_t g = 0; g < KU_NFA_GROUPS; g++)
		for (size_t w = 0; w < KU_POL_WORDS; w++)
			set.w[w] &= got[g].w[w] | ~m->asked->by[g].w[w];
	ku_dfa_uncover(m->asked, &set);
	err = ku_pol_sets_get(m->sets, &set, &number);
	*ret = number;
	return err == -E2BIG ? -EMLINK : err;
}

/* The number of the state of m->closed, made when it is new. */
static int ku_dfa_state(struct ku_maker *m, uint32_t *ret)
{
	struct ku_dfa *d = m->d;
	void *item;
	bool new;
	int err = ku_map_get(&m->states, m->closed.v, m->closed.n * sizeof(uint32_t), &item, NULL, &new);

	if (err)
		return err == -ENOSPC ? -E2BIG : err;
	if (!new) {
		*ret = *(uint32_t *)item;
		return 0;
	}
	if (d->n == d->room) {
		size_t room = d->room ? d->room * 2 : 1024;
		struct ku_dfa_state *states = reallocarray(d->states, room, sizeof(*states));

		if (!states)
			return -ENOMEM;
		d->states = states;
		d->room = room;
	}
	*ret = *(uint32_t *)item = (uint32_t)d->n;
	d->states[d->n] = (struct ku_dfa_state){ 0 };
	return ku_dfa_set(m, m->closed.v + 1, m->closed.n - 1, &d->states[d->n++].set);
}

static uint32_t ku_dfa_hash(const struct ku_items *l)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < l->n; i++)
		h = (h ^ l->v[i]) * 16777619u;
	return h;
}

/* Where the items of a class lead to; what several classes have in common is looked up once. */
static int ku_dfa_target(struct ku_maker *m, unsigned int cls, bool inside, uint32_t *ret)
{
	struct ku_items *l = &m->out[cls], spare;
	uint32_t hash = ku_dfa_hash(l);
	struct ku_target *t;
	int err;

	inside = m->a->letters && (m->lead[cls] || (m->middle[cls] && inside));
	for (size_t i = 0; i < m->ntargets; i++) {
		t = &m->targets[i];
		if (t->hash == hash && t->inside == inside && t->items.n == l->n &&
		    (!l->n || !memcmp(t->items.v, l->v, l->n * sizeof(*l->v)))) {
			*ret = t->to;
			return 0;
		}
	}
	t = &m->targets[m->ntargets++];
	err = ku_dfa_close(m, l->v, l->n, inside);
	if (!err)
		err = ku_dfa_state(m, &t->to);
	*ret = t->to;
	t->hash = hash;
	t->inside = inside;
	/* The lists are swapped, not copied. */
	spare = t->items;
	t->items = *l;
	*l = spare;
	return err;
}

static int ku_dfa_edges(struct ku_dfa *d, struct ku_dfa_state *s, const uint32_t to[256])
{
	unsigned int votes = 0;

	/* Whoever has the most; of no importance when nobody has more than half. */
	for (unsigned int c = 0; c < d->ncls; c++) {
		if (!votes)
			s->other = to[c];
		votes += to[c] == s->other ? 1 : -1u;
	}
	s->first = (uint32_t)d->nedges;
	for (unsigned int c = 0; c < d->ncls; c++) {
		if (to[c] == s->other)
			continue;
		if (d->nedges == d->edges_room) {
			size_t room = d->edges_room ? d->edges_room * 2 : 4096;
			struct ku_dfa_edge *edges = reallocarray(d->edges, room, sizeof(*edges));

			if (!edges)
				return -ENOMEM;
			d->edges = edges;
			d->edges_room = room;
		}
		d->edges[d->nedges++] = (struct ku_dfa_edge){ c, to[c] };
		s->nedges++;
	}
	return 0;
}

/* All that leads out of state n, whose flag and items are key. */
static int ku_dfa_leave(struct ku_maker *m, size_t n, const uint32_t *key, size_t nkey)
{
	const struct ku_nfa *a = m->a;
	struct ku_dfa *d = m->d;
	bool inside = key[0];
	uint32_t to[256];
	int err = 0;

	m->ntargets = 0;
	for (unsigned int c = 0; c < d->ncls; c++)
		m->out[c].n = 0;
	for (size_t i = 1; i < nkey; i++)
		for (uint32_t e = a->nodes[KU_ITEM_NODE(key[i])].edges; e != KU_NFA_NONE; e = a->edges[e].next) {
			const struct ku_nfa_edge *edge = &a->edges[e];

			for (unsigned int c = d->cls[edge->lo]; c <= d->cls[edge->hi] && !err; c++)
				if (!m->middle[c] || !(KU_ITEM_INSIDE(key[i]) || (edge->fresh && inside)))
					err = ku_items_add(&m->out[c], KU_ITEM(edge->to, 0u));
		}
	for (unsigned int c = 0; c < d->ncls && !err; c++)
		err = ku_dfa_target(m, c, inside, &to[c]);
	return err ? err : ku_dfa_edges(d, &d->states[n], to);
}

static int ku_dfa_run(struct ku_maker *m)
{
	const uint32_t start = KU_ITEM(0u, 0u);
	uint32_t state;
	int err = ku_dfa_close(m, &start, 1, false);

	if (!err)
		err = ku_dfa_state(m, &state);
	if (!err)
		err = ku_dfa_set(m, NULL, 0, &m->d->dead_set);
	/* Entries are in the order of the states; keys stay where they are. */
	for (size_t n = 0; n < m->d->n && !err; n++)
		err = ku_dfa_leave(m, n, (const uint32_t *)m->states.entries[n].key, m->states.entries[n].len / sizeof(uint32_t));
	return err;
}

int ku_dfa_make(const struct ku_nfa *a, const struct ku_dfa_asked *asked, struct ku_pol_sets *sets, uint32_t count[KU_POL_RULES],
		struct ku_dfa *ret)
{
	struct ku_maker *m = calloc(1, sizeof(*m));
	int err = -ENOMEM;

	*ret = (struct ku_dfa){ 0 };
	if (!m)
		return err;
	*m = (struct ku_maker){ .a = a, .asked = asked, .sets = sets, .d = ret, .count = count, .states = KU_MAP(uint32_t, KU_DFA_STATES) };
	m->seen = calloc(a->n * 2, sizeof(*m->seen));
	if (m->seen) {
		ku_dfa_classes(m);
		err = ku_dfa_run(m);
	}
	ku_map_free(&m->states);
	for (size_t i = 0; i < KU_ARRAY_SIZE(m->out); i++) {
		free(m->out[i].v);
		free(m->targets[i].items.v);
	}
	free(m->closed.v);
	free(m->seen);
	free(m);
	return err;
}

void ku_dfa_free(struct ku_dfa *d)
{
	free(d->states);
	free(d->edges);
	*d = (struct ku_dfa){ 0 };
}
