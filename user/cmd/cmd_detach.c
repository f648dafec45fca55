// SPDX-License-Identifier: GPL-2.0-only
/* kunion detach: has the daemon let a union go, or all; else takes off what kunion attach --upper put there; and what was to outlive kunion. */
#include <argp.h>
#include <stdbool.h>

#include "bind.h"
#include "cmd.h"
#include "ctl/ask.h"
#include "ctl/server.h"
#include "log.h"
#include "opts.h"
#include "util.h"

struct ku_detach {
	const char *target, *match, *socket, *container; /* socket NULL: a union of a bind mount, too */
	pid_t pid;
	bool all;
};

enum { KU_O_MATCH = 256 };

static error_t ku_detach_option(int key, char *arg, struct argp_state *state)
{
	struct ku_detach *d = state->input;

	switch (key) {
	case 'S':
		d->socket = arg;
		return 0;
	case 'c':
		if (!*arg)
			argp_error(state, "--container '': the beginning of its id, or its name");
		d->container = arg;
		return 0;
	case 'p':
		if (ku_parse_pid(arg, &d->pid))
			argp_error(state, "--pid '%s': a process's number is wanted", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (d->target)
			argp_error(state, "one TARGET at a time; '%s' is too many", arg);
		d->target = arg;
		return 0;
	case 'a':
		d->all = true;
		return 0;
	case KU_O_MATCH:
		if (!*arg)
			argp_error(state, "--match '': the glob that 'kunion attach --all --match' was given");
		d->match = arg;
		return 0;
	case ARGP_KEY_END:
		if (d->socket && d->pid)
			argp_error(state, "either --pid, for a union of a bind mount, or --socket, for the daemon");
		if (d->container && d->pid)
			argp_error(state, "either --pid, for a union of a bind mount, or --container, for the daemon");
		if (d->all && (d->container || d->target || d->pid))
			argp_error(state, "with --all no TARGET, --container or --pid: it ends 'kunion attach --all', and what 'kunion run --pin' left");
		if (d->match && !d->all)
			argp_error(state, "--match goes with --all");
		if (!d->all && !d->target)
			argp_error(state, "TARGET is missing: the directory on which the union is");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ku_detach_options[] = {
	{ "all", 'a', NULL, 0, "instead: end 'kunion attach --all' and let its unions go; and remove the policy that 'kunion run --pin' left in the kernel, and every pin", 0 },
	{ "match", KU_O_MATCH, "GLOB", 0, "with --all: only end 'kunion attach --all --match GLOB'", 0 },
	{ "container", 'c', "CONTAINER", 0, "TARGET as this container has it: the beginning of its id, or its name", 0 },
	{ "socket", 'S', "PATH", 0, "only ask the daemon there (default: " KU_CTL_SOCKET ")", 0 },
	{ "pid", 'p', "PID", 0, "TARGET as this process sees it, in its mount namespace", 0 },
	{ 0 },
};

static const struct argp ku_detach_argp = {
	.options = ku_detach_options,
	.parser = ku_detach_option,
	.args_doc = "TARGET\n--all [--match GLOB]",
	.doc = "Have the running daemon let the union on TARGET go; back when nobody waits for it there any more. If it is not attached to it: "
	       "take the union off that 'kunion attach --upper' put on TARGET: what was mounted there before is seen again, the upper "
	       "directory stays.\vStatus: 0 done, 1 the daemon is not attached to it, or a pin could not be removed, 2 nothing was done, stderr says why.\n\nExample: kunion detach /srv/data",
};

/* --socket and --match are for the daemon; else pins are removed, too, whatever it says. */
static int ku_detach_both(const struct ku_detach *d)
{
	char said[512] = "";
	int n = ku_ask_detach_all(d->socket ? d->socket : KU_CTL_SOCKET, d->match, said), status = KU_EXIT_OK;
	bool daemon_only = d->socket || d->match;

	if (!n)
		printf("ended: kunion attach --all%s%s\n", d->match ? " --match " : "", d->match ? d->match : "");
	else if (daemon_only || (n != -ENOENT && n != -ENOTCONN)) {
		ku_err("detach: %s", said);
		status = n == -ENOTCONN ? KU_EXIT_USAGE : KU_EXIT_FAIL;
	}
	if (!daemon_only) {
		n = ku_detach_all();
		status = n ? n : status;
	}
	return fflush(stdout) ? KU_EXIT_FAIL : status;
}

int ku_cmd_detach(int argc, char **argv)
{
	static char name[] = "kunion detach";
	struct ku_detach d = { 0 };
	char err[KU_LAYER_ERR];

	argv[0] = name;
	argp_err_exit_status = KU_EXIT_USAGE;
	if (argp_parse(&ku_detach_argp, argc, argv, 0, NULL, &d))
		return KU_EXIT_USAGE;
	if (d.all)
		return ku_detach_both(&d);
	/* What was done last is undone first: the daemon attached to what is mounted. */
	if (!d.pid) {
		char said[512] = "";
		int n = ku_ask_detach(d.socket ? d.socket : KU_CTL_SOCKET, d.target, d.container, said);

		if (!n)
			return KU_EXIT_OK;
		if (d.socket || d.container || (n != -ENOENT && n != -ENOTCONN)) {
			ku_err("detach: %s", said);
			return n == -ENOTCONN ? KU_EXIT_USAGE : KU_EXIT_FAIL;
		}
	}
	if (ku_bind_detach(d.target, d.pid, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	return KU_EXIT_OK;
}
