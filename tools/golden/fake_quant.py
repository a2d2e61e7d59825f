#!/usr/bin/env python3
"""Golden values of fake quantization and its gradients, from PyTorch.

Run in a virtual environment with torch, numpy and h5py:  python tools/golden/fake_quant.py
Writes tests/golden/fake_quant.h5; the torch version stands in its root attribute "made_by".

Forward values come from torch.fake_quantize_per_tensor_affine / _per_channel_affine (reciprocal,
half to even: bit for bit ours). LSQ's gradients come from autograd through the paper's formula,
clamp then straight-through round, so the edges of the clamp pass the gradient as torch.clamp does.
"""
import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def lsq(x, scale, qmin, qmax, zero_point):
    """Fake quantization whose gradients in x and scale are those of Esser et al. 2020."""
    inverse = 1.0 / scale
    v = torch.clamp(x * inverse, qmin - zero_point, qmax - zero_point)
    code = v + (torch.round(v) - v).detach()
    return code * scale


def case(tensors, attributes, name, shape, qmin, qmax, zero_point=0, per_channel=False):
    generator = torch.Generator().manual_seed(hash_of(name))
    span = qmax - qmin
    rows = shape[0] if per_channel else 1
    scale = 0.01 + 0.02 * torch.rand(rows, generator=generator)
    wide = scale.reshape([-1] + [1] * (len(shape) - 1))
    x = (torch.rand(shape, generator=generator) * 1.3 - 0.15) * span + qmin - zero_point
    x = (x * wide).float()
    dy = torch.randn(shape, generator=generator)
    if per_channel:
        y = torch.fake_quantize_per_channel_affine(
            x, scale, torch.full([rows], zero_point, dtype=torch.int32), 0, qmin, qmax)
    else:
        y = torch.fake_quantize_per_tensor_affine(x, float(scale[0]), zero_point, qmin, qmax)
    xl = x.clone().requires_grad_()
    sl = wide.clone().requires_grad_()
    lsq(xl, sl, qmin, qmax, zero_point).backward(dy)
    axes = "OI" if len(shape) == 2 else "C"
    for word, value, axis in (("x", x, axes), ("dy", dy, axes), ("y", y, axes),
                              ("dx", xl.grad, axes), ("scale", scale, "C"),
                              ("dscale", sl.grad.reshape(-1), "C")):
        tensors[f"{name}/{word}"] = (value.detach().numpy().astype(np.float32), axis, "1")
    attributes[name] = {"qmin": qmin, "qmax": qmax, "zero_point": zero_point,
                        "per_channel": int(per_channel)}


def hash_of(name):
    return sum(ord(c) * 31 ** i for i, c in enumerate(name)) % (1 << 31)


def main():
    tensors, attributes = {}, {"": {"made_by": f"torch {torch.__version__}"}}
    case(tensors, attributes, "u8", [500], 0, 255)
    case(tensors, attributes, "u4", [500], 0, 15)
    case(tensors, attributes, "u8_zero_point", [500], 0, 255, 117)
    case(tensors, attributes, "s8", [500], -128, 127)
    case(tensors, attributes, "s8_narrow_rows", [9, 60], -127, 127, per_channel=True)
    case(tensors, attributes, "s4_rows", [9, 60], -8, 7, per_channel=True)
    case(tensors, attributes, "s2_rows", [9, 60], -2, 1, per_channel=True)
    write_archive(str(ROOT / "tests/golden/fake_quant.h5"), "bitloom.golden", 1, tensors, attributes)


if __name__ == "__main__":
    main()
