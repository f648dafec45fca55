// SPDX-License-Identifier: GPL-2.0-only
/* A policy learned from an installation by dpkg: under it the same installation passes, and nothing else does. */
#include "policy.h"

#define EVENTS FX_DIR "/install.jsonl"
#define LEARNED FX_DIR "/learned.conf"
#define DEB FX_DIR "/hello.deb"
#define NEEDED "{ command -v dpkg && command -v dpkg-deb && command -v dpkg-split && tar --version | grep GNU; } >/dev/null 2>&1"

/* An image with what a package's script needs, and dpkg's records. */
static void image(struct fx *fx)
{
	fx_sh("cd %s; mkdir -p bin etc tmp usr/bin usr/share/doc var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/log; cp /bin/busybox bin/sh; "
	      "ln -s sh bin/busybox; : >var/lib/dpkg/status; : >var/lib/dpkg/available; echo old >etc/motd; echo base >etc/hosts; chmod 1777 tmp",
	      fx->lower);
}

static void package(void)
{
	fx_sh("mkdir -p " FX_DIR "/pkg; cd " FX_DIR "/pkg; mkdir -p DEBIAN usr/bin usr/share/doc/hello etc; printf '%%s\\n' 'Package: hello' 'Version: 1.0' "
	      "'Architecture: all' 'Maintainer: Test <test@example.org>' 'Description: says hello' >DEBIAN/control; "
	      "printf '#!/bin/sh\\nset -e\\necho installed >/etc/motd\\nbusybox mkdir -p /var/lib/hello\\necho 1 >/var/lib/hello/state\\n' >DEBIAN/postinst; "
	      "printf '/etc/hello.conf\\n' >DEBIAN/conffiles; printf '#!/bin/sh\\necho hello\\n' >usr/bin/hello; "
	      "echo a >usr/share/doc/hello/README; echo b >usr/share/doc/hello/copyright; echo c >etc/hello.conf; chmod 755 DEBIAN/postinst usr/bin/hello; "
	      "dpkg-deb --root-owner-group -Znone --build . " DEB " >/dev/null");
}

#define INSTALL "dpkg --root=%s --log=/dev/null --force-bad-path --force-unsafe-io -i " DEB " >" FX_DIR "/dpkg.log 2>&1"

static void installed(const struct fx *fx)
{
	fx_sh("grep -q 'install ok installed' %s && grep -q installed %s", fx_path(fx, "var/lib/dpkg/status"), fx_path(fx, "etc/motd"));
	KTAP_CHECK(fx_in_upper(fx, "usr/bin/hello") && fx_in_upper(fx, "var/lib/hello/state") && fx_in_upper(fx, "etc/hello.conf"));
}

static const char *text_of(const char *file)
{
	static char text[8192];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

KTAP_TEST_LIMIT(learned_from_an_installation, 300)
{
	struct fx fx;
	int err;

	if (system(NEEDED))
		fx_skip("no dpkg, or no GNU tar for it");
	fx_init(&fx, NULL);
	image(&fx);
	package();
	fx_mount(&fx);
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = ( { name = \"run\"; path = \"/**\"; action = \"exec\"; verdict = \"audit\"; } );\n");
	err = system(fx_name("kunion trace --json --writes --policy " POLICY_FILE " %s -- sh -c '" INSTALL "' >" EVENTS, fx.merged, fx.merged));
	KTAP_REQUIRE(err == 0, "status %#x: %s", err, text_of(FX_DIR "/dpkg.log"));
	installed(&fx);
	fx_sh("kunion policy learn --from " EVENTS " --union %s >" LEARNED "; kunion policy check " LEARNED " >/dev/null", fx.merged);
	KTAP_CHECK(strstr(text_of(LEARNED), "hello.postinst"), "%s", text_of(LEARNED));

	/* Again, on a layer as empty as the first time. */
	fx_umount(&fx);
	fx_sh("rm -rf %s %s; mkdir %s %s", fx.upper, fx.work, fx.upper, fx.work);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", LEARNED, NULL);
	err = system(fx_name(INSTALL, fx.merged));
	KTAP_CHECK(err == 0, "status %#x: %s", err, text_of(FX_DIR "/dpkg.log"));
	installed(&fx);
	KTAP_CHECK(policy_open(fx_path(&fx, "etc/hosts"), O_WRONLY) == EROFS && !fx_in_upper(&fx, "etc/hosts"));
	policy_told(&fx, "/etc/hosts", "copy-up", "deny", EROFS, 1);
	KTAP_CHECK(policy_open(fx_path(&fx, "usr/bin/evil"), O_WRONLY | O_CREAT) == EROFS && !fx_in_upper(&fx, "usr/bin/evil"));
	policy_told(&fx, "/usr/bin/evil", "create", "deny", EROFS, 1);
	KTAP_CHECK(policy_result(unlink(fx_path(&fx, "etc/hosts"))) == EPERM && fx_exists(fx_path(&fx, "etc/hosts")));
	policy_told(&fx, "/etc/hosts", "remove", "deny", EPERM, 1);
	fx_end(&fx);
}

#define DEBIAN "debian.tar.gz" /* of scripts/vm-debian, where this program runs */
#define PACKAGE_INSTALL "chroot %s dpkg --force-unsafe-io -i /root/package.deb >" FX_DIR "/dpkg.log 2>&1"

static void debian_installed(const struct fx *fx, const char *name)
{
	fx_sh("chroot %s dpkg-query -W -f '${Status}' %s | grep -q 'install ok installed'", fx->merged, name);
	KTAP_CHECK(fx_in_upper(fx, fx_name("usr/bin/%s", name)) && fx_in_upper(fx, fx_name("var/lib/dpkg/info/%s.list", name)), "%s", name);
	/* Its script has run, in what was installed. */
	KTAP_CHECK(fx_in_upper(fx, "etc/alternatives/pager"));
}

/* A package of Debian, with its script and its alternatives, into a system that debootstrap made. */
KTAP_TEST_LIMIT(learned_in_a_debian, 600)
{
	char name[64] = "";
	struct fx fx;
	FILE *f;
	int err;

	if (access(DEBIAN, R_OK))
		fx_skip("no " DEBIAN " here: scripts/vm-debian makes it, which needs debootstrap and Debian's archive");
	fx_init(&fx, NULL);
	fx_sh("tar -C %s -xzf " DEBIAN, fx.lower);
	f = fopen(fx_lpath(&fx, "root/package.name"), "re");
	KTAP_REQUIRE(f && fscanf(f, "%63s", name) == 1);
	fclose(f);
	fx_mount(&fx);
	policy_write(POLICY_FILE, "version = 1;\ndefault = \"allow\";\nrules = ( { name = \"run\"; path = \"/**\"; action = \"exec\"; verdict = \"audit\"; } );\n");
	err = system(fx_name("kunion trace --json --writes --policy " POLICY_FILE " %s -- sh -c '" PACKAGE_INSTALL "' >" EVENTS, fx.merged, fx.merged));
	KTAP_REQUIRE(err == 0, "status %#x: %s", err, text_of(FX_DIR "/dpkg.log"));
	debian_installed(&fx, name);
	fx_sh("kunion policy learn --from " EVENTS " --union %s >" LEARNED "; kunion policy check " LEARNED " >/dev/null", fx.merged);

	/* Again, on a layer as empty as the first time. */
	fx_umount(&fx);
	fx_sh("rm -rf %s %s; mkdir %s %s", fx.upper, fx.work, fx.upper, fx.work);
	fx_mount(&fx);
	fx_attach(&fx, "-m", "observe", "--policy", LEARNED, NULL);
	err = system(fx_name(PACKAGE_INSTALL, fx.merged));
	KTAP_CHECK(err == 0, "status %#x: %s", err, text_of(FX_DIR "/dpkg.log"));
	debian_installed(&fx, name);
	KTAP_CHECK(policy_open(fx_path(&fx, "etc/passwd"), O_WRONLY) == EROFS && !fx_in_upper(&fx, "etc/passwd"));
	policy_told(&fx, "/etc/passwd", "copy-up", "deny", EROFS, 1);
	KTAP_CHECK(policy_open(fx_path(&fx, "usr/bin/evil"), O_WRONLY | O_CREAT) == EROFS && !fx_in_upper(&fx, "usr/bin/evil"));
	policy_told(&fx, "/usr/bin/evil", "create", "deny", EROFS, 1);
	KTAP_CHECK(policy_result(unlink(fx_path(&fx, "bin/ls"))) == EPERM && fx_exists(fx_path(&fx, "bin/ls")));
	policy_told(&fx, "/usr/bin/ls", "remove", "deny", EPERM, 1);
	fx_end(&fx);
}

KTAP_MAIN()
