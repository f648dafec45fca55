// SPDX-License-Identifier: GPL-2.0-only
/*
 * Recorded events tell what a policy would have judged: `kunion policy test` finds in the events of a run exactly what BPF judged in that run, by rule,
 * action, path and number. The policy of the run only audits.
 */
#include "policy.h"

#define RUN FX_DIR "/run.jsonl"
#define FOUND FX_DIR "/found.json"
#define OPS FX_DIR "/do-all"
#define M FX_DIR "/merged/"
#define KEYS 512

/* What there is before, in the lower (l) and the upper (u) layer: files, or with a slash at the end directories. */
static const char *const names[] = {
	"l/w", "l/rw-trunc", "l/creat", "l/truncate", "l/link", "l/moved", "l/over-u", "l/over-l", "l/ch", "l/rm", "l/rm2", "l/x1", "l/x2", "l/x3", "l/v1", "l/v2", "l/v3",
	"l/big", "l/dir/", "l/empty/", "l/empty2/", "l/full/f", "l/tmp/", "l/chdir/",
	"u/w", "u/trunc", "u/nothing", "u/creat", "u/truncate", "u/ftruncate", "u/link", "u/moved", "u/over-u", "u/over-l", "u/same", "u/ch", "u/rm", "u/x1", "u/x2", "u/x3",
	"u/x4", "u/v1", "u/v2", "u/v3", "u/v4", "u/white", "u/big", "u/dir/", "u/dir2/", "u/dir3/", "u/empty/", "u/xdir/f", "u/gone/", "u/tmp/",
	"m/dir/l", "m/dir/u",
};

/* How often they are judged is counted; what they come to does not matter but for this: they do not fail for want of a name. */
static void did(long ret)
{
	int err = ret < 0 ? errno : 0;

	if (err == ENOENT || err == EINVAL || err == EROFS || err == EPERM)
		_exit(err);
}

static void opened(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	did(fd);
	close(fd);
}

static void exchanged(const char *a, const char *b)
{
	did(syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2u /* RENAME_EXCHANGE */));
}

static void nameless(const char *dir, const char *name)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	char itself[32];

	/* overlayfs has it since 6.10. */
	if (fd < 0)
		return;
	snprintf(itself, sizeof(itself), "/proc/self/fd/%d", fd);
	did(linkat(AT_FDCWD, itself, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
	close(fd);
}

static void do_all(void)
{
	int fd;

	opened(M "l/w", O_WRONLY);
	opened(M "l/w", O_WRONLY);
	opened(M "l/rw-trunc", O_RDWR | O_TRUNC);
	opened(M "l/creat", O_WRONLY | O_CREAT);
	opened(M "l/big", O_RDONLY);
	opened(M "l/big", O_WRONLY);
	did(truncate(M "l/truncate", 10));
	opened(M "u/w", O_WRONLY | O_APPEND);
	opened(M "u/w", O_RDWR);
	opened(M "u/w", O_RDONLY);
	opened(M "u/trunc", O_RDONLY | O_TRUNC);
	opened(M "u/nothing", O_ACCMODE);
	opened(M "u/creat", O_WRONLY | O_CREAT | O_TRUNC);
	opened(M "u/new", O_WRONLY | O_CREAT);
	opened(M "u/new2", O_RDWR | O_CREAT | O_EXCL);
	opened(M "l/new", O_RDONLY | O_CREAT);
	opened(M "u/big", O_WRONLY);
	did(truncate(M "u/truncate", 10));
	did(truncate(M "u/big", 10));
	fd = open(M "u/ftruncate", O_WRONLY | O_CLOEXEC);
	did(ftruncate(fd, 10));
	close(fd);
	did(mkdir(M "u/d", 0755));
	did(mkdir(M "l/d", 0755));
	did(symlink("x", M "u/sym"));
	did(mknod(M "u/fifo", S_IFIFO | 0600, 0));
	did(chmod(M "u/ch", 0600));
	did(chmod(M "l/ch", 0600));
	did(chmod(M "l/chdir", 0700));
	did(link(M "u/link", M "u/link2"));
	did(link(M "l/link", M "l/link2"));
	opened(M "u/link2", O_WRONLY);
	nameless(M "u/tmp", M "u/tmp/named");
	nameless(M "l/tmp", M "l/tmp/named");

	did(rename(M "u/moved", M "u/moved2"));
	did(rename(M "l/moved", M "l/moved2"));
	did(rename(M "u/over-u", M "u/v1"));
	did(rename(M "u/over-l", M "l/v1"));
	did(rename(M "l/over-u", M "u/v2"));
	did(rename(M "l/over-l", M "l/v2"));
	did(rename(M "u/sym", M "u/v3"));
	did(rename(M "u/big", M "u/v4"));
	did(link(M "u/same", M "u/same2"));
	did(rename(M "u/same", M "u/same2"));
	did(rename(M "u/dir", M "u/dir-new"));
	did(rename(M "u/dir2", M "u/empty"));
	did(rename(M "u/dir3", M "l/empty"));
	did(rename(M "l/dir", M "l/dir-new"));
	exchanged(M "u/x1", M "u/x2");
	exchanged(M "u/x3", M "l/x1");
	exchanged(M "l/x2", M "l/x3");
	exchanged(M "u/x4", M "u/xdir");

	did(unlink(M "u/rm"));
	did(unlink(M "l/rm"));
	did(unlink(M "l/rm2"));
	opened(M "l/rm2", O_WRONLY | O_CREAT);
	did(unlink(M "l/rm2"));
	did(unlink(M "l/v3"));
	did(rename(M "u/white", M "l/v3"));
	did(unlink(M "u/fifo"));
	did(rmdir(M "u/gone"));
	did(rmdir(M "l/empty2"));
	did(rmdir(M "l/full"));
	did(unlink(M "m/dir/l"));
	did(unlink(M "m/dir/u"));
	did(rmdir(M "m/dir"));
}

__attribute__((constructor)) static void as_program(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--do-all")) {
		do_all();
		_exit(0);
	}
}

static struct key {
	char *name; /* rule, action, path */
	int judged, found;
} keys[KEYS];
static unsigned int nkeys;

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static struct key *key_of(struct json_object *o)
{
	const char *name = fx_name("%s %s %s", text_of(o, "rule"), text_of(o, "action"), text_of(o, "path"));
	unsigned int i = 0;

	while (i < nkeys && strcmp(keys[i].name, name))
		i++;
	KTAP_REQUIRE(i < KEYS);
	if (i == nkeys)
		keys[nkeys++].name = strdup(name);
	return &keys[i];
}

/* Returns the number of verdicts. */
static int judged(void)
{
	static char line[16384];
	FILE *f = fopen(RUN, "re");
	int n = 0;

	KTAP_REQUIRE(f);
	while (fgets(line, sizeof(line), f)) {
		struct json_object *o = json_tokener_parse(line);

		KTAP_CHECK(strcmp(text_of(o, "event"), "dropped"), "%s", line);
		if (!strcmp(text_of(o, "event"), "policy")) {
			KTAP_CHECK(!strcmp(text_of(o, "verdict"), "audit"), "%s", line);
			key_of(o)->judged++;
			n++;
		}
		json_object_put(o);
	}
	fclose(f);
	return n;
}

static void found(void)
{
	struct json_object *doc = json_object_from_file(FOUND), *list, *count;

	KTAP_REQUIRE(doc && json_object_object_get_ex(doc, "would", &list));
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		KTAP_REQUIRE(json_object_object_get_ex(o, "count", &count));
		key_of(o)->found += json_object_get_int(count);
	}
	json_object_put(doc);
}

KTAP_TEST_LIMIT(test_finds_what_was_judged, 300)
{
	struct fx fx;
	int n, err;

	fx_init(&fx, NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bool dir = names[i][strlen(names[i]) - 1] == '/', lower = names[i][0] == 'l' || !strcmp(names[i], "m/dir/l");
		const char *path = lower ? fx_lpath(&fx, names[i]) : fx_upath(&fx, names[i]);

		policy_mkdirs(path, false);
		if (!dir)
			policy_file(path, strstr(names[i], "big") ? FX_KB(128) : 100);
	}
	fx_mount(&fx);
	fx_sh("cp /proc/%d/exe " OPS, (int)getpid());
	/* What rules can ask of the object, and a default that tells all else. */
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"audit\";\nrules = (\n"
		     "{ name = \"large\"; path = \"/**\"; min_size = \"64K\"; action = [ \"copy-up\", \"create\", \"modify\", \"remove-upper\" ]; verdict = \"audit\"; },\n"
		     "{ name = \"dirs\"; kind = \"dir\"; action = [ \"copy-up\", \"create\", \"remove\", \"remove-upper\" ]; verdict = \"audit\"; },\n"
		     "{ name = \"no-files\"; kind = [ \"symlink\", \"special\" ]; action = \"any\"; verdict = \"audit\"; },\n"
		     "{ name = \"run\"; path = \"/**\"; action = \"exec\"; verdict = \"allow\"; },\n"
		     "{ name = \"in-l\"; path = \"/l/*\"; action = \"any\"; verdict = \"audit\"; }\n);\n");
	err = system(fx_name("kunion trace --json --writes --policy " POLICY_FILE " %s -- " OPS " --do-all >" RUN, fx.merged));
	KTAP_REQUIRE(err == 0, "status %#x", err);
	n = judged();
	KTAP_CHECK(n > 90, "%d verdicts", n);
	err = system("kunion policy test " POLICY_FILE " --json --from " RUN " >" FOUND);
	KTAP_REQUIRE(err == 0, "status %#x", err);
	found();
	for (unsigned int i = 0; i < nkeys; i++)
		KTAP_CHECK(keys[i].judged == keys[i].found, "%s: judged %d times, found %d times", keys[i].name, keys[i].judged, keys[i].found);
	ktap_diag("%d verdicts, %u different", n, nkeys);
	fx_end(&fx);
}

KTAP_MAIN()
