#!/usr/bin/env bash
# Fuzzes readers with libFuzzer under address and undefined-behaviour sanitizers (clang):
#   tools/fuzz.sh [SECONDS [TARGET...]]     default: 1200 seconds for every target, one after another
# Corpora stay in build/fuzz/corpus; a crash is left in build/fuzz/crash-TARGET-*: put it into
# tests/fuzz/regressions/TARGET, where tests/fuzz/replay_test.cpp keeps it from coming back.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-1200}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] ||
  targets=(archive model checkpoint idx cifar10 picture hdf5 graph config)

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "${BITLOOM_JOBS:-$(nproc)}" --target "${targets[@]/#/fuzz_}" "${targets[@]/#/seeds_}"
failed=0
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus"
  "build/fuzz/seeds_$target" "$corpus"
  regressions=()
  [[ -d tests/fuzz/regressions/$target ]] && regressions=("tests/fuzz/regressions/$target")
  # HDF5 and libjpeg keep a few bytes when they give up; what we lose shows in the test of asan.
  if OMP_NUM_THREADS=1 "build/fuzz/fuzz_$target" "$corpus" "${regressions[@]}" -max_total_time="$seconds" \
    -max_len=65536 -timeout=20 -rss_limit_mb=3000 -malloc_limit_mb=2500 -detect_leaks=0 \
    -print_final_stats=1 -artifact_prefix="build/fuzz/crash-$target-" >"build/fuzz/$target.log" 2>&1; then
    printf 'fuzz: %-10s %s inputs in %s s, no finding\n' "$target" \
      "$(awk '/stat::number_of_executed_units/ {print $2}' "build/fuzz/$target.log")" "$seconds"
  else
    printf 'fuzz: %-10s FAILED; see build/fuzz/%s.log\n' "$target" "$target"
    failed=1
  fi
done
exit "$failed"
