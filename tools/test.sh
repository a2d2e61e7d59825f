#!/usr/bin/env bash
# The README's test command: installs what is missing, builds, runs every check.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
"$here/setup.sh"
"$here/check.sh"
