// SPDX-License-Identifier: GPL-2.0-only
/* What `kunion top` looks like in a terminal, and that it leaves the terminal as it was, whatever ends it. */
#include "top_screen.h"

#include <locale.h>
#include <signal.h>
#include <time.h>

#include "screen.h"
#include "term.h"
#include "top_scene.h"
#include "util.h"

/* The program in the terminal. */
struct show {
	unsigned int frames;
	int snaps;    /* so many at once */
	int err;      /* what opening must say */
	const char *words; /* on stderr, while the screen is taken */
	int from, to; /* pipe: a byte asks for the next snapshot; 'e': exit() on the spot */
};

static int run(void *arg)
{
	struct show *show = arg;
	struct ku_top_screen *t = NULL;
	struct ku_top_model *m;
	unsigned int tick = 0;
	int err = ku_top_screen_open(show->frames, &t);

	if (err)
		return err == show->err ? 7 : 8;
	m = ku_top_new(false);
	if (!m)
		return 8;
	if (show->words)
		dprintf(STDERR_FILENO, "%s\n", show->words);
	close(show->to);
	while ((int)tick < show->snaps)
		ku_top_screen_show(t, scene_snap(m, tick++));
	for (;;) {
		struct pollfd fds[] = { { .fd = ku_top_screen_fd(t), .events = POLLIN }, { .fd = show->from, .events = POLLIN } };
		char c;

		poll(fds, 2, -1);
		if (fds[0].revents)
			break;
		if (read(show->from, &c, 1) != 1)
			break;
		if (c == 'e')
			exit(9);
		ku_top_screen_show(t, scene_snap(m, tick++));
	}
	ku_top_screen_close(t);
	ku_top_free(m);
	return 5;
}

static struct show pipes(void)
{
	struct show show = { .snaps = 1 };
	int fds[2];

	KTAP_REQUIRE(setlocale(LC_CTYPE, "C.UTF-8"));
	KTAP_REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
	show.from = fds[0];
	show.to = fds[1];
	return show;
}

static void next(struct show *show, char c)
{
	KTAP_REQUIRE(write(show->to, &c, 1) == 1);
}

static void line_is(struct screen *s, int y, const char *want)
{
	const char *have = screen_line(s, y);

	if (!KTAP_CHECK(!strcmp(have, want), "line %d\nhave '%s'\nwant '%s'", y, have, want))
		screen_dump(s);
}

static void quit(struct screen *s)
{
	int status;

	screen_type(s, "q");
	status = screen_end(s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %#x", status);
	screen_check_restored(s);
	screen_close(s);
}

KTAP_TEST(usual_terminal)
{
	static struct screen s;
	struct show show = pipes();

	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	next(&show, 'n');
	KTAP_REQUIRE(screen_shows(&s, "up 1.00s"));
	line_is(&s, 0, " kunion top  mode observe, tier park   4 unions   up 1.00s");
	line_is(&s, 1, " copy-ups 12.0/s, bytes 240M/s  waiting 4  dropped 2  waited 44.0s");
	line_is(&s, 2, "");
	line_is(&s, 3, " BYTES   B/s  COPY-UPS     /s  WAITED  WAIT/s    WAITS  UNION");
	line_is(&s, 4, "  5.1G  120M      1212   12.0   31.0s       0        5  ../overlay2/9f3c/merged");
	line_is(&s, 5, "  700M     0         9    0.0   13.0s   1.00s        5  /srv/merged");
	line_is(&s, 6, "  420M  120M        80    0.0       0       0        5  ../overlay2/aa01/merged");
	line_is(&s, 7, "  4.0K     0         3    0.0       0       0        5  ..\xe8\xaa\x9e/\\x1b[31mred\\x07/m");
	line_is(&s, 8, "");
	line_is(&s, 9, " COPYING NOW  2 files, 4 waiting");
	line_is(&s, 10, " [####........]  35% 720M/2.0G   160M/s left  8.30s ../postgres/base/16384/2619");
	line_is(&s, 11, "    3.50s 4301 rm remove waits for the file");
	line_is(&s, 12, "    3.00s 4300 chmod [9f3c5ad00b1e] chmod waits for the copy");
	line_is(&s, 13, "    2.00s 4302 touch [web1] create waits for directory ..base/16384, held by ..");
	line_is(&s, 14, " [............]   ?     0/3.0M      -/s left      - ..\\xfe b\xc3\xa4r\\xe2\\x80\\xae.conf");
	line_is(&s, 15, " elsewhere");
	line_is(&s, 16, "    1.50s 4303 cat\\x1b[2J open waits for ..9f3c/merged/other, held by 1 systemd");
	line_is(&s, 17, "");
	line_is(&s, 18, " LONGEST WAITS  since the start");
	line_is(&s, 19, "    12.3s 4242 touch [web1] create waited for directory /srv/merged/spool");
	line_is(&s, 20, "          held by 4200 rm (remove) behind 4100 dd copying up ..ed/spool/big.img");
	line_is(&s, 21, "    900us 4242 touch [web1] create waited for /srv/merged/spool/big.img (time..");
	line_is(&s, 22, "          held by 4100 dd (open), copying it up");
	line_is(&s, 25, " q quit  h help  s sort  f filter  p pause  r reverse  c container");
	quit(&s);
}

KTAP_TEST(small_terminal)
{
	static struct screen s;
	struct show show = pipes();

	screen_start(&s, 10, 40, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	next(&show, 'n');
	KTAP_REQUIRE(screen_shows(&s, "12.0/s"));
	line_is(&s, 0, " kunion top  observe/park 4 unions");
	line_is(&s, 1, " 12.0/s 240M/s  waiting 4  dropped 2 ..");
	line_is(&s, 2, " BYTES  COPY-UPS  WAITED  UNION 1 of 4");
	line_is(&s, 3, "  5.1G      1212   31.0s  ..9f3c/merged");
	line_is(&s, 4, " COPYING  2 files, 4 waiting, 5 more");
	line_is(&s, 5, " [##......]  35%  8.30s ..se/16384/2619");
	line_is(&s, 6, "  3.50s 4301 rm remove file");
	line_is(&s, 7, " LONGEST WAITS  since the start");
	line_is(&s, 8, "  12.3s 4242 touch create dir ..d/spool");
	line_is(&s, 9, " q quit  h help  s sort  f filter");
	quit(&s);
}

KTAP_TEST(wide_terminal)
{
	static struct screen s;
	struct show show = pipes();

	screen_start(&s, 50, 200, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	next(&show, 'n');
	KTAP_REQUIRE(screen_shows(&s, "up 1.00s"));
	line_is(&s, 1, " copy-ups 12.0/s (1304 in all), bytes 240M/s (6.2G in all)  waiting 4  dropped 2  waited 44.0s");
	line_is(&s, 4, "  5.1G  120M      1212   12.0   31.0s       0        5  /var/lib/docker/overlay2/9f3c/merged  [9f3c5ad00b1e]");
	line_is(&s, 10, " [########................]  35% 720M/2.0G   160M/s left  8.30s "
			"/var/lib/docker/overlay2/9f3c/merged/postgres/base/16384/2619  open by kunion for 4100 postgres [9f3c5ad00b1e]");
	line_is(&s, 13, "    2.00s 4302 touch [web1] create waits for directory /var/lib/docker/overlay2/9f3c/merged/postgres/base/16384, "
			"held by 4301 rm");
	line_is(&s, 19, "    12.3s 4242 touch [web1] create waited for directory /srv/merged/spool, held by 4200 rm (remove) behind "
			"4100 dd copying up /srv/merged/spool/big.img");
	line_is(&s, 20, "    900us 4242 touch [web1] create waited for /srv/merged/spool/big.img (timeout), held by 4100 dd (open), "
			"copying it up");
	quit(&s);
}

/* Nothing is too small, and nothing is drawn beyond the edge. */
KTAP_TEST(tiny_terminals)
{
	static const int sizes[][2] = { { 1, 1 }, { 2, 5 }, { 3, 200 }, { 5, 20 }, { 7, 40 }, { 60, 8 }, { 9, 256 } };
	static struct screen s;

	for (size_t i = 0; i < KU_ARRAY_SIZE(sizes); i++) {
		struct show show = pipes();

		screen_start(&s, sizes[i][0], sizes[i][1], run, &show);
		for (int k = 0; k < 200 && screen_sent(&s, "\033[2J") < 0; k++)
			screen_read(&s, 50);
		if (sizes[i][1] >= 5)
			KTAP_CHECK(screen_shows(&s, "k"), "%dx%d", sizes[i][0], sizes[i][1]);
		quit(&s);
		close(show.from);
		close(show.to);
	}
}

KTAP_TEST(keys_change_the_picture)
{
	static struct screen s;
	struct show show = pipes();

	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	next(&show, 'n');
	KTAP_REQUIRE(screen_shows(&s, "up 1.00s"));
	screen_type(&s, "r");
	KTAP_CHECK(screen_shows_at(&s, 3, "UNION reverse") && screen_find(&s, "4.0K") == 4 && screen_find(&s, "5.1G") == 7);
	screen_type(&s, "rc");
	KTAP_CHECK(screen_shows(&s, "CONTAINER"));
	line_is(&s, 4, "  5.1G  120M      1212   12.0   31.0s       0        5  9f3c5ad00b1e");
	line_is(&s, 5, "  700M     0         9    0.0   13.0s   1.00s        5  -");
	/* Right and left, as a terminal sends them in keypad mode: by bytes a second, and back. */
	screen_type(&s, "c\033OC");
	KTAP_CHECK(screen_shows_at(&s, 5, "420M  120M"), "sorted by B/s, then name");
	screen_type(&s, "\033OD");
	KTAP_CHECK(screen_shows_at(&s, 6, "420M  120M"));
	screen_type(&s, "/touch");
	KTAP_CHECK(screen_shows(&s, "filter (path glob, or command): touch"));
	screen_type(&s, "\r");
	KTAP_CHECK(screen_shows_at(&s, 0, "filter touch") && screen_find(&s, "4303") < 0 && screen_find(&s, "4302") > 0);
	screen_type(&s, "f\025**/nothing\r");
	KTAP_CHECK(screen_shows(&s, "nothing that the filter shows") && screen_find(&s, "4242") < 0);
	screen_type(&s, "f\025\r");
	KTAP_CHECK(screen_shows(&s, "4303"));
	screen_type(&s, "h");
	KTAP_CHECK(screen_shows(&s, "reverse the order") && screen_find(&s, "COPYING") < 0);
	screen_type(&s, "h");
	KTAP_CHECK(screen_shows(&s, "COPYING"));
	/* Paused: the next comes when it goes on. */
	screen_type(&s, "p");
	KTAP_CHECK(screen_shows(&s, "PAUSED"));
	next(&show, 'n');
	KTAP_CHECK(!screen_read(&s, 300) && screen_find(&s, "up 1.00s") == 0);
	screen_type(&s, "p");
	KTAP_CHECK(screen_shows(&s, "up 2.00s") && screen_find(&s, "PAUSED") < 0);
	/* What another program wrote over it goes. */
	screen_erase(&s, 0, 0, 26, 0);
	screen_type(&s, "\x0c");
	KTAP_CHECK(screen_shows(&s, "4242") && screen_find(&s, "kunion top") == 0);
	quit(&s);
}

KTAP_TEST(follows_the_size)
{
	static struct screen s;
	struct show show = pipes();

	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	/* The terminal forgets what was there. */
	screen_erase(&s, 0, 0, SCREEN_MAX_Y, 0);
	screen_size(&s, 10, 40);
	KTAP_CHECK(screen_shows(&s, "COPYING  2 files"));
	line_is(&s, 9, " q quit  h help  s sort  f filter");
	screen_erase(&s, 0, 0, SCREEN_MAX_Y, 0);
	screen_size(&s, 50, 200);
	KTAP_CHECK(screen_shows(&s, "open by kunion for 4100 postgres"));
	KTAP_CHECK(screen_find(&s, "q quit") == 49);
	quit(&s);
}

KTAP_TEST(last_frame)
{
	static struct screen s;
	struct show show = pipes();
	int status;

	show.frames = 3;
	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	next(&show, 'n');
	KTAP_CHECK(screen_shows(&s, "up 1.00s"));
	next(&show, 'n');
	status = screen_end(&s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %#x", status);
	screen_check_restored(&s);
	screen_close(&s);
}

/* Ended by a signal: the terminal comes back first, and the status still says which. */
static void ended_by(int sig)
{
	static struct screen s;
	struct show show = pipes();
	int status;

	show.words = "kept back";
	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	KTAP_CHECK(screen_sent(&s, "kept back") < 0);
	KTAP_REQUIRE(kill(s.pid, sig) == 0);
	status = screen_end(&s);
	KTAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == sig, "signal %d, status %#x", sig, status);
	screen_check_restored(&s);
	KTAP_CHECK(screen_sent(&s, "kept back\r\n") > screen_sent(&s, "\033[?1049l"));
	screen_close(&s);
}

KTAP_TEST(restored_after_signals)
{
	/* AddressSanitizer makes an exit of a SIGSEGV and the like. */
	static const int sigs[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGABRT,
#ifndef __SANITIZE_ADDRESS__
				    SIGSEGV, SIGBUS, SIGFPE, SIGILL
#endif
	};

	for (size_t i = 0; i < KU_ARRAY_SIZE(sigs); i++)
		ended_by(sigs[i]);
}

KTAP_TEST(restored_after_exit)
{
	static struct screen s;
	struct show show = pipes();
	int status;

	show.words = "kept back";
	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	next(&show, 'e');
	status = screen_end(&s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9, "status %#x", status);
	screen_check_restored(&s);
	KTAP_CHECK(screen_sent(&s, "kept back\r\n") > screen_sent(&s, "\033[?1049l"));
	screen_close(&s);
}

/* The keyboard's own signal is a key, and stopping is none: who waits for us would wait on. */
KTAP_TEST(interrupt_key)
{
	static struct screen s;
	struct show show = pipes();
	int status;

	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	screen_type(&s, "\x1a");
	KTAP_CHECK(!screen_read(&s, 300) && waitpid(s.pid, &status, WNOHANG | WUNTRACED) == 0);
	KTAP_REQUIRE(kill(s.pid, SIGTSTP) == 0);
	KTAP_CHECK(!screen_read(&s, 300) && waitpid(s.pid, &status, WNOHANG | WUNTRACED) == 0);
	screen_type(&s, "\x03");
	status = screen_end(&s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %#x", status);
	screen_check_restored(&s);
	screen_close(&s);
}

static int run_without_hup(void *arg)
{
	signal(SIGHUP, SIG_IGN);
	return run(arg);
}

/* A terminal that goes away without a word ends it too. */
KTAP_TEST(terminal_goes_away)
{
	static struct screen s;
	struct show show = pipes();
	int status = 0, i;

	screen_start(&s, 26, 80, run_without_hup, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	close(s.slave);
	close(s.master);
	for (i = 0; i < 100 && waitpid(s.pid, &status, WNOHANG) != s.pid; i++)
		usleep(100000);
	KTAP_CHECK(i < 100 && WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %#x", status);
	if (i == 100)
		kill(s.pid, SIGKILL);
	free(s.raw);
}

static int run_stuck(void *arg)
{
	struct show *show = arg;
	struct ku_top_model *m = ku_top_new(false);
	struct ku_top_screen *t = NULL;
	uint64_t start = ku_now_ns(), worst = 0, at;

	if (!m || ku_top_screen_open(0, &t))
		return 8;
	/* Each larger than what a terminal takes. */
	for (unsigned int i = 0; i < 200; i++) {
		struct ku_top_snap *snap = scene_snap(m, i);

		at = ku_now_ns();
		ku_top_screen_show(t, snap);
		if (ku_now_ns() - at > worst)
			worst = ku_now_ns() - at;
		usleep(5000);
	}
	ku_top_screen_close(t);
	ku_top_free(m);
	/* Two rounds of patience, and a bit. */
	if (ku_now_ns() - start > 8 * SEC)
		return 6;
	if (write(show->to, worst > SEC / 2 ? "s" : "q", 1) != 1)
		return 7;
	return 5;
}

/* Nobody reads the terminal: whoever feeds it is not held up, and it ends all the same. */
KTAP_TEST(stuck_terminal)
{
	static struct screen s;
	struct show show = pipes();
	int status = 0, i;
	char c = 0;

	screen_start(&s, 60, 256, run_stuck, &show);
	for (i = 0; i < 150 && waitpid(s.pid, &status, WNOHANG) != s.pid; i++)
		usleep(100000);
	KTAP_CHECK(i < 150 && WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %#x", status);
	KTAP_CHECK(read(show.from, &c, 1) == 1 && c == 'q');
	if (i == 150)
		kill(s.pid, SIGKILL);
	screen_close(&s);
}

static int run_dumb(void *arg)
{
	setenv("TERM", "no-such-terminal", 1);
	/* ncurses loses some memory then: no leak of ours. */
	_exit(run(arg));
}

static int run_no_output(void *arg)
{
	dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
	return run(arg);
}

static int run_no_input(void *arg)
{
	dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
	return run(arg);
}

KTAP_TEST(no_terminal)
{
	static struct screen s;
	struct show show = pipes();
	struct timespec used;
	clockid_t cpu;
	int status;

	show.err = -ENODEV;
	screen_start(&s, 26, 80, run_dumb, &show);
	status = screen_end(&s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %#x", status);
	screen_close(&s);
	show.err = -ENOTTY;
	screen_start(&s, 26, 80, run_no_output, &show);
	status = screen_end(&s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %#x", status);
	screen_close(&s);
	/* Without keys it is a picture all the same. */
	show.frames = 2;
	screen_start(&s, 26, 80, run_no_input, &show);
	KTAP_CHECK(screen_shows(&s, "q quit"));
	/* And without a loop over what is always readable. */
	usleep(600000);
	KTAP_REQUIRE(!clock_getcpuclockid(s.pid, &cpu) && !clock_gettime(cpu, &used));
	KTAP_CHECK(!used.tv_sec && used.tv_nsec < 200000000, "%ld.%09ld s", (long)used.tv_sec, used.tv_nsec);
	next(&show, 'n');
	status = screen_end(&s);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %#x", status);
	screen_check_restored(&s);
	screen_close(&s);
}

static int run_no_colour(void *arg)
{
	setenv("NO_COLOR", "1", 1);
	return run(arg);
}

KTAP_TEST(colours)
{
	static struct screen s;
	struct show show = pipes();

	screen_start(&s, 26, 80, run, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	KTAP_CHECK(screen_sent(&s, "[33m") >= 0 || screen_sent(&s, ";33m") >= 0);
	quit(&s);
	screen_start(&s, 26, 80, run_no_colour, &show);
	KTAP_REQUIRE(screen_shows(&s, "q quit"));
	KTAP_CHECK(screen_sent(&s, "[33m") < 0 && screen_sent(&s, ";33m") < 0);
	quit(&s);
}

KTAP_MAIN()
