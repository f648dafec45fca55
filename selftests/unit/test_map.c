// SPDX-License-Identifier: GPL-2.0-only
/* Maps: every key finds its own item, and no other does. */
#include "map.h"

#include "ktap.h"

KTAP_TEST(keys)
{
	struct ku_map m = KU_MAP(uint64_t, 100000);
	static char long_key[200000];
	const char *key;
	uint64_t n;
	void *item;
	bool new;

	KTAP_CHECK(!ku_map_find(&m, "", 0));
	for (n = 0; n < 100000 - 2; n++) {
		KTAP_REQUIRE(ku_map_get(&m, &n, sizeof(n), &item, NULL, &new) == 0 && new && *(uint64_t *)item == 0);
		*(uint64_t *)item = n + 1;
	}
	KTAP_CHECK(ku_map_get(&m, "", 0, &item, &key, &new) == 0 && new && !*key);
	KTAP_CHECK(ku_map_get(&m, "", 0, &item, &key, &new) == 0 && !new);
	memset(long_key, 'k', sizeof(long_key));
	KTAP_CHECK(ku_map_get(&m, long_key, sizeof(long_key), &item, &key, &new) == 0 && new && strlen(key) == sizeof(long_key));
	KTAP_CHECK(ku_map_get(&m, "one more", 8, &item, &key, &new) == -ENOSPC);
	KTAP_CHECK(ku_map_get(&m, long_key, sizeof(long_key), &item, &key, &new) == 0 && !new);
	KTAP_CHECK(!ku_map_find(&m, "one more", 8));
	for (n = 0; n < 100000 - 2; n++) {
		item = ku_map_find(&m, &n, sizeof(n));
		if (!item || *(uint64_t *)item != n + 1 || m.entries[n].item != item)
			break;
	}
	KTAP_CHECK(n == 100000 - 2 && m.n == 100000);
	ku_map_free(&m);
	KTAP_CHECK(!m.n && !ku_map_find(&m, "", 0));
}

KTAP_MAIN()
