// SPDX-License-Identifier: GPL-2.0-only
/* kunion metrics: what was counted, as OpenMetrics text. */
#include <json-c/json.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd.h"
#include "counts.h"
#include "ctl/client.h"
#include "ctl/server.h"
#include "log.h"
#include "openmetrics.h"
#include "opts.h"
#include "util.h"
#include "watch.h"

struct ku_metrics {
	struct ku_watch w;
	const char *textfile, *socket; /* socket NULL: attaches itself */
	struct ku_openmetrics *om;
	char *text; /* of the last reading, for stdout */
	size_t size;
	int err; /* of the last reading or writing */
	bool told; /* that it failed */
};

static void ku_metrics_count(void *arg, const struct ku_counts *c)
{
	struct ku_metrics *m = arg;

	if (ku_counts_match(&m->w.filter, c) && !m->err)
		m->err = ku_om_count(m->om, c);
}

/* A new text. */
static int ku_metrics_read(struct ku_metrics *m, struct ku_session *s)
{
	struct ku_om_session about = { .mode = ku_session_mode(s), .tier = ku_session_tier(s), .unions = ku_session_nunions(s),
					 .judge = s->judge };
	char *text = NULL;
	size_t size;
	FILE *f;

	m->err = 0;
	ku_om_begin(m->om);
	ku_counts_each(s, ku_metrics_count, m);
	if (m->err)
		return m->err;
	ku_gauges_read(s, &about.gauges);
	f = open_memstream(&text, &size);
	if (!f)
		return -errno;
	m->err = ku_om_write(m->om, &about, f);
	if (fclose(f) && !m->err)
		m->err = -ENOMEM;
	if (m->err) {
		free(text);
		return m->err;
	}
	free(m->text);
	m->text = text;
	m->size = size;
	return 0;
}

static void ku_metrics_tick(void *arg, struct ku_session *s)
{
	struct ku_metrics *m = arg;

	if (!ku_metrics_read(m, s) && m->textfile)
		m->err = ku_om_save(m->textfile, m->text, m->size);
	/* Once: the next time it may work again. */
	if (m->err && !m->told)
		ku_warn("metrics: %s: %s", m->textfile ?: "reading", strerror(-m->err));
	m->told = m->err;
}

/* What the daemon counted since it started. */
static int ku_metrics_ask(struct ku_metrics *m)
{
	struct json_object *reply = NULL, *text;
	char err[512] = "";
	int n = ku_ctl_ask(m->socket, "Metrics", NULL, &reply, err);

	if (n) {
		ku_err("metrics: %s", err);
		return n == -ENOTCONN ? KU_EXIT_USAGE : KU_EXIT_FAIL;
	}
	if (json_object_object_get_ex(reply, "text", &text) && json_object_is_type(text, json_type_string)) {
		m->size = (size_t)json_object_get_string_len(text);
		m->text = strdup(json_object_get_string(text));
	}
	json_object_put(reply);
	m->err = m->text ? 0 : -ENOMEM;
	if (!m->err && m->textfile)
		m->err = ku_om_save(m->textfile, m->text, m->size);
	if (m->err)
		ku_err("metrics: %s: %s", m->textfile ?: "reading", strerror(-m->err));
	return KU_EXIT_OK;
}

/* At the end, with all that was counted. */
static int ku_metrics_finish(struct ku_metrics *m, int status)
{
	if (!m->err && !m->textfile && m->text && (fwrite(m->text, 1, m->size, stdout) != m->size || fflush(stdout))) {
		m->err = -errno;
		ku_err("metrics: cannot write: %s", strerror(-m->err));
	}
	return status ? status : m->err ? KU_EXIT_FAIL : KU_EXIT_OK;
}

static void ku_metrics_check(struct ku_metrics *m, struct argp_state *state)
{
	_cleanup_free_ char *dir = m->textfile ? strdup(m->textfile) : NULL;
	struct stat st;

	if (!m->w.npaths && !m->w.all && !m->socket)
		m->socket = KU_CTL_SOCKET;
	if (m->socket && (m->w.npaths || m->w.all || m->w.cmd || m->w.tick_ns))
		argp_error(state, m->w.npaths || m->w.all ? "either MERGED or --all, or the daemon's --socket" :
			   "no MERGED, which --every and CMD need: name the overlay's merged directory, or --all for every one");
	if (m->w.from)
		argp_error(state, "metrics counts what happens now; for a file of events use 'kunion report --from %s'", m->w.from);
	if (m->w.json)
		argp_error(state, "metrics writes OpenMetrics text only; 'kunion top --json' has such numbers as JSON");
	if (m->w.opts.policy && !m->w.npaths)
		argp_error(state, "--policy is for unions that are named: name MERGED");
	if (!ku_counts_can(&m->w.filter))
		argp_error(state, "counts are by union, container and cgroup: leave --pid, --path, --min-bytes and --min-ms out");
	if (m->w.tick_ns && !m->textfile)
		argp_error(state, "--every rewrites a file: name it with --textfile");
	if (!m->textfile)
		return;
	if (!stat(m->textfile, &st) && !S_ISREG(st.st_mode))
		argp_error(state, "--textfile '%s': is there and is no regular file", m->textfile);
	if (!dir || access(dirname(dir), W_OK | X_OK))
		argp_error(state, "--textfile '%s': %s", m->textfile, strerror(errno));
}

enum { KU_O_POLICY = 0x200 };

static error_t ku_metrics_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_metrics *m = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &m->w;
		m->w.beside = true; /* without MERGED there is the daemon */
		return 0;
	case 'S':
		m->socket = arg;
		return 0;
	case KU_O_POLICY:
		m->w.opts.policy = arg;
		return 0;
	case 't':
		m->textfile = arg;
		return 0;
	case 'e':
		if (ku_parse_seconds(arg, &m->w.tick_ns) || m->w.tick_ns < 50000000)
			argp_error(state, "--every '%s': seconds, at least 0.05, as 15", arg);
		return 0;
	case ARGP_KEY_END:
		ku_metrics_check(m, state);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int ku_cmd_metrics(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "policy", KU_O_POLICY, "FILE", 0, "with this policy in force meanwhile, see kunion-policy(5); its rules are counted, too", 4 },
		{ "textfile", 't', "FILE", 0, "write to FILE, for node_exporter's textfile collector, instead of stdout", 4 },
		{ "every", 'e', "SECONDS", 0, "write FILE anew so often, and at the end (default: at the end only)", 4 },
		{ "socket", 'S', "PATH", 0, "ask the daemon there (without MERGED, default: " KU_CTL_SOCKET ")", 4 },
		{ 0 },
	};
	static const struct argp_child children[] = { { .argp = &ku_watch_count_argp }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = ku_metrics_parse,
		.children = children,
		.args_doc = "[MERGED... [-- CMD [ARG...]]]\n--all [-- CMD [ARG...]]",
		.doc = "Count copy-ups and waits and tell the counts as OpenMetrics text, once at the end: of CMD, of the time, or by "
		       "SIGINT. Without MERGED and --all: what the running daemon has counted since it started.\v"
		       "Run times of BPF programs are told if sysctl kernel.bpf_stats_enabled is 1.\n"
		       "Exit status: that of CMD (128 + N when signal N ended it), else 0; 1 when the counts could not be written; 2 when "
		       "nothing was attached.",
	};
	struct ku_metrics m = { 0 };
	int status = ku_watch_init(&m.w, "kunion metrics", &argc, argv);

	if (status)
		return status;
	m.w.on_tick = ku_metrics_tick;
	m.w.on_end = ku_metrics_tick;
	m.w.arg = &m;
	argp_parse(&argp, argc, argv, 0, NULL, &m);
	m.om = ku_om_new(KU_OM_SETS);
	if (!m.om) {
		ku_err("metrics: out of memory");
		status = KU_EXIT_USAGE;
	} else {
		status = ku_metrics_finish(&m, m.socket ? ku_metrics_ask(&m) : ku_watch_run(&m.w));
	}
	ku_om_free(m.om);
	free(m.text);
	ku_watch_free(&m.w);
	return status;
}
