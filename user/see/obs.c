// SPDX-License-Identifier: GPL-2.0-only
#include "obs.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "btf.h"
#include "kunion_observe.skel.h"
#include "log.h"
#include "stop.h"
#include "util.h"

enum ku_obs_prog_flag {
	KU_P_MODULE = 1, /* of overlayfs, which may be a module */
	KU_P_WRITES = 2, /* only when asked for */
	KU_P_NEEDED = 4, /* nothing is worth anything without it */
	KU_P_SPARED = 8, /* what it misses others see: see ku_obs_missed() */
	KU_P_LAYERS = 32, /* likewise */
	KU_P_DETAIL = 16, /* left out for tests of something else: attaching takes long under emulation */
};

/* What each program is attached to, and what nobody sees without it. */
static const struct {
	const char *name, *function;
	unsigned int flags;
	const char *unseen;
} ku_obs_progs[] = {
	/* The end before the beginning: what is attached meanwhile is not half seen. */
	{ "ku_obs_end", "ovl_copy_up_one", KU_P_MODULE | KU_P_NEEDED | KU_P_SPARED, "copy-ups" },
	{ "ku_obs_copies", "bpf_lsm_inode_copy_up", KU_P_SPARED, "copy-ups whose beginning the kernel leaves out" },
	{ "ku_obs_begin", "ovl_copy_up_one", KU_P_MODULE | KU_P_NEEDED | KU_P_SPARED, "copy-ups" },
	{ "ku_obs_end_again", "ovl_copy_up_one", KU_P_MODULE | KU_P_SPARED | KU_P_DETAIL, NULL },
	{ "ku_obs_lock", "ovl_copy_up_start", KU_P_MODULE | KU_P_SPARED, "waits of copy-ups for each other" },
	{ "ku_obs_locked", "ovl_copy_up_start", KU_P_MODULE | KU_P_SPARED, "waits of copy-ups for each other" },
	{ "ku_obs_file", "ovl_copy_up_file", KU_P_MODULE, "bytes and time of the data" },
	{ "ku_obs_file_end", "ovl_copy_up_file", KU_P_MODULE, "bytes and time of the data" },
	{ "ku_obs_nlink", "ovl_nlink_start", KU_P_MODULE | KU_P_SPARED | KU_P_DETAIL, "unlink, rename over and rmdir waiting for a copy-up" },
	{ "ku_obs_nlinked", "ovl_nlink_start", KU_P_MODULE | KU_P_SPARED | KU_P_DETAIL, "unlink, rename over and rmdir waiting for a copy-up" },
	{ "ku_obs_rename", "ovl_rename", KU_P_MODULE | KU_P_DETAIL, "who stands behind a rename between directories" },
	{ "ku_obs_two_dirs", "lock_two_directories", KU_P_DETAIL, "who stands behind a rename that waits for its second directory" },
	{ "ku_obs_link", "ovl_link", KU_P_MODULE | KU_P_DETAIL, "who stands behind a link" },
	{ "ku_obs_write", "ovl_write_iter", KU_P_MODULE | KU_P_DETAIL, "bytes written after a copy-up" },
	{ "ku_obs_put_super", "ovl_put_super", KU_P_MODULE, "the end of a union" },
	{ "ku_obs_fill_super", "ovl_fill_super", KU_P_MODULE, "overlays that are mounted later, until somebody names them" },
	{ "ku_obs_down_write", "rwsem_down_write_slowpath", KU_P_DETAIL, "who stands behind a copy-up for a directory's lock" },
	{ "ku_obs_downed_write", "rwsem_down_write_slowpath", KU_P_DETAIL, "who stands behind a copy-up for a directory's lock" },
	{ "ku_obs_down_read", "rwsem_down_read_slowpath", KU_P_SPARED | KU_P_DETAIL, "look-ups that stand behind a copy-up" },
	{ "ku_obs_downed_read", "rwsem_down_read_slowpath", KU_P_SPARED | KU_P_DETAIL, "look-ups that stand behind a copy-up" },
	{ "ku_obs_contended", "__traceiter_contention_begin", KU_P_SPARED | KU_P_DETAIL, "waits whose beginning the kernel leaves out" },
	{ "ku_obs_contended_no_more", "__traceiter_contention_end", KU_P_SPARED | KU_P_DETAIL, "waits whose end the kernel leaves out" },
	{ "ku_obs_fsync", "vfs_fsync", KU_P_DETAIL, "time in fsync" },
	{ "ku_obs_fsync_end", "vfs_fsync", KU_P_DETAIL, "time in fsync" },
	{ "ku_obs_chunk", "do_splice_direct", KU_P_DETAIL, "progress of a copy" },
	{ "ku_obs_vfs_clone", "vfs_clone_file_range", KU_P_DETAIL, NULL },
	{ "ku_obs_do_clone", "do_clone_file_range", KU_P_DETAIL, NULL },
	{ "ku_obs_create", "ovl_create_or_link", KU_P_MODULE | KU_P_WRITES, "what is made" },
	/* Not before 6.10, where there is nothing to be seen. */
	{ "ku_obs_tmpfile", "ovl_tmpfile", KU_P_MODULE | KU_P_WRITES, NULL },
	{ "ku_obs_remove", "ovl_do_remove", KU_P_MODULE | KU_P_WRITES, "what is removed" },
	{ "ku_obs_open", "ovl_open", KU_P_MODULE | KU_P_WRITES, "changes of upper files" },
	{ "ku_obs_setattr", "ovl_setattr", KU_P_MODULE | KU_P_WRITES, "truncations by name" },
	{ "ku_obs_show", "ovl_show_options", KU_P_MODULE | KU_P_LAYERS, "which layers are idmapped" },
};
_Static_assert(KU_ARRAY_SIZE(ku_obs_progs) <= KU_OBS_PROGS, "links");

/* Marks the programs whose function is in btf, from type id first on. One way through it for all: there are 100000 types. */
static void ku_obs_find(const struct btf *btf, __u32 first, bool found[static KU_OBS_PROGS])
{
	__u32 n = btf ? btf__type_cnt(btf) : 0;

	for (__u32 id = first; id < n; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		const char *name;

		if (!btf_is_func(t))
			continue;
		name = btf__name_by_offset(btf, t->name_off);
		for (size_t i = 0; name && i < KU_ARRAY_SIZE(ku_obs_progs); i++)
			if (name[0] == ku_obs_progs[i].function[0] && !strcmp(name, ku_obs_progs[i].function))
				found[i] = true;
	}
}

/* Asking for the file system by name makes the kernel load its module, if it is one. */
static void ku_obs_want_overlay(void)
{
	int fd = (int)syscall(SYS_fsopen, "overlay", 1u /* FSOPEN_CLOEXEC */);

	if (fd >= 0)
		close(fd);
}

static int ku_obs_open(struct ku_obs *o, const struct ku_obs_config *wanted, bool sparing)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "kunion_obs");
	struct btf *vmlinux = ku_btf_vmlinux(), *module;
	bool found[KU_OBS_PROGS] = { false }, without_details = ku_stop_without("observe-details");
	struct ku_obs_config *cfg;
	const void *elf;
	size_t size;

	if (!vmlinux)
		return -EOPNOTSUPP;
	module = btf__load_module_btf("overlay", vmlinux);
	if (libbpf_get_error(module))
		module = NULL;
	ku_obs_find(vmlinux, 1, found);
	ku_obs_find(module, btf__type_cnt(vmlinux), found);
	btf__free(module);
	elf = kunion_observe__elf_bytes(&size);
	o->obj = bpf_object__open_mem(elf, size, &opts);
	if (!o->obj)
		return -errno;
	o->unattached = 0;
	o->useless = false;
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_obs_progs); i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(o->obj, ku_obs_progs[i].name);
		bool asked = (wanted->writes || !(ku_obs_progs[i].flags & KU_P_WRITES)) &&
			     (wanted->layers || !(ku_obs_progs[i].flags & KU_P_LAYERS));

		/* The second try goes without what need not be. */
		if (p && ku_obs_progs[i].flags & KU_P_DETAIL && without_details) {
			bpf_program__set_autoload(p, false);
			continue;
		}
		if (p && ku_stop_without(ku_obs_progs[i].name)) {
			ku_warn("left out, as a test asked for: %s", ku_obs_progs[i].name);
			bpf_program__set_autoload(p, false);
			continue;
		}
		if (p && asked && found[i] && (!sparing || (ku_obs_progs[i].flags & KU_P_MODULE)))
			continue;
		if (p)
			bpf_program__set_autoload(p, false);
		if (asked)
			o->unattached |= 1ull << i;
		if (ku_obs_progs[i].flags & KU_P_NEEDED)
			o->useless = true;
	}
	cfg = (struct ku_obs_config *)bpf_map__initial_value(bpf_object__find_map_by_name(o->obj, ".rodata.cfg"), &size);
	if (!cfg || size < sizeof(*cfg))
		return -EINVAL;
	*cfg = *wanted;
	return 0;
}

static int ku_obs_fd(const struct ku_obs *o, const char *map)
{
	return bpf_map__fd(bpf_object__find_map_by_name(o->obj, map));
}

/* Returns our process as BPF numbers it, or 0. */
static __u32 ku_obs_take(const struct ku_obs *o, __u32 tid, __u64 id)
{
	struct ku_obs_take_args args = { .id = id, .tid = tid };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &args, .ctx_size_in = sizeof(args));

	return bpf_prog_test_run_opts(o->fd_take, &opts) ? 0 : opts.retval;
}

int ku_obs_load(struct ku_obs *o, const struct ku_obs_config *wanted, int (*on_record)(void *, void *, size_t), void *arg, char why[static 256])
{
	int err = 0;

	memset(o, 0, sizeof(*o));
	ku_obs_want_overlay();
	for (int sparing = 0; sparing < 2; sparing++) {
		err = ku_obs_open(o, wanted, sparing);
		if (!err && o->useless) {
			snprintf(why, 256, "the kernel's BTF has no ovl_copy_up_one: overlayfs without BTF cannot be observed");
			err = -EOPNOTSUPP;
			break;
		}
		if (!err)
			err = bpf_object__load(o->obj);
		if (!err)
			break;
		snprintf(why, 256, "loading the observing BPF programs: %s", strerror(-err));
		bpf_object__close(o->obj);
		o->obj = NULL;
	}
	if (err)
		return err;
	o->fd_take = bpf_program__fd(bpf_object__find_program_by_name(o->obj, "ku_obs_take"));
	o->fd_unions = ku_obs_fd(o, "ku_unions");
	o->fd_active = ku_obs_fd(o, "ku_active");
	o->fd_waits = ku_obs_fd(o, "ku_lockwaits");
	o->fd_counts = ku_obs_fd(o, "ku_counts");
	o->fd_sum = ku_obs_fd(o, "ku_sum");
	o->fd_written = ku_obs_fd(o, "ku_written_to");
	o->shared = mmap(NULL, sizeof(*o->shared), PROT_READ | PROT_WRITE, MAP_SHARED, ku_obs_fd(o, ".data.shared"), 0);
	if (o->shared == MAP_FAILED) {
		o->shared = NULL;
		snprintf(why, 256, "mapping the observing programs' memory: %s", strerror(errno));
		return -errno;
	}
	o->fd_layers = ku_obs_fd(o, "ku_layers_of");
	o->shared->own_tgid = ku_obs_take(o, 0, 0);
	o->host_pids = o->shared->own_tgid == (__u32)getpid();
	o->ring = ring_buffer__new(ku_obs_fd(o, "ku_obs_ring"), on_record, arg, NULL);
	if (!o->ring) {
		snprintf(why, 256, "the ring buffer: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

int ku_obs_attach(struct ku_obs *o, char why[static 256])
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_obs_progs); i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(o->obj, ku_obs_progs[i].name);
		struct bpf_link *link;

		if (!p || !bpf_program__autoload(p))
			continue;
		link = bpf_program__attach(p);
		if (link) {
			o->links[o->nlinks++] = link;
			continue;
		}
		if (ku_obs_progs[i].flags & KU_P_NEEDED) {
			snprintf(why, 256, "attaching to %s: %s", ku_obs_progs[i].function, strerror(errno));
			return -errno;
		}
		o->unattached |= 1ull << i;
	}
	return 0;
}

void ku_obs_detach(struct ku_obs *o)
{
	while (o->nlinks)
		bpf_link__destroy(o->links[--o->nlinks]);
}

/* The task's state as of proc(5): 'S', 'D', ..; 0 when it is gone, reaped or not; 'R' in doubt. */
static char ku_obs_task_state(__u32 tid)
{
	char path[64], text[256], *at;
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%u/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : 'R';
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return n && errno == ESRCH ? 0 : 'R';
	text[n] = '\0';
	at = strrchr(text, ')'); /* behind the name, which may hold anything */
	if (!at || at[1] != ' ' || !at[2])
		return 'R';
	return at[2] == 'Z' || at[2] == 'X' ? 0 : at[2];
}

/* Does it copy at this moment? The stack of who runs is an old one, or none: then in doubt it does. */
static bool ku_obs_copies(__u32 tid)
{
	char path[64], stack[8192], state = ku_obs_task_state(tid);
	_cleanup_close_ int fd = -1;
	ssize_t n;

	if (!state || state == 'R')
		return state;
	snprintf(path, sizeof(path), "/proc/%u/stack", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, stack, sizeof(stack) - 1);
	if (n <= 0 || ku_obs_task_state(tid) != state)
		return true;
	stack[n] = '\0';
	return strstr(stack, "ovl_copy_up");
}

void ku_obs_take_unended(const struct ku_obs *o, bool last)
{
	_cleanup_free_ struct ku_obs_copyup *c = NULL;
	__u32 tid, next;
	bool more;

	if (!o->host_pids || bpf_map_get_next_key(o->fd_active, NULL, &next))
		return;
	c = malloc(sizeof(*c));
	for (more = c; more;) {
		tid = next;
		/* Before this one goes: behind a key that is gone the walk begins anew. */
		more = !bpf_map_get_next_key(o->fd_active, &tid, &next);
		if (!bpf_map_lookup_elem(o->fd_active, &tid, c) && !(last ? ku_obs_copies(tid) : ku_obs_task_state(tid)))
			ku_obs_take(o, tid, c->id);
	}
}

void ku_obs_close(struct ku_obs *o)
{
	ku_obs_detach(o);
	ring_buffer__free(o->ring);
	if (o->shared)
		munmap(o->shared, sizeof(*o->shared));
	bpf_object__close(o->obj);
	memset(o, 0, sizeof(*o));
}

int ku_obs_union_add(const struct ku_obs *o, uint32_t dev)
{
	struct ku_union_cfg cfg = { .mode = KU_MODE_OBSERVE };

	return bpf_map_update_elem(o->fd_unions, &dev, &cfg, BPF_ANY) ? -errno : 0;
}

void ku_obs_lsm_works(const struct ku_obs *o)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_obs_progs); i++) {
		const struct bpf_program *p = bpf_object__find_program_by_name(o->obj, ku_obs_progs[i].name);

		if (!strcmp(ku_obs_progs[i].function, "bpf_lsm_inode_copy_up") && p && bpf_program__autoload(p) && !(o->unattached & (1ull << i)))
			__atomic_store_n(&o->shared->lsm, 1, __ATOMIC_SEQ_CST);
	}
}

void ku_obs_take_new(const struct ku_obs *o, bool on)
{
	__atomic_store_n(&o->shared->take_new, on, __ATOMIC_SEQ_CST);
}

int ku_obs_union_remove(const struct ku_obs *o, uint32_t dev)
{
	return bpf_map_delete_elem(o->fd_unions, &dev) ? -errno : 0;
}

int ku_obs_layers(const struct ku_obs *o, uint32_t dev, struct ku_obs_layers *ret)
{
	return bpf_map_lookup_elem(o->fd_layers, &dev, ret) ? -errno : 0;
}

void ku_obs_unseen(const struct ku_obs *o, void (*fn)(void *, const char *, const char *), void *arg)
{
	const char *last = NULL;

	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_obs_progs); i++) {
		/* Either of the two that clone is there; entry and exit of a function are one point. */
		if (!(o->unattached & (1ull << i)) || !ku_obs_progs[i].unseen || last == ku_obs_progs[i].function)
			continue;
		last = ku_obs_progs[i].function;
		fn(arg, ku_obs_progs[i].function, ku_obs_progs[i].unseen);
	}
}

static uint64_t ku_obs_prog_missed(const struct bpf_program *p)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);

	return p && bpf_program__autoload(p) && !bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len) ? info.recursion_misses : 0;
}

uint64_t ku_obs_missed(const struct ku_obs *o)
{
	bool stand_ins = o->shared->lsm;
	uint64_t sum = 0;

	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_obs_progs); i++)
		if (!strncmp(ku_obs_progs[i].name, "ku_obs_contended", 16) && o->unattached & (1ull << i))
			stand_ins = false;
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_obs_progs); i++) {
		const char *name = ku_obs_progs[i].name;

		/* A tracepoint's program is left out for locks that its own run takes: none of ours. */
		if (strncmp(name, "ku_obs_contended", 16) && !((ku_obs_progs[i].flags & KU_P_SPARED) && stand_ins))
			sum += ku_obs_prog_missed(bpf_object__find_program_by_name(o->obj, name));
	}
	return sum;
}

int ku_obs_written_next(const struct ku_obs *o, struct ku_written_key *key, struct ku_written *ret)
{
	struct ku_written_key next;

	while (!bpf_map_get_next_key(o->fd_written, key->inode ? key : NULL, &next)) {
		*key = next;
		if (!bpf_map_lookup_elem(o->fd_written, key, ret))
			return 0;
	}
	return -ENOENT;
}

int ku_obs_count(const struct ku_obs *o, const struct ku_count_key *key, struct ku_count *ret)
{
	int cpus = libbpf_num_possible_cpus(), err = 0;
	_cleanup_free_ struct ku_count *per_cpu = NULL;
	__u32 zero = 0;

	if (cpus < 0)
		return cpus;
	per_cpu = calloc((size_t)cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return -ENOMEM;
	if (key ? bpf_map_lookup_elem(o->fd_counts, key, per_cpu) : bpf_map_lookup_elem(o->fd_sum, &zero, per_cpu))
		err = -errno;
	if (err)
		return err;
	memset(ret, 0, sizeof(*ret));
	for (int i = 0; i < cpus; i++) {
		const __u64 *from = (const __u64 *)&per_cpu[i];
		__u64 *to = (__u64 *)ret;

		/* nothing but counters */
		for (size_t j = 0; j < sizeof(*ret) / sizeof(*to); j++)
			to[j] += from[j];
	}
	return 0;
}

int ku_obs_count_next(const struct ku_obs *o, const struct ku_count_key *key, struct ku_count_key *ret)
{
	return bpf_map_get_next_key(o->fd_counts, key, ret) ? -errno : 0;
}

void ku_obs_count_forget(const struct ku_obs *o, uint32_t dev)
{
	struct ku_count_key key, next;
	bool more = !ku_obs_count_next(o, NULL, &key);

	while (more) {
		/* Before this one goes: behind a key that is gone the walk begins anew. */
		more = !ku_obs_count_next(o, &key, &next);
		if (key.dev == dev)
			bpf_map_delete_elem(o->fd_counts, &key);
		key = next;
	}
}
