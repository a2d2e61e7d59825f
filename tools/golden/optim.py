#!/usr/bin/env python3
"""Golden trajectories of optimizers, schedules, clipping, averaging and label smoothing, from PyTorch.

Run in a virtual environment with torch, numpy and h5py:  python tools/golden/optim.py
Writes tests/golden/optim.h5; the torch version stands in its root attribute "made_by".

steps/NAME/{start,gradient,weight}: a weight of 12 values, a bias of 3 beside it (decay spares it as
bitloom does, by a parameter group without decay), 10 steps with given gradients; weight and bias
after each step, f32. Tolerance of the test: 1e-6 of the largest value, as torch rounds intermediate
results of its fused kernels otherwise.
schedule/NAME/{lr,momentum}: f64 for each step, tolerance 1e-12 relative.
smoothing: logits, labels, loss and gradient of torch.nn.functional.cross_entropy.
"""
import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 10
DECAY = 0.05


def trajectory(tensors, attributes, name, make, clip=0.0, ema=0.0):
    generator = torch.Generator().manual_seed(len(name) + 100)
    start = torch.randn(15, generator=generator)
    gradients = torch.randn(STEPS, 15, generator=generator) * 2
    weight = torch.nn.Parameter(start[:12].clone())
    bias = torch.nn.Parameter(start[12:].clone())
    optimizer = make([{"params": [weight], "weight_decay": DECAY},
                      {"params": [bias], "weight_decay": 0.0}])
    averaged = [weight.detach().clone(), bias.detach().clone()]
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(ema)
    rows, averages = [], []
    for gradient in gradients:
        weight.grad, bias.grad = gradient[:12].clone(), gradient[12:].clone()
        if clip:
            torch.nn.utils.clip_grad_norm_([weight, bias], clip)
        optimizer.step()
        rows.append(torch.cat([weight, bias]).detach().clone())
        if ema:
            average(averaged, [weight.detach(), bias.detach()], None)
            averages.append(torch.cat(averaged))
    put = lambda word, value: tensors.update({f"steps/{name}/{word}": (
        value.numpy().astype(np.float32), "OI" if value.ndim == 2 else "C", "1")})
    put("start", start)
    put("gradient", gradients)
    put("weight", torch.stack(rows))
    if ema:
        put("average", torch.stack(averages))
    attributes[f"steps/{name}"] = {"decay": DECAY, "clip": clip, "ema": ema}


def schedule(tensors, name, steps, make):
    """lr and momentum before each step of an SGD whose lr is 0.8 and momentum 0.9."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8, momentum=0.9)
    scheduler = make(optimizer)
    lr, momentum = [], []
    for _ in range(steps):
        lr.append(optimizer.param_groups[0]["lr"])
        momentum.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    tensors[f"schedule/{name}/lr"] = (np.array(lr), "C", "1")
    tensors[f"schedule/{name}/momentum"] = (np.array(momentum), "C", "1")


def smoothing(tensors, attributes):
    generator = torch.Generator().manual_seed(9)
    logits = (torch.randn(6, 7, generator=generator) * 3).requires_grad_()
    labels = torch.tensor([0, 3, 6, 2, 2, 5])
    loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()
    tensors["smoothing/logits"] = (logits.detach().numpy(), "OI", "1")
    tensors["smoothing/labels"] = (labels.numpy().astype(np.int32), "C", "1")
    tensors["smoothing/gradient"] = (logits.grad.numpy(), "OI", "1")
    attributes["smoothing"] = {"smoothing": 0.1, "loss": float(loss.detach())}


def main():
    tensors, attributes = {}, {"": {"made_by": f"torch {torch.__version__}"}}
    optim = torch.optim
    sgd = lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9)
    trajectory(tensors, attributes, "sgd", sgd)
    trajectory(tensors, attributes, "nesterov",
               lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True))
    trajectory(tensors, attributes, "adam",
               lambda groups: optim.Adam(groups, lr=0.1, betas=(0.9, 0.99), eps=1e-6))
    trajectory(tensors, attributes, "adamw",
               lambda groups: optim.AdamW(groups, lr=0.1, betas=(0.9, 0.99), eps=1e-6))
    trajectory(tensors, attributes, "clip", sgd, clip=3.0)
    trajectory(tensors, attributes, "average", sgd, ema=0.8)
    scheduler = optim.lr_scheduler
    schedule(tensors, "cosine", 40, lambda o: scheduler.CosineAnnealingLR(o, T_max=40, eta_min=0.2))
    schedule(tensors, "step", 40, lambda o: scheduler.MultiStepLR(o, [10, 25], gamma=0.3))
    schedule(tensors, "one-cycle", 40, lambda o: scheduler.OneCycleLR(
        o, max_lr=0.8, total_steps=40, pct_start=0.3, div_factor=25, final_div_factor=1e4,
        base_momentum=0.85, max_momentum=0.9))
    smoothing(tensors, attributes)
    write_archive(str(ROOT / "tests/golden/optim.h5"), "bitloom.golden", 1, tensors, attributes)


if __name__ == "__main__":
    main()
