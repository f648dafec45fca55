// SPDX-License-Identifier: GPL-2.0-only
/* Values that would never be true of anything, or mean something else than they seem to. */
#include <string.h>

#include "container.h"
#include "policy/policy_load.h"
#include "util.h"

#define KU_POL_PATH_MAX 4096
#define KU_POL_COMM_MAX 15

const char *ku_pol_bad_name(const char *text)
{
	size_t len = strlen(text);

	if (!len || len > 64)
		return "a name has 1 to 64 bytes";
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return "a name is one line of text, without control characters";
	return NULL;
}

/* What no path that the kernel tells has. */
static const char *ku_bad_names(const char *text)
{
	const char *end;

	if (strlen(text) >= KU_POL_PATH_MAX)
		return "is longer than a path can be, 4095 bytes";
	if (strstr(text, "//"))
		return "has two slashes in a row, which no path has; write one";
	for (const char *name = text; *name; name = end + (*end == '/')) {
		end = name + strcspn(name, "/");
		if ((end - name == 1 && name[0] == '.') || (end - name == 2 && name[0] == '.' && name[1] == '.'))
			return "has a name '.' or '..', which no path has; write it without";
	}
	return NULL;
}

/* What others give a meaning to, and we do not. */
static const char *ku_bad_pattern(const char *text)
{
	for (; *text; text++) {
		if (*text == '[' || *text == '{')
			return "has '[' or '{', which have no meaning in a glob here; write a list of globs, or '\\\\' before it";
		if (*text != '\\')
			continue;
		if (!*++text)
			return "ends with a lone backslash; write it twice for one that is part of the name";
	}
	return NULL;
}

const char *ku_pol_bad_glob(const char *text)
{
	size_t len = strlen(text);
	const char *bad;

	if (!len)
		return "is empty; write a glob like \"/var/log/**\"";
	bad = ku_bad_names(text);
	if (!bad)
		bad = ku_bad_pattern(text);
	if (!bad && len > 1 && text[len - 1] == '/')
		bad = "ends with a slash, which no path does; add '**' for all that is below";
	return bad;
}

const char *ku_pol_bad_comm(const char *text)
{
	size_t len = strlen(text);

	if (!len)
		return "is empty; write the name of a program, like \"dpkg\"";
	if (len > KU_POL_COMM_MAX && !strpbrk(text, "*\\"))
		return "is longer than the kernel keeps a name; write its first 15 bytes, or the program's path as exe";
	return ku_bad_pattern(text);
}

const char *ku_pol_bad_prefix(const char *text)
{
	if (*text != '/')
		return "does not begin with a slash; write the whole path, like \"/var/log\"";
	if (strpbrk(text, "*?"))
		return "has '*' or '?', but is taken as it is; write path instead of prefix for a glob";
	return ku_bad_names(text);
}

const char *ku_pol_bad_cgroup(const char *text)
{
	if (*text != '/')
		return "does not begin with a slash; write it as in /proc/PID/cgroup, like \"/system.slice\"";
	return ku_bad_names(text);
}

const char *ku_pol_bad_container(const char *text)
{
	_cleanup_free_ char *cgroup = NULL;
	char id[KU_CONTAINER_MAX];

	if (!*text)
		return "is empty; write the beginning of an id, or a whole name";
	if (strlen(text) > KU_CONTAINER_MAX - 2)
		return "is longer than any container's name, 126 bytes";
	if (strpbrk(text, "/*?\\"))
		return "has '/', '*', '?' or a backslash, which no container's name has; write the beginning of an id, or a whole name";
	/* Told apart below lxc/ only, where it would be another container's cgroup. */
	if (asprintf(&cgroup, "/%s", text) < 0)
		return "could not be looked at: no memory";
	if (*ku_container_of(cgroup, id) && strcmp(id, text))
		return "is the name of a cgroup; write the container's id or name alone";
	return NULL;
}
