// SPDX-License-Identifier: GPL-2.0-only
/* kunion policy answer: what becomes of an operation that is held. */
#include <ctype.h>
#include <dirent.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cmd.h"
#include "judge_hold.h"
#include "log.h"
#include "policy/policy_cmd.h"
#include "policy/policy_load.h"
#include "union.h"
#include "util.h"

#define KU_ANSWER_MS 10000

/* Asks the kunion behind one socket. 0: it was its question; -ENOENT: it was not; or -errno. */
static int ku_answer_one(const char *path, const char *message)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX }, own = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char reply[64];
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	/* A name of the kernel's choice, for the reply to come to. */
	if (bind(fd, (struct sockaddr *)&own, sizeof(own.sun_family)) || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	if (send(fd, message, strlen(message), MSG_NOSIGNAL) < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	if (poll(&p, 1, KU_ANSWER_MS) <= 0)
		return -ETIMEDOUT;
	n = recv(fd, reply, sizeof(reply) - 1, 0);
	if (n < 0)
		return -errno;
	reply[n] = '\0';
	return !strcmp(reply, KU_HOLD_OK) ? 0 : !strcmp(reply, KU_HOLD_NONE) ? -ENOENT : -EIO;
}

static int ku_answer_all(const char *message)
{
	const char *dir_path = "";
	int dir_fd = ku_run_dir(&dir_path), ret = -ENOENT;
	struct dirent *e;
	DIR *dir;

	if (dir_fd < 0)
		return dir_fd;
	close(dir_fd);
	dir = opendir(dir_path);
	if (!dir)
		return -errno;
	while (ret && (e = readdir(dir))) {
		_cleanup_free_ char *path = NULL;
		int n;

		if (strncmp(e->d_name, KU_HOLD_SOCKET ".", strlen(KU_HOLD_SOCKET) + 1))
			continue;
		if (asprintf(&path, "%s/%s", dir_path, e->d_name) < 0) {
			path = NULL;
			ret = -ENOMEM;
			break;
		}
		n = ku_answer_one(path, message);
		/* It may be another one's. */
		ret = !n || ret == -ENOENT ? n : ret;
	}
	closedir(dir);
	return ret;
}

/* "allow", "deny", "deny:EACCES" as a message's words. False: none of these. */
static bool ku_answer_words(const char *text, char words[static 32])
{
	const char *name = !strncmp(text, "deny:", 5) ? text + 5 : NULL;
	int code = 0;

	if (!strcmp(text, "allow")) {
		snprintf(words, 32, "allow");
		return true;
	}
	if (strcmp(text, "deny") && (!name || ku_pol_errno_number(name, &code)))
		return false;
	snprintf(words, 32, "deny %d", code);
	return true;
}

int ku_policy_cmd_answer(const struct ku_policy_args *a)
{
	char words[32], message[128];
	int n;

	for (const char *c = a->file; *c; c++)
		if (!isdigit((unsigned char)*c) || c - a->file > 19) {
			ku_err("policy answer: '%s' is no question; the number 'id' of a hold event would be right", a->file);
			return KU_EXIT_USAGE;
		}
	if (!ku_answer_words(a->answer, words)) {
		ku_err("policy answer: '%s': allow, deny or deny:ERRNO, as deny:EACCES, would be right", a->answer);
		return KU_EXIT_USAGE;
	}
	snprintf(message, sizeof(message), "%s %s", a->file, words);
	n = ku_answer_all(message);
	if (n == -ENOENT)
		ku_err("policy answer: no kunion has the question %s; it was answered, came to its limit, or its task is gone", a->file);
	else if (n)
		ku_err("policy answer: %s", strerror(-n));
	return n ? KU_EXIT_FAIL : KU_EXIT_OK;
}
