/* SPDX-License-Identifier: GPL-2.0-only */
/* A program in a pseudo terminal, and what its screen looks like: as much of a terminal as ncurses uses of TERM=xterm. */
#ifndef KU_UNIT_SCREEN_H
#define KU_UNIT_SCREEN_H

#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <termios.h>
#include <wchar.h>

#include "unit.h"

#define SCREEN_MAX_Y 64
#define SCREEN_MAX_X 256

struct screen {
	int master, slave;
	pid_t pid;
	struct termios before;
	int rows, cols, y, x;
	int top, bottom; /* lines that scroll; bottom 0: all */
	bool wrap; /* at the last column, the next character goes to the next line */
	uint32_t cell[SCREEN_MAX_Y][SCREEN_MAX_X], last;
	char *raw; /* all that came */
	size_t n, room, parsed;
	bool gone; /* the other side closed */
};

static inline void screen_size(struct screen *s, int rows, int cols)
{
	struct winsize ws = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };

	KTAP_REQUIRE(rows <= SCREEN_MAX_Y && cols <= SCREEN_MAX_X);
	s->rows = rows;
	s->cols = cols;
	KTAP_REQUIRE(ioctl(s->master, TIOCSWINSZ, &ws) == 0);
}

static inline void screen_erase(struct screen *s, int from_y, int from_x, int to_y, int to_x)
{
	for (int at = from_y * SCREEN_MAX_X + from_x; at < to_y * SCREEN_MAX_X + to_x; at++)
		s->cell[at / SCREEN_MAX_X][at % SCREEN_MAX_X] = ' ';
}

/* Starts run(arg) with the terminal as its stdin, stdout and stderr; its value is the exit status. */
static inline void screen_start(struct screen *s, int rows, int cols, int (*run)(void *arg), void *arg)
{
	char *name;

	memset(s, 0, sizeof(*s));
	s->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	KTAP_REQUIRE(s->master >= 0 && !grantpt(s->master) && !unlockpt(s->master));
	name = ptsname(s->master);
	KTAP_REQUIRE(name);
	s->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	KTAP_REQUIRE(s->slave >= 0 && !tcgetattr(s->slave, &s->before));
	screen_size(s, rows, cols);
	screen_erase(s, 0, 0, SCREEN_MAX_Y, 0);
	s->pid = fork();
	KTAP_REQUIRE(s->pid >= 0);
	if (s->pid)
		return;
	/* The test's limit ends it too; the terminal's going away does. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	ioctl(s->slave, TIOCSCTTY, 0);
	for (int fd = 0; fd < 3; fd++)
		dup2(s->slave, fd);
	close(s->slave);
	close(s->master);
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	unsetenv("LINES");
	unsetenv("COLUMNS");
	setenv("LC_ALL", "C.UTF-8", 1);
	exit(run(arg));
}

/* n lines up, or down, of those that scroll. */
static inline void screen_scroll(struct screen *s, int n, bool up)
{
	int bottom = s->bottom ? s->bottom : s->rows;

	for (; n; n--) {
		int blank = up ? bottom - 1 : s->top;

		memmove(s->cell[s->top + !up], s->cell[s->top + up], (size_t)(bottom - s->top - 1) * sizeof(s->cell[0]));
		screen_erase(s, blank, 0, blank, SCREEN_MAX_X);
	}
}

static inline void screen_char(struct screen *s, uint32_t c)
{
	int width = c < 0x300 ? 1 : wcwidth((wchar_t)c);

	if (width <= 0)
		return;
	if (s->wrap) {
		s->x = 0;
		s->y += s->y < s->rows - 1;
	}
	s->cell[s->y][s->x] = s->last = c;
	if (width == 2 && s->x + 1 < s->cols)
		s->cell[s->y][s->x + 1] = 0;
	s->wrap = s->x + width >= s->cols;
	s->x = s->wrap ? s->cols - 1 : s->x + width;
}

static inline void screen_csi(struct screen *s, char final, int a, int b)
{
	int n = a ? a : 1, len;
	uint32_t *line = s->cell[s->y];

	if (final != 'b' && final != 'm')
		s->wrap = false;
	switch (final) {
	case 'm':
	case 'h':
	case 'l':
	case 't':
		return;
	case 'r':
		s->top = n - 1;
		s->bottom = b;
		s->y = s->x = 0;
		break;
	case 'S':
	case 'T':
		screen_scroll(s, n, final == 'S');
		break;
	case 'H':
		s->y = n - 1;
		s->x = (b ? b : 1) - 1;
		break;
	case 'A':
		s->y -= n;
		break;
	case 'B':
		s->y += n;
		break;
	case 'C':
		s->x += n;
		break;
	case 'D':
		s->x -= n;
		break;
	case 'G':
		s->x = n - 1;
		break;
	case 'd':
		s->y = n - 1;
		break;
	case 'J':
		screen_erase(s, a == 0 ? s->y : 0, a == 0 ? s->x : 0, a == 1 ? s->y : SCREEN_MAX_Y, a == 1 ? s->x + 1 : 0);
		break;
	case 'K':
		screen_erase(s, s->y, a == 0 ? s->x : 0, s->y, a == 1 ? s->x + 1 : SCREEN_MAX_X);
		break;
	case 'X':
		screen_erase(s, s->y, s->x, s->y, s->x + n);
		break;
	case 'P':
	case '@':
		len = s->cols - s->x - n;
		if (len > 0)
			memmove(line + s->x + (final == '@' ? n : 0), line + s->x + (final == 'P' ? n : 0), (size_t)len * sizeof(*line));
		screen_erase(s, s->y, final == 'P' ? s->cols - n : s->x, s->y, final == 'P' ? s->cols : s->x + n);
		break;
	case 'b':
		while (n--)
			screen_char(s, s->last);
		return;
	default:
		KTAP_REQUIRE(!"a sequence this terminal does not know", "CSI %d;%d %c", a, b, final);
	}
	s->y = s->y < 0 ? 0 : s->y >= s->rows ? s->rows - 1 : s->y;
	s->x = s->x < 0 ? 0 : s->x >= s->cols ? s->cols - 1 : s->x;
}

/* One sequence or character at p; how long it is, 0 when its end is still to come. */
static inline size_t screen_one(struct screen *s, const unsigned char *p, size_t n)
{
	size_t len = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4, at;
	uint32_t c = len == 1 ? *p : *p & (0x7fu >> len);
	int arg[8] = { 0 }, k = 0;

	if (n < len || (*p == 27 && n < 3))
		return 0;
	if (*p == 27 && p[1] != '[') {
		KTAP_CHECK(strchr("()=>78", p[1]), "ESC %c", p[1]);
		return p[1] == '(' || p[1] == ')' ? 3 : 2;
	}
	if (*p == 27) {
		for (at = 2; at < n && (p[at] < '@' || p[at] > '~'); at++) {
			if (p[at] >= '0' && p[at] <= '9')
				arg[k] = 10 * arg[k] + p[at] - '0';
			else if (p[at] == ';' && k < 7)
				k++;
		}
		if (at == n)
			return 0;
		screen_csi(s, (char)p[at], arg[0], arg[1]);
		return at + 1;
	}
	for (at = 1; at < len; at++)
		c = c << 6 | (p[at] & 0x3fu);
	if (c >= 0x20) {
		/* The terminal must never be sent a control character that came with a name. */
		KTAP_CHECK(c != 0x7f && (c < 0x80 || c >= 0xa0), "control character %#x", c);
		screen_char(s, c);
		return len;
	}
	s->wrap = false;
	if (c == '\r')
		s->x = 0;
	else if (c == '\n' && s->y == (s->bottom ? s->bottom : s->rows) - 1)
		screen_scroll(s, 1, true);
	else if (c == '\n')
		s->y += s->y < s->rows - 1;
	else if (c == '\b')
		s->x -= s->x > 0;
	else
		KTAP_CHECK(c == 0x0f, "control character %#x", c);
	return len;
}

/* Reads what there is within so many milliseconds. False: nothing came. */
static inline bool screen_read(struct screen *s, int ms)
{
	struct pollfd fd = { .fd = s->master, .events = POLLIN };
	ssize_t n;
	size_t len;

	if (s->gone || poll(&fd, 1, ms) <= 0)
		return false;
	if (s->room - s->n < 65536) {
		s->room += 1 << 20;
		s->raw = realloc(s->raw, s->room);
		KTAP_REQUIRE(s->raw);
	}
	n = read(s->master, s->raw + s->n, 65536);
	if (n <= 0) {
		s->gone = true;
		return false;
	}
	s->n += (size_t)n;
	while (s->parsed < s->n) {
		len = screen_one(s, (unsigned char *)s->raw + s->parsed, s->n - s->parsed);
		if (!len)
			break;
		s->parsed += len;
	}
	return true;
}

/* Line y as text, without the blanks at its end. Static. */
static inline const char *screen_line(const struct screen *s, int y)
{
	static char lines[4][4 * SCREEN_MAX_X + 1];
	static unsigned int turn;
	char *line = lines[turn++ % 4];
	size_t n = 0;

	for (int x = 0; x < s->cols; x++) {
		uint32_t c = s->cell[y][x];

		if (!c)
			continue;
		if (c < 0x80) {
			line[n++] = (char)c;
		} else if (c < 0x800) {
			line[n++] = (char)(0xc0 | c >> 6);
			line[n++] = (char)(0x80 | (c & 0x3f));
		} else if (c < 0x10000) {
			line[n++] = (char)(0xe0 | c >> 12);
			line[n++] = (char)(0x80 | (c >> 6 & 0x3f));
			line[n++] = (char)(0x80 | (c & 0x3f));
		} else {
			line[n++] = '?';
		}
	}
	while (n && line[n - 1] == ' ')
		n--;
	line[n] = '\0';
	return line;
}

static inline int screen_find(const struct screen *s, const char *text)
{
	for (int y = 0; y < s->rows; y++)
		if (strstr(screen_line(s, y), text))
			return y;
	return -1;
}

static inline void screen_dump(const struct screen *s)
{
	for (int y = 0; y < s->rows; y++)
		ktap_diag("|%s|", screen_line(s, y));
}

/* Is text in line y (-1: any), or does it come there within 10 s? Nothing more comes behind it for a moment then. */
static inline bool screen_shows_at(struct screen *s, int y, const char *text)
{
	struct timespec end, now;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 10;
	do {
		while (screen_read(s, 50))
			;
		if (y < 0 ? screen_find(s, text) >= 0 : strstr(screen_line(s, y), text) != NULL)
			return true;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!s->gone && now.tv_sec < end.tv_sec);
	ktap_diag("'%s' is not on the screen, line %d:", text, y);
	screen_dump(s);
	return false;
}

static inline bool screen_shows(struct screen *s, const char *text)
{
	return screen_shows_at(s, -1, text);
}

static inline void screen_type(struct screen *s, const char *keys)
{
	KTAP_REQUIRE(write(s->master, keys, strlen(keys)) == (ssize_t)strlen(keys));
}

/* Waits for its end, reading on; the wait status. */
static inline int screen_end(struct screen *s)
{
	int status = 0;

	for (int i = 0; i < 2000; i++) {
		screen_read(s, 10);
		if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
			while (screen_read(s, 50))
				;
			return status;
		}
	}
	kill(s->pid, SIGKILL);
	waitpid(s->pid, &status, 0);
	KTAP_CHECK(!"it ended");
	return status;
}

/* Where text comes the last time in all that was sent; -1: never. */
static inline long screen_sent(const struct screen *s, const char *text)
{
	size_t len = strlen(text);

	for (long at = (long)s->n - (long)len; at >= 0; at--)
		if (!memcmp(s->raw + at, text, len))
			return at;
	return -1;
}

/* Is the terminal as it was: the other screen put away, the cursor back, the settings the same? */
static inline void screen_check_restored(struct screen *s)
{
	struct termios now;

	KTAP_CHECK(screen_sent(s, "\033[?1049h") >= 0);
	KTAP_CHECK(screen_sent(s, "\033[?1049l") > screen_sent(s, "\033[?1049h"));
	KTAP_CHECK(screen_sent(s, "\033[?25h") > screen_sent(s, "\033[?25l"));
	KTAP_CHECK(screen_sent(s, "\033[?1l") > screen_sent(s, "\033[?1h"));
	KTAP_REQUIRE(tcgetattr(s->slave, &now) == 0);
	KTAP_CHECK(now.c_iflag == s->before.c_iflag && now.c_oflag == s->before.c_oflag && now.c_cflag == s->before.c_cflag &&
		   now.c_lflag == s->before.c_lflag && !memcmp(now.c_cc, s->before.c_cc, sizeof(now.c_cc)),
		   "iflag %x/%x oflag %x/%x lflag %x/%x", now.c_iflag, s->before.c_iflag, now.c_oflag, s->before.c_oflag, now.c_lflag,
		   s->before.c_lflag);
}

static inline void screen_close(struct screen *s)
{
	close(s->master);
	close(s->slave);
	free(s->raw);
}

#endif
