/* SPDX-License-Identifier: GPL-2.0-only */
/* The deterministic form of a policy's strings, as it is made into struct ku_pol's tables. */
#ifndef KU_POLICY_DFA_H
#define KU_POLICY_DFA_H

#include "policy/policy.h"
#include "policy/policy_nfa.h"

/* States before the smallest automaton is made of them, and so how much memory and time that may take. */
#define KU_DFA_STATES (2u * KU_POL_STATES)

struct ku_dfa_edge {
	uint32_t cls, to;
};

/* In each state most bytes lead to the same one. */
struct ku_dfa_state {
	uint32_t other;	       /* where to, but for the edges */
	uint32_t first, nedges;
	uint32_t set;
};

struct ku_dfa {
	struct ku_dfa_state *states; /* 0 is where a string begins */
	size_t n, room;
	struct ku_dfa_edge *edges;
	size_t nedges, edges_room;
	unsigned char cls[256]; /* of each byte */
	unsigned int ncls;
	uint32_t dead_set; /* of the rules that do not ask */
};

/* The sets of a policy, each once. */
struct ku_pol_sets {
	struct ku_map map; /* uint16_t: its number; key: struct ku_pol_set */
};

/* The number of a set, made when it is new. -E2BIG when there are too many, -ENOMEM. */
int ku_pol_sets_get(struct ku_pol_sets *s, const struct ku_pol_set *set, uint16_t *ret);

/* Which rules ask the string for something, by group. */
struct ku_dfa_asked {
	struct ku_pol_set all, by[KU_NFA_GROUPS];
	const struct ku_pol_set *covers; /* by rule: those that it leaves nothing to */
};

/* policy_cover.c: by rule, which later ones never decide where both fit the string. ret has p->nrules. */
void ku_pol_covers(const struct ku_policy *p, enum ku_pol_string string, struct ku_pol_set *ret);

/*
 * Makes *ret, to be freed also after an error, from the patterns. count, by rule: in how many states it is under way. 0; -E2BIG: too many states;
 * -EMLINK: too many sets; -ENOMEM.
 */
int ku_dfa_make(const struct ku_nfa *a, const struct ku_dfa_asked *asked, struct ku_pol_sets *sets, uint32_t count[KU_POL_RULES],
		struct ku_dfa *ret);
/* Makes one state of those that are the same. 0 or -ENOMEM. */
int ku_dfa_minimise(struct ku_dfa *d);
void ku_dfa_free(struct ku_dfa *d);

/* How far the automaton of a policy is filled. */
struct ku_pol_packer {
	uint32_t nstates; /* 0 included */
	uint32_t first_free; /* edge */
	unsigned char last[256]; /* bytes of the state placed last .. */
	size_t last_n;
	uint32_t last_at; /* .. and the edge of the first of them */
};

/* Adds the automaton to pol's and sets its start. 0; -E2BIG: too many states; -ENOBUFS: too many edges; -ENOMEM. */
int ku_pol_pack(struct ku_pol_packer *k, const struct ku_dfa *d, enum ku_pol_string string, struct ku_pol *pol);

#endif
