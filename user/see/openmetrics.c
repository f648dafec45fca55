// SPDX-License-Identifier: GPL-2.0-only
/*
 * Families are rows of tables. No type but counter, gauge and histogram, and no timestamps: node_exporter's textfile collector, which
 * reads the older text format, then takes it too (it calls the counters untyped).
 */
#include "openmetrics.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

/*
 * Every second of the kernel's buckets, from 16 us to 268 s: all of them would be 64 lines for each label set. The last of the kernel's
 * takes whatever is longer, so it has no bound.
 */
#define KU_OM_LE_FIRST 4
#define KU_OM_LE_LAST 28
#define KU_OM_LE_STEP 2
_Static_assert(KU_OM_LE_LAST < KU_HIST - 1, "the last bucket has no bound");

struct ku_om_set {
	char *union_path, *container; /* escaped for a label; NULL: "other" */
	char *engine, *result;
	bool seen; /* in this reading */
	struct ku_counts sum; /* the numbers only */
};

struct ku_openmetrics {
	struct ku_om_set *sets; /* in the order of their coming */
	unsigned int n, room, single, max; /* single: those told one by one */
};

struct ku_om_family {
	const char *name, *unit, *help;
	size_t value;	 /* of a counter: a uint64_t in struct ku_counts */
	size_t ns, hist; /* of a histogram; hist 0: a counter */
};

#define KU_OM_COUNTER(field) offsetof(struct ku_counts, field), 0, 0
#define KU_OM_HIST(sum, buckets) 0, offsetof(struct ku_counts, sum), offsetof(struct ku_counts, buckets)

static const struct ku_om_family ku_om_families[] = {
	{ "kunion_copyups", NULL, "Copy-ups that came to an end.", KU_OM_COUNTER(copyups) },
	{ "kunion_copyup_bytes", "bytes", "Data that copy-ups copied or cloned.", KU_OM_COUNTER(bytes) },
	{ "kunion_copyup_seconds", "seconds", "How long copy-ups took.", KU_OM_HIST(copyup_ns, copyup_hist) },
	{ "kunion_waits", NULL, "Waits that copy-ups caused.", KU_OM_COUNTER(waits) },
	{ "kunion_wait_seconds", "seconds", "How long they waited.", KU_OM_HIST(wait_ns, wait_hist) },
	{ "kunion_stalls", NULL, "Of the waits, those for a directory.", KU_OM_COUNTER(stalls) },
};

struct ku_om_gauge {
	const char *name, *help; /* help NULL: another sample of the family above */
	const char *kind;	 /* value of the label "kind"; NULL: none, and a gauge, not a counter */
	size_t value;
};

#define KU_OM_GAUGE(field) offsetof(struct ku_gauges, field)

static const struct ku_om_gauge ku_om_gauges[] = {
	{ "kunion_dropped_events", "Events that could not be told; all counters above are exact all the same.", "copyup",
	  KU_OM_GAUGE(dropped_copyups) },
	{ "kunion_dropped_events", NULL, "wait", KU_OM_GAUGE(dropped_waits) },
	{ "kunion_dropped_events", NULL, "write", KU_OM_GAUGE(dropped_writes) },
	{ "kunion_dropped_events", NULL, "other", KU_OM_GAUGE(dropped_others) },
	{ "kunion_parked", "Tasks that kunion keeps waiting now.", NULL, KU_OM_GAUGE(parked) },
	{ "kunion_pending_slots", "Pending entries in use.", NULL, KU_OM_GAUGE(slots_used) },
	{ "kunion_pending_slots_limit", "Pending entries there are; beyond them operations are the kernel's.", NULL, KU_OM_GAUGE(slots) },
	{ "kunion_active", "Copy-ups and waits under way in the kernel's tables.", NULL, KU_OM_GAUGE(active) },
	{ "kunion_active_limit", "Room of these tables; what is beyond is counted as dropped.", NULL, KU_OM_GAUGE(active_max) },
};

/* A label's value: backslash, quote and newline are escaped. Bytes that are no text are so already (ku_escape_bytes). */
char *ku_om_label(const char *bytes)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);
	char *out, *o;

	out = o = text ? malloc(2 * strlen(text) + 1) : NULL;
	if (!out)
		return NULL;
	for (const char *s = text; *s; s++) {
		if (*s == '\\' || *s == '"' || *s == '\n')
			*o++ = '\\';
		*o++ = *s == '\n' ? 'n' : *s;
	}
	*o = '\0';
	return out;
}

static void ku_om_set_free(struct ku_om_set *set)
{
	free(set->union_path);
	free(set->container);
	free(set->engine);
	free(set->result);
}

struct ku_openmetrics *ku_om_new(unsigned int max_sets)
{
	struct ku_openmetrics *om = calloc(1, sizeof(*om));

	if (om)
		om->max = max_sets;
	return om;
}

void ku_om_free(struct ku_openmetrics *om)
{
	if (!om)
		return;
	for (unsigned int i = 0; i < om->n; i++)
		ku_om_set_free(&om->sets[i]);
	free(om->sets);
	free(om);
}

/* Takes out what the last reading did not have, keeping the order; the rest begins a new reading. */
void ku_om_begin(struct ku_openmetrics *om)
{
	unsigned int kept = 0;

	om->single = 0;
	for (unsigned int i = 0; i < om->n; i++) {
		struct ku_om_set set = om->sets[i];

		if (!set.seen) {
			ku_om_set_free(&set);
			continue;
		}
		om->single += set.container != NULL;
		set.seen = false;
		memset(&set.sum, 0, sizeof(set.sum));
		om->sets[kept++] = set;
	}
	om->n = kept;
}

static bool ku_om_same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* NULL for union and container: the rest. */
static struct ku_om_set *ku_om_find(struct ku_openmetrics *om, const char *union_path, const char *container, const char *engine,
				    const char *result)
{
	for (unsigned int i = 0; i < om->n; i++) {
		struct ku_om_set *set = &om->sets[i];

		if (ku_om_same(set->union_path, union_path) && ku_om_same(set->container, container) &&
		    !strcmp(set->engine, engine) && !strcmp(set->result, result))
			return set;
	}
	return NULL;
}

/* A new set; takes union_path and container, whatever comes of it. */
static struct ku_om_set *ku_om_add(struct ku_openmetrics *om, char *union_path, char *container, const char *engine, const char *result)
{
	struct ku_om_set set = { .union_path = union_path, .container = container, .engine = ku_om_label(engine),
				 .result = ku_om_label(result) };

	if (om->n == om->room) {
		unsigned int room = om->room ? 2 * om->room : 16;
		struct ku_om_set *more = reallocarray(om->sets, room, sizeof(*more));

		if (more) {
			om->sets = more;
			om->room = room;
		}
	}
	if (!set.engine || !set.result || om->n == om->room) {
		ku_om_set_free(&set);
		return NULL;
	}
	om->single += container != NULL;
	om->sets[om->n] = set;
	return &om->sets[om->n++];
}

int ku_om_count(struct ku_openmetrics *om, const struct ku_counts *c)
{
	_cleanup_free_ char *union_path = ku_om_label(c->union_path), *container = ku_om_label(c->container);
	struct ku_om_set *set;

	if (!union_path || !container)
		return -ENOMEM;
	set = ku_om_find(om, union_path, container, c->engine, c->result);
	if (!set && om->single < om->max)
		set = ku_om_add(om, KU_TAKE_PTR(union_path), KU_TAKE_PTR(container), c->engine, c->result);
	else if (!set)
		set = ku_om_find(om, NULL, NULL, c->engine, c->result) ?: ku_om_add(om, NULL, NULL, c->engine, c->result);
	if (!set)
		return -ENOMEM;
	set->seen = true;
	set->sum.copyups += c->copyups;
	set->sum.bytes += c->bytes;
	set->sum.copyup_ns += c->copyup_ns;
	set->sum.waits += c->waits;
	set->sum.wait_ns += c->wait_ns;
	set->sum.stalls += c->stalls;
	for (unsigned int i = 0; i < KU_HIST; i++) {
		set->sum.copyup_hist[i] += c->copyup_hist[i];
		set->sum.wait_hist[i] += c->wait_hist[i];
	}
	return 0;
}

void ku_om_head(FILE *f, const char *name, const char *type, const char *unit, const char *help)
{
	fprintf(f, "# TYPE %s %s\n", name, type);
	if (unit)
		fprintf(f, "# UNIT %s %s\n", name, unit);
	fprintf(f, "# HELP %s %s\n", name, help);
}

static void ku_om_labels(FILE *f, const struct ku_om_set *set)
{
	fprintf(f, "union=\"%s\",container=\"%s\",engine=\"%s\",result=\"%s\"", set->union_path ?: "other", set->container ?: "other",
		set->engine, set->result);
}

static uint64_t ku_om_number(const void *base, size_t at)
{
	uint64_t n;

	memcpy(&n, (const char *)base + at, sizeof(n));
	return n;
}

static void ku_om_seconds(FILE *f, uint64_t ns)
{
	fprintf(f, "%llu.%09llu", (unsigned long long)(ns / 1000000000), (unsigned long long)(ns % 1000000000));
}

static void ku_om_hist(FILE *f, const struct ku_om_family *fam, const struct ku_om_set *set)
{
	uint64_t count = 0;

	for (unsigned int i = 0; i < KU_HIST; i++) {
		count += ku_om_number(&set->sum, fam->hist + i * sizeof(uint64_t));
		if (i < KU_OM_LE_FIRST || i > KU_OM_LE_LAST || (i - KU_OM_LE_FIRST) % KU_OM_LE_STEP)
			continue;
		fprintf(f, "%s_bucket{", fam->name);
		ku_om_labels(f, set);
		fprintf(f, ",le=\"%.6f\"} %llu\n", (double)(1ull << i) / 1e6, (unsigned long long)count);
	}
	fprintf(f, "%s_bucket{", fam->name);
	ku_om_labels(f, set);
	fprintf(f, ",le=\"+Inf\"} %llu\n%s_sum{", (unsigned long long)count, fam->name);
	ku_om_labels(f, set);
	fputs("} ", f);
	ku_om_seconds(f, ku_om_number(&set->sum, fam->ns));
	fprintf(f, "\n%s_count{", fam->name);
	ku_om_labels(f, set);
	fprintf(f, "} %llu\n", (unsigned long long)count);
}

static void ku_om_counts(FILE *f, const struct ku_openmetrics *om)
{
	for (unsigned int i = 0; i < KU_ARRAY_SIZE(ku_om_families); i++) {
		const struct ku_om_family *fam = &ku_om_families[i];

		ku_om_head(f, fam->name, fam->hist ? "histogram" : "counter", fam->unit, fam->help);
		for (unsigned int k = 0; k < om->n; k++) {
			if (!om->sets[k].seen)
				continue;
			if (fam->hist) {
				ku_om_hist(f, fam, &om->sets[k]);
				continue;
			}
			fprintf(f, "%s_total{", fam->name);
			ku_om_labels(f, &om->sets[k]);
			fprintf(f, "} %llu\n", (unsigned long long)ku_om_number(&om->sets[k].sum, fam->value));
		}
	}
}

static void ku_om_gauges_write(FILE *f, const struct ku_gauges *g)
{
	for (unsigned int i = 0; i < KU_ARRAY_SIZE(ku_om_gauges); i++) {
		const struct ku_om_gauge *row = &ku_om_gauges[i];
		unsigned long long value = ku_om_number(g, row->value);

		if (row->help)
			ku_om_head(f, row->name, row->kind ? "counter" : "gauge", NULL, row->help);
		if (row->kind)
			fprintf(f, "%s_total{kind=\"%s\"} %llu\n", row->name, row->kind, value);
		else
			fprintf(f, "%s %llu\n", row->name, value);
	}
}

/* Nothing without kernel.bpf_stats_enabled: a zero would be told as if it were measured. */
static void ku_om_hooks(FILE *f, const struct ku_gauges *g)
{
	unsigned long long all = 0;

	for (unsigned int i = 0; i < g->nhooks; i++)
		all += g->hooks[i].runs;
	if (!all)
		return;
	ku_om_head(f, "kunion_hook_runs", "counter", NULL, "Runs of BPF programs.");
	for (unsigned int i = 0; i < g->nhooks; i++)
		fprintf(f, "kunion_hook_runs_total{hook=\"%s\"} %llu\n", g->hooks[i].name, (unsigned long long)g->hooks[i].runs);
	ku_om_head(f, "kunion_hook_seconds", "counter", "seconds", "Time in BPF programs.");
	for (unsigned int i = 0; i < g->nhooks; i++) {
		fprintf(f, "kunion_hook_seconds_total{hook=\"%s\"} ", g->hooks[i].name);
		ku_om_seconds(f, g->hooks[i].ns);
		fputc('\n', f);
	}
}

int ku_om_write(struct ku_openmetrics *om, const struct ku_om_session *s, FILE *f)
{
	ku_om_counts(f, om);
	ku_om_gauges_write(f, &s->gauges);
	ku_om_hooks(f, &s->gauges);
	if (s->judge)
		ku_om_policy(f, s->judge);
	ku_om_head(f, "kunion_unions", "gauge", NULL, "Attached unions.");
	fprintf(f, "kunion_unions{mode=\"%s\",tier=\"%s\"} %u\n", s->mode, s->tier, s->unions);
	fputs("# EOF\n", f);
	return fflush(f) || ferror(f) ? -EIO : 0;
}

int ku_om_save(const char *file, const char *text, size_t size)
{
	_cleanup_free_ char *temp = NULL;
	_cleanup_close_ int fd = -1;
	ssize_t n = 0;
	int err = 0;

	/* In the same directory, and not ending in .prom: a collector must not take it. */
	if (asprintf(&temp, "%s.XXXXXX", file) < 0) {
		temp = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < size && n >= 0; done += (size_t)(n > 0 ? n : 0))
		n = write(fd, text + done, size - done);
	if (n < 0 || fchmod(fd, 0644) || rename(temp, file)) {
		err = -errno;
		unlink(temp);
	}
	return err;
}
