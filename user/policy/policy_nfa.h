/* SPDX-License-Identifier: GPL-2.0-only */
/* What the patterns of one string of a policy accept, as a nondeterministic automaton over bytes. */
#ifndef KU_POLICY_NFA_H
#define KU_POLICY_NFA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "map.h"

/* A rule may ask a string for two things, of which both must be so: the path for its glob and its prefix. */
#define KU_NFA_GROUPS 2
#define KU_NFA_NONE UINT32_MAX	     /* no such node, edge or rule */
#define KU_NFA_SHARED (UINT32_MAX - 1) /* a node of several rules */

struct ku_nfa_edge {
	unsigned char lo, hi; /* bytes, both included */
	bool fresh;	      /* not for a byte in the middle of a character */
	uint32_t to, next;
};

struct ku_nfa_link {
	uint32_t to; /* the node; of what accepts, rule * KU_NFA_GROUPS + group */
	uint32_t next;
};

struct ku_nfa_node {
	uint32_t edges, eps, accepts; /* first of each list */
	uint32_t rule;		      /* whose it is; KU_NFA_SHARED */
	bool all;		      /* whatever follows leads here again */
	bool final;		      /* who comes here stays, and is nowhere else */
	uint32_t rest;		      /* in the middle of a '?': bytes that go on, then as this node; else KU_NFA_NONE */
};

/* Begins all zero but for ku_nfa_init(). A failure stays in err (-ENOMEM); what is built after it is not valid. */
struct ku_nfa {
	struct ku_nfa_node *nodes;
	size_t n, room;
	struct ku_nfa_edge *edges;
	size_t nedges, edges_room;
	struct ku_nfa_link *links;
	size_t nlinks, links_room;
	struct ku_map steps; /* from, step -> node: patterns share their beginnings */
	uint32_t rule;	     /* for whom nodes are made now */
	bool letters;	     /* has a '?' */
	int err;
};

enum ku_nfa_op {
	KU_STEP_BYTE,
	KU_STEP_LETTER, /* '?' */
	KU_STEP_STAR,	/* within a name */
	KU_STEP_ANY,	/* across names */
	KU_STEP_DIRS,	/* any number of whole directories */
	KU_STEP_BELOW,	/* here, and all behind a slash */
	KU_STEP_MACHINE, /* as below, but not the container's manager */
	KU_STEP_HEX,	 /* a digit */
	KU_STEP_HEXES,	 /* any number of them */
	KU_STEP_NOT,	 /* any number of bytes of a name that are neither arg nor a backslash */
	KU_STEP_SLASHES, /* any number of them */
	KU_STEP_JOIN,	 /* nothing: a node to come to from several */
};

/* Node 0 is where a string begins. Returns 0 or -ENOMEM. */
int ku_nfa_init(struct ku_nfa *a);
void ku_nfa_free(struct ku_nfa *a);

uint32_t ku_nfa_node(struct ku_nfa *a);
void ku_nfa_edge(struct ku_nfa *a, uint32_t from, unsigned char lo, unsigned char hi, uint32_t to);
void ku_nfa_eps(struct ku_nfa *a, uint32_t from, uint32_t to);
void ku_nfa_accept(struct ku_nfa *a, uint32_t node, unsigned int group);

/* The node behind a step from another one, made when it is the first such. arg: the byte, or what tells steps apart. */
uint32_t ku_nfa_step(struct ku_nfa *a, uint32_t from, enum ku_nfa_op op, unsigned char arg);
uint32_t ku_nfa_text(struct ku_nfa *a, uint32_t from, const char *text);

/* ku_glob_match()'s globs; with anchored, one that does not begin with a slash is no other than one that does. */
void ku_nfa_glob(struct ku_nfa *a, const char *glob, bool anchored, unsigned int group);
/* This text, which has no slash at its end, and all below it. */
void ku_nfa_prefix(struct ku_nfa *a, const char *text, unsigned int group);
void ku_nfa_cgroup(struct ku_nfa *a, const char *cgroup, unsigned int group);
/* Accepts here, and all behind a slash. Returns the node behind that. */
uint32_t ku_nfa_accept_below(struct ku_nfa *a, uint32_t node, unsigned int group);

/* The same for KU_STEP_MACHINE. */
uint32_t ku_nfa_accept_machine(struct ku_nfa *a, uint32_t node, unsigned int group);

/* policy_container.c: the cgroups of a container. */
void ku_nfa_container(struct ku_nfa *a, const char *container, unsigned int group);

#endif
