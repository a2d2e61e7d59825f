#!/usr/bin/env bash
# Installs what bitloom is built from, and only what is missing: Debian packages (as root or by
# sudo) and oneDNN 3.2 into third_party/onednn. Run it as often as you like; where everything is
# there, it needs neither root nor a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(
  cmake ninja-build g++ pkg-config git
  libhdf5-dev libeigen3-dev libboost-program-options-dev libhwy-dev libspdlog-dev
  nlohmann-json3-dev zlib1g-dev libjpeg-dev libpng-dev libgtest-dev libgmock-dev libbenchmark-dev
  dataset-fashion-mnist
  python3-h5py python3-numpy python3-pip clang-format clang-tidy
  libomp-dev # clang-tidy's omp.h; what is built links g++'s libgomp
  doxygen zsh man-db bsdextrautils # what checks the API's pages, the completion and the man page
)
onednn_prefix=third_party/onednn

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

has_package() {
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    has_package "$package" || missing+=("$package")
  done
  if [[ ${#missing[@]} -eq 0 ]]; then
    say "all ${#packages[@]} Debian packages are there"
    return
  fi
  local as_root=()
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null ||
      die "missing packages: ${missing[*]}" "run as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3)
  "${apt[@]}" update || say "the package lists could not be renewed; going on with the old ones"
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" ||
    die "apt-get could not install: ${missing[*]}"
}

has_onednn() {
  [[ -f $1/lib/libdnnl.so.3.2 && -f $1/lib/cmake/dnnl/dnnl-config.cmake && -f $1/include/dnnl.hpp ]]
}

# Into a folder beside it and then renamed, so that an interrupted run leaves no half of it.
install_onednn() {
  if has_onednn "$onednn_prefix"; then
    say "oneDNN 3.2 is there"
    return
  fi
  [[ "$(uname -m)" == x86_64 ]] ||
    die "oneDNN's packages are for x86_64; build oneDNN 3.2 and install it into $onednn_prefix"
  local python=/usr/bin/python3 partial="$onednn_prefix.partial"
  [[ -x $python ]] || python=python3
  say "fetching oneDNN 3.2 (39 MB) into $onednn_prefix"
  mkdir -p third_party
  rm -rf "$partial"
  # A prefix of its own, so PEP 668 (Debian's guard of the system's Python) does not apply.
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --no-warn-script-location \
    --ignore-installed --require-hashes --only-binary :all: --prefix "$PWD/$partial" \
    -r tools/onednn_requirements.txt ||
    die "pip could not fetch oneDNN" "put oneDNN 3.2 into $onednn_prefix by hand and run this again"
  # Some builds of Debian's pip add a folder to the prefix.
  local root=$partial
  has_onednn "$root" || root=$partial/local
  has_onednn "$root" || die "pip laid oneDNN out in another way than expected; see $partial"
  rm -rf "$onednn_prefix"
  mv "$root" "$onednn_prefix"
  rm -rf "$partial"
}

[[ -f /etc/debian_version ]] || die "this script knows Debian 12; README.md lists the packages"
install_packages
install_onednn
say "done"
