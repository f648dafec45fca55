// SPDX-License-Identifier: GPL-2.0-only
/* kunion detach: takes off what kunion attach put there. */
#include <argp.h>

#include "bind.h"
#include "cmd.h"
#include "log.h"
#include "opts.h"

struct ku_detach {
	const char *target;
	pid_t pid;
};

static error_t ku_detach_option(int key, char *arg, struct argp_state *state)
{
	struct ku_detach *d = state->input;

	switch (key) {
	case 'p':
		if (ku_parse_pid(arg, &d->pid))
			argp_error(state, "--pid '%s': a process's number is wanted", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (d->target)
			argp_error(state, "one TARGET at a time; '%s' is too many", arg);
		d->target = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "TARGET is missing: the directory on which the union is");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ku_detach_options[] = {
	{ "pid", 'p', "PID", 0, "TARGET as this process sees it, in its mount namespace", 0 },
	{ 0 },
};

static const struct argp ku_detach_argp = {
	.options = ku_detach_options,
	.parser = ku_detach_option,
	.args_doc = "TARGET",
	.doc = "Takes the union off that 'kunion attach --upper' put on TARGET: what was mounted there before is seen again, the upper "
	       "directory stays.\vStatus: 0 it is off, 2 nothing was done, stderr says why.\n\nExample: kunion detach /srv/data",
};

int ku_cmd_detach(int argc, char **argv)
{
	static char name[] = "kunion detach";
	struct ku_detach d = { 0 };
	char err[KU_LAYER_ERR];

	argv[0] = name;
	argp_err_exit_status = KU_EXIT_USAGE;
	if (argp_parse(&ku_detach_argp, argc, argv, 0, NULL, &d))
		return KU_EXIT_USAGE;
	if (ku_bind_detach(d.target, d.pid, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	return KU_EXIT_OK;
}
