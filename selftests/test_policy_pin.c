// SPDX-License-Identifier: GPL-2.0-only
/* A policy that outlives kunion: killed, taken over by the next one, of another version, taken off. */
#include "policy.h"

#include <bpf/bpf.h>
#include <signal.h>
#include <sys/wait.h>

FX_BARE

#define PINS "/sys/fs/bpf/kunion"
/* An errno that nothing else gives. */
#define RULES(more)                                                                                                                 \
	"version = 1;\ndefault = \"allow\";\nrules = (\n"                                                                           \
	"{ name = \"secret\"; prefix = \"/secret\"; action = \"any\"; verdict = \"deny\"; errno = \"ENOTTY\"; }" more "\n);\n"

/* Exit status of a kunion command, and what it said. */
static int kunion(char text[static 4096], const char *args)
{
	FILE *f = popen(fx_name("kunion %s 2>&1", args), "re");
	size_t n;
	int status;

	KTAP_REQUIRE(f, "%s", args);
	n = fread(text, 1, 4095, f);
	text[n] = '\0';
	status = pclose(f);
	KTAP_REQUIRE(WIFEXITED(status), "%s: %s", args, text);
	return WEXITSTATUS(status);
}

static bool secret_denied(const struct fx *fx)
{
	return policy_open(fx_path(fx, "secret/low"), O_WRONLY) == ENOTTY && policy_open(fx_path(fx, "secret/new"), O_WRONLY | O_CREAT) == ENOTTY &&
	       !fx_in_upper(fx, "secret/low") && !fx_in_upper(fx, "secret/new");
}

static void begin(struct fx *fx)
{
	char text[4096];

	/* What a test left that failed. */
	kunion(text, "detach --all");
	fx_init(fx, NULL);
	fx_lower(fx, "secret/low", FX_KB(64), 0644);
	fx_lower(fx, "open/one", FX_MB(2), 0644);
	fx_lower(fx, "open/two", FX_MB(2), 0644);
	fx_mount(fx);
	policy_write(POLICY_FILE, RULES(""));
}

/* In a process of this number, kunion's that was: it is not exempt. */
static int as_pid(pid_t pid, const char *path)
{
	for (int i = 0; i < 200; i++) {
		FILE *f = fopen("/proc/sys/kernel/ns_last_pid", "we");
		int status;
		pid_t child;

		if (!f)
			return -1;
		fprintf(f, "%d", (int)pid - 1);
		fclose(f);
		child = fork();
		if (!child)
			_exit(getpid() == pid ? policy_open(path, O_WRONLY) : 255);
		KTAP_REQUIRE(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
		if (WEXITSTATUS(status) != 255)
			return WEXITSTATUS(status);
	}
	return -1;
}

static bool log_says(const struct fx *fx, const char *what)
{
	bool found = false;

	for (uint64_t end = fx_now_ns() + FX_LONG * 1000000ull; !found && fx_now_ns() < end; fx_sleep_ms(10)) {
		char *text = fx_log_text(fx);

		found = strstr(text, what) != NULL;
		free(text);
	}
	return found;
}

/* Tries until it is told to end; 0 when it never got in. */
static long besiege(void *arg)
{
	const struct fx *fx = arg;
	int stop = open(FX_DIR "/siege-over", O_RDONLY | O_CLOEXEC);

	for (; stop < 0; stop = open(FX_DIR "/siege-over", O_RDONLY | O_CLOEXEC)) {
		int err = policy_open(fx_path(fx, "secret/low"), O_WRONLY);

		if (err != ENOTTY) {
			errno = err ?: EISNAM;
			return -1;
		}
		/* kunion needs the processor, too. */
		fx_sleep_ms(1);
	}
	close(stop);
	return 0;
}

KTAP_TEST(without_it_everything_ends_with_kunion)
{
	struct fx fx;

	begin(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
	KTAP_CHECK(secret_denied(&fx));
	KTAP_CHECK(!fx_exists(PINS));
	fx_kill(&fx);
	KTAP_CHECK(policy_open(fx_path(&fx, "secret/low"), O_WRONLY) == 0);
	KTAP_CHECK(!fx_exists(PINS));
	fx_end(&fx);
}

KTAP_TEST_LIMIT(in_force_without_kunion_and_taken_over, 300)
{
	/* With it, where it works, the gate shares memory with the policy's programs. */
	const char *mode = fx_kernel_since(6, 12) ? "manage" : "observe";
	char text[4096];
	struct fx_op siege;
	struct fx fx;
	pid_t pid;

	begin(&fx);
	fx_attach(&fx, "-m", mode, "--policy", POLICY_FILE, "--pin", NULL);
	KTAP_CHECK(secret_denied(&fx));
	pid = fx.kunion;
	fx_kill(&fx);

	KTAP_CHECK(secret_denied(&fx), "killed");
	KTAP_CHECK(as_pid(pid, fx_path(&fx, "secret/low")) == ENOTTY, "by a process that has kunion's number by now");
	KTAP_CHECK(fx_call_now(FX_CALL(FX_OPEN_W, fx_path(&fx, "open/one"))) == 0, "copied by the kernel");
	KTAP_CHECK(fx_in_upper(&fx, "open/one"));

	if (fx.tier != FX_TIER_OBSERVE)
		KTAP_CHECK(kunion(text, fx_name("run %s -- true", fx.merged)) == 2 && strstr(text, "a pinned policy is in force there"), "%s", text);
	KTAP_CHECK(kunion(text, fx_name("run -m observe --policy " POLICY_FILE " %s -- true", fx.merged)) == 2 && strstr(text, "detach --all"), "%s",
		   text);
	KTAP_CHECK(kunion(text, fx_name("run -m observe --pin %s -- true", fx.merged)) == 2 && strstr(text, "--policy"), "%s", text);

	/* Not a moment without the rule. What was refused meanwhile is told. */
	KTAP_CHECK(fx_event_count(&fx, "event", "policy", "path", "/secret/new", NULL) <= 1);
	fx_op_start(&siege, 0, besiege, &fx);
	policy_write(POLICY_FILE, RULES(", { name = \"two\"; path = \"/open/two\"; action = \"copy-up\"; verdict = \"deny\"; errno = \"EXDEV\"; }"));
	fx_attach(&fx, "-m", mode, "--policy", POLICY_FILE, "--pin", NULL);
	KTAP_CHECK(policy_open(fx_path(&fx, "open/two"), O_WRONLY) == EXDEV, "the new policy");
	KTAP_CHECK(secret_denied(&fx));
	KTAP_CHECK(fx_event_wait(&fx, 2, FX_LONG, "event", "policy", "path", "/secret/new", NULL));
	policy_file(FX_DIR "/siege-over", 0);
	KTAP_CHECK(fx_op_wait(&siege, FX_LONG) && siege.res->ret == 0, "it came in: %s", strerrorname_np(siege.res->err));
	KTAP_CHECK(kunion(text, fx_name("run -m observe --policy " POLICY_FILE " --pin %s -- true", fx.merged)) == 2 &&
			   strstr(text, "another kunion"), "%s", text);

	/* The programs that budgets need are not pinned with rules alone. */
	policy_write(POLICY_FILE, "budgets = ( { name = \"b\"; write = \"1M\"; } ); default_budget = \"b\";\n" RULES(""));
	kill(fx.kunion, SIGHUP);
	KTAP_CHECK(log_says(&fx, "start kunion again"));
	KTAP_CHECK(policy_open(fx_path(&fx, "open/two"), O_WRONLY) == EXDEV && secret_denied(&fx), "as it was");

	/* In order, or not. */
	fx_detach(&fx);
	KTAP_CHECK(secret_denied(&fx) && policy_open(fx_path(&fx, "open/two"), O_WRONLY) == EXDEV, "ended");
	KTAP_CHECK(kunion(text, "detach --all") == 0 && strstr(text, "removed"), "%s", text);
	KTAP_CHECK(!fx_exists(PINS));
	KTAP_CHECK(policy_open(fx_path(&fx, "secret/low"), O_WRONLY) == 0 && policy_open(fx_path(&fx, "open/two"), O_WRONLY) == 0, "taken off");
	KTAP_CHECK(kunion(text, "detach --all") == 0 && strstr(text, "nothing"), "%s", text);
	unlink(FX_DIR "/siege-over");
	fx_end(&fx);
}

KTAP_TEST(another_version_is_left_alone)
{
	uint32_t zero = 0, dev, abi[64];
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	char text[4096];
	struct fx fx;
	int fd;

	begin(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, "--pin", NULL);
	fx_kill(&fx);
	fd = bpf_obj_get(PINS "/policy/abi");
	KTAP_REQUIRE(fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.value_size <= sizeof(abi) &&
		     bpf_map_lookup_elem(fd, &zero, abi) == 0);
	abi[0]++;
	KTAP_REQUIRE(bpf_map_update_elem(fd, &zero, abi, BPF_ANY) == 0);
	close(fd);
	KTAP_CHECK(kunion(text, fx_name("run -m observe --policy " POLICY_FILE " --pin %s -- true", fx.merged)) == 2 &&
			   strstr(text, "another version"), "%s", text);
	KTAP_CHECK(secret_denied(&fx), "it stays in force");

	/* Its device number may be another union's from here on. */
	fd = bpf_obj_get(PINS "/policy/map_ku_pol_unions");
	KTAP_CHECK(fd >= 0 && bpf_map_get_next_key(fd, NULL, &dev) == 0);
	fx_umount(&fx);
	KTAP_CHECK(bpf_map_get_next_key(fd, NULL, &dev) != 0, "an unmounted union is in it");
	close(fd);
	KTAP_CHECK(kunion(text, "detach --all") == 0 && !fx_exists(PINS), "%s", text);
	fx_end(&fx);
}

KTAP_MAIN()
