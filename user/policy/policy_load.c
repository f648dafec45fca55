// SPDX-License-Identifier: GPL-2.0-only
/* A policy file, read by libconfig and taken apart setting by setting. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "opts.h"
#include "policy/policy_load.h"
#include "util.h"

#define KU_POL_FILE_MAX (4u << 20)
/* Errors are below this in the kernel. */
#define KU_ERRNO_MAX 4095

static const char *const ku_default_words[] = { "allow", "audit", "deny", NULL };
static const char *const ku_top_words[] = { "version", "default", "default_errno", "default_budget", "rules", "budgets", "keep_free", NULL };

int ku_pol_fail(struct ku_pol_src *s, unsigned int line, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(s->err, 512, "%.200s:%u: ", s->file, line);

	va_start(ap, fmt);
	vsnprintf(s->err + n, 512 - (size_t)n, fmt, ap);
	va_end(ap);
	for (char *c = s->err; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return -EINVAL;
}

/* Letters to change, add, leave out; up to max, beyond it anything. */
static size_t ku_distance(const char *a, const char *b)
{
	size_t row[32], n = strlen(b);

	if (n >= KU_ARRAY_SIZE(row) || strlen(a) >= KU_ARRAY_SIZE(row))
		return KU_ARRAY_SIZE(row);
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; *a; a++, i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = corner + (*a != b[j - 1]);

			corner = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *ku_pol_near(const char *text, const char *const *words)
{
	const char *near = NULL;
	size_t best = 3;

	for (; *words; words++) {
		size_t d = ku_distance(text, *words);

		/* Not everything is like a short word. */
		if (d < best && d < strlen(*words) / 2 + 1) {
			best = d;
			near = *words;
		}
	}
	return near;
}

void ku_pol_words(const char *const *words, char *text, size_t size)
{
	size_t n = 0;

	*text = '\0';
	for (size_t i = 0; words[i] && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, "%s'%s'", !i ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

int ku_pol_word(struct ku_pol_src *s, unsigned int line, const char *key, const char *text, const char *const *words)
{
	const char *near = ku_pol_near(text, words);
	char all[200];

	for (int i = 0; words[i]; i++)
		if (!strcmp(text, words[i]))
			return i;
	ku_pol_words(words, all, sizeof(all));
	return near ? ku_pol_fail(s, line, "%s: '%.100s' is not known; did you mean '%s'?", key, text, near) :
		      ku_pol_fail(s, line, "%s: '%.100s' is not known; %s would be right", key, text, all);
}

int ku_pol_errno_number(const char *name, int *ret)
{
	for (int e = 1; e <= KU_ERRNO_MAX; e++) {
		const char *known = strerrorname_np(e);

		if (known && !strcmp(known, name)) {
			*ret = e;
			return 0;
		}
	}
	return -EINVAL;
}

int ku_pol_errno_of(struct ku_pol_src *s, unsigned int line, const char *key, const char *text, int *ret)
{
	if (!ku_pol_errno_number(text, ret))
		return 0;
	return ku_pol_fail(s, line, "%s: '%.100s' is no error's name; \"EROFS\", \"EPERM\" or another of errno(3) would be right", key, text);
}

/* The text of a top-level setting. NULL with the error written: it is none. */
static const char *ku_top_text(struct ku_pol_src *s, const config_setting_t *setting, const char *right)
{
	if (config_setting_type(setting) == CONFIG_TYPE_STRING)
		return config_setting_get_string(setting);
	ku_pol_fail(s, config_setting_source_line(setting), "%s: text in quotes is expected; \"%s\" would be right", config_setting_name(setting),
		    right);
	return NULL;
}

static int ku_top_version(struct ku_pol_src *s, config_setting_t *setting)
{
	if (!setting)
		return ku_pol_fail(s, 1, "version is missing; add version = 1;");
	if (config_setting_type(setting) != CONFIG_TYPE_INT || config_setting_get_int(setting) != 1)
		return ku_pol_fail(s, config_setting_source_line(setting), "version: this kunion reads version 1 only; version = 1; would be right");
	return 0;
}

/* The default, as the rule that comes last. */
static int ku_top_default(struct ku_pol_src *s, const config_t *cfg, struct ku_policy_rule *r)
{
	config_setting_t *setting = config_lookup(cfg, "default"), *code = config_lookup(cfg, "default_errno");
	config_setting_t *budget = config_lookup(cfg, "default_budget");
	const char *text;
	int n;

	if (!setting)
		return ku_pol_fail(s, 1, "default is missing; add default = \"allow\", \"audit\" or \"deny\": what is done when no rule fits");
	text = ku_top_text(s, setting, "allow");
	if (!text)
		return -EINVAL;
	n = ku_pol_word(s, config_setting_source_line(setting), "default", text, ku_default_words);
	if (n < 0)
		return n;
	r->line = config_setting_source_line(setting);
	r->verdict = (enum ku_pol_verdict)n;
	r->actions = (1u << KU_A_MAX) - 1;
	r->name = strdup("default");
	if (!r->name)
		return -ENOMEM;
	if (budget) {
		text = ku_top_text(s, budget, "a budget's name");
		if (!text)
			return -EINVAL;
		r->budget = ku_pol_budget_of(s, config_setting_source_line(budget), "default_budget", text);
		if (!r->budget)
			return -EINVAL;
		n = ku_pol_budget_fits(s, r);
		if (n)
			return n;
	}
	if (!code)
		return 0;
	text = ku_top_text(s, code, "EPERM");
	if (!text)
		return -EINVAL;
	if (r->verdict != KU_V_DENY)
		return ku_pol_fail(s, config_setting_source_line(code), "default_errno is for default = \"deny\"; leave it out");
	return ku_pol_errno_of(s, config_setting_source_line(code), "default_errno", text, &r->err);
}

static int ku_top_keep_free(struct ku_pol_src *s, config_setting_t *setting)
{
	long long n = setting ? config_setting_get_int64(setting) : 0;
	int type = setting ? config_setting_type(setting) : CONFIG_TYPE_NONE;

	s->p->keep_free = UINT64_MAX;
	if (!setting)
		return 0;
	if (type == CONFIG_TYPE_STRING && !ku_parse_size(config_setting_get_string(setting), &s->p->keep_free))
		return 0;
	if ((type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) || n < 0)
		return ku_pol_fail(s, config_setting_source_line(setting), "keep_free: a size is expected; 0 or \"64M\" would be right");
	s->p->keep_free = (uint64_t)n;
	return 0;
}

static int ku_top_rules(struct ku_pol_src *s, config_setting_t *rules)
{
	for (int i = 0; i < config_setting_length(rules); i++) {
		config_setting_t *group = config_setting_get_elem(rules, (unsigned int)i);
		int err;

		if (!config_setting_is_group(group))
			return ku_pol_fail(s, config_setting_source_line(group), "rules: a rule is written in braces: { name = \"..\"; .. }");
		/* Counted before it is filled, so that it is freed whatever happens. */
		err = ku_pol_rule(s, group, &s->p->rules[s->p->nrules++]);
		if (err)
			return err;
	}
	return 0;
}

static int ku_top_known(struct ku_pol_src *s, const config_setting_t *root)
{
	for (int i = 0; i < config_setting_length(root); i++) {
		const config_setting_t *setting = config_setting_get_elem(root, (unsigned int)i);
		const char *name = config_setting_name(setting), *near = ku_pol_near(name, ku_top_words);
		char all[160];
		size_t j = 0;

		while (ku_top_words[j] && strcmp(name, ku_top_words[j]))
			j++;
		if (ku_top_words[j])
			continue;
		ku_pol_words(ku_top_words, all, sizeof(all));
		return near ? ku_pol_fail(s, config_setting_source_line(setting), "no setting '%.100s'; did you mean '%s'?", name, near) :
			      ku_pol_fail(s, config_setting_source_line(setting), "no setting '%.100s'; a policy has %s", name, all);
	}
	return 0;
}

static int ku_pol_read(struct ku_pol_src *s, const config_t *cfg)
{
	config_setting_t *root = config_root_setting(cfg), *rules = config_setting_get_member(root, "rules");
	int err = ku_top_known(s, root);

	if (!err)
		err = ku_top_version(s, config_setting_get_member(root, "version"));
	if (!err)
		err = ku_top_keep_free(s, config_setting_get_member(root, "keep_free"));
	/* Before the rules, which name them. */
	if (!err)
		err = ku_pol_budgets(s, config_setting_get_member(root, "budgets"));
	if (err)
		return err;
	if (!rules)
		return ku_pol_fail(s, 1, "rules is missing; add rules = ( { name = \"..\"; .. }, .. );");
	if (!config_setting_is_list(rules))
		return ku_pol_fail(s, config_setting_source_line(rules), "rules: a list in parentheses is expected: ( { name = \"..\"; .. }, .. )");
	s->p->rules = calloc((size_t)config_setting_length(rules) + 1, sizeof(*s->p->rules));
	if (!s->p->rules)
		return -ENOMEM;
	err = ku_top_rules(s, rules);
	return err ? err : ku_top_default(s, cfg, &s->p->rules[s->p->nrules++]);
}

/* What libconfig would not tell: a NUL ends its text, and other files are not this policy's. */
static int ku_pol_look(struct ku_pol_src *s, const char *text, size_t len)
{
	unsigned int line = 1;

	for (const char *at = text; at < text + len; line++) {
		const char *end = memchr(at, '\n', (size_t)(text + len - at));

		if (!end)
			end = text + len;
		if (memchr(at, '\0', (size_t)(end - at)))
			return ku_pol_fail(s, line, "a NUL byte; a policy is text");
		if (!strncmp(at + strspn(at, " \t"), "@include", 8))
			return ku_pol_fail(s, line, "@include is refused: a policy is one file; write its rules here");
		at = end + 1;
	}
	return 0;
}

static int ku_pol_parse(struct ku_pol_src *s, const char *text, size_t len)
{
	config_t cfg;
	int err = ku_pol_look(s, text, len);

	if (err)
		return err;
	config_init(&cfg);
	if (config_read_string(&cfg, text) == CONFIG_TRUE)
		err = ku_pol_read(s, &cfg);
	else
		err = ku_pol_fail(s, (unsigned int)config_error_line(&cfg), "%s; settings are written as key = value; and rules as ( { .. }, { .. } )",
				  config_error_text(&cfg) ? config_error_text(&cfg) : "not a policy");
	config_destroy(&cfg);
	return err;
}

int ku_policy_parse(const char *file, const char *text, size_t len, struct ku_policy **ret, char err[static 512])
{
	struct ku_policy *p = calloc(1, sizeof(*p));
	struct ku_pol_src s = { .file = file, .err = err, .p = p, .names = KU_MAP(unsigned int, 0), .budgets = KU_MAP(size_t, 0) };
	int r = p ? ku_pol_parse(&s, text, len) : -ENOMEM;

	ku_map_free(&s.names);
	ku_map_free(&s.budgets);
	if (r)
		ku_policy_free(p);
	else
		*ret = p;
	if (r == -ENOMEM)
		snprintf(err, 512, "%.200s: no memory", file);
	return r;
}

static int ku_pol_slurp(const char *file, char **ret, size_t *ret_len)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	struct stat st;
	char *text;
	size_t n;

	if (!f || fstat(fileno(f), &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	text = malloc(KU_POL_FILE_MAX + 2);
	if (!text)
		return -ENOMEM;
	n = fread(text, 1, KU_POL_FILE_MAX + 1, f);
	if (ferror(f) || n > KU_POL_FILE_MAX) {
		free(text);
		return n > KU_POL_FILE_MAX ? -EFBIG : -EIO;
	}
	text[n] = '\0';
	*ret = text;
	*ret_len = n;
	return 0;
}

int ku_policy_load(const char *file, struct ku_policy **ret, char err[static 512])
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = ku_pol_slurp(file, &text, &len);

	if (!r)
		return ku_policy_parse(file, text, len, ret, err);
	snprintf(err, 512, "%.200s: %s", file, r == -EFBIG ? "larger than 4M, which no policy is" : strerror(-r));
	return r;
}
