// SPDX-License-Identifier: GPL-2.0-only
/* One managed copy: open, copy, commit (DESIGN 5). Runs in a worker thread. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "below.h"
#include "commit.h"
#include "copyup.h"
#include "log.h"
#include "meta.h"
#include "names.h"
#include "session.h"
#include "stop.h"
#include "sys.h"
#include "util.h"

/* How often, and from what pause (doubled each time), the holder test is tried: who is just passing by soon lets go. */
#define KU_HOLDER_TRIES 6
#define KU_HOLDER_PAUSE_US 250

#define KU_SETTLE_TRIES 1000
#define KU_SETTLE_PAUSE_US 100

/* An attribute that no file has. */
#define KU_NO_XATTR "trusted.kunion.none"

#define KU_FLUSH_BYTES (16u << 20)
#define KU_ABANDON_NS 2000000000ull

struct ku_work {
	struct ku_session *s;
	struct ku_pending *p;
	struct ku_slot *slot;
	int dirfd, src;
	int found; /* O_PATH: what the name led to */
	unsigned int tries;
	int temp;	   /* the copy's descriptor */
	uint64_t flushed;  /* bytes of it */
	uint64_t alone_ns; /* since when nobody waits for this copy; 0: somebody does */
	const char *name; /* within p->path */
	char *dir;	  /* parent's path without the leading slash, "." for the root */
};

char *ku_request_path(const struct ku_request *req)
{
	return req->path_len > sizeof(req->path) ? NULL : ku_names_path(req->path, req->path_len);
}

/*
 * Killed, or gone on: nobody waits any more. Like the kernel, which gives a killed task's copy up. Between two slices a waiter is
 * away for a moment.
 */
static bool ku_work_abandoned(struct ku_work *w)
{
	uint64_t now;

	if (w->p->own || __atomic_load_n(&w->slot->parked, __ATOMIC_SEQ_CST)) {
		w->alone_ns = 0;
		return false;
	}
	now = ku_now_ns();
	if (!w->alone_ns)
		w->alone_ns = now;
	return now - w->alone_ns > KU_ABANDON_NS;
}

static bool ku_work_lost(void *arg)
{
	struct ku_work *w = arg;

	ku_stop("copy-chunk");
	if (KU_WORD_STATE(ku_slot_word(w->slot)) != KU_S_COPYING)
		return true;
	return ku_work_abandoned(w) && ku_slot_move(w->slot, w->p->gen, KU_S_COPYING, KU_S_LOST, 0);
}

/*
 * Flushing goes along with copying: left to the end, a journal's commit has all of the file to write out first, and creates in any
 * directory of that file system wait for it.
 */
static void ku_work_flush(void *arg, uint64_t bytes)
{
	struct ku_work *w = arg;

	__atomic_store_n(&w->p->progress, bytes, __ATOMIC_RELAXED);
	if (bytes - w->flushed < KU_FLUSH_BYTES || w->p->at->u.volatile_)
		return;
	w->flushed = bytes;
	/* What it fails with, the flush at the end will fail with. */
	if (fdatasync(w->temp))
		ku_debug("fdatasync: %s", strerror(errno));
}

/* Whoever asked still holds the file until it sleeps: the holder test would take it for somebody else. */
static void ku_work_let_settle(struct ku_work *w)
{
	for (unsigned int i = 0; i < KU_SETTLE_TRIES; i++) {
		if (w->p->own || KU_WORD_STATE(ku_slot_word(w->slot)) != KU_S_REQUESTED ||
		    __atomic_load_n(&w->slot->asleep, __ATOMIC_SEQ_CST))
			return;
		usleep(KU_SETTLE_PAUSE_US);
	}
}

static int ku_native(struct ku_work *w, const char *why)
{
	w->p->native_why = why;
	return -EREMOTE; /* no errno of a copy: "the kernel's" */
}

/* Looks the name up, which is not done again: a container may put anything there, or mount it. */
static int ku_work_find(struct ku_work *w)
{
	ku_closep(&w->found);
	w->found = ku_below_find(w->dirfd, w->name);
	if (w->found == -EXDEV)
		return ku_native(w, "it is mounted on");
	return w->found < 0 ? w->found : 0;
}

/* Has lsm/inode_getattr look at what was found, and answer into the slot of the inode that it sees. 0: it is not the inode asked for. */
static int ku_work_look(struct ku_work *w)
{
	uint32_t seq = __atomic_load_n(&w->slot->held.seq, __ATOMIC_ACQUIRE);
	struct statx stx;

	if (statx(w->found, "", AT_EMPTY_PATH, STATX_TYPE, &stx))
		return -errno;
	return __atomic_load_n(&w->slot->held.seq, __ATOMIC_ACQUIRE) != seq;
}

/* Is what was found the inode asked for, and nobody else's? Its descriptor counts as the look's own reference (KERNEL.md 9). */
static int ku_holder_test(struct ku_work *w)
{
	for (unsigned int i = 0;; i++) {
		int seen = ku_work_look(w);

		if (seen < 0)
			return seen;
		if (!seen)
			return ku_native(w, "its name leads to another file by now");
		if (!w->slot->held.excess)
			return 0;
		if (w->slot->held.excess & (KU_HELD_FLAGS | KU_HELD_UPPER))
			return ku_native(w, "it is append-only, immutable, or upper already");
		if (i == KU_HOLDER_TRIES)
			return ku_native(w, "it is held open, mapped, watched or mounted on");
		usleep(KU_HOLDER_PAUSE_US << i);
	}
}

/* Nobody's operation made this entry: it is given to the inode from here. */
static int ku_work_claim(struct ku_work *w)
{
	_cleanup_close_ int fd = ku_below_open(w->found, O_RDONLY);

	if (fd < 0)
		return fd;
	return ku_bpf_inode_claim(&w->s->bpf, fd, KU_REF(w->p->slot, w->p->gen)) ? ku_native(w, "it has a pending copy already") : 0;
}

/* Opens the file's directory, below the union's root. */
static int ku_work_dir(struct ku_work *w)
{
	struct ku_attached *at = w->p->at;
	_cleanup_close_ int root = -1;
	const char *path = w->p->path, *slash;
	size_t prefix = strlen(at->u.prefix);

	if (w->dirfd >= 0)
		return 0;
	if (!path)
		return ku_native(w, "its path is too long or too deep");

	/* The mount may show a part of the overlay only; BPF's paths begin at the overlay's root. */
	if (!w->p->own && strcmp(at->u.prefix, "/")) {
		if (strncmp(path, at->u.prefix, prefix) || path[prefix] != '/')
			return ku_native(w, "it is outside the mounted part");
		path += prefix;
	}
	slash = strrchr(path, '/');
	w->name = slash + 1;
	w->dir = slash == path ? strdup(".") : strndup(path + 1, (size_t)(slash - path - 1));
	if (!w->dir)
		return -ENOMEM;
	root = ku_union_root(&at->u);
	if (root < 0)
		return root;
	ku_stop("before-dir");
	/* O_PATH, which no watch sees. */
	w->dirfd = ku_openat2(root, w->dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, KU_BELOW);
	return w->dirfd < 0 ? w->dirfd : 0;
}

static int ku_work_open(struct ku_work *w)
{
	struct stat st;
	uint64_t ref;
	int err;

	err = ku_work_dir(w);
	if (err)
		return err;
	ku_stop("before-find");
	err = ku_work_find(w);
	if (err)
		return err;
	if (w->p->own) {
		err = ku_work_claim(w);
		if (err)
			return err;
	}
	err = ku_holder_test(w);
	if (err)
		return err;
	ku_stop("before-source");
	w->src = ku_below_open(w->found, O_RDONLY);
	ku_closep(&w->found);
	if (w->src < 0)
		return w->src;
	if (fstat(w->src, &st))
		return -errno;
	if (st.st_nlink != 1)
		return ku_native(w, "it has other hard links");
	ref = ku_bpf_inode_ref(&w->s->bpf, w->src);
	if (ref != KU_REF(w->p->slot, w->p->gen))
		return ku_native(w, "its name leads to another file by now");
	return 0;
}

static int ku_work_before_rename(void *arg)
{
	struct ku_work *w = arg;

	/* Saves a rename; what decides is lsm/inode_rename, so the stop point is behind it. */
	if (KU_WORD_STATE(ku_slot_word(w->slot)) != KU_S_COMMITTING)
		return -ECANCELED;
	ku_stop("before-rename");
	return 0;
}

/* EBUSY is lsm/inode_rename's: held at this moment. */
static bool ku_work_retry(void *arg, int err)
{
	struct ku_work *w = arg;

	if (err != EBUSY || w->tries++ == KU_HOLDER_TRIES)
		return false;
	usleep(KU_HOLDER_PAUSE_US << (w->tries - 1));
	return true;
}

/* While it grows, the copy's blocks count as the requester's (DESIGN 5); in the end it is the file's owner's. */
static void ku_work_charge(const struct ku_request *req, int temp)
{
	if (fchown(temp, req->who.fsuid, req->who.fsgid))
		ku_debug("charging uid %u: %s", req->who.fsuid, strerror(errno)); /* an id that this mount cannot hold */
}

static int ku_work_run(struct ku_work *w)
{
	struct ku_pending *p = w->p;
	const struct ku_request *req = &w->s->bpf.requests[p->slot];
	struct ku_copy_opts copy = { .cancelled = ku_work_lost, .progress = ku_work_flush, .arg = w };
	struct ku_commit_opts commit = { .before_rename = ku_work_before_rename, .retry = ku_work_retry, .arg = w };
	struct ku_temp temp = { .fd = -1 };
	int err;

	/* What ext4 keeps for root: by CAP_SYS_RESOURCE or the uid it is kept for, 0 unless changed. */
	copy.may_use_reserve = req->who.cap_resource || req->who.fsuid == 0;

	if (p->at->gone)
		return ku_native(w, "the union is gone");
	if (p->at->u.metacopy)
		return ku_native(w, "the mount has metacopy=on");
	if (p->at->u.nfs_export)
		return ku_native(w, "the mount has nfs_export=on");
	ku_stop("before-open");
	ku_work_let_settle(w);
	err = ku_work_open(w);
	if (err)
		return err;
	if (!ku_slot_move(w->slot, p->gen, KU_S_REQUESTED, KU_S_COPYING, 0))
		return -ECANCELED;
	ku_stop("copying");
	err = ku_temp_open(w->dirfd, w->dir, p->at->intents, &temp);
	w->temp = temp.fd;
	if (!err)
		ku_work_charge(req, temp.fd);
	if (!err)
		err = ku_copy_data(w->src, temp.fd, &copy, &p->stats);
	if (!err)
		err = ku_copy_meta(w->src, temp.fd);
	if (!err && !p->at->u.volatile_ && fsync(temp.fd))
		err = -errno;
	ku_closep(&w->src); /* our own hold on the file */
	p->copied_ns = ku_now_ns();
	if (!err) {
		ku_stop("before-commit");
		if (ku_slot_move(w->slot, p->gen, KU_S_COPYING, KU_S_COMMITTING, 0)) {
			ku_stop("committing");
			err = ku_temp_commit(&temp, w->name, &commit);
			if (err == -EBUSY)
				err = ku_native(w, "it is held open, mapped, watched or mounted on");
		} else {
			err = -ECANCELED;
		}
	}
	ku_temp_drop(&temp);
	return err;
}

/* 1: what was found is the inode asked for, and upper. 0: and lower. Opening it would be seen by its watches. */
static int ku_work_is_upper(struct ku_work *w)
{
	int seen = ku_work_look(w);

	if (seen <= 0)
		return seen ? seen : -ECANCELED;
	return w->slot->held.excess & KU_HELD_UPPER ? 1 : 0;
}

static int ku_work_guard_open(struct ku_work *w)
{
	int fd, err;

	err = ku_bpf_guard_begin(&w->s->bpf);
	if (err)
		return err;
	fd = ku_below_open(w->found, O_WRONLY);
	ku_bpf_guard_end(&w->s->bpf);
	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -ECANCELED ? 0 : fd;
}

/*
 * A running program cannot be opened for writing. Replacing an attribute that is not there copies up, then fails and changes nothing; it has the
 * file locked meanwhile, but no directory. What it fails with depends on the upper file system, so that does not tell.
 */
static int ku_work_guard_xattr(struct ku_work *w)
{
	int err = ku_below_setxattr(w->found, KU_NO_XATTR, "", 0, XATTR_REPLACE);
	int upper = ku_work_is_upper(w);

	if (upper < 0)
		return upper;
	return upper ? 0 : err ? err : -ECANCELED;
}

/* Has the kernel copy it, here, where no directory is locked (DESIGN 2, guard). Returns 0 when the file is upper. */
static int ku_work_guard(struct ku_work *w)
{
	struct ku_pending *p = w->p;
	uint32_t state;
	int err;

	if (p->at->gone || p->at->u.metacopy)
		return -EREMOTE;
	err = ku_work_dir(w);
	if (err)
		return err;
	__atomic_store_n(&w->slot->guard, 1, __ATOMIC_SEQ_CST);
	state = KU_WORD_STATE(ku_slot_word(w->slot));
	if (state != KU_S_COPYING && !ku_slot_move(w->slot, p->gen, KU_S_REQUESTED, KU_S_COPYING, 0) &&
	    !ku_slot_move(w->slot, p->gen, KU_S_COMMITTING, KU_S_COPYING, 0))
		return -ECANCELED;
	ku_stop("guarding");
	err = ku_work_find(w);
	if (err)
		return err;
	err = ku_work_is_upper(w);
	if (err > 0)
		p->found = true;
	if (err)
		return err < 0 ? err : 0;
	ku_stop("before-guard");
	err = ku_work_guard_open(w);
	return err == -ETXTBSY ? ku_work_guard_xattr(w) : err;
}

/* Would whoever asked copy it with a directory, or the file, locked? */
static bool ku_work_wants_guard(const struct ku_work *w)
{
	uint32_t op = w->s->bpf.requests[w->p->slot].op;

	return w->s->bpf.tier == KU_TIER_PARK && !w->p->own && op != KU_OP_OPEN && op != KU_OP_OTHER;
}

/* Errors that the requester's own copy-up would have met; with all others the kernel shall try. */
static bool ku_is_users(int err)
{
	return err == -ENOSPC || err == -EDQUOT || err == -EIO || err == -EFBIG;
}

/* The word's last change. If BPF made it LOST meanwhile, so it stays. */
static int ku_work_finish(struct ku_work *w, int err)
{
	struct ku_pending *p = w->p;
	enum ku_state to = err ? KU_S_FAILED : KU_S_DONE;
	int told = ku_is_users(err) ? -err : 0;

	for (;;) {
		__u64 word = ku_slot_word(w->slot);
		uint32_t state = KU_WORD_STATE(word);

		if (!KU_STATE_PENDING(state))
			return err ? -ECANCELED : 0;
		/* A cancelled copy whose entry still pends cannot be: but nobody may wait for ever. */
		if (ku_slot_move(w->slot, p->gen, state, to, told))
			return err;
	}
}

/* What kunion did not copy the kernel does; that takes its time, so it is done here and not in the loop. */
static void ku_own_finish(struct ku_pending *p, const struct ku_slot *slot)
{
	bool upper = p->result == -EREMOTE && slot->held.excess & KU_HELD_UPPER;

	p->own_result = p->result;
	if (upper)
		p->own_result = 0;
	if (upper || !p->result || ku_is_users(p->result))
		return;
	p->own_by_kernel = true;
	p->own_result = ku_cu_kernel(&p->at->u, p->path);
}

void ku_worker_copy(struct ku_session *s, struct ku_pending *p)
{
	struct ku_work w = { .s = s, .p = p, .slot = &s->bpf.slots[p->slot], .dirfd = -1, .src = -1, .found = -1 };
	int err;

	p->copier_tid = (uint32_t)gettid();
	if (!p->path)
		p->path = ku_request_path(&s->bpf.requests[p->slot]);
	p->start_ns = ku_now_ns();
	err = w.slot->guard ? -EREMOTE : ku_work_run(&w);
	if (err == -EREMOTE && ku_work_wants_guard(&w)) {
		ku_closep(&w.src);
		ku_closep(&w.found);
		err = ku_work_guard(&w);
		p->guarded = !err;
		/* An error is none of the requester's: the kernel shall give him his own. */
		if (err && err != -ECANCELED)
			err = -EREMOTE;
	}
	/* Unlinked or renamed before a worker came: there is nothing to copy any more. */
	if (err == -ENOENT && !p->own)
		err = -ECANCELED;
	p->end_ns = ku_now_ns();
	if (!p->copied_ns)
		p->copied_ns = p->end_ns;
	ku_closep(&w.src);
	ku_closep(&w.found);
	ku_closep(&w.dirfd); /* before anybody goes on: nothing of ours keeps the union busy */
	if (err && err != -EREMOTE && err != -ECANCELED && !ku_is_users(err))
		ku_info("%s%s: %s; left to the kernel", p->at->u.path, p->path, strerror(-err));
	p->result = ku_work_finish(&w, err);
	free(w.dir);
	if (p->own)
		ku_own_finish(p, w.slot);
}
