// SPDX-License-Identifier: GPL-2.0-only
/* The command line of `kunion run`: what it refuses, and what it does for and to the command it runs. */
#include "fx_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>

#define SAID_MAX 4096
#define LIMIT_MS 90000

struct said {
	int status; /* of wait(2) */
	char out[SAID_MAX], err[SAID_MAX];
};

static void slurp(const char *file, char *buf)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, SAID_MAX - 1);

	buf[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Starts a command as this user, what it says going to files. */
static pid_t start(uid_t real, uid_t effective, const char *const *argv)
{
	pid_t pid = fork();

	KTAP_REQUIRE(pid >= 0);
	if (pid)
		return pid;
	dup2(open(FX_DIR "/out", O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
	dup2(open(FX_DIR "/err", O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	if (real && setresuid(real, effective, 0))
		_exit(126);
	execvp(argv[0], (char **)argv);
	_exit(127);
}

static void finish(struct said *s, pid_t pid)
{
	uint64_t end = fx_now_ns() + LIMIT_MS * 1000000ull;

	s->status = -1;
	while (waitpid(pid, &s->status, WNOHANG) == 0) {
		if (fx_now_ns() > end) {
			KTAP_CHECK(false, "still running after %d ms", LIMIT_MS);
			kill(pid, SIGKILL);
			waitpid(pid, &s->status, 0);
			break;
		}
		fx_sleep_ms(2);
	}
	slurp(FX_DIR "/out", s->out);
	slurp(FX_DIR "/err", s->err);
}

#define SAY(s, ...)                                                                        \
	do {                                                                               \
		finish(s, start(0, 0, (const char *const[]){ __VA_ARGS__, NULL }));        \
	} while (0)

/* What works everywhere. */
static const char *mode(void)
{
	return fx_kernel_since(6, 12) ? "manage" : "observe";
}

static void begin(struct fx *fx)
{
	fx_init(fx, NULL);
	fx_lower(fx, "d/f", FX_MB(1), 0644);
	fx_mount(fx);
}

/* refusals */

/* Exit status 2, one line, which names the thing; CMD (touch FX_DIR/ran) did not run, nothing is left. */
static void refused(const struct said *s, const char *name)
{
	const char *end = strchr(s->err, '\n');

	KTAP_CHECK(WIFEXITED(s->status) && WEXITSTATUS(s->status) == 2, "status %#x", s->status);
	/* Bad arguments get a second one, on where to find help. */
	KTAP_CHECK(end && (!end[1] || !strncmp(end + 1, "Try ", 4)) && end - s->err > 10 && !s->out[0],
		   "not one line on stderr: %s%s", s->err, s->out);
	KTAP_CHECK(strstr(s->err, name), "'%s' is not in: %s", name, s->err);
	KTAP_CHECK(!fx_exists(FX_DIR "/ran"), "the command ran");
	for (int i = 0; i < 1000 && fx_kunion_count(); i++)
		fx_sleep_ms(1);
	KTAP_CHECK(fx_kunion_count() == 0, "a process is left");
}

#define REFUSED(name, ...)                                                                         \
	do {                                                                                       \
		struct said said_;                                                                 \
                                                                                                   \
		SAY(&said_, "kunion", "run", "-m", mode(), __VA_ARGS__, "--", "touch", FX_DIR "/ran"); \
		refused(&said_, name);                                                             \
	} while (0)

KTAP_TEST(refuses_what_is_no_union)
{
	struct fx fx;

	begin(&fx);
	REFUSED(FX_DIR "/u: not an overlay", FX_DIR "/u");
	REFUSED(FX_DIR "/nowhere: no such", FX_DIR "/nowhere");
	REFUSED(FX_DIR "/merged/d: below an overlay", FX_DIR "/merged/d");
	REFUSED(FX_DIR "/merged/d/f: not a directory", FX_DIR "/merged/d/f");
	/* All or none, in whatever order. */
	REFUSED(FX_DIR "/nowhere", FX_DIR "/merged", FX_DIR "/nowhere");
	REFUSED(FX_DIR "/nowhere", FX_DIR "/nowhere", FX_DIR "/merged");
	fx_end(&fx);
}

KTAP_TEST(refuses_an_overlay_that_cannot_change)
{
	struct fx fx;

	begin(&fx);
	fx_umount(&fx);
	fx_sh("mkdir " FX_DIR "/u/lower2 && mount -t overlay -o lowerdir=" FX_DIR "/u/lower:" FX_DIR "/u/lower2 overlay " FX_DIR
	      "/merged");
	REFUSED(FX_DIR "/merged: this overlay", FX_DIR "/merged");
	fx_umount(&fx);
	fx_mount(&fx);
	fx_sh("mount -o remount,ro " FX_DIR "/merged");
	REFUSED("read-only", FX_DIR "/merged");
	fx_end(&fx);
}

KTAP_TEST(refuses_the_same_union_twice)
{
	struct fx fx;

	begin(&fx);
	REFUSED(FX_DIR "/merged", FX_DIR "/merged", FX_DIR "/merged");
	/* By another way in. */
	fx_sh("mkdir " FX_DIR "/alias && mount --bind " FX_DIR "/merged " FX_DIR "/alias && ln -s merged " FX_DIR "/link");
	REFUSED("the same union", FX_DIR "/merged", FX_DIR "/alias");
	REFUSED("the same union", FX_DIR "/merged", FX_DIR "/link");
	KTAP_CHECK(umount(FX_DIR "/alias") == 0);
	fx_end(&fx);
}

/* Watching disturbs nobody. */
KTAP_TEST(any_number_may_observe)
{
	struct said s;
	struct fx fx;

	begin(&fx);
	fx_attach(&fx, "-m", mode(), NULL);
	SAY(&s, "kunion", "run", "-m", "observe", "--events", "-", FX_DIR "/merged", "--", "chmod", "600", FX_DIR "/merged/d/f");
	KTAP_CHECK(WIFEXITED(s.status) && WEXITSTATUS(s.status) == 0, "%#x: %s", s.status, s.err);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "result", "ok", NULL));
	fx_end(&fx);
}

KTAP_TEST(refuses_the_union_of_another_daemon)
{
	struct fx fx;

	if (!fx_kernel_since(6, 12))
		ktap_skip("only observing works on this kernel, and any number may");
	begin(&fx);
	fx_sh("mkdir " FX_DIR "/alias && mount --bind " FX_DIR "/merged " FX_DIR "/alias");
	fx_attach(&fx, "-m", mode(), NULL);
	for (int i = 0; i < 2; i++) {
		const char *path = i ? FX_DIR "/alias" : FX_DIR "/merged";
		struct said s;

		SAY(&s, "kunion", "run", "-m", mode(), path, "--", "touch", FX_DIR "/ran");
		KTAP_CHECK(WIFEXITED(s.status) && WEXITSTATUS(s.status) == 2 && !fx_exists(FX_DIR "/ran"), "%#x", s.status);
		KTAP_CHECK(strstr(s.err, "another kunion"), "%s", s.err);
	}
	KTAP_CHECK(umount(FX_DIR "/alias") == 0);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ FX_CHMOD, fx_path(&fx, "d/f"), .mode = 0600 }) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "result", "ok", NULL), "the first goes on");
	fx_end(&fx);
}

KTAP_TEST(refuses_who_is_not_root)
{
	const char *argv[] = { "kunion", "run", FX_DIR "/merged", "--", "touch", FX_DIR "/ran", NULL };
	struct said s;
	struct fx fx;

	begin(&fx);
	KTAP_REQUIRE(chmod(FX_DIR, 0777) == 0);
	finish(&s, start(1000, 1000, argv));
	refused(&s, "needs root");
	fx_end(&fx);
}

KTAP_TEST(refuses_bad_arguments)
{
	struct said s;
	struct fx fx;

	begin(&fx);
	REFUSED("--mode", "-m", "nonsense", FX_DIR "/merged");
	REFUSED("--min-size", "--min-size", "12Q", FX_DIR "/merged");
	REFUSED("--max-wait", "--max-wait", "0", FX_DIR "/merged");
	REFUSED("MERGED", "-m", mode());
	SAY(&s, "kunion", "run", FX_DIR "/merged", "--");
	refused(&s, "command");
	REFUSED(FX_DIR "/nowhere/events", "--events", FX_DIR "/nowhere/events", FX_DIR "/merged");
	fx_end(&fx);
}

/* A stop point holds up whoever waits for kunion: not for a program that gives its caller root. */
KTAP_TEST(stop_points_are_not_for_users)
{
	const char *argv[] = {
		"kunion", "run", "-m", "manage", FX_DIR "/merged", "--", "chmod", "600", FX_DIR "/merged/d/f", NULL
	};
	struct said s;
	struct fx fx;

	begin(&fx);
	if (!fx_kernel_since(6, 12))
		ktap_skip("needs mode manage");
	fx_stop_arm(&fx, "before-open");
	finish(&s, start(1000, 0, argv));
	KTAP_CHECK(!fx_stop_hit(&fx, "before-open"), "%s", s.err);
	KTAP_CHECK(WIFEXITED(s.status), "%#x: %s", s.status, s.err);

	setenv("KUNION_STOP_DIR", FX_DIR "/nowhere", 1);
	REFUSED("KUNION_STOP_DIR", FX_DIR "/merged");
	setenv("KUNION_STOP_DIR", FX_DIR "/merged/d/f", 1);
	REFUSED("KUNION_STOP_DIR", FX_DIR "/merged");
	fx_end(&fx);
}

/* the command */

#define STATUS(want, ...)                                                                                  \
	do {                                                                                               \
		struct said said_;                                                                         \
                                                                                                           \
		SAY(&said_, "kunion", "run", "-m", mode(), FX_DIR "/merged", "--", __VA_ARGS__);           \
		KTAP_CHECK(WIFEXITED(said_.status) && WEXITSTATUS(said_.status) == (want), "%#x: %s", said_.status, said_.err); \
	} while (0)

KTAP_TEST_LIMIT(status_is_the_commands, 180)
{
	struct fx fx;

	begin(&fx);
	STATUS(0, "true");
	STATUS(7, "sh", "-c", "exit 7");
	STATUS(128 + SIGTERM, "sh", "-c", "kill -TERM $$");
	STATUS(128 + SIGKILL, "sh", "-c", "kill -KILL $$");
	STATUS(127, FX_DIR "/nowhere");
	STATUS(126, FX_DIR "/merged/d/f");
	KTAP_CHECK(fx_kunion_count() == 0);
	fx_end(&fx);
}

KTAP_TEST(command_runs_attached)
{
	struct said s;
	struct fx fx;

	begin(&fx);
	SAY(&s, "kunion", "run", "-m", mode(), "--events", fx.events, "--min-size", "64K", FX_DIR "/merged", "--", "chmod", "600",
	    FX_DIR "/merged/d/f");
	KTAP_CHECK(WIFEXITED(s.status) && WEXITSTATUS(s.status) == 0, "%#x: %s", s.status, s.err);
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", "/d/f", "op", "chmod", "syscall", "fchmodat", "comm", "chmod", "engine",
				  fx_kernel_since(6, 18) ? "kunion" : "kernel", "result", "ok", NULL) == 1);
	KTAP_CHECK(strstr(s.err, "kunion: tier "), "no summary: %s", s.err);
	fx_end(&fx);
}

KTAP_TEST(events_go_to_stdout)
{
	struct json_object *line, *v;
	unsigned int copyups = 0;
	char *text, *save;
	struct said s;
	struct fx fx;

	begin(&fx);
	SAY(&s, "kunion", "run", "-m", mode(), "--events", "-", FX_DIR "/merged", "--", "chmod", "600", FX_DIR "/merged/d/f");
	KTAP_CHECK(WIFEXITED(s.status) && WEXITSTATUS(s.status) == 0, "%#x: %s", s.status, s.err);
	for (text = strtok_r(s.out, "\n", &save); text; text = strtok_r(NULL, "\n", &save)) {
		line = json_tokener_parse(text);
		KTAP_REQUIRE(line && json_object_object_get_ex(line, "event", &v), "%s", text);
		copyups += !strcmp(json_object_get_string(v), "copyup");
		json_object_put(line);
	}
	KTAP_CHECK(copyups == 2, "%u: the file's and its directory's", copyups);
	fx_end(&fx);
}

/* Nothing of kunion's is the command's: no descriptor, no blocked or ignored signal. */
KTAP_TEST(command_gets_nothing_of_kunions)
{
	struct said s, alone;
	struct fx fx;

	begin(&fx);
	SAY(&s, "kunion", "run", "-m", mode(), "--events", fx.events, FX_DIR "/merged", "--", "sh", "-c", "ls /proc/$$/fd");
	KTAP_CHECK(!strcmp(s.out, "0\n1\n2\n"), "%s", s.out);
	/* No shell, which would unblock its signals by itself. */
	SAY(&alone, "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status");
	SAY(&s, "kunion", "run", "-m", mode(), FX_DIR "/merged", "--", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status");
	KTAP_CHECK(!strncmp(alone.out, "SigBlk", 6) && !strcmp(s.out, alone.out), "with kunion:\n%swithout:\n%s", s.out, alone.out);
	fx_end(&fx);
}

static void handed_on(int sig)
{
	const char *argv[] = {
		"kunion", "run", "-m", mode(), FX_DIR "/merged", "--", "sh", "-c", "echo >" FX_DIR "/began; exec sleep 100", NULL
	};
	struct said s;
	struct fx fx;
	pid_t pid;

	begin(&fx);
	pid = start(0, 0, argv);
	for (int i = 0; i < FX_LONG && !fx_exists(FX_DIR "/began"); i++)
		fx_sleep_ms(1);
	KTAP_CHECK(fx_exists(FX_DIR "/began"));
	kill(pid, sig);
	finish(&s, pid);
	KTAP_CHECK(WIFEXITED(s.status) && WEXITSTATUS(s.status) == 128 + sig, "%#x: %s", s.status, s.err);
	KTAP_CHECK(fx_kunion_count() == 0);
	fx_end(&fx);
}

KTAP_TEST(sigterm_is_handed_on)
{
	handed_on(SIGTERM);
}

KTAP_TEST(sigint_is_handed_on)
{
	handed_on(SIGINT);
}

KTAP_MAIN()
