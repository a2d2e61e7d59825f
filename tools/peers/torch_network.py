"""A bitloom graph as a PyTorch module: every layer a standard one, in float or from Brevitas.

Comes from: graph_text.py. Goes to: peer_step.py.
"""
import torch
from torch import nn

CLIPS = ("relu", "relu6", "hardtanh")
# What a tensor's numbers pass through unchanged in kind.
TRANSPARENT = ("max_pool", "avg_pool", "global_avg_pool", "flatten", "dropout")


class FloatLayers:
    """torch.nn's layers."""

    def input(self):
        return nn.Identity()

    def shortcut(self):
        return nn.Identity()

    def conv2d(self, inputs, outputs, kernel, ends, **options):
        return nn.Conv2d(inputs, outputs, kernel, **options)

    def linear(self, inputs, outputs, ends, bias):
        return nn.Linear(inputs, outputs, bias=bias)

    def clip(self, node, ends):
        if node.op == "relu":
            return nn.ReLU()
        if node.op == "relu6":
            return nn.ReLU6()
        return nn.Hardtanh(node.real("low", -1), node.real("high", 1))


class BrevitasLayers:
    """Brevitas' quantized layers where bitloom puts its own quantizers: weights per output channel,
    learned scales for activations; `ends` (first and last layer, the network's input) have 8 bits.
    """

    def __init__(self, weight_bits, activation_bits):
        from brevitas import nn as qnn
        from brevitas.quant import (Int8ActPerTensorFloat, Int8WeightPerChannelFloat,
                                    Uint8ActPerTensorFloat)
        self.qnn = qnn
        self.weight = Int8WeightPerChannelFloat
        self.signed = Int8ActPerTensorFloat
        self.unsigned = Uint8ActPerTensorFloat
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        # Brevitas finds first scales from the percentiles of its first 300 steps, which are slower
        # than those after them: two steps here, so that the lasting speed is timed.
        self.scales = {"collect_stats_steps": 2}

    def input(self):
        return self.qnn.QuantIdentity(act_quant=self.signed, bit_width=8, **self.scales)

    def shortcut(self):
        return self.qnn.QuantIdentity(act_quant=self.signed, bit_width=self.activation_bits,
                                      **self.scales)

    def conv2d(self, inputs, outputs, kernel, ends, **options):
        return self.qnn.QuantConv2d(inputs, outputs, kernel, weight_quant=self.weight,
                                    weight_bit_width=8 if ends else self.weight_bits, **options)

    def linear(self, inputs, outputs, ends, bias):
        return self.qnn.QuantLinear(inputs, outputs, bias=bias, weight_quant=self.weight,
                                    weight_bit_width=8 if ends else self.weight_bits)

    def clip(self, node, ends):
        bits = 8 if ends else self.activation_bits
        if node.op == "hardtanh":
            return self.qnn.QuantHardTanh(act_quant=self.signed, bit_width=bits,
                                          min_val=node.real("low", -1),
                                          max_val=node.real("high", 1), **self.scales)
        return self.qnn.QuantReLU(act_quant=self.unsigned, bit_width=bits, **self.scales)


class GraphNetwork(nn.Module):
    """Runs the nodes in their order; the list is fixed, so torch.fx can trace it.

    Raises ValueError for an op that it does not know.
    """

    def __init__(self, nodes, layers):
        super().__init__()
        self.nodes = nodes
        self.by_name = {node.name: node for node in nodes}
        products = [node.name for node in nodes if node.op in ("conv2d", "linear")]
        self.ends = {products[0], products[-1], self._maker(self.by_name[products[-1]].inputs[0])}
        self.shortcuts = set()
        self.steps = nn.ModuleDict()
        for node in nodes:
            module = self._make(node, layers)
            if module is not None:
                self.steps[self._key(node.name)] = module
            if node.op == "add" and self.by_name[self._maker(node.inputs[1])].op not in CLIPS:
                self.shortcuts.add(node.name)
                self.steps[self._key(node.name)] = layers.shortcut()

    def forward(self, images):
        values = {}
        for node in self.nodes:
            if node.op == "parameter":
                continue
            step = self.steps[self._key(node.name)] if self._key(node.name) in self.steps else None
            if node.op == "input":
                values[node.name] = step(images)
                continue
            sources = [values[name] for name in node.inputs if name in values]
            if node.op == "add":
                shortcut = step(sources[1]) if node.name in self.shortcuts else sources[1]
                values[node.name] = sources[0] + shortcut
            elif node.op == "concat":
                values[node.name] = torch.cat(sources, dim=1)
            else:
                values[node.name] = step(sources[0])
        return values[self.nodes[-1].name]

    @staticmethod
    def _key(name):
        return name.replace(".", "_")  # a module's name holds no dots

    def _maker(self, name):
        """The node whose numbers `name` carries, behind poolings and the like."""
        while self.by_name[name].op in TRANSPARENT:
            name = self.by_name[name].inputs[0]
        return name

    def _make(self, node, layers):
        ends = node.name in self.ends
        if node.op in ("parameter", "add", "concat"):
            return None
        if node.op == "input":
            return layers.input()
        if node.op == "conv2d":
            outputs, inputs, height, width = self.by_name[node.inputs[1]].shape()
            groups = node.number("groups", 1)
            return layers.conv2d(inputs * groups, outputs, (height, width), ends,
                                 stride=node.number("stride", 1), padding=node.pads(),
                                 groups=groups, bias=bool(node.number("bias", 0)))
        if node.op == "linear":
            outputs, inputs = self.by_name[node.inputs[1]].shape()
            return layers.linear(inputs, outputs, ends, bool(node.number("bias", 0)))
        if node.op in CLIPS:
            return layers.clip(node, ends)
        if node.op == "batch_norm":
            return nn.BatchNorm2d(self._channels(node), eps=node.real("epsilon", 1e-5))
        if node.op in ("max_pool", "avg_pool"):
            kernel = node.number("kernel", 0)
            window = (kernel, node.number("stride", kernel), node.number("pad", 0))
            if node.op == "max_pool":
                return nn.MaxPool2d(*window)
            return nn.AvgPool2d(*window, count_include_pad=bool(node.number("count_pad", 0)))
        if node.op == "global_avg_pool":
            return nn.AdaptiveAvgPool2d(1)
        if node.op == "flatten":
            return nn.Flatten()
        if node.op == "dropout":
            return nn.Dropout(node.real("ratio", 0.5))
        raise ValueError(f"{node.name}: no PyTorch layer for {node.op!r}")

    def _channels(self, node):
        """Of a batch norm, which follows a convolution."""
        source = self.by_name[node.inputs[0]]
        if source.op != "conv2d":
            raise ValueError(f"{node.name}: expected a convolution before it, found {source.op!r}")
        return self.by_name[source.inputs[1]].shape()[0]
