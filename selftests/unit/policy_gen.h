/* SPDX-License-Identifier: GPL-2.0-only */
/* Random policies and operations that nearly fit them, the same for the same seed. */
#ifndef KU_UNIT_POLICY_GEN_H
#define KU_UNIT_POLICY_GEN_H

#include "ktap.h"
#include "policy/policy.h"
#include "util.h"

struct gen {
	uint64_t seed;
};

/* Below n. */
static inline uint32_t gen_below(struct gen *g, uint32_t n)
{
	g->seed = g->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((g->seed >> 33) % n);
}

static inline bool gen_one_in(struct gen *g, uint32_t n)
{
	return gen_below(g, n) == 0;
}

#define GEN_PICK(g, words) ((words)[gen_below((g), KU_ARRAY_SIZE(words))])

/* Characters of one, two, three bytes, and bytes that are none. */
static const char *const gen_chars[] = { "a", "a", "b", "b", ".", "-", "1", "\xc3\xa4", "\xe2\x82\xac", "\xa4", "\xff", "\xc3", " " };
static const char *const gen_names[] = { "a", "b", "ab", "aab", "lib", "x.db", "tmp-1", "\xc3\xa4", "a\xe2\x82\xac", "\xa4", "..a" };
#define GEN_ID "3f2a1b0c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8"
#define GEN_ID2 "3f2a1b0c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f9"
static const char *const gen_containers[] = { GEN_ID,	       GEN_ID2,	       "3f2a1b0c4d5e", "3f2a",	    "3f", "web",   "my-web", "deadbeef0123",
					      "lxc-web",       "a_b",	       "qemu-1-x",     "100",	    "f",  "lxc-1-web",
					      "0a1b2c3d4e5f6g7h8i9jklmno", "supervisor" };
/* Parts of cgroups, runtimes' and such as nearly are. */
static const char *const gen_parts[] = {
	"docker",
	"docker-" GEN_ID ".scope",
	"docker-" GEN_ID2,
	"docker-3f2a1b0c4d5e.scope",
	"docker-3f2a1b0c4d5.scope",
	"docker-" GEN_ID "0.scope",
	GEN_ID,
	GEN_ID2,
	GEN_ID "0",
	"libpod-" GEN_ID ".scope",
	"libpod-payload-" GEN_ID2,
	"libpod-conmon-" GEN_ID ".scope",
	"crio-" GEN_ID ".scope",
	"a.slice:cri-containerd:" GEN_ID2,
	"a.slice:docker:3f2a1b0c4d5e77",
	"a:docker:" GEN_ID ".scope",
	":docker:" GEN_ID,
	"machine-web.scope",
	"machine-my\\x2dweb.scope",
	"machine-my\\x2Dweb.scope",
	"machine-deadbeef012377.scope",
	"machine-lxc\\x2d2345\\x2dmy\\x2dweb.scope",
	"machine-lxc\\x2dweb.scope",
	"machine-lxc-1-lxc-web.scope",
	"machine-lxc--web.scope",
	"machine-qemu\\x2d1\\x2dx.scope",
	"machine-a\\x5Fb.scope",
	"systemd-nspawn@web.service",
	"systemd-nspawn@my-web.service",
	"systemd-nspawn@lxc-1-web.service",
	"supervisor",
	"supervisors",
	"supervis",
	"payload",
	"lxc",
	"lxc.payload",
	"lxc.payload.web",
	"lxc.payload.3f2a1b0c4d5e99",
	"lxc.payload.3f2a",
	"lxc.payload." GEN_ID,
	"lxc.payload." GEN_ID "0",
	"machine-" GEN_ID ".scope",
	"web",
	"100",
	"buildkit",
	"0a1b2c3d4e5f6g7h8i9jklmno",
	"3f2a1b0c4d5e6f708192a3b4c",
	"system.slice",
	"a",
	"ab",
};

static inline void gen_add(char *text, size_t size, const char *more)
{
	size_t len = strlen(text);

	snprintf(text + len, size - len, "%s", more);
}

static inline void gen_glob(struct gen *g, char *text, size_t size, bool path)
{
	uint32_t n = 1 + gen_below(g, 5);

	*text = '\0';
	if (path && !gen_one_in(g, 4))
		gen_add(text, size, "/");
	for (uint32_t i = 0; i < n; i++) {
		switch (gen_below(g, 12)) {
		case 0:
		case 1:
			gen_add(text, size, "*");
			break;
		case 2:
			gen_add(text, size, "?");
			break;
		case 3:
			gen_add(text, size, "**");
			break;
		case 4:
			gen_add(text, size, "/**/");
			break;
		case 5:
			gen_add(text, size, gen_one_in(g, 2) ? "\\*" : "\\?");
			break;
		case 6:
		case 7:
			gen_add(text, size, "/");
			break;
		default:
			gen_add(text, size, gen_one_in(g, 2) ? GEN_PICK(g, gen_chars) : GEN_PICK(g, gen_names));
		}
	}
	if (!*text)
		gen_add(text, size, "a");
}

/* A path below here, "" for the root. */
static inline void gen_path(struct gen *g, char *text, size_t size)
{
	*text = '\0';
	for (uint32_t n = gen_below(g, 5); n; n--) {
		gen_add(text, size, "/");
		gen_add(text, size, GEN_PICK(g, gen_names));
	}
}

static inline void gen_cgroup(struct gen *g, char *text, size_t size)
{
	*text = '\0';
	if (gen_one_in(g, 20))
		return;
	for (uint32_t n = 1 + gen_below(g, 4); n; n--) {
		gen_add(text, size, "/");
		gen_add(text, size, GEN_PICK(g, gen_parts));
	}
	if (gen_one_in(g, 30))
		gen_add(text, size, "/");
}

static inline void gen_list(struct ku_pol_list *l, const char *text)
{
	l->v = realloc(l->v, (l->n + 1) * sizeof(*l->v));
	KTAP_REQUIRE(l->v);
	l->v[l->n] = strdup(text);
	KTAP_REQUIRE(l->v[l->n++]);
}

static inline void gen_rule(struct gen *g, struct ku_policy_rule *r, uint32_t wide)
{
	char text[600];
	uint32_t n;

	r->actions = gen_one_in(g, 2) ? (1u << KU_A_MAX) - 1 : 1 + gen_below(g, (1u << KU_A_MAX) - 1);
	r->kinds = gen_one_in(g, 4) ? gen_below(g, 1u << KU_K_MAX) : 0;
	r->verdict = (enum ku_pol_verdict)gen_below(g, KU_V_MAX);
	for (n = gen_one_in(g, wide) ? 1 + gen_below(g, 3) : 0; n; n--)
		gen_glob(g, text, sizeof(text), true), gen_list(&r->paths, text);
	for (n = gen_one_in(g, wide * 2) ? 1 + gen_below(g, 2) : 0; n; n--)
		gen_path(g, text, sizeof(text)), gen_list(&r->prefixes, text);
	for (n = gen_one_in(g, wide * 2) ? 1 + gen_below(g, 2) : 0; n; n--)
		gen_glob(g, text, sizeof(text), true), gen_list(&r->exes, text);
	for (n = gen_one_in(g, wide * 2) ? 1 + gen_below(g, 2) : 0; n; n--)
		gen_glob(g, text, sizeof(text), false), gen_list(&r->comms, text);
	for (n = gen_one_in(g, wide * 2) ? 1 + gen_below(g, 2) : 0; n; n--)
		gen_list(&r->containers, GEN_PICK(g, gen_containers));
	for (n = gen_one_in(g, wide * 4) ? 1 + gen_below(g, 2) : 0; n; n--) {
		gen_cgroup(g, text, sizeof(text));
		while (*text && text[strlen(text) - 1] == '/')
			text[strlen(text) - 1] = '\0';
		gen_list(&r->cgroups, text);
	}
	for (n = gen_one_in(g, wide * 4) ? 1 : 0; n; n--)
		gen_glob(g, text, sizeof(text), true), gen_list(&r->unions, text);
	if (gen_one_in(g, wide * 4))
		r->min_size = gen_one_in(g, 4) ? UINT64_MAX : gen_below(g, 8);
	for (n = gen_one_in(g, wide * 4) ? 1 + gen_below(g, 2) : 0; n; n--) {
		r->uids = realloc(r->uids, (r->nuids + 1) * sizeof(*r->uids));
		KTAP_REQUIRE(r->uids);
		r->uids[r->nuids].from = gen_one_in(g, 4) ? UINT32_MAX : gen_below(g, 8);
		r->uids[r->nuids].to = gen_one_in(g, 4) ? UINT32_MAX : r->uids[r->nuids].from;
		if (r->uids[r->nuids].to != UINT32_MAX)
			r->uids[r->nuids].to += gen_below(g, 3);
		r->nuids++;
	}
}

/* n rules and the default. */
static inline struct ku_policy *gen_policy(struct gen *g, size_t n)
{
	struct ku_policy *p = calloc(1, sizeof(*p));
	uint32_t wide = 1 + gen_below(g, 3);

	KTAP_REQUIRE(p);
	p->rules = calloc(n + 1, sizeof(*p->rules));
	KTAP_REQUIRE(p->rules);
	p->nrules = n + 1;
	for (size_t i = 0; i < n; i++)
		gen_rule(g, &p->rules[i], wide);
	for (size_t i = 0; i <= n; i++) {
		KTAP_REQUIRE(asprintf(&p->rules[i].name, "r%zu", i) > 0);
		p->rules[i].line = (unsigned int)i;
	}
	p->rules[n].actions = (1u << KU_A_MAX) - 1;
	p->rules[n].verdict = (enum ku_pol_verdict)gen_below(g, KU_V_HOLD);
	return p;
}

/* A string for a glob, or nearly. */
static inline void gen_like(struct gen *g, const char *glob, char *text, size_t size)
{
	char one[2] = { 0 };

	*text = '\0';
	if (*glob != '/' && gen_one_in(g, 2))
		gen_path(g, text, size), gen_add(text, size, "/");
	for (; *glob; glob++) {
		if (*glob == '*') {
			for (uint32_t n = gen_below(g, 3); n; n--)
				gen_add(text, size, GEN_PICK(g, gen_chars));
			if (glob[1] == '*' && gen_one_in(g, 2))
				gen_path(g, text + strlen(text), size - strlen(text));
		} else if (*glob == '?') {
			gen_add(text, size, GEN_PICK(g, gen_chars));
		} else {
			glob += *glob == '\\' && glob[1];
			one[0] = *glob;
			gen_add(text, size, one);
		}
	}
}

/* Changes it a little, perhaps. */
static inline void gen_change(struct gen *g, char *text, size_t size)
{
	size_t len = strlen(text), at;

	if (!len || !gen_one_in(g, 3))
		return;
	at = gen_below(g, (uint32_t)len);
	switch (gen_below(g, 4)) {
	case 0:
		text[at] = '\0';
		break;
	case 1:
		memmove(text + at, text + at + 1, len - at);
		break;
	case 2:
		text[at] = GEN_PICK(g, gen_chars)[0];
		break;
	default:
		gen_add(text, size, gen_one_in(g, 2) ? "/a" : GEN_PICK(g, gen_chars));
	}
}

static inline const char *gen_from(struct gen *g, const struct ku_pol_list *l)
{
	return l->n ? l->v[gen_below(g, (uint32_t)l->n)] : NULL;
}

/* An operation, with room for its strings. */
struct gen_op {
	struct ku_pol_op op;
	char union_path[600], path[600], exe[600], comm[600], cgroup[600];
};

static inline void gen_text(struct gen *g, const char *like, bool literal, char *text, size_t size)
{
	if (!like || gen_one_in(g, 6)) {
		gen_path(g, text, size);
	} else if (literal) {
		snprintf(text, size, "%s", like);
		if (gen_one_in(g, 2))
			gen_path(g, text + strlen(text), size - strlen(text));
	} else {
		gen_like(g, like, text, size);
	}
	gen_change(g, text, size);
}

static inline void gen_op(struct gen *g, const struct ku_policy *p, struct gen_op *ret)
{
	const struct ku_policy_rule *r = &p->rules[gen_below(g, (uint32_t)p->nrules)];
	const char *prefix = gen_from(g, &r->prefixes), *path = gen_from(g, &r->paths);
	bool literal = prefix && (!path || gen_one_in(g, 2));

	ret->op = (struct ku_pol_op){
		.action = (enum ku_pol_action)gen_below(g, KU_A_MAX),
		.kind = (enum ku_pol_kind)gen_below(g, KU_K_MAX),
		.size = gen_one_in(g, 6) ? UINT64_MAX - gen_below(g, 2) : gen_below(g, 10),
		.uid = gen_one_in(g, 6) ? UINT32_MAX - gen_below(g, 2) : gen_below(g, 12),
		.union_path = ret->union_path,
		.path = ret->path,
		.exe = ret->exe,
		.comm = ret->comm,
		.cgroup = ret->cgroup,
	};
	gen_text(g, literal ? prefix : path, literal, ret->path, sizeof(ret->path));
	gen_text(g, gen_from(g, &r->unions), false, ret->union_path, sizeof(ret->union_path));
	gen_text(g, gen_from(g, &r->exes), false, ret->exe, sizeof(ret->exe));
	gen_text(g, gen_from(g, &r->comms), false, ret->comm, sizeof(ret->comm));
	if (r->cgroups.n && gen_one_in(g, 2))
		gen_text(g, gen_from(g, &r->cgroups), true, ret->cgroup, sizeof(ret->cgroup));
	else
		gen_cgroup(g, ret->cgroup, sizeof(ret->cgroup));
}

#endif
