// SPDX-License-Identifier: GPL-2.0-only
/* kunion beside the test, and its stop points. */
#define FX_PART
#include "fx_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define FX_ARGS_MAX 24

static const char *const fx_tier_names[] = {
	[FX_TIER_OBSERVE] = "observe",
	[FX_TIER_WAIT_OPEN] = "wait-open",
	[FX_TIER_PARK] = "park",
};

char *fx_log_text(const struct fx *fx)
{
	char *text = calloc(1, 16384);
	int fd = open(fx->log, O_RDONLY | O_CLOEXEC);

	FX_REQUIRE(text, "memory");
	if (fd >= 0 && read(fd, text, 16383) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

/* Processes by that name, kunion's gate too, whose comm is not its name; the dead that nobody reaped have none. */
unsigned int fx_kunion_count(void)
{
	unsigned int n = 0;
	DIR *d = opendir("/proc");
	struct dirent *e;

	FX_REQUIRE(d, "/proc");
	while ((e = readdir(d))) {
		char path[64], name[16] = "";
		int fd;

		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/cmdline", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n += read(fd, name, sizeof(name) - 1) > 0 && !strncmp(name, "kunion", 6);
		close(fd);
	}
	closedir(d);
	return n;
}

static bool fx_fuse_mounted(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[1024];
	bool found = false;

	FX_REQUIRE(f, "mountinfo");
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, " - fuse") != NULL || strstr(line, "kunion-gate") != NULL;
	fclose(f);
	return found;
}

static bool fx_reap(pid_t pid, int ms, int *status)
{
	uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000;

	while (waitpid(pid, status, WNOHANG) != pid) {
		if (fx_now_ns() > end)
			return false;
		fx_sleep_ms(2);
	}
	return true;
}

/* A note for the tests to come on this kernel. */
static const char *fx_tier_file(void)
{
	struct utsname u;

	uname(&u);
	return fx_name("%s.tier-%s", FX_DIR, u.release);
}

static void fx_note_tier(enum fx_tier tier)
{
	FILE *f = fopen(fx_tier_file(), "we");

	if (!f)
		return;
	fprintf(f, "%d\n", tier);
	fclose(f);
}

/* Waits until it says that it is attached. */
static void fx_wait_attached(struct fx *fx)
{
	const char said[] = "kunion: attached, tier ";

	for (uint64_t end = fx_now_ns() + 120000000000ull; fx_now_ns() < end; fx_sleep_ms(5)) {
		char *text = fx_log_text(fx), *at = strstr(text, said), *line;
		int status;

		if (at && strchr(at, '\n')) {
			for (enum fx_tier t = FX_TIER_OBSERVE; t <= FX_TIER_PARK; t++) {
				size_t n = strlen(fx_tier_names[t]);

				if (!strncmp(at + strlen(said), fx_tier_names[t], n) && at[strlen(said) + n] == '\n')
					fx->tier = t;
			}
			FX_REQUIRE(fx->tier, "%s", text);
			fx_note_tier(fx->tier);
			free(text);
			return;
		}
		free(text);
		if (waitpid(fx->kunion, &status, WNOHANG) != fx->kunion)
			continue;
		fx->kunion = 0;
		text = fx_log_text(fx);
		line = strstr(text, "mode manage does not work on this kernel");
		if (line && WIFEXITED(status) && WEXITSTATUS(status) == 2)
			fx_skip("%.*s", (int)strcspn(line, "\n;"), line);
		FX_REQUIRE(false, "kunion ended, status %#x: %s", status, text);
	}
	FX_REQUIRE(false, "kunion does not attach");
}

void fx_attach(struct fx *fx, ...)
{
	const char *argv[FX_ARGS_MAX] = { "kunion", "run", "--events", fx->events, "--min-size", "64K" };
	unsigned int n = 6;
	va_list ap;

	if (fx->opts.kernel)
		return;
	va_start(ap, fx);
	while (n < FX_ARGS_MAX - 2 && (argv[n] = va_arg(ap, const char *)))
		n++;
	va_end(ap);
	argv[n++] = fx->merged;
	argv[n] = NULL;

	unlink(fx->log); /* what an earlier kunion said is not this one's */
	fx->strangers = fx_kunion_count();
	fx->tier = FX_TIER_NONE;
	fx->kunion = fork();
	FX_REQUIRE(fx->kunion >= 0, "fork");
	if (fx->kunion == 0) {
		int log = open(fx->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);

		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		execvp(argv[0], (char **)argv);
		fprintf(stderr, "cannot start kunion: %s\n", strerror(errno));
		_exit(127);
	}
	fx_wait_attached(fx);
}

static void fx_nothing_left(struct fx *fx)
{
	for (int i = 0; i < 2000 && fx_kunion_count() > fx->strangers; i++)
		fx_sleep_ms(1);
	FX_CHECK(fx_kunion_count() <= fx->strangers, "a process of kunion is left");
	FX_CHECK(!fx_fuse_mounted(), "a mount of kunion is left");
}

void fx_detach(struct fx *fx)
{
	int status = 0;
	char *text;

	if (fx->opts.kernel || !fx->kunion)
		return;
	kill(fx->kunion, SIGINT);
	if (!FX_CHECK(fx_reap(fx->kunion, FX_LONG, &status), "SIGINT does not end it")) {
		kill(fx->kunion, SIGKILL);
		waitpid(fx->kunion, &status, 0);
	}
	fx->kunion = 0;
	text = fx_log_text(fx);
	FX_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x: %s", status, text);
	free(text);
	fx_nothing_left(fx);
}

void fx_kill(struct fx *fx)
{
	int status;

	if (fx->opts.kernel || !fx->kunion)
		return;
	kill(fx->kunion, SIGKILL);
	FX_REQUIRE(fx_reap(fx->kunion, FX_LONG, &status), "SIGKILL does not end it");
	fx->kunion = 0;
	fx_nothing_left(fx);
}

static enum fx_tier fx_known_tier(const struct fx *fx)
{
	int tier = fx->tier;
	FILE *f;

	if (tier)
		return fx->tier;
	f = fopen(fx_tier_file(), "re");
	if (!f)
		return FX_TIER_NONE;
	if (fscanf(f, "%d", &tier) != 1)
		tier = FX_TIER_NONE;
	fclose(f);
	return (enum fx_tier)tier;
}

void fx_needs(const struct fx *fx, enum fx_tier tier)
{
	enum fx_tier has = fx_known_tier(fx);

	if (!fx->opts.kernel && has && has < tier)
		fx_skip("needs tier %s, this kernel has %s", fx_tier_names[tier], fx_tier_names[has]);
}

void fx_below(const struct fx *fx, enum fx_tier tier)
{
	enum fx_tier has = fx_known_tier(fx);

	if (!fx->opts.kernel && has >= tier)
		fx_skip("for tiers below %s, this kernel has %s", fx_tier_names[tier], fx_tier_names[has]);
}

/* stop points */

static const char *fx_stop_file(const struct fx *fx, const char *name, const char *what)
{
	static char path[FX_PATH_MAX * 2];

	snprintf(path, sizeof(path), "%s/%s.%s", fx->stop, name, what);
	return path;
}

void fx_stop_arm_after(const struct fx *fx, const char *name, unsigned int pass)
{
	char new[FX_PATH_MAX * 2];
	int fd;

	if (fx->opts.kernel)
		return;
	unlink(fx_stop_file(fx, name, "hit"));
	snprintf(new, sizeof(new), "%s", fx_stop_file(fx, name, "new"));
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FX_REQUIRE(fd >= 0 && ftruncate(fd, pass) == 0, "%s", new);
	close(fd);
	FX_REQUIRE(rename(new, fx_stop_file(fx, name, "stop")) == 0, "%s", name);
}

void fx_stop_arm(const struct fx *fx, const char *name)
{
	fx_stop_arm_after(fx, name, 0);
}

bool fx_stop_hit(const struct fx *fx, const char *name)
{
	return fx_exists(fx_stop_file(fx, name, "hit"));
}

void fx_stop_wait(const struct fx *fx, const char *name, int ms)
{
	uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000;

	if (fx->opts.kernel)
		return;
	while (!fx_stop_hit(fx, name)) {
		if (fx_now_ns() > end) {
			char *text = fx_log_text(fx);

			fx_events_show(fx);
			FX_REQUIRE(false, "kunion does not come to '%s': %s", name, text);
		}
		fx_sleep_ms(1);
	}
}

void fx_stop_go(const struct fx *fx, const char *name)
{
	if (fx->opts.kernel)
		return;
	unlink(fx_stop_file(fx, name, "stop"));
	unlink(fx_stop_file(fx, name, "hit"));
}

void fx_without(const struct fx *fx, const char *part)
{
	int fd = open(fx_stop_file(fx, part, "without"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	FX_REQUIRE(fd >= 0, "%s", part);
	close(fd);
}
