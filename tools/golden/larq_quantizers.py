#!/usr/bin/env python3
"""Golden values of larq's quantizers: an independent second opinion on ours of few bits.

Run in the environment of tools/peers/larq.sh (larq 0.13, TensorFlow 2.15, h5py):
    build/larq_venv/bin/python tools/golden/larq_quantizers.py
Writes tests/golden/larq_quantizers.h5; the versions stand in its root attribute "made_by".

Nothing is computed here but by larq itself: forward and gradient of each quantizer as it ships.
What ours do otherwise, and why, says tests/quant/larq_golden_test.cpp. larq's swish_sign and
ste_heaviside have no counterpart here.
"""
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import larq  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Zeros of both signs, the ends of the gradients' windows, and one step beyond them.
EDGES = np.array([0.0, -0.0, 1.0, -1.0, np.nextafter(np.float32(1), np.float32(2)),
                  np.nextafter(np.float32(-1), np.float32(-2)), 0.5, -0.5], np.float32)
ROWS, COLUMNS = 6, 40


def case(tensors, name, quantizer, x, generator, output_axis_last=False):
    """x [O, I]; larq's kernels have the output channel last."""
    def turned(values):
        return values.T if output_axis_last else values

    dy = generator.standard_normal(x.shape).astype(np.float32)
    source = tf.constant(turned(x))
    with tf.GradientTape() as tape:
        tape.watch(source)
        y = quantizer(source)
    dx = tape.gradient(y, source, tf.constant(turned(dy)))
    made = {"x": x, "dy": dy, "y": turned(y.numpy()), "dx": turned(dx.numpy())}
    for word, values in made.items():
        tensors[f"{name}/{word}"] = (np.ascontiguousarray(values), "OI", "1")


def main():
    generator = np.random.default_rng(23)
    quantizers = larq.quantizers

    def numbers(spread=0.8, with_edges=True):
        values = (spread * generator.standard_normal((ROWS, COLUMNS))).astype(np.float32)
        if with_edges:
            values[0, :EDGES.size] = EDGES
        return values

    tensors = {}
    case(tensors, "ste_sign", quantizers.SteSign(), numbers(), generator)
    case(tensors, "ste_sign_unclipped", quantizers.SteSign(clip_value=None), numbers(), generator)
    case(tensors, "approx_sign", quantizers.ApproxSign(), numbers(), generator)
    case(tensors, "magnitude_aware_sign", quantizers.MagnitudeAwareSign(), numbers(), generator,
         output_axis_last=True)
    case(tensors, "ste_tern", quantizers.SteTern(ternary_weight_networks=True, clip_value=None),
         numbers(), generator)
    for bits in (2, 4, 8):
        case(tensors, f"dorefa_activations{bits}", quantizers.DoReFa(k_bit=bits),
             numbers(), generator)
        case(tensors, f"dorefa_weights{bits}", quantizers.DoReFa(k_bit=bits, mode="weights"),
             numbers(0.4, False), generator)
    versions = f"larq {larq.__version__}, tensorflow {tf.__version__}"
    write_archive(str(ROOT / "tests/golden/larq_quantizers.h5"), "bitloom.golden", 1, tensors,
                  {"": {"made_by": versions}})


if __name__ == "__main__":
    main()
