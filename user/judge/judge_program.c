// SPDX-License-Identifier: GPL-2.0-only
#include "judge_program.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "event.h"
#include "log.h"
#include "util.h"

#define KU_PROGRAM_FACTS 16

struct ku_program {
	pid_t pid; /* 0: free */
	int pidfd;
	uint64_t number;
	bool over; /* killed, or to be heard no more */
};

struct ku_programs {
	char *file; /* NULL: none is asked */
	int epoll_fd;
	struct ku_program at[KU_PROGRAMS];
};

extern char **environ;

int ku_programs_check(const char *file, char err[static 512])
{
	struct stat st;
	int n = 0;

	/* Not searched for in $PATH: it decides as root. */
	if (stat(file, &st) || access(file, X_OK))
		n = -errno;
	else if (!S_ISREG(st.st_mode))
		n = -EACCES;
	if (n)
		snprintf(err, 512, "answer '%.300s': %s; the path of a program that can be run would be right", file, strerror(-n));
	return n;
}

int ku_programs_file(struct ku_programs *p, const char *file, char err[static 512])
{
	_cleanup_free_ char *dir = !file || *file == '/' ? NULL : getcwd(NULL, 0);
	char *path = NULL;
	int n = file ? ku_programs_check(file, err) : 0;

	if (n)
		return n;
	/* Whatever the working directory is by then. A symbolic link stays one: its name may matter. */
	if (file && (*file == '/' || dir) && asprintf(&path, "%s%s%s", dir ? dir : "", dir ? "/" : "", file) < 0)
		path = NULL;
	if (file && !path) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	free(p->file);
	p->file = path;
	return 0;
}

int ku_programs_open(const char *file, int epoll_fd, struct ku_programs **ret, char err[static 512])
{
	struct ku_programs *p = calloc(1, sizeof(*p));
	int n;

	if (!p) {
		snprintf(err, 512, "out of memory");
		return -ENOMEM;
	}
	n = ku_programs_file(p, file, err);
	if (n) {
		free(p);
		return n;
	}
	p->epoll_fd = epoll_fd;
	for (unsigned int i = 0; i < KU_PROGRAMS; i++)
		p->at[i].pidfd = -1;
	*ret = p;
	return 0;
}

static struct ku_program *ku_program_free(const struct ku_programs *p)
{
	for (unsigned int i = 0; i < KU_PROGRAMS; i++)
		if (!p->at[i].pid)
			return (struct ku_program *)&p->at[i];
	return NULL;
}

bool ku_programs_room(const struct ku_programs *p)
{
	return p->file && ku_program_free(p);
}

/* The environment of one question. */
struct ku_facts {
	char *own[KU_PROGRAM_FACTS];
	size_t n;
	char **all; /* environ without what is ours, and own */
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void ku_fact(struct ku_facts *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (f->n == KU_PROGRAM_FACTS || vasprintf(&f->own[f->n], fmt, ap) < 0)
		f->failed = true;
	else
		f->n++;
	va_end(ap);
}

static void ku_facts_free(struct ku_facts *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->own[i]);
	free(f->all);
}

static int ku_facts_make(struct ku_facts *f, const struct ku_event *e)
{
	const struct ku_ev_hold *h = &e->hold;
	size_t n = 0;

	*f = (struct ku_facts){ 0 };
	ku_fact(f, "KUNION_ID=%" PRIu64, h->id);
	ku_fact(f, "KUNION_UNION=%s", e->union_path);
	ku_fact(f, "KUNION_PATH=%s", e->path);
	ku_fact(f, "KUNION_ACTION=%s", h->action);
	ku_fact(f, "KUNION_KIND=%s", h->kind);
	ku_fact(f, "KUNION_SIZE=%" PRIu64, h->size);
	ku_fact(f, "KUNION_RULE=%s", h->rule);
	ku_fact(f, "KUNION_LIMIT=%" PRIu64, h->limit);
	ku_fact(f, "KUNION_ERRNO=%s", h->err);
	ku_fact(f, "KUNION_PID=%" PRIu32, h->who.pid);
	ku_fact(f, "KUNION_TID=%" PRIu32, h->who.tid);
	ku_fact(f, "KUNION_UID=%" PRIu32, h->who.uid);
	ku_fact(f, "KUNION_COMM=%s", h->who.comm);
	ku_fact(f, "KUNION_CGROUP=%s", h->who.cgroup);
	ku_fact(f, "KUNION_CONTAINER=%s", h->who.container);
	while (environ && environ[n])
		n++;
	f->all = calloc(n + f->n + 1, sizeof(*f->all));
	if (!f->all || f->failed) {
		ku_facts_free(f);
		return -ENOMEM;
	}
	memcpy(f->all, f->own, f->n * sizeof(*f->all));
	n = f->n;
	for (char **env = environ; env && *env; env++)
		if (strncmp(*env, "KUNION_", 7))
			f->all[n++] = *env;
	return 0;
}

/* A file with the line to be read from its beginning: a pipe could make us wait for its reader. */
static int ku_program_input(const char *line)
{
	_cleanup_close_ int fd = memfd_create("kunion-question", MFD_CLOEXEC);
	size_t len = strlen(line);

	if (fd < 0 || write(fd, line, len) != (ssize_t)len || write(fd, "\n", 1) != 1 || lseek(fd, 0, SEEK_SET))
		return fd < 0 ? -errno : -ENOSPC;
	return ku_take_fd(&fd);
}

/* In the child: nothing but system calls, for there are other threads. */
static void ku_program_run(const char *file, char **env, int in)
{
	char *const argv[] = { (char *)file, NULL };
	sigset_t none;

	/* With its own group all that it starts can be killed; it is not to outlive us. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* Our standard output is CMD's, or that of events. */
	if (dup2(in, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(126);
	execve(file, argv, env);
	_exit(127);
}

int ku_programs_start(struct ku_programs *p, uint64_t number, const char *line)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct ku_program *at = ku_program_free(p);
	_cleanup_close_ int in = -1;
	struct ku_facts facts;
	struct ku_event *e;
	int n = at ? ku_event_parse(line, &e) : -EBUSY;

	if (n)
		return n;
	n = ku_facts_make(&facts, e);
	ku_event_free(e);
	if (n)
		return n;
	in = ku_program_input(line);
	/* No vfork: where exec itself is held, that would hold us. */
	at->pid = in < 0 ? in : fork();
	if (!at->pid)
		ku_program_run(p->file, facts.all, in);
	n = in < 0 ? in : at->pid < 0 ? -errno : 0;
	ku_facts_free(&facts);
	if (n) {
		at->pid = 0;
		return n;
	}
	setpgid(at->pid, at->pid);
	at->number = number;
	at->over = false;
	/* Without it its end is seen at the next turn, within a second. */
	at->pidfd = (int)syscall(SYS_pidfd_open, at->pid, 0);
	ev.data.fd = at->pidfd;
	if (at->pidfd >= 0 && epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, at->pidfd, &ev))
		ku_debug("answer: %s", strerror(errno));
	return 0;
}

static void ku_program_kill(struct ku_program *at)
{
	at->over = true;
	kill(-at->pid, SIGKILL);
	/* Before it has made the group. */
	kill(at->pid, SIGKILL);
}

void ku_programs_over(struct ku_programs *p, uint64_t number)
{
	for (unsigned int i = 0; i < KU_PROGRAMS; i++)
		if (p->at[i].pid && p->at[i].number == number && !p->at[i].over)
			ku_program_kill(&p->at[i]);
}

/* True: it has ended, and its place is free. */
static bool ku_program_reap(struct ku_programs *p, struct ku_program *at, int *ret_status)
{
	pid_t n = waitpid(at->pid, ret_status, WNOHANG);

	if (!n)
		return false;
	/* Somebody else's wait took it: what it said is not known. */
	if (n < 0)
		*ret_status = -1;
	if (at->pidfd >= 0)
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, at->pidfd, NULL);
	ku_closep(&at->pidfd);
	at->pid = 0;
	return true;
}

static enum ku_program_says ku_program_answer(const struct ku_programs *p, uint64_t number, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) <= 1)
		return WEXITSTATUS(status) ? KU_SAYS_DENY : KU_SAYS_ALLOW;
	if (WIFSIGNALED(status))
		ku_warn("%s: signal %d ended it at question %" PRIu64 ", which goes as at its limit", p->file, WTERMSIG(status), number);
	else
		ku_warn("%s: exit status %d is no answer to question %" PRIu64 ", which goes as at its limit; 0 (allow) or 1 (deny) would be right", p->file,
			WEXITSTATUS(status), number);
	return KU_SAYS_NOTHING;
}

void ku_programs_turn(struct ku_programs *p, void (*said)(void *arg, uint64_t number, enum ku_program_says says), void *arg)
{
	for (unsigned int i = 0; i < KU_PROGRAMS; i++) {
		struct ku_program *at = &p->at[i];
		int status;

		if (at->pid && ku_program_reap(p, at, &status) && !at->over)
			said(arg, at->number, ku_program_answer(p, at->number, status));
	}
}

void ku_programs_close(struct ku_programs *p)
{
	int status;

	if (!p)
		return;
	for (unsigned int i = 0; i < KU_PROGRAMS; i++)
		if (p->at[i].pid)
			ku_program_kill(&p->at[i]);
	/* They sleep nowhere where SIGKILL does not end them, but on a file system that hangs: not for ever. */
	for (unsigned int tries = 0; tries < 200; tries++) {
		bool left = false;

		for (unsigned int i = 0; i < KU_PROGRAMS; i++)
			left |= p->at[i].pid && !ku_program_reap(p, &p->at[i], &status);
		if (!left)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	for (unsigned int i = 0; i < KU_PROGRAMS; i++)
		ku_closep(&p->at[i].pidfd);
	free(p->file);
	free(p);
}
