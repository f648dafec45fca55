// SPDX-License-Identifier: GPL-2.0-only
#define FUSE_USE_VERSION 312
#include "gate.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/mount.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <linux/types.h>

#include "kunion_abi.h"
#include "log.h"
#include "sys.h"
#include "util.h"

extern const char ku_gate_child_start[], ku_gate_child_end[];

/* One task asleep. */
struct ku_sleeper {
	struct ku_sleeper *next;
	fuse_req_t req;
	uint64_t ref, until_ns;
	uint32_t tid;
	bool interrupted;
};

struct ku_gate {
	struct ku_gate_ops ops;
	struct fuse_session *se;
	struct fuse_buf buf;
	int mnt_fd;
	uint32_t dev;
	pid_t child;
	struct ku_sleeper *sleepers, **tail; /* in the order of their slices' ends */
	bool any_interrupted;
};

static size_t ku_gate_size(void)
{
	return (size_t)(ku_gate_child_end - ku_gate_child_start);
}

static void ku_gate_stat(struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = FUSE_ROOT_ID;
	st->st_mode = S_IFREG | 0555; /* bpf_get_file_xattr checks read permission with the sleeper's credentials */
	st->st_nlink = 1;
	st->st_size = (off_t)ku_gate_size();
}

static void ku_gate_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)ino;
	(void)fi;
	ku_gate_stat(&st);
	fuse_reply_attr(req, &st, 86400);
}

static void ku_gate_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void ku_gate_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	size_t all = ku_gate_size();

	(void)ino;
	(void)fi;
	if (off < 0 || (size_t)off >= all) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (size > all - (size_t)off)
		size = all - (size_t)off;
	fuse_reply_buf(req, ku_gate_child_start + off, size);
}

static void ku_gate_interrupt(fuse_req_t req, void *data)
{
	struct ku_gate *g = fuse_req_userdata(req);

	/* libfuse is in the middle of this request: answered after its return */
	((struct ku_sleeper *)data)->interrupted = true;
	g->any_interrupted = true;
}

static void ku_gate_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct ku_gate *g = fuse_req_userdata(req);
	struct ku_sleeper *s;
	uint64_t ref;

	(void)ino;
	(void)size;
	if (strcmp(name, KU_XATTR_NAME) || !g->ops.asked(g->ops.arg, (uint32_t)fuse_req_ctx(req)->pid, &ref)) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		fuse_reply_err(req, ENOMEM); /* "cannot wait here" */
		return;
	}
	s->req = req;
	s->ref = ref;
	s->tid = (uint32_t)fuse_req_ctx(req)->pid;
	s->until_ns = ku_now_ns() + KU_GATE_SLICE_NS;
	*g->tail = s;
	g->tail = &s->next;
	fuse_req_interrupt_func(req, ku_gate_interrupt, s);
}

static const struct fuse_lowlevel_ops ku_gate_fuse_ops = {
	.getattr = ku_gate_op_getattr,
	.open = ku_gate_op_open,
	.read = ku_gate_op_read,
	.getxattr = ku_gate_op_getxattr,
};

/* Answers those for whom pick() says so. */
static void ku_gate_answer(struct ku_gate *g, bool (*pick)(const struct ku_sleeper *, uint64_t), uint64_t key, int err)
{
	struct ku_sleeper **p = &g->sleepers, *s;

	while ((s = *p)) {
		if (!pick(s, key)) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		if (g->tail == &s->next)
			g->tail = p;
		fuse_req_interrupt_func(s->req, NULL, NULL);
		fuse_reply_err(s->req, err);
		free(s);
	}
}

static bool ku_pick_ref(const struct ku_sleeper *s, uint64_t ref)
{
	return s->ref == ref;
}

static bool ku_pick_due(const struct ku_sleeper *s, uint64_t now)
{
	return s->until_ns <= now;
}

static bool ku_pick_all(const struct ku_sleeper *s, uint64_t key)
{
	(void)s;
	(void)key;
	return true;
}

static bool ku_pick_interrupted(const struct ku_sleeper *s, uint64_t key)
{
	(void)key;
	return s->interrupted;
}

void ku_gate_release(struct ku_gate *g, uint64_t ref)
{
	ku_gate_answer(g, ku_pick_ref, ref, ENODATA);
}

void ku_gate_release_all(struct ku_gate *g)
{
	ku_gate_answer(g, ku_pick_all, 0, ENODATA);
}

int ku_gate_slices(struct ku_gate *g)
{
	uint64_t now = ku_now_ns();

	ku_gate_answer(g, ku_pick_due, now, ENODATA);
	if (!g->sleepers)
		return -1;
	return (int)((g->sleepers->until_ns - now) / 1000000) + 1;
}

int ku_gate_fd(const struct ku_gate *g)
{
	return fuse_session_fd(g->se);
}

uint32_t ku_gate_dev(const struct ku_gate *g)
{
	return g->dev;
}

int ku_gate_process(struct ku_gate *g)
{
	int n = fuse_session_receive_buf(g->se, &g->buf);

	if (n == -EINTR || n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n ? n : -ENODEV;
	fuse_session_process_buf(g->se, &g->buf);
	if (g->any_interrupted) {
		g->any_interrupted = false;
		for (struct ku_sleeper *s = g->sleepers; s; s = s->next)
			if (s->interrupted)
				g->ops.interrupted(g->ops.arg, s->tid, s->ref);
		ku_gate_answer(g, ku_pick_interrupted, 0, EINTR);
	}
	return 0;
}

/* In the child: becomes the gate's file, or reports errno through the pipe. */
static void __attribute__((noreturn)) ku_gate_child_run(struct ku_gate *g, int report)
{
	static char arg0[] = "kunion-gate";
	char *argv[] = { arg0, NULL }, *envp[] = { NULL };
	sigset_t all;
	int err;

	/* Not the terminal's signals, and none but SIGKILL at all: who kills it by accident would only make waits impossible. */
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL)) {
		err = errno;
	} else {
		err = -g->ops.child_setup(g->ops.arg);
		if (!err) {
			syscall(SYS_execveat, g->mnt_fd, "", argv, envp, AT_EMPTY_PATH);
			err = errno;
		}
	}
	if (write(report, &err, sizeof(err)) != sizeof(err))
		_exit(126);
	_exit(127);
}

/* The child's exec reads its program from us: serve until its end of the pipe closes. */
static int ku_gate_spawn(struct ku_gate *g)
{
	_cleanup_close_ int rd = -1, wr = -1;
	struct pollfd fds[2];
	int pipefd[2], err;

	if (pipe2(pipefd, O_CLOEXEC))
		return -errno;
	rd = pipefd[0];
	wr = pipefd[1];
	g->child = fork();
	if (g->child < 0)
		return -errno;
	if (!g->child)
		ku_gate_child_run(g, wr);
	close(ku_take_fd(&wr));

	fds[0] = (struct pollfd){ .fd = ku_gate_fd(g), .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = rd, .events = POLLIN };
	for (;;) {
		int n = poll(fds, 2, 10000);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ETIMEDOUT;
		if (fds[0].revents) {
			err = ku_gate_process(g);
			if (err)
				return err;
		}
		if (fds[1].revents) {
			ssize_t got = read(rd, &err, sizeof(err));

			if (got == sizeof(err))
				return err ? -err : -EIO;
			return got < 0 ? -errno : 0;
		}
	}
}

void ku_gate_check_child(struct ku_gate *g)
{
	int err = 0;

	if (g->child > 0 && waitpid(g->child, NULL, WNOHANG) != g->child)
		return;
	g->child = -1;
	err = ku_gate_spawn(g);
	if (err)
		ku_warn("the gate's child died and cannot be started again: %s; all goes native", strerror(-err));
	else
		ku_warn("the gate's child was killed; started again");
}

static int ku_gate_mount(struct ku_gate *g, const char **ret_what)
{
	_cleanup_close_ int dev = -1, fs = -1;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char num[32], path[32];
	struct statx stx;
	int err;

	*ret_what = "open /dev/fuse";
	/* Who asked may be killed between our poll and our read, and takes the request along. */
	dev = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (dev < 0)
		return -errno;
	*ret_what = "mount the gate (fsopen fuse)";
	fs = ku_fsopen("fuse", FSOPEN_CLOEXEC);
	if (fs < 0)
		return fs;
	snprintf(num, sizeof(num), "%d", dev);
	if ((err = ku_fsconfig(fs, FSCONFIG_SET_STRING, "source", "kunion-gate", 0)) ||
	    (err = ku_fsconfig(fs, FSCONFIG_SET_STRING, "fd", num, 0)) ||
	    (err = ku_fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "100555", 0)) ||
	    (err = ku_fsconfig(fs, FSCONFIG_SET_STRING, "user_id", "0", 0)) ||
	    (err = ku_fsconfig(fs, FSCONFIG_SET_STRING, "group_id", "0", 0)) ||
	    (err = ku_fsconfig(fs, FSCONFIG_SET_FLAG, "allow_other", NULL, 0)) ||
	    (err = ku_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)))
		return err;
	g->mnt_fd = ku_fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (g->mnt_fd < 0)
		return g->mnt_fd;

	*ret_what = "start the gate's FUSE session";
	if (fuse_opt_add_arg(&args, "kunion-gate"))
		return -ENOMEM;
	g->se = fuse_session_new(&args, &ku_gate_fuse_ops, sizeof(ku_gate_fuse_ops), g);
	fuse_opt_free_args(&args);
	if (!g->se)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/dev/fd/%d", dev);
	if (fuse_session_mount(g->se, path))
		return -EIO;
	ku_take_fd(&dev); /* the session's now */

	/* Without DONT_SYNC this would ask ourselves, who are not serving yet. */
	if (statx(g->mnt_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx))
		return -errno;
	g->dev = stx.stx_dev_major << 20 | stx.stx_dev_minor;
	return 0;
}

int ku_gate_open(const struct ku_gate_ops *ops, struct ku_gate **ret, const char **ret_what)
{
	struct ku_gate *g = calloc(1, sizeof(*g));
	int err;

	*ret_what = "allocate the gate";
	if (!g)
		return -ENOMEM;
	g->ops = *ops;
	g->mnt_fd = -1;
	g->tail = &g->sleepers;
	err = ku_gate_mount(g, ret_what);
	if (!err) {
		*ret_what = "start the gate's child";
		err = ku_gate_spawn(g);
	}
	if (err) {
		ku_gate_close(g);
		return err;
	}
	*ret = g;
	return 0;
}

void ku_gate_close(struct ku_gate *g)
{
	if (!g)
		return;
	ku_gate_release_all(g);
	if (g->child > 0) {
		kill(g->child, SIGKILL);
		waitpid(g->child, NULL, 0);
	}
	if (g->se) {
		/* Closes /dev/fuse, which aborts the connection: whoever still asks gets an error and goes native. */
		fuse_session_unmount(g->se);
		fuse_session_destroy(g->se);
	}
	free(g->buf.mem);
	if (g->mnt_fd >= 0)
		close(g->mnt_fd);
	free(g);
}
