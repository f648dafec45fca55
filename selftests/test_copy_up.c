// SPDX-License-Identifier: GPL-2.0-only
/* kunion copy-up and doctor, as a user calls them. */
#include "fx_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

FX_BARE

#define N 12

static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	int st;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	st = system(cmd);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void layers(struct fx *fx)
{
	char name[64];

	fx_init(fx, NULL);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "d%d/f%d", i % 3, i);
		fx_lower(fx, name, FX_KB(64 * (i + 1)), 0600 + i);
	}
	setenv("KUNION_RUN_DIR", "/tmp/kunion-fx", 1);
	setenv("KUNION_STATE_DIR", "/tmp/kunion-fx", 1);
}

/* Every file is up, complete, with its mode. */
static void all_up(const struct fx *fx)
{
	char name[64];
	struct stat st;

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "d%d/f%d", i % 3, i);
		KTAP_CHECK(fx_verify(fx_upath(fx, name), fx_id(name), FX_KB(64 * (i + 1))), "%s", name);
		KTAP_CHECK(!stat(fx_path(fx, name), &st) && (st.st_mode & 07777) == (mode_t)(0600 + i), "%s: mode", name);
	}
}

KTAP_TEST(recursive)
{
	struct fx fx;

	layers(&fx);
	fx_mount(&fx);
	KTAP_CHECK(run("kunion copy-up -r %s 2>&1 | grep -q '^kunion: 12 files copied up.* 0 failed'", fx.merged) == 0);
	all_up(&fx);
	/* the second time there is nothing to do */
	KTAP_CHECK(run("kunion copy-up -r %s 2>&1 | grep -q '^kunion: 0 files'", fx.merged) == 0);
	fx_end(&fx);
}

KTAP_TEST(exclusive)
{
	struct fx fx;

	layers(&fx);
	fx_mount(&fx);
	KTAP_CHECK(run("kunion copy-up -r --exclusive %s 2>&1 | grep -q '12 by kunion, 0 by the kernel'", fx.merged) == 0);
	all_up(&fx);
	fx_end(&fx);
}

/* One descriptor elsewhere: that file, and only that one, is the kernel's; the descriptor sees what is written later. */
KTAP_TEST(held_file_is_the_kernels)
{
	struct fx fx;
	int fd, wr;

	layers(&fx);
	fx_mount(&fx);
	if (run("kunion doctor >/dev/null")) {
		fx_end(&fx);
		ktap_skip("manage does not work here: everything is the kernel's");
	}
	fd = open(fx_path(&fx, "d1/f4"), O_RDONLY);
	KTAP_REQUIRE(fd >= 0);
	KTAP_CHECK(run("kunion copy-up -r %s 2>&1 | grep -q '11 by kunion, 1 by the kernel'", fx.merged) == 0);
	all_up(&fx);
	wr = open(fx_path(&fx, "d1/f4"), O_WRONLY);
	KTAP_CHECK(wr >= 0 && !fx_put_block(wr, 4711, 0) && fx_get_block(fd, 0) == 4711, "the earlier descriptor does not see the write");
	close(wr);
	close(fd);
	fx_end(&fx);
}

KTAP_TEST(hard_links_are_the_kernels)
{
	struct fx fx;

	layers(&fx);
	fx_sh("ln %s %s", fx_lpath(&fx, "d0/f0"), fx_lpath(&fx, "d0/other"));
	fx_mount(&fx);
	KTAP_CHECK(run("kunion copy-up -x %s 2>&1 | grep -q '0 by kunion, 1 by the kernel'", fx_path(&fx, "d0/f0")) == 0);
	KTAP_CHECK(fx_verify(fx_upath(&fx, "d0/f0"), fx_id("d0/f0"), FX_KB(64)));
	fx_end(&fx);
}

KTAP_TEST(bad_input)
{
	struct fx fx;

	layers(&fx);
	fx_mount(&fx);
	KTAP_CHECK(run("kunion copy-up 2>/dev/null") == 2);
	KTAP_CHECK(run("kunion copy-up %s 2>/dev/null", fx_path(&fx, "none")) == 2);
	KTAP_CHECK(run("kunion copy-up %s 2>/dev/null", fx_path(&fx, "d0")) == 2, "a directory without --recursive");
	KTAP_CHECK(run("kunion copy-up %s 2>/dev/null", fx_lpath(&fx, "d0/f0")) == 2, "not in an overlay");
	KTAP_CHECK(run("test $(kunion copy-up %s 2>&1 | wc -l) = 1", fx_lpath(&fx, "d0/f0")) == 0, "more than one line");
	KTAP_CHECK(run("kunion copy-up --nonsense 2>/dev/null") == 2);
	fx_end(&fx);
}

/* A batch that does not fit: each file is up whole or not at all, and the status tells. */
KTAP_TEST(no_space)
{
	struct fx_opts opts = { .upper_fs = "tmpfs", .lower_fs = "ext4", .upper_size = FX_MB(2) };
	char name[64];
	struct fx fx;
	int up = 0;

	fx_init(&fx, &opts);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fx_lower(&fx, name, FX_MB(1) - FX_KB(128), 0644);
	}
	setenv("KUNION_RUN_DIR", "/tmp/kunion-fx", 1);
	setenv("KUNION_STATE_DIR", "/tmp/kunion-fx", 1);
	fx_mount(&fx);
	KTAP_CHECK(run("kunion copy-up -rx %s 2>/dev/null", fx.merged) == 1);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		if (!fx_in_upper(&fx, name))
			continue;
		up++;
		KTAP_CHECK(fx_verify(fx_upath(&fx, name), fx_id(name), FX_MB(1) - FX_KB(128)));
	}
	KTAP_CHECK(up > 0 && up < 6, "%d files are up", up);
	fx_end(&fx);
}

/* What it says is what run does. */
KTAP_TEST_LIMIT(doctor_agrees_with_run, 200)
{
	struct fx fx;
	int manage;

	layers(&fx);
	fx_mount(&fx);
	manage = run("kunion doctor --json >%s", FX_DIR "/doctor");
	KTAP_CHECK(manage == 0 || manage == 1);
	KTAP_CHECK(run("grep -q '\"manage\":%s' %s", manage ? "false" : "true", FX_DIR "/doctor") == 0);
	KTAP_CHECK(run("grep -q 'no kunion daemon answers' %s", FX_DIR "/doctor") == 0);
	KTAP_CHECK(run("kunion run -m manage %s -- true 2>/dev/null", fx.merged) == (manage ? 2 : 0), "doctor said %d", manage);
	KTAP_CHECK(run("kunion run -m observe %s -- true 2>/dev/null", fx.merged) == 0);
	KTAP_CHECK(manage == !fx_kernel_since(6, 12), "6.12 and later can wait");
	KTAP_CHECK(run("kunion doctor extra 2>/dev/null") == 2);
	KTAP_CHECK(fx_kunion_count() == 0, "doctor left a process");
	fx_end(&fx);
}

KTAP_MAIN()
