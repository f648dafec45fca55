/* SPDX-License-Identifier: GPL-2.0-only */
/* Small things every file uses: cleanup attributes and ownership transfer. */
#ifndef KU_UTIL_H
#define KU_UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define KU_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Descriptors idle at -1; closing keeps errno, so that it can stand in an error path. */
static inline void ku_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

static inline void ku_freep(void *p)
{
	free(*(void **)p);
}

static inline void ku_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_close_ __attribute__((cleanup(ku_closep)))
#define _cleanup_free_ __attribute__((cleanup(ku_freep)))
#define _cleanup_fclose_ __attribute__((cleanup(ku_fclosep)))

static inline int ku_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define KU_TAKE_PTR(p)                    \
	({                                \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;               \
		taken_;                   \
	})

/* CLOCK_MONOTONIC in nanoseconds: the clock of bpf_ktime_get_ns(), so both sides' times compare. */
static inline uint64_t ku_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

#endif
