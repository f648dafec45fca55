/* SPDX-License-Identifier: GPL-2.0-only */
/* The running kernel's BTF, some 100000 types: read once for all that ask while attaching. One thread. */
#ifndef KU_BTF_H
#define KU_BTF_H

#include <bpf/btf.h>

/* NULL where there is none (errno). Valid until ku_btf_drop(). */
struct btf *ku_btf_vmlinux(void);
void ku_btf_drop(void);

#endif
