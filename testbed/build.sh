#!/usr/bin/env bash
# Builds the testbed once per content of its sources into a cache directory and
# prints that directory, which is also a valid KUBEBUILDER_ASSETS. It holds
# Kubernetes, etcd, kubectl and kwok, and the further tools that are named:
#
#   testbed/build.sh [metrics-server] [helm]
set -euo pipefail
cd "$(dirname "$0")"

kubernetes=$(sed -n 's|^\tk8s.io/kubernetes ||p' go.mod)
minor=${kubernetes#v1.}
declare -A modules=(
	[kwok]=sigs.k8s.io/kwok/cmd/kwok@v0.8.0
	[metrics-server]=sigs.k8s.io/metrics-server/cmd/metrics-server@v0.9.0
	[helm]=helm.sh/helm/v3/cmd/helm@v3.21.4
)
declare -A minutes=([kwok]=2 [metrics-server]=3 [helm]=1 [Kubernetes]=7)
tools=(kwok "$@")
for tool in "${tools[@]}"; do
	if [[ -z ${modules[$tool]-} ]]; then
		echo "usage: testbed/build.sh [metrics-server] [helm]" >&2
		exit 2
	fi
done
if ! command -v go >/dev/null; then
	echo "testbed: Go is missing, see https://go.dev/dl" >&2
	exit 1
fi
export CGO_ENABLED=0
cache=${FIREBREAK_TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/firebreak-testbed}

sources() {
	{ go version; cat go.mod go.sum ./*.go kwok/* manifests/* build.sh; } | sha256sum | cut -c1-16
}

complete() {
	[[ -d $result ]] || return
	for tool in "${tools[@]}"; do
		[[ -x $result/$tool ]] || return
	done
}

# run shows how long the build of NAME has taken until now. The pipe carries no
# data: it ends with the command, so that nothing has to be polled.
run() { # NAME COMMAND...
	local name=$1 pause=20 before='' after=$'\n' start=$SECONDS elapsed
	shift
	if [[ -t 2 ]]; then
		pause=1 before=$'\r\e[K' after=''
	fi
	echo "testbed: building $name (about ${minutes[$name]} min the first time, on 2 cores)" >&2
	exec 8< <(trap - INT; exec 7>&1 "$@" >&2) # Go cleans up when it is interrupted
	building=$!
	until read -rt $pause -u 8; do
		(($? > 128)) || break # the end, not a timeout
		elapsed=$((SECONDS - start))
		printf '%stestbed: building %s, %d:%02d min%s' "$before" "$name" $((elapsed / 60)) $((elapsed % 60)) "$after" >&2
	done
	printf %s "$before" >&2
	wait $building
	building=
}

kept() { # NAME
	echo "$cache/tools/$1-${modules[$1]##*@}"
}

build_tool() { # NAME
	run "$1" env -C / GOBIN="$unfinished" go install -trimpath -ldflags '-s -w' "${modules[$1]}"
	mv "$unfinished/$1" "$(kept "$1")"
}

# Without a version in it the API server calls itself v0.0.0, which charts reject.
build_kubernetes() {
	mkdir "$unfinished/result"
	run Kubernetes go build -trimpath -o "$unfinished/result/testbed" -ldflags "-s -w
		-X k8s.io/component-base/version.gitVersion=$kubernetes
		-X k8s.io/component-base/version.gitMajor=1
		-X k8s.io/component-base/version.gitMinor=${minor%%.*}
		-X k8s.io/client-go/pkg/version.gitVersion=$kubernetes" .
	for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
		ln -s testbed "$unfinished/result/$program"
	done
}

# The time of the directory tells when it was last used, to within a day. What
# is as old as that is touched under the lock only, where it cannot be removed.
hash=$(sources)
result=$cache/$hash
if complete && [[ $(find "$result" -maxdepth 0 -mtime -1) ]]; then
	echo "$result"
	exit
fi

# One build at a time; then a temporary directory of another build is garbage.
mkdir -p "$cache/tools"
exec 9>"$cache/lock"
if ! flock -n 9; then
	echo "testbed: waiting for another build" >&2
	flock 9
fi
rm -rf "$cache"/unfinished.*
unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
export GOTMPDIR=$unfinished # goes with it, however this ends
building=
trap '{ kill -INT $building && wait $building; } 2>/dev/null || :; rm -rf "$unfinished"' EXIT
trap 'exit 1' HUP INT TERM

for tool in "${tools[@]}"; do
	[[ -x $result/$tool || -x $(kept "$tool") ]] || build_tool "$tool"
done
if [[ ! -d $result ]]; then
	build_kubernetes
	# The sources may have been edited in these minutes.
	[[ $(sources) == "$hash" ]] || exec ./build.sh "$@"
	mv "$unfinished/result" "$result"
fi
for tool in "${tools[@]}"; do
	[[ -x $result/$tool ]] || ln "$(kept "$tool")" "$result/$tool"
done
touch "$result"

# Results that nobody used for a week go, and tools that belong to no result.
find "$cache" -maxdepth 1 -name '????????????????' -mtime +6 -exec mv -t "$unfinished" {} +
find "$cache/tools" -type f -links 1 -mtime +6 -delete
echo "$result"
