// SPDX-License-Identifier: GPL-2.0-only
/* kunion report: what a run's copy-ups cost, who waited for whom, and what to do about it. */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "analysis.h"
#include "cmd.h"
#include "log.h"
#include "report_drift.h"
#include "report_html.h"
#include "report_out.h"
#include "util.h"
#include "watch.h"
#include "writable.h"

enum { KU_O_HTML = 0x200, KU_O_WRITABLE, KU_O_HYDRATE, KU_O_DRIFT };

struct ku_report {
	struct ku_watch w;
	const char *html;
	char *html_path; /* where html's symlinks lead */
	bool writable, hydrate, drift;
	bool started;
	int err; /* of taking events in */
	struct ku_analysis *a;
	struct ku_writable *paths;
};

static const struct argp_option ku_report_options[] = {
	{ "html", KU_O_HTML, "FILE|-", 0, "one self-contained page, instead of text", 3 },
	{ "drift", KU_O_DRIFT, NULL, 0, "what the upper layer of MERGED changes in the image; with --from, by whom and when", 3 },
	{ "writable-paths", KU_O_WRITABLE, NULL, 0, "only what must be writable for this workload, as options for a read-only root", 3 },
	{ "hydrate-list", KU_O_HYDRATE, NULL, 0, "only what to copy up before the next start, for 'kunion copy-up --from'", 3 },
	{ 0 },
};

static void ku_report_drift_look(const struct ku_report *r, struct argp_state *state)
{
	const char *other = r->html ? "--html" : r->writable ? "--writable-paths" : r->hydrate ? "--hydrate-list" : ku_report_drift_refuses(&r->w);

	if (other)
		argp_error(state, "--drift looks at what is there now: %s has no use with it", other);
	if (r->w.npaths != 1)
		argp_error(state, "--drift: %s MERGED: name the directory on which the overlay is mounted", r->w.npaths ? "more than one" : "no");
}

static error_t ku_report_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_report *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->w;
		return 0;
	case KU_O_HTML:
		r->html = arg;
		return 0;
	case KU_O_WRITABLE:
		r->writable = true;
		return 0;
	case KU_O_HYDRATE:
		r->hydrate = true;
		return 0;
	case KU_O_DRIFT:
		r->drift = r->w.beside = true;
		return 0;
	case ARGP_KEY_END:
		if (r->drift)
			ku_report_drift_look(r, state);
		if (r->writable && r->hydrate)
			argp_error(state, "either --writable-paths or --hydrate-list, not both");
		if (r->html && (r->writable || r->hydrate))
			argp_error(state, "--html is of the whole report, not of --%s", r->writable ? "writable-paths" : "hydrate-list");
		if (r->html && r->w.json && !strcmp(r->html, "-"))
			argp_error(state, "--html - and --json both want stdout: give --html a file");
	}
	return ARGP_ERR_UNKNOWN;
}

static void ku_report_start(void *arg, struct ku_session *s)
{
	struct ku_report *r = arg;

	(void)s;
	r->started = true;
}

static void ku_report_event(void *arg, const struct ku_event *e)
{
	struct ku_report *r = arg;

	r->err = ku_analysis_add(r->a, e);
	if (!r->err && r->paths)
		r->err = ku_writable_add(r->paths, e);
	if (r->err)
		r->w.stop = true;
}

/* Can the page be written there in the end? Says what is wrong before anything is run. */
static int ku_report_html_look(struct ku_report *r)
{
	_cleanup_free_ char *copy = NULL;
	struct stat st;
	int err = 0;

	if (!r->html || !strcmp(r->html, "-"))
		return 0;
	/* The file itself is exchanged, not a symlink to it. */
	r->html_path = realpath(r->html, NULL);
	if (!r->html_path)
		r->html_path = strdup(r->html);
	copy = strdup(r->html);
	if (!r->html_path || !copy)
		return -ENOMEM;
	if (!*r->html)
		err = ENOENT;
	else if (stat(r->html_path, &st) < 0 && errno != ENOENT)
		err = errno;
	else if (!access(r->html_path, F_OK) && S_ISDIR(st.st_mode))
		err = EISDIR;
	else if (access(dirname(copy), W_OK) < 0)
		err = errno;
	if (err)
		ku_err("report: --html '%s': %s; name a file in a directory that can be written", r->html, strerror(err));
	return -err;
}

/* The page at once or not at all: in a file beside it, which then takes its name. Returns 0 or -errno. */
static int ku_report_html_file(const struct ku_analysis *a, const char *path)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *temp = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	mode_t mask;
	int err;

	/* A device or a pipe is written to, not replaced. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		f = fopen(path, "we");
		if (!f)
			return -errno;
		err = ku_report_html(a, f);
		if (!err && fflush(f))
			err = -errno;
		return err;
	}
	if (asprintf(&temp, "%s.XXXXXX", path) < 0) {
		temp = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	mask = umask(0);
	umask(mask);
	err = fchmod(fd, 0666 & ~mask) < 0 ? -errno : 0;
	f = err ? NULL : fdopen(fd, "w");
	if (!err && !f)
		err = -errno;
	if (f)
		fd = -1;
	if (!err)
		err = ku_report_html(a, f);
	if (!err && fflush(f))
		err = -errno;
	if (!err && rename(temp, path) < 0)
		err = -errno;
	if (err)
		unlink(temp);
	return err;
}

static bool ku_report_filtered(const struct ku_filter *f)
{
	return f->pid || f->container || f->cgroup || f->union_path || f->path || f->min_bytes || f->min_ns;
}

static const char *ku_report_source(const struct ku_report *r)
{
	if (r->w.from)
		return strcmp(r->w.from, "-") ? r->w.from : "standard input";
	return r->w.cmd ? r->w.cmd[0] : "live";
}

/* What the list on stdout cannot say itself. */
static void ku_report_hydrate_warn(const struct ku_report *r)
{
	_cleanup_free_ char *lost = ku_report_lost(r->a);

	if (lost && lost[0])
		ku_warn("report: %s: this one may lack files", lost);
	if (r->a->unkept.files)
		ku_warn("report: there are more files than the list can have");
}

/* Returns 0, or -errno of what could not be made or written. */
static int ku_report_write(struct ku_report *r)
{
	int err = 0;

	if (r->html && strcmp(r->html, "-")) {
		err = ku_report_html_file(r->a, r->html_path);
		if (err) {
			ku_err("report: cannot write '%s': %s", r->html, strerror(-err));
			return err;
		}
	}
	if (r->writable && r->w.json)
		err = ku_report_writable_json(r->a, r->paths, stdout);
	else if (r->writable)
		err = ku_report_writable(r->a, r->paths, stdout);
	else if (r->hydrate && r->w.json)
		err = ku_report_hydrate_json(r->a, stdout);
	else if (r->hydrate)
		err = ku_report_hydrate(r->a, stdout);
	else if (r->w.json)
		err = ku_report_json(r->a, stdout);
	else if (!r->html)
		err = ku_report_text(r->a, stdout);
	else if (!strcmp(r->html, "-"))
		err = ku_report_html(r->a, stdout);
	if (!err && (fflush(stdout) || ferror(stdout)))
		err = errno ? -errno : -EIO;
	/* Who closed the pipe has seen enough. */
	if (err == -EPIPE)
		return 0;
	if (err)
		ku_err("report: cannot write: %s", strerror(-err));
	else if (r->hydrate && !r->w.json)
		ku_report_hydrate_warn(r);
	return err;
}

static int ku_report_finish(struct ku_report *r)
{
	r->a->source = ku_report_source(r);
	r->a->filtered = ku_report_filtered(&r->w.filter);
	if (!r->err)
		r->err = ku_analysis_finish(r->a);
	if (!r->err && r->paths)
		r->err = ku_writable_finish(r->paths, ku_writable_look, NULL);
	if (r->err) {
		ku_err("report: %s", r->err == -ENOMEM ? "out of memory" : strerror(-r->err));
		return r->err;
	}
	return ku_report_write(r);
}

/* Runs it and reports; what was asked for is known to be possible. */
static int ku_report_run(struct ku_report *r)
{
	int status;

	if (ku_analysis_new(&r->a) || (r->writable && ku_writable_new(&r->paths))) {
		ku_err("report: out of memory");
		return KU_EXIT_USAGE;
	}
	status = ku_watch_run(&r->w);
	/* Nothing was attached or read: there is nothing to tell. */
	if (!r->started)
		return status;
	if (ku_report_finish(r) && status == KU_EXIT_OK)
		status = KU_EXIT_FAIL;
	return status;
}

int ku_cmd_report(int argc, char **argv)
{
	static const struct argp_child children[] = { { .argp = &ku_watch_argp }, { 0 } };
	static const struct argp argp = {
		.options = ku_report_options,
		.parser = ku_report_parse,
		.children = children,
		.args_doc = "[MERGED... | --all | --from FILE] [-- CMD [ARG...]]\n--drift MERGED [--from FILE]",
		.doc = "Tell what copy-ups cost, who waited for whom, and what to do about it: of CMD's time, of --duration, until SIGINT, "
		       "or of "
		       "recorded events.\v"
		       "Exit status: that of CMD (128 + N when signal N ended it), else 0, also with drift; 1 when the report could not be written "
		       "or is not whole; 2 when nothing was attached or read.",
	};
	struct ku_report r = { .html = NULL };
	int status = ku_watch_init(&r.w, "kunion report", &argc, argv);

	if (status)
		return status;
	r.w.on_start = ku_report_start;
	r.w.on_event = ku_report_event;
	r.w.may_ask = true;
	r.w.arg = &r;
	argp_parse(&argp, argc, argv, 0, NULL, &r);
	r.w.opts.writes = r.writable;
	setlocale(LC_CTYPE, "");
	if (r.drift)
		status = ku_report_drift(&r.w);
	else
		status = ku_report_html_look(&r) ? KU_EXIT_USAGE : ku_report_run(&r);
	ku_writable_free(r.paths);
	ku_analysis_free(r.a);
	free(r.html_path);
	ku_watch_free(&r.w);
	return status;
}
