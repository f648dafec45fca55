// SPDX-License-Identifier: GPL-2.0-only
#include "opts.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "cmd.h"
#include "util.h"

int ku_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	unsigned int shift = 0;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		const char *unit = strchr(units, toupper((unsigned char)*end));

		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = (uint64_t)n << shift;
	return 0;
}

int ku_parse_seconds(const char *text, uint64_t *ret_ns)
{
	char *end;
	double s;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	s = strtod(text, &end);
	if (*end || !isfinite(s) || s <= 0 || s > 86400)
		return -EINVAL;
	*ret_ns = (uint64_t)(s * 1e9);
	return 0;
}

int ku_parse_pid(const char *text, pid_t *ret)
{
	char *end;
	long n;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || *end || n < 1 || n > INT_MAX)
		return -EINVAL;
	*ret = (pid_t)n;
	return 0;
}

int ku_parse_mode(const char *text, enum ku_mode *ret)
{
	static const struct {
		const char *name;
		enum ku_mode mode;
	} modes[] = { { "observe", KU_MODE_OBSERVE }, { "guard", KU_MODE_GUARD }, { "manage", KU_MODE_MANAGE } };

	for (size_t i = 0; i < KU_ARRAY_SIZE(modes); i++)
		if (!strcmp(text, modes[i].name)) {
			*ret = modes[i].mode;
			return 0;
		}
	return -EINVAL;
}

int ku_parse_args(const char *name, const struct argp *argp, int argc, char **argv, void *input)
{
	/* argp's name in messages, and its status where it ends by itself */
	argv[0] = (char *)name;
	argp_err_exit_status = KU_EXIT_USAGE;
	return argp_parse(argp, argc, argv, 0, NULL, input) ? KU_EXIT_USAGE : KU_EXIT_OK;
}
