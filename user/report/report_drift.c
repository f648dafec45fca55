// SPDX-License-Identifier: GPL-2.0-only
/* kunion report --drift: the events first, if there are any, then the walk. */
#include "report_drift.h"

#include <string.h>

#include "cmd.h"
#include "drift.h"
#include "log.h"
#include "util.h"

struct ku_drift_run {
	struct ku_watch *w;
	struct ku_drift *d;
	int err;
};

const char *ku_report_drift_refuses(const struct ku_watch *w)
{
	const struct ku_filter *f = &w->filter;

	if (w->all)
		return "--all";
	if (w->cmd)
		return "--";
	if (w->duration_ns)
		return "--duration";
	if (w->opts.mode != KU_MODE_OBSERVE)
		return "--mode";
	if (f->pid || f->container || f->cgroup || f->union_path || f->path || f->min_bytes || f->min_ns)
		return "a filter";
	return NULL;
}

static void ku_drift_run_event(void *arg, const struct ku_event *e)
{
	struct ku_drift_run *run = arg;

	run->err = ku_drift_event(run->d, e);
	if (run->err)
		run->w->stop = true;
}

static int ku_drift_write_out(const struct ku_drift_run *run)
{
	int err = run->w->json ? ku_drift_json(run->d, stdout) : ku_drift_text(run->d, stdout);

	if (!err && (fflush(stdout) || ferror(stdout)))
		err = errno ? -errno : -EIO;
	/* Who closed the pipe has seen enough. */
	return err == -EPIPE ? 0 : err;
}

static int ku_drift_run(struct ku_drift_run *run)
{
	int status = KU_EXIT_OK;

	if (run->w->from) {
		/* What arg is for the report's own is not this one's. */
		run->w->on_start = NULL;
		run->w->on_event = ku_drift_run_event;
		run->w->arg = run;
		status = ku_watch_run(run->w);
		run->d->with_events = true;
	}
	if (status != KU_EXIT_OK)
		return status;
	if (!run->err)
		run->err = ku_drift_walk(run->d);
	if (!run->err)
		run->err = ku_drift_write_out(run);
	if (run->err) {
		ku_err("report: %s", run->err == -ENOMEM ? "out of memory" : strerror(-run->err));
		return KU_EXIT_FAIL;
	}
	return run->d->incomplete ? KU_EXIT_FAIL : KU_EXIT_OK;
}

int ku_report_drift(struct ku_watch *w)
{
	struct ku_drift_run run = { .w = w };
	char err[KU_UNION_ERR];
	struct ku_union u;
	int status;

	if (ku_union_open(w->paths[0], &u, err)) {
		ku_err("%s", err);
		return KU_EXIT_USAGE;
	}
	if (ku_drift_new(&u, &run.d, err)) {
		ku_err("%s", err);
		status = KU_EXIT_USAGE;
	} else {
		status = ku_drift_run(&run);
		ku_drift_free(run.d);
	}
	ku_union_close(&u);
	return status;
}
