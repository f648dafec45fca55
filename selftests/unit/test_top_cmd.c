// SPDX-License-Identifier: GPL-2.0-only
/* `kunion top` and `kunion metrics`: what they refuse, and with which words. */
#include "cmd.h"
#include "screen.h"
#include "unit.h"

struct call {
	int (*fn)(int argc, char **argv);
	const char *argv[12];
};

static int call(void *arg)
{
	static char words[12][64];
	const struct call *c = arg;
	char *argv[12] = { 0 };
	int argc = 0;

	/* Words that may be written to, as main() has them. */
	for (; c->argv[argc]; argc++) {
		snprintf(words[argc], sizeof(words[argc]), "%s", c->argv[argc]);
		argv[argc] = words[argc];
	}
	return c->fn(argc, argv);
}

/* Runs it with stdout and stderr in files. Returns the exit status; the words are in out and err. */
static int quietly(const struct call *c, char out[static 4096], char err[static 4096])
{
	char *names[] = { out, err };
	FILE *f[2] = { tmpfile(), tmpfile() };
	int status;
	pid_t pid;

	KTAP_REQUIRE(f[0] && f[1]);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (!pid) {
		dup2(fileno(f[0]), STDOUT_FILENO);
		dup2(fileno(f[1]), STDERR_FILENO);
		/* argp's list of children is not freed by an exit out of it. */
		status = call((void *)c);
		fflush(NULL);
		_exit(status);
	}
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	for (int i = 0; i < 2; i++) {
		rewind(f[i]);
		names[i][fread(names[i], 1, 4095, f[i])] = '\0';
		fclose(f[i]);
	}
	return WEXITSTATUS(status);
}

static void refused(const struct call *c, const char *want)
{
	char out[4096], err[4096];
	int status = quietly(c, out, err);

	*strchrnul(err, '\n') = '\0';
	KTAP_CHECK(status == 2 && !out[0] && !strcmp(err, want), "status %d\nhave '%s'\nwant '%s'", status, err, want);
}

#define TOP(...) (&(struct call){ ku_cmd_top, { "top", __VA_ARGS__ } })
#define METRICS(...) (&(struct call){ ku_cmd_metrics, { "metrics", __VA_ARGS__ } })

KTAP_TEST(top_refuses)
{
	refused(TOP("/m"), "kunion top: stdout is no terminal; use 'kunion trace', or top --json");
	refused(TOP("--json", "--from", "x"), "kunion top: top shows what happens now; for a file of events use 'kunion report --from x'");
	refused(TOP("--json", "/m", "--", "true"), "kunion top: top runs no command: start it elsewhere, or use 'kunion trace'");
	refused(TOP("--json", "-d", "0.01", "/m"), "kunion top: --delay '0.01': seconds, at least 0.05, as 2 or 0.5");
	refused(TOP("--json", "-d", "x", "/m"), "kunion top: --delay 'x': seconds, at least 0.05, as 2 or 0.5");
	refused(TOP("--json", "-n", "0", "/m"), "kunion top: --count '0': how often, as 10");
	refused(TOP("--json", "-n", "1x", "/m"), "kunion top: --count '1x': how often, as 10");
	refused(TOP("--json", "-n", "99999999999", "/m"), "kunion top: --count '99999999999': how often, as 10");
}

KTAP_TEST(metrics_refuses)
{
	unit_place();
	refused(METRICS("--json", "/m"),
		"kunion metrics: metrics writes OpenMetrics text only; 'kunion top --json' has such numbers as JSON");
	refused(METRICS("--from", "x"),
		"kunion metrics: metrics counts what happens now; for a file of events use 'kunion report --from x'");
	refused(METRICS("-p", "1", "/m"),
		"kunion metrics: counts are by union, container and cgroup: leave --pid, --path, --min-bytes and --min-ms out");
	refused(METRICS("--path", "/x", "/m"),
		"kunion metrics: counts are by union, container and cgroup: leave --pid, --path, --min-bytes and --min-ms out");
	refused(METRICS("--every", "5", "/m"), "kunion metrics: --every rewrites a file: name it with --textfile");
	refused(METRICS("--every", "0", "/m"), "kunion metrics: --every '0': seconds, at least 0.05, as 15");
	refused(METRICS("--textfile", "/tmp/no/k.prom", "/m"), "kunion metrics: --textfile '/tmp/no/k.prom': No such file or directory");
	refused(METRICS("--textfile", "/tmp/unit", "/m"), "kunion metrics: --textfile '/tmp/unit': is there and is no regular file");
}

/* What is wrong with a union is said on the terminal as it was. */
KTAP_TEST(top_of_no_union)
{
	static struct screen s;
	struct call c = { ku_cmd_top, { "top", "-n", "1", "/tmp/unit/none" } };
	int status;

	unit_place();
	screen_start(&s, 24, 80, call, &c);
	status = screen_end(&s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2, "status %#x", status);
	KTAP_CHECK(screen_sent(&s, "/tmp/unit/none: no such directory") >= 0, "%.*s", (int)s.n, s.raw);
	KTAP_CHECK(screen_sent(&s, "\033[?1049h") < 0);
	screen_close(&s);
}

KTAP_MAIN()
