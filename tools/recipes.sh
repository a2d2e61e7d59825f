#!/usr/bin/env bash
# Recorded runs: the command in the head of trainers/configs/NAME.cfg, one after the other: minutes
# to hours each. A run that was stopped goes on where it stood, bit for bit; a finished one is not
# repeated. Rows go to trainers/results/NAME.jsonl or where the head says, the float ResNet-20 to
# trainers/results/cifar10_resnet20_float.h5.
#
#   tools/recipes.sh FOLDER NAME...    FOLDER holds cifar-10-batches-bin and mnist
#   SEEDS="1 2 3" tools/recipes.sh ... for these seeds (default 1); later seeds leave out baselines
#   PRECISION=bf16 THREADS=1 tools/recipes.sh ...   with bf16 products (a row says which it was), on
#                                      one core: run by run in several shells, nothing is done twice
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ $# -ge 2 ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$(realpath "$1")
shift
mkdir -p runs

bitloom=build/release/bitloom
read -ra seeds <<<"${SEEDS:-1}"
common=(--train.precision="${PRECISION:-f32}" --threads="${THREADS:-0}")

# The value that a configuration gives to a key.
value_of() { sed -n "s/^$1 = //p" "$2" | head -1; }

run_train() {
  local name=$1 out=runs/$1
  shift
  if [[ -f $out/checkpoint.h5 ]]; then
    "$bitloom" train --resume "$out"
  else
    "$bitloom" train "$@" --out "$out" "${common[@]}"
  fi
  [[ $name != cifar10_resnet20_float ]] || cp "$out/checkpoint.h5" "trainers/results/$name.h5"
}

# One comparison for each seed; baselines other than the float network with the first seed alone.
run_compare() {
  local name=$1 seed out rows=() methods
  shift
  for seed in "${seeds[@]}"; do
    out=runs/${name}_seed$seed
    rows+=("$out/rows.jsonl")
    [[ -f $out/rows.jsonl ]] && continue
    methods=()
    [[ $seed == "${seeds[0]}" ]] ||
      methods=(--compare.methods="$(value_of methods "trainers/configs/$name.cfg" |
        sed 's/float-continued,//; s/,float-continued//')")
    mkdir -p "$out"
    (
      flock --nonblock 9 || exit 0  # another shell is at it
      "$bitloom" compare "$@" --out "$out" --reuse --seed="$seed" "${common[@]}" "${methods[@]}"
    ) 9>"$out/lock"
  done
  for row in "${rows[@]}"; do [[ -f $row ]] || return 0; done
  local file  # where the head says, else by the configuration's name
  file=$(sed -n 's/^# Rows: *//p' "trainers/configs/$name.cfg" | head -1)
  cat "${rows[@]}" >"${file:-trainers/results/$name.jsonl}"
}

for name in "$@"; do
  config=trainers/configs/$name.cfg
  [[ -f $config ]] || {
    echo "recipes: expected the name of a file of trainers/configs, found '$name'" >&2
    exit 2
  }
  # By a name without this machine's folders: the configuration stands in checkpoints that are kept.
  data=$(value_of path "$config")
  ln -sfn "$folder/$data" "runs/$data"
  # What the head says, but for the folder of the run, which this script names.
  read -ra words < <(sed -n 's/^# Run: *bitloom //p' "$config" | head -1 | sed 's/ --out .*//')
  "run_${words[0]}" "$name" "${words[@]:1}" --data.path="runs/$data"
done
