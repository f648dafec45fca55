// SPDX-License-Identifier: GPL-2.0-only
/* The unions that a policy is for. */
#include <bpf/bpf.h>
#include <string.h>

#include "judge_impl.h"
#include "log.h"
#include "util.h"

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
int ku_judge_union_set(struct ku_judge *j, const struct ku_judge_union *u)
{
	struct ku_pol_union value = { 0 };
	int err;

	/* A pinned policy that is still in force has its rules in the map only. */
	if (j->pin.adopted && bpf_map_lookup_elem(j->fd_unions, &u->dev, &value))
		memset(&value, 0, sizeof(value));
	/* The one in force, and the one that is about to be. */
	for (uint32_t gen = j->shared->gen ?: j->gen; gen <= j->gen; gen++)
		if (*ku_judge_named(j, gen)) {
			ku_policy_union_set(*ku_judge_named(j, gen), u->path, &value.set[KU_POL_BANK(gen)]);
			value.gen[KU_POL_BANK(gen)] = gen;
		}
	for (unsigned int i = 0; i < KU_POL_BANKS; i++)
		value.sum[i] = ku_judge_sum(&value.set[i]);
	value.serial = ++j->serial;
	err = ku_budgets_open(&j->budgets, &j->banks[KU_POL_BANK(j->gen)], u->dev);
	return !err && bpf_map_update_elem(j->fd_unions, &u->dev, &value, BPF_ANY) ? -errno : err;
}

/* Another mount namespace's name is not to be looked up in ours: its root is opened there, and held no longer than for the look. */
static void ku_judge_look_one(struct ku_judge *j, struct ku_judge_union *u)
{
	_cleanup_close_ int root = u->away ? j->ops.union_root(j->ops.arg, u->dev) : -1;

	if (root == -EOPNOTSUPP && !u->told_unseen) {
		u->told_unseen = true;
		ku_warn("%s: keep_free is not looked at: the union is in a mount namespace of another user namespace, which may serve the upper file "
			"system itself and let us wait", u->path);
	}
	if (!u->away || root >= 0)
		ku_budgets_look(&j->budgets, u->dev, u->path, root);
	else if (root != -EAGAIN) /* somebody renames there all the time: what was seen last goes on */
		ku_budgets_unseen(&j->budgets, u->dev);
}

void ku_judge_look(struct ku_judge *j)
{
	for (struct ku_judge_union *u = j->unions; u; u = u->next)
		if (u->dev != KU_DEV_NEW)
			ku_judge_look_one(j, u);
	j->looked_ns = ku_now_ns();
}

const char *ku_judge_union_path(void *arg, uint32_t dev, uint32_t pid)
{
	const struct ku_judge *j = arg;

	for (const struct ku_judge_union *u = j->unions; u; u = u->next)
		if (u->dev == dev)
			return u->path;
	/* Taken up in the kernel, and not added yet. */
	return j->ops.new_path ? j->ops.new_path(j->ops.arg, dev, pid) : "";
}

int ku_judge_adopt_unions(struct ku_judge *j, char err[static 512])
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

int ku_judge_union_add(struct ku_judge *j, uint32_t dev, const char *path, bool metacopy, bool away)
{
	struct ku_judge_union *u = j->unions;
	struct ku_pol_union known;
	const char *prog;
	int err = 0;

	/* Taken over with a pinned policy. */
	while (u && u->dev != dev)
		u = u->next;
	if (!u) {
		u = ku_judge_union_new(j, dev, path);
		/* Not of one that came under the policy by itself: it is charged already. */
		if (bpf_map_lookup_elem(j->fd_unions, &dev, &known))
			ku_budgets_new_union(&j->budgets, dev);
	}
	if (u)
		u->away = away;
	j->metacopy = j->metacopy || metacopy;
	if (u && j->attached)
		err = ku_hooks_attach(&j->hooks, ku_judge_needs(j, &j->banks[KU_POL_BANK(j->shared->gen)]), &prog);
	if (!err)
		err = u ? ku_judge_union_set(j, u) : -ENOMEM;
	if (!err && ku_judge_policy(j)->keep_free != UINT64_MAX)
		ku_judge_look(j);
	return err;
}

int ku_judge_take_new(struct ku_judge *j, bool on)
{
	j->takes_new = on;
	if (on)
		return ku_judge_union_add(j, KU_DEV_NEW, "", false, true);
	ku_judge_union_remove(j, KU_DEV_NEW);
	return 0;
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

void ku_judge_forget_new(struct ku_judge *j, uint32_t dev)
{
	for (const struct ku_judge_union *u = j->unions; u; u = u->next)
		if (u->dev == dev)
			return;
	bpf_map_delete_elem(j->fd_unions, &dev);
	ku_budgets_new_union(&j->budgets, dev);
}

const char *ku_judge_union(const struct ku_judge *j, size_t n, uint32_t *ret_dev)
{
	const struct ku_judge_union *u = j->unions;

	while (u && (u->dev == KU_DEV_NEW || n--))
		u = u->next;
	if (u)
		*ret_dev = u->dev;
	return u ? u->path : NULL;
}
