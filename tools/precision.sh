#!/usr/bin/env bash
# Does it matter in what numbers a network trains? ResNet-20 on CIFAR-10, W8A8, 5 epochs from the float
# checkpoint by integer kernels, by --quant.forward=float and with bf16 products, for three seeds.
# Rows go to trainers/results/cifar10_resnet20_precision.jsonl; the means are printed. A run that was
# stopped goes on where it stood.
#
#   THREADS=1 tools/precision.sh FOLDER    FOLDER holds cifar-10-batches-bin
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ $# -eq 1 ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p runs
ln -sfn "$(realpath "$1")/cifar-10-batches-bin" runs/cifar-10-batches-bin

rows=()
for seed in 1 2 3; do
  for variant in f32:integer f32:float bf16:integer; do
    out=runs/precision_${variant/:/_}_seed$seed
    rows+=("$out/rows.jsonl")
    [[ -f $out/rows.jsonl ]] && continue
    build/release/bitloom compare --config trainers/configs/cifar10_resnet20_w8a8.cfg \
      --init trainers/results/cifar10_resnet20_float.h5 --out "$out" --reuse \
      --compare.methods=qat --train.qat_epochs=5 --train.qat_lr=0.01 \
      --train.precision="${variant%:*}" --quant.forward="${variant#*:}" \
      --seed="$seed" --threads="${THREADS:-0}" --data.path=runs/cifar-10-batches-bin
  done
done

cat "${rows[@]}" >trainers/results/cifar10_resnet20_precision.jsonl
python3 - trainers/results/cifar10_resnet20_precision.jsonl <<'EOF'
import collections, json, statistics, sys

accuracies = collections.defaultdict(list)
for line in open(sys.argv[1], encoding="utf-8"):
    row = json.loads(line)
    if row["method"] == "qat":
        accuracies[row["precision"], row["forward"]].append(row["top1"])
for (precision, forward), values in sorted(accuracies.items()):
    print(f"{precision:5} {forward:8} top-1 {statistics.mean(values):.2f} % of", *values)
EOF
