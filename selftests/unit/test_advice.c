// SPDX-License-Identifier: GPL-2.0-only
/* Every piece of advice: given when the data says so, with its numbers, and not a step before that. */
#include "advice.h"

#include "scene.h"
#include "util.h"

#define OPTIONS_OFF "metacopy=off,index=off,volatile=off"
#define OPTIONS_ON "metacopy=on,index=off,volatile=on"

static const struct ku_advice *advice_of(const struct ku_analysis *a, const char *name)
{
	const struct ku_advice *found = NULL;

	for (size_t i = 0; i < a->nadvice; i++)
		if (!strcmp(a->advice[i].name, name)) {
			KTAP_CHECK(!found, "%s twice", name);
			found = &a->advice[i];
		}
	return found;
}

/* Finishes it, and has a look at that advice. */
static bool advised(struct ku_analysis *a, const char *name)
{
	bool is;

	scene_finish(a);
	is = advice_of(a, name);
	ku_analysis_free(a);
	return is;
}

/* Finishes it; the advice with these words, for that union. */
static void says(struct ku_analysis *a, const char *name, const char *reason, const char *todo)
{
	const struct ku_advice *v;

	scene_finish(a);
	v = advice_of(a, name);
	KTAP_CHECK(v, "%s", name);
	if (v) {
		KTAP_CHECK(!strcmp(v->reason, reason), "%s", v->reason);
		KTAP_CHECK(strstr(v->todo, todo), "%s", v->todo);
		KTAP_CHECK(*v->title && v->caveat);
	}
	ku_analysis_free(a);
}

KTAP_TEST(options)
{
	char is[8];

	KTAP_CHECK(ku_option("a=1,bc=22,d", "a", is, sizeof(is)) && !strcmp(is, "1"));
	KTAP_CHECK(ku_option("a=1,bc=22,d", "bc", is, sizeof(is)) && !strcmp(is, "22"));
	KTAP_CHECK(ku_option("a=1,bc=22,d", "d", is, sizeof(is)) && !strcmp(is, "on"));
	KTAP_CHECK(ku_option("a=123456789", "a", is, sizeof(is)) && !strcmp(is, "1234567"));
	KTAP_CHECK(!ku_option("a=1,bc=22,d", "b", is, sizeof(is)));
	KTAP_CHECK(!ku_option("a=1,bc=22,d", "c", is, sizeof(is)));
	KTAP_CHECK(!ku_option("", "a", is, sizeof(is)) && !ku_option("ab", "abc", is, sizeof(is)));
}

/* n files of a size, all changed by op only. */
static struct ku_analysis *owners(const char *options, unsigned int n, uint64_t size, const char *op, const char *data)
{
	struct ku_analysis *a = scene_begin();
	char path[64];

	if (options)
		scene_add(a, scene_union(options));
	for (unsigned int i = 1; i <= n; i++) {
		struct ku_event e;

		snprintf(path, sizeof(path), "/usr/share/%s/f%u", i % 2 ? "doc" : "docs/deep", i);
		e = scene_copyup(i, path);
		e.copyup.op = op;
		e.copyup.data = data;
		e.copyup.size = e.copyup.bytes = size;
		e.copyup.total_us = 1000;
		scene_add(a, e);
	}
	return a;
}

KTAP_TEST(chown_in_image)
{
	says(owners(NULL, KU_ADVICE_FILES, 1024, "chown", "copied"), "chown-in-image",
	     "chown and chmod changed only the owner or mode of 10 files, but copied the data too: 10 KiB in 10 ms.",
	     "the files below /usr/share their owner");
	says(owners(OPTIONS_ON, 1, KU_ADVICE_BYTES, "chmod", "cloned"), "chown-in-image",
	     "chown and chmod changed only the owner or mode of 1 file, but copied the data too: 16 MiB in 1 ms.",
	     "the files below /usr/share/doc their owner");
	KTAP_CHECK(!advised(owners(NULL, KU_ADVICE_FILES - 1, 1024, "chown", "copied"), "chown-in-image"));
	KTAP_CHECK(!advised(owners(NULL, 1, KU_ADVICE_BYTES - 1, "chown", "copied"), "chown-in-image"));
	KTAP_CHECK(!advised(owners(NULL, 100, 1024, "open", "copied"), "chown-in-image"));
	KTAP_CHECK(!advised(owners(NULL, 100, 1024, "chown", "metadata"), "chown-in-image"));
}

KTAP_TEST(metacopy)
{
	says(owners(OPTIONS_OFF, KU_ADVICE_FILES, 1024, "chown", "copied"), "metacopy",
	     "chown and chmod changed only the owner or mode of 10 files, but copied the data too: 10 KiB in 10 ms. With metacopy=on (here "
	     "it "
	     "is off) only metadata would have been copied.",
	     "Add metacopy=on,redirect_dir=on to the mount options of /merged;");
	KTAP_CHECK(!advised(owners(OPTIONS_ON, KU_ADVICE_FILES, 1024, "chown", "copied"), "metacopy"));
	KTAP_CHECK(!advised(owners(NULL, KU_ADVICE_FILES, 1024, "chown", "copied"), "metacopy"), "options not known");
	KTAP_CHECK(!advised(owners("", KU_ADVICE_FILES, 1024, "chown", "copied"), "metacopy"));
	KTAP_CHECK(!advised(owners(OPTIONS_OFF, KU_ADVICE_FILES - 1, 1024, "chown", "copied"), "metacopy"));
}

static struct ku_analysis *fsyncs(const char *options, uint64_t fsync_us, uint64_t total_us)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_copyup(1, "/f");

	if (options)
		scene_add(a, scene_union(options));
	e.copyup.fsync_us = fsync_us;
	e.copyup.total_us = total_us;
	scene_add(a, e);
	return a;
}

KTAP_TEST(volatile_mount)
{
	says(fsyncs(OPTIONS_OFF, 600000, 1000000), "volatile", "Of the 1 s that 1 copy-up took, 600 ms were spent in fsync (60%).",
	     "Add volatile to the mount options of /merged;");
	KTAP_CHECK(advised(fsyncs(OPTIONS_OFF, 600000, 2000000), "volatile"));
	KTAP_CHECK(!advised(fsyncs(OPTIONS_OFF, 600000, 2000004), "volatile"), "less than 30%%");
	KTAP_CHECK(!advised(fsyncs(OPTIONS_OFF, KU_ADVICE_FSYNC_US - 1, 1000000), "volatile"));
	KTAP_CHECK(!advised(fsyncs(OPTIONS_ON, 600000, 1000000), "volatile"));
	KTAP_CHECK(!advised(fsyncs(NULL, 600000, 1000000), "volatile"));
}

static struct ku_analysis *copies(bool reflink, const char *fs, uint64_t bytes, uint64_t copy_us, const char *data)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_union(OPTIONS_OFF);

	e.mount.reflink = reflink;
	e.mount.upper_fs = fs;
	scene_add(a, e);
	e = scene_copyup(1, "/f");
	e.copyup.bytes = bytes;
	e.copyup.data = data;
	e.copyup.copy_us = copy_us;
	scene_add(a, e);
	return a;
}

KTAP_TEST(reflink)
{
	struct ku_analysis *a;
	struct ku_event e;

	says(copies(false, "ext4", KU_ADVICE_REFLINK_BYTES, 1000, "copied"), "reflink",
	     "256 MiB were copied byte by byte in 1 ms: between these layers (the upper one is on ext4) no file can be cloned.",
	     "Put the lower and the upper directory of /merged on one file system, xfs (mkfs.xfs -m reflink=1) or btrfs;");
	says(copies(false, "xfs", KU_ADVICE_BYTES, KU_ADVICE_REFLINK_US, "copied"), "reflink",
	     "16 MiB were copied byte by byte in 1 s: between these layers (the upper one is on xfs) no file can be cloned.",
	     "The upper layer of /merged is on xfs: put the lower layer on that same file system, made with mkfs.xfs -m reflink=1.");
	says(copies(false, "", KU_ADVICE_REFLINK_BYTES, 1000, "copied"), "reflink",
	     "256 MiB were copied byte by byte in 1 ms: between these layers no file can be cloned.", "xfs");
	KTAP_CHECK(!advised(copies(true, "xfs", KU_ADVICE_REFLINK_BYTES, 1000, "copied"), "reflink"));
	KTAP_CHECK(!advised(copies(false, "ext4", KU_ADVICE_REFLINK_BYTES - 1, KU_ADVICE_REFLINK_US - 1, "copied"), "reflink"));
	KTAP_CHECK(!advised(copies(false, "ext4", KU_ADVICE_BYTES - 1, KU_ADVICE_REFLINK_US, "copied"), "reflink"), "too little to clone");
	KTAP_CHECK(!advised(copies(false, "ext4", KU_ADVICE_REFLINK_BYTES, 1000, "cloned"), "reflink"));
	/* Nothing is known of the layers. */
	a = scene_begin();
	e = scene_copyup(1, "/f");
	e.copyup.bytes = KU_ADVICE_REFLINK_BYTES;
	scene_add(a, e);
	KTAP_CHECK(!advised(a, "reflink"));
}

static struct ku_analysis *stalls(const char *on, uint64_t us, const char *engine)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_wait(7, us - us / 4);

	e.wait.on = on;
	scene_add(a, e);
	e.wait.wait_us = us / 4;
	scene_add(a, e);
	if (engine) {
		e = scene_copyup(7, "/dir/big");
		e.copyup.engine = engine;
		scene_add(a, e);
	}
	return a;
}

KTAP_TEST(guard)
{
	struct ku_analysis *a = scene_begin();
	struct ku_event e = scene_wait(0, KU_ADVICE_STALL_US);

	says(stalls("dir", KU_ADVICE_STALL_US, NULL), "guard",
	     "2 operations waited 100 ms for a directory that was locked during a copy-up; the worst one waited 75 ms for /dir, held by "
	     "remove "
	     "of rm during the copy-up of /dir/big.",
	     "kunion run -m guard /merged ");
	KTAP_CHECK(advised(stalls("dir", KU_ADVICE_STALL_US, "kernel"), "guard"));
	KTAP_CHECK(!advised(stalls("dir", KU_ADVICE_STALL_US - 1, "kernel"), "guard"));
	KTAP_CHECK(!advised(stalls("inode", KU_ADVICE_STALL_US * 100, "kernel"), "guard"));
	KTAP_CHECK(!advised(stalls("dir", KU_ADVICE_STALL_US, "guard"), "guard"), "it is on");
	KTAP_CHECK(!advised(stalls("dir", KU_ADVICE_STALL_US, "kunion"), "guard"), "it is on");
	e.wait.holder.pid = 0;
	e.wait.copyup_path = e.path = "";
	scene_add(a, e);
	says(a, "guard",
	     "1 operation waited 100 ms for a directory that was locked during a copy-up; the worst one waited 100 ms for one, held by "
	     "somebody.",
	     "kunion run -m guard /merged ");
}

/* How often files of a size were copied up: in one union at several starts, or in several unions. */
static struct ku_analysis *again(unsigned int files, unsigned int times, uint64_t bytes, bool unions)
{
	struct ku_analysis *a = scene_begin();
	char path[64], at[64];

	for (unsigned int t = 0; t < times; t++) {
		if (!unions)
			scene_add(a, scene_union(OPTIONS_OFF));
		for (unsigned int i = 1; i <= files; i++) {
			struct ku_event e;

			snprintf(path, sizeof(path), "/etc/f%u", i);
			snprintf(at, sizeof(at), "/merged%u", unions ? t : 0);
			e = scene_copyup(i, path);
			if (unions)
				e.union_path = at;
			e.copyup.size = e.copyup.bytes = bytes + i;
			e.copyup.total_us = 30;
			scene_add(a, e);
		}
	}
	return a;
}

KTAP_TEST(pre_copy)
{
	struct ku_analysis *a;

	says(again(KU_ADVICE_AGAIN_FILES, 2, 1021, false), "pre-copy",
	     "3 files were copied up more than once, with 3 KiB that had been copied before; most of all /etc/f3, 2 times.",
	     "kunion copy-up --from LIST");
	says(again(1, 3, KU_ADVICE_AGAIN_BYTES / 2, true), "pre-copy",
	     "1 file was copied up more than once, with 16 MiB that had been copied before; most of all /etc/f1, 3 times.",
	     "--hydrate-list > LIST");
	KTAP_CHECK(!advised(again(1000, 1, 1 << 20, false), "pre-copy"), "once only");
	KTAP_CHECK(!advised(again(KU_ADVICE_AGAIN_FILES - 1, 5, 1021, false), "pre-copy"));
	a = again(KU_ADVICE_AGAIN_FILES, 2, 1021, false);
	scene_finish(a);
	KTAP_CHECK(advice_of(a, "pre-copy") && advice_of(a, "pre-copy")->weight_us == 90, "of the second time only");
	ku_analysis_free(a);
	/* Of another size it is another file. */
	a = again(KU_ADVICE_AGAIN_FILES, 1, 1021, false);
	for (unsigned int i = 1; i <= KU_ADVICE_AGAIN_FILES; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/etc/f%u", i);
		struct ku_event e = scene_copyup(i, path);

		e.union_path = "/other";
		scene_add(a, e);
	}
	KTAP_CHECK(!advised(a, "pre-copy"));
}

static void big_file(struct ku_analysis *a, uint64_t id, const char *path, uint64_t size, uint64_t written, bool known)
{
	struct ku_event e = scene_copyup(id, path);

	e.copyup.size = e.copyup.bytes = size;
	scene_add(a, e);
	if (known)
		scene_add(a, scene_changed(id, path, written));
}

static struct ku_analysis *big(uint64_t size, uint64_t written, bool known)
{
	struct ku_analysis *a = scene_begin();

	big_file(a, 1, "/var/db/data", size, written, known);
	return a;
}

KTAP_TEST(volume_for_files)
{
	struct ku_analysis *a = big(512 * MIB, 4096, true);

	says(big(512 * MIB, 4096, true), "volume-for-files", "/var/db/data: 512 MiB were copied, and then 4 KiB written.", ": /var/db.");
	says(big(512 * MIB, 0, true), "volume-for-files", "/var/db/data: 512 MiB were copied, and then 0 B written.",
	     ": /var/db. Or let the program open the file read-only");
	big_file(a, 2, "/var/db/more", 1024 * MIB, 1, true);
	big_file(a, 3, "/top", 100 * MIB, 1, true);
	big_file(a, 4, "/srv/4", 50 * MIB, 1, true);
	says(a, "volume-for-files", "/var/db/more: 1 GiB were copied, and then 1 B written. So it was with 3 more files.",
	     ": /var/db, /top.");
	KTAP_CHECK(!advised(big(512 * MIB, 0, false), "volume-for-files"), "nobody knows what was written");
	KTAP_CHECK(!advised(big(KU_ADVICE_BIG_FILE - 1, 4096, true), "volume-for-files"));
	KTAP_CHECK(!advised(big(500 * MIB, 50 * MIB, true), "volume-for-files"), "10%% is enough");
	KTAP_CHECK(advised(big(500 * MIB, 50 * MIB - MIB, true), "volume-for-files"));
}

/* So many write events, each in one of spread directories below dir. */
static struct ku_analysis *writes(const char *dir, unsigned int n, unsigned int spread)
{
	struct ku_analysis *a = scene_begin();
	char path[128];

	for (unsigned int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), spread > 1 ? "%s/s%u/f" : "%s/f", dir, i % spread);
		scene_add(a, scene_write(i % 3 ? "create" : i % 2 ? "modify" : "remove", "file", path, ""));
	}
	return a;
}

KTAP_TEST(tmpfs_for_dir)
{
	struct ku_analysis *a;
	struct ku_event e;

	says(writes("/var/log", KU_ADVICE_DIR_WRITES, 1), "tmpfs-for-dir",
	     "In /var/log and below, files and names were made, changed or removed 1,000 times.", ": /var/log.");
	says(writes("/var/cache/app", KU_ADVICE_DIR_WRITES, 50), "tmpfs-for-dir",
	     "In /var/cache/app and below, files and names were made, changed or removed 1,000 times.", ": /var/cache/app.");
	KTAP_CHECK(!advised(writes("/var/log", KU_ADVICE_DIR_WRITES - 1, 1), "tmpfs-for-dir"));
	KTAP_CHECK(!advised(writes("", KU_ADVICE_DIR_WRITES, 1), "tmpfs-for-dir"), "not the root directory");
	KTAP_CHECK(!advised(writes("/usr", KU_ADVICE_DIR_WRITES, 50), "tmpfs-for-dir"), "not all of /usr for what is below it");
	says(writes("/logs", KU_ADVICE_DIR_WRITES, 1), "tmpfs-for-dir",
	     "In /logs and below, files and names were made, changed or removed 1,000 times.", ": /logs.");
	/* A directory with enough of its own takes nothing from the one above. */
	a = writes("/var/lib/app/hot", KU_ADVICE_DIR_WRITES, 1);
	scene_add(a, scene_write("create", "file", "/var/lib/app/cold", ""));
	says(a, "tmpfs-for-dir", "In /var/lib/app/hot and below, files and names were made, changed or removed 1,000 times.",
	     ": /var/lib/app/hot.");
	/* Bytes written into what was copied up count as well. */
	a = scene_begin();
	e = scene_copyup(1, "/var/log/big");
	scene_add(a, e);
	scene_add(a, scene_changed(1, "/var/log/big", KU_ADVICE_DIR_WRITTEN));
	says(a, "tmpfs-for-dir", "In /var/log and below, 256 MiB were written into files that had been copied up.", ": /var/log.");
	a = scene_begin();
	scene_add(a, e);
	scene_add(a, scene_changed(1, "/var/log/big", KU_ADVICE_DIR_WRITTEN - 1));
	KTAP_CHECK(!advised(a, "tmpfs-for-dir"));
}

/* By the time that they are about, and each union for itself. */
KTAP_TEST(order)
{
	struct ku_analysis *a = fsyncs(OPTIONS_OFF, 600000, 1000000);
	struct ku_event e = scene_wait(0, 700000);

	scene_add(a, e);
	e.union_path = "/second";
	e.wait.wait_us = 650000;
	scene_add(a, e);
	scene_finish(a);
	KTAP_REQUIRE(a->nadvice == 3, "%zu", a->nadvice);
	KTAP_CHECK(!strcmp(a->advice[0].name, "guard") && !strcmp(a->advice[0].union_path, "/merged") && a->advice[0].weight_us == 700000);
	KTAP_CHECK(!strcmp(a->advice[1].name, "guard") && !strcmp(a->advice[1].union_path, "/second"));
	KTAP_CHECK(!strcmp(a->advice[2].name, "volatile"));
	ku_analysis_free(a);
}

/* Failed copies support nothing. */
KTAP_TEST(failed_do_not_count)
{
	struct ku_analysis *a = scene_begin();

	scene_add(a, scene_union(OPTIONS_OFF));
	for (unsigned int i = 1; i <= 100; i++) {
		struct ku_event e = scene_copyup(i, "/usr/f");

		e.copyup.op = "chown";
		e.copyup.result = "ENOSPC";
		e.copyup.size = e.copyup.bytes = KU_ADVICE_REFLINK_BYTES;
		e.copyup.fsync_us = e.copyup.total_us = KU_ADVICE_FSYNC_US;
		scene_add(a, e);
	}
	scene_finish(a);
	KTAP_CHECK(!a->nadvice, "%s", a->nadvice ? a->advice[0].name : "");
	ku_analysis_free(a);
}

KTAP_MAIN()
