#!/usr/bin/env bash
# Builds an earlier release of Firebreak once into the cache of the testbed and prints the directory that has it:
# its binary `firebreak`, and its manifests in `crds` and `deploy`. The upgrade tests run it.
set -euo pipefail
cd "$(dirname "$0")/.."

# The first release whose objects are continued; tests/live/upgrade has what it stores.
commit=21d1e82e8e283642deff0239b21a6298bc74d728
cache=${FIREBREAK_TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/firebreak-testbed}/releases
result=$cache/$commit

if [[ -d $result ]]; then
	echo "$result"
	exit
fi
# A clone without its history, which CI systems like to make, has not got the commit.
if ! git cat-file -e "$commit^{commit}" 2>/dev/null && ! git fetch --quiet --depth=1 origin "$commit"; then
	echo "old-release: this clone has not got commit ${commit:0:7}; run: git fetch --unshallow" >&2
	exit 1
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
if ! flock -n 9; then
	echo "old-release: waiting for another build" >&2
	flock 9
fi
if [[ ! -d $result ]]; then
	echo "old-release: building Firebreak ${commit:0:7} (about 2 min, on 2 cores)" >&2
	# What is left of interrupted builds, and releases that are no longer tested.
	find "$cache" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
	unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
	trap 'rm -rf "$unfinished"' EXIT
	trap 'exit 1' HUP INT TERM
	mkdir "$unfinished/source" "$unfinished/result"
	git archive "$commit" | tar -x -C "$unfinished/source"
	# Whatever is cheapest to build: nothing is measured with it. In its directory, because of its toolchain.
	(
		cd "$unfinished/source"
		CARGO_TARGET_DIR=$unfinished/target CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false \
			cargo build --locked --bin firebreak >&2
	)
	mv "$unfinished/target/debug/firebreak" "$unfinished/source/crds" "$unfinished/source/deploy" "$unfinished/result"
	mv "$unfinished/result" "$result"
fi
echo "$result"
