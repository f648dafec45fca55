// SPDX-License-Identifier: GPL-2.0-only
/*
 * More at once than the ring holds, nobody reading: what is lost is counted by its kind, and the totals stay exact. Long paths fill
 * the 8 MiB sooner: a record has some 3800 bytes then.
 */
#include "see.h"

#define DEPTH 15
#define NAME_LEN 240
#define FILES 3000
#define ALL (FILES + DEPTH + 1) /* the directories; and one behind the flood */
#define WORKERS 4 /* all through the same files, so that they wait for each other, too */

static char level[NAME_LEN + 1];

/* Down to the deepest directory, made on the way if it is not there. */
static void descend(const char *top)
{
	KTAP_REQUIRE(chdir(top) == 0, "%s", top);
	for (int i = 0; i < DEPTH; i++) {
		level[0] = (char)('a' + i);
		KTAP_REQUIRE((mkdir(level, 0755) == 0 || errno == EEXIST) && chdir(level) == 0, "level %d", i);
	}
}

static off_t size_of(unsigned int i)
{
	return 1 + i % 100;
}

static void lower_files(const struct fx *fx)
{
	static const char data[128] = "flood";

	descend(fx->lower);
	for (unsigned int i = 0; i < FILES; i++) {
		int fd = open(fx_name("%u", i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

		KTAP_REQUIRE(fd >= 0 && write(fd, data, (size_t)size_of(i)) == size_of(i));
		close(fd);
	}
	KTAP_REQUIRE(chdir("/") == 0);
}

static void flood(const char *merged)
{
	pid_t pid[WORKERS];
	int status;

	for (int w = 0; w < WORKERS; w++) {
		pid[w] = fork();
		KTAP_REQUIRE(pid[w] >= 0, "fork");
		if (pid[w])
			continue;
		if (!see_enter(w % 2))
			_exit(1);
		descend(merged);
		for (unsigned int i = 0; i < FILES; i++) {
			char name[16];
			int fd;

			snprintf(name, sizeof(name), "%u", i);
			fd = open(name, O_WRONLY | O_CLOEXEC);
			if (fd < 0 || close(fd))
				_exit(2);
		}
		_exit(0);
	}
	for (int w = 0; w < WORKERS; w++)
		KTAP_CHECK(waitpid(pid[w], &status, 0) == pid[w] && status == 0, "%#x", status);
}

/* Each that is told is one of ours, whole, and told once. */
static void check_told(const struct see *s)
{
	static bool told[FILES];
	struct json_object *e;
	unsigned int at = 0;

	while ((e = see_next(s, &at, "copyup"))) {
		const char *path = see_str(e, "path"), *slash = strrchr(path, '/');
		unsigned int nr;

		KTAP_CHECK(slash && (strlen(path) > NAME_LEN || !strcmp(slash, "/late")), "%.40s", path);
		if (!slash || see_is(e, "kind", "dir") || !strcmp(slash, "/late"))
			continue;
		nr = (unsigned int)atoi(slash + 1);
		KTAP_CHECK(slash - path == DEPTH * (NAME_LEN + 1) && nr < FILES && !told[nr], "'%s' is told again, or wrongly", slash);
		told[nr % FILES] = true;
		KTAP_CHECK(see_num(e, "bytes") == size_of(nr), "%u: %lld bytes", nr, (long long)see_num(e, "bytes"));
	}
}

KTAP_TEST_LIMIT(flood_loses_records_but_never_a_number, 400)
{
	int64_t copyups, waits, lost_copyups, lost_waits, bytes;
	struct json_object *t;
	unsigned int at = 0;
	struct fx fx;
	struct see s;

	memset(level, 'n', NAME_LEN);
	fx_init(&fx, NULL);
	see_places_make();
	lower_files(&fx);
	fx_lower(&fx, "late", FX_BLOCK, 0644);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", NULL);
	KTAP_REQUIRE(kill(fx.kunion, SIGSTOP) == 0);
	flood(fx.merged);
	KTAP_REQUIRE(kill(fx.kunion, SIGCONT) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG * 3, "event", "dropped", NULL), "no loss is told");
	/* The ring takes records again: what comes now is told. */
	KTAP_CHECK(chmod(fx_path(&fx, "late"), 0600) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/late", NULL), "it tells nothing any more");
	fx_detach(&fx);
	bytes = FX_BLOCK;
	for (unsigned int i = 0; i < FILES; i++)
		bytes += size_of(i);

	see_load(&fx, &s);
	check_told(&s);
	copyups = see_count(&s, "copyup");
	waits = see_count(&s, "wait");
	lost_copyups = see_sum(&s, "dropped", "copyups");
	lost_waits = see_sum(&s, "dropped", "waits");
	ktap_diag("copy-ups: %lld told, %lld lost; waits: %lld told, %lld lost", (long long)copyups, (long long)lost_copyups, (long long)waits,
		  (long long)lost_waits);
	KTAP_CHECK(copyups > 0 && lost_copyups > 0, "this was no flood");
	KTAP_CHECK(copyups + lost_copyups == ALL, "%lld and %lld are not %d", (long long)copyups, (long long)lost_copyups,
		   ALL);
	/* Others: a program that the kernel left out. */
	KTAP_CHECK(see_sum(&s, "dropped", "count") == lost_copyups + lost_waits + see_sum(&s, "dropped", "others"));
	KTAP_REQUIRE(see_count(&s, "totals") == 1);
	t = see_next(&s, &at, "totals");
	SEE_NUM(t, "copyups", ALL);
	SEE_NUM(t, "bytes", bytes);
	SEE_NUM(t, "failed", 0);
	SEE_NUM(t, "waits", waits + lost_waits);
	SEE_NUM(t, "missing", see_sum(&s, "dropped", "count"));
	KTAP_CHECK(see_num(t, "copyup_us") > see_sum(&s, "copyup", "total_us"), "the time of the lost is missing");
	see_free(&s);
	see_places_remove();
	fx_end(&fx);
}

KTAP_MAIN()
