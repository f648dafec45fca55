// SPDX-License-Identifier: GPL-2.0-only
#include "union.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "stop.h"
#include "util.h"

#define KU_RUN_DIR "/run/kunion"
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U
#endif

#define KU_NS_TRIES 5 /* processes that go while they are looked at */
#define KU_PATH_SHOWN 100 /* so that the reason fits behind it */

__attribute__((format(printf, 4, 5))) static int ku_union_err(char err[static KU_UNION_ERR], int r, const char *path,
							      const char *fmt, ...)
{
	size_t len = strlen(path);
	va_list ap;
	int n;

	n = snprintf(err, KU_UNION_ERR, "%s%s: ", len > KU_PATH_SHOWN ? "..." : "",
		     path + (len > KU_PATH_SHOWN ? len - KU_PATH_SHOWN : 0));
	va_start(ap, fmt);
	vsnprintf(err + n, (size_t)(KU_UNION_ERR - n), fmt, ap);
	va_end(ap);
	return r;
}

void ku_mount_unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

int ku_mountinfo_parse(char *line, struct ku_mountinfo *ret)
{
	char *root, *mountpoint, *options, *fstype, *source, *super, *save, *dash;
	struct ku_mountinfo m = { 0 };
	unsigned long long id, parent;
	char *devno;

	line[strcspn(line, "\n")] = '\0';
	/* Optional fields end at a lone dash; a blank within a field is escaped, so this is the first. */
	dash = strstr(line, " - ");
	if (!dash)
		return -EINVAL;
	*dash = '\0';

	if (sscanf(line, "%llu %llu ", &id, &parent) != 2)
		return -EINVAL;
	if (!strtok_r(line, " ", &save) || !strtok_r(NULL, " ", &save))
		return -EINVAL;
	devno = strtok_r(NULL, " ", &save);
	root = strtok_r(NULL, " ", &save);
	mountpoint = strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " ", &save);
	m.optional = options && save ? save : "";
	fstype = strtok_r(dash + 3, " ", &save);
	source = strtok_r(NULL, " ", &save);
	super = strtok_r(NULL, " ", &save);
	/* An empty source leaves a field out. */
	if (source && !super) {
		super = source;
		source = strchr(super, '\0');
	}
	if (!devno || !root || !mountpoint || !options || !fstype || !super ||
	    sscanf(devno, "%u:%u", &m.major, &m.minor) != 2)
		return -EINVAL;

	ku_mount_unescape(root);
	ku_mount_unescape(mountpoint);
	ku_mount_unescape(source);
	m.id = id;
	m.parent = parent;
	m.root = root;
	m.mountpoint = mountpoint;
	m.options = options;
	m.fstype = fstype;
	m.source = source;
	m.super_options = super;
	*ret = m;
	return 0;
}

char *ku_mount_option(const char *options, const char *name)
{
	size_t len = strlen(name), n;
	char *value;

	for (const char *o = options; *o; o += n + (o[n] == ',')) {
		n = strcspn(o, ",");
		if (n < len || strncmp(o, name, len) || (n > len && o[len] != '='))
			continue;
		value = n > len ? strndup(o + len + 1, n - len - 1) : strdup("");
		if (value)
			ku_mount_unescape(value);
		else
			errno = ENOMEM;
		return value;
	}
	errno = 0;
	return NULL;
}

/* Lower directories that were given one by one, as one "lowerdir" would have them. Allocated, "" for none; NULL without memory. */
static char *ku_mount_lowerdirs(const char *options)
{
	static const char name[] = "lowerdir+=";
	char *text = NULL;
	size_t size, n;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	for (const char *o = options, *between = ""; *o; o += n + (o[n] == ',')) {
		_cleanup_free_ char *value = NULL;

		n = strcspn(o, ",");
		if (n < strlen(name) || strncmp(o, name, strlen(name)))
			continue;
		value = strndup(o + strlen(name), n - strlen(name));
		if (!value) {
			fclose(f);
			free(text);
			return NULL;
		}
		ku_mount_unescape(value);
		fputs(between, f);
		for (const char *c = value; *c; c++)
			fprintf(f, "%s%c", *c == ':' || *c == '\\' ? "\\" : "", *c);
		between = ":";
	}
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static bool ku_has_option(const char *options, const char *name)
{
	_cleanup_free_ char *value = ku_mount_option(options, name);

	return value;
}

bool ku_mount_volatile(const char *options)
{
	_cleanup_free_ char *mode = ku_mount_option(options, "fsync");

	return ku_has_option(options, "volatile") || (mode && !strcmp(mode, "volatile"));
}

/* The mountinfo line of a mount: 0 and the line (the caller frees it) with its fields, or -errno. */
/* f is taken over; NULL: could not be opened. */
static int ku_mountinfo_find(FILE *file, uint64_t id, struct ku_mountinfo *ret, char **ret_line)
{
	_cleanup_fclose_ FILE *f = file;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	if (!f)
		return -errno;
	while (getline(&line, &size, f) >= 0) {
		if (strtoull(line, NULL, 10) != id)
			continue;
		if (ku_mountinfo_parse(line, ret) < 0)
			return -EINVAL;
		*ret_line = KU_TAKE_PTR(line);
		return 0;
	}
	return ferror(f) ? -EIO : -ENOENT;
}

bool ku_mount_option_on(const char *options, const char *name)
{
	_cleanup_free_ char *value = ku_mount_option(options, name);
	_cleanup_fclose_ FILE *f = NULL;
	char file[96];
	int c;

	if (value)
		return !strcmp(value, "on");
	snprintf(file, sizeof(file), "/sys/module/overlay/parameters/%s", name);
	f = fopen(file, "re");
	c = f ? fgetc(f) : 'N';
	return c == 'Y' || c == '1';
}

static int ku_union_options(struct ku_union *u, const char *options)
{
	char where[KU_CONTAINER_MAX + 16] = "";

	u->upperdir = ku_mount_option(options, "upperdir");
	if (!u->upperdir)
		return errno ? -errno : -EROFS;
	u->lowerdir = ku_mount_option(options, "lowerdir");
	if (!u->lowerdir && !errno)
		u->lowerdir = ku_mount_lowerdirs(options);
	if (!u->lowerdir)
		return -ENOMEM;
	u->workdir = ku_mount_option(options, "workdir");
	if (!u->workdir)
		return errno ? -errno : -EINVAL;
	/* Names of another mount namespace are others' there, too. */
	if (u->ns.ino && u->container[0])
		snprintf(where, sizeof(where), "container %s:", u->container);
	else if (u->ns.ino)
		snprintf(where, sizeof(where), "mnt %llu:", (unsigned long long)u->ns.ino);
	/* With the prefix: mounts of different parts record paths below different roots. */
	if (asprintf(&u->key, "%s%s//%s", where, u->upperdir, u->prefix) < 0) {
		u->key = NULL;
		return -ENOMEM;
	}

	u->metacopy = ku_mount_option_on(options, "metacopy");
	u->index = ku_mount_option_on(options, "index");
	u->nfs_export = ku_mount_option_on(options, "nfs_export");
	/* metacopy brings it along; 6.1 does not show that. */
	u->redirect_dir = u->metacopy || ku_mount_option_on(options, "redirect_dir");
	u->userxattr = ku_has_option(options, "userxattr");
	u->volatile_ = ku_mount_volatile(options);
	return 0;
}

/* The mount's number that is never used again; 0 where the kernel has none. */
static uint64_t ku_mnt_unique(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE, &st) < 0 || !(st.stx_mask & STATX_MNT_ID_UNIQUE))
		return 0;
	return st.stx_mnt_id;
}

static int ku_union_look(struct ku_union *u, const char *path, bool writable, char err[static KU_UNION_ERR])
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *line = NULL;
	struct ku_mountinfo m;
	struct statfs fs;
	struct statx st;
	int r;

	u->path = realpath(path, NULL);
	if (!u->path) {
		r = -errno;
		return r == -ENOENT ? ku_union_err(err, r, path, "no such directory") :
				      ku_union_err(err, r, path, "cannot be found: %s", strerror(-r));
	}
	fd = open(u->path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MNT_ID, &st) < 0) {
		r = -errno;
		return ku_union_err(err, r, path, "cannot be looked at: %s", strerror(-r));
	}
	if (!S_ISDIR(st.stx_mode))
		return ku_union_err(err, -ENOTDIR, path, "not a directory; give the merged directory of an overlay");
	if (fs.f_type != OVERLAYFS_SUPER_MAGIC)
		return ku_union_err(err, -EINVAL, path, "not an overlay; give the directory on which one is mounted");
	if (!(st.stx_mask & STATX_MNT_ID))
		return ku_union_err(err, -ENOSYS, path, "this kernel does not tell mounts apart; Linux 6.1 is needed");

	r = ku_mountinfo_find(fopen("/proc/self/mountinfo", "re"), st.stx_mnt_id, &m, &line);
	if (r < 0)
		return ku_union_err(err, r, path, "its mount is not in /proc/self/mountinfo; run in its mount namespace and root");
	if (!(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return ku_union_err(err, -EINVAL, path, "below an overlay, not the root of one; give %s", m.mountpoint);
	if (writable && (ku_has_option(m.options, "ro") || ku_has_option(m.super_options, "ro")))
		return ku_union_err(err, -EROFS, path, "this overlay is mounted read-only; mount it read-write");

	u->mnt_id = st.stx_mnt_id;
	u->mnt_unique = ku_mnt_unique(fd);
	u->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	u->ours = !strcmp(m.source, KU_UNION_SOURCE);
	u->prefix = strdup(m.root);
	r = u->prefix ? ku_union_options(u, m.super_options) : -ENOMEM;
	if (r == -EROFS)
		return ku_union_err(err, r, path, "this overlay has no upper layer, so nothing in it can change");
	return r < 0 ? ku_union_err(err, r, path, "%s", strerror(-r)) : 0;
}

int ku_union_of(const struct ku_mountinfo *m, const struct ku_ns_seen *ns, struct ku_union *ret)
{
	struct ku_union u = { .lock_fd = -1, .mnt_id = m->id, .dev = makedev(m->major, m->minor) };
	int r = -ENOMEM;

	if (ku_has_option(m->options, "ro") || ku_has_option(m->super_options, "ro"))
		return -EROFS;
	if (ns) {
		u.ns = ns->ns;
		memcpy(u.container, ns->container, sizeof(u.container));
	}
	u.ours = !strcmp(m->source, KU_UNION_SOURCE);
	u.path = strdup(m->mountpoint);
	u.prefix = strdup(m->root);
	if (u.path && u.prefix)
		r = ku_union_options(&u, m->super_options);
	if (r)
		ku_union_close(&u);
	else
		*ret = u;
	return r;
}

FILE *ku_union_mountinfo(const struct ku_union *u)
{
	FILE *f = NULL;

	if (!u->ns.ino)
		return fopen("/proc/self/mountinfo", "re");
	/* Who was in the namespace a moment ago, like mount(8), may be gone: then another one. */
	for (int i = 0; i < KU_NS_TRIES && !f; i++) {
		uint32_t pid = ku_ns_pid(&u->ns);
		char name[48];

		if (!pid) {
			errno = ENOENT;
			break;
		}
		snprintf(name, sizeof(name), "/proc/%u/mountinfo", pid);
		ku_stop("union-pid");
		f = fopen(name, "re");
	}
	return f;
}

bool ku_union_is_there(const struct ku_union *u)
{
	_cleanup_free_ char *line = NULL;
	struct ku_mountinfo m;

	return !ku_mountinfo_find(ku_union_mountinfo(u), u->mnt_id, &m, &line) && makedev(m.major, m.minor) == u->dev;
}

int ku_union_enter(struct ku_union *u, char err[static KU_UNION_ERR])
{
	_cleanup_close_ int fd = -1;

	/* What is below may be served by the container itself, and would keep us waiting. */
	if (u->ns.ino && ku_ns_is_users(&u->ns))
		return ku_union_err(err, -EOPNOTSUPP, u->path, "in a mount namespace of another user namespace, where only mode observe works");
	fd = ku_union_root(u);
	if (fd < 0)
		return ku_union_err(err, fd, u->path, "cannot be opened where it is mounted: %s", strerror(-fd));
	u->mnt_unique = ku_mnt_unique(fd);
	return 0;
}

static int ku_union_new(const char *path, struct ku_union *ret, bool writable, char err[static KU_UNION_ERR])
{
	struct ku_union u = { .lock_fd = -1 };
	int r = ku_union_look(&u, path, writable, err);

	if (r < 0)
		ku_union_close(&u);
	else
		*ret = u;
	return r;
}

int ku_union_open(const char *path, struct ku_union *ret, char err[static KU_UNION_ERR])
{
	return ku_union_new(path, ret, true, err);
}

int ku_union_inspect(const char *path, struct ku_union *ret, char err[static KU_UNION_ERR])
{
	return ku_union_new(path, ret, false, err);
}

/*
 * Opens the lock file and locks it. Its holder removes it on release, still holding the lock; so who gets the lock looks whether
 * the file still has the name, and otherwise begins again with the new one.
 */
static int ku_lock_open(int dir, const char *name, int *ret_fd)
{
	for (;;) {
		_cleanup_close_ int fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno == EINTR)
				continue;
			return errno == EWOULDBLOCK ? -EBUSY : -errno;
		}
		if (fstat(fd, &st) < 0)
			return -errno;
		if (!st.st_nlink)
			continue;
		*ret_fd = ku_take_fd(&fd);
		return 0;
	}
}

int ku_run_dir(const char **ret_path)
{
	const char *path = secure_getenv("KUNION_RUN_DIR");
	int fd;

	*ret_path = path = path && *path ? path : KU_RUN_DIR;
	/* The control socket lies there, too. */
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void ku_lock_name(const struct ku_union *u, char name[static 40])
{
	snprintf(name, 40, "union-%u:%u.lock", major(u->dev), minor(u->dev));
}

int ku_union_lock(struct ku_union *u, char err[static KU_UNION_ERR])
{
	_cleanup_close_ int dir = -1;
	const char *path;
	char name[40];
	int r;

	dir = ku_run_dir(&path);
	if (dir < 0)
		return ku_union_err(err, dir, path, "cannot be used for lock files: %s", strerror(-dir));
	ku_lock_name(u, name);
	r = ku_lock_open(dir, name, &u->lock_fd);
	if (r == -EBUSY)
		return ku_union_err(err, r, u->path, "another kunion is attached to it; end that one first");
	return r < 0 ? ku_union_err(err, r, path, "cannot make the lock %s: %s", name, strerror(-r)) : 0;
}

void ku_union_unlock(struct ku_union *u)
{
	_cleanup_close_ int dir = -1;
	const char *path;
	char name[40];

	if (u->lock_fd < 0)
		return;
	dir = ku_run_dir(&path);
	ku_lock_name(u, name);
	if (dir >= 0)
		unlinkat(dir, name, 0);
	ku_closep(&u->lock_fd);
}

void ku_union_close(struct ku_union *u)
{
	ku_union_unlock(u);
	free(u->path);
	free(u->prefix);
	free(u->upperdir);
	free(u->lowerdir);
	free(u->workdir);
	free(u->key);
	*u = (struct ku_union){ .lock_fd = -1 };
}

int ku_union_root(const struct ku_union *u)
{
	_cleanup_close_ int fd = -1;
	struct statx st;

	fd = u->ns.ino ? ku_ns_open(&u->ns, u->mnt_id, u->path) : open(u->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return u->ns.ino ? fd : -errno;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
		return -errno;
	/* Who races with mounts and renames leads to another mount, or to none. */
	if (makedev(st.stx_dev_major, st.stx_dev_minor) != u->dev || st.stx_mnt_id != u->mnt_id ||
	    !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT) || (u->mnt_unique && ku_mnt_unique(fd) != u->mnt_unique))
		return -ESTALE;
	return ku_take_fd(&fd);
}
