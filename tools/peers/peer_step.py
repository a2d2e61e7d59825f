"""Times the training step of one peer in a process of its own and prints one JSON row.

Run by training_step.py:
    python tools/peers/peer_step.py --peer torch-float --graph net.txt --batch 128 --threads 2
The row has the keys of `bitloom bench --training`. peak_memory_bytes is the highest resident memory
above what the process used once its libraries were loaded and had trained a tiny network.
"""
import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import statistics
import sys
import time
import typing
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import graph_text  # noqa: E402
from side_by_side import memory_bytes  # noqa: E402

BATCHES = 4
# Loads what the libraries load late (code generators, optimizers), before memory is read.
TINY = """bitloom-graph 1
input = input(shape=3x4x4)
conv.weight = parameter(shape=4x3x3x3)
conv = conv2d(input, conv.weight, pad=1)
bn = batch_norm(conv)
relu = relu(bn)
flatten = flatten(relu)
fc.weight = parameter(shape=2x64)
fc = linear(flatten, fc.weight, bias=1)
"""
WARM_UP = 5  # at least; a tenth of the steps if that is more


def torch_float(nodes, images):
    from torch_network import FloatLayers, GraphNetwork
    return GraphNetwork(nodes, FloatLayers())


def torch_ao(nodes, images):
    """W8A8 with torch.ao's moving-average observers: fused convolution, batch norm and ReLU, weights
    per channel, 8-bit activations (the backend called onednn does not reduce them to 7)."""
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx
    network = torch_float(nodes, images).train()
    return prepare_qat_fx(network, get_default_qat_qconfig_mapping("onednn"), (images,))


def brevitas(weight_bits, activation_bits):
    def make(nodes, images):
        from torch_network import BrevitasLayers, GraphNetwork
        return GraphNetwork(nodes, BrevitasLayers(weight_bits, activation_bits))
    return make


@dataclasses.dataclass(frozen=True)
class Peer:
    method: str
    bits: int  # of weights and activations
    make: typing.Callable  # (nodes, images) to network
    channels_last: bool = True
    precision: str = "f32"  # "bf16": autocast


PEERS = {
    "torch-float": Peer("float", 32, torch_float, channels_last=False),
    "torch-float-nhwc": Peer("float", 32, torch_float),
    "torch-bf16": Peer("float", 32, torch_float, channels_last=False, precision="bf16"),
    "torch-bf16-nhwc": Peer("float", 32, torch_float, precision="bf16"),
    "torch-ao-w8a8": Peer("qat", 8, torch_ao),
    "brevitas-w8a8": Peer("qat", 8, brevitas(8, 8)),
    "brevitas-w4a4": Peer("qat", 4, brevitas(4, 4)),
}


def parameters_of(network):
    """Trained values but for those of quantizers, as bitloom counts them."""
    return sum(parameter.numel() for name, parameter in network.named_parameters()
               if name.rsplit(".", 1)[-1] in ("weight", "bias"))


def time_steps(network, batches, optimizer, steps, precision):
    """Milliseconds of each step: zero_grad, forward, cross entropy, backward, SGD, loss read."""
    import torch
    samples = []
    forward_context = (torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16"
                       else contextlib.nullcontext())
    warm_up = max(WARM_UP, steps // 10)
    for step in range(warm_up + steps):
        images, labels = batches[step % BATCHES]
        begin = time.perf_counter()
        optimizer.zero_grad()
        with forward_context:
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        value = loss.item()
        if step >= warm_up:
            samples.append(1e3 * (time.perf_counter() - begin))
        if value != value:
            raise RuntimeError(f"step {step}: the loss is not a number")
    return samples


def run_steps(peer, nodes, batch, classes, steps):
    """Milliseconds of each step of a network on random images in memory, and its parameters."""
    import torch
    image_shape = next(node for node in nodes if node.op == "input").shape()
    layout = torch.channels_last if peer.channels_last else torch.contiguous_format
    batches = []
    for _ in range(BATCHES):
        images = torch.randn(batch, *image_shape).contiguous(memory_format=layout)
        batches.append((images, torch.randint(0, classes, (batch,))))
    network = peer.make(nodes, batches[0][0]).to(memory_format=layout).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    return time_steps(network, batches, optimizer, steps, peer.precision), parameters_of(network)


def measure(options):
    import torch
    peer = PEERS[options.peer]
    library = f"torch {torch.__version__}"
    if options.peer.startswith("brevitas"):
        library = f"brevitas {importlib.metadata.version('brevitas')}, {library}"
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    warnings.simplefilter("ignore")
    nodes = graph_text.parse(pathlib.Path(options.graph).read_text())
    run_steps(peer, graph_text.parse(TINY), 2, 2, 1)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = memory_bytes("VmRSS")
    samples, parameters = run_steps(peer, nodes, options.batch, options.classes, options.steps)
    p50 = statistics.median(samples)
    return {"library": library, "network": options.network, "method": peer.method,
            "weight_bits": peer.bits, "activation_bits": peer.bits, "forward": "float",
            "precision": peer.precision, "layout": "nhwc" if peer.channels_last else "nchw",
            "parameters": parameters, "batch": options.batch, "threads": torch.get_num_threads(), "steps": len(samples),
            "step_ms_p50": p50, "images_per_second": 1e3 * options.batch / p50,
            "peak_memory_bytes": memory_bytes("VmHWM") - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--graph", required=True, help="file of `bitloom inspect --text`")
    parser.add_argument("--network", default="", help="its name, for the row")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
