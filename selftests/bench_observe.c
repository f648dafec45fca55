// SPDX-License-Identifier: GPL-2.0-only
/*
 * What `kunion run -m observe` costs those who have nothing to do with a copy-up: open+close of an upper file in the union, and of a
 * file on another file system; also a write of 4 KiB into either. Rounds with and without kunion take turns, each of many short batches;
 * the medians of all batches are compared. In the last round the kernel counts how often a BPF program of kunion ran.
 *
 * bench_observe [--check] [--rounds N] [--batches N] [--dir DIR]
 *
 * Needs root. DIR (default: /tmp) gets a tmpfs of its own, in a mount namespace of our own. Exit status: 1 when --check was given and a
 * BPF program ran in an open+close; 2 when it could not be measured.
 */
#include <bpf/bpf.h>
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
#define COUNTED 10000 /* calls while programs are counted */
#define STATS "/proc/sys/kernel/bpf_stats_enabled"
#define PROGS_MAX 64

static const struct row {
	const char *what, *path; /* below dir */
	int flags;
	bool write, is_open;
} rows[] = {
	{ "open+close read-only, upper file", "merged/upper", O_RDONLY, false, true },
	{ "open+close to write, upper file", "merged/upper", O_WRONLY, false, true },
	{ "open+close read-only, other file system", "other", O_RDONLY, false, true },
	{ "open+close to write, other file system", "other", O_WRONLY, false, true },
	{ "write of 4 KiB, upper file", "merged/upper", O_WRONLY, true, false },
	{ "write of 4 KiB, other file system", "other", O_WRONLY, true, false },
};

#define NROWS (sizeof(rows) / sizeof(rows[0]))

struct prog {
	char name[BPF_OBJ_NAME_LEN];
	uint64_t runs;
};

static struct {
	const char *dir;
	unsigned int rounds, batches;
	bool check;
} opt = { .dir = "/tmp", .rounds = 5, .batches = 200 };

static double *samples[NROWS][2]; /* microseconds a call: without, with */
static unsigned int nsamples[NROWS][2];

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fputs("bench_observe: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* the calls */

static void calls(const struct row *r, unsigned int n)
{
	static char block[4096];
	int fd = r->write ? open(r->path, r->flags | O_CLOEXEC) : -1;

	for (unsigned int i = 0; i < n; i++) {
		if (r->write) {
			if (pwrite(fd, block, sizeof(block), 0) != sizeof(block))
				die("%s: %s", r->path, strerror(errno));
			continue;
		}
		fd = open(r->path, r->flags | O_CLOEXEC);
		if (fd < 0 || close(fd))
			die("%s: %s", r->path, strerror(errno));
	}
	if (r->write)
		close(fd);
}

static void measure(bool attached)
{
	for (unsigned int b = 0; b < opt.batches; b++)
		for (unsigned int i = 0; i < NROWS; i++) {
			uint64_t began = now_ns();

			calls(&rows[i], PER_BATCH);
			samples[i][attached][nsamples[i][attached]++] = (double)(now_ns() - began) / PER_BATCH / 1e3;
		}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, unsigned int n)
{
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* kunion */

/* Back once it says that it is attached; its stderr goes to the file log. */
static pid_t attach(void)
{
	pid_t pid = fork();
	char text[256];
	int status;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		if (!freopen("log", "we", stderr))
			_exit(126);
		fcntl(STDERR_FILENO, F_SETFD, 0);
		execlp("kunion", "kunion", "run", "-m", "observe", "merged", (char *)NULL);
		fprintf(stderr, "%s\n", strerror(errno));
		_exit(127);
	}
	for (;;) {
		int fd = open("log", O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, "attached"))
			return pid;
		if (waitpid(pid, &status, WNOHANG) == pid)
			die("kunion: %s", text);
		usleep(20000);
	}
}

static void detach(pid_t pid)
{
	int status;

	kill(pid, SIGINT);
	if (waitpid(pid, &status, 0) != pid || status)
		die("kunion ended with status %#x", status);
}

/* counting */

static void stats_enable(bool on)
{
	int fd = open(STATS, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, on ? "1" : "0", 1) != 1)
		die(STATS ": %s", strerror(errno));
	close(fd);
}

static unsigned int progs_read(struct prog *p)
{
	unsigned int n = 0;
	__u32 id = 0;

	while (!bpf_prog_get_next_id(id, &id) && n < PROGS_MAX) {
		struct bpf_prog_info info = { 0 };
		__u32 len = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &len) && !strncmp(info.name, "ku_", 3)) {
			memcpy(p[n].name, info.name, sizeof(p[n].name));
			p[n++].runs = info.run_cnt;
		}
		close(fd);
	}
	return n;
}

/* Runs of kunion's programs in COUNTED calls; says which. */
static uint64_t count_runs(const struct row *r, char *which, size_t size)
{
	struct prog before[PROGS_MAX], after[PROGS_MAX];
	unsigned int n = 0, tries = 0;
	uint64_t all = 0;

	/* What kunion only probed with goes a while after its descriptor. */
	do {
		if (tries++ == 100 || (tries > 1 && usleep(100000)))
			die("the BPF programs of kunion cannot be counted");
		n = progs_read(before);
		calls(r, COUNTED);
	} while (progs_read(after) != n || !n);
	which[0] = '\0';
	for (unsigned int i = 0; i < n; i++) {
		uint64_t runs = after[i].runs - before[i].runs;
		size_t len = strlen(which);

		all += runs;
		if (runs)
			snprintf(which + len, size - len, " %s", after[i].name);
	}
	return all;
}

/* around them */

static void set_up(void)
{
	int fd;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		die("a mount namespace of our own: %s", strerror(errno));
	if (mount("tmpfs", opt.dir, "tmpfs", 0, "mode=755") || chdir(opt.dir))
		die("tmpfs on %s: %s", opt.dir, strerror(errno));
	if (mkdir("lower", 0755) || mkdir("upper", 0755) || mkdir("work", 0755) || mkdir("merged", 0755) ||
	    mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work"))
		die("overlay: %s", strerror(errno));
	for (unsigned int i = 0; i < NROWS; i++) {
		fd = open(rows[i].path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			die("%s: %s", rows[i].path, strerror(errno));
		close(fd);
		for (int with = 0; with < 2; with++) {
			samples[i][with] = calloc((size_t)opt.rounds * opt.batches, sizeof(double));
			if (!samples[i][with])
				die("out of memory");
		}
	}
	setenv("KUNION_RUN_DIR", "run", 1);
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !n || n > 100000)
		die("'%s' is no number from 1 to 100000", text);
	return (unsigned int)n;
}

static void options(int argc, char **argv)
{
	static const struct option known[] = { { "check", no_argument, NULL, 'c' },	  { "rounds", required_argument, NULL, 'r' },
					       { "batches", required_argument, NULL, 'b' }, { "dir", required_argument, NULL, 'd' },
					       { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (c) {
		case 'c':
			opt.check = true;
			break;
		case 'r':
			opt.rounds = number(optarg);
			break;
		case 'b':
			opt.batches = number(optarg);
			break;
		case 'd':
			opt.dir = optarg;
			break;
		default:
			exit(2);
		}
	if (optind < argc)
		die("no argument is expected, found '%s'", argv[optind]);
}

int main(int argc, char **argv)
{
	char which[NROWS][256];
	uint64_t runs[NROWS];
	bool ran = false;
	struct utsname u;
	pid_t pid;

	options(argc, argv);
	set_up();
	measure(false); /* warms up */
	memset(nsamples, 0, sizeof(nsamples));
	for (unsigned int i = 0; i < opt.rounds; i++) {
		measure(false);
		pid = attach();
		measure(true);
		if (i + 1 == opt.rounds) {
			stats_enable(true);
			for (unsigned int k = 0; k < NROWS; k++)
				runs[k] = count_runs(&rows[k], which[k], sizeof(which[k]));
			stats_enable(false);
		}
		detach(pid);
	}

	uname(&u);
	printf("Linux %s: medians of %u batches of %u calls, microseconds a call\n", u.release, opt.rounds * opt.batches, PER_BATCH);
	printf("%-42s%14s%10s%8s   %s\n", "", "not attached", "observe", "ratio", "BPF programs run in a call");
	for (unsigned int i = 0; i < NROWS; i++) {
		double without = median(samples[i][0], nsamples[i][0]), with = median(samples[i][1], nsamples[i][1]);

		printf("%-42s%14.3f%10.3f%8.3f   %.4g%s\n", rows[i].what, without, with, with / without, (double)runs[i] / COUNTED, which[i]);
		/* A lock that another task contends for meanwhile is not this path's. */
		ran |= rows[i].is_open && runs[i] * 100 > COUNTED;
	}
	if (ran)
		printf("A BPF program runs in open+close.\n");
	return opt.check && ran;
}
