// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stall experiment: one directory of a union with a large lower file. A writer opens the file and appends to it, 50 ms later
 * somebody unlinks (renames, links, chmods) it, and all the while small files are created in the directory, one each 5 ms. How long does
 * the unlink take, and the slowest create? First with the kernel alone, then under `kunion run`.
 *
 * bench_stall [--mode manage|guard] [--alone] [--check] [--cold] [--why] [--size MIB] [--dir DIR]
 *
 * --alone: without the writer, so that it is the operation that needs the copy. Unlink needs none, and is left out.
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

#include "stall_disk.h"
#include "stall_print.h"

#define BEFORE_NS 200000000ull /* creates before the writer begins */
#define LATER_NS 50000000ull   /* the unlink, after the writer began */
#define EVERY_NS 5000000ull    /* between two creates */
#define MORE_TRIES 2
#define RECORD "# appended\n"

enum what { UNLINK, RENAME, LINK, CHMOD, WHATS };
enum engine { KERNEL, KUNION };

static const char *const what_names[WHATS] = { "unlink", "rename", "link", "chmod" };
static const char *const who_names[WHATS] = { "unlinker", "renamer", "linker", "chmodder" };

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
	int fd = -1;

	prctl(PR_SET_NAME, "writer");
	pthread_barrier_wait(&run->start);
	began = now_ns();
	if (opt.alone)
		goto out;
	fd = openat(run->dirfd, "big", O_WRONLY | O_APPEND | O_CLOEXEC);
	run->r.open_err = fd < 0 ? errno : 0;
	if (fd >= 0 && write(fd, RECORD, strlen(RECORD)) < 0)
		run->r.open_err = errno;
out:
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

	prctl(PR_SET_NAME, who_names[run->what]);
	pthread_barrier_wait(&run->start);
	sleep_until(now_ns() + LATER_NS);
	began = now_ns();
	switch (run->what) {
	case UNLINK:
		err = unlinkat(run->dirfd, "big", 0);
		break;
	case RENAME:
		err = renameat(run->dirfd, "big", run->dirfd, "moved");
		break;
	case LINK:
		err = linkat(run->dirfd, "big", run->dirfd, "moved", 0);
		break;
	default:
		err = fchmodat(run->dirfd, "big", 0600, 0);
	}
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
static void verify_copy(const struct run *run)
{
	char tail[sizeof(RECORD)] = "";
	uint64_t stamp;
	int fd;

	fd = openat(run->dirfd, run->what == CHMOD ? "big" : "moved", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("the copy: %s", strerror(errno));
	for (uint64_t at = 0; at < opt.size; at += MIB)
		if (pread(fd, &stamp, sizeof(stamp), (off_t)at) != sizeof(stamp) || stamp != at)
			die("the copy is wrong at offset %llu", (unsigned long long)at);
	if (!opt.alone && !run->r.open_err &&
	    (pread(fd, tail, sizeof(tail), (off_t)opt.size) != (ssize_t)strlen(RECORD) || strcmp(tail, RECORD)))
		die("the copy does not end with the line appended to it");
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
	if (what != UNLINK && !run.r.op_err)
		verify_copy(&run);

	f = fopen(out, "we");
	if (!f)
		die("%s: %s", out, strerror(errno));
	fprintf(f, "%f %f %f %f %u %d %d %d\n", run.r.op_s, run.r.create_s, run.r.open_s, run.r.nap_s, run.r.creates, run.r.op_err,
		run.r.open_err, run.r.create_err);
	fclose(f);
	return 0;
}

/* around them */

static struct result measure(enum what what, enum engine engine, const char *events, char summary[static 256])
{
	char self[PATH_MAX] = "", merged[PATH_MAX], dir[PATH_MAX], out[PATH_MAX], err[PATH_MAX], name[16], size[24];
	char *kunion = getenv("KUNION") ?: "kunion";
	char *argv[] = { kunion, "run", "-m", (char *)opt.mode, "--events", (char *)events, merged, "--",
			 self,	 "--run", (char *)what_names[what], "--size", size, dir, out, opt.why ? "--why" : "--no-why",
			 opt.alone ? "--alone" : NULL, NULL };
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
	status = spawn(engine == KUNION ? argv : argv + 8, engine == KUNION ? err : NULL);
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

/* Slower than this many times is no stall; 0: no bound. The kernel alone has none either where only the file is locked. */
static double create_bound(enum what what, bool park)
{
	if (what == CHMOD || (what != UNLINK && !park))
		return 0;
	return STALL_BOUND;
}

/* With guard the unlink waits, too, but with nothing locked. */
static double op_bound(enum what what, bool park)
{
	return what == UNLINK && park && !guards() ? STALL_BOUND : 0;
}

static bool bounds_met(enum what what, const struct result *kernel, const struct result *kunion, bool park)
{
	return kunion->create_s * create_bound(what, park) < kernel->create_s && kunion->op_s * op_bound(what, park) < kernel->op_s;
}

/* the table */

static const char *op_note(enum what what, bool park)
{
	if (!park)
		return what == UNLINK ? "gives the copy up" : "native on this kernel";
	return what == UNLINK && !guards() ? NULL : "waits for the copy";
}

static bool print_table(struct result r[WHATS][2], const bool did[WHATS], const char *tier)
{
	bool park = !strcmp(tier, "park"), ok = true;
	struct utsname un;

	uname(&un);
	if (opt.alone)
		printf("\nA lower file of %llu MiB is renamed (linked, chmodded);\n", (unsigned long long)opt.size / MIB);
	else
		printf("\nA writer makes the union copy a lower file of %llu MiB; 50 ms later the file is unlinked (renamed%s);\n",
		       (unsigned long long)opt.size / MIB, guards() ? ", linked, chmodded" : "");
	printf("a small file is created in its directory each 5 ms. Linux %s, mode %s, tier %s, file %s.\n\n", un.release, opt.mode, tier,
	       opt.cold ? "not cached" : "cached");
	printf("  %-18s%11s%12s   %s\n", "", "kernel", opt.mode, "ratio");
	for (enum what w = UNLINK; w < WHATS; w++) {
		const struct result *a = &r[w][KERNEL], *b = &r[w][KUNION];

		if (!did[w])
			continue;
		ok &= stall_print_row(what_names[w], a->op_s, b->op_s, op_bound(w, park), op_note(w, park));
		ok &= stall_print_row("  slowest create", a->create_s, b->create_s, create_bound(w, park), NULL);
		if (!opt.alone)
			stall_print_row("  writer", a->open_s, b->open_s, 0,
					b->open_err ? "under kunion: the file is gone (ENOENT)" : NULL);
		stall_print_row("  slowest nap", a->nap_s, b->nap_s, 0, w == UNLINK ? "of 5 ms: the machine's own hiccups" : NULL);
	}
	return ok;
}

static int compare(void)
{
	char lower[PATH_MAX], events[WHATS][PATH_MAX], summary[256], tier[32] = "none";
	/* What manage makes of the others is what it makes of a rename. */
	const bool did[WHATS] = { !opt.alone, true, opt.alone || guards(), opt.alone || guards() };
	struct result r[WHATS][2];
	struct stat before, after;
	bool ok;

	if (!opt.dir)
		use_disk();
	/* A disk that is a sparse file is slow where it is written for the first time: not at the cost of who comes first. */
	path_of(lower, "warm");
	fill_file(lower);
	unlink(lower);
	make_dir("lower");
	make_dir("lower/dir");
	path_of(lower, "lower/dir/big");
	fill_file(lower);
	stat(lower, &before);
	for (enum what w = UNLINK; w < WHATS; w++) {
		char name[32];

		if (!did[w])
			continue;
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
	ok = print_table(r, did, tier);
	for (enum what w = UNLINK; w < WHATS; w++) {
		if (!did[w])
			continue;
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
		{ "run", required_argument, NULL, 'r' }, { "why", no_argument, NULL, 'w' },
		{ "mode", required_argument, NULL, 'm' }, { "alone", no_argument, NULL, 'a' },
		{ "no-why", no_argument, NULL, 'n' },	 { 0 },
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
		case 'm':
			opt.mode = optarg;
			break;
		case 'a':
			opt.alone = true;
			break;
		case 'n':
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
	if (strcmp(opt.mode, "manage") && !guards())
		die("--mode: manage or guard");
	for (enum what w = UNLINK; run && w < WHATS; w++)
		if (!strcmp(run, what_names[w]) && argc - optind == 2)
			return run_one(w, argv[optind], argv[optind + 1]);
	if (argc != optind)
		die("too many arguments; see the top of selftests/bench_stall.c");
	return compare();
}
