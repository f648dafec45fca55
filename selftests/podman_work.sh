#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# podman_work: what people do with containers, in the machine of podman_check. Prints what they see of it, the same each time: no id, no time.
# The ids of the containers "changer" and "server" go to files of these names in the folder $1, which is made; it is named after kunion's mode.
set -u

mode=$1
mkdir "$mode" && cd "$mode" || exit 1

# Shows a command, what it prints, and its status.
step() {
	echo "## $*"
	"$@" 2>&1
	echo "-- $?"
}

# The same for what prints an id: that is shown only if it failed.
quiet() {
	local status

	echo "## $*"
	"$@" >out 2>&1
	status=$?
	[ "$status" = 0 ] || cat out
	echo "-- $status"
}

taken() { # CONTAINER: until kunion has it in the mode that the folder has its name of
	local merged until=$((SECONDS + 600))

	merged=$(podman inspect -f '{{.GraphDriver.Data.MergedDir}}' "$1")
	until kunion status | grep -qxF "$merged: $mode"; do
		[ "$SECONDS" -lt "$until" ] || { echo "kunion does not take $merged" && return; }
		sleep 0.5
	done
}

# An image of busybox and of files as those of an application: large, many, linked, setuid.
base() {
	local name n

	mkdir -p base/{bin,etc,tmp,srv/app/{conf,data,keep}}
	cp /bin/busybox base/bin/
	for name in sh cat chmod chown dd find ln ls md5sum mkdir mv rm sed sleep sort stat touch truncate wc; do ln -s busybox "base/bin/$name"; done
	printf '%s\n' root:x:0:0:root:/:/bin/sh user:x:1000:1000:user:/:/bin/sh >base/etc/passwd
	printf '%s\n' root:x:0: user:x:1000: >base/etc/group
	head -c 8M /dev/zero | tr '\0' d >base/srv/app/data/big
	head -c 3M /dev/zero | tr '\0' o >base/srv/app/data/other
	for n in $(seq 20); do echo "file $n" >"base/srv/app/keep/$n"; done
	for n in 1 2 3; do echo "setting = $n" >"base/srv/app/conf/$n.conf"; done
	ln base/srv/app/keep/1 base/srv/app/keep/linked
	ln -s keep/2 base/srv/app/symlink
	chmod 4755 base/srv/app/keep/3
	chmod 600 base/srv/app/keep/4
	chmod 1777 base/tmp
	tar -C base --sort=name --owner=0 --group=0 --mtime=@1700000000 -cf base.tar .
}

# Everything that a container sees of the application: few processes, each takes its time in an emulated machine.
list='cd /srv/app; find . -exec stat -c "%A %u:%g %h %s %n" {} + | sed "/^d/s/ [0-9]* [0-9]* / /" | busybox sort -k 5; find . -type f -exec md5sum {} + | busybox sort'

cat >change <<'END'
cd /srv/app
echo "setting = 6" >>conf/1.conf; echo "append $?"
echo x | dd of=data/big bs=1 seek=4000000 conv=notrunc 2>/dev/null; echo "write $?"
sed -i s/2/two/ conf/2.conf; echo "replace $?"
truncate -s 1000000 data/other; echo "truncate $?"
chmod -R o-r conf; echo "chmod $?"
chown -R 1000:1000 keep; echo "chown -R $?"
stat -c '%Y %A %n' keep/3 keep/6
touch -d @1600000000 keep/5; stat -c %Y keep/5
mv conf/3.conf conf/three.conf; echo "rename $?"
ln keep/7 keep/seven; echo "link $?"
rm keep/8 keep/linked; echo "remove $?"
mkdir keep/8; echo "mkdir $?"
mv conf settings; echo "rename of a folder $?"
rm -r settings; echo "rm -r $?"
mkdir conf; ls -A conf | wc -l
exec 3<data/big; echo y >>data/big; md5sum <&3; exec 3<&-
ls -A data
END

base
quiet podman import -q base.tar localhost/base
printf '%s\n' 'FROM localhost/base' 'COPY change /opt/' 'RUN echo built >/srv/app/keep/9 && chown -R 1000 /srv/app/conf && rm /srv/app/keep/10' >Containerfile
quiet podman build -q --network=none -t localhost/app .

step podman run --network=none --name changer --cidfile changer localhost/app sh /opt/change
echo "## diff"
podman diff changer | sort
quiet podman commit -q changer localhost/changed
step podman run --rm --network=none localhost/changed sh -c "$list"

quiet podman run -d --network=none --name server --cidfile server localhost/app sleep 1000
# In these modes it is kunion who copies: it takes a union when it has found it.
case $mode in manage | guard) taken server ;; esac
step podman exec server sh -c 'echo first >>/srv/app/data/big && chown -R 1000:1000 /srv/app && md5sum </srv/app/data/big'
# For podman_vm, while it is there.
if command -v kunion >/dev/null; then kunion metrics >counts 2>&1; fi
# Two containers and one file of their image: each has a copy of its own, and the image keeps its own.
quiet podman run -d --network=none --name second localhost/app sleep 1000
case $mode in manage | guard) taken second ;; esac
for name in server second; do podman exec "$name" sh -c "echo $name >>/srv/app/data/other; md5sum </srv/app/data/other" >"of-$name" 2>&1 & done
echo "## both at once"
wait
cat of-server of-second
step podman run --rm --network=none localhost/app md5sum /srv/app/data/other
quiet podman rm -f -t 0 second
echo "## from outside"
merged=$(podman mount server)
sh -c 'echo outside >>"$1/srv/app/keep/12"' - "$merged"
quiet podman unmount -f server
quiet podman stop -t 0 server
quiet podman start server
step podman exec server sh -c "echo again >>/srv/app/keep/13; $list"
quiet podman rm -f -t 0 server changer
quiet podman rmi localhost/changed localhost/app localhost/base
echo "## left"
grep -c ' - overlay ' /proc/self/mountinfo
for layer in /var/lib/containers/storage/overlay/*; do [ "${layer##*/}" = l ] || echo "${layer##*/}"; done
exit 0
