// SPDX-License-Identifier: GPL-2.0-only
/* The compiled form: its contract, its limits, and that what fits is compiled in no time. */
#include "policy_gen.h"

/* A policy as text, made piece by piece. */
static char *text;
static size_t size;
static FILE *to;

static void begin(const char *verdict)
{
	free(text);
	text = NULL;
	to = open_memstream(&text, &size);
	KTAP_REQUIRE(to);
	fprintf(to, "version = 1; default = \"%s\"; rules = (", verdict);
}

__attribute__((format(printf, 2, 3))) static void rule(unsigned int n, const char *fmt, ...)
{
	va_list ap;

	fprintf(to, "%s\n{ name = \"r%u\"; action = \"any\"; verdict = \"deny\"; ", n ? "," : "", n);
	va_start(ap, fmt);
	vfprintf(to, fmt, ap);
	va_end(ap);
	fputs(" }", to);
}

static int compile(struct ku_policy **ret_p, struct ku_pol *pol, char err[static 512])
{
	fputs(" );", to);
	KTAP_REQUIRE(!fclose(to));
	KTAP_REQUIRE(!ku_policy_parse("test", text, strlen(text), ret_p, err), "%s", err);
	return ku_policy_compile(*ret_p, pol, err);
}

/* Too big: by which limit, and which rule. */
static void refused(const char *limit, const char *name)
{
	struct ku_pol *pol = malloc(sizeof(*pol));
	struct ku_policy *p;
	char err[512] = "";
	int r;

	KTAP_REQUIRE(pol);
	r = compile(&p, pol, err);
	KTAP_CHECK(r == -E2BIG, "%d", r);
	KTAP_CHECK(strstr(err, limit) && strstr(err, name) && strstr(err, "would be right") && !strchr(err, '\n'), "'%s'", err);
	ku_policy_free(p);
	free(pol);
}

/* Prefixes, files, globs: what a policy of a thousand rules would have. */
static void thousand(void)
{
	static const char *const dirs[] = { "usr", "lib", "share", "etc", "var", "log", "cache", "app", "data", "www", "site-packages", "nginx" };
	static const char *const ends[] = { "log", "conf", "so", "db" };
	struct gen g = { 5 };

	begin("deny");
	for (unsigned int i = 0; i < 1000; i++) {
		char path[400] = "";

		for (unsigned int n = 2 + gen_below(&g, 5); n; n--) {
			gen_add(path, sizeof(path), "/");
			gen_add(path, sizeof(path), GEN_PICK(&g, dirs));
		}
		switch (gen_below(&g, 8)) {
		case 0:
		case 1:
		case 2:
			rule(i, "path = \"%s/file-%u.so\";", path, i);
			break;
		case 3:
		case 4:
			rule(i, "prefix = \"%s/%u\";", path, i);
			break;
		case 5:
			rule(i, "path = \"%s/*.%s\";", path, GEN_PICK(&g, ends));
			break;
		case 6:
			rule(i, "path = \"%s/tmp-??????\";", path);
			break;
		default:
			if (i % 5)
				rule(i, "path = [ \"%s/%u/**\" ];", path, i);
			else
				rule(i, "path = [ \"/%s/**/x%u.%s\" ];", GEN_PICK(&g, dirs), i, GEN_PICK(&g, ends));
		}
	}
}

KTAP_TEST(a_thousand_rules_fit)
{
	struct ku_pol *pol = malloc(sizeof(*pol));
	struct ku_policy *p;
	static struct gen_op o;
	struct gen g = { 9 };
	char err[512] = "";
	uint64_t before, took;
	int r;

	KTAP_REQUIRE(pol);
	thousand();
	before = ku_now_ns();
	r = compile(&p, pol, err);
	took = ku_now_ns() - before;
	KTAP_REQUIRE(!r, "%s", err);
	ktap_diag("compiled in %llu ms", (unsigned long long)(took / 1000000));
	/* Sanitizers and a busy machine included. */
	KTAP_CHECK(took < 20000000000ull, "%llu ms", (unsigned long long)(took / 1000000));
	KTAP_CHECK(pol->nrules == 1001 && pol->version == KU_POL_VERSION);
	for (int i = 0; i < 20000; i++) {
		struct ku_pol_set set;

		gen_op(&g, p, &o);
		ku_policy_union_set(p, o.union_path, &set);
		KTAP_REQUIRE(ku_policy_match(p, &o.op) == ku_pol_match(pol, &set, &o.op), "'%s'", o.path);
	}
	ku_policy_free(p);
	free(pol);
}

KTAP_TEST(containers_fit)
{
	struct ku_pol *pol = malloc(sizeof(*pol));
	struct ku_policy *p;
	char err[512] = "";

	KTAP_REQUIRE(pol);
	begin("allow");
	for (unsigned int i = 0; i < 250; i++)
		rule(i, "container = \"%08x%056x\";", i * 2654435761u, i);
	KTAP_CHECK(!compile(&p, pol, err), "%s", err);
	ku_policy_free(p);
	begin("allow");
	for (unsigned int i = 0; i < 40; i++)
		rule(i, "container = \"%08x%04x\";", i * 2654435761u, i);
	KTAP_CHECK(!compile(&p, pol, err), "%s", err);
	ku_policy_free(p);
	free(pol);
}

KTAP_TEST(every_byte_is_written_and_always_the_same)
{
	struct ku_pol *one = malloc(sizeof(*one)), *two = malloc(sizeof(*two));
	char err[512];

	KTAP_REQUIRE(one && two);
	for (uint64_t seed = 1; seed < 20; seed++) {
		struct gen g = { seed };
		struct ku_policy *p = gen_policy(&g, 5);

		memset(one, 0xaa, sizeof(*one));
		memset(two, 0x55, sizeof(*two));
		KTAP_REQUIRE(!ku_policy_compile(p, one, err) && !ku_policy_compile(p, two, err), "%s", err);
		KTAP_CHECK(!memcmp(one, two, sizeof(*one)));
		ku_policy_free(p);
	}
	free(one);
	free(two);
}

/* What BPF takes for granted. */
KTAP_TEST(the_contract)
{
	struct ku_pol *pol = malloc(sizeof(*pol));
	struct ku_policy *p;
	char err[512];
	size_t last;

	KTAP_REQUIRE(pol);
	begin("allow");
	rule(0, "path = \"/a*\"; uid = 5; min_size = 7;");
	fputs(", { name = \"x\"; action = \"create\"; verdict = \"audit\"; comm = \"c\"; }", to);
	KTAP_REQUIRE(!compile(&p, pol, err), "%s", err);
	last = p->nrules - 1;
	KTAP_CHECK(pol->sets[0].w[0] == 7, "set 0 has all rules");
	for (size_t i = 0; i < KU_POL_SETS && pol->sets[i].w[0]; i++)
		KTAP_CHECK(pol->sets[i].w[0] >> last & 1, "set %zu lacks the default", i);
	KTAP_CHECK(pol->uid.bounds[0] == 0 && pol->size.bounds[0] == 0 && pol->uid.n == 3 && pol->size.n == 2);
	KTAP_CHECK(pol->strings.start[KU_PS_PATH] && pol->strings.start[KU_PS_COMM]);
	KTAP_CHECK(!pol->strings.start[KU_PS_EXE] && !pol->strings.start[KU_PS_CGROUP] && !pol->strings.start[KU_PS_CONTAINER]);
	KTAP_CHECK(!pol->strings.fallback[0] && !pol->strings.base[0]);
	for (size_t i = 0; i < KU_POL_EDGES; i++)
		KTAP_CHECK(!pol->strings.edges[i] || pol->strings.edges[i] >> 16, "edge %zu is nobody's", i);
	for (size_t i = 0; i < KU_POL_STATES; i++)
		KTAP_CHECK(pol->strings.base[i] <= KU_POL_EDGES - 256 && pol->strings.set[i] < KU_POL_SETS, "state %zu", i);
	KTAP_CHECK(pol->rules[0].verdict == KU_V_DENY && pol->rules[1].verdict == KU_V_AUDIT && pol->rules[2].verdict == KU_V_ALLOW);
	ku_policy_free(p);

	/* Also where a rule leaves nothing to it. */
	begin("deny");
	rule(0, "prefix = \"/a\";");
	rule(1, "prefix = \"/a/b\";");
	KTAP_REQUIRE(!compile(&p, pol, err), "%s", err);
	for (size_t i = 0; i < KU_POL_SETS && pol->sets[i].w[0]; i++)
		KTAP_CHECK(pol->sets[i].w[0] >> 2 & 1, "set %zu lacks the default", i);
	ku_policy_free(p);

	/* Only what may be refused or told need be looked at. */
	begin("allow");
	fputs("{ name = \"x\"; action = [ \"create\", \"exec\" ]; verdict = \"audit\"; }, { name = \"y\"; action = \"any\"; verdict = \"allow\"; }", to);
	KTAP_REQUIRE(!compile(&p, pol, err), "%s", err);
	KTAP_CHECK(pol->actions == (1u << KU_A_CREATE | 1u << KU_A_EXEC), "%x", pol->actions);
	ku_policy_free(p);
	begin("audit");
	KTAP_REQUIRE(!compile(&p, pol, err), "%s", err);
	KTAP_CHECK(pol->actions == (1u << KU_A_MAX) - 1 && pol->nrules == 1, "%x", pol->actions);
	ku_policy_free(p);
	free(pol);
}

KTAP_TEST(too_many_rules)
{
	begin("deny");
	for (unsigned int i = 0; i < KU_POL_RULES; i++)
		rule(i, "path = \"/%u\";", i);
	refused("1024 rules", "1023");
}

KTAP_TEST(as_many_rules_as_there_may_be)
{
	struct ku_pol *pol = malloc(sizeof(*pol));
	struct ku_policy *p;
	char err[512] = "";

	KTAP_REQUIRE(pol);
	begin("deny");
	for (unsigned int i = 0; i < KU_POL_RULES - 1; i++)
		rule(i, "path = \"/%u\";", i);
	KTAP_CHECK(!compile(&p, pol, err), "%s", err);
	ku_policy_free(p);
	free(pol);
}

KTAP_TEST(too_many_states)
{
	begin("deny");
	rule(0, "prefix = \"/a\";");
	for (unsigned int i = 1; i < 30; i++)
		rule(i, "path = \"*a%u*b*c%u*\";", i, i);
	refused("65536 states", "'r");
}

KTAP_TEST(too_long_lists)
{
	begin("deny");
	rule(0, "prefix = \"/a\";");
	fputs(", { name = \"the list\"; action = \"any\"; verdict = \"deny\"; path = [ \"/x\"", to);
	for (unsigned int i = 0; i < 3000; i++)
		fprintf(to, ", \"/%08x%08x%08x%08x\"", i * 2654435761u, i * 2246822519u, i * 3266489917u, i * 668265263u);
	fputs(" ]; }", to);
	refused("65536 states", "'the list' (line 2)");
}

KTAP_TEST(too_many_transitions)
{
	begin("deny");
	for (unsigned int i = 0; i < 150; i++)
		rule(i, "container = \"%08x%04x\";", i * 2654435761u, i);
	refused("262144 transitions", "whole ids");
}

KTAP_TEST(too_many_bounds)
{
	begin("deny");
	rule(0, "path = \"/x\";");
	fputs(", { name = \"u\"; action = \"any\"; verdict = \"deny\"; uid = [ \"0\"", to);
	for (unsigned int i = 1; i < KU_POL_BOUNDS; i++)
		fprintf(to, ", \"%u\"", 2 * i);
	fputs(" ]; }", to);
	refused("2048 different bounds", "uid");
}

/* Rules that each ask for a user and two paths: all pairs of them are sets of their own. */
KTAP_TEST(too_many_sets)
{
	begin("deny");
	for (unsigned int i = 0; i < 13; i++)
		rule(i, "uid = %u; path = \"/**/%c/**\";", i, 'a' + i);
	refused("4096 sets", "'r");
}

KTAP_MAIN()
