#!/usr/bin/env bash
# Fuzzes readers with libFuzzer under address and undefined-behaviour sanitizers (clang):
#   tools/fuzz.sh [SECONDS [TARGET...]]     default: 1200 seconds for every target, one after another
# BITLOOM_FUZZ_JOBS=3 runs three at a time. A target whose log shows SECONDS without a finding of the
# very program that would run is left out, so that a stopped campaign goes on where it was.
# Corpora stay in build/fuzz/corpus; a crash is left in build/fuzz/crash-TARGET-*: put it into
# tests/fuzz/regressions/TARGET, where tests/fuzz/replay_test.cpp keeps it from coming back.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-1200}
jobs=${BITLOOM_FUZZ_JOBS:-1}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] ||
  targets=(archive model checkpoint idx cifar10 picture hdf5 graph config)

# What the log of a target says: "INPUTS SECONDS CPU" once it ended without a finding, else nothing.
outcome() {
  awk '/^Done [0-9]+ runs in [0-9]+ second/ {runs = $2; took = $5}
       /^cpu: / {cpu = $2}
       END {if (cpu != "") print runs, took, cpu}' "$1"
}

say() { printf 'fuzz: %-10s %s inputs in %s s (%s s of CPU), no finding%s\n' "$@"; }

fuzz() {
  local target=$1 log=build/fuzz/$1.log corpus=build/fuzz/corpus/$1 regressions=() program inputs took cpu
  program="program: $(sha256sum "build/fuzz/fuzz_$target" | cut -d' ' -f1)"
  if [[ -f $log && "$(head -n 1 "$log")" == "$program" ]]; then
    read -r inputs took cpu < <(outcome "$log") || true
    if [[ -n "${took:-}" ]] && ((took >= seconds)); then
      say "$target" "$inputs" "$took" "$cpu" ", before"
      return 0
    fi
  fi
  mkdir -p "$corpus"
  "build/fuzz/seeds_$target" "$corpus"
  [[ -d tests/fuzz/regressions/$target ]] && regressions=("tests/fuzz/regressions/$target")
  printf '%s\n' "$program" >"$log"
  # HDF5 and libjpeg keep a few bytes when they give up; what we lose shows in the test of asan.
  # The limit of an input is in time of the clock: a reader's child alone may use a minute of CPU.
  local TIMEFORMAT='%U %S' times
  if times=$({ time OMP_NUM_THREADS=1 "build/fuzz/fuzz_$target" "$corpus" "${regressions[@]}" \
    -max_total_time="$seconds" -max_len=65536 -timeout=100 -rss_limit_mb=3000 -malloc_limit_mb=2500 \
    -detect_leaks=0 -print_final_stats=1 -artifact_prefix="build/fuzz/crash-$target-" >>"$log" 2>&1; } 2>&1); then
    awk '{printf "cpu: %.0f\n", $1 + $2}' <<<"$times" >>"$log"
    read -r inputs took cpu < <(outcome "$log")
    say "$target" "$inputs" "$took" "$cpu" ""
  else
    printf 'fuzz: %-10s FAILED; see %s\n' "$target" "$log"
    return 1
  fi
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
