// SPDX-License-Identifier: GPL-2.0-only
/* kunion daemon's setting answer: the program that decides what its policy holds, another one by a reload, and programs that do not do. */
#include "hold.h"
#include "service.h"

#include <signal.h>

FX_BARE

#define DECIDE FX_DIR "/decide"
#define CONTRARY FX_DIR "/contrary" /* says the contrary */
#define STAYS FX_DIR "/stays"	    /* the process number of a program that does not end */

/* 500 s: nobody comes to it by being slow. */
#define RULES                                                                                                                            \
	"version = 1;\ndefault = \"allow\";\nrules = (\n"                                                                                \
	"{ name = \"soon\"; path = \"/soon/*\"; action = \"any\"; verdict = \"hold\"; limit = 2; errno = \"ENOTTY\"; },\n"               \
	"{ name = \"let\"; path = \"/let/*\"; action = \"any\"; verdict = \"hold\"; limit = 500; otherwise = \"allow\"; },\n"            \
	"{ name = \"ask\"; path = \"/ask/*\"; action = \"any\"; verdict = \"hold\"; limit = 500; errno = \"ENOTTY\"; }\n);\n"

static const char *const names[] = { "ask/yes", "ask/no", "ask/odd", "ask/gone", "ask/yes2", "ask/no2", "ask/stay", "ask/hand", "ask/last",
				     "let/odd", "let/gone", "soon/stay" };

static void script(const char *name, int yes, int no)
{
	write_file(name, fx_name("#!/bin/sh\n"
				 "case $KUNION_PATH in\n"
				 "*/yes*) exit %d ;;\n"
				 "*/no*) exit %d ;;\n"
				 "*/odd) exit 7 ;;\n"
				 "*/stay) [ %d = 1 ] && exit 0; echo $$ >" STAYS ".new; mv " STAYS ".new " STAYS "; exec sleep 5000 ;;\n"
				 "esac\n", yes, no, yes));
	KTAP_REQUIRE(chmod(name, 0755) == 0);
}

static void configure(const struct fx *fx, const char *program)
{
	write_file(CONF, fx_name("mode = \"observe\";\nevents = \"%s\";\npolicy = \"" POLICY_FILE "\";\n%s", fx->events,
				 program ? fx_name("answer = \"%s\";\n", program) : ""));
}

static void reload(const struct fx *fx, const char *program)
{
	configure(fx, program);
	forget_told();
	KTAP_CHECK(!kill(daemon_pid, SIGHUP) && told("RELOADING=1") && told("READY=1"), "%s", notified);
}

static int lines_with(const char *name, const char *what)
{
	int n = 0;

	for (const char *at = text_of(name); (at = strstr(at, what)); at++)
		n++;
	return n;
}

static void open_w(struct fx_op *op, const struct fx *fx, const char *name)
{
	fx_call_start(op, FX_CALL(FX_OPEN_W, fx_path(fx, name)));
}

/* Asked about, and what came of it. */
static void goes(struct fx *fx, const char *name, int err)
{
	struct fx_op op;

	open_w(&op, fx, name);
	KTAP_CHECK(question(fx, fx_name("/%s", name), "copy-up", 0), "%s", name);
	ends(&op, err, name);
	KTAP_CHECK(fx_in_upper(fx, name) == !err, "%s", name);
	policy_told(fx, fx_name("/%s", name), "copy-up", "hold", err, 1);
}

static pid_t stays(void)
{
	said(STAYS, "\n");
	return (pid_t)strtol(text_of(STAYS), NULL, 10);
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

/* With a program that is not there it does not begin. */
static void missing(const struct fx *fx)
{
	configure(fx, FX_DIR "/missing");
	daemon_pid = start(fx->log, (const char *const[]){ "kunion", "daemon", "-c", CONF, "--socket", SOCK, NULL });
	KTAP_CHECK(finish(daemon_pid) == 2 && strstr(text_of(fx->log), "/missing': No such file or directory; the path of a program"), "%s", text_of(fx->log));
}

static void decides(struct fx *fx)
{
	goes(fx, "ask/yes", 0);
	goes(fx, "ask/no", ENOTTY);
	goes(fx, "ask/odd", ENOTTY);
	goes(fx, "let/odd", 0);
	KTAP_CHECK(lines_with(fx->log, "exit status 7 is no answer to question") == 2, "%s", text_of(fx->log));
	/* One that does not end, at the limit; where the machine was too slow it was killed before it got there. */
	goes(fx, "soon/stay", ENOTTY);
	KTAP_CHECK(!fx_exists(STAYS) || gone(stays()));
	unlink(STAYS);
	/* Not there any more. */
	KTAP_REQUIRE(rename(DECIDE, DECIDE ".away") == 0);
	goes(fx, "ask/gone", ENOTTY);
	goes(fx, "let/gone", 0);
	KTAP_CHECK(lines_with(fx->log, "exit status 127 is no answer to question") == 2, "%s", text_of(fx->log));
	KTAP_REQUIRE(rename(DECIDE ".away", DECIDE) == 0);
}

/* Another program: for what comes, and for what is held. One that is not there changes nothing; without one people answer. */
static void reloads(struct fx *fx)
{
	struct fx_op op;
	uint64_t id;
	pid_t pid;

	open_w(&op, fx, "ask/stay");
	asked(fx, &op, "/ask/stay", "copy-up", 0);
	pid = stays();
	/* A good policy would be one more reason to ask again. */
	policy_write(POLICY_FILE, "version = 0;\n");
	reload(fx, CONTRARY);
	ends(&op, 0, "held when it was read again");
	KTAP_CHECK(gone(pid), "%d still runs", (int)pid);
	KTAP_CHECK(strstr(text_of(fx->log), "the policy as it was stays in force"), "%s", text_of(fx->log));
	policy_write(POLICY_FILE, RULES);
	goes(fx, "ask/yes2", ENOTTY);
	reload(fx, FX_DIR "/missing");
	KTAP_CHECK(strstr(text_of(fx->log), "/missing': No such file or directory") && strstr(text_of(fx->log), "the configuration as it was stays in force"),
		   "%s", text_of(fx->log));
	goes(fx, "ask/no2", 0);
	reload(fx, NULL);
	open_w(&op, fx, "ask/hand");
	id = asked(fx, &op, "/ask/hand", "copy-up", 0);
	KTAP_CHECK(answer(id, "deny:ELIBBAD") == 0);
	ends(&op, ELIBBAD, "by hand");
	KTAP_CHECK(!strstr(text_of(fx->log), "takes a restart"), "%s", text_of(fx->log));
}

KTAP_TEST_LIMIT(a_program_answers_the_daemon, 450)
{
	struct fx_op op;
	struct fx fx;

	if (!fx_kernel_since(6, 18))
		fx_skip("tier park is needed");
	fx_init(&fx, NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fx_lower(&fx, names[i], FX_KB(64), 0644);
	fx_mount(&fx);
	notify_socket();
	policy_write(POLICY_FILE, RULES);
	script(DECIDE, 0, 1);
	script(CONTRARY, 1, 0);
	missing(&fx);
	configure(&fx, DECIDE);
	forget_told();
	daemon_pid = start(fx.log, (const char *const[]){ "kunion", "daemon", "-c", CONF, "--socket", SOCK, NULL });
	KTAP_REQUIRE(told("READY=1"), "%s", text_of(fx.log));
	KTAP_CHECK(KUNION("attach", fx.merged) == 0, "%s", SAID);
	decides(&fx);
	reloads(&fx);
	open_w(&op, &fx, "ask/last");
	asked(&fx, &op, "/ask/last", "copy-up", 0);
	KTAP_CHECK(!kill(daemon_pid, SIGTERM) && finish(daemon_pid) == 0, "%s", text_of(fx.log));
	ends(&op, 0, "the daemon has ended");
	fx_end(&fx);
}

KTAP_MAIN()
