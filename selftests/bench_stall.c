// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stall experiment: one directory of a union with a large lower file. A writer opens the file and appends to it, 50 ms later
 * somebody unlinks (or renames) it, and all the while small files are created in the directory, one each 5 ms. How long does the
 * unlink take, and the slowest create? First with the kernel alone, then under `kunion run`.
 *
 * bench_stall [--check] [--cold] [--why] [--size MIB] [--dir DIR]
 *
 * A fourth thread only takes naps of 5 ms: its slowest one tells how much of the figures is the machine's own doing. Where a bound is not
 * met, kunion gets two more tries, and the best one counts. --why: where the kernel was in creates of more than 50 ms.
 *
 * Needs root and an empty disk /dev/vda (as in scripts/vm) or, with --dir, a folder on a file system with xattrs and room for
 * twice the size. Exit status: 1 when --check was given and a bound is not met, 2 when it could not be measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stall_print.h"

#define DEVICE "/dev/vda"
#define MIB (1u << 20)
#define BLOCK 4096u
#define BEFORE_NS 200000000ull /* creates before the writer begins */
#define LATER_NS 50000000ull   /* the unlink, after the writer began */
#define EVERY_NS 5000000ull    /* between two creates */
#define MORE_TRIES 2
#define RECORD "# appended\n"

enum what { UNLINK, RENAME };
enum engine { KERNEL, KUNION };

static const char *const what_names[] = { "unlink", "rename" };

struct result {
	double op_s, create_s, open_s, nap_s; /* create, nap: the slowest */
	unsigned int creates;
	int op_err, open_err, create_err;
};

/* One run, in a process of its own, so that `kunion run` can be in front of it. */
struct run {
	enum what what;
	int dirfd;
	pthread_barrier_t start;
	int left; /* of writer and remover */
	pid_t creator;
	uint64_t create_ns; /* since when it creates; 0: it does not */
	struct result r;
};

static struct {
	const char *dir; /* lower, upper, work, merged are below it */
	uint64_t size;
	bool check, cold, why;
} opt = { .size = 512ull * MIB };

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fputs("bench_stall: ", stderr);
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

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static double seconds_since(uint64_t ns)
{
	return (double)(now_ns() - ns) / 1e9;
}

/* the three threads */

static void *writer(void *arg)
{
	struct run *run = arg;
	uint64_t began;
	int fd;

	prctl(PR_SET_NAME, "writer");
	pthread_barrier_wait(&run->start);
	began = now_ns();
	fd = openat(run->dirfd, "big", O_WRONLY | O_APPEND | O_CLOEXEC);
	run->r.open_err = fd < 0 ? errno : 0;
	if (fd >= 0 && write(fd, RECORD, strlen(RECORD)) < 0)
		run->r.open_err = errno;
	run->r.open_s = seconds_since(began);
	if (fd >= 0)
		close(fd);
	__atomic_sub_fetch(&run->left, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *remover(void *arg)
{
	struct run *run = arg;
	uint64_t began;
	int err;

	prctl(PR_SET_NAME, run->what == UNLINK ? "unlinker" : "renamer");
	pthread_barrier_wait(&run->start);
	sleep_until(now_ns() + LATER_NS);
	began = now_ns();
	if (run->what == UNLINK)
		err = unlinkat(run->dirfd, "big", 0);
	else
		err = renameat(run->dirfd, "big", run->dirfd, "moved");
	run->r.op_err = err ? errno : 0;
	run->r.op_s = seconds_since(began);
	__atomic_sub_fetch(&run->left, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void show_stack(const struct run *run, uint64_t since)
{
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stack", run->creator);
	f = fopen(path, "re");
	fprintf(stderr, "a create in %s takes %.0f ms so far:", what_names[run->what], seconds_since(since) * 1e3);
	for (int i = 0; i < 8 && f && fgets(line, sizeof(line), f); i++) {
		char *name = strchr(line, ' ');

		if (name)
			fprintf(stderr, " %.*s", (int)strcspn(name + 1, "+"), name + 1);
	}
	fputc('\n', stderr);
	if (f)
		fclose(f);
}

static void *napper(void *arg)
{
	struct run *run = arg;
	uint64_t shown = 0;

	pthread_barrier_wait(&run->start);
	while (__atomic_load_n(&run->left, __ATOMIC_SEQ_CST)) {
		uint64_t began = now_ns(), create = __atomic_load_n(&run->create_ns, __ATOMIC_SEQ_CST);
		double s;

		sleep_until(began + EVERY_NS);
		s = seconds_since(began);
		if (s > run->r.nap_s)
			run->r.nap_s = s;
		if (opt.why && create != shown && create == __atomic_load_n(&run->create_ns, __ATOMIC_SEQ_CST) &&
		    seconds_since(create) > 0.05) {
			shown = create;
			show_stack(run, create);
		}
	}
	return NULL;
}

static double create_one(struct run *run)
{
	uint64_t began = now_ns();
	char name[32];
	double s;
	int fd;

	__atomic_store_n(&run->create_ns, began, __ATOMIC_SEQ_CST);
	snprintf(name, sizeof(name), "small-%u", run->r.creates++);
	fd = openat(run->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, "small\n", 6) != 6)
		run->r.create_err = errno;
	if (fd >= 0)
		close(fd);
	s = seconds_since(began);
	__atomic_store_n(&run->create_ns, 0, __ATOMIC_SEQ_CST);
	return s;
}

static void creator(struct run *run)
{
	uint64_t next = now_ns(), start = next + BEFORE_NS;
	bool started = false;

	prctl(PR_SET_NAME, "creator");
	run->creator = gettid();
	while (!started || __atomic_load_n(&run->left, __ATOMIC_SEQ_CST)) {
		double s = create_one(run);

		/* Those before the start only make the directory ready. */
		if (started && s > run->r.create_s)
			run->r.create_s = s;
		next += EVERY_NS;
		if (next < now_ns())
			next = now_ns() + EVERY_NS;
		sleep_until(next);
		if (!started && next >= start) {
			pthread_barrier_wait(&run->start);
			started = true;
		}
	}
}

/* Is what was renamed the whole lower file and the writer's line? */
static void verify_renamed(const struct run *run)
{
	char tail[sizeof(RECORD)] = "";
	uint64_t stamp;
	int fd;

	fd = openat(run->dirfd, "moved", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("moved: %s", strerror(errno));
	for (uint64_t at = 0; at < opt.size; at += MIB)
		if (pread(fd, &stamp, sizeof(stamp), (off_t)at) != sizeof(stamp) || stamp != at)
			die("the renamed file is wrong at offset %llu", (unsigned long long)at);
	if (!run->r.open_err &&
	    (pread(fd, tail, sizeof(tail), (off_t)opt.size) != (ssize_t)strlen(RECORD) || strcmp(tail, RECORD)))
		die("the renamed file does not end with the line appended to it");
	close(fd);
}

static int run_one(enum what what, const char *dir, const char *out)
{
	struct run run = { .what = what, .left = 2 };
	pthread_t threads[3];
	FILE *f;

	run.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run.dirfd < 0)
		die("%s: %s", dir, strerror(errno));
	pthread_barrier_init(&run.start, NULL, 4);
	if (pthread_create(&threads[0], NULL, writer, &run) || pthread_create(&threads[1], NULL, remover, &run) ||
	    pthread_create(&threads[2], NULL, napper, &run))
		die("cannot make threads");
	creator(&run);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	pthread_join(threads[2], NULL);
	if (what == RENAME && !run.r.op_err)
		verify_renamed(&run);

	f = fopen(out, "we");
	if (!f)
		die("%s: %s", out, strerror(errno));
	fprintf(f, "%f %f %f %f %u %d %d %d\n", run.r.op_s, run.r.create_s, run.r.open_s, run.r.nap_s, run.r.creates, run.r.op_err,
		run.r.open_err, run.r.create_err);
	fclose(f);
	return 0;
}

/* around them */

static void path_of(char path[static PATH_MAX], const char *name)
{
	snprintf(path, PATH_MAX, "%s/%s", opt.dir, name);
}

static void make_dir(const char *name)
{
	char path[PATH_MAX];

	path_of(path, name);
	if (mkdir(path, 0755) && errno != EEXIST)
		die("%s: %s", path, strerror(errno));
}

static int spawn(char *const argv[], const char *stderr_to)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (stderr_to && !freopen(stderr_to, "we", stderr))
			_exit(126);
		if (stderr_to)
			fcntl(STDERR_FILENO, F_SETFD, 0);
		execvp(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("%s: %s", argv[0], strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void fill_file(const char *path)
{
	_Alignas(8) static char buf[MIB];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	for (uint64_t at = 0; at < opt.size; at += MIB) {
		for (uint32_t i = 0; i < MIB; i += BLOCK) {
			uint64_t stamp = at + i;

			memset(buf + i, (int)(stamp / BLOCK % 251 + 1), BLOCK);
			memcpy(buf + i, &stamp, sizeof(stamp));
		}
		if (write(fd, buf, MIB) != MIB)
			die("%s: %s", path, strerror(errno));
	}
	if (fsync(fd) || close(fd))
		die("%s: %s", path, strerror(errno));
}

/* The disk of scripts/vm comes empty; never touch another. */
static void use_disk(void)
{
	static const char *const mkfs[] = { "mkfs.ext4", "-q", "-F", "-E", "nodiscard", DEVICE, NULL };
	static char head[MIB];
	int fd = open(DEVICE, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, head, sizeof(head)) != (ssize_t)sizeof(head))
		die(DEVICE ": %s; name a folder with --dir", strerror(errno));
	close(fd);
	for (size_t i = 0; i < sizeof(head); i++)
		if (head[i])
			die(DEVICE " is not empty; name a folder with --dir");
	if (spawn((char *const *)mkfs, NULL))
		die("mkfs.ext4 " DEVICE " failed");
	opt.dir = "/mnt/stall";
	if (mkdir(opt.dir, 0700) && errno != EEXIST)
		die("%s: %s", opt.dir, strerror(errno));
	/* The background initialisation of a new ext4 would be measured too. */
	if (mount(DEVICE, opt.dir, "ext4", 0, "noinit_itable"))
		die("mount " DEVICE ": %s", strerror(errno));
}

static void remove_tree(const char *name)
{
	char path[PATH_MAX], *argv[] = { "rm", "-rf", path, NULL };

	path_of(path, name);
	spawn(argv, NULL);
}

static void mount_union(void)
{
	char merged[PATH_MAX], data[4 * PATH_MAX];

	remove_tree("upper");
	remove_tree("work");
	make_dir("upper");
	make_dir("work");
	make_dir("merged");
	path_of(merged, "merged");
	snprintf(data, sizeof(data), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", opt.dir, opt.dir, opt.dir);
	if (mount("stall", merged, "overlay", 0, data))
		die("mount of the overlay: %s", strerror(errno));
}

/* The same state before each run: nothing to write back, the lower file in the page cache or not. */
static void settle(void)
{
	static char buf[MIB];
	char path[PATH_MAX];
	int fd;

	sync();
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "3", 1) != 1)
		die("drop_caches: %s", strerror(errno));
	close(fd);
	if (opt.cold)
		return;
	path_of(path, "lower/dir/big");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static struct result measure(enum what what, enum engine engine, const char *events, char summary[static 256])
{
	char self[PATH_MAX] = "", merged[PATH_MAX], dir[PATH_MAX], out[PATH_MAX], err[PATH_MAX], name[16], size[24];
	char *kunion = getenv("KUNION") ?: "kunion";
	char *argv[] = { kunion, "run",	 "--events", (char *)events, merged, "--",
			 self,	 "--run", (char *)what_names[what], "--size", size, dir, out, opt.why ? "--why" : NULL, NULL };
	struct result r;
	int status;
	FILE *f;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		die("/proc/self/exe: %s", strerror(errno));
	path_of(merged, "merged");
	path_of(dir, "merged/dir");
	path_of(out, "out");
	path_of(err, "err");
	snprintf(size, sizeof(size), "%llu", (unsigned long long)opt.size / MIB);
	snprintf(name, sizeof(name), "%s", what_names[what]);

	mount_union();
	settle();
	unlink(out);
	status = spawn(engine == KUNION ? argv : argv + 6, engine == KUNION ? err : NULL);
	summary[0] = '\0';
	f = engine == KUNION ? fopen(err, "re") : NULL;
	while (f && fgets(summary, 256, f))
		if (status || opt.why)
			fputs(summary, stderr);
	if (f)
		fclose(f);
	if (status)
		die("%s with %s: exit status %d", what_names[what], engine == KUNION ? "kunion" : "the kernel alone", status);
	f = fopen(out, "re");
	if (!f || fscanf(f, "%lf %lf %lf %lf %u %d %d %d", &r.op_s, &r.create_s, &r.open_s, &r.nap_s, &r.creates, &r.op_err,
			 &r.open_err, &r.create_err) != 8)
		die("%s: no result", out);
	fclose(f);
	if (r.op_err || r.create_err || (r.open_err && r.open_err != ENOENT))
		die("with %s: %s: %s; create: %s; writer: %s", engine == KUNION ? "kunion" : "the kernel alone", what_names[what],
		    strerror(r.op_err), strerror(r.create_err), strerror(r.open_err));
	if (umount(merged))
		die("umount %s: %s", merged, strerror(errno));
	return r;
}

/* Are the bounds met that hold on this tier? */
static bool bounds_met(enum what what, const struct result *kernel, const struct result *kunion, bool park)
{
	if (what == RENAME)
		return !park || kunion->create_s * STALL_BOUND < kernel->create_s;
	return kunion->create_s * STALL_BOUND < kernel->create_s && (!park || kunion->op_s * STALL_BOUND < kernel->op_s);
}

/* the table */

static bool print_table(struct result r[2][2], const char *tier)
{
	bool park = !strcmp(tier, "park"), ok = true;
	struct utsname un;

	uname(&un);
	printf("\nA writer makes the union copy a lower file of %llu MiB; 50 ms later the file is unlinked (renamed);\n"
	       "a small file is created in its directory each 5 ms. Linux %s, tier %s, file %s.\n\n",
	       (unsigned long long)opt.size / MIB, un.release, tier, opt.cold ? "not cached" : "cached");
	printf("  %-18s%11s%12s   %s\n", "", "kernel", "kunion", "ratio");
	ok &= stall_print_row("unlink", r[UNLINK][KERNEL].op_s, r[UNLINK][KUNION].op_s, park ? STALL_BOUND : 0,
			park ? NULL : "gives the copy up");
	ok &= stall_print_row("  slowest create", r[UNLINK][KERNEL].create_s, r[UNLINK][KUNION].create_s, STALL_BOUND, NULL);
	stall_print_row("  writer", r[UNLINK][KERNEL].open_s, r[UNLINK][KUNION].open_s, 0,
		  r[UNLINK][KUNION].open_err ? "under kunion: the file is gone (ENOENT)" : NULL);
	stall_print_row("  slowest nap", r[UNLINK][KERNEL].nap_s, r[UNLINK][KUNION].nap_s, 0, "of 5 ms: the machine's own hiccups");
	stall_print_row("rename", r[RENAME][KERNEL].op_s, r[RENAME][KUNION].op_s, 0, park ? "waits for the copy" : "native on this kernel");
	ok &= stall_print_row("  slowest create", r[RENAME][KERNEL].create_s, r[RENAME][KUNION].create_s, park ? STALL_BOUND : 0,
			park ? NULL : "native on this kernel");
	stall_print_row("  writer", r[RENAME][KERNEL].open_s, r[RENAME][KUNION].open_s, 0, NULL);
	stall_print_row("  slowest nap", r[RENAME][KERNEL].nap_s, r[RENAME][KUNION].nap_s, 0, NULL);
	return ok;
}

static int compare(void)
{
	char lower[PATH_MAX], events[2][PATH_MAX], summary[256], tier[32] = "none";
	struct result r[2][2];
	struct stat before, after;
	bool ok;

	if (!opt.dir)
		use_disk();
	make_dir("lower");
	make_dir("lower/dir");
	path_of(lower, "lower/dir/big");
	fill_file(lower);
	stat(lower, &before);
	for (int w = UNLINK; w <= RENAME; w++) {
		char name[32];

		snprintf(name, sizeof(name), "events-%s", what_names[w]);
		path_of(events[w], name);
		unlink(events[w]);
		r[w][KERNEL] = measure(w, KERNEL, NULL, summary);
		r[w][KUNION] = measure(w, KUNION, events[w], summary);
		sscanf(summary, "kunion: tier %31[^:]", tier);
		for (int i = 0; i < MORE_TRIES && !bounds_met(w, &r[w][KERNEL], &r[w][KUNION], !strcmp(tier, "park")); i++) {
			struct result again;

			printf("%s: slowest create %.2f s, slowest nap %.2f s; once more\n", what_names[w], r[w][KUNION].create_s,
			       r[w][KUNION].nap_s);
			unlink(events[w]);
			again = measure(w, KUNION, events[w], summary);
			if (again.create_s < r[w][KUNION].create_s)
				r[w][KUNION] = again;
		}
	}
	ok = print_table(r, tier);
	for (int w = UNLINK; w <= RENAME; w++) {
		printf("\nWhat kunion saw, %s:\n", what_names[w]);
		stall_print_events(events[w]);
	}
	if (stat(lower, &after) || before.st_size != after.st_size || before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
	    before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
		die("the lower file has changed");
	return opt.check && !ok;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "check", no_argument, NULL, 'c' },	 { "cold", no_argument, NULL, 'C' },
		{ "size", required_argument, NULL, 's' }, { "dir", required_argument, NULL, 'd' },
		{ "run", required_argument, NULL, 'r' }, { "why", no_argument, NULL, 'w' }, { 0 },
	};
	const char *run = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			opt.check = true;
			break;
		case 'C':
			opt.cold = true;
			break;
		case 's':
			opt.size = strtoull(optarg, NULL, 10) * MIB;
			break;
		case 'd':
			opt.dir = optarg;
			break;
		case 'w':
			opt.why = true;
			break;
		case 'r':
			run = optarg;
			break;
		default:
			return 2;
		}
	}
	if (!opt.size)
		die("--size: MiB above 0");
	if (run && argc - optind == 2)
		return run_one(strcmp(run, "rename") ? UNLINK : RENAME, argv[optind], argv[optind + 1]);
	if (argc != optind)
		die("too many arguments; see the top of selftests/bench_stall.c");
	return compare();
}
