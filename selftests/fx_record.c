// SPDX-License-Identifier: GPL-2.0-only
/* What a run has seen, and the comparison of two. */
#define FX_PART
#include "fx_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FX_RECORD_SIZE (1 << 18)
#define FX_SCENES_MAX 64
#define FX_SCENE_SIZE FX_MB(1)
#define FX_VALUE_MAX 4096

/* In memory shared with the children. */
struct fx_record {
	size_t len;
	size_t scenes[FX_SCENES_MAX + 1]; /* where each begins */
	char text[FX_RECORD_SIZE];
};

const struct fx_scene *fx_scene;
static struct fx_record *fx_record;
static time_t fx_began;

void fx_note(const char *fmt, ...)
{
	char line[2048];
	va_list ap;
	size_t at;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	at = __atomic_fetch_add(&fx_record->len, (size_t)n, __ATOMIC_SEQ_CST);
	FX_REQUIRE(at + (size_t)n < sizeof(fx_record->text), "the record is full");
	memcpy(fx_record->text + at, line, (size_t)n);
}

long fx_note_call(const char *what, long r)
{
	int err = errno;

	fx_note("%s: %s", what, r < 0 ? strerrorname_np(err) : "ok");
	errno = err;
	return r;
}

void fx_note_events(const char *what, int fd)
{
	char buf[8192] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const void *)(buf + at);

			fx_note("%s: watch %d: %#x %s", what, ev->wd, ev->mask, ev->len ? ev->name : "");
			at += (ssize_t)sizeof(*ev) + ev->len;
		}
}

/* files */

static const char *fx_time(const struct timespec *t, char buf[static 32])
{
	if (t->tv_sec >= fx_began - 1)
		return "now";
	snprintf(buf, 32, "%lld.%09ld", (long long)t->tv_sec, t->tv_nsec);
	return buf;
}

static int fx_by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void fx_note_names(const char *path)
{
	char *names[512];
	unsigned int n = 0;
	DIR *d = opendir(path);
	struct dirent *e;

	while (d && n < 512 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			names[n++] = strdup(e->d_name);
	if (d)
		closedir(d);
	qsort(names, n, sizeof(*names), fx_by_name);
	for (unsigned int i = 0; i < n; i++) {
		fx_note("  name %s", names[i]);
		free(names[i]);
	}
}

static void fx_note_xattrs(const char *path, bool upper)
{
	static char list[FX_VALUE_MAX], value[FX_VALUE_MAX], hex[2 * FX_VALUE_MAX + 1];
	ssize_t len = llistxattr(path, list, sizeof(list)), got;
	char *names[64];
	unsigned int n = 0;

	for (char *x = list; len > 0 && x < list + len && n < 64; x += strlen(x) + 1)
		if (!upper || (strncmp(x, "trusted.overlay.", 16) && strncmp(x, "user.overlay.", 13)))
			names[n++] = x;
	qsort(names, n, sizeof(*names), fx_by_name);
	for (unsigned int i = 0; i < n; i++) {
		got = lgetxattr(path, names[i], value, sizeof(value));
		hex[0] = '\0';
		for (ssize_t k = 0; k < got; k++)
			snprintf(hex + 2 * k, 3, "%02x", (unsigned char)value[k]);
		fx_note("  xattr %s %s", names[i], got < 0 ? strerrorname_np(errno) : hex);
	}
}

static void fx_note_path(const char *name, const char *path, bool upper)
{
	char a[32], m[32], target[FX_VALUE_MAX];
	struct stat st;
	ssize_t n;
	int fd;

	if (lstat(path, &st) < 0) {
		fx_note("%s: %s", name, strerrorname_np(errno));
		return;
	}
	fx_note("%s%s: mode %o owner %u:%u size %lld links %u", upper ? "upper " : "", name, st.st_mode, st.st_uid, st.st_gid,
		S_ISDIR(st.st_mode) ? 0ll : (long long)st.st_size, S_ISDIR(st.st_mode) ? 0 : (unsigned int)st.st_nlink);
	/* A directory's access time is whoever listed it. */
	fx_note("  atime %s mtime %s", S_ISDIR(st.st_mode) ? "-" : fx_time(&st.st_atim, a), fx_time(&st.st_mtim, m));
	fx_note_xattrs(path, upper);
	if (S_ISDIR(st.st_mode))
		fx_note_names(path);
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		fx_note("  target %s", target);
	}
	if (!S_ISREG(st.st_mode))
		return;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	if (fd < 0) {
		fx_note("  open: %s", strerrorname_np(errno));
		return;
	}
	fx_note("  contents %016llx", (unsigned long long)fx_hash_fd(fd));
	close(fd);
}

void fx_note_file(const struct fx *fx, const char *name)
{
	fx_note_path(name, fx_path(fx, fx_in(name)), false);
}

void fx_note_upper(const struct fx *fx, const char *name)
{
	fx_note_path(name, fx_upath(fx, fx_in(name)), true);
}

/* scenes */

const char *fx_in(const char *name)
{
	char *path = NULL;

	FX_REQUIRE(asprintf(&path, "%s%s%s", fx_scene->name, *name ? "/" : "", name) > 0, "memory");
	return path;
}

const char *fx_at(const struct fx *fx, const char *name)
{
	return fx_path(fx, fx_in(name));
}

void fx_scene_engine(const struct fx *fx, const char *engine)
{
	const char *other = strcmp(engine, "kunion") ? "kunion" : "kernel";
	char path[FX_PATH_MAX];

	if (fx->opts.kernel)
		return;
	snprintf(path, sizeof(path), "/%s", fx_in("f"));
	FX_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "engine", engine, "result", "ok", NULL),
		 "%s was not copied by %s", path, engine);
	FX_CHECK(fx_event_count(fx, "event", "copyup", "path", path, "engine", other, "result", "ok", NULL) == 0,
		 "%s was copied by %s", path, other);
}

static struct fx_record *fx_record_new(void)
{
	void *p = mmap(NULL, sizeof(struct fx_record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	FX_REQUIRE(p != MAP_FAILED, "memory");
	return p;
}

static unsigned int fx_once(const struct fx_twice *t, bool kernel)
{
	struct fx_opts opts = t->opts;
	unsigned int n = 0;
	struct fx fx;

	opts.kernel = kernel;
	fx_began = time(NULL);
	fx_init(&fx, &opts);
	for (fx_scene = t->scenes; fx_scene->name; fx_scene++) {
		if (fx_scene->lower)
			fx_scene->lower(&fx);
		else
			fx_lower(&fx, fx_in("f"), FX_SCENE_SIZE, 0644);
	}
	fx_mount(&fx);
	fx_attach(&fx, t->args[0], t->args[1], t->args[2], t->args[3], NULL);
	for (fx_scene = t->scenes; fx_scene->name; fx_scene++) {
		fx_record->scenes[n++] = fx_record->len;
		FX_REQUIRE(n < FX_SCENES_MAX, "too many scenes");
		fx_scene->steps(&fx);
	}
	fx_record->scenes[n] = fx_record->len;
	fx_end(&fx);
	return n;
}

/* Tells where they part, with the lines before. */
static void fx_record_differ(const char *alone, const char *alone_end, const char *with, const char *with_end)
{
	const char *a = alone, *b = with, *before = alone;

	for (unsigned int line = 1; a < alone_end && b < with_end; line++) {
		size_t na = strcspn(a, "\n") + 1, nb = strcspn(b, "\n") + 1;

		if (na != nb || memcmp(a, b, na))
			break;
		if (line > 3)
			before += strcspn(before, "\n") + 1;
		a += na;
		b += nb;
	}
	fx_diag("behind\n%.*s", (int)(a - before), before);
	fx_diag("the kernel alone: %.*s", (int)strcspn(a, "\n"), a < alone_end ? a : "(nothing more)");
	fx_diag("with kunion:      %.*s", (int)strcspn(b, "\n"), b < with_end ? b : "(nothing more)");
}

bool fx_twice(const struct fx_twice *t)
{
	struct fx_record *alone, *with;
	bool all = true;
	unsigned int n;

	/* fx_attach() would skip it, too, but behind half of the work. */
	if (!fx_kernel_since(6, 12) && (!t->args[0] || strcmp(t->args[0], "-m")))
		fx_skip("mode manage needs Linux 6.12");
	fx_record = alone = fx_record_new();
	n = fx_once(t, true);
	fx_record = with = fx_record_new();
	fx_once(t, false);
	for (unsigned int i = 0; i < n; i++) {
		const char *a = alone->text + alone->scenes[i], *b = with->text + with->scenes[i];
		size_t na = alone->scenes[i + 1] - alone->scenes[i], nb = with->scenes[i + 1] - with->scenes[i];
		bool same = na == nb && !memcmp(a, b, na);

		FX_CHECK(na > 0, "%s: nothing was noted", t->scenes[i].name);
		if (!FX_CHECK(same, "%s: the kernel alone does it otherwise", t->scenes[i].name))
			fx_record_differ(a, a + na, b, b + nb);
		all &= same;
	}
	return all;
}
