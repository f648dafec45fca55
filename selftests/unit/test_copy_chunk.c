// SPDX-License-Identifier: GPL-2.0-only
/* How large a chunk is: what a cancellation has to wait for. The source itself is taken in, under other names. */
#define ku_copy_data ku_copy_data_here
#define ku_copy_how_name ku_copy_how_name_here
#include "../../user/copy/copy.c"

#include "ktap.h"

#define MS 1000000ull

/* A disk of so many bytes a millisecond: the time of a chunk once it has settled, and the worst one on the way. */
static uint64_t settle(struct ku_copier *c, uint64_t bytes_per_ms, unsigned int chunks, uint64_t *ret_worst)
{
	uint64_t ns = 0;

	*ret_worst = 0;
	for (unsigned int i = 0; i < chunks; i++) {
		ns = (uint64_t)c->chunk * MS / bytes_per_ms;
		if (i && ns > *ret_worst)
			*ret_worst = ns;
		ku_copy_adapt(c, c->chunk, ns);
	}
	return ns;
}

KTAP_TEST(chunk_fits_any_disk)
{
	static const uint64_t speeds[] = { 20 << 10, 60 << 10, 100 << 10, 500 << 10, 1 << 20, 3 << 20, 20 << 20 };

	for (size_t i = 0; i < KU_ARRAY_SIZE(speeds); i++) {
		struct ku_copier c = { .chunk = KU_CHUNK_FIRST };
		uint64_t worst, ns = settle(&c, speeds[i], 20, &worst);

		KTAP_CHECK(ns < 50 * MS, "%llu KiB/ms: %llu ns", (unsigned long long)speeds[i] >> 10, (unsigned long long)ns);
		KTAP_CHECK(worst < 50 * MS, "%llu KiB/ms: worst %llu ns", (unsigned long long)speeds[i] >> 10,
			   (unsigned long long)worst);
		/* 16 MiB: what a disk of 500 MB/s that comes all of a sudden makes 32 ms of. */
		KTAP_CHECK(c.chunk >= KU_CHUNK_MIN && c.chunk <= 16 << 20 && c.chunk % KU_CHUNK_ALIGN == 0, "%zu", c.chunk);
	}
}

KTAP_TEST(chunk_follows_a_disk_that_changes)
{
	struct ku_copier c = { .chunk = KU_CHUNK_FIRST };
	uint64_t worst;

	settle(&c, 20 << 20, 10, &worst);
	KTAP_CHECK(c.chunk == KU_CHUNK_MAX, "%zu", c.chunk);
	/* One chunk too long, then it fits. */
	settle(&c, 50 << 10, 3, &worst);
	KTAP_CHECK(worst < 50 * MS, "%llu", (unsigned long long)worst);
	settle(&c, 20 << 20, 10, &worst);
	KTAP_CHECK(c.chunk == KU_CHUNK_MAX, "%zu", c.chunk);
}

/* The end of a segment is short and quick: it says nothing about the disk. */
KTAP_TEST(short_pieces_do_not_grow_it)
{
	struct ku_copier c = { .chunk = 1 << 20 };

	for (int i = 0; i < 20; i++)
		ku_copy_adapt(&c, 4096, 1000);
	KTAP_CHECK(c.chunk == 1 << 20);
}

KTAP_TEST(every_way_has_a_name)
{
	for (int i = KU_COPY_NOTHING; i <= KU_COPY_READWRITE; i++)
		KTAP_CHECK(ku_copy_how_name(i) && *ku_copy_how_name(i) != '?');
	KTAP_CHECK(!strcmp(ku_copy_how_name(99), "?"));
}

KTAP_MAIN()
