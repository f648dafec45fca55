// SPDX-License-Identifier: GPL-2.0-only
/*
 * Giving back has two ways: ncurses' own, and one of write(2) and tcsetattr(3) alone that a signal handler can go, with sequences that were
 * looked up beforehand.
 */
#include "term.h"

#include <curses.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <term.h>
#include <termios.h>

#include "util.h"

static const int ku_term_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS,
				       SIGFPE, SIGILL,	SIGSYS, SIGPIPE, SIGALRM };

static struct {
	volatile sig_atomic_t taken;
	struct termios saved;
	char restore[256];
	size_t restore_len;
	struct sigaction old[KU_ARRAY_SIZE(ku_term_signals)];
	struct sigaction old_tstp;
	int real_err, kept_err; /* stderr as it was, and what stands in for it; -1 */
	FILE *keys;
	SCREEN *screen;
	WINDOW *key_win;
	bool registered;
} ku_term = { .real_err = -1, .kept_err = -1 };

/* From here to ku_term_on_signal(): only what a signal handler may call. */
static void ku_term_stderr_back(void)
{
	char part[512];
	ssize_t n;

	if (ku_term.real_err < 0)
		return;
	dup2(ku_term.real_err, STDERR_FILENO);
	lseek(ku_term.kept_err, 0, SEEK_SET);
	while ((n = read(ku_term.kept_err, part, sizeof(part))) > 0)
		if (write(STDERR_FILENO, part, (size_t)n) != n)
			break;
	close(ku_term.kept_err);
	close(ku_term.real_err);
	ku_term.real_err = ku_term.kept_err = -1;
}

static void ku_term_give_back(void)
{
	if (!ku_term.taken)
		return;
	ku_term.taken = 0;
	/* One that has gone away takes neither. */
	if (write(STDOUT_FILENO, ku_term.restore, ku_term.restore_len) >= 0)
		tcsetattr(STDOUT_FILENO, TCSANOW, &ku_term.saved);
	ku_term_stderr_back();
}

static void ku_term_on_signal(int sig)
{
	ku_term_give_back();
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_term_signals); i++)
		if (ku_term_signals[i] == sig)
			sigaction(sig, &ku_term.old[i], NULL);
	raise(sig);
}

/* One sequence without its padding ("$<5>"). */
static void ku_term_sequence(const char *name)
{
	const char *s = tigetstr(name);

	if (!s || s == (const char *)-1)
		return;
	while (*s && ku_term.restore_len < sizeof(ku_term.restore)) {
		if (s[0] == '$' && s[1] == '<' && strchr(s, '>')) {
			s = strchr(s, '>') + 1;
			continue;
		}
		ku_term.restore[ku_term.restore_len++] = *s++;
	}
}

static void ku_term_catch(void)
{
	struct sigaction sa = { .sa_handler = ku_term_on_signal };

	/* All of them wait for each other: giving back happens once. */
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_term_signals); i++) {
		sigaction(ku_term_signals[i], NULL, &ku_term.old[i]);
		if (ku_term.old[i].sa_handler != SIG_IGN)
			sigaction(ku_term_signals[i], &sa, NULL);
	}
}

static void ku_term_release(void)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_term_signals); i++)
		sigaction(ku_term_signals[i], &ku_term.old[i], NULL);
	sigaction(SIGTSTP, &ku_term.old_tstp, NULL);
}

static void ku_term_stderr_away(void)
{
	if (!isatty(STDERR_FILENO))
		return;
	ku_term.kept_err = memfd_create("kunion-stderr", MFD_CLOEXEC);
	if (ku_term.kept_err < 0)
		return; /* then it is in the picture for a moment */
	ku_term.real_err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (ku_term.real_err < 0) {
		ku_closep(&ku_term.kept_err);
		return;
	}
	fcntl(ku_term.kept_err, F_SETFL, O_APPEND);
	dup2(ku_term.kept_err, STDERR_FILENO);
}

static int ku_term_start(void)
{
	const char *no_color = getenv("NO_COLOR");

	if (!isatty(STDIN_FILENO))
		ku_term.keys = fopen("/dev/null", "re");
	ku_term.screen = newterm(NULL, stdout, ku_term.keys ?: stdin);
	if (!ku_term.screen)
		return -ENODEV;
	raw(); /* no ^Z: who waits for us would wait on */
	noecho();
	nonl();
	set_escdelay(25);
	curs_set(0);
	if (has_colors() && !(no_color && *no_color)) {
		start_color();
		use_default_colors();
	}
	/* Of its own: reading a key from stdscr would draw it too. */
	ku_term.key_win = newpad(1, 1);
	if (!ku_term.key_win) {
		endwin();
		return -ENOMEM;
	}
	keypad(ku_term.key_win, TRUE);
	nodelay(ku_term.key_win, TRUE);
	return 0;
}

int ku_term_open(void)
{
	struct sigaction ign = { .sa_handler = SIG_IGN };
	struct sigaction term[2];
	int err;

	if (!isatty(STDOUT_FILENO) || tcgetattr(STDOUT_FILENO, &ku_term.saved))
		return -ENOTTY;
	setlocale(LC_CTYPE, "");
	fflush(stdout);
	/* ncurses puts handlers of its own in where there are none; they are not for programs with threads. */
	sigaction(SIGTSTP, &ign, &ku_term.old_tstp);
	sigaction(SIGINT, NULL, &term[0]);
	sigaction(SIGTERM, NULL, &term[1]);
	err = ku_term_start();
	sigaction(SIGINT, &term[0], NULL);
	sigaction(SIGTERM, &term[1], NULL);
	if (err) {
		sigaction(SIGTSTP, &ku_term.old_tstp, NULL);
		if (ku_term.keys)
			fclose(KU_TAKE_PTR(ku_term.keys));
		return err;
	}
	ku_term.restore_len = 0;
	ku_term_sequence("sgr0");
	ku_term_sequence("cnorm");
	ku_term_sequence("rmkx");
	ku_term_sequence("rmcup");
	ku_term_stderr_away();
	ku_term.taken = 1;
	ku_term_catch();
	/* Not ncurses' way: another thread may be drawing. */
	if (!ku_term.registered)
		atexit(ku_term_give_back);
	ku_term.registered = true;
	return 0;
}

void ku_term_close(void)
{
	if (!ku_term.taken)
		return;
	delwin(KU_TAKE_PTR(ku_term.key_win));
	endwin();
	/* From here on a signal finds nothing to give back. */
	ku_term.taken = 0;
	tcsetattr(STDOUT_FILENO, TCSANOW, &ku_term.saved);
	ku_term_release();
	ku_term_stderr_back();
	delscreen(KU_TAKE_PTR(ku_term.screen));
	if (ku_term.keys)
		fclose(KU_TAKE_PTR(ku_term.keys));
}

void ku_term_abandon(void)
{
	ku_term.taken = 0;
	tcsetattr(STDOUT_FILENO, TCSANOW, &ku_term.saved);
	ku_term_release();
	ku_term_stderr_back();
}

int ku_term_keys_fd(void)
{
	return ku_term.keys ? -1 : STDIN_FILENO;
}

int ku_term_key(bool *ret_function)
{
	struct pollfd fd = { .fd = STDIN_FILENO, .events = POLLIN };
	int n = 0, r;
	wint_t ch;

	*ret_function = false;
	r = wget_wch(ku_term.key_win, &ch);
	if (r != ERR) {
		*ret_function = r == KEY_CODE_YES;
		return (int)ch;
	}
	/* Nothing read: nothing there, or a terminal that has gone, which is readable for ever. */
	if (!ku_term.keys && poll(&fd, 1, 0) == 1 && (ioctl(STDIN_FILENO, FIONREAD, &n) || !n))
		return KU_TERM_GONE;
	return KU_TERM_NO_KEY;
}

void ku_term_resize(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || !ws.ws_row || !ws.ws_col)
		return;
	if (is_term_resized(ws.ws_row, ws.ws_col))
		resizeterm(ws.ws_row, ws.ws_col);
}
