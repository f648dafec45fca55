// SPDX-License-Identifier: GPL-2.0-only
/* Mode observe, on every kernel from 6.1 on: each copy-up is told, once and rightly, and nothing is changed. */
#include "fx_record.h"

#include <fcntl.h>
#include <regex.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#define SIZE FX_MB(1)

static const struct {
	const char *op;
	struct fx_call call;
} ops[] = {
	{ "open", { .kind = FX_OPEN_WRITE, .id = 5 } },
	{ "chmod", { .kind = FX_CHMOD, .mode = 0600 } },
	{ "chown", { .kind = FX_CHOWN, .owner = 1000 } },
	{ "utimes", { .kind = FX_UTIMES } },
	{ "truncate", { .kind = FX_TRUNCATE, .size = 5000 } },
	{ "setxattr", { .kind = FX_SETXATTR } },
	{ "link", { .kind = FX_LINK } },
	{ "rename", { .kind = FX_RENAME } },
};

#define NOPS (sizeof(ops) / sizeof(ops[0]))

static void begin(struct fx *fx, const char *mode)
{
	fx_init(fx, NULL);
	for (unsigned int i = 0; i < NOPS; i++) {
		char name[32];

		snprintf(name, sizeof(name), "d/%s", ops[i].op);
		fx_lower(fx, name, SIZE, 0644);
		KTAP_REQUIRE(chown(fx_lpath(fx, name), 1000, 1000) == 0);
	}
	KTAP_REQUIRE(chmod(fx_lpath(fx, "d"), 0777) == 0);
	fx_mount(fx);
	if (mode)
		fx_attach(fx, "-m", mode, NULL);
}

static struct fx_call call_of(const struct fx *fx, unsigned int i, const char *path)
{
	struct fx_call c = ops[i].call;

	c.path = path;
	c.path2 = fx_path(fx, "d/to");
	return c;
}

static const char *field(struct json_object *line, const char *name)
{
	struct json_object *v;

	return line && json_object_object_get_ex(line, name, &v) ? json_object_get_string(v) : "(none)";
}

static bool fits(const char *text, const char *pattern)
{
	regex_t re;
	bool ok;

	KTAP_REQUIRE(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) == 0);
	ok = regexec(&re, text, 0, NULL, 0) == 0;
	regfree(&re);
	return ok;
}

/* Every field of the one line for this copy-up. */
static void check_event(const struct fx *fx, const char *path, const char *op, pid_t pid, uid_t uid)
{
	struct json_object *line;
	char want[16];

	if (!KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG, "event", "copyup", "path", path, NULL), "%s is not told", path))
		return;
	KTAP_CHECK(fx_event_count(fx, "event", "copyup", "path", path, NULL) == 1, "%s is told more than once", path);
	line = fx_event_find(fx, "event", "copyup", "path", path, NULL);
	KTAP_CHECK(!strcmp(field(line, "op"), op), "op of %s: %s", path, field(line, "op"));
	KTAP_CHECK(!strcmp(field(line, "engine"), "kernel"), "%s", field(line, "engine"));
	KTAP_CHECK(!strcmp(field(line, "result"), "ok"), "%s", field(line, "result"));
	KTAP_CHECK(!strcmp(field(line, "union"), fx->merged), "%s", field(line, "union"));
	KTAP_CHECK(!strcmp(field(line, "comm"), "fx-observed"), "%s", field(line, "comm"));
	snprintf(want, sizeof(want), "%d", pid);
	KTAP_CHECK(!strcmp(field(line, "pid"), want) && !strcmp(field(line, "tid"), want), "%s, not %s", field(line, "pid"), want);
	snprintf(want, sizeof(want), "%u", uid);
	KTAP_CHECK(!strcmp(field(line, "uid"), want), "uid of %s: %s, not %s", path, field(line, "uid"), want);
	snprintf(want, sizeof(want), "%lld", (long long)SIZE);
	KTAP_CHECK(!strcmp(field(line, "bytes"), want), "bytes of %s: %s", path, field(line, "bytes"));
	KTAP_CHECK(!strcmp(field(line, "waiters"), "0") && !strcmp(field(line, "queued_us"), "0"));
	KTAP_CHECK(atoll(field(line, "copy_us")) > 0 && atoll(field(line, "copy_us")) < 60000000, "%s", field(line, "copy_us"));
	KTAP_CHECK(fits(field(line, "ts"), "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z$"), "%s",
		   field(line, "ts"));
	KTAP_CHECK(field(line, "cgroup")[0] == '/', "%s", field(line, "cgroup"));
	json_object_put(line);
}

static void observed(const char *mode)
{
	char path[64];
	struct fx fx;

	begin(&fx, mode);
	prctl(PR_SET_NAME, "fx-observed"); /* which the children inherit */
	for (unsigned int i = 0; i < NOPS; i++) {
		struct fx_call c;
		struct fx_op op;
		pid_t pid;

		snprintf(path, sizeof(path), "d/%s", ops[i].op);
		c = call_of(&fx, i, fx_path(&fx, path));
		/* Only root may change owners and trusted xattrs. */
		c.as = c.kind == FX_CHOWN || c.kind == FX_SETXATTR ? 0 : 1000;
		fx_call_start(&op, &c);
		pid = op.pid;
		KTAP_CHECK(fx_op_wait(&op, FX_LONG) && op.res->err == 0, "%s: errno %d", ops[i].op, op.res->err);
		snprintf(path, sizeof(path), "/d/%s", ops[i].op);
		check_event(&fx, path, ops[i].op, pid, c.as);
		unlink(c.path2);
	}
	KTAP_CHECK(fx_event_count(&fx, "event", "wait", NULL) == 0);
	KTAP_CHECK(fx_event_count(&fx, "engine", "kunion", NULL) == 0);
	KTAP_CHECK(fx_event_count(&fx, "event", "dropped", NULL) == 0);
	fx_end(&fx);
}

KTAP_TEST(each_copy_up_is_told)
{
	observed("observe");
}

/* Reading, looking and what fails before it copies are no copy-ups. */
KTAP_TEST(what_copies_nothing_is_not_told)
{
	struct fx fx;
	int fd;

	begin(&fx, "observe");
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_STAT, .path = fx_path(&fx, "d/open") }) == 0);
	KTAP_CHECK(fx_verify(fx_path(&fx, "d/open"), fx_id("d/open"), SIZE));
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_READDIR, .path = fx_path(&fx, "d") }) == 0);
	fd = open(fx_path(&fx, "d/open"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	KTAP_CHECK(fd < 0 && errno == EEXIST);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_EXEC, .path = fx_path(&fx, "d/open") }) == EACCES);
	fd = open(fx_path(&fx, "new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	KTAP_CHECK(fd >= 0 && close(fd) == 0);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_WRITE, .path = fx_path(&fx, "new") }) == 0);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_UNLINK, .path = fx_path(&fx, "d/chmod") }) == 0);
	/* Told in order: when this is, all before it would be. */
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/open") }) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/open", NULL));
	/* And the directory, which the unlink copied. */
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", NULL) == 2 && fx_event_count(&fx, "path", "/d", NULL) == 1);
	fx_end(&fx);
}

KTAP_TEST(unattached_union_is_not_told)
{
	struct fx fx;

	begin(&fx, NULL);
	fx_sh("cd " FX_DIR "/u && mkdir lower2 upper2 work2 ../merged2 && truncate -s 1M lower2/f && "
	      "mount -t overlay -o lowerdir=lower2,upperdir=upper2,workdir=work2 overlay ../merged2");
	fx_attach(&fx, "-m", "observe", NULL);
	for (unsigned int i = 0; i < NOPS; i++) {
		struct fx_call c = call_of(&fx, i, FX_DIR "/merged2/f");

		c.path2 = FX_DIR "/merged2/to";
		KTAP_CHECK(fx_call_now(&c) == 0, "%s", ops[i].op);
	}
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/open") }) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/open", NULL));
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "union", fx.merged, NULL) == 2 && fx_event_count(&fx, "event", "copyup", NULL) == 2,
		   "another union is told of");
	fx_detach(&fx);
	/* Nor is this one, once detached. */
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/chmod") }) == 0);
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", NULL) == 2);
	KTAP_CHECK(umount2(FX_DIR "/merged2", 0) == 0);
	fx_end(&fx);
}

/* Whoever comes second waits inside the kernel and copies nothing. */
KTAP_TEST(contended_copy_up_is_told_once)
{
	struct fx_op writers[8];
	struct fx fx;

	begin(&fx, "observe");
	for (unsigned int i = 0; i < 8; i++)
		fx_call_start(&writers[i], &(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/open") });
	for (unsigned int i = 0; i < 8; i++)
		KTAP_CHECK(fx_op_wait(&writers[i], FX_LONG) && writers[i].res->err == 0);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/chmod") }) == 0);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/chmod", NULL));
	KTAP_CHECK(fx_event_count(&fx, "event", "copyup", "path", "/d/open", NULL) == 1, "%d",
		   fx_event_count(&fx, "event", "copyup", "path", "/d/open", NULL));
	fx_end(&fx);
}

KTAP_TEST(failed_copy_up_is_told_with_its_errno)
{
	struct fx fx;

	fx_init(&fx, &(struct fx_opts){ .upper_fs = "tmpfs", .lower_fs = "tmpfs", .upper_size = FX_KB(512) });
	fx_lower(&fx, "d/f", SIZE, 0644);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", NULL);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/f") }) == ENOSPC);
	KTAP_CHECK(fx_event_wait(&fx, 1, FX_LONG, "event", "copyup", "path", "/d/f", "engine", "kernel", "result", "ENOSPC",
				 "bytes", "0", NULL));
	fx_end(&fx);
}

/* the same as without kunion, st_ino too */

static void steps(struct fx *fx)
{
	struct fx_call c = *(const struct fx_call *)fx_scene->arg;
	struct stat before, after;

	c.path = fx_at(fx, "f");
	c.path2 = fx_at(fx, "to");
	KTAP_REQUIRE(stat(c.path, &before) == 0);
	fx_note("%s: %d", fx_call_names[c.kind], fx_call_now(&c));
	if (stat(c.kind == FX_RENAME ? c.path2 : c.path, &after) == 0)
		fx_note("number kept: %d", before.st_ino == after.st_ino && before.st_dev == after.st_dev);
	fx_note_file(fx, "f");
	fx_note_file(fx, "to");
	fx_note_file(fx, "");
}

KTAP_TEST(nothing_is_changed)
{
	struct fx_scene scenes[NOPS + 2] = { 0 };
	static const struct fx_call more = { .kind = FX_UNLINK };

	for (unsigned int i = 0; i < NOPS; i++)
		scenes[i] = (struct fx_scene){ .name = ops[i].op, .steps = steps, .arg = &ops[i].call };
	scenes[NOPS] = (struct fx_scene){ .name = "unlink", .steps = steps, .arg = &more };
	fx_twice(&(struct fx_twice){ .args = { "-m", "observe" }, .scenes = scenes });
}

/* mode manage where it cannot be */

KTAP_TEST(manage_is_refused_below_6_12)
{
	int status;
	struct fx fx;

	begin(&fx, NULL);
	if (fx_kernel_since(6, 12))
		ktap_skip("mode manage works on this kernel");
	status = system("kunion run -m manage " FX_DIR "/merged -- touch " FX_DIR "/ran 2>" FX_DIR "/said");
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%#x", status);
	fx_sh("cat " FX_DIR "/said; [ $(wc -l <" FX_DIR "/said) = 1 ] && grep -q observe " FX_DIR "/said");
	KTAP_CHECK(!fx_exists(FX_DIR "/ran"), "the command ran");
	KTAP_CHECK(fx_kunion_count() == 0);
	KTAP_CHECK(fx_call_now(&(struct fx_call){ .kind = FX_OPEN_W, .path = fx_path(&fx, "d/open") }) == 0);
	fx_end(&fx);
}

KTAP_MAIN()
