// SPDX-License-Identifier: GPL-2.0-only
#include "policy/policy_nfa.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

/* Room for one more of items. */
static bool ku_nfa_room(struct ku_nfa *a, void **items, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? *room * 2 : 256;
	void *p;

	if (a->err)
		return false;
	if (n < *room)
		return true;
	p = n < UINT32_MAX / 8 ? reallocarray(*items, more, size) : NULL;
	if (!p) {
		a->err = -ENOMEM;
		return false;
	}
	*items = p;
	*room = more;
	return true;
}

uint32_t ku_nfa_node(struct ku_nfa *a)
{
	if (!ku_nfa_room(a, (void **)&a->nodes, a->n, &a->room, sizeof(*a->nodes)))
		return 0;
	a->nodes[a->n] = (struct ku_nfa_node){
		.edges = KU_NFA_NONE, .eps = KU_NFA_NONE, .accepts = KU_NFA_NONE, .rule = a->rule, .rest = KU_NFA_NONE
	};
	return (uint32_t)a->n++;
}

int ku_nfa_init(struct ku_nfa *a)
{
	*a = (struct ku_nfa){ .steps = KU_MAP(uint32_t, 0), .rule = KU_NFA_SHARED };
	ku_nfa_node(a);
	return a->err;
}

void ku_nfa_free(struct ku_nfa *a)
{
	free(a->nodes);
	free(a->edges);
	free(a->links);
	ku_map_free(&a->steps);
}

static void ku_nfa_add_edge(struct ku_nfa *a, uint32_t from, struct ku_nfa_edge e)
{
	if (!ku_nfa_room(a, (void **)&a->edges, a->nedges, &a->edges_room, sizeof(*a->edges)))
		return;
	e.next = a->nodes[from].edges;
	a->nodes[from].edges = (uint32_t)a->nedges;
	a->edges[a->nedges++] = e;
}

void ku_nfa_edge(struct ku_nfa *a, uint32_t from, unsigned char lo, unsigned char hi, uint32_t to)
{
	ku_nfa_add_edge(a, from, (struct ku_nfa_edge){ .lo = lo, .hi = hi, .to = to });
}

/* Stays at node, whatever follows. */
static void ku_nfa_loop(struct ku_nfa *a, uint32_t node)
{
	ku_nfa_edge(a, node, 1, 255, node);
	if (!a->err)
		a->nodes[node].all = true;
}

/* Any byte of a name. */
static void ku_nfa_edge_name(struct ku_nfa *a, uint32_t from, uint32_t to)
{
	ku_nfa_edge(a, from, 1, '/' - 1, to);
	ku_nfa_edge(a, from, '/' + 1, 255, to);
}

static void ku_nfa_link(struct ku_nfa *a, uint32_t *list, uint32_t to)
{
	a->links[a->nlinks] = (struct ku_nfa_link){ to, *list };
	*list = (uint32_t)a->nlinks++;
}

void ku_nfa_eps(struct ku_nfa *a, uint32_t from, uint32_t to)
{
	if (ku_nfa_room(a, (void **)&a->links, a->nlinks, &a->links_room, sizeof(*a->links)))
		ku_nfa_link(a, &a->nodes[from].eps, to);
}

void ku_nfa_accept(struct ku_nfa *a, uint32_t node, unsigned int group)
{
	if (ku_nfa_room(a, (void **)&a->links, a->nlinks, &a->links_room, sizeof(*a->links)))
		ku_nfa_link(a, &a->nodes[node].accepts, a->rule * KU_NFA_GROUPS + group);
}

/*
 * '?': a character, which may be several bytes (filter.c). What goes on of it is taken before anything else, so the node in its middle has
 * no edges of its own.
 */
static void ku_nfa_letter(struct ku_nfa *a, uint32_t from, uint32_t to)
{
	uint32_t middle = ku_nfa_node(a);

	if (a->err)
		return;
	a->letters = true;
	a->nodes[middle].rest = to;
	ku_nfa_edge(a, from, 1, '/' - 1, to);
	ku_nfa_edge(a, from, '/' + 1, 0x7f, to);
	ku_nfa_add_edge(a, from, (struct ku_nfa_edge){ .lo = 0x80, .hi = 0xbf, .fresh = true, .to = to });
	ku_nfa_edge(a, from, 0xc0, 0xff, middle);
	ku_nfa_edge(a, middle, 0x80, 0xbf, middle);
}

/* Here and behind each slash. */
static void ku_nfa_dirs(struct ku_nfa *a, uint32_t from, uint32_t to)
{
	uint32_t all = ku_nfa_node(a);

	ku_nfa_eps(a, from, to);
	ku_nfa_eps(a, from, all);
	ku_nfa_loop(a, all);
	ku_nfa_edge(a, all, '/', '/', to);
}

static const char ku_nfa_manager[] = "supervisor";

/*
 * The end of a machine's cgroup. What is in the cgroup "supervisor" below it is not in the machine. to + 1 is behind any other name; then come
 * the nodes behind each letter of that one, of which only the last is outside.
 */
static void ku_nfa_machine(struct ku_nfa *a, uint32_t from, uint32_t to)
{
	const char *manager = ku_nfa_manager;
	uint32_t all = ku_nfa_node(a), at = ku_nfa_node(a);

	ku_nfa_eps(a, from, to);
	ku_nfa_loop(a, all);
	ku_nfa_edge(a, to, '/', '/', at);
	ku_nfa_edge(a, at, '/', '/', at);
	for (size_t i = 0; manager[i]; i++) {
		uint32_t next = ku_nfa_node(a);
		unsigned char c = (unsigned char)manager[i];

		ku_nfa_edge(a, at, c, c, next);
		ku_nfa_edge(a, at, 1, '/' - 1, all);
		ku_nfa_edge(a, at, '/' + 1, (unsigned char)(c - 1), all);
		ku_nfa_edge(a, at, (unsigned char)(c + 1), 255, all);
		if (i)
			ku_nfa_edge(a, at, '/', '/', all);
		at = next;
	}
	ku_nfa_edge_name(a, at, all);
}

static void ku_nfa_make_step(struct ku_nfa *a, uint32_t from, enum ku_nfa_op op, unsigned char arg, uint32_t to)
{
	switch (op) {
	case KU_STEP_BYTE:
		ku_nfa_edge(a, from, arg, arg, to);
		break;
	case KU_STEP_LETTER:
		ku_nfa_letter(a, from, to);
		break;
	case KU_STEP_STAR:
		ku_nfa_eps(a, from, to);
		ku_nfa_edge_name(a, to, to);
		break;
	case KU_STEP_ANY:
		ku_nfa_eps(a, from, to);
		ku_nfa_loop(a, to);
		break;
	case KU_STEP_DIRS:
		ku_nfa_dirs(a, from, to);
		break;
	case KU_STEP_BELOW: {
		uint32_t all = ku_nfa_node(a); /* to + 1 */

		ku_nfa_eps(a, from, to);
		ku_nfa_edge(a, to, '/', '/', all);
		ku_nfa_loop(a, all);
		break;
	}
	case KU_STEP_MACHINE:
		ku_nfa_machine(a, from, to);
		break;
	case KU_STEP_HEX:
		ku_nfa_edge(a, from, '0', '9', to);
		ku_nfa_edge(a, from, 'a', 'f', to);
		break;
	case KU_STEP_HEXES:
		ku_nfa_eps(a, from, to);
		ku_nfa_edge(a, to, '0', '9', to);
		ku_nfa_edge(a, to, 'a', 'f', to);
		break;
	case KU_STEP_NOT:
		ku_nfa_eps(a, from, to);
		for (unsigned int c = 1; c < 256; c++)
			if (c != '/' && c != arg && c != '\\')
				ku_nfa_edge(a, to, (unsigned char)c, (unsigned char)c, to);
		break;
	case KU_STEP_SLASHES:
		ku_nfa_eps(a, from, to);
		ku_nfa_edge(a, to, '/', '/', to);
		break;
	case KU_STEP_JOIN:
		break;
	}
}

uint32_t ku_nfa_step(struct ku_nfa *a, uint32_t from, enum ku_nfa_op op, unsigned char arg)
{
	uint32_t key[2] = { from, (uint32_t)op << 8 | arg }, to;
	void *item;
	bool new;
	int err;

	if (a->err)
		return 0;
	err = ku_map_get(&a->steps, key, sizeof(key), &item, NULL, &new);
	if (err) {
		a->err = -ENOMEM;
		return 0;
	}
	if (!new) {
		to = *(uint32_t *)item;
		if (a->nodes[to].rule != a->rule)
			a->nodes[to].rule = KU_NFA_SHARED;
		return to;
	}
	to = ku_nfa_node(a);
	*(uint32_t *)item = to;
	ku_nfa_make_step(a, from, op, arg, to);
	return a->err ? 0 : to;
}

uint32_t ku_nfa_text(struct ku_nfa *a, uint32_t from, const char *text)
{
	for (; *text; text++)
		from = ku_nfa_step(a, from, KU_STEP_BYTE, (unsigned char)*text);
	return from;
}

void ku_nfa_glob(struct ku_nfa *a, const char *glob, bool anchored, unsigned int group)
{
	const char *p = glob;
	bool begins = true; /* at the beginning of a name: here "**" and a slash are directories */
	uint32_t at = 0;

	if (*p != '/' && !anchored)
		at = ku_nfa_step(a, at, KU_STEP_DIRS, 0);
	while (*p) {
		if (p[0] == '*' && p[1] == '*') {
			p += strspn(p, "*");
			if (begins && *p == '/') {
				at = ku_nfa_step(a, at, KU_STEP_DIRS, 0);
				p++;
				continue; /* a name begins again */
			}
			at = ku_nfa_step(a, at, KU_STEP_ANY, 0);
			begins = false;
			continue;
		}
		if (*p == '*') {
			at = ku_nfa_step(a, at, KU_STEP_STAR, 0);
		} else if (*p == '?') {
			at = ku_nfa_step(a, at, KU_STEP_LETTER, 0);
		} else {
			p += *p == '\\' && p[1];
			at = ku_nfa_step(a, at, KU_STEP_BYTE, (unsigned char)*p);
		}
		begins = *p++ == '/';
	}
	ku_nfa_accept(a, at, group);
}

uint32_t ku_nfa_accept_below(struct ku_nfa *a, uint32_t node, unsigned int group)
{
	uint32_t below = ku_nfa_step(a, node, KU_STEP_BELOW, 0);

	ku_nfa_accept(a, below, group);
	ku_nfa_accept(a, below + 1, group);
	return below + 1;
}

uint32_t ku_nfa_accept_machine(struct ku_nfa *a, uint32_t node, unsigned int group)
{
	uint32_t below = ku_nfa_step(a, node, KU_STEP_MACHINE, 0);

	/* The node itself, the one below, and one before each letter. */
	for (uint32_t i = 0; i < 2 + strlen(ku_nfa_manager); i++)
		ku_nfa_accept(a, below + i, group);
	return below + 1;
}

void ku_nfa_prefix(struct ku_nfa *a, const char *text, unsigned int group)
{
	ku_nfa_accept_below(a, ku_nfa_text(a, 0, text), group);
}

void ku_nfa_cgroup(struct ku_nfa *a, const char *cgroup, unsigned int group)
{
	/* The root is not the empty string: that is a cgroup that is not known. */
	if (!*cgroup)
		ku_nfa_accept(a, ku_nfa_step(a, ku_nfa_text(a, 0, "/"), KU_STEP_ANY, 0), group);
	else
		ku_nfa_prefix(a, cgroup, group);
}
