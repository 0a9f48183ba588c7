#!/usr/bin/env bash
# Builds the testbed once per content of its sources into a cache directory and
# prints that directory, which is also a valid KUBEBUILDER_ASSETS. It holds
# Kubernetes, etcd, kubectl and kwok, and the further tools that are named:
#
#   testbed/build.sh [--minor MINOR] [TOOL...], with the tools that are listed below
#
# A minor that has a folder in minors/, such as 1.33, is built in place of the usual one.
# Beside a tool that has them are its CustomResourceDefinitions, TOOL-crds.yaml.
set -euo pipefail
cd "$(dirname "$0")"

arguments=("$@")
module=go.mod
if [[ ${1-} == --minor ]]; then
	module=minors/${2-}/go.mod
	if [[ -z ${2-} || ! -e $module ]]; then
		echo "testbed: --minor takes one of: $(cd minors && echo */ | tr -d /)" >&2
		exit 2
	fi
	shift 2
fi
kubernetes=$(sed -n 's|^\tk8s.io/kubernetes ||p' "$module")
minor=${kubernetes#v1.}
declare -A packages=(
	[kwok]=sigs.k8s.io/kwok/cmd/kwok@v0.8.0
	[metrics-server]=sigs.k8s.io/metrics-server/cmd/metrics-server@v0.9.0
	[keda]=github.com/kedacore/keda/v2/cmd/operator
	[helm]=helm.sh/helm/v3/cmd/helm
	[helm4]=helm.sh/helm/v4/cmd/helm
	[helm-unittest]=github.com/helm-unittest/helm-unittest/cmd/helm-unittest
	[helm-docs]=github.com/norwoodj/helm-docs/cmd/helm-docs
	[kubeconform]=github.com/yannh/kubeconform/cmd/kubeconform
	[prometheus]=github.com/prometheus/prometheus/cmd/prometheus@v0.316.0
	[promtool]=github.com/prometheus/prometheus/cmd/promtool@v0.316.0
	# The last minor whose module has its web interface; go cannot build the later ones.
	[alertmanager]=github.com/prometheus/alertmanager/cmd/alertmanager@v0.31.1
	[containerd]=github.com/containerd/containerd/v2/cmd/containerd
	[containerd-shim-runc-v2]=github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
	[ctr]=github.com/containerd/containerd/v2/cmd/ctr
	[ptp]=github.com/containernetworking/plugins/plugins/main/ptp
	[host-local]=github.com/containernetworking/plugins/plugins/ipam/host-local
	[model-server]=./model-server
)
# The folder whose go.mod has the version of a tool: `go install` refuses a module that replaces others,
# and tools that share a go.mod share what is compiled.
declare -A folders=(
	[keda]=keda [helm]=chart [helm4]=chart [helm-unittest]=chart [helm-docs]=chart [kubeconform]=chart
	[containerd]=node [containerd-shim-runc-v2]=node [ctr]=node [ptp]=node [host-local]=node [model-server]=node
)
# Without the service discovery of every cloud, which is most of Prometheus, and without file systems and traces that need
# further modules.
containerd_tags=no_btrfs,no_devmapper,no_tracing,no_zfs
declare -A tags=(
	[prometheus]=remove_all_sd [promtool]=remove_all_sd
	[containerd]=$containerd_tags [containerd-shim-runc-v2]=$containerd_tags [ctr]=$containerd_tags
)
declare -A definitions=([keda]=config/crd) # a kustomization in the module of the tool
declare -A minutes=(
	[kwok]=2 [metrics-server]=3 [keda]=8 [helm]=1 [helm4]=1 [helm-unittest]=1 [helm-docs]=1 [kubeconform]=1
	[prometheus]=2 [promtool]=1 [alertmanager]=1 [Kubernetes]=7
	[containerd]=2 [containerd-shim-runc-v2]=1 [ctr]=1 [ptp]=1 [host-local]=1 [model-server]=1
)
tools=(kwok "$@")
for tool in "${tools[@]}"; do
	if [[ -z ${packages[$tool]-} ]]; then
		echo "usage: testbed/build.sh [--minor MINOR] [TOOL...], with: ${!packages[*]}" >&2
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
	{ go version; cat "$module" "${module%mod}sum" ./*.go kwok/* manifests/* build.sh; } | sha256sum | cut -c1-16
}

has_folder() { # TOOL
	[[ -n ${folders[$1]-} ]]
}

version() { # TOOL
	if has_folder "$1"; then
		find "${folders[$1]}" -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-16
	else
		echo "${packages[$1]##*@}"
	fi
}

kept() { # FILE TOOL
	echo "$cache/tools/$1-$(version "$2")"
}

# Whether the result has the file of this version.
has() { # FILE TOOL
	[[ $result/$1 -ef $(kept "$1" "$2") ]]
}

complete() {
	[[ -d $result ]] || return
	for tool in "${tools[@]}"; do
		has "$tool" "$tool" || return
		[[ -z ${definitions[$tool]-} ]] || has "$tool-crds.yaml" "$tool" || return
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

build_tool() { # TOOL
	if has_folder "$1"; then
		run "$1" go -C "${folders[$1]}" build -trimpath -tags "${tags[$1]-}" -o "$unfinished/$1" \
			-ldflags '-s -w' "${packages[$1]}"
	else
		run "$1" env -C / GOBIN="$unfinished" go install -trimpath -tags "${tags[$1]-}" -ldflags '-s -w' "${packages[$1]}"
	fi
}

write_definitions() { # TOOL
	local module
	module=$(go -C "${folders[$1]}" list -f '{{.Module.Dir}}' "${packages[$1]}")
	"$result/kubectl" kustomize "$module/${definitions[$1]}" >"$unfinished/$1-crds.yaml"
}

# add puts a file into the result, and makes it with a command if it is not kept.
add() { # FILE TOOL COMMAND
	local kept
	has "$1" "$2" && return
	kept=$(kept "$1" "$2")
	if [[ ! -e $kept ]]; then
		"$3" "$2"
		mv "$unfinished/$1" "$kept"
	fi
	ln -f "$kept" "$result/$1"
}

# Without a version in it the API server calls itself v0.0.0, which charts reject.
build_kubernetes() {
	local programs=(etcd kube-apiserver kube-controller-manager kube-scheduler kubectl) tags=no_kubelet
	if [[ $module == go.mod ]]; then
		programs+=(kubelet) tags=
	fi
	mkdir "$unfinished/result"
	run Kubernetes go build -modfile "$module" -tags "$tags" -trimpath -o "$unfinished/result/testbed" -ldflags "-s -w
		-X k8s.io/component-base/version.gitVersion=$kubernetes
		-X k8s.io/component-base/version.gitMajor=1
		-X k8s.io/component-base/version.gitMinor=${minor%%.*}
		-X k8s.io/client-go/pkg/version.gitVersion=$kubernetes" .
	for program in "${programs[@]}"; do
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

if [[ ! -d $result ]]; then
	build_kubernetes
	# The sources may have been edited in these minutes.
	[[ $(sources) == "$hash" ]] || exec ./build.sh "${arguments[@]}"
	mv "$unfinished/result" "$result"
fi
for tool in "${tools[@]}"; do
	add "$tool" "$tool" build_tool
	[[ -z ${definitions[$tool]-} ]] || add "$tool-crds.yaml" "$tool" write_definitions
done
touch "$result"

# Results that nobody used for a week go, and tools that belong to no result.
find "$cache" -maxdepth 1 -name '????????????????' -mtime +6 -exec mv -t "$unfinished" {} +
find "$cache/tools" -type f -links 1 -mtime +6 -delete
echo "$result"
