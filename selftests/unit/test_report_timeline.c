// SPDX-License-Identifier: GPL-2.0-only
/* The HTML report's timeline: what is where, and that it has an end. */
#include <limits.h>

#include "page.h"
#include "report_page.h"

KTAP_TEST(timeline_geometry)
{
	const char *at;
	struct sample s;
	char *page;

	sample_fill(&s);
	page = page_of(&s.a);
	has(page, "data-span=\"2000000\"");
	/* The copy-up, and its lock and fsync on it. */
	has(page, "<rect class=\"copy\" x=\"0.0000%\" y=\"3\" width=\"50.0000%\" height=\"14\" data-a=\"0\" data-b=\"1000000\"");
	has(page, "<rect class=\"lock\" x=\"0.0000%\" y=\"3\" width=\"5.0000%\" height=\"14\" data-a=\"0\" data-b=\"100000\"/>");
	has(page, "<rect class=\"fsync\" x=\"40.0000%\" y=\"3\" width=\"10.0000%\" height=\"14\" data-a=\"800000\" data-b=\"1000000\"/>");
	/* Those who waited for it, in its group. */
	has(page, "<rect class=\"wait on-inode\" x=\"5.0000%\" y=\"2\" width=\"45.0000%\" height=\"8\" "
		  "data-a=\"100000\" data-b=\"1000000\"");
	has(page, "<rect class=\"wait on-dir\" x=\"10.0000%\" y=\"2\" width=\"40.0000%\" height=\"8\" "
		  "data-a=\"200000\" data-b=\"1000000\"");
	at = strstr(page, "on-dir\" x");
	KTAP_CHECK(at > strstr(page, "id=\"c0\"") && at < strstr(page, "nobody waited for"));
	/* The failed one that nobody waited for, and the wait that nothing is known of. */
	has(page, "<g class=\"failed\"><rect class=\"copy\" x=\"75.0000%\"");
	has(page, "1 copy-up that nobody waited for");
	has(page, "<rect class=\"wait\" x=\"97.5000%\"");
	has(page, "<title>/dir\ncreate by touch[30]\n2026-11-22 18:00:00.323: "
		  "waited 800 ms for the directory lock\nheld by rm[20], remove</title>");
	has(page, "<title>/dir/big\nopen by dd[10], kernel: ok\n2026-11-22 18:00:00.123: 64 MiB in 1 s, "
		  "lock 100 ms, fsync 200 ms\n2 waits, 1.7 s</title>");
	/* Ticks each half second. */
	has(page, "<text x=\"25.0000%\" y=\"14\">500 ms</text><text x=\"50.0000%\" y=\"14\">1 s</text>");
	KTAP_CHECK(!strstr(page, "class=\"cap\""));
	free(page);
}

/* Times that contradict each other put nothing beyond its bar. */
KTAP_TEST(timeline_of_nonsense)
{
	struct sample s;
	char *page;

	sample_fill(&s);
	s.big.lock_us = s.big.fsync_us = s.big.commit_us = s.big.queued_us = 5000 * MS;
	s.small.ts_ns = 5;
	s.small.fsync_us = UINT64_MAX;
	s.a.end_ns = s.a.start_ns;
	page = page_of(&s.a);
	well_formed(page);
	has(page, "data-span=\"1\"");
	has(page, "<rect class=\"queued\" x=\"0.0000%\" y=\"3\" width=\"100000000.0000%\"");
	KTAP_CHECK(!strstr(page, "nan") && !strstr(page, "inf%") && !strstr(page, "x=\"-") && !strstr(page, "width=\"-"));
	free(page);
}

/* n copy-ups, each with w waits; two of these each are of one length, `more` than the two before. */
static char *crowd(size_t n, size_t w, uint64_t us, uint64_t more, struct sample *s)
{
	struct ku_an_copyup *c = calloc(n, sizeof(*c)), **timeline = calloc(n, sizeof(*timeline));
	struct ku_an_wait *wait = calloc(n * w, sizeof(*wait));
	const struct ku_an_wait **list = calloc(n * w, sizeof(*list));
	char *page;

	KTAP_REQUIRE(c && timeline && wait && list);
	sample_fill(s);
	for (size_t i = 0; i < n; i++) {
		c[i] = s->big;
		c[i].ts_ns = START + i * MS * 1000;
		c[i].total_us = us;
		c[i].nwaits = c[i].nlisted = w;
		c[i].wait_us = us * w;
		c[i].waits = &list[i * w];
		timeline[i] = &c[i];
		for (size_t j = 0; j < w; j++) {
			wait[i * w + j] = s->stalled;
			wait[i * w + j].ts_ns = c[i].ts_ns + j;
			wait[i * w + j].wait_us = us + more * ((i * w + j) / 2);
			list[i * w + j] = &wait[i * w + j];
		}
	}
	s->a.timeline = timeline;
	s->a.ntimeline = n;
	s->a.nloose = 0;
	s->a.stalls = NULL;
	s->a.nstalls = 0;
	s->a.seen.copyups = n + 100;
	s->a.seen.waits = n * w;
	page = page_of(&s->a);
	free(c);
	free(timeline);
	free(wait);
	free(list);
	return page;
}

/* In microseconds, of those that are drawn. */
static unsigned long shortest_wait(const char *page)
{
	unsigned long least = ULONG_MAX, from, to;

	for (const char *at = page; (at = strstr(at, "<rect class=\"wait")); at++) {
		at = strstr(at, "data-a=");
		KTAP_REQUIRE(at && sscanf(at, "data-a=\"%lu\" data-b=\"%lu\"", &from, &to) == 2);
		least = to - from < least ? to - from : least;
	}
	return least;
}

KTAP_TEST(timeline_has_an_end)
{
	struct sample s;
	char *page;

	/* All of one length. */
	page = crowd(300, 12, 100, 0, &s);
	KTAP_CHECK(count(page, "<g class=\"") + count(page, "<rect class=\"wait") == KU_PAGE_INTERVALS, "%zu and %zu",
		   count(page, "<g class=\""), count(page, "<rect class=\"wait"));
	KTAP_CHECK(count(page, "<g class=\"") == 300);
	has(page, "<p class=\"cap\">Drawn are 2,000 of 4,000 intervals (copy-ups and waits), those that took longest. "
		  "The tables count all.</p>");
	well_formed(page);
	free(page);

	/* The longest ones are drawn: 1699 of 3612 waits, so that one of the two shortest of them is left out. */
	page = crowd(301, 12, 1000, 2, &s);
	KTAP_CHECK(count(page, "<g class=\"") == 301);
	KTAP_CHECK(count(page, "<rect class=\"wait") == 1699, "%zu", count(page, "<rect class=\"wait"));
	KTAP_CHECK(shortest_wait(page) == 1000 + 2 * (3612 - 1699) / 2 - 1, "%lu", shortest_wait(page));
	free(page);

	/* Just as many as there is room for. */
	page = crowd(400, 4, 100, 1, &s);
	KTAP_CHECK(count(page, "<g class=\"") + count(page, "<rect class=\"wait") == 2000);
	has(page, "Drawn are 2,000 of 2,100 intervals");
	/* Lanes too have an end. */
	free(page);
	page = crowd(1, 1000, 100000, 1, &s);
	has(page, "994 more waits</div><svg aria-hidden=\"true\" width=\"100%\" height=\"260\">");
	free(page);
}

KTAP_MAIN()
