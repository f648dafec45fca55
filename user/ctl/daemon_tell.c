// SPDX-License-Identifier: GPL-2.0-only
/* What the socket's calls tell of the session's numbers. In the control thread; read in the loop. */
#include <json-c/json.h>
#include <string.h>

#include "counts.h"
#include "ctl/daemon.h"
#include "ctl/live_json.h"
#include "util.h"

/* A reading costs the loop time: those who ask more often get the same. */
#define KU_TELL_NS 100000000ull

struct ku_do_metrics {
	char *text;
	size_t size;
	int err;
};

struct ku_metrics_count {
	struct ku_daemon *d;
	int err;
};

static void ku_metrics_count(void *arg, const struct ku_counts *c)
{
	struct ku_metrics_count *m = arg;

	if (!m->err)
		m->err = ku_om_count(m->d->om, c);
}

static void ku_do_metrics(struct ku_daemon *d, void *arg)
{
	struct ku_om_session about = { .mode = ku_session_mode(d->s), .tier = ku_session_tier(d->s), .unions = ku_session_nunions(d->s),
				       .judge = d->s->judge };
	struct ku_metrics_count count = { .d = d };
	struct ku_do_metrics *m = arg;
	FILE *f;

	ku_om_begin(d->om);
	ku_counts_each(d->s, ku_metrics_count, &count);
	ku_gauges_read(d->s, &about.gauges);
	f = open_memstream(&m->text, &m->size);
	if (!f) {
		m->err = -errno;
		return;
	}
	m->err = count.err ? count.err : ku_om_write(d->om, &about, f);
	if (fclose(f) && !m->err)
		m->err = -ENOMEM;
}

int ku_daemon_metrics(void *arg, struct json_object **ret, char err[512])
{
	struct ku_do_metrics m = { 0 };
	struct ku_daemon *d = arg;
	struct json_object *o;
	uint64_t now = ku_now_ns();

	if (!d->metrics || now - d->metrics_ns >= KU_TELL_NS) {
		if (!ku_daemon_do(d, ku_do_metrics, &m))
			m.err = -ESHUTDOWN;
		json_object_put(d->metrics);
		d->metrics = m.err ? NULL : json_object_new_string_len(m.text, (int)m.size);
		d->metrics_ns = now;
		free(m.text);
	}
	o = d->metrics ? json_object_new_object() : NULL;
	if (!o) {
		m.err = m.err ? m.err : -ENOMEM;
		snprintf(err, 512, "cannot read the counts: %s", strerror(-m.err));
		return m.err;
	}
	json_object_object_add(o, "text", json_object_get(d->metrics));
	*ret = o;
	return 0;
}

struct ku_do_json {
	struct json_object *o;
};

static void ku_do_live(struct ku_daemon *d, void *arg)
{
	struct ku_do_json *j = arg;
	struct ku_gauges g;

	j->o = ku_live_json(d->s);
	if (!j->o)
		return;
	ku_gauges_read(d->s, &g);
	json_object_object_add(j->o, "mode", json_object_new_string(ku_session_mode(d->s)));
	json_object_object_add(j->o, "tier", json_object_new_string(ku_session_tier(d->s)));
	json_object_object_add(j->o, "unions", json_object_new_int64(ku_session_nunions(d->s)));
	json_object_object_add(j->o, "dropped", json_object_new_uint64(g.dropped_copyups + g.dropped_waits + g.dropped_writes + g.dropped_others));
	json_object_object_add(j->o, "parked", json_object_new_uint64(g.parked));
}

int ku_daemon_live(void *arg, struct json_object **ret, char err[512])
{
	struct ku_do_json j = { 0 };
	struct ku_daemon *d = arg;
	uint64_t now = ku_now_ns();

	if (!d->live || now - d->live_ns >= KU_TELL_NS) {
		json_object_put(d->live);
		d->live = ku_daemon_do(d, ku_do_live, &j) ? j.o : NULL;
		d->live_ns = now;
	}
	if (!d->live) {
		snprintf(err, 512, "cannot read what goes on");
		return -EIO;
	}
	*ret = json_object_get(d->live);
	return 0;
}

/* policy */

struct ku_do_policy {
	struct json_object *rules, *accounts;
};

static void ku_policy_rule(void *arg, const struct ku_policy_rule *r, const struct ku_pol_count *c)
{
	struct json_object *o = json_object_new_object();
	const struct ku_do_policy *p = arg;

	if (!o)
		return;
	ku_ctl_add_bytes(o, "name", r->name);
	json_object_object_add(o, "hits", json_object_new_uint64(c->hits));
	json_object_object_add(o, "denied", json_object_new_uint64(c->denied));
	json_object_object_add(o, "last_us", json_object_new_uint64(c->last_ns ? ku_utc_ns(c->last_ns) / 1000 : 0));
	json_object_array_add(p->rules, o);
}

static void ku_policy_account(void *arg, const struct ku_policy_budget *b, const char *union_path, const struct ku_pol_account *a)
{
	const struct ku_do_policy *p = arg;

	for (unsigned int l = KU_PL_COPIED; l <= KU_PL_RATE; l++) {
		struct json_object *o = b->max[l] == UINT64_MAX ? NULL : json_object_new_object();

		if (!o)
			continue;
		ku_ctl_add_bytes(o, "budget", b->name);
		json_object_object_add(o, "limit", json_object_new_string(ku_pol_limit_name((enum ku_pol_limit)l)));
		ku_ctl_add_bytes(o, "union", union_path ? union_path : "");
		/* Of a rate there is nothing that is used up: what passed. */
		json_object_object_add(o, "used", json_object_new_uint64(l == KU_PL_RATE ? a->copyups : a->used[l]));
		json_object_object_add(o, "max", json_object_new_uint64(b->max[l]));
		json_object_object_add(o, "beyond", json_object_new_uint64(a->over[l]));
		json_object_array_add(p->accounts, o);
	}
}

static void ku_do_policy(struct ku_daemon *d, void *arg)
{
	struct ku_judge_ops_each each = { .rule = ku_policy_rule, .budget = ku_policy_account, .arg = arg };

	if (d->s->judge)
		ku_judge_each(d->s->judge, &each);
}

int ku_daemon_policy(void *arg, struct json_object **ret, char err[512])
{
	struct ku_do_policy p = { json_object_new_array(), json_object_new_array() };
	struct json_object *o = json_object_new_object();
	struct ku_daemon *d = arg;
	int n = !o || !p.rules || !p.accounts ? -ENOMEM : ku_daemon_do(d, ku_do_policy, &p) ? 0 : -ESHUTDOWN;

	if (n) {
		json_object_put(o);
		json_object_put(p.rules);
		json_object_put(p.accounts);
		snprintf(err, 512, n == -ENOMEM ? "out of memory" : "the daemon is ending");
		return n;
	}
	ku_ctl_add_bytes(o, "file", d->first.policy ? d->first.policy : "");
	json_object_object_add(o, "rules", p.rules);
	json_object_object_add(o, "accounts", p.accounts);
	*ret = o;
	return 0;
}
