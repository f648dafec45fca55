// SPDX-License-Identifier: GPL-2.0-only
/* One function for each piece of advice about a mount: what it needs to have seen, why, and what to do. Files: advice_files.c. */
#include "advice.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "advice_work.h"
#include "analysis_work.h"
#include "figures.h"
#include "util.h"

/* What advice about a union's mount needs. */
struct ku_advice_union {
	/* regular files copied whole by chown or chmod */
	uint64_t owner_files, owner_bytes, owner_us;
	const char *owner_path;
	size_t owner_dir; /* length of the directory that all of these are in */
	uint64_t copied_bytes, copied_us, fsync_us, copyup_us, copyups;
	/* waits for directories that the kernel's copy-ups kept locked */
	uint64_t stalls, stall_us;
	const struct ku_an_wait *stall;
};

bool ku_option(const char *options, const char *name, char *ret, size_t size)
{
	size_t len = strlen(name);

	for (const char *at = options; *at; at += *at == ',') {
		size_t item = strcspn(at, ",");

		if (item >= len && !strncmp(at, name, len) && (item == len || at[len] == '=')) {
			if (item == len)
				snprintf(ret, size, "on");
			else
				snprintf(ret, size, "%.*s", (int)(item - len - 1), at + len + 1);
			return true;
		}
		at += item;
	}
	return false;
}

static bool ku_option_is(const struct ku_an_union *u, const char *name, const char *value)
{
	char is[16];

	return u->described && ku_option(u->options, name, is, sizeof(is)) && !strcmp(is, value);
}

char *ku_advice_text(const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}

int ku_advice_say(struct ku_advisor *ad, struct ku_advice piece, char *reason, char *todo)
{
	struct ku_advice *more = reallocarray(ad->list, ad->n + 1, sizeof(*more));

	if (more)
		ad->list = more;
	if (!more || !reason || !todo) {
		free(reason);
		free(todo);
		return -ENOMEM;
	}
	piece.reason = reason;
	piece.todo = todo;
	more[ad->n++] = piece;
	return 0;
}

const char *ku_advice_s(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static const char *ku_where(const struct ku_an_union *u)
{
	return u->path[0] ? u->path : "the union";
}

/* The part of dir (of a length) that also holds path, at least "/". */
static size_t ku_common_dir(const char *dir, size_t len, const char *path)
{
	size_t end = 1, i;

	for (i = 0; i < len && path[i] && dir[i] == path[i]; i++)
		if (path[i] == '/' && i)
			end = i;
	return i == len && len > 1 && path[i] == '/' ? len : end;
}

static void ku_owner_add(struct ku_advice_union *s, const struct ku_an_copyup *c)
{
	s->owner_files++;
	s->owner_bytes += c->bytes;
	s->owner_us += c->total_us;
	if (s->owner_path) {
		s->owner_dir = ku_common_dir(s->owner_path, s->owner_dir, c->path);
		return;
	}
	s->owner_path = c->path;
	s->owner_dir = ku_an_dir_len(c->path, false);
}

static void ku_gather_copyup(struct ku_advice_union *s, const struct ku_an_copyup *c)
{
	bool copied = !strcmp(c->data, "copied");

	if (strcmp(c->result, "ok"))
		return;
	s->copyups++;
	s->copyup_us += c->total_us;
	s->fsync_us += c->fsync_us;
	if (copied) {
		s->copied_bytes += c->bytes;
		s->copied_us += c->copy_us;
	}
	if (strcmp(c->kind, "file") || (!copied && strcmp(c->data, "cloned")))
		return;
	if (!strcmp(c->op, "chown") || !strcmp(c->op, "chmod"))
		ku_owner_add(s, c);
}

static void ku_gather_wait(struct ku_advice_union *s, const struct ku_an_wait *v)
{
	/* With guard or manage there is nothing more to switch on. */
	if (strcmp(v->on, "dir") || (v->copyup && strcmp(v->copyup->engine, "kernel")))
		return;
	s->stalls++;
	s->stall_us += v->wait_us;
	if (!s->stall || v->wait_us > s->stall->wait_us)
		s->stall = v;
}

static bool ku_owner_matters(const struct ku_advice_union *s)
{
	return s->owner_files >= KU_ADVICE_FILES || s->owner_bytes >= KU_ADVICE_BYTES;
}

static char *ku_owner_reason(const struct ku_advice_union *s)
{
	return ku_advice_text("chown and chmod changed only the owner or mode of %s file%s, but copied the data too: %s in %s.",
			      KU_COUNT(s->owner_files), ku_advice_s(s->owner_files), KU_SIZE(s->owner_bytes), KU_TIME(s->owner_us));
}

static int ku_advise_owner(struct ku_advisor *ad, const struct ku_advice_union *s, const struct ku_an_union *u)
{
	const struct ku_advice piece = {
		.name = "chown-in-image", .union_path = u->path, .weight_us = s->owner_us, .caveat = "",
		.title = "Set owners and modes when the image is built",
	};

	if (!ku_owner_matters(s))
		return 0;
	return ku_advice_say(ad, piece, ku_owner_reason(s),
			     ku_advice_text("In the image build, give the files below %.*s their owner and mode in the step that adds "
					    "them: COPY --chown=USER:GROUP --chmod=MODE .., or chown -R in the same RUN. Then leave chown "
					    "and chmod out at start.",
					    (int)s->owner_dir, s->owner_path));
}

static int ku_advise_metacopy(struct ku_advisor *ad, const struct ku_advice_union *s, const struct ku_an_union *u)
{
	const struct ku_advice piece = {
		.name = "metacopy",
		.union_path = u->path,
		.weight_us = s->owner_us,
		.title = "Mount with metacopy=on",
		.caveat =
			"Only where nobody untrusted can write into the layers: with metacopy and redirects, overlayfs follows what their "
			"xattrs say. The data is still copied when somebody writes. kunion's manage mode leaves such mounts to the kernel.",
	};
	_cleanup_free_ char *why = NULL;

	if (!ku_owner_matters(s) || !ku_option_is(u, "metacopy", "off"))
		return 0;
	why = ku_owner_reason(s);
	if (!why)
		return -ENOMEM;
	return ku_advice_say(
		ad, piece, ku_advice_text("%s With metacopy=on (here it is off) only metadata would have been copied.", why),
		ku_advice_text("Add metacopy=on,redirect_dir=on to the mount options of %s; or, for mounts that a container engine "
			       "makes, write \"options overlay metacopy=on redirect_dir=on\" to /etc/modprobe.d/overlay.conf and "
			       "reboot.",
			       ku_where(u)));
}

static int ku_advise_volatile(struct ku_advisor *ad, const struct ku_advice_union *s, const struct ku_an_union *u)
{
	const struct ku_advice piece = {
		.name = "volatile", .union_path = u->path, .weight_us = s->fsync_us,
		.title = "Mount with volatile, if the upper layer is thrown away anyway",
		.caveat = "Only for throw-away layers: fsync(2) then does nothing in the union, and after a crash the upper layer must be "
			  "deleted, not used again.",
	};

	if (s->fsync_us < KU_ADVICE_FSYNC_US || s->fsync_us * 100 < s->copyup_us * KU_ADVICE_FSYNC_PERCENT ||
	    !ku_option_is(u, "volatile", "off"))
		return 0;
	return ku_advice_say(ad, piece,
			     ku_advice_text("Of the %s that %s copy-up%s took, %s were spent in fsync (%u%%).", KU_TIME(s->copyup_us),
					    KU_COUNT(s->copyups), ku_advice_s(s->copyups), KU_TIME(s->fsync_us),
					    (unsigned int)(s->fsync_us * 100 / (s->copyup_us ? s->copyup_us : 1))),
			     ku_advice_text("Add volatile to the mount options of %s; for podman: mountopt = \"volatile\" in the section "
					    "[storage.options.overlay] of /etc/containers/storage.conf.",
					    ku_where(u)));
}

static int ku_advise_reflink(struct ku_advisor *ad, const struct ku_advice_union *s, const struct ku_an_union *u)
{
	bool xfs = !strcmp(u->upper_fs, "xfs"), able = xfs || !strcmp(u->upper_fs, "btrfs");
	const struct ku_advice piece = {
		.name = "reflink", .union_path = u->path, .weight_us = s->copied_us, .caveat = "",
		.title = "Put lower and upper layer on one file system that can reflink",
	};

	if (!u->described || u->reflink || s->copied_bytes < KU_ADVICE_BYTES ||
	    (s->copied_bytes < KU_ADVICE_REFLINK_BYTES && s->copied_us < KU_ADVICE_REFLINK_US))
		return 0;
	return ku_advice_say(ad, piece,
			     ku_advice_text("%s were copied byte by byte in %s: between these layers%s%s%s no file can be cloned.",
					    KU_SIZE(s->copied_bytes), KU_TIME(s->copied_us), u->upper_fs[0] ? " (the upper one is on " : "",
					    u->upper_fs, u->upper_fs[0] ? ")" : ""),
			     able ? ku_advice_text("The upper layer of %s is on %s: put the lower layer on that same file system%s.",
						   ku_where(u), u->upper_fs, xfs ? ", made with mkfs.xfs -m reflink=1" : "")
				  : ku_advice_text("Put the lower and the upper directory of %s on one file system, xfs (mkfs.xfs -m "
						   "reflink=1) or btrfs; for a container engine: the directory where it keeps images and layers.",
						   ku_where(u)));
}

static int ku_advise_guard(struct ku_advisor *ad, const struct ku_advice_union *s, const struct ku_an_union *u)
{
	const struct ku_an_wait *v = s->stall;
	const struct ku_advice piece = {
		.name = "guard",
		.union_path = u->path,
		.weight_us = s->stall_us,
		.title = "Run kunion in guard or manage mode",
		.caveat = "Needs Linux 6.18 or later (kunion doctor says). With guard the kernel still makes the copies; with manage "
			  "kunion does, "
			  "and st_ino of those files changes.",
	};
	_cleanup_free_ char *by = NULL;

	if (s->stall_us < KU_ADVICE_STALL_US)
		return 0;
	by = v->holder ? ku_advice_text("%s of %s", v->holder_op[0] ? v->holder_op : "something", v->holder->comm) : strdup("somebody");
	if (!by)
		return -ENOMEM;
	return ku_advice_say(
		ad, piece,
		ku_advice_text("%s operation%s waited %s for a directory that was locked during a copy-up; the worst one waited %s for "
			       "%s, held by %s%s%s.",
			       KU_COUNT(s->stalls), ku_advice_s(s->stalls), KU_TIME(s->stall_us), KU_TIME(v->wait_us),
			       v->path[0] ? v->path : "one", by, v->copyup_path[0] ? " during the copy-up of " : "", v->copyup_path),
		ku_advice_text("Keep this running beside the workload: kunion run -m guard %s (or -m manage, to have the large files "
			       "copied by kunion).",
			       u->path[0] ? u->path : "MERGED"));
}

static int ku_advice_order(const void *a, const void *b)
{
	const struct ku_advice *x = a, *y = b;

	if (x->weight_us != y->weight_us)
		return x->weight_us < y->weight_us ? 1 : -1;
	return strcmp(x->name, y->name) ? strcmp(x->name, y->name) : strcmp(x->union_path, y->union_path);
}

static int ku_advise_unions(struct ku_advisor *ad)
{
	static int (*const each[])(struct ku_advisor *ad, const struct ku_advice_union *s, const struct ku_an_union *u) = {
		ku_advise_owner, ku_advise_metacopy, ku_advise_volatile, ku_advise_reflink, ku_advise_guard,
	};
	const struct ku_analysis *a = ad->a;
	struct ku_advice_union *unions = calloc(a->nunions + 1, sizeof(*unions));
	int err = 0;

	if (!unions)
		return -ENOMEM;
	for (size_t i = 0; i < a->work->copyups.n; i++) {
		const struct ku_an_copyup *c = a->work->copyups.entries[i].item;

		ku_gather_copyup(&unions[c->union_index], c);
	}
	for (size_t i = 0; i < a->work->nwaits; i++)
		ku_gather_wait(&unions[a->work->waits[i].union_index], &a->work->waits[i]);
	for (size_t i = 0; i < a->nunions; i++)
		for (size_t k = 0; k < KU_ARRAY_SIZE(each) && !err; k++)
			err = each[k](ad, &unions[i], &a->unions[i]);
	free(unions);
	return err;
}

int ku_advise(const struct ku_analysis *a, struct ku_advice **ret, size_t *ret_n)
{
	struct ku_advisor ad = { .a = a };
	int err = ku_advise_unions(&ad);

	for (unsigned int i = 0; i < a->nunions && !err; i++)
		err = ku_advise_files(&ad, i);
	if (!err)
		err = ku_advise_again(&ad);
	if (err) {
		ku_advice_free(ad.list, ad.n);
		return err;
	}
	if (ad.n)
		qsort(ad.list, ad.n, sizeof(*ad.list), ku_advice_order);
	*ret = ad.list;
	*ret_n = ad.n;
	return 0;
}

void ku_advice_free(struct ku_advice *advice, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free((char *)advice[i].reason);
		free((char *)advice[i].todo);
	}
	free(advice);
}
