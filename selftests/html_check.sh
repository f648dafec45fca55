#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# html_check.sh [KUNION]: loads the page of `kunion report --html` in a headless browser, on a wide and on a narrow screen, light and dark,
# with and without its script, uses it as a person would (html_check.js), and tries to run a script that is not its own.
# KTAP, then "N passed, N failed, N skipped". KEEP=DIR keeps pages and pictures there. BROWSER=PROGRAM: another Chromium.
set -u

here=$(cd "$(dirname "$0")" && pwd)
kunion=$(realpath "${1:-$here/../build/kunion}")
passed=0 failed=0 skipped=0
tests=()

say() { # RESULT NAME [WHY]
	case $1 in
	ok) passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
	tests+=("$1" "$2" "${3-}")
}

finish() {
	local n i=0
	n=$((${#tests[@]} / 3))
	echo "KTAP version 1"
	echo "1..$n"
	while [ "$i" -lt "$n" ]; do
		[ -z "${tests[3 * i + 2]}" ] || printf '# %s\n' "${tests[3 * i + 2]}"
		echo "${tests[3 * i]} $((i + 1)) ${tests[3 * i + 1]}"
		i=$((i + 1))
	done
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}

skip() {
	echo "KTAP version 1"
	echo "1..0 # SKIP $1"
	echo "0 passed, 0 failed, 1 skipped"
	exit 4
}

for browser in ${BROWSER-chromium-headless-shell chromium chromium-browser google-chrome}; do
	if browser=$(command -v "$browser"); then break; fi
done
[ -n "$browser" ] || skip "no Chromium here"
[ -x "$kunion" ] || skip "no kunion at $kunion"

if [ -n "${KEEP-}" ]; then
	mkdir -p "$KEEP"
	tmp=$(realpath "$KEEP")
else
	tmp=$(mktemp -d) || exit 2
	trap 'rm -rf "$tmp"' EXIT
fi
cp "$here/html_check.js" "$tmp/"
echo '<!DOCTYPE html><meta charset="utf-8"><body><pre id="out"></pre><script src="html_check.js"></script>' >"$tmp/check.html"

# The sandbox of Chromium is not for root. Files may look into each other: the test into the page.
flags=(--headless --disable-gpu --hide-scrollbars --user-data-dir="$tmp/profile" --allow-file-access-from-files --virtual-time-budget=20000)
[ "$(id -u)" != 0 ] || flags+=(--no-sandbox)
browse() {
	timeout -k 5 90 "$browser" "${flags[@]}" "$@" 2>"$tmp/browser.err"
}

# Event lines: $1 copy-ups, of which each tenth was waited for by $2 tasks; names that are HTML; with $3, lost events.
events() {
	awk -v n="$1" -v w="$2" -v lost="$3" '
	function ts(us) { return sprintf("~ts~:~2026-11-22T18:%02d:%02d.%06dZ~", int(us / 60e6), int(us / 1e6) % 60, us % 1e6) }
	function who(p, name, pid,  form) {
		form = "~Ppid~:%d,~Ptid~:%d,~Pcomm~:~%s~,~Puid~:0,~Pcgroup~:~/c~,~Pcontainer~:~%064d~,~Pruntime~:~docker~"
		gsub(/P/, p, form)
		return sprintf(form, pid, pid, name, 7)
	}
	# Written with ~ for quotation marks.
	function out(event, at, path, rest) {
		rest = "{~event~:~" event "~," ts(at) ",~union~:~/merged~,~path~:~" path "~," rest "}"
		gsub(/~/, "\"", rest)
		print rest
	}
	function copyup(i, at, path, us,  rest) {
		rest = sprintf("~id~:%d,~kind~:~file~,~op~:~%s~,~syscall~:~openat~,~engine~:~%s~,~size~:%d,~bytes~:%d,~data~:~copied~",
			i, op[i % 5 + 1], engine[i % 3 + 1], us * 200, us * 200)
		rest = rest sprintf(",~waiters~:%d,~queued_us~:%d,~lock_us~:20,~copy_us~:%d,~fsync_us~:%d,~commit_us~:9,~total_us~:%d",
			i % 10 ? 0 : w, i % 3 == 2 ? 30 : 0, us * 0.6, us * 0.3, us)
		out("copyup", at, path, rest ",~result~:~" (i % 17 ? "ok" : "ENOSPC") "~," who("", i == 20 ? "<b>" : "cp", 100 + i))
	}
	function wait(i, j, at, path, us,  rest) {
		rest = "~op~:~create~,~syscall~:~openat~,~on~:~dir~,~holder_op~:~rename~,"
		rest = rest sprintf("~copyup_id~:%d,~copyup_path~:~%s~", i, path)
		rest = rest sprintf(",~copyup_pid~:%d,~copyup_comm~:~cp~,~wait_us~:%d,~result~:~released~", 100 + i, us)
		out("wait", at, "/srv", rest "," who("", "touch", 5000 + j) "," who("holder_", "cp", 100 + i))
	}
	BEGIN {
		split("open chmod chown rename truncate", op)
		split("kernel kernel kunion", engine)
		evil = "<script>document.title=\x27x\x27</script><img src=x onerror=alert(1)>\\\"\x27&amp;\\n\\\\xff"
		out("union", 0, "", "~lower~:~/lower~,~upper~:~/upper~,~options~:~metacopy=off,index=off,volatile=off~," \
			"~upper_fs~:~ext4~,~upper_free~:1000000000,~upper_size~:4000000000,~reflink~:false")
		for (i = 1; i <= n; i++) {
			at = 1000000 + i * 30000
			us = i % 10 ? 500 + i * 7 : 400000 + i * 1000
			path = sprintf("/srv/a-rather-long-directory-name/%d/file-%d.%s", i % 7, i, i % 3 ? "so" : "json")
			if (i == 20)
				path = "/dir/" evil
			copyup(i, at, path, us)
			for (j = 0; i % 10 == 0 && j < w; j++)
				wait(i, j, at + j, path, us - j)
		}
		if (lost)
			out("dropped", at, "", "~count~:12,~copyups~:7,~waits~:5,~writes~:0,~others~:0")
	}'
}

report() { # NAME
	"$kunion" report --from "$tmp/$1.jsonl" --html "$tmp/$1.html" >"$tmp/report.log" 2>&1 && [ -s "$tmp/$1.html" ]
}

events 90 8 '' >"$tmp/sample.jsonl"
events 900 40 1 >"$tmp/large.jsonl"
: >"$tmp/empty.jsonl"
for name in sample large empty; do
	if report "$name"; then say ok "report of $name"; else say "not ok" "report of $name" "$(head -n 1 "$tmp/report.log")"; fi
done

# Not in one browser: each look is a fresh one.
look() { # PAGE WIDTH DARK SCRIPT
	local title="$1 ${2}px" dark=() line
	if [ "$3" = 1 ]; then dark=(--blink-settings=preferredColorScheme=0) title="$title dark"; fi
	[ "$4" = 1 ] || title="$title no script"
	source=$(sed -n 's/.*<title>kunion report: \(.*\)<\/title>.*/\1/p' "$tmp/$1.html" | head -n 1)
	browse "${dark[@]}" --window-size=1700,1000 --dump-dom \
		"file://$tmp/check.html?page=$1.html&w=$2&dark=$3&js=$4&source=$source" >"$tmp/dom"
	if ! grep -q 'id="out" data-done="1"' "$tmp/dom"; then
		say "not ok" "$title" "the browser did not finish: $(tail -n 1 "$tmp/browser.err")"
		return
	fi
	while IFS= read -r line; do
		case $line in
		'ok '*) say ok "$title: ${line#ok }" ;;
		'not ok '*) say "not ok" "$title: ${line#not ok }" ;;
		'# '*) tests[${#tests[@]} - 1]=${line#\# } ;;
		esac
	done < <(sed -n '/<pre id="out"/,/<\/pre>/p' "$tmp/dom" |
		sed 's/.*<pre[^>]*>//; s/<\/pre>.*//; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g')
}

for width in 1600 400; do
	for dark in 0 1; do
		look sample "$width" "$dark" 1
		look sample "$width" "$dark" 0
	done
	look large "$width" 0 1
done

# What the document says of itself: ready, or why not.
state() { # PAGE
	browse --dump-dom "file://$tmp/$1" | grep -o '<html[^>]*>' | head -n 1
}

said=$(state empty.html)
case $said in
*data-error*) say "not ok" "empty page" "$said" ;;
*'data-ready="1"'*) say ok "empty page" ;;
*) say "not ok" "empty page" "$said" ;;
esac

# The policy: neither a foreign script nor a changed own one may run. The first is put where a name could have broken out.
sed 's|<main>|<main><script>document.documentElement.dataset.evil="1"</script><p onclick="1">|' "$tmp/sample.html" >"$tmp/foreign.html"
said=$(state foreign.html)
case $said in
*data-evil*) say "not ok" "a foreign script does not run" "$said" ;;
*'data-ready="1"'*) say ok "a foreign script does not run" ;;
*) say "not ok" "a foreign script does not run" "nothing ran: $said" ;;
esac
sed 's|root.dataset.ready = "1"|root.dataset.ready = "2"|' "$tmp/sample.html" >"$tmp/changed.html"
said=$(state changed.html)
case $said in
*data-ready*) say "not ok" "a changed script does not run" "$said" ;;
'<html'*) say ok "a changed script does not run" ;;
*) say "not ok" "a changed script does not run" "no page: $(tail -n 1 "$tmp/browser.err")" ;;
esac

# Pictures to look at: they are there, and not blank.
for width in 1600 400; do
	browse --window-size="$width",1200 --screenshot="$tmp/$width.png" "file://$tmp/sample.html" >/dev/null
	size=$(stat -c %s "$tmp/$width.png" 2>/dev/null || echo 0)
	if [ "$size" -gt 20000 ]; then say ok "picture ${width}px"; else say "not ok" "picture ${width}px" "$size bytes"; fi
done
finish
