// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rounds of random calls by six threads on a few names of a union: two lower files (of 64, 256 KiB to 8 MiB, in four directories) and two
 * free names. After each round: is there an order of the calls that explains all they returned and what is left (stress_model.h)? Did
 * every reader see whole words of the right file, is nothing left that belongs to no name? In the end: is the lower layer unchanged?
 *
 * A union's lower files are used up after 32 rounds, so there are many unions of the same lower layer, attached together.
 *
 * STRESS_ROUNDS	default 1000
 * STRESS_SEED		printed at the start; the same one makes the same calls (their timing is the machine's)
 * STRESS_FS		default tmpfs
 */
#include "stress_calls.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

FX_BARE

#define SHOWN_MAX 3 /* rounds told in full */
#define ROUND_LIMIT 120 /* seconds */

struct stress_thread {
	struct stress *s;
	int nr;
	pthread_t id;
};

static void *thread_main(void *arg)
{
	struct stress_thread *t = arg;
	struct stress *s = t->s;

	for (;;) {
		int fd = -1;

		pthread_barrier_wait(&s->barrier);
		if (s->stop)
			return NULL;
		for (int i = 0; i < s->nplan[t->nr]; i++)
			run_call(s, t->nr, &s->plan[t->nr][i], &fd);
		if (fd >= 0)
			close(fd);
		pthread_barrier_wait(&s->barrier);
	}
}

/* after a round */

static void look_at_outcome(struct stress *s)
{
	for (uint8_t name = 0; name < SM_NAMES; name++) {
		struct sm_op stat_op = { .kind = SM_STAT, .name = name, .content = -1 };
		struct sm_op open_op = { .kind = SM_OPEN, .name = name, .content = -1 };
		struct sm_op read_op = { .kind = SM_READ, .name = name, .content = -1 };
		int fd = -1;

		run_call(s, THREADS, &stat_op, &fd);
		if (stat_op.err)
			continue;
		run_call(s, THREADS, &open_op, &fd);
		run_call(s, THREADS, &read_op, &fd);
		if (fd >= 0)
			close(fd);
	}
}

static void show_round(struct stress *s)
{
	uint64_t since = UINT64_MAX;
	char line[256], content[512];

	for (int t = 0; t < THREADS; t++)
		if (s->m.nops[t] && s->m.ops[t][0].start < since)
			since = s->m.ops[t][0].start;
	for (int n = 0; n < SM_NAMES; n++)
		ktap_diag("%c is %s, %u bytes below", "abcd"[n], s->paths[n], n < SM_LOWER ? s->words[s->file[n]] * 8 : 0);
	for (int t = 0; t < SM_THREADS; t++)
		for (int i = 0; i < s->m.nops[t]; i++) {
			const struct sm_op *op = &s->m.ops[t][i];

			sm_describe(op, since, line, sizeof(line));
			ktap_diag("%s %d: %s", t < THREADS ? "thread" : "outcome", t, line);
			if (op->kind == SM_READ && !op->err) {
				sm_describe_content(&s->m, op->content, content, sizeof(content));
				ktap_diag("saw %s", content);
			}
		}
}

/* The union's names: none but lower files and rounds' names, and this round's as the outcome says. */
static bool names_right(struct stress *s, const char *dir, bool told)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool ok = d;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != 'f' && e->d_name[0] != 'n' && strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
			ok = false;
			if (told)
				ktap_diag("round %u: %s/%s is nobody's", s->round, dir, e->d_name);
		}
	if (d)
		closedir(d);
	return ok;
}

/* What was called off is cleared away in a moment; not later. */
static bool dir_right(struct stress *s, const char *dir)
{
	for (int i = 0; i < 200; i++) {
		if (names_right(s, dir, false))
			return true;
		fx_sleep_ms(5);
	}
	return names_right(s, dir, true);
}

static bool upper_right(struct stress *s, int name)
{
	char path[2 * FX_PATH_MAX];
	struct stat st;

	if (!access(s->paths[name], F_OK))
		return true;
	snprintf(path, sizeof(path), "%s/%s", s->fx.upper, s->names[name]);
	if (lstat(path, &st))
		return name >= SM_LOWER;
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

static void check_round(struct stress *s)
{
	enum sm_answer answer = sm_check(&s->m, s->seed + s->round);
	char dir[2 * FX_PATH_MAX];
	bool ok = true;

	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < s->m.nops[t]; i++) {
			const struct sm_op *op = &s->m.ops[t][i];

			s->calls++;
			s->gone += op->err == ENOENT;
			s->quirks_fd += op->err == EEXIST && op->kind == SM_FCHMOD;
			s->quirks += op->err == EEXIST && op->kind != SM_FCHMOD && op->kind != SM_LINK && !(op->flags & SM_EXCL);
		}
	if (s->m.steps > s->max_steps)
		s->max_steps = s->m.steps;
	s->undecided += answer == SM_TOO_MANY;
	ok &= KTAP_CHECK(answer != SM_NO, "round %u of seed %#llx: no order of the calls explains them", s->round,
			 (unsigned long long)s->seed);
	for (int n = 0; n < SM_LOWER; n++) {
		snprintf(dir, sizeof(dir), "%s/d%u", s->fx.merged, s->dir[n]);
		ok &= KTAP_CHECK(dir_right(s, dir));
	}
	for (int n = 0; n < SM_NAMES; n++)
		ok &= KTAP_CHECK(upper_right(s, n), "round %u: %s is gone, but not in the upper layer", s->round, s->names[n]);
	if (!ok && s->failed++ < SHOWN_MAX)
		show_round(s);
}

static void round_hangs(int sig)
{
	(void)sig;
	ktap_diag("a call does not return");
	_exit(KTAP_EXIT_FAIL);
}

static void run_round(struct stress *s, const unsigned int *files)
{
	sm_reset(&s->m);
	for (int n = 0; n < SM_NAMES; n++) {
		if (n < SM_LOWER) {
			s->file[n] = files[n];
			s->dir[n] = files[n] % DIRS;
			snprintf(s->names[n], sizeof(s->names[n]), "d%u/f%02u", s->dir[n], files[n]);
			sm_add_lower(&s->m, (uint8_t)n, s->words[files[n]], 0644);
		} else {
			s->dir[n] = s->dir[n - SM_LOWER];
			snprintf(s->names[n], sizeof(s->names[n]), "d%u/n%u%c", s->dir[n], s->round, "abcd"[n]);
		}
		snprintf(s->paths[n], sizeof(s->paths[n]), "%s/%s", s->fx.merged, s->names[n]);
	}
	plan_round(s);
	alarm(ROUND_LIMIT);
	pthread_barrier_wait(&s->barrier);
	pthread_barrier_wait(&s->barrier);
	alarm(0);
	look_at_outcome(s);
	check_round(s);
}

/* set-up */

static void make_lower(struct stress *s)
{
	uint64_t *buf = malloc(CHUNK);
	char path[2 * FX_PATH_MAX];

	for (unsigned int f = 0; f < FILES; f++) {
		double u = (double)f / (FILES - 1), kib = 256;
		int fd;

		/* Most of them small, up to 32 times 256 KiB. */
		for (int i = 0; i < 5; i++)
			kib *= 1 + u * u;
		s->words[f] = (uint32_t)(kib * 1024 / SM_RECORD) * SM_RECORD_WORDS;
		snprintf(path, sizeof(path), "%s/d%u", s->fx.lower, f % DIRS);
		KTAP_REQUIRE(mkdir(path, 0755) == 0 || errno == EEXIST);
		snprintf(path, sizeof(path), "%s/d%u/f%02u", s->fx.lower, f % DIRS, f);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		KTAP_REQUIRE(buf && fd >= 0 && fchmod(fd, 0644) == 0, "%s", path);
		for (uint32_t at = 0; at < s->words[f];) {
			uint32_t n = s->words[f] - at < CHUNK / 8 ? s->words[f] - at : CHUNK / 8;

			for (uint32_t i = 0; i < n; i++)
				buf[i] = LOWER_WORD(f, at + i);
			KTAP_REQUIRE(write(fd, buf, n * 8) == (ssize_t)(n * 8), "%s", path);
			at += n;
		}
		close(fd);
	}
	free(buf);
}

static void mount_union(struct stress *s, unsigned int i)
{
	char opts[4 * FX_PATH_MAX];

	snprintf(s->merged[i], FX_PATH_MAX, FX_DIR "/merged%u", i);
	fx_sh("mkdir -p %s %s/up%u %s/wk%u", s->merged[i], s->fx.upper_base, i, s->fx.upper_base, i);
	snprintf(opts, sizeof(opts), "lowerdir=%s,upperdir=%s/up%u,workdir=%s/wk%u", s->fx.lower, s->fx.upper_base, i,
		 s->fx.upper_base, i);
	KTAP_REQUIRE(mount("overlay", s->merged[i], "overlay", 0, opts) == 0, "%s", opts);
}

/* The fixture looks at this one from now on. */
static void use_union(struct stress *s, unsigned int i)
{
	snprintf(s->fx.merged, FX_PATH_MAX, "%s", s->merged[i]);
	snprintf(s->fx.upper, FX_PATH_MAX, "%.200s/up%u", s->fx.upper_base, i);
	snprintf(s->fx.work, FX_PATH_MAX, "%.200s/wk%u", s->fx.upper_base, i);
}

static void run_union(struct stress *s, unsigned int i)
{
	unsigned int files[FILES];

	use_union(s, i);
	for (unsigned int f = 0; f < FILES; f++)
		files[f] = f;
	s->rng = (s->seed ^ s->round) * 0x9e3779b97f4a7c15ull | 1;
	for (unsigned int f = FILES - 1; f; f--) {
		unsigned int other = below(s, f + 1), was = files[f];

		files[f] = files[other];
		files[other] = was;
	}
	for (unsigned int n = 0; n < ROUNDS_EACH && s->round < s->rounds && s->failed < SHOWN_MAX; n++, s->round++)
		run_round(s, files + n * SM_LOWER);
	KTAP_CHECK(fx_no_temps(&s->fx));
	for (int tries = 0; umount2(s->fx.merged, 0); tries++) {
		KTAP_REQUIRE(errno == EBUSY && tries < 100, "unmounting: %d", errno);
		fx_sleep_ms(10);
	}
	fx_sh("rm -rf %s %s", s->fx.upper, s->fx.work);
}

static void run_batch(struct stress *s)
{
	char (*m)[FX_PATH_MAX] = s->merged;
	unsigned int n = (s->rounds - s->round + ROUNDS_EACH - 1) / ROUNDS_EACH;
	char *log;

	if (n > UNIONS)
		n = UNIONS;
	for (unsigned int i = 0; i < n; i++)
		mount_union(s, i);
	use_union(s, n - 1); /* the last argument */
#define U(i) ((i) + 1 < n ? m[i] : NULL)
	fx_attach(&s->fx, U(0), U(1), U(2), U(3), U(4), U(5), U(6), U(7), U(8), U(9), U(10), U(11), U(12), U(13), U(14), NULL);
#undef U
	for (unsigned int i = 0; i < n; i++)
		run_union(s, i);
	fx_detach(&s->fx);
	log = fx_log_text(&s->fx);
	ktap_diag("%s", log);
	free(log);
	if (!s->fx.opts.kernel)
		fx_sh("sed -n 's/.*\"engine\":\"\\([a-z]*\\)\".*\"result\":\"\\([A-Za-z0-9]*\\)\".*/\\1 \\2/p' %s |"
		      " sort | uniq -c | sed 's/^ */# copy-ups so far: /'", s->fx.events);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void stress(bool kernel, unsigned int rounds)
{
	static struct stress s;
	struct fx_opts opts = { .kernel = kernel, .upper_fs = getenv("STRESS_FS") };
	struct stress_thread threads[THREADS];
	uint64_t began = fx_now_ns();

	signal(SIGALRM, round_hangs);
	if (getrandom(&s.seed, 4, 0) < 0)
		s.seed = began;
	s.seed = number_from("STRESS_SEED", s.seed);
	s.rounds = rounds;
	s.m.seen = calloc(1u << SM_SEEN_BITS, sizeof(*s.m.seen));
	KTAP_REQUIRE(s.m.seen);
	ktap_diag("%u rounds, STRESS_SEED=%#llx", s.rounds, (unsigned long long)s.seed);
	fx_init(&s.fx, &opts);
	unsetenv("KUNION_STOP_DIR");
	umask(0);
	make_lower(&s);
	s.fx.lower_sum = fx_tree_sum(s.fx.lower);
	pthread_mutex_init(&s.lock, NULL);
	pthread_barrier_init(&s.barrier, NULL, THREADS + 1);
	for (int t = 0; t < THREADS; t++) {
		threads[t] = (struct stress_thread){ .s = &s, .nr = t };
		KTAP_REQUIRE(pthread_create(&threads[t].id, NULL, thread_main, &threads[t]) == 0);
	}

	while (s.round < s.rounds && s.failed < SHOWN_MAX)
		run_batch(&s);

	s.stop = true;
	pthread_barrier_wait(&s.barrier);
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t].id, NULL);
	ktap_diag("%u rounds in %.0f s, %u calls: %u ENOENT, EEXIST for a file that is gone %u by name and %u by descriptor; search: %u steps "
		  "at most, %u rounds undecided",
		  s.round, (double)(fx_now_ns() - began) / 1e9, s.calls, s.gone, s.quirks, s.quirks_fd, s.max_steps, s.undecided);
	KTAP_CHECK(s.undecided <= s.rounds / 50);
	KTAP_CHECK(fx_lower_unchanged(&s.fx));
	if (kernel)
		return;
	/* The kernel's own quirk (files that are left to it show it still): kunion sends who waited to look again, where it can. */
	if (s.fx.tier >= FX_TIER_PARK)
		KTAP_CHECK(s.quirks <= s.rounds / 50 + 1, "%u calls by name gave EEXIST for a file that is gone", s.quirks);
	KTAP_CHECK(fx_event_count(&s.fx, "event", "copyup", "engine", "kunion", "result", "ok", NULL) > (int)s.round / 10);
	KTAP_CHECK(fx_event_count(&s.fx, "event", "copyup", "engine", "kunion", "result", "lost", NULL) > 0);
	KTAP_CHECK(fx_event_count(&s.fx, "event", "wait", NULL) > 0);
}

/* The model must not be one that explains everything. */
KTAP_TEST(model_refuses_the_impossible)
{
	static struct sm m;
	static const struct sm_op chmod_a = { .kind = SM_CHMOD, .mode = 0600, .start = 10, .end = 20 };
	static const struct sm_op unlink_a = { .kind = SM_UNLINK, .start = 15, .end = 18 };
	static const struct sm_op stat_a = { .kind = SM_STAT, .start = 30, .end = 31 };
	struct sm_op op;

	m.seen = calloc(1u << SM_SEEN_BITS, sizeof(*m.seen));
	KTAP_REQUIRE(m.seen);
#define HISTORY(...)                                                                             \
	do {                                                                                     \
		const struct sm_op ops[] = { __VA_ARGS__ };                                      \
		sm_reset(&m);                                                                    \
		sm_add_lower(&m, 0, 800, 0644);                                                  \
		sm_add_lower(&m, 1, 800, 0644);                                                  \
		for (unsigned int i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)                  \
			m.ops[i][m.nops[i]++] = ops[i];                                          \
	} while (0)
	HISTORY(chmod_a, { .kind = SM_STAT, .mode = 0600, .words = 800, .start = 30, .end = 31 });
	KTAP_CHECK(sm_check(&m, 1) == SM_YES);
	HISTORY(chmod_a, { .kind = SM_STAT, .mode = 0644, .words = 800, .start = 30, .end = 31 });
	KTAP_CHECK(sm_check(&m, 2) == SM_NO, "a lost chmod");
	op = chmod_a;
	op.err = EEXIST;
	HISTORY(op, unlink_a);
	KTAP_CHECK(sm_check(&m, 3) == SM_YES, "the kernel's quirk");
	HISTORY(op);
	KTAP_CHECK(sm_check(&m, 4) == SM_NO, "EEXIST without a removal");
	op = stat_a;
	op.err = ENOENT;
	HISTORY(chmod_a, unlink_a, op);
	KTAP_CHECK(sm_check(&m, 5) == SM_YES);
	op = stat_a;
	op.mode = 0600;
	op.words = 800;
	HISTORY(chmod_a, unlink_a, op);
	KTAP_CHECK(sm_check(&m, 6) == SM_NO, "a file that came back");
	op = stat_a;
	op.mode = 0600;
	op.words = 400;
	HISTORY(chmod_a, op);
	KTAP_CHECK(sm_check(&m, 7) == SM_NO, "a part of a file");
	op = chmod_a;
	op.err = ESTALE;
	HISTORY(op, unlink_a);
	KTAP_CHECK(sm_check(&m, 8) == SM_NO, "an errno that does not belong here");
	HISTORY({ .kind = SM_RENAME, .name2 = 2, .start = 1, .end = 20 }, { .kind = SM_RENAME, .name2 = 3, .start = 2, .end = 21 });
	KTAP_CHECK(sm_check(&m, 9) == SM_NO, "one file renamed twice");
	free(m.seen);
}

/* The yardstick: what the kernel does by itself must fit the model. */
KTAP_TEST_LIMIT(kernel_alone, 600)
{
	/* There 1 round in 100 ends as no order of its calls would; it is nobody's yardstick. */
	if (!fx_kernel_since(6, 12))
		ktap_skip("kunion does not manage here");
	stress(true, (unsigned int)number_from("STRESS_ROUNDS", 1000) / 10 + 1);
}

KTAP_TEST_LIMIT(with_kunion, 1500)
{
	stress(false, (unsigned int)number_from("STRESS_ROUNDS", 1000));
}

KTAP_MAIN()
