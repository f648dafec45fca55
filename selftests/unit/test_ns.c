// SPDX-License-Identifier: GPL-2.0-only
/* Unions in other mount namespaces: found, opened, and never anything else opened in their place, whatever is done there. */
#include "unit.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "bpf.h"
#include "mounts.h"
#include "scan.h"
#include "stop.h"
#include "util.h"

#define BOX UNIT_DIR "/box"
#define M BOX "/deep/m"
#define VICTIM UNIT_DIR "/victim"
#define OPENS 3000
#define ROUNDS 300

/* A child in a mount namespace of its own, which runs shell commands; its layers are on a tmpfs that is nowhere else. */
struct box {
	pid_t pid;
	int to, from;
};

#define LAYERS                                                                                                             \
	"mkdir -p " BOX " && mount -t tmpfs box " BOX " && cd " BOX " && mkdir -p l/d u w deep/m && touch l/mine && mount -t overlay -o lowerdir=l," \
	"upperdir=u,workdir=w"

static void box_child(const struct box *b, int flags)
{
	char cmd[1024];
	ssize_t n;

	if (unshare(flags) || write(b->from, "", 1) != 1)
		_exit(1);
	while ((n = read(b->to, cmd, sizeof(cmd))) > 0) {
		char status;

		if (!strcmp(cmd, "setup"))
			status = setresgid(0, 0, 0) || setresuid(0, 0, 0);
		else if (!strncmp(cmd, "chroot ", 7))
			status = chroot(cmd + 7) != 0;
		else
			status = system(cmd) != 0;
		if (write(b->from, &status, 1) != 1)
			break;
	}
	_exit(0);
}

static void box_run(const struct box *b, const char *cmd)
{
	char status = 1;

	KTAP_REQUIRE(write(b->to, cmd, strlen(cmd) + 1) > 0 && read(b->from, &status, 1) == 1 && !status, "%s", cmd);
}

static void box_start(struct box *b, int flags)
{
	int to[2], from[2];
	char c;

	KTAP_REQUIRE(!pipe2(to, O_CLOEXEC) && !pipe2(from, O_CLOEXEC));
	b->pid = fork();
	KTAP_REQUIRE(b->pid >= 0);
	if (!b->pid) {
		*b = (struct box){ .to = to[0], .from = from[1] };
		close(to[1]);
		close(from[0]);
		box_child(b, CLONE_NEWNS | flags);
	}
	close(to[0]);
	close(from[1]);
	b->to = to[1];
	b->from = from[0];
	if (read(b->from, &c, 1) != 1) {
		KTAP_REQUIRE(flags, "no mount namespace");
		/* In a chroot there is none to be had. */
		ktap_skip("no user namespaces here");
	}
	if (flags) {
		char cmd[256];

		snprintf(cmd, sizeof(cmd), "echo 0 0 65536 >/proc/%d/uid_map; echo 0 0 65536 >/proc/%d/gid_map", b->pid, b->pid);
		if (system(cmd))
			ktap_skip("no user namespaces here");
		box_run(b, "setup");
	}
}

static void box_end(struct box *b)
{
	kill(b->pid, SIGKILL);
	waitpid(b->pid, NULL, 0);
	close(b->to);
	close(b->from);
}

/* The only union of the box. */
static void find(const struct box *b, struct ku_union *u)
{
	struct ku_scan_wanted wanted = { .pid = (uint32_t)b->pid };
	struct ku_scan s = { 0 };
	char err[256] = "";

	KTAP_REQUIRE(!ku_scan(&wanted, &s, err) && s.n == 1, "%zu %s", s.n, err);
	*u = s.unions[0];
	s.n = 0;
	ku_scan_free(&s);
}

/* Neither who mounted it nor who uses it is there any more when its first event is told. */
KTAP_TEST(named_when_its_maker_has_ended)
{
	struct ku_mounts ms = { 0 };
	struct ku_mount *m;
	struct ku_union u;
	struct box b;
	pid_t ended;

	unit_place();
	ended = fork();
	if (!ended)
		_exit(0);
	KTAP_REQUIRE(ended > 0 && waitpid(ended, NULL, 0) == ended);
	box_start(&b, 0);
	box_run(&b, LAYERS " o " M);
	find(&b, &u);
	m = ku_mounts_of(&ms, ku_kernel_dev(u.dev), (uint32_t)ended);
	KTAP_REQUIRE(m && !m->path[0]);
	ku_mounts_seek(m);
	KTAP_CHECK(!strcmp(m->path, M) && !strcmp(m->upper, "u") && !m->upper_fs[0], "%s %s", m->path, m->upper);
	ku_union_close(&u);
	ku_mounts_forget(&ms, m->dev);
	box_run(&b, "umount " M);
	/* Nowhere: looked for less and less often. */
	m = ku_mounts_of(&ms, 1, 0);
	KTAP_REQUIRE(m);
	for (unsigned int i = 0; i < 3; i++)
		ku_mounts_seek(m);
	KTAP_CHECK(!m->path[0] && m->seek_ns > ku_now_ns() && m->seek_wait_ns == 200000000, "%llu", (unsigned long long)m->seek_wait_ns);
	ku_mounts_free(&ms);
	box_end(&b);
}

static bool has(int fd, const char *name)
{
	return !faccessat(fd, name, F_OK, 0);
}

KTAP_TEST(found_and_opened)
{
	struct ku_scan_wanted nowhere = { .match = "/nowhere/**" }, own = { .pid = (uint32_t)getpid() };
	char err[KU_UNION_ERR] = "";
	struct ku_union u;
	struct ku_scan s = { 0 };
	struct box b;
	int fd;

	unit_place();
	box_start(&b, 0);
	box_run(&b, LAYERS " o " M);
	find(&b, &u);
	KTAP_CHECK(!strcmp(u.path, M) && !strcmp(u.upperdir, "u") && u.ns.ino && !strcmp(u.prefix, "/"), "%s %s", u.path, u.upperdir);
	KTAP_CHECK(!ku_union_enter(&u, err), "%s", err);
	fd = ku_union_root(&u);
	KTAP_CHECK(fd >= 0 && has(fd, "mine"), "%d", fd);
	close(fd);
	KTAP_CHECK(ku_union_is_there(&u));
	KTAP_CHECK(!ku_scan(&nowhere, &s, err) && !s.n);
	ku_scan_free(&s);
	KTAP_CHECK(ku_scan(&own, &s, err) == -EINVAL && strstr(err, "no mount namespace of its own"), "%s", err);
	/* Nothing keeps it; and it is not taken for the next one. */
	box_run(&b, "cd " BOX " && umount " M " && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w o " M);
	fd = ku_union_root(&u);
	KTAP_CHECK(fd < 0, "%d", fd);
	if (fd >= 0)
		close(fd);
	ku_union_close(&u);
	box_end(&b);
}

/* The process by which the namespace is known, as mount(8) may be, goes between two looks: there is another one. */
KTAP_TEST(known_by_one_that_goes)
{
	struct ku_union u;
	struct box b;
	pid_t passer, killer;
	int fd, joined[2];
	char ns[64], c;

	unit_place();
	box_start(&b, 0);
	box_run(&b, LAYERS " o " M);
	find(&b, &u);
	KTAP_REQUIRE(!pipe2(joined, O_CLOEXEC));
	snprintf(ns, sizeof(ns), "/proc/%d/ns/mnt", b.pid);
	fd = open(ns, O_RDONLY | O_CLOEXEC);
	passer = fork();
	KTAP_REQUIRE(passer >= 0 && fd >= 0);
	if (!passer) {
		if (setns(fd, CLONE_NEWNS) || write(joined[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	close(fd);
	close(joined[1]);
	KTAP_REQUIRE(read(joined[0], &c, 1) == 1);
	close(joined[0]);
	u.ns.pid = (uint32_t)passer;
	setenv("KUNION_STOP_DIR", "/tmp/stop", 1);
	unit_text("/tmp/stop/union-pid.stop", "");
	KTAP_REQUIRE(!ku_stop_init());
	killer = fork();
	if (!killer) {
		while (access("/tmp/stop/union-pid.hit", F_OK))
			usleep(1000);
		kill(passer, SIGKILL);
		/* A zombie is in no namespace. */
		snprintf(ns, sizeof(ns), "/proc/%d/ns/mnt", passer);
		while (!access(ns, F_OK))
			usleep(1000);
		_exit(unlink("/tmp/stop/union-pid.stop") != 0);
	}
	KTAP_CHECK(ku_union_is_there(&u));
	KTAP_CHECK(!access("/tmp/stop/union-pid.hit", F_OK), "nobody was held");
	waitpid(killer, NULL, 0);
	waitpid(passer, NULL, 0);
	ku_union_close(&u);
	box_end(&b);
}

/* Where an engine has it mounted, too, it goes by that name. */
KTAP_TEST(root_of_a_container)
{
	struct ku_union u;
	struct box b;

	unit_place();
	KTAP_REQUIRE(!system(LAYERS " o " M));
	box_start(&b, 0);
	box_run(&b, "mkdir -p " BOX "/only && mount -t tmpfs only " BOX "/only && cd " BOX "/only && mkdir u w m");
	box_run(&b, "chroot " M);
	find(&b, &u);
	KTAP_CHECK(!strcmp(u.path, M) && !u.ns.ino, "%s", u.path);
	ku_union_close(&u);
	box_end(&b);
}

KTAP_TEST(rootless_is_only_observed)
{
	char err[KU_UNION_ERR] = "";
	struct ku_union u;
	struct box b;

	unit_place();
	box_start(&b, CLONE_NEWUSER);
	box_run(&b, LAYERS ",userxattr o " M);
	find(&b, &u);
	KTAP_CHECK(u.userxattr && ku_union_enter(&u, err) == -EOPNOTSUPP && strstr(err, "another user namespace"), "%s", err);
	ku_union_close(&u);
	box_end(&b);
}

/* While the box moves the way there, puts links in its place, and mounts over it: the union, or nothing. */
KTAP_TEST(hostile_box)
{
	unsigned int opened = 0, wrong = 0, tried = 0;
	volatile unsigned int *rounds = mmap(NULL, sizeof(*rounds), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char err[KU_UNION_ERR] = "";
	struct ku_union u;
	struct box b;
	pid_t racer;

	KTAP_REQUIRE(rounds != MAP_FAILED);
	unit_place();
	KTAP_REQUIRE(!mkdir(VICTIM, 0755) && !mkdir(VICTIM "/m", 0755) && !mkdir(VICTIM "/m/d", 0755));
	unit_text(VICTIM "/m/secret", "x");
	box_start(&b, 0);
	box_run(&b, LAYERS " o " M);
	find(&b, &u);
	KTAP_REQUIRE(!ku_union_enter(&u, err), "%s", err);
	racer = fork();
	if (!racer) {
		char ns[64];
		int fd, root;

		/* setns() makes the namespace's root ours, which is not the same in a chroot. */
		snprintf(ns, sizeof(ns), "/proc/%d/root", b.pid);
		root = open(ns, O_PATH | O_DIRECTORY);
		snprintf(ns, sizeof(ns), "/proc/%d/ns/mnt", b.pid);
		fd = open(ns, O_RDONLY);
		if (root < 0 || fd < 0 || setns(fd, CLONE_NEWNS) || fchdir(root) || chroot("."))
			_exit(1);
		for (;; ++*rounds) {
			rename(BOX "/deep", BOX "/away");
			if (symlink(VICTIM, BOX "/deep"))
				_exit(1);
			unlink(BOX "/deep");
			rename(BOX "/away", BOX "/deep");
			if (mount(VICTIM "/m", M, NULL, MS_BIND, NULL))
				_exit(1);
			umount2(M, MNT_DETACH);
		}
	}
	for (; tried < OPENS || (*rounds < ROUNDS && !waitpid(racer, NULL, WNOHANG)); tried++) {
		int fd = ku_union_root(&u);

		opened += fd >= 0;
		wrong += fd >= 0 && (has(fd, "secret") || !has(fd, "mine"));
		if (fd >= 0)
			close(fd);
	}
	KTAP_CHECK(*rounds >= ROUNDS, "nobody raced");
	KTAP_CHECK(!wrong && opened, "%u of %u were another directory", wrong, opened);
	ktap_diag("%u of %u times it was found, in %u rounds", opened, tried, *rounds);
	kill(racer, SIGKILL);
	waitpid(racer, NULL, 0);
	ku_union_close(&u);
	box_end(&b);
}

KTAP_MAIN()
