// SPDX-License-Identifier: GPL-2.0-only
#include "judge_tell.h"

#include <linux/types.h>
#include <string.h>

#include "kunion_judge_abi.h"
#include "observer.h"
#include "policy/policy.h"
#include "util.h"

/*
 * The kernel asks for leave to create a file before it has looked for the name (KERNEL.md 1), and takes no notice of the answer where that is there.
 * BPF hears of that a moment later, at most as long as a lower file system needs for one name.
 */
#define KU_UNSURE_NS 200000000ull

struct ku_unsure {
	struct ku_unsure *next;
	uint64_t until_ns;
	struct ku_pol_record rec; /* its path behind it */
};

struct ku_tell {
	struct ku_tell_ops ops;
	struct ku_unsure *unsure, **unsure_tail;
	unsigned int budget;
};

struct ku_tell *ku_tell_new(const struct ku_tell_ops *ops)
{
	struct ku_tell *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->ops = *ops;
	t->unsure_tail = &t->unsure;
	return t;
}

void ku_tell_free(struct ku_tell *t)
{
	if (!t)
		return;
	while (t->unsure) {
		struct ku_unsure *u = t->unsure;

		t->unsure = u->next;
		free(u);
	}
	free(t);
}

static void ku_tell_verdict(struct ku_tell *t, const struct ku_pol_record *r)
{
	_cleanup_free_ char *path = strndup((const char *)(r + 1), r->path_len);
	struct ku_event e = { .type = KU_EV_POLICY, .ts_ns = ku_utc_ns(r->ts_ns) };
	struct ku_who_text text;
	char buf[16];

	e.union_path = t->ops.union_path(t->ops.arg, r->dev, r->who.pid);
	e.path = path ? path : "";
	e.policy = (struct ku_ev_policy){
		.action = ku_pol_action_name((enum ku_pol_action)(r->action < KU_A_MAX ? r->action : 0)),
		.kind = ku_pol_kind_name((enum ku_pol_kind)(r->kind < KU_K_MAX ? r->kind : 0)),
		.size = r->size,
		.rule = t->ops.rule(t->ops.arg, r->gen, r->rule),
		.verdict = ku_pol_verdict_name((enum ku_pol_verdict)(r->verdict < KU_V_MAX ? r->verdict : 0)),
		.err = r->err ? ku_errno_name((int)r->err, buf) : "",
		.budget = r->budget ? t->ops.budget(t->ops.arg, r->gen, r->budget - 1) : "",
		.limit = ku_pol_limit_name((enum ku_pol_limit)(r->met < KU_PL_MAX ? r->met : 0)),
	};
	ku_who_fill(&e.policy.who, &r->who, &text);
	if (r->type == KU_PR_QUESTION) {
		struct ku_ev_policy p = e.policy;

		e.type = KU_EV_HOLD;
		e.hold = (struct ku_ev_hold){
			.action = p.action, .kind = p.kind, .size = p.size, .rule = p.rule, .limit = r->limit, .err = p.err, .who = p.who
		};
		t->ops.asked(t->ops.arg, r, &e);
	}
	if (e.type != KU_EV_HOLD || e.hold.id)
		t->ops.emit(t->ops.emit_arg, &e);
}

static void ku_tell_hold_back(struct ku_tell *t, const struct ku_pol_record *r)
{
	struct ku_unsure *u = calloc(1, sizeof(*u) + r->path_len);

	if (!u) {
		ku_tell_dropped(t, 1);
		return;
	}
	u->until_ns = ku_now_ns() + KU_UNSURE_NS;
	memcpy(&u->rec, r, sizeof(*r) + r->path_len);
	*t->unsure_tail = u;
	t->unsure_tail = &u->next;
}

static void ku_tell_take_back(struct ku_tell *t, uint64_t id)
{
	struct ku_unsure **at = &t->unsure, *u;

	while ((u = *at) && u->rec.id != id)
		at = &u->next;
	if (!u)
		return;
	*at = u->next;
	if (!*at)
		t->unsure_tail = at;
	free(u);
}

int ku_tell_record(void *tell, void *data, size_t size)
{
	const struct ku_pol_record *r = data;
	struct ku_tell *t = tell;

	if (size < sizeof(*r) || r->path_len > size - sizeof(*r))
		return 0;
	if (r->type == KU_PR_TAKEN_BACK)
		ku_tell_take_back(t, r->id);
	else if (r->unsure)
		ku_tell_hold_back(t, r);
	else
		ku_tell_verdict(t, r);
	return t->budget-- > 1 ? 0 : -EAGAIN;
}

void ku_tell_budget(struct ku_tell *t, unsigned int records)
{
	t->budget = records;
}

void ku_tell_dropped(struct ku_tell *t, uint64_t n)
{
	struct ku_event e = { .type = KU_EV_DROPPED, .ts_ns = ku_utc_ns(ku_now_ns()), .union_path = "", .path = "" };

	e.dropped.count = e.dropped.others = n;
	t->ops.emit(t->ops.emit_arg, &e);
}

int ku_tell_turn(struct ku_tell *t, bool all)
{
	uint64_t now = ku_now_ns();

	while (t->unsure && (all || now >= t->unsure->until_ns)) {
		struct ku_unsure *u = t->unsure;

		t->unsure = u->next;
		if (!t->unsure)
			t->unsure_tail = &t->unsure;
		ku_tell_verdict(t, &u->rec);
		free(u);
	}
	return t->unsure ? (int)((t->unsure->until_ns - now) / 1000000) + 1 : -1;
}
