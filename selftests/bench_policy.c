// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a policy of a thousand rules costs an open of an upper file, to write and read-only, and a write into it: without kunion, with a BPF program that does nothing at each hook
 * that the policy's programs of kunion are at (what any program would cost there), observed by kunion, and with the policy as well. They take turns,
 * each of many short batches; medians of all batches are compared. In a round before, the kernel counts the programs that run. "new-only" is a policy of
 * as many rules that asks about what comes into the upper layer, goes from it and is run from it, but not about changes of what is upper already;
 * "pinned" is the policy after kunion was killed that had pinned it; "budget" is the policy with a budget that counts the bytes written.
 *
 * bench_policy [--check] [--rounds N] [--batches N] [--dir DIR]
 *
 * Needs root. DIR (default: /tmp) gets a tmpfs of its own, in a mount namespace of our own. In a machine whose clock counts the instructions that it
 * executes (VM_ICOUNT=1 scripts/vm) the times are exact: nanoseconds are instructions then, whoever else is on the host.
 *
 * Exit status: 1 when --check was given and a goal is missed; 2 when it could not be measured.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/bpf.h>
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
#define COUNTED 2000 /* calls while programs are counted */
#define STATS "/proc/sys/kernel/bpf_stats_enabled"
#define PROGS_MAX 64

enum { NONE, EMPTY, OBSERVED, POLICY, NEW_ONLY, PINNED, BUDGET, STATES };

static const char *const states[STATES] = { "none", "empty", "observe", "policy", "new-only", "pinned", "budget" };
static const char *const policies[STATES] = { [POLICY] = "policy.conf", [NEW_ONLY] = "new-only.conf", [PINNED] = "policy.conf", [BUDGET] = "budget.conf" };
static const struct {
	const char *what;
	int flags;
	bool whole; /* from the root, five names, as programs open files; else four from the directory at hand */
	bool writes; /* 4 KiB each, into a file that is open */
	double goal; /* 0: none */
} rows[] = {
	{ "open+close to write", O_WRONLY, false, false, 1.10 },
	{ "open+close read-only", O_RDONLY, false, false, 1.02 },
	{ "to write, whole path", O_WRONLY, true, false, 0 },
	{ "read-only, whole path", O_RDONLY, true, false, 0 },
	{ "write of 4 KiB", O_WRONLY, false, true, 0 },
};
#define NROWS (sizeof(rows) / sizeof(rows[0]))

static struct {
	const char *dir;
	unsigned int rounds, batches;
	bool check;
} opt = { .dir = "/tmp", .rounds = 5, .batches = 200 };

struct prog {
	char name[BPF_OBJ_NAME_LEN];
	uint64_t runs, ns;
};

static double *samples[NROWS][STATES]; /* microseconds a call */
static unsigned int nsamples[NROWS][STATES];
static uint32_t hooks[PROGS_MAX];      /* BTF ids */
static unsigned int nhooks;
static int links[PROGS_MAX];
/* Of these it is counted which programs run. */
static const bool counted[STATES] = { [POLICY] = true, [BUDGET] = true };
static char ran[STATES][NROWS][512];

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
static void write_policy(const char *file, const char *actions, const char *more)
{
	FILE *f = fopen(file, "we");

	if (!f)
		die("%s: %s", file, strerror(errno));
	fprintf(f, "version = 1;\ndefault = \"allow\";\n%srules = (\n", more);
	for (int i = 0; i < RULES - 2; i++)
		fprintf(f, "{ name = \"r%d\"; path = \"/srv/app%d/**/*.conf\"; uid = \"%d-%d\"; action = [ %s ]; verdict = \"deny\"; },\n", i, i,
			1000 + i, 2000 + i, actions);
	fprintf(f, "{ name = \"here\"; prefix = \"/data\"; action = [ %s ]; verdict = \"allow\"; }\n);\n", actions);
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
	write_policy("policy.conf", "\"copy-up\", \"modify\"", "");
	write_policy("new-only.conf", "\"copy-up\", \"create\", \"remove\", \"exec\"", "");
	write_policy("budget.conf", "\"copy-up\", \"modify\"", "default_budget = \"b\";\nbudgets = ( { name = \"b\"; write = \"1024G\"; } );\n");
}

/* Those of kunion. */
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
			p[n].runs = info.run_cnt;
			p[n++].ns = info.run_time_ns;
		}
		close(fd);
	}
	return n;
}

/* Where the policy's programs are attached. */
static void learn_hooks(void)
{
	__u32 id = 0;

	while (!bpf_link_get_next_id(id, &id) && nhooks < PROGS_MAX) {
		struct bpf_prog_info info = { 0 };
		struct bpf_link_info link = { 0 };
		__u32 len = sizeof(info), link_len = sizeof(link);
		int fd = bpf_link_get_fd_by_id(id), prog = -1;

		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &link, &link_len))
			prog = bpf_prog_get_fd_by_id(link.prog_id);
		if (prog >= 0 && !bpf_obj_get_info_by_fd(prog, &info, &len) && !strncmp(info.name, "ku_pol_", 7))
			hooks[nhooks++] = info.attach_btf_id;
		if (prog >= 0)
			close(prog);
		if (fd >= 0)
			close(fd);
	}
	if (!nhooks)
		die("the policy's BPF programs cannot be found");
}

static void attach_empty(void)
{
	const struct bpf_insn insns[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 }, { .code = BPF_JMP | BPF_EXIT } };

	for (unsigned int i = 0; i < nhooks; i++) {
		LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_LSM_MAC, .attach_btf_id = hooks[i]);
		int fd = bpf_prog_load(BPF_PROG_TYPE_LSM, "bench_empty", "GPL", insns, sizeof(insns) / sizeof(insns[0]), &opts);

		links[i] = fd < 0 ? -1 : bpf_raw_tracepoint_open(NULL, fd);
		if (links[i] < 0)
			die("an empty program at a hook: %s", strerror(errno));
		close(fd);
	}
}

static void detach_empty(void)
{
	for (unsigned int i = 0; i < nhooks; i++)
		close(links[i]);
}

/* kunion, once it has said that it is attached; 0 for none, or no more. */
static pid_t start(int state)
{
	char text[256] = "";
	size_t n = 0;
	int p[2];
	pid_t pid;

	if (state == EMPTY)
		attach_empty();
	if (state == NONE || state == EMPTY)
		return 0;
	if (pipe2(p, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		dup2(p[1], STDERR_FILENO);
		if (policies[state])
			execlp("kunion", "kunion", "run", "-m", "observe", "--policy", policies[state], "merged", state == PINNED ? "--pin" : NULL, NULL);
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
	if (state != PINNED)
		return pid;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

static void stop(int state, pid_t pid)
{
	int status;

	if (state == EMPTY)
		detach_empty();
	if (state == PINNED && system("kunion detach --all >/dev/null 2>&1"))
		die("the pinned policy cannot be taken off");
	if (pid && (kill(pid, SIGINT) || waitpid(pid, &status, 0) != pid || status))
		die("kunion ended badly");
}

static int open_file(unsigned int row)
{
	static char whole[512];
	int fd;

	if (!whole[0])
		snprintf(whole, sizeof(whole), "%s/merged/data/dir/file", opt.dir);
	fd = open(rows[row].whole ? whole : "merged/data/dir/file", rows[row].flags | O_CLOEXEC);
	if (fd < 0)
		die("open: %s", strerror(errno));
	return fd;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* Nanoseconds that n calls took. */
static uint64_t calls(unsigned int row, unsigned int n)
{
	static const char block[4096];
	int fd = rows[row].writes ? open_file(row) : -1;
	uint64_t begin = now_ns(), took;

	for (unsigned int i = 0; i < n; i++)
		if (!rows[row].writes)
			close(open_file(row));
		else if (pwrite(fd, block, sizeof(block), 0) != sizeof(block))
			die("write: %s", strerror(errno));
	took = now_ns() - begin;
	if (fd >= 0)
		close(fd);
	return took;
}

static void stats_enable(bool on)
{
	int fd = open(STATS, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, on ? "1" : "0", 1) != 1)
		die(STATS ": %s", strerror(errno));
	close(fd);
}

/* Into ran[]: kunion's programs that run in a call, how often, and the time that the kernel has for them. */
static void count_runs(int state)
{
	struct prog before[PROGS_MAX], after[PROGS_MAX];

	stats_enable(true);
	for (unsigned int row = 0; row < NROWS; row++) {
		unsigned int n = progs_read(before);
		size_t len = 0;

		calls(row, COUNTED);
		if (progs_read(after) != n || !n)
			die("the BPF programs of kunion cannot be counted");
		for (unsigned int i = 0; i < n && len < sizeof(ran[state][row]); i++) {
			uint64_t runs = after[i].runs - before[i].runs;

			if (runs * 100 > COUNTED)
				len += (size_t)snprintf(ran[state][row] + len, sizeof(ran[state][row]) - len, " %s %.4g times, %.0f ns each;", after[i].name,
							(double)runs / COUNTED, (double)(after[i].ns - before[i].ns) / (double)runs);
		}
	}
	stats_enable(false);
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

static bool print(void)
{
	struct utsname u;
	bool missed = false;

	uname(&u);
	printf("%s, %d rules, upper file, medians of %u batches of %d, microseconds a call; %u hooks\n", u.release, RULES, opt.rounds * opt.batches,
	       PER_BATCH, nhooks);
	for (unsigned int row = 0; row < NROWS; row++) {
		double m[STATES], goal = rows[row].goal;

		printf("%-22s", rows[row].what);
		for (int state = 0; state < STATES; state++) {
			m[state] = median(row, state);
			printf("  %s %.3f", states[state], m[state]);
		}
		missed |= goal > 0 && (m[POLICY] / m[NONE] > goal || m[NEW_ONLY] / m[NONE] > goal);
		printf("\n%22s  policy/none %.3f, new-only/none %.3f, pinned/none %.3f, budget/none %.3f", "", m[POLICY] / m[NONE],
		       m[NEW_ONLY] / m[NONE], m[PINNED] / m[NONE], m[BUDGET] / m[NONE]);
		if (goal > 0)
			printf(" (goal of policy and new-only: %.2f)", goal);
		printf("\n%22s  empty/none %.3f, policy/empty %.3f, policy/observe %.3f, budget/policy %.3f\n", "", m[EMPTY] / m[NONE],
		       m[POLICY] / m[EMPTY], m[POLICY] / m[OBSERVED], m[BUDGET] / m[POLICY]);
		for (int state = 0; state < STATES; state++)
			if (counted[state])
				printf("%22s  %s:%s\n", "", states[state], ran[state][row][0] ? ran[state][row] : " no program runs");
	}
	return missed;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "check", no_argument, NULL, 'c' },
					       { "rounds", required_argument, NULL, 'r' },
					       { "batches", required_argument, NULL, 'b' },
					       { "dir", required_argument, NULL, 'd' },
					       { 0 } };
	pid_t pid;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		if (c == 'c')
			opt.check = true;
		else if (c == 'r')
			opt.rounds = (unsigned int)atoi(optarg);
		else if (c == 'b')
			opt.batches = (unsigned int)atoi(optarg);
		else if (c == 'd')
			opt.dir = optarg;
		else
			return 2;
	}
	if (!opt.rounds || !opt.batches)
		die("--rounds and --batches are numbers from 1 on");
	set_up();
	for (unsigned int row = 0; row < NROWS; row++)
		for (int state = 0; state < STATES; state++) {
			samples[row][state] = calloc((size_t)opt.rounds * opt.batches, sizeof(double));
			if (!samples[row][state])
				die("out of memory");
		}
	for (int state = 0; state < STATES; state++) {
		if (!counted[state])
			continue;
		pid = start(state);
		if (state == POLICY)
			learn_hooks();
		/* What is only done once is done. */
		calls(0, PER_BATCH);
		count_runs(state);
		stop(state, pid);
	}
	for (unsigned int round = 0; round < opt.rounds; round++)
		for (int state = 0; state < STATES; state++) {
			pid = start(state);
			for (unsigned int i = 0; i < opt.batches; i++)
				for (unsigned int row = 0; row < NROWS; row++)
					samples[row][state][nsamples[row][state]++] = (double)calls(row, PER_BATCH) / 1e3 / PER_BATCH;
			stop(state, pid);
		}
	return print() && opt.check;
}
