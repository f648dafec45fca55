// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rules:
 * 1. An entry is on disk before its temporary can be (durable), and void only after the temporary is gone.
 * 2. A slot is written only under its byte-range lock (against processes) and its mine[] bit (against threads: the lock belongs
 *    to the open file, which all threads share).
 * 3. A valid entry is never overwritten; only ku_intents_done() and ku_intents_recover() void it.
 * 4. The file is removed only under LOCK_EX; everybody who has it open holds LOCK_SH.
 */
#include "intents.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "below.h"
#include "sys.h"
#include "util.h"

#define KU_STATE_DIR "/var/lib/kunion"
#define KU_DIR_MAX 4096
#define KU_INTENTS_MAX 65536u

/* The file: one block of text that says for people whose it is, then the slots. */
struct ku_intent {
	char magic[8]; /* all zero: void */
	uint64_t sum;  /* over name and dir: a write that a power cut tore is void */
	char name[KU_TEMP_NAME_MAX];
	char dir[KU_DIR_MAX]; /* only as far as its NUL is written */
};

#define KU_INTENT_HEAD offsetof(struct ku_intent, dir)
#define KU_INTENT_SIZE 4608
_Static_assert(sizeof(struct ku_intent) <= KU_INTENT_SIZE, "a slot must fit its place");

static const char ku_intent_magic[8] = { 'k', 'u', 'n', 'i', 'o', 'n', '1', '\n' };

struct ku_intents {
	pthread_mutex_t lock; /* mine[] */
	int dirfd, fd;
	bool durable;
	char file[40];
	bool mine[KU_INTENTS_MAX];
};

static uint64_t ku_fnv(uint64_t h, const char *s)
{
	do {
		h = (h ^ (unsigned char)*s) * 0x100000001b3ull;
	} while (*s++);
	return h;
}

#define KU_FNV_START 0xcbf29ce484222325ull

static uint64_t ku_intent_sum(const struct ku_intent *s)
{
	return ku_fnv(ku_fnv(KU_FNV_START, s->name), s->dir);
}

static off_t ku_intent_at(unsigned int i)
{
	return (off_t)(i + 1) * KU_INTENT_SIZE;
}

bool ku_is_temp_name(const char *name)
{
	size_t prefix = strlen(KU_TEMP_PREFIX);

	return !strncmp(name, KU_TEMP_PREFIX, prefix) && strlen(name) == prefix + KU_TEMP_RANDOM &&
	       strspn(name + prefix, "0123456789abcdef") == KU_TEMP_RANDOM;
}

static int ku_temp_name(char name[static KU_TEMP_NAME_MAX])
{
	unsigned char raw[KU_TEMP_RANDOM / 2];
	size_t at = strlen(KU_TEMP_PREFIX);

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return -EIO;
	memcpy(name, KU_TEMP_PREFIX, at);
	for (size_t i = 0; i < sizeof(raw); i++)
		at += (size_t)snprintf(name + at, KU_TEMP_NAME_MAX - at, "%02x", raw[i]);
	return 0;
}

/* type: F_WRLCK or F_UNLCK. */
static int ku_intent_lock(const struct ku_intents *in, unsigned int i, short type)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = ku_intent_at(i), .l_len = KU_INTENT_SIZE };

	return fcntl(in->fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

/* 1: a valid entry, 0: a free slot, 2: the end of the file, -errno. */
static int ku_intent_read(const struct ku_intents *in, unsigned int i, struct ku_intent *s)
{
	ssize_t n;

	memset(s, 0, sizeof(*s));
	n = pread(in->fd, s, sizeof(*s), ku_intent_at(i));
	if (n < 0)
		return -errno;
	if (n == 0)
		return 2;
	/* It goes into system calls: nothing but what ku_intents_begin() can have written. */
	return !memcmp(s->magic, ku_intent_magic, sizeof(s->magic)) && memchr(s->name, 0, sizeof(s->name)) &&
	       memchr(s->dir, 0, sizeof(s->dir)) && s->sum == ku_intent_sum(s) && ku_is_temp_name(s->name);
}

static void ku_intent_void(const struct ku_intents *in, unsigned int i)
{
	static const char none[sizeof(ku_intent_magic)];

	/* If it fails, the entry names a file that does not exist: harmless. */
	(void)!pwrite(in->fd, none, sizeof(none), ku_intent_at(i));
}

static void ku_intent_release(struct ku_intents *in, unsigned int i)
{
	pthread_mutex_lock(&in->lock);
	ku_intent_lock(in, i, F_UNLCK);
	in->mine[i] = false;
	pthread_mutex_unlock(&in->lock);
}

/* Takes slot i for this thread: 0, or -EAGAIN when another thread or process has it, or -errno. */
static int ku_intent_take(struct ku_intents *in, unsigned int i)
{
	int r = -EAGAIN;

	pthread_mutex_lock(&in->lock);
	if (!in->mine[i]) {
		r = ku_intent_lock(in, i, F_WRLCK);
		if (r == -EACCES)
			r = -EAGAIN;
		in->mine[i] = !r;
	}
	pthread_mutex_unlock(&in->lock);
	return r;
}

static int ku_state_dir(int *ret_fd)
{
	const char *dir = secure_getenv("KUNION_STATE_DIR");
	int fd;

	if (!dir || !*dir)
		dir = KU_STATE_DIR;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Opens the record so that it has a name while we have it: the last one's close may remove it in between. */
static int ku_record_open(int dirfd, const char *file, int *ret_fd)
{
	for (;;) {
		_cleanup_close_ int fd = openat(dirfd, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		struct stat st;

		if (fd < 0)
			return -errno;
		while (flock(fd, LOCK_SH) < 0)
			if (errno != EINTR)
				return -errno;
		if (fstat(fd, &st) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return -EINVAL;
		if (!st.st_nlink)
			continue;
		*ret_fd = ku_take_fd(&fd);
		return 0;
	}
}

/* The text block. What it says is never read back. */
static int ku_record_head(const struct ku_intents *in, const char *key)
{
	char head[KU_INTENT_SIZE] = "";

	snprintf(head, sizeof(head), "kunion intents 1, for %s\n", key);
	if (pwrite(in->fd, head, strlen(head), 0) < 0)
		return -errno;
	return in->durable && (fsync(in->fd) < 0 || fsync(in->dirfd) < 0) ? -errno : 0;
}

int ku_intents_open(const char *key, bool durable, struct ku_intents **ret)
{
	struct ku_intents *in = calloc(1, sizeof(*in));
	int r;

	if (!in)
		return -ENOMEM;
	in->dirfd = in->fd = -1;
	in->durable = durable;
	pthread_mutex_init(&in->lock, NULL);
	snprintf(in->file, sizeof(in->file), "intents-%016llx", (unsigned long long)ku_fnv(KU_FNV_START, key));

	r = ku_state_dir(&in->dirfd);
	if (!r)
		r = ku_record_open(in->dirfd, in->file, &in->fd);
	if (!r)
		r = ku_record_head(in, key);
	if (r < 0) {
		ku_intents_close(in);
		return r;
	}
	*ret = in;
	return 0;
}

static bool ku_record_empty(const struct ku_intents *in)
{
	struct ku_intent s;

	for (unsigned int i = 0; i < KU_INTENTS_MAX; i++) {
		int r = ku_intent_read(in, i, &s);

		if (r == 2)
			break;
		if (r)
			return false;
	}
	return true;
}

void ku_intents_close(struct ku_intents *in)
{
	if (!in)
		return;
	if (in->fd >= 0 && flock(in->fd, LOCK_EX | LOCK_NB) == 0 && ku_record_empty(in))
		unlinkat(in->dirfd, in->file, 0);
	ku_closep(&in->fd);
	ku_closep(&in->dirfd);
	pthread_mutex_destroy(&in->lock);
	free(in);
}

/* A slot without an entry that nobody uses, taken. */
static int ku_intent_find(struct ku_intents *in, unsigned int *ret_i)
{
	struct ku_intent s;

	for (unsigned int i = 0; i < KU_INTENTS_MAX; i++) {
		int r = ku_intent_take(in, i);

		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		r = ku_intent_read(in, i, &s);
		if (r == 0 || r == 2) {
			*ret_i = i;
			return 0;
		}
		ku_intent_release(in, i);
		if (r < 0)
			return r;
	}
	return -ENOSPC;
}

int ku_intents_begin(struct ku_intents *in, const char *dir, char name[static KU_TEMP_NAME_MAX], unsigned int *ret_id)
{
	struct ku_intent s = { 0 };
	size_t len, size;
	unsigned int i;
	ssize_t n;
	int r;

	if (!strcmp(dir, "."))
		dir = "";
	len = strlen(dir);
	size = KU_INTENT_HEAD + len + 1;
	if (len >= sizeof(s.dir))
		return -ENAMETOOLONG;
	r = ku_temp_name(s.name);
	if (r < 0)
		return r;
	memcpy(s.magic, ku_intent_magic, sizeof(s.magic));
	memcpy(s.dir, dir, len + 1);
	s.sum = ku_intent_sum(&s);

	r = ku_intent_find(in, &i);
	if (r < 0)
		return r;
	n = pwrite(in->fd, &s, size, ku_intent_at(i));
	if (n != (ssize_t)size)
		r = n < 0 ? -errno : -ENOSPC;
	else if (in->durable && fdatasync(in->fd) < 0)
		r = -errno;
	if (r < 0) {
		ku_intents_done(in, i);
		return r;
	}
	memcpy(name, s.name, KU_TEMP_NAME_MAX);
	*ret_id = i;
	return 0;
}

void ku_intents_done(struct ku_intents *in, unsigned int id)
{
	ku_intent_void(in, id);
	ku_intent_release(in, id);
}

/* Removes what the entry names. 1: it was there (*ret_err: 0 or why it still is), 0: it is not there, -errno: cannot tell. */
static int ku_intent_remove(const struct ku_intent *s, int root, bool dry_run, int *ret_err)
{
	_cleanup_close_ int dir = -1, found = -1;
	struct stat st;

	dir = ku_openat2(root, s->dir[0] ? s->dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, KU_BELOW);
	if (dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP)
		return 0; /* the directory was removed or renamed since */
	if (dir < 0)
		return dir;
	found = ku_below_find(dir, s->name);
	if (found == -EXDEV) {
		*ret_err = -EBUSY; /* something is mounted on it */
		return 1;
	}
	if (found < 0)
		return found == -ENOENT ? 0 : found;
	if (fstat(found, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	*ret_err = 0;
	if (dry_run || unlinkat(dir, s->name, 0) == 0)
		return 1;
	if (errno == ENOENT)
		return 0;
	*ret_err = -errno;
	return 1;
}

int ku_intents_recover(struct ku_intents *in, int root, bool dry_run, void (*found)(void *arg, const char *path, int err),
		       void *arg)
{
	char path[KU_DIR_MAX + KU_TEMP_NAME_MAX];
	int count = 0, failed = 0;
	struct ku_intent s;

	for (unsigned int i = 0; i < KU_INTENTS_MAX; i++) {
		int r, err = 0, gone;

		r = ku_intent_take(in, i);
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		r = ku_intent_read(in, i, &s);
		if (r != 1) {
			ku_intent_release(in, i);
			if (r < 0)
				return r;
			if (r == 2)
				break;
			continue;
		}
		r = ku_intent_remove(&s, root, dry_run, &err);
		gone = r == 0 || (r == 1 && !err);
		if (gone && !dry_run)
			ku_intent_void(in, i);
		ku_intent_release(in, i);

		if (r < 0) {
			failed = r;
		} else if (r) {
			count++;
			snprintf(path, sizeof(path), "%s%s%s", s.dir, s.dir[0] ? "/" : "", s.name);
			if (found)
				found(arg, path, err);
		}
	}
	return failed ? failed : count;
}
