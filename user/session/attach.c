// SPDX-License-Identifier: GPL-2.0-only
/* Attaching a session to its unions: all of them or none. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "intents.h"
#include "scan.h"
#include "session.h"
#include "util.h"

/* One in a container. Of all there are, one that may only be observed is; who names a container or process means the mode. */
static bool ku_attach_enter(const struct ku_session *s, struct ku_attached *at, char err[static 512])
{
	int n = at->mode == KU_MODE_OBSERVE ? 0 : ku_union_enter(&at->u, err);

	if (n == -EOPNOTSUPP && !s->opts.found->pid && !s->opts.found->container) {
		at->mode = KU_MODE_OBSERVE;
		n = 0;
	}
	return !n && (at->mode == KU_MODE_OBSERVE || !ku_union_lock(&at->u, err));
}

/* Those that are looked for, not named. */
static bool ku_attach_found(struct ku_session *s, char err[static 512])
{
	struct ku_scan found;
	bool ok = !ku_scan(s->opts.found, &found, err);

	if (ok && !found.n) {
		snprintf(err, 512, "no writable overlay is there%s", s->opts.found->match ? " on such a path" : "");
		ok = false;
	}
	s->room = ok ? (unsigned int)found.n : 0;
	s->unions = ok ? calloc(s->room, sizeof(*s->unions)) : NULL;
	if (ok && !s->unions) {
		snprintf(err, 512, "out of memory");
		ok = false;
	}
	for (unsigned int i = 0; i < s->room && ok; i++) {
		struct ku_attached *at = &s->unions[i];

		*at = (struct ku_attached){ .id = i, .mode = s->opts.mode, .min_size = s->opts.min_size, .u = found.unions[i] };
		found.unions[i] = (struct ku_union){ .lock_fd = -1 };
		s->nunions++;
		ok = ku_attach_enter(s, at, err);
	}
	ku_scan_free(&found);
	return ok;
}

bool ku_attach_look(struct ku_session *s, char *const *paths, unsigned int npaths, char err[static 512])
{
	if (s->opts.found)
		return ku_attach_found(s, err);
	s->room = npaths + s->opts.room;
	s->unions = calloc(s->room, sizeof(*s->unions));
	if (!s->unions) {
		snprintf(err, 512, "out of memory");
		return false;
	}
	for (unsigned int i = 0; i < npaths; i++) {
		struct ku_attached *at = &s->unions[i];

		at->id = i;
		at->mode = s->opts.mode;
		at->min_size = s->opts.min_size;
		at->u.lock_fd = -1;
		if (ku_union_open(paths[i], &at->u, err))
			return false;
		s->nunions++;
		for (unsigned int j = 0; j < i; j++)
			if (s->unions[j].u.dev == at->u.dev) {
				snprintf(err, 512, "%s: the same union as %s; name each union once", paths[i], s->unions[j].u.path);
				return false;
			}
		/* Watching disturbs nobody: any number may. */
		if (s->opts.mode != KU_MODE_OBSERVE && ku_union_lock(&at->u, err))
			return false;
	}
	return true;
}

/* What a crash left between link and rename goes before anything new begins. */
int ku_attach_recover_one(struct ku_attached *at, char err[static 512])
{
	_cleanup_close_ int root = -1;
	int n;

	n = ku_intents_open(at->u.key, !at->u.volatile_, &at->intents);
	if (n) {
		snprintf(err, 512, "%s: cannot open its intents record: %s", at->u.path, strerror(-n));
		return n;
	}
	root = ku_union_root(&at->u);
	n = root < 0 ? root : ku_intents_recover(at->intents, root, false, NULL, NULL);
	if (n < 0)
		snprintf(err, 512, "%s: cannot clean up after an earlier run: %s; see 'kunion fsck'", at->u.path, strerror(-n));
	return n < 0 ? n : 0;
}

bool ku_attach_recover(struct ku_session *s, char err[static 512])
{
	for (unsigned int i = 0; i < s->nunions; i++)
		if (s->unions[i].mode != KU_MODE_OBSERVE && ku_attach_recover_one(&s->unions[i], err))
			return false;
	return true;
}

/* Gates one union; 0, or -errno with a line in err. */
static int ku_attach_gate(struct ku_session *s, struct ku_attached *at, char err[static 512])
{
	struct ku_union_cfg cfg = { .id = at->id, .mode = at->in_force, .min_size = at->min_size };
	_cleanup_close_ int root = -1;
	struct statx stx;
	uint32_t seen;
	int n;

	seen = __atomic_load_n(&s->bpf.shared->self_seen, __ATOMIC_SEQ_CST);
	n = ku_bpf_union_add(&s->bpf, ku_kernel_dev(at->u.dev), &cfg);
	if (n) {
		snprintf(err, 512, "%s: cannot attach: %s", at->u.path, strerror(-n));
		return n;
	}
	root = ku_union_root(&at->u);
	n = root < 0 ? root : statx(root, "", AT_EMPTY_PATH, STATX_TYPE, &stx) ? -errno : 0;
	if (n) {
		snprintf(err, 512, "%s: %s", at->u.path, strerror(-n));
	} else if (seen == __atomic_load_n(&s->bpf.shared->self_seen, __ATOMIC_SEQ_CST)) {
		snprintf(err, 512, "BPF programs attach but the kernel does not call them: boot with bpf in lsm= (see /sys/kernel/security/lsm)");
		n = -EOPNOTSUPP;
	}
	if (n)
		ku_bpf_union_remove(&s->bpf, ku_kernel_dev(at->u.dev));
	return n;
}

/*
 * A metacopy mount's metadata changes are cheap, its later data copy passes no hook: the kernel's (DESIGN 4). With nfs_export
 * a client's handle of the lower file must lead to the copy: only the kernel's makes the index for it.
 */
static enum ku_mode ku_attach_mode(const struct ku_session *s, const struct ku_attached *at)
{
	if (at->u.metacopy)
		return KU_MODE_OBSERVE;
	if (at->u.nfs_export && at->mode == KU_MODE_MANAGE)
		return s->bpf.tier == KU_TIER_PARK ? KU_MODE_GUARD : KU_MODE_OBSERVE;
	return at->mode;
}

int ku_attach_one(struct ku_session *s, struct ku_attached *at, char err[static 512])
{
	uint32_t dev = ku_kernel_dev(at->u.dev);
	int n = 0;

	at->in_force = ku_attach_mode(s, at);
	if (at->mode != KU_MODE_OBSERVE)
		n = ku_attach_gate(s, at, err);
	if (n)
		return n;
	/* Known to be called: a first copy-up that the gate or the policy refuses is none, although the observer's own hook never saw one. */
	if (s->observer && (s->judge || at->mode != KU_MODE_OBSERVE))
		ku_obs_lsm_works(ku_observer_bpf(s->observer));
	n = s->observer ? ku_obs_union_add(ku_observer_bpf(s->observer), dev) : 0;
	if (n) {
		snprintf(err, 512, "%s: cannot attach: %s", at->u.path, strerror(-n));
		return n;
	}
	if (s->observer)
		ku_observer_name(s->observer, dev, at->u.ns.ino ? at->u.ns.pid : 0, at->u.path);
	s->nalive++;
	return 0;
}

bool ku_attach_all(struct ku_session *s, char err[static 512])
{
	for (unsigned int i = 0; i < s->nunions; i++)
		if (ku_attach_one(s, &s->unions[i], err))
			return false;
	return true;
}
