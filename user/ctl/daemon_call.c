// SPDX-License-Identifier: GPL-2.0-only
/* What the control socket's calls do. In the control thread. */
#include <json-c/json.h>
#include <string.h>

#include "counts.h"
#include "ctl/daemon.h"
#include "opts.h"
#include "scan.h"
#include "util.h"

static const char *ku_mode_text(enum ku_mode mode)
{
	return mode == KU_MODE_MANAGE ? "manage" : mode == KU_MODE_GUARD ? "guard" : "observe";
}

static void ku_add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

struct json_object *ku_daemon_union_json(const struct ku_entry *e)
{
	struct json_object *o = json_object_new_object(), *opts = json_object_new_object();
	const char *why = "";

	if (!o || !opts) {
		json_object_put(o);
		json_object_put(opts);
		return NULL;
	}
	if (e->in_force < e->mode)
		why = !strcmp(e->about.metacopy, "on") ? "metacopy=on: the kernel copies data later, where nothing of ours is asked" :
							 "nfs_export=on: only the kernel makes the index that a client's handle needs";
	ku_ctl_add_bytes(o, "path", e->path);
	ku_add_text(o, "mode", ku_mode_text(e->mode));
	ku_add_text(o, "in_force", ku_mode_text(e->in_force));
	ku_add_text(o, "why", why);
	ku_add_text(o, "state", e->dropping ? "detaching" : "attached");
	json_object_object_add(o, "configured", json_object_new_boolean(e->configured != NULL));
	json_object_object_add(o, "automatic", json_object_new_boolean(e->automatic));
	ku_ctl_add_bytes(o, "container", e->container);
	json_object_object_add(o, "elsewhere", json_object_new_boolean(e->elsewhere));
	ku_ctl_add_bytes(o, "lower", e->lower);
	ku_ctl_add_bytes(o, "upper", e->upper);
	ku_ctl_add_bytes(o, "work", e->about.work ? e->about.work : "");
	ku_add_text(opts, "metacopy", e->about.metacopy);
	ku_add_text(opts, "index", e->about.index);
	ku_add_text(opts, "redirect_dir", e->about.redirect_dir);
	ku_add_text(opts, "nfs_export", e->about.nfs_export);
	ku_add_text(opts, "xino", e->about.xino);
	ku_add_text(opts, "verity", e->about.verity);
	ku_add_text(opts, "idmap", e->about.idmap);
	json_object_object_add(opts, "volatile", json_object_new_boolean(e->volatile_));
	json_object_object_add(opts, "userxattr", json_object_new_boolean(e->userxattr));
	json_object_object_add(opts, "data_only_layers", json_object_new_int((int)e->about.data_only));
	json_object_object_add(o, "options", opts);
	json_object_object_add(o, "min_size", json_object_new_int64((int64_t)e->min_size));
	json_object_object_add(o, "copies", json_object_new_int((int)e->copies));
	json_object_object_add(o, "since", json_object_new_int64(e->since));
	return o;
}

static int ku_call_attach(void *arg, const char *path, const char *mode_text, int64_t min_size, struct json_object **ret, char err[512])
{
	struct ku_daemon *d = arg;
	enum ku_mode mode = d->conf.mode;
	struct ku_entry *e;
	int n;

	if (mode_text && ku_parse_mode(mode_text, &mode)) {
		snprintf(err, 512, "mode '%.60s': observe, guard or manage", mode_text);
		return -EINVAL;
	}
	/* One of the configuration, let go before, belongs to it again. */
	for (size_t i = 0; i < d->conf.nunions; i++)
		if (!strcmp(d->conf.unions[i].path, path) && d->wanted[i].let_go && !mode_text && min_size < 0) {
			const struct ku_conf_union *u = &d->conf.unions[i];

			n = ku_daemon_attach(d, path, u->mode, u->min_size, u->path, &e, err);
			d->wanted[i].let_go = n;
			*ret = n ? NULL : ku_daemon_union_json(e);
			return n;
		}
	n = ku_daemon_attach(d, path, mode, min_size < 0 ? d->conf.min_size : (uint64_t)min_size, NULL, &e, err);
	*ret = n ? NULL : ku_daemon_union_json(e);
	return n;
}

static int ku_call_attach_all(void *arg, const struct ku_ctl_all *all, struct json_object **ret, char err[512])
{
	struct json_object *o = json_object_new_object(), *unions = json_object_new_array(), *failed = json_object_new_array();
	struct ku_scan_wanted wanted = { .pid = all->pid, .container = all->container, .match = all->match };
	struct ku_daemon *d = arg;
	enum ku_mode mode = d->conf.mode;
	uint64_t min_size = all->min_size < 0 ? d->conf.min_size : (uint64_t)all->min_size;
	int n;

	if (!o || !unions || !failed) {
		snprintf(err, 512, "out of memory");
		n = -ENOMEM;
	} else if (all->mode && ku_parse_mode(all->mode, &mode)) {
		snprintf(err, 512, "mode '%.60s': observe, guard or manage", all->mode);
		n = -EINVAL;
	} else {
		n = all->pid || all->container ? ku_daemon_attach_some(d, &wanted, mode, min_size, unions, failed, err) :
						 ku_daemon_stand(d, all->match, mode, min_size, unions, failed, err);
	}
	if (n) {
		json_object_put(o);
		json_object_put(unions);
		json_object_put(failed);
		return n;
	}
	json_object_object_add(o, "unions", unions);
	json_object_object_add(o, "failed", failed);
	*ret = o;
	return 0;
}

static int ku_call_detach(void *arg, const char *path, const char *container, uint64_t *ret_ticket, char err[512])
{
	struct ku_daemon *d = arg;
	_cleanup_free_ char *real = NULL;
	struct ku_entry *e;
	int n;

	ku_daemon_sync(d);
	if (container)
		ku_daemon_containers(d);
	e = ku_daemon_find(d, path, container);
	if (!e && !container) {
		/* By another name; asked last, for what is there may hang. */
		real = realpath(path, NULL);
		e = real ? ku_daemon_find(d, real, NULL) : NULL;
	}
	if (!e)
		return -ENOENT;
	for (size_t i = 0; e->configured && i < d->conf.nunions; i++)
		if (!strcmp(d->conf.unions[i].path, e->configured))
			d->wanted[i].let_go = true;
	n = ku_daemon_drop(d, e);
	if (n)
		snprintf(err, 512, "the daemon is ending");
	*ret_ticket = e->serial;
	return n;
}

static int ku_call_detach_all(void *arg, const char *match, uint64_t *ret_ticket, char err[512])
{
	return ku_daemon_stand_down(arg, match, ret_ticket, err);
}

/* The standing orders there are: one, or none. */
static struct json_object *ku_standing_json(const struct ku_standing *st)
{
	struct json_object *list = json_object_new_array(), *o = st->on ? json_object_new_object() : NULL;

	if (!list || !o)
		return list;
	ku_ctl_add_bytes(o, "match", st->match ? st->match : "");
	ku_add_text(o, "mode", ku_mode_text(st->mode));
	json_object_object_add(o, "min_size", json_object_new_int64((int64_t)st->min_size));
	json_object_array_add(list, o);
	return list;
}

static bool ku_call_detached(void *arg, uint64_t ticket)
{
	struct ku_daemon *d = arg;

	ku_daemon_sync(d);
	for (const struct ku_entry *e = d->entries; e; e = e->next)
		if (e->serial == ticket || e->ended_by == ticket)
			return false;
	return true;
}

struct ku_do_status {
	uint64_t parked;
};

static void ku_do_status(struct ku_daemon *d, void *arg)
{
	struct ku_do_status *st = arg;

	for (uint32_t i = 0; d->s->bpf.slots && i < KU_SLOTS; i++)
		st->parked += __atomic_load_n(&d->s->bpf.slots[i].parked, __ATOMIC_RELAXED);
}

static int ku_call_status(void *arg, struct json_object **ret, char err[512])
{
	struct json_object *o = json_object_new_object(), *unions = json_object_new_array(), *waiting = json_object_new_array();
	struct ku_do_status st = { 0 };
	struct ku_daemon *d = arg;

	if (!o || !unions || !waiting) {
		json_object_put(o);
		json_object_put(unions);
		json_object_put(waiting);
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	ku_daemon_sync(d);
	ku_daemon_containers(d);
	ku_daemon_do(d, ku_do_status, &st);
	ku_add_text(o, "version", KU_VERSION);
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	/* What is constant while the session lives. */
	ku_add_text(o, "mode", ku_session_mode(d->s));
	ku_add_text(o, "tier", ku_session_tier(d->s));
	ku_add_text(o, "why", d->s->opts.mode == KU_MODE_OBSERVE ? "" : d->s->bpf.why);
	ku_ctl_add_bytes(o, "policy", d->first.policy ? d->first.policy : "");
	json_object_object_add(o, "all", json_object_new_boolean(d->s->opts.all));
	json_object_object_add(o, "writes", json_object_new_boolean(d->s->opts.writes));
	json_object_object_add(o, "parked", json_object_new_int64((int64_t)st.parked));
	for (const struct ku_entry *e = d->entries; e; e = e->next)
		json_object_array_add(unions, ku_daemon_union_json(e));
	json_object_object_add(o, "unions", unions);
	for (size_t i = 0; i < d->conf.nunions; i++) {
		_cleanup_free_ char *path = NULL;

		if (d->wanted[i].let_go || ku_daemon_configured(d, d->conf.unions[i].path))
			continue;
		path = ku_escape_bytes(d->conf.unions[i].path);
		json_object_array_add(waiting, json_object_new_string(path ? path : ""));
	}
	json_object_object_add(o, "waiting", waiting);
	json_object_object_add(o, "standing", ku_standing_json(&d->standing));
	*ret = o;
	return 0;
}

static int ku_call_reload(void *arg, char err[512])
{
	return ku_daemon_reload(arg, err);
}

const struct ku_ctl_ops ku_daemon_ops = {
	.attach = ku_call_attach,
	.attach_all = ku_call_attach_all,
	.detach = ku_call_detach,
	.detach_all = ku_call_detach_all,
	.detached = ku_call_detached,
	.status = ku_call_status,
	.metrics = ku_daemon_metrics,
	.live = ku_daemon_live,
	.policy = ku_daemon_policy,
	.reload = ku_call_reload,
	.listen = ku_daemon_listen,
	.unlisten = ku_daemon_unlisten,
	.settle = ku_daemon_settle,
};
