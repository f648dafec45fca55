// SPDX-License-Identifier: GPL-2.0-only
/* A session: what is attached, its pending copies, and the loop that hears of them. Its end is in session_end.c. */
#include "session.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "btf.h"
#include "intents.h"
#include "log.h"
#include "util.h"

/* How long a finished slot waits for parked tasks to leave before it is recycled all the same (a killed one may never say so). */
#define KU_DRAIN_NS 2000000000ull

static uint64_t ku_pending_ref(const struct ku_pending *p)
{
	return KU_REF(p->slot, p->gen);
}

static struct ku_pending *ku_pending_of(struct ku_session *s, uint32_t slot, uint32_t gen)
{
	struct ku_pending *p;

	if (slot >= KU_SLOTS)
		return NULL;
	p = &s->pending[slot];
	return p->used && p->gen == gen ? p : NULL;
}

struct ku_attached *ku_session_union(struct ku_session *s, uint32_t id)
{
	return id < s->nunions && !s->unions[id].gone ? &s->unions[id] : NULL;
}

/* workers */

static void *ku_worker(void *arg)
{
	struct ku_session *s = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct ku_pending *p;

		while (!s->queue && !s->stopping)
			pthread_cond_wait(&s->work, &s->lock);
		p = s->queue;
		if (!p)
			break;
		s->queue = p->next;
		if (!s->queue)
			s->queue_tail = &s->queue;
		pthread_mutex_unlock(&s->lock);

		ku_worker_copy(s, p);

		pthread_mutex_lock(&s->lock);
		p->next = s->done;
		s->done = p;
		if (write(s->done_fd, &one, sizeof(one)) != sizeof(one))
			ku_warn("eventfd: %s", strerror(errno)); /* the next turn finds it */
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void ku_queue(struct ku_session *s, struct ku_pending *p)
{
	pthread_mutex_lock(&s->lock);
	p->next = NULL;
	*s->queue_tail = p;
	s->queue_tail = &p->next;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

int ku_session_submit(struct ku_session *s, uint32_t id, const char *path, void *cookie)
{
	struct ku_request *req;
	struct ku_pending *p;
	struct ku_slot *slot;
	uint32_t idx, gen;
	char *copy;

	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	if (ku_bpf_slot_take(&s->bpf, &idx)) {
		free(copy);
		return -EAGAIN;
	}
	slot = &s->bpf.slots[idx];
	req = &s->bpf.requests[idx];
	gen = KU_WORD_GEN(ku_slot_word(slot));
	memset(req, 0, sizeof(*req));
	req->ts_ns = ku_now_ns();
	req->union_id = id;
	req->op = KU_OP_OPEN;
	req->nr = -1;
	req->who.pid = req->who.tid = (uint32_t)getpid();
	req->who.cap_resource = 1;
	snprintf(req->who.comm, sizeof(req->who.comm), "kunion");
	/* The word last: from then on the slot is live. */
	memset(&slot->parked, 0, sizeof(*slot) - offsetof(struct ku_slot, parked));
	__atomic_store_n(&slot->word, KU_WORD(gen, 0, KU_S_REQUESTED), __ATOMIC_SEQ_CST);

	p = &s->pending[idx];
	memset(p, 0, sizeof(*p));
	p->used = p->own = true;
	p->slot = idx;
	p->gen = gen;
	p->at = &s->unions[id];
	p->path = copy;
	p->cookie = cookie;
	p->id = req->ts_ns << 8 | 0xff;
	ku_queue(s, p);
	return 0;
}

/* records */

static void ku_on_request(struct ku_session *s, const struct ku_record_slot *r)
{
	struct ku_pending *p = &s->pending[r->slot];

	memset(p, 0, sizeof(*p));
	p->used = true;
	p->slot = r->slot;
	p->gen = r->gen;
	p->at = &s->unions[r->union_id];
	p->id = r->ts_ns << 8 | 0xff; /* unlike the observer's, which have a CPU there */
	/* No copy begins on a union that is being let go. */
	if (p->at->dropping || p->at->gone)
		ku_slot_move(&s->bpf.slots[r->slot], r->gen, KU_S_REQUESTED, KU_S_LOST, 0);
	ku_queue(s, p);
}

static void ku_on_join(struct ku_session *s, const struct ku_record_slot *r)
{
	struct ku_pending *p = ku_pending_of(s, r->slot, r->gen);
	struct ku_waiter *w;

	if (!p)
		return;
	w = calloc(1, sizeof(*w));
	if (!w)
		return;
	w->who = r->who;
	w->op = r->op;
	w->nr = r->nr;
	w->compat = r->compat;
	w->on_commit = r->state == KU_S_COMMITTING || r->state == KU_S_RENAMING;
	w->start_ns = r->ts_ns;
	w->next = p->waiters;
	p->waiters = w;
}

static struct ku_waiter *ku_waiter_of(struct ku_pending *p, uint32_t tid)
{
	struct ku_waiter *w = p ? p->waiters : NULL;

	while (w && w->who.tid != tid)
		w = w->next;
	return w;
}

static void ku_on_leave(struct ku_session *s, const struct ku_record_slot *r)
{
	struct ku_waiter *w = ku_waiter_of(ku_pending_of(s, r->slot, r->gen), r->who.tid);

	if (r->err == ETIME)
		s->totals.timeouts++;
	if (!w)
		return;
	w->end_ns = r->ts_ns;
	w->result = r->err == ETIME ? "timeout" : "failed";
}

void ku_session_gone(struct ku_session *s, uint32_t id)
{
	struct ku_attached *at = ku_session_union(s, id);

	if (!at)
		return;
	at->gone = true;
	at->gone_ns = ku_now_ns();
	s->nalive--;
	s->nspent += at->intents != NULL;
	if (at->u.lock_fd >= 0)
		ku_union_unlock(&at->u);
	/* The number will be another superblock's, which a policy read again must not meet. */
	if (s->judge && s->opts.room) {
		ku_judge_turn(s->judge, true);
		ku_judge_union_remove(s->judge, ku_kernel_dev(at->u.dev));
	}
	if (!at->dropping)
		ku_info("%s: unmounted, no longer attached", at->u.path);
}

static int ku_on_record(void *arg, void *data, size_t size)
{
	struct ku_session *s = arg;
	const struct ku_record_slot *r = data;
	struct ku_pending *p;

	if (size < sizeof(struct ku_record_gone) || r->union_id >= s->nunions)
		return 0;
	switch (r->type) {
	case KU_R_REQUEST:
		ku_on_request(s, r);
		break;
	case KU_R_JOIN:
		ku_on_join(s, r);
		break;
	case KU_R_LEAVE:
		ku_on_leave(s, r);
		break;
	case KU_R_LOST:
		p = ku_pending_of(s, r->slot, r->gen);
		if (p)
			ku_gate_release(s->gate, ku_pending_ref(p));
		break;
	case KU_R_GONE:
		ku_session_gone(s, r->union_id);
		break;
	}
	return 0;
}

/* the gate */

static bool ku_gate_asked(void *arg, uint32_t tid, uint64_t *ret_ref)
{
	struct ku_session *s = arg;
	uint64_t ref = ku_bpf_wait_ref(&s->bpf, tid);
	struct ku_waiter *w;
	__u64 word;

	s->totals.asked++;
	if (!ref || KU_REF_SLOT(ref) >= KU_SLOTS)
		return false;
	/* Back after a signal's handler, be it only to hear that the copy is done. */
	w = ku_waiter_of(ku_pending_of(s, KU_REF_SLOT(ref), KU_REF_GEN(ref)), tid);
	if (w)
		w->end_ns = 0;
	word = ku_slot_word(&s->bpf.slots[KU_REF_SLOT(ref)]);
	if (KU_WORD_GEN(word) != KU_REF_GEN(ref) || !KU_STATE_PENDING(KU_WORD_STATE(word)))
		return false;
	*ret_ref = ref;
	return true;
}

static void ku_gate_interrupted(void *arg, uint32_t tid, uint64_t ref)
{
	struct ku_session *s = arg;
	struct ku_waiter *w = ku_waiter_of(ku_pending_of(s, KU_REF_SLOT(ref), KU_REF_GEN(ref)), tid);

	if (w) {
		w->end_ns = ku_now_ns();
		w->result = "signal";
	}
}

static int ku_gate_child_setup(void *arg)
{
	struct ku_session *s = arg;

	return ku_bpf_register(&s->bpf, true);
}

/* the loop */

static void ku_take_done(struct ku_session *s)
{
	struct ku_pending *done;
	uint64_t n;

	if (read(s->done_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		ku_warn("eventfd: %s", strerror(errno));
	pthread_mutex_lock(&s->lock);
	done = s->done;
	s->done = NULL;
	pthread_mutex_unlock(&s->lock);
	while (done) {
		struct ku_pending *p = done;

		done = p->next;
		if (s->gate)
			ku_gate_release(s->gate, ku_pending_ref(p));
		p->finished = true;
		p->finished_ns = ku_now_ns();
		p->next = s->draining;
		s->draining = p;
	}
}

static void ku_recycle(struct ku_session *s, struct ku_pending *p)
{
	ku_report_copy(s, p);
	if (p->own && s->opts.own_done)
		s->opts.own_done(s->opts.own_arg, p->cookie, p->own_result, p->own_by_kernel);
	while (p->waiters) {
		struct ku_waiter *w = p->waiters;

		p->waiters = w->next;
		free(w);
	}
	free(p->path);
	p->path = NULL;
	p->used = false;
	ku_bpf_slot_free(&s->bpf, p->slot);
}

bool ku_session_drain(struct ku_session *s, bool all)
{
	struct ku_pending **at = &s->draining, *p;
	uint64_t now = ku_now_ns();

	while ((p = *at)) {
		if (!all && __atomic_load_n(&s->bpf.slots[p->slot].parked, __ATOMIC_SEQ_CST) &&
		    now - p->finished_ns < KU_DRAIN_NS) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		ku_recycle(s, p);
	}
	return s->draining != NULL;
}

static void ku_tell_dropped(struct ku_session *s)
{
	uint64_t n = s->bpf.shared ? __atomic_load_n(&s->bpf.shared->dropped_records, __ATOMIC_RELAXED) : 0;
	struct ku_event e = { .type = KU_EV_DROPPED, .union_path = "", .path = "" };

	if (n <= s->dropped_told)
		return;
	e.ts_ns = ku_utc_ns(ku_now_ns());
	e.dropped.count = e.dropped.waits = n - s->dropped_told; /* JOIN, LEAVE, LOST: a waiter's story */
	s->dropped_told = n;
	ku_session_emit(s, &e);
}

int ku_session_turn(struct ku_session *s)
{
	struct epoll_event ev[8];
	int n, err, next = -1;

	n = epoll_wait(s->epoll_fd, ev, 8, 0);
	for (int i = 0; i < n; i++) {
		if (!s->gate || ev[i].data.fd != ku_gate_fd(s->gate))
			continue;
		err = ku_gate_process(s->gate);
		if (err)
			return err;
	}
	ku_take_done(s);
	/* Before what is done is told: what the rings have belongs to it. */
	if (s->bpf.ring)
		ring_buffer__consume(s->bpf.ring);
	if (s->observer) {
		n = ku_observer_turn(s->observer, s->stopping);
		if (n >= 0 && (next < 0 || n < next))
			next = n;
	}
	if (s->judge) {
		n = ku_judge_turn(s->judge, s->stopping);
		if (n >= 0 && (next < 0 || n < next))
			next = n;
	}
	if (ku_session_drain(s, false) && (next < 0 || next > 5))
		next = 5;
	if (s->ndropping || s->nspent) {
		ku_session_drops(s);
		next = (s->ndropping || s->nspent) && (next < 0 || next > 5) ? 5 : next;
	}
	if (s->gate) {
		int slice = ku_gate_slices(s->gate);
		uint64_t now = ku_now_ns();

		if (now - s->child_seen_ns > 1000000000ull) {
			s->child_seen_ns = now;
			ku_gate_check_child(s->gate);
		}

		if (slice >= 0 && (next < 0 || slice < next))
			next = slice;
	}
	ku_tell_dropped(s);
	return next;
}

unsigned int ku_session_nunions(const struct ku_session *s)
{
	return s->opts.all && s->observer ? ku_observer_unions(s->observer) : s->nalive;
}

int ku_session_fd(const struct ku_session *s)
{
	return s->epoll_fd;
}

/* start and end */

int ku_session_watch(struct ku_session *s, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int ku_start_workers(struct ku_session *s)
{
	for (; s->nworkers < KU_WORKERS; s->nworkers++) {
		int err = pthread_create(&s->workers[s->nworkers], NULL, ku_worker, s);

		if (err)
			return -err;
	}
	return 0;
}

static bool ku_session_bpf(struct ku_session *s, char err[static 512])
{
	static const char *const modes[] = { [KU_MODE_GUARD] = "guard", [KU_MODE_MANAGE] = "manage" };
	bool guard = s->opts.mode == KU_MODE_GUARD;
	int n;

	n = ku_bpf_load(&s->bpf, KU_TIER_PARK, s->opts.max_wait_ns, ku_on_record, s);
	if (n && n != -EOPNOTSUPP) {
		snprintf(err, 512, "cannot load BPF: %s: %s; see 'kunion doctor'", s->bpf.why[0] ? s->bpf.why : "setting it up",
			 strerror(-n));
		return false;
	}
	if (n || s->bpf.tier < (guard ? KU_TIER_PARK : KU_TIER_WAIT_OPEN)) {
		snprintf(err, 512, "mode %s does not work on this kernel: %s; use -m observe, see 'kunion doctor'", modes[s->opts.mode],
			 s->bpf.why);
		return false;
	}
	/* The gate's requests name threads as seen from here, BPF as from the initial namespace: nobody would ever sleep, only spin. */
	if (s->bpf.shared->self_tgid != (uint32_t)getpid()) {
		snprintf(err, 512, "mode %s works in the initial pid namespace only: run it there (containers: the host's), or use -m observe",
			 modes[s->opts.mode]);
		return false;
	}
	return true;
}

static bool ku_session_gate(struct ku_session *s, char err[static 512])
{
	struct ku_gate_ops ops = { .asked = ku_gate_asked, .interrupted = ku_gate_interrupted, .child_setup = ku_gate_child_setup, .arg = s };
	const char *what;
	int n;

	n = ku_gate_open(&ops, &s->gate, &what);
	if (n) {
		snprintf(err, 512, "cannot %s: %s", what, strerror(-n));
		return false;
	}
	s->bpf.shared->gate_dev = ku_gate_dev(s->gate);
	return true;
}

struct ku_session *ku_session_start(const struct ku_session_opts *opts, char *const *paths, unsigned int npaths, char err[static 512])
{
	struct ku_session *s = calloc(1, sizeof(*s));
	bool gated = opts->mode != KU_MODE_OBSERVE;
	int n;

	if (!s) {
		snprintf(err, 512, "out of memory");
		return NULL;
	}
	s->opts = *opts;
	s->queue_tail = &s->queue;
	s->done_fd = s->epoll_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);

	if (opts->all)
		s->nalive = 1; /* there may always come another */
	if ((!opts->all || opts->room) && !ku_attach_look(s, paths, npaths, err))
		goto fail;
	n = opts->events ? ku_events_open(opts->events, &s->events) : 0;
	if (n) {
		snprintf(err, 512, "%s: cannot write events there: %s", opts->events, strerror(-n));
		goto fail;
	}
	if (gated && (!ku_session_bpf(s, err) || (opts->mode == KU_MODE_MANAGE && !ku_attach_recover(s, err)) || !ku_session_gate(s, err)))
		goto fail;
	s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	n = s->done_fd < 0 || s->epoll_fd < 0 ? -errno : ku_session_watch(s, s->done_fd);
	if (!n && gated)
		n = ku_session_watch(s, ring_buffer__epoll_fd(s->bpf.ring));
	if (!n && s->gate)
		n = ku_session_watch(s, ku_gate_fd(s->gate));
	if (!n && gated)
		n = ku_start_workers(s);
	if (n) {
		snprintf(err, 512, "cannot start: %s", strerror(-n));
		goto fail;
	}
	if (!gated)
		s->bpf.tier = KU_TIER_OBSERVE;
	if (!ku_session_policy(s, err) || !ku_session_observe(s, err))
		goto fail;
	ku_btf_drop();
	n = gated ? ku_bpf_attach(&s->bpf) : 0;
	if (n) {
		snprintf(err, 512, "%s", s->bpf.why);
		goto fail;
	}
	if (!ku_session_policy_on(s, err) || !ku_attach_all(s, err) || !ku_session_policy_pin(s, err))
		goto fail;
	s->attached = true;
	return s;
fail:
	ku_btf_drop();
	ku_session_end(s);
	return NULL;
}
