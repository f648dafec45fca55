#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# run.sh PROG...: runs KTAP test programs one after the other, shows what they print, and ends with a line
# "N passed, N failed, N skipped" that counts tests. Status 0 only when none failed and at least one passed.
# A program that crashes, hangs ($KTAP_PROG_TIMEOUT seconds, default 900), or does not finish its plan has failed tests.
# Plain sh: it also runs where there is only busybox.
set -u

limit=${KTAP_PROG_TIMEOUT:-900}
passed=0 failed=0 skipped=0 number=0

if [ $# -eq 0 ]; then
	echo "Usage: run.sh PROG..." >&2
	exit 2
fi
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

# "PLAN OK BAD SKIP" of the output in $tmp/log; PLAN is -1 when there is none. What is indented belongs to a subtest.
tally()
{
	awk '
		/^1\.\.[0-9]+/	{ plan = substr($1, 4); if ($0 ~ /# *SKIP/) whole = 1 }
		/^ok [0-9]+/	{ if ($0 ~ /# *SKIP/) skip++; else ok++ }
		/^not ok [0-9]+/ { bad++ }
		END { print (plan == "" ? -1 : plan), ok + 0, bad + 0, skip + whole }' "$tmp/log"
}

# What is wrong with a program beyond the tests it calls failed. $1: status, $2..$5: its tally.
complaint()
{
	seen=$(($3 + $4 + $5))
	if [ "$1" -eq 124 ] || [ "$1" -eq 137 ]; then
		echo "killed, at the latest after $limit s"
	elif [ "$2" -lt 0 ]; then
		echo "no plan, exit status $1"
	elif [ "$seen" -lt "$2" ]; then
		echo "$seen of $2 tests, exit status $1"
	elif [ "$seen" -gt "$2" ] && [ "$2" -gt 0 ]; then
		echo "$seen tests, planned were $2"
	elif [ "$seen" -eq 0 ]; then
		echo "no test at all"
	elif [ "$1" -ne 0 ] && [ "$1" -ne 4 ] && [ "$4" -eq 0 ]; then
		echo "exit status $1, although no test failed"
	elif [ "$1" -eq 0 ] && [ "$4" -gt 0 ]; then
		echo "exit status 0, although $4 failed"
	fi
}

echo "KTAP version 1"
echo "1..$#"
for prog; do
	number=$((number + 1))
	name=${prog##*/}
	case $prog in
	*/*) ;;
	*) prog=./$prog ;;
	esac
	{
		date +%s >"$tmp/start"
		timeout -k 10 "$limit" "$prog" 2>&1 </dev/null
		echo $? >"$tmp/status"
	} | tee "$tmp/log" | while IFS= read -r line || [ -n "$line" ]; do
		printf '  %s\n' "$line"
	done
	read -r status <"$tmp/status"
	read -r start <"$tmp/start"
	echo "# $name: $(($(date +%s) - start)) s"
	# shellcheck disable=SC2046 # four words are wanted
	set -- $(tally)
	plan=$1 ok=$2 bad=$3 skip=$4

	said=$(complaint "$status" "$@")
	missing=0
	if [ -n "$said" ]; then
		echo "# $name: $said"
		missing=$((plan - ok - bad - skip))
		[ "$missing" -gt 0 ] || missing=1
	fi
	passed=$((passed + ok)) failed=$((failed + bad + missing)) skipped=$((skipped + skip))
	if [ $((bad + missing)) -gt 0 ]; then
		echo "not ok $number $name"
	elif [ "$status" -eq 4 ]; then
		echo "ok $number $name # SKIP all of it"
	else
		echo "ok $number $name"
	fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
