// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy questions: the operations that are held, and wait for `kunion policy answer`. */
#include <inttypes.h>
#include <string.h>

#include "cmd.h"
#include "judge_hold.h"
#include "log.h"
#include "policy/policy_ask.h"
#include "policy/policy_cmd.h"
#include "trace_fmt.h"
#include "util.h"

struct ku_questions {
	char *reply; /* of KU_HOLD_REPLY */
	struct json_object *doc, *list; /* NULL: text */
	uint64_t n;
};

/* Milliseconds as seconds, rounded up: 0 is over. */
static uint64_t ku_question_seconds(uint64_t ms)
{
	return (ms + 999) / 1000;
}

static int ku_question_text(struct ku_questions *q, const struct ku_event *e, uint64_t ms)
{
	_cleanup_free_ char *at = ku_terminal_text(e->union_path, true), *path = ku_terminal_text(e->path, true);
	_cleanup_free_ char *comm = ku_terminal_text(e->hold.who.comm, true), *container = ku_terminal_text(e->hold.who.container, true);

	if (!at || !path || !comm || !container)
		return -ENOMEM;
	if (!q->n)
		printf("%-12s %5s %-12s %10s %7s %-15s %-12s %-16s %s\n", "ID", "LEFT", "ACTION", "SIZE", "PID", "COMM", "CONTAINER", "RULE", "PATH");
	printf("%-12" PRIu64 " %4" PRIu64 "s %-12s %10" PRIu64 " %7" PRIu32 " %-15s %-12.12s %-16s %s%s\n", e->hold.id, ku_question_seconds(ms),
	       e->hold.action, e->hold.size, e->hold.who.pid, comm, *container ? container : "-", e->hold.rule, at, path);
	return 0;
}

/* One reply: "MILLISECONDS EVENT". *ret_number: the question's. */
static int ku_question(struct ku_questions *q, uint64_t *ret_number)
{
	struct json_object *o;
	struct ku_event *e;
	char *line;
	uint64_t ms = strtoull(q->reply, &line, 10);
	int n = *line == ' ' ? ku_event_parse(line + 1, &e) : -EPROTO;

	if (n)
		return n;
	if (e->type != KU_EV_HOLD || e->hold.id <= *ret_number) {
		n = -EPROTO;
	} else if (q->doc) {
		o = ku_pol_json_add(&q->doc, q->list, NULL, json_tokener_parse(line + 1));
		ku_pol_json_number(&q->doc, o, "left_ms", ms);
		n = q->doc ? 0 : -ENOMEM;
	} else {
		n = ku_question_text(q, e, ms);
	}
	*ret_number = e->hold.id;
	q->n++;
	ku_event_free(e);
	return n;
}

static int ku_questions_of(void *arg, const char *path)
{
	struct ku_questions *q = arg;
	uint64_t number = 0;

	for (;;) {
		char message[32];
		int n;

		snprintf(message, sizeof(message), "next %" PRIu64, number);
		n = ku_hold_ask(path, message, q->reply, KU_HOLD_REPLY);
		/* It has ended, or was killed and left the socket. */
		if (n == -ENOENT || (!n && !strcmp(q->reply, KU_HOLD_NONE)))
			return 0;
		n = n ? n : ku_question(q, &number);
		if (n)
			return n;
	}
}

int ku_policy_cmd_questions(const struct ku_policy_args *a)
{
	_cleanup_free_ char *reply = malloc(KU_HOLD_REPLY);
	struct ku_questions q = { .reply = reply };
	int n = reply ? 0 : -ENOMEM;

	if (a->json) {
		q.doc = json_object_new_object();
		q.list = ku_pol_json_add(&q.doc, q.doc, "questions", json_object_new_array());
		n = q.doc ? n : -ENOMEM;
	}
	n = n ? n : ku_hold_each(ku_questions_of, &q);
	if (n) {
		json_object_put(q.doc);
		ku_err("policy questions: %s", strerror(-n));
		return KU_EXIT_FAIL;
	}
	if (q.doc)
		return ku_pol_json_print(q.doc);
	if (!q.n)
		puts("no operation waits for an answer");
	return ku_pol_printed(KU_EXIT_OK);
}
