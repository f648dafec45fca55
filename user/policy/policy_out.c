// SPDX-License-Identifier: GPL-2.0-only
/* What the commands of `kunion policy` share: opening a policy, and writing JSON. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "log.h"
#include "policy/policy_cmd.h"
#include "util.h"

bool ku_policy_open(const char *file, struct ku_policy **ret, struct ku_pol **ret_pol)
{
	_cleanup_free_ struct ku_pol *pol = ret_pol ? malloc(sizeof(*pol)) : NULL;
	struct ku_policy *p;
	char err[512];

	if (ku_policy_load(file, &p, err)) {
		ku_err("policy: %s", err);
		return false;
	}
	if (ret_pol && (!pol || ku_policy_compile(p, pol, err))) {
		ku_err("policy: %s: %s", file, pol ? err : "no memory");
		ku_policy_free(p);
		return false;
	}
	if (ret_pol)
		*ret_pol = KU_TAKE_PTR(pol);
	*ret = p;
	return true;
}

void ku_pol_figures(const struct ku_pol *pol, struct ku_pol_figures *ret)
{
	static const struct ku_pol_set none;

	*ret = (struct ku_pol_figures){ .states = 1 };
	for (unsigned int i = 0; i < KU_POL_EDGES; i++)
		ret->transitions += pol->strings.edges[i] != 0;
	/* Numbers are given without gaps, and the last state is not all zero: it would be the dead one. */
	for (unsigned int i = 1; i < KU_POL_STATES; i++)
		if (pol->strings.base[i] || pol->strings.fallback[i] || pol->strings.set[i])
			ret->states = i + 1;
	while (ret->sets < KU_POL_SETS && memcmp(&pol->sets[ret->sets], &none, sizeof(none)))
		ret->sets++;
}

struct json_object *ku_pol_json_add(struct json_object **doc, struct json_object *to, const char *key, struct json_object *value)
{
	int err = !*doc || !to || !value ? -1 : key ? json_object_object_add(to, key, value) : json_object_array_add(to, value);

	if (!err)
		return value;
	json_object_put(value);
	json_object_put(*doc);
	*doc = NULL;
	return NULL;
}

void ku_pol_json_text(struct json_object **doc, struct json_object *to, const char *key, const char *bytes)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);

	ku_pol_json_add(doc, to, key, text ? json_object_new_string(text) : NULL);
}

void ku_pol_json_number(struct json_object **doc, struct json_object *to, const char *key, uint64_t n)
{
	ku_pol_json_add(doc, to, key, json_object_new_uint64(n));
}

int ku_pol_json_print(struct json_object *doc)
{
	const char *text = doc ? json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;

	if (!text) {
		ku_err("policy: no memory");
		json_object_put(doc);
		return KU_EXIT_USAGE;
	}
	puts(text);
	json_object_put(doc);
	return ku_pol_printed(KU_EXIT_OK);
}

int ku_pol_printed(int status)
{
	if (fflush(stdout) != EOF && !ferror(stdout))
		return status;
	ku_err("policy: stdout: %s", strerror(errno));
	return KU_EXIT_FAIL;
}
