// SPDX-License-Identifier: GPL-2.0-only
/* A policy in force, another one in its place, and what is told of its verdicts. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>
#include <sys/mman.h>

#include "judge_hold.h"
#include "judge_impl.h"
#include "judge_tell.h"
#include "stop.h"
#include "util.h"

#define KU_JUDGE_TURN 256 /* records */
#define KU_JUDGE_LOOK_NS 250000000ull /* between two looks at the free space */

const struct ku_policy *ku_judge_policy(const struct ku_judge *j)
{
	return j->policies[j->shared->gen % KU_JUDGE_NAMED];
}

/* Before a policy is in force that holds. */
static int ku_judge_may_hold(struct ku_judge *j, const struct ku_policy *p, char err[static 512])
{
	int n = 0;

	for (size_t i = 0; i < p->nrules && !j->hold && !n; i++)
		if (p->rules[i].verdict == KU_V_HOLD) {
			n = ku_judge_hold_open(j->obj, j->shared, j->epoll_fd, &j->hold, err);
			if (!n && j->ops.answer)
				n = ku_judge_hold_program(j->hold, j->ops.answer, err);
			if (n) {
				ku_judge_hold_close(j->hold);
				j->hold = NULL;
			}
		}
	return n;
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

uint32_t ku_judge_needs(const struct ku_judge *j, const struct ku_pol_bank *bank)
{
	uint32_t actions = bank->pol.actions;

	/* What is pinned are these hooks, whatever rules come later. Those of budgets are asked too often to be there for nothing. */
	if (j->ops.pin)
		actions = ~(KU_HOOK_CHARGES | KU_HOOK_WRITES | KU_HOOK_NEW);
	if ((j->ops.open_waits || j->metacopy) && actions & 1u << KU_A_COPY_UP)
		actions |= KU_HOOK_OPEN_COPY;
	/* Whether an open truncates is noted there. */
	if (bank->charges)
		actions |= KU_HOOK_CHARGES | KU_HOOK_OPEN_COPY;
	if (bank->writes)
		actions |= KU_HOOK_WRITES;
	if (j->takes_new)
		actions |= KU_HOOK_NEW;
	return actions | KU_HOOK_ALWAYS;
}

static const struct ku_pol_bank *ku_judge_in_force(const struct ku_judge *j)
{
	return &j->banks[KU_POL_BANK(j->shared->gen)];
}

/* Takes p over; puts it in force. */
static int ku_judge_switch(struct ku_judge *j, struct ku_policy *p, const struct ku_pol_bank *bank)
{
	uint32_t gen = j->shared->gen + 1, to = KU_POL_BANK(gen);
	const char *prog;
	int err = 0;

	ku_stop("policy-coming");
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
		err = ku_hooks_attach(&j->hooks, ku_judge_needs(j, bank), &prog);
	if (err)
		return err;
	__atomic_store_n(&j->shared->gen, gen, __ATOMIC_SEQ_CST);
	ku_stop("policy-in-force");
	if (j->hold)
		ku_judge_hold_let_go(j->hold);
	/* Before the other bank is written again. */
	err = ku_judge_grace(j);
	if (!err)
		ku_budgets_forget(&j->budgets, &j->banks[to]);
	if (j->attached)
		ku_hooks_detach(&j->hooks, ku_judge_needs(j, bank));
	return err;
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
	if (!n && j->ops.pin && ku_judge_needs(j, bank) & ~ku_judge_needs(j, ku_judge_in_force(j))) {
		snprintf(err, 512, "%s: it has budgets, or keep_free, where the policy that is pinned has none: its programs are not pinned; start kunion again", j->file);
		n = -EBUSY;
	}
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

int ku_judge_answer(struct ku_judge *j, const char *program, char err[static 512])
{
	int n = j->hold ? ku_judge_hold_program(j->hold, program, err) : 0;

	if (!n)
		j->ops.answer = program;
	return n;
}

static const char *ku_judge_rule_name(void *arg, uint32_t gen, uint32_t rule)
{
	const struct ku_judge *j = arg;
	const struct ku_policy *p = j->policies[gen % KU_JUDGE_NAMED];

	return p && j->shared->gen - gen < KU_JUDGE_NAMED && rule < p->nrules && p->rules[rule].name ? p->rules[rule].name : "";
}

static void ku_judge_asked(void *arg, const struct ku_pol_record *r, struct ku_event *e)
{
	const struct ku_judge *j = arg;

	if (j->hold && r->gen == j->shared->gen)
		ku_judge_hold_asked(j->hold, r, e);
}

static const char *ku_judge_budget_name(void *arg, uint32_t gen, uint32_t budget)
{
	const struct ku_judge *j = arg;
	const struct ku_policy *p = j->policies[gen % KU_JUDGE_NAMED];

	return p && j->shared->gen - gen < KU_JUDGE_NAMED && budget < p->nbudgets ? p->budgets[budget].name : "";
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
	uint32_t needs = ku_judge_needs(j, ku_judge_in_force(j));
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

int ku_judge_account(const struct ku_judge *j, size_t budget, uint32_t dev, struct ku_pol_account *ret)
{
	return ku_budgets_read(&j->budgets, ku_judge_in_force(j)->budgets[budget].id, dev, ret);
}
