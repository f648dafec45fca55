// SPDX-License-Identifier: GPL-2.0-only
#include "counts.h"

#include "util.h"

bool ku_counts_can(const struct ku_filter *f)
{
	return !f->pid && !f->path && !f->min_bytes && !f->min_ns;
}

bool ku_counts_match(const struct ku_filter *f, const struct ku_counts *c)
{
	struct ku_filter coarse = { .container = f->container, .cgroup = f->cgroup, .union_path = f->union_path };
	struct ku_event e = {
		.type = KU_EV_COPYUP,
		.union_path = c->union_path,
		.path = "",
		.copyup = {
			.kind = "",
			.op = "",
			.syscall = "",
			.who = { .comm = "", .cgroup = c->cgroup, .container = c->container, .runtime = c->runtime },
			.engine = c->engine,
			.data = "",
			.result = c->result,
		},
	};

	return ku_filter_match(&coarse, &e);
}

const char *ku_session_mode(const struct ku_session *s)
{
	static const char *const names[] = { [KU_MODE_OBSERVE] = "observe", [KU_MODE_GUARD] = "guard", [KU_MODE_MANAGE] = "manage" };

	return s->opts.mode < KU_ARRAY_SIZE(names) && names[s->opts.mode] ? names[s->opts.mode] : "?";
}

const char *ku_session_tier(const struct ku_session *s)
{
	/* In observe mode the gate is not loaded: no higher tier was looked for. */
	return ku_tier_name(s->bpf.tier == KU_TIER_NONE ? KU_TIER_OBSERVE : s->bpf.tier);
}
