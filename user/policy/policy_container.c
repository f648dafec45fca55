// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cgroups of a container, as ku_container_of() knows them, and all below. That one says which container is the innermost; here it is the
 * outermost that any rule names: a container's tasks must not get out of its rules, nor into another's, by making cgroups in their own. Where
 * ku_container_of() would take what no runtime makes, this is the stricter one: a machine's name that is a whole id, a name with a
 * backslash, a digit of an id that is written as an escape.
 */
#include <string.h>

#include "policy/policy_nfa.h"
#include "util.h"

#define KU_ID_LEN 64
#define KU_ID_LEN_MIN 12
#define KU_BUILD_ID_LEN 25

static const char *const ku_id_prefixes[] = { "docker", "libpod", "libpod-payload", "cri-containerd", "nerdctl", "crio" };

/* What tells the joins behind the beginnings of names apart. */
enum ku_join { KU_JOIN_DASH, KU_JOIN_COLON, KU_JOIN_NAME, KU_JOIN_BARE, KU_JOIN_END };

static bool ku_is_whole_id(const char *want)
{
	return strspn(want, "0123456789abcdef") == KU_ID_LEN && !want[KU_ID_LEN];
}

/* Here, and what is below, is the container. */
static void ku_container_end(struct ku_nfa *a, uint32_t node, bool machine, unsigned int group)
{
	uint32_t below = machine ? ku_nfa_accept_machine(a, node, group) : ku_nfa_accept_below(a, node, group);

	if (!a->err)
		a->nodes[below].final = true;
}

/* An id of min to max digits that begins with want. Returns where it ends; KU_NFA_NONE if there is no such id. */
static uint32_t ku_container_id(struct ku_nfa *a, uint32_t from, const char *want, size_t min, size_t max)
{
	size_t len = strlen(want);
	uint32_t at, end;

	if (strspn(want, "0123456789abcdef") < len || len > max)
		return KU_NFA_NONE;
	at = ku_nfa_text(a, from, want);
	end = ku_nfa_step(a, at, KU_STEP_JOIN, KU_JOIN_END);
	for (;; len++) {
		if (len >= min)
			ku_nfa_eps(a, at, end);
		if (len == max)
			return end;
		at = ku_nfa_step(a, at, KU_STEP_HEX, 0);
	}
}

/* A character of a machine's name, as it is or as systemd's escape; a backslash only as that. */
static uint32_t ku_container_escaped(struct ku_nfa *a, uint32_t from, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		uint32_t plain = ku_nfa_step(a, from, KU_STEP_JOIN, c), at = ku_nfa_text(a, from, "\\x");

		for (int shift = 4; shift >= 0; shift -= 4) {
			unsigned char digit = (unsigned char)"0123456789abcdef"[c >> shift & 15];
			uint32_t next = shift ? ku_nfa_step(a, at, KU_STEP_BYTE, digit) : plain;

			if (!shift)
				ku_nfa_edge(a, at, digit, digit, next);
			if (digit >= 'a')
				ku_nfa_edge(a, at, digit - 'a' + 'A', digit - 'a' + 'A', next);
			at = next;
		}
		if (c != '\\')
			ku_nfa_edge(a, from, c, c, plain);
		from = plain;
	}
	return from;
}

/* A name that is want, or an id that begins with it. */
static uint32_t ku_container_name(struct ku_nfa *a, uint32_t from, const char *want, bool escaped)
{
	uint32_t name = escaped ? ku_container_escaped(a, from, want) : ku_nfa_text(a, from, want);
	uint32_t end = ku_nfa_step(a, name, KU_STEP_JOIN, KU_JOIN_END), at = name;

	ku_nfa_eps(a, name, end);
	if (strspn(want, "0123456789abcdef") < strlen(want))
		return end;
	for (size_t len = strlen(want); len < KU_ID_LEN_MIN; len++)
		at = ku_nfa_step(a, at, KU_STEP_HEX, 0);
	ku_nfa_eps(a, ku_nfa_step(a, at, KU_STEP_HEXES, 0), end);
	return end;
}

/* docker-ID.scope, PARENT:docker:ID, and the bare id. */
static void ku_container_ids(struct ku_nfa *a, uint32_t part, const char *want, unsigned int group)
{
	uint32_t dash = ku_nfa_step(a, part, KU_STEP_JOIN, KU_JOIN_DASH), colon = ku_nfa_step(a, part, KU_STEP_JOIN, KU_JOIN_COLON);
	uint32_t parent = ku_nfa_text(a, ku_nfa_step(a, part, KU_STEP_NOT, ':'), ":"), bare = part, id;

	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_id_prefixes); i++) {
		ku_nfa_eps(a, ku_nfa_text(a, ku_nfa_text(a, part, ku_id_prefixes[i]), "-"), dash);
		ku_nfa_eps(a, ku_nfa_text(a, ku_nfa_text(a, parent, ku_id_prefixes[i]), ":"), colon);
	}
	id = ku_container_id(a, dash, want, KU_ID_LEN_MIN, KU_ID_LEN);
	if (id == KU_NFA_NONE)
		return;
	ku_container_end(a, id, false, group);
	ku_container_end(a, ku_nfa_text(a, id, ".scope"), false, group);
	ku_container_end(a, ku_container_id(a, colon, want, KU_ID_LEN_MIN, KU_ID_LEN), false, group);
	/* A name that is one is found there too. */
	if (ku_is_whole_id(want)) {
		bare = ku_nfa_step(a, part, KU_STEP_JOIN, KU_JOIN_BARE);
		ku_nfa_eps(a, part, bare);
	}
	ku_container_end(a, ku_container_id(a, bare, want, KU_ID_LEN, KU_ID_LEN), false, group);
}

static uint32_t ku_container_below(struct ku_nfa *a, uint32_t from, const char *dir)
{
	return ku_nfa_step(a, ku_nfa_text(a, ku_nfa_text(a, from, dir), "/"), KU_STEP_SLASHES, 0);
}

static void ku_container_lxc(struct ku_nfa *a, uint32_t part, const char *want, unsigned int group)
{
	uint32_t name = ku_nfa_step(a, part, KU_STEP_JOIN, KU_JOIN_NAME), top = ku_nfa_step(a, 0, KU_STEP_SLASHES, 0);

	ku_nfa_eps(a, ku_nfa_text(a, part, "lxc.payload."), name);
	ku_nfa_eps(a, ku_container_below(a, top, "lxc"), name);
	ku_nfa_eps(a, ku_container_below(a, top, "lxc.payload"), name);
	if (ku_is_whole_id(want))
		ku_nfa_eps(a, name, ku_nfa_step(a, part, KU_STEP_JOIN, KU_JOIN_BARE));
	else
		ku_container_end(a, ku_container_name(a, name, want, false), false, group);
}

static void ku_container_buildkit(struct ku_nfa *a, uint32_t part, const char *want, unsigned int group)
{
	uint32_t build = ku_container_below(a, ku_container_below(a, part, "docker"), "buildkit");
	uint32_t id = ku_container_id(a, build, want, KU_BUILD_ID_LEN, KU_BUILD_ID_LEN);

	if (id == KU_NFA_NONE && strlen(want) == KU_BUILD_ID_LEN)
		id = ku_nfa_text(a, build, want);
	if (id != KU_NFA_NONE)
		ku_container_end(a, id, false, group);
}

static void ku_container_machine(struct ku_nfa *a, uint32_t part, const char *want, unsigned int group)
{
	uint32_t service = ku_nfa_text(a, part, "systemd-nspawn@"), machine = ku_nfa_text(a, part, "machine-");
	uint32_t pid = ku_nfa_step(a, ku_container_escaped(a, machine, "lxc-"), KU_STEP_NOT, '-');
	const char *dash = strncmp(want, "lxc-", 4) ? NULL : strchr(want + 4, '-');

	ku_container_end(a, ku_nfa_text(a, ku_container_name(a, service, want, true), ".service"), true, group);
	ku_container_end(a, ku_nfa_text(a, ku_container_name(a, ku_container_escaped(a, pid, "-"), want, true), ".scope"), true, group);
	/* libvirt's virtual machines; and what is written so is PID and name. */
	if (strncmp(want, "qemu-", 5) && strncmp(want, "xen-", 4) && !(dash && dash[1]))
		ku_container_end(a, ku_nfa_text(a, ku_container_name(a, machine, want, true), ".scope"), true, group);
}

void ku_nfa_container(struct ku_nfa *a, const char *container, unsigned int group)
{
	uint32_t part = ku_nfa_step(a, 0, KU_STEP_DIRS, 0);

	ku_container_ids(a, part, container, group);
	ku_container_lxc(a, part, container, group);
	if (ku_is_whole_id(container))
		return;
	ku_container_buildkit(a, part, container, group);
	ku_container_machine(a, part, container, group);
}
