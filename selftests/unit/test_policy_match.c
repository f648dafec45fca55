// SPDX-License-Identifier: GPL-2.0-only
/* What a rule fits, by the rules as they read and by the tables, which always have to agree. */
#include "container.h"
#include "policy_text.h"

#define ID "3f2a1b0c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8"
#define ID2 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1"

#pragma GCC diagnostic ignored "-Woverride-init"

KTAP_TEST(paths)
{
	KTAP_CHECK(FITS("path = \"/etc/*\";", .path = "/etc/a") && !FITS("path = \"/etc/*\";", .path = "/etc/a/b"));
	KTAP_CHECK(FITS("path = \"*.db\";", .path = "/a/b/x.db") && !FITS("path = \"*.db\";", .path = "/a/b/x.dbs"));
	KTAP_CHECK(FITS("path = \"/a/**/c\";", .path = "/a/c") && FITS("path = \"/a/**/c\";", .path = "/a/b/b/c"));
	KTAP_CHECK(!FITS("path = \"/a/**/c\";", .path = "/ac") && !FITS("path = \"/a/**/c\";", .path = "/a/bc"));
	KTAP_CHECK(FITS("path = \"/?\";", .path = "/\xe2\x82\xac") && !FITS("path = \"/*??\";", .path = "/\xe2\x82\xac"));
	KTAP_CHECK(FITS("path = [ \"/a\", \"/b\" ];", .path = "/b") && !FITS("path = [ \"/a\", \"/b\" ];", .path = "/c"));
	KTAP_CHECK(FITS("path = \"/a\\\\*\";", .path = "/a*") && !FITS("path = \"/a\\\\*\";", .path = "/ab"));
	KTAP_CHECK(FITS("path = \"/\";", .path = "/") && !FITS("path = \"/\";", .path = "/a") && !FITS("path = \"/a\";", .path = ""));
}

KTAP_TEST(prefixes)
{
	KTAP_CHECK(FITS("prefix = \"/etc\";", .path = "/etc") && FITS("prefix = \"/etc\";", .path = "/etc/a/b"));
	KTAP_CHECK(!FITS("prefix = \"/etc\";", .path = "/etcx") && !FITS("prefix = \"/etc\";", .path = "/et"));
	KTAP_CHECK(FITS("prefix = \"/etc/\";", .path = "/etc"), "the slash at its end says nothing");
	KTAP_CHECK(FITS("prefix = \"/\";", .path = "/") && FITS("prefix = \"/\";", .path = "/a/b") && FITS("prefix = \"/\";", .path = ""));
	/* Both things that are asked of one path. */
	KTAP_CHECK(FITS("prefix = \"/etc\"; path = \"*.conf\";", .path = "/etc/a/b.conf"));
	KTAP_CHECK(!FITS("prefix = \"/etc\"; path = \"*.conf\";", .path = "/var/b.conf"));
	KTAP_CHECK(!FITS("prefix = \"/etc\"; path = \"*.conf\";", .path = "/etc/b"));
}

KTAP_TEST(subjects)
{
	KTAP_CHECK(FITS("exe = \"/usr/bin/*\";", .exe = "/usr/bin/dpkg") && !FITS("exe = \"/usr/bin/*\";", .exe = "/usr/sbin/dpkg"));
	KTAP_CHECK(FITS("exe = \"dpkg\";", .exe = "/usr/bin/dpkg") && !FITS("exe = \"dpkg\";", .exe = ""));
	KTAP_CHECK(FITS("comm = \"dpkg\";", .comm = "dpkg") && !FITS("comm = \"dpkg\";", .comm = "dpkg-deb"));
	KTAP_CHECK(FITS("comm = \"dpkg*\";", .comm = "dpkg-deb") && !FITS("comm = \"dpkg\";", .comm = "x/dpkg"), "no name begins at its slash");
	KTAP_CHECK(FITS("comm = \"kworker/*\";", .comm = "kworker/0:1") && FITS("comm = \"**\";", .comm = ""));
	KTAP_CHECK(FITS("union = \"/srv/*/merged\";", .union_path = "/srv/a/merged") && !FITS("union = \"/srv/a\";", .union_path = "/srv/b"));
	KTAP_CHECK(FITS("uid = 5;", .uid = 5) && !FITS("uid = 5;", .uid = 4) && !FITS("uid = 5;", .uid = 6));
	KTAP_CHECK(FITS("uid = \"5-7\";", .uid = 7) && !FITS("uid = \"5-7\";", .uid = 8) && FITS("uid = [ \"0\", \"5-7\" ];", .uid = 0));
	KTAP_CHECK(FITS("uid = ( 0, \"9-4294967295\" );", .uid = UINT32_MAX) && FITS("uid = 4294967295L;", .uid = UINT32_MAX));
	KTAP_CHECK(FITS("cgroup = \"/a.slice\";", .cgroup = "/a.slice/b") && !FITS("cgroup = \"/a.slice\";", .cgroup = "/a.slices"));
	KTAP_CHECK(FITS("cgroup = \"/\";", .cgroup = "/a") && FITS("cgroup = \"/\";", .cgroup = "/") && !FITS("cgroup = \"/\";", .cgroup = ""));
}

KTAP_TEST(objects)
{
	struct policy_pair t;

	KTAP_CHECK(FITS("min_size = 10;", .size = 10) && !FITS("min_size = 10;", .size = 9) && FITS("min_size = \"1K\";", .size = UINT64_MAX));
	KTAP_CHECK(FITS("kind = \"dir\";", .kind = KU_K_DIR) && !FITS("kind = \"dir\";", .kind = KU_K_FILE));
	KTAP_CHECK(FITS("kind = [ \"dir\", \"special\" ];", .kind = KU_K_SPECIAL));
	t = policy_of(POLICY("deny", "{ name = \"a\"; action = [ \"create\", \"exec\" ]; verdict = \"allow\"; }"));
	for (unsigned int a = 0; a < KU_A_MAX; a++)
		KTAP_CHECK((policy_decides(&t, OP(.action = (enum ku_pol_action)a)) == 0) == (a == KU_A_CREATE || a == KU_A_EXEC), "%u", a);
	policy_done(&t);
}

KTAP_TEST(the_first_that_fits_decides)
{
	struct policy_pair t = policy_of(POLICY("deny", "{ name = \"a\"; path = \"/a/b/*\"; action = \"create\"; verdict = \"deny\"; },\n"
							"{ name = \"b\"; prefix = \"/a\"; action = \"any\"; verdict = \"allow\"; },\n"
							"{ name = \"c\"; path = \"/a/b/c\"; action = \"any\"; verdict = \"deny\"; },\n"
							"{ name = \"d\"; path = \"*.x\"; action = \"any\"; verdict = \"audit\"; }"));

	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b/c", .action = KU_A_CREATE)) == 0);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b/c", .action = KU_A_REMOVE)) == 1);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/x.x")) == 1 && policy_decides(&t, OP(.path = "/b/x.x")) == 3);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/b")) == 4);
	policy_done(&t);
}

/* An earlier rule that asks for something else as well does not hide a later one. */
KTAP_TEST(nothing_is_hidden_that_may_decide)
{
	struct policy_pair t = policy_of(POLICY("allow", "{ name = \"a\"; prefix = \"/a\"; uid = 5; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"b\"; prefix = \"/a\"; min_size = 10; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"c\"; prefix = \"/a\"; kind = \"dir\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"d\"; prefix = \"/a\"; path = \"*.x\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"e\"; prefix = \"/a\"; comm = \"c\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"f\"; prefix = \"/a\"; exe = \"/e\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"g\"; prefix = \"/a\"; cgroup = \"/g\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"h\"; prefix = \"/a\"; container = \"web\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"i\"; prefix = \"/a\"; union = \"/u\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"j\"; prefix = \"/a/b\"; action = \"create\"; verdict = \"deny\"; },\n"
							 "{ name = \"k\"; prefix = \"/a/b\"; action = \"any\"; verdict = \"deny\"; }"));

	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b", .uid = 5)) == 0 && policy_decides(&t, OP(.path = "/a/b", .size = 10)) == 1);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b", .kind = KU_K_DIR)) == 2 && policy_decides(&t, OP(.path = "/a/b.x")) == 3);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b", .comm = "c")) == 4 && policy_decides(&t, OP(.path = "/a/b", .exe = "/e")) == 5);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b", .cgroup = "/g/x")) == 6);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b", .cgroup = "/lxc.payload.web")) == 7);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b", .union_path = "/u")) == 8);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/b/c", .action = KU_A_CREATE)) == 9 && policy_decides(&t, OP(.path = "/a/b/c")) == 10);
	KTAP_CHECK(policy_decides(&t, OP(.path = "/a/c")) == 11);
	policy_done(&t);
}

/* As runtimes make them. */
static const char *const cgroups[] = {
	"/docker/" ID,
	"/system.slice/docker-" ID ".scope",
	"/system.slice/docker-" ID ".scope/init.scope",
	"/ecs/0123456789abcdef0123456789abcdef/" ID,
	"/kubepods/burstable/pod9f3c1d2e-0000-4a4b-8c8d-0123456789ab/docker-" ID ".scope",
	"/system.slice/system.slice:docker:" ID,
	"/docker/buildkit/0a1b2c3d4e5f6g7h8i9jklmno",
	"/machine.slice/libpod-" ID ".scope/container",
	"/libpod_parent/libpod-" ID2,
	"/system.slice/web.service/libpod-payload-" ID,
	"/machine.slice/libpod-conmon-" ID ".scope",
	"/kubepods.slice/kubepods-besteffort.slice/crio-" ID ".scope/container",
	"/system.slice/containerd.service/kubepods-burstable-pod9f3c.slice:cri-containerd:" ID2,
	"/default/" ID2,
	"/system.slice/nerdctl-" ID ".scope",
	"/machine.slice/machine-web.scope",
	"/machine.slice/machine-web.scope/payload",
	"/machine.slice/machine-my\\x2dweb\\x2d2.scope/payload/system.slice/a.service",
	"/machine.slice/systemd-nspawn@web.service/payload/init.scope",
	"/machine.slice/systemd-nspawn@my-web.service/payload",
	"/machine.slice/systemd-nspawn@web.service/supervisor",
	"/machine.slice/machine-web.scope/supervisor",
	"/machine.slice/machine-web.scope/supervisor/x",
	"/machine.slice/machine-web.scope/super",
	"/machine.slice/machine-web.scope/supervisors/x",
	"/machine.slice/machine-web.scope/payload/supervisor",
	"/machine.slice/machine-qemu\\x2d1\\x2dwin.scope",
	"/machine.slice/machine-.scope",
	"/machine.slice/systemd-nspawn@.service",
	"/machine.slice/machine-deadbeef012345.scope",
	"/lxc.payload.web",
	"/lxc.payload.my-web/system.slice/lxc.service",
	"/lxc.payload.deadbeef012345",
	"/lxc.payload.deadbeef",
	"/lxc.payload/web",
	"/lxc/web/ns/a.service",
	"/user.slice/lxc.payload.web",
	"/machine.slice/machine-lxc\\x2d2345\\x2dmy\\x2dweb.scope",
	"/machine.slice/machine-lxc-1-web.scope/x",
	"/lxc.monitor.web",
	"/system.slice/lxc/web",
	"/lxc",
	"/docker",
	"/docker/deadbeef",
	"/docker/3F2A1B0C4D5E6F708192A3B4C5D6E7F8091A2B3C4D5E6F708192A3B4C5D6E7F8",
	"/system.slice/docker-" ID "0.scope",
	"/system.slice/docker-deadbeef.scope",
	"/system.slice/docker-deadbeef012.scope", /* one digit less than an id has */
	"/lxc.payload.deadbeef012",
	"/system.slice/docker-deadbeef0123.scope",
	"/system.slice/docker-deadbeef0123",
	"/system.slice/docker.service",
	"docker/" ID,
	"/docker/" ID "/",
	"/",
	"",
};

KTAP_TEST(containers_are_as_others_tell_them)
{
	static const char *const wants[] = { ID, "3f2a", "3f2a1b0c4d5e", ID2, "aa", "web", "my-web", "my-web-2", "deadbeef", "deadbeef0123", "win",
					     "qemu-1-win", "lxc-1-web", "0a1b2c3d4e5f6g7h8i9jklmno", "a", "f2a", "we" };
	unsigned int fits = 0;

	for (size_t w = 0; w < KU_ARRAY_SIZE(wants); w++) {
		_cleanup_free_ char *text = NULL;
		struct policy_pair t;

		KTAP_REQUIRE(asprintf(&text, "version = 1; default = \"allow\"; rules = ( { name = \"r\"; container = \"%s\"; action = \"any\"; "
					     "verdict = \"deny\"; } );", wants[w]) > 0);
		t = policy_of(text);
		for (size_t i = 0; i < KU_ARRAY_SIZE(cgroups); i++) {
			char id[KU_CONTAINER_MAX];
			size_t hex;
			bool want;

			ku_container_of(cgroups[i], id);
			hex = strspn(id, "0123456789abcdef");
			want = *id && (hex >= 12 && !id[hex] ? !strncmp(id, wants[w], strlen(wants[w])) : !strcmp(id, wants[w]));
			fits += want;
			KTAP_CHECK((policy_decides(&t, OP(.cgroup = cgroups[i])) == 0) == want, "'%s' and '%s', which is '%s'", wants[w], cgroups[i], id);
		}
		policy_done(&t);
	}
	KTAP_CHECK(fits > 40, "%u", fits);
}

/* The outermost that any rule names counts: what is in a container cannot get out of it by making cgroups. */
KTAP_TEST(containers_in_containers)
{
	struct policy_pair t = policy_of(POLICY("allow", "{ name = \"in\"; container = \"web\"; action = \"any\"; verdict = \"deny\"; },\n"
							 "{ name = \"out\"; container = \"3f2a\"; action = \"any\"; verdict = \"deny\"; }"));

	KTAP_CHECK(policy_decides(&t, OP(.cgroup = "/docker/" ID "/lxc.payload.web")) == 1);
	KTAP_CHECK(policy_decides(&t, OP(.cgroup = "/docker/" ID "/machine.slice/machine-web.scope/supervisor")) == 1);
	KTAP_CHECK(policy_decides(&t, OP(.cgroup = "/docker/" ID2 "/lxc.payload.web")) == 0, "a node that no rule names");
	KTAP_CHECK(policy_decides(&t, OP(.cgroup = "/lxc.payload.web/docker/" ID)) == 0);
	KTAP_CHECK(policy_decides(&t, OP(.cgroup = "/machine.slice/machine-web.scope/supervisor/docker/" ID)) == 1);
	KTAP_CHECK(policy_decides(&t, OP(.cgroup = "/docker/" ID2)) == 2);
	policy_done(&t);
}

/* Strings of 4095 bytes, and a state for each of them. */
KTAP_TEST(long_paths)
{
	char path[4097] = "", text[8500];
	struct policy_pair t;

	while (strlen(path) + 10 <= 4090)
		strcat(path, "/nnnnnnnnn");
	snprintf(text, sizeof(text), POLICY("allow", DENY("path = [ \"%s\", \"/**/z\" ];")), path);
	t = policy_of(text);
	KTAP_CHECK(policy_decides(&t, OP(.path = path)) == 0);
	path[4000] = 'm';
	KTAP_CHECK(policy_decides(&t, OP(.path = path)) == 1);
	strcat(path, "/z");
	KTAP_CHECK(policy_decides(&t, OP(.path = path)) == 0);
	policy_done(&t);
}

KTAP_MAIN()
