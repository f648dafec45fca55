/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of `kunion report --drift` share: an image, and the answer as JSON has it. */
#ifndef KU_UNIT_DRIFT_SCENE_H
#define KU_UNIT_DRIFT_SCENE_H

#include <json-c/json.h>

#include "command.h"
#include "util.h"

#define U UNIT_UPPER "/u"
#define L UNIT_LOWER
#define M UNIT_MERGED
#define EVENTS "/tmp/events"
#define DRIFT(...) COMMAND(ku_cmd_report, "report", "--drift", M, ##__VA_ARGS__)

static struct json_object *doc;

static inline struct json_object *get(struct json_object *obj, const char *key)
{
	struct json_object *value = NULL;

	KTAP_REQUIRE(obj && json_object_object_get_ex(obj, key, &value), "%s", key);
	return value;
}

static inline const char *text_of(struct json_object *obj, const char *key)
{
	return json_object_get_string(get(obj, key));
}

static inline uint64_t number_of(struct json_object *obj, const char *key)
{
	return json_object_get_uint64(get(obj, key));
}

/* Asks for the JSON document, which is whole. */
static inline void look_from(const char *events)
{
	int status = events ? DRIFT("--json", "--from", events) : DRIFT("--json");

	KTAP_REQUIRE(!status, "%d %s", status, err);
	json_object_put(doc);
	doc = json_tokener_parse(out);
	KTAP_REQUIRE(doc, "%s", out);
	KTAP_CHECK(!json_object_get_boolean(get(doc, "incomplete")));
}

static inline void look(void)
{
	look_from(NULL);
}

static inline void enough(void)
{
	json_object_put(doc);
	doc = NULL;
}

static inline size_t items(void)
{
	return json_object_array_length(get(doc, "items"));
}

/* The item of a path as JSON has it; NULL. */
static inline struct json_object *item(const char *path)
{
	struct json_object *list = get(doc, "items");

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);

		if (!strcmp(text_of(one, "path"), path))
			return one;
	}
	return NULL;
}

/* It is of that kind, and that became of it; differs: "mode,owner". */
static inline void is(const char *path, const char *kind, const char *what, const char *differs)
{
	struct json_object *one = item(path), *list;
	char have[64] = "";

	if (!KTAP_CHECK(one, "%s is not told: %s", path, out))
		return;
	list = get(one, "differs");
	for (size_t i = 0; i < json_object_array_length(list); i++)
		snprintf(have + strlen(have), sizeof(have) - strlen(have), "%s%s", i ? "," : "",
			 json_object_get_string(json_object_array_get_idx(list, i)));
	KTAP_CHECK(!strcmp(text_of(one, "kind"), kind), "%s: %s", path, text_of(one, "kind"));
	KTAP_CHECK(!strcmp(text_of(one, "what"), what), "%s: %s", path, text_of(one, "what"));
	KTAP_CHECK(!strcmp(have, differs), "%s: %s", path, have);
}

static inline void make_dir(const char *path)
{
	KTAP_REQUIRE(!mkdir(path, 0755), "%s", path);
}

static inline void append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	KTAP_REQUIRE(fd >= 0 && write(fd, "more", 4) == 4, "%s", path);
	close(fd);
}

/* Opened for writing, and nothing written: copied up for nothing. */
static inline void open_only(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	KTAP_REQUIRE(fd >= 0, "%s", path);
	close(fd);
}

static inline void layers(void)
{
	unit_layers();
	make_dir(L "/d");
	make_dir(L "/d/e");
	unit_text(L "/d/f", "data of f");
	unit_text(L "/d/g", "data of g");
	unit_text(L "/d/e/h", "data of h");
	KTAP_REQUIRE(!symlink("f", L "/d/link"));
}

static inline void fixture(const char *options)
{
	layers();
	unit_overlay(options);
}

#endif
