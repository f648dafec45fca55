// SPDX-License-Identifier: GPL-2.0-only
#include "lines.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "util.h"

struct ku_lines {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t room; /* the writer took something */
	int fd, wake_fd, err_fd;
	char *text; /* to be written; the writer takes it whole */
	size_t len, size, max;
	bool ending;
	int err;
};

static void ku_lines_signal(int fd)
{
	uint64_t one = 1;

	/* Full means readable already. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Something to write, the end, or a reader that went away: then -EPIPE. */
static int ku_lines_sleep(struct ku_lines *l)
{
	struct pollfd fds[2] = { { .fd = l->wake_fd, .events = POLLIN }, { .fd = l->fd } };
	uint64_t n;

	if (poll(fds, 2, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[0].revents && read(l->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	return fds[1].revents & (POLLERR | POLLHUP | POLLNVAL) ? -EPIPE : 0;
}

static int ku_lines_write(int fd, const char *text, size_t len)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EAGAIN) {
			/* Somebody else's O_NONBLOCK on the same terminal. */
			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return -errno;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static void *ku_lines_thread(void *arg)
{
	struct ku_lines *l = arg;
	bool ending = false;
	int err = 0;

	while (!err && !ending) {
		_cleanup_free_ char *text = NULL;
		size_t len;

		err = ku_lines_sleep(l);
		pthread_mutex_lock(&l->lock);
		text = KU_TAKE_PTR(l->text);
		len = l->len;
		l->len = l->size = 0;
		ending = l->ending;
		pthread_cond_broadcast(&l->room);
		pthread_mutex_unlock(&l->lock);
		/* Written to all the same: the write says better what is wrong. */
		if (len)
			err = ku_lines_write(l->fd, text, len);
	}
	if (err) {
		pthread_mutex_lock(&l->lock);
		l->err = err;
		pthread_cond_broadcast(&l->room);
		pthread_mutex_unlock(&l->lock);
		ku_lines_signal(l->err_fd);
	}
	return NULL;
}

int ku_lines_open(int fd, size_t max, struct ku_lines **ret)
{
	struct ku_lines *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->fd = fd;
	l->max = max;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = l->wake_fd < 0 || l->err_fd < 0 ? -errno : 0;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->room, NULL);
	if (!err)
		err = -pthread_create(&l->thread, NULL, ku_lines_thread, l);
	if (err) {
		ku_closep(&l->wake_fd);
		ku_closep(&l->err_fd);
		free(l);
		return err;
	}
	*ret = l;
	return 0;
}

int ku_lines_fd(const struct ku_lines *l)
{
	return l->err_fd;
}

/* Room for len more bytes. */
static bool ku_lines_grow(struct ku_lines *l, size_t len)
{
	size_t size = l->size ? l->size : 4096;
	char *text;

	while (size < l->len + len)
		size *= 2;
	if (size == l->size)
		return true;
	text = realloc(l->text, size);
	if (!text)
		return false;
	l->text = text;
	l->size = size;
	return true;
}

/* Has a signal come that the caller blocks? */
static bool ku_lines_interrupted(void)
{
	sigset_t set;

	return !sigpending(&set) && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM) || sigismember(&set, SIGHUP));
}

bool ku_lines_put(struct ku_lines *l, const char *text, bool wait)
{
	size_t len = strlen(text);
	struct timespec until;
	bool put = false;

	pthread_mutex_lock(&l->lock);
	/* Alone anything has room. */
	while (wait && !l->err && l->len && l->len + len > l->max && !ku_lines_interrupted()) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&l->room, &l->lock, &until);
	}
	if (!l->err && (!l->len || l->len + len <= l->max) && ku_lines_grow(l, len)) {
		memcpy(l->text + l->len, text, len);
		l->len += len;
		put = true;
	}
	pthread_mutex_unlock(&l->lock);
	if (put)
		ku_lines_signal(l->wake_fd);
	return put;
}

int ku_lines_close(struct ku_lines *l)
{
	int err;

	if (!l)
		return 0;
	pthread_mutex_lock(&l->lock);
	l->ending = true;
	pthread_mutex_unlock(&l->lock);
	ku_lines_signal(l->wake_fd);
	pthread_join(l->thread, NULL);
	err = l->err;
	ku_closep(&l->wake_fd);
	ku_closep(&l->err_fd);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->room);
	free(l->text);
	free(l);
	return err;
}
