// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whatever is in a file: it is read and compiled, or refused with one line, and nothing breaks (run it with SANITIZE=1). Mutations of what is in
 * selftests/unit/policy_corpus/, where every text that broke something is kept; so it runs at the top of the source tree.
 * $POLICY_FUZZ_PAIRS: how many texts (5000); $POLICY_FUZZ_SECONDS: for so long instead; $POLICY_FUZZ_SEED: another beginning.
 */
#include <dirent.h>

#include "policy_gen.h"
#include "policy_leaks.h"

#define CORPUS "selftests/unit/policy_corpus"
#define TEXTS 5000
#define TEXT_MAX 8192
#define NO_LIMIT 0

static struct {
	char text[TEXT_MAX];
	size_t len;
} corpus[64];
static size_t ncorpus;
static struct ku_pol *pol;
static uint64_t taken, refused;

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void read_corpus(void)
{
	const struct dirent *d;
	DIR *dir = opendir(CORPUS);

	KTAP_REQUIRE(dir, CORPUS " (this test runs at the top of the source tree)");
	while ((d = readdir(dir))) {
		char path[512];
		FILE *f;

		if (d->d_name[0] == '.')
			continue;
		KTAP_REQUIRE(ncorpus < KU_ARRAY_SIZE(corpus));
		snprintf(path, sizeof(path), CORPUS "/%s", d->d_name);
		f = fopen(path, "re");
		KTAP_REQUIRE(f, "%s", path);
		corpus[ncorpus].len = fread(corpus[ncorpus].text, 1, TEXT_MAX - 1, f);
		KTAP_REQUIRE(!ferror(f) && feof(f), "%s is too large", path);
		fclose(f);
		ncorpus++;
	}
	closedir(dir);
	KTAP_REQUIRE(ncorpus > 5);
}

/* The text is copied to where its end is the memory's, so that a byte behind it is seen. */
static void try(const char *text, size_t len)
{
	char *exact = malloc(len + 1), err[512] = "";
	struct ku_policy *p = NULL;
	int r;

	KTAP_REQUIRE(exact);
	memcpy(exact, text, len);
	exact[len] = '\0';
	r = ku_policy_parse("f", exact, len, &p, err);
	if (r) {
		refused++;
		KTAP_CHECK(r == -EINVAL && !strncmp(err, "f:", 2) && !strchr(err, '\n'), "%d '%s' of '%s'", r, err, exact);
	} else {
		taken++;
		r = ku_policy_compile(p, pol, err);
		KTAP_CHECK(!r || (r == -E2BIG && *err), "%d '%s'", r, err);
	}
	ku_policy_free(p);
	free(exact);
}

static size_t splice(struct gen *g, char *text, size_t len, const char *more, size_t n)
{
	size_t at = len ? gen_below(g, (uint32_t)len + 1) : 0;

	if (len + n >= TEXT_MAX)
		return len;
	memmove(text + at + n, text + at, len - at);
	memcpy(text + at, more, n);
	return len + n;
}

static size_t mutate(struct gen *g, char *text, size_t len)
{
	static const char *const words[] = { "\"", "{", "}", "(", ")", "[", "]", ";", ",", "=", "path", "uid", "\\", "\\x00", "\"/**/\"", "4294967296L",
					     "-1", "@include \"x\"", "\n@include \"x\"\n", "/*", "*/", "#", "//", "\n", "rules = (", "version = 1;",
					     "[ ]", "( )", "true", "1.5", "\xff", "name = \"r\";", "*", "?", "container = \"f\";", "%s%n",
					     "verdict = \"hold\";", "limit = 9;", "limit", "otherwise = \"allow\";", "otherwise", "errno = \"EIO\";",
					     "budgets = (", "budget = \"one\";", "default_budget = \"one\";", "keep_free = ", "\"64M\";", "copy_up = \"1T\";",
					     "write = 0;", "files = 1;", "copy_ups_per_second = 2;", "per = \"all\";", "at_limit = \"audit\";",
					     "18446744073709551615L;" };
	size_t at, n;

	for (uint32_t times = 1 + gen_below(g, 4); times; times--) {
		switch (gen_below(g, 7)) {
		case 0: /* another byte */
			if (len)
				text[gen_below(g, (uint32_t)len)] = (char)gen_below(g, 256);
			break;
		case 1: /* a bit less */
			if (!len)
				break;
			at = gen_below(g, (uint32_t)len);
			n = 1 + gen_below(g, 20);
			n = n > len - at ? len - at : n;
			memmove(text + at, text + at + n, len - at - n);
			len -= n;
			break;
		case 2: /* the beginning only */
			if (gen_one_in(g, 4))
				len = gen_below(g, (uint32_t)len + 1);
			break;
		case 3: /* a part of another one */
			at = gen_below(g, (uint32_t)ncorpus);
			if (!corpus[at].len)
				break;
			n = gen_below(g, (uint32_t)corpus[at].len);
			len = splice(g, text, len, corpus[at].text + n, gen_below(g, (uint32_t)(corpus[at].len - n)));
			break;
		default: {
			const char *word = GEN_PICK(g, words);

			len = splice(g, text, len, word, strlen(word));
		}
		}
	}
	return len;
}

KTAP_TEST(what_is_kept)
{
	pol = malloc(sizeof(*pol));
	KTAP_REQUIRE(pol);
	read_corpus();
	for (size_t i = 0; i < ncorpus; i++)
		try(corpus[i].text, corpus[i].len);
	KTAP_CHECK(taken >= 4 && refused >= 4, "%llu taken, %llu refused", (unsigned long long)taken, (unsigned long long)refused);
	free(pol);
}

KTAP_TEST_LIMIT(mutations, NO_LIMIT)
{
	uint64_t texts = number("POLICY_FUZZ_PAIRS", TEXTS), seconds = number("POLICY_FUZZ_SECONDS", 0), done = 0;
	uint64_t end = ku_now_ns() + seconds * 1000000000ull;
	struct gen g = { number("POLICY_FUZZ_SEED", 1) };
	static char text[TEXT_MAX];

	pol = malloc(sizeof(*pol));
	KTAP_REQUIRE(pol);
	read_corpus();
	for (; done < texts || ku_now_ns() < end; done++) {
		size_t i = gen_below(&g, (uint32_t)ncorpus), len = corpus[i].len;

		memcpy(text, corpus[i].text, len);
		len = mutate(&g, text, len);
		try(text, len);
	}
	ktap_diag("%llu texts: %llu taken, %llu refused", (unsigned long long)done, (unsigned long long)taken, (unsigned long long)refused);
	KTAP_CHECK(taken > done / 100 && refused > done / 10);
	free(pol);
}

KTAP_MAIN()
