// SPDX-License-Identifier: GPL-2.0-only
/* System calls beside the test. */
#define FX_PART
#include "fx_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FX_EXCHANGE_FLAG 2 /* RENAME_EXCHANGE */

const char *const fx_call_names[FX_CALL_KINDS] = {
	"stat", "chmod", "chown", "utimes", "truncate", "setxattr", "link", "rename", "exchange", "unlink",
	"open-read", "open-write", "write", "open-trunc", "create", "mkdir", "readdir", "exec",
};

uint64_t fx_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

void fx_sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

static void fx_op_child(struct fx_op *op, uid_t uid, long (*fn)(void *), void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Also keeps the exit handlers of the test away. */
	if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(3);
	op->res->start_ns = fx_now_ns();
	__atomic_store_n(&op->res->started, true, __ATOMIC_SEQ_CST);
	errno = 0;
	op->res->ret = fn(arg);
	op->res->err = op->res->ret < 0 ? errno : 0;
	op->res->end_ns = fx_now_ns();
	__atomic_store_n(&op->res->done, true, __ATOMIC_SEQ_CST);
	_exit(0);
}

void fx_op_start(struct fx_op *op, uid_t uid, long (*fn)(void *arg), void *arg)
{
	op->res = mmap(NULL, sizeof(*op->res), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FX_REQUIRE(op->res != MAP_FAILED, "memory");
	op->pid = fork();
	FX_REQUIRE(op->pid >= 0, "fork");
	if (op->pid == 0)
		fx_op_child(op, uid, fn, arg);
	while (!__atomic_load_n(&op->res->started, __ATOMIC_SEQ_CST)) {
		siginfo_t si = { 0 };

		waitid(P_PID, (id_t)op->pid, &si, WEXITED | WNOHANG | WNOWAIT);
		FX_REQUIRE(!si.si_pid || op->res->started, "the call's child ended early");
		usleep(200);
	}
}

bool fx_op_done(const struct fx_op *op)
{
	return __atomic_load_n(&op->res->done, __ATOMIC_SEQ_CST);
}

bool fx_op_wait(struct fx_op *op, int ms)
{
	uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000;
	int status;

	if (!op->pid)
		return fx_op_done(op);
	while (waitpid(op->pid, &status, WNOHANG) != op->pid) {
		if (fx_now_ns() > end)
			return false;
		usleep(500);
	}
	op->pid = 0;
	return fx_op_done(op);
}

static size_t fx_proc(pid_t pid, const char *what, char *buf, size_t size)
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, buf, size - 1);
		close(fd);
	}
	buf[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

bool fx_op_parked(const struct fx_op *op)
{
	char wchan[64], stat[256], *state;

	if (!op->pid || fx_op_done(op))
		return false;
	fx_proc(op->pid, "wchan", wchan, sizeof(wchan));
	fx_proc(op->pid, "stat", stat, sizeof(stat));
	state = strrchr(stat, ')');
	return state && state[1] && state[2] == 'S' && !strcmp(wchan, "request_wait_answer");
}

bool fx_wait_parked(const struct fx_op *op, int ms)
{
	uint64_t end = fx_now_ns() + (uint64_t)ms * 1000000;

	while (!fx_op_parked(op)) {
		if (fx_now_ns() > end || fx_op_done(op)) {
			char wchan[64];

			fx_proc(op->pid, "wchan", wchan, sizeof(wchan));
			fx_diag("not parked: done %d, errno %d, wchan %s", fx_op_done(op), op->res->err, wchan);
			return false;
		}
		usleep(500);
	}
	return true;
}

bool fx_wait_copying(const struct fx *fx, uint64_t before, const struct fx_op *op)
{
	while (!fx_op_done(op)) {
		uint64_t now = fx_upper_free(fx);

		if (now < before && before - now > (uint64_t)FX_MB(2))
			return true;
		usleep(200);
	}
	return false;
}

void fx_op_kill(struct fx_op *op, int sig)
{
	if (op->pid)
		kill(op->pid, sig);
}

double fx_op_ms(const struct fx_op *op)
{
	uint64_t end = fx_op_done(op) ? op->res->end_ns : fx_now_ns();

	return (double)(end - op->res->start_ns) / 1e6;
}

/* the calls */

static int fx_err(long r)
{
	return r < 0 ? errno : 0;
}

static int fx_do_open(const struct fx_call *c)
{
	int flags = c->kind == FX_OPEN_R ? O_RDONLY : c->kind == FX_OPEN_TRUNC ? O_WRONLY | O_TRUNC : O_WRONLY;
	int fd, err = 0;

	if (c->kind == FX_OPEN_WRITE)
		flags = O_RDWR;
	if (c->kind == FX_CREATE)
		flags = O_RDWR | O_CREAT | O_EXCL;
	fd = open(c->path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno;
	if (c->kind == FX_OPEN_R && !fx_verify_fd(fd, c->id, c->size))
		err = EUCLEAN;
	if (c->kind == FX_OPEN_WRITE || c->kind == FX_CREATE)
		err = -fx_put_block(fd, c->id, 0);
	close(fd);
	return err;
}

static int fx_do_readdir(const struct fx_call *c)
{
	DIR *d = opendir(c->path);

	if (!d)
		return errno;
	while (readdir(d))
		;
	closedir(d);
	return 0;
}

static int fx_do_exec(const struct fx_call *c)
{
	pid_t pid = vfork();
	int status;

	if (pid == 0) {
		execl(c->path, c->path, (char *)NULL);
		_exit(errno ? errno : 255);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

int fx_call_now(const struct fx_call *c)
{
	const struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 6, .tv_nsec = 7 } };
	struct stat st;

	switch (c->kind) {
	case FX_STAT:
		return fx_err(stat(c->path, &st));
	case FX_CHMOD:
		return fx_err(chmod(c->path, c->mode));
	case FX_CHOWN:
		return fx_err(chown(c->path, c->owner, c->owner));
	case FX_UTIMES:
		return fx_err(utimensat(AT_FDCWD, c->path, times, 0));
	case FX_TRUNCATE:
		return fx_err(truncate(c->path, c->size));
	case FX_SETXATTR:
		return fx_err(setxattr(c->path, "trusted.fx", "fx", 2, 0));
	case FX_LINK:
		return fx_err(link(c->path, c->path2));
	case FX_RENAME:
		return fx_err(rename(c->path, c->path2));
	case FX_EXCHANGE:
		return fx_err(syscall(SYS_renameat2, AT_FDCWD, c->path, AT_FDCWD, c->path2, FX_EXCHANGE_FLAG));
	case FX_UNLINK:
		return fx_err(unlink(c->path));
	case FX_MKDIR:
		return fx_err(mkdir(c->path, 0755));
	case FX_READDIR:
		return fx_do_readdir(c);
	case FX_EXEC:
		return fx_do_exec(c);
	default:
		return fx_do_open(c);
	}
}

static long fx_call_child(void *arg)
{
	int err = fx_call_now(arg);

	errno = err;
	return err ? -1 : 0;
}

void fx_call_start(struct fx_op *op, const struct fx_call *c)
{
	struct fx_call copy = *c; /* the child has its own memory */

	fx_op_start(op, c->as, fx_call_child, &copy);
}

char fx_task_state(pid_t pid)
{
	char path[64], line[256] = "", *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return '?';
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	end = strrchr(line, ')');
	return end && end[1] ? end[2] : '?';
}
