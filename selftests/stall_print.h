/* SPDX-License-Identifier: GPL-2.0-only */
/* bench_stall's table, and kunion's event lines in words. */
#ifndef STALL_PRINT_H
#define STALL_PRINT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STALL_EVENTS_MAX 256
#define STALL_BOUND 20.0
/* Below this a twentieth is what any machine needs for a create now and then. */
#define STALL_BASELINE_S 1.0

static inline void stall_print_time(double s)
{
	if (s >= 1)
		printf("%9.2f s ", s);
	else
		printf("%9.2f ms", s * 1e3);
}

/* bound 0: none. Returns whether it is met. */
static inline bool stall_print_row(const char *label, double kernel, double kunion, double bound, const char *note)
{
	double ratio = kunion > 0 ? kernel / kunion : 0;
	bool ok = bound == 0 || ratio > bound;

	printf("  %-18s", label);
	stall_print_time(kernel);
	stall_print_time(kunion);
	if (ratio >= 1.5)
		printf("   1/%-7.0f", ratio);
	else
		printf("   %-9.2f", ratio > 0 ? 1 / ratio : 0);
	if (bound != 0)
		printf("  %s (below 1/%.0f)", ok ? "pass" : "FAIL", bound);
	if (bound != 0 && kernel < STALL_BASELINE_S)
		printf("; the kernel's time is too short for this to say much");
	printf("%s%s\n", note ? "  " : "", note ?: "");
	return ok;
}

struct stall_event {
	struct json_object *o;
};

static inline const char *stall_str(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static inline int64_t stall_int(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

static inline void stall_print_us(int64_t us)
{
	if (us >= 1000000)
		printf("%.2f s", (double)us / 1e6);
	else
		printf("%.2f ms", (double)us / 1e3);
}

static inline int stall_by_time(const void *a, const void *b)
{
	return strcmp(stall_str(((const struct stall_event *)a)->o, "ts"), stall_str(((const struct stall_event *)b)->o, "ts"));
}

static inline void stall_print_copyup(struct json_object *o)
{
	const char *result = stall_str(o, "result");
	int64_t bytes = stall_int(o, "bytes"), waiters = stall_int(o, "waiters");

	printf("%s (%s) needs a copy of %s: ", stall_str(o, "comm"), stall_str(o, "op"), stall_str(o, "path"));
	if (!strcmp(result, "ok") && !bytes)
		printf("%s made it in ", stall_str(o, "engine"));
	else if (!strcmp(result, "ok"))
		printf("%s copied %.1f MiB in ", stall_str(o, "engine"), (double)bytes / (1 << 20));
	else if (!strcmp(result, "lost"))
		printf("given up, made moot or overtaken, after ");
	else if (!strcmp(result, "native"))
		printf("left to the kernel after ");
	else
		printf("%s after ", result);
	stall_print_us(bytes ? stall_int(o, "copy_us") + stall_int(o, "queued_us") : stall_int(o, "total_us"));
	if (stall_int(o, "commit_us")) {
		printf(", commit ");
		stall_print_us(stall_int(o, "commit_us"));
	}
	if (waiters)
		printf(", %lld more waited", (long long)waiters);
}

static inline void stall_print_wait(struct json_object *o)
{
	printf("%s (%s) waited ", stall_str(o, "comm"), stall_str(o, "op"));
	stall_print_us(stall_int(o, "wait_us"));
	printf(" for the %s of %s asked for by pid %lld: %s", stall_str(o, "on"), stall_str(o, "path"),
	       (long long)stall_int(o, "holder_pid"), stall_str(o, "result"));
}

static inline void stall_print_events(const char *file)
{
	struct stall_event events[STALL_EVENTS_MAX];
	size_t n = 0, size = 0;
	char *line = NULL;
	FILE *f = fopen(file, "re");

	while (f && n < STALL_EVENTS_MAX && getline(&line, &size, f) > 0) {
		struct json_object *o = json_tokener_parse(line);

		const char *what = o ? stall_str(o, "event") : "";

		/* Not of this story. */
		if (!strcmp(what, "union") || !strcmp(what, "changed") || !strcmp(what, "totals"))
			json_object_put(o);
		else if (o)
			events[n++] = (struct stall_event){ .o = o };
	}
	free(line);
	if (f)
		fclose(f);
	if (!n)
		printf("  nothing\n");
	qsort(events, n, sizeof(*events), stall_by_time);
	for (size_t i = 0; i < n; i++) {
		const char *ts = strchr(stall_str(events[i].o, "ts"), 'T'), *what = stall_str(events[i].o, "event");

		printf("  %.15s  ", ts ? ts + 1 : "");
		if (!strcmp(what, "copyup"))
			stall_print_copyup(events[i].o);
		else if (!strcmp(what, "wait"))
			stall_print_wait(events[i].o);
		else
			printf("%s", json_object_to_json_string_ext(events[i].o, JSON_C_TO_STRING_PLAIN));
		printf("\n");
		json_object_put(events[i].o);
	}
}

#endif
