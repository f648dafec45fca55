/* SPDX-License-Identifier: GPL-2.0-only */
/* For the tests of observation: all event lines at once, two containers and the host, children that carry a name. */
#ifndef SEE_H
#define SEE_H

#include "fx_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>

/* all event lines, in their order */

struct see {
	struct json_object **e;
	unsigned int n;
};

static inline void see_load(const struct fx *fx, struct see *s)
{
	FILE *f = fopen(fx->events, "re");
	char *text = NULL;
	size_t size = 0;

	memset(s, 0, sizeof(*s));
	KTAP_REQUIRE(f, "%s", fx->events);
	while (getline(&text, &size, f) > 0) {
		struct json_object *line = json_tokener_parse(text);

		KTAP_REQUIRE(line, "no JSON: %.300s", text);
		s->e = realloc(s->e, (s->n + 1) * sizeof(*s->e));
		KTAP_REQUIRE(s->e, "memory");
		s->e[s->n++] = line;
	}
	free(text);
	fclose(f);
}

static inline void see_free(struct see *s)
{
	while (s->n)
		json_object_put(s->e[--s->n]);
	free(s->e);
}

static inline const char *see_str(struct json_object *e, const char *key)
{
	struct json_object *v;

	return e && json_object_object_get_ex(e, key, &v) ? json_object_get_string(v) : "(none)";
}

static inline int64_t see_num(struct json_object *e, const char *key)
{
	struct json_object *v;

	return e && json_object_object_get_ex(e, key, &v) ? json_object_get_int64(v) : -1;
}

static inline bool see_is(struct json_object *e, const char *key, const char *value)
{
	return !strcmp(see_str(e, key), value);
}

/* The next event of a kind behind *at (0 to begin with); NULL: no more. */
static inline struct json_object *see_next(const struct see *s, unsigned int *at, const char *event)
{
	while (*at < s->n) {
		struct json_object *e = s->e[(*at)++];

		if (see_is(e, "event", event))
			return e;
	}
	return NULL;
}

/* The only event of a kind with this number under key; a failed check when there is none, or more than one. */
static inline struct json_object *see_only(const struct see *s, const char *event, const char *key, int64_t value)
{
	struct json_object *e, *found = NULL;
	unsigned int at = 0, n = 0;

	while ((e = see_next(s, &at, event)))
		if (see_num(e, key) == value) {
			found = e;
			n++;
		}
	return KTAP_CHECK(n == 1, "%u %s events with %s %lld", n, event, key, (long long)value) ? found : NULL;
}

static inline unsigned int see_count(const struct see *s, const char *event)
{
	unsigned int at = 0, n = 0;

	while (see_next(s, &at, event))
		n++;
	return n;
}

static inline int64_t see_sum(const struct see *s, const char *event, const char *key)
{
	struct json_object *e;
	unsigned int at = 0;
	int64_t sum = 0;

	while ((e = see_next(s, &at, event)))
		sum += see_num(e, key);
	return sum;
}

#define SEE_STR(e, key, want) \
	KTAP_CHECK(see_is(e, key, want), "%s of %s is '%s', not '%s'", key, see_str(e, "path"), see_str(e, key), want)
#define SEE_NUM(e, key, want)                                                                                                    \
	KTAP_CHECK(see_num(e, key) == (int64_t)(want), "%s of %s is %lld, not %lld", key, see_str(e, "path"), (long long)see_num(e, key), \
		   (long long)(want))

/* places: two containers, and neither */

#define SEE_ID_A "3f1b0c9d8e7a65544332211000ffeeddccbbaa99887766554433221100abcdef"
#define SEE_ID_B "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

enum see_place_nr { SEE_DOCKER, SEE_PODMAN, SEE_HOST, SEE_PLACES };

static const struct see_place {
	const char *cgroup, *container, *runtime;
} see_places[SEE_PLACES] = {
	{ "/docker-" SEE_ID_A ".scope", SEE_ID_A, "docker" },
	{ "/libpod-" SEE_ID_B ".scope", SEE_ID_B, "podman" },
	{ "/see-host", "", "" },
};

#define SEE_CGROUPS "/sys/fs/cgroup"

static inline const char *see_cgroup(enum see_place_nr place, const char *file)
{
	return fx_name(SEE_CGROUPS "%s%s", see_places[place].cgroup, file);
}

/* Behind fx_init(), which gives the test its own mounts. */
static inline void see_places_make(void)
{
	if (!fx_exists(SEE_CGROUPS "/cgroup.controllers"))
		KTAP_REQUIRE(mount("cgroup2", SEE_CGROUPS, "cgroup2", 0, NULL) == 0, "cgroup2");
	for (int i = 0; i < SEE_PLACES; i++)
		KTAP_REQUIRE(mkdir(see_cgroup(i, ""), 0755) == 0 || errno == EEXIST, "%s", see_places[i].cgroup);
}

static inline void see_places_remove(void)
{
	for (int i = 0; i < SEE_PLACES; i++)
		KTAP_CHECK(rmdir(see_cgroup(i, "")) == 0, "%s", see_places[i].cgroup);
}

/* Moves the caller. False: errno tells. */
static inline bool see_enter(enum see_place_nr place)
{
	int fd = open(see_cgroup(place, "/cgroup.procs"), O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, "0", 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

typedef long see_call(const char *path, const char *to);

/* An open call that came to nothing, or its descriptor closed. */
static inline long see_closed(long fd)
{
	return fd < 0 ? fd : close((int)fd);
}

/* Runs it in a child of that place and name, and as that user; what it does must succeed. */
static inline pid_t see_child(enum see_place_nr place, const char *comm, uid_t uid, see_call *call, const char *path, const char *to)
{
	pid_t pid = fork();
	int status;

	KTAP_REQUIRE(pid >= 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_NAME, comm);
		if (!see_enter(place) || (uid && setresuid(uid, uid, uid)))
			_exit(255);
		_exit(call(path, to) ? errno : 0);
	}
	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid && status == 0, "%s %s: %#x", comm, path, status);
	return pid;
}

static inline void see_check_place(struct json_object *e, const char *prefix, enum see_place_nr place)
{
	SEE_STR(e, fx_name("%scgroup", prefix), see_places[place].cgroup);
	SEE_STR(e, fx_name("%scontainer", prefix), see_places[place].container);
	SEE_STR(e, fx_name("%sruntime", prefix), see_places[place].runtime);
}

/* A lower file without holes, which a machine of this speed copies in some tenths of a second to some seconds; least bytes at least. */
static inline void see_big(const struct fx *fx, const char *name, off_t least)
{
	static char buf[1 << 20];
	char *dir = strdup(fx_lpath(fx, name));
	uint64_t end;
	int fd;

	KTAP_REQUIRE(dir && strrchr(dir, '/'));
	*strrchr(dir, '/') = '\0';
	KTAP_REQUIRE(mkdir(dir, 0755) == 0 || errno == EEXIST, "%s", dir);
	free(dir);
	fd = open(fx_lpath(fx, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	KTAP_REQUIRE(fd >= 0, "%s", name);
	memset(buf, 'x', sizeof(buf));
	end = fx_now_ns() + 250000000;
	for (off_t at = 0; at < least || (at < FX_MB(256) && fx_now_ns() < end); at += (off_t)sizeof(buf))
		KTAP_REQUIRE(write(fd, buf, sizeof(buf)) == sizeof(buf), "%s", name);
	close(fd);
}

#endif
