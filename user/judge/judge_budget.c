// SPDX-License-Identifier: GPL-2.0-only
#include "judge_budget.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "bpf.h"
#include "util.h"

/* Copy-ups may follow each other without a pause, so that there is no moment to begin anew. */
#define KU_FREE_OLD_NS 10000000000ull

struct ku_budget_id {
	struct ku_budget_id *next;
	uint32_t id;
	bool all;
	char name[];
};

void ku_budgets_free(struct ku_budgets *b)
{
	while (b->ids) {
		struct ku_budget_id *id = b->ids;

		b->ids = id->next;
		free(id);
	}
}

/* 0: no memory. */
static uint32_t ku_budget_id_new(struct ku_budgets *b, const char *name, bool all, uint32_t number)
{
	struct ku_budget_id *id = calloc(1, sizeof(*id) + strlen(name) + 1);

	if (!id)
		return 0;
	strcpy(id->name, name);
	id->all = all;
	id->id = number;
	id->next = b->ids;
	b->ids = id;
	if (number > b->last_id)
		b->last_id = number;
	return number;
}

/* Of a budget's name, and whether it is for each union or all of them: the other way it is another one. */
static uint32_t ku_budget_id_of(struct ku_budgets *b, const char *name, bool all)
{
	for (const struct ku_budget_id *id = b->ids; id; id = id->next)
		if (id->all == all && !strcmp(id->name, name))
			return id->id;
	return ku_budget_id_new(b, name, all, b->last_id + 1);
}

int ku_budgets_adopt(struct ku_budgets *b, const struct ku_pol_bank *banks, uint32_t in_force)
{
	for (uint32_t bank = 0; bank < KU_POL_BANKS; bank++)
		for (unsigned int i = 0; i < KU_POL_BUDGETS && banks[bank].budgets[i].id; i++) {
			const struct ku_pol_budget *bu = &banks[bank].budgets[i];

			if (bank == in_force && !ku_budget_id_new(b, bu->name, bu->flags & KU_PB_ALL, bu->id))
				return -ENOMEM;
			if (bu->id > b->last_id)
				b->last_id = bu->id;
		}
	return 0;
}

int ku_budgets_fill(struct ku_budgets *b, const struct ku_policy *p, struct ku_pol_bank *bank)
{
	for (size_t i = 0; i < p->nbudgets; i++) {
		const struct ku_policy_budget *from = &p->budgets[i];
		struct ku_pol_budget *to = &bank->budgets[i];

		to->id = ku_budget_id_of(b, from->name, from->all);
		if (!to->id)
			return -ENOMEM;
		snprintf(to->name, sizeof(to->name), "%s", from->name);
		to->flags = (from->deny ? KU_PB_DENY : 0) | (from->all ? KU_PB_ALL : 0);
		memcpy(to->max, from->max, sizeof(to->max));
		to->interval_ns = from->max[KU_PL_RATE] == UINT64_MAX ? 0 : 1000000000ull / from->max[KU_PL_RATE];
	}
	return 0;
}

static int ku_map_open(int fd, const void *key, const void *value)
{
	return bpf_map_update_elem(fd, key, value, BPF_NOEXIST) && errno != EEXIST ? -errno : 0;
}

int ku_budgets_open(const struct ku_budgets *b, const struct ku_pol_bank *bank, uint32_t dev)
{
	static const struct ku_pol_account none;
	static const struct ku_pol_space nothing;
	int err = 0;

	for (unsigned int i = 0; i < KU_POL_BUDGETS && bank->budgets[i].id && !err; i++) {
		struct ku_pol_account_key key = { .dev = bank->budgets[i].flags & KU_PB_ALL ? 0 : dev, .id = bank->budgets[i].id };

		err = ku_map_open(b->fd_accounts, &key, &none);
	}
	return err ? err : ku_map_open(b->fd_spaces, &dev, &nothing);
}

void ku_budgets_new_union(const struct ku_budgets *b, uint32_t dev)
{
	for (const struct ku_budget_id *id = b->ids; id; id = id->next) {
		struct ku_pol_account_key key = { .dev = dev, .id = id->id };

		bpf_map_delete_elem(b->fd_accounts, &key);
	}
	bpf_map_delete_elem(b->fd_frees, &dev);
	bpf_map_delete_elem(b->fd_spaces, &dev);
}

static bool ku_bank_has(const struct ku_pol_bank *bank, uint32_t id)
{
	for (unsigned int i = 0; i < KU_POL_BUDGETS && bank->budgets[i].id; i++)
		if (bank->budgets[i].id == id)
			return true;
	return false;
}

void ku_budgets_forget(struct ku_budgets *b, const struct ku_pol_bank *bank)
{
	struct ku_pol_account_key key, next, *at = NULL;
	struct ku_budget_id **id = &b->ids;

	for (bool more = !bpf_map_get_next_key(b->fd_accounts, at, &next); more;) {
		key = next;
		more = !bpf_map_get_next_key(b->fd_accounts, &key, &next);
		if (!ku_bank_has(bank, key.id))
			bpf_map_delete_elem(b->fd_accounts, &key);
	}
	while (*id) {
		struct ku_budget_id *gone = *id;

		if (ku_bank_has(bank, gone->id)) {
			id = &gone->next;
			continue;
		}
		*id = gone->next;
		free(gone);
	}
}

/* Copy-ups are done with the mounter's rights: what is kept for root is theirs. */
static bool ku_free_of(uint32_t dev, const char *path, int root, uint64_t *ret)
{
	struct statvfs vfs;
	struct statx stx;

	/* Another file system may be mounted there by now. No descriptor: a union must be free to be unmounted. */
	if (root < 0 && (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_TYPE, &stx) ||
			 ku_kernel_dev(makedev(stx.stx_dev_major, stx.stx_dev_minor)) != dev))
		return false;
	/* No blocks at all: a tmpfs without a limit. */
	if ((root < 0 ? statvfs(path, &vfs) : fstatvfs(root, &vfs)) || !vfs.f_blocks)
		return false;
	*ret = (uint64_t)vfs.f_bfree * (vfs.f_frsize ? vfs.f_frsize : vfs.f_bsize);
	return true;
}

void ku_budgets_unseen(const struct ku_budgets *b, uint32_t dev)
{
	bpf_map_delete_elem(b->fd_frees, &dev);
}

void ku_budgets_look(const struct ku_budgets *b, uint32_t dev, const char *path, int root)
{
	struct ku_pol_free f = { 0 };
	struct ku_pol_space s;
	uint64_t free;
	bool known = !bpf_map_lookup_elem(b->fd_frees, &dev, &f);

	/* First what was copied, then what is free: what is copied in between is counted twice until the next look, not left out. */
	if (bpf_map_lookup_elem(b->fd_spaces, &dev, &s) || !ku_free_of(dev, path, root, &free)) {
		ku_budgets_unseen(b, dev);
		return;
	}
	f.now = free;
	f.looked_ns = ku_now_ns();
	if (!known || !s.under_way || ku_now_ns() - f.ts_ns > KU_FREE_OLD_NS) {
		f.free = free + s.under_way;
		f.base = s.done;
		f.ts_ns = ku_now_ns();
	}
	bpf_map_update_elem(b->fd_frees, &dev, &f, BPF_ANY);
}

int ku_budgets_read(const struct ku_budgets *b, uint32_t id, uint32_t dev, struct ku_pol_account *ret)
{
	struct ku_pol_account_key key = { .dev = dev, .id = id };

	return bpf_map_lookup_elem(b->fd_accounts, &key, ret) ? -errno : 0;
}
