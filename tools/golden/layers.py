#!/usr/bin/env python3
"""Golden values of the float layers and their gradients, from PyTorch.

Run in a virtual environment with torch, numpy and h5py:  python tools/golden/layers.py
Writes tests/golden/layers.h5; the torch version stands in its root attribute "made_by".

Each case is a group: the graph as text, the parameters before the step, the images, the output and
either the output's gradient or labels (then the loss is mean softmax cross-entropy), and what one
training step must give: gradients, running statistics, and the output of evaluation after it.
"""
import pathlib
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def memory(tensor, is_weight=False):
    """Channels-last memory and its axes."""
    array = tensor.detach().numpy().astype(np.float32)
    if array.ndim == 4:
        array = array.transpose(0, 2, 3, 1)
    axes = {4: "OHWI", 2: "OI", 1: "C"} if is_weight else {4: "NHWC", 2: "NC", 1: "C"}
    return np.ascontiguousarray(array), axes[array.ndim], "1"


class Golden:
    def __init__(self):
        self.tensors, self.texts = {}, {}
        self.attributes = {"": {"made_by": f"torch {torch.__version__}"}}

    def case(self, name, nodes, parameters, run, images=None, statistics=(), evaluate=None,
             labels=None):
        """parameters: our name -> leaf tensor; run(images): the output of a training step."""
        images = torch.zeros(1, 1) if images is None else images
        self.texts[f"{name}/graph"] = "bitloom-graph 1\n" + nodes.strip() + "\n"
        for word, value in [("images", images)] + [
                (f"parameters/{key}", value) for key, value in parameters.items()] + [
                (f"parameters/{key}", value.clone()) for key, value in statistics]:
            self.tensors[f"{name}/{word}"] = memory(value, word.startswith("parameters/w"))
        output = run(images)
        if labels is None:
            gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(7))
            output.backward(gradient)
            self.tensors[f"{name}/output_gradient"] = memory(gradient)
        else:
            loss = F.cross_entropy(output, labels)
            loss.backward()
            self.tensors[f"{name}/labels"] = (labels.numpy().astype(np.int32), "N", "class")
            self.attributes[name] = {"loss": loss.item()}
        self.tensors[f"{name}/output"] = memory(output)
        for key, value in parameters.items():
            self.tensors[f"{name}/gradients/{key}"] = memory(value.grad, key.startswith("w"))
        for key, value in statistics:
            self.tensors[f"{name}/after/{key}"] = memory(value)
        if evaluate is not None:
            self.tensors[f"{name}/evaluated"] = memory(evaluate(images))


def leaf(*shape):
    return torch.randn(*shape).requires_grad_()


def convolution(golden, name, x_shape, w_shape, stride, pad, groups=1):
    rows, columns = pad if isinstance(pad, tuple) else (pad, pad)
    pads = f"pad={rows}" + (f", pad_w={columns}" if rows != columns else "")
    x, w, b = leaf(*x_shape), leaf(*w_shape), leaf(w_shape[0])
    nodes = f"""input = input(shape=1)
x = parameter(shape={'x'.join(map(str, x_shape))})
w = parameter(shape={'x'.join(map(str, w_shape))})
y = conv2d(x, w, stride={stride}, {pads}, groups={groups}, bias=1)"""
    golden.case(name, nodes, {"x": x, "w": w, "y.bias": b},
                lambda _: F.conv2d(x, w, b, stride, pad, groups=groups))


def batch_norm(golden):
    x = leaf(3, 5, 4, 3)
    module = nn.BatchNorm2d(5, eps=1e-3, momentum=0.3)
    with torch.no_grad():
        module.weight.normal_(1.0, 0.5)
        module.bias.normal_()
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2.0)

    def evaluate(_):
        module.eval()
        return module(x)

    golden.case("batch_norm", """input = input(shape=1)
x = parameter(shape=3x5x4x3)
y = batch_norm(x, epsilon=0.001, momentum=0.3)""",
                {"x": x, "y.gamma": module.weight, "y.beta": module.bias}, lambda _: module(x),
                statistics=[("y.running_mean", module.running_mean),
                            ("y.running_var", module.running_var)], evaluate=evaluate)


def max_pool(golden):
    # Quarters: ties occur, so the rule which of equals gets the gradient is part of the test.
    x = (torch.randn(2, 6, 7, 9) * 2).round().div(4).requires_grad_()
    golden.case("max_pool", """input = input(shape=1)
x = parameter(shape=2x6x7x9)
y = max_pool(x, kernel=3, stride=2, pad=1)""", {"x": x}, lambda _: F.max_pool2d(x, 3, 2, 1))


def average_pool(golden):
    x = leaf(1, 5, 6, 7)
    golden.case("avg_pool", """input = input(shape=1)
x = parameter(shape=1x5x6x7)
y = avg_pool(x, kernel=3, stride=2, pad=1)""", {"x": x},
                lambda _: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))


def counted_average_pool(golden):
    x = leaf(2, 3, 4, 5)
    golden.case("avg_pool_counted", """input = input(shape=1)
x = parameter(shape=2x3x4x5)
y = avg_pool(x, kernel=3, stride=1, pad=1, count_pad=1)""", {"x": x},
                lambda _: F.avg_pool2d(x, 3, 1, 1, count_include_pad=True))


def clips(golden):
    """Values on the bounds too: their gradient is 0."""
    values = torch.cat([torch.randn(20) * 4, torch.tensor([0.0, 6.0, -0.5, 0.75])])
    for name, call, run in [("relu6", "relu6(x)", F.relu6),
                            ("hardtanh", "hardtanh(x, low=-0.5, high=0.75)",
                             lambda x: F.hardtanh(x, -0.5, 0.75))]:
        x = values.reshape(3, 8).clone().requires_grad_()
        golden.case(name, f"""input = input(shape=1)
x = parameter(shape=3x8)
y = {call}""", {"x": x}, lambda _, x=x, run=run: run(x))


def concat(golden):
    a, b = leaf(2, 3, 2, 2), leaf(2, 5, 2, 2)
    golden.case("concat", """input = input(shape=1)
a = parameter(shape=2x3x2x2)
b = parameter(shape=2x5x2x2)
y = concat(b, a, b)""", {"a": a, "b": b}, lambda _: torch.cat([b, a, b], 1))


def linear(golden):
    x, w, b = leaf(4, 13), leaf(6, 13), leaf(6)
    golden.case("linear", """input = input(shape=1)
x = parameter(shape=4x13)
w = parameter(shape=6x13)
y = linear(x, w, bias=1)""", {"x": x, "w": w, "y.bias": b}, lambda _: F.linear(x, w, b))


def global_average(golden):
    x = leaf(3, 7, 5, 4)
    golden.case("global_avg_pool", """input = input(shape=1)
x = parameter(shape=3x7x5x4)
y = global_avg_pool(x)""", {"x": x}, lambda _: F.adaptive_avg_pool2d(x, 1))


def network(golden):
    """A residual step with loss; flatten orders (H, W, C), so the linear weight is given so."""
    images = torch.randn(5, 2, 6, 6)
    w1, w2 = leaf(4, 2, 3, 3), leaf(4, 4, 3, 3)
    w3, b3 = leaf(3, 3 * 3 * 4), leaf(3)
    norm = nn.BatchNorm2d(4)

    def run(x):
        r1 = F.relu(norm(F.conv2d(x, w1, padding=1)))
        r2 = F.relu(F.conv2d(r1, w2, padding=1) + r1)
        flat = F.max_pool2d(r2, 2).permute(0, 2, 3, 1).reshape(5, -1)
        return F.linear(flat, w3, b3)

    def evaluate(x):
        norm.eval()
        return run(x)

    golden.case("network", """input = input(shape=2x6x6)
w1 = parameter(shape=4x2x3x3)
c1 = conv2d(input, w1, pad=1)
norm = batch_norm(c1)
r1 = relu(norm)
w2 = parameter(shape=4x4x3x3)
c2 = conv2d(r1, w2, pad=1)
sum = add(c2, r1)
r2 = relu(sum)
pool = max_pool(r2, kernel=2)
flat = flatten(pool)
w3 = parameter(shape=3x36)
y = linear(flat, w3, bias=1)""",
                {"w1": w1, "w2": w2, "w3": w3, "y.bias": b3, "norm.gamma": norm.weight,
                 "norm.beta": norm.bias}, run, images,
                statistics=[("norm.running_mean", norm.running_mean),
                            ("norm.running_var", norm.running_var)],
                evaluate=evaluate, labels=torch.tensor([0, 2, 1, 1, 0]))


def main():
    torch.manual_seed(3)
    torch.set_num_threads(1)
    golden = Golden()
    convolution(golden, "conv_same", (2, 3, 5, 6), (4, 3, 3, 3), 1, 1)
    convolution(golden, "conv_stride", (2, 5, 8, 7), (7, 5, 5, 5), 2, 2)
    batch_norm(golden)
    max_pool(golden)
    linear(golden)
    global_average(golden)
    network(golden)
    # Later cases come last, so that the random numbers of the earlier ones stay.
    convolution(golden, "conv_groups", (1, 6, 4, 5), (9, 2, 3, 3), 1, 1, 3)
    convolution(golden, "conv_depthwise", (2, 5, 4, 3), (5, 1, 3, 3), 1, 1, 5)
    convolution(golden, "conv_depthwise_stride", (1, 17, 5, 4), (17, 1, 3, 3), 2, 1, 17)
    average_pool(golden)
    clips(golden)
    concat(golden)
    convolution(golden, "conv_1x7", (1, 3, 4, 9), (4, 3, 1, 7), 1, (0, 3))
    convolution(golden, "conv_7x1_stride", (1, 2, 9, 4), (3, 2, 7, 1), 2, (3, 0))
    counted_average_pool(golden)
    write_archive(str(ROOT / "tests/golden/layers.h5"), "bitloom.golden", 1, golden.tensors,
                  golden.attributes, golden.texts)


if __name__ == "__main__":
    main()
