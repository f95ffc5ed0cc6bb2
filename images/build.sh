#!/usr/bin/env bash
# build.sh: static programs, and their images, in $CARGO_TARGET_DIR/images. See ../docs/install.md.
#
#   IMAGE_REPOSITORY   where the images' names begin (localhost)
#   IMAGE_TAG          their tag (the version of the workspace)
#   IMAGE_PROFILE      release, or dev for a quick look
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
profile=${IMAGE_PROFILE:-release}
repository=${IMAGE_REPOSITORY:-localhost}
tag=${IMAGE_TAG:-$(sed -nE '/^\[workspace.package\]/,/^\[/s/^version = "(.*)"/\1/p' Cargo.toml)}
host=$(rustc --version --verbose | sed -n 's/^host: //p')
programs=(keda-http-interceptor keda-http-scaler)

case $host in
  *-linux-gnu) ;;
  *) echo "Images are built for the machine they are built on, with glibc; this one is $host." >&2; exit 1 ;;
esac
if ! echo 'int main(void) { return 0; }' | "${CC:-cc}" -static -x c -o /dev/null - 2> /dev/null; then
  echo 'The static C library is missing: install it (Debian, Ubuntu: apt-get install libc6-dev; Fedora: dnf install glibc-static).' >&2
  exit 1
fi

# Map the directories of this machine away, so that they are not in the programs; of several that match, the last counts.
mkdir -p "$target"
own=$(cd "$target" && pwd)
directories=("$PWD=/src" "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$own=/target")
flags=(-Ctarget-feature=+crt-static "${directories[@]/#/--remap-path-prefix=}")
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
CFLAGS="${CFLAGS:-} ${directories[*]/#/-ffile-prefix-map=}"
export CARGO_ENCODED_RUSTFLAGS CFLAGS CARGO_PROFILE_RELEASE_STRIP=debuginfo
# Because --target is given, these flags apply to the programs only and not to build scripts.
cargo build --locked --profile "$profile" --target "$host" "${programs[@]/#/--package=}" --bins
unset CARGO_ENCODED_RUSTFLAGS CFLAGS

cargo build --quiet --locked --package keda-http-images
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || echo 0)}
REVISION=${REVISION:-$(git rev-parse HEAD 2> /dev/null || true)}
export SOURCE_DATE_EPOCH REVISION
for program in "${programs[@]}"; do
  binary=$target/$host/${profile/#dev/debug}/$program
  if [[ $profile = release ]] && grep --quiet --text --fixed-strings -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" -e "$own/" "$binary"; then
    echo "$program contains paths of this machine, so it is not reproducible." >&2
    exit 1
  fi
  "$target/debug/keda-http-images" "$program" "$binary" "$repository/$program:$tag" "$target/images"
done
