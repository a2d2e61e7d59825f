#!/usr/bin/env bash
# Times a training step of bitloom beside PyTorch, torch.ao and Brevitas; see training_step.py.
# Run: tools/peers/run.sh --networks lenet5,resnet20 --batch 128 --threads 2 --rounds 5
# The peers live in a virtual environment of their own, build/peers_venv, made on the first run
# (several GB: PyTorch's package brings its CUDA libraries). A peer that cannot be installed is
# reported in the table; the others are timed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=build/peers_venv
requirements=tools/peers/requirements.txt
done_mark=$venv/installed

say() { printf 'peers: %s\n' "$*" >&2; }

install_peers() {
  cmp -s "$requirements" "$done_mark" && return
  say "installing $(grep -c '==' "$requirements") peers into $venv"
  /usr/bin/python3 -m venv "$venv"
  local failed=0 package
  # One by one: a peer that fails must not take the others with it.
  while read -r package; do
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package" || {
      say "$package could not be installed"
      failed=1
    }
  done < <(grep '==' "$requirements")
  # Without the mark the next run tries again.
  if [[ $failed -eq 0 ]]; then cp "$requirements" "$done_mark"; fi
}

install_peers
exec "$venv/bin/python" tools/peers/training_step.py "$@"
