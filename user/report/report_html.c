// SPDX-License-Identifier: GPL-2.0-only
/* The HTML report: its frame, the summary, advice, histograms and unions. */
#include "report_html.h"

#include <string.h>

#include "report_page.h"
#include "util.h"

extern const char ku_page_css_start[], ku_page_css_end[], ku_page_css_hash[];
extern const char ku_page_js_start[], ku_page_js_end[], ku_page_js_hash[];

void ku_page_who(struct ku_html *h, const char *comm, uint32_t pid, const struct ku_who *who)
{
	ku_html(h, "<span class=\"who\"><b>%s</b>", *comm ? comm : "?");
	if (pid)
		ku_html(h, "<span class=\"pid\">[%u]</span>", pid);
	/* An id is told apart by its first twelve digits, as everywhere. */
	if (who && *who->container)
		ku_html(h, " <span class=\"tag\" title=\"%s %s\">%.12s</span>", who->runtime, who->container, who->container);
	ku_html(h, "</span>");
}

/* Unions have long names: where there are several, each is called by its number. */
static void ku_page_union_tag(struct ku_html *h, size_t union_index)
{
	ku_html(h, "<span class=\"tag\">u%zu</span> ", union_index + 1);
}

void ku_page_path(struct ku_html *h, const struct ku_analysis *a, const char *path, unsigned int union_index)
{
	const char *name = strrchr(path, '/');
	bool several = a->nunions > 1 && union_index < a->nunions;
	_cleanup_free_ char *dir = NULL;

	name = !name || !name[1] ? path : name + 1;
	dir = strndup(path, (size_t)(name - path));
	if (!dir) {
		h->err = -ENOMEM;
		return;
	}
	ku_html(h, "<span class=\"path\" title=\"%s%s\">", several ? a->unions[union_index].path : "", path);
	if (several)
		ku_page_union_tag(h, union_index);
	if (*dir)
		ku_html(h, "<span class=\"dir\">%s</span>", dir);
	ku_html(h, "<span class=\"base\">%s</span></span>", *name ? name : "?");
}

const char *ku_page_lock(const char *on)
{
	static const struct {
		const char *on, *words;
	} t[] = {
		{ "dir", "the directory lock" }, { "file", "the file lock" }, { "inode", "the copy-up lock" },
		{ "copy", "kunion's copy" }, { "commit", "kunion's commit" },
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++)
		if (!strcmp(on, t[i].on))
			return t[i].words;
	return *on ? on : "something not known";
}

/* Exact sums, unless the user looks at a selection. */
static bool ku_page_exact(const struct ku_analysis *a)
{
	return a->exact_known && !a->filtered;
}

static void ku_page_head(struct ku_html *h, const struct ku_analysis *a)
{
	/* Nothing but this very style and script: should a name ever get out of its place, it still does nothing. */
	ku_html(h,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; "
		"base-uri 'none'; form-action 'none'\">\n"
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		"<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
		"<meta name=\"generator\" content=\"kunion " KU_VERSION "\">\n<title>kunion report%s%s</title>\n<style>",
		ku_page_css_hash, ku_page_js_hash, *a->source ? ": " : "", a->source);
	fwrite(ku_page_css_start, 1, (size_t)(ku_page_css_end - ku_page_css_start), h->out);
	ku_html(h, "</style>\n</head>\n<body>\n");
}

static void ku_page_nav(struct ku_html *h, const struct ku_analysis *a)
{
	const struct {
		const char *id, *name;
		bool there;
	} t[] = {
		{ "advice", "Advice", a->nadvice },
		{ "stalls", "Worst stalls", a->nstalls },
		{ "timeline", "Timeline", a->ntimeline || a->nloose },
		{ "histograms", "Histograms", a->seen.copyups || a->seen.waits },
		{ "tables", "Tables", a->seen.copyups || a->seen.waits },
		{ "unions", "Unions", a->nunions },
	};

	ku_html(h, "<nav aria-label=\"Sections\"><ul>\n");
	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++)
		if (t[i].there)
			ku_html(h, "<li><a href=\"#%s\">%s</a></li>\n", t[i].id, t[i].name);
	ku_html(h, "</ul></nav>\n");
}

static void ku_page_union_list(struct ku_html *h, const struct ku_analysis *a)
{
	ku_html(h, "<ul class=\"unions\">\n");
	for (size_t i = 0; i < a->nunions; i++) {
		ku_html(h, "<li>");
		ku_page_union_tag(h, i);
		ku_html(h, "<code>%s</code></li>\n", *a->unions[i].path ? a->unions[i].path : "not known");
	}
	ku_html(h, "</ul>\n");
}

static void ku_page_header(struct ku_html *h, const struct ku_analysis *a)
{
	ku_html(h, "<header>\n<div class=\"title\"><h1>kunion report</h1>");
	if (*a->source)
		ku_html(h, "<p class=\"source\">%s</p>", a->source);
	ku_html(h, "</div>\n<p class=\"when\">");
	if (a->end_ns)
		ku_html(h, "%s to %s UTC (%s)", KU_DATE(a->start_ns), KU_DATE(a->end_ns), KU_TIME((a->end_ns - a->start_ns) / 1000));
	if (a->nunions == 1)
		ku_html(h, "%sunion <code>%s</code>", a->end_ns ? ", " : "", *a->unions[0].path ? a->unions[0].path : "not known");
	ku_html(h, "%s</p>\n", a->filtered ? "; a selection by filters" : "");
	if (a->nunions > 1)
		ku_page_union_list(h, a);
	ku_page_nav(h, a);
	ku_html(h, "</header>\n<main>\n");
}

/* What is not in this page, and why: never silent. */
static void ku_page_warnings(struct ku_html *h, const struct ku_analysis *a)
{
	const struct ku_ev_dropped *d = &a->dropped;

	if (a->lost) {
		ku_html(h, "<div class=\"banner\" role=\"alert\"><p><strong>%s %s lost.</strong> %s</p>", KU_COUNT(a->lost),
			a->lost == 1 ? "event was" : "events were",
			ku_page_exact(a) ? "The totals are exact, as counted in the kernel; lists and tables are not complete." :
					   "Totals, lists and tables are not complete.");
		if (d->count)
			ku_html(h, "<p>Dropped: %s copy-ups, %s waits, %s writes, %s others.</p>", KU_COUNT(d->copyups), KU_COUNT(d->waits),
				KU_COUNT(d->writes), KU_COUNT(d->others));
		if (a->missing)
			ku_html(h, "<p>The kernel counted %s copy-ups and waits that could not be told one by one.</p>",
				KU_COUNT(a->missing));
		ku_html(h, "</div>\n");
	}
	if (a->unkept.copyups || a->unkept.waits || a->unkept.files)
		ku_html(h,
			"<div class=\"banner\"><p>There were too many events to keep each: %s copy-ups, %s waits and %s files are in the "
			"sums only.</p></div>\n",
			KU_COUNT(a->unkept.copyups), KU_COUNT(a->unkept.waits), KU_COUNT(a->unkept.files));
	if (!a->seen.copyups && !a->seen.waits)
		ku_html(h, "<p class=\"empty\">No copy-up and no wait was seen.</p>\n");
}

static void ku_page_figure(struct ku_html *h, const char *name, const char *value, const char *note)
{
	ku_html(h, "<div class=\"figure\"><dt>%s</dt><dd><span class=\"value\">%s</span>", name, value);
	if (*note)
		ku_html(h, "<span class=\"note\">%s</span>", note);
	ku_html(h, "</dd></div>\n");
}

static void ku_page_changed(struct ku_html *h, const struct ku_analysis *a)
{
	char note[80];

	if (!a->changed.copyups)
		return;
	if (a->changed.copied)
		snprintf(note, sizeof(note), "%.3g%% of %s copied", 100.0 * (double)a->changed.written / (double)a->changed.copied,
			 KU_SIZE(a->changed.copied));
	else
		snprintf(note, sizeof(note), "into %s copies", KU_COUNT(a->changed.copyups));
	ku_page_figure(h, "Bytes written since", KU_SIZE(a->changed.written), note);
}

static void ku_page_summary(struct ku_html *h, const struct ku_analysis *a)
{
	const struct ku_an_sum *s = ku_page_exact(a) ? &a->exact : &a->seen;
	uint64_t stalled = 0;
	char note[80];

	ku_html(h, "<section id=\"summary\" aria-label=\"Summary\">\n<dl class=\"figures\">\n");
	snprintf(note, sizeof(note), "%s failed", s->failed ? KU_COUNT(s->failed) : "none");
	ku_page_figure(h, "Copy-ups", KU_COUNT(s->copyups), note);
	snprintf(note, sizeof(note), "%s each", KU_SIZE(s->copyups ? s->bytes / s->copyups : 0));
	ku_page_figure(h, "Bytes copied", KU_SIZE(s->bytes), note);
	ku_page_changed(h, a);
	snprintf(note, sizeof(note), "%s each", KU_TIME(s->copyups ? s->copyup_us / s->copyups : 0));
	ku_page_figure(h, "Time copying up", KU_TIME(s->copyup_us), note);
	for (size_t i = 0; i < a->by_lock.n; i++)
		if (!strcmp(a->by_lock.rows[i].name, "dir"))
			stalled += a->by_lock.rows[i].sum.waits;
	snprintf(note, sizeof(note), "%s on a directory lock", KU_COUNT(stalled));
	ku_page_figure(h, "Waits", KU_COUNT(s->waits), s->waits ? note : "nobody waited");
	if (s->waits) {
		snprintf(note, sizeof(note), "%s each", KU_TIME(s->wait_us / s->waits));
		ku_page_figure(h, "Time waited", KU_TIME(s->wait_us), note);
	}
	if (a->nstalls) {
		const struct ku_an_wait *w = a->stalls[0].worst;

		snprintf(note, sizeof(note), "%s, %s", *w->who->comm ? w->who->comm : "?", *w->op ? w->op : "?");
		ku_page_figure(h, "Longest wait", KU_TIME(w->wait_us), note);
	}
	ku_html(h, "</dl>\n</section>\n");
}

/* before and after are HTML. */
static void ku_page_prose(struct ku_html *h, const char *before, const char *text, const char *after)
{
	if (!*text)
		return;
	fputs(before, h->out);
	ku_html_prose(h, text);
	fputs(after, h->out);
}

static void ku_page_advice(struct ku_html *h, const struct ku_analysis *a)
{
	if (!a->nadvice)
		return;
	ku_html(h, "<section id=\"advice\">\n<h2>Advice</h2>\n<div class=\"cards\">\n");
	for (size_t i = 0; i < a->nadvice; i++) {
		const struct ku_advice *v = &a->advice[i];

		ku_html(h, "<article class=\"card advice\" data-advice=\"%s\">\n", v->name);
		ku_page_prose(h, "<h3>", v->title, "</h3>\n");
		ku_html(h, "<p class=\"facts\">");
		if (v->weight_us)
			ku_html(h, "<span class=\"weight\">about %s</span>", KU_TIME(v->weight_us));
		if (*v->union_path)
			ku_html(h, "<span class=\"where\" title=\"%s\">union <code>%s</code></span>", v->union_path, v->union_path);
		ku_html(h, "</p>\n");
		ku_page_prose(h, "<p class=\"reason\">", v->reason, "</p>\n");
		ku_page_prose(h, "<pre class=\"todo\"><code>", v->todo, "</code></pre>\n");
		ku_page_prose(h, "<p class=\"caveat\"><strong>Mind:</strong> ", v->caveat, "</p>\n");
		ku_html(h, "</article>\n");
	}
	ku_html(h, "</div>\n</section>\n");
}

/* "1 ms to 2 ms" */
static void ku_page_bucket(struct ku_html *h, unsigned int n)
{
	if (!n)
		ku_html(h, "<th scope=\"row\">below 1 us</th>");
	else if (n == KU_HIST - 1)
		ku_html(h, "<th scope=\"row\">%s and more</th>", KU_TIME(1ull << (n - 1)));
	else
		ku_html(h, "<th scope=\"row\"><span class=\"from\">%s to</span> %s</th>", KU_TIME(1ull << (n - 1)), KU_TIME(1ull << n));
}

static void ku_page_histogram(struct ku_html *h, const char *title, const char *class, const uint64_t hist[static KU_HIST])
{
	unsigned int first = KU_HIST, last = 0;
	uint64_t most = 0;

	for (unsigned int n = 0; n < KU_HIST; n++) {
		if (!hist[n])
			continue;
		if (first == KU_HIST)
			first = n;
		last = n;
		if (hist[n] > most)
			most = hist[n];
	}
	if (!most)
		return;
	ku_html(h,
		"<div class=\"card\">\n<table class=\"histogram %s\">\n<caption>%s</caption>\n<thead class=\"unseen\"><tr>"
		"<th scope=\"col\">Time</th><th scope=\"col\">Share</th><th scope=\"col\">Count</th></tr></thead>\n<tbody>\n",
		class, title);
	for (unsigned int n = first; n <= last; n++) {
		ku_html(h, "<tr>");
		ku_page_bucket(h, n);
		ku_html(h,
			"<td class=\"bar\"><svg aria-hidden=\"true\" width=\"100%%\" height=\"12\">"
			"<rect width=\"%.3f%%\" height=\"12\" rx=\"2\"/></svg></td><td class=\"num\">%s</td></tr>\n",
			100.0 * (double)hist[n] / (double)most, hist[n] ? KU_COUNT(hist[n]) : "");
	}
	ku_html(h, "</tbody>\n</table>\n</div>\n");
}

/* Where the time of all copy-ups went, as one bar. */
static void ku_page_phases(struct ku_html *h, const struct ku_analysis *a)
{
	const struct {
		const char *class, *name;
		uint64_t us;
	} t[] = {
		{ "queued", "queued for a worker", a->phases.queued_us },
		{ "lock", "waiting for the copy-up lock", a->phases.lock_us },
		{ "copy", "copying", a->phases.copy_us },
		{ "fsync", "fsync", a->phases.fsync_us },
		{ "commit", "putting in place", a->phases.commit_us },
	};
	double all = 0, at = 0;

	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++)
		all += (double)t[i].us;
	if (all <= 0)
		return;
	ku_html(h, "<div class=\"card phases\">\n<h3>Where the time of copy-ups went</h3>\n"
		   "<svg aria-hidden=\"true\" width=\"100%%\" height=\"26\">");
	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++) {
		if (!t[i].us)
			continue;
		ku_html(h, "<rect class=\"%s\" x=\"%.3f%%\" width=\"%.3f%%\" height=\"26\"/>", t[i].class, 100 * at / all,
			100 * (double)t[i].us / all);
		at += (double)t[i].us;
	}
	ku_html(h, "</svg>\n<ul class=\"legend\">\n");
	for (size_t i = 0; i < KU_ARRAY_SIZE(t); i++)
		if (t[i].us)
			ku_html(h, "<li><i class=\"key %s\"></i>%s: <b>%s</b>, %.1f%%</li>\n", t[i].class, t[i].name, KU_TIME(t[i].us),
				100 * (double)t[i].us / all);
	ku_html(h, "</ul>\n</div>\n");
}

static void ku_page_histograms(struct ku_html *h, const struct ku_analysis *a)
{
	if (!a->seen.copyups && !a->seen.waits)
		return;
	ku_html(h, "<section id=\"histograms\">\n<h2>How long it took</h2>\n");
	ku_page_phases(h, a);
	ku_html(h, "<div class=\"pair\">\n");
	ku_page_histogram(h, "Copy-ups by duration", "copies", a->copyup_hist);
	ku_page_histogram(h, "Waits by duration", "waits", a->wait_hist);
	ku_html(h, "</div>\n</section>\n");
}

static void ku_page_option(struct ku_html *h, const char *name, const char *value)
{
	if (*value)
		ku_html(h, "<dt>%s</dt><dd><code>%s</code></dd>\n", name, value);
}

/* "metacopy=off,index=off" as single words, which wrap. */
static void ku_page_options(struct ku_html *h, const char *options)
{
	if (!*options)
		return;
	ku_html(h, "<dt>options</dt><dd class=\"options\">");
	while (*options) {
		int len = (int)strcspn(options, ",");

		if (len)
			ku_html(h, "<code>%.*s</code> ", len, options);
		options += len + (options[len] == ',');
	}
	ku_html(h, "</dd>\n");
}

static void ku_page_unions(struct ku_html *h, const struct ku_analysis *a)
{
	if (!a->nunions)
		return;
	ku_html(h, "<section id=\"unions\">\n<h2>Unions</h2>\n<div class=\"cards\">\n");
	for (size_t i = 0; i < a->nunions; i++) {
		const struct ku_an_union *u = &a->unions[i];
		const struct ku_an_sum *s = u->exact_known && !a->filtered ? &u->exact : &u->seen;

		ku_html(h, "<article class=\"card union\">\n<h3>");
		if (a->nunions > 1)
			ku_page_union_tag(h, i);
		ku_html(h,
			"<code>%s</code></h3>\n<p class=\"facts\"><span>%s copy-ups</span><span>%s</span>"
			"<span>%s waits</span><span>%s waited</span></p>\n",
			*u->path ? u->path : "not known", KU_COUNT(s->copyups), KU_SIZE(s->bytes), KU_COUNT(s->waits), KU_TIME(s->wait_us));
		if (u->missing)
			ku_html(h, "<p class=\"caveat\">%s of its events could not be told.</p>\n", KU_COUNT(u->missing));
		if (!u->described) {
			ku_html(h, "<p>Its mount options are not known.</p>\n</article>\n");
			continue;
		}
		ku_html(h, "<dl>\n");
		ku_page_option(h, "lower", u->lower);
		ku_page_option(h, "upper", u->upper);
		ku_page_options(h, u->options);
		ku_page_option(h, "upper's file system", u->upper_fs);
		if (u->upper_size)
			ku_html(h, "<dt>space</dt><dd>%s free of %s</dd>\n", KU_SIZE(u->upper_free), KU_SIZE(u->upper_size));
		ku_html(h, "<dt>reflink</dt><dd>%s</dd>\n</dl>\n</article>\n",
			u->reflink ? "yes: a copy shares its data with the lower file" : "no: data is copied");
	}
	ku_html(h, "</div>\n</section>\n");
}

int ku_report_html(const struct ku_analysis *a, FILE *out)
{
	struct ku_html h = { .out = out };

	errno = 0;
	ku_page_head(&h, a);
	ku_page_header(&h, a);
	ku_page_warnings(&h, a);
	ku_page_summary(&h, a);
	ku_page_advice(&h, a);
	ku_page_stalls(&h, a);
	ku_page_timeline(&h, a);
	ku_page_histograms(&h, a);
	ku_page_tables(&h, a);
	ku_page_unions(&h, a);
	ku_html(&h, "</main>\n<footer><p>Written by kunion " KU_VERSION ". Names are bytes: here <code>\\x</code> and two digits stand "
		    "for a byte that is no text, <code>\\\\</code> for one backslash.</p></footer>\n<script>");
	fwrite(ku_page_js_start, 1, (size_t)(ku_page_js_end - ku_page_js_start), out);
	ku_html(&h, "</script>\n</body>\n</html>\n");
	if (h.err)
		return h.err;
	if (fflush(out) || ferror(out))
		return errno ? -errno : -EIO;
	return 0;
}
