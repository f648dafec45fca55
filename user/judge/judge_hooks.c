// SPDX-License-Identifier: GPL-2.0-only
#include "judge_hooks.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "kunion_policy_abi.h"
#include "util.h"

#define ASKS(a) (1u << KU_A_##a)
#define ASKS_ANY ((1u << KU_A_MAX) - 1)

static const struct {
	const char *prog;
	uint32_t needs;
} ku_hook_needs[] = {
	{ "ku_pol_sb_delete", KU_HOOK_ALWAYS },
	{ "ku_pol_fill_super", KU_HOOK_NEW },
	/* A copy-up is noted where changes are asked about: the same operation is no change besides. */
	{ "ku_pol_copy_up", ASKS(COPY_UP) | ASKS(MODIFY) },
	/* Every open of every file comes there, a union's twice: not for less. */
	{ "ku_pol_open", ASKS(MODIFY) | KU_HOOK_OPEN_COPY | KU_HOOK_WRITES },
	{ "ku_pol_tmpfile", ASKS(CREATE) },
	{ "ku_pol_setattr", ASKS(MODIFY) | KU_HOOK_OPEN_COPY },
	{ "ku_pol_setattr_2", ASKS(MODIFY) | KU_HOOK_OPEN_COPY },
	{ "ku_pol_found", ASKS(CREATE) },
	{ "ku_pol_inode_create", ASKS(CREATE) },
	{ "ku_pol_inode_mkdir", ASKS(CREATE) },
	{ "ku_pol_inode_symlink", ASKS(CREATE) },
	{ "ku_pol_inode_mknod", ASKS(CREATE) },
	/* Other names are other rules, whatever these are about. */
	{ "ku_pol_inode_link", ASKS_ANY },
	{ "ku_pol_inode_rename", ASKS_ANY },
	{ "ku_pol_inode_unlink", ASKS(REMOVE) | ASKS(REMOVE_UPPER) },
	{ "ku_pol_inode_rmdir", ASKS(REMOVE) | ASKS(REMOVE_UPPER) },
	{ "ku_pol_inode_free", KU_HOOK_CHARGES },
	{ "ku_pol_copied", KU_HOOK_CHARGES },
	{ "ku_pol_created", KU_HOOK_CHARGES },
	{ "ku_pol_may_write", KU_HOOK_WRITES },
	{ "ku_pol_write_iter", KU_HOOK_WRITES },
	{ "ku_pol_splice", KU_HOOK_WRITES },
	{ "ku_pol_copy_range", KU_HOOK_WRITES },
	{ "ku_pol_bprm", ASKS(EXEC) },
	{ "ku_pol_mmap", ASKS(EXEC) },
	{ "ku_pol_mprotect", ASKS(EXEC) },
};

static bool ku_hook_needed(const struct bpf_program *p, uint32_t needs)
{
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_hook_needs); i++)
		if (!strcmp(ku_hook_needs[i].prog, bpf_program__name(p)))
			return ku_hook_needs[i].needs & needs;
	/* Not known here: it does no harm to attach it. */
	return needs;
}

int ku_hooks_init(struct ku_hooks *h, struct bpf_object *obj)
{
	struct bpf_program *p;

	h->n = 0;
	bpf_object__for_each_program(p, obj) {
		if (!bpf_program__autoload(p) || bpf_program__type(p) == BPF_PROG_TYPE_SYSCALL)
			continue;
		if (h->n == KU_HOOKS_MAX)
			return -E2BIG;
		h->at[h->n].prog = p;
		h->at[h->n++].link = NULL;
	}
	/* First to come and last to go: nothing is kept of a file (pol_known.bpf.h) while a link of it could be missed. */
	for (unsigned int i = 1; i < h->n; i++)
		if (!strcmp(bpf_program__name(h->at[i].prog), "ku_pol_inode_link")) {
			p = h->at[0].prog;
			h->at[0].prog = h->at[i].prog;
			h->at[i].prog = p;
		}
	return 0;
}

int ku_hooks_attach(struct ku_hooks *h, uint32_t needs, const char **ret_prog)
{
	for (unsigned int i = 0; i < h->n; i++) {
		if (h->at[i].link || !ku_hook_needed(h->at[i].prog, needs))
			continue;
		h->at[i].link = bpf_program__attach(h->at[i].prog);
		if (!h->at[i].link) {
			*ret_prog = bpf_program__name(h->at[i].prog);
			return -errno;
		}
	}
	return 0;
}

unsigned int ku_hooks_links(const struct ku_hooks *h, struct bpf_link *ret[static KU_HOOKS_MAX])
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < h->n; i++)
		if (h->at[i].link)
			ret[n++] = h->at[i].link;
	return n;
}

void ku_hooks_detach(struct ku_hooks *h, uint32_t needs)
{
	for (unsigned int i = h->n; i-- > 0;) {
		if (!h->at[i].link || ku_hook_needed(h->at[i].prog, needs))
			continue;
		bpf_link__destroy(h->at[i].link);
		h->at[i].link = NULL;
	}
}
