/* SPDX-License-Identifier: GPL-2.0-only */
/* A model of `kunion top` with something of everything in it. */
#ifndef KU_UNIT_TOP_SCENE_H
#define KU_UNIT_TOP_SCENE_H

#include "top_model.h"
#include "unit.h"

#define SEC 1000000000ull
#define MIB (1ull << 20)
#define GIB (1ull << 30)

static inline struct ku_who scene_who(uint32_t pid, const char *comm, const char *container)
{
	struct ku_who who = { .pid = pid, .tid = pid + 1000, .comm = comm, .cgroup = "", .container = container, .runtime = "" };

	return who;
}

static inline struct ku_counts scene_counts(const char *union_path, const char *container, const char *engine, const char *result,
					    uint64_t copyups, uint64_t bytes, uint64_t waits, uint64_t wait_ns)
{
	struct ku_counts c = { .union_path = union_path, .cgroup = "", .container = container, .runtime = "", .engine = engine,
			       .result = result, .copyups = copyups, .bytes = bytes, .waits = waits, .wait_ns = wait_ns };

	return c;
}

static inline void scene_copy(struct ku_top_model *m, uint64_t id, const char *path, uint64_t start_ns, uint64_t bytes, uint64_t size,
			      const char *engine, struct ku_who who)
{
	struct ku_live_copy c = { .id = id, .union_path = "/var/lib/docker/overlay2/9f3c/merged", .path = path, .op = "open",
				  .engine = engine, .who = who, .start_ns = start_ns, .size = size, .bytes = bytes };

	ku_top_copy(m, &c);
}

static inline void scene_wait(struct ku_top_model *m, const char *path, const char *op, const char *on, uint64_t start_ns,
			      uint64_t copyup_id, struct ku_who who, struct ku_who holder)
{
	struct ku_live_wait w = { .union_path = "/var/lib/docker/overlay2/9f3c/merged", .path = path, .op = op, .on = on, .who = who,
				  .holder = holder, .start_ns = start_ns, .copyup_id = copyup_id };

	ku_top_wait(m, &w);
}

/* The stall of the issue: a create waits for a directory that an unlink holds, which waits for the copy-up of a file in it. */
static inline struct ku_event scene_stall(const char *path, uint64_t wait_us)
{
	struct ku_event e = {
		.type = KU_EV_WAIT,
		.union_path = "/srv/merged",
		.path = path,
		.wait = { .op = "create", .syscall = "openat", .who = scene_who(4242, "touch", "web1"), .on = "dir",
			  .holder = scene_who(4200, "rm", ""), .holder_op = "remove", .copyup_id = 7, .copyup_path = "/spool/big.img",
			  .copyup_pid = 4100, .copyup_comm = "dd", .wait_us = wait_us, .result = "released" },
	};

	return e;
}

static inline void scene_tick(struct ku_top_model *m, unsigned int tick)
{
	static const struct {
		const char *path, *container;
		uint64_t copyups, bytes, wait_ns;
	} rows[] = {
		{ "/var/lib/docker/overlay2/9f3c/merged", "9f3c5ad00b1e", 1200, 5 * GIB, 31 * SEC },
		{ "/var/lib/docker/overlay2/aa01/merged", "aa01bb02cc03", 80, 300 * MIB, 0 },
		{ "/srv/merged", "", 9, 700 * MIB, 12 * SEC },
		{ "/mnt/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e/\x1b[31mred\x07/m", "web1", 3, 4096, 0 },
	};
	struct ku_who postgres = scene_who(4100, "postgres", "9f3c5ad00b1e");
	uint64_t now = (100 + tick) * SEC;
	struct ku_counts c;

	ku_top_begin(m, now);
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c = scene_counts(rows[i].path, rows[i].container, "kernel", "ok", rows[i].copyups + (i ? 0 : 12 * tick),
				 rows[i].bytes + (i < 2 ? 120 * MIB * tick : 0), 5, rows[i].wait_ns + (i == 2 ? tick * SEC : 0));
		ku_top_count(m, &c);
	}
	scene_copy(m, 7, "/postgres/base/16384/2619", 97 * SEC, 600 * MIB + tick * 120 * MIB, 2 * GIB, "kunion", postgres);
	scene_copy(m, 8, "/etc/\xff\xfe b\xc3\xa4r\xe2\x80\xae.conf", 99 * SEC, 0, 3 * MIB, "kernel", scene_who(4101, "sed", ""));
	scene_wait(m, "/postgres/base/16384/2619", "chmod", "copy", 98 * SEC, 7, scene_who(4300, "chmod", "9f3c5ad00b1e"), postgres);
	scene_wait(m, "/postgres/base/16384/2619", "remove", "inode", 97 * SEC + SEC / 2, 7, scene_who(4301, "rm", ""), postgres);
	scene_wait(m, "/postgres/base/16384", "create", "dir", 99 * SEC, 0, scene_who(4302, "touch", "web1"), scene_who(4301, "rm", ""));
	scene_wait(m, "/other", "open", "file", 99 * SEC + SEC / 2, 0, scene_who(4303, "cat\x1b[2J", ""), scene_who(1, "systemd", ""));
}

static inline struct ku_top_snap *scene_end(struct ku_top_model *m)
{
	struct ku_top_head head = { .mode = "observe", .tier = "park", .unions = 4, .gauges = { .dropped_waits = 2, .parked = 0 } };

	return ku_top_end(m, &head);
}

static inline struct ku_top_snap *scene_snap(struct ku_top_model *m, unsigned int tick)
{
	if (!tick) {
		struct ku_event e = scene_stall("/spool", 12345678);

		ku_top_event(m, &e);
		e = scene_stall("/spool", 900);
		e.wait.on = "inode";
		e.path = "/spool/big.img";
		e.wait.holder = scene_who(4100, "dd", "");
		e.wait.holder_op = "open";
		e.wait.result = "timeout";
		ku_top_event(m, &e);
	}
	scene_tick(m, tick);
	return scene_end(m);
}

#endif
