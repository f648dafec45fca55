// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy status, reload: the policy that the daemon has in force. */
#include <inttypes.h>
#include <string.h>

#include "cmd.h"
#include "ctl/client.h"
#include "ctl/live_json.h"
#include "ctl/server.h"
#include "log.h"
#include "policy/policy_cmd.h"
#include "trace_fmt.h"
#include "util.h"

/* A name is the policy's: whatever was written there. Allocated, NULL without memory. */
static char *ku_status_name(struct json_object *o, const char *key)
{
	_cleanup_free_ char *bytes = strdup(ku_live_text(o, key));

	if (!bytes)
		return NULL;
	ku_unescape_bytes(bytes);
	return ku_terminal_text(bytes, false);
}

static size_t ku_status_list(struct json_object *reply, const char *key, struct json_object **ret)
{
	return json_object_object_get_ex(reply, key, ret) && json_object_is_type(*ret, json_type_array) ? json_object_array_length(*ret) : 0;
}

static void ku_status_rules(struct json_object *reply)
{
	struct json_object *rules;
	size_t n = ku_status_list(reply, "rules", &rules);

	printf("  %-20s %10s %10s  %s\n", "RULE", "HITS", "DENIED", "LAST");
	for (size_t i = 0; i < n; i++) {
		struct json_object *r = json_object_array_get_idx(rules, i);
		_cleanup_free_ char *name = ku_status_name(r, "name");
		time_t last = (time_t)(ku_live_u64(r, "last_us") / 1000000);
		char when[32];
		struct tm tm;

		if (!last || !localtime_r(&last, &tm) || !strftime(when, sizeof(when), "%F %T", &tm))
			snprintf(when, sizeof(when), "-");
		printf("  %-20s %10" PRIu64 " %10" PRIu64 "  %s\n", name ? name : "?", ku_live_u64(r, "hits"), ku_live_u64(r, "denied"), when);
	}
}

static void ku_status_accounts(struct json_object *reply)
{
	struct json_object *accounts;
	size_t n = ku_status_list(reply, "accounts", &accounts);

	if (n)
		printf("  %-20s %-20s %14s %14s %8s  %s\n", "BUDGET", "LIMIT", "USED", "OF", "BEYOND", "UNION");
	for (size_t i = 0; i < n; i++) {
		struct json_object *a = json_object_array_get_idx(accounts, i);
		_cleanup_free_ char *name = ku_status_name(a, "budget"), *limit = ku_status_name(a, "limit"), *where = ku_status_name(a, "union");

		printf("  %-20s %-20s %14" PRIu64 " %14" PRIu64 " %8" PRIu64 "  %s\n", name ? name : "?", limit ? limit : "?", ku_live_u64(a, "used"),
		       ku_live_u64(a, "max"), ku_live_u64(a, "beyond"), where && *where ? where : "all unions");
	}
}

static int ku_policy_ask(const struct ku_policy_args *a, const char *word, const char *method, struct json_object **ret)
{
	char err[512] = "";
	int n = ku_ctl_ask(a->socket ? a->socket : KU_CTL_SOCKET, method, NULL, ret, err);

	if (n)
		ku_err("policy %s: %s", word, err);
	return n == -ENOTCONN ? KU_EXIT_USAGE : n ? KU_EXIT_FAIL : KU_EXIT_OK;
}

int ku_policy_cmd_status(const struct ku_policy_args *a)
{
	struct json_object *reply = NULL;
	_cleanup_free_ char *file = NULL;
	int status = ku_policy_ask(a, "status", "Policy", &reply);

	if (status)
		return status;
	if (a->json)
		return ku_pol_json_print(reply);
	file = ku_status_name(reply, "file");
	if (!file || !*file) {
		puts("no policy; 'policy' in the daemon's configuration names one");
	} else {
		printf("%s: in force\n", file);
		ku_status_rules(reply);
		ku_status_accounts(reply);
	}
	json_object_put(reply);
	return ku_pol_printed(KU_EXIT_OK);
}

int ku_policy_cmd_reload(const struct ku_policy_args *a)
{
	struct json_object *reply = NULL;
	int status = ku_policy_ask(a, "reload", "Reload", &reply);

	json_object_put(reply);
	return status;
}
