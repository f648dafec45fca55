// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every action by every subject, and on every kind of object, told of, refused and let pass, each with a case beside it that the rule does not fit: by
 * errno, by event, and by what is in the upper layer. One attachment; the events are read once. (Verdict hold: test_policy_hold.)
 */
#include "policy.h"

FX_BARE

#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PROGRAM FX_DIR "/table-program"
#define LARGE FX_MB(1)

enum action { COPY_UP, CREATE, REMOVE, REMOVE_UPPER, MODIFY, EXEC, ACTIONS };
static const char *const action_names[ACTIONS] = { "copy-up", "create", "remove", "remove-upper", "modify", "exec" };

enum verdict { DENY, AUDIT, ALLOW, VERDICTS };
static const char *const verdict_names[VERDICTS] = { "deny", "audit", "allow" };

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
	{ .name = "several", .rule = "uid = 1500; comm = [ \"x\", \"evil?one\" ]; kind = [ \"file\", \"dir\" ];", .uid = 1500, .comm = "evil-one" },
};
#define NASKS (sizeof(all_asks) / sizeof(all_asks[0]))

/* One operation. */
struct row {
	const struct asks *asks;
	enum action action;
	enum verdict verdict;
	bool yes; /* the rule fits */
	const char *name;
	int told; /* events of it */
	bool wrong;
};

static struct row rows[NASKS * ACTIONS * VERDICTS * 2];
static unsigned int nrows;

/* The errno of a refusal: the action's own, or another that the rule names. */
static int refusal(const struct row *r)
{
	return r->asks->rule[0] ? ENOTTY : r->action == COPY_UP || r->action == CREATE ? EROFS : EPERM;
}

/* The rule before decides about "yes" with verdict allow, and one behind it refuses all. Without a subject nothing is "no". */
static bool denied(const struct row *r)
{
	return r->verdict == DENY ? r->yes : r->verdict == ALLOW && !r->yes;
}

static bool told(const struct row *r)
{
	return denied(r) || (r->verdict == AUDIT && r->yes);
}

static bool is_dir(const struct row *r)
{
	return r->asks->dir && r->yes;
}

static int act(enum action action, bool dir, const char *path)
{
	void *p;
	int fd, err;

	switch (action) {
	case COPY_UP:
		return dir ? policy_result(chmod(path, 0755)) : policy_open(path, O_WRONLY);
	case MODIFY:
		return policy_open(path, O_WRONLY);
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

/* This program again, under another name: table-program --act ACTION DIR PATH. */
__attribute__((constructor)) static void as_program(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "--act"))
		_exit(act((enum action)atoi(argv[2]), argv[3][0] == '1', argv[4]));
}

static int act_as(const struct row *r, const char *path)
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

static void file(const char *path, const struct row *r)
{
	policy_mkdirs(path, is_dir(r));
	if (!is_dir(r)) {
		policy_file(path, r->asks->size && !r->yes ? 4096 : LARGE);
		KTAP_REQUIRE(chmod(path, 0666) == 0);
	}
}

static void rows_make(struct fx *fx)
{
	for (unsigned int i = 0; i < NASKS; i++)
		for (int n = 0; n < ACTIONS * VERDICTS * 2; n++) {
			struct row r = { &all_asks[i], (enum action)(n % ACTIONS), (enum verdict)(n / ACTIONS % VERDICTS), n < ACTIONS * VERDICTS, NULL, 0, false };
			const char *base = r.action == COPY_UP || r.action == REMOVE ? fx->lower : fx->upper;

			if ((r.asks->actions && !(r.asks->actions & BIT(r.action))) || (!r.yes && !r.asks->rule[0]))
				continue;
			r.name = fx_name("t/%s/%s/%s/%s", r.asks->name, action_names[r.action], verdict_names[r.verdict], r.yes ? "yes" : "no");
			/* The directories are there, so that only the object itself is copied up. */
			policy_mkdirs(fx_upath(fx, r.name), false);
			if (r.action != CREATE)
				file(fx_name("%s/%s", base, r.name), &r);
			rows[nrows++] = r;
		}
	/* All may, so that only the rules refuse. */
	fx_sh("find %s %s -type d -exec chmod 0777 {} +", fx->upper, fx->lower);
}

static void rules_make(void)
{
	FILE *f = fopen(POLICY_FILE, "we");

	KTAP_REQUIRE(f);
	fprintf(f, "version = 1;\ndefault = \"allow\";\nrules = (\n");
	for (unsigned int i = 0; i < NASKS; i++)
		for (int n = 0; n < ACTIONS * VERDICTS; n++) {
			const struct asks *s = &all_asks[i];
			const char *action = action_names[n % ACTIONS];
			enum verdict v = (enum verdict)(n / ACTIONS);
			const char *prefix = fx_name("/t/%s/%s/%s", s->name, action, verdict_names[v]);
			const char *code = s->rule[0] ? "errno = \"ENOTTY\";" : "";
			const char *name = fx_name("%s-%s-%s", s->name, action, verdict_names[v]);

			if (s->actions && !(s->actions & BIT(n % ACTIONS)))
				continue;
			fprintf(f, "{ name = \"%s\"; prefix = \"%s%s\"; %s action = \"%s\"; verdict = \"%s\"; %s },\n", name, prefix, s->rule_no ? "/yes" : "",
				s->rule, action, verdict_names[v], v == DENY ? code : "");
			if (s->rule_no)
				fprintf(f, "{ name = \"%s-no\"; prefix = \"%s/no\"; %s action = \"%s\"; verdict = \"%s\"; %s },\n", name, prefix, s->rule_no,
					action, verdict_names[v], v == DENY ? code : "");
			if (v == ALLOW)
				fprintf(f, "{ name = \"%s-else\"; prefix = \"%s\"; action = \"%s\"; verdict = \"deny\"; %s },\n", name, prefix, action, code);
		}
	fprintf(f, "{ name = \"last\"; path = \"/last\"; action = \"create\"; verdict = \"deny\"; } );\n");
	KTAP_REQUIRE(fclose(f) == 0);
}

static void row_run(const struct fx *fx, const struct row *r)
{
	bool upper = r->action == CREATE || r->action == COPY_UP, no = denied(r);
	int want = no ? refusal(r) : 0, err = act_as(r, fx_path(fx, r->name));

	KTAP_CHECK(err == want, "%s: %s, not %s", r->name, strerrorname_np(err), strerrorname_np(want));
	if (r->action == REMOVE)
		KTAP_CHECK(fx_is_whiteout(fx, r->name) == !no, "%s", r->name);
	else
		KTAP_CHECK(fx_exists(fx_upath(fx, r->name)) == (r->action == REMOVE_UPPER ? no : upper ? !no : true), "%s", r->name);
}

static struct row *row_of(const char *path)
{
	for (unsigned int i = 0; i < nrows; i++)
		if (!strcmp(rows[i].name, path + 1))
			return &rows[i];
	return NULL;
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

/* What the events say is written down beside the rows. */
static void events_read(const struct fx *fx)
{
	static char line[16384];
	FILE *f = fopen(fx->events, "re");

	KTAP_REQUIRE(f);
	while (fgets(line, sizeof(line), f)) {
		struct json_object *o = json_tokener_parse(line);
		struct row *r = !strcmp(text_of(o, "event"), "policy") ? row_of(text_of(o, "path")) : NULL;

		if (r) {
			r->told++;
			r->wrong |= strcmp(text_of(o, "action"), action_names[r->action]) || strcmp(text_of(o, "verdict"), denied(r) ? "deny" : "audit") ||
				    strcmp(text_of(o, "errno"), denied(r) ? strerrorname_np(refusal(r)) : "") ||
				    strcmp(text_of(o, "kind"), is_dir(r) ? "dir" : "file");
			if (r->wrong)
				ktap_diag("%s", line);
		}
		json_object_put(o);
	}
	fclose(f);
}

KTAP_TEST_LIMIT(every_action_by_every_subject, 450)
{
	struct fx fx;

	fx_init(&fx, NULL);
	rows_make(&fx);
	rules_make();
	fx_sh("cp /proc/%d/exe " PROGRAM "; chmod 755 " PROGRAM, (int)getpid());
	fx_sh("mkdir -p " FX_DIR "/cg; mount -t cgroup2 cg " FX_DIR "/cg; mkdir -p " FX_DIR "/cg/kutable2/below " FX_DIR "/cg/kutable/docker-" CONTAINER ".scope");
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	for (unsigned int i = 0; i < nrows; i++)
		row_run(&fx, &rows[i]);
	/* What is told is told in its order. */
	KTAP_CHECK(policy_open(fx_path(&fx, "last"), O_WRONLY | O_CREAT) == EROFS);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "policy", "path", "/last", NULL));
	events_read(&fx);
	for (unsigned int i = 0; i < nrows; i++)
		KTAP_CHECK(rows[i].told == told(&rows[i]) && !rows[i].wrong, "%s is told %d times%s", rows[i].name, rows[i].told, rows[i].wrong ? ", wrongly" : "");
	ktap_diag("%u operations", nrows);
	fx_sh("umount " FX_DIR "/cg");
	fx_end(&fx);
}

KTAP_MAIN()
