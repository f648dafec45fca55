/* SPDX-License-Identifier: GPL-2.0-only */
/* An io_uring of one's own, for one request at a time. */
#ifndef URING_H
#define URING_H

#include "fx_fixture.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct ring {
	int fd;
	struct io_uring_params p;
	unsigned char *sq, *cq;
	struct io_uring_sqe *sqes;
};

#define AT(mem, off) ((unsigned int *)((mem) + (off)))

/* False: io_uring is not to be had here. */
static inline bool ring_open(struct ring *r, unsigned int flags)
{
	memset(r, 0, sizeof(*r));
	r->p.flags = flags;
	r->p.sq_thread_idle = 100;
	r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		return false;
	KTAP_REQUIRE(r->p.features & IORING_FEAT_SINGLE_MMAP);
	r->sq = mmap(NULL, r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe) + 4096, PROT_READ | PROT_WRITE,
		     MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->cq = r->sq;
	r->sqes = mmap(NULL, r->p.sq_entries * sizeof(*r->sqes), PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	KTAP_REQUIRE(r->sq != MAP_FAILED && r->sqes != MAP_FAILED);
	return true;
}

/* One request to its end; what its completion says. */
static inline int ring_do(struct ring *r, const struct io_uring_sqe *sqe)
{
	unsigned int *tail = AT(r->sq, r->p.sq_off.tail), mask = *AT(r->sq, r->p.sq_off.ring_mask), at = *tail & mask;
	unsigned int *head = AT(r->cq, r->p.cq_off.head), enter = IORING_ENTER_GETEVENTS;
	const struct io_uring_cqe *cqes = (const void *)(r->cq + r->p.cq_off.cqes);
	int res;

	r->sqes[at] = *sqe;
	AT(r->sq, r->p.sq_off.array)[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (r->p.flags & IORING_SETUP_SQPOLL)
		enter |= IORING_ENTER_SQ_WAKEUP;
	while (syscall(SYS_io_uring_enter, r->fd, 1, 1, enter, NULL, 0) < 0)
		KTAP_REQUIRE(errno == EINTR);
	KTAP_REQUIRE(*head != __atomic_load_n(AT(r->cq, r->p.cq_off.tail), __ATOMIC_ACQUIRE), "no completion");
	res = cqes[*head & *AT(r->cq, r->p.cq_off.ring_mask)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

#endif
