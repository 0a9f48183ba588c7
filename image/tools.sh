#!/usr/bin/env bash
# Installs tools once per version into a cache directory, and prints the directories
# of their programs for PATH, separated by colons:
#
#   image/tools.sh zig regctl cargo-auditable cargo-cyclonedx cargo-deny actionlint mdbook
#
# Tools of Rust are built without optimization: they run for seconds, and build for minutes.
set -euo pipefail
cd "$(dirname "$0")"

declare -A versions=(
	[zig]=0.17.1
	[regctl]=v0.11.7
	[actionlint]=v1.7.12
	[cargo-auditable]=0.7.7
	[cargo-cyclonedx]=0.5.9
	[cargo-deny]=0.20.2
	[mdbook]=0.5.4
)
declare -A modules=(
	[regctl]=github.com/regclient/regclient/cmd/regctl
	[actionlint]=github.com/rhysd/actionlint/cmd/actionlint
)
# Without what serves a site while it is written, which takes most of the time to build.
declare -A features=(
	[mdbook]="--no-default-features --features search"
)
for tool in "$@"; do
	if [[ -z ${versions[$tool]-} ]]; then
		echo "image/tools.sh: $tool is unknown; it knows: ${!versions[*]}" >&2
		exit 2
	fi
done
cache=${FIREBREAK_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/firebreak-tools}

install_tool() { # TOOL DIRECTORY
	local tool=$1 directory=$2 version=${versions[$1]}
	case $tool in
	zig)
		# A compiler for C with the headers of musl, which no other registry has. It runs without Python.
		if ! python3 -m pip --version >/dev/null; then
			echo "image/tools.sh: Python 3 with pip is missing, which installs zig" >&2
			exit 1
		fi
		python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --no-compile \
			--require-hashes --only-binary :all: --target "$directory" --requirement zig.txt
		rm -r "${directory:?}/bin"
		ln -s ziglang "$directory/bin"
		;;
	cargo-* | mdbook)
		# shellcheck disable=SC2086 # They are several words.
		CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$unfinished/target \
			cargo install --quiet --locked --debug ${features[$tool]-} --root "$directory" "$tool@$version"
		;;
	*)
		if ! command -v go >/dev/null; then
			echo "image/tools.sh: Go is missing, see https://go.dev/dl" >&2
			exit 1
		fi
		CGO_ENABLED=0 GOBIN=$directory/bin go install -trimpath -ldflags '-s -w' "${modules[$tool]}@$version"
		;;
	esac
}

# The time of a directory tells when it was last used.
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/unfinished.*
unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
trap 'exit 1' HUP INT TERM
path=
for tool in "$@"; do
	kept=$cache/$tool-${versions[$tool]}
	if [[ ! -d $kept ]]; then
		echo "image: installing $tool ${versions[$tool]}" >&2
		install_tool "$tool" "$unfinished/$tool" >&2
		mv "$unfinished/$tool" "$kept"
	fi
	touch "$kept"
	path+=${path:+:}$kept/bin
done
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +6 -exec mv -t "$unfinished" {} +
echo "$path"
