// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy check: is it a policy, and does it fit into the tables? */
#include <stdlib.h>

#include "cmd.h"
#include "policy/policy_cmd.h"
#include "util.h"

int ku_policy_cmd_check(const struct ku_policy_args *a)
{
	_cleanup_free_ struct ku_pol *pol = NULL;
	struct json_object *doc;
	struct ku_pol_figures f;
	struct ku_policy *p;
	size_t rules;

	if (!ku_policy_open(a->file, &p, &pol))
		return KU_EXIT_USAGE;
	ku_pol_figures(pol, &f);
	rules = p->nrules - 1;
	ku_policy_free(p);
	if (a->json) {
		doc = json_object_new_object();
		ku_pol_json_text(&doc, doc, "file", a->file);
		ku_pol_json_number(&doc, doc, "rules", rules);
		ku_pol_json_number(&doc, doc, "states", f.states);
		ku_pol_json_number(&doc, doc, "transitions", f.transitions);
		ku_pol_json_number(&doc, doc, "sets", f.sets);
		return ku_pol_json_print(doc);
	}
	printf("%s: ok: %zu rule%s, %u of %d states, %u of %d transitions, %u of %d sets\n", a->file, rules, rules == 1 ? "" : "s", f.states,
	       KU_POL_STATES, f.transitions, KU_POL_EDGES, f.sets, KU_POL_SETS);
	return ku_pol_printed(KU_EXIT_OK);
}
