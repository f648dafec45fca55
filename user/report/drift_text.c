// SPDX-License-Identifier: GPL-2.0-only
/* Drift for people: numbers to the left, names to the right. */
#include <langinfo.h>
#include <string.h>
#include <time.h>

#include "drift.h"
#include "figures.h"
#include "map.h"
#include "report_text.h"
#include "text.h"
#include "util.h"

#define KU_BY 22u    /* columns */
#define KU_ALIKE 10u /* so many of a directory are one line */

/* What they have in common. No holes: the bytes are a key. */
struct ku_alike_key {
	const struct ku_drift_item *parent;
	const struct ku_drift_process *by;
	uint32_t class, type, diff, uid, guessed, zero;
};

struct ku_alike {
	size_t n;
	uint64_t bytes;
	const struct ku_drift_item *newest;
	bool told;
};

/* To the minute, which is what one looks for. */
static const char *ku_drift_time(char buf[static 32], uint64_t ts_ns)
{
	time_t sec = (time_t)(ts_ns / 1000000000ull);
	struct tm tm;

	if (!ts_ns || !gmtime_r(&sec, &tm) || !strftime(buf, 32, "%Y-%m-%d %H:%M", &tm))
		strcpy(buf, "-");
	return buf;
}

static uint64_t ku_drift_ns(const struct timespec *t)
{
	return t->tv_sec < 0 ? 0 : (uint64_t)t->tv_sec * 1000000000ull + (uint64_t)t->tv_nsec;
}

/* "touch@web"; cut when it is for a column. */
static char *ku_drift_by(struct ku_out *o, const struct ku_drift_process *p, size_t columns)
{
	_cleanup_free_ char *comm = ku_name(o, p->comm, 0), *in = ku_container_name(o, p->container), *text = NULL;
	char *fit;

	if (!comm || !in)
		return NULL;
	if (asprintf(&text, "%s%s%s", comm, in[0] ? "@" : "", in) < 0)
		text = NULL;
	fit = !text ? NULL : columns ? ku_text_fit(text, columns) : KU_TAKE_PTR(text);
	if (!fit)
		o->no_memory = true;
	return fit;
}

static void ku_drift_pad(FILE *f, const char *text, size_t columns)
{
	size_t n = ku_text_columns(text);

	fprintf(f, "%s%*s", text, n < columns ? (int)(columns - n) : 0, "");
}

/* When, and by whom; without events only what the file itself has. A whiteout may be one inode for all of them, and tells nothing. */
static void ku_drift_when(struct ku_out *o, const struct ku_drift *d, const struct ku_drift_item *item)
{
	bool gone = item->class == KU_DRIFT_REMOVED;
	char mtime[32] = "-", ctime[32] = "-", owner[32] = "-";
	_cleanup_free_ char *by = NULL;

	if (item->mark) {
		by = ku_drift_by(o, item->mark->by, KU_BY);
		fprintf(o->f, "%-16s  ", ku_drift_time(ctime, item->mark->ts_ns));
		ku_drift_pad(o->f, by ? by : "", KU_BY);
		return;
	}
	if (!gone) {
		ku_drift_time(mtime, ku_drift_ns(&item->st.st_mtim));
		ku_drift_time(ctime, ku_drift_ns(&item->st.st_ctim));
		snprintf(owner, sizeof(owner), d->with_events ? "(uid %u)" : "uid %u", item->st.st_uid);
	}
	if (d->with_events)
		fprintf(o->f, "%-16s  %-*s", ctime, (int)KU_BY, owner);
	else
		fprintf(o->f, "%-16s  %-16s  %-14s", mtime, ctime, owner);
}

static void ku_drift_note(FILE *f, bool *any, const char *text)
{
	fprintf(f, "%s%s", *any ? ", " : " (", text);
	*any = true;
}

static void ku_drift_notes(struct ku_out *o, const struct ku_drift_item *item, size_t alike)
{
	char text[KU_FIGURE + 32];
	bool any = false;

	if (alike) {
		snprintf(text, sizeof(text), "%s alike", KU_COUNT(alike));
		ku_drift_note(o->f, &any, text);
	}
	if (!S_ISREG(item->type))
		ku_drift_note(o->f, &any, ku_drift_kind(item->type));
	if (item->whole) {
		snprintf(text, sizeof(text), "%s in it", KU_COUNT(item->entries));
		ku_drift_note(o->f, &any, text);
	}
	if (item->moved_from) {
		_cleanup_free_ char *from = ku_name(o, item->moved_from, 0);

		ku_drift_note(o->f, &any, "was ");
		fputs(from ? from : "", o->f);
	}
	for (unsigned int bit = 1; bit < KU_DIFF_ALL; bit <<= 1)
		if (item->diff & bit && item->class == KU_DRIFT_METADATA)
			ku_drift_note(o->f, &any, ku_drift_diff_name(bit));
	if (item->guessed)
		ku_drift_note(o->f, &any, "too big to compare: by size and time");
	if (item->seen && item->seen->execs)
		ku_drift_note(o->f, &any, "executed");
	fputs(any ? ")\n" : "\n", o->f);
}

/* Files that were not changed each for itself: a chown -R, a cache, what a package left behind. False: it has a line of its own. */
static bool ku_drift_key(const struct ku_drift_item *item, struct ku_alike_key *ret)
{
	bool gone = item->class == KU_DRIFT_REMOVED;

	if (item->class == KU_DRIFT_CHANGED || item->class == KU_DRIFT_REPLACED || item->class == KU_DRIFT_NONE)
		return false;
	if (item->top || item->moved_from || S_ISDIR(item->type) || (item->seen && item->seen->execs))
		return false;
	*ret = (struct ku_alike_key){ .parent = item->parent, .by = item->mark ? item->mark->by : NULL, .class = item->class,
				      .type = item->type, .diff = item->diff, .uid = gone ? 0 : item->st.st_uid, .guessed = item->guessed };
	return true;
}

static uint64_t ku_drift_last(const struct ku_drift_item *item)
{
	return item->mark ? item->mark->ts_ns : ku_drift_ns(&item->st.st_ctim);
}

static void ku_drift_alikes(struct ku_out *o, const struct ku_drift *d, struct ku_map *map)
{
	for (size_t i = 0; i < d->n && !o->no_memory; i++) {
		const struct ku_drift_item *item = d->items[i];
		struct ku_alike_key key;
		struct ku_alike *a;
		void *found;

		if (!ku_drift_key(item, &key))
			continue;
		if (ku_map_get(map, &key, sizeof(key), &found, NULL, NULL)) {
			o->no_memory = true;
			return;
		}
		a = found;
		a->n++;
		a->bytes += item->bytes;
		if (!a->newest || ku_drift_last(item) > ku_drift_last(a->newest))
			a->newest = item;
	}
}

static void ku_drift_item(struct ku_out *o, const struct ku_drift *d, const struct ku_drift_item *item, struct ku_alike *a)
{
	uint64_t bytes = a ? a->bytes : item->bytes + item->entry_bytes;
	_cleanup_free_ char *path = NULL;

	path = ku_name(o, !a ? item->path : item->parent->path[1] ? item->parent->path : "", 0);
	fprintf(o->f, "  %-14s  %8s  ", ku_drift_class_name(item->class), bytes ? KU_SIZE(bytes) : "-");
	ku_drift_when(o, d, a ? a->newest : item);
	fprintf(o->f, "  %s%s", path ? path : "", a ? "/*" : "");
	ku_drift_notes(o, item, a ? a->n : 0);
}

static void ku_drift_items(struct ku_out *o, const struct ku_drift *d)
{
	struct ku_map map = KU_MAP(struct ku_alike, 0);

	ku_drift_alikes(o, d, &map);
	if (d->with_events)
		fprintf(o->f, "\n  %-14s  %8s  %-16s  %-*s  %s\n", "what", "bytes", "when (UTC)", (int)KU_BY, "by", "path");
	else
		fprintf(o->f, "\n  %-14s  %8s  %-16s  %-16s  %-14s  %s\n", "what", "bytes", "modified (UTC)", "changed (UTC)", "owner", "path");
	for (size_t i = 0; i < d->n && !o->no_memory; i++) {
		const struct ku_drift_item *item = d->items[i];
		struct ku_alike_key key;
		struct ku_alike *a;

		if (item->class == KU_DRIFT_NONE || item->top)
			continue;
		a = ku_drift_key(item, &key) ? ku_map_find(&map, &key, sizeof(key)) : NULL;
		if (!a || a->n < KU_ALIKE)
			ku_drift_item(o, d, item, NULL);
		else if (!a->told)
			ku_drift_item(o, d, item, a);
		if (a)
			a->told = true;
	}
	ku_map_free(&map);
}

static void ku_drift_process(struct ku_out *o, const struct ku_drift_process *p, const char *name)
{
	fprintf(o->f, "  %8s", KU_SIZE(p->bytes));
	for (int c = KU_DRIFT_ADDED; c < KU_DRIFT_CLASSES; c++)
		fprintf(o->f, "%9s", KU_COUNT(p->items[c]));
	fprintf(o->f, "%9s  %s\n", KU_COUNT(p->execs), name);
}

static void ku_drift_processes(struct ku_out *o, const struct ku_drift *d)
{
	const struct ku_drift_process *p;
	uint64_t unknown = 0;

	fprintf(o->f, "\nBy process\n  %8s%9s%9s%9s%9s%9s%9s%9s\n", "bytes", "added", "changed", "metadata", "removed", "replaced", "unchgd",
		"executed");
	for (size_t i = 0; (p = ku_drift_process_at(d, i)); i++) {
		_cleanup_free_ char *by = ku_drift_by(o, p, 0);

		ku_drift_process(o, p, by ? by : "");
	}
	for (int c = KU_DRIFT_ADDED; c < KU_DRIFT_CLASSES; c++)
		unknown += d->unknown.items[c];
	if (unknown)
		ku_drift_process(o, &d->unknown, "(not in the events)");
}

static void ku_drift_execs(struct ku_out *o, const struct ku_drift *d)
{
	const struct ku_drift_seen *s;
	const char *bytes;
	bool any = false;

	for (size_t i = 0; (s = ku_drift_executed(d, &i, &bytes));) {
		_cleanup_free_ char *by = ku_drift_by(o, s->exec.by, KU_BY), *path = ku_name(o, bytes, 0);
		char when[32];

		if (!any)
			fputs("\nExecuted from the upper layer\n", o->f);
		any = true;
		fprintf(o->f, "  %8s %-5s  %-16s  ", KU_COUNT(s->execs), s->execs == 1 ? "time" : "times",
			ku_drift_time(when, s->exec.ts_ns));
		ku_drift_pad(o->f, by ? by : "", KU_BY);
		fprintf(o->f, "  %s%s\n", path ? path : "", s->here ? "" : " (not there any more)");
	}
}

static void ku_drift_hints(struct ku_out *o, const struct ku_drift *d)
{
	if (!d->with_events)
		ku_text_wrap(o->f, "",
			     "Who made it, and what was executed, is in recorded events: 'kunion trace --json --writes MERGED >FILE' while it "
			     "happens, then --from FILE.",
			     KU_WIDTH);
	else if (!d->events && d->others)
		ku_text_wrap(o->f, "! ", "None of the events is of this union: nothing is known of who made it.", KU_WIDTH);
	if (d->dropped)
		ku_text_wrap(o->f, "! ", "Events were lost: not all is known of who made it.", KU_WIDTH);
	if (d->incomplete)
		ku_text_wrap(o->f, "! ", "Not all of the upper layer could be looked at.", KU_WIDTH);
}

int ku_drift_text(const struct ku_drift *d, FILE *out)
{
	struct ku_out o = { .f = out, .utf8 = !isatty(fileno(out)) || !strcmp(nl_langinfo(CODESET), "UTF-8") };
	_cleanup_free_ char *at = ku_name(&o, d->u->path, 0);
	const char *between = ": ";
	size_t first = 0;
	bool some = false;

	for (int c = KU_DRIFT_ADDED; c < KU_DRIFT_CLASSES; c++)
		some = some || d->told[c];
	for (const char *path; !some && ku_drift_executed(d, &first, &path);)
		some = true;
	if (!some && !d->incomplete) {
		fputs("no drift\n", out);
		return o.no_memory ? -ENOMEM : 0;
	}
	fputs(at ? at : "", out);
	for (int c = KU_DRIFT_ADDED; c < KU_DRIFT_CLASSES; c++) {
		if (!d->told[c])
			continue;
		fprintf(out, "%s%s %s", between, KU_COUNT(d->told[c]), ku_drift_class_name((enum ku_drift_class)c));
		between = ", ";
	}
	fprintf(out, "; %s in the upper layer\n", KU_SIZE(d->bytes));
	ku_drift_items(&o, d);
	if (d->with_events)
		ku_drift_processes(&o, d);
	ku_drift_execs(&o, d);
	fputc('\n', out);
	ku_drift_hints(&o, d);
	return o.no_memory ? -ENOMEM : 0;
}
