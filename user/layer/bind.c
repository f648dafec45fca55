// SPDX-License-Identifier: GPL-2.0-only
#include "bind.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fdpass.h"
#include "meta.h"
#include "overlay.h"
#include "place.h"
#include "stop.h"
#include "sys.h"
#include "util.h"

/* <linux/mount.h>, Linux 5.15; that header and <sys/mount.h> cannot stand together. */
#ifndef MOVE_MOUNT_SET_GROUP
#define MOVE_MOUNT_SET_GROUP 0x00000100
#endif

static int ku_bind_move(int from, int to, unsigned int flags)
{
	return move_mount(from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | flags) < 0 ? -errno : 0;
}

static int ku_bind_propagation(int fd, uint64_t propagation)
{
	struct mount_attr attr = { .propagation = propagation };

	return mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

static int ku_bind_clone(int fd)
{
	int r = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	return r < 0 ? -errno : r;
}

static int ku_bind_check(const struct ku_upper *u, const struct ku_place *p, char err[static KU_LAYER_ERR])
{
	if (p->ours)
		return ku_layer_err(err, -EBUSY, "%s: a union is attached there; 'kunion detach %s' takes it off", p->target, p->target);
	if (p->child)
		return ku_layer_err(err, -EBUSY, "%s: %s is mounted below it, and would be hidden; unmount that first", p->target, p->child);
	if (p->unbindable)
		return ku_layer_err(err, -EINVAL, "%s: mounted unbindable, so nothing can lie over it; 'mount --make-private %s'", p->target,
				    p->target);
	if (ku_upper_is_in(u, p->mount) > 0)
		return ku_layer_err(err, -ELOOP, "%s: it or %s is in %s itself; use directories elsewhere", u->upper_path, u->work_path, p->target);
	return 0;
}

/* An upper directory that is new gets what the root of the lower one has, so that the union has it. */
static int ku_bind_root_meta(const struct ku_upper *u, int lower, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int from = -1;
	int r;

	if (!u->upper_made)
		return 0;
	from = openat(lower, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = from < 0 ? -errno : ku_copy_meta(from, u->upper);
	return r ? ku_layer_err(err, r, "%s: owner, mode and xattrs of TARGET cannot be set: %s", u->upper_path, strerror(-r)) : 0;
}

/* A mount over a shared one would appear at all its peers, perhaps over the lower directory's own name: while it is put there, it has none. */
static int ku_bind_put(const struct ku_place *p, int overlay, int peer, char err[static KU_LAYER_ERR])
{
	int r = p->shared ? ku_bind_propagation(p->mount, MS_PRIVATE) : 0, back = 0;

	if (r)
		return ku_layer_err(err, r, "%s: its propagation cannot be set: %s", p->target, strerror(-r));
	r = ku_bind_move(overlay, p->mount, 0);
	if (p->shared)
		back = ku_bind_move(peer, p->mount, MOVE_MOUNT_SET_GROUP);
	if (r)
		return ku_layer_err(err, r, "%s: the overlay cannot be put there: %s%s", p->target, strerror(-r),
				    back ? "; the mount is private now" : "");
	if (!back && p->shared)
		back = ku_bind_propagation(overlay, MS_SHARED);
	if (!back)
		return 0;
	umount2(p->target, MNT_DETACH | UMOUNT_NOFOLLOW);
	return ku_layer_err(err, back, "%s: its propagation cannot be kept: %s; it is private now", p->target, strerror(-back));
}

/* The last look before it: nothing else was mounted there meanwhile. */
static int ku_bind_still(const struct ku_place *p, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int now = ku_place_again(p);
	uint64_t id = 0;

	if (now < 0 || ku_place_mount_id(now, &id) || id != p->id)
		return ku_layer_err(err, -ESTALE, "%s: another mount is there by now; try again", p->target);
	return 0;
}

static int ku_bind_step(int r, const struct ku_place *p, const char *what, char err[static KU_LAYER_ERR])
{
	return r < 0 ? ku_layer_err(err, r, "%s: %s: %s", p->target, what, strerror(-r)) : 0;
}

/* From here on in the target's mount namespace, and out of it again when the layers are put together. */
static int ku_bind_make(struct ku_upper *u, const struct ku_place *p, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int lower = -1, peer = -1, overlay = -1;
	int r = ku_bind_check(u, p, err);

	if (!r)
		r = ku_bind_root_meta(u, p->mount, err);
	if (r)
		return r;
	if (p->away >= 0) {
		lower = ku_bind_clone(p->mount);
		r = ku_bind_step(lower, p, "cannot be cloned", err);
	}
	if (!r && p->shared) {
		peer = ku_bind_clone(p->mount);
		r = ku_bind_step(peer, p, "cannot be cloned", err);
	}
	if (!r && p->away >= 0) {
		/* Layers must be of our mount namespace: it lies over the root of a copy of it, where no path leads. */
		r = ku_place_home(p);
		if (!r && (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			   move_mount(lower, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0))
			r = -errno;
		if (!r)
			r = ku_upper_again(u);
		r = ku_bind_step(r, p, "cannot be brought to its upper layer", err);
	}
	if (r)
		return r;
	overlay = ku_overlay_make(u, p->away >= 0 ? lower : p->mount, p->attr, err);
	if (overlay < 0)
		return overlay;
	ku_stop("bind-put");
	r = ku_bind_step(ku_place_away(p), p, "its mount namespace cannot be entered", err);
	if (!r)
		r = ku_bind_still(p, err);
	return r ? r : ku_bind_put(p, overlay, peer, err);
}

static int ku_bind_attach_child(const struct ku_bind *b, struct ku_upper *u, bool *ret_read_only, char err[static KU_LAYER_ERR])
{
	struct ku_place p;
	int r = ku_place_open(b->target, b->pid, &p, err);

	if (!r)
		r = ku_bind_make(u, &p, err);
	*ret_read_only = p.attr & MOUNT_ATTR_RDONLY;
	ku_place_close(&p);
	return r;
}

static int ku_bind_detach_child(const char *target, pid_t pid, char err[static KU_LAYER_ERR])
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int dir = -1;
	struct ku_place p;
	int r = ku_place_open(target, pid, &p, err);

	if (!r && !p.ours)
		r = ku_layer_err(err, -EINVAL, "%s: %s; %s", target, p.overlay ? "an overlay that is not kunion's" : "no union is attached there",
				 p.overlay ? "umount(8) takes it off" : "nothing to detach");
	if (!r) {
		dir = ku_place_parent(&p, &name);
		r = ku_bind_step(dir, &p, "cannot be looked at", err);
	}
	/* What is open on it is in use. */
	ku_closep(&p.mount);
	if (!r && (fchdir(dir) < 0 || umount2(name, UMOUNT_NOFOLLOW) < 0))
		r = errno == EBUSY ? ku_layer_err(err, -EBUSY, "%s: in use%s%s; 'fuser -vm %s' lists by whom", target,
						  p.child ? ", mounted below it: " : " (an open file, a working directory)",
						  p.child ? p.child : "", target) :
				     ku_layer_err(err, -errno, "%s: cannot be unmounted: %s", target, strerror(errno));
	ku_place_close(&p);
	return r;
}

/* Mount namespaces are entered in a child with one thread, and signals wait until it is done. */
static int ku_bind_in_child(const struct ku_bind *b, struct ku_upper *u, bool *ret_read_only, char err[static KU_LAYER_ERR])
{
	_cleanup_close_ int mine = -1, theirs = -1;
	sigset_t all, old;
	int socks[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		return ku_layer_err(err, -errno, "%s: %s", b->target, strerror(errno));
	mine = socks[0];
	theirs = socks[1];
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid = fork();
	if (pid == 0) {
		bool read_only = false;

		r = u ? ku_bind_attach_child(b, u, &read_only, err) : ku_bind_detach_child(b->target, b->pid, err);
		_exit(!!ku_pass_send(theirs, r ? r : read_only, r ? err : "", -1));
	}
	ku_closep(&theirs);
	r = pid < 0 ? ku_layer_err(err, -errno, "%s: %s", b->target, strerror(errno)) : ku_pass_receive(mine, err, KU_LAYER_ERR, NULL);
	if (r < 0 && !*err)
		ku_layer_err(err, r, "%s: %s", b->target, strerror(-r));
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	sigprocmask(SIG_SETMASK, &old, NULL);
	*ret_read_only = r > 0;
	return r < 0 ? r : 0;
}

int ku_bind_attach(const struct ku_bind *b, bool *ret_read_only, char err[static KU_LAYER_ERR])
{
	struct ku_upper u;
	int r = ku_upper_open(b->upper, b->work, false, &u, err);

	if (r)
		return r;
	if (faccessat(u.work, KU_COMMIT_JOURNAL, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r = ku_layer_err(err, -EBUSY, "%s: a commit of it did not end; 'kunion commit --upper %s TARGET' goes on with it", u.upper_path,
				 u.upper_path);
	if (!r)
		r = ku_upper_unused(&u, err);
	if (!r)
		r = ku_upper_probe(&u, err);
	if (!r)
		r = ku_bind_in_child(b, &u, ret_read_only, err);
	ku_upper_close(&u, r);
	return r;
}

int ku_bind_detach(const char *target, pid_t pid, char err[static KU_LAYER_ERR])
{
	const struct ku_bind b = { .target = target, .pid = pid };
	bool read_only;

	return ku_bind_in_child(&b, NULL, &read_only, err);
}
