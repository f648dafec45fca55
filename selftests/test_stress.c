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
#include "fx_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#include "stress_model.h"

#define FILES 64
#define DIRS 4
#define UNIONS 16 /* attached together: as many as fx_attach() takes */
#define ROUNDS_EACH (FILES / SM_LOWER)
#define THREADS (SM_THREADS - 1)
#define CHUNK (256u << 10)
#define SHOWN_MAX 3 /* rounds told in full */

/* The 8-byte words of a file tell whose they are. */
#define LOWER_WORD(file, at) (0xa5ull << 56 | (uint64_t)(file) << 40 | (uint64_t)(at))
#define RECORD_WORD(round, record, at) (0x5aull << 56 | (uint64_t)((round) & 0xffff) << 40 | (uint64_t)(record) << 24 | (uint64_t)(at))

struct stress {
	struct fx fx;
	uint64_t seed, rng;
	unsigned int rounds, round, unions;
	uint32_t words[FILES];
	char merged[UNIONS][FX_PATH_MAX];
	/* a round */
	unsigned int file[SM_LOWER], dir[SM_NAMES];
	char names[SM_NAMES][64], paths[SM_NAMES][2 * FX_PATH_MAX];
	bool zeros; /* may be seen */
	struct sm_op plan[THREADS][SM_OPS];
	uint8_t nplan[THREADS];
	struct sm m;
	pthread_barrier_t barrier;
	pthread_mutex_t lock; /* m.contents */
	bool stop;
	/* sums */
	unsigned int failed, undecided, max_steps;
	unsigned int calls, quirks, gone;
};

static uint64_t next_random(struct stress *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return s->rng * 0x2545f4914f6cdd1dull >> 16;
}

static uint32_t below(struct stress *s, uint32_t n)
{
	return (uint32_t)(next_random(s) % n);
}

/* the plan */

static struct sm_op *plan_op(struct stress *s, int thread, enum sm_kind kind, uint8_t name)
{
	struct sm_op *op = &s->plan[thread][s->nplan[thread]++];
	uint32_t when = below(s, 8);

	*op = (struct sm_op){ .kind = kind, .name = name, .content = -1 };
	/* Together, shortly after each other, or somewhere in the time that a copy takes. */
	if (when >= 4)
		op->pause_us = below(s, when < 6 ? 2000 : 20000);
	op->mode = 0600 | below(s, 0200);
	op->record = (uint32_t)thread << 8 | s->nplan[thread];
	return op;
}

static uint8_t some_name(struct stress *s)
{
	uint32_t n = below(s, 100);

	return n < 50 ? 0 : n < 80 ? 1 : n < 91 ? 2 : 3;
}

static uint8_t other_name(struct stress *s, uint8_t name)
{
	uint8_t other = (uint8_t)below(s, SM_NAMES - 1);

	return other < name ? other : other + 1;
}

static void plan_open(struct stress *s, int thread, uint8_t name, uint32_t flags)
{
	plan_op(s, thread, SM_OPEN, name)->flags = flags;
	if (!(flags & SM_W)) {
		plan_op(s, thread, SM_READ, name);
		return;
	}
	plan_op(s, thread, SM_WRITE, name);
	if (!below(s, 3))
		plan_op(s, thread, SM_WRITE, name);
}

/* One thing that a thread does: one call, or some on one descriptor. */
static void plan_one(struct stress *s, int thread)
{
	uint8_t name = some_name(s);
	uint32_t n = below(s, 100);
	struct sm_op *op;

	if (n < 24) {
		plan_open(s, thread, name, below(s, 4) ? SM_W : SM_W | SM_CREAT);
	} else if (n < 28) {
		plan_open(s, thread, name, SM_W | SM_TRUNCATE);
	} else if (n < 30) {
		plan_open(s, thread, name, SM_W | SM_CREAT | SM_EXCL);
	} else if (n < 38) {
		op = plan_op(s, thread, SM_TRUNC, name);
		op->words = below(s, s->words[s->file[name & 1]] / SM_RECORD_WORDS) * SM_RECORD_WORDS;
		s->zeros = true;
	} else if (n < 52) {
		plan_op(s, thread, SM_CHMOD, name);
	} else if (n < 64) {
		plan_op(s, thread, SM_UNLINK, name);
	} else if (n < 74) {
		plan_op(s, thread, SM_RENAME, name)->name2 = other_name(s, name);
	} else if (n < 80) {
		plan_op(s, thread, SM_LINK, name)->name2 = other_name(s, name);
	} else if (n < 88) {
		plan_op(s, thread, SM_STAT, name);
	} else if (n < 97) {
		plan_open(s, thread, name, 0);
	} else {
		/* A descriptor that is held while others write. */
		plan_open(s, thread, name, 0);
		if (below(s, 2))
			plan_op(s, thread, SM_FCHMOD, name);
		plan_op(s, thread, SM_READ, name);
	}
}

static void plan_round(struct stress *s)
{
	s->rng = (s->seed + s->round) * 0x9e3779b97f4a7c15ull | 1;
	s->zeros = false;
	for (int t = 0; t < THREADS; t++) {
		uint32_t n = 1 + below(s, 2);

		s->nplan[t] = 0;
		while (n--)
			plan_one(s, t);
	}
}

/* the calls */

/* One record's words, as a run. False: nothing that could be there. */
static bool scan_words(const struct stress *s, const uint64_t *w, uint64_t at, struct sm_run *run)
{
	*run = (struct sm_run){ .type = SM_ZERO, .words = SM_RECORD_WORDS };
	if (w[0] >> 56 == 0xa5) {
		run->type = SM_WORDS;
		run->file = (w[0] >> 40 & 0xff) != s->file[0];
	} else if (w[0] >> 56 == 0x5a) {
		run->type = SM_REC;
		run->record = (uint16_t)(w[0] >> 24);
	} else if (!s->zeros) {
		return false;
	}
	for (unsigned int i = 0; i < SM_RECORD_WORDS; i++) {
		uint64_t want = 0;

		if (run->type == SM_WORDS)
			want = LOWER_WORD(s->file[run->file], at + i);
		else if (run->type == SM_REC)
			want = RECORD_WORD(s->round, run->record, i);
		if (w[i] != want)
			return false;
	}
	return true;
}

/* Reads all of fd. 0, or an errno: EUCLEAN for what cannot be. */
static int read_all(struct stress *s, int fd, int *ret_content)
{
	uint64_t *buf = malloc(CHUNK), at = 0;
	struct sm_content c = { 0 };
	int err = 0;

	for (;;) {
		ssize_t n = buf ? pread(fd, buf, CHUNK, (off_t)(at * 8)) : -1;
		struct sm_run run;

		if (n < 0)
			err = errno;
		if (n <= 0)
			break;
		if (n % SM_RECORD)
			err = EUCLEAN;
		for (uint32_t i = 0; i < (uint64_t)n / 8 && !err; i += SM_RECORD_WORDS) {
			if (scan_words(s, buf + i, at + i, &run)) {
				sm_push(&c, run);
				continue;
			}
			ktap_diag("round %u: at offset %llu: words %#llx %#llx ..", s->round, (unsigned long long)(at + i) * 8,
				  (unsigned long long)buf[i], (unsigned long long)buf[i + 1]);
			err = EUCLEAN;
		}
		if (err)
			break;
		at += (uint64_t)n / 8;
	}
	free(buf);
	pthread_mutex_lock(&s->lock);
	*ret_content = sm_intern(&s->m, &c);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int call_open(const char *path, const struct sm_op *op, int *fd)
{
	int flags = O_CLOEXEC | (op->flags & SM_W ? O_WRONLY | O_APPEND : O_RDONLY);

	flags |= (op->flags & SM_TRUNCATE ? O_TRUNC : 0) | (op->flags & SM_CREAT ? O_CREAT : 0) | (op->flags & SM_EXCL ? O_EXCL : 0);
	*fd = open(path, flags, op->mode);
	return *fd < 0 ? errno : 0;
}

static int call_write(const struct stress *s, const struct sm_op *op, int fd)
{
	uint64_t words[SM_RECORD_WORDS];
	ssize_t n;

	for (unsigned int i = 0; i < SM_RECORD_WORDS; i++)
		words[i] = RECORD_WORD(s->round, op->record, i);
	n = write(fd, words, sizeof(words));
	return n == sizeof(words) ? 0 : n < 0 ? errno : EUCLEAN;
}

static int call_stat(const char *path, struct sm_op *op)
{
	struct stat st;

	if (stat(path, &st))
		return errno;
	op->mode = st.st_mode & 07777;
	op->words = (uint32_t)(st.st_size / 8);
	return 0;
}

static int call(struct stress *s, struct sm_op *op, int *fd)
{
	const char *path = s->paths[op->name], *path2 = s->paths[op->name2];

	switch (op->kind) {
	case SM_OPEN:
		return call_open(path, op, fd);
	case SM_WRITE:
		return call_write(s, op, *fd);
	case SM_READ:
		return read_all(s, *fd, &op->content);
	case SM_FCHMOD:
		return fchmod(*fd, op->mode) ? errno : 0;
	case SM_TRUNC:
		return truncate(path, op->words * 8) ? errno : 0;
	case SM_CHMOD:
		return chmod(path, op->mode) ? errno : 0;
	case SM_UNLINK:
		return unlink(path) ? errno : 0;
	case SM_RENAME:
		return rename(path, path2) ? errno : 0;
	case SM_LINK:
		return link(path, path2) ? errno : 0;
	default:
		return call_stat(path, op);
	}
}

static void run_call(struct stress *s, int thread, struct sm_op *op, int *fd)
{
	bool on_fd = op->kind == SM_WRITE || op->kind == SM_READ || op->kind == SM_FCHMOD;

	if (on_fd && *fd < 0)
		return;
	if (op->kind == SM_OPEN && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	if (op->pause_us)
		usleep(op->pause_us);
	op->start = fx_now_ns();
	op->err = call(s, op, fd);
	op->end = fx_now_ns();
	s->m.ops[thread][s->m.nops[thread]++] = *op;
}

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
			s->quirks += op->err == EEXIST && op->kind != SM_LINK && !(op->flags & SM_EXCL);
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
	pthread_barrier_wait(&s->barrier);
	pthread_barrier_wait(&s->barrier);
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
	ktap_diag("%u rounds in %.0f s, %u calls, %u found no file, %u found it removed behind their look-up (EEXIST); search: %u steps at most, "
		  "%u rounds undecided",
		  s.round, (double)(fx_now_ns() - began) / 1e9, s.calls, s.gone, s.quirks, s.max_steps, s.undecided);
	KTAP_CHECK(s.undecided <= s.rounds / 50);
	KTAP_CHECK(fx_lower_unchanged(&s.fx));
	if (kernel)
		return;
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
	stress(true, (unsigned int)number_from("STRESS_ROUNDS", 1000) / 10 + 1);
}

KTAP_TEST_LIMIT(with_kunion, 1500)
{
	stress(false, (unsigned int)number_from("STRESS_ROUNDS", 1000));
}

KTAP_MAIN()
