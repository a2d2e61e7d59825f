#!/usr/bin/env bash
# Installs what is missing, builds, and compares float, PTQ and QAT on Fashion-MNIST; the table is
# printed and the report is a page in a new folder below runs/.
#   BITLOOM_DEMO_EPOCHS=1   overrides train.epochs and train.qat_epochs
# Further arguments go to `bitloom compare`: tools/demo.sh --threads=1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/setup.sh
cmake --preset release
cmake --build --preset release --target bitloom

out=runs/demo
number=2
while [[ -e $out ]]; do
  out=runs/demo_$number
  number=$((number + 1))
done

overrides=()
if [[ -n ${BITLOOM_DEMO_EPOCHS:-} ]]; then
  overrides+=("--train.epochs=$BITLOOM_DEMO_EPOCHS" "--train.qat_epochs=$BITLOOM_DEMO_EPOCHS")
fi

status=0
build/release/bitloom compare --config trainers/configs/fashion_lenet5.cfg --out "$out" \
  "${overrides[@]}" "$@" || status=$?
if [[ -f $out/report.html ]]; then
  printf 'demo: open %s/%s/report.html in a browser\n' "$PWD" "$out"
fi
exit "$status"
