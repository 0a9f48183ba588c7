#!/usr/bin/env bash
# Writes the image that runs in the pods of the tests, an OCI archive with the program alone:
#
#   tests/e2e/image.sh PROGRAM NAME ARCHIVE
set -euo pipefail
program=$1 name=$2 archive=$3
PATH=$("$(dirname "$0")/../../image/tools.sh" regctl):$PATH
declare -A machines=([x86_64]=amd64 [aarch64]=arm64)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
image=ocidir://$work/layout:1
tar --create --file "$work/root.tar" --directory "$(dirname "$program")" --format=ustar --owner=0 --group=0 --numeric-owner \
	"$(basename "$program")"
{
	regctl image create "$image" --platform "linux/${machines[$(uname -m)]}"
	regctl image mod "$image" --replace --layer-add "tar=$work/root.tar" --config-entrypoint "[\"/$(basename "$program")\"]"
} >&2
mkdir -p "$(dirname "$archive")"
regctl image export --name "$name" "$image" "$archive"
echo "$archive"
