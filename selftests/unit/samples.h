/* SPDX-License-Identifier: GPL-2.0-only */
/* One event of each kind. */
#ifndef KU_UNIT_SAMPLES_H
#define KU_UNIT_SAMPLES_H

#include "event.h"
#include "util.h"

static inline struct ku_ev_copyup copyup(void)
{
	struct ku_ev_copyup e = {
		.ts_ns = ku_now_ns(),
		.union_path = "/merged",
		.path = "/dir/file",
		.op = "open",
		.who = { .pid = 10, .tid = 11, .uid = 1000, .comm = "cat" },
		.engine = "kunion",
		.bytes = 18446744073709551615ull,
		.queued_us = 1,
		.copy_us = 2,
		.commit_us = 3,
		.waiters = 4,
		.result = "ok",
	};

	return e;
}

static inline struct ku_ev_wait waited(void)
{
	struct ku_ev_wait e = {
		.ts_ns = ku_now_ns(),
		.union_path = "/merged",
		.path = "/dir/file",
		.op = "chmod",
		.who = { .pid = 10, .tid = 11, .uid = 0, .comm = "chmod" },
		.on = "copy",
		.holder_pid = 99,
		.wait_us = 123456,
		.result = "released",
	};

	return e;
}

#endif
