#!/bin/sh
# Runs a command as on a machine of its own: its mounts, network, processes and root of every cgroup hierarchy. What a
# node's programs write on the machine goes when the command ends; kernel settings that they change are not the kernel's.
set -eu
CGROUPS=/sys/fs/cgroup

if [ "${SHUNT_TEST_MACHINE:-}" = "" ]; then
	name=shunt-machine$$
	if [ -f $CGROUPS/cgroup.controllers ]; then hierarchies=$CGROUPS; else hierarchies=$(echo $CGROUPS/*); fi
	leave() {
		for hierarchy in $hierarchies; do
			find "$hierarchy/$name" -depth -type d -exec rmdir {} \; 2>/dev/null || true
		done
		rmdir "$state"
	}
	trap leave EXIT
	for hierarchy in $hierarchies; do
		mkdir "$hierarchy/$name"
		# A cpuset without processors takes no process (cgroup-v1/cpusets.rst).
		for set in cpuset.cpus cpuset.mems; do
			[ ! -f "$hierarchy/$set" ] || [ -f "$hierarchy/cgroup.controllers" ] || cat "$hierarchy/$set" >"$hierarchy/$name/$set"
		done
	done
	state=$(mktemp -d /tmp/shunt-machine-XXXXXX)
	export SHUNT_TEST_MACHINE="$name" SHUNT_TEST_STATE="$state" HIERARCHIES="$hierarchies"
	# It becomes the root of each hierarchy first, and then leaves that of cgroup v2: controllers are only for children
	# of a cgroup without processes.
	# shellcheck disable=SC2016
	sh -c 'for hierarchy in $HIERARCHIES; do echo $$ >"$hierarchy/$SHUNT_TEST_MACHINE/cgroup.procs"; done
		exec unshare --cgroup "$@"' sh sh -c 'for hierarchy in $HIERARCHIES; do
			[ -f "$hierarchy/cgroup.controllers" ] || continue
			mkdir "$hierarchy/$SHUNT_TEST_MACHINE/init"
			echo $$ >"$hierarchy/$SHUNT_TEST_MACHINE/init/cgroup.procs"
		done
		exec unshare --mount --net --pid --fork --kill-child --mount-proc "$@"' sh "$0" "$@"
	exit
fi

state=$SHUNT_TEST_STATE
mount -t tmpfs tmpfs "$state"
# Of host paths that programs of a node insist on, each write stays here.
for path in /etc /opt /var/lib /var/log; do
	mkdir -p "$state$path/upper" "$state$path/work"
	mount -t overlay overlay -o "lowerdir=$path,upperdir=$state$path/upper,workdir=$state$path/work" "$path"
done
# The kubelet sets these, and they are the kernel's, not a namespace's.
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
	[ -f "/proc/sys/$setting" ] || continue
	copy="$state/$(basename $setting)"
	cat "/proc/sys/$setting" >"$copy"
	mount --bind "$copy" "/proc/sys/$setting"
done

grep -E " (cgroup|cgroup2) " /proc/mounts >"$state/cgroups"
umount -R $CGROUPS
mount -t sysfs sysfs /sys
grep -q " $CGROUPS cgroup2 " "$state/cgroups" || mount -t tmpfs tmpfs $CGROUPS
while read -r _ point type options _; do
	mkdir -p "$point"
	options=$(echo "$options" | sed 's/\brw,\?//; s/\b\(no\(suid\|dev\|exec\)\|relatime\),\?//g; s/,$//')
	mount -t "$type" ${options:+-o "$options"} "$type" "$point"
done <"$state/cgroups"
mount -t bpf bpf /sys/fs/bpf
umount -R /run/netns 2>/dev/null || true
mount -t tmpfs tmpfs /run
mkdir /run/netns
mount --make-rshared /

ip link set lo up
ip link add node0 type bridge
ip addr add 10.88.0.2/24 dev node0
ip link set node0 up
ip route add default via 10.88.0.1 dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

exec "$@"
