// SPDX-License-Identifier: GPL-2.0-only
/* kunion status: what the daemon is attached to, and what it can do there. */
#include <argp.h>
#include <json-c/json.h>
#include <string.h>

#include "cmd.h"
#include "ctl/client.h"
#include "ctl/server.h"
#include "log.h"
#include "opts.h"
#include "util.h"

struct ku_status {
	const char *socket;
	bool json;
};

static error_t ku_status_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_status *s = state->input;

	switch (key) {
	case 'S':
		s->socket = arg;
		return 0;
	case 'j':
		s->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': status takes no path; it lists all unions", arg);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* Text of a reply, which is not trusted to be there; a control character would be the terminal's. It is kept for the next seven calls. */
static const char *ku_get(struct json_object *o, const char *key)
{
	static char text[8][4096];
	static unsigned int n;
	struct json_object *v;
	char *to = text[n++ % 8];

	*to = '\0';
	if (json_object_object_get_ex(o, key, &v) && v)
		snprintf(to, sizeof(text[0]), "%s", json_object_get_string(v));
	for (char *c = to; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return to;
}

static long long ku_get_int(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

static void ku_status_union(struct json_object *u)
{
	static const char *const words[] = { "metacopy", "index", "redirect_dir", "nfs_export", "xino", "verity", "idmap" };
	struct json_object *o = NULL;
	const char *why;

	printf("\n%s: %s", ku_get(u, "path"), ku_get(u, "in_force"));
	why = ku_get(u, "why");
	if (*why)
		printf(" instead of %s (%s)", ku_get(u, "mode"), why);
	if (strcmp(ku_get(u, "state"), "attached"))
		printf(", %s", ku_get(u, "state"));
	if (ku_get_int(u, "copies"))
		printf(", %lld copies under way", ku_get_int(u, "copies"));
	if (*ku_get(u, "container"))
		printf("\n  of       container %s", ku_get(u, "container"));
	if (!strcmp(ku_get(u, "elsewhere"), "true"))
		printf("\n  mounted  in another mount namespace only; names are those it has there");
	printf("\n  lower    %s\n", ku_get(u, "lower"));
	printf("  upper    %s\n", ku_get(u, "upper"));
	printf("  work     %s\n", ku_get(u, "work"));
	json_object_object_get_ex(u, "options", &o);
	printf("  options ");
	for (size_t i = 0; i < KU_ARRAY_SIZE(words); i++)
		if (*ku_get(o, words[i]))
			printf(" %s=%s", words[i], ku_get(o, words[i]));
	printf("%s%s", !strcmp(ku_get(o, "volatile"), "true") ? " volatile" : "", !strcmp(ku_get(o, "userxattr"), "true") ? " userxattr" : "");
	if (ku_get_int(o, "data_only_layers"))
		printf(" data-only layers: %lld", ku_get_int(o, "data_only_layers"));
	if (!strcmp(ku_get(u, "in_force"), "manage"))
		printf("\n  kunion   copies files of at least %lld bytes, keeps directories free, observes\n", ku_get_int(u, "min_size"));
	else if (!strcmp(ku_get(u, "in_force"), "guard"))
		printf("\n  kunion   keeps directories free, observes; the kernel copies\n");
	else
		printf("\n  kunion   observes; the kernel copies\n");
}

static void ku_status_standing(struct json_object *r)
{
	struct json_object *list = NULL;

	if (!json_object_object_get_ex(r, "standing", &list) || !json_object_is_type(list, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *st = json_object_array_get_idx(list, i);
		const char *match = ku_get(st, "match");

		printf("standing: attach --all%s%s, mode %s; 'kunion detach --all' ends it\n", *match ? " --match " : "", match, ku_get(st, "mode"));
	}
}

static void ku_status_print(struct json_object *r)
{
	struct json_object *unions = NULL, *waiting = NULL;
	size_t n;

	json_object_object_get_ex(r, "unions", &unions);
	json_object_object_get_ex(r, "waiting", &waiting);
	n = json_object_is_type(unions, json_type_array) ? json_object_array_length(unions) : 0;
	printf("kunion %s, pid %s: mode %s, tier %s%s%s%s\n", ku_get(r, "version"), ku_get(r, "pid"), ku_get(r, "mode"), ku_get(r, "tier"),
	       *ku_get(r, "why") ? " (" : "", ku_get(r, "why"), *ku_get(r, "why") ? ")" : "");
	if (*ku_get(r, "policy"))
		printf("policy %s\n", ku_get(r, "policy"));
	printf("%zu unions, %lld waiting for a copy\n", n, ku_get_int(r, "parked"));
	ku_status_standing(r);
	for (size_t i = 0; i < n; i++)
		ku_status_union(json_object_array_get_idx(unions, i));
	n = json_object_is_type(waiting, json_type_array) ? json_object_array_length(waiting) : 0;
	for (size_t i = 0; i < n; i++)
		printf("\n%s: configured, and not attached yet\n", json_object_get_string(json_object_array_get_idx(waiting, i)));
}

int ku_cmd_status(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "json", 'j', NULL, 0, "as the daemon's reply has it, one JSON object", 0 },
		{ "socket", 'S', "PATH", 0, "the daemon's control socket (default: " KU_CTL_SOCKET ")", 0 },
		{ 0 },
	};
	static const struct argp argp = {
		.options = options,
		.parser = ku_status_parse,
		.doc = "Show what the running daemon is attached to, the options of the mounts, and what kunion can do there.\v"
		       "Exit status: 0; 1 when the daemon refuses; 2 when none answers.",
	};
	struct ku_status s = { .socket = KU_CTL_SOCKET };
	struct json_object *reply = NULL;
	char err[512] = "";
	int n;

	if (ku_parse_args("kunion status", &argp, argc, argv, &s))
		return KU_EXIT_USAGE;
	n = ku_ctl_ask(s.socket, "Status", NULL, &reply, err);
	if (n) {
		ku_err("status: %s", err);
		return n == -ENOTCONN ? KU_EXIT_USAGE : KU_EXIT_FAIL;
	}
	if (s.json)
		puts(json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		ku_status_print(reply);
	json_object_put(reply);
	return fflush(stdout) ? KU_EXIT_FAIL : KU_EXIT_OK;
}
