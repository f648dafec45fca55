// SPDX-License-Identifier: GPL-2.0-only
/* kunion metrics and kunion top --json, live: the numbers of what a command did. */
#include "fx_fixture.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>

#include "ktap.h"

/* Loading all programs under emulation takes its time. */
#define LIMIT_MS 120000

static pid_t start(const char *const *argv)
{
	pid_t pid;

	/* Nothing of an earlier one is taken for its words. */
	unlink(FX_DIR "/out");
	unlink(FX_DIR "/err");
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid)
		return pid;
	if (dup2(open(FX_DIR "/out", O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO) < 0 ||
	    dup2(open(FX_DIR "/err", O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO) < 0)
		_exit(126);
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	execvp(argv[0], (char **)argv);
	_exit(127);
}

static int finish(pid_t pid)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;
	int status = -1;

	do {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		fx_sleep_ms(5);
	} while (fx_now_ns() < end);
	KTAP_CHECK(!"it ended");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

/* A file as it is now; static. */
static const char *text_of(const char *name)
{
	static char text[1 << 20];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	size_t all = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + all, sizeof(text) - 1 - all)) > 0)
		all += (size_t)n;
	text[all] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static bool comes(const char *name, const char *what)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;

	do {
		if (strstr(text_of(name), what))
			return true;
		fx_sleep_ms(20);
	} while (fx_now_ns() < end);
	ktap_diag("no '%s' in %s: %.1000s\n%s", what, name, text_of(name), text_of(FX_DIR "/err"));
	return false;
}

#define RUN(...) ((const char *const[]){ "kunion", __VA_ARGS__, NULL })
#define LABELS "{union=\"" FX_DIR "/merged\",container=\"\",engine=\"kernel\",result=\"ok\"} "

static void layers(struct fx *fx)
{
	fx_init(fx, NULL);
	fx_lower(fx, "d/f", FX_MB(2), 0644);
	fx_lower(fx, "d/g", FX_KB(8), 0644);
	fx_lower(fx, "d/h", FX_KB(4), 0644);
	fx_mount(fx);
}

/* Two files, and the directory they are in. */
static void check_counts(const char *text)
{
	KTAP_CHECK(strstr(text, "\nkunion_copyups_total" LABELS "3\n"), "%s", text);
	KTAP_CHECK(strstr(text, "\nkunion_copyup_bytes_total" LABELS "2105344\n"), "%s", text);
	KTAP_CHECK(strstr(text, "\nkunion_copyup_seconds_count" LABELS "3\n"), "%s", text);
	KTAP_CHECK(strstr(text, "\nkunion_dropped_events_total{kind=\"copyup\"} 0\n"), "%s", text);
	KTAP_CHECK(strstr(text, "\nkunion_unions{mode=\"observe\",tier="), "%s", text);
	KTAP_CHECK(strlen(text) > 6 && !strcmp(text + strlen(text) - 6, "# EOF\n"), "%s", text);
}

KTAP_TEST_LIMIT(metrics_of_a_command, LIMIT_MS / 200)
{
	struct fx fx;
	int status;

	layers(&fx);
	status = finish(start(RUN("metrics", FX_DIR "/merged", "--", "sh", "-c",
				  "chmod 600 " FX_DIR "/merged/d/f; echo >>" FX_DIR "/merged/d/g; exit 7")));
	KTAP_CHECK(status == 7, "%d: %s", status, text_of(FX_DIR "/err"));
	check_counts(text_of(FX_DIR "/out"));
	fx_end(&fx);
}

KTAP_TEST_LIMIT(metrics_in_a_file, LIMIT_MS / 200)
{
	struct fx fx;
	pid_t pid;

	layers(&fx);
	pid = start(RUN("metrics", "--textfile", FX_DIR "/k.prom", "--every", "0.2", FX_DIR "/merged"));
	KTAP_CHECK(comes(FX_DIR "/k.prom", "# EOF"));
	KTAP_CHECK(!strstr(text_of(FX_DIR "/k.prom"), "kunion_copyups_total"));
	fx_sh("chmod 600 " FX_DIR "/merged/d/f");
	KTAP_CHECK(comes(FX_DIR "/k.prom", "\nkunion_copyups_total" LABELS "2\n"));
	/* What came since the last writing is in the one at the end. */
	fx_sh("echo >>" FX_DIR "/merged/d/g");
	kill(pid, SIGTERM);
	KTAP_CHECK(finish(pid) == 0, "%s", text_of(FX_DIR "/err"));
	check_counts(text_of(FX_DIR "/k.prom"));
	KTAP_CHECK(!text_of(FX_DIR "/out")[0]);
	fx_sh("test \"$(ls " FX_DIR "/k.prom*)\" = " FX_DIR "/k.prom");
	fx_end(&fx);
}

KTAP_TEST_LIMIT(top_as_json, LIMIT_MS / 200)
{
	struct fx fx;
	pid_t pid;

	layers(&fx);
	pid = start(RUN("top", "--json", "-d", "0.2", FX_DIR "/merged"));
	KTAP_CHECK(comes(FX_DIR "/out", "\"event\":\"top\""));
	KTAP_CHECK(strstr(text_of(FX_DIR "/out"), "\"mode\":\"observe\"") && strstr(text_of(FX_DIR "/out"), "\"busiest\":[],"));
	fx_sh("chmod 600 " FX_DIR "/merged/d/f");
	KTAP_CHECK(comes(FX_DIR "/out", "\"busiest\":[{\"union\":\"" FX_DIR "/merged\",\"container\":\"\",\"copyups\":2,"
					 "\"bytes\":2097152,"));
	kill(pid, SIGTERM);
	KTAP_CHECK(finish(pid) == 0, "%s", text_of(FX_DIR "/err"));
	/* With a filter that the counts know nothing of, the events are summed up. */
	pid = start(RUN("top", "--json", "-d", "0.2", "--path", "/d/g", FX_DIR "/merged"));
	KTAP_CHECK(comes(FX_DIR "/out", "\"event\":\"top\""));
	fx_sh("echo >>" FX_DIR "/merged/d/g; echo >>" FX_DIR "/merged/d/h");
	KTAP_CHECK(comes(FX_DIR "/out", "\"copyups\":1,\"bytes\":8192,"));
	kill(pid, SIGTERM);
	KTAP_CHECK(finish(pid) == 0, "%s", text_of(FX_DIR "/err"));
	fx_end(&fx);
}

#define OPENERS 4

/* Who writes to name at once, with the others: one copies, the rest wait. */
static void open_together(const char *name)
{
	pid_t pid[OPENERS];
	int status;

	for (int i = 0; i < OPENERS; i++) {
		pid[i] = fork();
		KTAP_REQUIRE(pid[i] >= 0);
		if (!pid[i])
			_exit(open(name, O_WRONLY | O_CLOEXEC) < 0);
	}
	for (int i = 0; i < OPENERS; i++)
		KTAP_CHECK(waitpid(pid[i], &status, 0) == pid[i] && !status);
}

/* In the pictures so far: the most copies of one file in one of them, and the most who wait for one. */
static void most_at_once(unsigned int *ret_copies, unsigned int *ret_waiters)
{
	*ret_copies = *ret_waiters = 0;
	for (const char *line = text_of(FX_DIR "/out"), *end; (end = strchr(line, '\n')); line = end + 1) {
		char *text = strndup(line, (size_t)(end - line));
		struct json_object *o = json_tokener_parse(text), *copies, *waiters;
		size_t n;

		KTAP_REQUIRE(o && json_object_object_get_ex(o, "copying", &copies), "%s", text);
		n = json_object_array_length(copies);
		*ret_copies = n > *ret_copies ? (unsigned int)n : *ret_copies;
		for (size_t i = 0; i < n; i++) {
			KTAP_REQUIRE(json_object_object_get_ex(json_object_array_get_idx(copies, i), "waiters", &waiters));
			if (json_object_array_length(waiters) > *ret_waiters)
				*ret_waiters = (unsigned int)json_object_array_length(waiters);
		}
		json_object_put(o);
		free(text);
	}
}

/* Who waits for a copy is told below it, and is no copy of its own. */
KTAP_TEST_LIMIT(top_tells_copies_from_waits, LIMIT_MS / 200)
{
	enum { FILES = 6 };
	unsigned int copies = 0, waiters = 0;
	struct fx fx;
	pid_t pid;

	fx_init(&fx, NULL);
	for (int i = 0; i < FILES; i++)
		fx_lower(&fx, fx_name("big%d", i), FX_MB(96), 0644);
	fx_mount(&fx);
	pid = start(RUN("top", "--json", "-d", "0.2", "--all"));
	KTAP_CHECK(comes(FX_DIR "/out", "\"event\":\"top\""));
	KTAP_CHECK(strstr(text_of(FX_DIR "/out"), "\"unions\":0,"), "%s", text_of(FX_DIR "/out"));
	/* A copy may be over between two pictures. */
	for (int i = 0; i < FILES && waiters < OPENERS - 1; i++) {
		open_together(fx_path(&fx, fx_name("big%d", i)));
		most_at_once(&copies, &waiters);
	}
	KTAP_CHECK(waiters >= 1, "nobody was seen to wait");
	KTAP_CHECK(copies == 1, "%u copies at once", copies);
	KTAP_CHECK(comes(FX_DIR "/out", "\"unions\":1,"));
	kill(pid, SIGTERM);
	KTAP_CHECK(finish(pid) == 0, "%s", text_of(FX_DIR "/err"));
	fx_end(&fx);
}

KTAP_MAIN()
