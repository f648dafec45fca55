// SPDX-License-Identifier: GPL-2.0-only
/* The HTML report: well-formed whatever the names are, nothing from outside, and the figures of the analysis. */
#include "html.h"
#include "page.h"

KTAP_TEST(page_is_well_formed)
{
	struct sample s;
	char *page;

	sample_fill(&s);
	page = page_of(&s.a);
	well_formed(page);
	links_lead(page);
	KTAP_CHECK(count(page, "<section id=") == 7);
	free(page);
}

/* The checker sees what it is there for. */
KTAP_TEST(checker_is_strict)
{
	static const char *const wrong[] = { "<p>",    "<p></div>", "</p>", "<p a=b></p>", "<p a=\"<\"></p>",
		      "<p a=\"b\"c=\"d\"></p>",
					     "a > b", "& ",	    "\x01", "<p a></p>",   "<svg><rect></svg>", "<script>a</style>" };
	char page[128];

	for (size_t i = 0; i < KU_ARRAY_SIZE(wrong); i++) {
		snprintf(page, sizeof(page), "<!DOCTYPE html>\n%s", wrong[i]);
		KTAP_CHECK(fault(page), "'%s' passes", wrong[i]);
	}
	well_formed("<!DOCTYPE html>\n<svg><rect a=\"b\" c=\"d\"/></svg><style>a > b & c</style>&amp;");
}

static size_t hash_length(const char *page, const char *behind)
{
	const char *at = strstr(page, behind);

	return at ? strcspn(at + strlen(behind), "'") : 0;
}

KTAP_TEST(nothing_from_outside)
{
	static const char *const none[] = { "https:", " src=", "url(", "@import", "<link", "<img", "<iframe", "<base", " style=",
		" onclick=", " onload=", "eval(",
					    "fetch(", "XMLHttpRequest", "WebSocket", "innerHTML" };
	struct sample s;
	char *page;

	sample_fill(&s);
	page = page_of(&s.a);
	for (size_t i = 0; i < KU_ARRAY_SIZE(none); i++)
		KTAP_CHECK(!strstr(page, none[i]), "'%s'", none[i]);
	/* A name of a namespace, not an address. */
	KTAP_CHECK(count(page, "http:") == count(page, "\"http://www.w3.org/2000/svg\""));
	has(page, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
	KTAP_CHECK(count(page, "<script") == 1 && count(page, "<style") == 1);
	has(page, "; base-uri 'none'; form-action 'none'\">");
	/* 32 bytes in base64. */
	KTAP_CHECK(hash_length(page, "style-src 'sha256-") == 44 && hash_length(page, "script-src 'sha256-") == 44);
	free(page);
}

#define EVIL "\"'><script>alert(1)</script>&amp;\\\n\x01\x7f\xff\xe2\x80\xae/z"
#define EVIL_ESCAPED \
	"&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;\\\\\\x0a\\x01\\x7f\\xff\\xe2\\x80\\xae/z"

/* Every string that an event can bring. */
KTAP_TEST(names_stay_in_their_place)
{
	static const struct ku_who who = { 1, 1, 1, EVIL, EVIL, EVIL, EVIL };
	struct sample s;
	char *page;

	sample_fill(&s);
	s.waiter = s.holder = s.copier = who;
	s.big.path = s.big.kind = s.big.op = s.big.syscall = s.big.engine = s.big.data = s.big.result = EVIL;
	s.held.path = s.held.op = s.held.syscall = s.held.on = s.held.result = s.held.holder_op = EVIL;
	s.held.copyup_path = s.held.copyup_comm = EVIL;
	s.stalled.path = s.stalled.op = s.stalled.syscall = s.stalled.on = s.stalled.result = s.stalled.holder_op = EVIL;
	s.loose.path = s.loose.op = s.loose.on = s.loose.result = EVIL;
	s.row.name = s.row.detail = s.lock.name = s.lock.detail = EVIL;
	s.u[0].path = s.u[0].lower = s.u[0].upper = s.u[0].options = s.u[0].upper_fs = EVIL;
	s.u[1] = s.u[0];
	s.a.nunions = 2;
	s.a.by_container = s.a.by_dir = s.a.by_extension = s.a.by_holder = s.a.by_data = s.a.by_engine = s.a.by_kind = s.a.by_cause;
	s.advice = (struct ku_advice){ EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, 1 };
	s.a.source = EVIL;
	page = page_of(&s.a);
	well_formed(page);
	KTAP_CHECK(!strstr(page, "<script>alert") && count(page, "<script") == 1);
	KTAP_CHECK(!strpbrk(page, "\x01\x7f\xff") && !strstr(page, "\xe2\x80\xae"));
	KTAP_CHECK(count(page, EVIL_ESCAPED) > 40, "%zu", count(page, EVIL_ESCAPED));
	has(page, "<title>kunion report: " EVIL_ESCAPED "</title>");
	free(page);
}

/* A command keeps its lines and backslashes, and nothing else. */
KTAP_TEST(commands_as_they_are)
{
	struct sample s;
	char *page;

	sample_fill(&s);
	s.advice.todo = "a \\\n  'b' <c> \\xff \xff\t";
	page = page_of(&s.a);
	has(page, "<pre class=\"todo\"><code>a \\\n  &#39;b&#39; &lt;c&gt; \\xff \\xff\\x09</code></pre>");
	has(page, "<h3>Mount it volatile</h3>\n<p class=\"facts\"><span class=\"weight\">about 5 s</span>");
	has(page, "<p class=\"reason\">fsync took 5 s</p>");
	has(page, "<strong>Mind:</strong> not after a crash</p>");
	free(page);
}

KTAP_TEST(summary_figures)
{
	struct sample s;
	char *page;
	const char *text;

	sample_fill(&s);
	page = page_of(&s.a);
	text = text_of(page, "<dl class=\"figures\">", "</dl>");
	has(text, "Copy-ups|1,234|1 failed");
	has(text, "Bytes copied|64 MiB|53.1 KiB each");
	has(text, "Bytes written since|4 KiB|0.0061% of 64 MiB copied");
	has(text, "Time copying up|1.5 s|1.22 ms each");
	has(text, "Waits|5,678|2 on a directory lock");
	has(text, "Time waited|1.8 s|317 us each");
	has(text, "Longest wait|800 ms|touch, create");
	has(page, "<p class=\"when\">2026-11-22 18:00:00.123 to 2026-11-22 18:00:02.123 UTC (2 s), union <code>/merged</code></p>");
	has(page, "<title>kunion report: run.jsonl</title>");
	free(page);

	/* The exact sums are of all events: not of a selection. */
	s.a.filtered = true;
	page = page_of(&s.a);
	text = text_of(page, "<dl class=\"figures\">", "</dl>");
	has(text, "Copy-ups|2|1 failed");
	has(text, "Waits|3|");
	has(page, "; a selection by filters</p>");
	free(page);
}

KTAP_TEST(losses_are_told)
{
	struct sample s;
	char *page;

	sample_fill(&s);
	page = page_of(&s.a);
	KTAP_CHECK(!strstr(page, "class=\"banner"));
	free(page);
	s.a.lost = 1500;
	s.a.dropped = (struct ku_ev_dropped){ 1400, 1000, 300, 60, 40 };
	s.a.missing = 1300;
	page = page_of(&s.a);
	KTAP_CHECK(!strcmp(text_of(page, "<div class=\"banner\"", "</div>"),
			   "1,500 events were lost.|The totals are exact, as counted in the kernel; lists and tables are not complete.|"
			   "Dropped: 1,000 copy-ups, 300 waits, 60 writes, 40 others.|"
			   "The kernel counted 1,300 copy-ups and waits that could not be told one by one."),
		   "%s", text_of(page, "<div class=\"banner\"", "</div>"));
	well_formed(page);
	free(page);
	s.a.exact_known = false;
	s.a.lost = 1;
	s.a.missing = 0;
	s.a.dropped.count = 0;
	s.a.unkept.copyups = 7;
	page = page_of(&s.a);
	KTAP_CHECK(!strcmp(text_of(page, "<div class=\"banner\"", "</div>"),
		"1 event was lost.|Totals, lists and tables are not complete."), "%s",
		   text_of(page, "<div class=\"banner\"", "</div>"));
	has(page, "too many events to keep each: 7 copy-ups, 0 waits and 0 files");
	free(page);
}

/* X waited for Y which waited for Z, which copied. */
KTAP_TEST(stall_and_its_chain)
{
	static const char from[] = "<ol class=\"stalls\">", to[] = "</section>";
	struct sample s;
	char *page;

	sample_fill(&s);
	page = page_of(&s.a);
	KTAP_CHECK(!strcmp(text_of(page, from, to),
			   "800 ms|2026-11-22 18:00:00.323|3 waits, 2 s in all|in the timeline|"
			   "waited|touch|[30]|0123456789ab|create|/|dir|800 ms for the directory lock|"
			   "held it, and waited too|rm|[20]|remove|/dir/|big|900 ms for the copy-up lock|"
			   "copied up|dd|[10]|open|/dir/|big|64 MiB in 1 s"), "%s", text_of(page, from, to));
	has(page, "title=\"docker 0123456789abcdef\"");
	free(page);

	/* The holder itself copies, and that copy-up is not known. */
	s.stall.holder_copies = true;
	s.stalled.copyup = NULL;
	s.stalled.result = "timeout";
	page = page_of(&s.a);
	KTAP_CHECK(!strcmp(text_of(page, from, to),
			   "800 ms|2026-11-22 18:00:00.323|3 waits, 2 s in all|timeout|"
			   "waited|touch|[30]|0123456789ab|create|/|dir|800 ms for the directory lock|"
			   "copied up|rm|[20]|remove|/dir/|big"), "%s", text_of(page, from, to));
	free(page);
	/* Nothing is known. */
	s.stall.holder_copies = false;
	s.stalled.holder = NULL;
	s.stalled.copyup_pid = 0;
	s.stalled.copyup_path = "";
	page = page_of(&s.a);
	has(text_of(page, from, to), "directory lock|copied up|somebody");
	free(page);
}

KTAP_TEST(histograms_and_tables)
{
	struct sample s;
	const char *text;
	char *page;

	sample_fill(&s);
	page = page_of(&s.a);
	text = text_of(page, "<table class=\"histogram copies\">", "</table>");
	has(text, "Copy-ups by duration");
	has(text, "512 us to|1.02 ms|4");
	has(text, "1.02 ms to|2.05 ms|");
	has(text, "2.05 ms to|4.1 ms|8");
	has(page, "<rect width=\"50.000%\" height=\"12\" rx=\"2\"/>");
	has(text_of(page, "<table class=\"histogram waits\">", "</table>"), "17m53s and more|1");
	has(text_of(page, "class=\"card phases\"", "</ul>"), "copying:|750 us|, 75.0%|fsync:|250 us|, 25.0%");
	has(page, "<rect class=\"fsync\" x=\"75.000%\" width=\"25.000%\"");
	text = text_of(page, "<caption>By cause", "</table>");
	has(text, "Cause|Copy-ups|Failed|Bytes|Time|Waits|Waited|Longest");
	has(text, "open|openat|12|2|3 MiB|250 ms|3|1.9 s|1 s");
	has(text, "5 more|50|\xe2\x80\x93|1 KiB|10 us|\xe2\x80\x93|\xe2\x80\x93");
	text = text_of(page, "<caption>By lock", "</table>");
	has(text, "Lock|Waits|Waited|Longest");
	has(text, "Longest|directory lock|2|850 ms|800 ms");
	text = text_of(page, "<caption>Dearest", "</table>");
	has(text, "/dir/|big|open|dd|[10]|copied|64 MiB|4 KiB|1 s|2|1.7 s|ok");
	has(text, "/etc/|conf|chmod|dd|[10]|none|\xe2\x80\x93|500 ms|\xe2\x80\x93|\xe2\x80\x93|ENOSPC");
	KTAP_CHECK(strstr(text, "big") < strstr(text, "conf"));
	/* No column for what never happened, no table without rows. */
	s.row.sum.failed = 0;
	free(page);
	page = page_of(&s.a);
	KTAP_CHECK(!strstr(text_of(page, "<caption>By cause", "</table>"), "Failed"));
	KTAP_CHECK(!strstr(page, "<caption>By engine"));
	free(page);
}

/* An id is cut where it is shown, and whole to those who point at it; a name is a name. */
KTAP_TEST(container_ids_are_cut)
{
#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	struct ku_an_row rows[] = {
		{ .name = ID, .detail = "docker" }, { .name = "a-machine", .detail = "nspawn" }, { .name = "", .detail = "" },
	};
	struct ku_an_row holders[] = { { .name = "rm", .detail = "remove, " ID }, { .name = "mv", .detail = "rename, web" } };
	struct sample s;
	char *page;

	sample_fill(&s);
	s.a.by_container = (struct ku_an_table){ .rows = rows, .n = 3 };
	s.a.by_holder = (struct ku_an_table){ .rows = holders, .n = 2 };
	page = page_of(&s.a);
	has(page, "<code title=\"" ID "\">0123456789ab</code><span class=\"detail\">docker</span>");
	has(text_of(page, "<caption>By container", "</table>"), "|a-machine|nspawn|");
	has(text_of(page, "<caption>By container", "</table>"), "|not known|");
	has(page, "<span class=\"detail\" title=\"remove, " ID "\">remove, 0123456789ab</span>");
	has(page, "<span class=\"detail\">rename, web</span>");
	free(page);
}

KTAP_TEST(unions_and_their_options)
{
	static const char from[] = "<section id=\"unions\">", to[] = "</section>";
	struct sample s;
	char *page;

	sample_fill(&s);
	page = page_of(&s.a);
	KTAP_CHECK(!strcmp(text_of(page, from, to),
		"Unions|/merged|0 copy-ups|0 B|0 waits|0 us waited|lower|/lower|upper|/upper|options|metacopy=off|index=on|"
			   "upper&#39;s file system|ext4|space|1 GiB free of 4 GiB|reflink|no: data is copied"), "%s", text_of(page,
				from, to));
	free(page);
	/* Several have numbers, everywhere. */
	s.u[1] = (struct ku_an_union){ .path = "/other", .lower = "", .upper = "", .options = "", .upper_fs = "", .missing = 3 };
	s.a.nunions = 2;
	s.small.union_index = 1;
	page = page_of(&s.a);
	has(text_of(page, from, to), "u2|/other|");
	has(text_of(page, from, to), "3 of its events could not be told.|Its mount options are not known.");
	has(text_of(page, "<ul class=\"unions\">", "</ul>"), "u1|/merged|u2|/other");
	has(text_of(page, "<caption>Dearest", "</table>"), "u2|/etc/|conf");
	has(page, "title=\"/other/etc/conf\"");
	free(page);
}

KTAP_TEST(nothing_happened)
{
	struct ku_analysis a = { .source = "" };
	char *page = page_of(&a);

	well_formed(page);
	links_lead(page);
	has(page, "<title>kunion report</title>");
	has(page, "<p class=\"empty\">No copy-up and no wait was seen.</p>");
	has(text_of(page, "<dl class=\"figures\">", "</dl>"), "Copy-ups|0|none failed");
	has(text_of(page, "<dl class=\"figures\">", "</dl>"), "Waits|0|nobody waited");
	KTAP_CHECK(count(page, "<section") == 1 && !strstr(page, "<table"));
	free(page);
}

KTAP_TEST(write_errors_are_told)
{
	struct sample s;
	FILE *full = fopen("/dev/full", "w");

	KTAP_REQUIRE(full);
	sample_fill(&s);
	KTAP_CHECK(ku_report_html(&s.a, full) == -ENOSPC);
	fclose(full);
}

KTAP_TEST(html_writer)
{
	struct ku_html h = { 0 };
	char *text = NULL, date[KU_HTML_DATE];
	size_t size;

	h.out = open_memstream(&text, &size);
	KTAP_REQUIRE(h.out);
	ku_html(&h, "<%s|%.3s|%.*s|%s>%u %5.2f%% %d %c %08u", "a<b", "&&&&", 2, "\"'x", "", 7u, 1.5, -3, 'z', 42u);
	ku_html(&h, " %llu %lu %zu", 18446744073709551615ull, 5000000000ul, (size_t)6);
	ku_html_prose(&h, " \\a\nb\xff");
	fclose(h.out);
	KTAP_CHECK(h.err == 0);
	KTAP_CHECK(!strcmp(text,
			   "<a&lt;b|&amp;&amp;&amp;|&quot;&#39;|>7  1.50% -3 z 00000042 18446744073709551615 5000000000 6 \\a\nb\\xff"),
		"%s", text);
	free(text);
	KTAP_CHECK(!strcmp(ku_html_date(date, START), "2026-11-22 18:00:00.123"), "%s", date);
	KTAP_CHECK(!strcmp(ku_html_date(date, 0), "1970-01-01 00:00:00.000"), "%s", date);
}

KTAP_MAIN()
