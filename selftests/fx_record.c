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
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FX_RECORD_SIZE (1 << 17)
#define FX_VALUE_MAX 4096

/* In memory shared with the children. */
struct fx_record {
	size_t len;
	char text[FX_RECORD_SIZE];
};

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

/* Where data is and where holes are; nothing of the bytes. */
static void fx_note_holes(int fd, off_t size)
{
	off_t data = 0, hole;

	while (data < size && (data = lseek(fd, data, SEEK_DATA)) >= 0) {
		hole = lseek(fd, data, SEEK_HOLE);
		fx_note("  data %lld to %lld", (long long)data, (long long)hole);
		if (hole < 0)
			return;
		data = hole;
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
	if (upper)
		fx_note_holes(fd, st.st_size);
	close(fd);
}

void fx_note_file(const struct fx *fx, const char *name)
{
	fx_note_path(name, fx_path(fx, name), false);
}

void fx_note_upper(const struct fx *fx, const char *name)
{
	fx_note_path(name, fx_upath(fx, name), true);
}

/* twice */

static struct fx_record *fx_record_new(void)
{
	void *p = mmap(NULL, sizeof(struct fx_record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	FX_REQUIRE(p != MAP_FAILED, "memory");
	return p;
}

static void fx_once(const struct fx_twice *t, bool kernel)
{
	struct fx_opts opts = t->opts;
	struct fx fx;

	opts.kernel = kernel;
	fx_began = time(NULL);
	fx_init(&fx, &opts);
	t->lower(&fx);
	fx_mount(&fx);
	fx_attach(&fx, t->args[0], t->args[1], t->args[2], t->args[3], NULL);
	t->steps(&fx);
	fx_end(&fx);
}

/* Tells where they part, with the lines before. */
static void fx_record_differ(const char *alone, const char *with)
{
	const char *a = alone, *b = with, *before = alone;
	unsigned int line = 1;

	for (; *a && *b; line++) {
		size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");

		if (na != nb || memcmp(a, b, na))
			break;
		if (line > 3)
			before += strcspn(before, "\n") + 1;
		a += na + 1;
		b += nb + 1;
	}
	fx_diag("line %u; before it:\n%.*s", line, (int)(a - before), before);
	fx_diag("the kernel alone: %.*s", (int)strcspn(a, "\n"), *a ? a : "(nothing more)");
	fx_diag("with kunion:      %.*s", (int)strcspn(b, "\n"), *b ? b : "(nothing more)");
}

bool fx_twice(const struct fx_twice *t)
{
	struct fx_record *alone, *with;
	bool same;

	fx_record = alone = fx_record_new();
	fx_once(t, true);
	fx_record = with = fx_record_new();
	fx_once(t, false);
	FX_CHECK(alone->len > 0, "nothing was noted");
	same = !strcmp(alone->text, with->text);
	if (!FX_CHECK(same, "the kernel alone does it otherwise"))
		fx_record_differ(alone->text, with->text);
	return same;
}
