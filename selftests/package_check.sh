#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# package_check: builds the Debian package of what was built in $O (build) and looks at what is in it. KTAP; needs neither root nor a machine.
set -u

cd "$(dirname "$0")/.." || exit 2
O=${O:-build}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root
n=0 bad=0

echo "KTAP version 1"
if ! command -v dpkg-deb >/dev/null || ! command -v dpkg-shlibdeps >/dev/null; then
	echo "1..0 # SKIP dpkg-dev is not here"
	exit 4
fi
echo "1..9"

# A test: its name, then what must be true. What it says is told only if it is not.
check() {
	local name=$1 said
	shift
	n=$((n + 1))
	if said=$("$@" 2>&1); then
		echo "ok $n $name"
	elif [ -n "$said" ] && [ "${said#SKIP}" != "$said" ]; then
		echo "ok $n $name # $said"
	else
		echo "${said:-nothing was said}" | sed 's/^/# /'
		echo "not ok $n $name"
		bad=$((bad + 1))
	fi
}

# The same bytes twice: no time, no name and no path of this machine is in it.
builds() {
	local first
	deb=$(MAKEFLAGS='' make -s deb O="$O" | tail -n 1) && [ -f "$deb" ] || { echo "make deb: $deb" && return 1; }
	first=$(sha256sum <"$deb")
	scripts/deb "$O" "$(dpkg-deb -f "$deb" Version)" >/dev/null || return 1
	[ "$first" = "$(sha256sum <"$deb")" ] || { echo "another package from the same tree" && return 1; }
	cp "$deb" "$tmp/deb" && dpkg-deb -x "$tmp/deb" "$root" && dpkg-deb -e "$tmp/deb" "$tmp/control"
}

control() {
	local field
	for field in Package:kunion Section:admin "Version:$("$root/usr/sbin/kunion" --version | cut -d ' ' -f 2)"; do
		[ "$(dpkg-deb -f "$tmp/deb" "${field%%:*}")" = "${field#*:}" ] || { echo "${field%%:*} is not ${field#*:}" && return 1; }
	done
	dpkg-deb -f "$tmp/deb" Depends | grep -q 'libbpf1.*libc6' || { echo "it depends on no library" && return 1; }
	[ "$(cat "$tmp/control/conffiles")" = /etc/kunion/kunion.conf ] || { echo "conffiles" && return 1; }
	for field in postinst prerm postrm; do
		[ -x "$tmp/control/$field" ] && sh -n "$tmp/control/$field" || return 1
	done
	(cd "$root" && md5sum --quiet -c "$tmp/control/md5sums")
}

files() {
	local file
	for file in usr/sbin/kunion usr/lib/systemd/system/kunion.service usr/lib/tmpfiles.d/kunion.conf etc/kunion/kunion.conf \
		usr/share/bash-completion/completions/kunion usr/share/zsh/vendor-completions/_kunion \
		usr/share/fish/vendor_completions.d/kunion.fish usr/share/doc/kunion/copyright usr/share/doc/kunion/changelog.gz \
		usr/share/doc/kunion/io.kunion.varlink usr/share/doc/kunion/examples/daemonset.yaml; do
		[ -s "$root/$file" ] || { echo "no $file" && return 1; }
	done
	! dpkg-deb -c "$tmp/deb" | grep -v ' root/root ' || return 1
	! find "$root" -perm /7022 ! -type l | grep . || { echo "odd modes" && return 1; }
	! find "$root" -mindepth 1 -maxdepth 1 ! -name etc ! -name usr | grep . || return 1
	# In a program it may be three instructions.
	! grep -rlI "@[A-Z][A-Z]*@" "$root" || { echo "a placeholder is left" && return 1; }
	! find "$root" -name '*.gz' -exec zcat {} + | grep "@[A-Z][A-Z]*@" || { echo "a placeholder is left in a page" && return 1; }
	! grep -lF "$PWD" -r "$root" || { echo "it names the place where it was built" && return 1; }
}

# Each command has its page.
pages() {
	local command
	for command in $("$root/usr/sbin/kunion" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'); do
		gzip -t "$root/usr/share/man/man1/kunion-$command.1.gz" || return 1
	done
}

# No setting of the unit gives it a mount namespace of its own: it would keep busy what is unmounted.
unit() {
	local unit=$root/usr/lib/systemd/system/kunion.service
	! grep -E '^(ProtectSystem|ProtectHome|ProtectKernel|ProtectControlGroups|ProtectProc|ProcSubset|Private|ReadWritePaths|ReadOnlyPaths|Inaccessible|BindPaths|BindReadOnlyPaths|TemporaryFileSystem|Root|MountAPIVFS|DynamicUser)' "$unit" ||
		return 1
	grep -q '^Type=notify$' "$unit" && grep -q '^ExecStart=/usr/sbin/kunion daemon$' "$unit" && grep -q '^Before=.*containerd.service' "$unit" ||
		{ echo "a line of the unit is missing" && return 1; }
	command -v systemd-analyze >/dev/null || { echo "SKIP systemd-analyze is not here" && return 1; }
	sed "s,/usr/sbin/kunion,$root&," "$unit" >"$tmp/kunion.service"
	systemd-analyze verify --man=no --recursive-errors=no "$tmp/kunion.service" || return 1
	if systemd-analyze security --help 2>&1 | grep -q -- --threshold; then
		systemd-analyze security --offline=true --threshold=55 --no-pager "$tmp/kunion.service" >"$tmp/security" || { tail -n 3 "$tmp/security" && return 1; }
	fi
}

configuration() {
	"$root/usr/sbin/kunion" daemon --check --config "$root/etc/kunion/kunion.conf"
}

bash_completes() {
	bash -c '. "$1"; COMP_WORDS=(kunion daemon --mo); COMP_CWORD=2; _kunion; [ "${COMPREPLY[*]}" = --mode ] || exit 1
		COMP_WORDS=(kunion daemon --mode gu); COMP_CWORD=3; _kunion; [ "${COMPREPLY[*]}" = guard ] || exit 1
		COMP_WORDS=(kunion sta); COMP_CWORD=1; _kunion; [ "${COMPREPLY[*]}" = status ]' - "$root/usr/share/bash-completion/completions/kunion"
}

other_shells() {
	local said=
	if command -v zsh >/dev/null; then
		zsh -n "$root/usr/share/zsh/vendor-completions/_kunion" || return 1
	else
		said=" zsh"
	fi
	if command -v fish >/dev/null; then
		fish -n "$root/usr/share/fish/vendor_completions.d/kunion.fish" || return 1
	else
		said="$said fish"
	fi
	[ -z "$said" ] || { echo "SKIP not here:$said" && return 1; }
}

# A pod has no more than the unit.
daemonset() {
	local cap unit=$root/usr/lib/systemd/system/kunion.service yaml=$root/usr/share/doc/kunion/examples/daemonset.yaml
	! grep -q 'privileged: true' "$yaml" || { echo "privileged" && return 1; }
	for cap in $(sed -n 's/.*add: \[\(.*\)\].*/\1/p' "$yaml" | tr -d '",'); do
		grep -q "^CapabilityBoundingSet=.*\<CAP_$cap\>" "$unit" || { echo "$cap is not the unit's" && return 1; }
	done
}

builds >"$tmp/said" 2>&1
built=$?
check "builds, twice the same" eval "cat '$tmp/said'; [ $built = 0 ]"
check "control" control
check "files" files
check "pages" pages
check "unit" unit
check "configuration" configuration
check "bash completes" bash_completes
check "zsh and fish read theirs" other_shells
check "daemonset" daemonset
[ "$bad" = 0 ]
