#!/usr/bin/env bash
# Times a training step of bitloom beside PyTorch, torch.ao and Brevitas; see training_step.py.
# Run: tools/peers/run.sh --networks lenet5,resnet20 --batch 128 --threads 2 --rounds 5
# The peers live in a virtual environment of their own, build/peers_venv, made on the first run
# (several GB: PyTorch's package brings its CUDA libraries). A peer that cannot be installed is
# reported in the table; the others are timed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tools/peers/venv.sh

make_venv build/peers_venv tools/peers/requirements.txt
exec build/peers_venv/bin/python tools/peers/training_step.py "$@"
