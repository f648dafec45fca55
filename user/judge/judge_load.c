// SPDX-License-Identifier: GPL-2.0-only
/* A policy's way into the kernel: from its file into a bank, and the programs and maps that judge by it. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "btf.h"
#include "judge_impl.h"
#include "judge_tell.h"
#include "kunion_policy_impl.skel.h"
#include "kunion_policy_kfunc.skel.h"
#include "kunion_policy_none.skel.h"
#include "stop.h"
#include "util.h"

#define KU_LINGER_MS 1000

static int ku_judge_map_fd(const struct ku_judge *j, const char *name)
{
	return bpf_map__fd(bpf_object__find_map_by_name(j->obj, name));
}

int ku_judge_read(const char *file, bool can_hold, struct ku_policy **ret, struct ku_pol_bank **ret_bank, char err[static 512])
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
	bank->keep_free = p->keep_free;
	bank->charges = p->nbudgets || p->keep_free != UINT64_MAX;
	for (size_t i = 0; i < p->nbudgets; i++)
		bank->writes |= p->budgets[i].max[KU_PL_WRITTEN] != UINT64_MAX;
	if (n) {
		ku_policy_free(p);
		return n;
	}
	for (unsigned int i = 0; i < KU_POL_SETS; i++)
		bank->sums[i] = (__u16)ku_judge_sum(&bank->pol.sets[i]);
	ku_policy_union_set(p, "", &bank->unnamed);
	bank->unnamed_sum = ku_judge_sum(&bank->unnamed);
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
 * What only budgets need, and new unions. Without a function that is not there to attach to, what came to nothing is given back later, or not; and a
 * new union is under the policy when user space has found it.
 */
static const struct {
	const char *prog, *function;
	bool overlay; /* of overlayfs */
} ku_budget_progs[] = {
	{ "ku_pol_fill_super", "ovl_fill_super", true },
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

int ku_judge_load(struct ku_judge *j, char why[static 512])
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
	cfg->linger_ms = ku_stop_without("policy-haste") ? KU_LINGER_MS : 0;
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

int ku_judge_setup(struct ku_judge *j)
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
