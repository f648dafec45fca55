// SPDX-License-Identifier: GPL-2.0-only
#include "filter.h"

#include <string.h>

/* What looks like an id is told by its beginning; a name (of nspawn, LXC) only by the whole of it. */
#define KU_ID_LEN_MIN 12

/* Where a star goes on when what follows it did not match: it takes more, from path on. */
struct ku_glob_star {
	const char *pat, *path; /* pat NULL: there is none */
	bool dirs;		/* "**" and a slash: whole directories */
};

/* One more for the star. False: there is no more that it may take. */
static bool ku_glob_retry(struct ku_glob_star *star, struct ku_glob_star *deep, const char **pat, const char **path)
{
	struct ku_glob_star *s = star;

	if (!star->pat || !*star->path || *star->path == '/') {
		star->pat = NULL;
		s = deep;
	}
	if (!s->pat || !*s->path)
		return false;
	if (s->dirs) {
		s->path = strchr(s->path, '/');
		if (!s->path) {
			s->pat = NULL;
			return false;
		}
	}
	*path = ++s->path;
	*pat = s->pat;
	return true;
}

/* In the middle of a character of several bytes. A star may stop there, for a glob's bytes that go on there; '?' takes whole characters. */
static bool ku_glob_inside(const char *begin, const char *at)
{
	if ((*at & 0xc0) != 0x80)
		return false;
	while (at > begin && (*at & 0xc0) == 0x80)
		at--;
	return (unsigned char)*at >= 0xc0;
}

/* One character of both, a backslash taking the next one of the glob as it is. */
static bool ku_glob_one(const char **pat, const char **path, const char *begin)
{
	const char *p = *pat;

	if (!**path)
		return false;
	if (*p == '?') {
		if (**path == '/' || ku_glob_inside(begin, *path))
			return false;
		/* A character may be several bytes. */
		if ((unsigned char)**path >= 0xc0)
			while (((*path)[1] & 0xc0) == 0x80)
				(*path)++;
	} else {
		if (*p == '\\' && p[1])
			p++;
		if (*p != **path)
			return false;
	}
	*pat = p + 1;
	(*path)++;
	return true;
}

/* Only the last star of each kind is ever gone back to: what an earlier one could still take, the last "**" can take as well. */
bool ku_glob_match(const char *glob, const char *path)
{
	struct ku_glob_star star = { 0 }, deep = { 0 };
	const char *pat = glob, *begin = path;

	/* At any directory, the first slash being one more to go over. */
	if (*glob != '/')
		deep = (struct ku_glob_star){ pat, path, true };
	for (;;) {
		if (pat[0] == '*' && pat[1] == '*') {
			bool whole = (pat == glob || pat[-1] == '/') && (path == begin || path[-1] == '/');

			pat += strspn(pat, "*");
			whole = whole && *pat == '/';
			pat += whole;
			deep = (struct ku_glob_star){ pat, path, whole };
			star.pat = NULL;
		} else if (pat[0] == '*') {
			star = (struct ku_glob_star){ ++pat, path, false };
		} else if (!*pat && !*path) {
			return true;
		} else if (!*pat || !ku_glob_one(&pat, &path, begin)) {
			if (!ku_glob_retry(&star, &deep, &pat, &path))
				return false;
		}
	}
}

bool ku_filter_container(const char *want, const char *container)
{
	size_t len = strlen(want), hex = strspn(container, "0123456789abcdef");

	if (hex >= KU_ID_LEN_MIN && !container[hex])
		return !strncmp(container, want, len);
	return !strcmp(container, want);
}

static bool ku_filter_cgroup(const char *want, const char *cgroup)
{
	size_t len = strlen(want);

	while (len && want[len - 1] == '/')
		len--;
	return *cgroup && !strncmp(cgroup, want, len) && (!cgroup[len] || cgroup[len] == '/');
}

/* All that is asked for must be true of the same task. */
static bool ku_filter_who(const struct ku_filter *f, const struct ku_who *w)
{
	return (!f->pid || f->pid == w->pid || f->pid == w->tid) && (!f->container || ku_filter_container(f->container, w->container)) &&
	       (!f->cgroup || ku_filter_cgroup(f->cgroup, w->cgroup));
}

static bool ku_filter_path(const struct ku_filter *f, const char *path)
{
	return !f->path || ku_glob_match(f->path, path);
}

static bool ku_filter_wait(const struct ku_filter *f, const struct ku_event *e)
{
	const struct ku_ev_wait *w = &e->wait;
	bool copier = f->pid == w->copyup_pid && !f->container && !f->cgroup;

	return (copier || ku_filter_who(f, &w->who) || ku_filter_who(f, &w->holder)) &&
	       (ku_filter_path(f, e->path) || ku_filter_path(f, w->copyup_path)) && w->wait_us >= f->min_ns / 1000;
}

bool ku_filter_match(const struct ku_filter *f, const struct ku_event *e)
{
	if (f->union_path && *e->union_path && strcmp(f->union_path, e->union_path))
		return false;
	switch (e->type) {
	case KU_EV_COPYUP:
		return ku_filter_who(f, &e->copyup.who) && ku_filter_path(f, e->path) && e->copyup.bytes >= f->min_bytes &&
		       e->copyup.total_us >= f->min_ns / 1000;
	case KU_EV_WAIT:
		return ku_filter_wait(f, e);
	case KU_EV_CHANGED:
		return ku_filter_path(f, e->path);
	case KU_EV_WRITE:
		return ku_filter_who(f, &e->write.who) && (ku_filter_path(f, e->path) || ku_filter_path(f, e->write.path2));
	case KU_EV_POLICY:
		return ku_filter_who(f, &e->policy.who) && ku_filter_path(f, e->path);
	case KU_EV_HOLD:
		return ku_filter_who(f, &e->hold.who) && ku_filter_path(f, e->path);
	case KU_EV_UNION:
	case KU_EV_TOTALS:
	case KU_EV_DROPPED:
	case KU_EV_TYPES:
		break;
	}
	return true;
}
