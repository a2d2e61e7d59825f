"""Writes one model file of one peer from a bitloom graph, in a process of its own.

Run by inference.py:
    python tools/peers/inference_models.py --graph vgg16.net --kind openvino-int8 --folder DIR
Kinds in their order (a later one may read an earlier one's file): KINDS. All hold the same numbers
(folded_network.py); quantized ones come from the peer's own converter and seeded images.
Prints one JSON row: file, size, parameters, versions, how much the float models differ in output.
"""
import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import sys
import tempfile
import time
import typing

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import graph_text  # noqa: E402
from folded_network import FoldedNetwork, random_images  # noqa: E402

CALIBRATION_IMAGES = 8


def calibration(network):
    return random_images(network.input_shape(), CALIBRATION_IMAGES)


def onnx_float(network, folder, path):
    import onnx_network
    onnx_network.save(network, path)


class OrtReader:
    """What quantize_static asks for its images."""

    def __init__(self, network):
        name = network.steps[0].name
        self.batches = iter([{name: image[None]} for image in calibration(network)])

    def get_next(self):
        return next(self.batches, None)


def onnx_static(network, folder, path):
    """U8S8, per channel, QDQ: what ONNX Runtime's documents name for x86 with VNNI."""
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static
    prepared = path.with_suffix(".prepared")
    quant_pre_process(folder / KINDS["onnx-float"].file, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, path, OrtReader(network), quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    per_channel=True)
    prepared.unlink()


def onnx_dynamic(network, folder, path):
    """u8 weights: ConvInteger has no kernel for s8 ones."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    quantize_dynamic(folder / KINDS["onnx-float"].file, path, weight_type=QuantType.QUInt8)


def openvino_float(network, folder, path):
    import openvino
    model = openvino.convert_model(folder / KINDS["onnx-float"].file)
    openvino.save_model(model, path, compress_to_fp16=False)


def openvino_int8(network, folder, path):
    """nncf's post-training quantization with its defaults, but for the number of images."""
    import nncf
    import openvino
    model = openvino.Core().read_model(folder / KINDS["openvino-float"].file)
    images = nncf.Dataset([image[None] for image in calibration(network)])
    quantized = nncf.quantize(model, images, subset_size=CALIBRATION_IMAGES)
    openvino.save_model(quantized, path, compress_to_fp16=False)


@contextlib.contextmanager
def litert_converter(network, folder):
    """Of a saved model, which takes a third of the memory of the same function in memory."""
    import tensorflow as tf
    from tf_network import TfNetwork
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        module = TfNetwork(network)
        tf.saved_model.save(module, scratch, module.function)
        del module
        yield tf.lite.TFLiteConverter.from_saved_model(scratch)


def litert_float(network, folder, path):
    with litert_converter(network, folder) as converter:
        path.write_bytes(converter.convert())


def litert_dynamic(network, folder, path):
    import tensorflow as tf
    with litert_converter(network, folder) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        path.write_bytes(converter.convert())


def litert_int8(network, folder, path):
    import tensorflow as tf
    with litert_converter(network, folder) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: (
            [image.transpose(1, 2, 0)[None].copy()] for image in calibration(network))
        path.write_bytes(converter.convert())


def larq(network, folder, path):
    """Run with larq.sh's interpreter: larq and the others want other versions of TensorFlow."""
    import larq_network
    path.write_bytes(larq_network.convert(network))


@dataclasses.dataclass(frozen=True)
class Kind:
    file: str
    make: typing.Callable  # (network, folder, path)
    packages: tuple
    needs: str = ""  # a kind made before it


KINDS = {
    "onnx-float": Kind("float.onnx", onnx_float, ("onnx",)),
    "onnx-static": Kind("static.onnx", onnx_static, ("onnxruntime",), "onnx-float"),
    "onnx-dynamic": Kind("dynamic.onnx", onnx_dynamic, ("onnxruntime",), "onnx-float"),
    "openvino-float": Kind("float.xml", openvino_float, ("openvino",), "onnx-float"),
    "openvino-int8": Kind("int8.xml", openvino_int8, ("openvino", "nncf"), "openvino-float"),
    "litert-float": Kind("float.tflite", litert_float, ("tensorflow-cpu",), "onnx-float"),
    "litert-dynamic": Kind("dynamic.tflite", litert_dynamic, ("tensorflow-cpu",)),
    "litert-int8": Kind("int8.tflite", litert_int8, ("tensorflow-cpu",)),
    "larq": Kind("larq.tflite", larq, ("larq", "larq-compute-engine", "tensorflow-cpu")),
}


def difference_from_onnx(network, folder, kind):
    """Largest |logit - ONNX Runtime's| over the largest logit, of one image: float models alone."""
    import numpy as np
    from inference_peer import PEERS
    images = random_images(network.input_shape(), 1, seed=11)
    theirs, ours = (
        PEERS[name](folder / KINDS[of].file, 1, 2).run_once(images)
        for name, of in (("onnxruntime-float", "onnx-float"), (kind, kind)))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def make(options):
    kind, folder = KINDS[options.kind], pathlib.Path(options.folder)
    network = FoldedNetwork(graph_text.parse(pathlib.Path(options.graph).read_text()))
    begin = time.monotonic()
    path = folder / kind.file
    kind.make(network, folder, path)
    size = path.stat().st_size
    if path.suffix == ".xml":
        size += path.with_suffix(".bin").stat().st_size
    row = {"kind": options.kind, "file": kind.file, "size_bytes": size,
           "parameters": network.parameters, "seconds": time.monotonic() - begin,
           "made_by": {name: importlib.metadata.version(name) for name in kind.packages}}
    if options.kind in ("openvino-float", "litert-float"):
        row["difference_from_onnx"] = difference_from_onnx(network, folder, options.kind)
        difference = row["difference_from_onnx"]
        if difference > 1e-3:
            raise RuntimeError(f"another network: logits differ by {difference:.2g}")
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph", required=True, help="file of `bitloom inspect --text`")
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--folder", required=True, help="of this network's models")
    print(json.dumps(make(parser.parse_args())))


if __name__ == "__main__":
    main()
