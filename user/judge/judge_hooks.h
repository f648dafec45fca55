/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the policy's programs are attached: only where the policy in force asks about something, for a hook costs everybody who passes by. */
#ifndef KU_JUDGE_HOOKS_H
#define KU_JUDGE_HOOKS_H

#include <stdint.h>

#define KU_HOOKS_MAX 32

/* What a hook may be needed for: bits of enum ku_pol_action, and these. */
#define KU_HOOK_NEW (1u << 27)	     /* unions that are mounted later are under the policy, too */
#define KU_HOOK_WRITES (1u << 28)    /* a budget limits what is written */
#define KU_HOOK_CHARGES (1u << 29)   /* there is a budget, or space to keep free */
#define KU_HOOK_OPEN_COPY (1u << 30) /* copy-ups are judged where a file is opened or truncated, too */
#define KU_HOOK_ALWAYS (1u << 31)

struct bpf_link;
struct bpf_object;
struct bpf_program;

struct ku_hooks {
	struct {
		struct bpf_program *prog;
		struct bpf_link *link; /* NULL: not attached */
	} at[KU_HOOKS_MAX];
	unsigned int n;
};

/* The programs of obj, which is loaded and lives longer. -E2BIG: more than there is room for. */
int ku_hooks_init(struct ku_hooks *h, struct bpf_object *obj);
/* Attaches what is needed for any of these and is not attached. -errno and the name of what did not attach: what was attached stays so. */
int ku_hooks_attach(struct ku_hooks *h, uint32_t needs, const char **ret_prog);
/* What is attached. Returns how many. */
unsigned int ku_hooks_links(const struct ku_hooks *h, struct bpf_link *ret[static KU_HOOKS_MAX]);
/* Detaches what is needed for none of these; 0: everything. */
void ku_hooks_detach(struct ku_hooks *h, uint32_t needs);

#endif
