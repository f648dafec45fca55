// SPDX-License-Identifier: GPL-2.0-only
/* Events as JSON and back. */
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "event.h"
#include "util.h"

/* The length of the valid UTF-8 character at s, 0 if there is none. Overlong forms and surrogates are not valid. */
static size_t ku_utf8_len(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t code;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	len = s[0] >= 0xf0 && s[0] < 0xf8 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc0 && s[0] < 0xe0 ? 2 : 0;
	if (!len)
		return 0;
	code = s[0] & (0x7f >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80) /* also the string's end */
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : len;
}

char *ku_escape_bytes(const char *bytes)
{
	const unsigned char *s = (const unsigned char *)bytes;
	char *out = malloc(strlen(bytes) * 4 + 1), *o = out;

	if (!out)
		return NULL;
	while (*s) {
		size_t len = ku_utf8_len(s);

		if (*s == '\\') {
			*o++ = '\\';
			*o++ = '\\';
			s++;
		} else if (len) {
			memcpy(o, s, len);
			o += len;
			s += len;
		} else {
			o += sprintf(o, "\\x%02x", *s++);
		}
	}
	*o = '\0';
	return out;
}

const char *ku_errno_name(int err, char buf[static 16])
{
	const char *name = strerrorname_np(err);

	if (name && err > 0)
		return name;
	snprintf(buf, 16, "E%d", err);
	return buf;
}

/* Undoing it is exact only for what ku_escape_bytes() wrote; anything else stays as it is. */
void ku_unescape_bytes(char *s)
{
	char *to = s;

	while (*s) {
		unsigned int byte;

		if (s[0] == '\\' && s[1] == '\\') {
			*to++ = '\\';
			s += 2;
		} else if (s[0] == '\\' && s[1] == 'x' && sscanf(s + 2, "%2x", &byte) == 1 && byte && s[3]) {
			*to++ = (char)byte;
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

uint64_t ku_utc_ns(uint64_t monotonic_ns)
{
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	return (uint64_t)real.tv_sec * 1000000000ull + (uint64_t)real.tv_nsec - ku_now_ns() + monotonic_ns;
}

/*
 * One table describes each kind of event for both directions: where a value is kept, under which key.
 */
enum ku_field_type { KU_F_STRING, KU_F_U64, KU_F_U32, KU_F_BOOL };

struct ku_field {
	const char *key;
	size_t at; /* in struct ku_event */
	enum ku_field_type type;
};

#define KU_FIELD(key, member, type) { key, offsetof(struct ku_event, member), type }
#define KU_STRING(key, member) KU_FIELD(key, member, KU_F_STRING)
#define KU_NUMBER(key, member) KU_FIELD(key, member, KU_F_U64)
#define KU_WHO(prefix, member)                                                                               \
	KU_FIELD(prefix "pid", member.pid, KU_F_U32), KU_FIELD(prefix "tid", member.tid, KU_F_U32),          \
		KU_STRING(prefix "comm", member.comm), KU_FIELD(prefix "uid", member.uid, KU_F_U32),         \
		KU_STRING(prefix "cgroup", member.cgroup), KU_STRING(prefix "container", member.container),  \
		KU_STRING(prefix "runtime", member.runtime)
#define KU_PLACE KU_STRING("union", union_path), KU_STRING("path", path)

static const struct ku_field ku_copyup_fields[] = {
	KU_NUMBER("id", copyup.id),
	KU_PLACE,
	KU_STRING("kind", copyup.kind),
	KU_STRING("op", copyup.op),
	KU_STRING("syscall", copyup.syscall),
	KU_WHO("", copyup.who),
	KU_STRING("engine", copyup.engine),
	KU_NUMBER("size", copyup.size),
	KU_NUMBER("bytes", copyup.bytes),
	KU_STRING("data", copyup.data),
	KU_FIELD("waiters", copyup.waiters, KU_F_U32),
	KU_NUMBER("queued_us", copyup.queued_us),
	KU_NUMBER("lock_us", copyup.lock_us),
	KU_NUMBER("copy_us", copyup.copy_us),
	KU_NUMBER("fsync_us", copyup.fsync_us),
	KU_NUMBER("commit_us", copyup.commit_us),
	KU_NUMBER("total_us", copyup.total_us),
	KU_STRING("result", copyup.result),
	{ 0 },
};

static const struct ku_field ku_wait_fields[] = {
	KU_PLACE,
	KU_STRING("op", wait.op),
	KU_STRING("syscall", wait.syscall),
	KU_WHO("", wait.who),
	KU_STRING("on", wait.on),
	KU_WHO("holder_", wait.holder),
	KU_STRING("holder_op", wait.holder_op),
	KU_NUMBER("copyup_id", wait.copyup_id),
	KU_STRING("copyup_path", wait.copyup_path),
	KU_FIELD("copyup_pid", wait.copyup_pid, KU_F_U32),
	KU_STRING("copyup_comm", wait.copyup_comm),
	KU_NUMBER("wait_us", wait.wait_us),
	KU_STRING("result", wait.result),
	{ 0 },
};

static const struct ku_field ku_changed_fields[] = {
	KU_PLACE,
	KU_NUMBER("copyup_id", changed.copyup_id),
	KU_NUMBER("written", changed.written),
	{ 0 },
};

static const struct ku_field ku_write_fields[] = {
	KU_PLACE,
	KU_STRING("op", write.op),
	KU_STRING("kind", write.kind),
	KU_STRING("layer", write.layer),
	KU_NUMBER("size", write.size),
	KU_STRING("path2", write.path2),
	KU_WHO("", write.who),
	{ 0 },
};

static const struct ku_field ku_policy_fields[] = {
	KU_PLACE,
	KU_STRING("action", policy.action),
	KU_STRING("kind", policy.kind),
	KU_NUMBER("size", policy.size),
	KU_STRING("rule", policy.rule),
	KU_STRING("verdict", policy.verdict),
	KU_STRING("errno", policy.err),
	KU_STRING("budget", policy.budget),
	KU_STRING("limit", policy.limit),
	KU_WHO("", policy.who),
	{ 0 },
};

static const struct ku_field ku_hold_fields[] = {
	KU_PLACE,
	KU_NUMBER("id", hold.id),
	KU_STRING("action", hold.action),
	KU_STRING("kind", hold.kind),
	KU_NUMBER("size", hold.size),
	KU_STRING("rule", hold.rule),
	KU_NUMBER("limit", hold.limit),
	KU_STRING("errno", hold.err),
	KU_WHO("", hold.who),
	{ 0 },
};

static const struct ku_field ku_union_fields[] = {
	KU_STRING("union", union_path),
	KU_STRING("lower", mount.lower),
	KU_STRING("upper", mount.upper),
	KU_STRING("options", mount.options),
	KU_STRING("upper_fs", mount.upper_fs),
	KU_NUMBER("upper_free", mount.upper_free),
	KU_NUMBER("upper_size", mount.upper_size),
	KU_FIELD("reflink", mount.reflink, KU_F_BOOL),
	{ 0 },
};

static const struct ku_field ku_totals_fields[] = {
	KU_STRING("union", union_path),
	KU_NUMBER("copyups", totals.copyups),
	KU_NUMBER("bytes", totals.bytes),
	KU_NUMBER("failed", totals.failed),
	KU_NUMBER("copyup_us", totals.copyup_us),
	KU_NUMBER("waits", totals.waits),
	KU_NUMBER("wait_us", totals.wait_us),
	KU_NUMBER("missing", totals.missing),
	{ 0 },
};

static const struct ku_field ku_dropped_fields[] = {
	KU_NUMBER("count", dropped.count),
	KU_NUMBER("copyups", dropped.copyups),
	KU_NUMBER("waits", dropped.waits),
	KU_NUMBER("writes", dropped.writes),
	KU_NUMBER("others", dropped.others),
	{ 0 },
};

static const struct {
	const char *name;
	const struct ku_field *fields;
} ku_kinds[] = {
	[KU_EV_COPYUP] = { "copyup", ku_copyup_fields },
	[KU_EV_WAIT] = { "wait", ku_wait_fields },
	[KU_EV_CHANGED] = { "changed", ku_changed_fields },
	[KU_EV_WRITE] = { "write", ku_write_fields },
	[KU_EV_POLICY] = { "policy", ku_policy_fields },
	[KU_EV_HOLD] = { "hold", ku_hold_fields },
	[KU_EV_UNION] = { "union", ku_union_fields },
	[KU_EV_TOTALS] = { "totals", ku_totals_fields },
	[KU_EV_DROPPED] = { "dropped", ku_dropped_fields },
};
_Static_assert(KU_ARRAY_SIZE(ku_kinds) == KU_EV_TYPES, "an event has no name");

/* writing */

/* A null value is no value here: adding it fails. */
static bool ku_add(struct json_object *obj, const char *key, struct json_object *value)
{
	if (value && json_object_object_add(obj, key, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static struct json_object *ku_bytes_value(const char *bytes)
{
	_cleanup_free_ char *escaped = ku_escape_bytes(bytes ? bytes : "");

	return escaped ? json_object_new_string(escaped) : NULL;
}

static struct json_object *ku_time_value(uint64_t ns)
{
	time_t sec = (time_t)(ns / 1000000000ull);
	char text[64];
	struct tm tm;
	size_t n;

	if (!gmtime_r(&sec, &tm))
		memset(&tm, 0, sizeof(tm));
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%06uZ", (unsigned int)(ns % 1000000000ull / 1000));
	return json_object_new_string(text);
}

static struct json_object *ku_field_value(const struct ku_event *e, const struct ku_field *f)
{
	const void *at = (const char *)e + f->at;

	switch (f->type) {
	case KU_F_STRING:
		return ku_bytes_value(*(const char *const *)at);
	case KU_F_U64:
		return json_object_new_uint64(*(const uint64_t *)at);
	case KU_F_U32:
		return json_object_new_uint64(*(const uint32_t *)at);
	case KU_F_BOOL:
		return json_object_new_boolean(*(const bool *)at);
	}
	return NULL;
}

char *ku_event_json(const struct ku_event *e)
{
	struct json_object *obj = json_object_new_object();
	const char *text;
	char *line = NULL;
	bool ok;

	if (!obj)
		return NULL;
	ok = ku_add(obj, "event", json_object_new_string(ku_kinds[e->type].name)) && ku_add(obj, "ts", ku_time_value(e->ts_ns));
	for (const struct ku_field *f = ku_kinds[e->type].fields; ok && f->key; f++)
		ok = ku_add(obj, f->key, ku_field_value(e, f));
	if (ok) {
		text = json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
		line = text ? strdup(text) : NULL;
	}
	json_object_put(obj);
	return line;
}

/* reading */

/* An event, and the JSON object whose memory its strings are in. */
struct ku_parsed {
	struct ku_event e;
	struct json_object *obj;
};

static uint64_t ku_parse_time(const char *text)
{
	struct tm tm = { 0 };
	uint64_t us = 0;
	char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!end)
		return 0;
	if (*end == '.')
		us = strtoull(end + 1, NULL, 10);
	return (uint64_t)timegm(&tm) * 1000000000ull + us % 1000000 * 1000;
}

/* The value in place: json-c's own memory, made bytes again. It only gets shorter. */
static const char *ku_string_of(struct json_object *v)
{
	char *s;

	if (!v || !json_object_is_type(v, json_type_string))
		return "";
	s = (char *)json_object_get_string(v);
	ku_unescape_bytes(s);
	return s;
}

static void ku_field_read(struct ku_event *e, const struct ku_field *f, struct json_object *v)
{
	void *at = (char *)e + f->at;

	switch (f->type) {
	case KU_F_STRING:
		*(const char **)at = ku_string_of(v);
		break;
	case KU_F_U64:
		*(uint64_t *)at = v ? json_object_get_uint64(v) : 0;
		break;
	case KU_F_U32:
		*(uint32_t *)at = v ? (uint32_t)json_object_get_uint64(v) : 0;
		break;
	case KU_F_BOOL:
		*(bool *)at = v && json_object_get_boolean(v);
		break;
	}
}

int ku_event_parse(const char *line, struct ku_event **ret)
{
	struct json_tokener *tok = json_tokener_new();
	struct json_object *obj, *v;
	struct ku_parsed *p;
	const char *name;
	int type = -1;

	if (!tok)
		return -ENOMEM;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	obj = json_tokener_parse_ex(tok, line, (int)strlen(line) + 1);
	json_tokener_free(tok);
	name = obj && json_object_object_get_ex(obj, "event", &v) ? ku_string_of(v) : "";
	for (size_t i = 0; i < KU_ARRAY_SIZE(ku_kinds); i++)
		if (!strcmp(name, ku_kinds[i].name))
			type = (int)i;
	if (type < 0) {
		json_object_put(obj);
		return -EINVAL;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		json_object_put(obj);
		return -ENOMEM;
	}
	p->obj = obj;
	p->e.type = (enum ku_ev_type)type;
	p->e.union_path = p->e.path = "";
	if (json_object_object_get_ex(obj, "ts", &v))
		p->e.ts_ns = ku_parse_time(ku_string_of(v));
	for (const struct ku_field *f = ku_kinds[type].fields; f->key; f++)
		ku_field_read(&p->e, f, json_object_object_get_ex(obj, f->key, &v) ? v : NULL);
	*ret = &p->e;
	return 0;
}

void ku_event_free(struct ku_event *e)
{
	struct ku_parsed *p = (struct ku_parsed *)e;

	if (!p)
		return;
	json_object_put(p->obj);
	free(p);
}
