# Reads what must not outlive the test binary, one line each, and does away with
# it when the pipe is closed: also after a panic, an abort or SIGKILL of the
# binary, in which case no destructor of it runs.
processes=
cgroups=
directories=
while read -r what which; do
	case $what in
	started) processes="$processes $which" ;;
	ended) processes=$(for each in $processes; do [ "$each" = "$which" ] || printf ' %s' "$each"; done) ;;
	cgroup) cgroups="$cgroups $which" ;;
	directory) directories="$directories $which" ;;
	esac
done
# One that leads a group takes it with it; of one that leads none there is no such group.
for each in $processes; do
	kill -KILL "$each"
	kill -KILL "-$each"
done
# Most are gone already. A process that was killed is in its cgroup for a moment longer.
for each in $cgroups; do
	for attempt in 1 2 3 4 5 6 7 8 9 10; do
		[ -d "$each" ] || break
		rmdir "$each" && break
		sleep 0.3
	done
done
# The children of what was killed end a moment later and may still write until then.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
	rm -rf $directories && break
	sleep 0.3
done
