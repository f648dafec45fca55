// SPDX-License-Identifier: GPL-2.0-only
/* The two lists of `kunion report` that other commands take in. */
#include <errno.h>
#include <string.h>

#include "figures.h"
#include "report_out.h"
#include "trace_fmt.h"
#include "util.h"

int ku_report_writable(const struct ku_analysis *a, const struct ku_writable *w, FILE *out)
{
	_cleanup_free_ char *lost = ku_report_lost(a);
	const char *last_union = NULL;
	bool volumes = false, files = false;

	if (!lost)
		return -ENOMEM;
	if (lost[0])
		fprintf(out, "# %s: this list may lack paths\n", lost);
	if (w->no_room)
		fprintf(out, "# there was no room for %s events' paths: this list may lack them\n", KU_COUNT(w->no_room));
	if (!w->writes)
		fputs("# no write events were seen (kunion trace --json --writes records them): what was only made or removed is not in "
		      "this list\n",
		      out);
	for (size_t i = 0; i < w->n; i++) {
		volumes = volumes || w->entries[i].kind == KU_WRITABLE_VOLUME;
		files = files || w->entries[i].kind == KU_WRITABLE_FILE;
	}
	if (volumes)
		fputs("# -v NAME:DIR: a new named volume begins with what the image has in DIR\n", out);
	if (files)
		fputs("# -v ./NAME:FILE: copy FILE out of the image to ./NAME first\n", out);
	for (size_t i = 0; i < w->n; i++) {
		const struct ku_writable_entry *e = &w->entries[i];

		if (!last_union || strcmp(last_union, e->union_path)) {
			_cleanup_free_ char *at = ku_terminal_text(e->union_path, true);

			if (!at)
				return -ENOMEM;
			fprintf(out, "# %s\n", at[0] ? at : "(union not named)");
			last_union = e->union_path;
		}
		fprintf(out, "%s\n", e->option);
	}
	if (!w->n)
		fputs("# nothing was written\n", out);
	return 0;
}

/* As ku_escape_bytes(), and control characters the same way: a name is one line whatever is in it. Allocated. */
static char *ku_line(const char *bytes)
{
	_cleanup_free_ char *escaped = ku_escape_bytes(bytes);
	char *out = escaped ? malloc(strlen(escaped) * 4 + 1) : NULL, *to = out;

	if (!out)
		return NULL;
	for (const char *s = escaped; *s; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			to += sprintf(to, "\\x%02x", (unsigned char)*s);
		else
			*to++ = *s;
	}
	*to = '\0';
	return out;
}

int ku_report_hydrate(const struct ku_analysis *a, FILE *out)
{
	for (size_t i = 0; i < a->nfiles; i++) {
		const struct ku_an_file *f = a->files[i];
		const char *union_path = a->unions[f->union_index].path;
		_cleanup_free_ char *top = NULL, *path = NULL;

		/* Without its union there is no such path. */
		if (!f->data_copies || !union_path[0])
			continue;
		top = ku_line(strcmp(union_path, "/") ? union_path : "");
		path = ku_line(f->path);
		if (!top || !path)
			return -ENOMEM;
		fprintf(out, "%s%s\n", top, path);
	}
	return 0;
}
