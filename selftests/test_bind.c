// SPDX-License-Identifier: GPL-2.0-only
/* Unions of bind mounts on every kernel: made, written to, compared, taken off, committed; and managed as any other. */
#include "fx_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/tree.h"

FX_BARE

static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	char cmd[2048];
	va_list ap;
	int st;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	st = system(cmd);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

/* Two ext4, as two disks are; the lower one is seen at merged, read-write and nodev. */
static void scene(struct fx *fx)
{
	fx_init(fx, &(struct fx_opts){ .upper_fs = "ext4", .lower_fs = "ext4" });
	fx_lower(fx, "big", FX_MB(2), 0640);
	fx_lower(fx, "d/f", FX_KB(64), 0600);
	fx_lower(fx, "d/g", FX_KB(4), 0644);
	fx_lower(fx, "old/sub/h", FX_KB(4), 0644);
	KTAP_REQUIRE(!mount(fx->lower, fx->merged, NULL, MS_BIND, NULL));
	KTAP_REQUIRE(!mount(NULL, fx->merged, NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOATIME, NULL));
	fx->lower_sum = fx_tree_sum(fx->lower);
	KTAP_REQUIRE(run("kunion attach --upper %s --work %s %s", fx->upper, fx->work, fx->merged) == 0);
	fx->mounted = true;
}

KTAP_TEST_LIMIT(attach_diff_commit, 300)
{
	_cleanup_free_ char *shown = NULL;
	struct fx fx;

	scene(&fx);
	KTAP_CHECK(run("grep -q ' %s rw,nodev,noatime.* - overlay kunion ' /proc/self/mountinfo", fx.merged) == 0, "flags");
	KTAP_CHECK(fx_verify(fx_path(&fx, "big"), fx_id("big"), FX_MB(2)));
	KTAP_CHECK(run("cd %s && echo new >d/new && chmod 600 d/g && rm d/f && mv old moved && echo x >>moved/sub/h", fx.merged) == 0);
	fx_lower_unchanged(&fx);
	KTAP_CHECK(run("kunion diff %s >%s/diff", fx.merged, FX_DIR) == 0);
	KTAP_CHECK(run("printf '%%s\\n' 'removed   /d/f' 'metadata  /d/g (mode)' 'added     /d/new' 'added     /moved (dir, was /old)' "
		       "'changed   /moved/sub/h (data, time)' 'removed   /old (dir)' | diff - %s/diff",
		       FX_DIR) == 0);
	/* Off: the lower layer. On again: all of it. */
	KTAP_CHECK(run("cd %s && kunion detach %s 2>/dev/null", fx.merged, fx.merged) == 2, "it is in use");
	KTAP_CHECK(run("kunion detach %s", fx.merged) == 0);
	KTAP_CHECK(fx_verify(fx_path(&fx, "d/f"), fx_id("d/f"), FX_KB(64)) && !fx_exists(fx_path(&fx, "d/new")));
	KTAP_CHECK(run("kunion attach --upper %s --work %s %s", fx.upper, fx.work, fx.merged) == 0);
	KTAP_CHECK(run("test \"$(cat %s/d/new)\" = new", fx.merged) == 0);
	KTAP_CHECK(run("kunion run -m observe %s -- true", fx.merged) == 0, "kunion does not take it for a union");
	shown = tree_text(fx.merged);
	KTAP_CHECK(run("kunion commit --dry-run %s | diff - %s/diff", fx.merged, FX_DIR) == 0);
	fx_lower_unchanged(&fx);
	/* Killed on the way, then done. */
	fx_stop_arm_after(&fx, "commit-step", 12);
	KTAP_CHECK(run("kunion commit %s >%s/out & pid=$!; n=0; while [ ! -e %s/commit-step.hit ] && [ $n -lt 2000 ]; do sleep .02; n=$((n+1)); done; "
		       "kill -9 $pid; wait $pid",
		       fx.merged, FX_DIR, fx.stop) != 0);
	KTAP_CHECK(fx_stop_hit(&fx, "commit-step"));
	fx_stop_go(&fx, "commit-step");
	KTAP_CHECK(run("kunion attach --upper %s --work %s %s 2>/dev/null", fx.upper, fx.work, fx.merged) == 2, "a commit is under way");
	KTAP_CHECK(run("kunion commit --upper %s --work %s %s >/dev/null", fx.upper, fx.work, fx.merged) == 0);
	KTAP_CHECK(tree_is(fx.merged, shown) && tree_is(fx.lower, shown), "the lower layer is not what the union was");
	KTAP_CHECK(run("test -z \"$(ls -A %s)\"", fx.upper) == 0);
	fx.lower_sum = fx_tree_sum(fx.lower);
	fx_end(&fx);
}

/* To kunion it is a union like another. */
KTAP_TEST_LIMIT(managed, 300)
{
	struct fx_op op;
	struct fx fx;

	scene(&fx);
	fx_attach(&fx, NULL);
	fx_call_start(&op, FX_CALL(FX_OPEN_WRITE, fx_path(&fx, "big"), .id = 4711));
	KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/big", "engine", "kunion", "result", "ok", NULL));
	fx_detach(&fx);
	KTAP_CHECK(run("test \"$(kunion diff %s)\" = 'changed   /big (data, time)'", fx.merged) == 0);
	fx_lower_unchanged(&fx);
	KTAP_CHECK(run("kunion commit %s >/dev/null", fx.merged) == 0);
	fx.mounted = false;
	fx.lower_sum = fx_tree_sum(fx.lower);
	{
		int fd = open(fx_lpath(&fx, "big"), O_RDONLY | O_CLOEXEC);

		KTAP_CHECK(fd >= 0 && fx_get_block(fd, 0) == 4711 && fx_get_block(fd, 1) == fx_id("big"));
		close(fd);
	}
	fx_end(&fx);
}

KTAP_MAIN()
