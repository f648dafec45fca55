// SPDX-License-Identifier: GPL-2.0-only
#include "judge_pin.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "kunion_judge_abi.h"
#include "log.h"
#include "util.h"

#define KU_PIN_LIVE KU_PIN_DIR "/policy"
/* Being put together; it takes the other's name when it is complete. */
#define KU_PIN_NEW KU_PIN_DIR "/policy_new"
#define KU_PIN_ABI "abi"
#define KU_PIN_NAME 256
#define KU_PIN_WAIT_MS 10000

/* The pin that says by which rules the others are to be read. */
struct ku_pin_abi {
	uint32_t version; /* KU_POL_ABI */
	uint32_t policy;  /* KU_POL_VERSION */
	uint32_t bank_size, union_size, count_size, shared_size, record_size, rules;
};

static const struct ku_pin_abi ku_pin_ours = {
	.version = KU_POL_ABI,
	.policy = KU_POL_VERSION,
	.bank_size = sizeof(struct ku_pol_bank),
	.union_size = sizeof(struct ku_pol_union),
	.count_size = sizeof(struct ku_pol_count),
	.shared_size = sizeof(struct ku_pol_shared),
	.record_size = sizeof(struct ku_pol_record),
	.rules = KU_POL_RULES,
};

static int ku_pin_mount(char err[static 512])
{
	struct statfs fs;

	if (!statfs(KU_BPFFS, &fs) && fs.f_type == BPF_FS_MAGIC)
		return 0;
	if (mount("bpf", KU_BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700")) {
		int n = -errno;

		snprintf(err, 512, "--pin needs a bpf file system on %s, and it cannot be mounted there: %s", KU_BPFFS, strerror(-n));
		return n;
	}
	ku_info("mounted a bpf file system on %s", KU_BPFFS);
	return 0;
}

/* Notes the program of a pinned link, which lives as long as that is attached. */
static void ku_pin_note(const char *dir, const char *name, struct ku_pin_removed *r)
{
	struct bpf_link_info info = { 0 };
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = -1;
	char path[KU_PIN_NAME];

	snprintf(path, sizeof(path), "%s/%.100s", dir, name);
	fd = bpf_obj_get(path);
	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && r->programs < KU_PIN_PROGRAMS)
		r->ids[r->programs] = info.prog_id;
}

/* The kernel detaches them a moment after their pins are gone. */
static void ku_pin_wait(const struct ku_pin_removed *r)
{
	for (unsigned int i = 0, ms = 0; i < r->programs && i < KU_PIN_PROGRAMS && ms < KU_PIN_WAIT_MS;) {
		_cleanup_close_ int fd = r->ids[i] ? bpf_prog_get_fd_by_id(r->ids[i]) : -1;

		if (fd < 0) {
			i++;
			continue;
		}
		ku_closep(&fd);
		usleep(1000);
		ms++;
	}
}

/* The directory and what is in it; none is no error. */
static int ku_pin_clear(const char *dir, struct ku_pin_removed *count)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!n && (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (count && !strncmp(e->d_name, "link_", 5))
			ku_pin_note(dir, e->d_name, count);
		if (unlinkat(dirfd(d), e->d_name, 0))
			n = -errno;
		else if (count && !strncmp(e->d_name, "link_", 5))
			count->programs++;
		else if (count)
			count->maps++;
	}
	closedir(d);
	if (n)
		return n;
	return rmdir(dir) ? -errno : 0;
}

int ku_pin_open(struct ku_pin *p, char err[static 512])
{
	int n;

	p->dir_fd = -1;
	n = ku_pin_mount(err);
	if (n)
		return n;
	if (mkdir(KU_PIN_DIR, 0700) && errno != EEXIST)
		n = -errno;
	else
		p->dir_fd = open(KU_PIN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!n && p->dir_fd < 0)
		n = -errno;
	if (!n && flock(p->dir_fd, LOCK_EX | LOCK_NB))
		n = errno == EWOULDBLOCK ? -EBUSY : -errno;
	/* What a start left that did not come to its end. */
	if (!n)
		n = ku_pin_clear(KU_PIN_NEW, NULL);
	if (!n) {
		p->adopted = !access(KU_PIN_LIVE, F_OK);
		return 0;
	}
	snprintf(err, 512, n == -EBUSY ? "%s: another kunion has its policy pinned there: one policy with all its unions can be" : "%s: %s", KU_PIN_DIR,
		 strerror(-n));
	ku_closep(&p->dir_fd);
	return n;
}

void ku_pin_close(struct ku_pin *p)
{
	/* It stays where something is in it. */
	if (p->dir_fd >= 0)
		rmdir(KU_PIN_DIR);
	ku_closep(&p->dir_fd);
}

/* Each task's own, and what is fixed in the programs, goes with them. */
static bool ku_pin_wants(const struct bpf_map *m)
{
	return bpf_map__type(m) != BPF_MAP_TYPE_TASK_STORAGE && bpf_map__type(m) != BPF_MAP_TYPE_INODE_STORAGE &&
	       !(bpf_map__map_flags(m) & BPF_F_RDONLY_PROG);
}

/* bpffs wants no dots. */
static void ku_pin_path(char path[static KU_PIN_NAME], const char *dir, const char *what, const char *name)
{
	snprintf(path, KU_PIN_NAME, "%s/%s%s", dir, what, name);
	for (char *c = path + strlen(dir); *c; c++)
		*c = *c == '.' ? '_' : *c;
}

static int ku_pin_other_version(char err[static 512], const char *what)
{
	snprintf(err, 512, "%s: pinned by another version of kunion (%s differs from this one's): its rules stay in force; 'kunion detach --all' takes "
			   "them off, then start again", KU_PIN_LIVE, what);
	return -EPROTO;
}

static bool ku_pin_same_shape(int fd, uint32_t type, uint32_t key, uint32_t value, uint32_t entries)
{
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &size) && info.type == type && info.key_size == key && info.value_size == value &&
	       info.max_entries == entries;
}

static int ku_pin_check_abi(char err[static 512])
{
	_cleanup_close_ int fd = bpf_obj_get(KU_PIN_LIVE "/" KU_PIN_ABI);
	struct ku_pin_abi abi;
	__u32 zero = 0;

	if (fd < 0 || !ku_pin_same_shape(fd, BPF_MAP_TYPE_ARRAY, 4, sizeof(abi), 1) || bpf_map_lookup_elem(fd, &zero, &abi) ||
	    memcmp(&abi, &ku_pin_ours, sizeof(abi)))
		return ku_pin_other_version(err, "the schema");
	return 0;
}

int ku_pin_adopt(const struct ku_pin *p, struct bpf_object *obj, char err[static 512])
{
	struct bpf_map *m;
	int n;

	if (!p->adopted)
		return 0;
	n = ku_pin_check_abi(err);
	if (n)
		return n;
	bpf_object__for_each_map(m, obj) {
		_cleanup_close_ int fd = -1;
		char path[KU_PIN_NAME];

		if (!ku_pin_wants(m))
			continue;
		ku_pin_path(path, KU_PIN_LIVE, "map_", bpf_map__name(m));
		fd = bpf_obj_get(path);
		if (fd < 0 || !ku_pin_same_shape(fd, bpf_map__type(m), bpf_map__key_size(m), bpf_map__value_size(m), bpf_map__max_entries(m)))
			return ku_pin_other_version(err, bpf_map__name(m));
		n = bpf_map__reuse_fd(m, fd);
		if (n) {
			snprintf(err, 512, "%s: cannot be taken over: %s", path, strerror(-n));
			return n;
		}
	}
	return 0;
}

static int ku_pin_put_abi(void)
{
	_cleanup_close_ int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ku_pin_abi", 4, sizeof(ku_pin_ours), 1, NULL);
	__u32 zero = 0;

	if (fd < 0 || bpf_map_update_elem(fd, &zero, &ku_pin_ours, BPF_ANY) || bpf_obj_pin(fd, KU_PIN_NEW "/" KU_PIN_ABI))
		return -errno;
	return 0;
}

static int ku_pin_put_new(struct bpf_object *obj, struct bpf_link *const *links, unsigned int nlinks)
{
	char path[KU_PIN_NAME];
	struct bpf_map *m;
	int n;

	if (mkdir(KU_PIN_NEW, 0700))
		return -errno;
	n = ku_pin_put_abi();
	if (n)
		return n;
	bpf_object__for_each_map(m, obj) {
		if (!ku_pin_wants(m))
			continue;
		ku_pin_path(path, KU_PIN_NEW, "map_", bpf_map__name(m));
		if (bpf_obj_pin(bpf_map__fd(m), path))
			return -errno;
	}
	for (unsigned int i = 0; i < nlinks; i++) {
		snprintf(path, sizeof(path), "%s/link_%u", KU_PIN_NEW, i);
		if (bpf_obj_pin(bpf_link__fd(links[i]), path))
			return -errno;
	}
	return 0;
}

int ku_pin_put(const struct ku_pin *p, struct bpf_object *obj, struct bpf_link *const *links, unsigned int nlinks, char err[static 512])
{
	int n = ku_pin_put_new(obj, links, nlinks);

	if (!n && renameat2(AT_FDCWD, KU_PIN_NEW, AT_FDCWD, KU_PIN_LIVE, p->adopted ? RENAME_EXCHANGE : RENAME_NOREPLACE))
		n = -errno;
	if (!n && p->adopted) {
		/* The old programs end here, the new ones have been in force for a while. */
		n = ku_pin_clear(KU_PIN_NEW, NULL);
		if (n)
			ku_warn("%s: cannot be removed: %s; 'kunion detach --all' removes it", KU_PIN_NEW, strerror(-n));
		return 0;
	}
	if (n) {
		ku_pin_clear(KU_PIN_NEW, NULL);
		snprintf(err, 512, "%s: the policy cannot be pinned there: %s", KU_PIN_DIR, strerror(-n));
	}
	return n;
}

bool ku_pin_has_union(uint32_t dev)
{
	_cleanup_close_ int fd = bpf_obj_get(KU_PIN_LIVE "/map_ku_pol_unions");
	_cleanup_free_ struct ku_pol_union *u = malloc(sizeof(*u));

	/* Of another shape it cannot be asked: then it may well be. */
	if (fd < 0 || !u)
		return fd >= 0;
	return !ku_pin_same_shape(fd, BPF_MAP_TYPE_HASH, 4, sizeof(*u), KU_POL_MAX_UNIONS) || !bpf_map_lookup_elem(fd, &dev, u);
}

int ku_pin_remove_all(struct ku_pin_removed *ret, char err[static 512])
{
	_cleanup_close_ int dir = open(KU_PIN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int n = 0;

	*ret = (struct ku_pin_removed){ 0 };
	if (dir < 0 && errno == ENOENT)
		return 0;
	if (dir < 0)
		n = -errno;
	else
		ret->busy = flock(dir, LOCK_EX | LOCK_NB);
	if (!n)
		n = ku_pin_clear(KU_PIN_NEW, ret);
	if (!n)
		n = ku_pin_clear(KU_PIN_LIVE, ret);
	if (!n && rmdir(KU_PIN_DIR))
		n = -errno;
	if (!n && !ret->busy)
		ku_pin_wait(ret);
	if (n)
		snprintf(err, 512, "%s: cannot be removed: %s", KU_PIN_DIR, strerror(-n));
	return n;
}
