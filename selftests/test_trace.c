// SPDX-License-Identifier: GPL-2.0-only
/* kunion trace, live: what it prints of a command's copy-ups, how it ends, and that no reader of its output holds anybody up. */
#include "fx_fixture.h"

#include <fcntl.h>
#include <poll.h>

#define FILES 100
/* Loading all programs under emulation takes its time. */
#define LIMIT_MS 120000

/* Starts kunion with these words, stdout being out; stderr is FX_DIR/err. */
static pid_t start(int out, const char *const *argv)
{
	pid_t pid = fork();

	KTAP_REQUIRE(pid >= 0);
	if (pid)
		return pid;
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(open(FX_DIR "/err", O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO) < 0)
		_exit(126);
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	execvp(argv[0], (char **)argv);
	_exit(127);
}

static int finish(pid_t pid, int ms)
{
	uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000;
	int status = -1;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (fx_now_ns() > end) {
			KTAP_CHECK(false, "still running after %d ms", ms);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -1;
		}
		fx_sleep_ms(2);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static const char *slurp(const char *file, char *text, size_t size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t all = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + all, size - 1 - all)) > 0)
		all += (size_t)n;
	text[all] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

/* What it has said so far. */
static const char *out_text(void)
{
	static char text[1 << 20];

	return slurp(FX_DIR "/out", text, sizeof(text));
}

static const char *err_text(void)
{
	static char text[1 << 16];

	return slurp(FX_DIR "/err", text, sizeof(text));
}

#define TRACE(...) ((const char *const[]){ "kunion", "trace", __VA_ARGS__, NULL })

/* What it prints to a file, and its exit status. */
static const char *trace(int *status, const char *const *argv)
{
	int out = open(FX_DIR "/out", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	pid_t pid = start(out, argv);

	close(out);
	*status = finish(pid, LIMIT_MS);
	return out_text();
}

static int count(const char *text, const char *what)
{
	int n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

/* Waits for text in the command's output, as far as it has come. */
static bool said(const char *text)
{
	for (int ms = 0; ms < LIMIT_MS; ms += 5) {
		if (strstr(out_text(), text))
			return true;
		fx_sleep_ms(5);
	}
	return false;
}

KTAP_TEST_LIMIT(of_a_command, LIMIT_MS / 500)
{
	struct fx fx;
	int status;
	const char *out;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", FX_MB(2), 0644);
	fx_lower(&fx, "d/g", FX_KB(8), 0644);
	fx_mount(&fx);
	out = trace(&status, TRACE(FX_DIR "/merged", "--", "sh", "-c", "chmod 600 " FX_DIR "/merged/d/f; echo >>"
		FX_DIR "/merged/d/g; exit 7"));
	KTAP_CHECK(status == 7, "%d: %s", status, err_text());
	KTAP_CHECK(!strncmp(out, "TIME         EVENT   OP           PID COMM ", 43), "%s", out);
	/* The directory is copied up too. */
	KTAP_CHECK(count(out, " copyup  ") == 3 && count(out, FX_DIR "/merged/d (dir") == 1, "%s", out);
	KTAP_CHECK(count(out, " copyup  chmod  ") == 2 && count(out, " 2.0M ") >= 1 && count(out, FX_DIR "/merged/d/f") == 1, "%s", out);
	KTAP_CHECK(count(out, " copyup  open  ") == 1 && count(out, " 8.0K ") == 1 && count(out, FX_DIR "/merged/d/g") >= 1, "%s", out);
	KTAP_CHECK(count(out, " union   " FX_DIR "/merged: ") == 1 && count(out, "lost") == 0, "%s", out);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(filtered, LIMIT_MS / 500)
{
	struct fx fx;
	int status;
	const char *out;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", FX_MB(2), 0644);
	fx_lower(&fx, "d/g", FX_KB(8), 0644);
	fx_mount(&fx);
	out = trace(&status, TRACE("--json", "--min-bytes=1M", FX_DIR "/merged", "--", "sh", "-c",
				   "chmod 600 " FX_DIR "/merged/d/f; echo >>" FX_DIR "/merged/d/g"));
	KTAP_CHECK(status == 0, "%d: %s", status, err_text());
	KTAP_CHECK(count(out, "{\"event\":\"copyup\"") == 1 && count(out, "\"path\":\"/d/f\"") >= 1, "%s", out);
	KTAP_CHECK(count(out, "\"path\":\"/d/g\"") == 0, "%s", out);
	fx_end(&fx);
}

/* A union that comes later is seen too. */
KTAP_TEST_LIMIT(all, LIMIT_MS / 500)
{
	struct fx fx;
	int out;
	pid_t pid;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", FX_KB(8), 0644);
	out = open(FX_DIR "/out", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	pid = start(out, TRACE("--all"));
	KTAP_CHECK(said("TIME"), "%s", err_text());
	fx_mount(&fx);
	KTAP_CHECK(fx_call_now(FX_CALL(FX_CHMOD, fx_path(&fx, "d/f"), .mode = 0600)) == 0);
	KTAP_CHECK(said(FX_DIR "/merged/d/f"), "%s%s", err_text(), out_text());
	KTAP_CHECK(kill(pid, SIGINT) == 0);
	KTAP_CHECK(finish(pid, LIMIT_MS) == 0);
	close(out);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(ends_with_the_union, LIMIT_MS / 500)
{
	struct fx fx;
	int out;
	pid_t pid;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", FX_KB(8), 0644);
	fx_mount(&fx);
	out = open(FX_DIR "/out", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	pid = start(out, TRACE(FX_DIR "/merged"));
	KTAP_CHECK(said("TIME"), "%s", err_text());
	fx_umount(&fx);
	KTAP_CHECK(finish(pid, LIMIT_MS) == 0, "%s", err_text());
	close(out);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(ends_in_time, LIMIT_MS / 500)
{
	uint64_t began = fx_now_ns();
	struct fx fx;
	int status;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", FX_KB(8), 0644);
	fx_mount(&fx);
	trace(&status, TRACE("--duration=0.5", FX_DIR "/merged"));
	KTAP_CHECK(status == 0 && fx_now_ns() - began >= 500000000ull, "%d: %s", status, err_text());
	fx_end(&fx);
}

/* Whoever reads it goes away: the command runs on, and its status counts. */
KTAP_TEST_LIMIT(reader_goes_away, LIMIT_MS / 500)
{
	struct fx fx;
	int p[2];
	pid_t pid;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", FX_KB(8), 0644);
	fx_lower(&fx, "d/g", FX_KB(8), 0644);
	fx_mount(&fx);
	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	pid = start(p[1], TRACE(FX_DIR "/merged", "--", "sh", "-c",
				"exec >/dev/null; chmod 600 " FX_DIR "/merged/d/f; sleep 1; chmod 600 " FX_DIR "/merged/d/g; exit 9"));
	close(p[1]);
	close(p[0]);
	KTAP_CHECK(finish(pid, LIMIT_MS) == 9, "%s", err_text());
	KTAP_CHECK(!*err_text(), "%s", err_text());
	KTAP_CHECK(fx_in_upper(&fx, "d/g"));
	/* Without a command it ends then. */
	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	pid = start(p[1], TRACE(FX_DIR "/merged"));
	close(p[1]);
	close(p[0]);
	KTAP_CHECK(finish(pid, LIMIT_MS) == 0, "%s", err_text());
	fx_end(&fx);
}

/* Nobody reads: more lines than the pipe takes, and no waiter of kunion's is held up by them; later all are there. */
static void nobody_reads(const char *mode)
{
	static char buf[1 << 16];
	uint64_t began;
	char text[8];
	struct fx fx;
	int p[2], status, lines = 0;
	ssize_t n;
	pid_t pid;

	fx_init(&fx, NULL);
	for (int i = 0; i < FILES; i++) {
		snprintf(text, sizeof(text), "d/%d", i);
		fx_lower(&fx, text, FX_BLOCK, 0644);
	}
	fx_mount(&fx);
	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	KTAP_REQUIRE(fcntl(p[1], F_SETPIPE_SZ, 4096) >= 4096);
	pid = start(p[1], TRACE("-m", mode, "-s", "4096", FX_DIR "/merged"));
	close(p[1]);
	/* The names of the columns: it is attached. */
	KTAP_REQUIRE(poll(&(struct pollfd){ .fd = p[0], .events = POLLIN }, 1, LIMIT_MS) == 1, "%s", err_text());
	began = fx_now_ns();
	for (int i = 0; i < FILES; i++) {
		snprintf(text, sizeof(text), "d/%d", i);
		KTAP_REQUIRE(fx_call_now(FX_CALL(FX_CHMOD, fx_path(&fx, text), .mode = 0600)) == 0);
	}
	ktap_diag("%d copy-ups in %llu ms", FILES, (unsigned long long)(fx_now_ns() - began) / 1000000);
	KTAP_CHECK(fx_now_ns() - began < FILES * 300000000ull, "held up");
	KTAP_CHECK(kill(pid, SIGINT) == 0);
	while ((n = read(p[0], buf, sizeof(buf) - 1)) > 0) {
		buf[n] = '\0';
		for (char *at = buf; (at = strchr(at, '\n')); at++)
			lines++;
	}
	status = finish(pid, LIMIT_MS);
	KTAP_CHECK(status == 0, "%d: %s", status, err_text());
	KTAP_CHECK(lines > FILES, "%d lines, the last of them: %s", lines, buf);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(nobody_reads_observe, LIMIT_MS / 500)
{
	nobody_reads("observe");
}

KTAP_TEST_LIMIT(nobody_reads_guard, LIMIT_MS / 500)
{
	if (!fx_kernel_since(6, 18))
		ktap_skip("needs mode guard");
	nobody_reads("guard");
}

KTAP_TEST_LIMIT(nobody_reads_manage, LIMIT_MS / 500)
{
	if (!fx_kernel_since(6, 12))
		ktap_skip("needs mode manage");
	nobody_reads("manage");
}

KTAP_MAIN()
