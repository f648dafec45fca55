// SPDX-License-Identifier: GPL-2.0-only
#include "judge.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "btf.h"
#include "judge_budget.h"
#include "judge_hold.h"
#include "judge_hooks.h"
#include "judge_pin.h"
#include "judge_tell.h"
#include "kunion_policy_impl.skel.h"
#include "kunion_policy_kfunc.skel.h"
#include "kunion_policy_none.skel.h"
#include "util.h"

#define KU_JUDGE_TURN 256 /* records */
#define KU_JUDGE_NAMED 16 /* generations */
#define KU_JUDGE_LOOK_NS 250000000ull

struct ku_judge_union {
	struct ku_judge_union *next;
	uint32_t dev;
	char *path;
};

struct ku_judge {
	struct ku_judge_ops ops;
	char *file;
	struct bpf_object *obj;
	struct ku_hooks hooks;
	bool attached;
	bool metacopy; /* some union has it on */
	struct ring_buffer *ring;
	struct ku_pol_shared *shared; /* memory-mapped, as the banks are */
	struct ku_pol_bank *banks;
	int fd_unions, fd_counts, fd_inner, fd_outer;
	struct ku_policy *policies[KU_JUDGE_NAMED]; /* each generation in its place; the older ones name the rules of late records */
	struct ku_judge_union *unions;
	struct ku_budgets budgets;
	uint64_t looked_ns; /* at the free space */
	struct ku_tell *tell;
	struct ku_pin pin;
	uint64_t serial; /* of elements of ku_pol_unions */
	struct ku_judge_hold *hold; /* NULL until a policy holds */
	bool can_hold;
	int epoll_fd;
	uint32_t gen; /* being written, or in force */
};

static struct ku_policy **ku_judge_named(struct ku_judge *j, uint32_t gen)
{
	return &j->policies[gen % KU_JUDGE_NAMED];
}

const struct ku_policy *ku_judge_policy(const struct ku_judge *j)
{
	return j->policies[j->shared->gen % KU_JUDGE_NAMED];
}

static int ku_judge_map_fd(const struct ku_judge *j, const char *name)
{
	return bpf_map__fd(bpf_object__find_map_by_name(j->obj, name));
}

static uint32_t ku_judge_sum(const struct ku_pol_set *set)
{
	uint32_t sum = 0;

	for (unsigned int i = 0; i < KU_POL_WORDS; i++)
		sum |= (set->w[i] != 0) << i;
	return sum;
}

/* The policy in the file, compiled into a bank of its own memory. */
static int ku_judge_read(const char *file, bool can_hold, struct ku_policy **ret, struct ku_pol_bank **ret_bank, char err[static 512])
{
	_cleanup_free_ struct ku_pol_bank *bank = calloc(1, sizeof(*bank));
	struct ku_policy *p = NULL;
	char why[512] = "";
	int n;

	if (!bank) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	n = ku_policy_load(file, &p, err);
	if (n)
		return n;
	n = ku_policy_compile(p, &bank->pol, why);
	if (n)
		snprintf(err, 512, "%s: %.400s", file, why[0] ? why : strerror(-n));
	for (size_t i = 0; !n && i < p->nrules; i++) {
		if (p->rules[i].verdict == KU_V_HOLD && !can_hold) {
			snprintf(err, 512, "%s:%u: rule '%s': this kernel cannot hold (Linux 6.18 can): use 'deny' or 'audit'", file, p->rules[i].line,
				 p->rules[i].name);
			n = -EOPNOTSUPP;
		}
		bank->holds |= p->rules[i].verdict == KU_V_HOLD;
		bank->hold[i].limit = (__u16)p->rules[i].limit;
		bank->hold[i].allow = p->rules[i].otherwise_allow;
		if (p->rules[i].verdict == KU_V_DENY || p->rules[i].verdict == KU_V_HOLD) {
			bank->deny.w[i / 64] |= 1ull << (i % 64);
			bank->denies = 1;
		}
	}
	if (n) {
		ku_policy_free(p);
		return n;
	}
	for (unsigned int i = 0; i < KU_POL_SETS; i++)
		bank->sums[i] = (__u16)ku_judge_sum(&bank->pol.sets[i]);
	*ret = p;
	*ret_bank = KU_TAKE_PTR(bank);
	return 0;
}

/* inode_setattr got its first argument, of which nothing is needed, with 6.3. */
static unsigned int ku_judge_setattr_args(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	unsigned int n = 3;
	int id = btf ? btf__find_by_name_kind(btf, "bpf_lsm_inode_setattr", BTF_KIND_FUNC) : -1;

	if (id > 0)
		n = btf_vlen(btf__type_by_id(btf, btf__type_by_id(btf, (__u32)id)->type));
	btf__free(btf);
	return n;
}

/*
 * What only budgets need. Without a function that is not there to attach to, what came to nothing is given back later, or not.
 */
static const struct {
	const char *prog, *function;
	bool overlay; /* of overlayfs */
} ku_budget_progs[] = {
	{ "ku_pol_inode_free", "bpf_lsm_inode_free_security", false },
	{ "ku_pol_copied", "ovl_copy_up_one", true },
	{ "ku_pol_created", "ovl_create_object", true },
	{ "ku_pol_may_write", "bpf_lsm_file_permission", false },
	{ "ku_pol_write_iter", "ovl_write_iter", true },
	{ "ku_pol_splice", "ovl_splice_write", true },
	{ "ku_pol_copy_range", "ovl_copy_file_range", true },
};

static void ku_judge_look_for_functions(const struct ku_judge *j)
{
	struct btf *vmlinux = ku_btf_vmlinux(), *overlay = vmlinux ? btf__load_module_btf("overlay", vmlinux) : NULL;

	/* Built in, it has none of its own. */
	if (libbpf_get_error(overlay))
		overlay = NULL;
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_budget_progs); i++) {
		const struct btf *btf = ku_budget_progs[i].overlay && overlay ? overlay : vmlinux;

		if (!btf || btf__find_by_name_kind(btf, ku_budget_progs[i].function, BTF_KIND_FUNC) < 0)
			bpf_program__set_autoload(bpf_object__find_program_by_name(j->obj, ku_budget_progs[i].prog), false);
	}
	btf__free(overlay);
}

static int ku_judge_load(struct ku_judge *j, char why[static 512])
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "kunion_policy");
	struct ku_pol_config *cfg;
	struct bpf_program *p;
	const void *elf;
	size_t size;
	int err = 0;

	if (!j->can_hold)
		elf = kunion_policy_none__elf_bytes(&size);
	else if (btf__find_by_name_kind(ku_btf_vmlinux(), "bpf_task_work_schedule_signal", BTF_KIND_FUNC) > 0)
		elf = kunion_policy_kfunc__elf_bytes(&size);
	else
		elf = kunion_policy_impl__elf_bytes(&size);
	j->obj = bpf_object__open_mem(elf, size, &opts);
	if (!j->obj)
		return -errno;
	cfg = (struct ku_pol_config *)bpf_map__initial_value(bpf_object__find_map_by_name(j->obj, ".rodata.cfg"), &size);
	if (!cfg || size < sizeof(*cfg))
		return -EINVAL;
	cfg->open_waits = j->ops.open_waits;
	p = bpf_object__find_program_by_name(j->obj, ku_judge_setattr_args() == 2 ? "ku_pol_setattr" : "ku_pol_setattr_2");
	bpf_program__set_autoload(p, false);
	ku_judge_look_for_functions(j);
	if (j->ops.fd_recs >= 0)
		err = bpf_map__reuse_fd(bpf_object__find_map_by_name(j->obj, "ku_recs"), j->ops.fd_recs);
	if (!err && j->ops.pin)
		err = ku_pin_adopt(&j->pin, j->obj, why);
	if (!err)
		err = bpf_object__load(j->obj);
	return err ? err : ku_hooks_init(&j->hooks, j->obj);
}

static void *ku_judge_mmap(const struct ku_judge *j, const char *name, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ku_judge_map_fd(j, name), 0);

	return p == MAP_FAILED ? NULL : p;
}

static int ku_judge_setup(struct ku_judge *j)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	LIBBPF_OPTS(bpf_test_run_opts, run);
	struct epoll_event ev = { .events = EPOLLIN };
	struct bpf_program *reg = bpf_object__find_program_by_name(j->obj, "ku_pol_register");

	j->fd_unions = ku_judge_map_fd(j, "ku_pol_unions");
	j->fd_counts = ku_judge_map_fd(j, "ku_pol_counts");
	j->budgets.fd_accounts = ku_judge_map_fd(j, "ku_pol_accounts");
	j->budgets.fd_frees = ku_judge_map_fd(j, "ku_pol_frees");
	j->budgets.fd_spaces = ku_judge_map_fd(j, "ku_pol_spaces");
	j->shared = ku_judge_mmap(j, ".data.shared", sizeof(*j->shared));
	j->banks = ku_judge_mmap(j, "ku_pol_banks", KU_POL_BANKS * sizeof(*j->banks));
	if (!j->shared || !j->banks)
		return -ENOMEM;
	/* Of a pinned one's before us. */
	j->shared->holding = KU_HOLDING_NOT;
	j->ring = ring_buffer__new(ku_judge_map_fd(j, "ku_pol_ring"), ku_tell_record, j->tell, NULL);
	if (!j->ring)
		return -errno;
	j->fd_inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ku_pol_none", 4, 8, 1, NULL);
	opts.inner_map_fd = (__u32)j->fd_inner;
	j->fd_outer = j->fd_inner < 0 ? -1 : bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "ku_pol_grace", 4, 4, 1, &opts);
	if (j->fd_outer < 0)
		return -errno;
	j->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ev.data.fd = ring_buffer__epoll_fd(j->ring);
	if (j->epoll_fd < 0 || epoll_ctl(j->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev))
		return -errno;
	return bpf_prog_test_run_opts(bpf_program__fd(reg), &run) ? -errno : 0;
}

/* Before a policy is in force that holds. */
static int ku_judge_may_hold(struct ku_judge *j, const struct ku_policy *p, char err[static 512])
{
	for (size_t i = 0; i < p->nrules && !j->hold; i++)
		if (p->rules[i].verdict == KU_V_HOLD)
			return ku_judge_hold_open(j->obj, j->shared, j->epoll_fd, &j->hold, err);
	return 0;
}

/* Updating a map of maps returns only when every program that ran before has ended: what it took from the old map could be in use still. */
static int ku_judge_grace(const struct ku_judge *j)
{
	__u32 zero = 0;

	return bpf_map_update_elem(j->fd_outer, &zero, &j->fd_inner, BPF_ANY) ? -errno : 0;
}

static int ku_judge_forget_counts(const struct ku_judge *j, uint32_t bank)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct ku_pol_count *none = cpus > 0 ? calloc((size_t)cpus, sizeof(*none)) : NULL;

	if (!none)
		return cpus < 0 ? cpus : -ENOMEM;
	for (uint32_t i = 0; i < j->banks[bank].pol.nrules; i++) {
		uint32_t key = bank * KU_POL_RULES + i;

		if (bpf_map_update_elem(j->fd_counts, &key, none, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* NULL: no memory. */
static struct ku_judge_union *ku_judge_union_new(struct ku_judge *j, uint32_t dev, const char *path)
{
	struct ku_judge_union *u = calloc(1, sizeof(*u));

	if (u)
		u->path = strdup(path);
	if (!u || !u->path) {
		free(u);
		return NULL;
	}
	u->dev = dev;
	u->next = j->unions;
	j->unions = u;
	return u;
}

/* Programs see the old or the new element; what it has for the bank in force is the same in both. */
static int ku_judge_union_set(struct ku_judge *j, const struct ku_judge_union *u)
{
	struct ku_pol_union value = { 0 };
	int err;

	/* A pinned policy that is still in force has its rules in the map only. */
	if (j->pin.adopted && bpf_map_lookup_elem(j->fd_unions, &u->dev, &value))
		memset(&value, 0, sizeof(value));
	/* The one in force, and the one that is about to be. */
	for (uint32_t gen = j->shared->gen ?: j->gen; gen <= j->gen; gen++)
		if (*ku_judge_named(j, gen))
			ku_policy_union_set(*ku_judge_named(j, gen), u->path, &value.set[KU_POL_BANK(gen)]);
	for (unsigned int i = 0; i < KU_POL_BANKS; i++)
		value.sum[i] = ku_judge_sum(&value.set[i]);
	value.serial = ++j->serial;
	err = ku_budgets_open(&j->budgets, &j->banks[KU_POL_BANK(j->gen)], u->dev);
	return !err && bpf_map_update_elem(j->fd_unions, &u->dev, &value, BPF_ANY) ? -errno : err;
}

/* What the policy in a bank has to see. */
static uint32_t ku_judge_needs(const struct ku_judge *j, uint32_t gen)
{
	uint32_t actions = j->banks[KU_POL_BANK(gen)].pol.actions;

	/* What is pinned are these hooks, whatever policy comes later. */
	if (j->ops.pin)
		return ~0u;
	if ((j->ops.open_waits || j->metacopy) && actions & 1u << KU_A_COPY_UP)
		actions |= KU_HOOK_OPEN_COPY;
	/* Whether an open truncates is noted there. */
	if (j->banks[KU_POL_BANK(gen)].charges)
		actions |= KU_HOOK_CHARGES | KU_HOOK_OPEN_COPY;
	if (j->banks[KU_POL_BANK(gen)].writes)
		actions |= KU_HOOK_WRITES;
	return actions | KU_HOOK_ALWAYS;
}

/* Takes p over; puts it in force. */
static int ku_judge_switch(struct ku_judge *j, struct ku_policy *p, const struct ku_pol_bank *bank)
{
	uint32_t gen = j->shared->gen + 1, to = KU_POL_BANK(gen);
	const char *prog;
	int err = 0;

	ku_policy_free(*ku_judge_named(j, gen));
	*ku_judge_named(j, gen) = p;
	j->gen = gen;
	memcpy(&j->banks[to], bank, sizeof(*bank));
	err = ku_budgets_fill(&j->budgets, p, &j->banks[to]);
	if (!err)
		err = ku_judge_forget_counts(j, to);
	for (struct ku_judge_union *u = j->unions; u && !err; u = u->next)
		err = ku_judge_union_set(j, u);
	if (!err && j->attached)
		err = ku_hooks_attach(&j->hooks, ku_judge_needs(j, gen), &prog);
	if (err)
		return err;
	__atomic_store_n(&j->shared->gen, gen, __ATOMIC_SEQ_CST);
	if (j->hold)
		ku_judge_hold_let_go(j->hold);
	/* Before the other bank is written again. */
	err = ku_judge_grace(j);
	if (!err)
		ku_budgets_forget(&j->budgets, &j->banks[to]);
	if (j->attached)
		ku_hooks_detach(&j->hooks, ku_judge_needs(j, gen));
	return err;
}

static void ku_judge_look(struct ku_judge *j)
{
	for (const struct ku_judge_union *u = j->unions; u; u = u->next)
		ku_budgets_look(&j->budgets, u->dev, u->path);
	j->looked_ns = ku_now_ns();
}

int ku_judge_reload(struct ku_judge *j, char err[static 512])
{
	_cleanup_free_ struct ku_pol_bank *bank = NULL;
	struct ku_policy *p;
	int n;

	n = ku_judge_read(j->file, j->can_hold, &p, &bank, err);
	if (n)
		return n;
	n = ku_judge_may_hold(j, p, err);
	if (n) {
		ku_policy_free(p);
		return n;
	}
	n = ku_judge_switch(j, p, bank);
	if (n)
		snprintf(err, 512, "%s: cannot put it in force: %s", j->file, strerror(-n));
	else if (j->hold)
		ku_judge_hold_begin(j->hold);
	return n;
}

static const char *ku_judge_rule_name(void *arg, uint32_t gen, uint32_t rule)
{
	const struct ku_judge *j = arg;
	const struct ku_policy *p = j->policies[gen % KU_JUDGE_NAMED];

	return p && j->shared->gen - gen < KU_JUDGE_NAMED && rule < p->nrules && p->rules[rule].name ? p->rules[rule].name : "";
}

static uint64_t ku_judge_asked(void *arg, const struct ku_pol_record *r)
{
	const struct ku_judge *j = arg;

	return j->hold && r->gen == j->shared->gen ? ku_judge_hold_asked(j->hold, r) : 0;
}

static const char *ku_judge_budget_name(void *arg, uint32_t gen, uint32_t budget)
{
	const struct ku_judge *j = arg;
	const struct ku_policy *p = j->policies[gen % KU_JUDGE_NAMED];

	return p && j->shared->gen - gen < KU_JUDGE_NAMED && budget < p->nbudgets ? p->budgets[budget].name : "";
}

static const char *ku_judge_union_path(void *arg, uint32_t dev)
{
	const struct ku_judge *j = arg;

	for (const struct ku_judge_union *u = j->unions; u; u = u->next)
		if (u->dev == dev)
			return u->path;
	return "";
}

/* The unions that the pinned policy is for: the new one must be for them from its first moment on. */
static int ku_judge_adopt_unions(struct ku_judge *j, char err[static 512])
{
	uint32_t dev, *last = NULL;

	while (!bpf_map_get_next_key(j->fd_unions, last, &dev)) {
		const char *path = j->ops.union_path(j->ops.arg, dev);
		struct ku_judge_union *u;

		if (!path) {
			snprintf(err, 512, "the pinned policy is for the union of device %u:%u, too (see /proc/self/mountinfo): name that as well, or 'kunion "
					   "detach --all' first", dev >> 20, dev & 0xfffff);
			return -EBUSY;
		}
		u = ku_judge_union_new(j, dev, path);
		if (!u) {
			snprintf(err, 512, "out of memory");
			return -ENOMEM;
		}
		last = &u->dev;
	}
	return 0;
}

int ku_judge_open(const char *file, const struct ku_judge_ops *ops, struct ku_judge **ret, char err[static 512])
{
	_cleanup_free_ struct ku_pol_bank *bank = NULL;
	struct ku_tell_ops tell = {
		.emit = ops->emit, .emit_arg = ops->arg, .rule = ku_judge_rule_name, .union_path = ku_judge_union_path, .asked = ku_judge_asked,
		.budget = ku_judge_budget_name,
	};
	struct ku_judge *j;
	struct ku_policy *p;
	bool can_hold;
	int n;

	can_hold = ku_judge_hold_works();
	n = ku_judge_read(file, can_hold, &p, &bank, err);
	if (n)
		return n;
	j = calloc(1, sizeof(*j));
	if (j) {
		j->ops = *ops;
		j->fd_inner = j->fd_outer = j->pin.dir_fd = j->epoll_fd = -1;
		j->can_hold = can_hold;
		/* Those of a kunion before us, whose unions we may take over, are lower. */
		j->serial = ku_now_ns();
		j->file = strdup(file);
		tell.arg = j;
		j->tell = ku_tell_new(&tell);
	}
	if (!j || !j->file || !j->tell) {
		ku_policy_free(p);
		ku_judge_close(j);
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	*err = '\0';
	n = ops->pin ? ku_pin_open(&j->pin, err) : 0;
	if (!n)
		n = ku_judge_load(j, err);
	if (!n)
		n = ku_judge_setup(j);
	if (!n && j->pin.adopted)
		n = ku_judge_adopt_unions(j, err);
	if (!n && j->pin.adopted)
		n = ku_budgets_adopt(&j->budgets, j->banks, KU_POL_BANK(j->shared->gen));
	if (!n)
		n = ku_judge_may_hold(j, p, err);
	if (n) {
		ku_policy_free(p);
		if (!*err)
			snprintf(err, 512, "cannot load the policy's BPF programs: %s; see 'kunion doctor'", strerror(-n));
	} else {
		n = ku_judge_switch(j, p, bank);
		if (n)
			snprintf(err, 512, "%s: cannot put it in force: %s", file, strerror(-n));
	}
	if (n) {
		ku_judge_close(j);
		return n;
	}
	*ret = j;
	return 0;
}

/* Programs attach where bpf is not among the security modules that were started, too. */
static bool ku_judge_is_called(const struct ku_judge *j)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p != MAP_FAILED)
		munmap(p, 4096);
	return __atomic_load_n(&j->shared->self_seen, __ATOMIC_SEQ_CST);
}

int ku_judge_attach(struct ku_judge *j, char err[static 512])
{
	uint32_t needs = ku_judge_needs(j, j->shared->gen);
	const char *prog;
	int n = ku_hooks_attach(&j->hooks, needs | 1u << KU_A_EXEC, &prog);

	if (n) {
		snprintf(err, 512, "cannot attach the policy's program %s: %s; see 'kunion doctor'", prog, strerror(-n));
		return n;
	}
	if (!ku_judge_is_called(j)) {
		snprintf(err, 512, "a policy needs the BPF LSM, whose programs this kernel does not call: boot with bpf in lsm= "
				   "(see /sys/kernel/security/lsm)");
		return -EOPNOTSUPP;
	}
	j->attached = true;
	/* mmap_file was perhaps there only to be called. */
	ku_hooks_detach(&j->hooks, needs);
	return 0;
}

int ku_judge_settle(struct ku_judge *j, char err[static 512])
{
	struct bpf_link *links[KU_HOOKS_MAX];
	int n = j->ops.pin ? ku_pin_put(&j->pin, j->obj, links, ku_hooks_links(&j->hooks, links), err) : 0;

	if (!n)
		j->shared->pinned = j->ops.pin;
	/* Not before: the programs that were pinned would hold the same task as well. */
	if (!n && j->hold)
		ku_judge_hold_begin(j->hold);
	return n;
}

void ku_judge_detach(struct ku_judge *j)
{
	if (j->hold)
		ku_judge_hold_end(j->hold);
	j->attached = false;
	ku_hooks_detach(&j->hooks, 0);
}

void ku_judge_close(struct ku_judge *j)
{
	if (!j)
		return;
	ku_judge_detach(j);
	ku_judge_hold_close(j->hold);
	ku_tell_free(j->tell);
	ring_buffer__free(j->ring);
	if (j->shared)
		munmap(j->shared, sizeof(*j->shared));
	if (j->banks)
		munmap(j->banks, KU_POL_BANKS * sizeof(*j->banks));
	ku_closep(&j->epoll_fd);
	ku_closep(&j->fd_outer);
	ku_closep(&j->fd_inner);
	bpf_object__close(j->obj);
	ku_pin_close(&j->pin);
	for (unsigned int i = 0; i < KU_JUDGE_NAMED; i++)
		ku_policy_free(j->policies[i]);
	while (j->unions) {
		struct ku_judge_union *u = j->unions;

		j->unions = u->next;
		free(u->path);
		free(u);
	}
	ku_budgets_free(&j->budgets);
	free(j->file);
	free(j);
}

int ku_judge_union_add(struct ku_judge *j, uint32_t dev, const char *path, bool metacopy)
{
	struct ku_judge_union *u = j->unions;
	const char *prog;
	int err = 0;

	/* Taken over with a pinned policy. */
	while (u && u->dev != dev)
		u = u->next;
	if (!u) {
		u = ku_judge_union_new(j, dev, path);
		ku_budgets_new_union(&j->budgets, dev);
	}
	j->metacopy = j->metacopy || metacopy;
	if (u && j->attached)
		err = ku_hooks_attach(&j->hooks, ku_judge_needs(j, j->shared->gen), &prog);
	if (!err)
		err = u ? ku_judge_union_set(j, u) : -ENOMEM;
	if (!err && ku_judge_policy(j)->keep_free != UINT64_MAX)
		ku_judge_look(j);
	return err;
}

void ku_judge_union_remove(struct ku_judge *j, uint32_t dev)
{
	for (struct ku_judge_union **at = &j->unions, *u; (u = *at); at = &u->next)
		if (u->dev == dev) {
			*at = u->next;
			bpf_map_delete_elem(j->fd_unions, &dev);
			ku_budgets_new_union(&j->budgets, dev);
			free(u->path);
			free(u);
			return;
		}
}

int ku_judge_fd(const struct ku_judge *j)
{
	return j->epoll_fd;
}

int ku_judge_turn(struct ku_judge *j, bool last)
{
	uint64_t dropped;
	bool more;
	int n;

	/* Who makes more of them than can be told must not keep us from everything else. */
	ku_tell_budget(j->tell, KU_JUDGE_TURN);
	more = ring_buffer__consume(j->ring) == -EAGAIN;
	dropped = __atomic_load_n(&j->shared->dropped, __ATOMIC_RELAXED);
	if (dropped != j->shared->dropped_told) {
		ku_tell_dropped(j->tell, dropped - j->shared->dropped_told);
		j->shared->dropped_told = dropped;
	}
	n = ku_tell_turn(j->tell, last);
	if (j->hold) {
		int hold = ku_judge_hold_turn(j->hold);

		n = hold >= 0 && (n < 0 || hold < n) ? hold : n;
	}
	if (ku_judge_policy(j)->keep_free != UINT64_MAX) {
		if (ku_now_ns() - j->looked_ns >= KU_JUDGE_LOOK_NS)
			ku_judge_look(j);
		if (n < 0 || n > (int)(KU_JUDGE_LOOK_NS / 1000000))
			n = KU_JUDGE_LOOK_NS / 1000000;
	}
	return more ? 0 : n;
}

int ku_judge_count(const struct ku_judge *j, size_t rule, struct ku_pol_count *ret)
{
	uint32_t key = KU_POL_BANK(j->shared->gen) * KU_POL_RULES + (uint32_t)rule;
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct ku_pol_count *c = cpus > 0 ? calloc((size_t)cpus, sizeof(*c)) : NULL;

	if (!c)
		return cpus < 0 ? cpus : -ENOMEM;
	if (bpf_map_lookup_elem(j->fd_counts, &key, c))
		return -errno;
	*ret = (struct ku_pol_count){ 0 };
	for (int i = 0; i < cpus; i++) {
		ret->hits += c[i].hits;
		ret->denied += c[i].denied;
		ret->last_ns = c[i].last_ns > ret->last_ns ? c[i].last_ns : ret->last_ns;
	}
	return 0;
}

const char *ku_judge_union(const struct ku_judge *j, size_t n, uint32_t *ret_dev)
{
	const struct ku_judge_union *u = j->unions;

	while (u && n--)
		u = u->next;
	if (u)
		*ret_dev = u->dev;
	return u ? u->path : NULL;
}

int ku_judge_account(const struct ku_judge *j, size_t budget, uint32_t dev, struct ku_pol_account *ret)
{
	const struct ku_pol_bank *bank = &j->banks[KU_POL_BANK(j->shared->gen)];

	return ku_budgets_read(&j->budgets, bank->budgets[budget].id, dev, ret);
}
