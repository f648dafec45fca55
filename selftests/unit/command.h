/* SPDX-License-Identifier: GPL-2.0-only */
/* Runs a subcommand in a child and has what it printed. */
#ifndef KU_UNIT_COMMAND_H
#define KU_UNIT_COMMAND_H

#include "cmd.h"
#include "unit.h"

/* What the last command printed; its exit status is returned. */
static char *out, *err;

typedef int (*command_fn)(int argc, char **argv);

/* In the child: as the command finds it. */
static inline int command_call(command_fn fn, const char *const *words)
{
	static char room[32][512];
	char *argv[33] = { 0 };
	int argc = 0;

	for (; words[argc]; argc++) {
		KTAP_REQUIRE(argc < 32 && strlen(words[argc]) < sizeof(room[0]));
		argv[argc] = strcpy(room[argc], words[argc]);
	}
	return fn(argc, argv);
}

static inline int command_end(pid_t pid)
{
	int status;

	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status)) {
		KTAP_CHECK(false, "ended by signal %d", WTERMSIG(status));
		return -1;
	}
	return WEXITSTATUS(status);
}

/* Input is a file, NULL for none. Needs unit_place(). */
static inline int command_in(const char *input, command_fn fn, const char *const *words)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		int i = open(input ? input : "/dev/null", O_RDONLY | O_CLOEXEC);
		int o = open("/tmp/out", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
		int e = open("/tmp/err", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

		if (dup2(i, 0) < 0 || dup2(o, 1) < 0 || dup2(e, 2) < 0)
			_exit(99);
		status = command_call(fn, words);
		fflush(NULL);
		_exit(status);
	}
	status = command_end(pid);
	free(out);
	free(err);
	out = unit_read("/tmp/out", NULL);
	err = unit_read("/tmp/err", NULL);
	return status;
}

#define COMMAND(fn, ...) command_in(NULL, fn, (const char *const[]){ __VA_ARGS__, NULL })

/* Status 2, one line that has name in it (and perhaps one on where to find help), and nothing on stdout. */
static inline void command_refused(int status, const char *name)
{
	const char *end = strchr(err, '\n');

	KTAP_CHECK(status == KU_EXIT_USAGE, "status %d: %s", status, err);
	KTAP_CHECK(end && (!end[1] || !strncmp(end + 1, "Try ", 4)), "not one line: %s", err);
	KTAP_CHECK(!strncmp(err, "kunion", 6), "%s", err);
	KTAP_CHECK(strstr(err, name), "'%s' is not in: %s", name, err);
	KTAP_CHECK(!*out, "%s", out);
}

#endif
