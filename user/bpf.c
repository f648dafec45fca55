// SPDX-License-Identifier: GPL-2.0-only
#include "bpf.h"

#include <bpf/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "btf.h"
#include "kunion_impl.skel.h"
#include "kunion_kfunc.skel.h"
#include "kunion_none.skel.h"
#include "log.h"
#include "util.h"

static const char *const ku_tier_names[] = {
	[KU_TIER_NONE] = "none",
	[KU_TIER_OBSERVE] = "observe",
	[KU_TIER_WAIT_OPEN] = "wait-open",
	[KU_TIER_PARK] = "park",
};

const char *ku_tier_name(enum ku_tier tier)
{
	return ku_tier_names[tier];
}

uint32_t ku_kernel_dev(uint64_t dev)
{
	return major(dev) << 20 | minor(dev);
}

/* From which tier on each program is loaded. */
static const struct {
	const char *name;
	enum ku_tier from;
} ku_progs[] = {
	{ "ku_inode_copy_up", KU_TIER_WAIT_OPEN }, { "ku_sb_delete", KU_TIER_WAIT_OPEN }, { "ku_inode_getattr", KU_TIER_WAIT_OPEN },
	{ "ku_register", KU_TIER_WAIT_OPEN },	   { "ku_inode_link", KU_TIER_WAIT_OPEN }, { "ku_inode_unlink", KU_TIER_WAIT_OPEN },
	{ "ku_inode_rename", KU_TIER_WAIT_OPEN },  { "ku_file_open", KU_TIER_WAIT_OPEN },  { "ku_inode_rmdir", KU_TIER_PARK },
	{ "ku_inode_setattr", KU_TIER_PARK },	   { "ku_inode_setxattr", KU_TIER_PARK },  { "ku_inode_removexattr", KU_TIER_PARK },
	{ "ku_inode_set_acl", KU_TIER_PARK },	   { "ku_inode_remove_acl", KU_TIER_PARK }, { "ku_inode_file_setattr", KU_TIER_PARK },
};

static bool ku_btf_has_func(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) > 0;
}

static const char *ku_bpf_missing(const struct btf *btf, enum ku_tier tier)
{
	static const char *const wait_kfuncs[] = { "bpf_task_from_pid", "bpf_get_task_exe_file", "bpf_get_file_xattr" };

	if (tier >= KU_TIER_PARK && !ku_btf_has_func(btf, "bpf_task_work_schedule_signal") &&
	    !ku_btf_has_func(btf, "bpf_task_work_schedule_signal_impl"))
		return "the kernel has no BPF task work (Linux 6.18 has)";
	if (tier >= KU_TIER_WAIT_OPEN)
		for (size_t i = 0; i < KU_ARRAY_SIZE(wait_kfuncs); i++)
			if (!ku_btf_has_func(btf, wait_kfuncs[i]))
				return "the kernel has no bpf_get_file_xattr and the like (Linux 6.12 has)";
	return NULL;
}

static int ku_bpf_try(struct ku_bpf *b, const struct btf *btf, enum ku_tier tier, uint64_t max_wait_ns)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "kunion");
	struct ku_config *cfg;
	const void *elf;
	size_t size;
	int err;

	/* Whichever spelling BTF has. */
	if (ku_btf_has_func(btf, "bpf_task_work_schedule_signal"))
		elf = kunion_kfunc__elf_bytes(&size);
	else if (ku_btf_has_func(btf, "bpf_task_work_schedule_signal_impl"))
		elf = kunion_impl__elf_bytes(&size);
	else
		elf = kunion_none__elf_bytes(&size);
	b->obj = bpf_object__open_mem(elf, size, &opts);
	if (!b->obj)
		return -errno;
	cfg = (struct ku_config *)bpf_map__initial_value(bpf_object__find_map_by_name(b->obj, ".rodata.cfg"), &size);
	if (!cfg || size < sizeof(*cfg))
		return -EINVAL;
	cfg->tier = tier;
	cfg->max_wait_ns = max_wait_ns;
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_progs); i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(b->obj, ku_progs[i].name);

		if (!p)
			return -ENOENT;
		bpf_program__set_autoload(p, tier >= ku_progs[i].from);
	}
	err = bpf_object__load(b->obj);
	if (err) {
		bpf_object__close(b->obj);
		b->obj = NULL;
	}
	return err;
}

static void *ku_bpf_map_memory(struct bpf_object *obj, const char *name, size_t size)
{
	struct bpf_map *map = bpf_object__find_map_by_name(obj, name);
	void *p;

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	return p == MAP_FAILED ? NULL : p;
}

static int ku_bpf_fd(struct ku_bpf *b, const char *map)
{
	return bpf_map__fd(bpf_object__find_map_by_name(b->obj, map));
}

static int ku_bpf_setup(struct ku_bpf *b, int (*on_record)(void *, void *, size_t), void *arg)
{
	b->fd_unions = ku_bpf_fd(b, "ku_unions");
	b->fd_inodes = ku_bpf_fd(b, "ku_inodes");
	b->fd_waits = ku_bpf_fd(b, "ku_waits");
	b->fd_guards = ku_bpf_fd(b, "ku_guards");
	b->fd_free = ku_bpf_fd(b, "ku_free_slots");
	b->fd_register = bpf_program__fd(bpf_object__find_program_by_name(b->obj, "ku_register"));
	b->slots = ku_bpf_map_memory(b->obj, "ku_slots", KU_SLOTS * sizeof(*b->slots));
	b->requests = ku_bpf_map_memory(b->obj, "ku_requests", KU_SLOTS * sizeof(*b->requests));
	b->shared = ku_bpf_map_memory(b->obj, ".data.shared", sizeof(*b->shared));
	if (!b->slots || !b->requests || !b->shared)
		return -ENOMEM;
	b->ring = ring_buffer__new(ku_bpf_fd(b, "ku_ring"), on_record, arg, NULL);
	if (!b->ring)
		return -errno;
	for (uint32_t i = 0; i < KU_SLOTS; i++)
		ku_bpf_slot_free(b, i);
	return ku_bpf_register(b, false);
}

int ku_bpf_load(struct ku_bpf *b, enum ku_tier max, uint64_t max_wait_ns, int (*on_record)(void *, void *, size_t), void *arg)
{
	const struct btf *btf;
	int err = -EOPNOTSUPP;

	memset(b, 0, sizeof(*b));
	btf = ku_btf_vmlinux();
	if (!btf) {
		snprintf(b->why, sizeof(b->why), "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)");
		return -EOPNOTSUPP;
	}
	for (enum ku_tier tier = max; tier >= KU_TIER_WAIT_OPEN; tier--) {
		const char *missing = ku_bpf_missing(btf, tier);

		if (missing) {
			snprintf(b->why, sizeof(b->why), "%s", missing);
			continue;
		}
		err = ku_bpf_try(b, btf, tier, max_wait_ns);
		if (!err) {
			b->tier = tier;
			err = ku_bpf_setup(b, on_record, arg);
			break;
		}
		snprintf(b->why, sizeof(b->why), "loading BPF for tier %s: %s", ku_tier_name(tier), strerror(-err));
	}
	return err;
}

int ku_bpf_attach(struct ku_bpf *b)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_progs); i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(b->obj, ku_progs[i].name);
		struct bpf_link *link;

		if (!bpf_program__autoload(p) || bpf_program__type(p) == BPF_PROG_TYPE_SYSCALL)
			continue;
		link = bpf_program__attach(p);
		if (!link) {
			int err = -errno;

			snprintf(b->why, sizeof(b->why), "attaching %s: %s", ku_progs[i].name, strerror(-err));
			return err;
		}
		b->links[b->nlinks++] = link;
	}
	return 0;
}

void ku_bpf_detach(struct ku_bpf *b)
{
	while (b->nlinks)
		bpf_link__destroy(b->links[--b->nlinks]);
}

void ku_bpf_close(struct ku_bpf *b)
{
	ku_bpf_detach(b);
	ring_buffer__free(b->ring);
	if (b->slots)
		munmap(b->slots, KU_SLOTS * sizeof(*b->slots));
	if (b->requests)
		munmap(b->requests, KU_SLOTS * sizeof(*b->requests));
	if (b->shared)
		munmap(b->shared, sizeof(*b->shared));
	bpf_object__close(b->obj);
	b->obj = NULL;
	b->ring = NULL;
	b->slots = NULL;
	b->requests = NULL;
	b->shared = NULL;
}

int ku_bpf_register(const struct ku_bpf *b, bool child)
{
	__u32 what = child;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &what, .ctx_size_in = sizeof(what));

	return bpf_prog_test_run_opts(b->fd_register, &opts) ? -errno : 0;
}

int ku_bpf_union_add(const struct ku_bpf *b, uint32_t dev, const struct ku_union_cfg *cfg)
{
	return bpf_map_update_elem(b->fd_unions, &dev, cfg, BPF_NOEXIST) ? -errno : 0;
}

int ku_bpf_union_set(const struct ku_bpf *b, uint32_t dev, const struct ku_union_cfg *cfg)
{
	return bpf_map_update_elem(b->fd_unions, &dev, cfg, BPF_EXIST) ? -errno : 0;
}

int ku_bpf_union_remove(const struct ku_bpf *b, uint32_t dev)
{
	return bpf_map_delete_elem(b->fd_unions, &dev) ? -errno : 0;
}

/* struct ku_inode of the BPF side */
struct ku_inode_value {
	__u64 ref, copier;
};

uint64_t ku_bpf_inode_ref(const struct ku_bpf *b, int fd)
{
	struct ku_inode_value value = { 0 };

	return bpf_map_lookup_elem(b->fd_inodes, &fd, &value) ? 0 : value.ref;
}

int ku_bpf_guard_begin(const struct ku_bpf *b)
{
	__u32 tid = (__u32)gettid();
	__u64 inode = 0;

	if (bpf_map_update_elem(b->fd_guards, &tid, &inode, BPF_ANY))
		return -errno;
	__atomic_add_fetch(&b->shared->guarding, 1, __ATOMIC_SEQ_CST);
	return 0;
}

void ku_bpf_guard_end(const struct ku_bpf *b)
{
	__u32 tid = (__u32)gettid();

	__atomic_sub_fetch(&b->shared->guarding, 1, __ATOMIC_SEQ_CST);
	bpf_map_delete_elem(b->fd_guards, &tid);
}

int ku_bpf_inode_claim(const struct ku_bpf *b, int fd, uint64_t ref)
{
	uint64_t old = ku_bpf_inode_ref(b, fd);
	struct ku_inode_value value = { .ref = ref };

	if (old) {
		__u64 w = ku_slot_word(&b->slots[KU_REF_SLOT(old)]);

		if (KU_WORD_GEN(w) == KU_REF_GEN(old) && KU_STATE_PENDING(KU_WORD_STATE(w)))
			return -EEXIST;
	}
	return bpf_map_update_elem(b->fd_inodes, &fd, &value, BPF_ANY) ? -errno : 0;
}

uint64_t ku_bpf_wait_ref(const struct ku_bpf *b, uint32_t tid)
{
	/* struct ku_wait of the BPF side: the task work, then the reference */
	struct {
		__u64 tw, ref;
	} wait = { 0 };

	__u32 other = tid | KU_OTHER_WAIT;

	if (bpf_map_lookup_elem(b->fd_waits, &tid, &wait) && bpf_map_lookup_elem(b->fd_waits, &other, &wait))
		return 0;
	return wait.ref;
}

int ku_bpf_slot_take(const struct ku_bpf *b, uint32_t *ret_slot)
{
	return bpf_map_lookup_and_delete_elem(b->fd_free, NULL, ret_slot) ? -EAGAIN : 0;
}

void ku_bpf_slot_free(const struct ku_bpf *b, uint32_t slot)
{
	uint32_t gen = KU_WORD_GEN(ku_slot_word(&b->slots[slot])) + 1;

	__atomic_store_n(&b->slots[slot].word, KU_WORD(gen, 0, KU_S_FREE), __ATOMIC_SEQ_CST);
	/* Cannot be full: it has room for every slot. */
	bpf_map_update_elem(b->fd_free, NULL, &slot, BPF_ANY);
}

void ku_bpf_hooks(const struct bpf_object *obj, void (*fn)(void *, const char *, uint64_t, uint64_t, uint64_t), void *arg)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, obj) {
		struct bpf_prog_info info = { 0 };
		__u32 len = sizeof(info);

		if (bpf_program__autoload(p) && !bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len))
			fn(arg, bpf_program__name(p), info.run_cnt, info.run_time_ns, info.recursion_misses);
	}
}
