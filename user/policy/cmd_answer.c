// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy answer: what becomes of an operation that is held. */
#include <ctype.h>
#include <string.h>

#include "cmd.h"
#include "judge_hold.h"
#include "log.h"
#include "policy/policy_ask.h"
#include "policy/policy_cmd.h"
#include "policy/policy_load.h"
#include "util.h"

/* Each kunion is asked until it was one's question: 1. A failure is told only if it was nobody's. */
struct ku_answer {
	const char *message;
	int err;
};

static int ku_answer_one(void *arg, const char *path)
{
	struct ku_answer *a = arg;
	char reply[64];
	int n = ku_hold_ask(path, a->message, reply, sizeof(reply));

	if (!n && !strcmp(reply, KU_HOLD_OK))
		return 1;
	n = n ? n : strcmp(reply, KU_HOLD_NONE) ? -EIO : -ENOENT;
	if (n != -ENOENT)
		a->err = n;
	return 0;
}

/* "allow", "deny", "deny:EACCES" as a message's words. False: none of these. */
static bool ku_answer_words(const char *text, char words[static 32])
{
	const char *name = !strncmp(text, "deny:", 5) ? text + 5 : NULL;
	int code = 0;

	if (!strcmp(text, "allow")) {
		snprintf(words, 32, "allow");
		return true;
	}
	if (strcmp(text, "deny") && (!name || ku_pol_errno_number(name, &code)))
		return false;
	snprintf(words, 32, "deny %d", code);
	return true;
}

int ku_policy_cmd_answer(const struct ku_policy_args *a)
{
	char words[32], message[128];
	struct ku_answer answer = { .message = message, .err = -ENOENT };
	int n;

	for (const char *c = a->file; *c; c++)
		if (!isdigit((unsigned char)*c) || c - a->file > 19) {
			ku_err("policy answer: '%s' is no question; the number 'id' of a hold event would be right", a->file);
			return KU_EXIT_USAGE;
		}
	if (!ku_answer_words(a->answer, words)) {
		ku_err("policy answer: '%s': allow, deny or deny:ERRNO, as deny:EACCES, would be right", a->answer);
		return KU_EXIT_USAGE;
	}
	snprintf(message, sizeof(message), "%s %s", a->file, words);
	n = ku_hold_each(ku_answer_one, &answer);
	n = n > 0 ? 0 : n ? n : answer.err;
	if (n == -ENOENT)
		ku_err("policy answer: no kunion has the question %s; it was answered, came to its limit, or its task is gone", a->file);
	else if (n)
		ku_err("policy answer: %s", strerror(-n));
	return n ? KU_EXIT_FAIL : KU_EXIT_OK;
}
