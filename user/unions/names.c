// SPDX-License-Identifier: GPL-2.0-only
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

char *ku_names_path(const char *names, uint32_t len)
{
	const char *at = names, *end = names + len;
	char *path, *to;

	if (!len || end[-1]) {
		errno = EINVAL;
		return NULL;
	}
	path = malloc(len + 1);
	if (!path)
		return NULL;
	/* From the leaf up: filled from the end. */
	to = path + len;
	*to = '\0';
	while (at < end) {
		size_t n = strlen(at);

		to -= n;
		memcpy(to, at, n);
		*--to = '/';
		at += n + 1;
	}
	return path;
}
