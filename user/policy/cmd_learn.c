// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy learn: the tightest policy that allows what was seen, written to stdout. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "log.h"
#include "policy/policy_cmd.h"
#include "policy/policy_learn.h"
#include "util.h"

/* From many globs to few, until the policy fits into the tables. */
static const struct ku_learn_limits ku_learn_steps[] = {
	{ .names = 8, .dirs = 8, .below = 32 },
	{ .names = 4, .dirs = 4, .below = 12 },
	{ .names = 2, .dirs = 2, .below = 4 },
};

/* Deeper than this a path is left out: the kernel tells no deeper one. */
#define KU_LEARN_DEPTH 128

/* What was renamed. */
struct ku_learn_move {
	char *from, *to;
	bool dir;
};

struct ku_learn {
	const struct ku_policy_args *args;
	struct ku_map paths; /* struct ku_learn_seen */
	struct ku_map comms; /* no items: equal names are one */
	struct ku_learn_move *moves;
	size_t nmoves;
	char *union_glob;    /* NULL: of any union */
	struct ku_pol_untold untold;
	uint64_t events, too_deep;
};

/* A glob and what was seen of it, in the order in which they are written. */
struct ku_learn_line {
	char *glob;
	const struct ku_learn_seen *seen;
};

struct ku_learn_lines {
	struct ku_learn_line *v;
	size_t n, room;
};

static int ku_learn_move(struct ku_learn *l, const char *from, const char *to, bool dir)
{
	struct ku_learn_move *v, *m;

	for (size_t i = 0; i < l->nmoves; i++)
		if (!strcmp(l->moves[i].from, from) && !strcmp(l->moves[i].to, to))
			return 0;
	v = reallocarray(l->moves, l->nmoves + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	l->moves = v;
	m = &v[l->nmoves++];
	m->from = strdup(from);
	m->to = strdup(to);
	m->dir = dir;
	return m->from && m->to ? 0 : -ENOMEM;
}

static int ku_learn_event(void *arg, const struct ku_pol_seen *s)
{
	struct ku_learn_seen seen = { .actions = 1u << s->op.action, .events = 1 };
	struct ku_learn *l = arg;
	size_t depth = 0;
	void *item;
	int err;

	if (s->unsure && !(s->from && s->op.kind == KU_K_DIR))
		seen.actions |= 1u << KU_A_REMOVE | 1u << KU_A_REMOVE_UPPER;
	for (const char *c = s->op.path; *c; c++)
		depth += *c == '/';
	if (depth > KU_LEARN_DEPTH) {
		l->too_deep++;
		return 0;
	}
	err = ku_map_get(&l->comms, s->op.comm, strlen(s->op.comm), &item, &seen.comms[0], NULL);
	if (!err)
		err = ku_map_get(&l->paths, s->op.path, strlen(s->op.path), &item, NULL, NULL);
	if (!err && s->from)
		err = ku_learn_move(l, s->from, s->op.path, s->op.kind == KU_K_DIR);
	if (err)
		return err;
	ku_learn_merge(item, &seen);
	l->events++;
	return 0;
}

static const char *ku_learn_part(const struct ku_learn_node *n, const struct ku_learn_node *at)
{
	return at != n && at->below ? at->below : at->glob;
}

/* The glob of a node, from the root. */
static char *ku_learn_glob(const struct ku_learn_node *n)
{
	size_t len = 1;
	char *glob, *to;

	for (const struct ku_learn_node *at = n; at->parent; at = at->parent)
		len += strlen(ku_learn_part(n, at)) + 1;
	glob = malloc(len + 1);
	if (!glob)
		return NULL;
	to = glob + len;
	*to = '\0';
	for (const struct ku_learn_node *at = n; at->parent; at = at->parent) {
		const char *part = ku_learn_part(n, at);

		to -= strlen(part);
		memcpy(to, part, strlen(part));
		*--to = '/';
	}
	if (!n->parent)
		*--to = '/';
	memmove(glob, to, strlen(to) + 1);
	return glob;
}

static int ku_learn_collect(const struct ku_learn_node *n, struct ku_learn_lines *lines)
{
	int err = 0;

	if (n->seen.actions) {
		if (lines->n == lines->room) {
			size_t room = lines->room ? lines->room * 2 : 64;
			struct ku_learn_line *v = reallocarray(lines->v, room, sizeof(*v));

			if (!v)
				return -ENOMEM;
			lines->v = v;
			lines->room = room;
		}
		lines->v[lines->n] = (struct ku_learn_line){ ku_learn_glob(n), &n->seen };
		if (!lines->v[lines->n].glob)
			return -ENOMEM;
		lines->n++;
	}
	for (const struct ku_learn_node *c = n->child; c && !err; c = c->next)
		err = ku_learn_collect(c, lines);
	return err;
}

/* What was done alike is one rule; in it by path. */
static int ku_learn_line_cmp(const void *a, const void *b)
{
	const struct ku_learn_line *x = a, *y = b;

	if (x->seen->actions != y->seen->actions)
		return x->seen->actions < y->seen->actions ? -1 : 1;
	return strcmp(x->glob, y->glob);
}

/* Text in quotes, as libconfig reads it. */
static void ku_learn_quote(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else if (*c < 0x20 || *c == 0x7f)
			fprintf(out, "\\x%02x", *c);
		else
			fputc(*c, out);
	fputc('"', out);
}

/* "12 events: dpkg, tar, .." */
static void ku_learn_comment(FILE *out, const struct ku_learn_seen *s)
{
	fprintf(out, "# %llu event%s", (unsigned long long)s->events, s->events == 1 ? "" : "s");
	for (size_t i = 0; i < KU_LEARN_COMMS && s->comms[i]; i++) {
		fputs(i ? ", " : ": ", out);
		for (const unsigned char *c = (const unsigned char *)s->comms[i]; *c; c++)
			fputc(*c < 0x20 || *c == 0x7f ? '?' : *c, out);
	}
	fputs(s->more_comms ? ", ..\n" : "\n", out);
}

static void ku_learn_write_rule(FILE *out, const struct ku_learn *l, const struct ku_learn_line *lines, size_t n, unsigned int number)
{
	uint32_t actions = lines[0].seen->actions;
	struct ku_learn_seen all = { 0 };
	const char *comma = "";

	for (size_t i = 0; i < n; i++)
		ku_learn_merge(&all, lines[i].seen);
	fputs("\t", out);
	ku_learn_comment(out, &all);
	fprintf(out, "\t{\n\t\tname = \"learned-%u\";\n", number);
	if (l->union_glob) {
		fputs("\t\tunion = ", out);
		ku_learn_quote(out, l->union_glob);
		fputs(";\n", out);
	}
	if (l->args->container) {
		fputs("\t\tcontainer = ", out);
		ku_learn_quote(out, l->args->container);
		fputs(";\n", out);
	}
	fputs("\t\taction = [ ", out);
	for (unsigned int a = 0; a < KU_A_MAX; a++)
		if (actions & 1u << a) {
			fprintf(out, "%s\"%s\"", comma, ku_pol_action_name((enum ku_pol_action)a));
			comma = ", ";
		}
	fputs(" ];\n\t\tpath = [\n", out);
	for (size_t i = 0; i < n; i++) {
		fputs("\t\t\t", out);
		ku_learn_quote(out, lines[i].glob);
		fputs(i + 1 < n ? ", " : " ", out);
		ku_learn_comment(out, lines[i].seen);
	}
	fputs("\t\t];\n\t\tverdict = \"allow\";\n\t}", out);
}

static void ku_learn_write(FILE *out, const struct ku_learn *l, const struct ku_learn_lines *lines)
{
	unsigned int rules = 0;

	fprintf(out, "# Learned from %llu event%s; allows what was seen, and refuses all else.\n", (unsigned long long)l->events,
		l->events == 1 ? "" : "s");
	fputs("# Behind each path: how many events it covers, and who was first to cause them.\n", out);
	fputs("version = 1;\ndefault = \"deny\";\nrules = (\n", out);
	for (size_t i = 0, end; i < lines->n; i = end) {
		for (end = i + 1; end < lines->n && lines->v[end].seen->actions == lines->v[i].seen->actions; end++)
			;
		if (i)
			fputs(",\n", out);
		ku_learn_write_rule(out, l, lines->v + i, end - i, ++rules);
	}
	fputs("\n);\n", out);
}

/* Each path with each action seen, by the policy as it will be read. 0; -E2BIG; -EINVAL with a line in err. */
static int ku_learn_prove(const struct ku_learn *l, const char *text, size_t len, char err[static 512])
{
	_cleanup_free_ struct ku_pol *pol = malloc(sizeof(*pol));
	struct ku_policy *p = NULL;
	int r = pol ? ku_policy_parse("learned", text, len, &p, err) : -ENOMEM;

	if (!r)
		r = ku_policy_compile(p, pol, err);
	for (size_t i = 0; i < l->paths.n && !r; i++) {
		const struct ku_learn_seen *seen = l->paths.entries[i].item;

		for (unsigned int a = 0; a < KU_A_MAX; a++) {
			struct ku_pol_op op = { .action = (enum ku_pol_action)a, .path = l->paths.entries[i].key, .exe = "", .comm = "",
						.union_path = l->args->union_path ?: "" };
			_cleanup_free_ char *cgroup = NULL;

			if (!(seen->actions & 1u << a))
				continue;
			/* Any cgroup of the container will do. */
			if (asprintf(&cgroup, "/lxc.payload.%s", l->args->container ?: "") < 0) {
				r = -ENOMEM;
				break;
			}
			op.cgroup = cgroup;
			if (p->rules[ku_policy_match(p, &op)].verdict == KU_V_ALLOW)
				continue;
			snprintf(err, 512, "%s of %.200s would not be allowed by what was learned", ku_pol_action_name(op.action), op.path);
			r = -EINVAL;
			break;
		}
	}
	ku_policy_free(p);
	return r;
}

/* As a tree has them: a directory, all below it, and then the name that comes behind it. */
static int ku_learn_path_cmp(const void *a, const void *b)
{
	const unsigned char *x = (const unsigned char *)((const struct ku_map_entry *)a)->key;
	const unsigned char *y = (const unsigned char *)((const struct ku_map_entry *)b)->key;

	for (; *x && *x == *y; x++, y++)
		;
	/* A slash is before all else but the end. */
	return (*x == '/' ? 1 : *x ? *x + 1 : 0) - (*y == '/' ? 1 : *y ? *y + 1 : 0);
}

/* The text of a policy by these limits, allocated. 0 or -ENOMEM. */
static int ku_learn_text(const struct ku_learn *l, const struct ku_learn_limits *limits, char **ret, size_t *ret_len)
{
	struct ku_learn_node root = { 0 };
	struct ku_learn_lines lines = { 0 };
	char *text = NULL;
	FILE *out;
	int err = 0;

	for (size_t i = 0; i < l->paths.n && !err; i++)
		err = ku_learn_add(&root, l->paths.entries[i].key, l->paths.entries[i].item);
	for (size_t i = 0; i < l->nmoves && !err; i++)
		if (l->moves[i].dir && !ku_learn_moved(&root, l->moves[i].from, l->moves[i].to, &err))
			ku_warn("policy: what may be in %s and in %s is not the same: the policy refuses to rename the directory (EXDEV)",
				l->moves[i].from, l->moves[i].to);
	if (!err)
		err = ku_learn_generalise(&root, limits);
	if (!err)
		err = ku_learn_collect(&root, &lines);
	out = err ? NULL : open_memstream(&text, ret_len);
	if (out) {
		if (lines.n)
			qsort(lines.v, lines.n, sizeof(*lines.v), ku_learn_line_cmp);
		ku_learn_write(out, l, &lines);
	}
	if (!err && (!out || fclose(out) == EOF)) {
		free(text);
		err = -ENOMEM;
	}
	for (size_t i = 0; i < lines.n; i++)
		free(lines.v[i].glob);
	free(lines.v);
	ku_learn_free(&root);
	if (!err)
		*ret = text;
	return err;
}

static bool ku_learn_allows(const struct ku_policy *p, const struct ku_learn *l, enum ku_pol_action action, const char *path, const char *cgroup)
{
	struct ku_pol_op op = { .action = action, .path = path, .exe = "", .comm = "", .cgroup = cgroup, .union_path = l->args->union_path ?: "" };

	return p->rules[ku_policy_match(p, &op)].verdict == KU_V_ALLOW;
}

/*
 * Who may not change or run a file does not get it under a name where he may (kunion-policy(5)): what is allowed where a file came to be by a rename
 * has to be allowed where it came from. Into l; *ret: there was something to add.
 */
static int ku_learn_carry(struct ku_learn *l, const char *text, size_t len, bool *ret, char err[static 512])
{
	static const enum ku_pol_action carried[] = { KU_A_MODIFY, KU_A_EXEC };
	_cleanup_free_ char *cgroup = NULL;
	struct ku_policy *p = NULL;
	int r = ku_policy_parse("learned", text, len, &p, err);

	*ret = false;
	if (!r && asprintf(&cgroup, "/lxc.payload.%s", l->args->container ?: "") < 0)
		r = -ENOMEM;
	for (size_t i = 0; i < l->nmoves && !r; i++)
		for (size_t a = 0; a < KU_ARRAY_SIZE(carried) && !l->moves[i].dir; a++) {
			const struct ku_map_entry from = { .key = l->moves[i].from };
			struct ku_map_entry *e = bsearch(&from, l->paths.entries, l->paths.n, sizeof(*l->paths.entries), ku_learn_path_cmp);

			if (!e || !ku_learn_allows(p, l, carried[a], l->moves[i].to, cgroup) ||
			    ku_learn_allows(p, l, carried[a], l->moves[i].from, cgroup))
				continue;
			((struct ku_learn_seen *)e->item)->actions |= 1u << carried[a];
			*ret = true;
		}
	ku_policy_free(p);
	return r;
}

static int ku_learn_out(struct ku_learn *l)
{
	char err[512] = "no memory";

	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_learn_steps);) {
		_cleanup_free_ char *text = NULL;
		bool more = false;
		size_t len = 0;
		int r = ku_learn_text(l, &ku_learn_steps[i], &text, &len);

		if (!r)
			r = ku_learn_prove(l, text, len, err);
		if (!r)
			r = ku_learn_carry(l, text, len, &more, err);
		/* It ends: there are but so many paths, each with two of these. */
		if (!r && more)
			continue;
		if (!r) {
			fwrite(text, 1, len, stdout);
			return ku_pol_printed(KU_EXIT_OK);
		}
		if (r != -E2BIG)
			break;
		i++;
	}
	ku_err("policy: %s: nothing was learned: %s", l->args->from, err);
	return KU_EXIT_FAIL;
}

int ku_policy_cmd_learn(const struct ku_policy_args *a)
{
	struct ku_learn l = { .args = a, .paths = KU_MAP(struct ku_learn_seen, 0), .comms = KU_MAP(uint32_t, 0) };
	int status;

	if (a->union_path && !(l.union_glob = ku_learn_literal(a->union_path, strlen(a->union_path)))) {
		ku_err("policy: no memory");
		return KU_EXIT_USAGE;
	}
	status = ku_pol_events_read(a, ku_learn_event, &l, &l.untold);

	if (status == KU_EXIT_OK && l.untold.no_path + l.too_deep)
		ku_warn("policy: %s: %llu operations have no path, or one that is too deep: no rule can be learned from them", a->from,
			(unsigned long long)(l.untold.no_path + l.too_deep));
	if (status == KU_EXIT_OK && l.untold.lost)
		ku_warn("policy: %s: %llu events were lost when it was recorded: what they told is not allowed", a->from, (unsigned long long)l.untold.lost);
	if (status == KU_EXIT_OK && !l.events) {
		ku_err("policy: %s: no operation to learn from; 'kunion trace --json --writes' records them", a->from);
		status = KU_EXIT_FAIL;
	} else if (status == KU_EXIT_OK) {
		/* The map is only walked from here on. */
		qsort(l.paths.entries, l.paths.n, sizeof(*l.paths.entries), ku_learn_path_cmp);
		status = ku_learn_out(&l);
	}
	ku_map_free(&l.paths);
	ku_map_free(&l.comms);
	for (size_t i = 0; i < l.nmoves; i++) {
		free(l.moves[i].from);
		free(l.moves[i].to);
	}
	free(l.moves);
	free(l.union_glob);
	return status;
}
