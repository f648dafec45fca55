/* SPDX-License-Identifier: GPL-2.0-only */
/* Recorded operations for the tests of `kunion policy`. */
#ifndef KU_UNIT_POLICY_EVENTS_H
#define KU_UNIT_POLICY_EVENTS_H

#include "event.h"
#include "unit.h"
#include "util.h"

#define EVENTS "/tmp/events"

static FILE *events_to;
static const char *event_union = "/m", *event_container = "", *event_result = "ok", *event_layer = "", *event_kind = "file";
static uint64_t event_size;

static inline void events_begin(void)
{
	events_to = fopen(EVENTS, "we");
	KTAP_REQUIRE(events_to);
}

static inline void events_end(void)
{
	KTAP_REQUIRE(!fclose(events_to));
}

static inline void event_put(const struct ku_event *e)
{
	_cleanup_free_ char *line = ku_event_json(e);

	KTAP_REQUIRE(line && fprintf(events_to, "%s\n", line) > 0);
}

static inline struct ku_who event_who(const char *comm, uint32_t uid)
{
	return (struct ku_who){ .pid = 1, .tid = 1, .uid = uid, .comm = comm, .cgroup = "/c", .container = event_container, .runtime = "" };
}

static inline void event_copyup(const char *path, const char *kind, uint64_t size, const char *comm, uint32_t uid)
{
	const struct ku_event e = {
		.type = KU_EV_COPYUP, .union_path = event_union, .path = path,
		.copyup = { .kind = kind, .op = "open", .syscall = "", .engine = "kernel", .data = "copied", .size = size,
			    .result = event_result, .who = event_who(comm, uid) },
	};

	event_put(&e);
}

static inline void event_write(const char *op, const char *path, const char *comm, uint32_t uid)
{
	const struct ku_event e = {
		.type = KU_EV_WRITE, .union_path = event_union, .path = path,
		.write = { .op = op, .kind = event_kind, .layer = event_layer, .size = event_size, .path2 = "", .who = event_who(comm, uid) },
	};

	event_put(&e);
}

/* As it is told: the new name is created. */
static inline void event_rename(const char *path, const char *path2, const char *kind)
{
	for (int i = 0; i < 2; i++) {
		const struct ku_event e = {
			.type = KU_EV_WRITE, .union_path = event_union, .path = i ? path2 : path,
			.write = { .op = i ? "create" : "rename", .kind = kind, .path2 = "", .who = event_who("dpkg", 0) },
		};

		event_put(&e);
	}
}

static inline void event_exec(const char *path, const char *comm, const char *err)
{
	const struct ku_event e = {
		.type = KU_EV_POLICY, .union_path = event_union, .path = path,
		.policy = { .action = "exec", .kind = "file", .rule = "run", .verdict = *err ? "deny" : "audit", .err = err,
			    .who = event_who(comm, 0) },
	};

	event_put(&e);
}

#endif
