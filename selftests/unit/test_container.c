// SPDX-License-Identifier: GPL-2.0-only
/* Containers told from cgroup paths as runtimes really make them. */
#include "container.h"

#include "ktap.h"
#include "util.h"

#define ID "3f2a1b0c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8"
#define ID2 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1"
#define UID "pod9f3c1d2e-0000-4a4b-8c8d-0123456789ab"
#define UID_ "pod9f3c1d2e_0000_4a4b_8c8d_0123456789ab"
#define USER "/user.slice/user-1000.slice/user@1000.service"

struct shape {
	const char *cgroup, *runtime, *id;
};

static void check(const struct shape *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char id[KU_CONTAINER_MAX] = "not written";
		const char *runtime = ku_container_of(t[i].cgroup, id);

		KTAP_CHECK(!strcmp(runtime, t[i].runtime) && !strcmp(id, t[i].id), "%s: '%s' '%s', not '%s' '%s'", t[i].cgroup, runtime,
			   id, t[i].runtime, t[i].id);
	}
}

KTAP_TEST(docker)
{
	static const struct shape t[] = {
		{ "/docker/" ID, "docker", ID },					 /* cgroupfs driver */
		{ "/system.slice/docker-" ID ".scope", "docker", ID },			 /* systemd driver */
		{ "/ecs/0123456789abcdef0123456789abcdef/" ID, "docker", ID },		 /* --cgroup-parent */
		{ "/ecstasks.slice/ecstasks-0123.slice/docker-" ID ".scope", "docker", ID },
		{ USER "/user.slice/docker-" ID ".scope", "docker", ID },		 /* rootless */
		{ USER "/app.slice/docker-" ID ".scope", "docker", ID },
		{ "/kubepods/burstable/" UID "/docker-" ID ".scope", "docker", ID },
		{ "/system.slice/system.slice:docker:" ID, "docker", ID },
		{ "/docker/buildkit/0a1b2c3d4e5f6g7h8i9jklmno", "docker", "0a1b2c3d4e5f6g7h8i9jklmno" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

KTAP_TEST(podman)
{
	static const struct shape t[] = {
		{ "/machine.slice/libpod-" ID ".scope", "podman", ID },
		{ "/machine.slice/libpod-" ID ".scope/container", "podman", ID },
		{ "/machine.slice/machine-libpod_pod_" ID2 ".slice/libpod-" ID ".scope/container", "podman", ID },
		{ "/libpod_parent/libpod-" ID, "podman", ID },
		{ USER "/user.slice/libpod-" ID ".scope", "podman", ID },
		{ USER "/user.slice/libpod-" ID ".scope/container", "podman", ID },
		{ USER "/user.slice/user-libpod_pod_" ID2 ".slice/libpod-" ID ".scope/container", "podman", ID },
		{ "/system.slice/web.service/libpod-payload-" ID, "podman", ID },	 /* --cgroups=split */
		{ USER "/app.slice/web.service/libpod-payload-" ID, "podman", ID },
		/* What stays outside. */
		{ "/machine.slice/libpod-conmon-" ID ".scope", "", "" },
		{ USER "/user.slice/libpod-conmon-" ID ".scope", "", "" },
		{ "/libpod_parent/conmon", "", "" },
		{ "/machine.slice/machine-libpod_pod_" ID2 ".slice", "", "" },
		{ "/system.slice/web.service/supervisor", "", "" },
		{ "/system.slice/web.service/runtime", "", "" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

KTAP_TEST(kubernetes)
{
	static const struct shape t[] = {
		{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" UID_ ".slice/cri-containerd-" ID ".scope",
			"containerd", ID },
		{ "/kubepods.slice/kubepods-" UID_ ".slice/cri-containerd-" ID ".scope", "containerd", ID },
		{ "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" UID_ ".slice/crio-" ID ".scope", "crio", ID },
		{ "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" UID_ ".slice/crio-" ID ".scope/container", "crio", ID },
		{ "/kubepods/burstable/" UID "/" ID, "containerd", ID },
		{ "/kubepods/" UID "/" ID, "containerd", ID },
		{ "/kubepods/besteffort/pod0123456789abcdef0123456789abcdef/" ID, "containerd", ID }, /* a static pod */
		{ "/kubepods/burstable/" UID "/crio-" ID, "crio", ID },
		{ "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-" UID_ ".slice/cri-containerd-" ID ".scope", "containerd", ID },
		{ "/system.slice/containerd.service/kubepods-burstable-" UID_ ".slice:cri-containerd:" ID, "containerd", ID },
		{ "/kubepods.slice/kubepods-" UID_ ".slice/docker-" ID ".scope", "docker", ID },
		/* Pods, and what looks after them. */
		{ "/kubepods/burstable/" UID, "", "" },
		{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" UID_ ".slice", "", "" },
		{ "/kubepods.slice/kubepods-" UID_ ".slice/crio-conmon-" ID ".scope", "", "" },
		{ "/kubepods", "", "" },
		{ "/kubepods.slice", "", "" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

KTAP_TEST(containerd_alone)
{
	static const struct shape t[] = {
		{ "/default/" ID, "containerd", ID },
		{ "/k8s.io/" ID, "containerd", ID },
		{ "/system.slice/nerdctl-" ID ".scope", "containerd", ID },
		{ USER "/user.slice/nerdctl-" ID ".scope", "containerd", ID },
		{ "/system.slice/containerd.service", "", "" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

KTAP_TEST(nspawn)
{
	static const struct shape t[] = {
		{ "/machine.slice/machine-web.scope", "nspawn", "web" },
		{ "/machine.slice/machine-web.scope/payload", "nspawn", "web" },
		{ "/machine.slice/machine-my\\x2dweb\\x2d2.scope/payload/system.slice/a.service", "nspawn", "my-web-2" },
		{ "/machine.slice/systemd-nspawn@web.service/payload/init.scope", "nspawn", "web" },
		{ "/machine.slice/systemd-nspawn@my\\x2dweb.service/payload", "nspawn", "my-web" },
		{ "/machine.slice/systemd-nspawn@my-web.service/payload", "nspawn", "my-web" },
		{ "/machine.slice/machine-a\\x5Fb\\x2.scope", "nspawn", "a_b\\x2" }, /* an escape that is none */
		{ "/machine.slice/systemd-nspawn@web.service/supervisor", "", "" },
		{ "/machine.slice/machine-web.scope/supervisor", "", "" },
		{ "/machine.slice/machine-web.scope/payload/supervisor", "nspawn", "web" }, /* somebody's own */
		{ "/machine.slice/machine-qemu\\x2d1\\x2dwin.scope", "", "" },
		{ "/machine.slice", "", "" },
		{ "/machine.slice/systemd-vmspawn@vm.service", "", "" },
		{ "/machine.slice/machine-.scope", "", "" },
		{ "/machine.slice/systemd-nspawn@.service", "", "" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

KTAP_TEST(lxc)
{
	static const struct shape t[] = {
		{ "/lxc.payload.web", "lxc", "web" },
		{ "/lxc.payload.web/init.scope", "lxc", "web" },
		{ "/lxc.payload.my-web/system.slice/lxc.service", "lxc", "my-web" },
		{ "/lxc.payload/web", "lxc", "web" },
		{ "/lxc/web", "lxc", "web" },
		{ "/lxc/100/ns/system.slice/a.service", "lxc", "100" },
		{ USER "/app.slice/run-u1.scope/lxc.payload.web", "lxc", "web" },
		{ "/machine.slice/machine-lxc\\x2d2345\\x2dmy\\x2dweb.scope", "lxc", "my-web" },
		{ "/lxc.monitor.web", "", "" },
		{ "/lxc.monitor/web", "", "" },
		{ "/lxc.pivot", "", "" },
		{ "/lxc", "", "" },
		{ "/lxc.payload", "", "" },
		{ "/system.slice/lxc/web", "", "" },
		{ "/system.slice/lxc.service", "", "" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

/* What is below a container's cgroup is its own; a container in it is another one. */
KTAP_TEST(nested)
{
	static const struct shape t[] = {
		{ "/system.slice/docker-" ID ".scope/init.scope", "docker", ID },
		{ "/system.slice/docker-" ID ".scope/system.slice/cron.service", "docker", ID },
		{ "/docker/" ID "/docker/" ID2, "docker", ID2 },
		{ "/docker/" ID "/docker", "docker", ID },
		{ "/docker/" ID "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-" UID_ ".slice/cri-containerd-" ID2 ".scope",
		  "containerd", ID2 },
		{ "/system.slice/docker-" ID ".scope/kubepods/burstable/" UID "/" ID2, "containerd", ID2 },
		{ "/system.slice/docker-" ID ".scope/machine.slice/libpod-" ID2 ".scope/container", "podman", ID2 },
		{ "/lxc.payload.web/system.slice/docker-" ID ".scope", "docker", ID },
		{ "/machine.slice/machine-web.scope/payload/system.slice/docker-" ID ".scope/init.scope", "docker", ID },
		{ "/machine.slice/libpod-" ID ".scope/container/machine.slice/libpod-conmon-" ID2 ".scope", "podman", ID },
		{ "/docker/" ID "/lxc.payload.in", "lxc", "in" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

KTAP_TEST(none)
{
	static const struct shape t[] = {
		{ "", "", "" },
		{ "/", "", "" },
		{ "//", "", "" },
		{ "/init.scope", "", "" },
		{ "/system.slice", "", "" },
		{ "/system.slice/docker.service", "", "" },
		{ "/system.slice/docker.socket", "", "" },
		{ "/system.slice/docker-cleanup.service", "", "" },
		{ "/system.slice/docker-.scope", "", "" },
		{ "/system.slice/docker-deadbeef.scope", "", "" },		/* too short for an id */
		{ "/system.slice/docker-" ID "0.scope", "", "" },		/* too long */
		{ "/system.slice/docker-registry-proxy.scope", "", "" },
		{ "/system.slice/dockerx-" ID ".scope", "", "" },
		{ "/system.slice/crio.service", "", "" },
		{ "/docker", "", "" },
		{ "/docker/buildkit", "", "" },
		{ "/docker/deadbeef", "", "" },
		{ "/docker/3F2A1B0C4D5E6F708192A3B4C5D6E7F8091A2B3C4D5E6F708192A3B4C5D6E7F8", "", "" }, /* capitals */
		{ USER "/session.slice/org.gnome.Shell@wayland.service", "", "" },
		{ "/user.slice/user-1000.slice/session-3.scope", "", "" },
		{ "/user.slice/user-0.slice/session-c1.scope", "", "" },
		{ USER "/app.slice/app-gnome-podman\\x2ddesktop-1234.scope", "", "" },
	};

	check(t, KU_ARRAY_SIZE(t));
}

/* Cut, ended, and nothing beyond the buffer; without the first slash too. */
KTAP_TEST(limits)
{
	char path[700] = "/lxc.payload.", id[KU_CONTAINER_MAX + 8], want[KU_CONTAINER_MAX];

	memset(id, '#', sizeof(id));
	memset(path + strlen(path), 'n', 600);
	memset(want, 'n', sizeof(want) - 1);
	want[sizeof(want) - 1] = '\0';
	KTAP_CHECK(!strcmp(ku_container_of(path, id), "lxc") && !strcmp(id, want), "%s", id);
	for (size_t i = KU_CONTAINER_MAX; i < sizeof(id); i++)
		KTAP_CHECK(id[i] == '#');
	memset(path, 'x', sizeof(path) - 1);
	memcpy(path, "/machine.slice/machine-", 23);
	strcpy(path + sizeof(path) - 7, ".scope");
	KTAP_CHECK(!strcmp(ku_container_of(path, id), "nspawn") && strlen(id) == KU_CONTAINER_MAX - 1, "%s", id);
	KTAP_CHECK(!strcmp(ku_container_of("docker/" ID, id), "docker") && !strcmp(id, ID));
	KTAP_CHECK(!strcmp(ku_container_of("/docker/" ID "/", id), "docker") && !strcmp(id, ID));
}

KTAP_MAIN()
