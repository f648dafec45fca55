// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy: what containers may write into their layers. Words here, each command in policy/cmd_NAME.c. */
#include <argp.h>
#include <string.h>

#include "cmd.h"
#include "ctl/server.h"
#include "opts.h"
#include "policy/policy_cmd.h"
#include "util.h"

enum ku_policy_option { KU_OPT_CGROUP = 1, KU_OPT_COMM, KU_OPT_EXE, KU_OPT_FROM, KU_OPT_JSON, KU_OPT_KIND, KU_OPT_PATH, KU_OPT_SIZE, KU_OPT_UID,
			KU_OPT_UNION, KU_OPT_ACTION = 'a', KU_OPT_CONTAINER = 'c', KU_OPT_SOCKET = 'S' };

/* Which commands an option is for. */
enum ku_policy_for { KU_CHECK = 1, KU_EXPLAIN = 2, KU_TEST = 4, KU_LEARN = 8, KU_ANSWER = 16, KU_QUESTIONS = 32, KU_STATUS = 64, KU_RELOAD = 128 };

static const struct {
	const char *name;
	enum ku_policy_for bit;
	int (*fn)(const struct ku_policy_args *a);
} ku_policy_cmds[] = {
	{ "check", KU_CHECK, ku_policy_cmd_check },
	{ "explain", KU_EXPLAIN, ku_policy_cmd_explain },
	{ "test", KU_TEST, ku_policy_cmd_test },
	{ "learn", KU_LEARN, ku_policy_cmd_learn },
	{ "answer", KU_ANSWER, ku_policy_cmd_answer },
	{ "questions", KU_QUESTIONS, ku_policy_cmd_questions },
	{ "status", KU_STATUS, ku_policy_cmd_status },
	{ "reload", KU_RELOAD, ku_policy_cmd_reload },
};

static const struct argp_option ku_policy_options[] = {
	{ "action", KU_OPT_ACTION, "ACTION", 0, "explain: copy-up, create, remove, remove-upper, modify or exec", 0 },
	{ "cgroup", KU_OPT_CGROUP, "PATH", 0, "explain: the task's cgroup, which its container is told from", 0 },
	{ "comm", KU_OPT_COMM, "NAME", 0, "explain: the thread's name", 0 },
	{ "container", KU_OPT_CONTAINER, "CONTAINER", 0, "test, learn: events of this container only", 0 },
	{ "exe", KU_OPT_EXE, "PATH", 0, "explain: the program's path", 0 },
	{ "from", KU_OPT_FROM, "FILE", 0, "test, learn: recorded event lines; - for stdin", 0 },
	{ "json", KU_OPT_JSON, NULL, 0, "check, explain, test, questions, status: one JSON object", 0 },
	{ "kind", KU_OPT_KIND, "KIND", 0, "explain: file (default), dir, symlink or special", 0 },
	{ "path", KU_OPT_PATH, "PATH", 0, "explain: of the object, from the union's root", 0 },
	{ "size", KU_OPT_SIZE, "SIZE", 0, "explain: of the file; 0 is the default", 0 },
	{ "socket", KU_OPT_SOCKET, "PATH", 0, "status, reload: the daemon's control socket (default: " KU_CTL_SOCKET ")", 0 },
	{ "uid", KU_OPT_UID, "UID", 0, "explain: the task's user id; 0 is the default", 0 },
	{ "union", KU_OPT_UNION, "MERGED", 0, "explain: the union's merged directory; test, learn: events of it only", 0 },
	{ 0 },
};

struct ku_policy_words {
	struct ku_policy_args args;
	size_t cmd; /* in ku_policy_cmds */
	bool cmd_given;
	uint64_t given; /* bits of ku_policy_options */
};

static const unsigned int ku_policy_takes[] = {
	KU_EXPLAIN, KU_EXPLAIN, KU_EXPLAIN, KU_TEST | KU_LEARN, KU_EXPLAIN, KU_TEST | KU_LEARN, KU_CHECK | KU_EXPLAIN | KU_TEST | KU_QUESTIONS | KU_STATUS,
	KU_EXPLAIN, KU_EXPLAIN, KU_EXPLAIN, KU_STATUS | KU_RELOAD, KU_EXPLAIN, KU_EXPLAIN | KU_TEST | KU_LEARN,
};
_Static_assert(KU_ARRAY_SIZE(ku_policy_takes) == KU_ARRAY_SIZE(ku_policy_options) - 1, "an option is for nobody");

/* One of the names 0 to max - 1. */
static unsigned int ku_policy_word(struct argp_state *state, const char *option, const char *arg, const char *(*name)(unsigned int),
				   unsigned int max)
{
	char all[128] = "";

	for (unsigned int i = 0; i < max; i++) {
		size_t n = strlen(all);

		if (!strcmp(arg, name(i)))
			return i;
		snprintf(all + n, sizeof(all) - n, "%s%s", !i ? "" : i + 1 < max ? ", " : " or ", name(i));
	}
	argp_error(state, "--%s '%s': %s would be right", option, arg, all);
	return 0;
}

static const char *ku_policy_action(unsigned int n)
{
	return ku_pol_action_name((enum ku_pol_action)n);
}

static const char *ku_policy_kind(unsigned int n)
{
	return ku_pol_kind_name((enum ku_pol_kind)n);
}

static void ku_policy_arg(struct ku_policy_words *w, char *arg, struct argp_state *state)
{
	if (w->cmd_given) {
		if (ku_policy_cmds[w->cmd].bit == KU_ANSWER && w->args.file && !w->args.answer) {
			w->args.answer = arg;
			return;
		}
		if (w->args.file)
			argp_error(state, "one FILE at a time; '%s' is too many", arg);
		w->args.file = arg;
		return;
	}
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_policy_cmds); i++)
		if (!strcmp(arg, ku_policy_cmds[i].name)) {
			w->cmd = i;
			w->cmd_given = true;
			return;
		}
	argp_error(state, "no command '%s'; check, explain, test, learn, questions, answer, status or reload would be right", arg);
}

/* What belongs together, once all words are known. */
static void ku_policy_end(struct ku_policy_words *w, struct argp_state *state)
{
	const char *name = ku_policy_cmds[w->cmd].name;
	unsigned int bit = ku_policy_cmds[w->cmd].bit;
	struct ku_policy_args *a = &w->args;

	if (!w->cmd_given)
		argp_error(state, "a command is missing: check, explain, test, learn, questions, answer, status or reload");
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_policy_takes); i++)
		if (w->given >> i & 1 && !(ku_policy_takes[i] & bit))
			argp_error(state, "--%s is not for %s", ku_policy_options[i].name, name);
	if (bit & (KU_STATUS | KU_RELOAD) && a->file)
		argp_error(state, "%s is about the policy that the daemon has; '%s' is too many", name, a->file);
	if (bit == KU_LEARN && a->file)
		argp_error(state, "learn reads no policy; '%s' is too many", a->file);
	if (bit == KU_QUESTIONS && a->file)
		argp_error(state, "questions takes no FILE; '%s' is too many", a->file);
	if (bit == KU_ANSWER && !a->answer)
		argp_error(state, "answer: ID and the answer are needed, as 'answer 1234 allow'");
	if (!(bit & (KU_LEARN | KU_QUESTIONS | KU_STATUS | KU_RELOAD)) && !a->file)
		argp_error(state, "%s: FILE is missing: the policy", name);
	if (bit & (KU_TEST | KU_LEARN) && !a->from)
		argp_error(state, "%s: --from is missing: recorded event lines", name);
	if (bit == KU_EXPLAIN && (!*a->op.path || !a->action_given))
		argp_error(state, "explain: --path and --action are needed");
	a->op.union_path = a->union_path ? a->union_path : "";
}

static error_t ku_policy_option(int key, char *arg, struct argp_state *state)
{
	struct ku_policy_words *w = state->input;
	struct ku_policy_args *a = &w->args;
	uint64_t uid;

	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_policy_takes); i++)
		if (ku_policy_options[i].key == key)
			w->given |= 1ull << i;
	switch (key) {
	case KU_OPT_ACTION:
		a->op.action = (enum ku_pol_action)ku_policy_word(state, "action", arg, ku_policy_action, KU_A_MAX);
		a->action_given = true;
		return 0;
	case KU_OPT_CGROUP:
		if (*arg != '/')
			argp_error(state, "--cgroup '%s': a path as in /proc/PID/cgroup, like /system.slice, would be right", arg);
		a->op.cgroup = arg;
		return 0;
	case KU_OPT_COMM:
		if (strlen(arg) > 15)
			argp_error(state, "--comm '%s': the kernel keeps 15 bytes; its first 15 would be right", arg);
		a->op.comm = arg;
		return 0;
	case KU_OPT_CONTAINER:
		a->container = arg;
		return 0;
	case KU_OPT_EXE:
		a->op.exe = arg;
		return 0;
	case KU_OPT_FROM:
		a->from = arg;
		return 0;
	case KU_OPT_JSON:
		a->json = true;
		return 0;
	case KU_OPT_KIND:
		a->op.kind = (enum ku_pol_kind)ku_policy_word(state, "kind", arg, ku_policy_kind, KU_K_MAX);
		return 0;
	case KU_OPT_PATH:
		if (*arg != '/')
			argp_error(state, "--path '%s': a path from the union's root, like /etc/passwd, would be right", arg);
		a->op.path = arg;
		return 0;
	case KU_OPT_SIZE:
		if (ku_parse_size(arg, &a->op.size))
			argp_error(state, "--size '%s': bytes, or with K, M, G or T, as 10M, would be right", arg);
		return 0;
	case KU_OPT_SOCKET:
		a->socket = arg;
		return 0;
	case KU_OPT_UID:
		if (!arg[strspn(arg, "0123456789")] && !ku_parse_size(arg, &uid) && uid <= UINT32_MAX)
			a->op.uid = (uint32_t)uid;
		else
			argp_error(state, "--uid '%s': a number up to 4294967295 would be right", arg);
		return 0;
	case KU_OPT_UNION:
		a->union_path = arg;
		return 0;
	case ARGP_KEY_ARG:
		ku_policy_arg(w, arg, state);
		return 0;
	case ARGP_KEY_END:
		ku_policy_end(w, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp ku_policy_argp = {
	.options = ku_policy_options,
	.parser = ku_policy_option,
	.args_doc = "check FILE\nexplain FILE --path PATH --action ACTION\ntest FILE --from EVENTS\nlearn --from EVENTS\nquestions\nanswer ID allow|deny[:ERRNO]"
		    "\nstatus\nreload",
	.doc = "Checks a policy, tells which of its rules decides about an operation, tries it on recorded events, or learns one from them; or lists "
	       "and answers what rules with verdict hold ask; or tells what the running daemon's policy decided, or has it read again.\v"
	       "Status: 0 done; 1 nothing could be learned, the output not be written, or nothing asks that; 2 nothing was done: a bad word, no policy, no "
	       "events.\n\nExample: kunion policy check app.policy",
};

int ku_cmd_policy(int argc, char **argv)
{
	struct ku_policy_words w = { .args = { .op = { .path = "", .exe = "", .comm = "", .cgroup = "", .union_path = "" } } };

	if (ku_parse_args("kunion policy", &ku_policy_argp, argc, argv, &w))
		return KU_EXIT_USAGE;
	return ku_policy_cmds[w.cmd].fn(&w.args);
}
