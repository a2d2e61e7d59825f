#!/usr/bin/env python3
"""Golden values of the learned quantizers and of distillation, from PyTorch.

Run in a virtual environment with torch, numpy and h5py:  python tools/golden/qat.py
Writes tests/golden/qat.h5; the torch version stands in its root attribute "made_by".

Each function below is the paper's formula in the form that include/bitloom/quant/{lsq,pact,dorefa}.h
states, written with straight-through rounding, so that autograd gives the gradients. Reals on the
grid come from torch.fake_quantize_per_tensor_affine, which rounds as bitloom does.
"""
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as functional

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def through(rounded, real):
    """The rounded value, with the gradient of the real one."""
    return real + (rounded - real).detach()


def lsq_plus(x, scale, offset, qmin, qmax):
    """Bhalgat et al. 2020, equations 3 to 6, the offset rounded to the integer grid."""
    zero = torch.clamp(torch.round(-offset / scale), qmin, qmax).detach()
    on_grid = through(-zero * scale, offset)  # the gradient is all of the offset
    code = torch.clamp((x - on_grid) / scale, qmin, qmax)
    return through(torch.round(code), code) * scale + on_grid, int(zero)


def pact(x, alpha, qmin, qmax):
    """Choi et al. 2018, equations 1 to 3; dalpha of the rounding is left out, as there."""
    low = alpha * (qmin / qmax)
    clipped = torch.where(x > alpha, alpha, torch.where(x < low, low, x))
    scale = (alpha / qmax).detach()
    return through(torch.round(clipped / scale) * scale, clipped)


def dorefa(w, bits, per_channel):
    """Zhou et al. 2016, equation 9 on 2^bits - 1 symmetric levels, times max|tanh(w)|."""
    qmax = 2 ** (bits - 1) - 1
    t = torch.tanh(w)
    m = (t.abs().amax(1, keepdim=True) if per_channel else t.abs().max()).detach()
    code = torch.round(t * (1.0 / (m / qmax)))
    return through(code * (m / qmax), t), code, (m / qmax).reshape(-1)


def put(tensors, name, axes="C", **values):
    for word, value in values.items():
        array = value.detach().numpy().astype(np.float32)
        tensors[f"{name}/{word}"] = (array, "OI" if array.ndim == 2 else axes, "1")


def lsq_plus_case(tensors, attributes, name, qmax, offset, generator):
    count = 400
    scale = torch.tensor([0.03])
    x = (torch.rand(1, count, generator=generator) * 1.4 - 0.2) * qmax * 0.03 + offset
    dy = torch.randn(1, count, generator=generator)
    x.requires_grad_()
    s = scale.clone().requires_grad_()
    b = torch.tensor([offset]).requires_grad_()
    y, zero = lsq_plus(x, s, b, 0, qmax)
    y.backward(dy)
    g = 1.0 / (count * qmax) ** 0.5
    grid = torch.fake_quantize_per_tensor_affine(x.detach(), 0.03, zero, 0, qmax)
    assert torch.allclose(grid, y, atol=1e-6)
    put(tensors, name, x=x, dy=dy, y=grid, dx=x.grad, scale=scale, offset=b, dscale=s.grad * g,
        doffset=b.grad * g)
    attributes[name] = {"qmax": qmax, "zero_point": zero}


def pact_case(tensors, attributes, name, qmin, qmax, alpha, generator):
    low = alpha * qmin / qmax
    x = torch.rand(1, 400, generator=generator) * (alpha - low) * 1.3 + low - 0.1 * alpha
    dy = torch.randn(1, 400, generator=generator)
    x.requires_grad_()
    a = torch.tensor([alpha]).requires_grad_()
    y = pact(x, a, qmin, qmax)
    y.backward(dy)
    put(tensors, name, x=x, dy=dy, y=y, dx=x.grad, alpha=a, dalpha=a.grad)
    attributes[name] = {"qmin": qmin, "qmax": qmax}


def dorefa_case(tensors, attributes, name, bits, per_channel, generator):
    w = torch.randn(6, 40, generator=generator) * 0.7
    dy = torch.randn(6, 40, generator=generator)
    w.requires_grad_()
    y, code, scale = dorefa(w, bits, per_channel)
    y.backward(dy)
    put(tensors, name, x=w, dy=dy, y=y, dx=w.grad, code=code, scale=scale)
    attributes[name] = {"qmax": 2 ** (bits - 1) - 1, "per_channel": int(per_channel)}


def distillation_case(tensors, attributes, generator):
    """Hinton et al. 2015: (1 - w) CE + w T^2 KL(teacher || student)."""
    weight, temperature = 0.7, 4.0
    logits = (torch.randn(16, 10, generator=generator) * 3).requires_grad_()
    teacher = torch.randn(16, 10, generator=generator) * 3
    labels = torch.randint(0, 10, (16,), generator=generator)
    kl = functional.kl_div(functional.log_softmax(logits / temperature, 1),
                           functional.softmax(teacher / temperature, 1), reduction="batchmean")
    loss = (1 - weight) * functional.cross_entropy(logits, labels) + weight * temperature ** 2 * kl
    loss.backward()
    put(tensors, "distillation", logits=logits, teacher=teacher, labels=labels.float(),
        loss=loss.reshape(1), gradient=logits.grad)
    attributes["distillation"] = {"weight": weight, "temperature": temperature}


def main():
    tensors, attributes = {}, {"": {"made_by": f"torch {torch.__version__}"}}
    generator = torch.Generator().manual_seed(4)
    lsq_plus_case(tensors, attributes, "lsq_plus_u8", 255, -2.71, generator)
    lsq_plus_case(tensors, attributes, "lsq_plus_u4", 15, -0.19, generator)
    lsq_plus_case(tensors, attributes, "lsq_plus_u2", 3, -0.02, generator)
    pact_case(tensors, attributes, "pact_u8", 0, 255, 3.7, generator)
    pact_case(tensors, attributes, "pact_u4", 0, 15, 2.2, generator)
    pact_case(tensors, attributes, "pact_s4", -8, 7, 1.9, generator)
    dorefa_case(tensors, attributes, "dorefa_w8", 8, False, generator)
    dorefa_case(tensors, attributes, "dorefa_w4_rows", 4, True, generator)
    dorefa_case(tensors, attributes, "dorefa_w2", 2, False, generator)
    distillation_case(tensors, attributes, generator)
    write_archive(str(ROOT / "tests/golden/qat.h5"), "bitloom.golden", 1, tensors, attributes)


if __name__ == "__main__":
    main()
