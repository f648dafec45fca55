// SPDX-License-Identifier: GPL-2.0-only
#include "scan.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "bpf.h"
#include "filter.h"
#include "util.h"

struct ku_scan_run {
	const struct ku_scan_wanted *wanted;
	struct ku_scan *scan;
	bool *hits; /* of scan->unions: belongs to what is asked for */
	size_t room;
	bool all;
};

static struct ku_union *ku_scan_known(const struct ku_scan_run *run, dev_t dev)
{
	for (size_t i = 0; i < run->scan->n; i++)
		if (run->scan->unions[i].dev == dev)
			return &run->scan->unions[i];
	return NULL;
}

static int ku_scan_grow(struct ku_scan_run *run)
{
	size_t room = run->room ? 2 * run->room : 32;
	struct ku_union *unions = reallocarray(run->scan->unions, room, sizeof(*unions));
	bool *hits;

	if (!unions)
		return -ENOMEM;
	run->scan->unions = unions;
	hits = reallocarray(run->hits, room, sizeof(*hits));
	if (!hits)
		return -ENOMEM;
	run->hits = hits;
	run->room = room;
	return 0;
}

/* A line of ns's mountinfo; ns NULL: ours. */
static int ku_scan_line(struct ku_scan_run *run, const struct ku_mountinfo *m, const struct ku_ns_seen *ns)
{
	struct ku_union u = { .lock_fd = -1 }, *known;
	bool is_root = !strcmp(m->mountpoint, "/");
	int r;

	if (strcmp(m->fstype, "overlay") || (run->wanted->dev && run->wanted->dev != (m->major << 20 | m->minor)))
		return 0;
	known = ku_scan_known(run, makedev(m->major, m->minor));
	if (known && ns && is_root && (ns->container[0] || !known->ns.ino)) {
		/* Mounted by the container's engine, here or where that is, and its root there. */
		memcpy(known->container, ns->container, sizeof(known->container));
		run->hits[known - run->scan->unions] = true;
	}
	/* The whole of it rather than a part that is mounted besides. */
	if (known && (!strcmp(known->prefix, "/") || strcmp(m->root, "/") || known->ns.ino != (ns ? ns->ns.ino : 0)))
		return 0;
	r = ku_union_of(m, ns, &u);
	if (r)
		return r == -ENOMEM ? r : 0;
	if (known) {
		ku_union_close(known);
		*known = u;
		return 0;
	}
	if (run->scan->n == run->room) {
		r = ku_scan_grow(run);
		if (r) {
			ku_union_close(&u);
			return r;
		}
	}
	run->hits[run->scan->n] = ns || run->all;
	run->scan->unions[run->scan->n++] = u;
	return 0;
}

static int ku_scan_mounts(struct ku_scan_run *run, const struct ku_ns_seen *ns)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	struct ku_mountinfo m;
	size_t size = 0;
	char path[48];
	int r = 0;

	if (ns)
		snprintf(path, sizeof(path), "/proc/%u/mountinfo", ns->ns.pid);
	else
		snprintf(path, sizeof(path), "/proc/self/mountinfo");
	f = fopen(path, "re");
	if (!f)
		return ns ? 0 : -errno; /* it has ended */
	while (!r && getline(&line, &size, f) >= 0)
		if (!ku_mountinfo_parse(line, &m))
			r = ku_scan_line(run, &m, ns);
	return r;
}

/* The namespaces that are asked for, in front of those that are not. Their number or -errno with a line in err. */
static int ku_scan_pick(const struct ku_scan_wanted *w, struct ku_ns_seen *seen, size_t n, char err[static 256])
{
	const char *first = NULL;
	int picked = 0;

	for (size_t i = 0; i < n; i++) {
		if (!ku_filter_container(w->container, seen[i].container) || !seen[i].container[0])
			continue;
		if (first && strcmp(first, seen[i].container)) {
			snprintf(err, 256, "container %.64s: more than one begins so, %.20s and %.20s; give more of its id", w->container, first,
				 seen[i].container);
			return -EINVAL;
		}
		seen[picked] = seen[i];
		first = seen[picked++].container;
	}
	if (!picked)
		snprintf(err, 256, "container %.64s: no process has that id or name in its cgroup and a mount namespace of its own", w->container);
	return picked ? picked : -ESRCH;
}

static int ku_scan_pid(uint32_t pid, struct ku_ns_seen *ret, char err[static 256])
{
	struct ku_ns own;
	int r = ku_ns_of((uint32_t)getpid(), &own);

	if (!r)
		r = ku_ns_of(pid, &ret->ns);
	if (r) {
		snprintf(err, 256, "process %u: %s", pid, r == -ESRCH ? "there is none of that number" : strerror(-r));
		return r;
	}
	if (own.ino == ret->ns.ino && own.dev == ret->ns.dev) {
		snprintf(err, 256, "process %u: has no mount namespace of its own; name the merged directories", pid);
		return -EINVAL;
	}
	ku_ns_container(pid, ret->container);
	return 0;
}

/* One superblock, where it most likely is: in our namespace or pid's. */
static int ku_scan_near(struct ku_scan_run *run)
{
	struct ku_ns_seen one = { 0 };
	char err[256];
	int r = ku_scan_mounts(run, NULL);

	return r || run->scan->n || ku_scan_pid(run->wanted->pid, &one, err) ? r : ku_scan_mounts(run, &one);
}

static int ku_scan_run(struct ku_scan_run *run, char err[static 256])
{
	const struct ku_scan_wanted *w = run->wanted;
	_cleanup_free_ struct ku_ns_seen *seen = NULL;
	struct ku_ns_seen one = { 0 };
	size_t n = 0;
	int r = 0;

	if (w->dev && w->pid) {
		r = ku_scan_near(run);
		if (r)
			snprintf(err, 256, "mountinfo: %s", strerror(-r));
		return r;
	}
	if (w->pid) {
		r = ku_scan_pid(w->pid, &one, err);
	} else {
		r = ku_ns_list(&seen, &n);
		if (r < 0)
			snprintf(err, 256, "/proc: %s", strerror(-r));
		if (!r && w->container) {
			r = ku_scan_pick(w, seen, n, err);
			n = r > 0 ? (size_t)r : 0;
		}
	}
	if (r < 0)
		return r;
	r = ku_scan_mounts(run, NULL);
	if (!r && w->pid)
		r = ku_scan_mounts(run, &one);
	for (size_t i = 0; i < n && !r; i++)
		r = ku_scan_mounts(run, &seen[i]);
	if (r)
		snprintf(err, 256, "mountinfo: %s", strerror(-r));
	return r;
}

int ku_scan(const struct ku_scan_wanted *wanted, struct ku_scan *ret, char err[static 256])
{
	struct ku_scan_run run = { .wanted = wanted, .scan = ret, .all = (!wanted->pid || wanted->dev) && !wanted->container };
	size_t n = 0;
	int r;

	*ret = (struct ku_scan){ 0 };
	r = ku_scan_run(&run, err);
	for (size_t i = 0; i < ret->n; i++) {
		struct ku_union *u = &ret->unions[i];

		if (r || !run.hits[i] || (wanted->match && !ku_glob_match(wanted->match, u->path)))
			ku_union_close(u);
		else
			ret->unions[n++] = *u;
	}
	ret->n = n;
	free(run.hits);
	return r;
}

void ku_scan_free(struct ku_scan *s)
{
	for (size_t i = 0; i < s->n; i++)
		ku_union_close(&s->unions[i]);
	free(s->unions);
	*s = (struct ku_scan){ 0 };
}
