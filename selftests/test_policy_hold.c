// SPDX-License-Identifier: GPL-2.0-only
/* Verdict hold: operations parked until somebody answers, or at the limit; nobody is left behind. */
#include "hold.h"

#include <signal.h>

FX_BARE

/* 500 s: nobody comes to it by being slow. */
#define RULES                                                                                                                     \
	"version = 1;\ndefault = \"allow\";\nrules = (\n"                                                                         \
	"{ name = \"soon\"; path = \"/soon/*\"; action = \"any\"; verdict = \"hold\"; limit = 1; },\n"                            \
	"{ name = \"soon let\"; path = \"/let/*\"; action = \"any\"; verdict = \"hold\"; limit = 1; otherwise = \"allow\"; },\n" \
	"{ name = \"own\"; path = \"/own/*\"; action = \"any\"; verdict = \"hold\"; limit = 500; },\n"                            \
	"{ name = \"ask\"; path = \"/ask/*\"; action = \"any\"; verdict = \"hold\"; limit = 500; errno = \"ENOTTY\"; }\n);\n"

/* Runs path, which says by its exit status how that went. */
static long run(void *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl(arg, "true", NULL);
		_exit(errno);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
	return errno ? -1 : 0;
}

static long map(const char *path, int prot)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, prot, MAP_PRIVATE, fd, 0);

	return p == MAP_FAILED ? -1 : prot & PROT_EXEC ? 0 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long map_exec(void *arg)
{
	return map(arg, PROT_READ | PROT_EXEC);
}

static long map_then_exec(void *arg)
{
	return map(arg, PROT_READ);
}

/* Every action, with the errno of its own. */
static const struct {
	const char *action, *name;
	enum fx_call_kind kind;
	long (*fn)(void *path); /* instead of a call */
	bool upper;		/* it is there, in the upper layer */
	int err;
} each_actions[] = {
	{ "copy-up", "lower", FX_OPEN_W, NULL, false, EROFS },	  { "create", "new", FX_CREATE, NULL, false, EROFS },
	{ "remove", "gone", FX_UNLINK, NULL, false, EPERM },	  { "remove-upper", "made", FX_UNLINK, NULL, true, EPERM },
	{ "modify", "changed", FX_OPEN_TRUNC, NULL, true, EPERM }, { "exec", "run", FX_STAT, run, true, EPERM },
	{ "exec", "map", FX_STAT, map_exec, true, EPERM },	  { "exec", "protect", FX_STAT, map_then_exec, true, EPERM },
};

static void each_files(struct fx *fx)
{
	fx_lower(fx, "own/lower", FX_KB(64), 0644);
	fx_lower(fx, "own/gone", FX_KB(64), 0644);
	fx_sh("mkdir -p %s", fx_upath(fx, "own"));
	for (unsigned int i = 0; i < sizeof(each_actions) / sizeof(each_actions[0]); i++)
		if (each_actions[i].upper)
			fx_sh("cp /bin/busybox %s", fx_upath(fx, fx_name("own/%s", each_actions[i].name)));
}

static void begin(struct fx *fx)
{
	fx_init(fx, NULL);
	for (int i = 0; i < 8; i++)
		fx_lower(fx, fx_name("ask/f%d", i), FX_KB(64), 0755);
	fx_lower(fx, "ask/big", FX_MB(2), 0644);
	fx_lower(fx, "soon/f", FX_KB(64), 0644);
	fx_lower(fx, "let/f", FX_KB(64), 0644);
	fx_lower(fx, "out", FX_KB(64), 0644);
	each_files(fx);
	fx_mount(fx);
	policy_write(POLICY_FILE, RULES);
}

static void call(struct fx_op *op, enum fx_call_kind kind, const struct fx *fx, const char *name, const char *name2)
{
	fx_call_start(op, FX_CALL(kind, fx_path(fx, name), .path2 = name2 ? fx_path(fx, name2) : NULL, .mode = 0600, .size = 10, .id = fx_id("new")));
}

/* Who is held for it: of a program that is run another task than op. */
static void each_sleeps(const struct fx *fx, const struct fx_op *op, const char *path, const char *action, int n)
{
	struct fx_op task = *op;

	task.pid = (pid_t)fx_event_number(fx, "tid", "event", "hold", "path", path, "action", action, "id",
					  fx_name("%llu", (unsigned long long)question(fx, path, action, n)), NULL);
	KTAP_CHECK(fx_wait_parked(&task, FX_LONG), "%s of %s does not sleep", action, path);
}

/* What is in the upper layer under this name. */
static uint64_t each_upper(const struct fx *fx, const char *name)
{
	return fx_is_whiteout(fx, name) ? 1 : fx_exists(fx_upath(fx, name)) ? fx_tree_sum(fx_upath(fx, name)) : 0;
}

/* Every action refused, then let pass: by its errno, by its events, and nothing has changed in the upper layer before. */
static void each(struct fx *fx)
{
	for (unsigned int i = 0; i < sizeof(each_actions) / sizeof(each_actions[0]); i++) {
		const char *name = fx_name("own/%s", each_actions[i].name), *path = fx_name("/%s", name), *action = each_actions[i].action;
		const uint64_t before = each_upper(fx, name);

		for (int n = 0; n < 2; n++) {
			uint64_t id;
			struct fx_op op;

			if (each_actions[i].fn)
				fx_op_start(&op, 0, each_actions[i].fn, (void *)fx_path(fx, name));
			else
				call(&op, each_actions[i].kind, fx, name, NULL);
			id = question(fx, path, action, n);
			KTAP_REQUIRE(id, "%s: no question of %s", path, action);
			each_sleeps(fx, &op, path, action, n);
			KTAP_CHECK(each_upper(fx, name) == before, "%s of %s was not waited with", action, path);
			KTAP_CHECK(answer(id, n ? "allow" : "deny") == 0);
			ends(&op, n ? 0 : each_actions[i].err, fx_name("%s of %s", action, path));
			if (!n)
				KTAP_CHECK(each_upper(fx, name) == before, "%s of %s was refused, and is done", action, path);
			else if (!each_actions[i].fn)
				KTAP_CHECK(each_upper(fx, name) != before, "%s of %s was let pass, and is not done", action, path);
		}
		KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "policy", "path", path, "action", action, "verdict", "hold", "errno", "", NULL), "%s", path);
		KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", path, "action", action, "verdict", "hold", "errno",
					  strerrorname_np(each_actions[i].err), NULL) == 1, "%s", path);
		KTAP_CHECK(fx_event_count(fx, "event", "hold", "path", path, NULL) == 2, "%s", path);
	}
}

/* Each action: asked, nothing in the upper layer meanwhile, denied with the rule's errno, or another, or let pass, and once only. */
static void answered(struct fx *fx)
{
	struct fx_op op, other;
	uint64_t id, id2;

	call(&op, FX_OPEN_W, fx, "ask/f0", NULL);
	id = asked(fx, &op, "/ask/f0", "copy-up", 0);
	KTAP_CHECK(!fx_in_upper(fx, "ask/f0") && !fx_op_done(&op));
	KTAP_CHECK(answer(id, "maybe") == 2 && answer(id + 1, "allow") == 1);
	KTAP_CHECK(answer(id, "deny") == 0 && answer(id, "deny") == 1);
	ends(&op, ENOTTY, "denied");
	KTAP_CHECK(!fx_in_upper(fx, "ask/f0"));

	call(&op, FX_OPEN_W, fx, "ask/f0", NULL);
	id = asked(fx, &op, "/ask/f0", "copy-up", 1);
	KTAP_CHECK(answer(id, "deny:ELIBBAD") == 0);
	ends(&op, ELIBBAD, "denied with another errno");

	/* The same file twice: two questions, and the answer is for one of them. */
	call(&op, FX_CHMOD, fx, "ask/f0", NULL);
	id = asked(fx, &op, "/ask/f0", "copy-up", 2);
	call(&other, FX_UTIMES, fx, "ask/f0", NULL);
	id2 = asked(fx, &other, "/ask/f0", "copy-up", 3);
	KTAP_CHECK(answer(id, "deny") == 0);
	ends(&op, ENOTTY, "the first of two");
	KTAP_CHECK(!fx_op_done(&other) && !fx_in_upper(fx, "ask/f0"));
	KTAP_CHECK(answer(id2, "allow") == 0);
	ends(&other, 0, "let pass");
	KTAP_CHECK(fx_in_upper(fx, "ask/f0") && fx_event_count(fx, "event", "hold", "path", "/ask/f0", NULL) == 4);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "policy", "path", "/ask/f0", "verdict", "hold", "errno", "", NULL));
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", "/ask/f0", "verdict", "hold", "errno", "ENOTTY", NULL) == 2);

	/* What was let pass once is asked for again. */
	call(&op, FX_OPEN_W, fx, "ask/f0", NULL);
	id = asked(fx, &op, "/ask/f0", "modify", 0);
	KTAP_CHECK(answer(id, "allow") == 0);
	ends(&op, 0, "modify");
	call(&op, FX_OPEN_W, fx, "ask/f0", NULL);
	id = asked(fx, &op, "/ask/f0", "modify", 1);
	KTAP_CHECK(answer(id, "deny") == 0);
	ends(&op, ENOTTY, "modify again");
	call(&op, FX_OPEN_TRUNC, fx, "ask/f0", NULL);
	id = asked(fx, &op, "/ask/f0", "modify", 2);
	KTAP_CHECK(answer(id, "allow") == 0);
	ends(&op, 0, "truncated");
	KTAP_CHECK(fx_event_count(fx, "event", "hold", "path", "/ask/f0", "action", "modify", NULL) == 3);

	call(&op, FX_MKDIR, fx, "ask/new", NULL);
	id = asked(fx, &op, "/ask/new", "create", 0);
	KTAP_CHECK(!fx_in_upper(fx, "ask/new") && answer(id, "allow") == 0);
	ends(&op, 0, "mkdir");
	KTAP_CHECK(fx_in_upper(fx, "ask/new"));
	call(&op, FX_UNLINK, fx, "ask/f1", NULL);
	id = asked(fx, &op, "/ask/f1", "remove", 0);
	KTAP_CHECK(!fx_is_whiteout(fx, "ask/f1") && answer(id, "deny") == 0);
	ends(&op, ENOTTY, "unlink");
	KTAP_CHECK(fx_exists(fx_path(fx, "ask/f1")));

	/* A rename is several questions: each is asked once. The file has to be copied up for it. */
	call(&op, FX_RENAME, fx, "ask/f0", "ask/there");
	id = asked(fx, &op, "/ask/f0", "remove-upper", 0);
	KTAP_CHECK(answer(id, "allow") == 0);
	id = asked(fx, &op, "/ask/there", "create", 0);
	KTAP_CHECK(!fx_exists(fx_path(fx, "ask/there")) && answer(id, "allow") == 0);
	ends(&op, 0, "rename");
	KTAP_CHECK(fx_exists(fx_path(fx, "ask/there")) && fx_event_count(fx, "event", "hold", "path", "/ask/there", NULL) == 1 &&
		   fx_event_count(fx, "event", "hold", "path", "/ask/f0", "action", "remove-upper", NULL) == 1);

	/* Out of the rule's reach, then written: moving it is asked about as a change. */
	call(&op, FX_RENAME, fx, "ask/there", "away");
	KTAP_CHECK(answer(asked(fx, &op, "/ask/there", "remove-upper", 0), "allow") == 0);
	id = asked(fx, &op, "/ask/there", "modify", 0);
	KTAP_CHECK(answer(id, "deny") == 0);
	ends(&op, ENOTTY, "rename out of it");

	/* A copy that kunion makes: the answer is for the whole of it, whatever waits and starts again there are. */
	call(&op, FX_OPEN_W, fx, "ask/big", NULL);
	id = asked(fx, &op, "/ask/big", "copy-up", 0);
	KTAP_CHECK(answer(id, "allow") == 0);
	ends(&op, 0, "a managed copy");
	KTAP_CHECK(fx_in_upper(fx, "ask/big") && fx_event_count(fx, "event", "hold", "path", "/ask/big", NULL) == 1);
}

/* By one and the same task: 0 when the first was let pass and the second denied. */
static long twice(void *arg)
{
	const struct fx *fx = arg;
	int err = policy_open(fx_path(fx, "ask/f6"), O_WRONLY);

	if (!err)
		err = policy_open(fx_path(fx, "ask/f6"), O_WRONLY) == ENOTTY ? policy_open(fx_path(fx, "ask/f6"), O_WRONLY) : EISNAM;
	errno = err;
	return err ? -1 : 0;
}

static void once(struct fx *fx)
{
	struct fx_op op;

	fx_op_start(&op, 0, twice, fx);
	KTAP_CHECK(answer(asked(fx, &op, "/ask/f6", "copy-up", 0), "allow") == 0);
	KTAP_CHECK(answer(asked(fx, &op, "/ask/f6", "modify", 0), "deny") == 0);
	KTAP_CHECK(answer(asked(fx, &op, "/ask/f6", "modify", 1), "allow") == 0);
	ends(&op, 0, "the same task again and again");
	fx_op_start(&op, 0, twice, fx);
	KTAP_CHECK(answer(asked(fx, &op, "/ask/f6", "modify", 2), "allow") == 0);
	KTAP_CHECK(answer(asked(fx, &op, "/ask/f6", "modify", 3), "deny") == 0);
	KTAP_CHECK(answer(asked(fx, &op, "/ask/f6", "modify", 4), "allow") == 0);
	ends(&op, 0, "and where it was let pass before");
}

static void limits(struct fx *fx)
{
	struct fx_op op;

	call(&op, FX_OPEN_W, fx, "soon/f", NULL);
	ends(&op, EROFS, "at the limit");
	KTAP_CHECK(!fx_in_upper(fx, "soon/f") && question(fx, "/soon/f", "copy-up", 0));
	call(&op, FX_OPEN_W, fx, "let/f", NULL);
	ends(&op, 0, "at the limit, let pass");
	KTAP_CHECK(fx_in_upper(fx, "let/f"));
}

static void signals(struct fx *fx)
{
	struct fx_op op;
	uint64_t id;

	call(&op, FX_OPEN_W, fx, "ask/f2", NULL);
	id = asked(fx, &op, "/ask/f2", "copy-up", 0);
	fx_op_kill(&op, SIGSTOP);
	fx_op_kill(&op, SIGCONT);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG));
	KTAP_CHECK(fx_event_count(fx, "event", "hold", "path", "/ask/f2", NULL) == 1, "it is the same question");
	KTAP_CHECK(answer(id, "allow") == 0);
	ends(&op, 0, "stopped and continued");

	call(&op, FX_OPEN_W, fx, "ask/f3", NULL);
	id = asked(fx, &op, "/ask/f3", "copy-up", 0);
	fx_op_kill(&op, SIGKILL);
	KTAP_CHECK(!fx_op_wait(&op, FX_LONG) && !op.pid, "killed");
	KTAP_CHECK(!fx_in_upper(fx, "ask/f3"));
}

static void reload(struct fx *fx)
{
	struct fx_op op, denied;

	call(&op, FX_OPEN_W, fx, "ask/f4", NULL);
	asked(fx, &op, "/ask/f4", "copy-up", 0);
	call(&denied, FX_OPEN_W, fx, "ask/f5", NULL);
	asked(fx, &denied, "/ask/f5", "copy-up", 0);
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = (\n"
				  "{ name = \"no\"; path = \"/ask/f5\"; action = \"any\"; verdict = \"deny\"; errno = \"EXDEV\"; } );\n");
	KTAP_REQUIRE(kill(fx->kunion, SIGHUP) == 0);
	ends(&op, 0, "let pass by another policy");
	ends(&denied, EXDEV, "denied by another policy");
	policy_write(POLICY_FILE, RULES);
	KTAP_REQUIRE(kill(fx->kunion, SIGHUP) == 0);
}

KTAP_TEST_LIMIT(held_until_answered, 450)
{
	struct fx fx;

	if (!fx_kernel_since(6, 18))
		fx_skip("tier park is needed");
	begin(&fx);
	fx_attach(&fx, "--policy", POLICY_FILE, NULL);
	each(&fx);
	answered(&fx);
	once(&fx);
	limits(&fx);
	signals(&fx);
	reload(&fx);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(kunion_ends_and_nobody_is_left, 200)
{
	struct fx_op op;
	struct fx fx;

	if (!fx_kernel_since(6, 18))
		fx_skip("tier park is needed");
	begin(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	call(&op, FX_OPEN_W, &fx, "ask/f0", NULL);
	asked(&fx, &op, "/ask/f0", "copy-up", 0);
	fx_detach(&fx);
	ends(&op, 0, "ended");
	KTAP_CHECK(fx_in_upper(&fx, "ask/f0"));

	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, "--pin", NULL);
	call(&op, FX_OPEN_W, &fx, "ask/f1", NULL);
	asked(&fx, &op, "/ask/f1", "copy-up", 0);
	fx_kill(&fx);
	ends(&op, ENOTTY, "killed, the policy is pinned: as at the limit");
	KTAP_CHECK(policy_open(fx_path(&fx, "ask/f2"), O_WRONLY) == ENOTTY, "and who comes later, without a wait");
	KTAP_CHECK(policy_open(fx_path(&fx, "let/f"), O_WRONLY) == 0);
	fx_sh("kunion detach --all");
	fx_end(&fx);
}

KTAP_TEST(refused_where_nobody_can_wait)
{
	char text[1024] = "";
	struct fx fx;
	FILE *f;
	int status;

	if (fx_kernel_since(6, 18))
		fx_skip("this kernel can");
	begin(&fx);
	f = popen(fx_name("kunion run -m observe --policy " POLICY_FILE " %s -- true 2>&1", fx.merged), "re");
	KTAP_REQUIRE(f && fread(text, 1, sizeof(text) - 1, f) > 0);
	status = pclose(f);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2 && strstr(text, "policy.conf:4: rule 'soon': this kernel cannot hold"), "%s", text);
	fx_end(&fx);
}

KTAP_MAIN()
