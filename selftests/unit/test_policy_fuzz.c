// SPDX-License-Identifier: GPL-2.0-only
/*
 * The compiled tables against the rules as they read, by random policies and operations that nearly fit them. $POLICY_FUZZ_PAIRS: how many
 * operations (100000) at least; $POLICY_FUZZ_SECONDS: for so long at least; $POLICY_FUZZ_SEED: another beginning.
 */
#include "policy_gen.h"

#define PAIRS 100000
#define OPS 400 /* for each policy */
#define NO_LIMIT 0

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void tell(const char *what, const struct ku_policy *p, size_t rule)
{
	const struct ku_policy_rule *r = &p->rules[rule];

	ktap_diag("%s rule %zu of %zu: actions %x kinds %x min_size %llu uids %zu", what, rule, p->nrules, r->actions, r->kinds,
		  (unsigned long long)r->min_size, r->nuids);
	for (size_t i = 0; i < r->paths.n; i++)
		ktap_diag("path '%s'", r->paths.v[i]);
	for (size_t i = 0; i < r->prefixes.n; i++)
		ktap_diag("prefix '%s'", r->prefixes.v[i]);
	for (size_t i = 0; i < r->exes.n; i++)
		ktap_diag("exe '%s'", r->exes.v[i]);
	for (size_t i = 0; i < r->comms.n; i++)
		ktap_diag("comm '%s'", r->comms.v[i]);
	for (size_t i = 0; i < r->cgroups.n; i++)
		ktap_diag("cgroup '%s'", r->cgroups.v[i]);
	for (size_t i = 0; i < r->containers.n; i++)
		ktap_diag("container '%s'", r->containers.v[i]);
}

/* Operations of one policy; how many were decided by a rule, not the default. */
static uint64_t compare(struct gen *g, const struct ku_policy *p, const struct ku_pol *pol, uint64_t ops)
{
	static struct gen_op o;
	uint64_t decided = 0;

	for (uint64_t n = 0; n < ops; n++) {
		struct ku_pol_set set;
		size_t want, got;

		gen_op(g, p, &o);
		ku_policy_union_set(p, o.union_path, &set);
		want = ku_policy_match(p, &o.op);
		got = ku_pol_match(pol, &set, &o.op);
		decided += want != p->nrules - 1;
		if (KTAP_CHECK(want == got, "path '%s' exe '%s' comm '%s' cgroup '%s' union '%s' size %llu uid %u", o.path, o.exe, o.comm, o.cgroup,
			       o.union_path, (unsigned long long)o.op.size, o.op.uid))
			continue;
		tell("wanted", p, want);
		tell("got", p, got);
		exit(KTAP_EXIT_FAIL);
	}
	return decided;
}

KTAP_TEST_LIMIT(tables_and_rules_agree, NO_LIMIT)
{
	uint64_t pairs = number("POLICY_FUZZ_PAIRS", PAIRS), seconds = number("POLICY_FUZZ_SECONDS", 0), done = 0, decided = 0, policies = 0;
	uint64_t end = ku_now_ns() + seconds * 1000000000ull;
	struct gen g = { number("POLICY_FUZZ_SEED", 1) };
	struct ku_pol *pol = malloc(sizeof(*pol));
	char err[512];

	KTAP_REQUIRE(pol);
	while (done < pairs || ku_now_ns() < end) {
		struct ku_policy *p = gen_policy(&g, gen_one_in(&g, 60) ? 30 : gen_below(&g, 5));
		int r = ku_policy_compile(p, pol, err);

		/* Many stars may be too many; that is told in its own tests. */
		KTAP_REQUIRE(!r || (r == -E2BIG && p->nrules > 20), "%s", err);
		if (!r) {
			decided += compare(&g, p, pol, OPS);
			done += OPS;
			policies++;
		}
		ku_policy_free(p);
	}
	ktap_diag("%llu operations, %llu policies, %llu decided by a rule", (unsigned long long)done, (unsigned long long)policies,
		  (unsigned long long)decided);
	KTAP_CHECK(decided > done / 20 && decided < done - done / 20, "too few near matches");
	free(pol);
}

KTAP_MAIN()
