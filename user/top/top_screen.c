// SPDX-License-Identifier: GPL-2.0-only
#include "top_screen.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "term.h"
#include "top_view.h"
#include "util.h"

/* How long a terminal may take for what is left to be drawn, and how often it is then helped. */
#define KU_TOP_LAST_NS 2000000000ull
#define KU_TOP_FLUSHES 10

struct ku_top_screen {
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* next, end */
	struct ku_top_snap *next;
	bool end;
	int wake_fd, quit_fd; /* eventfds: to the thread, and from it */
	/* the thread's */
	int winch_fd;
	unsigned int frames, drawn;
	bool keys; /* there is somebody to press some */
	struct ku_top_ui ui;
	struct ku_top_snap *shown;
};

static void ku_top_poke(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* full: it is readable already */
}

/* What came since the last turn. *ret_fresh: a snapshot. False: the end. */
static bool ku_top_news(struct ku_top_screen *t, bool *ret_fresh, bool *ret_draw)
{
	struct signalfd_siginfo si;
	uint64_t n;
	bool end;

	if (read(t->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return false;
	pthread_mutex_lock(&t->lock);
	end = t->end;
	*ret_fresh = t->next && !t->ui.paused;
	if (*ret_fresh) {
		ku_top_snap_free(t->shown);
		t->shown = KU_TAKE_PTR(t->next);
	}
	pthread_mutex_unlock(&t->lock);
	*ret_draw |= *ret_fresh;
	while (t->winch_fd >= 0 && read(t->winch_fd, &si, sizeof(si)) == sizeof(si))
		*ret_draw = true;
	return !end;
}

/* False: the end is wanted. */
static bool ku_top_pressed(struct ku_top_screen *t, bool *ret_draw)
{
	bool function;
	int key;

	while (t->keys && (key = ku_term_key(&function)) != KU_TERM_NO_KEY) {
		enum ku_top_did did = key == KU_TERM_GONE ? KU_TOP_QUIT : ku_top_key(&t->ui, key, function);

		if (did == KU_TOP_QUIT)
			return false;
		*ret_draw |= did == KU_TOP_REDRAW;
	}
	return true;
}

static void *ku_top_thread(void *arg)
{
	struct ku_top_screen *t = arg;
	bool draw = true, fresh = false;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = t->wake_fd, .events = POLLIN },
			{ .fd = t->winch_fd, .events = POLLIN },
			{ .fd = t->keys ? ku_term_keys_fd() : -1, .events = POLLIN },
		};

		if (draw) {
			ku_term_resize();
			ku_top_draw(&t->ui, t->shown);
		}
		if (fresh && t->frames && ++t->drawn == t->frames)
			ku_top_poke(t->quit_fd);
		if (poll(fds, KU_ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			break;
		draw = false;
		/* Wanted once; then it is up to the owner, who closes. */
		if (!ku_top_pressed(t, &draw)) {
			t->keys = false;
			ku_top_poke(t->quit_fd);
		}
		/* Behind the keys: one may have ended the pause. */
		if (!ku_top_news(t, &fresh, &draw))
			break;
	}
	return NULL;
}

static int ku_top_screen_start(struct ku_top_screen *t)
{
	sigset_t all, old, winch;
	int err;

	t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->wake_fd < 0 || t->quit_fd < 0)
		return -errno;
	/* Blocked, so that it comes to the descriptor. */
	sigemptyset(&winch);
	sigaddset(&winch, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &winch, NULL);
	t->winch_fd = signalfd(-1, &winch, SFD_CLOEXEC | SFD_NONBLOCK);
	err = ku_term_open();
	if (err)
		return err;
	t->keys = ku_term_keys_fd() >= 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&t->thread, NULL, ku_top_thread, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	t->started = !err;
	return -err;
}

int ku_top_screen_open(unsigned int frames, struct ku_top_screen **ret)
{
	struct ku_top_screen *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->wake_fd = t->quit_fd = t->winch_fd = -1;
	t->frames = frames;
	pthread_mutex_init(&t->lock, NULL);
	err = ku_top_screen_start(t);
	if (err) {
		ku_top_screen_close(t);
		return err;
	}
	*ret = t;
	return 0;
}

int ku_top_screen_fd(const struct ku_top_screen *t)
{
	return t->quit_fd;
}

void ku_top_screen_show(struct ku_top_screen *t, struct ku_top_snap *snap)
{
	struct ku_top_snap *old;

	pthread_mutex_lock(&t->lock);
	old = t->next;
	t->next = snap;
	pthread_mutex_unlock(&t->lock);
	ku_top_snap_free(old);
	ku_top_poke(t->wake_fd);
}

/* False: the thread hangs in a write. */
static bool ku_top_join(struct ku_top_screen *t)
{
	uint64_t until;

	for (int i = 0; i <= KU_TOP_FLUSHES; i++) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		until = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec + (i ? KU_TOP_LAST_NS / KU_TOP_FLUSHES : KU_TOP_LAST_NS);
		ts = (struct timespec){ .tv_sec = (time_t)(until / 1000000000ull), .tv_nsec = (long)(until % 1000000000ull) };
		if (!pthread_timedjoin_np(t->thread, NULL, &ts))
			return true;
		/* Nobody reads the terminal: what it has not shown by now it never will. */
		tcflush(STDOUT_FILENO, TCOFLUSH);
	}
	return false;
}

void ku_top_screen_close(struct ku_top_screen *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->end = true;
	pthread_mutex_unlock(&t->lock);
	if (t->wake_fd >= 0)
		ku_top_poke(t->wake_fd);
	/* With the thread still drawing nothing of the screen may be touched: the program's end will end both. */
	if (t->started && !ku_top_join(t)) {
		ku_term_abandon();
		return;
	}
	ku_term_close();
	ku_top_snap_free(t->shown);
	ku_top_snap_free(t->next);
	ku_closep(&t->wake_fd);
	ku_closep(&t->quit_fd);
	ku_closep(&t->winch_fd);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
