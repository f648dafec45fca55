// SPDX-License-Identifier: GPL-2.0-only
/*
 * Framing and calls of the control socket under requests that are nearly right, cut anywhere, changed anywhere. $CTL_FUZZ_ROUNDS: how many (30000);
 * $CTL_FUZZ_SEED: another beginning. Whatever comes in, an answer is one JSON object, and who is not root changes nothing.
 */
#include "ctl_fake.h"
#include "util.h"

#define ROUNDS 30000
#define MESSAGE_MAX 4096

static const char *const words[] = {
	"{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/merged\",\"mode\":\"guard\",\"min_size\":65536}}",
	"{\"method\":\"io.kunion.Detach\",\"parameters\":{\"path\":\"/merged\"},\"oneway\":true}",
	"{\"method\":\"io.kunion.Status\",\"more\":true}",
	"{\"method\":\"io.kunion.Metrics\",\"parameters\":{}}",
	"{\"method\":\"io.kunion.Monitor\",\"more\":true}",
	"{\"method\":\"io.kunion.Reload\",\"upgrade\":false}",
	"{\"method\":\"org.varlink.service.GetInfo\"}",
	"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"io.kunion\"}}",
	"{\"method\":\"io.kunion.Attach\",\"parameters\":{\"path\":\"/a\\\\xff\\\\\\\\\\u00e9\\ud83d\\ude00\"}}",
};

static const char *const pieces[] = { "{", "}", "[", "]", "\"", ":", ",", "null", "true", "-1", "1e999", "99999999999999999999", "\\u0000", "\\ud800",
				      "\xff", "\xc3", "\"method\"", "\"parameters\"", "\"path\"", "[[[[[[[[[[[[[[[[[[[[", "{\"a\":{\"a\":{\"a\":", " ", "\n" };

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

/* A message, ended by a NUL; returns its length with that. */
static size_t message(uint64_t *seed, char *buf)
{
	const char *word = words[next(seed) % KU_ARRAY_SIZE(words)];
	size_t len = strlen(word);

	memcpy(buf, word, len);
	for (uint64_t n = next(seed) % 5; n; n--) {
		const char *piece = pieces[next(seed) % KU_ARRAY_SIZE(pieces)];
		size_t plen = strlen(piece), at = len ? next(seed) % len : 0;

		switch (next(seed) % 4) {
		case 0: /* cut */
			len = at;
			break;
		case 1: /* another byte */
			if (len)
				buf[at] = (char)next(seed);
			break;
		case 2: /* something between */
			memmove(buf + at + plen, buf + at, len - at);
			memcpy(buf + at, piece, plen);
			len += plen;
			break;
		case 3: /* twice */
			if (len + (len - at) < MESSAGE_MAX / 2) {
				memcpy(buf + len, buf + at, len - at);
				len += len - at;
			}
			break;
		}
	}
	buf[len] = '\0';
	return len + 1;
}

KTAP_TEST_LIMIT(whatever_comes_in, 0)
{
	uint64_t rounds = number("CTL_FUZZ_ROUNDS", ROUNDS), seed = number("CTL_FUZZ_SEED", 1), answered = 0, bad = 0;
	struct fake f = { 0 };
	const struct ku_ctl_ops ops = FAKE_OPS(&f);
	struct ku_frame frame = { .max = MESSAGE_MAX };
	static char buf[MESSAGE_MAX];

	for (uint64_t i = 0; i < rounds; i++) {
		const struct ku_ctl_peer peer = { .may_change = next(&seed) % 2 };
		unsigned int changes = f.attached + f.detached;
		size_t len = message(&seed, buf), done = 0, mlen;

		while (done < len) {
			size_t n = 1 + next(&seed) % (len - done);
			const char *msg;

			if (ku_frame_put(&frame, buf + done, n)) {
				ku_frame_free(&frame);
				break;
			}
			done += n;
			while ((msg = ku_frame_next(&frame, &mlen))) {
				struct ku_ctl_answer a;
				struct json_object *again;
				size_t size = 0;
				char *text;

				KTAP_REQUIRE(mlen == strlen(msg));
				if (ku_ctl_call(&ops, &peer, msg, mlen, &a)) {
					bad++;
					continue;
				}
				KTAP_REQUIRE(!a.oneway || !a.reply);
				if (!a.reply)
					continue;
				answered++;
				text = ku_frame_text(a.reply, &size);
				again = text ? ku_frame_parse(text, size - 1) : NULL;
				if (!KTAP_CHECK(again && strlen(text) == size - 1, "to '%s': '%s'", msg, text))
					exit(KTAP_EXIT_FAIL);
				json_object_put(again);
				json_object_put(a.reply);
				free(text);
			}
		}
		KTAP_REQUIRE(peer.may_change || changes == f.attached + f.detached, "changed by who may not: %s", buf);
	}
	ku_frame_free(&frame);
	ktap_diag("%llu answered, %llu dropped, %u attached", (unsigned long long)answered, (unsigned long long)bad, f.attached);
	KTAP_CHECK(answered > rounds / 20 && bad > rounds / 20 && f.attached > 0, "too few that are nearly right");
}

KTAP_MAIN()
