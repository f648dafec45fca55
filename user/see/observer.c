// SPDX-License-Identifier: GPL-2.0-only
#include "observer.h"

#include <seccomp.h>
#include <string.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "container.h"
#include "names.h"
#include "util.h"

/* A wait for a directory names the copy-up behind it by number; the copy-up's own record may come a moment later. */
#define KU_HELD_BACK_NS 300000000ull
#define KU_RECENT 4096
#define KU_NAMELESS_NS 2000000000ull
#define KU_ASK_MISSED_NS 1000000000ull

struct ku_recent {
	uint64_t id;
	uint32_t dev;
	char *path;
};

struct ku_late {
	struct ku_late *next;
	uint64_t until_ns;
	struct ku_obs_wait w;
};

struct ku_observer {
	struct ku_observer_ops ops;
	struct ku_obs obs;
	struct ku_mounts mounts;
	struct ku_recent recent[KU_RECENT]; /* by id, the newest in its place */
	struct ku_late *late, **late_tail;
	struct ku_obs_shared told;	    /* of what was lost */
	uint64_t missed, asked_ns;
};

static const char *const ku_op_names[] = {
	[KU_OP_OTHER] = "other",   [KU_OP_OPEN] = "open",	  [KU_OP_CHMOD] = "chmod",	 [KU_OP_CHOWN] = "chown",
	[KU_OP_UTIMES] = "utimes", [KU_OP_TRUNCATE] = "truncate", [KU_OP_SETXATTR] = "setxattr", [KU_OP_LINK] = "link",
	[KU_OP_RENAME] = "rename", [KU_OP_SETFLAGS] = "setflags", [KU_OP_CREATE] = "create",	 [KU_OP_READ] = "read",
	[KU_OP_REMOVE] = "remove",
};
_Static_assert(KU_ARRAY_SIZE(ku_op_names) == KU_OP_MAX, "an operation has no name");

const char *ku_op_name(uint32_t op)
{
	return ku_op_names[op < KU_OP_MAX ? op : KU_OP_OTHER];
}

const char *ku_syscall_name(int32_t nr, bool compat)
{
	static char name[64];
	char *found = nr < 0 ? NULL : seccomp_syscall_resolve_num_arch(compat ? SCMP_ARCH_X86 : SCMP_ARCH_NATIVE, nr);

	snprintf(name, sizeof(name), "%s", found ? found : "");
	free(found);
	return name;
}

void ku_who_fill(struct ku_who *who, const struct ku_task *t, struct ku_who_text *text)
{
	snprintf(text->comm, sizeof(text->comm), "%.16s", t->comm);
	snprintf(text->cgroup, sizeof(text->cgroup), "%s", t->cgroup_id ? ku_cgroup_path(t->cgroup_id) : "");
	who->pid = t->pid;
	who->tid = t->tid;
	who->uid = t->uid;
	who->comm = text->comm;
	who->cgroup = text->cgroup;
	who->runtime = ku_container_of(text->cgroup, text->container);
	who->container = text->container;
}

static const char *ku_kind_name(uint32_t mode)
{
	return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "dir" : S_ISLNK(mode) ? "symlink" : "special";
}

/* "/" for the root itself, "" when not known. Allocated, NULL without memory. */
static char *ku_record_path(const char *names, uint32_t len)
{
	if (len == KU_PATH_UNKNOWN)
		return strdup("");
	return len ? ku_names_path(names, len) : strdup("/");
}

static uint64_t ku_us(uint64_t ns)
{
	return ns / 1000;
}

static void ku_tell_union(const struct ku_mount *m, void (*fn)(void *arg, const struct ku_event *e), void *arg)
{
	struct ku_event e = { .type = KU_EV_UNION, .path = "", .ts_ns = ku_utc_ns(ku_now_ns()), .union_path = m->path };

	e.mount = (struct ku_ev_union){ .lower = m->lower, .upper = m->upper, .options = m->options, .upper_fs = m->upper_fs,
					.upper_free = m->upper_free, .upper_size = m->upper_size, .reflink = m->reflink };
	fn(arg, &e);
}

struct ku_mount *ku_observer_mount(struct ku_observer *o, uint32_t dev, uint32_t pid)
{
	struct ku_mount *m = ku_mounts_of(&o->mounts, dev, pid);

	if (!m || m->told)
		return m;
	ku_mounts_seek(m);
	if (!m->path[0])
		return m;
	m->told = true;
	ku_tell_union(m, o->ops.emit, o->ops.arg);
	return m;
}

void ku_observer_again(const struct ku_observer *o, void (*fn)(void *arg, const struct ku_event *e), void *arg)
{
	for (const struct ku_mount *m = o->mounts.all; m; m = m->next)
		if (m->told)
			ku_tell_union(m, fn, arg);
}

void ku_observer_name(struct ku_observer *o, uint32_t dev, uint32_t pid, const char *path)
{
	struct ku_mount *m = ku_mounts_of(&o->mounts, dev, pid);
	char *copy = m ? strdup(path) : NULL;

	if (!copy)
		return; /* its mount point will do */
	free(m->path);
	m->path = copy;
	ku_observer_mount(o, dev, pid);
}

static const char *ku_union_name(struct ku_observer *o, uint32_t dev, uint32_t pid)
{
	struct ku_mount *m = ku_observer_mount(o, dev, pid);

	return m ? m->path : "";
}

static struct ku_recent *ku_recent_of(struct ku_observer *o, uint64_t id)
{
	return &o->recent[(id * 0x9e3779b97f4a7c15ull) >> 52 & (KU_RECENT - 1)];
}

static const char *ku_result_text(int32_t result, char buf[static 16])
{
	return result ? ku_errno_name(-result, buf) : "ok";
}

static void ku_on_copyup(struct ku_observer *o, const struct ku_obs_copyup *c)
{
	static const char *const data[] = { [KU_DATA_NONE] = "none", [KU_DATA_COPIED] = "copied", [KU_DATA_CLONED] = "cloned",
					    [KU_DATA_METADATA] = "metadata" };
	struct ku_recent *r = ku_recent_of(o, c->id);
	struct ku_who_text text;
	struct ku_event e = { .type = KU_EV_COPYUP };
	struct ku_task who = c->who, asker = { 0 };
	char buf[16], *path;
	bool own;

	path = ku_record_path(c->path, c->path_len);
	free(r->path);
	r->id = c->id;
	r->dev = c->dev;
	r->path = path;
	own = o->obs.shared->self_tgid && c->who.pid == o->obs.shared->self_tgid;
	if (own && o->ops.own(o->ops.arg, c, &asker))
		return;
	if (asker.pid)
		who = asker;
	e.ts_ns = ku_utc_ns(c->start_ns);
	e.union_path = ku_union_name(o, c->dev, c->who.pid);
	e.path = path ? path : "";
	e.copyup = (struct ku_ev_copyup){
		.id = c->id,
		.kind = ku_kind_name(c->mode),
		.op = ku_op_name(c->op),
		.syscall = ku_syscall_name(c->nr, c->compat),
		.engine = own ? "kunion" : "kernel",
		.data = data[c->data < KU_ARRAY_SIZE(data) ? c->data : 0],
		.size = S_ISREG(c->mode) ? c->size : 0,
		.bytes = c->bytes,
		.lock_us = ku_us(c->lock_ns),
		.copy_us = ku_us(c->file_ns),
		.fsync_us = ku_us(c->fsync_ns),
		.total_us = ku_us(c->end_ns - c->start_ns),
		.waiters = c->waiters,
		.result = ku_result_text(c->result, buf),
	};
	ku_who_fill(&e.copyup.who, &who, &text);
	o->ops.emit(o->ops.arg, &e);
}

static void ku_tell_wait(struct ku_observer *o, const struct ku_obs_wait *w)
{
	static const char *const on[] = { [KU_ON_INODE] = "inode", [KU_ON_DIR] = "dir", [KU_ON_FILE] = "file" };
	const struct ku_recent *r = ku_recent_of(o, w->root.id);
	_cleanup_free_ char *path = ku_record_path(w->path, w->path_len);
	struct ku_who_text text, holder_text;
	struct ku_task holder = w->holder, copier;
	struct ku_event e = { .type = KU_EV_WAIT };
	char root_comm[17];
	uint32_t root_pid = w->root.pid;

	snprintf(root_comm, sizeof(root_comm), "%.16s", w->root.comm);
	/* Not kunion is to blame, but who asked it. */
	if (o->obs.shared->self_tgid && root_pid == o->obs.shared->self_tgid && o->ops.asker(o->ops.arg, w->root.tid, w->start_ns, &copier)) {
		if (holder.tid == w->root.tid)
			holder = copier;
		root_pid = copier.pid;
		snprintf(root_comm, sizeof(root_comm), "%.16s", copier.comm);
	}
	e.ts_ns = ku_utc_ns(w->start_ns);
	e.union_path = ku_union_name(o, w->dev, w->who.pid);
	e.path = path ? path : "";
	e.wait = (struct ku_ev_wait){
		.op = ku_op_name(w->op),
		.syscall = ku_syscall_name(w->nr, w->compat),
		.on = on[w->on < KU_ARRAY_SIZE(on) && w->on ? w->on : KU_ON_INODE],
		.holder_op = ku_op_name(w->holder_op),
		.copyup_id = w->root.id,
		.copyup_path = w->on == KU_ON_INODE ? e.path : r->id == w->root.id && r->path ? r->path : "",
		.copyup_pid = root_pid,
		.copyup_comm = root_comm,
		.wait_us = ku_us(w->end_ns - w->start_ns),
		.result = w->result < 0 ? "signal" : "released",
	};
	ku_who_fill(&e.wait.who, &w->who, &text);
	ku_who_fill(&e.wait.holder, &holder, &holder_text);
	o->ops.emit(o->ops.arg, &e);
}

static void ku_on_wait(struct ku_observer *o, const struct ku_obs_wait *w, size_t size)
{
	struct ku_late *late;

	if (o->obs.shared->self_tgid && w->who.pid == o->obs.shared->self_tgid) {
		o->ops.own_wait(o->ops.arg, w);
		return;
	}
	if (w->on == KU_ON_INODE || ku_recent_of(o, w->root.id)->id == w->root.id) {
		ku_tell_wait(o, w);
		return;
	}
	late = malloc(sizeof(*late));
	if (!late) {
		ku_tell_wait(o, w);
		return;
	}
	memset(late, 0, offsetof(struct ku_late, w));
	memcpy(&late->w, w, size < sizeof(late->w) ? size : sizeof(late->w));
	late->until_ns = ku_now_ns() + KU_HELD_BACK_NS;
	*o->late_tail = late;
	o->late_tail = &late->next;
}

static void ku_on_write(struct ku_observer *o, const struct ku_obs_write *w)
{
	_cleanup_free_ char *path = ku_record_path(w->path, w->path_len);
	struct ku_who_text text;
	struct ku_event e = { .type = KU_EV_WRITE, .ts_ns = ku_utc_ns(w->ts_ns) };

	e.union_path = ku_union_name(o, w->dev, w->who.pid);
	e.path = path ? path : "";
	e.write = (struct ku_ev_write){ .op = w->op == KU_OP_OPEN ? "modify" : ku_op_name(w->op), .kind = ku_kind_name(w->mode), .path2 = "",
					.size = w->size, .layer = w->lower && w->op != KU_OP_CREATE ? "lower" : "upper" };
	ku_who_fill(&e.write.who, &w->who, &text);
	o->ops.emit(o->ops.arg, &e);
}

/* At a union's end, and at ours. */
static void ku_tell_totals(struct ku_observer *o, struct ku_mount *m)
{
	struct ku_count_key key, last, *at = NULL;
	struct ku_event e = { .type = KU_EV_TOTALS, .path = "" };
	struct ku_count c;

	for (; !ku_obs_count_next(&o->obs, at, &key); at = &last) {
		last = key;
		if (key.dev != m->dev || ku_obs_count(&o->obs, &key, &c))
			continue;
		e.totals.copyups += c.copyups;
		e.totals.bytes += c.bytes;
		e.totals.failed += key.failed ? c.copyups : 0;
		e.totals.copyup_us += ku_us(c.copyup_ns);
		e.totals.waits += c.waits;
		e.totals.wait_us += ku_us(c.wait_ns);
	}
	o->ops.add(o->ops.arg, m->dev, &e.totals);
	e.totals.missing = o->obs.shared->dropped[KU_O_COPYUP] + o->obs.shared->dropped[KU_O_WAIT] + o->obs.shared->no_room + o->missed;
	e.ts_ns = ku_utc_ns(ku_now_ns());
	e.union_path = m->path;
	o->ops.emit(o->ops.arg, &e);
}

/* Its mount point may not be there yet: it is looked for again for a while, for who mounted it may be gone when the first copy-up is told. */
static void ku_on_made(struct ku_observer *o, const struct ku_obs_made *r)
{
	uint32_t pid = o->obs.host_pids ? r->pid : 0;
	struct ku_mount *m;

	ku_mounts_forget(&o->mounts, r->dev);
	m = ku_mounts_of(&o->mounts, r->dev, pid);
	if (m) {
		m->made_by = pid;
		m->made_ns = ku_now_ns();
	}
	o->ops.made(o->ops.arg, r->dev, pid);
}

/* True: some still have no name. */
static bool ku_name_new(struct ku_observer *o)
{
	uint64_t now = ku_now_ns();
	bool some = false;

	for (struct ku_mount *m = o->mounts.all; m; m = m->next) {
		if (!m->made_ns)
			continue;
		if (now - m->made_ns > KU_NAMELESS_NS || ku_mounts_of(&o->mounts, m->dev, m->made_by)->path[0])
			m->made_ns = 0;
		else
			some = true;
	}
	return some;
}

static void ku_on_gone(struct ku_observer *o, uint32_t dev)
{
	struct ku_mount *m = ku_mounts_of(&o->mounts, dev, 0);

	if (m && m->told)
		ku_tell_totals(o, m);
	ku_obs_count_forget(&o->obs, dev);
	o->ops.gone(o->ops.arg, dev);
	ku_mounts_forget(&o->mounts, dev);
}

void ku_observer_forget(struct ku_observer *o, uint32_t dev)
{
	struct ku_mount *m = ku_mounts_of(&o->mounts, dev, 0);

	ku_obs_union_remove(&o->obs, dev);
	ring_buffer__consume(o->obs.ring); /* what it has goes before the totals */
	if (m && m->told)
		ku_tell_totals(o, m);
	ku_obs_count_forget(&o->obs, dev);
	ku_mounts_forget(&o->mounts, dev);
}

static int ku_on_obs_record(void *arg, void *data, size_t size)
{
	struct ku_observer *o = arg;

	switch (*(const __u32 *)data) {
	case KU_O_COPYUP:
		ku_on_copyup(o, data);
		break;
	case KU_O_WAIT:
		ku_on_wait(o, data, size);
		break;
	case KU_O_WRITE:
		ku_on_write(o, data);
		break;
	case KU_O_MADE:
		ku_on_made(o, data);
		break;
	case KU_O_GONE:
		ku_on_gone(o, ((const struct ku_obs_gone *)data)->dev);
		break;
	}
	return 0;
}

/* Waits whose copy-up is known by now, or not to be expected any more. */
static void ku_tell_late(struct ku_observer *o, bool all)
{
	struct ku_late **at = &o->late, *l;
	uint64_t now = ku_now_ns();

	while ((l = *at)) {
		if (!all && ku_recent_of(o, l->w.root.id)->id != l->w.root.id && now < l->until_ns) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		ku_tell_wait(o, &l->w);
		free(l);
	}
	o->late_tail = at;
}

/* Runs of the programs that the kernel left out; asking takes a system call for each program. */
static uint64_t ku_missed(struct ku_observer *o, bool last)
{
	uint64_t now = ku_now_ns();

	if (!last && now - o->asked_ns < KU_ASK_MISSED_NS)
		return o->missed;
	o->asked_ns = now;
	ku_obs_take_unended(&o->obs, false);
	return ku_obs_missed(&o->obs);
}

static void ku_tell_lost(struct ku_observer *o, bool last)
{
	uint64_t missed = ku_missed(o, last);
	struct ku_obs_shared now;
	struct ku_event e = { .type = KU_EV_DROPPED, .union_path = "", .path = "" };

	memcpy(&now, o->obs.shared, sizeof(now));
	e.dropped.copyups = now.dropped[KU_O_COPYUP] - o->told.dropped[KU_O_COPYUP];
	e.dropped.waits = now.dropped[KU_O_WAIT] - o->told.dropped[KU_O_WAIT];
	e.dropped.writes = now.dropped[KU_O_WRITE] - o->told.dropped[KU_O_WRITE];
	e.dropped.others = now.dropped[KU_O_GONE] - o->told.dropped[KU_O_GONE] + now.dropped[KU_O_MADE] - o->told.dropped[KU_O_MADE] + now.no_room - o->told.no_room +
			   missed - o->missed;
	e.dropped.count = e.dropped.copyups + e.dropped.waits + e.dropped.writes + e.dropped.others;
	o->told = now;
	o->missed = missed;
	if (!e.dropped.count)
		return;
	e.ts_ns = ku_utc_ns(ku_now_ns());
	o->ops.emit(o->ops.arg, &e);
}

int ku_observer_turn(struct ku_observer *o, bool last)
{
	if (last)
		ku_obs_take_unended(&o->obs, true);
	ring_buffer__consume(o->obs.ring);
	ku_tell_late(o, last);
	ku_tell_lost(o, last);
	if (ku_name_new(o))
		return 5;
	return o->late ? 50 : -1;
}

void ku_observer_hurry(struct ku_observer *o)
{
	ku_tell_late(o, true);
}

void ku_observer_finish(struct ku_observer *o)
{
	struct ku_written_key key = { 0 };
	struct ku_written w;

	while (!ku_obs_written_next(&o->obs, &key, &w)) {
		const struct ku_recent *r = ku_recent_of(o, w.id);
		struct ku_event e = { .type = KU_EV_CHANGED, .union_path = "", .path = "" };

		if (!w.written)
			continue;
		if (r->id == w.id && r->path) {
			e.union_path = ku_union_name(o, r->dev, 0);
			e.path = r->path;
		}
		e.ts_ns = ku_utc_ns(ku_now_ns());
		e.changed = (struct ku_ev_changed){ .copyup_id = w.id, .written = w.written };
		o->ops.emit(o->ops.arg, &e);
	}
	for (struct ku_mount *m = o->mounts.all; m; m = m->next)
		if (m->told)
			ku_tell_totals(o, m);
}

unsigned int ku_observer_unions(const struct ku_observer *o)
{
	unsigned int n = 0;

	for (const struct ku_mount *m = o->mounts.all; m; m = m->next)
		n += m->told;
	return n;
}

int ku_observer_open(const struct ku_observer_ops *ops, bool all, bool writes, bool layers, uint32_t self_tgid, struct ku_observer **ret,
		     char why[static 256])
{
	const struct ku_obs_config wanted = { .all = all, .writes = writes, .layers = layers };
	struct ku_observer *o = calloc(1, sizeof(*o));
	int err;

	if (!o) {
		snprintf(why, 256, "out of memory");
		return -ENOMEM;
	}
	o->ops = *ops;
	o->late_tail = &o->late;
	err = ku_obs_load(&o->obs, &wanted, ku_on_obs_record, o, why);
	if (err) {
		ku_observer_close(o);
		return err;
	}
	o->obs.shared->self_tgid = self_tgid;
	*ret = o;
	return 0;
}

int ku_observer_attach(struct ku_observer *o, char why[static 256])
{
	return ku_obs_attach(&o->obs, why);
}

void ku_observer_detach(struct ku_observer *o)
{
	ku_obs_detach(&o->obs);
}

void ku_observer_close(struct ku_observer *o)
{
	if (!o)
		return;
	ku_obs_close(&o->obs);
	while (o->late) {
		struct ku_late *l = o->late;

		o->late = l->next;
		free(l);
	}
	for (size_t i = 0; i < KU_RECENT; i++)
		free(o->recent[i].path);
	ku_mounts_free(&o->mounts);
	free(o);
}

int ku_observer_fd(const struct ku_observer *o)
{
	return ring_buffer__epoll_fd(o->obs.ring);
}

const struct ku_obs *ku_observer_bpf(const struct ku_observer *o)
{
	return &o->obs;
}
