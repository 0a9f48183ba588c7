#!/usr/bin/env bash
# Writes the go.mod with which `testbed/build.sh --minor` builds another minor of Kubernetes:
#
#   testbed/minors/pin.sh v1.33.13    # writes minors/1.33/go.mod and go.sum
#
# It requires and replaces what the go.mod of that release does, because `go get` alone would mix its libraries with newer
# ones, and keeps that release's GODEBUG, because it is part of how it behaves.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1?usage: testbed/minors/pin.sh v1.MINOR.PATCH}
libraries=v0.${version#v1.}
minor=${version#v}
folder=minors/${minor%.*}

theirs=$(cd / && go mod download -json "k8s.io/kubernetes@$version" | sed -n 's|^\t"GoMod": "\(.*\)",$|\1|p')
mkdir -p "$folder"
: >"$folder/go.sum"
touch "$folder/left-out" # the tests for which the minor has no API
{
	printf 'module testbed\n\n%s\n\n' "$(grep '^go ' go.mod)"
	printf '%s\n\n' "$(grep '^godebug ' "$theirs")"
	printf 'require k8s.io/kubernetes %s\n\n' "$version"
	sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging.*|replace \1 => \1 $libraries|p" "$theirs"
} >"$folder/go.mod"
go mod tidy -modfile "$folder/go.mod"
