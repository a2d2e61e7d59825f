#!/usr/bin/env python3
"""Golden ranges, thresholds and scales of observers, from PyTorch, NVIDIA ModelOpt and Brevitas.

Run in a virtual environment with torch, nvidia-modelopt, huggingface_hub, requests, brevitas and
h5py:  python tools/golden/observers.py
Writes tests/golden/observers.h5; the versions stand in its root attribute "made_by".

minmax, ema, per channel and the asymmetric grid come from torch.ao.quantization's observers;
torch's HistogramObserver searches its range otherwise than our mse does, so its scale is a bar for
the error reached, not a value to equal. percentile and kl come from ModelOpt's histogram calibrator
on a histogram of the same 2048 bins over [0, max |x|]; power-of-two scales from Brevitas.
"""
import importlib.metadata
import pathlib
import sys

import numpy as np
import torch
from brevitas.function.ops_ste import ceil_ste
from modelopt.torch.quantization.calib import histogram as modelopt
from torch.ao.quantization import observer as torch_observer

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCHES, VALUES, BINS = 4, 1500, 2048
DECAY = 0.9


def activations():
    """Four batches whose ranges differ: behind a ReLU, and signed with a heavy tail."""
    generator = torch.Generator().manual_seed(23)
    normal = torch.randn([BATCHES, VALUES], generator=generator)
    grow = torch.linspace(1.0, 1.6, BATCHES).reshape(-1, 1)
    tail = 1.0 + 4.0 * (torch.rand([BATCHES, VALUES], generator=generator) > 0.99)
    return {"relu": torch.relu(normal * grow), "signed": (normal * tail - 0.3) * grow}


def scalar(value):
    return np.array([float(value)], dtype=np.float32), "C", "1"


def threshold_cases(tensors, name, x):
    magnitudes = x.abs().double().numpy().ravel()
    counts, edges = np.histogram(magnitudes, bins=BINS, range=(0.0, magnitudes.max()))
    for percentile in (98.765, 99.91):  # no whole number of values, so no tie
        lower = modelopt._compute_amax_percentile(counts.copy(), edges, percentile)
        tensors[f"{name}/percentile_{percentile}"] = scalar(lower)
    for bits in (8, 4):
        unsigned = name == "relu"
        levels = 1 << (bits - 1 + int(unsigned))
        amax = modelopt._compute_amax_entropy(counts.copy(), edges, bits, unsigned,
                                              start_bin=max(128, levels))
        tensors[f"{name}/kl_{bits}"] = scalar(amax)


def main():
    tensors = {}
    made_by = ", ".join(f"{name} {importlib.metadata.version(name)}"
                        for name in ("torch", "nvidia-modelopt", "brevitas"))
    for name, x in activations().items():
        tensors[f"{name}/x"] = (x.numpy().astype(np.float32), "NC", "1")
        affine = torch_observer.MinMaxObserver(dtype=torch.quint8, qscheme=torch.per_tensor_affine)
        moving = torch_observer.MovingAverageMinMaxObserver(averaging_constant=1 - DECAY,
                                                            dtype=torch.quint8)
        for batch in x:
            affine(batch)
            moving(batch)
        for word, watched in (("minmax", affine), ("ema", moving)):
            scale, zero_point = watched.calculate_qparams()
            tensors[f"{name}/{word}_range"] = (
                np.array([watched.min_val, watched.max_val], dtype=np.float32), "C", "1")
            tensors[f"{name}/{word}_scale"] = scalar(scale)
            tensors[f"{name}/{word}_zero_point"] = scalar(zero_point)
        for bits in (8, 4):
            histogram = torch_observer.HistogramObserver(
                dtype=torch.quint8, qscheme=torch.per_tensor_affine, quant_min=0,
                quant_max=2 ** bits - 1)
            for batch in x:
                histogram(batch)
            scale, zero_point = histogram.calculate_qparams()
            tensors[f"{name}/histogram_{bits}_scale"] = scalar(scale)
            tensors[f"{name}/histogram_{bits}_zero_point"] = scalar(zero_point)
        threshold_cases(tensors, name, x)

    generator = torch.Generator().manual_seed(29)
    weight = torch.randn([9, 60], generator=generator) * torch.logspace(-2, 1, 9).reshape(-1, 1)
    rows = torch_observer.PerChannelMinMaxObserver(
        ch_axis=0, dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-127,
        quant_max=127)
    rows(weight)
    tensors["weight/w"] = (weight.numpy(), "OI", "1")
    tensors["weight/minmax_scale"] = (rows.calculate_qparams()[0].numpy(), "C", "1")
    tensors["weight/percentile_95"] = (
        torch.quantile(weight.abs(), 0.95, dim=1).numpy(), "C", "1")

    scales = torch.cat([torch.logspace(-8, 3, 45), 2.0 ** torch.arange(-20, 4)]).float()
    tensors["power_of_two/scale"] = (scales.numpy(), "C", "1")
    tensors["power_of_two/rounded"] = ((2.0 ** ceil_ste(torch.log2(scales))).numpy(), "C", "1")
    write_archive(str(ROOT / "tests/golden/observers.h5"), "bitloom.golden", 1, tensors,
                  {"": {"made_by": made_by}})


if __name__ == "__main__":
    main()
