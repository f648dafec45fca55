// SPDX-License-Identifier: GPL-2.0-only
/* What is held, listed (kunion policy questions), and answered by a program (kunion run --answer). */
#include "hold.h"

#include <signal.h>

FX_BARE

#define PROGRAM FX_DIR "/decide"
#define KEPT FX_DIR "/kept" /* what the program leaves behind */
#define AT_ONCE 8
#define MANY 11

/* 500 s: nobody comes to it by being slow. */
#define RULES                                                                                                                           \
	"version = 1;\ndefault = \"allow\";\nrules = (\n"                                                                               \
	"{ name = \"soon\"; path = \"/soon/*\"; action = \"any\"; verdict = \"hold\"; limit = 2; errno = \"ENOTTY\"; },\n"              \
	"{ name = \"let\"; path = \"/let/*\"; action = \"any\"; verdict = \"hold\"; limit = 500; otherwise = \"allow\"; },\n"           \
	"{ name = \"ask\"; path = \"/ask/*\"; action = \"any\"; verdict = \"hold\"; limit = 500; errno = \"ENOTTY\"; }\n);\n"

/* Decides by the name; "stay" and "many" run until they are killed, or a file is there. */
static void program(void)
{
	FILE *f = fopen(PROGRAM, "we");

	KTAP_REQUIRE(f);
	fputs("#!/bin/sh\n"
	      "cat >" KEPT "/$KUNION_ID.json\n"
	      "env | grep ^KUNION_ | sort >" KEPT "/$KUNION_ID.env\n"
	      "case $KUNION_PATH in\n"
	      "*/yes) exit 0 ;;\n"
	      "*/no) echo said no; exit 1 ;;\n"
	      "*/odd) exit 7 ;;\n"
	      "*/dies) kill -9 $$ ;;\n"
	      "*/many*) : >" KEPT "/runs.$KUNION_ID; while [ ! -e " KEPT "/go ]; do sleep 0.1; done; exit 0 ;;\n"
	      "*/stay*) sleep 5000 & echo $! >" KEPT "/stays.$KUNION_ID; wait ;;\n"
	      "esac\n",
	      f);
	KTAP_REQUIRE(fclose(f) == 0 && chmod(PROGRAM, 0755) == 0 && mkdir(KEPT, 0755) == 0);
}

static void begin(struct fx *fx)
{
	static const char *const names[] = { "ask/yes", "ask/no", "ask/odd", "ask/dies", "let/odd", "let/dies", "soon/stay", "ask/stay", "ask/stay2" };

	fx_init(fx, NULL);
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fx_lower(fx, names[i], FX_KB(64), 0644);
	for (int i = 0; i < MANY; i++)
		fx_lower(fx, fx_name("ask/many%d", i), FX_KB(64), 0644);
	fx_mount(fx);
	policy_write(POLICY_FILE, RULES);
	program();
}

static int out_of(const char *cmd, char *out, size_t size)
{
	FILE *f = popen(cmd, "re");
	size_t n;
	int status;

	KTAP_REQUIRE(f);
	n = fread(out, 1, size - 1, f);
	out[n] = '\0';
	status = pclose(f);
	KTAP_REQUIRE(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The number of open questions; *ret, if asked for, is the list, to be json_object_put() with what it is in. */
static int questions(struct json_object **ret_doc)
{
	static char text[65536];
	struct json_object *doc, *list;
	int n;

	KTAP_REQUIRE(out_of("kunion policy questions --json 2>&1", text, sizeof(text)) == 0, "%s", text);
	doc = json_tokener_parse(text);
	KTAP_REQUIRE(doc && json_object_object_get_ex(doc, "questions", &list), "%s", text);
	n = (int)json_object_array_length(list);
	if (ret_doc)
		*ret_doc = doc;
	else
		json_object_put(doc);
	return n;
}

static const char *kept(uint64_t id, const char *what)
{
	static char text[16384];
	int fd = open(fx_name(KEPT "/%s", fx_name(what, (unsigned long long)id)), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static bool kept_wait(uint64_t id, const char *what)
{
	for (int i = 0; i < FX_LONG / 20 && !*kept(id, what); i++)
		fx_sleep_ms(20);
	return *kept(id, what);
}

static bool gone(pid_t pid)
{
	for (int i = 0; i < FX_LONG / 20; i++) {
		char state = fx_task_state(pid);

		if (state == '?' || state == 'Z')
			return true;
		fx_sleep_ms(20);
	}
	return false;
}

static void answers(struct fx *fx, const char *name, int err)
{
	struct fx_op op;
	uint64_t id;

	fx_call_start(&op, FX_CALL(FX_OPEN_W, fx_path(fx, name)));
	id = question(fx, fx_name("/%s", name), "copy-up", 0);
	KTAP_REQUIRE(id, "%s", name);
	ends(&op, err, name);
	KTAP_CHECK(fx_in_upper(fx, name) == !err, "%s", name);
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "policy", "path", fx_name("/%s", name), "verdict", "hold", "errno", err ? strerrorname_np(err) : "", NULL),
		   "%s", name);
}

/* What a program is told is what the event tells. */
static void facts(struct fx *fx)
{
	uint64_t id = question(fx, "/ask/yes", "copy-up", 0);
	struct json_object *event = fx_event_find(fx, "event", "hold", "path", "/ask/yes", NULL), *told;
	const char *env;

	told = json_tokener_parse(kept(id, "%llu.json"));
	KTAP_CHECK(event && told && json_object_equal(event, told), "%s", kept(id, "%llu.json"));
	json_object_put(event);
	json_object_put(told);
	env = kept(id, "%llu.env");
	KTAP_CHECK(strstr(env, "KUNION_ACTION=copy-up\n") && strstr(env, "KUNION_PATH=/ask/yes\n") && strstr(env, "KUNION_RULE=ask\n") &&
			   strstr(env, "KUNION_SIZE=65536\n") && strstr(env, "KUNION_KIND=file\n") && strstr(env, "KUNION_LIMIT=500\n") &&
			   strstr(env, "KUNION_ERRNO=ENOTTY\n") && strstr(env, "KUNION_UID=0\n") &&
			   strstr(env, fx_name("KUNION_ID=%llu\n", (unsigned long long)id)) && strstr(env, fx_name("KUNION_UNION=%s\n", fx->merged)),
		   "%s", env);
}

/* At the limit the program is killed, with what it has started. */
static void too_slow(struct fx *fx)
{
	struct fx_op op;
	uint64_t id;
	pid_t pid;

	fx_call_start(&op, FX_CALL(FX_OPEN_W, fx_path(fx, "soon/stay")));
	id = question(fx, "/soon/stay", "copy-up", 0);
	KTAP_REQUIRE(id);
	ends(&op, ENOTTY, "at the limit");
	/* Where the machine was too slow it was killed before it got there. */
	pid = (pid_t)strtol(kept(id, "stays.%llu"), NULL, 10);
	KTAP_CHECK(!pid || gone(pid), "%d still runs", (int)pid);
	KTAP_CHECK(!fx_in_upper(fx, "soon/stay"));
}

static int running(void)
{
	int n = 0;
	FILE *f = popen("ls " KEPT " | grep -c runs", "re");

	KTAP_REQUIRE(f && fscanf(f, "%d", &n) == 1);
	pclose(f);
	return n;
}

static bool running_wait(int n)
{
	for (int i = 0; i < FX_LONG / 20 && running() < n; i++)
		fx_sleep_ms(20);
	return running() == n;
}

/* More than may run at once: all are listed, may be answered by hand, and the next one begins when one is over. */
static void many(struct fx *fx)
{
	static char text[16384];
	struct json_object *doc, *list, *v;
	struct fx_op ops[MANY];
	uint64_t ids[MANY];

	KTAP_CHECK(questions(NULL) == 0);
	KTAP_CHECK(out_of("kunion policy questions", text, sizeof(text)) == 0 && !strcmp(text, "no operation waits for an answer\n"), "%s", text);
	for (int i = 0; i < MANY; i++) {
		const char *name = fx_name("ask/many%d", i);

		fx_call_start(&ops[i], FX_CALL(FX_OPEN_W, fx_path(fx, name)));
		ids[i] = asked(fx, &ops[i], fx_name("/%s", name), "copy-up", 0);
	}
	KTAP_CHECK(running_wait(AT_ONCE), "%d run", running());
	KTAP_CHECK(questions(&doc) == MANY);
	json_object_object_get_ex(doc, "questions", &list);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		KTAP_CHECK(json_object_object_get_ex(o, "id", &v) && json_object_get_uint64(v) == ids[i]);
		KTAP_CHECK(json_object_object_get_ex(o, "path", &v) && !strcmp(json_object_get_string(v), fx_name("/ask/many%zu", i)));
		KTAP_CHECK(json_object_object_get_ex(o, "left_ms", &v) && json_object_get_int64(v) > 0 && json_object_get_int64(v) <= 500000);
	}
	json_object_put(doc);
	KTAP_CHECK(out_of("kunion policy questions", text, sizeof(text)) == 0 && !strncmp(text, "ID ", 3), "%s", text);
	KTAP_CHECK(strstr(text, fx_name("%llu", (unsigned long long)ids[0])) && strstr(text, "copy-up") &&
			   strstr(text, fx_name("%s/ask/many%d\n", fx->merged, MANY - 1)),
		   "%s", text);
	/* Of one whose program runs: it is killed, and makes room for another. */
	KTAP_CHECK(answer(ids[0], "deny:ELIBBAD") == 0);
	ends(&ops[0], ELIBBAD, "by hand");
	KTAP_CHECK(running_wait(AT_ONCE + 1), "%d began", running());
	KTAP_CHECK(questions(NULL) == MANY - 1);
	fx_sh(": >" KEPT "/go");
	for (int i = 1; i < MANY; i++)
		ends(&ops[i], 0, "one of many");
	KTAP_CHECK(questions(NULL) == 0 && running() == MANY);
}

/* Another policy, and kunion's end: nobody waits, and no program is left. */
static void ends_with_it(struct fx *fx)
{
	struct fx_op op;
	uint64_t id;
	pid_t pid;

	for (int i = 0; i < 2; i++) {
		const char *name = i ? "ask/stay2" : "ask/stay";

		fx_call_start(&op, FX_CALL(FX_OPEN_W, fx_path(fx, name)));
		id = asked(fx, &op, fx_name("/%s", name), "copy-up", 0);
		KTAP_REQUIRE(kept_wait(id, "stays.%llu"));
		pid = (pid_t)strtol(kept(id, "stays.%llu"), NULL, 10);
		KTAP_CHECK(pid > 0 && !kill(pid, 0));
		if (i) {
			fx_detach(fx);
		} else {
			policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = ( );\n");
			KTAP_REQUIRE(kill(fx->kunion, SIGHUP) == 0);
		}
		ends(&op, 0, name);
		KTAP_CHECK(gone(pid), "%d still runs", (int)pid);
		if (!i) {
			policy_write(POLICY_FILE, RULES);
			KTAP_REQUIRE(kill(fx->kunion, SIGHUP) == 0);
			/* Until that is in force. */
			for (int n = 0; n < FX_LONG / 20 && policy_open(fx_path(fx, "ask/no"), O_WRONLY) != ENOTTY; n++)
				fx_sleep_ms(20);
		}
	}
}

KTAP_TEST_LIMIT(a_program_answers, 450)
{
	char *log;
	struct fx fx;

	if (!fx_kernel_since(6, 18))
		fx_skip("tier park is needed");
	begin(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, "--answer", PROGRAM, NULL);
	answers(&fx, "ask/yes", 0);
	facts(&fx);
	answers(&fx, "ask/no", ENOTTY);
	answers(&fx, "ask/odd", ENOTTY);
	answers(&fx, "ask/dies", ENOTTY);
	answers(&fx, "let/odd", 0);
	answers(&fx, "let/dies", 0);
	too_slow(&fx);
	many(&fx);
	ends_with_it(&fx);
	log = fx_log_text(&fx);
	KTAP_CHECK(strstr(log, "said no\n") && strstr(log, "exit status 7 is no answer") && strstr(log, "signal 9 ended it"), "%s", log);
	free(log);
	fx_end(&fx);
}

static void refused(const struct fx *fx, const char *options, const char *why)
{
	char text[1024];

	KTAP_CHECK(out_of(fx_name("kunion run -m observe %s %s -- true 2>&1", options, fx->merged), text, sizeof(text)) == 2 && strstr(text, why), "%s", text);
}

KTAP_TEST(what_cannot_be_run_is_refused)
{
	struct fx fx;

	fx_init(&fx, NULL);
	fx_mount(&fx);
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = ( );\n");
	refused(&fx, "--policy " POLICY_FILE " --answer /nowhere", "answer '/nowhere': No such file or directory");
	refused(&fx, "--policy " POLICY_FILE " --answer " POLICY_FILE, "Permission denied; the path of a program that can be run would be right");
	refused(&fx, "--policy " POLICY_FILE " --answer /tmp", "answer '/tmp': Permission denied");
	refused(&fx, "--answer /bin/true", "--answer is for a policy");
	fx_end(&fx);
}

KTAP_MAIN()
