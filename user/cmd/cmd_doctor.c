// SPDX-License-Identifier: GPL-2.0-only
/* kunion doctor: what this kernel allows, proved on a real file in a private mount namespace. */
#include <argp.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "cmd.h"
#include "ctl/ask.h"
#include "ctl/server.h"
#include "log.h"
#include "session.h"
#include "util.h"

/* Large enough that who opens it is asleep long before the copy is done. */
#define KU_PROOF_SIZE (16u << 20)
#define KU_PROOF_LIMIT_NS 30000000000ull

struct ku_feature {
	const char *name;
	bool ok;
	char detail[512]; /* of a no: why, and what to do */
};

struct ku_doctor {
	struct utsname uts;
	enum ku_tier tier;
	struct ku_feature features[16 + KU_OBS_PROGS];
	unsigned int n;
};

static struct ku_feature *__attribute__((format(printf, 4, 5))) ku_feature(struct ku_doctor *d, const char *name, bool ok,
									      const char *fmt, ...)
{
	struct ku_feature *f = &d->features[d->n++];
	va_list ap;

	f->name = name;
	f->ok = ok;
	va_start(ap, fmt);
	vsnprintf(f->detail, sizeof(f->detail), fmt, ap);
	va_end(ap);
	return f;
}

static int ku_write_file(const char *path, size_t size)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	char block[65536];

	if (fd < 0)
		return -errno;
	memset(block, 'k', sizeof(block));
	for (size_t done = 0; done < size; done += sizeof(block))
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			return errno ? -errno : -EIO;
	return 0;
}

/* A union of our own on a tmpfs over /tmp, seen by nobody else and gone with this process. 0 or -errno. */
static int ku_proof_mount(const char **what)
{
	*what = "make a private mount namespace";
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	*what = "mount a tmpfs";
	if (mount("kunion-doctor", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m") || mkdir("/tmp/l", 0755) ||
	    mkdir("/tmp/u", 0755) || mkdir("/tmp/w", 0755) || mkdir("/tmp/m", 0755) || mkdir("/tmp/k", 0700))
		return -errno;
	*what = "write a file";
	if (ku_write_file("/tmp/l/f", KU_PROOF_SIZE))
		return -EIO;
	*what = "mount an overlay";
	if (mount("overlay", "/tmp/m", "overlay", 0, "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w,metacopy=off"))
		return -errno;
	return 0;
}

static bool ku_lsm_has_bpf(void)
{
	_cleanup_fclose_ FILE *f = fopen("/sys/kernel/security/lsm", "re");
	char line[512], *save, *name;

	/* Without securityfs: not known; attaching will tell. */
	if (!f || !fgets(line, sizeof(line), f))
		return true;
	for (name = strtok_r(line, ",\n", &save); name; name = strtok_r(NULL, ",\n", &save))
		if (!strcmp(name, "bpf"))
			return true;
	return false;
}

static int ku_proof_tmpfile(void)
{
	_cleanup_close_ int fd = open("/tmp/m", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : 0;
}

/* Opens the file for writing in a child and lets the session serve it. True: it waited, and got the copy. */
static bool ku_proof_wait(struct ku_session *s, char why[static 512])
{
	uint64_t end = ku_now_ns() + KU_PROOF_LIMIT_NS;
	struct stat st;
	int status = 0;
	pid_t pid;

	pid = fork();
	if (pid < 0) {
		snprintf(why, 512, "fork: %s", strerror(errno));
		return false;
	}
	if (!pid) {
		int fd = open("/tmp/m/f", O_WRONLY | O_APPEND);

		_exit(fd >= 0 && write(fd, "!", 1) == 1 ? 0 : 1);
	}
	while (waitpid(pid, &status, WNOHANG) != pid) {
		struct pollfd pfd = { .fd = ku_session_fd(s), .events = POLLIN };
		int next = ku_session_turn(s);

		if (next < -1 || ku_now_ns() > end) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			snprintf(why, 512, "an open for writing did not come back in %llu s", KU_PROOF_LIMIT_NS / 1000000000ull);
			return false;
		}
		poll(&pfd, 1, next < 0 || next > 10 ? 10 : next);
	}
	for (int i = 0; i < 200 && !s->totals.copies; i++) {
		ku_session_turn(s);
		usleep(5000);
	}
	if (status)
		snprintf(why, 512, "an open for writing failed");
	else if (!s->totals.asked)
		snprintf(why, 512, "an open for writing did not wait; BPF task work needs cmpxchg16b, other reasons are in dmesg");
	else if (s->totals.copies != 1)
		snprintf(why, 512, "it waited, but the kernel made the copy");
	else if (stat("/tmp/u/f", &st) || st.st_size != KU_PROOF_SIZE + 1)
		snprintf(why, 512, "the copy is not complete");
	else
		return true;
	return false;
}

static void ku_doctor_unseen(void *arg, const char *function, const char *unseen)
{
	ku_feature(arg, "observe", false, "%s cannot be attached to: not seen: %s", function, unseen);
}

static void ku_doctor_observe(struct ku_doctor *d, const struct ku_session *s)
{
	unsigned int before = d->n;

	if (!s->observer) {
		ku_feature(d, "observe", false, "no event tells of the kernel's copy-ups: %s", s->unobserved);
		return;
	}
	ku_obs_unseen(ku_observer_bpf(s->observer), ku_doctor_unseen, d);
	if (d->n == before)
		ku_feature(d, "observe", true, "the kernel's copy-ups and all who wait for them");
}

/* In force on a union of our own: a copy-up is refused, in a child, for kunion itself is exempt. */
static void ku_doctor_policy(struct ku_doctor *d)
{
	struct ku_session_opts opts = { .mode = KU_MODE_OBSERVE, .policy = "/tmp/k/policy" };
	char merged[] = "/tmp/m", *paths[] = { merged }, err[512] = "";
	FILE *f = fopen(opts.policy, "we");
	struct ku_session *s = NULL;
	int status = -1;
	pid_t pid;

	if (!f || fprintf(f, "version = 1; default = \"allow\"; rules = ( { name = \"proof\"; path = \"/f\"; action = \"copy-up\"; "
			     "verdict = \"deny\"; } );\n") < 0)
		snprintf(err, sizeof(err), "%s: %s", opts.policy, strerror(errno));
	if (f && fclose(f))
		snprintf(err, sizeof(err), "%s: %s", opts.policy, strerror(errno));
	if (!err[0])
		s = ku_session_start(&opts, paths, 1, err);
	if (!s) {
		ku_feature(d, "policy", false, "%s", err);
		return;
	}
	pid = fork();
	if (!pid)
		_exit(chmod("/tmp/m/f", 0600) && errno == EROFS ? 0 : 1);
	if (pid > 0)
		waitpid(pid, &status, 0);
	ku_session_end(s);
	ku_feature(d, "policy", !status, "%s", status ? "a copy-up that a rule denies was not refused" : "a rule refused a real copy-up");
}

static void ku_doctor_manage(struct ku_doctor *d)
{
	struct ku_session_opts opts = { .mode = KU_MODE_MANAGE, .min_size = 1, .max_wait_ns = 20000000000ull };
	char merged[] = "/tmp/m", *paths[] = { merged }, err[512] = "", why[512] = "";
	struct ku_session *s = ku_session_start(&opts, paths, 1, err);
	bool ok;

	if (s) {
		d->tier = s->bpf.tier;
		ku_feature(d, "bpf", true, "programs load, attach and are called");
		ku_doctor_observe(d, s);
		ok = ku_proof_wait(s, why);
		ku_feature(d, "wait in open", d->tier >= KU_TIER_WAIT_OPEN, "sleepable file_open, bpf_get_file_xattr");
		ku_feature(d, "park any operation", d->tier >= KU_TIER_PARK, "%s",
			   d->tier >= KU_TIER_PARK ? "BPF task work" : s->bpf.why);
		ku_feature(d, "enforcement", ok, "%s", ok ? "a real file waited for its copy and went on" : why);
		ku_session_end(s);
		return;
	}
	/* Not managed; can it at least be seen? */
	snprintf(why, sizeof(why), "%s", err);
	opts.mode = KU_MODE_OBSERVE;
	s = ku_session_start(&opts, paths, 1, err);
	if (s) {
		d->tier = KU_TIER_OBSERVE;
		ku_feature(d, "bpf", true, "programs load, attach and are called");
		ku_doctor_observe(d, s);
		ku_session_end(s);
	} else {
		ku_feature(d, "bpf", false, "%s", err);
	}
	ku_feature(d, "wait in open", false, "%s", why);
	ku_feature(d, "park any operation", false, "needs Linux 6.18");
	ku_feature(d, "enforcement", false, "nothing to prove: nobody can be made to wait; use -m observe");
}

static void ku_doctor_look(struct ku_doctor *d, const char *socket)
{
	const char *what = "";
	char line[448];
	bool ok;
	int err;

	uname(&d->uts);
	ok = !access("/sys/kernel/btf/vmlinux", R_OK);
	ku_feature(d, "btf", ok, "%s", ok ? "/sys/kernel/btf/vmlinux" : "no /sys/kernel/btf/vmlinux; use a kernel with CONFIG_DEBUG_INFO_BTF=y");
	ok = ku_lsm_has_bpf();
	ku_feature(d, "bpf lsm", ok, "%s", ok ? "active" : "not in /sys/kernel/security/lsm; boot with lsm=...,bpf");
	err = access("/dev/fuse", R_OK | W_OK) ? -errno : 0;
	ku_feature(d, "fuse", !err, err ? "/dev/fuse: %s; load the module fuse" : "/dev/fuse", strerror(-err));
	/* Before the proof, which covers /tmp. Nothing else depends on it. */
	ok = ku_ask_about(socket, line);
	ku_feature(d, "daemon", ok, "%s%s", line, ok ? "" : "; 'kunion run' needs none");
	err = ku_proof_mount(&what);
	if (err) {
		ku_feature(d, "overlayfs", false, "cannot %s: %s", what, strerror(-err));
		return;
	}
	ku_feature(d, "overlayfs", true, "mounts");
	err = ku_proof_tmpfile();
	ku_feature(d, "overlayfs tmpfile", !err, err ? "%s; from Linux 6.3" : "O_TMPFILE", strerror(-err));
	/* Not the system's: nothing of this proof shall be found there. */
	setenv("KUNION_RUN_DIR", "/tmp/k", 1);
	setenv("KUNION_STATE_DIR", "/tmp/k", 1);
	ku_doctor_policy(d);
	ku_doctor_manage(d);
}

static bool ku_doctor_ok(const struct ku_doctor *d)
{
	for (unsigned int i = 0; i < d->n; i++)
		if (!strcmp(d->features[i].name, "enforcement"))
			return d->features[i].ok;
	return false;
}

static int ku_doctor_json(const struct ku_doctor *d)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	if (!o || !list)
		return -ENOMEM;
	json_object_object_add(o, "kernel", json_object_new_string(d->uts.release));
	json_object_object_add(o, "tier", json_object_new_string(ku_tier_name(d->tier)));
	json_object_object_add(o, "manage", json_object_new_boolean(ku_doctor_ok(d)));
	for (unsigned int i = 0; i < d->n; i++) {
		struct json_object *f = json_object_new_object();

		json_object_object_add(f, "name", json_object_new_string(d->features[i].name));
		json_object_object_add(f, "ok", json_object_new_boolean(d->features[i].ok));
		json_object_object_add(f, "detail", json_object_new_string(d->features[i].detail));
		json_object_array_add(list, f);
	}
	json_object_object_add(o, "features", list);
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return 0;
}

static void ku_doctor_text(const struct ku_doctor *d)
{
	printf("kernel  %s\ntier    %s\n\n", d->uts.release, ku_tier_name(d->tier));
	for (unsigned int i = 0; i < d->n; i++)
		printf("%-20s %-4s %s\n", d->features[i].name, d->features[i].ok ? "yes" : "no", d->features[i].detail);
	printf("\nkunion run -m manage %s here\n", ku_doctor_ok(d) ? "works" : "does not work");
}

struct ku_doctor_args {
	bool json;
	const char *socket;
};

static error_t ku_doctor_parse(int key, char *arg, struct argp_state *state)
{
	struct ku_doctor_args *a = state->input;

	if (key == 'j') {
		a->json = true;
		return 0;
	}
	if (key == 'S') {
		a->socket = arg;
		return 0;
	}
	if (key == ARGP_KEY_ARG)
		argp_error(state, "'%s': doctor takes no argument", arg);
	return ARGP_ERR_UNKNOWN;
}

int ku_cmd_doctor(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "json", 'j', NULL, 0, "as one JSON object", 0 },
		{ "socket", 'S', "PATH", 0, "the daemon's control socket (default: " KU_CTL_SOCKET ")", 0 },
		{ 0 },
	};
	static const struct argp argp = {
		.options = options,
		.parser = ku_doctor_parse,
		.doc = "Say what this kernel allows and prove it: load, attach, and make a real file wait and go on, in a private mount "
		       "namespace.\vExit status: 0 where mode manage works, 1 where not, 2 for bad arguments or without root.",
	};
	char name[] = "kunion doctor";
	struct ku_doctor d = { .tier = KU_TIER_NONE };
	struct ku_doctor_args args = { .socket = KU_CTL_SOCKET };

	argp_err_exit_status = KU_EXIT_USAGE;
	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &args);
	if (geteuid()) {
		ku_err("doctor: loading BPF and mounting need root");
		return KU_EXIT_USAGE;
	}
	ku_log_libbpf(true);
	ku_doctor_look(&d, args.socket);
	if (!args.json)
		ku_doctor_text(&d);
	else if (ku_doctor_json(&d))
		ku_err("out of memory");
	return ku_doctor_ok(&d) ? KU_EXIT_OK : KU_EXIT_FAIL;
}
