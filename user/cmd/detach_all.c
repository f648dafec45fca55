// SPDX-License-Identifier: GPL-2.0-only
/* kunion detach --all */
#include <stdio.h>
#include <unistd.h>

#include "cmd.h"
#include "judge_pin.h"
#include "log.h"

int ku_detach_all(void)
{
	struct ku_pin_removed removed;
	char err[512] = "";

	if (geteuid()) {
		ku_err("detach: needs root");
		return KU_EXIT_USAGE;
	}
	if (ku_pin_remove_all(&removed, err)) {
		ku_err("detach: %s", err);
		return KU_EXIT_FAIL;
	}
	if (!removed.programs && !removed.maps)
		printf("nothing is pinned\n");
	else
		printf("removed: %u program%s, %u map%s\n", removed.programs, removed.programs == 1 ? "" : "s", removed.maps, removed.maps == 1 ? "" : "s");
	if (removed.busy)
		printf("the kunion that pinned them still runs: its policy ends with it\n");
	return KU_EXIT_OK;
}
