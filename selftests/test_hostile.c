// SPDX-License-Identifier: GPL-2.0-only
/*
 * A container that means harm: root in its mount namespace, with an overlay that kunion manages. While kunion is held up at each step of a copy, names,
 * directories and mounts on its way are exchanged; then it goes on, and must not open, ask for or change anything outside that overlay.
 */
#include "box.h"
#include "canary.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

FX_LEAN

#define ROOT FX_DIR "/box"     /* what becomes the container's root */
#define HOST FX_DIR "/host"    /* files that are no canaries, but must stay as they are */
#define DECOY "/m"	       /* where the union is in the container; the daemon must not take its own for it */
#define OTHER 0xabababab
#define NEW 0xe3e3e3e3u
#define SIZE FX_KB(64)
#define EXCHANGE 2 /* RENAME_EXCHANGE */

#define STORM_DIRS 6
#define STORM_FILES 40
#define STORM_MS 4000

static int box_ns = -1, watch_fd = -1;

/* All below runs in a child of its own, in the container: names are the container's. */

static bool enter(void)
{
	return !setns(box_ns, CLONE_NEWNS) && !chdir("/");
}

static bool in(const char *dir, const char *name, char path[static 64])
{
	return snprintf(path, 64, DECOY "/%s/%s", dir, name) < 64;
}

static int move(const char *dir, const char *from, const char *to, unsigned int flags)
{
	char a[64], b[64];

	return !in(dir, from, a) || !in(dir, to, b) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, flags);
}

static int lead(const char *dir, const char *name, const char *to)
{
	char path[64];

	return in(dir, name, path) ? symlink(to, path) : -1;
}

static int cover(const char *dir, const char *name, const char *by)
{
	char path[64];

	return in(dir, name, path) ? mount(by, path, NULL, MS_BIND, NULL) : -1;
}

static int uncover(const char *dir, const char *name)
{
	char path[64];

	return in(dir, name, path) ? umount2(path, MNT_DETACH) : -1;
}

static int take_off(const char *dir, const char *name)
{
	char path[64];

	return in(dir, name, path) ? unlink(path) : -1;
}

/* A node whose opening is told with the opener's number. */
static int node(const char *dir, const char *name, mode_t mode, dev_t dev)
{
	char path[64];

	return !in(dir, name, path) || mknod(path, mode, dev) ? -1 : fanotify_mark(watch_fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, path);
}

static int way_link(const char *d)
{
	return move(d, "a/b", "a/away", 0) || lead(d, "a/b", CANARY);
}

static int way_up(const char *d)
{
	return move(d, "a/b", "a/away", 0) || lead(d, "a/b", "../../../outside");
}

static int way_link_above(const char *d)
{
	return move(d, "a", "away", 0) || lead(d, "a", CANARY);
}

static int way_mount_above(const char *d)
{
	return cover(d, "a", "/outside");
}

static int way_mount(const char *d)
{
	return cover(d, "a/b", "/outside");
}

static int way_mount_file(const char *d)
{
	return cover(d, "a/b/f", "/outside/f");
}

static int way_file_link(const char *d)
{
	return take_off(d, "a/b/f") || lead(d, "a/b/f", CANARY "/f");
}

static int way_file_up(const char *d)
{
	return take_off(d, "a/b/f") || lead(d, "a/b/f", "../../../../outside/f");
}

static int way_fifo(const char *d)
{
	return take_off(d, "a/b/f") || node(d, "a/b/f", S_IFIFO | 0666, 0);
}

static int way_device(const char *d)
{
	return take_off(d, "a/b/f") || node(d, "a/b/f", S_IFCHR | 0666, makedev(1, 3));
}

static int way_fifo_over(const char *d)
{
	return node(d, "a/b/p", S_IFIFO | 0666, 0) || move(d, "a/b/p", "a/b/f", 0);
}

static int way_exchange(const char *d)
{
	return move(d, "a/b", "a/o", EXCHANGE);
}

static int way_moved(const char *d)
{
	return move(d, "a/b", "b", 0);
}

enum {
	LATE = 1,	/* a way that is tried also when the directory is found already; a step behind that */
	TAKES_OFF = 2,	/* a way that takes off the file's name: that waits where the kernel's copy-up runs */
	GUARD = 4,	/* a step of the kernel's copy-up, */
	GUARDING = 8,	/* which runs, or is about to */
};

static const struct way {
	const char *name;
	int (*fn)(const char *dir);
	int is;
} ways[] = {
	{ "link", way_link, LATE },
	{ "up", way_up, 0 },
	{ "link-above", way_link_above, 0 },
	{ "mount-above", way_mount_above, 0 },
	{ "mount", way_mount, LATE },
	{ "mount-file", way_mount_file, LATE },
	{ "file-link", way_file_link, LATE | TAKES_OFF },
	{ "file-up", way_file_up, TAKES_OFF },
	{ "fifo", way_fifo, LATE | TAKES_OFF },
	{ "device", way_device, TAKES_OFF },
	{ "fifo-over", way_fifo_over, TAKES_OFF },
	{ "exchange", way_exchange, LATE },
	{ "moved", way_moved, 0 },
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* Steps of a copy, each before something is opened, made or changed. */
static const struct step {
	const char *stop;
	int is;
} steps[] = {
	{ "before-open", 0 },
	{ "before-dir", 0 },
	{ "before-find", 0 },
	{ "before-source", 0 },
	{ "copying", LATE },
	{ "before-commit", LATE },
	{ "after-link", LATE },
	{ "before-rename", LATE },
	{ "after-rename", LATE },
	{ "before-dir", GUARD },
	{ "before-find", GUARD },
	{ "guarding", GUARD | GUARDING },
	{ "before-guard", GUARD | GUARDING },
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

struct job {
	const struct way *way;
	char dir[32];
};

static long do_way(void *arg)
{
	const struct job *j = arg;

	return enter() && !j->way->fn(j->dir) ? 0 : -1;
}

/* What has kunion copy. O_NONBLOCK: a FIFO may be there by now. */
static long do_open(void *arg)
{
	const struct job *j = arg;
	char path[64];

	return enter() && in(j->dir, "a/b/f", path) ? see_closed(open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) : -1;
}

/* Of a running program: neither may kunion copy it itself nor can it be opened. */
static long do_chmod(void *arg)
{
	const struct job *j = arg;
	char path[64];
	int fd = -1;
	long r;
	pid_t pid;

	if (!enter() || !in(j->dir, "a/b/f", path))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(path, path, NULL);
		_exit(1);
	}
	for (int i = 0; i < FX_LONG && (fd = open(path, O_WRONLY | O_CLOEXEC | O_PATH)) >= 0; i++) {
		char exe[64], to[80];
		ssize_t n;

		close(fd);
		snprintf(exe, sizeof(exe), "/host-proc/%d/exe", pid);
		n = readlink(exe, to, sizeof(to) - 1);
		if (n > 0 && strstr((to[n] = '\0', to), "/a/b/f"))
			break;
		fx_sleep_ms(1);
	}
	r = chmod(path, 0700);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

/* Storms: until the time is over. */
static long do_storm(void *arg)
{
	unsigned int seed = *(unsigned int *)arg;
	uint64_t end = fx_now_ns() + STORM_MS * 1000000ull;
	char d[32], f[32];

	if (!enter())
		return -1;
	while (fx_now_ns() < end) {
		snprintf(d, sizeof(d), "storm%d", rand_r(&seed) % STORM_DIRS);
		snprintf(f, sizeof(f), "a/b/f%d", rand_r(&seed) % STORM_FILES);
		/* Two of us go at the same names: what fails is the other's. */
		switch (rand_r(&seed) % 6) {
		case 0:
			way_link(d);
			usleep((unsigned int)rand_r(&seed) % 2000);
			take_off(d, "a/b");
			move(d, "a/away", "a/b", 0);
			break;
		case 1:
			way_up(d);
			usleep((unsigned int)rand_r(&seed) % 2000);
			take_off(d, "a/b");
			move(d, "a/away", "a/b", 0);
			break;
		case 2:
			way_mount(d);
			usleep((unsigned int)rand_r(&seed) % 2000);
			uncover(d, "a/b");
			break;
		case 3:
			cover(d, f, "/outside/f");
			usleep((unsigned int)rand_r(&seed) % 2000);
			uncover(d, f);
			break;
		case 4:
			way_exchange(d);
			break;
		case 5:
			if (rand_r(&seed) % 4 == 0 && !take_off(d, f))
				node(d, f, S_IFIFO | 0666, 0);
		}
	}
	return 0;
}

static long do_ask(void *arg)
{
	unsigned int seed = *(unsigned int *)arg;
	uint64_t end = fx_now_ns() + STORM_MS * 1000000ull;

	if (!enter())
		return -1;
	while (fx_now_ns() < end) {
		char path[64], name[32], dir[32];

		snprintf(dir, sizeof(dir), "storm%d", rand_r(&seed) % STORM_DIRS);
		snprintf(name, sizeof(name), "a/b/f%d", rand_r(&seed) % STORM_FILES);
		if (!in(dir, name, path))
			return -1;
		if (rand_r(&seed) % 2)
			chmod(path, 0644);
		else
			see_closed(open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
	}
	return 0;
}

/* The overlay, the outside, and nothing else of the host's. */
static long do_pivot(void *arg)
{
	const struct fx *fx = arg;
	char opts[FX_PATH_MAX * 4];

	snprintf(opts, sizeof(opts), "lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on", fx->lower, fx->upper, fx->work);
	if (!enter() || mount("root", ROOT, "tmpfs", 0, NULL) || chdir(ROOT) || mkdir("m", 0755) || mkdir("outside", 0755) || mkdir("old", 0755) ||
	    mkdir("host-proc", 0755) || mount("overlay", "m", "overlay", 0, opts) || mount(CANARY, "outside", NULL, MS_BIND, NULL) ||
	    mount("/proc", "host-proc", NULL, MS_BIND, NULL))
		return -1;
	return syscall(SYS_pivot_root, ".", "old") || umount2("old", MNT_DETACH) ? -1 : 0;
}

/* Back to the test. */

static void container_does(long (*fn)(void *), void *arg, const char *what)
{
	struct fx_op op;

	fx_op_start(&op, 0, fn, arg);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s: does not return", what);
	KTAP_REQUIRE(!op.res->err && !op.res->ret, "%s: %s", what, strerror(op.res->err));
}

/* A program that sleeps for good: pause(2), over and over. */
static void program(const struct fx *fx, const char *name)
{
	static const unsigned char code[] = { 0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7 };
	static const unsigned char head[120] = {
		0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, [18] = 0x3e, [20] = 1, [24] = 0x78, [26] = 0x40, [32] = 0x40, [52] = 0x40, [54] = 0x38, [56] = 1,
		[64] = 1, [68] = 5, [82] = 0x40, [90] = 0x40, [96] = 129, [104] = 129, [113] = 0x10,
	};
	int fd = open(fx_lpath(fx, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	KTAP_REQUIRE(fd >= 0 && write(fd, head, sizeof(head)) == sizeof(head) && write(fd, code, sizeof(code)) == sizeof(code) && !ftruncate(fd, SIZE), "%s",
		     name);
	close(fd);
}

static bool applies(const struct step *s, const struct way *w)
{
	return (!(s->is & LATE) || w->is & LATE) && !(s->is & GUARDING && w->is & TAKES_OFF);
}

static const char *case_dir(const struct step *s, const struct way *w)
{
	return fx_name("%s%s-%s", s->is & GUARD ? "guard-" : "", s->stop, w->name);
}

static void make_files(struct fx *fx)
{
	for (const struct step *s = steps; s < steps + STEPS; s++)
		for (const struct way *w = ways; w < ways + WAYS; w++) {
			if (!applies(s, w))
				continue;
			fx_lower_as(fx, fx_name("%s/a/o/f", case_dir(s, w)), OTHER, FX_BLOCK, 0644);
			if (!(s->is & GUARD)) {
				fx_lower_as(fx, fx_name("%s/a/b/f", case_dir(s, w)), FX_F, SIZE, 0644);
				continue;
			}
			fx_lower_as(fx, fx_name("%s/a/b/g", case_dir(s, w)), FX_G, FX_BLOCK, 0644);
			program(fx, fx_name("%s/a/b/f", case_dir(s, w)));
		}
	for (int d = 0; d < STORM_DIRS; d++)
		for (int f = 0; f < STORM_FILES; f++) {
			fx_lower_as(fx, fx_name("storm%d/a/b/f%d", d, f), FX_F, SIZE, 0644);
			if (f % 4 == 0)
				fx_lower_as(fx, fx_name("storm%d/a/o/f%d", d, f), OTHER, SIZE, 0644);
		}
}

static void forced(const struct fx *fx, const struct step *s, const struct way *w)
{
	struct job j = { .way = w };
	struct fx_op op;

	snprintf(j.dir, sizeof(j.dir), "%s", case_dir(s, w));
	canary_at(j.dir);
	fx_stop_arm(fx, s->stop);
	fx_op_start(&op, 0, s->is & GUARD ? do_chmod : do_open, &j);
	fx_stop_wait(fx, s->stop, FX_LONG);
	container_does(do_way, &j, j.dir);
	fx_stop_go(fx, s->stop);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s: still waits", j.dir);
}

static void storm(void)
{
	unsigned int seed[4] = { 1, 2, 3, 4 };
	struct fx_op op[4];

	canary_at("storm");
	for (int i = 0; i < 4; i++)
		fx_op_start(&op[i], 0, i < 2 ? do_storm : do_ask, &seed[i]);
	for (int i = 0; i < 4; i++)
		KTAP_CHECK(fx_op_wait(&op[i], STORM_MS + 2 * FX_LONG) && !op[i].res->ret, "storm %d", i);
}

/* Nothing that was opened to see what happens was opened by kunion. */
static void nodes_check(pid_t kunion)
{
	struct fanotify_event_metadata e[64];
	unsigned int by_kunion = 0;
	ssize_t n;

	while ((n = read(watch_fd, e, sizeof(e))) > 0)
		for (struct fanotify_event_metadata *m = e; FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n))
			by_kunion += m->pid == kunion;
	KTAP_CHECK(!by_kunion, "the daemon opened FIFOs or devices %u times", by_kunion);
}

static unsigned int copies;

static int copy_check(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	uint32_t id;
	int fd;

	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	id = fd < 0 ? 0 : fx_get_block(fd, 0);
	copies++;
	/* The programs have no stamp. */
	if (!strstr(path, "guard-"))
		KTAP_CHECK((id == FX_F || id == OTHER) && fx_verify_fd(fd, id, st->st_size), "%s is no copy of a lower file", path);
	if (fd >= 0)
		close(fd);
	return 0;
}

KTAP_TEST_LIMIT(container_that_means_harm, 400)
{
	bool park = fx_kernel_since(6, 18);
	uint64_t host;
	struct box b;
	struct fx fx;

	fx_init(&fx, NULL);
	make_files(&fx);
	fx.lower_sum = fx_tree_sum(fx.lower);
	canary_start();
	/* The names of the container's files in the daemon's own root: what is there is none of the union's. */
	fx_sh("mkdir -p " DECOY " " ROOT " " HOST "/a/b && echo host >" HOST "/a/b/f");
	KTAP_REQUIRE(!mount(CANARY, DECOY, NULL, MS_BIND, NULL), "%s", strerror(errno));
	host = fx_tree_sum(HOST);
	/* By handle: events that would bring a descriptor are not told of FIFOs and devices. */
	watch_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_REPORT_FID, O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(watch_fd >= 0, "fanotify: %s", strerror(errno));
	see_places_make();
	box_start(&b, SEE_DOCKER, false);
	box_ns = open(fx_name("/proc/%d/ns/mnt", b.pid), O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(box_ns >= 0);
	container_does(do_pivot, &fx, "pivot");
	if (!box_daemon(&fx, true, NULL)) {
		box_daemon_end(&fx);
		ktap_skip("mode manage does not work on this kernel");
	}
	canary->watched = fx.kunion;
	canary_at("attach");
	KTAP_CHECK(BOX_KUNION("attach", "--pid", fx_name("%d", b.pid)) == 0 && !strcmp(BOX_SAID, DECOY "\n"), "%s", BOX_SAID);

	for (const struct step *s = steps; s < steps + STEPS; s++)
		for (const struct way *w = ways; w < ways + WAYS; w++)
			if (applies(s, w) && (park || !(s->is & GUARD)))
				forced(&fx, s, w);
	storm();
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "engine", "kunion", "result", "ok", NULL) > 20, "kunion copied next to nothing");
	KTAP_CHECK(canary->requests, "nobody came to the outside");
	box_end(&b);
	close(box_ns);
	box_comes(DECOY, NULL, false);
	box_daemon_end(&fx);
	canary_check();
	nodes_check(canary->watched);
	KTAP_CHECK(fx_tree_sum(HOST) == host, "the host's files were changed");
	KTAP_CHECK(!nftw(fx.upper, copy_check, 16, FTW_PHYS) && copies, "%u copies", copies);
	umount2(DECOY, MNT_DETACH);
	canary_end();
	see_places_remove();
	fx_end(&fx);
}

KTAP_MAIN()
