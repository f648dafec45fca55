// SPDX-License-Identifier: GPL-2.0-only
/* kunion attach: has the daemon attach to a union; with --upper, makes a union of a bind mount. */
#include <argp.h>
#include <string.h>

#include "bind.h"
#include "cmd.h"
#include "ctl/ask.h"
#include "ctl/call.h"
#include "ctl/server.h"
#include "log.h"
#include "opts.h"
#include "stop.h"
#include "util.h"

enum { KU_O_UPPER = 256, KU_O_WORK, KU_O_ALL, KU_O_MATCH };

struct ku_attach {
	struct ku_bind bind;
	const char *socket, *mode;
	uint64_t min_size;
	bool asks;    /* an option that only the daemon has was given */
	bool has_min_size, all;
	const char *container, *match;
	char **paths;
	unsigned int npaths;
};

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

/* Unions that are looked for, not named. */
static bool ku_attach_is_found(const struct ku_attach *a)
{
	return !a->bind.upper && (a->bind.pid || a->container || a->all);
}

static void ku_attach_found_end(const struct ku_attach *a, struct argp_state *state)
{
	if (!!a->bind.pid + !!a->container + a->all > 1)
		argp_error(state, "one of --pid, --container and --all");
	if (ku_attach_is_found(a) && a->npaths)
		argp_error(state, "'%s': with --pid, --container or --all no MERGED is named; --match takes a glob", a->paths[0]);
	if (a->match && !ku_attach_is_found(a))
		argp_error(state, "--match goes with --pid, --container or --all");
}

static error_t ku_attach_option(int key, char *arg, struct argp_state *state)
{
	struct ku_attach *a = state->input;
	struct ku_bind *b = &a->bind;
	enum ku_mode mode;

	switch (key) {
	case 'S':
		a->socket = arg;
		a->asks = true;
		return 0;
	case 'm':
		if (ku_parse_mode(arg, &mode))
			argp_error(state, "--mode '%s': observe, guard or manage", arg);
		a->mode = arg;
		a->asks = true;
		return 0;
	case 's':
		if (ku_parse_size(arg, &a->min_size) || a->min_size > INT64_MAX)
			argp_error(state, "--min-size '%s': bytes, or with K, M, G, as 64K", arg);
		a->has_min_size = a->asks = true;
		return 0;
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
	case 'c':
		if (!*arg)
			argp_error(state, "--container '': the beginning of its id, or its name");
		a->container = arg;
		return 0;
	case KU_O_ALL:
		a->all = true;
		return 0;
	case KU_O_MATCH:
		if (!*arg)
			argp_error(state, "--match '': a glob, as /var/lib/containers/**");
		a->match = arg;
		return 0;
	case ARGP_KEY_ARG:
		a->paths[a->npaths++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!b->upper)
			ku_attach_found_end(a, state);
		else if (a->container || a->all || a->match)
			argp_error(state, "--upper is for one bind mount: leave --container, --all and --match out");
		if (!a->npaths && !ku_attach_is_found(a))
			argp_error(state, b->upper ? "TARGET is missing: the directory on which the bind mount is" :
						     "MERGED is missing: the directory on which the overlay is mounted");
		if (b->upper && a->npaths > 1)
			argp_error(state, "one TARGET at a time; '%s' is too many", a->paths[1]);
		if (b->upper && a->asks)
			argp_error(state, "--mode, --min-size and --socket are for the daemon: attach it in a second step, without --upper");
		if (!b->upper && b->work)
			argp_error(state, "--upper is missing: the directory that takes what is written");
		b->target = a->paths[0];
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ku_attach_options[] = {
	{ "upper", KU_O_UPPER, "DIR", 0, "what is written goes there; made if it is missing", 0 },
	{ "work", KU_O_WORK, "DIR", 0, "for overlayfs, on the same mount (default: that of --upper with '.work' behind it)", 0 },
	{ "pid", 'p', "PID", 0, "the overlays of this process's mount namespace; with --upper: TARGET as it sees it, DIR is the caller's", 0 },
	{ "container", 'c', "CONTAINER", 0, "the overlays of this container: the beginning of its id, or its name", 0 },
	{ "all", KU_O_ALL, NULL, 0, "every overlay, containers' too, and those to come from their mounting on", 0 },
	{ "match", KU_O_MATCH, "GLOB", 0, "of these only the ones with such a path: * and ? within a name, ** across", 0 },
	{ "mode", 'm', "observe|guard|manage", 0, "instead of what the daemon is configured for", 0 },
	{ "min-size", 's', "SIZE", 0, "leave smaller files to the kernel", 0 },
	{ "socket", 'S', "PATH", 0, "the daemon's control socket (default: " KU_CTL_SOCKET ")", 0 },
	{ 0 },
};

static const struct argp ku_attach_argp = {
	.options = ku_attach_options,
	.parser = ku_attach_option,
	.args_doc = "MERGED...\n--pid PID\n--container CONTAINER\n--all\n--upper DIR TARGET",
	.doc = "Have the running daemon attach to the overlays mounted on MERGED, until 'kunion detach' or until they are unmounted; or to those of a container, or to all. With --upper: "
	       "put an overlay in the place of the bind mount, or other mount of a directory, on TARGET: the same tree, but what is written "
	       "goes to DIR.\vStatus: 0 done, 1 the daemon could not attach to one, 2 nothing was done, stderr says why.\n\nExample: kunion attach "
	       "--upper /srv/data.upper /srv/data",
};

int ku_cmd_attach(int argc, char **argv)
{
	static char name[] = "kunion attach";
	struct ku_attach a = { .socket = KU_CTL_SOCKET };
	int status = KU_EXIT_OK;

	argv[0] = name;
	argp_err_exit_status = KU_EXIT_USAGE;
	a.paths = calloc((size_t)argc + 1, sizeof(*a.paths));
	if (!a.paths) {
		ku_err("out of memory");
		return KU_EXIT_USAGE;
	}
	if (argp_parse(&ku_attach_argp, argc, argv, 0, NULL, &a)) {
		status = KU_EXIT_USAGE;
	} else if (ku_attach_is_found(&a)) {
		struct ku_ctl_all all = { .pid = (uint32_t)a.bind.pid, .container = a.container, .match = a.match, .mode = a.mode,
					  .min_size = a.has_min_size ? (int64_t)a.min_size : -1 };

		status = ku_ask_attach_all(a.socket, &all);
	} else if (!a.bind.upper) {
		for (unsigned int i = 0; i < a.npaths && status != KU_EXIT_USAGE; i++) {
			int n = ku_ask_attach(a.socket, a.paths[i], a.mode, a.has_min_size ? (int64_t)a.min_size : -1);

			status = n ? n : status;
		}
	} else if (ku_stop_init() < 0) {
		ku_err("KUNION_STOP_DIR is for tests, by root, and names a directory");
		status = KU_EXIT_USAGE;
	} else {
		status = ku_attach_bind(&a.bind);
	}
	free(a.paths);
	return status;
}
