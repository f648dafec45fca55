# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# podman_deploy: sourced by podman_vm: the image recipe is built, and the DaemonSet's pod run with its rights, on this machine as the node.
# Not here: its exporter, whose image no registry gives us. The recipe's base, for the same reason, is made of this system's own packages.

pod=kunion-pod-0

# Names of packages, of a list as in Depends.
names() {
	sed 's/([^)]*)//g; s/:any//g' | tr -s ',| ' '\n' | grep .
}

# The essential ones, apt, those that kunion needs, and theirs; of perl what is essential.
base_packages() {
	local all='' more

	more=$(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p' && echo apt && dpkg-deb -f ./kunion_*.deb Depends | names)
	while [ "$more" != "$all" ]; do
		all=$more
		# shellcheck disable=SC2086 # words
		more=$({ echo "$all" && dpkg-query -W -f '${Pre-Depends},${Depends},' $all 2>/dev/null | names; } |
			grep -vE '^(perl|perl-modules.*|libperl.*)$' | sort -u)
	done
	echo "$all"
}

# Without the addresses of mirrors: there is no network.
base_image() { # NAME
	local file

	# shellcheck disable=SC2046 # words
	{ dpkg -L $(base_packages) 2>/dev/null; find /etc /var/lib/dpkg; } | sed -E 's,^/(s?bin|lib[0-9x]*)/,usr/\1/,; s,^/,,' |
		grep -vE '^etc/apt/sources.list|/gconv/|^\.?$' | sort -u |
		while IFS= read -r file; do if [ -e "/$file" ] || [ -L "/$file" ]; then echo "$file"; fi; done >base.list
	tar -C / --no-recursion -cf base.tar -T base.list && podman import -q base.tar "$1"
}

image_builds() {
	mkdir -p image && cp kunion_*.deb image/ && base_image "$(sed -n 's/^FROM //p' deploy/Containerfile)" &&
		podman build -q --network=none --pull=never --layers=false -f deploy/Containerfile -t kunion:latest image &&
		podman run --rm --network=none localhost/kunion --version
}

# This podman plays Deployments, which are written alike, and has hostPID by its configuration only; an infra image without building one.
deploy() {
	podman import -q plain/base.tar localhost/base &&
		podman import -q -c 'ENTRYPOINT ["/bin/sleep", "100000"]' plain/base.tar localhost/pause || return
	grep -q '^ *hostPID: true$' deploy/daemonset.yaml || return
	printf '%s\n' '[containers]' 'pidns = "host"' '[engine]' 'infra_image = "localhost/pause"' 'infra_command = ""' >/etc/containers/containers.conf
	sed 's/^kind: DaemonSet$/kind: Deployment/' deploy/daemonset.yaml |
		awk '/^ *- name: / && $3 == "exporter" { out = 1 } /^      volumes:/ { out = 0 } !out' >pod.yaml
	podman kube play --network=none pod.yaml && until_true podman exec $pod-kunion kunion status
}

# No capability more than the manifest adds, which are told by the kernel; the file system read-only.
deployed() {
	local mask added

	deploy || { podman logs $pod-kunion && return 1; }
	read -ra added < <(sed -n 's/^ *add: //p' deploy/daemonset.yaml | tr -d '[]",')
	mask=$(podman exec $pod-kunion sed -n 's/^CapEff:.//p' /proc/self/status)
	echo "the manifest adds ${#added[@]}: ${added[*]}; in force $mask"
	[ "${#added[@]}" -gt 0 ] && [ "$(bits $((16#$mask)))" = "${#added[@]}" ] && ! podman exec $pod-kunion touch /usr/new &&
		[ "$(podman exec $pod-textfile sed -n 's/^CapEff:.//p' /proc/self/status)" = 0000000000000000 ]
}

copyups_of() { # CONTAINER: their number, in metrics
	sed -n "s/^kunion_copyups_total{.*container=\"$1\".*result=\"ok\"} //p"
}

# A folder's three above, the file, another folder, its file.
shows() {
	podman run -d --network=none --pid=private --cidfile app.id localhost/base sleep 100000 || return
	podman exec $pod-kunion kunion trace >trace.out 2>&1 &
	until_true grep -q ^TIME trace.out || return
	podman exec -l sh -c 'echo x >>/srv/app/data/big && chown 1000 /srv/app/keep/5' || return
	until_true grep -q "chown.* podman:$(cut -c1-12 app.id) .*/srv/app/keep/5" trace.out || { cat trace.out && return 1; }
	podman exec $pod-kunion kunion status | grep -F "container $(cat app.id)" || return
	[ "$(podman exec $pod-kunion kunion metrics | copyups_of "$(cat app.id)")" = 6 ]
}

serves() {
	local n

	n=$(podman exec $pod-textfile cat /textfile/kunion.prom | copyups_of "$(cat app.id)")
	echo "in the text file: $n"
	[ "$n" = 6 ]
}

undeployed() {
	podman rm -f -t 0 "$(cat app.id)" && podman pod rm -f -t 60 $pod && unmounted
}

check_deploy() {
	check "the image recipe builds" image_builds
	took "image"
	check "the DaemonSet's pod runs with its rights" deployed
	check "and shows another container's copy-ups" shows
	check "its sidecar writes their count" until_true serves
	check "and it ends, with nothing left mounted" undeployed
	took "DaemonSet"
}
