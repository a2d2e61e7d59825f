#!/usr/bin/env bash
# Times a Bi-Real ResNet-18 at 224 beside larq-compute-engine's interpreter; see inference.py.
# Run: tools/peers/larq.sh --threads 2 --rounds 5 --json build/larq.jsonl
# larq lives in a virtual environment of its own, build/larq_venv (1.5 GB), made on the first run;
# tools/golden/larq_quantizers.py uses it too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tools/peers/venv.sh

make_venv build/larq_venv tools/peers/larq_requirements.txt
exec build/larq_venv/bin/python tools/peers/inference.py --networks resnet18_bireal --batches 1 \
  --contenders bitloom-binary,bitloom-resnet18-int8,larq,larq-indirect,larq-xnnpack "$@"
