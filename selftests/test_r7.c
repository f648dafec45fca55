// SPDX-License-Identifier: GPL-2.0-only
/* R7: stat at any moment of a copy shows size, mode, owner and times of one complete file, and never waits. */
#include "fx_fixture.h"

#include <sys/mman.h>

FX_BARE

#define SIZE FX_KB(256)

struct look {
	const char *path;
	struct stat st;
};

static long stat_it(void *arg)
{
	struct look *l = arg;

	return stat(l->path, &l->st);
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Everything of a file that its copy must have, too. */
static void check_whole(const struct stat *st, const struct stat *was, const char *what)
{
	KTAP_CHECK(st->st_size == was->st_size, "%s: size %lld", what, (long long)st->st_size);
	KTAP_CHECK(st->st_mode == was->st_mode, "%s: mode %o", what, st->st_mode);
	KTAP_CHECK(st->st_uid == was->st_uid && st->st_gid == was->st_gid, "%s: owner %u:%u", what, st->st_uid, st->st_gid);
	KTAP_CHECK(st->st_nlink == 1, "%s: %u links", what, (unsigned int)st->st_nlink);
	KTAP_CHECK(same_time(&st->st_mtim, &was->st_mtim), "%s: mtime %lld.%09ld", what, (long long)st->st_mtim.tv_sec,
		   st->st_mtim.tv_nsec);
	KTAP_CHECK((off_t)st->st_blocks * 512 >= was->st_size, "%s: %lld blocks", what, (long long)st->st_blocks);
}

static void stat_at(struct fx *fx, const struct fx_point *p, const struct fx_call *first, struct look *l)
{
	const char *what = fx_name("%s at %s", fx_call_names[first->kind], p->name);
	struct fx_call c = *first;
	struct fx_op op, looker;
	struct stat was;

	c.path = l->path = fx_path(fx, fx_name("%s-%s/f", fx_call_names[first->kind], p->name));
	KTAP_REQUIRE(stat(l->path, &was) == 0);
	fx_point_arm(fx, p);
	fx_call_start(&op, &c);
	fx_point_wait(fx, p);
	fx_op_start(&looker, 0, stat_it, l);
	KTAP_CHECK(fx_op_wait(&looker, FX_LONG) && looker.res->err == 0, "%s: stat waits, or fails", what);
	KTAP_CHECK(!fx_op_done(&op), "%s", what);
	check_whole(&l->st, &was, what);
	KTAP_CHECK((l->st.st_ino == was.st_ino) == !p->renamed, "%s: the wrong file of the two", what);
	fx_point_go(fx, p);
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG), "%s", what);
	KTAP_CHECK(op.res->err == 0, "%s: %s", what, strerror(op.res->err));
	KTAP_REQUIRE(stat(l->path, &l->st) == 0);
	if (c.kind == FX_CHMOD) {
		KTAP_CHECK((l->st.st_mode & 07777) == c.mode, "%s: mode %o", what, l->st.st_mode);
		l->st.st_mode = was.st_mode;
	}
	check_whole(&l->st, &was, what);
}

KTAP_TEST_LIMIT(stat_everywhere, 120)
{
	static const struct fx_call first[] = { { .kind = FX_OPEN_W }, { .kind = FX_CHMOD, .mode = 06711 } };
	struct look *l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct fx fx;

	KTAP_REQUIRE(l != MAP_FAILED);
	fx_init(&fx, NULL);
	for (unsigned int i = 0; i < 2; i++)
		for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++)
			fx_race_files(&fx, fx_name("%s-%s", fx_call_names[first[i].kind], p->name), p->size);
	fx_sh("chown -R 1000:100 %s", fx.lower);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	for (const struct fx_point *p = fx_points; p < fx_points + fx_npoints; p++) {
		stat_at(&fx, p, &first[0], l);
		if (fx.tier >= FX_TIER_PARK)
			stat_at(&fx, p, &first[1], l);
	}
	fx_end(&fx);
}

#define FILES 10

struct watch {
	const struct fx *fx;
	volatile bool stop;
	volatile unsigned int looks;
};

/* Whatever the moment: the old file, or the truncated one. */
static long watch_all(void *arg)
{
	struct watch *w = arg;
	struct stat st;

	while (!w->stop)
		for (unsigned int i = 0; i < FILES; i++) {
			if (stat(fx_path(w->fx, fx_name("%u/f", i)), &st))
				return -1;
			if (st.st_mode != (S_IFREG | 0644) || (st.st_size != SIZE && st.st_size != SIZE / 2) || st.st_uid != 1000 ||
			    (st.st_size == SIZE && (st.st_mtim.tv_sec != 1234567890 || st.st_mtim.tv_nsec != 123456789))) {
				fx_diag("file %u: mode %o size %lld uid %u mtime %lld.%09ld", i, st.st_mode, (long long)st.st_size,
					st.st_uid, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
				errno = EUCLEAN;
				return -1;
			}
			w->looks++;
		}
	return 0;
}

KTAP_TEST(watched_without_rest)
{
	struct watch *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct fx_op op;
	struct fx fx;

	KTAP_REQUIRE(w != MAP_FAILED);
	fx_init(&fx, NULL);
	w->fx = &fx;
	for (unsigned int i = 0; i < FILES; i++)
		fx_race_files(&fx, fx_name("%u", i), SIZE);
	fx_sh("chown -R 1000:100 %s", fx.lower);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	fx_op_start(&op, 0, watch_all, w);
	for (unsigned int i = 0; i < FILES; i++)
		KTAP_CHECK(fx_call_now(FX_CALL(i % 2 ? FX_OPEN_W : FX_TRUNCATE, fx_path(&fx, fx_name("%u/f", i)), .size = SIZE / 2)) == 0);
	w->stop = true;
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	KTAP_CHECK(op.res->err == 0, "after %u looks: %s", w->looks, strerror(op.res->err));
	KTAP_CHECK(w->looks > FILES);
	fx_end(&fx);
}

/* The directory's own times: a copy-up is no change of the directory, for the kernel neither. */
KTAP_TEST(directory_times)
{
	for (int kernel = 1; kernel >= 0; kernel--) {
		struct fx_opts opts = { .kernel = kernel };
		struct stat was, is;
		struct fx fx;

		fx_init(&fx, &opts);
		fx_race_files(&fx, "d", SIZE);
		fx_mount(&fx);
		fx_attach(&fx, NULL);
		KTAP_REQUIRE(stat(fx_path(&fx, "d"), &was) == 0);
		fx_sleep_ms(20);
		KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_W, fx_path(&fx, "d/f"))) == 0);
		if (!kernel)
			KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "engine", "kunion", "result", "ok", NULL));
		KTAP_REQUIRE(stat(fx_path(&fx, "d"), &is) == 0);
		KTAP_CHECK(same_time(&was.st_mtim, &is.st_mtim), "kernel %d: mtime went on by %lld ns", kernel,
			   (long long)(is.st_mtim.tv_sec - was.st_mtim.tv_sec) * 1000000000 + is.st_mtim.tv_nsec - was.st_mtim.tv_nsec);
		fx_end(&fx);
	}
}

KTAP_MAIN()
