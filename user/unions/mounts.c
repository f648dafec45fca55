// SPDX-License-Identifier: GPL-2.0-only
#include "mounts.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "ns.h"
#include "union.h"
#include "util.h"

/* Calls fn for each mount in a mountinfo file until it returns true; then true. */
static bool ku_mountinfo_each(const char *file, bool (*fn)(void *arg, const struct ku_mountinfo *mi), void *arg)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) >= 0) {
		struct ku_mountinfo mi;

		if (!ku_mountinfo_parse(line, &mi) && fn(arg, &mi))
			return true;
	}
	return false;
}

#define KU_SEEK_NS 200000000ull
#define KU_SEEK_MOST_NS 10000000000ull

struct ku_fs_search {
	unsigned int major, minor;
	char *type;
};

static bool ku_fs_found(void *arg, const struct ku_mountinfo *mi)
{
	struct ku_fs_search *s = arg;

	if (mi->major != s->major || mi->minor != s->minor)
		return false;
	s->type = strdup(mi->fstype);
	return true;
}

/* The type of the file system that path is on; btrfs gives each subvolume a number of its own, so statfs would be no better. */
static char *ku_fs_type(const char *path, dev_t *ret_dev)
{
	struct ku_fs_search s = { 0 };
	struct stat st;

	if (path[0] != '/' || stat(path, &st))
		return NULL;
	*ret_dev = st.st_dev;
	s.major = major(st.st_dev);
	s.minor = minor(st.st_dev);
	ku_mountinfo_each("/proc/self/mountinfo", ku_fs_found, &s);
	return s.type;
}

static bool ku_fs_reflinks(const char *type)
{
	static const char *const types[] = { "btrfs", "xfs", "bcachefs", "ocfs2", "zfs" };

	for (size_t i = 0; i < KU_ARRAY_SIZE(types); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

static void ku_set(char **at, char *value)
{
	if (!value)
		return;
	free(*at);
	*at = value;
}

static char *ku_mount_options_text(const char *options)
{
	static const char *const names[] = { "metacopy", "index", "redirect_dir", "nfs_export", "xino" };
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	for (size_t i = 0; i < KU_ARRAY_SIZE(names); i++)
		fprintf(f, "%s=%s,", names[i], ku_mount_option_on(options, names[i]) ? "on" : "off");
	fprintf(f, "volatile=%s", ku_mount_volatile(options) ? "on" : "off");
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static void ku_mount_look(struct ku_mount *m)
{
	_cleanup_free_ char *lower = NULL;
	dev_t upper_dev = 0, lower_dev = 0;
	struct statvfs sv;
	char *type;

	type = ku_fs_type(m->upper, &upper_dev);
	if (type && !statvfs(m->upper, &sv)) {
		m->upper_free = (uint64_t)sv.f_bavail * sv.f_frsize;
		m->upper_size = (uint64_t)sv.f_blocks * sv.f_frsize;
	}
	ku_set(&m->upper_fs, type);
	lower = strndup(m->lower, strcspn(m->lower, ":"));
	if (lower && lower[0] == '/') {
		_cleanup_free_ char *lower_fs = ku_fs_type(lower, &lower_dev);

		m->reflink = lower_fs && lower_dev == upper_dev && ku_fs_reflinks(m->upper_fs);
	}
}

static bool ku_mount_found(void *arg, const struct ku_mountinfo *mi)
{
	struct ku_mount *m = arg;

	if (strcmp(mi->fstype, "overlay") || (mi->major << 20 | mi->minor) != m->dev)
		return false;
	ku_set(&m->path, strdup(mi->mountpoint));
	ku_set(&m->lower, ku_mount_option(mi->super_options, "lowerdir"));
	ku_set(&m->upper, ku_mount_option(mi->super_options, "upperdir"));
	ku_set(&m->options, ku_mount_options_text(mi->super_options));
	return true;
}

struct ku_mount *ku_mounts_of(struct ku_mounts *ms, uint32_t dev, uint32_t pid)
{
	struct ku_mount *m;
	char file[64];

	for (m = ms->all; m && m->dev != dev; m = m->next)
		;
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return NULL;
		m->dev = dev;
		m->path = strdup("");
		m->lower = strdup("");
		m->upper = strdup("");
		m->options = strdup("");
		m->upper_fs = strdup("");
		m->next = ms->all;
		ms->all = m;
		if (!m->path || !m->lower || !m->upper || !m->options || !m->upper_fs) {
			ku_mounts_forget(ms, dev);
			return NULL;
		}
	}
	if (m->path[0])
		return m;
	snprintf(file, sizeof(file), "/proc/%u/mountinfo", pid);
	/* Another mount namespace's names are not ours: whose directory would we look at, and who would serve it? */
	if (ku_mountinfo_each("/proc/self/mountinfo", ku_mount_found, m))
		ku_mount_look(m);
	else if (pid)
		ku_mountinfo_each(file, ku_mount_found, m);
	return m;
}

void ku_mounts_seek(struct ku_mount *m)
{
	_cleanup_free_ struct ku_ns_seen *seen = NULL;
	uint64_t now = ku_now_ns();
	char file[64];
	size_t n;

	if (m->path[0] || now < m->seek_ns)
		return;
	m->seek_wait_ns = !m->seek_wait_ns ? KU_SEEK_NS : m->seek_wait_ns < KU_SEEK_MOST_NS ? 2 * m->seek_wait_ns : KU_SEEK_MOST_NS;
	m->seek_ns = now + m->seek_wait_ns;
	if (ku_ns_list(&seen, &n))
		return; /* in a moment, perhaps */
	for (size_t i = 0; i < n && !m->path[0]; i++) {
		snprintf(file, sizeof(file), "/proc/%u/mountinfo", seen[i].ns.pid);
		ku_mountinfo_each(file, ku_mount_found, m);
	}
}

static void ku_mount_free(struct ku_mount *m)
{
	free(m->path);
	free(m->lower);
	free(m->upper);
	free(m->options);
	free(m->upper_fs);
	free(m);
}

void ku_mounts_forget(struct ku_mounts *ms, uint32_t dev)
{
	for (struct ku_mount **at = &ms->all, *m; (m = *at); at = &m->next)
		if (m->dev == dev) {
			*at = m->next;
			ku_mount_free(m);
			return;
		}
}

void ku_mounts_free(struct ku_mounts *ms)
{
	while (ms->all)
		ku_mounts_forget(ms, ms->all->dev);
}
