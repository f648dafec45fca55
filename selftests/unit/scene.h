/* SPDX-License-Identifier: GPL-2.0-only */
/* Events for the tests of `kunion report`, with sensible fields that a test then changes. */
#ifndef KU_UNIT_SCENE_H
#define KU_UNIT_SCENE_H

#include "analysis.h"
#include "unit.h"

#define SCENE_START 1795370400000000000ull /* 2026-11-22 18:00:00 */
#define SCENE_MS(ms) (SCENE_START + (ms) * 1000000ull)
#define MIB (1ull << 20)

static inline struct ku_who scene_who(uint32_t pid, const char *comm)
{
	return (struct ku_who){ .pid = pid, .tid = pid, .comm = comm, .cgroup = "/user.slice", .container = "", .runtime = "" };
}

/* Opened for writing, copied by the kernel, one byte in one microsecond. */
static inline struct ku_event scene_copyup(uint64_t id, const char *path)
{
	return (struct ku_event){
		.type = KU_EV_COPYUP, .ts_ns = SCENE_MS(id), .union_path = "/merged", .path = path,
		.copyup = { .id = id, .kind = "file", .op = "open", .syscall = "openat", .who = scene_who(10, "cat"), .engine = "kernel",
			    .data = "copied", .size = 1, .bytes = 1, .total_us = 1, .result = "ok" },
	};
}

/* Somebody waited for a directory that rm held, which waited for what dd copied. */
static inline struct ku_event scene_wait(uint64_t copyup_id, uint64_t wait_us)
{
	return (struct ku_event){
		.type = KU_EV_WAIT, .ts_ns = SCENE_MS(1), .union_path = "/merged", .path = "/dir",
		.wait = { .op = "create", .syscall = "openat", .who = scene_who(30, "touch"), .on = "dir", .holder = scene_who(20, "rm"),
			  .holder_op = "remove", .copyup_id = copyup_id, .copyup_path = "/dir/big", .copyup_pid = 10,
			  .copyup_comm = "dd", .wait_us = wait_us, .result = "released" },
	};
}

static inline struct ku_event scene_union(const char *options)
{
	return (struct ku_event){
		.type = KU_EV_UNION, .ts_ns = SCENE_MS(0), .union_path = "/merged", .path = "",
		.mount = { .lower = "/lower", .upper = "/upper", .options = options, .upper_fs = "ext4", .upper_free = 10 << 20,
			   .upper_size = 20 << 20, .reflink = false },
	};
}

static inline struct ku_event scene_changed(uint64_t id, const char *path, uint64_t written)
{
	return (struct ku_event){ .type = KU_EV_CHANGED, .ts_ns = SCENE_MS(9000), .union_path = "/merged", .path = path,
				  .changed = { .copyup_id = id, .written = written } };
}

static inline struct ku_event scene_write(const char *op, const char *kind, const char *path, const char *path2)
{
	return (struct ku_event){ .type = KU_EV_WRITE, .ts_ns = SCENE_MS(1), .union_path = "/merged", .path = path,
				  .write = { .op = op, .kind = kind, .path2 = path2, .who = scene_who(10, "cat") } };
}

static inline struct ku_event scene_totals(uint64_t copyups, uint64_t missing)
{
	return (struct ku_event){ .type = KU_EV_TOTALS, .ts_ns = SCENE_MS(9999), .union_path = "/merged", .path = "",
				  .totals = { .copyups = copyups, .bytes = copyups * 10, .failed = copyups / 2, .copyup_us = copyups * 3,
					      .waits = copyups * 4, .wait_us = copyups * 5, .missing = missing } };
}

static inline struct ku_event scene_dropped(uint64_t count)
{
	return (struct ku_event){ .type = KU_EV_DROPPED, .ts_ns = SCENE_MS(9999), .union_path = "", .path = "",
				  .dropped = { .count = count, .copyups = count - 1, .waits = 1 } };
}

static inline struct ku_analysis *scene_begin(void)
{
	struct ku_analysis *a;

	KTAP_REQUIRE(ku_analysis_new(&a) == 0);
	return a;
}

static inline void scene_add(struct ku_analysis *a, struct ku_event e)
{
	KTAP_REQUIRE(ku_analysis_add(a, &e) == 0);
}

static inline void scene_finish(struct ku_analysis *a)
{
	KTAP_REQUIRE(ku_analysis_finish(a) == 0);
}

#endif
