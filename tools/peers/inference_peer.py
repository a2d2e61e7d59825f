"""Times inference of one peer in a process of its own, in turns that its parent calls.

Run by inference.py:
    python tools/peers/inference_peer.py --peer openvino-int8 --model int8.xml --batch 1 --threads 2
Prints a JSON row once the model has run for the first time; then, for each line with a number of
seconds on stdin, runs for that long and prints the times as another. Between turns it sleeps.

Inputs are f32 and lie in the peer's own tensor, results stay there: nothing is copied in a run.
"""
import argparse
import collections
import importlib.metadata
import json
import os
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from side_by_side import memory_bytes  # noqa: E402

WARM_UP = 3  # runs of each turn that are not timed; fewer where they take longer than a second
LEAST_RUNS = 3


class OnnxRuntime:
    package = "onnxruntime"

    def __init__(self, path, batch, threads):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_free_dimension_override_by_name("N", batch)
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options,
                                                    providers=["CPUExecutionProvider"])
        image = self.session.get_inputs()[0]
        self.name, self.shape, self.notes = image.name, (batch, *image.shape[1:]), {}
        self.binding = self.session.io_binding()

    def set_images(self, images):
        import onnxruntime
        # Members, so that they live as long as the binding.
        self.images = onnxruntime.OrtValue.ortvalue_from_numpy(images)
        self.binding.bind_ortvalue_input(self.name, self.images)
        logits = self.session.run(None, {self.name: images})[0]
        self.logits = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros_like(logits))
        self.binding.bind_ortvalue_output(self.session.get_outputs()[0].name, self.logits)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def run_once(self, images):
        return self.session.run(None, {self.name: images})[0]


def convolutions(compiled):
    """Kernels and how many convolutions each runs: shows whether a cap on the ISA took effect."""
    taken = (node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops())
    return dict(collections.Counter(info["primitiveType"].astype(str) for info in taken
                                    if "Convolution" in info["layerType"].astype(str)))


# Caps of CPUs that multiply no bf16. OpenVINO asks the CPU, not its oneDNN, and would convert.
WITHOUT_BF16 = ("AVX2", "AVX512_CORE", "AVX512_CORE_VNNI")


class OpenVino:
    package = "openvino"
    precision = None  # what the plugin takes by itself: bf16 where the CPU has it

    def __init__(self, path, batch, threads):
        import openvino
        core = openvino.Core()
        model = core.read_model(path)
        self.shape = (batch, *[size.get_length() for size in list(model.input().partial_shape)[1:]])
        model.reshape(self.shape)
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads,
                   "NUM_STREAMS": 1}
        if os.environ.get("ONEDNN_MAX_CPU_ISA") in WITHOUT_BF16:
            if self.precision == "bf16":
                raise RuntimeError("no bf16 under this cap")
            self.precision = "f32"
        if self.precision:
            options["INFERENCE_PRECISION_HINT"] = self.precision
        compiled = core.compile_model(model, "CPU", options)
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.notes = {"precision": taken, "convolutions": convolutions(compiled)}
        if self.precision and taken != self.precision:
            raise RuntimeError(f"expected {self.precision}, the plugin takes {taken} on this CPU")
        self.request = compiled.create_infer_request()

    def set_images(self, images):
        import openvino
        self.request.set_input_tensor(openvino.Tensor(images))

    def run(self):
        self.request.infer()

    def run_once(self, images):
        self.set_images(images)
        self.run()
        return self.request.get_output_tensor().data.copy()


class OpenVinoFloat(OpenVino):
    precision = "f32"


class OpenVinoBf16(OpenVino):
    precision = "bf16"


class LiteRt:
    """With XNNPACK, as LiteRT applies it by itself."""
    package = "ai-edge-litert"

    def __init__(self, path, batch, threads):
        from ai_edge_litert.interpreter import Interpreter
        self.interpreter = Interpreter(str(path), num_threads=threads)
        self.image = self.interpreter.get_input_details()[0]
        self.shape = (batch, *self.image["shape_signature"][1:])
        self.interpreter.resize_tensor_input(self.image["index"], self.shape)
        self.interpreter.allocate_tensors()
        operations = self.interpreter._get_ops_details()
        self.notes = {"delegated": sum(op["op_name"] == "DELEGATE" for op in operations)}

    def set_images(self, images):
        self.interpreter.set_tensor(self.image["index"], images)

    def run(self):
        self.interpreter.invoke()

    def run_once(self, images):
        """`images` [N, C, H, W]."""
        self.set_images(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        self.run()
        return self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"])


class LarqEngine:
    """larq-compute-engine's interpreter. Its kernels are written for ARM: on x86 the portable ones
    run. Its own predict() is timed: it has no call that leaves the image where it is."""
    package = "larq-compute-engine"
    options = {}

    def __init__(self, path, batch, threads):
        from larq_compute_engine.tflite.python.interpreter import Interpreter
        if batch != 1:
            raise RuntimeError("its models have a fixed batch: 1")
        self.interpreter = Interpreter(pathlib.Path(path).read_bytes(), num_threads=threads,
                                       **self.options)
        self.shape, self.notes = tuple(self.interpreter.input_shapes[0]), {}

    def set_images(self, images):
        self.images = images

    def run(self):
        self.interpreter.predict(self.images)


class LarqIndirect(LarqEngine):
    options = {"use_indirect_bgemm": True}


class LarqXnnpack(LarqEngine):
    """Float layers on XNNPACK."""
    options = {"use_xnnpack": True}


PEERS = {
    "onnxruntime-float": OnnxRuntime,
    "onnxruntime-static": OnnxRuntime,
    "onnxruntime-dynamic": OnnxRuntime,
    "openvino-float": OpenVinoFloat,
    "openvino-bf16": OpenVinoBf16,
    "openvino-int8": OpenVino,
    "litert-float": LiteRt,
    "litert-dynamic": LiteRt,
    "litert-int8": LiteRt,
    "larq": LarqEngine,
    "larq-indirect": LarqIndirect,
    "larq-xnnpack": LarqXnnpack,
}


def time_runs(peer, seconds):
    """Milliseconds of each run."""
    start = time.perf_counter()
    for _ in range(WARM_UP):
        peer.run()
        if time.perf_counter() - start > 1:
            break
    samples, end = [], time.perf_counter() + seconds
    while len(samples) < LEAST_RUNS or time.perf_counter() < end:
        begin = time.perf_counter()
        peer.run()
        samples.append(1e3 * (time.perf_counter() - begin))
    return samples


def say(row):
    print(json.dumps(row), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--model", required=True, metavar="FILE")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:options.threads])
    maker = PEERS[options.peer]
    library = f"{maker.package} {importlib.metadata.version(maker.package)}"
    before, begin = memory_bytes("VmRSS"), time.perf_counter()
    peer = maker(options.model, options.batch, options.threads)
    peer.set_images(np.random.default_rng(5).standard_normal(peer.shape, dtype=np.float32))
    peer.run()
    say({"library": library, "first_inference_ms": 1e3 * (time.perf_counter() - begin),
         "resident_memory_bytes": memory_bytes("VmRSS") - before,
         "peak_memory_bytes": memory_bytes("VmHWM") - before, **peer.notes})
    for line in sys.stdin:
        samples = time_runs(peer, float(line))
        say({"runs": len(samples),
             **{f"latency_ms_p{at}": float(np.percentile(samples, at)) for at in (50, 90, 99)}})


if __name__ == "__main__":
    main()
