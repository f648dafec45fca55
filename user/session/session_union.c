// SPDX-License-Identifier: GPL-2.0-only
/* Unions that come to a session that runs, and leave it. */
#include <string.h>

#include "intents.h"
#include "log.h"
#include "session.h"
#include "util.h"

/* A record that names a union that is gone is read in the next turn: its place is another's only well after that. */
#define KU_REUSE_NS 5000000000ull

static int ku_session_may(const struct ku_session *s, const char *path, enum ku_mode mode, char err[static 512])
{
	static const char *const modes[] = { [KU_MODE_OBSERVE] = "observe", [KU_MODE_GUARD] = "guard", [KU_MODE_MANAGE] = "manage" };

	/* What a higher mode needs was not loaded. */
	if (mode > s->opts.mode) {
		snprintf(err, 512, "%.200s: mode %s is more than the daemon was started for, which is %s; see mode in its configuration", path,
			 modes[mode], modes[s->opts.mode]);
		return -EOPNOTSUPP;
	}
	if (mode == KU_MODE_OBSERVE && !s->observer) {
		snprintf(err, 512, "%.200s: nothing can be observed here: %.200s", path, s->unobserved);
		return -EOPNOTSUPP;
	}
	return 0;
}

int ku_session_look(const struct ku_session *s, const char *path, enum ku_mode mode, uint64_t min_size, struct ku_attached *at,
		    char err[static 512])
{
	int n = ku_session_may(s, path, mode, err);

	*at = (struct ku_attached){ .u.lock_fd = -1, .mode = mode, .min_size = min_size };
	return n ? n : ku_union_open(path, &at->u, err);
}

int ku_session_look_found(const struct ku_session *s, struct ku_union *u, enum ku_mode mode, uint64_t min_size, struct ku_attached *at,
			  char err[static 512])
{
	int n = ku_session_may(s, u->path, mode, err);

	*at = (struct ku_attached){ .u.lock_fd = -1, .mode = mode, .min_size = min_size };
	if (!n && mode != KU_MODE_OBSERVE)
		n = ku_union_enter(u, err);
	if (n)
		return n;
	at->u = *u;
	*u = (struct ku_union){ .lock_fd = -1 };
	return 0;
}

int ku_session_ready(struct ku_attached *at, char err[static 512])
{
	int n = at->mode == KU_MODE_OBSERVE ? 0 : ku_union_lock(&at->u, err);

	return n || at->mode != KU_MODE_MANAGE ? n : ku_attach_recover_one(at, err);
}

void ku_attached_close(struct ku_attached *at)
{
	if (at->intents)
		ku_intents_close(at->intents);
	at->intents = NULL;
	ku_union_close(&at->u);
}

static bool ku_union_pending(const struct ku_session *s, const struct ku_attached *at)
{
	for (uint32_t i = 0; i < KU_SLOTS; i++)
		if (s->pending[i].used && s->pending[i].at == at)
			return true;
	return false;
}

/* A union that is gone needs its record no more than until the last copy for it has ended. */
static void ku_session_spend(struct ku_session *s, struct ku_attached *at)
{
	if (!at->gone || !at->intents || ku_union_pending(s, at))
		return;
	ku_intents_close(at->intents);
	at->intents = NULL;
	s->nspent--;
}

/* A place for one more: a new one, or that of one which is long gone. NULL: none. */
static struct ku_attached *ku_session_place(struct ku_session *s)
{
	uint64_t now = ku_now_ns();

	if (s->nunions < s->room)
		return &s->unions[s->nunions];
	for (unsigned int i = 0; i < s->nunions; i++) {
		struct ku_attached *at = &s->unions[i];

		if (!at->gone || now - at->gone_ns < KU_REUSE_NS || ku_union_pending(s, at))
			continue;
		ku_report_forget(s, i);
		ku_session_spend(s, at);
		ku_attached_close(at);
		return at;
	}
	return NULL;
}

/* It was never told of, or all that was to be told of it is: nobody asks for it any more. */
static void ku_session_left(struct ku_session *s, struct ku_attached *at)
{
	uint32_t dev = ku_kernel_dev(at->u.dev);

	if (s->judge)
		ku_judge_union_remove(s->judge, dev);
	if (s->bpf.slots)
		ku_bpf_union_remove(&s->bpf, dev);
	if (s->observer)
		ku_observer_forget(s->observer, dev);
}

int ku_session_add(struct ku_session *s, struct ku_attached *from, uint32_t *ret_id, char err[static 512])
{
	struct ku_attached *at;
	int n;

	for (unsigned int i = 0; i < s->nunions; i++)
		if (!s->unions[i].gone && s->unions[i].u.dev == from->u.dev) {
			snprintf(err, 512, "%s: is attached already, as %s", from->u.path, s->unions[i].u.path);
			*ret_id = i;
			return -EEXIST;
		}
	at = ku_session_place(s);
	if (!at) {
		snprintf(err, 512, "%s: no room: %u unions are attached, or were a moment ago", from->u.path, s->room);
		return -ENOSPC;
	}
	*at = *from;
	at->id = (uint32_t)(at - s->unions);
	if (at->id == s->nunions)
		s->nunions++;
	/* The policy first: there is no moment without it. */
	n = ku_session_policy_add(s, at, err);
	if (!n)
		n = ku_attach_one(s, at, err);
	*from = (struct ku_attached){ .u.lock_fd = -1 };
	if (n) {
		ku_session_left(s, at);
		ku_attached_close(at);
		at->gone = true;
		at->gone_ns = ku_now_ns();
		return n;
	}
	*ret_id = at->id;
	return 0;
}

int ku_session_drop(struct ku_session *s, uint32_t id)
{
	struct ku_attached *at = ku_session_union(s, id);
	struct ku_union_cfg cfg = { .id = id, .mode = KU_MODE_OBSERVE };

	if (!at)
		return -ENOENT;
	if (at->dropping)
		return 0;
	at->dropping = true;
	s->ndropping++;
	/* Not removed yet: on a union that is none of ours a commit's rename would pass unchecked. */
	cfg.min_size = at->min_size;
	if (s->bpf.slots)
		ku_bpf_union_set(&s->bpf, ku_kernel_dev(at->u.dev), &cfg);
	for (uint32_t i = 0; s->bpf.slots && i < KU_SLOTS; i++) {
		struct ku_pending *p = &s->pending[i];

		if (!p->used || p->at != at)
			continue;
		/* A commit whose rename has begun ends by itself. */
		for (enum ku_state state = KU_S_REQUESTED; state < KU_S_RENAMING; state++)
			if (KU_STATE_PENDING(state) && ku_slot_move(&s->bpf.slots[i], p->gen, state, KU_S_LOST, 0))
				break;
		ku_gate_release(s->gate, KU_REF(p->slot, p->gen));
	}
	return 0;
}

void ku_session_drops(struct ku_session *s)
{
	for (unsigned int i = 0; i < s->nunions && (s->ndropping || s->nspent); i++) {
		struct ku_attached *at = &s->unions[i];

		ku_session_spend(s, at);
		if (!at->dropping || (!at->gone && ku_union_pending(s, at)))
			continue;
		if (!at->gone) {
			ku_session_left(s, at);
			ku_session_gone(s, i);
		}
		at->dropping = false;
		s->ndropping--;
	}
}
