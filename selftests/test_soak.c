// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many overlay mounts, every fifth of them in a mount namespace of its own, attached, written to, let go and unmounted, over and over: nothing is left
 * of them in the daemon or in the kernel, each one's first write is told, none is busy.
 *
 * SOAK_SECONDS	how long (default: some rounds); what is measured must be flat after its tenth part, a minute of ten, and PLACES_USED mounts
 * SOAK_MOUNTS	at a time (default 200, or 40 where SOAK_SECONDS is not given)
 */
#include "fx_fixture.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

FX_LEAN

#define SOCK FX_DIR "/io.kunion"
#define ROUNDS_LEAST 4
#define PLACES_USED 3000 /* the daemon's places for unions have all been used, and used again */
#define MOUNTS_MAX 1000
#define ROUND_MS 600000 /* for what a round must see; never waited out when all is well */
#define FILE_SIZE FX_KB(128)
#define REPLY_MAX (1 << 20)
#define NAME_ROOM (FX_PATH_MAX + 64)

/* What is left when a round is over. */
struct state {
	long fds, threads, rss_kb, progs, maps, links, entries;
};

static struct fx fx;
static pid_t daemon_pid;
static bool manage;
static int mounts, sock_fd = -1, events_fd = -1;
static unsigned int told[MOUNTS_MAX]; /* first writes of this round */
static char reply[REPLY_MAX];

static long env_number(const char *name, long otherwise)
{
	const char *text = getenv(name);
	char *end;
	long n = text && *text ? strtol(text, &end, 10) : otherwise;

	KTAP_REQUIRE(!text || !*text || (!*end && n > 0), "%s=%s is no number", name, text);
	return n;
}

static bool dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = SOCK };

	if (sock_fd >= 0)
		close(sock_fd);
	sock_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	KTAP_REQUIRE(sock_fd >= 0, "%s", strerror(errno));
	return !connect(sock_fd, (struct sockaddr *)&a, sizeof(a));
}

/* A call by the control socket. 0 and the reply in reply, or an errno: none came. */
static int ask(const char *method, const char *parameters)
{
	char text[4 * NAME_ROOM];
	int len = snprintf(text, sizeof(text), "{\"method\":\"io.kunion.%s\",\"parameters\":{%s}}", method, parameters) + 1;
	size_t n = 0;

	if (send(sock_fd, text, (size_t)len, MSG_NOSIGNAL) != len)
		return errno;
	do {
		ssize_t got = recv(sock_fd, reply + n, sizeof(reply) - n, 0);

		if (got <= 0)
			return got ? errno : EPIPE;
		n += (size_t)got;
		KTAP_REQUIRE(n < sizeof(reply), "a reply too long");
	} while (reply[n - 1]);
	return 0;
}

/* False: an error, which is in reply, or no answer. */
static bool call(const char *method, const char *parameters)
{
	int err = ask(method, parameters);

	if (err) {
		char *log = fx_log_text(&fx);

		KTAP_CHECK(false, "%s: no answer: %s; the daemon: %s", method, strerror(err), log);
		free(log);
	}
	return !err && !strstr(reply, "\"error\"");
}

static void start_daemon(void)
{
	char conf[FX_PATH_MAX], text[1024];
	uint64_t end = fx_now_ns() + ROUND_MS * 1000000ull;
	int fd, st;

	manage = true;
	snprintf(conf, sizeof(conf), "%s/kunion.conf", FX_DIR);
	snprintf(text, sizeof(text), "min-size = \"64K\";\nevents = \"%s\";\n", fx.events);
	fd = open(conf, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	KTAP_REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
again:
	daemon_pid = fork();
	KTAP_REQUIRE(daemon_pid >= 0);
	if (!daemon_pid) {
		fd = open(fx.log, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
			_exit(126);
		execlp("kunion", "kunion", "daemon", "-c", conf, "--socket", SOCK, "--mode", manage ? "manage" : "observe", NULL);
		_exit(127);
	}
	/* It listens before it finds out that the mode does not work. */
	while (!dial() || ask("Status", "")) {
		KTAP_REQUIRE(fx_now_ns() < end, "no socket");
		if (waitpid(daemon_pid, &st, WNOHANG) == daemon_pid) {
			char *log = fx_log_text(&fx);

			KTAP_REQUIRE(manage && strstr(log, "does not work on this kernel"), "%s", log);
			free(log);
			manage = false;
			goto again;
		}
		fx_sleep_ms(20);
	}
}

static const char *place(int i, const char *part)
{
	static char text[4][NAME_ROOM];
	static unsigned int turn;
	char *t = text[turn++ % 4];

	snprintf(t, NAME_ROOM, "%s/soak/%d/%s", fx.upper_base, i, part);
	return t;
}

/* Counts the first writes that are told behind what was read before. */
static void read_events(void)
{
	static char text[1 << 16];
	static size_t kept;
	ssize_t n;

	while ((n = read(events_fd, text + kept, sizeof(text) - 1 - kept)) > 0) {
		char *line = text, *nl;

		text[kept + (size_t)n] = '\0';
		while ((nl = strchr(line, '\n'))) {
			char *at = NULL;
			int i;

			*nl = '\0';
			if (strstr(line, "\"event\":\"copyup\"") && strstr(line, "\"path\":\"/f\"") && strstr(line, "\"result\":\"ok\""))
				at = strstr(line, "/soak/");
			if (at && sscanf(at, "/soak/%d/merged\"", &i) == 1 && i >= 0 && i < mounts)
				told[i]++;
			KTAP_CHECK(!strstr(line, "\"event\":\"dropped\""), "%s", line);
			line = nl + 1;
		}
		kept = strlen(line);
		KTAP_REQUIRE(kept < sizeof(text) / 2, "a line too long");
		memmove(text, line, kept);
	}
}

static void empty(const char *dir)
{
	char sub[2 * NAME_ROOM];

	snprintf(sub, sizeof(sub), "%s/f", dir);
	unlink(sub);
	snprintf(sub, sizeof(sub), "%s/work", dir);
	rmdir(sub);
	snprintf(sub, sizeof(sub), "%s/index", dir);
	rmdir(sub);
}

/* What is done with an overlay, here or in a container. Each gives 0 or an errno. */

static int do_mount(int i, const char *more)
{
	char text[4 * NAME_ROOM];

	snprintf(text, sizeof(text), "lowerdir=%s,upperdir=%s,workdir=%s%s", fx.lower, place(i, "upper"), place(i, "work"), more);
	return mount("soak", place(i, "merged"), "overlay", 0, text) ? errno : 0;
}

static int do_write(int i)
{
	char name[2 * NAME_ROOM];
	int fd, err;

	snprintf(name, sizeof(name), "%s/f", place(i, "merged"));
	fd = open(name, O_WRONLY | O_CLOEXEC);
	err = fd < 0 || write(fd, "x", 1) != 1 ? errno : 0;
	if (fd >= 0)
		close(fd);
	return err;
}

static int do_umount(int i)
{
	int err = umount2(place(i, "merged"), 0) ? errno : 0;

	if (err)
		umount2(place(i, "merged"), MNT_DETACH);
	return err;
}

/* Containers: children with a mount namespace of their own. */

enum { MOUNT, WRITE, UMOUNT };

static struct {
	pid_t pid;
	int to, from;
} containers[MOUNTS_MAX];

static bool contained(int i)
{
	return i % 5 == 0;
}

static void container_serve(int i, int to, int from)
{
	char what;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNS))
		_exit(1);
	while (read(to, &what, 1) == 1) {
		int err = what == MOUNT ? do_mount(i, "") : what == WRITE ? do_write(i) : do_umount(i);

		if (write(from, &err, sizeof(err)) != sizeof(err))
			break;
	}
	_exit(0);
}

/* Before this round's mounts: it would have copies of them. */
static void container_start(int i)
{
	int to[2], from[2];

	KTAP_REQUIRE(!pipe2(to, O_CLOEXEC) && !pipe2(from, O_CLOEXEC));
	containers[i].pid = fork();
	KTAP_REQUIRE(containers[i].pid >= 0);
	if (!containers[i].pid)
		container_serve(i, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	containers[i].to = to[1];
	containers[i].from = from[0];
}

static void container_end(int i)
{
	kill(containers[i].pid, SIGKILL);
	KTAP_CHECK(waitpid(containers[i].pid, NULL, 0) == containers[i].pid);
	close(containers[i].to);
	close(containers[i].from);
}

static int where_it_is(int i, char what)
{
	int err = EPIPE;

	if (!contained(i))
		return what == MOUNT ? do_mount(i, "") : what == WRITE ? do_write(i) : do_umount(i);
	if (write(containers[i].to, &what, 1) != 1 || read(containers[i].from, &err, sizeof(err)) != sizeof(err))
		return EPIPE;
	return err;
}

static void attach(int i)
{
	bool managed = manage && (contained(i) ? i / 20 : i) % 2;
	char text[4 * NAME_ROOM];

	if (contained(i))
		snprintf(text, sizeof(text), "\"pid\":%d,\"mode\":\"%s\"", containers[i].pid, managed ? "manage" : "observe");
	else
		snprintf(text, sizeof(text), "\"path\":\"%s\",\"mode\":\"%s\"", place(i, "merged"), managed ? "manage" : "observe");
	KTAP_REQUIRE(call(contained(i) ? "AttachAll" : "Attach", text) && strstr(reply, "\"path\""), "%d: %s", i, reply);
}

static void first_write(int i)
{
	int err = where_it_is(i, WRITE);

	KTAP_CHECK(!err, "%d: %s", i, strerror(err));
}

/* With an index it is refused as long as the file system that was mounted of the same directories lives somewhere. */
static bool is_over(int i, uint64_t end)
{
	int err;

	while ((err = do_mount(i, ",index=on")) == EBUSY && fx_now_ns() < end)
		fx_sleep_ms(20);
	if (!err)
		err = do_umount(i);
	return KTAP_CHECK(!err, "%d: its file system is left: %s", i, strerror(err));
}

/* Every other is observed only; of each sort one half is let go by command, the other by its unmounting. Of the containers one half unmounts, the other ends. */
static void go_round(void)
{
	uint64_t end = fx_now_ns() + ROUND_MS * 1000000ull;
	char text[4 * NAME_ROOM];
	int busy = 0, missed, twice = 0;

	memset(told, 0, sizeof(told));
	for (int i = 0; i < mounts; i++)
		if (contained(i))
			container_start(i);
	for (int i = 0; i < mounts; i++) {
		int err = where_it_is(i, MOUNT);

		KTAP_REQUIRE(!err, "%d: %s", i, strerror(err));
		attach(i);
		/* Some at once, some when there are more. */
		if (i % 8 < 4)
			first_write(i);
	}
	for (int i = 0; i < mounts; i++) {
		int err = 0;

		if (i % 8 >= 4)
			first_write(i);
		if (i % 4 < 2) {
			snprintf(text, sizeof(text), "\"path\":\"%s\"", place(i, "merged"));
			KTAP_CHECK(call("Detach", text), "%d: %s", i, reply);
		}
		if (!contained(i) || i % 2 == 0)
			err = where_it_is(i, UMOUNT);
		busy += !!err;
		KTAP_CHECK(!err, "%d: umount: %s", i, strerror(err));
		if (contained(i))
			container_end(i);
	}
	for (;;) {
		read_events();
		missed = 0;
		for (int i = 0; i < mounts; i++)
			missed += !told[i];
		if (call("Status", "") && strstr(reply, "\"unions\":[]") && !missed)
			break;
		if (!KTAP_CHECK(fx_now_ns() < end, "missed %d first writes, or not let go: %.2000s", missed, reply))
			break;
		fx_sleep_ms(50);
	}
	for (int i = 0; i < mounts; i++) {
		twice += told[i] > 1;
		if (contained(i))
			busy += !is_over(i, end);
		empty(place(i, "upper"));
		empty(place(i, "work"));
	}
	KTAP_CHECK(!busy && !missed && !twice, "%d busy, %d missed, %d told twice", busy, missed, twice);
}

static long count_dir(const char *name)
{
	char path[64];
	struct dirent *e;
	long n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/%s", daemon_pid, name);
	d = opendir(path);
	KTAP_REQUIRE(d, "%s: %s", path, strerror(errno));
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* The last ones are those that are too many. */
static void show_descriptors(void)
{
	char path[64], target[FX_PATH_MAX];

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", daemon_pid, fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n > 0)
			ktap_diag("%d: %.*s", fd, (int)n, target);
	}
}

static long count_rss(void)
{
	char path[64], line[256];
	long kb = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", daemon_pid);
	f = fopen(path, "re");
	KTAP_REQUIRE(f, "%s", path);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmRSS: %ld", &kb);
	fclose(f);
	return kb;
}

static long count_ids(int (*next)(__u32, __u32 *))
{
	long n = 0;

	for (__u32 id = 0; !next(id, &id);)
		n++;
	return n;
}

/* What is kept about unions and files is in hash maps. */
static long count_entries(void)
{
	long n = 0;

	for (__u32 id = 0; !bpf_map_get_next_id(id, &id);) {
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);
		int fd = bpf_map_get_fd_by_id(id);
		char key[512];
		bool first = true;

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == BPF_MAP_TYPE_HASH && info.key_size <= sizeof(key))
			for (; !bpf_map_get_next_key(fd, first ? NULL : key, key); first = false)
				n++;
		close(fd);
	}
	return n;
}

static struct state look(void)
{
	return (struct state){ count_dir("fd"), count_dir("task"), count_rss(), count_ids(bpf_prog_get_next_id),
			       count_ids(bpf_map_get_next_id), count_ids(bpf_link_get_next_id), count_entries() };
}

static void show(const char *when, int round, const struct state *s)
{
	ktap_diag("%s round %d: %ld descriptors, %ld threads, %ld KiB resident, %ld programs, %ld maps, %ld links, %ld entries", when, round, s->fds,
		  s->threads, s->rss_kb, s->progs, s->maps, s->links, s->entries);
}

KTAP_TEST_LIMIT(nothing_is_left_of_many_mounts, 7200)
{
	long seconds = env_number("SOAK_SECONDS", 0);
	uint64_t start, flat_ns = (uint64_t)seconds * 100000000;
	struct state base = {}, now = {};
	int round, flat = 0, status = -1;

	mounts = (int)env_number("SOAK_MOUNTS", seconds ? 200 : 40);
	KTAP_REQUIRE(mounts <= MOUNTS_MAX, "SOAK_MOUNTS is more than %d", MOUNTS_MAX);
	fx_init(&fx, NULL);
	fx_lower(&fx, "f", FILE_SIZE, 0644);
	fx_mount(&fx);
	for (int i = 0; i < mounts; i++)
		fx_sh("cd %s && mkdir -p soak/%d && cd soak/%d && mkdir upper work merged", fx.upper_base, i, i);
	start_daemon();
	events_fd = open(fx.events, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	KTAP_REQUIRE(events_fd >= 0);

	start = fx_now_ns();
	for (round = 1; round <= ROUNDS_LEAST || fx_now_ns() - start < (uint64_t)seconds * 1000000000; round++) {
		go_round();
		/* It is written in append mode: what was read can go. */
		KTAP_REQUIRE(!ftruncate(events_fd, 0) && !lseek(events_fd, 0, SEEK_SET));
		now = look();
		if (!flat && round >= 2 && (!seconds || round * mounts >= PLACES_USED) && fx_now_ns() - start >= flat_ns) {
			flat = round;
			base = now;
			show("from", round, &base);
		}
	}
	KTAP_REQUIRE(flat, "only %d rounds of %d mounts in %ld s: give it more time", round - 1, mounts, seconds);
	show("after", round - 1, &now);
	ktap_diag("%d mounts a round, %lu s", mounts, (unsigned long)((fx_now_ns() - start) / 1000000000));
	if (!KTAP_CHECK(now.fds <= base.fds && now.threads <= base.threads, "descriptors or threads"))
		show_descriptors();
	KTAP_CHECK(now.progs == base.progs && now.maps == base.maps && now.links == base.links, "BPF objects");
	KTAP_CHECK(now.entries <= base.entries + 16, "entries of maps");
	KTAP_CHECK(now.rss_kb <= base.rss_kb + 1024, "memory");
	close(sock_fd);
	KTAP_CHECK(!kill(daemon_pid, SIGTERM) && waitpid(daemon_pid, &status, 0) == daemon_pid && !status, "status %#x", status);
	fx_end(&fx);
}

KTAP_MAIN()
