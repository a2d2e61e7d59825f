#!/usr/bin/env bash
# The recorded runs of trainers/configs/cifar10_resnet20_*.cfg, one after the other: hours on two
# cores. A run that was stopped goes on where it stood, bit for bit; a finished one is not repeated.
# Rows go to trainers/results/NAME.jsonl, the float network to
# trainers/results/cifar10_resnet20_float.h5.
#
#   tools/recipes.sh FOLDER            FOLDER of cifar-10-binary.tar.gz; all runs
#   tools/recipes.sh FOLDER w4a4 ...   these: float, w8a8, w4a4, w3a3, w2a2, methods
#   PRECISION=bf16 THREADS=1 tools/recipes.sh ...   with bf16 products (a row says which it was), on
#                                      one core: run by run in several shells, nothing is done twice
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ $# -ge 1 ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
# By a name without this machine's folders: the configuration stands in the checkpoint that is kept.
data=runs/cifar-10-batches-bin
mkdir -p runs
ln -sfn "$(realpath "$1")" "$data"
shift
[[ $# -gt 0 ]] || set -- float w8a8 w4a4 w3a3 w2a2 methods

bitloom=build/release/bitloom
network=trainers/results/cifar10_resnet20_float.h5
precision=${PRECISION:-f32}
threads=${THREADS:-0}

run_float() {
  local out=runs/cifar10_resnet20_float
  if [[ -f $out/checkpoint.h5 ]]; then
    "$bitloom" train --resume "$out"
  else
    "$bitloom" train --config trainers/configs/cifar10_resnet20_float.cfg --out "$out" \
      --data.path="$data"
  fi
  cp "$out/checkpoint.h5" "$network"
}

# One comparison for each seed; the float baseline is trained on with the first seed alone.
run_compare() {
  local name=cifar10_resnet20_$1 seed out methods=()
  shift
  local rows=()
  for seed in "$@"; do
    out=runs/${name}_seed$seed
    [[ $seed == 1 ]] || methods=(--compare.methods=float,qat)
    rows+=("$out/rows.jsonl")
    [[ -f $out/rows.jsonl ]] && continue
    mkdir -p "$out"
    (
      flock --nonblock 9 || exit 0  # another shell is at it
      "$bitloom" compare --config "trainers/configs/$name.cfg" --init "$network" --out "$out" \
        --reuse --seed="$seed" --data.path="$data" --train.precision="$precision" \
        --threads="$threads" "${methods[@]}"
    ) 9>"$out/lock"
  done
  for row in "${rows[@]}"; do [[ -f $row ]] || return 0; done
  cat "${rows[@]}" >"trainers/results/$name.jsonl"
}

for recipe in "$@"; do
  case $recipe in
    float) [[ -f $network ]] || run_float ;;
    w8a8 | w4a4) run_compare "$recipe" 1 2 3 ;;
    w3a3 | w2a2 | methods) run_compare "$recipe" 1 ;;
    *) echo "recipes: expected float, w8a8, w4a4, w3a3, w2a2 or methods, found '$recipe'" >&2; exit 2 ;;
  esac
done
