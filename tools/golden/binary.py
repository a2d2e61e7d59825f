#!/usr/bin/env python3
"""Golden values of the quantizers of one and two bits and of their layers, from PyTorch.

Run in a virtual environment with torch, numpy and h5py:  python tools/golden/binary.py
Writes tests/golden/binary.h5; the torch version stands in its root attribute "made_by".

Each function below is the paper's formula in the form that its page under include/bitloom/quant
states, written with straight-through stand-ins, so that autograd gives the gradients.
"""
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as functional

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def through(forward, stand_in):
    """The value of `forward` with the gradient of `stand_in`."""
    return stand_in + (forward - stand_in).detach()


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


def approx_sign(x):
    """Bi-Real Net, equation 6."""
    inner = torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)
    return torch.where(x < -1, -torch.ones_like(x), torch.where(x < 1, inner, torch.ones_like(x)))


def mean_magnitude(w, per_channel):
    return w.abs().mean(1, keepdim=True) if per_channel else w.abs().mean().reshape(1, 1)


def binary_connect(w):
    return through(sign(w), w), torch.ones(1, 1)


def bnn(x):
    return through(sign(x), functional.hardtanh(x)), torch.ones(1, 1)


def bwn(w):
    alpha = mean_magnitude(w, True)
    return through(alpha * sign(w), w), alpha


def xnor(w):
    alpha = mean_magnitude(w, True)
    return alpha * through(sign(w), functional.hardtanh(w)), alpha


def dorefa(w):
    alpha = mean_magnitude(w, False)
    return through(alpha * sign(w), w), alpha


def bi_real_weights(w):
    alpha = mean_magnitude(w, True)
    return through((alpha * sign(w)).detach(), functional.hardtanh(w)), alpha


def bi_real(x):
    return through(sign(x), approx_sign(x)), torch.ones(1, 1)


def ternary(w, threshold):
    return torch.where(w > threshold, 1.0, torch.where(w < -threshold, -1.0, 0.0))


def twn(w, per_channel):
    threshold = 0.7 * mean_magnitude(w, per_channel).detach()
    return twn_at(w, threshold)


def twn_at(w, threshold):
    passes = (w.abs() > threshold).float()
    axis = 1 if threshold.numel() > 1 else (0, 1)
    alpha = ((w.abs() * passes).sum(axis) / passes.sum(axis)).reshape(-1, 1).detach()
    return through(alpha * ternary(w, threshold), w), alpha, threshold


def twn_exact(w):
    """The least squared error over every threshold, by trying all."""
    best = []
    for row in w.detach():
        candidates = torch.cat([torch.zeros(1), row.abs()])
        errors = []
        for t in candidates:
            passes = row.abs() > t
            alpha = row.abs()[passes].mean() if passes.any() else torch.zeros(())
            errors.append(((row - alpha * ternary(row, t)).double() ** 2).sum())
        best.append(candidates[int(torch.stack(errors).argmin())])
    return twn_at(w, torch.stack(best).reshape(-1, 1))


def ttq(w, positive, negative):
    """TTQ, equations 6 to 8, with the chain rule's sign for the negative scale."""
    threshold = 0.05 * w.abs().max().detach()
    code = ternary(w, threshold).detach()
    y = torch.where(code > 0, positive, torch.where(code < 0, -negative, torch.zeros(())))
    factor = torch.where(code > 0, positive, torch.where(code < 0, negative, torch.ones(()))).detach()
    return y + factor * (w - w.detach()), threshold


def put(tensors, name, **values):
    for word, value in values.items():
        array = value.detach().numpy().astype(np.float32)
        axes = {1: "C", 2: "OI", 4: "NHWC"}[array.ndim]
        if array.ndim == 4:
            array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        tensors[f"{name}/{word}"] = (array, axes, "1")


def case(tensors, name, x, generator, quantizer):
    """quantizer(x) > reals, scale[, threshold]."""
    x = x.clone().requires_grad_()
    y, scale, *threshold = quantizer(x)
    dy = torch.randn(x.shape, generator=generator)
    y.backward(dy)
    put(tensors, name, x=x, dy=dy, y=y, dx=x.grad, scale=scale.reshape(-1))
    if threshold:
        put(tensors, name, threshold=threshold[0].reshape(-1))


def rsign_case(tensors, generator):
    x = torch.randn(12, 7, generator=generator).requires_grad_()
    threshold = (torch.randn(7, generator=generator) * 0.3).requires_grad_()
    y = bi_real(x - threshold)[0]
    dy = torch.randn(x.shape, generator=generator)
    y.backward(dy)
    put(tensors, "rsign", x=x, dy=dy, y=y, dx=x.grad, threshold=threshold,
        dthreshold=threshold.grad)


def ttq_case(tensors, generator):
    w = torch.randn(6, 40, generator=generator).requires_grad_()
    positive = torch.tensor([0.8]).requires_grad_()
    negative = torch.tensor([1.1]).requires_grad_()
    y, threshold = ttq(w, positive, negative)
    dy = torch.randn(w.shape, generator=generator)
    y.backward(dy)
    above, below = (w > threshold).sum(), (w < -threshold).sum()  # means, as ttq.h says
    put(tensors, "ttq", x=w, dy=dy, y=y, dx=w.grad, scale=positive, negative_scale=negative,
        dscale=positive.grad / above, dnegative_scale=negative.grad / below,
        threshold=threshold.reshape(1))


def rprelu_case(tensors, generator):
    """ReActNet, equation 5."""
    x = torch.randn(3, 5, 4, 4, generator=generator).requires_grad_()
    given = {word: (torch.randn(5, generator=generator) * 0.4).requires_grad_()
             for word in ("slope", "threshold", "offset")}
    slope, threshold, offset = (given[word].reshape(1, 5, 1, 1)
                                for word in ("slope", "threshold", "offset"))
    v = x - threshold
    y = torch.where(v > 0, v, slope * v) + offset
    dy = torch.randn(x.shape, generator=generator)
    y.backward(dy)
    put(tensors, "rprelu", x=x, dy=dy, y=y, dx=x.grad, **given,
        **{f"d{word}": value.grad for word, value in given.items()})


def k_map_case(tensors, generator):
    """XNOR-Net, section 3.2: K = A * k, multiplied into a convolution's output."""
    x = torch.randn(2, 5, 6, 7, generator=generator).requires_grad_()
    y = torch.randn(2, 3, 3, 4, generator=generator).requires_grad_()
    box = torch.full((1, 1, 3, 3), 1.0 / 9.0)
    k = functional.conv2d(x.abs().mean(1, keepdim=True), box, stride=2, padding=1)
    scaled = y * k
    dscaled = torch.randn(scaled.shape, generator=generator)
    scaled.backward(dscaled)
    put(tensors, "k_map", x=x, y=y, k=k, scaled=scaled, dscaled=dscaled, dx=x.grad, dy=y.grad)


def nearest_power_of_two(x):
    """AP2 of BNN: sign(x) * 2^round(log2 |x|)."""
    return torch.where(x == 0, torch.zeros_like(x),
                       torch.sign(x) * 2 ** torch.round(torch.log2(x.abs().clamp_min(1e-38))))


def shift_batch_norm_case(tensors, generator):
    """BNN, algorithm 3; AP2 straight through, so the gradient is batch norm's with its factors."""
    x = (torch.randn(6, 5, 3, 3, generator=generator) * 1.7 + 0.3)
    gamma = torch.rand(5, generator=generator) * 2 - 0.7
    beta = torch.randn(5, generator=generator)
    dy = torch.randn(x.shape, generator=generator)
    flat = x.double().transpose(0, 1).reshape(5, -1)
    centred = flat - flat.mean(1, keepdim=True)
    variance = (centred * nearest_power_of_two(centred)).mean(1, keepdim=True)
    r = nearest_power_of_two(1 / torch.sqrt(variance + 1e-5))
    g = nearest_power_of_two(gamma.double()).reshape(-1, 1)
    h = centred * r
    y = g * h + beta.double().reshape(-1, 1)
    d = dy.double().transpose(0, 1).reshape(5, -1)
    dbeta, dgamma = d.sum(1), (d * h).sum(1)
    m = d.shape[1]
    dx = g * r * (d - dbeta.reshape(-1, 1) / m - h * dgamma.reshape(-1, 1) / m)

    def shaped(flat_values):
        return flat_values.reshape(5, 6, 3, 3).transpose(0, 1)

    put(tensors, "shift_batch_norm", x=x, gamma=gamma, beta=beta, dy=dy, y=shaped(y), dx=shaped(dx),
        dgamma=dgamma, dbeta=dbeta, mean=flat.mean(1), variance=variance.reshape(-1))


def adamax_case(tensors, generator):
    """torch.optim.Adamax, and BNN's algorithm 4, over eight steps."""
    start = torch.randn(24, generator=generator)
    gradients = torch.randn(8, 24, generator=generator) * torch.logspace(-3, 1, 24)
    gradients[:, 5] = 0  # never moves
    w = start.clone().requires_grad_()
    optimizer = torch.optim.Adamax([w], lr=0.01, betas=(0.9, 0.999), eps=1e-8)
    plain = []
    for gradient in gradients:
        w.grad = gradient.clone()
        optimizer.step()
        plain.append(w.detach().clone())
    v = start.double()
    mean, largest, shifted = torch.zeros(24).double(), torch.zeros(24).double(), []
    for t, gradient in enumerate(gradients.double()):
        mean = 0.9 * mean + 0.1 * gradient
        largest = torch.maximum(0.999 * largest, gradient.abs())
        rate = nearest_power_of_two(torch.tensor(0.01 / (1 - 0.9 ** (t + 1))).double())
        inverse = torch.where(largest == 0, torch.zeros_like(largest), 1 / largest)
        v = v - rate * mean * nearest_power_of_two(inverse)
        shifted.append(v.clone())
    put(tensors, "adamax", start=start, gradients=gradients, plain=torch.stack(plain),
        shifted=torch.stack(shifted))


def main():
    tensors, attributes = {}, {"": {"made_by": f"torch {torch.__version__}"}}
    generator = torch.Generator().manual_seed(6)

    def reals(factor):
        return torch.randn(6, 40, generator=generator) * factor

    case(tensors, "binary_connect", reals(0.7), generator, binary_connect)
    case(tensors, "bnn", reals(0.9), generator, bnn)
    case(tensors, "bwn", reals(0.7), generator, bwn)
    case(tensors, "xnor", reals(0.7), generator, xnor)
    case(tensors, "dorefa", reals(0.7), generator, dorefa)
    case(tensors, "bi_real_weights", reals(0.7), generator, bi_real_weights)
    case(tensors, "bi_real", reals(0.9), generator, bi_real)
    case(tensors, "twn_rows", reals(0.7), generator, lambda w: twn(w, True))
    case(tensors, "twn", reals(0.7), generator, lambda w: twn(w, False))
    case(tensors, "twn_exact", reals(0.7), generator, twn_exact)
    ttq_case(tensors, generator)
    rsign_case(tensors, generator)
    rprelu_case(tensors, generator)
    k_map_case(tensors, generator)
    shift_batch_norm_case(tensors, generator)
    adamax_case(tensors, generator)
    write_archive(str(ROOT / "tests/golden/binary.h5"), "bitloom.golden", 1, tensors, attributes)


if __name__ == "__main__":
    main()
