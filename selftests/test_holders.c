// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whoever holds a lower file (a descriptor, a mapping, a watch, a lock, a mount) goes on seeing it as after the kernel's own
 * copy-up: such a file is left to the kernel, also when it is taken hold of while the copy is under way.
 */
#include "fx_record.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/xattr.h>

FX_LEAN

#define SIZE FX_MB(1) /* of a scene's f */

/* Everything of a holder is in this process, but for what needs a mount namespace or a program. */
struct holder {
	void (*take)(const struct fx *fx);
	void (*look)(const struct fx *fx);
	void (*drop)(const struct fx *fx);
	bool late; /* take hold while the copy is under way */
	bool early_alone; /* the kernel's own copy is over too soon for that: before it */
	bool chmod_only;
};

static int held = -1;
static pid_t held_by;
static void *mapped;

static int put(const struct fx *fx, const char *name, const char *id, unsigned int nr, int flags)
{
	int fd = open(fx_at(fx, name), O_WRONLY | O_CLOEXEC | flags), err;

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

static void steps(struct fx *fx)
{
	const struct timespec read_at[2] = { { .tv_sec = 1000 }, { .tv_nsec = UTIME_OMIT } };
	const struct holder *h = fx_scene->arg;
	bool late = h->late && !(h->early_alone && fx->opts.kernel);
	struct fx_op op;

	fx_note_file(fx, "f");
	if (!late)
		h->take(fx);
	else
		fx_stop_arm(fx, "copying");
	fx_call_start(&op, &(struct fx_call){ .kind = h->chmod_only ? FX_CHMOD : FX_OPEN_WRITE,
					      .path = fx_at(fx, "f"),
					      .mode = 0755,
					      .id = fx_id("first") });
	if (late) {
		fx_stop_wait(fx, "copying", FX_LONG);
		h->take(fx);
		fx_stop_go(fx, "copying");
	}
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "it does not return");
	fx_note("first change: %s", op.res->err ? strerrorname_np(op.res->err) : "ok");
	h->look(fx);
	fx_note_call("second change", put(fx, "f", "second", 1, 0));
	h->look(fx);
	fx_note_call("chmod", chmod(fx_at(fx, "f"), 0711));
	h->look(fx);
	if (h->drop)
		h->drop(fx);
	/* Held late means read late: behind the copy when the kernel makes it, before it otherwise. */
	if (h->late)
		utimensat(AT_FDCWD, fx_at(fx, "f"), read_at, 0);
	fx_note_file(fx, "f");
	fx_note_file(fx, "");
	/* The kernel's in any case; where kunion can, it brings a program's about without opening it. */
	fx_scene_engine(fx, h->chmod_only && fx->tier >= FX_TIER_PARK ? "guard" : "kernel");
}

#define SCENES(test_name, ...)                                                              \
	KTAP_TEST(test_name)                                                                \
	{                                                                                   \
		const struct fx_scene scenes[] = { __VA_ARGS__, { .name = NULL } };         \
                                                                                            \
		fx_twice(&(struct fx_twice){ .scenes = scenes });                           \
	}

/* A holder that is there before, and one that comes while the copy is under way. */
#define HOLDER(what, ...) { .name = what, .steps = steps, .arg = &(const struct holder){ __VA_ARGS__ } }
#define EARLY(what, ...) HOLDER(what, __VA_ARGS__, .late = false)
#define LATE(what, ...) HOLDER(what, __VA_ARGS__, .late = true)

/* a descriptor for reading */

static void take_fd(const struct fx *fx)
{
	held = open(fx_at(fx, "f"), O_RDONLY | O_CLOEXEC);
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
	KTAP_REQUIRE(fstat(held, &st) == 0 && stat(fx_at(fx, "f"), &by_path) == 0);
	fx_note("fstat: mode %o, size %lld, links %u", st.st_mode, (long long)st.st_size, (unsigned int)st.st_nlink);
	fx_note("by path: mode %o owner %u, the same file: %d", by_path.st_mode, by_path.st_uid, by_path.st_ino == st.st_ino);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", held);
	fd = open(self, O_RDWR | O_CLOEXEC);
	fx_note_call("opened again", fd);
	if (fd >= 0) {
		note_blocks("again", fd);
		close(fd);
	}
	fx_note_call("linked", linkat(held, "", AT_FDCWD, fx_at(fx, "link"), AT_EMPTY_PATH));
	unlink(fx_at(fx, "link"));
}


/* O_PATH */

static void take_path(const struct fx *fx)
{
	held = open(fx_at(fx, "f"), O_PATH | O_CLOEXEC);
	KTAP_REQUIRE(held >= 0);
}

static void look_path(const struct fx *fx)
{
	struct stat st, by_path;
	char self[64];
	int fd;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", held);
	KTAP_REQUIRE(fstat(held, &st) == 0 && stat(fx_at(fx, "f"), &by_path) == 0);
	fx_note("fstat: mode %o, size %lld, links %u, the same file: %d", st.st_mode, (long long)st.st_size,
		(unsigned int)st.st_nlink, by_path.st_ino == st.st_ino);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	fx_note_call("opened for reading", fd);
	note_blocks("read", fd);
	close(fd);
	fd = open(self, O_WRONLY | O_CLOEXEC);
	fx_note_call("opened for writing", fd);
	close(fd);
	fx_note_call("chmod by /proc", chmod(self, 0700));
}


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


SCENES(descriptors, EARLY("fd", take_fd, look_fd, drop_fd), LATE("fd-late", take_fd, look_fd, drop_fd),
       EARLY("path", take_path, look_path, drop_fd), LATE("path-late", take_path, look_path, drop_fd),
       EARLY("in-flight", take_in_flight, look_in_flight, drop_fd))

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

SCENES(mappings, EARLY("mapped", take_mapping, look_mapping, drop_mapping),
       LATE("mapped-late", take_mapping, look_mapping, drop_mapping, .early_alone = true))

/* a running program */

static void program_file(struct fx *fx)
{
	/* Busybox, which is static and knows what to do by its name. */
	fx_sh("mkdir %s && cp /bin/busybox %s && chmod 755 %s", fx_lpath(fx, fx_in("")), fx_lpath(fx, fx_in("f")),
	      fx_lpath(fx, fx_in("f")));
}

static void take_program(const struct fx *fx)
{
	char exe[64], target[256];

	held_by = fork();
	if (held_by == 0) {
		execl(fx_at(fx, "f"), "sleep", "1000", (char *)NULL);
		_exit(1);
	}
	snprintf(exe, sizeof(exe), "/proc/%d/exe", held_by);
	for (int i = 0; i < FX_LONG; i++) {
		ssize_t n = readlink(exe, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (strstr(target, "/runs/f"))
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
	fx_note_call("open for writing", open(fx_at(fx, "f"), O_WRONLY | O_CLOEXEC));
	fx_note("alive: %d", waitpid(held_by, NULL, WNOHANG) == 0);
}

static void drop_program(const struct fx *fx)
{
	(void)fx;
	kill(held_by, SIGKILL);
	waitpid(held_by, NULL, 0);
}

SCENES(running_program,
       { .name = "runs",
	 .lower = program_file,
	 .steps = steps,
	 .arg = &(const struct holder){ take_program, look_program, drop_program, .chmod_only = true } })

/* a watch */

static void take_watch(const struct fx *fx)
{
	held = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	KTAP_REQUIRE(inotify_add_watch(held, fx_at(fx, "f"), IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) > 0);
}

static void look_watch(const struct fx *fx)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n;

	(void)fx;
	while ((n = read(held, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const void *)(buf + at);

			fx_note("watched: %#x %s", ev->mask, ev->len ? ev->name : "");
			at += (ssize_t)sizeof(*ev) + ev->len;
		}
}


/* Set late it does not see the first change when the kernel copies, as that is over then. */
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

static void take_directory_watch(const struct fx *fx)
{
	held = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	KTAP_REQUIRE(inotify_add_watch(held, fx_at(fx, ""), IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVE) > 0);
}

SCENES(watches, EARLY("watched", take_watch, look_watch, drop_fd), LATE("watched-late", take_watch, look_watch_later, drop_fd),
       EARLY("directory-watched", take_directory_watch, look_watch, drop_fd))

/* mounts */

static int mount_pipe[2][2];

/* A child in a mount namespace of its own, which looks when it is told. */
static void mount_child(const struct fx *fx)
{
	const char *path = fx_at(fx, "f");
	char byte;
	int fd;

	if (unshare(CLONE_NEWNS) || mount(fx_at(fx, "other"), path, NULL, MS_BIND, NULL))
		_exit(1);
	close(mount_pipe[0][1]);
	if (write(mount_pipe[1][1], "m", 1) != 1)
		_exit(1);
	while (read(mount_pipe[0][0], &byte, 1) == 1) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		fx_note("in its namespace: %s", fx_get_block(fd, 0) == fx_id("other") ? "the other file" : "not the other file");
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
	fd = open(fx_at(fx, "f"), O_RDONLY | O_CLOEXEC);
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


static void with_other(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), SIZE, 0644);
	fx_lower_as(fx, fx_in("other"), fx_id("other"), FX_KB(4), 0644);
}

/* The file itself mounted elsewhere, as a container gets its hosts file. */
static void take_bind(const struct fx *fx)
{
	close(open(FX_DIR "/elsewhere", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	KTAP_REQUIRE(mount(fx_at(fx, "f"), FX_DIR "/elsewhere", NULL, MS_BIND, NULL) == 0);
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

#define MOUNTED(what, when)                                                                    \
	{ .name = what,                                                                        \
	  .lower = with_other,                                                                 \
	  .steps = steps,                                                                      \
	  .arg = &(const struct holder){ take_mount, look_mount, drop_mount, .late = when } }

SCENES(mounts, MOUNTED("mounted-on", false), MOUNTED("mounted-on-late", true), EARLY("elsewhere", take_bind, look_bind, drop_bind),
       LATE("elsewhere-late", take_bind, look_bind, drop_bind))

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
	struct locker l = { fx_at(fx, "f"), with_flock };
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


static void steps_lease(struct fx *fx)
{
	/* Its breaking is told by SIGIO, and waited for. */
	signal(SIGIO, SIG_IGN);
	take_fd(fx);
	fx_note_call("lease", fcntl(held, F_SETLEASE, F_RDLCK));
	fx_note_call("open against the lease", put(fx, "f", "first", 0, O_NONBLOCK));
	fx_note("lease is %d", fcntl(held, F_GETLEASE));
	fx_note_call("chmod", chmod(fx_at(fx, "f"), 0711));
	fx_note_call("lease dropped", fcntl(held, F_SETLEASE, F_UNLCK));
	fx_note_call("open", put(fx, "f", "second", 1, O_NONBLOCK));
	note_blocks("descriptor", held);
	close(held);
	fx_note_file(fx, "f");
	signal(SIGIO, SIG_DFL);
}

SCENES(locks, EARLY("flock", take_flock, look_flock, drop_fd), EARLY("posix", take_posix, look_posix, drop_fd),
       LATE("posix-late", take_posix, look_posix, drop_fd), { .name = "lease", .steps = steps_lease })

/* hard links */

static void linked_file(struct fx *fx)
{
	fx_lower(fx, fx_in("f"), SIZE, 0644);
	KTAP_REQUIRE(link(fx_lpath(fx, fx_in("f")), fx_lpath(fx, fx_in("g"))) == 0);
}

static void steps_linked(struct fx *fx)
{
	fx_note_call("write", put(fx, "f", "first", 0, 0));
	fx_note_file(fx, "f");
	fx_note_file(fx, "g");
	fx_note_call("chmod of the other name", chmod(fx_at(fx, "g"), 0600));
	fx_note_call("write", put(fx, "g", "second", 1, 0));
	fx_note_file(fx, "f");
	fx_note_file(fx, "g");
	fx_scene_engine(fx, "kernel");
}

SCENES(hard_links, { .name = "links", .lower = linked_file, .steps = steps_linked })

/* With an index the links survive the copy-up. */
KTAP_TEST(hard_links_with_an_index)
{
	static const struct fx_scene scenes[] = { { .name = "links", .lower = linked_file, .steps = steps_linked },
						  { .name = NULL } };

	fx_twice(&(struct fx_twice){ .opts.mount_opts = "index=on", .scenes = scenes });
}

/* For comparison: who let go in time is not in the way. */
static void steps_former(struct fx *fx)
{
	take_fd(fx);
	close(held);
	take_mapping(fx);
	drop_mapping(fx);
	take_watch(fx);
	close(held);
	take_bind(fx);
	drop_bind(fx);
	fx_note_call("change", put(fx, "f", "first", 0, 0));
	fx_note_file(fx, "f");
	fx_scene_engine(fx, "kunion");
}

SCENES(former_holder, { .name = "former", .steps = steps_former })

KTAP_MAIN()
