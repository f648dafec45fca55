// SPDX-License-Identifier: GPL-2.0-only
/* Reading policy files: what is taken, and one line that says where and what would be right for what is not. */
#include <sys/stat.h>

#include "policy_leaks.h"
#include "policy_text.h"

#define RULE(what) POLICY("allow", "{ name = \"r\"; " what "action = \"any\"; verdict = \"deny\"; }")

static struct ku_policy *good(const char *text)
{
	struct ku_policy *p = NULL;
	char err[512] = "";

	KTAP_REQUIRE(!ku_policy_parse("f", text, strlen(text), &p, err), "%s", err);
	return p;
}

/* Refused with a line that begins with "f:LINE: " and has these words. */
static void bad(const char *text, unsigned int line, const char *word, const char *word2)
{
	struct ku_policy *p = NULL;
	char err[512] = "", where[32];

	snprintf(where, sizeof(where), "f:%u: ", line);
	if (!KTAP_CHECK(ku_policy_parse("f", text, strlen(text), &p, err) == -EINVAL, "taken: %s", text)) {
		ku_policy_free(p);
		return;
	}
	KTAP_CHECK(!strncmp(err, where, strlen(where)) && strstr(err, word) && strstr(err, word2) && !strchr(err, '\n'),
		   "'%s' lacks '%s', '%s' or '%s'", err, where, word, word2);
}

KTAP_TEST(all_that_a_rule_may_have)
{
	struct ku_policy *p = good("# a comment\nversion = 1;\ndefault = \"deny\";\ndefault_errno = \"EACCES\";\nrules = (\n"
				   "{ name = \"all\"; union = \"/m*\"; container = [ \"web\", \"3f2a\" ]; cgroup = \"/a.slice/\"; uid = ( 0, \"5-7\" );\n"
				   "  comm = \"a?\"; exe = ( \"/bin/*\", \"x\" ); path = \"/a/**\"; prefix = [ \"/b/\", \"/\" ]; min_size = \"10M\";\n"
				   "  kind = [ \"file\", \"special\" ]; action = [ \"copy-up\", \"exec\" ]; verdict = \"hold\"; errno = \"ENOSPC\"; },\n"
				   "{ name = \"least\"; action = \"modify\"; verdict = \"audit\"; }\n);\n");
	const struct ku_policy_rule *r = p->rules;

	KTAP_REQUIRE(p->nrules == 3);
	KTAP_CHECK(!strcmp(r->name, "all") && r->line == 6, "%s %u", r->name, r->line);
	KTAP_CHECK(r->unions.n == 1 && !strcmp(r->unions.v[0], "/m*"));
	KTAP_CHECK(r->containers.n == 2 && !strcmp(r->containers.v[0], "web") && !strcmp(r->containers.v[1], "3f2a"));
	KTAP_CHECK(r->cgroups.n == 1 && !strcmp(r->cgroups.v[0], "/a.slice"));
	KTAP_CHECK(r->nuids == 2 && r->uids[0].from == 0 && r->uids[0].to == 0 && r->uids[1].from == 5 && r->uids[1].to == 7);
	KTAP_CHECK(r->comms.n == 1 && r->exes.n == 2 && !strcmp(r->exes.v[1], "x") && r->paths.n == 1);
	KTAP_CHECK(r->prefixes.n == 2 && !strcmp(r->prefixes.v[0], "/b") && !strcmp(r->prefixes.v[1], ""));
	KTAP_CHECK(r->min_size == 10 << 20 && r->kinds == (1u << KU_K_FILE | 1u << KU_K_SPECIAL));
	KTAP_CHECK(r->actions == (1u << KU_A_COPY_UP | 1u << KU_A_EXEC) && r->verdict == KU_V_HOLD && r->err == ENOSPC);
	r++;
	KTAP_CHECK(!strcmp(r->name, "least") && r->line == 9 && r->actions == 1u << KU_A_MODIFY && r->verdict == KU_V_AUDIT && !r->err);
	KTAP_CHECK(!r->unions.n && !r->containers.n && !r->cgroups.n && !r->nuids && !r->comms.n && !r->exes.n && !r->paths.n && !r->prefixes.n);
	KTAP_CHECK(!r->min_size && !r->kinds);
	r++;
	KTAP_CHECK(!strcmp(r->name, "default") && r->line == 3 && r->verdict == KU_V_DENY && r->err == EACCES);
	KTAP_CHECK(r->actions == (1u << KU_A_MAX) - 1);
	ku_policy_free(p);
	p = good("version = 1; default = \"audit\"; rules = ();");
	KTAP_CHECK(p->nrules == 1 && p->rules[0].verdict == KU_V_AUDIT);
	ku_policy_free(p);
	p = good(RULE("min_size = 5000000000L; uid = 4294967295L; "));
	KTAP_CHECK(p->rules[0].min_size == 5000000000ull && p->rules[0].uids[0].to == UINT32_MAX);
	ku_policy_free(p);
	ku_policy_free(NULL);
}

KTAP_TEST(the_top)
{
	bad("", 1, "version is missing", "version = 1;");
	bad("version = 2; default = \"allow\"; rules = ();", 1, "version 1 only", "would be right");
	bad("version = \"1\"; default = \"allow\"; rules = ();", 1, "version", "version = 1;");
	bad("version = 1;\nrules = ();", 1, "default is missing", "\"deny\"");
	bad("version = 1;\ndefault = \"hold\"; rules = ();", 2, "'hold' is not known", "'allow', 'audit' or 'deny'");
	bad("version = 1;\ndefault = \"alow\"; rules = ();", 2, "'alow'", "did you mean 'allow'?");
	bad("version = 1;\n\ndefault = 1; rules = ();", 3, "default: text in quotes", "\"allow\"");
	bad("version = 1; default = \"allow\";", 1, "rules is missing", "rules = (");
	bad("version = 1; default = \"allow\";\nrules = { };", 2, "rules", "parentheses");
	bad("version = 1; default = \"allow\";\nrules = (\n1 );", 3, "braces", "{ name");
	bad("version = 1; default = \"allow\";\ndefault_errno = \"EPERM\"; rules = ();", 2, "default_errno", "leave it out");
	bad("version = 1; default = \"deny\";\ndefault_errno = \"EWHAT\"; rules = ();", 2, "'EWHAT'", "EROFS");
	bad("version = 1; default = \"deny\";\ndefault_errno = 1; rules = ();", 2, "default_errno: text in quotes", "EPERM");
	/* What later versions may have is not passed over. */
	bad("version = 1; default = \"allow\"; rules = ();\nlayers = ();", 2, "no setting 'layers'", "'version', 'default', 'default_errno'");
	bad("version = 1; default = \"allow\"; rules = ();\nrule = ();", 2, "no setting 'rule'", "did you mean 'rules'?");
}

#define NO_RULES "version = 1;\ndefault = \"allow\";\nrules = ();\n\n"
#define BUDGET(what) NO_RULES "budgets = (\n{ name = \"b\"; " what " } );\n"
#define CHARGED(what) "version = 1; default = \"allow\"; budgets = ( { name = \"b\"; files = 1; } );\nrules = (\n{ name = \"r\"; " what " } );\n"

KTAP_TEST(budgets)
{
	struct ku_policy *p = good("version = 1; default = \"audit\"; default_budget = \"two\"; keep_free = \"64M\";\n"
				   "budgets = (\n{ name = \"one\"; copy_up = \"10M\"; write = 5000000000L; files = 0; copy_ups_per_second = 7;\n"
				   "per = \"all\"; at_limit = \"audit\"; },\n{ name = \"two\"; files = 9; } );\n"
				   "rules = ( { name = \"r\"; action = \"any\"; verdict = \"allow\"; budget = \"one\"; } );\n");
	const struct ku_policy_budget *b = p->budgets;

	KTAP_REQUIRE(p->nbudgets == 2 && p->nrules == 2);
	KTAP_CHECK(!strcmp(b->name, "one") && b->line == 3 && b->all && !b->deny);
	KTAP_CHECK(b->max[KU_PL_COPIED] == 10 << 20 && b->max[KU_PL_WRITTEN] == 5000000000ull && !b->max[KU_PL_CREATED] && b->max[KU_PL_RATE] == 7);
	b++;
	KTAP_CHECK(!strcmp(b->name, "two") && !b->all && b->deny && b->max[KU_PL_CREATED] == 9);
	KTAP_CHECK(b->max[KU_PL_COPIED] == UINT64_MAX && b->max[KU_PL_WRITTEN] == UINT64_MAX && b->max[KU_PL_RATE] == UINT64_MAX);
	KTAP_CHECK(p->rules[0].budget == 1 && p->rules[1].budget == 2 && p->keep_free == 64 << 20);
	ku_policy_free(p);
	p = good(POLICY("allow", ""));
	KTAP_CHECK(!p->nbudgets && p->keep_free == UINT64_MAX && !p->rules[0].budget);
	ku_policy_free(p);

	bad(NO_RULES "budgets = { };", 5, "budgets: a list", "parentheses");
	bad(NO_RULES "budgets = (\n5 );", 6, "in braces", "");
	bad(NO_RULES "budgets = (\n{ files = 1; } );", 6, "a budget without a name", "name =");
	bad(NO_RULES "budgets = (\n{ name = \"\"; files = 1; } );", 6, "1 to 64 bytes", "");
	bad(NO_RULES "budgets = (\n{ name = 5; files = 1; } );", 6, "name: text in quotes", "");
	bad(NO_RULES "budgets = (\n{ name = \"b\"; files = 1; },\n{ name = \"b\"; files = 1; } );", 7, "budget 'b' is there already", "line 6");
	bad(BUDGET(""), 6, "budget 'b' limits nothing", "copy_up");
	bad(BUDGET("per = \"all\";"), 6, "limits nothing", "");
	bad(BUDGET("\ncopy_up = \"ten\";"), 7, "budget 'b': copy_up: a size", "\"64M\"");
	bad(BUDGET("copy_up = -1;"), 6, "copy_up: a size", "");
	bad(BUDGET("copy_up = [ 1 ];"), 6, "copy_up: a size", "");
	bad(BUDGET("files = \"9\";"), 6, "files: a number", "100");
	bad(BUDGET("files = -1;"), 6, "files: a number", "");
	bad(BUDGET("copy_ups_per_second = 0;"), 6, "a number from 1 to 1000000", "");
	bad(BUDGET("files = 1; per = \"container\";"), 6, "budget 'b': per: 'container' is not known", "'union' or 'all'");
	bad(BUDGET("files = 1; at_limit = \"allow\";"), 6, "at_limit: 'allow'", "'deny' or 'audit'");
	bad(BUDGET("files = 1; at_limit = 7;"), 6, "at_limit: text in quotes", "");
	bad(BUDGET("fils = 1;"), 6, "'fils' is not known", "did you mean 'files'?");
	bad(BUDGET("size = 1;"), 6, "'size' is not known", "'copy_up', 'write'");
	bad(CHARGED("action = \"any\"; verdict = \"allow\"; budget = \"c\";"), 3, "rule 'r': budget: there is no budget 'c'", "");
	bad(CHARGED("action = \"any\"; verdict = \"deny\"; budget = \"b\";"), 3, "rule 'r': budget is for the verdicts allow and audit", "");
	bad(CHARGED("action = [ \"exec\", \"remove\" ]; verdict = \"allow\"; budget = \"b\";"), 3, "copy-up, create and modify", "leave it out");
	bad("version = 1; default = \"allow\";\ndefault_budget = \"b\"; rules = ();", 2, "default_budget: there is no budget 'b'", "add budgets =");
	bad("version = 1; default = \"allow\"; rules = ();\nkeep_free = \"lots\";", 2, "keep_free: a size", "\"64M\"");
}

/* What is charged has to be looked at. */
KTAP_TEST(what_is_charged)
{
	static const struct {
		const char *text;
		uint32_t actions;
	} cases[] = {
		{ POLICY("allow", ""), 0 },
		{ POLICY("allow", "") "keep_free = 0;", 1u << KU_A_COPY_UP },
		{ CHARGED("action = \"any\"; verdict = \"allow\"; budget = \"b\";"), 1u << KU_A_COPY_UP | 1u << KU_A_CREATE },
		{ CHARGED("action = \"create\"; verdict = \"allow\"; budget = \"b\";"), 1u << KU_A_CREATE },
		{ "version = 1; default = \"allow\"; default_budget = \"w\"; budgets = ( { name = \"w\"; write = 1; } ); rules = ();",
		  1u << KU_A_COPY_UP | 1u << KU_A_CREATE | 1u << KU_A_MODIFY },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(cases); i++) {
		struct policy_pair t = policy_of(cases[i].text);

		KTAP_CHECK(t.pol->actions == cases[i].actions, "%s: %#x", cases[i].text, t.pol->actions);
		KTAP_CHECK(i < 2 || t.pol->rules[0].budget == 1);
		policy_done(&t);
	}
}

KTAP_TEST(syntax)
{
	char nul[] = "version = 1;\ndefault\0 = \"allow\"; rules = ();", err[512];
	struct ku_policy *p;

	bad("version = 1;\ndefault = ;", 2, "syntax error", "key = value;");
	bad("version = 1;\nversion = 1;", 2, "duplicate", "key = value;");
	bad("version = 1;\ndefault = \"allow\"; rules = (\n{ name = \"a\"; action = \"any\"\nverdict \"deny\"; } );", 4, "syntax error", "");
	bad("version = 1;\n  @include \"/etc/passwd\"\n", 2, "@include is refused", "one file");
	bad("version = 1;\n@include\t\"x\"\n", 2, "@include", "");
	KTAP_CHECK(ku_policy_parse("f", nul, sizeof(nul) - 1, &p, err) == -EINVAL && strstr(err, "f:2: a NUL byte"), "%s", err);
}

KTAP_TEST(keys)
{
	bad(RULE("\npth = \"/a\"; "), 5, "rule 'r': no key 'pth'", "did you mean 'path'?");
	bad(RULE("\nsize = 5; "), 5, "no key 'size'", "");
	bad(RULE("\nwhatever = 5; "), 5, "no key 'whatever'", "'name', 'union', 'container'");
	bad(POLICY("allow", "{ action = \"any\"; verdict = \"deny\"; }"), 4, "a rule without a name", "name = ");
	bad(POLICY("allow", "{ name = \"r\"; verdict = \"deny\"; }"), 4, "rule 'r': action is missing", "copy-up");
	bad(POLICY("allow", "\n\n{ name = \"r\"; action = \"any\"; }"), 6, "rule 'r': verdict is missing", "\"deny\"");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"deny\"; },\n{ name = \"r\"; action = \"any\"; verdict = \"deny\"; }"), 5,
	    "'r' is the name of the rule of line 4", "another");
	bad(POLICY("allow", "{ name = \"default\"; action = \"any\"; verdict = \"deny\"; }"), 4, "'default'", "another name");
	bad(POLICY("allow", "{ name = \"\"; action = \"any\"; verdict = \"deny\"; }"), 4, "name", "1 to 64 bytes");
	bad(POLICY("allow", "{ name = \"a\\nb\"; action = \"any\"; verdict = \"deny\"; }"), 4, "name", "control characters");
	bad(POLICY("allow", "{ name = 5; action = \"any\"; verdict = \"deny\"; }"), 4, "name", "text in quotes");
	bad(POLICY("allow", "{ name = [ \"a\" ]; action = \"any\"; verdict = \"deny\"; }"), 4, "name", "no list");
}

KTAP_TEST(types)
{
	bad(RULE("path = 5; "), 4, "rule 'r': path: text in quotes", "\"/etc/*.conf\"");
	bad(RULE("path = [ 1, 2 ]; "), 4, "path: text in quotes", "would be right");
	bad(RULE("path = ( \"/a\",\n( \"/b\" ) ); "), 5, "path: text in quotes", "");
	bad(RULE("path = { a = 1; }; "), 4, "path: text in quotes", "");
	bad(RULE("path = true; "), 4, "path: text in quotes", "");
	bad(RULE("path = [ ]; "), 4, "the list is empty", "leave the key out");
	bad(RULE("uid = ( ); "), 4, "the list is empty", "1000-1999");
	bad(RULE("uid = 1.5; "), 4, "uid: a number or text", "");
	bad(RULE("uid = \"\"; "), 4, "uid", "1000-1999");
	bad(RULE("uid = -1; "), 4, "0 to 4294967295", "would be right");
	bad(RULE("uid = 4294967296L; "), 4, "0 to 4294967295", "");
	bad(RULE("uid = \"4294967296\"; "), 4, "no user id", "");
	bad(RULE("uid = \"5-\"; "), 4, "'5-' is no user id", "");
	bad(RULE("uid = \"-5\"; "), 4, "no user id", "");
	bad(RULE("uid = \"root\"; "), 4, "'root' is no user id", "1000-1999");
	bad(RULE("uid = \"7-5\"; "), 4, "ends before it begins", "smaller");
	bad(RULE("min_size = \"10Q\"; "), 4, "'10Q' is no size", "\"10M\"");
	bad(RULE("min_size = -1; "), 4, "min_size", "not below 0");
	bad(RULE("min_size = [ 1 ]; "), 4, "no list", "");
	bad(RULE("kind = \"directory\"; "), 4, "'directory' is not known", "'dir'");
	bad(RULE("kind = \"fiel\"; "), 4, "'fiel'", "did you mean 'file'?");
	bad(POLICY("allow", "{ name = \"r\"; action = \"write\"; verdict = \"deny\"; }"), 4, "'write' is not known", "'copy-up', 'create'");
	bad(POLICY("allow", "{ name = \"r\"; action = \"copyup\"; verdict = \"deny\"; }"), 4, "'copyup'", "did you mean 'copy-up'?");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"reject\"; }"), 4, "'reject' is not known", "'allow', 'audit', 'deny' or 'hold'");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = [ \"deny\" ]; }"), 4, "verdict", "no list");
	bad(RULE("errno = \"EROFSX\"; "), 4, "'EROFSX' is no error's name", "EROFS");
	bad(RULE("errno = 30; "), 4, "errno: text in quotes", "EACCES");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"allow\"; errno = \"EROFS\"; }"), 4, "errno is for", "leave it out");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"deny\"; limit = 3; }"), 4, "limit and otherwise are for", "leave them out");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"audit\"; otherwise = \"deny\"; }"), 4, "limit and otherwise are for",
	    "leave them out");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"hold\"; limit = 0; }"), 4, "seconds from 1 to 3600", "30 would be right");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"hold\"; limit = 3601; }"), 4, "seconds from 1 to 3600", "30 would be right");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"hold\"; limit = \"soon\"; }"), 4, "seconds from 1 to 3600", "30 would be right");
	bad(POLICY("allow", "{ name = \"r\"; action = \"any\"; verdict = \"hold\"; otherwise = \"audit\"; }"), 4, "'audit' is not known", "'deny' or 'allow'");
}

KTAP_TEST(values_that_would_never_do)
{
	bad(RULE("path = \"\"; "), 4, "path: '' is empty", "/var/log/**");
	bad(RULE("path = \"/a//b\"; "), 4, "two slashes", "write one");
	bad(RULE("path = \"/a/../b\"; "), 4, "'..'", "without");
	bad(RULE("path = \"./b\"; "), 4, "'.'", "without");
	bad(RULE("path = \"/a/\"; "), 4, "ends with a slash", "'**'");
	bad(RULE("path = \"/a\\\\\"; "), 4, "lone backslash", "twice");
	bad(RULE("path = \"/[ab]\"; "), 4, "'['", "list of globs");
	bad(RULE("path = \"/{a,b}\"; "), 4, "'{'", "list of globs");
	bad(RULE("exe = \"/usr//bin\"; "), 4, "exe: ", "two slashes");
	bad(RULE("union = \"/m/\"; "), 4, "union: ", "ends with a slash");
	bad(RULE("comm = \"\"; "), 4, "comm: ", "is empty");
	bad(RULE("comm = \"sixteen-letters-\"; "), 4, "longer than the kernel keeps", "15 bytes");
	bad(RULE("comm = \"[kworker]\"; "), 4, "comm: ", "'['");
	bad(RULE("prefix = \"a\"; "), 4, "prefix: 'a' does not begin with a slash", "whole path");
	bad(RULE("prefix = \"/a*\"; "), 4, "taken as it is", "path instead of prefix");
	bad(RULE("prefix = \"/a/.\"; "), 4, "prefix", "'.'");
	bad(RULE("cgroup = \"a.slice\"; "), 4, "cgroup: ", "/proc/PID/cgroup");
	bad(RULE("container = \"\"; "), 4, "container: ", "is empty");
	bad(RULE("container = \"3f2a*\"; "), 4, "container: ", "beginning of an id");
	bad(RULE("container = \"docker-3f2a1b0c4d5e.scope\"; "), 4, "is the name of a cgroup", "alone");
	bad(RULE("container = \"lxc.payload.web\"; "), 4, "is the name of a cgroup", "");
	bad(RULE("container = \"a/b\"; "), 4, "container: ", "no container's name");
	ku_policy_free(good(RULE("path = [ \"/a\\\\[b\", \"/\\\\{\", \"/a\\\\\\\\\", \"/...\", \"/a/.b\", \"/\" ]; ")));
	ku_policy_free(good(RULE("comm = [ \"fifteen-letters\", \"sixteen-letters-*\" ]; ")));
}

/* A message is one line, whatever is in the file or its name. */
KTAP_TEST(messages_are_one_line)
{
	_cleanup_free_ char *name = malloc(5000), *text = NULL;
	struct ku_policy *p;
	char err[512];

	KTAP_REQUIRE(name);
	memset(name, 'n', 4999);
	name[4999] = '\0';
	name[3] = '\n';
	KTAP_REQUIRE(asprintf(&text, "version = 1;\n%s = 1;", name + 4) > 0);
	KTAP_CHECK(ku_policy_parse(name, text, strlen(text), &p, err) == -EINVAL && strlen(err) < 512 && !strchr(err, '\n'), "%s", err);
	bad(RULE("path = \"/a\\n//\\x1b[1m\"; "), 4, "two slashes", "?");
}

KTAP_TEST(files)
{
	char file[] = "/tmp/kunion-policy-XXXXXX", err[512] = "";
	int fd = mkstemp(file);
	struct ku_policy *p;

	KTAP_REQUIRE(fd >= 0 && write(fd, RULE(""), strlen(RULE(""))) > 0);
	KTAP_CHECK(!ku_policy_load(file, &p, err) && p->nrules == 2, "%s", err);
	ku_policy_free(p);
	KTAP_REQUIRE(!ftruncate(fd, (4 << 20) + 1));
	KTAP_CHECK(ku_policy_load(file, &p, err) == -EFBIG && strstr(err, file) && strstr(err, "4M"), "%s", err);
	close(fd);
	unlink(file);
	KTAP_CHECK(ku_policy_load(file, &p, err) == -ENOENT && strstr(err, file) && strstr(err, "No such file"), "%s", err);
	KTAP_CHECK(ku_policy_load("/tmp", &p, err) == -EISDIR && strstr(err, "directory"), "%s", err);
}

KTAP_TEST(words)
{
	KTAP_CHECK(ku_pol_errno(0, KU_A_COPY_UP) == EROFS && ku_pol_errno(0, KU_A_CREATE) == EROFS && ku_pol_errno(0, KU_A_REMOVE) == EPERM);
	KTAP_CHECK(ku_pol_errno(0, KU_A_EXEC) == EPERM && ku_pol_errno(ENOSPC, KU_A_COPY_UP) == ENOSPC);
	KTAP_CHECK(!strcmp(ku_pol_action_name(KU_A_REMOVE_UPPER), "remove-upper") && !*ku_pol_action_name(KU_A_MAX));
	KTAP_CHECK(!strcmp(ku_pol_verdict_name(KU_V_HOLD), "hold") && !strcmp(ku_pol_kind_name(KU_K_SYMLINK), "symlink"));
}

KTAP_MAIN()
