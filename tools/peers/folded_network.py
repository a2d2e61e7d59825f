"""A bitloom graph with seeded weights and batch norm folded: what every converter writes down.

Comes from: graph_text.py. Goes to: onnx_network.py, tf_network.py, so that all peers run the same
network with the same numbers.

Weights are He-normal. Batch norm has scales around 1, moved means and variances, so that nothing
can be simplified away; where it ends a residual branch its scale is a fifth, or the 50 blocks of
resnet152 would grow the numbers beyond float.
"""
import dataclasses
import zlib

import numpy as np

POOLS = ("max_pool", "avg_pool")


@dataclasses.dataclass
class Step:
    """One operation: its node's name is that of its result."""
    name: str
    op: str
    inputs: list  # names of steps
    node: object
    shape: tuple  # of the result without the batch: (C, H, W), or (C,) behind flatten
    weight: np.ndarray = None  # [O, I, KH, KW] or [O, I], f32
    bias: np.ndarray = None  # [O], f32


def generator(seed, name):
    """Numbers that depend on the seed and the node alone, not on who came before."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def normal_weight(seed, name, shape):
    fan_in = int(np.prod(shape[1:]))
    values = generator(seed, name).standard_normal(shape, dtype=np.float32)
    return values * np.float32(np.sqrt(2 / fan_in))


def window_shape(node, height, width, kernel):
    pads, stride = node.pads(), node.number("stride", 1 if node.op == "conv2d" else kernel[0])
    return ((height + 2 * pads[0] - kernel[0]) // stride + 1,
            (width + 2 * pads[1] - kernel[1]) // stride + 1)


class FoldedNetwork:
    """`steps` in their order, the first the input, the last the logits; `parameters`: trained
    values of the graph, before folding.

    Raises ValueError for an op that it does not know.
    """

    def __init__(self, nodes, seed=1):
        self.seed = seed
        self.by_name = {node.name: node for node in nodes}
        self.branch_ends = {node.inputs[0] for node in nodes if node.op == "add"}
        self.steps, self.parameters = [], 0
        self._made = {}  # node to step: batch norm and dropout are their inputs' steps
        for node in nodes:
            if node.op != "parameter":
                self._take(node)

    def input_shape(self):
        return self.steps[0].shape

    def _take(self, node):
        sources = [self._made[name] for name in node.inputs if name in self._made]
        if node.op == "dropout":
            self._made[node.name] = sources[0]
        elif node.op == "batch_norm":
            self._fold(node, sources[0])
            self._made[node.name] = sources[0]
        else:
            step = Step(node.name, node.op, [source.name for source in sources], node, ())
            self._fill(step, sources)
            self.steps.append(step)
            self._made[node.name] = step

    def _fill(self, step, sources):
        node = step.node
        if node.op == "input":
            step.shape = tuple(node.shape())
        elif node.op in ("conv2d", "linear"):
            self._add_weight(step)
            step.shape = tuple(step.weight.shape[:1])
            if node.op == "conv2d":
                step.shape += window_shape(node, *sources[0].shape[1:], step.weight.shape[2:])
        elif node.op in POOLS:
            kernel = node.number("kernel", 1)
            channels, height, width = sources[0].shape
            step.shape = (channels, *window_shape(node, height, width, (kernel, kernel)))
        elif node.op == "global_avg_pool":
            step.shape = (sources[0].shape[0], 1, 1)
        elif node.op == "flatten":
            step.shape = (int(np.prod(sources[0].shape)),)
        elif node.op == "concat":
            step.shape = (sum(source.shape[0] for source in sources), *sources[0].shape[1:])
        elif node.op in ("relu", "relu6", "hardtanh", "add"):
            step.shape = sources[0].shape
        else:
            raise ValueError(f"{node.name}: no converter knows {node.op!r}")

    def _add_weight(self, step):
        shape = self.by_name[step.node.inputs[1]].shape()
        step.weight = normal_weight(self.seed, step.node.inputs[1], shape)
        step.bias = np.zeros(shape[0], np.float32)
        self.parameters += step.weight.size
        if step.node.number("bias", 0):
            step.bias += 0.05 * generator(self.seed, step.name).standard_normal(shape[0],
                                                                                dtype=np.float32)
            self.parameters += step.bias.size

    def _fold(self, node, step):
        if step.op != "conv2d":
            raise ValueError(f"{node.name}: expected a convolution before it, found {step.op!r}")
        draw, channels = generator(self.seed, node.name), step.weight.shape[0]
        scale = draw.uniform(0.7, 1.3, channels) * (0.2 if node.name in self.branch_ends else 1)
        shift, mean = 0.1 * draw.standard_normal((2, channels))
        factor = scale / np.sqrt(draw.uniform(0.7, 1.3, channels) + node.real("epsilon", 1e-5))
        step.weight = (step.weight * factor.reshape(-1, 1, 1, 1)).astype(np.float32)
        step.bias = ((step.bias - mean) * factor + shift).astype(np.float32)
        self.parameters += 2 * channels


def random_images(shape, count, seed=7):
    """f32 [count, C, H, W], normal: what networks see behind their normalisation."""
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)
