// SPDX-License-Identifier: GPL-2.0-only
/* The fixture itself: what all other tests rely on. */
#include "fx_fixture.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

FX_BARE

/* Torn, mixed, short and foreign contents are told from whole ones. */
KTAP_TEST(stamps)
{
	struct fx fx;
	uint32_t id = fx_id("a");
	char byte = 1;
	int fd;

	fx_init(&fx, NULL);
	fx_lower(&fx, "a", FX_KB(64), 0644);
	fx_lower(&fx, "sub/b", FX_KB(64), 0644);
	KTAP_CHECK(fx_verify(fx_lpath(&fx, "a"), id, FX_KB(64)));
	KTAP_CHECK(!fx_verify(fx_lpath(&fx, "a"), id, FX_KB(60)));
	KTAP_CHECK(!fx_verify(fx_lpath(&fx, "sub/b"), id, FX_KB(64)));
	fd = open(fx_lpath(&fx, "a"), O_RDWR);
	KTAP_REQUIRE(fd >= 0);
	KTAP_CHECK(fx_put_block(fd, id + 1, 3) == 0 && fx_get_block(fd, 3) == id + 1);
	KTAP_CHECK(!fx_verify_fd(fd, id, FX_KB(64)));
	KTAP_CHECK(pwrite(fd, &byte, 1, 5 * FX_BLOCK + 2000) == 1 && fx_get_block(fd, 5) == 0);
	close(fd);
	fx_mount(&fx);
	KTAP_CHECK(fx_lower_unchanged(&fx) && fx_no_temps(&fx));
	fx_end(&fx);
}

KTAP_TEST(file_systems)
{
	static const char *const fs[] = { "ext4", "xfs", "btrfs" };
	struct fx_outcome o = { 0 };

	for (unsigned int i = 0; i < 3; i++) {
		struct fx_opts opts = { .upper_fs = fs[i], .lower_fs = fs[(i + 1) % 3], .kernel = true };
		struct fx fx;

		fx_init(&fx, &opts);
		fx_lower(&fx, "f", FX_KB(256), 0640);
		fx_lower(&fx, "g", FX_KB(4), 0640);
		fx_mount(&fx);
		KTAP_CHECK(fx_call_now(FX_CALL(FX_CHMOD, fx_path(&fx, "f"), .mode = 0600)) == 0);
		KTAP_CHECK(fx_call_now(FX_CALL(FX_UNLINK, fx_path(&fx, "g"))) == 0);
		fx_look(&fx, "f", &o);
		KTAP_CHECK(o.merged && o.upper && !o.whiteout && (o.mode & 0777) == 0600 && o.size == FX_KB(256));
		KTAP_CHECK(fx_verify(fx_path(&fx, "f"), fx_id("f"), FX_KB(256)));
		KTAP_CHECK(fx_is_whiteout(&fx, "g") && !fx_in_upper(&fx, "g"));
		fx_end(&fx);
	}
}

/* A call parks at a stop point, goes on after it, and the event tells. */
KTAP_TEST(attach_stop_event)
{
	struct fx_op op;
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "d/f", FX_MB(1), 0644);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	ktap_diag("tier %d", fx.tier);
	fx_stop_arm(&fx, "copying");
	fx_call_start(&op, FX_CALL(FX_OPEN_WRITE, fx_path(&fx, "d/f"), .id = 77));
	fx_stop_wait(&fx, "copying", FX_LONG);
	KTAP_CHECK(fx_wait_parked(&op, FX_LONG) && !fx_op_done(&op));
	fx_stop_go(&fx, "copying");
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "result", "ok", "engine", "kunion", NULL));
	KTAP_CHECK(fx_event_number(&fx, "bytes", "path", "/d/f", NULL) == FX_MB(1));
	KTAP_CHECK(fx_event_count(&fx, "path", "/nowhere", NULL) == 0);
	fx_end(&fx);
}

/* Killed: nothing stays, the waiter goes on natively, and a new one attaches. */
KTAP_TEST(killed_and_again)
{
	struct fx_op op;
	struct fx fx;

	fx_init(&fx, NULL);
	fx_lower(&fx, "f", FX_MB(1), 0644);
	fx_mount(&fx);
	fx_attach(&fx, NULL);
	fx_stop_arm(&fx, "copying");
	fx_call_start(&op, FX_CALL(FX_OPEN_W, fx_path(&fx, "f")));
	fx_stop_wait(&fx, "copying", FX_LONG);
	fx_kill(&fx);
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0);
	fx_stop_go(&fx, "copying");
	fx_attach(&fx, NULL);
	fx_end(&fx);
}

KTAP_MAIN()
