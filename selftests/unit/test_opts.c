// SPDX-License-Identifier: GPL-2.0-only
/* Option values, and the path of a request as BPF wrote it. */
#include <string.h>

#include "ktap.h"
#include "opts.h"
#include "session.h"
#include "util.h"

KTAP_TEST(sizes)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = { { "0", 0 }, { "4096", 4096 }, { "64K", 65536 }, { "64k", 65536 }, { "1M", 1 << 20 }, { "3G", 3ull << 30 },
		     { "18446744073709551615", UINT64_MAX } };
	static const char *const bad[] = { "", "-1", " 1", "K", "1KB", "1.5M", "0x10", "18446744073709551616", "18446744073709551615K" };

	for (size_t i = 0; i < KU_ARRAY_SIZE(good); i++) {
		uint64_t v = 1;

		KTAP_CHECK(!ku_parse_size(good[i].text, &v) && v == good[i].value, "'%s' gives %llu", good[i].text, (unsigned long long)v);
	}
	for (size_t i = 0; i < KU_ARRAY_SIZE(bad); i++) {
		uint64_t v = 42;

		KTAP_CHECK(ku_parse_size(bad[i], &v) == -EINVAL && v == 42, "'%s' was taken", bad[i]);
	}
}

KTAP_TEST(seconds)
{
	static const char *const bad[] = { "", "0", "-1", "1s", "nan", "inf", "1e9", " 1" };
	uint64_t ns = 0;

	KTAP_CHECK(!ku_parse_seconds("30", &ns) && ns == 30000000000ull, "30 gives %llu", (unsigned long long)ns);
	KTAP_CHECK(!ku_parse_seconds("0.5", &ns) && ns == 500000000ull, "0.5 gives %llu", (unsigned long long)ns);
	for (size_t i = 0; i < KU_ARRAY_SIZE(bad); i++)
		KTAP_CHECK(ku_parse_seconds(bad[i], &ns) == -EINVAL, "'%s' was taken", bad[i]);
}

KTAP_TEST(request_path)
{
	static struct ku_request req;
	_cleanup_free_ char *path = NULL;
	static const char names[] = "file\0\xff\0a b";

	memcpy(req.path, names, sizeof(names));
	req.path_len = sizeof(names);
	path = ku_request_path(&req);
	KTAP_CHECK(path && !strcmp(path, "/a b/\xff/file"), "got '%s'", path ? path : "nothing");
}

KTAP_TEST(request_path_that_bpf_could_not_write)
{
	static struct ku_request req;

	req.path_len = 0;
	KTAP_CHECK(!ku_request_path(&req), "a path from nothing");
	req.path_len = sizeof(req.path) + 1;
	KTAP_CHECK(!ku_request_path(&req), "longer than the record");
	memset(req.path, 'x', sizeof(req.path));
	req.path_len = 8;
	KTAP_CHECK(!ku_request_path(&req), "not ended by a NUL");
}

KTAP_TEST(request_path_at_its_longest)
{
	static struct ku_request req;
	_cleanup_free_ char *path = NULL;

	memset(req.path, 'x', sizeof(req.path));
	req.path[sizeof(req.path) - 1] = '\0';
	req.path_len = sizeof(req.path);
	path = ku_request_path(&req);
	KTAP_CHECK(path && strlen(path) == sizeof(req.path) && path[0] == '/' && path[1] == 'x', "lost a byte");
}

KTAP_MAIN()
