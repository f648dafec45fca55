// SPDX-License-Identifier: GPL-2.0-only
/* kunion daemon: attached as a service. */
#include <argp.h>
#include <string.h>

#include "cmd.h"
#include "ctl/daemon.h"
#include "log.h"
#include "opts.h"
#include "util.h"

#define KU_SETTINGS 16
#define KU_SETTING(n) (0x200 + (int)(n))

struct ku_cmd_daemon {
	const char *file;
	bool check;
	/* of the command line, in its order: name and value; name NULL: a union */
	struct ku_word {
		const char *name, *value;
	} *words;
	size_t nwords;
	struct ku_conf scratch; /* each is tried at once */
};

/* From the file, and the command line over it. */
static int ku_daemon_read(struct ku_daemon *d, struct ku_conf *ret, char err[512])
{
	const struct ku_cmd_daemon *cmd = d->read_arg;
	const char *right;
	int n = ku_conf_init(ret);

	if (n)
		snprintf(err, 512, "out of memory");
	else if (d->file)
		n = ku_conf_read(ret, d->file, err);
	for (size_t i = 0; i < cmd->nwords && !n; i++) {
		const struct ku_word *w = &cmd->words[i];

		n = w->name ? ku_conf_set(ret, w->name, w->value, &right) : ku_conf_add(ret, w->value);
		if (n == -EEXIST)
			n = 0; /* in the file, too */
		if (n)
			snprintf(err, 512, "%.60s '%.200s': %s", w->name ? w->name : "MERGED", w->value, strerror(-n));
	}
	if (!n && ret->all && ret->mode != KU_MODE_OBSERVE) {
		snprintf(err, 512, "all: every overlay is only observed: mode \"observe\" would be right with it");
		n = -EINVAL;
	}
	if (n)
		ku_conf_free(ret);
	else
		ku_conf_settle(ret);
	return n;
}

static void ku_daemon_word(struct ku_cmd_daemon *cmd, struct argp_state *state, const char *name, const char *value)
{
	const char *right = "";
	int n = name ? ku_conf_set(&cmd->scratch, name, value, &right) : ku_conf_add(&cmd->scratch, value);

	if (n == -EINVAL && name)
		argp_error(state, "--%s '%s': %s would be right", name, value, right);
	if (n == -EINVAL)
		argp_error(state, "'%s': a daemon has no directory of its own: give an absolute path", value);
	if (n == -EEXIST)
		argp_error(state, "'%s' is given twice; name each union once", value);
	if (n)
		argp_error(state, "%s", strerror(-n));
	cmd->words[cmd->nwords++] = (struct ku_word){ .name = name, .value = value };
}

static error_t ku_daemon_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_cmd_daemon *cmd = state->input;
	const char *about, *what, *name;

	switch (key) {
	case 'c':
		cmd->file = arg;
		return 0;
	case 't':
		cmd->check = true;
		return 0;
	case ARGP_KEY_ARG:
		ku_daemon_word(cmd, state, NULL, arg);
		return 0;
	}
	name = key >= KU_SETTING(0) ? ku_conf_name((size_t)(key - KU_SETTING(0)), &about, &what) : NULL;
	if (!name)
		return ARGP_ERR_UNKNOWN;
	ku_daemon_word(cmd, state, name, arg ? arg : "true");
	return 0;
}

/* The configuration's settings, each an option, too. */
static void ku_daemon_options(struct argp_option options[KU_SETTINGS])
{
	size_t n = 0;
	const char *name, *about, *arg;

	options[n++] = (struct argp_option){ "config", 'c', "FILE", 0, "read FILE (default: " KU_CONF_FILE ", if it is there); again on SIGHUP", 1 };
	options[n++] = (struct argp_option){ "check", 't', NULL, 0, "read the configuration, say what is wrong with it, and end", 1 };
	for (size_t i = 0; n < KU_SETTINGS - 1 && (name = ku_conf_name(i, &about, &arg)); i++)
		options[n++] = (struct argp_option){ name, KU_SETTING(i), arg, strcmp(arg, "BOOL") ? 0 : OPTION_ARG_OPTIONAL, about, 2 };
}

static int ku_daemon_check(struct ku_daemon *d)
{
	char err[512] = "";

	if (d->read_conf(d, &d->conf, err)) {
		ku_err("daemon: %s", err);
		return KU_EXIT_USAGE;
	}
	printf("%s: ok: %zu unions\n", d->file ? d->file : "configuration", d->conf.nunions);
	ku_conf_free(&d->conf);
	return KU_EXIT_OK;
}

int ku_cmd_daemon(int argc, char **argv)
{
	struct argp_option options[KU_SETTINGS] = { 0 };
	const struct argp argp = {
		.options = options,
		.parser = ku_daemon_parse,
		.args_doc = "[MERGED...]",
		.doc = "Attach to overlay mounts as a service, in the foreground: to those given, to those of the configuration as soon as they are "
		       "there, and to those that 'kunion attach' names.\v"
		       "What the command line says, the configuration does not change. SIGTERM ends it, and everybody who waits goes on.\n"
		       "Exit status: 0; 1 when the gate broke; 2 when it could not start.",
	};
	struct ku_cmd_daemon cmd = { 0 };
	struct ku_daemon d = { .read_conf = ku_daemon_read, .read_arg = &cmd };
	char name[] = "kunion daemon";
	int status = KU_EXIT_USAGE;

	argp_err_exit_status = KU_EXIT_USAGE;
	argv[0] = name;
	ku_daemon_options(options);
	cmd.words = calloc((size_t)argc + 1, sizeof(*cmd.words));
	if (!cmd.words || ku_conf_init(&cmd.scratch)) {
		ku_err("daemon: out of memory");
		free(cmd.words);
		return status;
	}
	if (!argp_parse(&argp, argc, argv, 0, NULL, &cmd)) {
		d.file = cmd.file ? cmd.file : !access(KU_CONF_FILE, F_OK) ? KU_CONF_FILE : NULL;
		status = cmd.check ? ku_daemon_check(&d) : ku_loop_may_attach("daemon") ? ku_daemon_run(&d) : KU_EXIT_USAGE;
	}
	ku_conf_free(&cmd.scratch);
	free(cmd.words);
	return status;
}
