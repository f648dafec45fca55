// SPDX-License-Identifier: GPL-2.0-only
/* Copying data: every way, holes, stepping down on the way, cancelling, and the reserve. */
#include "copy.h"

#include <limits.h>
#include <linux/fs.h>
#include <sys/statvfs.h>

#include "unit.h"
#include "util.h"

#define MIB (1u << 20)

struct watch {
	unsigned int asked, cancel_at; /* 0: never */
	uint64_t last, biggest, first;
	unsigned int told;
};

static bool cancelled(void *arg)
{
	struct watch *w = arg;

	w->asked++;
	return w->cancel_at && w->asked >= w->cancel_at;
}

static void progress(void *arg, uint64_t bytes)
{
	struct watch *w = arg;

	KTAP_CHECK(bytes > w->last, "%llu after %llu", (unsigned long long)bytes, (unsigned long long)w->last);
	if (!w->told++)
		w->first = bytes;
	if (bytes - w->last > w->biggest)
		w->biggest = bytes - w->last;
	w->last = bytes;
}

static int open_new(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	KTAP_REQUIRE(fd >= 0, "%s", path);
	return fd;
}

/* size bytes of noise in path, by way of a descriptor that is left open for reading. */
static int noise(const char *path, size_t size, uint64_t seed)
{
	unsigned char *data = malloc(size);
	int fd;

	KTAP_REQUIRE(data);
	unit_fill(data, size, seed);
	unit_write(path, data, size);
	free(data);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	KTAP_REQUIRE(fd >= 0);
	return fd;
}

static bool same_data(int a, int b)
{
	static unsigned char x[1 << 16], y[1 << 16];
	struct stat sa, sb;
	off_t at = 0;

	if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0 || sa.st_size != sb.st_size) {
		ktap_diag("sizes %lld and %lld", (long long)sa.st_size, (long long)sb.st_size);
		return false;
	}
	while (at < sa.st_size) {
		ssize_t n = pread(a, x, sizeof(x), at), m = pread(b, y, sizeof(y), at);

		if (n <= 0 || n != m || memcmp(x, y, (size_t)n)) {
			ktap_diag("different in the 64 KiB at %lld", (long long)at);
			return false;
		}
		at += n;
	}
	return true;
}

/* Do both have the same data segments? */
static bool same_holes(int a, int b)
{
	off_t at = 0;

	for (;;) {
		off_t da = lseek(a, at, SEEK_DATA), db = lseek(b, at, SEEK_DATA), ha, hb;

		if (da != db) {
			ktap_diag("data behind %lld at %lld and %lld", (long long)at, (long long)da, (long long)db);
			return false;
		}
		if (da < 0)
			return true;
		ha = lseek(a, da, SEEK_HOLE);
		hb = lseek(b, db, SEEK_HOLE);
		if (ha != hb) {
			ktap_diag("hole behind %lld at %lld and %lld", (long long)da, (long long)ha, (long long)hb);
			return false;
		}
		at = ha;
	}
}

/* A copy between two tmpfs with a forced first way: FICLONE and, across them, copy_file_range are refused there. */
static void copy_by(enum ku_copy_how first, enum ku_copy_how want, bool same_fs)
{
	struct watch w = { 0 };
	struct ku_copy_opts opts = { .first = first, .may_use_reserve = true, .progress = progress, .cancelled = cancelled,
				     .arg = &w };
	const size_t size = 9 * MIB + 12345;
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	unit_tmpfs("/tmp/a", NULL);
	unit_tmpfs("/tmp/b", NULL);
	src = noise("/tmp/a/src", size, 1);
	dst = open_new(same_fs ? "/tmp/a/dst" : "/tmp/b/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(stats.how == want, "%s, because %s", ku_copy_how_name(stats.how), stats.why);
	KTAP_CHECK(stats.bytes == size);
	KTAP_CHECK(stats.why && *stats.why);
	KTAP_CHECK(w.last == size && w.told >= 2, "%u times, last %llu", w.told, (unsigned long long)w.last);
	KTAP_CHECK(same_data(src, dst));
}

KTAP_TEST(one_file_system_uses_copy_file_range)
{
	copy_by(KU_COPY_NOTHING, KU_COPY_RANGE, true);
}

KTAP_TEST(two_file_systems_use_sendfile)
{
	copy_by(KU_COPY_NOTHING, KU_COPY_SENDFILE, false);
}

KTAP_TEST(forced_sendfile)
{
	copy_by(KU_COPY_SENDFILE, KU_COPY_SENDFILE, true);
}

KTAP_TEST(forced_read_write)
{
	copy_by(KU_COPY_READWRITE, KU_COPY_READWRITE, true);
}

/* An image of type fs, loop-mounted on dir. */
static void loop_fs(const char *mkfs, const char *dir, const char *image, unsigned int mib)
{
	char cmd[PATH_MAX];
	int fd = open_new(image);

	KTAP_REQUIRE(ftruncate(fd, (off_t)mib * MIB) == 0);
	close(fd);
	KTAP_REQUIRE(mkdir(dir, 0755) == 0);
	snprintf(cmd, sizeof(cmd), "PATH=$PATH:/sbin:/usr/sbin; %s %s >/dev/null 2>&1 && mount -o loop %s %s 2>/dev/null", mkfs,
		 image, image, dir);
	if (system(cmd) != 0)
		ktap_skip("no '%s' or no loop devices here", mkfs);
}

KTAP_TEST(reflink_clones)
{
	struct watch w = { 0 };
	struct ku_copy_opts opts = { .progress = progress, .arg = &w };
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	loop_fs("mkfs.xfs -q -m reflink=1", "/tmp/xfs", "/tmp/image", 320);
	src = noise("/tmp/xfs/src", 5 * MIB + 17, 2);
	dst = open_new("/tmp/xfs/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(stats.how == KU_COPY_CLONE, "%s, because %s", ku_copy_how_name(stats.how), stats.why);
	KTAP_CHECK(stats.bytes == 5 * MIB + 17 && !stats.why && w.last == stats.bytes);
	KTAP_CHECK(same_data(src, dst));

	/* Told to begin with copy_file_range it does not clone the whole, and the data is the same. */
	opts.first = KU_COPY_RANGE;
	w = (struct watch){ 0 };
	KTAP_REQUIRE(ftruncate(dst, 0) == 0);
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(stats.how == KU_COPY_RANGE && stats.why);
	KTAP_CHECK(same_data(src, dst));
}

/* Each way on a file with holes at its beginning, middle and end. */
static void sparse_by(enum ku_copy_how how)
{
	struct ku_copy_opts opts = { .first = how };
	struct ku_copy_stats stats;
	struct stat st;
	int src, dst;

	unit_place();
	unit_tmpfs("/tmp/a", NULL);
	src = open_new("/tmp/a/src");
	for (unsigned int i = 1; i < 40; i += 1 + i % 3) {
		unsigned char page[3 * 4096];

		unit_fill(page, sizeof(page), i);
		KTAP_REQUIRE(pwrite(src, page, sizeof(page), (off_t)i * MIB) == sizeof(page));
	}
	KTAP_REQUIRE(ftruncate(src, (off_t)300 * MIB + 7) == 0);
	dst = open_new("/tmp/a/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(stats.how == how, "%s, because %s", ku_copy_how_name(stats.how), stats.why);
	KTAP_CHECK(same_holes(src, dst));
	KTAP_REQUIRE(fstat(src, &st) == 0);
	KTAP_CHECK(stats.bytes == (uint64_t)st.st_blocks * 512, "%llu", (unsigned long long)stats.bytes);
	KTAP_CHECK(unit_stat("/tmp/a/dst").st_blocks == st.st_blocks);
	KTAP_CHECK(same_data(src, dst));
}

KTAP_TEST(sparse_by_copy_file_range)
{
	sparse_by(KU_COPY_RANGE);
}

KTAP_TEST(sparse_by_sendfile)
{
	sparse_by(KU_COPY_SENDFILE);
}

KTAP_TEST(sparse_by_read_write)
{
	sparse_by(KU_COPY_READWRITE);
}

KTAP_TEST(empty_and_all_hole)
{
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = open_new("/tmp/src");
	dst = open_new("/tmp/dst");
	KTAP_CHECK(ku_copy_data(src, dst, NULL, &stats) == 0);
	KTAP_CHECK(stats.how == KU_COPY_NOTHING && !stats.bytes && !stats.why);
	KTAP_REQUIRE(ftruncate(src, 123456789) == 0);
	KTAP_CHECK(ku_copy_data(src, dst, NULL, &stats) == 0);
	KTAP_CHECK(stats.how == KU_COPY_NOTHING && !stats.bytes && !stats.why);
	KTAP_CHECK(unit_stat("/tmp/dst").st_size == 123456789);
	KTAP_CHECK(unit_stat("/tmp/dst").st_blocks == 0);
}

KTAP_TEST(cancel_ends_within_a_chunk)
{
	struct watch w = { .cancel_at = 4 };
	struct ku_copy_opts opts = { .cancelled = cancelled, .progress = progress, .arg = &w, .may_use_reserve = true };
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = noise("/tmp/src", 64 * MIB, 3);
	dst = open_new("/tmp/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -ECANCELED);
	KTAP_CHECK(w.asked == 4, "asked %u times", w.asked);
	KTAP_CHECK(stats.bytes == w.last && w.last > 0 && w.last < 64 * MIB, "%llu", (unsigned long long)w.last);
	KTAP_CHECK(w.first <= 4 * MIB, "the first chunk had %llu bytes", (unsigned long long)w.first);
	KTAP_CHECK(w.biggest <= 16 * MIB, "a chunk had %llu bytes", (unsigned long long)w.biggest);
}

KTAP_TEST(cancel_before_anything)
{
	struct watch w = { .cancel_at = 1 };
	struct ku_copy_opts opts = { .cancelled = cancelled, .arg = &w };
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = noise("/tmp/src", MIB, 3);
	dst = open_new("/tmp/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -ECANCELED);
	KTAP_CHECK(!stats.bytes && !unit_stat("/tmp/dst").st_size);
}

/* Both ways are taken away half-way: what was copied stays copied, and the rest goes on by the next way. */
KTAP_TEST(steps_down_on_the_way_and_keeps_what_it_has)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_copy_file_range, .arg = -1, .err = EXDEV, .skip = 2 },
		{ .nr = SYS_sendfile, .arg = -1, .err = EINVAL, .skip = 1 },
		{ .nr = SYS_pwrite64, .arg = -1, .err = EINTR, .skip = 3, .times = 1 },
	};
	struct watch w = { 0 };
	struct ku_copy_opts opts = { .progress = progress, .arg = &w, .may_use_reserve = true };
	struct ku_copy_stats stats;
	int src, dst, r;

	unit_place();
	src = noise("/tmp/src", 80 * MIB + 5, 4);
	dst = open_new("/tmp/dst");
	unit_faults(faults, 3);
	r = ku_copy_data(src, dst, &opts, &stats);
	KTAP_CHECK(r == 0, "%d", r);
	KTAP_CHECK(stats.how == KU_COPY_READWRITE, "%s", ku_copy_how_name(stats.how));
	KTAP_CHECK(stats.why && strstr(stats.why, "EINVAL"), "%s", stats.why);
	KTAP_CHECK(stats.bytes == 80 * MIB + 5, "%llu", (unsigned long long)stats.bytes);
	KTAP_CHECK(faults[0].failed == 1 && faults[1].failed == 1 && faults[2].failed == 1);
	KTAP_CHECK(same_data(src, dst));
}

/* A copy_file_range that says "end" before the end is not believed. */
KTAP_TEST(zero_before_the_end_steps_down)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_copy_file_range, .arg = -1, .err = 0, .skip = 1 },
		{ .nr = SYS_sendfile, .arg = -1, .err = 0 },
	};
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = noise("/tmp/src", 9 * MIB, 5);
	dst = open_new("/tmp/dst");
	unit_faults(faults, 2);
	KTAP_CHECK(ku_copy_data(src, dst, NULL, &stats) == 0);
	KTAP_CHECK(stats.how == KU_COPY_READWRITE && stats.bytes == 9 * MIB);
	KTAP_CHECK(same_data(src, dst));
}

/* What the last way says is the end: never a part passed off as the whole. */
KTAP_TEST(a_source_that_ends_early_is_an_error)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_pread64, .arg = -1, .err = 0, .skip = 5 },
	};
	struct ku_copy_opts opts = { .first = KU_COPY_READWRITE };
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = noise("/tmp/src", 9 * MIB, 5);
	dst = open_new("/tmp/dst");
	unit_faults(faults, 1);
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -EIO);
}

KTAP_TEST(errors_of_the_files_are_not_stepped_over)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_copy_file_range, .arg = -1, .err = EIO, .skip = 1 },
		{ .nr = SYS_sendfile, .arg = -1, .err = ENOSYS },
	};
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = noise("/tmp/src", 9 * MIB, 5);
	dst = open_new("/tmp/dst");
	unit_faults(faults, 2);
	KTAP_CHECK(ku_copy_data(src, dst, NULL, &stats) == -EIO);
	KTAP_CHECK(stats.how == KU_COPY_RANGE && !faults[1].seen);
}

KTAP_TEST(interrupted_is_tried_again)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_copy_file_range, .arg = -1, .err = EINTR, .times = 3 },
	};
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = noise("/tmp/src", 9 * MIB, 5);
	dst = open_new("/tmp/dst");
	unit_faults(faults, 1);
	KTAP_CHECK(ku_copy_data(src, dst, NULL, &stats) == 0);
	KTAP_CHECK(stats.how == KU_COPY_RANGE && faults[0].failed == 3);
	KTAP_CHECK(same_data(src, dst));
}

/* No lseek(SEEK_DATA): all is data. */
KTAP_TEST(file_system_that_cannot_tell_holes)
{
	static struct unit_fault faults[] = {
		{ .nr = SYS_lseek, .arg = 2, .mask = ~0ull, .value = SEEK_DATA, .err = EINVAL },
	};
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = noise("/tmp/src", MIB, 5);
	KTAP_REQUIRE(truncate("/tmp/src", 3 * MIB) == 0);
	dst = open_new("/tmp/dst");
	unit_faults(faults, 1);
	KTAP_CHECK(ku_copy_data(src, dst, NULL, &stats) == 0);
	KTAP_CHECK(faults[0].failed > 0);
	KTAP_CHECK(stats.bytes == 3 * MIB);
	KTAP_CHECK(same_data(src, dst));
}

KTAP_TEST(too_large_fails_before_the_first_byte)
{
	struct ku_copy_opts opts = { 0 };
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	unit_tmpfs("/tmp/small", "size=4m");
	src = noise("/tmp/src", 6 * MIB, 6);
	dst = open_new("/tmp/small/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -ENOSPC);
	KTAP_CHECK(!stats.bytes && !unit_stat("/tmp/small/dst").st_blocks);

	/* Holes need no room. */
	KTAP_REQUIRE(truncate("/tmp/src", 2 * MIB) == 0 && truncate("/tmp/src", 600 * MIB) == 0);
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(stats.bytes == 2 * MIB);

	/* With the reserve it is the file system that says so, in the midst. */
	close(src);
	src = noise("/tmp/src", 6 * MIB, 6);
	opts.may_use_reserve = true;
	KTAP_REQUIRE(ftruncate(dst, 0) == 0);
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -ENOSPC);
}

KTAP_TEST(file_system_without_a_limit)
{
	struct ku_copy_opts opts = { 0 };
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	unit_tmpfs("/tmp/free", "size=0,nr_inodes=0");
	src = noise("/tmp/src", MIB, 6);
	dst = open_new("/tmp/free/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
}

/* While it copies, somebody else takes the room. */
static void eat(void *arg, uint64_t bytes)
{
	(void)arg;
	if (bytes > 8 * MIB && !unit_exists("/tmp/small/other"))
		close(noise("/tmp/small/other", 60 * MIB - 5 * 4096, 9)); /* what is left is no number of chunks */
}

KTAP_TEST(room_is_looked_at_between_chunks)
{
	struct ku_copy_opts opts = { .progress = eat };
	struct ku_copy_stats stats;
	struct statvfs st;
	int src, dst;

	unit_place();
	unit_tmpfs("/tmp/small", "size=100m");
	src = noise("/tmp/src", 90 * MIB, 6);
	dst = open_new("/tmp/small/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -ENOSPC);
	KTAP_CHECK(stats.bytes > 8 * MIB && stats.bytes <= 40 * MIB, "%llu", (unsigned long long)stats.bytes);
	/* It was not the file system that refused the last page. */
	KTAP_REQUIRE(statvfs("/tmp/small", &st) == 0);
	KTAP_CHECK(st.f_bavail > 0);
}

/* Just before the second look, all but 2 MiB and 5 pages go. */
static void eat_more(void *arg, uint64_t bytes)
{
	struct statvfs st;

	(void)arg;
	if (bytes != 4 * MIB)
		return;
	KTAP_REQUIRE(statvfs("/tmp/small", &st) == 0);
	close(noise("/tmp/small/other", (size_t)(st.f_bavail * st.f_frsize) - 2 * MIB - 5 * 4096, 9));
}

KTAP_TEST(room_is_looked_at_between_small_segments)
{
	struct ku_copy_opts opts = { .progress = eat_more };
	static unsigned char piece[64 << 10];
	struct ku_copy_stats stats;
	struct statvfs st;
	int src, dst;

	unit_place();
	unit_tmpfs("/tmp/small", "size=32m");
	src = open_new("/tmp/src");
	for (unsigned int i = 0; i < 384; i++) {
		unit_fill(piece, sizeof(piece), i);
		KTAP_REQUIRE(pwrite(src, piece, sizeof(piece), (off_t)i * 2 * (off_t)sizeof(piece)) == sizeof(piece));
	}
	dst = open_new("/tmp/small/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -ENOSPC);
	KTAP_CHECK(stats.bytes == 6 * MIB, "%llu", (unsigned long long)stats.bytes);
	KTAP_REQUIRE(statvfs("/tmp/small", &st) == 0);
	KTAP_CHECK(st.f_bavail > 0);
}

/* R4: what ext4 keeps for root is left alone unless the requester might use it. */
KTAP_TEST(ext4_reserve_is_kept)
{
	struct ku_copy_opts opts = { 0 };
	struct ku_copy_stats stats;
	struct statvfs st;
	int src, dst;

	unit_place();
	loop_fs("mkfs.ext4 -q -m 40 -O ^has_journal", "/tmp/ext4", "/tmp/image", 64);
	KTAP_REQUIRE(statvfs("/tmp/ext4", &st) == 0);
	KTAP_REQUIRE(st.f_bavail + 2000 < st.f_bfree, "no reserve");
	src = noise("/tmp/src", (size_t)(st.f_bavail * st.f_frsize) + 4 * MIB, 7);
	dst = open_new("/tmp/ext4/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == -ENOSPC);
	KTAP_CHECK(!stats.bytes);
	opts.may_use_reserve = true;
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(same_data(src, dst));
}

/* As it is used: from the lower layer's file to a temporary, both seen through the overlay. */
KTAP_TEST(through_an_overlay)
{
	struct ku_copy_opts opts = { 0 };
	struct ku_copy_stats stats;
	int src, dst;

	unit_layers();
	close(noise(UNIT_LOWER "/file", 10 * MIB + 1, 8));
	KTAP_REQUIRE(truncate(UNIT_LOWER "/file", 100 * MIB + 1) == 0);
	unit_overlay(NULL);
	src = open(UNIT_MERGED "/file", O_RDONLY | O_CLOEXEC);
	dst = open(UNIT_MERGED, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	KTAP_REQUIRE(src >= 0);
	if (dst < 0)
		ktap_skip("no O_TMPFILE on overlayfs here");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(stats.how == KU_COPY_SENDFILE && strstr(stats.why, "EXDEV"), "%s, because %s", ku_copy_how_name(stats.how),
		   stats.why);
	KTAP_CHECK(stats.bytes < 11 * MIB);
	KTAP_CHECK(same_holes(src, dst));
	KTAP_CHECK(same_data(src, dst));
	KTAP_CHECK(unit_count(UNIT_UPPER "/u") == 0);
}

/* Thousands of segments: each is a chunk of its own, and none gets lost. */
KTAP_TEST(many_small_segments)
{
	struct ku_copy_opts opts = { 0 };
	struct ku_copy_stats stats;
	int src, dst;

	unit_place();
	src = open_new("/tmp/src");
	for (unsigned int i = 0; i < 5000; i++)
		KTAP_REQUIRE(pwrite(src, &i, sizeof(i), (off_t)i * 3 * 4096 + i % 4000) == sizeof(i));
	dst = open_new("/tmp/dst");
	KTAP_CHECK(ku_copy_data(src, dst, &opts, &stats) == 0);
	KTAP_CHECK(same_holes(src, dst));
	KTAP_CHECK(same_data(src, dst));
}

KTAP_MAIN()
