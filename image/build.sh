#!/usr/bin/env bash
# Builds the image, without Docker and as an ordinary user, into target/image (or
# CARGO_TARGET_DIR/image), and prints the path of the archive:
#
#   image/build.sh [amd64] [arm64]        by default both, in one archive
#   image/build.sh native                 the architecture of this machine
#
# Beside the archive are, per architecture, an SBOM and the program alone (.tar.gz). The same commit always gives the same
# bytes, wherever it is built; docs/image.md explains how to compare them.
set -euo pipefail
cd -P "$(dirname "$0")/.."

declare -A targets=([amd64]=x86_64-unknown-linux-musl [arm64]=aarch64-unknown-linux-musl)
declare -A machines=([x86_64]=amd64 [aarch64]=arm64)
architectures=("$@")
((${#architectures[@]})) || architectures=(amd64 arm64)
if [[ $* == native ]]; then
	architectures=("${machines[$(uname -m)]-none}")
fi
for architecture in "${architectures[@]}"; do
	if [[ -z ${targets[$architecture]-} ]]; then
		echo "usage: image/build.sh [amd64] [arm64], or on one of these machines: image/build.sh native" >&2
		exit 2
	fi
done

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
description=$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)
revision=$(git describe --always --abbrev=40 --exclude '*' --dirty)
# All times in the image are the time of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# regctl knows the variable under a name that lacks a letter.
export SOURCE_DATE_EPOCH SOURCE_DATE_EPOC=$SOURCE_DATE_EPOCH
created=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
name=ghcr.io/firebreak-dev/firebreak:$version

tools=$(image/tools.sh zig regctl cargo-auditable cargo-cyclonedx)
export PATH=$tools:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
out=$CARGO_TARGET_DIR/image
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d "$out/unfinished.XXXXXX")
sbom=firebreak-image-sbom # cargo-cyclonedx writes it beside each Cargo.toml
trap 'rm -rf "$work" $sbom.json engine/$sbom.json' EXIT
trap 'exit 1' HUP INT TERM

# The program has no path of this machine in it: neither of the sources nor of the crates.
separator=$'\x1f'
CARGO_ENCODED_RUSTFLAGS=--remap-path-prefix=$PWD=/firebreak
CARGO_ENCODED_RUSTFLAGS+=$separator--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo
CARGO_ENCODED_RUSTFLAGS+=$separator--remap-path-prefix=$CARGO_TARGET_DIR=/target
# Where rustup has the sources of the standard library, their paths are those of this machine, too.
commit=$(rustc --version --verbose | sed -n 's/^commit-hash: //p')
CARGO_ENCODED_RUSTFLAGS+=$separator--remap-path-prefix=$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$commit
export CARGO_ENCODED_RUSTFLAGS
export ZIG_GLOBAL_CACHE_DIR=$CARGO_TARGET_DIR/zig ZIG_LOCAL_CACHE_DIR=$CARGO_TARGET_DIR/zig

build_program() { # TARGET
	local upper=${1^^}
	upper=${upper//-/_}
	# rustup has the linker and the C library of musl; only C code needs a compiler.
	# A fixed time, because another one would compile all C code again for each commit.
	env SOURCE_DATE_EPOCH=0 "CARGO_TARGET_${upper}_LINKER=rust-lld" "CC_${1//-/_}=$PWD/image/cc" "AR_${1//-/_}=$PWD/image/ar" \
		cargo auditable build --locked --release --bin firebreak --target "$1"
}

write_sbom() { # TARGET FILE
	cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target "$1" \
		--override-filename "$sbom"
	# Its references to our own crates have the path of this machine.
	sed 's|path+file://[^"#]*#|path+file:///|' "$sbom.json" >"$2"
	rm "$sbom.json" "engine/$sbom.json"
}

add_image() { # ARCHITECTURE PROGRAM
	local root=$work/root-$1 tag=ocidir://$work/layout:$1
	install -D --mode=0755 "$2" "$root/firebreak"
	install -D --mode=0644 LICENSE "$root/LICENSE"
	tar --create --file "$root.tar" --directory "$root" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" \
		--owner=0 --group=0 --numeric-owner LICENSE firebreak
	gzip --no-name --best <"$root.tar" >"$out/firebreak-$version-linux-$1.tar.gz"
	regctl image create "$tag" --platform "linux/$1" --created "$created" \
		--label "org.opencontainers.image.title=firebreak" \
		--label "org.opencontainers.image.description=$description" \
		--label "org.opencontainers.image.version=$version" \
		--label "org.opencontainers.image.revision=$revision" \
		--label "org.opencontainers.image.created=$created" \
		--label "org.opencontainers.image.source=https://github.com/firebreak-dev/firebreak" \
		--label "org.opencontainers.image.licenses=Apache-2.0"
	regctl image mod "$tag" --replace --layer-add "tar=$root.tar" --config-entrypoint '["/firebreak"]' \
		--user 65532:65532 --label-to-annotation
}

references=()
for architecture in "${architectures[@]}"; do
	target=${targets[$architecture]}
	# What is there already is not asked for again.
	[[ -d $(rustc --print target-libdir --target "$target") ]] || rustup target add "$target"
	build_program "$target"
	add_image "$architecture" "$CARGO_TARGET_DIR/$target/release/firebreak"
	write_sbom "$target" "$out/firebreak-$version-linux-$architecture.cdx.json"
	references+=(--ref "ocidir://$work/layout:$architecture")
done >&2
regctl index create "ocidir://$work/layout:$version" "${references[@]}" >&2
regctl image export --name "$name" "ocidir://$work/layout:$version" "$work/archive.tar"
archive=$out/firebreak-$version.tar
mv "$work/archive.tar" "$archive"
echo "$archive"
