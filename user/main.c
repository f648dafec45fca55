// SPDX-License-Identifier: GPL-2.0-only
/* kunion: the table of subcommands. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "log.h"
#include "util.h"

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *what;
} ku_cmds[] = {
	{ "run", ku_cmd_run, "attach to unions while a command runs" },
	{ "daemon", ku_cmd_daemon, "attach to unions as a service" },
	{ "attach", ku_cmd_attach, "have the daemon attach to a union, or make one of a bind mount" },
	{ "detach", ku_cmd_detach, "have the daemon let a union go; take one off a bind mount, or a pinned policy" },
	{ "status", ku_cmd_status, "show the daemon's unions, and what can be done there" },
	{ "trace", ku_cmd_trace, "show copy-ups and waits as they happen" },
	{ "top", ku_cmd_top, "show what is copied up now, and who waits" },
	{ "metrics", ku_cmd_metrics, "count copy-ups and waits, as OpenMetrics text" },
	{ "copy-up", ku_cmd_copy_up, "copy lower files up now" },
	{ "report", ku_cmd_report, "tell afterwards what copy-ups cost, and what to do about it" },
	{ "doctor", ku_cmd_doctor, "say what this kernel allows, and prove it" },
	{ "fsck", ku_cmd_fsck, "find, and with --repair remove, what a crash left" },
	{ "commit", ku_cmd_commit, "carry the upper layer of a union of a bind mount into the lower one" },
	{ "diff", ku_cmd_diff, "list what the upper layer changes in the lower one" },
	{ "policy", ku_cmd_policy, "check, explain, test or learn what may be written" },
};

static void ku_usage(FILE *f)
{
	fprintf(f, "Usage: kunion COMMAND [OPTION...]\n\nkernel-observed union manager for overlayfs\n\n");
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_cmds); i++)
		fprintf(f, "  %-10s %s\n", ku_cmds[i].name, ku_cmds[i].what);
	fprintf(f, "\n'kunion COMMAND --help' tells a command's options.\n");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		ku_usage(stderr);
		return KU_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		ku_usage(stdout);
		return KU_EXIT_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("kunion " KU_VERSION);
		return KU_EXIT_OK;
	}
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_cmds); i++)
		if (!strcmp(argv[1], ku_cmds[i].name))
			return ku_cmds[i].fn(argc - 1, argv + 1);

	ku_err("no command '%s': 'kunion --help' lists them", argv[1]);
	return KU_EXIT_USAGE;
}
