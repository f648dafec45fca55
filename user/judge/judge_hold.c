// SPDX-License-Identifier: GPL-2.0-only
#include "judge_hold.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "bpf.h"
#include "btf.h"
#include "event.h"
#include "gate.h"
#include "judge_program.h"
#include "log.h"
#include "union.h"
#include "util.h"

/* An answer that was not fetched in this time never will be: its task is gone. */
#define KU_HOLD_FETCH_NS 60000000000ull
#define KU_HOLD_NUMBERS 1000000
#define KU_HOLD_LOOK_NS 1000000000ull

struct ku_question {
	struct ku_question *next;
	uint64_t id, number, until_ns;
	uint32_t tid, pid;
	uint32_t rule_err, otherwise; /* positive; otherwise 0: let pass */
	bool answered; /* then until_ns is when the answer is thrown away */
	bool signalled;
	bool programmed; /* the program was asked */
	char *line; /* of its event */
};

struct ku_judge_hold {
	struct ku_pol_shared *shared;
	struct ku_gate *gate;
	struct ku_question *questions, **tail; /* the oldest first */
	struct ku_programs *programs; /* NULL: none answers */
	int epoll_fd;
	uint64_t looked_ns, numbers;
	char path[108]; /* sun_path's size */
	char reply[KU_HOLD_REPLY];
	int fd, fd_waits, fd_answers, fd_register;
};

bool ku_judge_hold_works(void)
{
	static const char *const needs[] = { "bpf_task_from_pid", "bpf_get_task_exe_file", "bpf_get_file_xattr" };
	const struct btf *btf = ku_btf_vmlinux();

	for (size_t i = 0; btf && i < KU_ARRAY_SIZE(needs); i++)
		if (btf__find_by_name_kind(btf, needs[i], BTF_KIND_FUNC) <= 0)
			return false;
	return btf && (btf__find_by_name_kind(btf, "bpf_task_work_schedule_signal", BTF_KIND_FUNC) > 0 ||
		       btf__find_by_name_kind(btf, "bpf_task_work_schedule_signal_impl", BTF_KIND_FUNC) > 0);
}

/* the gate */

/* What thread tid waits for; 0: nothing. */
static uint64_t ku_hold_of(const struct ku_judge_hold *h, uint32_t tid)
{
	/* struct ku_pol_wait of the BPF side */
	struct {
		__u64 tw, id;
	} wait = { 0 };
	__u32 other = tid | 0x80000000u;

	if (bpf_map_lookup_elem(h->fd_waits, &tid, &wait) && bpf_map_lookup_elem(h->fd_waits, &other, &wait))
		return 0;
	return wait.id;
}

static bool ku_hold_gate_asked(void *arg, uint32_t tid, uint64_t *ret_ref)
{
	struct ku_judge_hold *h = arg;
	uint64_t id = ku_hold_of(h, tid);
	uint32_t answer;

	if (!id || h->shared->holding != KU_HOLDING || !bpf_map_lookup_elem(h->fd_answers, &id, &answer))
		return false;
	*ret_ref = id;
	return true;
}

static void ku_hold_gate_interrupted(void *arg, uint32_t tid, uint64_t ref)
{
	struct ku_judge_hold *h = arg;

	(void)tid;
	for (struct ku_question *q = h->questions; q; q = q->next)
		if (q->id == ref)
			q->signalled = true;
}

static int ku_hold_gate_child(void *arg)
{
	const struct ku_judge_hold *h = arg;
	LIBBPF_OPTS(bpf_test_run_opts, run);

	return bpf_prog_test_run_opts(h->fd_register, &run) ? -errno : 0;
}

static int ku_hold_gate(struct ku_judge_hold *h, char err[static 512])
{
	struct ku_gate_ops ops = {
		.asked = ku_hold_gate_asked, .interrupted = ku_hold_gate_interrupted, .child_setup = ku_hold_gate_child, .arg = h
	};
	const char *what;
	int n;

	/* As with the modes: its requests name threads as seen from here, BPF as from the initial namespace. */
	if (h->shared->self_tgid != (uint32_t)getpid()) {
		snprintf(err, 512, "verdict 'hold' works in the initial pid namespace only: run kunion there (containers: the host's), or use 'deny'");
		return -EOPNOTSUPP;
	}
	n = ku_gate_open(&ops, &h->gate, &what);
	if (n) {
		snprintf(err, 512, "verdict 'hold': cannot %s: %s", what, strerror(-n));
		return n;
	}
	h->shared->gate_dev = ku_gate_dev(h->gate);
	return 0;
}

/* the socket */

static int ku_hold_socket(struct ku_judge_hold *h, char err[static 512])
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *dir = "";
	_cleanup_close_ int dir_fd = ku_run_dir(&dir);
	int n = dir_fd < 0 ? dir_fd : 0;

	if (!n && (size_t)snprintf(h->path, sizeof(h->path), "%s/" KU_HOLD_SOCKET ".%d", dir, (int)getpid()) >= sizeof(h->path))
		n = -ENAMETOOLONG;
	if (!n) {
		memcpy(addr.sun_path, h->path, sizeof(addr.sun_path));
		/* Of an earlier process of this number. */
		unlink(h->path);
		h->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (h->fd < 0 || bind(h->fd, (struct sockaddr *)&addr, sizeof(addr)))
			n = -errno;
	}
	if (n) {
		h->path[0] = '\0';
		snprintf(err, 512, "%s: cannot make the socket there that answers come to: %s", dir, strerror(-n));
	}
	return n;
}

static int ku_hold_answer(struct ku_judge_hold *h, struct ku_question *q, uint32_t err)
{
	uint32_t answer = KU_POL_ANSWER(err);

	if (bpf_map_update_elem(h->fd_answers, &q->id, &answer, BPF_ANY))
		return -errno;
	q->answered = true;
	q->until_ns = ku_now_ns() + KU_HOLD_FETCH_NS;
	ku_gate_release(h->gate, q->id);
	if (h->programs)
		ku_programs_over(h->programs, q->number);
	return 0;
}

static const char *ku_hold_next(struct ku_judge_hold *h, uint64_t above)
{
	const struct ku_question *found = NULL;
	uint64_t now = ku_now_ns();

	for (const struct ku_question *q = h->questions; q; q = q->next)
		if (!q->answered && q->number > above && (!found || q->number < found->number))
			found = q;
	if (!found)
		return KU_HOLD_NONE;
	if ((size_t)snprintf(h->reply, sizeof(h->reply), "%" PRIu64 " %s", found->until_ns > now ? (found->until_ns - now) / 1000000 : 0, found->line) >=
	    sizeof(h->reply))
		return "too long";
	return h->reply;
}

static const char *ku_hold_message(struct ku_judge_hold *h, const char *text)
{
	char verdict[8] = "";
	unsigned int code = 0;
	uint64_t number = 0;
	int n = sscanf(text, "next %" SCNu64, &number);
	bool allow;

	if (n == 1)
		return ku_hold_next(h, number);
	n = sscanf(text, "%" SCNu64 " %7s %u", &number, verdict, &code);
	allow = n == 2 && !strcmp(verdict, "allow");
	if (!allow && (n != 3 || strcmp(verdict, "deny") || code > 4095))
		return "not understood";
	for (struct ku_question *q = h->questions; q; q = q->next)
		if (q->number == number && !q->answered)
			return ku_hold_answer(h, q, allow ? 0 : code ?: q->rule_err) ? "no memory" : KU_HOLD_OK;
	return KU_HOLD_NONE;
}

static void ku_hold_receive(struct ku_judge_hold *h)
{
	struct sockaddr_un from;
	socklen_t size = sizeof(from);
	char text[128];
	ssize_t n;

	while ((n = recvfrom(h->fd, text, sizeof(text) - 1, 0, (struct sockaddr *)&from, &size)) >= 0) {
		const char *reply;

		text[n] = '\0';
		reply = ku_hold_message(h, text);
		/* Who does not wait for it has gone. */
		if (size > sizeof(sa_family_t) && sendto(h->fd, reply, strlen(reply), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&from, size) < 0)
			ku_debug("answer: %s", strerror(errno));
		size = sizeof(from);
	}
}

/* the questions */

void ku_judge_hold_asked(struct ku_judge_hold *h, const struct ku_pol_record *r, struct ku_event *e)
{
	struct ku_question *q = calloc(1, sizeof(*q));

	if (q) {
		/* Another kunion's are others; and JSON's readers have 53 bits. */
		q->number = e->hold.id = (uint64_t)getpid() * KU_HOLD_NUMBERS + h->numbers++ % KU_HOLD_NUMBERS;
		q->line = ku_event_json(e);
	}
	/* Then it ends at its limit, by BPF's own clock. */
	if (!q || !q->line) {
		free(q);
		e->hold.id = 0;
		return;
	}
	q->id = r->id;
	q->tid = r->who.tid;
	q->pid = r->who.pid;
	q->otherwise = r->err;
	q->rule_err = r->rule_err;
	q->until_ns = r->ts_ns + r->limit * 1000000000ull;
	*h->tail = q;
	h->tail = &q->next;
}

/* The question at *at is over. */
static void ku_hold_drop(struct ku_judge_hold *h, struct ku_question **at)
{
	struct ku_question *q = *at;

	*at = q->next;
	if (!*at)
		h->tail = at;
	if (h->programs)
		ku_programs_over(h->programs, q->number);
	free(q->line);
	free(q);
}

/* the program that answers */

static void ku_hold_said(void *arg, uint64_t number, enum ku_program_says says)
{
	struct ku_judge_hold *h = arg;

	for (struct ku_question *q = h->questions; q; q = q->next)
		if (q->number == number && !q->answered) {
			uint32_t err = says == KU_SAYS_ALLOW ? 0 : says == KU_SAYS_DENY ? q->rule_err : q->otherwise;

			if (ku_hold_answer(h, q, err))
				ku_warn("question %" PRIu64 ": no memory for its answer; it ends at its limit", number);
			return;
		}
}

static void ku_hold_programs(struct ku_judge_hold *h)
{
	ku_programs_turn(h->programs, ku_hold_said, h);
	for (struct ku_question *q = h->questions; q && ku_programs_room(h->programs); q = q->next) {
		int n;

		if (q->answered || q->programmed)
			continue;
		q->programmed = true;
		n = ku_programs_start(h->programs, q->number, q->line);
		if (n)
			ku_warn("question %" PRIu64 ": its program cannot be started: %s; somebody else may answer until its limit", q->number, strerror(-n));
	}
}

int ku_judge_hold_program(struct ku_judge_hold *h, const char *file, char err[static 512])
{
	int n;

	if (!h->programs)
		return file ? ku_programs_open(file, h->epoll_fd, &h->programs, err) : 0;
	n = ku_programs_file(h->programs, file, err);
	for (struct ku_question *q = h->questions; q && !n; q = q->next) {
		ku_programs_over(h->programs, q->number);
		q->programmed = false;
	}
	return n;
}

static bool ku_hold_gone(const struct ku_question *q)
{
	return syscall(SYS_tgkill, q->pid, q->tid, 0) && errno == ESRCH;
}

/* True: it is over. */
static bool ku_hold_due(struct ku_judge_hold *h, struct ku_question *q, uint64_t now, bool look)
{
	if (q->answered && now >= q->until_ns) {
		bpf_map_delete_elem(h->fd_answers, &q->id);
		return true;
	}
	if (q->answered)
		return false;
	if (q->signalled && look && ku_hold_gone(q))
		return true;
	/* No room for the answer: BPF ends it at its limit by itself, if answers that were not fetched do not make room before. */
	if (now >= q->until_ns && ku_hold_answer(h, q, q->otherwise))
		q->until_ns = now + KU_HOLD_LOOK_NS;
	return false;
}

int ku_judge_hold_turn(struct ku_judge_hold *h)
{
	struct ku_question **at = &h->questions, *q;
	uint64_t now = ku_now_ns(), next = UINT64_MAX;
	bool look = now - h->looked_ns >= KU_HOLD_LOOK_NS;
	struct pollfd gate = { .fd = ku_gate_fd(h->gate), .events = POLLIN };
	int slice;

	/* Reading it blocks. */
	while (poll(&gate, 1, 0) > 0 && (gate.revents & POLLIN) && !ku_gate_process(h->gate))
		;
	ku_hold_receive(h);
	if (look) {
		h->looked_ns = now;
		ku_gate_check_child(h->gate);
	}
	if (h->programs)
		ku_hold_programs(h);
	while ((q = *at)) {
		if (ku_hold_due(h, q, now, look)) {
			ku_hold_drop(h, at);
			continue;
		}
		next = q->until_ns < next ? q->until_ns : next;
		at = &q->next;
	}
	slice = ku_gate_slices(h->gate);
	if (next != UINT64_MAX) {
		int ms = next > now ? (int)((next - now) / 1000000) + 1 : 0;

		/* Also to look who is gone. */
		ms = ms > 1000 ? 1000 : ms;
		slice = slice < 0 || ms < slice ? ms : slice;
	}
	return slice;
}

static void ku_hold_forget(struct ku_judge_hold *h)
{
	while (h->questions) {
		if (h->questions->answered)
			bpf_map_delete_elem(h->fd_answers, &h->questions->id);
		ku_hold_drop(h, &h->questions);
	}
}

/* its life */

static int ku_hold_poll(int epoll_fd, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

int ku_judge_hold_open(struct bpf_object *obj, struct ku_pol_shared *shared, int epoll_fd, struct ku_judge_hold **ret, char err[static 512])
{
	struct ku_judge_hold *h = calloc(1, sizeof(*h));
	int n;

	if (!h) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	h->shared = shared;
	h->epoll_fd = epoll_fd;
	h->tail = &h->questions;
	h->fd = -1;
	h->fd_waits = bpf_map__fd(bpf_object__find_map_by_name(obj, "ku_pol_waits"));
	h->fd_answers = bpf_map__fd(bpf_object__find_map_by_name(obj, "ku_pol_answers"));
	h->fd_register = bpf_program__fd(bpf_object__find_program_by_name(obj, "ku_pol_register_gate"));
	n = ku_hold_socket(h, err);
	if (!n)
		n = ku_hold_gate(h, err);
	if (!n) {
		n = ku_hold_poll(epoll_fd, h->fd);
		if (!n)
			n = ku_hold_poll(epoll_fd, ku_gate_fd(h->gate));
		if (n)
			snprintf(err, 512, "cannot start: %s", strerror(-n));
	}
	if (n) {
		ku_judge_hold_close(h);
		return n;
	}
	*ret = h;
	return 0;
}

void ku_judge_hold_begin(struct ku_judge_hold *h)
{
	__atomic_store_n(&h->shared->holding, KU_HOLDING, __ATOMIC_SEQ_CST);
}

void ku_judge_hold_let_go(struct ku_judge_hold *h)
{
	ku_hold_forget(h);
	ku_gate_release_all(h->gate);
}

void ku_judge_hold_end(struct ku_judge_hold *h)
{
	__atomic_store_n(&h->shared->holding, h->shared->pinned ? KU_HOLDING_NOT : KU_HOLDING_OVER, __ATOMIC_SEQ_CST);
	ku_judge_hold_let_go(h);
}

void ku_judge_hold_close(struct ku_judge_hold *h)
{
	if (!h)
		return;
	if (h->gate)
		ku_judge_hold_end(h);
	ku_gate_close(h->gate);
	if (h->path[0])
		unlink(h->path);
	ku_closep(&h->fd);
	ku_hold_forget(h);
	ku_programs_close(h->programs);
	free(h);
}
