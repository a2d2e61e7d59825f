#!/usr/bin/env python3
"""Golden values of layers that quantize their source while they run, from PyTorch.

Run in a virtual environment with torch, numpy and h5py:  python tools/golden/dynamic.py
Writes tests/golden/dynamic.h5; the torch version stands in its root attribute "made_by".

Non-negative sources: torch.ops.quantized.linear_dynamic (engine fbgemm, reduce_range off), one
image at a time, because it takes one range from the whole batch. Its scale is then max / 255 and
its zero point 0, as ours. Convolutions are that operator over unfolded windows: conv2d_dynamic of
torch 2.15 squeezes its output into the grid of its input.
Signed sources: the operator chooses an asymmetric grid, ours is symmetric; the values are the
formula of integer/dynamic.h, written in torch with sums in double (exact: below 2^53).
fbgemm needs a CPU with VNNI, or its u8*s8 pairs saturate.
"""
import pathlib
import sys
import warnings

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPS = torch.ops.quantized


def quantized_weight(weight, scale):
    zero = torch.zeros(len(scale), dtype=torch.long)
    return torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)


def by_operator(x, weight, scale, bias, stride, pad):
    rows = quantized_weight(weight.reshape(len(weight), -1), scale)
    product = OPS.linear_prepack(rows, bias)
    if weight.dim() == 2:
        return torch.cat([OPS.linear_dynamic(image[None], product, False) for image in x])
    side = [(x.shape[i] + 2 * pad - weight.shape[i]) // stride + 1 for i in (2, 3)]
    images = []
    for image in x:
        windows = torch.nn.functional.unfold(image[None], weight.shape[2:], padding=pad,
                                             stride=stride)
        assert windows.max() == image.max()  # no window misses the largest pixel
        y = OPS.linear_dynamic(windows[0].T.contiguous(), product, False)
        images.append(y.T.reshape(1, len(weight), *side))
    return torch.cat(images)


def by_formula(x, codes, scale, bias, stride, pad):
    images = []
    for image in x:
        step = image.abs().max() / torch.tensor(127.0)
        inverse = torch.tensor(1.0) / step
        source = torch.clamp(torch.round(image * inverse), -128, 127).double()[None]
        if codes.dim() == 2:
            acc = source @ codes.double().T
            shape = [1, -1]
        else:
            acc = torch.nn.functional.conv2d(source, codes.double(), stride=stride, padding=pad)
            shape = [1, -1, 1, 1]
        product = acc.float() * (step * scale).reshape(shape)
        images.append(product + bias.reshape(shape))
    return torch.cat(images)


def channels_last(tensor):
    order = [0, 2, 3, 1] if tensor.dim() == 4 else [0, 1]
    return np.ascontiguousarray(tensor.permute(order).numpy())


def add_case(tensors, attributes, name, source, weight_shape, signed, stride=1, pad=0):
    generator = torch.Generator().manual_seed(len(tensors) + 1)
    x = torch.randn(source, generator=generator)
    x *= torch.tensor([0.01, 1.0, 30.0]).reshape([-1] + [1] * (x.dim() - 1))  # image by image
    x = x if signed else torch.relu(x)
    scale = 0.002 + 0.01 * torch.rand(weight_shape[0], generator=generator)
    codes = torch.randint(-127, 128, weight_shape, generator=generator, dtype=torch.int8)
    weight = codes.float() * scale.reshape([-1] + [1] * (len(weight_shape) - 1))
    bias = torch.randn(weight_shape[0], generator=generator)
    assert torch.equal(quantized_weight(weight, scale).int_repr(), codes)
    if signed:
        y = by_formula(x, codes, scale, bias, stride, pad)
    else:
        y = by_operator(x, weight, scale, bias, stride, pad)
    maps = "NHWC" if x.dim() == 4 else "NC"
    tensors[f"{name}/x"] = (channels_last(x), maps, "1")
    tensors[f"{name}/weight"] = (channels_last(codes), "OHWI" if x.dim() == 4 else "OI", "code")
    tensors[f"{name}/scale"] = (scale.numpy(), "O", "1")
    tensors[f"{name}/bias"] = (bias.numpy(), "O", "1")
    tensors[f"{name}/y"] = (channels_last(y), maps, "1")
    attributes[name] = {"signed": int(signed), "stride": stride, "pad": pad}


def main():
    warnings.simplefilter("ignore")  # torch calls its quantized tensors deprecated
    torch.backends.quantized.engine = "fbgemm"
    torch.set_num_threads(1)
    tensors, attributes = {}, {"": {"made_by": f"torch {torch.__version__}"}}
    for signed in (False, True):
        word = "signed" if signed else "unsigned"
        add_case(tensors, attributes, f"{word}/linear", (3, 37), (9, 37), signed)
        add_case(tensors, attributes, f"{word}/conv", (3, 5, 7, 6), (8, 5, 3, 3), signed, pad=1)
        add_case(tensors, attributes, f"{word}/stride", (3, 4, 9, 7), (6, 4, 3, 3), signed,
                 stride=2)
    write_archive(ROOT / "tests/golden/dynamic.h5", "golden", 1, tensors, attributes)


if __name__ == "__main__":
    main()
