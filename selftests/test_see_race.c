// SPDX-License-Identifier: GPL-2.0-only
/* Observation while all is in motion: attached in the middle of copy-ups, many tasks at the same files, a union that ends meanwhile. */
#include "see.h"

#define WORKERS 4
#define FILES 400
/* Enough for a minute of attaching. */
#define ATTACH_WORKERS 3
#define ATTACH_FILES 900

struct gate {
	bool go, attached;
	unsigned int done[ATTACH_WORKERS]; /* files opened so far */
};

static struct gate *gate_new(void)
{
	struct gate *g = mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	KTAP_REQUIRE(g != MAP_FAILED, "memory");
	return g;
}

static const char *file_of(unsigned int w, unsigned int i)
{
	return fx_name("w%u/%u", w, i);
}

static void lower_files(struct fx *fx, unsigned int workers, unsigned int files)
{
	for (unsigned int w = 0; w < workers; w++)
		for (unsigned int i = 0; i < files; i++)
			fx_lower(fx, file_of(w, i), FX_BLOCK, 0644);
}

static bool open_write(const struct fx *fx, const char *name)
{
	char path[FX_PATH_MAX * 2];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", fx->merged, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && close(fd) == 0;
}

static pid_t worker(void (*fn)(const struct fx *fx, struct gate *g, unsigned int w), const struct fx *fx, struct gate *g, unsigned int w)
{
	pid_t pid = fork();

	KTAP_REQUIRE(pid >= 0, "fork");
	if (pid == 0) {
		fn(fx, g, w);
		_exit(0);
	}
	return pid;
}

static void workers_end(const pid_t *pid, unsigned int n)
{
	int status;

	for (unsigned int w = 0; w < n; w++)
		KTAP_CHECK(waitpid(pid[w], &status, 0) == pid[w] && status == 0, "worker %u: %#x", w, status);
}

/* One file each 60 ms or so until kunion is attached, then 10 more. */
#define MORE 10

static void copy_all_the_while(const struct fx *fx, struct gate *g, unsigned int w)
{
	unsigned int i = 0, left = MORE;

	while (left && i < ATTACH_FILES) {
		bool attached = __atomic_load_n(&g->attached, __ATOMIC_SEQ_CST);

		if (!open_write(fx, file_of(w, i++)))
			_exit(1);
		__atomic_store_n(&g->done[w], i, __ATOMIC_SEQ_CST);
		if (attached)
			left--;
		else
			fx_sleep_ms(60);
	}
	_exit(left ? 2 : 0);
}

/* A copy-up of which only one half was seen must not cost its task all later ones. */
KTAP_TEST_LIMIT(attached_while_copy_ups_are_under_way, 200)
{
	struct gate *g = gate_new();
	pid_t pid[ATTACH_WORKERS];
	struct fx fx;

	fx_init(&fx, NULL);
	lower_files(&fx, ATTACH_WORKERS, ATTACH_FILES);
	fx_mount(&fx);
	for (unsigned int w = 0; w < ATTACH_WORKERS; w++)
		pid[w] = worker(copy_all_the_while, &fx, g, w);
	fx_attach(&fx, "-m", "observe", NULL);
	__atomic_store_n(&g->attached, true, __ATOMIC_SEQ_CST);
	workers_end(pid, ATTACH_WORKERS);
	fx_detach(&fx);
	for (unsigned int w = 0; w < ATTACH_WORKERS; w++)
		for (unsigned int i = g->done[w] - MORE; i < g->done[w]; i++)
			KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", fx_name("/%s", file_of(w, i)), NULL) == 1,
				   "%s is not told once", file_of(w, i));
	KTAP_CHECK(fx_event_count(&fx, "event", "dropped", "copyups", "0", NULL) == fx_event_count(&fx, "event", "dropped", NULL));
	fx_end(&fx);
}

static void copy_the_same(const struct fx *fx, struct gate *g, unsigned int w)
{
	(void)w;
	while (!__atomic_load_n(&g->go, __ATOMIC_SEQ_CST))
		usleep(200);
	for (unsigned int i = 0; i < FILES; i++)
		if (!open_write(fx, file_of(0, i)))
			_exit(1);
}

/* All after the same files: each is copied once, each wait names a copy-up that is told, of the same file, made by its holder. */
KTAP_TEST_LIMIT(each_wait_names_a_copy_up_that_is_told, 200)
{
	struct gate *g = gate_new();
	struct json_object *e, *c;
	unsigned int at = 0, waits = 0;
	pid_t pid[WORKERS];
	struct fx fx;
	struct see s;

	fx_init(&fx, NULL);
	lower_files(&fx, 1, FILES);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", NULL);
	for (unsigned int w = 0; w < WORKERS; w++)
		pid[w] = worker(copy_the_same, &fx, g, w);
	__atomic_store_n(&g->go, true, __ATOMIC_SEQ_CST);
	workers_end(pid, WORKERS);
	fx_detach(&fx);
	see_load(&fx, &s);
	while ((e = see_next(&s, &at, "wait"))) {
		waits++;
		c = see_only(&s, "copyup", "id", see_num(e, "copyup_id"));
		if (!c) {
			ktap_diag("%s", json_object_to_json_string(e));
			continue;
		}
		SEE_STR(e, "on", "inode");
		SEE_STR(e, "copyup_path", see_str(c, "path"));
		SEE_STR(e, "path", see_str(c, "path"));
		SEE_NUM(e, "copyup_pid", see_num(c, "pid"));
		SEE_NUM(e, "holder_pid", see_num(c, "pid"));
		KTAP_CHECK(see_num(e, "pid") != see_num(c, "pid"), "it waited for itself");
	}
	ktap_diag("%u waits", waits);
	KTAP_CHECK(waits > 0, "nobody waited: this proves nothing");
	KTAP_CHECK(see_count(&s, "copyup") == FILES + 1, "%u copy-ups", see_count(&s, "copyup"));
	KTAP_CHECK(see_sum(&s, "totals", "copyups") == FILES + 1 && see_sum(&s, "totals", "bytes") == FILES * FX_BLOCK);
	KTAP_CHECK(see_sum(&s, "totals", "waits") == waits && see_sum(&s, "dropped", "copyups") == 0);
	KTAP_CHECK(see_sum(&s, "totals", "missing") == see_sum(&s, "dropped", "count"));
	see_free(&s);
	fx_end(&fx);
}

#define CHILDREN 6

/* As if the kernel had left these programs out each time (see bpf/obs_count.bpf.h), up to NULL. */
static void missed_all_the_time(const char *const *programs)
{
	pid_t pid[CHILDREN];
	struct fx fx;
	struct see s;
	char *log;

	fx_init(&fx, NULL);
	lower_files(&fx, 1, CHILDREN);
	fx_mount(&fx);
	for (unsigned int i = 0; programs[i]; i++)
		fx_without(&fx, programs[i]);
	fx_attach(&fx, "-m", "observe", NULL);
	log = fx_log_text(&fx);
	for (unsigned int i = 0; programs[i]; i++)
		KTAP_CHECK(strstr(log, fx_name("left out, as a test asked for: %s\n", programs[i])), "%s", log);
	free(log);
	for (unsigned int i = 0; i < CHILDREN; i++) {
		pid[i] = fork();
		KTAP_REQUIRE(pid[i] >= 0, "fork");
		if (pid[i] == 0)
			_exit(!open_write(&fx, file_of(0, i)));
		workers_end(&pid[i], 1);
	}
	/* Those that are gone are told while it runs. */
	KTAP_CHECK(fx_event_wait(&fx, CHILDREN + 1, FX_LONG, "event", "copyup", NULL), "not told in time");
	KTAP_CHECK(open_write(&fx, file_of(0, 0)));
	fx_detach(&fx);
	see_load(&fx, &s);
	KTAP_CHECK(see_count(&s, "copyup") == CHILDREN + 1, "%u copy-ups", see_count(&s, "copyup"));
	for (unsigned int i = 0; i < CHILDREN; i++)
		KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", fx_name("/%s", file_of(0, i)), "pid", fx_name("%d", pid[i]), "bytes",
					  fx_name("%d", FX_BLOCK), "result", "ok", NULL) == 1, "%s", file_of(0, i));
	KTAP_CHECK(see_sum(&s, "totals", "copyups") == CHILDREN + 1 && see_sum(&s, "totals", "bytes") == CHILDREN * FX_BLOCK);
	KTAP_CHECK(see_count(&s, "dropped") == 0);
	see_free(&s);
	fx_end(&fx);
}

KTAP_TEST_LIMIT(beginnings_that_are_missed_are_told, 100)
{
	missed_all_the_time((const char *const[]){ "ku_obs_begin", "ku_obs_lock", NULL });
}

KTAP_TEST_LIMIT(ends_that_are_missed_are_told, 100)
{
	missed_all_the_time((const char *const[]){ "ku_obs_end", "ku_obs_end_again", NULL });
}

/* A union's end: its totals are told at once, and a new union at the same place has its own. */
KTAP_TEST_LIMIT(totals_at_the_end_of_a_union, 200)
{
	struct fx fx;
	struct see s;

	fx_init(&fx, NULL);
	fx_lower(&fx, "a", FX_KB(8), 0644);
	fx_lower(&fx, "b", FX_KB(16), 0644);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", NULL);
	KTAP_CHECK(open_write(&fx, "a") && open_write(&fx, "b"));
	KTAP_CHECK(fx_event_wait(&fx, 2, FX_LONG, "event", "copyup", NULL));
	fx_umount(&fx);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "totals", NULL), "no totals");
	fx_detach(&fx);
	see_load(&fx, &s);
	KTAP_CHECK(see_count(&s, "totals") == 1, "%u totals", see_count(&s, "totals"));
	KTAP_CHECK(see_sum(&s, "totals", "copyups") == 2 && see_sum(&s, "totals", "bytes") == FX_KB(24));
	see_free(&s);
	fx_end(&fx);
}

KTAP_MAIN()
