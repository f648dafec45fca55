// SPDX-License-Identifier: GPL-2.0-only
/* Policies in force: each action let pass, told of and refused, by its errno, by its event, and by what is in the upper layer; by subject and object. */
#include "policy.h"

FX_LEAN

enum layer { LOWER, UPPER, NOWHERE };

struct op {
	const char *action, *name;
	enum layer layer;		 /* where path is before */
	mode_t type;			 /* as what */
	int (*fn)(const char *path, const char *other);
};

static int op_open(const char *path, const char *other)
{
	(void)other;
	return policy_open(path, O_WRONLY);
}

static int op_append(const char *path, const char *other)
{
	(void)other;
	return policy_open(path, O_RDWR | O_APPEND);
}

static int op_trunc(const char *path, const char *other)
{
	(void)other;
	return policy_open(path, O_RDONLY | O_TRUNC);
}

static int op_open_creat(const char *path, const char *other)
{
	(void)other;
	return policy_open(path, O_WRONLY | O_CREAT);
}

static int op_excl(const char *path, const char *other)
{
	(void)other;
	return policy_open(path, O_WRONLY | O_CREAT | O_EXCL);
}

static int op_truncate(const char *path, const char *other)
{
	(void)other;
	return policy_result(truncate(path, 10));
}

static int op_chmod(const char *path, const char *other)
{
	(void)other;
	return policy_result(chmod(path, 0600));
}

static int op_chown(const char *path, const char *other)
{
	(void)other;
	return policy_result(lchown(path, 1000, 1000));
}

static int op_utimes(const char *path, const char *other)
{
	(void)other;
	return policy_result(utimensat(AT_FDCWD, path, NULL, 0));
}

static int op_setxattr(const char *path, const char *other)
{
	(void)other;
	return policy_result(setxattr(path, "trusted.fx", "1", 1, 0));
}

static int op_link(const char *path, const char *other)
{
	return policy_result(link(path, other));
}

static int op_link_to(const char *path, const char *other)
{
	return policy_result(link(other, path));
}

static int op_rename(const char *path, const char *other)
{
	return policy_result(rename(path, other));
}

static int op_rename_to(const char *path, const char *other)
{
	return policy_result(rename(other, path));
}

/* In a directory of the lower layer: it is copied up. */
static int op_inside(const char *path, const char *other)
{
	(void)other;
	return policy_result(mkdir(fx_name("%s/sub", path), 0755));
}

static int op_mkdir(const char *path, const char *other)
{
	(void)other;
	return policy_result(mkdir(path, 0755));
}

static int op_symlink(const char *path, const char *other)
{
	(void)other;
	return policy_result(symlink("to", path));
}

static int op_mkfifo(const char *path, const char *other)
{
	(void)other;
	return policy_result(mkfifo(path, 0644));
}

static int op_unlink(const char *path, const char *other)
{
	(void)other;
	return policy_result(unlink(path));
}

static int op_rmdir(const char *path, const char *other)
{
	(void)other;
	return policy_result(rmdir(path));
}

static int op_exec(const char *path, const char *other)
{
	int status;
	pid_t pid;

	(void)other;
	pid = fork();
	if (!pid) {
		execl(path, "true", NULL);
		_exit(errno);
	}
	KTAP_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}

static int op_map(const char *path, int prot)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	void *p;

	KTAP_REQUIRE(fd >= 0, "%s", path);
	p = mmap(NULL, 4096, prot, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		err = errno;
	else if (!(prot & PROT_EXEC) && mprotect(p, 4096, PROT_READ | PROT_EXEC))
		err = errno;
	if (p != MAP_FAILED)
		munmap(p, 4096);
	close(fd);
	return err;
}

static int op_mmap(const char *path, const char *other)
{
	(void)other;
	return op_map(path, PROT_READ | PROT_EXEC);
}

static int op_mprotect(const char *path, const char *other)
{
	(void)other;
	return op_map(path, PROT_READ);
}

static const struct op ops[] = {
	{ "copy-up", "open", LOWER, S_IFREG, op_open },
	{ "copy-up", "creat", LOWER, S_IFREG, op_open_creat },
	{ "copy-up", "trunc", LOWER, S_IFREG, op_trunc },
	{ "copy-up", "truncate", LOWER, S_IFREG, op_truncate },
	{ "copy-up", "chmod", LOWER, S_IFREG, op_chmod },
	{ "copy-up", "chown", LOWER, S_IFREG, op_chown },
	{ "copy-up", "utimes", LOWER, S_IFREG, op_utimes },
	{ "copy-up", "setxattr", LOWER, S_IFREG, op_setxattr },
	{ "copy-up", "link", LOWER, S_IFREG, op_link },
	{ "copy-up", "rename", LOWER, S_IFREG, op_rename },
	{ "copy-up", "directory", LOWER, S_IFDIR, op_inside },
	{ "copy-up", "symlink", LOWER, S_IFLNK, op_chown },
	{ "create", "creat", NOWHERE, S_IFREG, op_open_creat },
	{ "create", "excl", NOWHERE, S_IFREG, op_excl },
	{ "create", "mkdir", NOWHERE, S_IFDIR, op_mkdir },
	{ "create", "symlink", NOWHERE, S_IFLNK, op_symlink },
	{ "create", "fifo", NOWHERE, S_IFIFO, op_mkfifo },
	{ "create", "link", NOWHERE, S_IFREG, op_link_to },
	{ "create", "rename", NOWHERE, S_IFREG, op_rename_to },
	{ "remove", "unlink", LOWER, S_IFREG, op_unlink },
	{ "remove", "rmdir", LOWER, S_IFDIR, op_rmdir },
	{ "remove", "rename", LOWER, S_IFREG, op_rename },
	{ "remove", "over", LOWER, S_IFREG, op_rename_to },
	{ "remove-upper", "unlink", UPPER, S_IFREG, op_unlink },
	{ "remove-upper", "rmdir", UPPER, S_IFDIR, op_rmdir },
	{ "remove-upper", "rename", UPPER, S_IFREG, op_rename },
	{ "remove-upper", "over", UPPER, S_IFREG, op_rename_to },
	{ "modify", "open", UPPER, S_IFREG, op_open },
	{ "modify", "append", UPPER, S_IFREG, op_append },
	{ "modify", "trunc", UPPER, S_IFREG, op_trunc },
	{ "modify", "truncate", UPPER, S_IFREG, op_truncate },
	{ "exec", "execve", UPPER, S_IFREG, op_exec },
	{ "exec", "mmap", UPPER, S_IFREG, op_mmap },
	{ "exec", "mprotect", UPPER, S_IFREG, op_mprotect },
};
#define NOPS (sizeof(ops) / sizeof(ops[0]))

static const struct verdict {
	const char *name, *rule; /* what stands in the rule; NULL: none is for it */
	const char *verdict;
	int err; /* 0: the action's own */
} verdicts[] = {
	{ "deny", "verdict = \"deny\";", "deny", 0 },
	{ "errno", "verdict = \"deny\"; errno = \"ENOTTY\";", "deny", ENOTTY },
	{ "audit", "verdict = \"audit\";", "audit", 0 },
	{ "allow", "verdict = \"allow\";", "allow", 0 },
	{ "none", NULL, NULL, 0 },
};
#define NVERDICTS (sizeof(verdicts) / sizeof(verdicts[0]))

static const char *const actions[] = { "copy-up", "create", "remove", "remove-upper", "modify", "exec" };

static void make(const char *base, const char *name, mode_t type, bool run)
{
	const char *path = fx_name("%s/%s", base, name);

	policy_mkdirs(path, type == S_IFDIR);
	if (type == S_IFLNK)
		KTAP_REQUIRE(symlink("nowhere", path) == 0, "%s", path);
	else if (run)
		fx_sh("cp /bin/busybox %s", path);
	else if (type == S_IFREG)
		policy_file(path, 4096);
}

/* One directory for each action and verdict. */
static const char *place(const struct op *o, const struct verdict *v)
{
	return fx_name("%s/%s/%s", o->action, v->name, o->name);
}

static const char *other(const struct op *o, const struct verdict *v)
{
	return fx_name("else/%s-%s-%s", o->action, v->name, o->name);
}

static void matrix_files(struct fx *fx)
{
	for (unsigned int i = 0; i < NOPS; i++)
		for (unsigned int j = 0; j < NVERDICTS; j++) {
			const struct op *o = &ops[i];
			bool to = o->fn == op_link_to || o->fn == op_rename_to;

			if (o->layer == LOWER)
				make(fx->lower, place(o, &verdicts[j]), o->type, false);
			if (o->layer == UPPER)
				make(fx->upper, place(o, &verdicts[j]), o->type, o->fn == op_exec);
			if (o->layer == NOWHERE)
				policy_mkdirs(fx_upath(fx, place(o, &verdicts[j])), false);
			if (to)
				make(fx->upper, other(o, &verdicts[j]), S_IFREG, false);
		}
	policy_mkdirs(fx_upath(fx, "else"), true);
}

static void matrix_rules(FILE *f)
{
	for (unsigned int a = 0; a < sizeof(actions) / sizeof(actions[0]); a++)
		for (unsigned int j = 0; j < NVERDICTS; j++)
			if (verdicts[j].rule)
				fprintf(f, "{ name = \"%s-%s\"; path = \"/%s/%s/**\"; action = \"%s\"; %s },\n", actions[a], verdicts[j].name, actions[a],
					verdicts[j].name, actions[a], verdicts[j].rule);
}

static void matrix_run(struct fx *fx, const struct op *o, const struct verdict *v)
{
	const char *name = place(o, v), *path = fx_path(fx, name);
	bool denied = v->verdict && !strcmp(v->verdict, "deny"), told = denied || (v->verdict && !strcmp(v->verdict, "audit"));
	bool reading = !strcmp(o->action, "exec"), was = fx_exists(fx_upath(fx, name));
	int own = !strcmp(o->action, "copy-up") || !strcmp(o->action, "create") ? EROFS : EPERM, want = denied ? v->err ?: own : 0;
	uint64_t before = was && o->type == S_IFREG ? fx_tree_sum(fx_upath(fx, name)) : 0;
	int err = o->fn(path, fx_path(fx, other(o, v)));

	KTAP_CHECK(err == want, "%s: %s, not %s", name, strerrorname_np(err), strerrorname_np(want));
	policy_told(fx, fx_name("/%s", name), o->action, v->verdict, want, told);
	if (denied && !was)
		KTAP_CHECK(!fx_exists(fx_upath(fx, name)), "%s is in the upper layer", name);
	if (denied && was && !reading && before)
		KTAP_CHECK(fx_exists(path) && fx_tree_sum(fx_upath(fx, name)) == before, "%s was changed", name);
}

struct subject {
	const char *name, *rule;
	uid_t uid;
	const char *comm, *cgroup, *exe;
};

#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct subject subjects[] = {
	{ .name = "uid", .rule = "uid = \"1000-1999\";", .uid = 1500 },
	{ .name = "comm", .rule = "comm = \"evil*\";", .comm = "evil-one" },
	{ .name = "exe", .rule = "exe = \"" FX_DIR "/**/polbox\";", .exe = "polbox" },
	{ .name = "cgroup", .rule = "cgroup = \"/kupol\";", .cgroup = "kupol/below" },
	{ .name = "container", .rule = "container = \"0123456789ab\";", .cgroup = "kupol2/docker-" CONTAINER ".scope" },
};
#define NSUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

/* Creates path as that subject, or as ourselves. */
static int create_as(const struct subject *s, const char *path)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (s && s->cgroup) {
			FILE *f = fopen(fx_name(FX_DIR "/cg/%s/cgroup.procs", s->cgroup), "we");

			if (!f || fprintf(f, "0\n") < 0 || fclose(f))
				_exit(EDOM);
		}
		if (s && s->comm)
			prctl(PR_SET_NAME, s->comm);
		if (s && s->uid && setresuid(s->uid, s->uid, s->uid))
			_exit(EDOM);
		if (s && s->exe) {
			execl(fx_name(FX_DIR "/%s", s->exe), "touch", path, NULL);
			_exit(EDOM);
		}
		_exit(policy_open(path, O_WRONLY | O_CREAT | O_EXCL));
	}
	KTAP_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return s && s->exe && WEXITSTATUS(status) == 1 ? ENOTTY : WEXITSTATUS(status);
}

static void subjects_run(struct fx *fx)
{
	for (unsigned int i = 0; i < NSUBJECTS; i++) {
		const struct subject *s = &subjects[i];
		const char *yes = fx_name("subject/%s/denied", s->name), *no = fx_name("subject/%s/let", s->name);
		int err = create_as(s, fx_path(fx, yes));

		KTAP_CHECK(err == ENOTTY, "%s: %s", s->name, strerrorname_np(err));
		policy_told(fx, fx_name("/%s", yes), "create", "deny", ENOTTY, 1);
		KTAP_CHECK(!fx_exists(fx_upath(fx, yes)));
		err = create_as(NULL, fx_path(fx, no));
		KTAP_CHECK(err == 0, "%s, another one: %s", s->name, strerrorname_np(err));
		policy_told(fx, fx_name("/%s", no), "create", "deny", ENOTTY, 0);
	}
}

static void objects_run(struct fx *fx)
{
	static const struct {
		const char *path;
		int flags, err;
	} cases[] = {
		{ "object/a/b/x.conf", O_CREAT, ENOTTY }, { "object/x.conf", O_CREAT, ENOTTY }, { "object/x.config", O_CREAT, 0 },
		{ "object/small", 0, 0 },		  { "object/large", 0, ENOTTY },	{ "object/kind", O_CREAT, 0 },
		{ "objects", O_CREAT, 0 },		  { "union/here", O_CREAT, ENOTTY },	{ "union/there", O_CREAT, 0 },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = policy_open(fx_path(fx, cases[i].path), O_WRONLY | cases[i].flags);

		KTAP_CHECK(err == cases[i].err, "%s: %s", cases[i].path, strerrorname_np(err));
		policy_told(fx, fx_name("/%s", cases[i].path), cases[i].flags ? "create" : "modify", "deny", err, err != 0);
	}
	/* It is there, which the kernel does not know yet when it asks. */
	KTAP_CHECK(policy_open(fx_path(fx, "object/there.made"), O_RDONLY | O_CREAT) == 0);
	KTAP_CHECK(policy_result(mkdir(fx_path(fx, "object/kind-dir"), 0755)) == ENOTTY);
	policy_told(fx, "/object/kind-dir", "create", "deny", ENOTTY, 1);
	KTAP_CHECK(policy_open(fx_path(fx, "object/not-there.made"), O_RDONLY | O_CREAT) == ENOTTY);
	policy_told(fx, "/object/not-there.made", "create", "deny", ENOTTY, 1);
	policy_told(fx, "/object/there.made", "create", "deny", ENOTTY, 0);
}

static void subject_files(struct fx *fx)
{
	for (unsigned int i = 0; i < NSUBJECTS; i++)
		fx_sh("mkdir -p -m 0777 %s", fx_upath(fx, fx_name("subject/%s", subjects[i].name)));
	fx_sh("mkdir -p %s %s; cp /bin/busybox " FX_DIR "/polbox", fx_upath(fx, "object/a/b"), fx_upath(fx, "union"));
	policy_file(fx_upath(fx, "object/there.made"), 100);
	fx_sh("head -c 1000 /dev/zero >%s; head -c 2000000 /dev/zero >%s", fx_upath(fx, "object/small"), fx_upath(fx, "object/large"));
	fx_sh("mkdir -p " FX_DIR "/cg; mount -t cgroup2 cg " FX_DIR "/cg; mkdir -p " FX_DIR "/cg/kupol/below " FX_DIR "/cg/kupol2/docker-" CONTAINER
	      ".scope");
}

static void subject_rules(const struct fx *fx, FILE *f)
{
	for (unsigned int i = 0; i < NSUBJECTS; i++)
		fprintf(f, "{ name = \"s-%s\"; prefix = \"/subject/%s\"; %s action = \"create\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n",
			subjects[i].name, subjects[i].name, subjects[i].rule);
	fprintf(f,
		"{ name = \"glob\"; path = \"/object/**.conf\"; action = \"any\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
		"{ name = \"made\"; path = \"/object/*.made\"; action = \"create\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
		"{ name = \"size\"; prefix = \"/object\"; min_size = \"1M\"; action = \"modify\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
		"{ name = \"kind\"; prefix = \"/object\"; kind = \"dir\"; action = \"create\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
		"{ name = \"here\"; path = \"/union/here\"; union = \"%s\"; action = \"create\"; verdict = \"deny\"; errno = \"ENOTTY\"; },\n"
		"{ name = \"there\"; path = \"/union/there\"; union = \"/elsewhere/**\"; action = \"create\"; verdict = \"deny\"; },\n"
		"{ name = \"last\"; path = \"/last\"; action = \"any\"; verdict = \"allow\"; }\n",
		fx->merged);
}

KTAP_TEST_LIMIT(actions_subjects_and_objects, 300)
{
	struct fx fx;
	FILE *f;

	fx_init(&fx, NULL);
	matrix_files(&fx);
	subject_files(&fx);
	f = fopen(POLICY_FILE, "we");
	KTAP_REQUIRE(f);
	fprintf(f, "version = 1;\ndefault = \"allow\";\nrules = (\n");
	matrix_rules(f);
	subject_rules(&fx, f);
	fprintf(f, ");\n");
	KTAP_REQUIRE(fclose(f) == 0);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	for (unsigned int i = 0; i < NOPS; i++)
		for (unsigned int j = 0; j < NVERDICTS; j++)
			matrix_run(&fx, &ops[i], &verdicts[j]);
	subjects_run(&fx);
	objects_run(&fx);
	fx_sh("umount " FX_DIR "/cg");
	fx_end(&fx);
}

KTAP_MAIN()
