// SPDX-License-Identifier: GPL-2.0-only
/* The report for people: numbers to the left, names to the right, 80 columns. Tables: report_text_tables.c. */
#include <errno.h>
#include <langinfo.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "figures.h"
#include "report_out.h"
#include "report_text.h"
#include "text.h"
#include "trace_fmt.h"
#include "util.h"

#define KU_ID_SHOWN 12u

char *ku_name(struct ku_out *o, const char *bytes, size_t columns)
{
	_cleanup_free_ char *text = ku_terminal_text(bytes, o->utf8);
	char *fit = text && columns ? ku_text_fit(text, columns) : KU_TAKE_PTR(text);

	if (!fit)
		o->no_memory = true;
	return fit;
}

char *ku_container_name(struct ku_out *o, const char *name)
{
	size_t hex = strspn(name, "0123456789abcdef");
	char *text;

	/* 64 digits of an id say no more than 12. */
	if (hex < 32 || name[hex])
		return ku_name(o, name, 0);
	text = strndup(name, KU_ID_SHOWN);
	if (!text)
		o->no_memory = true;
	return text;
}

static void ku_put(struct ku_out *o, const char *bytes, size_t columns)
{
	_cleanup_free_ char *name = ku_name(o, bytes, columns);

	fputs(name ? name : "", o->f);
}

/* A paragraph; the arguments are clean. */
__attribute__((format(printf, 3, 4))) static void ku_para(struct ku_out *o, const char *lead, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		o->no_memory = true;
		return;
	}
	ku_text_wrap(o->f, lead, text, KU_WIDTH);
	free(text);
}

static void ku_bytes_para(struct ku_out *o, const char *lead, const char *bytes)
{
	_cleanup_free_ char *text = ku_name(o, bytes, 0);

	ku_text_wrap(o->f, lead, text ? text : "", KU_WIDTH);
}

static void ku_date(char buf[static 32], uint64_t ts_ns)
{
	time_t sec = (time_t)(ts_ns / 1000000000ull);
	struct tm tm;

	if (!gmtime_r(&sec, &tm) || !strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm))
		strcpy(buf, "?");
}

char *ku_report_lost(const struct ku_analysis *a)
{
	char *text;

	if (!a->lost)
		return strdup("");
	if (asprintf(&text, "%s event%s lost; %s", KU_COUNT(a->lost), a->lost == 1 ? " was" : "s were",
		     a->exact_known ? "totals are exact, lists are not" : "neither totals nor lists are complete") < 0)
		return NULL;
	return text;
}

static void ku_head(struct ku_out *o)
{
	const struct ku_analysis *a = o->a;
	_cleanup_free_ char *lost = ku_report_lost(a), *source = ku_name(o, a->source, 0);
	char from[32], to[32];

	fprintf(o->f, "kunion report%s%s\n", a->source[0] ? ": " : "", source ? source : "");
	if (a->start_ns) {
		ku_date(from, a->start_ns);
		ku_date(to, a->end_ns);
		fprintf(o->f, "%s to %s UTC (%s)\n", from, to, KU_TIME((a->end_ns - a->start_ns) / 1000));
	}
	if (!lost)
		o->no_memory = true;
	else if (lost[0])
		ku_para(o, "! ", "%s.", lost);
	if (a->unkept.copyups || a->unkept.waits || a->unkept.files)
		ku_para(o, "! ", "Too many to keep them all: %s copy-ups, %s waits and %s files are in the sums only.",
			KU_COUNT(a->unkept.copyups), KU_COUNT(a->unkept.waits), KU_COUNT(a->unkept.files));
	if (a->filtered)
		ku_para(o, "! ", "The events are a selection; the exact totals count everything.");
}

/* With blanks behind the commas, so that they find room on several lines. */
static void ku_options(struct ku_out *o, const char *options)
{
	_cleanup_free_ char *spaced = malloc(strlen(options) * 2 + 1);
	char *to = spaced;

	if (!spaced) {
		o->no_memory = true;
		return;
	}
	for (; *options; options++) {
		*to++ = *options;
		if (*options == ',')
			*to++ = ' ';
	}
	*to = '\0';
	ku_bytes_para(o, "      options  ", spaced[0] ? spaced : "-");
}

static void ku_union(struct ku_out *o, unsigned int i)
{
	const struct ku_an_union *u = &o->a->unions[i];
	_cleanup_free_ char *fs = ku_name(o, u->upper_fs, 0);

	if (o->a->nunions > 1)
		fprintf(o->f, "  [%u] ", i + 1);
	else
		fputs("  ", o->f);
	ku_put(o, u->path[0] ? u->path : "(not named)", KU_WIDTH - 8);
	fputc('\n', o->f);
	if (!u->described)
		return;
	fputs("      lower    ", o->f);
	ku_put(o, u->lower, KU_WIDTH - 15);
	fputs("\n      upper    ", o->f);
	ku_put(o, u->upper, KU_WIDTH - 15);
	fprintf(o->f, "\n               %s%s%s free of %s, %s\n", fs ? fs : "", u->upper_fs[0] ? ", " : "", KU_SIZE(u->upper_free),
		KU_SIZE(u->upper_size), u->reflink ? "files can be cloned" : "files cannot be cloned");
	ku_options(o, u->options);
}

static void ku_sum(struct ku_out *o, const char *name, const struct ku_an_sum *s)
{
	fprintf(o->f, "  %-13s%10s%9s%10s%10s%9s%10s\n", name, KU_COUNT(s->copyups), KU_COUNT(s->failed), KU_SIZE(s->bytes),
		KU_TIME(s->copyup_us), KU_COUNT(s->waits), KU_TIME(s->wait_us));
}

static void ku_totals(struct ku_out *o)
{
	const struct ku_analysis *a = o->a;

	fprintf(o->f, "\nTotals\n  %-13s%10s%9s%10s%10s%9s%10s\n", "", "copy-ups", "failed", "bytes", "time", "waits", "waited");
	if (a->exact_known)
		ku_sum(o, "exact", &a->exact);
	ku_sum(o, "from events", &a->seen);
	if (!a->exact_known)
		ku_para(o, "  ", "There are no exact totals for all of it.");
	if (a->given_up.lost || a->given_up.native)
		ku_para(o, "  ", "Given up by kunion, not counted above: %s overtaken by a removal or the like, %s left to the kernel.",
			KU_COUNT(a->given_up.lost), KU_COUNT(a->given_up.native));
	if (a->changed.copyups)
		ku_para(o, "  ", "Copied against changed: of %s copied, %s were written into the copies so far (%s copy-up%s watched).",
			KU_SIZE(a->changed.copied), KU_SIZE(a->changed.written), KU_COUNT(a->changed.copyups),
			a->changed.copyups == 1 ? "" : "s");
	if (a->seen.copyups)
		ku_para(o, "  ", "Where the time went: queued %s, inode lock %s, copying %s, fsync %s, commit %s.",
			KU_TIME(a->phases.queued_us), KU_TIME(a->phases.lock_us), KU_TIME(a->phases.copy_us), KU_TIME(a->phases.fsync_us),
			KU_TIME(a->phases.commit_us));
	else if (!a->seen.waits)
		fputs("  Nothing was copied up, and nobody waited.\n", o->f);
}

/* "touch[12] create" */
static char *ku_actor(struct ku_out *o, const struct ku_who *who, const char *op)
{
	_cleanup_free_ char *comm = ku_name(o, who->comm, 0), *clean = ku_name(o, op, 0), *in = ku_container_name(o, who->container);
	char *text;

	if (!comm || !clean || !in)
		return NULL;
	if (asprintf(&text, "%s[%u]%s%s%s%s", comm, who->pid, in[0] ? "@" : "", in, clean[0] ? " " : "", clean) < 0) {
		o->no_memory = true;
		return NULL;
	}
	return text;
}

static const char *ku_waited_for(const char *on)
{
	if (!strcmp(on, "dir"))
		return "the directory, held by";
	if (!strcmp(on, "file"))
		return "the file's lock, held by";
	if (!strcmp(on, "inode"))
		return "the file's overlay inode, held by";
	return "the copy asked for by";
}

/* The end of the chain: what was copied, and by whom if that is not the holder. Allocated, "" if not known. */
static char *ku_stall_copy(struct ku_out *o, const struct ku_an_stall *s)
{
	const struct ku_an_wait *v = s->worst;
	_cleanup_free_ char *copied = ku_name(o, v->copyup_path, 0), *comm = ku_name(o, v->copyup_comm, 0), *between = NULL;
	char size[KU_FIGURE] = "", took[KU_FIGURE] = "", waited[KU_FIGURE] = "", *text = NULL;
	int n = -1;

	if (!copied || !comm)
		return NULL;
	if (v->copyup) {
		ku_figure_size(size, v->copyup->bytes);
		ku_figure_time(took, v->copyup->total_us);
	}
	if (s->holder_wait)
		ku_figure_time(waited, s->holder_wait->wait_us);
	if (!copied[0])
		n = asprintf(&text, "%s", "");
	else if (s->holder_copies || !v->copyup_pid)
		between = strdup("which copied");
	else if (asprintf(&between, "which waited %s%sfor %s[%u], which copied", waited, waited[0] ? " " : "", comm, v->copyup_pid) < 0)
		between = NULL;
	if (between)
		n = asprintf(&text, ", %s %s%s%s%s%s%s", between, copied, size[0] ? " (" : "", size, size[0] ? ", " : "", took,
			     size[0] ? ")" : "");
	if (n < 0) {
		o->no_memory = true;
		return NULL;
	}
	return text;
}

static void ku_stall(struct ku_out *o, size_t n, const struct ku_an_stall *s)
{
	const struct ku_an_wait *v = s->worst;
	_cleanup_free_ char *who = ku_actor(o, v->who, v->op), *path = ku_name(o, v->path, 0), *copy = ku_stall_copy(o, s);
	_cleanup_free_ char *holder = v->holder ? ku_actor(o, v->holder, v->holder_op) : ku_name(o, "somebody", 0);
	char lead[32];

	if (!who || !path || !holder || !copy)
		return;
	snprintf(lead, sizeof(lead), "%3zu. ", n);
	ku_para(o, lead, "%s: %s %s %s waited for %s %s%s.", KU_TIME(v->wait_us), who, strcmp(v->on, "dir") ? "of" : "in",
		path[0] ? path : "?", ku_waited_for(v->on), holder, copy);
	if (s->waits > 1)
		ku_para(o, "     ", "%s more waited for the same; %s in all.", KU_COUNT(s->waits - 1), KU_TIME(s->wait_us));
}

static void ku_advices(struct ku_out *o)
{
	const struct ku_analysis *a = o->a;

	fputs("\nAdvice\n", o->f);
	if (!a->nadvice)
		fputs("  None: nothing was seen that there is a remedy for.\n", o->f);
	for (size_t i = 0; i < a->nadvice; i++) {
		const struct ku_advice *v = &a->advice[i];
		_cleanup_free_ char *at = ku_name(o, v->union_path, 0);
		char lead[32];

		snprintf(lead, sizeof(lead), "%3zu. ", i + 1);
		if (a->nunions > 1 && at && at[0])
			ku_para(o, lead, "%s (%s)", v->title, at);
		else
			ku_para(o, lead, "%s", v->title);
		ku_bytes_para(o, "     Why: ", v->reason);
		ku_bytes_para(o, "     Do:  ", v->todo);
		if (v->caveat[0])
			ku_bytes_para(o, "     But: ", v->caveat);
	}
}

int ku_report_text(const struct ku_analysis *a, FILE *out)
{
	/* Names as the terminal's character set has them. */
	struct ku_out o = { .a = a, .f = out, .utf8 = !isatty(fileno(out)) || !strcmp(nl_langinfo(CODESET), "UTF-8") };

	ku_head(&o);
	if (a->nunions)
		fprintf(out, "\nUnion%s\n", a->nunions == 1 ? "" : "s");
	for (unsigned int i = 0; i < a->nunions; i++)
		ku_union(&o, i);
	ku_totals(&o);
	ku_report_text_tables(&o);
	if (a->nstalls)
		fputs("\nWorst stalls\n", out);
	for (size_t i = 0; i < a->nstalls; i++)
		ku_stall(&o, i + 1, &a->stalls[i]);
	ku_advices(&o);
	return o.no_memory ? -ENOMEM : 0;
}
