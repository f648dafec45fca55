/* SPDX-License-Identifier: GPL-2.0-only */
/* test_stress: its plan of random calls, making them, and reading what is there. */
#ifndef STRESS_CALLS_H
#define STRESS_CALLS_H

#include "fx_fixture.h"

#include <fcntl.h>
#include <pthread.h>

#include "stress_model.h"

#define FILES 64
#define DIRS 4
#define UNIONS 16 /* attached together: as many as fx_attach() takes */
#define ROUNDS_EACH (FILES / SM_LOWER)
#define THREADS (SM_THREADS - 1)
#define CHUNK (256u << 10)
#define CHASE_NS 30000000ull

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
	unsigned int calls, gone, quirks, quirks_fd; /* EEXIST for a file that is gone: by its name, by a descriptor */
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
	} else if (n < 86) {
		plan_op(s, thread, SM_STAT, name);
	} else if (n < 94) {
		plan_open(s, thread, name, 0);
	} else {
		/* A descriptor that is held while others write. */
		plan_open(s, thread, name, n < 97 ? SM_CHASE : 0);
		if (!below(s, 4))
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

/* Again and again, to have one open from just when another file comes in its place. Only the last one counts. */
static int call_chase(const char *path, struct sm_op *op, int *fd)
{
	uint64_t until = op->start + CHASE_NS;
	struct stat st, now;

	for (;;) {
		op->start = fx_now_ns();
		*fd = open(path, O_RDONLY | O_CLOEXEC);
		if (*fd < 0)
			return errno;
		if (op->start > until || fstat(*fd, &st) || stat(path, &now) || st.st_ino != now.st_ino)
			return 0;
		close(*fd);
	}
}

static int call_open(const char *path, struct sm_op *op, int *fd)
{
	int flags = O_CLOEXEC | (op->flags & SM_W ? O_WRONLY | O_APPEND : O_RDONLY);

	if (op->flags & SM_CHASE)
		return call_chase(path, op, fd);
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

#endif
