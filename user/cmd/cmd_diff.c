// SPDX-License-Identifier: GPL-2.0-only
/* kunion diff: lists what the upper layer of an overlay changes in the lower one. */
#include <argp.h>
#include <string.h>

#include "cmd.h"
#include "diff.h"
#include "log.h"
#include "opts.h"
#include "util.h"

struct ku_diff_args {
	const char *target;
	bool json;
};

static int ku_diff_run(const struct ku_diff_args *a, struct ku_drift *d)
{
	int r = ku_drift_walk(d);

	if (!r)
		r = a->json ? ku_diff_json(d, stdout) : ku_diff_text(d, stdout);
	errno = 0;
	if (!r && (fflush(stdout) || ferror(stdout)))
		r = errno ? -errno : -EIO;
	/* Who closed the pipe has seen enough. */
	if (r && r != -EPIPE) {
		ku_err("%s: %s", a->target, strerror(-r));
		return KU_EXIT_FAIL;
	}
	return d->incomplete ? KU_EXIT_FAIL : KU_EXIT_OK;
}

static int ku_diff(const struct ku_diff_args *a)
{
	int status = KU_EXIT_USAGE;
	char err[KU_UNION_ERR];
	struct ku_drift *d;
	struct ku_union u;

	if (ku_union_inspect(a->target, &u, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	if (ku_drift_new(&u, &d, err)) {
		ku_err("%s", err);
	} else {
		status = ku_diff_run(a, d);
		ku_drift_free(d);
	}
	ku_union_close(&u);
	return status;
}

static error_t ku_diff_option(int key, char *arg, struct argp_state *state)
{
	struct ku_diff_args *a = state->input;

	switch (key) {
	case 'j':
		a->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->target)
			argp_error(state, "one TARGET at a time; '%s' is too many", arg);
		a->target = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "TARGET is missing: the directory on which the overlay is mounted");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ku_diff_options[] = {
	{ "json", 'j', NULL, 0, "one JSON document", 0 },
	{ 0 },
};

static const struct argp ku_diff_argp = {
	.options = ku_diff_options,
	.parser = ku_diff_option,
	.args_doc = "TARGET",
	.doc = "Lists what the upper layer of the overlay mounted on TARGET changes in the layers below it: added, changed, metadata (nothing "
	       "else), removed, replaced. Both layers are only read.\vStatus: 0 all was looked at, whether something differs or not, 1 "
	       "something could not be, 2 nothing was (not an overlay, or its layers are not to be found).\n\nExample: kunion diff "
	       "/srv/data",
};

int ku_cmd_diff(int argc, char **argv)
{
	struct ku_diff_args a = { 0 };

	if (ku_parse_args("kunion diff", &ku_diff_argp, argc, argv, &a))
		return KU_EXIT_USAGE;
	return ku_diff(&a);
}
