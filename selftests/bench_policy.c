// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a policy of a thousand rules costs an open of an upper file, to write and read-only: without kunion, observed by it, and with the policy as well. The
 * three take turns, each of many short batches; medians of all batches are compared.
 *
 * bench_policy [--rounds N] [--batches N] [--dir DIR]
 *
 * Needs root. DIR (default: /tmp) gets a tmpfs of its own, in a mount namespace of our own. Exit status: 2 when it could not be measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PER_BATCH 100
#define RULES 1000

enum { NONE, OBSERVED, POLICY, STATES };

static const char *const states[STATES] = { "none", "observe", "policy" };
static const struct {
	const char *what;
	int flags;
	double goal;
} rows[] = { { "open+close to write", O_WRONLY, 1.10 }, { "open+close read-only", O_RDONLY, 1.02 } };
#define NROWS (sizeof(rows) / sizeof(rows[0]))

static struct {
	const char *dir;
	unsigned int rounds, batches;
} opt = { .dir = "/tmp", .rounds = 5, .batches = 200 };

static double *samples[NROWS][STATES]; /* microseconds a call */
static unsigned int nsamples[NROWS][STATES];

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fputs("bench_policy: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static void go_to(const char *dir)
{
	if (chdir(dir))
		die("%s: %s", dir, strerror(errno));
}

/* Each rule has something of its own; the file that is opened is let pass by the last but one. */
static void write_policy(const char *file)
{
	FILE *f = fopen(file, "we");

	if (!f)
		die("%s: %s", file, strerror(errno));
	fprintf(f, "version = 1;\ndefault = \"allow\";\nrules = (\n");
	for (int i = 0; i < RULES - 2; i++)
		fprintf(f, "{ name = \"r%d\"; path = \"/srv/app%d/**/*.conf\"; uid = \"%d-%d\"; action = [ \"copy-up\", \"modify\" ]; verdict = \"deny\"; },\n", i, i,
			1000 + i, 2000 + i);
	fprintf(f, "{ name = \"here\"; prefix = \"/data\"; action = \"modify\"; verdict = \"allow\"; }\n);\n");
	if (fclose(f))
		die("%s: %s", file, strerror(errno));
}

static void set_up(void)
{
	static const char *const dirs[] = { "lower", "upper", "work", "merged", "upper/data", "upper/data/dir" };
	int fd;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("bench", opt.dir, "tmpfs", 0, NULL))
		die("mounts: %s", strerror(errno));
	go_to(opt.dir);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdir(dirs[i], 0755))
			die("%s: %s", dirs[i], strerror(errno));
	fd = open("upper/data/dir/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || close(fd) || mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work"))
		die("union: %s", strerror(errno));
	write_policy("policy.conf");
}

/* kunion, once it has said that it is attached; 0 for none. */
static pid_t start(int state)
{
	char text[256] = "";
	size_t n = 0;
	int p[2];
	pid_t pid;

	if (state == NONE)
		return 0;
	if (pipe2(p, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		dup2(p[1], STDERR_FILENO);
		if (state == POLICY)
			execlp("kunion", "kunion", "run", "-m", "observe", "--policy", "policy.conf", "merged", NULL);
		else
			execlp("kunion", "kunion", "run", "-m", "observe", "merged", NULL);
		_exit(127);
	}
	close(p[1]);
	while (!strstr(text, "attached")) {
		ssize_t r = read(p[0], text + n, sizeof(text) - 1 - n);

		if (pid < 0 || r <= 0)
			die("kunion did not attach: %s", text);
		n += (size_t)r;
	}
	/* Not read again; one summary fits into the pipe. */
	return pid;
}

static void stop(pid_t pid)
{
	int status;

	if (pid && (kill(pid, SIGINT) || waitpid(pid, &status, 0) != pid || status))
		die("kunion ended badly");
}

static double batch(int flags)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < PER_BATCH; i++) {
		int fd = open("merged/data/dir/file", flags | O_CLOEXEC);

		if (fd < 0)
			die("open: %s", strerror(errno));
		close(fd);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3) / PER_BATCH;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(unsigned int row, int state)
{
	qsort(samples[row][state], nsamples[row][state], sizeof(double), compare);
	return samples[row][state][nsamples[row][state] / 2];
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "rounds", required_argument, NULL, 'r' },
					       { "batches", required_argument, NULL, 'b' },
					       { "dir", required_argument, NULL, 'd' },
					       { 0 } };
	struct utsname u;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		if (c == 'r')
			opt.rounds = (unsigned int)atoi(optarg);
		else if (c == 'b')
			opt.batches = (unsigned int)atoi(optarg);
		else if (c == 'd')
			opt.dir = optarg;
		else
			return 2;
	}
	set_up();
	for (unsigned int row = 0; row < NROWS; row++)
		for (int state = 0; state < STATES; state++) {
			samples[row][state] = calloc((size_t)opt.rounds * opt.batches, sizeof(double));
			if (!samples[row][state])
				die("out of memory");
		}
	for (unsigned int round = 0; round < opt.rounds; round++)
		for (int state = 0; state < STATES; state++) {
			pid_t pid = start(state);

			for (unsigned int i = 0; i < opt.batches; i++)
				for (unsigned int row = 0; row < NROWS; row++)
					samples[row][state][nsamples[row][state]++] = batch(rows[row].flags);
			stop(pid);
		}
	uname(&u);
	printf("%s, %d rules, upper file, medians of %u batches of %d\n", u.release, RULES, opt.rounds * opt.batches, PER_BATCH);
	for (unsigned int row = 0; row < NROWS; row++) {
		double none = median(row, NONE);

		printf("%-22s", rows[row].what);
		for (int state = 0; state < STATES; state++)
			printf("  %s %.2f us", states[state], median(row, state));
		printf("  policy/none %.3f (goal %.2f), policy/observe %.3f\n", median(row, POLICY) / none, rows[row].goal,
		       median(row, POLICY) / median(row, OBSERVED));
	}
	return 0;
}
