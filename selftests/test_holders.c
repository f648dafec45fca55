// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whoever holds a lower file (a descriptor, a mapping, a watch, a lock, a mount) goes on seeing it as after the kernel's own copy-up: such a
 * file is left to the kernel, also when it is taken hold of while the copy is under way.
 */
#include "fx_record.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/xattr.h>

#define SIZE FX_MB(1)

/* Everything of a holder is in this process, but for what needs a mount namespace or a program. */
struct holder {
	const char *dir;
	void (*take)(const struct fx *fx);
	void (*look)(const struct fx *fx);
	void (*drop)(const struct fx *fx);
	bool late; /* take hold while the copy is under way */
	bool chmod_only;
};

static const struct holder *holder;
static const char *dir; /* each holder has its own, so that they share one kunion */
static int held = -1;
static pid_t held_by;
static void *mapped;

/* "DIR/what", in memory that lasts. */
static const char *name(const char *what)
{
	char *s;

	KTAP_REQUIRE(asprintf(&s, "%s/%s", dir, what) > 0);
	return s;
}

static const char *path(const struct fx *fx, const char *what)
{
	return fx_path(fx, name(what));
}

static int put(const struct fx *fx, const char *what, const char *id, unsigned int nr, int flags)
{
	int fd = open(path(fx, what), O_WRONLY | O_CLOEXEC | flags), err;

	if (fd < 0)
		return -1;
	err = fx_put_block(fd, fx_id(id), nr);
	close(fd);
	errno = -err;
	return err ? -1 : 0;
}

/* Whose blocks 0 and 1 are. */
static void note_blocks(const char *what, int fd)
{
	fx_note("%s: block 0 %#x, block 1 %#x", what, fx_get_block(fd, 0), fx_get_block(fd, 1));
}

static void drop_fd(const struct fx *fx)
{
	(void)fx;
	close(held);
}

/* the steps */

static void steps(struct fx *fx)
{
	struct fx_op op;
	enum fx_call_kind kind = holder->chmod_only ? FX_CHMOD : FX_OPEN_WRITE;

	fx_note_file(fx, name("f"));
	if (!holder->late)
		holder->take(fx);
	else
		fx_stop_arm(fx, "copying");
	fx_call_start(&op, &(struct fx_call){ kind, path(fx, "f"), .mode = 0755, .id = fx_id("first") });
	if (holder->late) {
		fx_stop_wait(fx, "copying", FX_LONG);
		holder->take(fx);
		fx_stop_go(fx, "copying");
	}
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "it does not return");
	fx_note("first change: %s", op.res->err ? strerrorname_np(op.res->err) : "ok");
	holder->look(fx);
	fx_note_call("second change", put(fx, "f", "second", 1, 0));
	holder->look(fx);
	fx_note_call("chmod", chmod(path(fx, "f"), 0711));
	holder->look(fx);
	if (holder->drop)
		holder->drop(fx);
	fx_note_file(fx, name("f"));
	fx_note_file(fx, dir);
	if (!fx->opts.kernel) {
		fx_detach(fx);
		KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "ok", NULL) == 0,
			   "kunion took a file that is held");
		KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", "/d/f", "engine", "kernel", "result", "ok", NULL) == 1);
	}
}

static void same(const struct holder *h)
{
	const struct fx_twice t = { .lower = one_file, .steps = steps };

	holder = h;
	fx_twice(&t);
}

#define HOLDER(name, ...)                                             \
	KTAP_TEST(name)                                               \
	{                                                             \
		static const struct holder h = { __VA_ARGS__ };       \
                                                                      \
		same(&h);                                             \
	}

/* a descriptor for reading */

static void take_fd(const struct fx *fx)
{
	held = open(path(fx, "f"), O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(held >= 0);
}

static void look_fd(const struct fx *fx)
{
	const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
	struct stat st, by_path;
	char self[64];
	int fd;

	note_blocks("descriptor", held);
	fx_note_call("fchmod", fchmod(held, 0741));
	fx_note_call("fchown", fchown(held, 11, 12));
	fx_note_call("futimens", futimens(held, times));
	fx_note_call("fsetxattr", fsetxattr(held, "trusted.fx", "fd", 2, 0));
	KTAP_REQUIRE(fstat(held, &st) == 0 && stat(path(fx, "f"), &by_path) == 0);
	fx_note("fstat: mode %o, size %lld, links %u", st.st_mode, (long long)st.st_size, (unsigned int)st.st_nlink);
	fx_note("by path: mode %o owner %u, the same file: %d", by_path.st_mode, by_path.st_uid, by_path.st_ino == st.st_ino);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", held);
	fd = open(self, O_RDWR | O_CLOEXEC);
	fx_note_call("opened again", fd);
	if (fd >= 0) {
		note_blocks("again", fd);
		close(fd);
	}
	fx_note_call("linked", linkat(held, "", AT_FDCWD, path(fx, "link"), AT_EMPTY_PATH));
	unlink(path(fx, "link"));
}

HOLDER(descriptor, take_fd, look_fd, drop_fd, .late = false)
HOLDER(descriptor_opened_during_the_copy, take_fd, look_fd, drop_fd, .late = true)

/* O_PATH */

static void take_path(const struct fx *fx)
{
	held = open(path(fx, "f"), O_PATH | O_CLOEXEC);
	KTAP_REQUIRE(held >= 0);
}

static void look_path(const struct fx *fx)
{
	struct stat st, by_path;
	char self[64];
	int fd;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", held);
	KTAP_REQUIRE(fstat(held, &st) == 0 && stat(path(fx, "f"), &by_path) == 0);
	fx_note("fstat: mode %o, size %lld, links %u, the same file: %d", st.st_mode, (long long)st.st_size, (unsigned int)st.st_nlink,
		by_path.st_ino == st.st_ino);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	fx_note_call("opened for reading", fd);
	note_blocks("read", fd);
	close(fd);
	fd = open(self, O_WRONLY | O_CLOEXEC);
	fx_note_call("opened for writing", fd);
	close(fd);
	fx_note_call("chmod by /proc", chmod(self, 0700));
}

HOLDER(path_descriptor, take_path, look_path, drop_fd, .late = false)
HOLDER(path_descriptor_opened_during_the_copy, take_path, look_path, drop_fd, .late = true)

/* a descriptor that is nobody's at the moment: on its way through a socket */

static int sockets[2];

static void take_in_flight(const struct fx *fx)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	KTAP_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
	take_fd(fx);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &held, sizeof(int));
	KTAP_REQUIRE(sendmsg(sockets[0], &msg, 0) == 1);
	close(held);
	held = -1;
}

static void look_in_flight(const struct fx *fx)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte;
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	if (held < 0) {
		KTAP_REQUIRE(recvmsg(sockets[1], &msg, MSG_CMSG_CLOEXEC) == 1);
		memcpy(&held, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	}
	look_fd(fx);
}

HOLDER(descriptor_in_flight, take_in_flight, look_in_flight, drop_fd, .late = false)

/* a mapping */

static void take_mapping(const struct fx *fx)
{
	take_fd(fx);
	mapped = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, held, 0);
	KTAP_REQUIRE(mapped != MAP_FAILED);
	close(held);
}

static void look_mapping(const struct fx *fx)
{
	char range[64], line[512];
	bool deleted = true;
	FILE *f = fopen("/proc/self/maps", "re");

	(void)fx;
	fx_note("mapped: block 0 %#x, block 1 %#x", ((uint32_t *)mapped)[1], ((uint32_t *)mapped)[FX_BLOCK / 4 + 1]);
	snprintf(range, sizeof(range), "%lx-", (unsigned long)mapped);
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, range, strlen(range)))
			deleted = strstr(line, "(deleted)") != NULL;
	if (f)
		fclose(f);
	fx_note("deleted in maps: %d", deleted);
}

static void drop_mapping(const struct fx *fx)
{
	(void)fx;
	munmap(mapped, SIZE);
}

HOLDER(mapping, take_mapping, look_mapping, drop_mapping, .late = false)
HOLDER(mapping_made_during_the_copy, take_mapping, look_mapping, drop_mapping, .late = true)

/* a running program */

static void program_file(struct fx *fx)
{
	/* Busybox, which is static and knows what to do by its name. */
	fx_lower(fx, "d/other", FX_KB(4), 0644);
	fx_sh("cp /bin/busybox %s/d/f && chmod 755 %s/d/f", fx->lower, fx->lower);
}

static void take_program(const struct fx *fx)
{
	char exe[64], target[256];

	held_by = fork();
	if (held_by == 0) {
		execl(path(fx, "f"), "sleep", "1000", (char *)NULL);
		_exit(1);
	}
	snprintf(exe, sizeof(exe), "/proc/%d/exe", held_by);
	for (int i = 0; i < FX_LONG; i++) {
		ssize_t n = readlink(exe, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (strstr(target, "/d/f"))
			return;
		fx_sleep_ms(1);
	}
	KTAP_REQUIRE(false, "the program does not run: %s", target);
}

static void look_program(const struct fx *fx)
{
	char exe[64], target[256];
	ssize_t n;

	snprintf(exe, sizeof(exe), "/proc/%d/exe", held_by);
	n = readlink(exe, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	fx_note("runs %s", target);
	fx_note_call("open for writing", open(path(fx, "f"), O_WRONLY | O_CLOEXEC));
	fx_note("alive: %d", waitpid(held_by, NULL, WNOHANG) == 0);
}

static void drop_program(const struct fx *fx)
{
	(void)fx;
	kill(held_by, SIGKILL);
	waitpid(held_by, NULL, 0);
}

KTAP_TEST(running_program)
{
	static const struct holder h = { take_program, look_program, drop_program, .chmod_only = true };
	const struct fx_twice t = { .lower = program_file, .steps = steps };

	holder = &h;
	fx_twice(&t);
}

/* a watch */

static void take_watch(const struct fx *fx)
{
	held = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	KTAP_REQUIRE(inotify_add_watch(held, path(fx, "f"), IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) > 0);
}

static void look_watch(const struct fx *fx)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n;

	(void)fx;
	while ((n = read(held, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const void *)(buf + at);

			fx_note("watched: %#x", ev->mask);
			at += (ssize_t)sizeof(*ev) + ev->len;
		}
}

HOLDER(watch, take_watch, look_watch, drop_fd, .late = false)

/* During a copy the watch came after the kernel's would have ended: what it sees of the first change is not comparable. */
static void take_watch_quietly(const struct fx *fx)
{
	take_watch(fx);
}

static unsigned int looks;

static void look_watch_later(const struct fx *fx)
{
	char buf[4096];

	if (looks++ % 3)
		look_watch(fx);
	else
		while (read(held, buf, sizeof(buf)) > 0)
			;
}

HOLDER(watch_set_during_the_copy, take_watch_quietly, look_watch_later, drop_fd, .late = true)

/* mounts */

static int mount_pipe[2][2];

/* A child in a mount namespace of its own, which looks when it is told. */
static void mount_child(const struct fx *fx)
{
	const char *path = path(fx, "f");
	char byte;
	int fd;

	if (unshare(CLONE_NEWNS) || mount(path(fx, "other"), path, NULL, MS_BIND, NULL))
		_exit(1);
	close(mount_pipe[0][1]);
	if (write(mount_pipe[1][1], "m", 1) != 1)
		_exit(1);
	while (read(mount_pipe[0][0], &byte, 1) == 1) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		fx_note("in its namespace: %s", fx_get_block(fd, 0) == fx_id("d/other") ? "the other file" : "not the other file");
		close(fd);
		if (write(mount_pipe[1][1], "l", 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static void take_mount(const struct fx *fx)
{
	char byte;

	KTAP_REQUIRE(pipe2(mount_pipe[0], O_CLOEXEC) == 0 && pipe2(mount_pipe[1], O_CLOEXEC) == 0);
	held_by = fork();
	if (held_by == 0)
		mount_child(fx);
	close(mount_pipe[1][1]);
	KTAP_REQUIRE(read(mount_pipe[1][0], &byte, 1) == 1, "no mount");
}

static void look_mount(const struct fx *fx)
{
	char byte;
	int fd;

	KTAP_REQUIRE(write(mount_pipe[0][1], "l", 1) == 1 && read(mount_pipe[1][0], &byte, 1) == 1);
	fd = open(path(fx, "f"), O_RDONLY | O_CLOEXEC);
	note_blocks("here", fd);
	close(fd);
}

static void drop_mount(const struct fx *fx)
{
	(void)fx;
	close(mount_pipe[0][1]);
	close(mount_pipe[0][0]);
	close(mount_pipe[1][0]);
	waitpid(held_by, NULL, 0);
}

HOLDER(mount_on_it_in_another_namespace, take_mount, look_mount, drop_mount, .late = false)
HOLDER(mount_on_it_made_during_the_copy, take_mount, look_mount, drop_mount, .late = true)

/* The file itself mounted elsewhere, as a container gets its hosts file. */
static void take_bind(const struct fx *fx)
{
	close(open(FX_DIR "/elsewhere", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	KTAP_REQUIRE(mount(path(fx, "f"), FX_DIR "/elsewhere", NULL, MS_BIND, NULL) == 0);
}

static void look_bind(const struct fx *fx)
{
	int fd = open(FX_DIR "/elsewhere", O_RDONLY | O_CLOEXEC);

	(void)fx;
	note_blocks("elsewhere", fd);
	close(fd);
	fd = open(FX_DIR "/elsewhere", O_WRONLY | O_CLOEXEC);
	fx_note_call("open for writing elsewhere", fd);
	fx_note_call("write elsewhere", fd < 0 ? -1 : fx_put_block(fd, fx_id("elsewhere"), 0));
	close(fd);
}

static void drop_bind(const struct fx *fx)
{
	(void)fx;
	KTAP_CHECK(umount(FX_DIR "/elsewhere") == 0);
}

HOLDER(file_mounted_elsewhere, take_bind, look_bind, drop_bind, .late = false)
HOLDER(file_mounted_elsewhere_during_the_copy, take_bind, look_bind, drop_bind, .late = true)

/* locks and leases */

struct locker {
	const char *path;
	bool flock;
};

/* Another process tries for the lock. */
static long try_lock(void *arg)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	const struct locker *l = arg;
	int fd = open(l->path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	return l->flock ? flock(fd, LOCK_EX | LOCK_NB) : fcntl(fd, F_SETLK, &fl);
}

static void look_locked(const struct fx *fx, bool with_flock)
{
	struct locker l = { path(fx, "f"), with_flock };
	struct fx_op op;

	fx_op_start(&op, 0, try_lock, &l);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	fx_note("another's lock: %s", op.res->err ? strerrorname_np(op.res->err) : "ok");
}

static void take_posix(const struct fx *fx)
{
	struct flock fl = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	take_fd(fx);
	KTAP_REQUIRE(fcntl(held, F_SETLK, &fl) == 0);
}

/* Not by note_blocks(): closing any descriptor of the file would drop the lock. */
static void look_posix(const struct fx *fx)
{
	look_locked(fx, false);
	note_blocks("locked", held);
}

static void take_flock(const struct fx *fx)
{
	take_fd(fx);
	KTAP_REQUIRE(flock(held, LOCK_SH) == 0);
}

static void look_flock(const struct fx *fx)
{
	look_locked(fx, true);
	note_blocks("locked", held);
}

HOLDER(flock_lock, take_flock, look_flock, drop_fd, .late = false)
HOLDER(posix_lock, take_posix, look_posix, drop_fd, .late = false)
HOLDER(posix_lock_taken_during_the_copy, take_posix, look_posix, drop_fd, .late = true)

static void steps_lease(struct fx *fx)
{
	/* Its breaking is told by SIGIO, and waited for. */
	signal(SIGIO, SIG_IGN);
	take_fd(fx);
	fx_note_call("lease", fcntl(held, F_SETLEASE, F_RDLCK));
	fx_note_call("open against the lease", put(fx, "f", "first", 0, O_NONBLOCK));
	fx_note("lease is %d", fcntl(held, F_GETLEASE));
	fx_note_call("chmod", chmod(path(fx, "f"), 0711));
	fx_note_call("lease dropped", fcntl(held, F_SETLEASE, F_UNLCK));
	fx_note_call("open", put(fx, "f", "second", 1, O_NONBLOCK));
	note_blocks("descriptor", held);
	close(held);
	fx_note_file(fx, name("f"));
	signal(SIGIO, SIG_DFL);
}

KTAP_TEST(lease)
{
	const struct fx_twice t = { .lower = one_file, .steps = steps_lease };

	fx_twice(&t);
}

/* hard links */

static void linked_file(struct fx *fx)
{
	one_file(fx);
	KTAP_REQUIRE(link(fx_lpath(fx, "d/f"), fx_lpath(fx, "d/g")) == 0);
}

static void steps_linked(struct fx *fx)
{
	fx_note_call("write", put(fx, "f", "first", 0, 0));
	fx_note_file(fx, name("f"));
	fx_note_file(fx, name("g"));
	fx_note_call("chmod of the other name", chmod(path(fx, "g"), 0600));
	fx_note_call("write", put(fx, "g", "second", 1, 0));
	fx_note_file(fx, name("f"));
	fx_note_file(fx, name("g"));
	if (!fx->opts.kernel) {
		fx_detach(fx);
		KTAP_CHECK(fx_event_count(fx, "engine", "kunion", NULL) == 0);
	}
}

KTAP_TEST(hard_links)
{
	const struct fx_twice t = { .lower = linked_file, .steps = steps_linked };

	fx_twice(&t);
}

/* With an index their link survives the copy-up. */
KTAP_TEST(hard_links_with_an_index)
{
	const struct fx_twice t = { .opts.mount_opts = "index=on", .lower = linked_file, .steps = steps_linked };

	fx_twice(&t);
}

/* For comparison: who let go in time is not in the way. */
KTAP_TEST(former_holder)
{
	struct fx fx;

	fx_init(&fx, NULL);
	one_file(&fx);
	fx_mount(&fx);
	take_fd(&fx);
	close(held);
	take_mapping(&fx);
	drop_mapping(&fx);
	take_watch(&fx);
	close(held);
	take_bind(&fx);
	drop_bind(&fx);
	fx_attach(&fx, NULL);
	KTAP_CHECK(put(&fx, "d/f", "first", 0, 0) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "ok", NULL));
	fx_end(&fx);
}

KTAP_MAIN()
