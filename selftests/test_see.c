// SPDX-License-Identifier: GPL-2.0-only
/* What is told of 300 copy-ups of all sorts by two containers and the host: those, each rightly, and nothing else. */
#include "see.h"

#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define WANTED 300
#define UNOWNED 1000 /* a user */

/* what is to be told */

struct want {
	const char *path, *kind, *op, *syscall, *comm, *data; /* syscall NULL: any that changes owners */
	int64_t size, bytes;
	enum see_place_nr place;
	uid_t uid;
	pid_t pid;
	unsigned int seen;
};

static struct want wants[WANTED + 32];
static unsigned int nwants;

static struct want *want_of(const char *path)
{
	for (unsigned int i = 0; i < nwants; i++)
		if (!strcmp(wants[i].path, path))
			return &wants[i];
	return NULL;
}

static void want_one(const struct want *like, const char *path)
{
	KTAP_REQUIRE(nwants < sizeof(wants) / sizeof(wants[0]) && !want_of(path), "%s", path);
	wants[nwants] = *like;
	wants[nwants++].path = strdup(path);
}

/* A directory, and those above it, as far as they are lower still: whoever needs them first copies them. */
static void want_dirs(const struct want *like, const char *path)
{
	struct want dir = *like;
	char up[256];

	if (!*path || want_of(path))
		return;
	snprintf(up, sizeof(up), "%s", path);
	*strrchr(up, '/') = '\0';
	want_dirs(like, up);
	dir.kind = "dir";
	dir.data = "none";
	dir.size = dir.bytes = 0;
	want_one(&dir, path);
}

static void want_file(const struct want *w, const char *path)
{
	char up[256];

	snprintf(up, sizeof(up), "%s", path);
	*strrchr(up, '/') = '\0';
	want_dirs(w, up);
	want_one(w, path);
}

/* the calls, each by the very system call that is to be told */

static long do_openat(const char *p, const char *to)
{
	(void)to;
	return see_closed(syscall(SYS_openat, AT_FDCWD, p, O_WRONLY | O_APPEND, 0));
}

static long do_open(const char *p, const char *to)
{
	(void)to;
	return see_closed(syscall(SYS_open, p, O_RDWR, 0));
}

static long do_trunc(const char *p, const char *to)
{
	(void)to;
	return see_closed(syscall(SYS_openat, AT_FDCWD, p, O_WRONLY | O_TRUNC, 0));
}

static long do_creat(const char *p, const char *to)
{
	(void)to;
	return see_closed(syscall(SYS_creat, p, 0644));
}

static long do_chmod(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_chmod, p, 0604);
}

static long do_fchmodat(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_fchmodat, AT_FDCWD, p, 0604);
}

static long do_fchmod(const char *p, const char *to)
{
	long fd = open(p, O_RDONLY | O_CLOEXEC), r = fd < 0 ? fd : syscall(SYS_fchmod, fd, 0604);

	(void)to;
	return see_closed(fd) ?: r;
}

static long do_chown(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_chown, p, UNOWNED, UNOWNED);
}

static long do_lchown(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_lchown, p, UNOWNED, UNOWNED);
}

static const struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 6 } };

static long do_utimensat(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_utimensat, AT_FDCWD, p, times, AT_SYMLINK_NOFOLLOW);
}

static long do_utime(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_utime, p, NULL);
}

static long do_truncate(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_truncate, p, 10);
}

static long do_setxattr(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_setxattr, p, "trusted.see", "1", 1, 0);
}

static long do_link(const char *p, const char *to)
{
	return syscall(SYS_link, p, to);
}

static long do_linkat(const char *p, const char *to)
{
	return syscall(SYS_linkat, AT_FDCWD, p, AT_FDCWD, to, 0);
}

static long do_rename(const char *p, const char *to)
{
	return syscall(SYS_rename, p, to);
}

static long do_renameat2(const char *p, const char *to)
{
	return syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, to, 1 /* RENAME_NOREPLACE */);
}

/* these in a directory p, which they need in the upper layer */

static long do_mkdir(const char *p, const char *to)
{
	(void)p;
	return syscall(SYS_mkdir, to, 0755);
}

static long do_create(const char *p, const char *to)
{
	(void)p;
	return see_closed(syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_EXCL, 0644));
}

static long do_symlink(const char *p, const char *to)
{
	(void)p;
	return syscall(SYS_symlink, "nowhere", to);
}

static long do_mknodat(const char *p, const char *to)
{
	(void)p;
	return syscall(SYS_mknodat, AT_FDCWD, to, S_IFIFO | 0644, 0);
}

static long do_unlink(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_unlink, fx_name("%s/f", p));
}

static long do_rmdir(const char *p, const char *to)
{
	(void)to;
	return syscall(SYS_rmdir, fx_name("%s/e", p));
}

enum kind { FILE_, DIR_, SYMLINK_, FIFO_, DEVICE_, SOCKET_ };

static const char *const kind_names[] = { "file", "dir", "symlink", "special", "special", "special" };

static const struct step {
	const char *name; /* of the directory that holds what is copied */
	enum kind kind;
	const char *op, *syscall;
	see_call *call;
	bool empty; /* nothing of the data is copied */
	unsigned int n;
} steps[] = {
	{ "openat", FILE_, "open", "openat", do_openat, false, 14 },
	{ "open", FILE_, "open", "open", do_open, false, 12 },
	{ "trunc", FILE_, "open", "openat", do_trunc, true, 12 },
	{ "creat", FILE_, "open", "creat", do_creat, true, 6 },
	{ "chmod", FILE_, "chmod", "chmod", do_chmod, false, 12 },
	{ "fchmodat", FILE_, "chmod", "fchmodat", do_fchmodat, false, 6 },
	{ "fchmod", FILE_, "chmod", "fchmod", do_fchmod, false, 6 },
	{ "chown", FILE_, "chown", "chown", do_chown, false, 12 },
	{ "utimensat", FILE_, "utimes", "utimensat", do_utimensat, false, 9 },
	{ "utime", FILE_, "utimes", "utime", do_utime, false, 6 },
	{ "truncate", FILE_, "truncate", "truncate", do_truncate, false, 12 },
	{ "setxattr", FILE_, "setxattr", "setxattr", do_setxattr, false, 9 },
	{ "link", FILE_, "link", "link", do_link, false, 9 },
	{ "linkat", FILE_, "link", "linkat", do_linkat, false, 6 },
	{ "rename", FILE_, "rename", "rename", do_rename, false, 12 },
	{ "renameat2", FILE_, "rename", "renameat2", do_renameat2, false, 6 },
	{ "mkdir", DIR_, "create", "mkdir", do_mkdir, false, 3 },
	{ "create", DIR_, "open", "openat", do_create, false, 3 },
	{ "symlink", DIR_, "create", "symlink", do_symlink, false, 3 },
	{ "mknodat", DIR_, "create", "mknodat", do_mknodat, false, 3 },
	{ "unlink", DIR_, "remove", "unlink", do_unlink, false, 3 },
	{ "rmdir", DIR_, "remove", "rmdir", do_rmdir, false, 3 },
	{ "dir-chmod", DIR_, "chmod", "chmod", do_chmod, false, 3 },
	{ "dir-xattr", DIR_, "setxattr", "setxattr", do_setxattr, false, 3 },
	{ "sym-lchown", SYMLINK_, "chown", "lchown", do_lchown, false, 3 },
	{ "sym-rename", SYMLINK_, "rename", "rename", do_rename, false, 3 },
	{ "sym-link", SYMLINK_, "link", "link", do_link, false, 3 },
	{ "sym-utimes", SYMLINK_, "utimes", "utimensat", do_utimensat, false, 3 },
	{ "fifo-chmod", FIFO_, "chmod", "chmod", do_chmod, false, 3 },
	{ "fifo-rename", FIFO_, "rename", "rename", do_rename, false, 3 },
	{ "dev-chown", DEVICE_, "chown", "chown", do_chown, false, 3 },
	{ "sock-chmod", SOCKET_, "chmod", "chmod", do_chmod, false, 3 },
};

#define NSTEPS (sizeof(steps) / sizeof(steps[0]))
#define REST 120 /* files of which as many are opened as the 300 still want */

/* Some are empty, some end within a block. */
static off_t size_of(unsigned int i)
{
	return i % 7 == 6 ? 0 : FX_BLOCK * (off_t)(1 + i % 9) - (i % 2 ? 7 * (off_t)i : 0);
}

static const char *name_of(const struct step *s, unsigned int i)
{
	return fx_name("%s/%s%u", s->name, i % 5 == 4 ? "odd \"name\" " : "x", i);
}

static void lower_file(struct fx *fx, const char *name, off_t size)
{
	fx_lower(fx, name, size, 0644);
	KTAP_REQUIRE(truncate(fx_lpath(fx, name), size) == 0);
}

static void lower_one(struct fx *fx, const struct step *s, unsigned int i)
{
	const char *name = name_of(s, i), *path = fx_lpath(fx, name);

	mkdir(fx_lpath(fx, s->name), 0755);
	switch (s->kind) {
	case FILE_:
		lower_file(fx, name, size_of(i));
		KTAP_REQUIRE(i % 4 || chmod(path, 0666) == 0);
		break;
	case DIR_:
		KTAP_REQUIRE(mkdir(path, 0755) == 0 && mkdir(fx_name("%s/e", path), 0755) == 0);
		fx_lower(fx, fx_name("%s/f", name), FX_BLOCK, 0644);
		break;
	case SYMLINK_:
		KTAP_REQUIRE(symlink("to/nowhere", path) == 0);
		break;
	default:
		KTAP_REQUIRE(mknod(path, s->kind == FIFO_ ? S_IFIFO | 0644 : s->kind == SOCKET_ ? S_IFSOCK | 0644 : S_IFCHR | 0644,
				   makedev(1, 3)) == 0);
	}
}

static void lower_tree(struct fx *fx)
{
	for (unsigned int i = 0; i < 15; i++)
		lower_file(fx, fx_name("tree/t%u/f%u", i % 3, i), size_of(i));
	KTAP_REQUIRE(symlink("t0", fx_lpath(fx, "tree/sym")) == 0);
	KTAP_REQUIRE(mknod(fx_lpath(fx, "tree/t1/fifo"), S_IFIFO | 0644, 0) == 0);
}

static void step_one(const struct fx *fx, const struct step *s, unsigned int i, enum see_place_nr place)
{
	const char *name = name_of(s, i), *to = fx_path(fx, fx_name("%s/to%u", s->name, i)), *comm = fx_name("see-%s", s->name);
	struct want w = { .kind = kind_names[s->kind], .op = s->op, .syscall = s->syscall, .comm = comm, .data = "none", .place = place };

	if (s->kind == FILE_) {
		w.size = size_of(i);
		w.bytes = s->empty ? 0 : w.size;
		w.data = w.bytes ? "copied" : "none";
	}
	/* Who only opens may be anybody. */
	if (s->kind == FILE_ && !strcmp(s->op, "open") && i % 4 == 0)
		w.uid = UNOWNED;
	if (s->kind == DIR_ && s->op[0] != 's' && strcmp(s->name, "dir-chmod"))
		to = fx_path(fx, fx_name("%s/new", name));
	/* Into another directory, which needs to be copied up, too. */
	if (s->kind == FILE_ && !strcmp(s->op, "rename") && i % 2)
		to = fx_path(fx, fx_name("far-%s/to%u", s->name, i));
	w.pid = see_child(place, comm, w.uid, s->call, fx_path(fx, name), to);
	if (s->kind == DIR_)
		want_dirs(&w, fx_name("/%s", name));
	else
		want_file(&w, fx_name("/%s", name));
	if (strstr(to, "/far-"))
		want_dirs(&w, fx_name("/far-%s", s->name));
}

/* Of whole trees by the program that everybody uses for it. */
static long exec_chown(const char *path, const char *to)
{
	(void)to;
	execlp("chown", "chown", "-R", "1000:1000", path, (char *)NULL);
	return -1;
}

static void chown_tree(const struct fx *fx, enum see_place_nr place)
{
	struct want w = { .op = "chown", .comm = "chown", .data = "none", .place = place };

	w.pid = see_child(place, "see-shell", 0, exec_chown, fx_path(fx, "tree"), NULL);
	for (unsigned int i = 0; i < 15; i++) {
		w.kind = "file";
		w.size = w.bytes = size_of(i);
		w.data = w.bytes ? "copied" : "none";
		want_file(&w, fx_name("/tree/t%u/f%u", i % 3, i));
	}
	w.size = w.bytes = 0;
	w.data = "none";
	w.kind = "symlink";
	want_file(&w, "/tree/sym");
	w.kind = "special";
	want_file(&w, "/tree/t1/fifo");
}

/* What copies nothing up, on lower and on upper files. */
static long copy_nothing(const char *merged, const char *to)
{
	char buf[64];
	struct stat st;
	int fd;

	(void)to;
	if (chdir(merged) || stat("rest/0", &st) || access("rest/1", R_OK))
		return -1;
	fd = open("rest/119", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, buf, sizeof(buf)) < 0 || close(fd))
		return -1;
	if (open("rest/119", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) >= 0 || errno != EEXIST)
		return -1;
	if (!removexattr("rest/119", "trusted.none"))
		return -1;
	if (chmod("chmod/x0", 0640) || see_closed(open("open/x0", O_WRONLY | O_CLOEXEC)) || truncate("truncate/x1", 5))
		return -1;
	if (unlink("rest/118") || rename("openat/x1", "rest/117"))
		return -1;
	if (setresuid(UNOWNED, UNOWNED, UNOWNED))
		return -1;
	return chmod("rest/116", 0) && open("rest/116", O_WRONLY | O_CLOEXEC) < 0 && unlink("rest/116") ? 0 : -1;
}

static void workload(const struct fx *fx)
{
	unsigned int turn = 0, i = 0;

	for (const struct step *s = steps; s < steps + NSTEPS; s++)
		for (unsigned int k = 0; k < s->n; k++)
			step_one(fx, s, k, turn++ % SEE_PLACES);
	chown_tree(fx, SEE_PODMAN);
	while (nwants < WANTED) {
		struct want w = { .kind = "file", .op = "open", .syscall = "openat", .comm = "see-rest", .data = "copied",
				  .size = FX_BLOCK, .bytes = FX_BLOCK, .place = turn++ % SEE_PLACES };

		w.pid = see_child(w.place, w.comm, 0, do_openat, fx_path(fx, fx_name("rest/%u", i)), NULL);
		want_file(&w, fx_name("/rest/%u", i++));
	}
	KTAP_REQUIRE(nwants == WANTED && i > 0 && i < REST - 4, "%u of 'rest'", i);
	see_child(SEE_DOCKER, "see-nothing", 0, copy_nothing, fx->merged, NULL);
}

static void check_one(const struct fx *fx, struct json_object *e, const struct want *w)
{
	SEE_STR(e, "union", fx->merged);
	SEE_STR(e, "kind", w->kind);
	SEE_STR(e, "op", w->op);
	if (w->syscall)
		SEE_STR(e, "syscall", w->syscall);
	else
		KTAP_CHECK(strstr("fchownat lchown chown", see_str(e, "syscall")), "%s", see_str(e, "syscall"));
	SEE_STR(e, "comm", w->comm);
	SEE_STR(e, "data", w->data);
	SEE_STR(e, "engine", "kernel");
	SEE_STR(e, "result", "ok");
	SEE_NUM(e, "size", w->size);
	SEE_NUM(e, "bytes", w->bytes);
	SEE_NUM(e, "uid", w->uid);
	SEE_NUM(e, "pid", w->pid);
	SEE_NUM(e, "tid", w->pid);
	SEE_NUM(e, "waiters", 0);
	SEE_NUM(e, "queued_us", 0);
	see_check_place(e, "", w->place);
	KTAP_CHECK(see_num(e, "total_us") >= see_num(e, "lock_us") + see_num(e, "copy_us") + see_num(e, "fsync_us"), "%s: the parts take longer",
		   w->path);
	KTAP_CHECK(!w->bytes == !see_num(e, "copy_us"), "%s: %lld us for %lld bytes", w->path, (long long)see_num(e, "copy_us"),
		   (long long)w->bytes);
}

/* One totals event, and its numbers are the sums. Microseconds are rounded down here and there: at most one an event and cgroup. */
static void check_totals(const struct see *s)
{
	struct json_object *t;
	unsigned int at = 0;
	int64_t us;

	KTAP_REQUIRE(see_count(s, "totals") == 1, "%u totals", see_count(s, "totals"));
	t = see_next(s, &at, "totals");
	SEE_NUM(t, "copyups", see_count(s, "copyup"));
	SEE_NUM(t, "bytes", see_sum(s, "copyup", "bytes"));
	SEE_NUM(t, "failed", 0);
	SEE_NUM(t, "missing", 0);
	SEE_NUM(t, "waits", see_count(s, "wait"));
	us = see_num(t, "copyup_us") - see_sum(s, "copyup", "total_us");
	KTAP_CHECK(us >= -SEE_PLACES * 2 && us <= (int64_t)see_count(s, "copyup"), "copyup_us is %lld more", (long long)us);
	us = see_num(t, "wait_us") - see_sum(s, "wait", "wait_us");
	KTAP_CHECK(us >= -SEE_PLACES * 2 && us <= (int64_t)see_count(s, "wait"), "wait_us is %lld more", (long long)us);
	KTAP_CHECK(see_count(s, "dropped") == 0);
}

static void check_all(const struct fx *fx)
{
	struct json_object *e;
	unsigned int at = 0;
	int64_t bytes = 0;
	struct see s;

	see_load(fx, &s);
	while ((e = see_next(&s, &at, "copyup"))) {
		struct want *w = want_of(see_str(e, "path"));
		unsigned int before = at - 1;

		if (!KTAP_CHECK(w, "told, but none was made: %s", json_object_to_json_string(e)))
			continue;
		KTAP_CHECK(w->seen++ == 0, "%s is told again", w->path);
		check_one(fx, e, w);
		while (before-- > 0)
			KTAP_CHECK(see_num(s.e[before], "id") != see_num(e, "id"), "the id of %s is not its own", w->path);
	}
	for (unsigned int i = 0; i < nwants; i++) {
		KTAP_CHECK(wants[i].seen, "%s (%s by %s) is not told", wants[i].path, wants[i].op, wants[i].comm);
		bytes += wants[i].bytes;
	}
	KTAP_CHECK(see_count(&s, "copyup") == WANTED, "%u copy-ups", see_count(&s, "copyup"));
	KTAP_CHECK(see_sum(&s, "copyup", "bytes") == bytes);
	KTAP_CHECK(see_count(&s, "wait") == 0, "%u waits", see_count(&s, "wait"));
	check_totals(&s);
	see_free(&s);
}

KTAP_TEST_LIMIT(three_hundred_known_copy_ups, 300)
{
	struct fx fx;

	fx_init(&fx, NULL);
	see_places_make();
	for (const struct step *s = steps; s < steps + NSTEPS; s++)
		for (unsigned int i = 0; i < s->n; i++)
			lower_one(&fx, s, i);
	fx_lower(&fx, "far-rename/f", FX_BLOCK, 0644);
	fx_lower(&fx, "far-renameat2/f", FX_BLOCK, 0644);
	lower_tree(&fx);
	for (unsigned int i = 0; i < REST; i++)
		fx_lower(&fx, fx_name("rest/%u", i), FX_BLOCK, 0644);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", NULL);
	workload(&fx);
	fx_detach(&fx);
	check_all(&fx);
	see_places_remove();
	fx_end(&fx);
}

KTAP_MAIN()
