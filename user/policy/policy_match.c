// SPDX-License-Identifier: GPL-2.0-only
/* The rules as they read, one after the other: what the compiled tables have to agree with, and what tells why a rule did not fit. */
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "filter.h"
#include "policy/policy_match.h"
#include "util.h"

#define KU_ID_LEN 64
#define KU_ID_LEN_MIN 12

static bool ku_any_glob(const struct ku_pol_list *l, const char *text)
{
	for (size_t i = 0; i < l->n; i++)
		if (ku_glob_match(l->v[i], text))
			return true;
	return !l->n;
}

/* As of a name right below a root: a slash in a thread's name begins nothing. */
static bool ku_any_comm(const struct ku_pol_list *l, const char *comm)
{
	for (size_t i = 0; i < l->n; i++) {
		_cleanup_free_ char *glob = NULL, *path = NULL;

		if (asprintf(&glob, "/%s", l->v[i]) < 0 || asprintf(&path, "/%s", comm) < 0)
			return false;
		if (ku_glob_match(glob, path))
			return true;
	}
	return !l->n;
}

static bool ku_any_prefix(const struct ku_pol_list *l, const char *path)
{
	for (size_t i = 0; i < l->n; i++) {
		size_t len = strlen(l->v[i]);

		if (!strncmp(path, l->v[i], len) && (!path[len] || path[len] == '/'))
			return true;
	}
	return !l->n;
}

/*
 * By its id's beginning or its whole name, as filter.c has it. A whole id is no machine's name, and what is longer than one is none: for these the
 * tables have no room.
 */
static bool ku_container_fits(const char *want, const char *container, bool machine)
{
	size_t hex = strspn(container, "0123456789abcdef");

	if (!*container)
		return false;
	if (strspn(want, "0123456789abcdef") == KU_ID_LEN && !want[KU_ID_LEN])
		return !machine && !strcmp(container, want);
	if (hex >= KU_ID_LEN_MIN && !container[hex])
		return !strncmp(container, want, strlen(want));
	return !strcmp(container, want);
}

static bool ku_container_in(const struct ku_pol_list *l, const char *container, bool machine)
{
	for (size_t i = 0; i < l->n; i++)
		if (ku_container_fits(l->v[i], container, machine))
			return true;
	return false;
}

/* The outermost container that any rule names; "" for none. *ret_machine: it is one of systemd's or libvirt's. */
static void ku_container_named(const struct ku_policy *p, const char *cgroup, char id[static KU_CONTAINER_MAX], bool *ret_machine)
{
	size_t len = strlen(cgroup), part = 0;
	_cleanup_free_ char *path = strdup(cgroup);
	char last[KU_CONTAINER_MAX] = "";

	for (size_t at = 0; path && at <= len; at++) {
		char below[KU_CONTAINER_MAX], own[KU_CONTAINER_MAX];
		size_t next = at + strspn(cgroup + at, "/");

		if (cgroup[at] && cgroup[at] != '/')
			continue;
		path[at] = '\0';
		ku_container_of(path, id);
		ku_container_of(path + part, own);
		*ret_machine = !strncmp(path + part, "machine-", 8) || !strncmp(path + part, "systemd-nspawn@", 15);
		path[at] = cgroup[at];
		part = at + 1;
		/* What is below a container was judged with it; not so another one of that name. */
		if (!strcmp(id, last) && strcmp(id, own))
			continue;
		memcpy(last, id, sizeof(last));
		/* What is in the cgroup of a machine's manager is not in the machine. */
		next += strcspn(cgroup + next, "/");
		path[next] = '\0';
		if (next > at && *id && (ku_container_of(path, below), !*below))
			id[0] = '\0';
		path[next] = cgroup[next];
		for (size_t i = 0; *id && i < p->nrules; i++)
			if (ku_container_in(&p->rules[i].containers, id, *ret_machine))
				return;
	}
	id[0] = '\0';
}

static bool ku_rule_container(const struct ku_policy *p, const struct ku_policy_rule *r, const char *cgroup)
{
	char id[KU_CONTAINER_MAX];
	bool machine = false;

	if (!r->containers.n)
		return true;
	ku_container_named(p, cgroup, id, &machine);
	return ku_container_in(&r->containers, id, machine);
}

static bool ku_rule_uid(const struct ku_policy_rule *r, uint32_t uid)
{
	for (size_t i = 0; i < r->nuids; i++)
		if (uid >= r->uids[i].from && uid <= r->uids[i].to)
			return true;
	return !r->nuids;
}

const char *ku_policy_misfit(const struct ku_policy *p, size_t rule, const struct ku_pol_op *op)
{
	const struct ku_policy_rule *r = &p->rules[rule];

	if (!(r->actions & 1u << op->action))
		return "action";
	if (!ku_any_glob(&r->unions, op->union_path))
		return "union";
	if (!ku_rule_container(p, r, op->cgroup))
		return "container";
	/* A cgroup that is not known is in none, not in the root. */
	if (r->cgroups.n && (!*op->cgroup || !ku_any_prefix(&r->cgroups, op->cgroup)))
		return "cgroup";
	if (!ku_rule_uid(r, op->uid))
		return "uid";
	if (!ku_any_comm(&r->comms, op->comm))
		return "comm";
	if (!ku_any_glob(&r->exes, op->exe))
		return "exe";
	if (!ku_any_glob(&r->paths, op->path))
		return "path";
	if (!ku_any_prefix(&r->prefixes, op->path))
		return "prefix";
	if (op->size < r->min_size)
		return "min_size";
	if (r->kinds && !(r->kinds & 1u << op->kind))
		return "kind";
	return NULL;
}

size_t ku_policy_match(const struct ku_policy *p, const struct ku_pol_op *op)
{
	size_t i = 0;

	/* The default, which is the last, asks for nothing. */
	while (i < p->nrules - 1 && ku_policy_misfit(p, i, op))
		i++;
	return i;
}
