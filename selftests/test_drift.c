// SPDX-License-Identifier: GPL-2.0-only
/* report --drift with events that were recorded while it happened: who made what differs, and what was run of it; what was refused is not there. */
#include "policy.h"

#include <json-c/json.h>

#define EVENTS FX_DIR "/drift.jsonl"
#define DRIFT FX_DIR "/drift.json"

static struct json_object *doc;

static const char *str(struct json_object *o, const char *key)
{
	struct json_object *v;

	return o && json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static struct json_object *find(const char *list, const char *path)
{
	struct json_object *all = NULL;

	json_object_object_get_ex(doc, list, &all);
	for (size_t i = 0; all && i < json_object_array_length(all); i++)
		if (!strcmp(str(json_object_array_get_idx(all, i), "path"), path))
			return json_object_array_get_idx(all, i);
	return NULL;
}

/* This path differs in this way, and it was this command that did it. */
static void made(const char *path, const char *how, const char *comm, const char *op)
{
	struct json_object *one = find("items", path), *by = NULL;

	if (!KTAP_CHECK(one, "%s is not told", path))
		return;
	json_object_object_get_ex(one, "by", &by);
	KTAP_CHECK(!strcmp(str(one, "what"), how) && !strcmp(str(by, "comm"), comm) && !strcmp(str(by, "op"), op), "%s",
		   json_object_to_json_string(one));
}

KTAP_TEST_LIMIT(who_made_it_and_what_was_run, 240)
{
	struct json_object *one, *by = NULL;
	struct fx fx;
	int fd;

	fx_init(&fx, NULL);
	fx_sh("cd %s; mkdir etc sealed; echo a >etc/conf; echo a >etc/old; echo a >etc/mode; echo a >sealed/f", fx.lower);
	fx_mount(&fx);
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = (\n"
				  "{ name = \"sealed\"; prefix = \"/sealed\"; action = \"any\"; verdict = \"deny\"; },\n"
				  "{ name = \"run\"; path = \"/**\"; action = \"exec\"; verdict = \"audit\"; } );\n");
	fd = open(FX_DIR "/job", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	KTAP_REQUIRE(fd >= 0);
	dprintf(fd,
		"#!/bin/sh\ncd %s || exit 9\n"
		"echo b | $(command -v tee) -a etc/conf >/dev/null || exit 10\n"
		"$(command -v rm) etc/old || exit 11\n"
		"$(command -v chmod) 600 etc/mode || exit 12\n"
		"$(command -v cp) /bin/busybox busybox || exit 13\n"
		"./busybox true || exit 14\n"
		"$(command -v tee) -a sealed/f </dev/null 2>/dev/null && exit 15\n"
		"$(command -v mkdir) sealed/new 2>/dev/null && exit 16\n"
		"exit 0\n",
		fx.merged);
	close(fd);
	KTAP_REQUIRE(system(fx_name("kunion trace --json --writes --policy " POLICY_FILE " %s -- sh " FX_DIR "/job >" EVENTS, fx.merged)) == 0);
	KTAP_CHECK(!fx_in_upper(&fx, "sealed/f") && !fx_exists(fx_path(&fx, "sealed/new")));

	KTAP_REQUIRE(system(fx_name("kunion report --drift --json --from " EVENTS " %s >" DRIFT, fx.merged)) == 0);
	doc = json_object_from_file(DRIFT);
	KTAP_REQUIRE(doc, "%s", json_util_get_last_err());
	made("/etc/conf", "changed", "tee", "copy-up");
	made("/etc/old", "removed", "rm", "remove");
	made("/etc/mode", "metadata", "chmod", "copy-up");
	made("/busybox", "added", "cp", "create");
	KTAP_CHECK(!find("items", "/sealed/f") && !find("items", "/sealed/new") && !find("items", "/sealed"), "%s", json_object_to_json_string(doc));
	one = find("executed", "/busybox");
	if (KTAP_CHECK(one, "what was run is not told: %s", json_object_to_json_string(doc)))
		json_object_object_get_ex(one, "by", &by);
	KTAP_CHECK(!strcmp(str(by, "comm"), "sh"), "%s", json_object_to_json_string(one));
	json_object_put(doc);

	KTAP_CHECK(system("grep '\"event\":\"policy\"' " EVENTS " | grep '\"path\":\"/sealed' | grep -q '\"errno\":\"EROFS\"'") == 0, "trace tells the refusal");
	fx_end(&fx);
}

KTAP_MAIN()
