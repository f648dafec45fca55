/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of policies share: rules written, operations done, and what was told of them. */
#ifndef POLICY_H
#define POLICY_H

#include "fx_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define POLICY_FILE FX_DIR "/policy.conf"

/* Put in its place at once: a reader finds the old or the new one. */
__attribute__((format(printf, 2, 3))) static inline void policy_write(const char *file, const char *fmt, ...)
{
	char tmp[FX_PATH_MAX];
	va_list ap;
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s.new", file);
	f = fopen(tmp, "we");
	KTAP_REQUIRE(f, "%s", tmp);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	KTAP_REQUIRE(fclose(f) == 0 && rename(tmp, file) == 0);
}

/* What is above path, and path itself if asked for. */
static inline void policy_mkdirs(const char *path, bool whole)
{
	char part[1024];

	snprintf(part, sizeof(part), "%s%s", path, whole ? "/" : "");
	for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		KTAP_REQUIRE(mkdir(part, 0755) == 0 || errno == EEXIST, "%s", part);
		*at = '/';
	}
}

static inline void policy_file(const char *path, off_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

	KTAP_REQUIRE(fd >= 0 && ftruncate(fd, size) == 0, "%s", path);
	close(fd);
}

/* 0 or an errno. */
static inline int policy_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644), err = fd < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

static inline int policy_result(long ret)
{
	return ret < 0 ? errno : 0;
}

/* Exactly n events of this path and action; with an errno, if any, as its name. */
static inline void policy_told(const struct fx *fx, const char *path, const char *action, const char *verdict, int err, int n)
{
	if (n)
		fx_event_wait(fx, n, FX_LONG / 4, "event", "policy", "path", path, "action", action, NULL);
	KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", path, "action", action, NULL) == n, "%s of %s is told %d times, not %d", action,
		   path, fx_event_count(fx, "event", "policy", "path", path, "action", action, NULL), n);
	if (n)
		KTAP_CHECK(fx_event_count(fx, "event", "policy", "path", path, "action", action, "verdict", verdict, "errno",
					  err ? strerrorname_np(err) : "", NULL) == n,
			   "%s of %s", action, path);
}

#endif
