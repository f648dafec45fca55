/* SPDX-License-Identifier: GPL-2.0-only */
/* One event of each kind, every field with a value of its own. */
#ifndef KU_UNIT_SAMPLES_H
#define KU_UNIT_SAMPLES_H

#include "event.h"
#include "util.h"

#define SAMPLE_WHO(n)                                                                                                             \
	{ .pid = 10 + (n), .tid = 20 + (n), .uid = 1000 + (n), .comm = (n) ? "mv" : "cat", .cgroup = (n) ? "/b" : "/a",               \
	  .container = (n) ? "22ff" : "11ff", .runtime = (n) ? "podman" : "docker" }

static inline struct ku_event copyup(void)
{
	return (struct ku_event){
		.type = KU_EV_COPYUP,
		.ts_ns = ku_utc_ns(ku_now_ns()),
		.union_path = "/merged",
		.path = "/dir/file",
		.copyup = { .id = 18446744073709551615ull, .kind = "file", .op = "open", .syscall = "openat", .who = SAMPLE_WHO(0),
			    .engine = "kunion", .data = "cloned", .size = 8, .bytes = 7, .queued_us = 1, .lock_us = 2, .copy_us = 3,
			    .fsync_us = 4, .commit_us = 5, .total_us = 6, .waiters = 9, .result = "ok" },
	};
}

static inline struct ku_event waited(void)
{
	return (struct ku_event){
		.type = KU_EV_WAIT,
		.ts_ns = ku_utc_ns(ku_now_ns()),
		.union_path = "/merged",
		.path = "/dir",
		.wait = { .op = "open", .syscall = "openat", .who = SAMPLE_WHO(0), .on = "dir", .holder = SAMPLE_WHO(1), .holder_op = "rename",
			  .copyup_id = 77, .copyup_path = "/dir/big", .copyup_pid = 99, .copyup_comm = "dd", .wait_us = 123456,
			  .result = "released" },
	};
}

#endif
