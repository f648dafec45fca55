// SPDX-License-Identifier: GPL-2.0-only
/*
 * The path is read from the root down and the innermost container wins: a task of a container that runs in another one, or in a
 * Kubernetes node that is one itself, is the inner one's.
 */
#include "container.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

/* Every runtime makes 64 digits; shorter ones with a runtime's prefix are an administrator's. */
#define KU_ID_LEN 64
#define KU_ID_LEN_MIN 12
/* BuildKit's own ids: 25 of 0-9a-z. */
#define KU_BUILD_ID_LEN 25

/* A part of the path between two slashes, not NUL-ended. */
struct ku_part {
	const char *s;
	size_t len;
};

/* What comes before an id, as PREFIX-ID.scope, PREFIX-ID or PARENT:PREFIX:ID. */
static const struct {
	const char *prefix, *runtime;
} ku_prefixes[] = {
	{ "docker", "docker" },		    { "libpod", "podman" },	{ "libpod-payload", "podman" },
	{ "cri-containerd", "containerd" }, { "nerdctl", "containerd" }, { "crio", "crio" },
};

static bool ku_part_is(struct ku_part p, const char *text)
{
	return p.len == strlen(text) && !memcmp(p.s, text, p.len);
}

static bool ku_part_begins(struct ku_part *p, const char *text)
{
	size_t len = strlen(text);

	if (p->len <= len || memcmp(p->s, text, len))
		return false;
	p->s += len;
	p->len -= len;
	return true;
}

static bool ku_part_ends(struct ku_part *p, const char *text)
{
	size_t len = strlen(text);

	if (p->len <= len || memcmp(p->s + p->len - len, text, len))
		return false;
	p->len -= len;
	return true;
}

static bool ku_part_is_hex(struct ku_part p)
{
	for (size_t i = 0; i < p.len; i++)
		if (!isdigit((unsigned char)p.s[i]) && (p.s[i] < 'a' || p.s[i] > 'f'))
			return false;
	return true;
}

static void ku_part_copy(struct ku_part p, char id[static KU_CONTAINER_MAX])
{
	snprintf(id, KU_CONTAINER_MAX, "%.*s", (int)p.len, p.s);
}

static int ku_hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* systemd's escapes: "\x2d" for a dash. A plain dash stays one, since no machine's name has the slash that it would stand for. */
static void ku_part_unescape(struct ku_part p, char id[static KU_CONTAINER_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < p.len && n < KU_CONTAINER_MAX - 1; i++) {
		if (i + 3 < p.len && p.s[i] == '\\' && p.s[i + 1] == 'x' && ku_hex_digit(p.s[i + 2]) >= 0 &&
		    ku_hex_digit(p.s[i + 3]) >= 0) {
			id[n++] = (char)(ku_hex_digit(p.s[i + 2]) * 16 + ku_hex_digit(p.s[i + 3]));
			i += 3;
		} else {
			id[n++] = p.s[i];
		}
	}
	id[n] = '\0';
}

/* docker-ID.scope and the like, of one part. */
static const char *ku_prefixed(struct ku_part part, char id[static KU_CONTAINER_MAX])
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_prefixes); i++) {
		struct ku_part p = part;
		bool colon = memchr(part.s, ':', part.len);

		/* A systemd-style parent given to the plain driver: "kubepods-podUID.slice:cri-containerd:ID". */
		if (colon) {
			p.s = (const char *)memchr(part.s, ':', part.len) + 1;
			p.len = part.len - (size_t)(p.s - part.s);
		} else {
			ku_part_ends(&p, ".scope");
		}
		if (!ku_part_begins(&p, ku_prefixes[i].prefix) || !ku_part_begins(&p, colon ? ":" : "-"))
			continue;
		if (p.len < KU_ID_LEN_MIN || p.len > KU_ID_LEN || !ku_part_is_hex(p))
			continue;
		ku_part_copy(p, id);
		return ku_prefixes[i].runtime;
	}
	return NULL;
}

/* Machines of systemd and libvirt's LXC driver. */
static const char *ku_machine(struct ku_part part, char id[static KU_CONTAINER_MAX])
{
	struct ku_part p = part;
	const char *dash;

	if (ku_part_begins(&p, "systemd-nspawn@") && ku_part_ends(&p, ".service")) {
		ku_part_unescape(p, id);
		return "nspawn";
	}
	p = part;
	if (!ku_part_begins(&p, "machine-") || !ku_part_ends(&p, ".scope"))
		return NULL;
	ku_part_unescape(p, id);
	if (!strncmp(id, "qemu-", 5) || !strncmp(id, "xen-", 4))
		return NULL; /* libvirt's virtual machines */
	if (strncmp(id, "lxc-", 4))
		return "nspawn";
	/* machine-lxc-PID-NAME */
	dash = strchr(id + 4, '-');
	if (dash && dash[1])
		memmove(id, dash + 1, strlen(dash));
	return "lxc";
}

/* Parts that mean something by what they are below: before is the part above, above the one above that. */
static const char *ku_plain(struct ku_part part, struct ku_part before, struct ku_part above, bool in_pod,
			    char id[static KU_CONTAINER_MAX])
{
	struct ku_part p = part;

	/* Older ones have a directory of their own, at the top. */
	if (ku_part_begins(&p, "lxc.payload.") || (!above.len && (ku_part_is(before, "lxc.payload") || ku_part_is(before, "lxc")))) {
		ku_part_copy(p, id);
		return "lxc";
	}
	if (part.len == KU_ID_LEN && ku_part_is_hex(part)) {
		ku_part_copy(part, id);
		/* CRI-O writes its name in front of the id; below a pod it is containerd, and below its namespaces. */
		return in_pod || ku_part_is(before, "default") || ku_part_is(before, "k8s.io") ? "containerd" : "docker";
	}
	if (ku_part_is(above, "docker") && ku_part_is(before, "buildkit") && part.len == KU_BUILD_ID_LEN) {
		ku_part_copy(part, id);
		return "docker";
	}
	return NULL;
}

static bool ku_is_pod(struct ku_part p)
{
	return ku_part_begins(&p, "pod") && p.len >= 32 && isxdigit((unsigned char)p.s[0]);
}

const char *ku_container_of(const char *cgroup, char id[static KU_CONTAINER_MAX])
{
	struct ku_part before = { "", 0 }, above = { "", 0 };
	const char *runtime = "", *found;
	bool in_pod = false, machine = false;
	char inner[KU_CONTAINER_MAX];

	id[0] = '\0';
	while (*cgroup) {
		struct ku_part part = { cgroup, strcspn(cgroup, "/") };

		cgroup += part.len + (cgroup[part.len] == '/');
		if (!part.len)
			continue;
		found = ku_machine(part, inner);
		/* The container's manager stays outside. */
		if (machine && ku_part_is(part, "supervisor")) {
			id[0] = '\0';
			runtime = "";
		}
		machine = found != NULL;
		if (!found)
			found = ku_prefixed(part, inner);
		if (!found)
			found = ku_plain(part, before, above, in_pod, inner);
		if (found) {
			runtime = found;
			memcpy(id, inner, sizeof(inner));
		}
		in_pod = ku_is_pod(part);
		above = before;
		before = part;
	}
	return runtime;
}
