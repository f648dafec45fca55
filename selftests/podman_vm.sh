#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# podman_vm: in the machine of podman_check: the package in the working folder is installed as the README says; podman's containers do the same
# with its service as without. Prints a line for each test, "ok NAME", "not ok NAME" or "skip NAME: WHY", and "done" at the end. Exit status 0 if it came to its end.
set -u

limit=600 # seconds for what takes a moment on an idle machine
events=/var/log/kunion/events.jsonl

result() { # STATUS NAME
	if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; fi
}

# A test: its name, then what must be true. What it says is told only if it is not.
check() {
	local name=$1 said
	shift
	if said=$("$@" 2>&1); then
		result 0 "$name"
	else
		echo "${said:-nothing was said}" | tail -n 40 | sed 's/^/# /'
		result 1 "$name"
	fi
}

# Until COMMAND... is true, but not for ever.
until_true() {
	local until=$((SECONDS + limit))

	until "$@"; do
		if [ "$SECONDS" -ge "$until" ]; then
			echo "not in $limit s: $*"
			return 1
		fi
		sleep 0.5
	done
}

journal() {
	journalctl -u kunion --no-pager -o cat -n 20
	return 1
}

took() { # WHAT
	echo "# $1: $SECONDS s"
}

installs() {
	apt-get install -y --no-install-recommends ./kunion_*.deb && dpkg -s kunion | grep -q '^Status: install ok installed$'
}

runs() {
	until_true systemctl is-active -q kunion || journal || return
	[ "$(systemctl show -P Type kunion)" = notify ] && systemctl status --no-pager kunion && kunion status &&
		kunion status | grep -qE '^kunion [^ ]+, pid [0-9]+: mode observe, tier [a-z-]+( \(.*\))?$'
}

# In force, and no capability more than the unit names; nothing of it gives the service a mount namespace of its own.
hardened() {
	local pid status mask named

	pid=$(systemctl show -P MainPID kunion)
	status=$(grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status")
	read -ra named < <(sed -n 's/^CapabilityBoundingSet=//p' /usr/lib/systemd/system/kunion.service)
	mask=$((16#$(sed -n 's/^CapBnd:.//p' <<<"$status")))
	echo "$status"
	echo "the unit names ${#named[@]}: ${named[*]}"
	[ "${#named[@]}" -gt 0 ] && [ "$(bits "$mask")" = "${#named[@]}" ] && grep -q 'NoNewPrivs:.1$' <<<"$status" && grep -q 'Seccomp:.2$' <<<"$status" &&
		[ "$(readlink "/proc/$pid/ns/mnt")" = "$(readlink /proc/1/ns/mnt)" ]
}

bits() {
	local n=0 mask

	for ((mask = $1; mask; mask >>= 1)); do n=$((n + (mask & 1))); done
	echo "$n"
}

reloads() {
	sed -i 's/^#events = /events = /' /etc/kunion/kunion.conf
	systemctl reload kunion || journal || return
	until_true [ -e "$events" ] || journal
}

# What the containers see, and what podman says of them.
same() {
	diff -u plain.out "$1"
}

# The work is worth its name: it was done, and nothing in it failed.
works() {
	grep -E '^-- [^0]' plain.out && return 1
	grep -q '^chown -R 0$' plain.out && grep -q '^D /srv/app/keep/8$' plain.out && grep -q ' 1000:1000 .* ./keep/20$' plain.out
}

# All overlays in MODE, once the service may do more than observe; "manage" takes files of 64 KiB, too.
in_mode() { # MODE
	sed -i 's/^mode = .*/mode = "manage";/; s/^all = .*/all = false;/' /etc/kunion/kunion.conf
	[ "$1" = guard ] || systemctl restart kunion || journal || return
	until_true kunion status && kunion attach --all --mode="$1" --min-size=64K
}

# Who makes the copies in each mode, as the events tell; each copy-up of a container is its own.
told_by() { # MODE ENGINE
	grep -F '"event":"copyup"' "$events" | cut -c1-600 | tail -n 5
	until_true told_of "$1/server" "/srv/app/data/big\"" "\"engine\":\"$2\"" && until_true told_of "$1/server" '/srv/app/keep/13"' '"engine":"kernel"'
}

told_of() { # FILE PATTERN PATTERN
	grep -F "\"container\":\"$(cat "$1")\"" "$events" | grep -F '"event":"copyup"' | grep -F -- "$2" | grep -qF -- "$3"
}

# Linux 6.18 and later; before, there is less to see.
check_modes() {
	local mode engine

	if ! kunion doctor | grep -q '^tier *park'; then
		echo "skip containers see the same in modes manage and guard: no tier park on this kernel"
		return
	fi
	for mode in manage guard; do
		engine=kernel
		[ "$mode" = guard ] || engine=kunion
		check "all overlays are attached to in mode $mode" in_mode "$mode"
		bash ./podman_work.sh "$mode" >"$mode.out" 2>&1
		check "containers see the same in mode $mode" same "$mode.out"
		check "their file systems are unmounted, in mode $mode" unmounted
		check "events name container and engine, in mode $mode" told_by "$mode" "$engine"
		took "mode $mode"
	done
}

# No overlay is left in any mount namespace, and kunion holds nothing of one.
unmounted() {
	local file

	for file in /proc/[0-9]*/mountinfo; do
		if grep -s ' - overlay ' "$file"; then
			echo "in $file, of $(cat "${file%/*}/comm")"
			return 1
		fi
	done
}

told() { # CONTAINER PATTERN: an event names the container, as podman's, and holds PATTERN
	grep -F "\"container\":\"$(cat "kunion/$1")\"" "$events" | grep -F '"runtime":"podman"' | grep -F '"event":"copyup"' | grep -qF -- "$2"
}

names_it() {
	cut -c1-600 "$events" | grep -F '"event":"copyup"' | tail -n 10
	until_true told server '/srv/app/keep/13"' && told server '/srv/app/data/big"' && told server '/srv/app/keep/20"' &&
		told changer '/srv/app/data/big"' && told changer '/srv/app/keep/19"' && told changer '"op":"chown"'
}

# Each copy-up of a regular file by the container is told once. In the plain run its upper layer tells how many there are.
each_once() {
	local twice

	twice=$(grep -F "\"container\":\"$(cat kunion/changer)\"" "$events" | grep -F '"event":"copyup"' | grep -F '"kind":"file"' |
		grep -o '"path":"[^"]*"' | sort | uniq -d)
	[ -z "$twice" ] || { echo "told twice: $twice" && return 1; }
}

# "others" may be a program that the kernel left out while another process was in it; that is told, and what it was about is found otherwise.
lost() {
	! grep -F '"event":"dropped"' "$events" | grep -vF '"copyups":0,"waits":0,"writes":0,'
}

# While it ran; a union's counts go with its mount.
counts() {
	grep '^kunion_copyups_total' kunion/counts || tail -n 5 kunion/counts
	grep -q "^kunion_copyups_total{.*container=\"[^\"]*$(cut -c1-12 kunion/server)" kunion/counts && grep -q '^# EOF$' kunion/counts
}

goes() {
	systemctl stop kunion || journal || return
	[ "$(systemctl show -P Result kunion)" = success ] || journal || return
	apt-get purge -y kunion && [ ! -e /usr/sbin/kunion ] && [ ! -e /etc/kunion ] && ! systemctl is-active -q kunion
}

# shellcheck source=selftests/podman_deploy.sh
. ./podman_deploy.sh
took "booted to here, seconds of this script"
bash ./podman_work.sh plain >plain.out 2>&1
took "without kunion"
check "containers work without kunion" works
check "apt installs the package" installs
check "its service runs" runs
check "with no more rights than its unit grants" hardened
check "and reads its configuration anew" reloads
took "installed"
bash ./podman_work.sh kunion >kunion.out 2>&1
took "with kunion"
check "containers see the same with kunion" same kunion.out
check "their file systems are unmounted" unmounted
check "events name the container" names_it
check "and tell each copied file once" each_once
check "nothing was lost" lost
check "kunion metrics tells the container's copy-ups" counts
check_modes
check "the service stops, the package can be removed" goes
check_deploy
took "all"
echo "done"
