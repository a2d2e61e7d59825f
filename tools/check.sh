#!/usr/bin/env bash
# Format, build of the dev preset, clang-tidy, the API's pages, all tests: what must pass before a commit.
#
#   BITLOOM_TIDY=all      every .cpp of the product (default; unchanged files are remembered)
#   BITLOOM_TIDY=changed  those that differ from the last commit
#   BITLOOM_TIDY=off      none
#   BITLOOM_JOBS=N        compilers and tests side by side (default: all cores)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs=${BITLOOM_JOBS:-$(nproc)}
build=build/dev
tidy=${BITLOOM_TIDY:-all}

say() { printf '== %s (%d s)\n' "$*" "$SECONDS"; }

# Tracked files and new ones that git does not ignore.
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
  [[ -f $file ]] && printf '%s\n' "$file"; done; }

check_format() {
  mapfile -t sources < <(files '*.h' '*.cpp')
  [[ ${#sources[@]} -gt 0 ]] || { echo "check: found no sources" >&2; exit 1; }
  say "format of ${#sources[@]} files"
  clang-format --dry-run -Werror "${sources[@]}"
}

# One file; a stamp named by everything that the answer depends on spares an unchanged one.
tidy_one() {
  local file=$1 stamp
  stamp=$build/tidy/$(cat "$file" "$build/tidy/common" | sha256sum | cut -c1-32)
  [[ -f $stamp ]] && return 0
  # clang-tidy counts the suppressed warnings of system headers on stderr; those are no news.
  # GCC's own warning options mean nothing to it.
  if ! clang-tidy -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option "$file" \
    2>"$stamp.log"; then
    grep -v 'warnings\? generated' "$stamp.log" >&2 || true
    return 1
  fi
  rm -f "$stamp.log"
  touch "$stamp"
}

# Tests are left out: most of their time would go into gtest's headers.
check_tidy() {
  local product=(src datasets trainers tools) sources headers
  case $tidy in
    all) mapfile -t sources < <(files "${product[@]/%//*.cpp}") ;;
    changed) mapfile -t sources < <({ git diff --name-only HEAD -- "${product[@]/%//*.cpp}"
      git ls-files --others --exclude-standard -- "${product[@]/%//*.cpp}"; } | sort -u) ;;
    off) return ;;
    *) echo "check: BITLOOM_TIDY: expected all, changed or off, found '$tidy'" >&2; exit 2 ;;
  esac
  say "clang-tidy over ${#sources[@]} files ($tidy)"
  [[ ${#sources[@]} -gt 0 ]] || return 0
  mkdir -p "$build/tidy"
  mapfile -t headers < <(files '*.h')
  cat .clang-tidy CMakeLists.txt "${headers[@]}" | sha256sum >"$build/tidy/common"
  export -f tidy_one
  export build
  # shellcheck disable=SC2016
  printf '%s\n' "${sources[@]}" | xargs -P "$jobs" -I{} bash -c 'tidy_one "$1"' _ {}
}

check_format
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
say "build of the dev preset"
cmake --preset dev "${launcher[@]}" >/dev/null
cmake --build --preset dev -j "$jobs"
check_tidy
say "pages of the API"
tools/docs.sh
say "tests"
ctest --preset dev -j "$jobs"
say "all checks passed"
