#!/usr/bin/env bash
# Makes the Debian package of the release preset and tries it where nothing of the build is in reach:
# taken apart into a folder of its own, with an empty environment.
#   BITLOOM_JOBS=N     compilers side by side (default: all cores)
#   BITLOOM_BUILD=DIR  takes another build, configured already
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${BITLOOM_BUILD:-build/release}
die() {
  printf 'package: %s\n' "$@" >&2
  exit 1
}

if [[ -z ${BITLOOM_BUILD:-} ]]; then
  launcher=()
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  cmake --preset release "${launcher[@]}" >/dev/null
fi
cmake --build "$build" -j "${BITLOOM_JOBS:-$(nproc)}" --target bitloom bitloom_share
rm -f "$build"/bitloom_*.deb
(cd "$build" && cpack -G DEB >cpack.log) || die "cpack failed; see $build/cpack.log"
package=$(find "$build" -maxdepth 1 -name 'bitloom_*.deb')
[[ -n $package ]] || die "cpack wrote no package; see $build/cpack.log"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dpkg-deb -x "$package" "$folder"
program=$folder/usr/bin/bitloom
[[ -x $program ]] || die "no usr/bin/bitloom in $package"
depends=$(dpkg-deb -f "$package" Depends)
[[ $depends == *libhdf5* ]] || die "expected libhdf5 among what it depends on, found: $depends"
[[ $depends != *-dev* ]] || die "expected no package for building, found: $depends"
for file in man/man1/bitloom.1 bash-completion/completions/bitloom zsh/vendor-completions/_bitloom; do
  [[ -s $folder/usr/share/$file || -s $folder/usr/share/$file.gz ]] || die "no usr/share/$file in $package"
done
onednn=$(ldd "$program" | awk '/libdnnl/ {print $3}')
[[ $(realpath "$onednn") == "$folder"/usr/lib/bitloom/* ]] || die "it would load oneDNN from $onednn"
env -i "$program" --version
# It trains and runs too: a small network from nothing but the package.
config=$folder/usr/share/doc/bitloom/configs/synthetic_tiny.cfg
env -i "$program" train --config "$config" --out "$folder/run" --train.epochs=1 --threads=1 --quiet
env -i "$program" export --checkpoint "$folder/run/checkpoint.h5" --out "$folder/m.h5" --quiet
env -i "$program" eval --model "$folder/m.h5" --threads=1
printf 'package: %s, %s bytes\npackage: depends on %s\n' "$package" "$(stat -c %s "$package")" "$depends"
