// SPDX-License-Identifier: GPL-2.0-only
/* kunion trace as a command: what it does with files of events, and how it ends. */
#include <sys/ioctl.h>
#include <termios.h>

#include "command.h"
#include "trace_events.h"
#include "util.h"

#define EVENTS UNION "\n" COPYUP "\n" WAIT_DIR "\n" WAIT_INODE "\n" DROPPED "\n" COPYUP_FAILED "\n" TOTALS "\n"
#define LOST "kunion: trace: 12 events were lost\n"

static void place(const char *events)
{
	begin();
	unit_place();
	unit_text("/tmp/events", events);
}

#define TRACE(...) COMMAND(ku_cmd_trace, "trace", __VA_ARGS__)

KTAP_TEST(from_a_file)
{
	place(EVENTS);
	KTAP_CHECK(TRACE("--from", "/tmp/events") == 0, "%s", err);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_COPYUP L_DIR L_INODE L_DROPPED L_FAILED L_TOTALS), "%s", out);
	KTAP_CHECK(!strcmp(err, LOST), "%s", err);
	/* No end of the last line. */
	unit_text("/tmp/events", COPYUP "\n" COPYUP_FAILED);
	KTAP_CHECK(TRACE("--from=/tmp/events") == 0 && !*err, "%s", err);
	KTAP_CHECK(!strcmp(out, HEAD L_COPYUP L_FAILED), "%s", out);
	KTAP_CHECK(command_in("/tmp/events", ku_cmd_trace, (const char *const[]){ "trace", "--from", "-", NULL }) == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_COPYUP L_FAILED) && !*err, "%s%s", out, err);
	unit_text("/tmp/events", "");
	KTAP_CHECK(TRACE("--from=/tmp/events") == 0 && !*err && !strcmp(out, HEAD), "%s%s", out, err);
}

KTAP_TEST(as_json)
{
	struct ku_event *e;
	char *want;

	place(COPYUP "\n" WAIT_DIR "\n");
	KTAP_CHECK(TRACE("--json", "--from", "/tmp/events") == 0 && !*err, "%s", err);
	e = event_of(COPYUP);
	want = ku_event_json(e);
	KTAP_CHECK(!strncmp(out, want, strlen(want)) && !strncmp(out + strlen(want), "\n{\"event\":\"wait\"", 16), "%s", out);
	KTAP_CHECK(out[strlen(out) - 1] == '\n' && strchr(strchr(out, '\n') + 1, '\n') == out + strlen(out) - 1, "not two lines: %s", out);
	free(want);
	ku_event_free(e);
	/* It reads what it writes. */
	unit_text("/tmp/events", out);
	KTAP_CHECK(TRACE("--from", "/tmp/events") == 0 && !*err && !strcmp(out, HEAD L_COPYUP L_DIR), "%s%s", out, err);
}

KTAP_TEST(filtered)
{
	place(EVENTS CHANGED "\n");
	KTAP_CHECK(TRACE("--from=/tmp/events", "-p", "4194304") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_DROPPED L_FAILED L_TOTALS), "%s", out);
	/* What was written is told with its copy-up only. */
	KTAP_CHECK(TRACE("--from=/tmp/events", "-c", "3f2a1b") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_COPYUP L_DROPPED L_TOTALS L_CHANGED), "%s", out);
	KTAP_CHECK(TRACE("--from=/tmp/events", "--cgroup=/user.slice", "--path=/dir") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_DIR L_DROPPED L_TOTALS), "%s", out);
	KTAP_CHECK(TRACE("--from=/tmp/events", "--cgroup=/sys/fs/cgroup/user.slice", "--path=/dir") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_DIR L_DROPPED L_TOTALS), "%s", out);
	KTAP_CHECK(TRACE("--from=/tmp/events", "--min-bytes=513M", "--min-ms=2") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_DIR L_DROPPED L_TOTALS), "%s", out);
	KTAP_CHECK(TRACE("--from=/tmp/events", "--min-ms", "1.1", "--path=/dir/*") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_COPYUP L_DIR L_INODE L_DROPPED L_TOTALS L_CHANGED), "%s", out);
	KTAP_CHECK(TRACE("--from=/tmp/events", "--union=/merged/", "-p", "4194304") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_UNION L_DROPPED L_FAILED L_TOTALS), "%s", out);
	unit_text("/tmp/events", CHANGED "\n");
	KTAP_CHECK(TRACE("--from=/tmp/events", "-p", "1230") == 0 && !strcmp(out, HEAD), "%s", out);
	KTAP_CHECK(TRACE("--from=/tmp/events") == 0 && !strcmp(out, HEAD L_CHANGED), "%s", out);
	unit_text("/tmp/events", EVENTS);
	KTAP_CHECK(TRACE("--from=/tmp/events", "--union=/other") == 0);
	KTAP_CHECK(!strcmp(out, HEAD L_DROPPED), "%s", out);
}

/* What is no event is told once, with its place, and counted. */
KTAP_TEST(bad_lines)
{
	place(COPYUP "\n\n{\"event\":\"copyup\"\n" COPYUP_FAILED "\n{\"event\":\"news\"}\nx\n");
	KTAP_CHECK(TRACE("--from=/tmp/events") == 0, "%s", err);
	KTAP_CHECK(!strcmp(out, HEAD L_COPYUP L_FAILED), "%s", out);
	KTAP_CHECK(!strcmp(err, "kunion: trace: /tmp/events:3: no event line; left out\nkunion: trace: /tmp/events: 3 lines were "
		"left out\n"), "%s",
		   err);
	unit_write("/tmp/events", COPYUP "\n" COPYUP "\0y\n" COPYUP "\n", 3 * strlen(COPYUP) + 5);
	KTAP_CHECK(TRACE("--from=/tmp/events") == 0, "%s", err);
	KTAP_CHECK(!strcmp(out, HEAD L_COPYUP L_COPYUP), "%s", out);
	KTAP_CHECK(!strcmp(err, "kunion: trace: /tmp/events:2: no event line; left out\n"), "%s", err);
	/* Not a file of events at all. */
	unit_text("/tmp/events", "root:x:0:0\nx:y\n");
	KTAP_CHECK(TRACE("--from=/tmp/events") == 2, "%s", err);
	KTAP_CHECK(strstr(err, "/tmp/events: no line of it is an event"), "%s", err);
}

/* A line without end does not take all memory, and what follows it is read. */
KTAP_TEST(endless_line)
{
	size_t len = 5 << 20;
	char *text;

	place("");
	text = malloc(len + 2 * sizeof(COPYUP) + 8);
	KTAP_REQUIRE(text);
	strcpy(text, COPYUP "\n");
	memset(text + sizeof(COPYUP), 'x', len);
	strcpy(text + sizeof(COPYUP) + len, "\n" COPYUP "\n");
	unit_text("/tmp/events", text);
	free(text);
	KTAP_CHECK(TRACE("--from=/tmp/events") == 0, "%s", err);
	KTAP_CHECK(!strcmp(out, HEAD L_COPYUP L_COPYUP), "%s", out);
	KTAP_CHECK(!strcmp(err, "kunion: trace: /tmp/events:2: no event line; left out\n"), "%s", err);
}

KTAP_TEST(many_lines)
{
	size_t n = 20000;
	char *text;

	place("");
	text = malloc(n * sizeof(COPYUP) + 1);
	KTAP_REQUIRE(text);
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * sizeof(COPYUP), COPYUP "\n", sizeof(COPYUP) + 1);
	unit_text("/tmp/events", text);
	KTAP_CHECK(TRACE("--from=/tmp/events") == 0 && !*err, "%s", err);
	KTAP_CHECK(strlen(out) == strlen(HEAD) + n * strlen(L_COPYUP), "%zu", strlen(out));
	free(text);
}

KTAP_TEST(refused)
{
	place(EVENTS);
	unit_text("/tmp/file", "");
	command_refused(TRACE("--from=/tmp/none"), "/tmp/none: No such file or directory");
	command_refused(TRACE("--from=/tmp"), "/tmp: Is a directory");
	command_refused(TRACE("--from=/tmp/events", "/merged"), "--from");
	command_refused(TRACE("--from=/tmp/events", "--all"), "--from");
	command_refused(TRACE("--from=/tmp/events", "--", "true"), "--from");
	command_refused(TRACE("--all", "/merged"), "either MERGED or --all");
	command_refused(COMMAND(ku_cmd_trace, "trace"), "no MERGED");
	command_refused(TRACE("--all", "--"), "no command behind '--'");
	command_refused(TRACE("--all", "--duration=5", "--", "true"), "--duration");
	command_refused(TRACE("--all", "-m", "watch"), "--mode 'watch'");
	command_refused(TRACE("--all", "-s", "1X"), "--min-size '1X'");
	command_refused(TRACE("--all", "-w", "0"), "--max-wait '0'");
	command_refused(TRACE("--all", "--duration=5d"), "--duration '5d'");
	command_refused(TRACE("--all", "--duration=s"), "--duration 's'");
	command_refused(TRACE("--all", "--duration="), "--duration ''");
	command_refused(TRACE("--all", "-p", "0"), "--pid '0'");
	command_refused(TRACE("--all", "-p", "12x"), "--pid '12x'");
	command_refused(TRACE("--all", "-p", "4294967297"), "--pid '4294967297'");
	command_refused(TRACE("--all", "-c", ""), "--container ''");
	command_refused(TRACE("--all", "--cgroup=x"), "--cgroup 'x'");
	command_refused(TRACE("--all", "--path="), "--path ''");
	command_refused(TRACE("--all", "--union=nowhere"), "--union 'nowhere'");
	command_refused(TRACE("--all", "--min-bytes=-1"), "--min-bytes '-1'");
	command_refused(TRACE("--all", "--min-ms=x"), "--min-ms 'x'");
	command_refused(TRACE("--all", "--bad"), "--bad");
}

KTAP_TEST(needs_root)
{
	place("");
	KTAP_REQUIRE(chmod("/tmp", 01777) == 0);
	KTAP_REQUIRE(setuid(65534) == 0);
	command_refused(TRACE("--all"), "root");
}

/* Whoever closes the pipe has seen enough: no message, status 0, and soon. */
KTAP_TEST(closed_pipe)
{
	int p[2], status;
	pid_t pid;

	place(EVENTS);
	KTAP_REQUIRE(mkfifo("/tmp/fifo", 0600) == 0);
	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		dup2(p[1], 1);
		dup2(open("/tmp/err", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 2);
		close(p[0]);
		close(p[1]);
		status = command_call(ku_cmd_trace, (const char *const[]){ "trace", "--from=/tmp/fifo", NULL });
		fflush(NULL);
		_exit(status);
	}
	close(p[1]);
	status = open("/tmp/fifo", O_WRONLY | O_CLOEXEC); /* a writer that stays, and says nothing */
	usleep(50000);
	close(p[0]);
	KTAP_CHECK(command_end(pid) == 0);
	KTAP_CHECK(unit_has_text("/tmp/err", ""));
	close(status);
}

/* Lines come out as the events come in, and SIGINT ends it. */
KTAP_TEST(line_by_line)
{
	int p[2], in, status;
	char text[4096];
	ssize_t n, all = 0;
	pid_t pid;

	place("");
	KTAP_REQUIRE(mkfifo("/tmp/fifo", 0600) == 0);
	KTAP_REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		dup2(p[1], 1);
		status = command_call(ku_cmd_trace, (const char *const[]){ "trace", "--from=/tmp/fifo", NULL });
		fflush(NULL);
		_exit(status);
	}
	close(p[1]);
	in = open("/tmp/fifo", O_WRONLY | O_CLOEXEC);
	for (int i = 0; i < 3; i++) {
		const char *want = i ? L_COPYUP : HEAD;

		if (i)
			KTAP_REQUIRE(write(in, COPYUP "\n", sizeof(COPYUP)) == sizeof(COPYUP));
		for (all = 0; all < (ssize_t)strlen(want); all += n) {
			n = read(p[0], text + all, strlen(want) - (size_t)all);
			KTAP_REQUIRE(n > 0);
		}
		KTAP_CHECK(!memcmp(text, want, strlen(want)), "%.*s", (int)all, text);
	}
	KTAP_CHECK(kill(pid, SIGINT) == 0);
	KTAP_CHECK(command_end(pid) == 0);
	close(in);
}

KTAP_TEST(full_disk)
{
	int status;
	pid_t pid;

	place(EVENTS);
	if (access("/dev/full", W_OK))
		ktap_skip("no /dev/full");
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		dup2(open("/dev/full", O_WRONLY | O_CLOEXEC), 1);
		dup2(open("/tmp/err", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 2);
		status = command_call(ku_cmd_trace, (const char *const[]){ "trace", "--from=/tmp/events", "-p", "1", NULL });
		fflush(NULL);
		_exit(status);
	}
	KTAP_CHECK(command_end(pid) == 1);
	KTAP_CHECK(unit_has_text("/tmp/err", "kunion: trace: cannot write: No space left on device\n"));
}

/* Runs it on a terminal of so many columns; what the terminal got. */
static char *on_terminal(unsigned short columns, const char *events)
{
	struct winsize ws = { .ws_row = 25, .ws_col = columns };
	static char text[1 << 16];
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), status;
	size_t all = 0;
	struct termios tio;
	ssize_t n;
	pid_t pid;
	int slave;

	KTAP_REQUIRE(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	KTAP_REQUIRE(slave >= 0 && ioctl(slave, TIOCSWINSZ, &ws) == 0 && tcgetattr(slave, &tio) == 0);
	tio.c_oflag &= ~(tcflag_t)OPOST;
	KTAP_REQUIRE(tcsetattr(slave, TCSANOW, &tio) == 0);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0) {
		dup2(slave, 1);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
		status = command_call(ku_cmd_trace, (const char *const[]){ "trace", events, NULL });
		fflush(NULL);
		_exit(status);
	}
	close(slave);
	while ((n = read(master, text + all, sizeof(text) - 1 - all)) > 0)
		all += (size_t)n;
	text[all] = '\0';
	close(master);
	KTAP_CHECK(command_end(pid) == 0);
	return text;
}

KTAP_TEST(on_a_terminal)
{
	char *text;

	place(WAIT_INODE "\n");
	setenv("LC_ALL", "C.UTF-8", 1);
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	text = on_terminal(200, "--from=/tmp/events");
	KTAP_CHECK(strstr(text, "\033[33mwait\033[m ") && strstr(text, "\033[31;1mtimeout\033[m"), "%s", text);
	setenv("NO_COLOR", "1", 1);
	text = on_terminal(200, "--from=/tmp/events");
	KTAP_CHECK(!strcmp(text, HEAD L_INODE), "%s", text);
	setenv("NO_COLOR", "", 1);
	KTAP_CHECK(strchr(on_terminal(200, "--from=/tmp/events"), '\033'));
	setenv("TERM", "dumb", 1);
	text = on_terminal(80, "--from=/tmp/events");
	KTAP_CHECK(!strcmp(text, "TIME     EVENT   OP           PID COMM       BYTES   TOOK PATH\n"
				 "18:00:00 wait    remove      1240 rm             - 1.10ms timeout \xe2\x80\xa6" "erged/dir/big\n"),
		   "%s", text);
	/* Another character set. */
	setenv("LC_ALL", "C", 1);
	text = on_terminal(80, "--from=/tmp/events");
	KTAP_CHECK(strstr(text, "timeout ~erged/dir/big\n"), "%s", text);
}

KTAP_MAIN()
