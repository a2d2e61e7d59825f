#!/usr/bin/env bash
# The C++ API's pages, from the headers and docs/, into build/docs/html; a warning is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v doxygen >/dev/null || {
  echo "docs: Doxygen is missing; install the Debian package doxygen" >&2
  exit 2
}
mkdir -p build/docs
doxygen docs/Doxyfile
pages=$(find build/docs/html -name '*.html' | wc -l)
[[ $pages -gt 100 ]] || { echo "docs: expected over 100 pages, found $pages" >&2; exit 1; }
echo "docs: $pages pages, build/docs/html/index.html"
