#!/usr/bin/env bash
# Fuzzes readers with libFuzzer under address and undefined-behaviour sanitizers (clang):
#   tools/fuzz.sh [SECONDS [TARGET...]]     default: 1200 seconds for every target, one after another
# SECONDS are of CPU time: on a busy machine, or at low priority, a target runs as long as it takes.
# BITLOOM_FUZZ_JOBS=3 runs three at a time. What a log counts for the very program that would run
# counts again, so that a stopped campaign goes on where it was, in rounds of five minutes.
# Corpora stay in build/fuzz/corpus; a crash is left in build/fuzz/crash-TARGET-*: put it into
# tests/fuzz/regressions/TARGET, where tests/fuzz/replay_test.cpp keeps it from coming back.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-1200}
jobs=${BITLOOM_FUZZ_JOBS:-1}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] ||
  targets=(archive model checkpoint idx cifar10 picture hdf5 graph config)

# "INPUTS CPU" of the whole rounds in the log of a target.
counts() {
  awk '/^Done [0-9]+ runs in [0-9]+ second/ {runs = $2}
       /^cpu: / {inputs += runs; cpu += $2}
       END {print inputs + 0, int(cpu)}' "$1"
}

# One round of at most $2 seconds; its CPU time stands behind it in the log.
round() {
  local target=$1 log=build/fuzz/$1.log regressions=() times TIMEFORMAT='%U %S'
  [[ -d tests/fuzz/regressions/$target ]] && regressions=("tests/fuzz/regressions/$target")
  # HDF5 and libjpeg keep a few bytes when they give up; what we lose shows in the test of asan.
  # The limit of an input is in time of the clock: a reader's child alone may use a minute of CPU.
  times=$({ time OMP_NUM_THREADS=1 "build/fuzz/fuzz_$target" "build/fuzz/corpus/$target" \
    "${regressions[@]}" -max_total_time="$2" -max_len=65536 -timeout=100 -rss_limit_mb=3000 \
    -malloc_limit_mb=2500 -detect_leaks=0 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/crash-$target-" >>"$log" 2>&1; } 2>&1) || return 1
  awk '{printf "cpu: %.2f\n", $1 + $2}' <<<"$times" >>"$log"
}

fuzz() {
  local target=$1 log=build/fuzz/$1.log program inputs cpu left
  program="program: $(sha256sum "build/fuzz/fuzz_$target" | cut -d' ' -f1)"
  [[ -f $log && "$(head -n 1 "$log")" == "$program" ]] || printf '%s\n' "$program" >"$log"
  mkdir -p "build/fuzz/corpus/$target"
  "build/fuzz/seeds_$target" "build/fuzz/corpus/$target"
  while read -r inputs cpu < <(counts "$log") && ((cpu < seconds)); do
    left=$((seconds - cpu))
    round "$target" "$((left < 30 ? 30 : left > 300 ? 300 : left))" || {
      printf 'fuzz: %-10s FAILED after %s inputs; see %s\n' "$target" "$inputs" "$log"
      return 1
    }
  done
  printf 'fuzz: %-10s %s inputs in %s s of CPU, no finding\n' "$target" "$inputs" "$cpu"
}

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "${BITLOOM_JOBS:-$(nproc)}" --target "${targets[@]/#/fuzz_}" "${targets[@]/#/seeds_}"
failed=0
running=0
for target in "${targets[@]}"; do
  if ((running == jobs)); then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
while ((running > 0)); do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
