// SPDX-License-Identifier: GPL-2.0-only
#include "diff.h"

#include <json-c/json.h>
#include <string.h>

#include "event.h"
#include "trace_fmt.h"
#include "util.h"

bool ku_diff_tells(const struct ku_drift_item *item)
{
	return item->class != KU_DRIFT_NONE && item->class != KU_DRIFT_UNCHANGED;
}

/* A regular file is changed whether it is a copy or another one of that name: copies that kunion made have no mark of where they come from. */
static enum ku_drift_class ku_diff_class(const struct ku_drift_item *item)
{
	return item->class == KU_DRIFT_REPLACED && S_ISREG(item->type) && item->compared ? KU_DRIFT_CHANGED : item->class;
}

/* What of it differs is told where something of the lower file is left. */
static unsigned int ku_diff_bits(const struct ku_drift_item *item)
{
	enum ku_drift_class class = ku_diff_class(item);

	return class == KU_DRIFT_METADATA ? item->diff : class == KU_DRIFT_CHANGED ? item->compared : 0;
}

static int ku_diff_line(const struct ku_drift_item *item, FILE *out)
{
	_cleanup_free_ char *path = ku_terminal_text(item->path, false), *from = NULL;
	const char *between = " (";

	if (!path)
		return -ENOMEM;
	fprintf(out, "%-8s  %s", ku_drift_class_name(ku_diff_class(item)), path);
	if (!S_ISREG(item->type)) {
		fprintf(out, "%s%s", between, ku_drift_kind(item->type));
		between = ", ";
	}
	for (unsigned int bit = 1; bit < KU_DIFF_ALL; bit <<= 1)
		if (ku_diff_bits(item) & bit) {
			fprintf(out, "%s%s", between, ku_drift_diff_name(bit));
			between = ", ";
		}
	if (item->moved_from) {
		from = ku_terminal_text(item->moved_from, false);
		if (!from)
			return -ENOMEM;
		fprintf(out, "%swas %s", between, from);
		between = ", ";
	}
	if (item->guessed) {
		fprintf(out, "%sby size and time", between);
		between = ", ";
	}
	fprintf(out, "%s\n", *between == ',' ? ")" : "");
	return 0;
}

int ku_diff_text(const struct ku_drift *d, FILE *out)
{
	int r = 0;

	for (size_t i = 0; i < d->n && !r; i++)
		if (ku_diff_tells(d->items[i]))
			r = ku_diff_line(d->items[i], out);
	return r;
}

/* Puts value, which is taken over, into obj. False without memory; so of all of these. */
static bool ku_diff_add(struct json_object *obj, const char *key, struct json_object *value)
{
	if (value && !json_object_object_add(obj, key, value))
		return true;
	json_object_put(value);
	return false;
}

static bool ku_diff_bytes(struct json_object *obj, const char *key, const char *bytes)
{
	_cleanup_free_ char *text = ku_escape_bytes(bytes);

	return ku_diff_add(obj, key, text ? json_object_new_string(text) : NULL);
}

static struct json_object *ku_diff_names(unsigned int bits)
{
	struct json_object *list = json_object_new_array(), *name;

	for (unsigned int bit = 1; list && bit < KU_DIFF_ALL; bit <<= 1) {
		if (!(bits & bit))
			continue;
		name = json_object_new_string(ku_drift_diff_name(bit));
		if (name && !json_object_array_add(list, name))
			continue;
		json_object_put(name);
		json_object_put(list);
		return NULL;
	}
	return list;
}

static struct json_object *ku_diff_item(const struct ku_drift_item *item)
{
	struct json_object *obj = json_object_new_object();

	if (obj && ku_diff_bytes(obj, "path", item->path) &&
	    ku_diff_add(obj, "what", json_object_new_string(ku_drift_class_name(ku_diff_class(item)))) &&
	    ku_diff_add(obj, "kind", json_object_new_string(ku_drift_kind(item->type))) &&
	    ku_diff_add(obj, "differs", ku_diff_names(ku_diff_bits(item))) &&
	    ku_diff_bytes(obj, "moved_from", item->moved_from ? item->moved_from : "") &&
	    ku_diff_add(obj, "bytes", json_object_new_uint64(item->bytes)) &&
	    ku_diff_add(obj, "guessed", json_object_new_boolean(item->guessed)))
		return obj;
	json_object_put(obj);
	return NULL;
}

static struct json_object *ku_diff_items(const struct ku_drift *d)
{
	struct json_object *list = json_object_new_array(), *item;

	for (size_t i = 0; list && i < d->n; i++) {
		if (!ku_diff_tells(d->items[i]))
			continue;
		item = ku_diff_item(d->items[i]);
		if (item && !json_object_array_add(list, item))
			continue;
		json_object_put(item);
		json_object_put(list);
		return NULL;
	}
	return list;
}

int ku_diff_json(const struct ku_drift *d, FILE *out)
{
	struct json_object *obj = json_object_new_object();
	const char *text = NULL;

	if (obj && ku_diff_bytes(obj, "union", d->u->path) && ku_diff_bytes(obj, "upper", d->u->upperdir) &&
	    ku_diff_bytes(obj, "lower", d->u->lowerdir) && ku_diff_add(obj, "incomplete", json_object_new_boolean(d->incomplete)) &&
	    ku_diff_add(obj, "items", ku_diff_items(d)))
		text = json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		fprintf(out, "%s\n", text);
	json_object_put(obj);
	return text ? 0 : -ENOMEM;
}
