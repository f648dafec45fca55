// SPDX-License-Identifier: GPL-2.0-only
/*
 * A union exported by the kernel's NFS server: what its threads do for a client comes to the policy like anybody's. The server is driven by the files
 * that rpc.nfsd, exportfs and rpc.mountd drive it by (nfsd(7)); NFSv4 needs no more than these.
 */
#include "policy.h"

#include <net/if.h>
#include <sys/ioctl.h>

FX_LEAN

#define CLIENT FX_DIR "/client"
#define NFSD "/proc/fs/nfsd/"
#define RPC "/proc/net/rpc/"
/* include/uapi/linux/nfsd/export.h: NFSEXP_INSECURE_PORT, ASYNC, NOSUBTREECHECK, FSID; a file system of its own with fsid 0 is NFSv4's root. */
#define EXPORT_FLAGS (0x2 | 0x10 | 0x400 | 0x2000)

/* 0 or an errno. */
static int put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

static int loopback_up(void)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	err = fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) ? errno : 0;
	if (fd >= 0)
		close(fd);
	return err;
}

/* What the server would ask rpc.mountd, told before it asks: who the client is, what it may have, and what the root's handle stands for. */
static bool exported(const char *merged)
{
	const char *until = "2000000000";

	return !put(RPC "auth.unix.ip/channel", fx_name("nfsd 127.0.0.1 %s self\n", until)) &&
	       !put(RPC "nfsd.export/channel", fx_name("self %s %s %d 0 0 0\n", merged, until, EXPORT_FLAGS)) &&
	       !put(RPC "nfsd.fh/channel", fx_name("self 1 \\x00000000 %s %s\n", until, merged));
}

/* NULL, or what is missing. */
static const char *serve(const char *merged)
{
	fx_sh("modprobe -q nfsd; modprobe -q nfsv4; true");
	if (loopback_up())
		return "no loopback";
	if (mount("nfsd", "/proc/fs/nfsd", "nfsd", 0, NULL))
		return "this kernel has no NFS server";
	/* Neither version 3, which wants rpcbind, nor a wait for clients of a server before. */
	if (put(NFSD "versions", "-2 -3 +4 +4.1 +4.2\n") && put(NFSD "versions", "-3 +4 +4.1 +4.2\n"))
		return "the server knows no NFSv4";
	put(NFSD "nfsv4gracetime", "10\n");
	put(NFSD "nfsv4leasetime", "10\n");
	KTAP_REQUIRE(exported(merged), "exports: %s", strerrorname_np(errno));
	if (put(NFSD "portlist", "tcp 2049\n"))
		return "no port for the NFS server";
	KTAP_REQUIRE(put(NFSD "threads", "2\n") == 0);
	put(NFSD "v4_end_grace", "Y\n");
	KTAP_REQUIRE(mkdir(CLIENT, 0755) == 0);
	if (mount("127.0.0.1:/", CLIENT, "nfs4", 0, "vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,sec=sys,soft,timeo=100,lookupcache=none"))
		return errno == ENODEV ? "this kernel has no NFS client" : fx_name("mounting what is exported: %s", strerrorname_np(errno));
	return NULL;
}

static void serve_no_more(void)
{
	umount2(CLIENT, MNT_DETACH);
	put(NFSD "threads", "0\n");
	for (const char *const *c = (const char *const[]){ "nfsd.fh", "nfsd.export", "auth.unix.ip", NULL }; *c; c++)
		put(fx_name(RPC "%s/flush", *c), fx_name("%ld\n", (long)time(NULL) + 1));
	umount2("/proc/fs/nfsd", 0);
}

static void refused(int err, const char *what)
{
	KTAP_CHECK(err == EROFS, "%s: %s", what, strerrorname_np(err));
}

/* The client's own view is asked anew each time, and each change goes to the server before the call is over. */
static void by_client(struct fx *fx)
{
	refused(policy_open(CLIENT "/deny/low", O_WRONLY), "write to a lower file");
	refused(policy_open(CLIENT "/deny/low", O_WRONLY | O_TRUNC), "truncating open");
	refused(policy_result(chmod(CLIENT "/deny/low", 0600)), "chmod");
	refused(policy_result(truncate(CLIENT "/deny/low", 1)), "truncate");
	refused(policy_open(CLIENT "/deny/new", O_WRONLY | O_CREAT), "new file");
	refused(policy_result(mkdir(CLIENT "/deny/newdir", 0755)), "new directory");
	refused(policy_result(symlink("x", CLIENT "/deny/newlink")), "new symlink");
	refused(policy_result(rename(CLIENT "/free/up", CLIENT "/deny/up")), "rename into");
	refused(policy_result(unlink(CLIENT "/deny/low")), "unlink");
	fx_sh("test -z \"$(ls -A %s)\"", fx_upath(fx, "deny"));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG / 4, "event", "policy", "action", "copy-up", "path", "/deny/low", "comm", "nfsd", "errno", "EROFS", NULL));
	KTAP_CHECK(fx_event_wait(fx, 1, FX_LONG / 4, "event", "policy", "action", "create", "path", "/deny/new", "comm", "nfsd", "errno", "EROFS", NULL));

	KTAP_CHECK(policy_open(CLIENT "/free/low", O_WRONLY) == 0 && fx_in_upper(fx, "free/low"));
	KTAP_CHECK(policy_open(CLIENT "/free/new", O_WRONLY | O_CREAT) == 0 && fx_in_upper(fx, "free/new"));
}

KTAP_TEST_LIMIT(what_a_client_writes_is_judged, 240)
{
	const struct fx_opts opts = { .mount_opts = "index=on,nfs_export=on", .upper_fs = "ext4" };
	const char *missing;
	struct fx fx;

	fx_init(&fx, &opts);
	policy_mkdirs(fx_lpath(&fx, "deny"), true);
	policy_mkdirs(fx_lpath(&fx, "free"), true);
	policy_mkdirs(fx_upath(&fx, "free"), true);
	policy_mkdirs(fx_upath(&fx, "deny"), true);
	policy_file(fx_lpath(&fx, "deny/low"), FX_BLOCK);
	policy_file(fx_lpath(&fx, "free/low"), FX_BLOCK);
	policy_file(fx_upath(&fx, "free/up"), 1);
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = (\n"
				  "{ name = \"deny\"; prefix = \"/deny\"; action = \"any\"; verdict = \"deny\"; errno = \"EROFS\"; });\n");
	fx_mount(&fx);
	missing = serve(fx.merged);
	if (!missing) {
		fx_attach(&fx, "-m", "observe", "--policy", POLICY_FILE, NULL);
		by_client(&fx);
	}
	serve_no_more();
	if (!missing)
		fx_detach(&fx);
	fx_end(&fx);
	if (missing)
		ktap_skip("%s", missing);
}

KTAP_MAIN()
