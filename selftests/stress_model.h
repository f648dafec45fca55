/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a directory may look like after concurrent operations: is there an order of them, true to each thread's order and to the clock,
 * in which every one returns what was seen? The operations are not atomic in the kernel either, so each is up to three steps, which
 * others may come in between:
 *
 *	look up a name		open, truncate, chmod, stat, link: from here on it is about that file, whatever becomes of the name
 *	do it			under the locks; rename and unlink are this step only
 *	do it again		only O_TRUNC: the copy-up makes the file empty, and then it is truncated
 *
 * One quirk is the kernel's (KERNEL.md 12): a file of the lower layer that lost its last name between the two gives EEXIST.
 *
 * A file's content is a list of runs: words of the lower file, zeros, whole records. Every 8-byte word says what it is.
 */
#ifndef STRESS_MODEL_H
#define STRESS_MODEL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SM_NAMES 4 /* the first two are lower files at the start, the others are free */
#define SM_LOWER 2
#define SM_THREADS 7 /* the last looks at the outcome */
#define SM_OPS 16    /* of one thread */
#define SM_OBJS 24
#define SM_RUNS 48
#define SM_CONTENTS 4096
#define SM_RECORD_WORDS 8 /* sizes are multiples of it, so no record is ever cut or crosses a page */
#define SM_RECORD (SM_RECORD_WORDS * 8)
#define SM_STEPS_MAX 4000000u
#define SM_SEEN_BITS 20

enum sm_kind { SM_OPEN, SM_WRITE, SM_READ, SM_FCHMOD, SM_TRUNC, SM_CHMOD, SM_UNLINK, SM_RENAME, SM_LINK, SM_STAT, SM_KINDS };
enum sm_flag { SM_W = 1, SM_TRUNCATE = 2, SM_CREAT = 4, SM_EXCL = 8, SM_CHASE = 16 }; /* CHASE: the same to the model */

static const char *const sm_kind_names[SM_KINDS] = {
	"open", "append", "read", "fchmod", "truncate", "chmod", "unlink", "rename", "link", "stat",
};

enum sm_run_type { SM_WORDS, SM_ZERO, SM_REC };

struct sm_run {
	uint8_t type, file; /* WORDS: of which lower file */
	uint16_t record;
	uint32_t words; /* a lower file's words stay at their place */
};

struct sm_content {
	uint32_t nruns, words;
	struct sm_run runs[SM_RUNS];
};

/* A call, what it got, and when. */
struct sm_op {
	enum sm_kind kind;
	uint32_t flags;
	uint8_t name, name2;
	uint32_t mode, words, record; /* the argument, or what stat saw */
	int content;		      /* what read saw: an interned content */
	int err;
	uint32_t pause_us; /* before it */
	uint64_t start, end;
};

struct sm_obj {
	uint16_t content, mode;
	uint8_t links;
	bool lower, up, pad;
};

struct sm_thread {
	uint8_t at, step;
	int8_t bound, fd;
	bool changed; /* while reading */
};

struct sm_state {
	int8_t name[SM_NAMES];
	uint8_t nobjs;
	struct sm_obj objs[SM_OBJS];
	struct sm_thread threads[SM_THREADS];
};

struct sm {
	struct sm_state start;
	struct sm_op ops[SM_THREADS][SM_OPS];
	uint8_t nops[SM_THREADS];
	struct sm_content contents[SM_CONTENTS];
	int ncontents;
	uint32_t steps;
	uint64_t salt;
	uint64_t *seen; /* 1 << SM_SEEN_BITS */
};

enum sm_answer { SM_YES, SM_NO, SM_TOO_MANY };

/* contents */

static inline void sm_push(struct sm_content *c, struct sm_run run)
{
	struct sm_run *last = c->nruns ? &c->runs[c->nruns - 1] : NULL;

	if (!run.words)
		return;
	c->words += run.words;
	if (last && run.type != SM_REC && last->type == run.type && last->file == run.file)
		last->words += run.words;
	else if (c->nruns < SM_RUNS)
		c->runs[c->nruns++] = run;
}

/* The number of an equal content; -1: no room. */
static inline int sm_intern(struct sm *m, const struct sm_content *c)
{
	for (int i = 0; i < m->ncontents; i++)
		if (m->contents[i].nruns == c->nruns && m->contents[i].words == c->words &&
		    !memcmp(m->contents[i].runs, c->runs, c->nruns * sizeof(c->runs[0])))
			return i;
	if (m->ncontents == SM_CONTENTS)
		return -1;
	m->contents[m->ncontents] = *c;
	return m->ncontents++;
}

static inline int sm_lower(struct sm *m, uint8_t file, uint32_t words)
{
	struct sm_content c = { 0 };

	sm_push(&c, (struct sm_run){ .type = SM_WORDS, .file = file, .words = words });
	return sm_intern(m, &c);
}

static inline int sm_append(struct sm *m, int content, uint32_t record)
{
	struct sm_content c = m->contents[content];

	sm_push(&c, (struct sm_run){ .type = SM_REC, .record = (uint16_t)record, .words = SM_RECORD_WORDS });
	return sm_intern(m, &c);
}

static inline int sm_resize(struct sm *m, int content, uint32_t words)
{
	const struct sm_content *old = &m->contents[content];
	struct sm_content c = { 0 };

	for (uint32_t i = 0; i < old->nruns && c.words < words; i++) {
		struct sm_run run = old->runs[i];

		if (run.words > words - c.words)
			run.words = words - c.words;
		sm_push(&c, run);
	}
	if (c.words < words)
		sm_push(&c, (struct sm_run){ .type = SM_ZERO, .words = words - c.words });
	return sm_intern(m, &c);
}

/* start */

static inline void sm_reset(struct sm *m)
{
	memset(&m->start, 0, sizeof(m->start));
	memset(m->nops, 0, sizeof(m->nops));
	m->ncontents = 0;
	m->steps = 0;
	for (int i = 0; i < SM_NAMES; i++)
		m->start.name[i] = -1;
	for (int i = 0; i < SM_THREADS; i++)
		m->start.threads[i].bound = m->start.threads[i].fd = -1;
}

static inline void sm_add_lower(struct sm *m, uint8_t name, uint32_t words, uint32_t mode)
{
	struct sm_obj *o = &m->start.objs[m->start.nobjs];

	*o = (struct sm_obj){ .content = (uint16_t)sm_lower(m, name, words), .mode = (uint16_t)mode, .links = 1, .lower = true };
	m->start.name[name] = (int8_t)m->start.nobjs++;
}

/* steps: each returns whether the call can go on so */

static inline bool sm_change(struct sm_state *s, int obj, int content)
{
	if (content < 0)
		return false;
	s->objs[obj].content = (uint16_t)content;
	for (int i = 0; i < SM_THREADS; i++)
		if (s->threads[i].fd == obj && s->threads[i].step)
			s->threads[i].changed = true;
	return true;
}

static inline void sm_unname(struct sm_state *s, int name)
{
	s->objs[s->name[name]].links--;
	s->name[name] = -1;
}

static inline void sm_finish(struct sm_thread *t)
{
	t->at++;
	t->step = 0;
	t->bound = -1;
	t->changed = false;
}

static inline bool sm_create(struct sm *m, struct sm_state *s, struct sm_thread *t, const struct sm_op *op)
{
	struct sm_content empty = { 0 };
	int content = sm_intern(m, &empty), obj = s->nobjs;

	if (op->err || obj == SM_OBJS || content < 0)
		return false;
	s->nobjs++;
	s->objs[obj] = (struct sm_obj){ .content = (uint16_t)content, .mode = (uint16_t)op->mode, .links = 1, .up = true };
	s->name[op->name] = (int8_t)obj;
	t->fd = (int8_t)obj;
	sm_finish(t);
	return true;
}

/* The name is looked up. */
static inline bool sm_bind(struct sm *m, struct sm_state *s, struct sm_thread *t, const struct sm_op *op)
{
	int obj = s->name[op->name];

	if (op->kind == SM_OPEN && op->flags & SM_CREAT && obj < 0)
		return sm_create(m, s, t, op);
	if (obj < 0 || (op->kind == SM_OPEN && op->flags & SM_EXCL)) {
		sm_finish(t);
		return op->err == (obj < 0 ? ENOENT : EEXIST);
	}
	t->bound = (int8_t)obj;
	t->step = 1;
	if (op->kind == SM_OPEN && !(op->flags & SM_W)) {
		t->fd = (int8_t)obj;
		sm_finish(t);
		return !op->err;
	}
	return op->err != ENOENT || op->kind == SM_LINK;
}

/* What needs the file in the upper layer. */
static inline bool sm_copied(struct sm_obj *o, const struct sm_op *op)
{
	if (op->err == EEXIST)
		return o->lower && !o->up && !o->links;
	o->up = true;
	return !op->err;
}

static inline bool sm_do_link(struct sm_state *s, struct sm_thread *t, const struct sm_op *op)
{
	struct sm_obj *o = &s->objs[t->bound];

	if (s->name[op->name2] >= 0)
		return op->err == EEXIST;
	if (!o->links)
		return op->err == ENOENT || (op->err == EEXIST && o->lower && !o->up);
	s->name[op->name2] = t->bound;
	o->links++;
	o->up = true;
	return !op->err;
}

static inline bool sm_do_rename(struct sm_state *s, const struct sm_op *op)
{
	int obj = s->name[op->name];

	if (obj < 0)
		return op->err == ENOENT;
	if (op->err)
		return false;
	s->objs[obj].up = true;
	if (s->name[op->name2] == obj)
		return true; /* two names of one file: nothing happens */
	if (s->name[op->name2] >= 0)
		sm_unname(s, op->name2);
	s->name[op->name2] = (int8_t)obj;
	s->name[op->name] = -1;
	return true;
}

static inline bool sm_do_open(struct sm *m, struct sm_state *s, struct sm_thread *t, const struct sm_op *op)
{
	if (t->step == 1 && !sm_copied(&s->objs[t->bound], op))
		return false;
	if (op->err) {
		sm_finish(t);
		return true;
	}
	if (op->flags & SM_TRUNCATE && !sm_change(s, t->bound, sm_resize(m, s->objs[t->bound].content, 0)))
		return false;
	if (op->flags & SM_TRUNCATE && t->step == 1) {
		t->step = 2;
		return true;
	}
	t->fd = t->bound;
	sm_finish(t);
	return true;
}

static inline bool sm_do_read(struct sm_state *s, struct sm_thread *t, const struct sm_op *op)
{
	if (t->step == 0) {
		t->step = 1;
		return true;
	}
	/* Reading takes a while: seen while others write, each word was checked for itself. */
	if (op->err || (!t->changed && s->objs[t->fd].content != op->content))
		return false;
	sm_finish(t);
	return true;
}

static inline bool sm_do(struct sm *m, struct sm_state *s, struct sm_thread *t, const struct sm_op *op)
{
	bool ok = false;
	struct sm_obj *o = t->bound >= 0 ? &s->objs[t->bound] : NULL;

	switch (op->kind) {
	case SM_OPEN:
		return sm_do_open(m, s, t, op);
	case SM_READ:
		return sm_do_read(s, t, op);
	case SM_WRITE:
		ok = !op->err && sm_change(s, t->fd, sm_append(m, s->objs[t->fd].content, op->record));
		break;
	case SM_FCHMOD:
	case SM_CHMOD:
		o = op->kind == SM_FCHMOD ? &s->objs[t->fd] : o;
		ok = sm_copied(o, op);
		if (!op->err)
			o->mode = (uint16_t)op->mode;
		break;
	case SM_TRUNC:
		ok = sm_copied(o, op) && (op->err || sm_change(s, t->bound, sm_resize(m, o->content, op->words)));
		break;
	case SM_UNLINK:
		ok = op->err == (s->name[op->name] < 0 ? ENOENT : 0);
		if (!op->err && ok)
			sm_unname(s, op->name);
		break;
	case SM_RENAME:
		ok = sm_do_rename(s, op);
		break;
	case SM_LINK:
		ok = sm_do_link(s, t, op);
		break;
	default: /* stat */
		ok = !op->err && o->mode == op->mode && m->contents[o->content].words == op->words;
	}
	sm_finish(t);
	return ok;
}

static inline bool sm_by_name(enum sm_kind kind)
{
	return kind == SM_OPEN || kind == SM_TRUNC || kind == SM_CHMOD || kind == SM_LINK || kind == SM_STAT;
}

/* the search */

static inline uint64_t sm_hash(const struct sm *m, const struct sm_state *s)
{
	struct sm_state c = *s;
	const unsigned char *p = (const unsigned char *)&c;
	uint64_t h = m->salt;
	bool used[SM_OBJS] = { false };

	for (int i = 0; i < SM_NAMES; i++)
		if (s->name[i] >= 0)
			used[s->name[i]] = true;
	for (int i = 0; i < SM_THREADS; i++) {
		if (s->threads[i].at == m->nops[i])
			c.threads[i].fd = -1;
		else if (s->threads[i].fd >= 0)
			used[s->threads[i].fd] = true;
		if (s->threads[i].bound >= 0)
			used[s->threads[i].bound] = true;
	}
	for (int i = 0; i < SM_OBJS; i++)
		if (!used[i])
			memset(&c.objs[i], 0, sizeof(c.objs[i]));
	for (size_t i = 0; i < sizeof(c); i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h ^ h >> 31;
}

/* Forgets some: it only saves time. */
static inline bool sm_was_seen(struct sm *m, const struct sm_state *s)
{
	uint64_t h = sm_hash(m, s) | 1;
	uint64_t *slot = &m->seen[(h >> 8) & ((1u << SM_SEEN_BITS) - 8)];

	for (int i = 0; i < 8; i++)
		if (slot[i] == h)
			return true;
	slot[(h >> 1) & 7] = h;
	return false;
}

static inline enum sm_answer sm_search(struct sm *m, const struct sm_state *s)
{
	uint64_t first_end = UINT64_MAX;
	bool done[SM_THREADS] = { false };

	if (sm_was_seen(m, s))
		return SM_NO;
	for (int i = 0; i < SM_THREADS; i++)
		if (s->threads[i].at < m->nops[i] && m->ops[i][s->threads[i].at].end < first_end)
			first_end = m->ops[i][s->threads[i].at].end;
	if (first_end == UINT64_MAX)
		return SM_YES;
	/* Those that ended first are tried first. What began after another's end cannot be before it. */
	for (int n = 0; n < SM_THREADS; n++) {
		const struct sm_op *op = NULL;
		struct sm_state next = *s;
		enum sm_answer r;
		int best = -1;

		for (int i = 0; i < SM_THREADS; i++) {
			const struct sm_op *o = &m->ops[i][s->threads[i].at];

			if (!done[i] && s->threads[i].at < m->nops[i] && o->start <= first_end && (!op || o->end < op->end)) {
				op = o;
				best = i;
			}
		}
		if (!op)
			break;
		done[best] = true;
		if (++m->steps > SM_STEPS_MAX)
			return SM_TOO_MANY;
		if (sm_by_name(op->kind) && !next.threads[best].step) {
			if (!sm_bind(m, &next, &next.threads[best], op))
				continue;
		} else if (!sm_do(m, &next, &next.threads[best], op)) {
			continue;
		}
		r = sm_search(m, &next);
		if (r != SM_NO)
			return r;
	}
	return SM_NO;
}

static inline enum sm_answer sm_check(struct sm *m, uint64_t salt)
{
	m->salt = salt * 0x9e3779b97f4a7c15ull | 1;
	m->steps = 0;
	return sm_search(m, &m->start);
}

/* A call in words, without a newline. */
static inline void sm_describe(const struct sm_op *op, uint64_t since, char *buf, size_t size)
{
	static const char letters[] = "abcd";
	char args[64] = "", got[64] = "";

	if (op->kind == SM_RENAME || op->kind == SM_LINK)
		snprintf(args, sizeof(args), "%c to %c", letters[op->name], letters[op->name2]);
	else if (op->kind == SM_WRITE)
		snprintf(args, sizeof(args), "record %#x", op->record);
	else if (op->kind == SM_OPEN)
		snprintf(args, sizeof(args), "%c %s%s%s%s", letters[op->name], op->flags & SM_W ? "W" : "R",
			 op->flags & SM_TRUNCATE ? " TRUNC" : "", op->flags & SM_CREAT ? " CREAT" : "",
			 op->flags & SM_EXCL ? " EXCL" : "");
	else if (op->kind == SM_TRUNC)
		snprintf(args, sizeof(args), "%c to %u", letters[op->name], op->words * 8);
	else if (op->kind == SM_CHMOD)
		snprintf(args, sizeof(args), "%c %04o", letters[op->name], op->mode);
	else if (op->kind == SM_FCHMOD)
		snprintf(args, sizeof(args), "%04o", op->mode);
	else if (op->kind != SM_READ)
		snprintf(args, sizeof(args), "%c", letters[op->name]);
	if (op->kind == SM_STAT && !op->err)
		snprintf(got, sizeof(got), ": %u bytes, %04o", op->words * 8, op->mode);
	snprintf(buf, size, "%9.3f..%9.3f ms  %s %s%s%s%s", (double)(op->start - since) / 1e6, (double)(op->end - since) / 1e6,
		 sm_kind_names[op->kind], args, op->err ? " = " : "", op->err ? strerror(op->err) : "", got);
}

static inline void sm_describe_content(const struct sm *m, int content, char *buf, size_t size)
{
	size_t n = 0;

	snprintf(buf, size, "nothing");
	for (uint32_t i = 0; content >= 0 && i < m->contents[content].nruns && n < size; i++) {
		const struct sm_run *run = &m->contents[content].runs[i];

		if (run->type == SM_REC)
			n += (size_t)snprintf(buf + n, size - n, "[record %#x]", run->record);
		else
			n += (size_t)snprintf(buf + n, size - n, "[%u %s%.1s]", run->words * 8,
					      run->type == SM_ZERO ? "zeros" : "of ", run->type == SM_ZERO ? "" : "ab" + run->file);
	}
}

#endif
