/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of verdict hold share: the question about an operation, and its answer. */
#ifndef HOLD_H
#define HOLD_H

#include "policy.h"

static inline int answer(uint64_t id, const char *how)
{
	int status = system(fx_name("kunion policy answer %llu %s", (unsigned long long)id, how));

	KTAP_REQUIRE(status >= 0 && WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The id of the n-th question (from 0) about path; 0: it does not come. */
static inline uint64_t question(const struct fx *fx, const char *path, const char *action, int n)
{
	char line[8192];
	uint64_t id = 0;
	FILE *f;

	if (!fx_event_wait(fx, n + 1, FX_LONG, "event", "hold", "path", path, "action", action, NULL))
		return 0;
	f = fopen(fx->events, "re");
	KTAP_REQUIRE(f);
	while (n >= 0 && fgets(line, sizeof(line), f)) {
		struct json_object *o = json_tokener_parse(line), *v;

		if (o && json_object_object_get_ex(o, "event", &v) && !strcmp(json_object_get_string(v), "hold") &&
		    json_object_object_get_ex(o, "path", &v) && !strcmp(json_object_get_string(v), path) &&
		    json_object_object_get_ex(o, "action", &v) && !strcmp(json_object_get_string(v), action) &&
		    json_object_object_get_ex(o, "id", &v) && n-- == 0)
			id = json_object_get_uint64(v);
		json_object_put(o);
	}
	fclose(f);
	return id;
}

static inline uint64_t asked(const struct fx *fx, struct fx_op *op, const char *path, const char *action, int n)
{
	uint64_t id = question(fx, path, action, n);

	KTAP_REQUIRE(id, "%s: no question of %s", path, action);
	KTAP_CHECK(fx_wait_parked(op, FX_LONG), "%s: it does not sleep", path);
	return id;
}

static inline void ends(struct fx_op *op, int err, const char *what)
{
	KTAP_CHECK(fx_op_wait(op, FX_LONG), "%s: it still waits", what);
	KTAP_CHECK(op->res->err == err, "%s: %s", what, strerrorname_np(op->res->err));
}

#endif
