#!/usr/bin/env bash
# Kills training runs at random moments, every other one while it writes a checkpoint, and holds
# what each resumes to against the run that was left alone: bit for bit.
#
#   tools/kill_test.sh [KILLS [SEED [BUILD]]]     50, 1, build/dev
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kills=${1:-50}
seed=${2:-1}
build=${3:-build/dev}
[[ -x $build/tests/test_cli ]] || { echo "$build/tests/test_cli is not built" >&2; exit 2; }
BITLOOM_KILLS=$kills BITLOOM_KILL_SEED=$seed "$build/tests/test_cli" --gtest_filter='Kill.*'
