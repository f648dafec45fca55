#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# podman_check [SERIES]...: containers of podman on overlay storage, without and with kunion, on a Debian root file system in a virtual machine for each
# kernel series (default: latest); then the image recipe and the DaemonSet's pod. The Debian package of what was built in $O (build) is installed
# there; the machine's part is podman_vm.sh.
# KTAP, then "N passed, N failed, N skipped".
set -u

cd "$(dirname "$0")/.." || exit 2
O=${O:-build}
n=0 passed=0 failed=0 skipped=0
if [ $# -eq 0 ]; then set -- latest; fi
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

skip() {
	echo "1..0 # SKIP $1"
	echo "0 passed, 0 failed, 1 skipped"
	exit 4
}

result() { # LINE: "ok NAME", "ok NAME # SKIP WHY" or "not ok NAME"
	n=$((n + 1))
	case $1 in
	ok\ *\ #\ SKIP\ *) skipped=$((skipped + 1)) && echo "ok $n ${1#ok }" ;;
	ok\ *) passed=$((passed + 1)) && echo "ok $n ${1#ok }" ;;
	*) failed=$((failed + 1)) && echo "not ok $n ${1#not ok }" ;;
	esac
}

echo "KTAP version 1"
for tool in dpkg-deb dpkg-shlibdeps mmdebstrap mkfs.ext4 qemu-system-x86_64; do
	command -v "$tool" >/dev/null || skip "$tool is not here: run scripts/deps"
done
deb=$(MAKEFLAGS='' make -s deb O="$O" 2>&1 | tail -n 1)
if [ ! -f "$deb" ]; then
	echo "1..1"
	result "not ok the package is built: $deb"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
fi
# Its libraries come with the root file system: the machine has no network.
read -ra packages < <(dpkg-deb -f "$deb" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g')
if ! image=$(scripts/vm-root podman crun conmon "${packages[@]}" 2>"$tmp/root.err"); then
	sed 's/^/# /' "$tmp/root.err"
	skip "no root file system with podman: $(tail -n 1 "$tmp/root.err")"
fi

for series; do
	scripts/vm -k "$series" -t 2400 -r "$image" -f "$deb" -f selftests/podman_vm.sh -f selftests/podman_work.sh -f selftests/podman_deploy.sh -f scripts/deploy \
		-- bash ./podman_vm.sh \
		>"$tmp/$series.out" 2>"$tmp/$series.err"
	status=$?
	sed 's/^/# /' "$tmp/$series.err"
	while IFS= read -r line; do
		case $line in
		ok\ *) result "ok $series: ${line#ok }" ;;
		skip\ *) line=${line#skip } && result "ok $series: ${line%%: *} # SKIP ${line#*: }" ;;
		not\ ok\ *) result "not ok $series: ${line#not ok }" ;;
		*) echo "# ${line#\# }" ;;
		esac
	done <"$tmp/$series.out"
	if [ "$status" != 0 ] || [ "$(tail -n 1 "$tmp/$series.out")" != "done" ]; then
		result "not ok $series: the machine came to its end (status $status)"
	fi
done
echo "1..$n"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
