// SPDX-License-Identifier: GPL-2.0-only
/* The gate by itself: who asks, sleeps and is let go; and who is killed before anybody has heard of him. */
#include <fcntl.h>
#include <linux/types.h>
#include <poll.h>
#include <sys/xattr.h>

#include "gate.h"
#include "kunion_abi.h"
#include "ktap.h"
#include "util.h"

#define REF 7

static unsigned int asked, interrupted;

static bool on_asked(void *arg, uint32_t tid, uint64_t *ret_ref)
{
	(void)arg;
	(void)tid;
	asked++;
	*ret_ref = REF;
	return true;
}

static void on_interrupted(void *arg, uint32_t tid, uint64_t ref)
{
	(void)arg;
	(void)tid;
	interrupted += ref == REF;
}

static int child_setup(void *arg)
{
	return *(pid_t *)arg = getpid(), 0;
}

static struct ku_gate *gate;
static pid_t *gate_child; /* shared with it */

static void begin(void)
{
	const struct ku_gate_ops ops = { .asked = on_asked, .interrupted = on_interrupted, .child_setup = child_setup,
					 .arg = gate_child = mmap(NULL, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) };
	const char *what = "";
	int err;

	KTAP_REQUIRE(gate_child != MAP_FAILED);
	if (access("/dev/fuse", R_OK | W_OK))
		ktap_skip("no /dev/fuse here");
	err = ku_gate_open(&ops, &gate, &what);
	KTAP_REQUIRE(!err, "%s: %s", what, strerror(-err));
}

/* As BPF asks for a task: by the file that the gate's child executes. Exit status: errno. */
static pid_t ask(void)
{
	char exe[64], value;
	pid_t pid;

	snprintf(exe, sizeof(exe), "/proc/%d/exe", *gate_child);
	pid = fork();
	KTAP_REQUIRE(pid >= 0);
	if (pid == 0)
		_exit(getxattr(exe, KU_XATTR_NAME, &value, 1) < 0 ? errno : 0);
	return pid;
}

static bool is_asked(int ms)
{
	struct pollfd p = { .fd = ku_gate_fd(gate), .events = POLLIN };

	return poll(&p, 1, ms) > 0 && p.revents & POLLIN;
}

static void serve_until(const unsigned int *count)
{
	while (!*count) {
		KTAP_REQUIRE(is_asked(60000), "nobody asks");
		KTAP_REQUIRE(ku_gate_process(gate) == 0);
	}
}

static int reap(pid_t pid)
{
	int status;

	KTAP_REQUIRE(waitpid(pid, &status, 0) == pid);
	return status;
}

KTAP_TEST(sleeps_until_it_is_let_go)
{
	pid_t pid;
	int status;

	begin();
	pid = ask();
	serve_until(&asked);
	KTAP_CHECK(waitpid(pid, NULL, WNOHANG) == 0, "it did not sleep");
	ku_gate_release(gate, REF + 1);
	KTAP_CHECK(waitpid(pid, NULL, WNOHANG) == 0);
	ku_gate_release(gate, REF);
	status = reap(pid);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == ENODATA, "status %#x", status);
	ku_gate_close(gate);
}

KTAP_TEST(killed_asleep)
{
	pid_t pid;
	int status;

	begin();
	pid = ask();
	serve_until(&asked);
	kill(pid, SIGKILL);
	serve_until(&interrupted);
	status = reap(pid);
	KTAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
	ku_gate_close(gate);
}

/* Its request goes with it, after we were told that there is one. Whoever waits for us must not wait for the next request. */
KTAP_TEST(killed_before_it_is_heard)
{
	pid_t pid;
	int status;

	begin();
	pid = ask();
	KTAP_REQUIRE(is_asked(60000), "nobody asks");
	kill(pid, SIGKILL);
	status = reap(pid);
	KTAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
	KTAP_CHECK(!is_asked(0), "the request is still there: this proves nothing");
	KTAP_CHECK(ku_gate_process(gate) == 0);
	/* The next one is heard as ever. */
	pid = ask();
	serve_until(&asked);
	ku_gate_release_all(gate);
	status = reap(pid);
	KTAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == ENODATA, "status %#x", status);
	ku_gate_close(gate);
}

KTAP_MAIN()
