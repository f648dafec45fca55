// SPDX-License-Identifier: GPL-2.0-only
#include "btf.h"

#include <stddef.h>

static struct btf *ku_btf;

struct btf *ku_btf_vmlinux(void)
{
	if (!ku_btf)
		ku_btf = btf__load_vmlinux_btf();
	return ku_btf;
}

void ku_btf_drop(void)
{
	btf__free(ku_btf);
	ku_btf = NULL;
}
