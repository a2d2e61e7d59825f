#!/usr/bin/env python3
"""Golden values of post-training steps: AdaRound, cross-layer equalization, bias correction.

Run in a virtual environment with torch and h5py:  python tools/golden/ptq.py
Writes tests/golden/ptq.h5; the torch version stands in its root attribute "made_by".

AdaRound follows the paper (arXiv:2004.10568, equations 21 to 25) as torch code of its own, with
torch.optim.Adam: V after 20 steps, the reconstruction loss at each of them, and the codes after
300. Every step takes all images. Equalization and bias correction follow arXiv:1906.04721 on a
convolution, batch norm, ReLU, convolution: batch norm folded, s = sqrt(r1 r2) / r2, one pass.
"""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZETA, GAMMA, LAMBDA, LR = 1.1, -0.1, 0.01, 1e-2
SHORT, LONG, WARM = 20, 300, 0.2


def last(x):
    """Channels last, as bitloom keeps memory; [N, C, H, W] axes "NHWC"."""
    return x.detach().permute(0, 2, 3, 1).contiguous().float().numpy()


def vector(x):
    return x.detach().reshape(-1).float().numpy(), "C", "1"


def rectified(v):
    return torch.clamp(torch.sigmoid(v) * (ZETA - GAMMA) + GAMMA, 0, 1)


def adaround(x, w, scale, slope, offset, relu, target, bits, steps, record):
    """Learns V for steps; returns V after SHORT steps, losses, final codes."""
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    wide = scale.reshape(-1, *([1] * (w.dim() - 1)))
    real = w * (1.0 / wide)
    floor = torch.floor(real)
    v = -torch.log((ZETA - GAMMA) / (real - floor - GAMMA) - 1)
    v.requires_grad_()
    adam = torch.optim.Adam([v], lr=LR)
    channel = [1, -1] + [1] * (w.dim() - 2)
    losses, early = [], None
    for step in range(steps):
        adam.zero_grad()
        h = rectified(v)
        soft = wide * torch.clamp(floor + h, qmin, qmax)
        y = F.conv2d(x, soft, padding=1, stride=2) if w.dim() == 4 else F.linear(x, soft)
        y = y * slope.reshape(channel) + offset.reshape(channel)
        y = torch.relu(y) if relu else y
        loss = (y - target).pow(2).sum(1).mean()
        losses.append(float(loss))
        if step >= WARM * steps:
            done = (step - WARM * steps) / (steps - WARM * steps)
            beta = 2 + (20 - 2) * (1 - done)
            loss = loss + LAMBDA * (1 - (2 * h - 1).abs().pow(beta)).sum()
        loss.backward()
        adam.step()
        if step + 1 == record:
            early = v.detach().clone()
    codes = torch.clamp(floor + (rectified(v) >= 0.5).float(), qmin, qmax)
    return early, torch.tensor(losses), codes.detach()


def adaround_case(tensors, name, shape, bits, relu):
    generator = torch.Generator().manual_seed(41)
    linear = len(shape) == 2
    w = torch.randn(shape, generator=generator) * 0.4
    x = torch.randn([24, shape[1]] if linear else [8, shape[1], 6, 6], generator=generator)
    slope = 0.5 + torch.rand(shape[0], generator=generator)
    slope[0] = -slope[0]
    offset = 0.3 * torch.randn(shape[0], generator=generator)
    channel = [1, -1] + [1] * (len(shape) - 2)
    y = F.linear(x, w) if linear else F.conv2d(x, w, padding=1, stride=2)
    target = y * slope.reshape(channel) + offset.reshape(channel)
    target = torch.relu(target) if relu else target
    inputs = torch.round(x * 8) / 8  # coarse, so that reconstruction is asymmetric
    scale = w.abs().reshape(shape[0], -1).max(1).values / (2 ** (bits - 1))
    early, _, _ = adaround(inputs, w, scale, slope, offset, relu, target, bits, SHORT, SHORT)
    _, losses, codes = adaround(inputs, w, scale, slope, offset, relu, target, bits, LONG, LONG)
    axes = "NC" if linear else "NHWC"
    keep = (lambda t: t.float().numpy()) if linear else last
    for word, value in (("x", inputs), ("target", target)):
        tensors[f"adaround_{name}/{word}"] = (keep(value), axes, "1")
    for word, value in (("w", w), ("v", early), ("codes", codes)):
        tensors[f"adaround_{name}/{word}"] = (keep(value), "OI" if linear else "OHWI", "1")
    for word, value in (("scale", scale), ("slope", slope), ("offset", offset),
                        ("losses", losses[[0, 60, 299]])):
        tensors[f"adaround_{name}/{word}"] = vector(value)


def equalize_case(tensors):
    generator = torch.Generator().manual_seed(43)
    rand = lambda *shape: torch.randn(shape, generator=generator)
    w1 = rand(6, 3, 3, 3) * torch.logspace(-1, 1, 6).reshape(-1, 1, 1, 1)
    w2 = rand(5, 6, 1, 1)
    gamma, beta, mean = 1 + 0.4 * rand(6), 0.5 * rand(6), 0.3 * rand(6)
    gamma[2] = -gamma[2]
    var = 0.5 + torch.rand(6, generator=generator)
    bias2 = rand(5)
    slope = gamma / torch.sqrt(var + 1e-5)
    r1 = (w1 * slope.reshape(-1, 1, 1, 1)).abs().amax((1, 2, 3))
    r2 = w2.abs().amax((0, 2, 3))
    s = torch.sqrt(r1 * r2) / r2
    x = rand(4, 3, 5, 5)
    hidden = torch.relu(F.batch_norm(F.conv2d(x, w1, padding=1), mean, var, gamma, beta))
    y = F.conv2d(hidden, w2, bias2)
    # Bias correction of the second layer: weights on a coarse grid shift its mean.
    step = w2.abs().max() / 1.5
    shift = (F.conv2d(hidden, torch.round(w2 / step).clamp(-2, 1) * step, bias2) - y).mean((0, 2, 3))
    for word, value in (("w1", w1), ("w2", w2), ("w2_equalized", w2 * s.reshape(1, -1, 1, 1))):
        tensors[f"equalize/{word}"] = (last(value), "OHWI", "1")
    for word, value in (("x", x), ("y", y)):
        tensors[f"equalize/{word}"] = (last(value), "NHWC", "1")
    for word, value in (("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var),
                        ("bias2", bias2), ("s", s), ("step", step), ("shift", shift)):
        tensors[f"equalize/{word}"] = vector(value)


def main():
    torch.set_num_threads(1)
    tensors = {}
    adaround_case(tensors, "conv", [6, 4, 3, 3], 3, relu=True)
    adaround_case(tensors, "linear", [7, 20], 4, relu=False)
    equalize_case(tensors)
    write_archive(str(ROOT / "tests/golden/ptq.h5"), "bitloom.golden", 1, tensors,
                  {"": {"made_by": f"torch {torch.__version__}"}})


if __name__ == "__main__":
    main()
