/* SPDX-License-Identifier: GPL-2.0-only */
/* What an overlay's mount says of itself, for `kunion status`. */
#ifndef KU_CTL_ABOUT_H
#define KU_CTL_ABOUT_H

#include <stdbool.h>

#include "union.h"

struct ku_about {
	char *work; /* as the options say; "" if not known */
	/* in force: "on", "off", or the option's own word; "" where this kernel has no such option */
	char metacopy[16], index[16], redirect_dir[16], nfs_export[16], xino[16], verity[16];
	unsigned int data_only;
	char idmap[24]; /* what is idmapped: "lower", "upper", "mount", with a plus between, or "off"; "" if that of the layers is not known */
};

/* Of the mount that u was opened on; layers: who sees them, NULL: nobody. Returns 0 or -errno. */
struct ku_obs;
int ku_about_read(const struct ku_union *u, const struct ku_obs *layers, struct ku_about *ret);
void ku_about_free(struct ku_about *a);

/* From an overlay's options alone. */
int ku_about_options(const char *options, struct ku_about *ret);

/* How many data-only layers "a:b::c::d" has: those behind a double colon. */
unsigned int ku_about_data_only(const char *lowerdir);

#endif
