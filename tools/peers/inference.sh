#!/usr/bin/env bash
# Times inference of bitloom beside ONNX Runtime, OpenVINO and LiteRT; see inference.py.
# Run: tools/peers/inference.sh --threads 2 --rounds 5 --json build/inference.jsonl
# The peers live in a virtual environment of their own, build/inference_venv (about 3 GB), made on
# the first run; their models in build/inference_models (about 10 GB for all networks).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tools/peers/venv.sh

make_venv build/inference_venv tools/peers/inference_requirements.txt
exec build/inference_venv/bin/python tools/peers/inference.py "$@"
