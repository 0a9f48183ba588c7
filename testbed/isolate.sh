#!/usr/bin/env bash
# Runs a command, as root, where a kubelet and containerd can do no harm:
#
#   testbed/isolate.sh COMMAND...         for example `true`, which shows whether this machine can do it
#
# The command has its own network with only a loopback interface, its own processes, mounts and kernel settings, and a
# directory for temporary files in memory (TMPDIR). All of that ends with the command, however it ends, and so does every
# process that it has started. What it finds in the file system is real, except that /run is empty, and that what it writes to
# the other directories of a node is lost. FIREBREAK_CGROUP is the name of a cgroup that it may use in every hierarchy.
set -euo pipefail

# The address of the Service `kubernetes`, where the API server listens itself, so that no kube-proxy is needed; and that of
# the node, which a kubelet does not accept if it is a loopback address.
addresses=(10.96.0.1 10.98.0.1)
# What a kubelet, containerd and network plugins write at fixed places. There may be another containerd on this machine, so
# /run is empty.
directories=(/opt /var/lib /var/log)
# What a kubelet sets, and no namespace separates.
settings=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
	kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

refuse() { # WHY
	echo "testbed/isolate.sh: $1" >&2
	exit 2
}

# The first process of the namespaces. It stays, because it has to reap what loses its parent.
inside() { # COMMAND...
	local directory setting address layers settings_here=$TMPDIR/settings
	mount -t tmpfs -o mode=0755 tmpfs "$TMPDIR"
	mount -t tmpfs -o mode=0755 tmpfs /run
	for directory in "${directories[@]}"; do
		layers=$TMPDIR/layers$directory
		mkdir -p "$layers/upper" "$layers/work"
		mount -t overlay -o "lowerdir=$directory,upperdir=$layers/upper,workdir=$layers/work" overlay "$directory"
	done
	mkdir -p "$settings_here"
	for setting in "${settings[@]}"; do
		cat "/proc/sys/$setting" >"$settings_here/${setting//\//.}"
		mount --bind "$settings_here/${setting//\//.}" "/proc/sys/$setting"
	done
	ip link set lo up
	for address in "${addresses[@]}"; do
		ip address add "$address/32" dev lo
	done
	mkdir "$TMPDIR/tmp"
	TMPDIR=$TMPDIR/tmp "$@"
}

hierarchies() {
	findmnt --noheadings --output TARGET --types cgroup,cgroup2
}

create_cgroups() {
	local hierarchy file
	for hierarchy in $(hierarchies); do
		mkdir "$hierarchy/$FIREBREAK_CGROUP"
		# A new cpuset of version 1 is empty, and no process may join it.
		for file in cpuset.cpus cpuset.mems; do
			if [[ -e $hierarchy/$file ]]; then
				cat "$hierarchy/$file" >"$hierarchy/$FIREBREAK_CGROUP/$file"
			fi
		done
	done
}

# Waits until nobody has the other end of the pipe any more, then removes what is outside of the namespaces. The processes
# that were killed last need a moment to be gone.
remove_at_the_end() {
	local hierarchy attempt left
	trap '' HUP INT TERM
	cat >/dev/null
	for attempt in {1..600}; do
		left=
		for hierarchy in $(hierarchies); do
			if [[ -d $hierarchy/$FIREBREAK_CGROUP ]]; then
				find "$hierarchy/$FIREBREAK_CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || left=$hierarchy
			fi
		done
		[[ $left ]] || break
		sleep 0.1
	done
	rmdir "$TMPDIR"
}

case ${1-} in
--inside)
	inside "${@:2}"
	exit
	;;
--remove)
	remove_at_the_end
	exit
	;;
esac
(($#)) || refuse "usage: testbed/isolate.sh COMMAND..."
((EUID == 0)) || refuse "a real node needs root, for namespaces, mounts and cgroups"
for program in findmnt ip runc setpriv unshare; do
	command -v $program >/dev/null ||
		refuse "$program is missing: apt-get install --no-install-recommends iproute2 runc util-linux, or the same elsewhere"
done
export FIREBREAK_CGROUP=firebreak-$$
TMPDIR=$(mktemp -d)
export TMPDIR
# Also if this script is killed, with its process group, the processes end and the rest is removed.
exec {alive}> >(exec setsid "$0" --remove)
remover=$!
create_cgroups
status=0
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside "$@" || status=$?
exec {alive}>&-
wait $remover
exit $status
