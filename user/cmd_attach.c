// SPDX-License-Identifier: GPL-2.0-only
/* kunion attach: makes a union of a bind mount. */
#include <argp.h>
#include <string.h>

#include "bind.h"
#include "cmd.h"
#include "log.h"
#include "opts.h"
#include "stop.h"
#include "util.h"

enum { KU_O_UPPER = 256, KU_O_WORK };

static int ku_attach_bind(const struct ku_bind *b)
{
	char err[KU_LAYER_ERR];
	bool read_only;

	if (ku_bind_attach(b, &read_only, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	if (read_only)
		ku_warn("%s: read-only, as the mount was; 'mount -o remount,bind,rw %s' makes it writable", b->target, b->target);
	return KU_EXIT_OK;
}

static error_t ku_attach_option(int key, char *arg, struct argp_state *state)
{
	struct ku_bind *b = state->input;

	switch (key) {
	case KU_O_UPPER:
		b->upper = arg;
		return 0;
	case KU_O_WORK:
		b->work = arg;
		return 0;
	case 'p':
		if (ku_parse_pid(arg, &b->pid))
			argp_error(state, "--pid '%s': a process's number is wanted", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (b->target)
			argp_error(state, "one TARGET at a time; '%s' is too many", arg);
		b->target = arg;
		return 0;
	case ARGP_KEY_END:
		if (!b->target)
			argp_error(state, "TARGET is missing: the directory on which the bind mount is");
		if (!b->upper)
			argp_error(state, "--upper is missing: the directory that takes what is written");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ku_attach_options[] = {
	{ "upper", KU_O_UPPER, "DIR", 0, "what is written goes there; made if it is missing", 0 },
	{ "work", KU_O_WORK, "DIR", 0, "for overlayfs, on the same mount (default: that of --upper with '.work' behind it)", 0 },
	{ "pid", 'p', "PID", 0, "TARGET as this process sees it, in its mount namespace; DIR is the caller's", 0 },
	{ 0 },
};

static const struct argp ku_attach_argp = {
	.options = ku_attach_options,
	.parser = ku_attach_option,
	.args_doc = "--upper DIR TARGET",
	.doc = "Puts an overlay in the place of the bind mount, or other mount of a directory, on TARGET: the same tree, but what is written "
	       "goes to DIR.\vStatus: 0 it is there, 2 nothing was done, stderr says why.\n\nExample: kunion attach --upper "
	       "/srv/data.upper /srv/data",
};

int ku_cmd_attach(int argc, char **argv)
{
	static char name[] = "kunion attach";
	struct ku_bind b = { 0 };

	argv[0] = name;
	argp_err_exit_status = KU_EXIT_USAGE;
	if (argp_parse(&ku_attach_argp, argc, argv, 0, NULL, &b))
		return KU_EXIT_USAGE;
	if (ku_stop_init() < 0) {
		ku_err("KUNION_STOP_DIR is for tests, by root, and names a directory");
		return KU_EXIT_USAGE;
	}
	return ku_attach_bind(&b);
}
