"""A folded network as an ONNX file, batch "N": for ONNX Runtime and OpenVINO.

Comes from: folded_network.py. Goes to: inference_models.py.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def window_attributes(node, kernel):
    rows, columns = node.pads()
    stride = node.number("stride", 1 if node.op == "conv2d" else kernel[0])
    return {"kernel_shape": list(kernel), "strides": [stride, stride],
            "pads": [rows, columns, rows, columns]}


class OnnxWriter:
    def __init__(self, network):
        self.nodes, self.constants = [], []
        for step in network.steps[1:]:
            self._write(step)
        image, logits = network.steps[0], network.steps[-1]
        graph = helper.make_graph(
            self.nodes, "network",
            [helper.make_tensor_value_info(image.name, TensorProto.FLOAT, ["N", *image.shape])],
            [helper.make_tensor_value_info(logits.name, TensorProto.FLOAT, ["N", *logits.shape])],
            self.constants)
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                       ir_version=9)
        onnx.checker.check_model(self.model)

    def _constant(self, name, values):
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _write(self, step):
        node, inputs, options = step.node, list(step.inputs), {}
        if step.op in ("conv2d", "linear"):
            inputs += [self._constant(f"{step.name}.weight", step.weight),
                       self._constant(f"{step.name}.bias", step.bias)]
        if step.op == "conv2d":
            word = "Conv"
            options = dict(window_attributes(node, step.weight.shape[2:]),
                           group=node.number("groups", 1))
        elif step.op == "linear":
            word, options = "Gemm", {"transB": 1}
        elif step.op in ("max_pool", "avg_pool"):
            kernel = node.number("kernel", 1)
            word = "MaxPool" if step.op == "max_pool" else "AveragePool"
            options = window_attributes(node, (kernel, kernel))
            if step.op == "avg_pool":
                options["count_include_pad"] = node.number("count_pad", 0)
        elif step.op in ("relu6", "hardtanh"):
            bounds = (0, 6) if step.op == "relu6" else (node.real("low", -1), node.real("high", 1))
            word = "Clip"
            for end, value in zip(("low", "high"), bounds):
                inputs.append(self._constant(f"{step.name}.{end}", np.array(value, np.float32)))
        else:
            word = {"relu": "Relu", "global_avg_pool": "GlobalAveragePool", "flatten": "Flatten",
                    "add": "Add", "concat": "Concat"}[step.op]
            options = {"axis": 1} if step.op in ("flatten", "concat") else {}
        self.nodes.append(helper.make_node(word, inputs, [step.name], step.name, **options))


def save(network, path):
    onnx.save(OnnxWriter(network).model, path)
