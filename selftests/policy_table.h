/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tables of operations share: every action by every subject, and on every kind of object, each with a case beside it that the rule does not fit.
 * A row's file is t/ASKS/ACTION/VERDICT/yes or no; what a verdict is, the table says.
 */
#ifndef POLICY_TABLE_H
#define POLICY_TABLE_H

#include "policy.h"

#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PROGRAM FX_DIR "/table-program"
#define LARGE FX_MB(1)

enum action { COPY_UP, CREATE, REMOVE, REMOVE_UPPER, MODIFY, EXEC, ACTIONS };
static const char *const action_names[ACTIONS] = { "copy-up", "create", "remove", "remove-upper", "modify", "exec" };

/* What a rule asks for, and who or what fits it; beside it "no", which does not. */
struct asks {
	const char *name, *rule, *rule_no; /* rule_no: the subject is not the task: what the rule for "no" asks instead */
	uid_t uid;
	const char *comm, *cgroup;
	bool program; /* the task runs PROGRAM */
	bool size;    /* the file is large */
	bool dir;     /* the object is a directory */
	unsigned int actions; /* bits: those that there is an object for; 0: all */
};

#define BIT(a) (1u << (a))

static const struct asks all_asks[] = {
	{ .name = "any", .rule = "" },
	{ .name = "union", .rule = "union = \"" FX_DIR "/**\";", .rule_no = "union = \"/elsewhere/**\";" },
	{ .name = "container", .rule = "container = \"0123456789ab\";", .cgroup = "kutable/docker-" CONTAINER ".scope" },
	{ .name = "cgroup", .rule = "cgroup = \"/kutable2\";", .cgroup = "kutable2/below" },
	{ .name = "uid", .rule = "uid = \"1000-1999\";", .uid = 1500 },
	{ .name = "comm", .rule = "comm = \"evil*\";", .comm = "evil-one" },
	{ .name = "exe", .rule = "exe = \"" PROGRAM "\";", .program = true },
	{ .name = "size", .rule = "min_size = \"1M\";", .size = true, .actions = ~BIT(CREATE) },
	{ .name = "kind", .rule = "kind = \"dir\";", .dir = true, .actions = BIT(COPY_UP) | BIT(CREATE) | BIT(REMOVE) | BIT(REMOVE_UPPER) },
	{ .name = "glob", .rule = "path = \"/t/gl?b/**/y*s\";" },
	{ .name = "several", .rule = "uid = 1500; comm = [ \"x\", \"evil?one\" ]; kind = [ \"file\", \"dir\" ];", .uid = 1500, .comm = "evil-one" },
};
#define NASKS (sizeof(all_asks) / sizeof(all_asks[0]))

/* One operation. */
struct row {
	const struct asks *asks;
	enum action action;
	int verdict;
	bool yes; /* the rule fits */
	const char *name;
	int told, asked; /* events of it */
	bool wrong;
};

static struct row rows[2048];
static unsigned int nrows;

static inline bool is_there(const struct asks *asks, int action)
{
	return !asks->actions || asks->actions & BIT(action);
}

/* The errno of a refusal: the action's own, or another that the rule names. */
static inline int refusal(const struct row *r)
{
	return r->asks->rule[0] ? ENOTTY : r->action == COPY_UP || r->action == CREATE ? EROFS : EPERM;
}

static inline bool is_dir(const struct row *r)
{
	return r->asks->dir && r->yes;
}

static inline int act(enum action action, bool dir, const char *path)
{
	void *p;
	int fd, err;

	switch (action) {
	case COPY_UP:
		return dir ? policy_result(chmod(path, 0755)) : policy_open(path, O_WRONLY);
	case MODIFY:
		return policy_open(path, O_WRONLY | O_TRUNC);
	case CREATE:
		return dir ? policy_result(mkdir(path, 0777)) : policy_open(path, O_WRONLY | O_CREAT | O_EXCL);
	case REMOVE:
	case REMOVE_UPPER:
		return policy_result(dir ? rmdir(path) : unlink(path));
	default:
		fd = open(path, O_RDONLY | O_CLOEXEC);
		p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
		err = p == MAP_FAILED ? errno : 0;
		close(fd);
		return err;
	}
}

/* This program again, under another name: PROGRAM --act ACTION DIR PATH. */
__attribute__((constructor)) static void as_program(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "--act"))
		_exit(act((enum action)atoi(argv[2]), argv[3][0] == '1', argv[4]));
}

static inline int act_as(const struct row *r, const char *path)
{
	const struct asks *who = r->yes ? r->asks : &all_asks[0];
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (who->cgroup) {
			FILE *f = fopen(fx_name(FX_DIR "/cg/%s/cgroup.procs", who->cgroup), "we");

			if (!f || fprintf(f, "0\n") < 0 || fclose(f))
				_exit(EDOM);
		}
		if (who->comm)
			prctl(PR_SET_NAME, who->comm);
		if (who->uid && setresuid(who->uid, who->uid, who->uid))
			_exit(EDOM);
		if (who->program) {
			execl(PROGRAM, PROGRAM, "--act", fx_name("%d", (int)r->action), is_dir(r) ? "1" : "0", path, NULL);
			_exit(EDOM);
		}
		_exit(act(r->action, is_dir(r), path));
	}
	KTAP_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status), "%s", path);
	return WEXITSTATUS(status);
}

static inline void table_file(const char *path, const struct row *r)
{
	policy_mkdirs(path, is_dir(r));
	if (!is_dir(r)) {
		policy_file(path, r->asks->size && !r->yes ? 4096 : LARGE);
		KTAP_REQUIRE(chmod(path, 0666) == 0);
	}
}

/* Files and rows, verdicts by these names. */
static inline void rows_make(struct fx *fx, const char *const *verdicts, int nverdicts)
{
	for (unsigned int i = 0; i < NASKS; i++)
		for (int n = 0; n < ACTIONS * nverdicts * 2; n++) {
			struct row r = { .asks = &all_asks[i], .action = (enum action)(n % ACTIONS), .verdict = n / ACTIONS % nverdicts,
					 .yes = n < ACTIONS * nverdicts };
			const char *base = r.action == COPY_UP || r.action == REMOVE ? fx->lower : fx->upper;

			if (!is_there(r.asks, (int)r.action) || (!r.yes && !r.asks->rule[0]))
				continue;
			r.name = fx_name("t/%s/%s/%s/%s", r.asks->name, action_names[r.action], verdicts[r.verdict], r.yes ? "yes" : "no");
			/* The directories are there, so that only the object itself is copied up. */
			policy_mkdirs(fx_upath(fx, r.name), false);
			if (r.action != CREATE)
				table_file(fx_name("%s/%s", base, r.name), &r);
			KTAP_REQUIRE(nrows < sizeof(rows) / sizeof(rows[0]));
			rows[nrows++] = r;
		}
	/* All may, so that only the rules refuse. */
	fx_sh("find %s %s -type d -exec chmod 0777 {} +", fx->upper, fx->lower);
	fx_sh("cp /proc/%d/exe " PROGRAM "; chmod 755 " PROGRAM, (int)getpid());
	fx_sh("mkdir -p " FX_DIR "/cg; mount -t cgroup2 cg " FX_DIR "/cg; mkdir -p " FX_DIR "/cg/kutable2/below " FX_DIR "/cg/kutable/docker-" CONTAINER ".scope");
}

/* The rules of one verdict of one action: does is what becomes of those that fit. */
static inline void rules_put(FILE *f, const struct asks *s, const char *action, const char *verdict, const char *does)
{
	const char *prefix = fx_name("/t/%s/%s/%s", s->name, action, verdict), *name = fx_name("%s-%s-%s", s->name, action, verdict);

	fprintf(f, "{ name = \"%s\"; prefix = \"%s%s\"; %s action = \"%s\"; %s },\n", name, prefix, s->rule_no ? "/yes" : "", s->rule, action, does);
	if (s->rule_no)
		fprintf(f, "{ name = \"%s-no\"; prefix = \"%s/no\"; %s action = \"%s\"; %s },\n", name, prefix, s->rule_no, action, does);
}

/* What is in the upper layer: as if the operation was done, or as if not. (exec leaves nothing there.) */
static inline bool row_done(const struct row *r, const char *upper)
{
	char path[2 * FX_PATH_MAX];
	struct stat st;
	bool is;

	/* Not fx_name(): there may be no test. */
	snprintf(path, sizeof(path), "%s/%s", upper, r->name);
	is = !lstat(path, &st);
	switch (r->action) {
	case REMOVE:
		return is && S_ISCHR(st.st_mode);
	case REMOVE_UPPER:
		return !is;
	case MODIFY:
		return is && !st.st_size;
	default:
		return is;
	}
}

static inline struct row *row_of(const char *path)
{
	for (unsigned int i = 0; i < nrows; i++)
		if (!strcmp(rows[i].name, path + 1))
			return &rows[i];
	return NULL;
}

static inline const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

/* What the events say is written down beside the rows: fits says whether one is as it has to be. */
static inline void events_read(const struct fx *fx, bool (*fits)(struct row *r, const char *event, struct json_object *o))
{
	static char line[16384];
	FILE *f = fopen(fx->events, "re");

	KTAP_REQUIRE(f);
	while (fgets(line, sizeof(line), f)) {
		struct json_object *o = json_tokener_parse(line);
		const char *event = text_of(o, "event");
		bool policy = !strcmp(event, "policy");
		struct row *r = policy || !strcmp(event, "hold") ? row_of(text_of(o, "path")) : NULL;

		if (r) {
			r->told += policy;
			r->asked += !policy;
			if (strcmp(text_of(o, "action"), action_names[r->action]) || strcmp(text_of(o, "kind"), is_dir(r) ? "dir" : "file") ||
			    !fits(r, event, o)) {
				r->wrong = true;
				ktap_diag("%s", line);
			}
		}
		json_object_put(o);
	}
	fclose(f);
}

/* The last line of every table: what is told is told in its order. */
#define TABLE_LAST "{ name = \"last\"; path = \"/last\"; action = \"create\"; verdict = \"deny\"; } );\n"

static inline void table_end(struct fx *fx, bool (*fits)(struct row *r, const char *event, struct json_object *o))
{
	KTAP_CHECK(policy_open(fx_path(fx, "last"), O_WRONLY | O_CREAT) == EROFS);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "policy", "path", "/last", NULL));
	events_read(fx, fits);
	ktap_diag("%u operations", nrows);
	fx_sh("umount " FX_DIR "/cg");
}

#endif
