// SPDX-License-Identifier: GPL-2.0-only
/*
 * R4: a copy's error goes to whom it belongs; everybody else who waited tries for himself. A user's copy may not take the blocks that
 * the file system keeps for root, as his own write(2) might not (the kernel's copy-up does, with the mounter's rights: no yardstick).
 */
#include "fx_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

FX_LEAN

#define USER 1000
#define OTHER 65534
#define SIZE FX_MB(8)

/* A file beside the layers that takes what is free for users, up to `leave` bytes. */
static void fill(const struct fx *fx, off_t leave)
{
	const char *path = fx_name("%s/filler", fx->upper_base);
	struct statvfs st;
	off_t take;
	int fd;

	KTAP_REQUIRE(statvfs(fx->upper_base, &st) == 0);
	take = (off_t)(st.f_bavail * st.f_frsize) - leave;
	KTAP_REQUIRE(take > 0, "%lld bytes free", (long long)(st.f_bavail * st.f_frsize));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	KTAP_REQUIRE(fd >= 0 && fallocate(fd, 0, 0, take) == 0);
	close(fd);
	sync();
}

static void make_room(const struct fx *fx)
{
	const char *path = fx_name("%s/filler", fx->upper_base);

	KTAP_REQUIRE(unlink(path) == 0);
	sync();
}

/* Upper on a small file system, lower on another; files that both users may change. */
static void begin(struct fx *fx, const struct fx_opts *opts)
{
	fx_init(fx, opts);
	fx_lower(fx, "f", SIZE, 0666);
	fx_lower(fx, "both", SIZE, 0666);
	fx_lower(fx, "own", SIZE, 0644);
	fx_sh("chown %d %s/own", USER, fx->lower);
	fx_mount(fx);
}

static const struct fx_opts ext4 = {
	.upper_fs = "ext4", .lower_fs = "tmpfs", .upper_size = FX_MB(96), .mkfs_args = "-m 40 -O ^has_journal",
};
static const struct fx_opts small = { .upper_fs = "tmpfs", .lower_fs = "tmpfs", .upper_size = FX_MB(24) };

/* The user meets the reserve while root waits behind him: ENOSPC is the user's, root tries again and has the reserve. */
static void user_then_root(struct fx *fx, enum fx_call_kind kind, const char *name)
{
	const char *path = fx_name("/%s", name);
	struct fx_op op[2];

	fx_stop_arm(fx, "copying");
	fx_call_start(&op[0], FX_CALL(kind, fx_path(fx, name), .mode = 0600, .as = USER));
	fx_stop_wait(fx, "copying", FX_LONG);
	fx_call_start(&op[1], FX_CALL(kind, fx_path(fx, name), .mode = 0640));
	KTAP_CHECK(fx_wait_parked(&op[1], FX_LONG), "%s: root does not wait", name);
	fx_stop_go(fx, "copying");
	KTAP_REQUIRE(fx_op_wait(&op[0], FX_LONG) && fx_op_wait(&op[1], FX_LONG), "%s", name);
	KTAP_CHECK(op[0].res->err == ENOSPC, "%s: the user: %s", name, strerror(op[0].res->err));
	KTAP_CHECK(op[1].res->err == 0, "%s: root: %s", name, strerror(op[1].res->err));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "uid", "1000", "result", "ENOSPC", NULL));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, "uid", "0", "result", "ok", "engine", "kunion", NULL));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "wait", "path", path, "uid", "0", NULL));
	KTAP_CHECK(fx_verify(fx_path(fx, name), fx_id(name), SIZE) && fx_in_upper(fx, name), "%s", name);
}

/* Two users: neither gets the other's error for his own, each has been tried. With room both succeed. */
static void two_users(struct fx *fx, bool room)
{
	struct fx_op op[2];
	int want = room ? 0 : ENOSPC;

	fx_stop_arm(fx, "copying");
	fx_call_start(&op[0], FX_CALL(FX_OPEN_W, fx_path(fx, "both"), .as = USER));
	fx_stop_wait(fx, "copying", FX_LONG);
	fx_call_start(&op[1], FX_CALL(FX_OPEN_W, fx_path(fx, "both"), .as = OTHER));
	KTAP_CHECK(fx_wait_parked(&op[1], FX_LONG));
	fx_stop_go(fx, "copying");
	for (int i = 0; i < 2; i++) {
		KTAP_REQUIRE(fx_op_wait(&op[i], FX_LONG));
		KTAP_CHECK(op[i].res->err == want, "room %d, user %d: %s", room, i, strerror(op[i].res->err));
	}
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", "/both", "uid", "1000", "engine", "kunion", "result",
				 room ? "ok" : "ENOSPC", NULL));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", "/both", "uid", "65534", "result", "ENOSPC", NULL));
	KTAP_CHECK(fx_in_upper(fx, "both") == room, "room %d", room);
	KTAP_CHECK(fx_verify(fx_path(fx, "both"), fx_id("both"), SIZE));
}

KTAP_TEST_LIMIT(reserved_blocks, 120)
{
	struct fx fx;

	begin(&fx, &ext4);
	fill(&fx, SIZE / 2);
	fx_attach(&fx, NULL);
	user_then_root(&fx, FX_OPEN_W, "f");
	if (fx.tier >= FX_TIER_PARK)
		user_then_root(&fx, FX_CHMOD, "own");
	two_users(&fx, false);
	make_room(&fx);
	two_users(&fx, true);
	fx_end(&fx);
}

/* The first one's error is old by the time the second tries: that one has room, and must not hear of it. */
static void waiters_try_for_themselves(struct fx *fx)
{
	struct fx_op op[3];

	fx_stop_arm(fx, "copying");
	fx_call_start(&op[0], FX_CALL(FX_OPEN_W, fx_path(fx, "f")));
	fx_stop_wait(fx, "copying", FX_LONG);
	for (int i = 1; i < 3; i++) {
		fx_call_start(&op[i], FX_CALL(FX_OPEN_W, fx_path(fx, "f")));
		KTAP_CHECK(fx_wait_parked(&op[i], FX_LONG));
	}
	fx_stop_arm(fx, "before-open"); /* where the second attempt will be held */
	fx_stop_go(fx, "copying");
	KTAP_REQUIRE(fx_op_wait(&op[0], FX_LONG));
	KTAP_CHECK(op[0].res->err == ENOSPC, "the first: %s", strerror(op[0].res->err));
	fx_stop_wait(fx, "before-open", FX_LONG);
	KTAP_CHECK(!fx_op_done(&op[1]) && !fx_op_done(&op[2]), "the first one's error for all");
	make_room(fx);
	fx_stop_go(fx, "before-open");
	for (int i = 1; i < 3; i++) {
		KTAP_REQUIRE(fx_op_wait(&op[i], FX_LONG));
		KTAP_CHECK(op[i].res->err == 0, "waiter %d: %s", i, strerror(op[i].res->err));
	}
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", "/f", "result", "ok", "engine", "kunion", NULL));
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", "/f", "result", "ENOSPC", NULL) == 1);
	KTAP_CHECK(fx_verify(fx_path(fx, "f"), fx_id("f"), SIZE));
}

/* A full tmpfs is full for root, too, as for the kernel's own copy; with room the same call succeeds. */
KTAP_TEST(full_then_room)
{
	for (int kernel = 1; kernel >= 0; kernel--) {
		struct fx_opts opts = small;
		struct fx_op op;
		struct fx fx;

		opts.kernel = kernel;
		begin(&fx, &opts);
		fill(&fx, SIZE / 2);
		fx_attach(&fx, NULL);
		for (int round = 0; round < 2; round++) {
			fx_call_start(&op, FX_CALL(FX_OPEN_WRITE, fx_path(&fx, "both"), .id = fx_id("both")));
			KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
			KTAP_CHECK(op.res->err == (round ? 0 : ENOSPC), "kernel %d, round %d: %s", kernel, round, strerror(op.res->err));
			KTAP_CHECK(fx_in_upper(&fx, "both") == round, "kernel %d, round %d", kernel, round);
			KTAP_CHECK(fx_verify(fx_path(&fx, "both"), fx_id("both"), SIZE));
			if (round == 0)
				make_room(&fx);
		}
		if (!kernel) {
			fill(&fx, SIZE / 2);
			waiters_try_for_themselves(&fx);
		}
		fx_end(&fx);
	}
}

/* Is an unlinked file of this owner among kunion's descriptors? */
static bool temporary_of(const struct fx *fx, uid_t uid, gid_t gid)
{
	DIR *dir = opendir(fx_name("/proc/%d/fd", fx->kunion));
	struct dirent *d;
	bool found = false;

	KTAP_REQUIRE(dir);
	while ((d = readdir(dir))) {
		struct stat st;

		if (!fstatat(dirfd(dir), d->d_name, &st, 0) && S_ISREG(st.st_mode) && !st.st_nlink && st.st_uid == uid && st.st_gid == gid)
			found = true;
	}
	closedir(dir);
	return found;
}

/* While it grows, a copy's blocks count as the requester's; in the end as the file's owner's. */
KTAP_TEST(charged_to_the_requester)
{
	struct fx_op op;
	struct stat st;
	struct fx fx;

	begin(&fx, &ext4);
	fx_attach(&fx, NULL);
	fx_stop_arm(&fx, "copy-chunk");
	fx_call_start(&op, FX_CALL(FX_OPEN_W, fx_path(&fx, "both"), .as = OTHER));
	fx_stop_wait(&fx, "copy-chunk", FX_LONG);
	KTAP_CHECK(temporary_of(&fx, OTHER, OTHER));
	fx_stop_go(&fx, "copy-chunk");
	KTAP_REQUIRE(fx_op_wait(&op, FX_LONG));
	KTAP_CHECK(op.res->err == 0, "%s", strerror(op.res->err));
	KTAP_CHECK(stat(fx_upath(&fx, "both"), &st) == 0 && st.st_uid == 0 && st.st_gid == 0, "uid %u", st.st_uid);
	fx_end(&fx);
}

KTAP_MAIN()
