// SPDX-License-Identifier: GPL-2.0-only
/* Tables and histograms of the report for people. */
#include <string.h>

#include "figures.h"
#include "report_text.h"
#include "text.h"
#include "util.h"

#define KU_BAR 20u /* of a histogram's longest */
#define KU_COLUMNS "%9s%9s%9s%9s%9s"

enum ku_naming { KU_NAME_PLAIN, KU_NAME_CAUSE, KU_NAME_CONTAINER, KU_NAME_DIR };

static char *ku_row_name(struct ku_out *o, const struct ku_an_row *r, enum ku_naming naming)
{
	bool id = naming == KU_NAME_CONTAINER && strcmp(r->detail, "cgroup") != 0;
	_cleanup_free_ char *name = id ? ku_container_name(o, r->name) : ku_name(o, r->name, 0), *detail = ku_name(o, r->detail, 0);
	char number[16] = "", *text = NULL;
	int n = -1;

	if (!name || !detail)
		return NULL;
	switch (naming) {
	case KU_NAME_DIR:
		if (o->a->nunions > 1)
			snprintf(number, sizeof(number), "[%u] ", r->union_index + 1);
		n = asprintf(&text, "%s%s%s", number, name[0] ? name : "(not known)", !r->below ? "" : name[1] ? "/.." : "..");
		break;
	case KU_NAME_PLAIN:
		n = asprintf(&text, "%s", name[0] ? name : "(none)");
		break;
	case KU_NAME_CONTAINER:
	case KU_NAME_CAUSE:
		/* That of a cgroup shows what it is. */
		if (!strcmp(detail, "cgroup") && naming == KU_NAME_CONTAINER)
			detail[0] = '\0';
		n = asprintf(&text, "%s%s%s%s", name[0] ? name : "(not known)", detail[0] ? " (" : "", detail, detail[0] ? ")" : "");
	}
	if (n < 0) {
		o->no_memory = true;
		return NULL;
	}
	return text;
}

static void ku_row(struct ku_out *o, const struct ku_an_sum *s, const char *name)
{
	_cleanup_free_ char *fit = NULL;
	char failed[KU_FIGURE + 16] = "";

	if (s->failed)
		snprintf(failed, sizeof(failed), " [%s failed]", KU_COUNT(s->failed));
	fit = name ? ku_text_fit(name, KU_WIDTH - 47 - strlen(failed)) : NULL;
	if (!fit)
		o->no_memory = true;
	fprintf(o->f, KU_COLUMNS "  %s%s\n", KU_COUNT(s->copyups), KU_SIZE(s->bytes), KU_TIME(s->copyup_us), KU_COUNT(s->waits),
		KU_TIME(s->wait_us), fit ? fit : "", failed);
}

static void ku_table(struct ku_out *o, const char *title, const struct ku_an_table *t, enum ku_naming naming)
{
	if (!t->n)
		return;
	fprintf(o->f, "\n%s\n" KU_COLUMNS "\n", title, "copy-ups", "bytes", "time", "waits", "waited");
	for (size_t i = 0; i < t->n; i++) {
		_cleanup_free_ char *name = ku_row_name(o, &t->rows[i], naming);

		ku_row(o, &t->rows[i].sum, name);
	}
	if (t->nrest) {
		char more[64];

		snprintf(more, sizeof(more), "(%s more)", KU_COUNT(t->nrest));
		ku_row(o, &t->rest, more);
	}
}

static void ku_wait_row(struct ku_out *o, const struct ku_an_sum *s, const char *max, const char *name)
{
	_cleanup_free_ char *fit = name ? ku_text_fit(name, KU_WIDTH - 29) : NULL;

	if (!fit)
		o->no_memory = true;
	fprintf(o->f, "%9s%9s%9s  %s\n", KU_COUNT(s->waits), KU_TIME(s->wait_us), max, fit ? fit : "");
}

static const char *ku_lock_name(const char *on)
{
	static const char *const names[][2] = {
		{ "copy", "kunion's copy of the file" },
		{ "commit", "the end of kunion's copy" },
		{ "inode", "the file's overlay inode" },
		{ "dir", "a directory's lock" },
		{ "file", "the file's own lock" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(names); i++)
		if (!strcmp(names[i][0], on))
			return names[i][1];
	return on;
}

static void ku_wait_table(struct ku_out *o, const char *title, const struct ku_an_table *t, bool locks)
{
	if (!t->n)
		return;
	fprintf(o->f, "\n%s\n%9s%9s%9s\n", title, "waits", "waited", "longest");
	for (size_t i = 0; i < t->n; i++) {
		const struct ku_an_row *r = &t->rows[i];
		_cleanup_free_ char *name = locks ? ku_name(o, ku_lock_name(r->name), 0) : ku_row_name(o, r, KU_NAME_CAUSE);

		ku_wait_row(o, &r->sum, KU_TIME(r->max_us), name);
	}
	if (t->nrest) {
		char more[64];

		snprintf(more, sizeof(more), "(%s more)", KU_COUNT(t->nrest));
		ku_wait_row(o, &t->rest, "", more);
	}
}

static const char *ku_bar(char bar[static KU_BAR + 1], uint64_t n, uint64_t most)
{
	unsigned int len = most ? (unsigned int)((double)n * KU_BAR / (double)most + 0.5) : 0;

	if (n && !len)
		len = 1;
	memset(bar, '#', len);
	bar[len] = '\0';
	return bar;
}

static void ku_histograms(struct ku_out *o)
{
	const struct ku_analysis *a = o->a;
	unsigned int first = KU_HIST, last = 0;
	uint64_t most_c = 0, most_w = 0;

	for (unsigned int i = 0; i < KU_HIST; i++) {
		if (a->copyup_hist[i] || a->wait_hist[i]) {
			first = first == KU_HIST ? i : first;
			last = i;
		}
		most_c = a->copyup_hist[i] > most_c ? a->copyup_hist[i] : most_c;
		most_w = a->wait_hist[i] > most_w ? a->wait_hist[i] : most_w;
	}
	if (first == KU_HIST)
		return;
	fprintf(o->f, "\nHow long\n%14s%11s %*s%11s\n", "less than", "copy-ups", (int)KU_BAR + 1, "", "waits");
	for (unsigned int i = first; i <= last; i++) {
		char bar_c[KU_BAR + 1], bar_w[KU_BAR + 1];

		ku_bar(bar_w, a->wait_hist[i], most_w);
		fprintf(o->f, "%14s%11s %-*s%11s%s%s\n", i == KU_HIST - 1 ? "longer" : KU_TIME(1ull << i), KU_COUNT(a->copyup_hist[i]),
			(int)KU_BAR + 1, ku_bar(bar_c, a->copyup_hist[i], most_c), KU_COUNT(a->wait_hist[i]), bar_w[0] ? " " : "", bar_w);
	}
}

void ku_report_text_tables(struct ku_out *o)
{
	const struct ku_analysis *a = o->a;

	ku_table(o, "By cause", &a->by_cause, KU_NAME_CAUSE);
	ku_table(o, "By container or cgroup", &a->by_container, KU_NAME_CONTAINER);
	ku_table(o, "By directory (.. with those below it that are not listed)", &a->by_dir, KU_NAME_DIR);
	ku_table(o, "By extension", &a->by_extension, KU_NAME_PLAIN);
	ku_table(o, "By kind", &a->by_kind, KU_NAME_PLAIN);
	ku_table(o, "By what became of the data", &a->by_data, KU_NAME_PLAIN);
	ku_table(o, "By who copied", &a->by_engine, KU_NAME_PLAIN);
	ku_histograms(o);
	ku_wait_table(o, "Waits by what was waited for", &a->by_lock, true);
	ku_wait_table(o, "Waits by holder", &a->by_holder, false);
}
