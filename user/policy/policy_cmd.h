/* SPDX-License-Identifier: GPL-2.0-only */
/* `kunion policy`: what its commands are given, and what they share. */
#ifndef KU_POLICY_CMD_H
#define KU_POLICY_CMD_H

#include <json-c/json.h>

#include "event.h"
#include "policy/policy.h"

struct ku_policy_args {
	const char *file;      /* the policy's; NULL: learn */
	const char *answer;    /* of answer, whose question is in file */
	const char *from;      /* event lines; "-": stdin */
	const char *container; /* NULL: any */
	const char *union_path; /* NULL: any */
	const char *socket;	/* the daemon's; NULL: the usual one */
	bool json;
	bool action_given;
	struct ku_pol_op op; /* of explain */
};

/* user/policy/cmd_NAME.c; each returns an exit status and says on stderr itself what went wrong. */
int ku_policy_cmd_check(const struct ku_policy_args *a);
int ku_policy_cmd_explain(const struct ku_policy_args *a);
int ku_policy_cmd_test(const struct ku_policy_args *a);
int ku_policy_cmd_learn(const struct ku_policy_args *a);
int ku_policy_cmd_answer(const struct ku_policy_args *a);
int ku_policy_cmd_questions(const struct ku_policy_args *a);
/* cmd_status.c */
int ku_policy_cmd_status(const struct ku_policy_args *a);
int ku_policy_cmd_reload(const struct ku_policy_args *a);

/* Loads and compiles, or says what is wrong. *ret_pol may be NULL: not compiled. True: there it is, to be freed. */
bool ku_policy_open(const char *file, struct ku_policy **ret, struct ku_pol **ret_pol);

/* One of the numbers that an automaton is made of. */
struct ku_pol_figures {
	unsigned int states, transitions, sets;
};
void ku_pol_figures(const struct ku_pol *pol, struct ku_pol_figures *ret);

/* An operation as an event tells it. */
struct ku_pol_seen {
	struct ku_pol_op op; /* exe is "": events do not tell it */
	const struct ku_who *who;
	const char *from; /* what is created by being renamed or linked: its old path; else NULL */
	bool unsure; /* a removal, of which it is not known whether the file is in a lower layer; or a rename, of which it is not known what it replaces */
};

/* What events do not tell. */
struct ku_pol_untold {
	uint64_t no_path; /* operations left out */
	uint64_t lost;	  /* events that were dropped when they were recorded */
};

/*
 * Calls fn for each operation of the event lines that is of the container and union asked for; it returns 0 or -errno, which ends it. Says on
 * stderr what was wrong. Returns an exit status.
 */
int ku_pol_events_read(const struct ku_policy_args *a, int (*fn)(void *arg, const struct ku_pol_seen *seen), void *arg,
		       struct ku_pol_untold *ret);

/* JSON: strings are escaped as in event lines. All take NULL for lack of memory; ku_pol_json_print() says so then. */
struct json_object *ku_pol_json_add(struct json_object **doc, struct json_object *to, const char *key, struct json_object *value);
void ku_pol_json_text(struct json_object **doc, struct json_object *to, const char *key, const char *bytes);
void ku_pol_json_number(struct json_object **doc, struct json_object *to, const char *key, uint64_t n);
/* Prints and frees it. An exit status. */
int ku_pol_json_print(struct json_object *doc);

/* After the last line on stdout: an exit status, status itself if all was written. */
int ku_pol_printed(int status);

#endif
